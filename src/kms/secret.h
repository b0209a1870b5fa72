/*
 * Memory for secrets: pages of their own, locked where the system allows, left out of core dumps, of no use to a child process,
 * and wiped at the end. As struct postern_secret, since the library's callers get them as they are.
 */
#ifndef POSTERN_KMS_SECRET_H
#define POSTERN_KMS_SECRET_H

#include "base/compiler.h"
#include "postern/kms.h"

/* A secret of `length` > 0 bytes, all 0, which the caller fills in and ends with postern_secret_wipe(). 0 or -ENOMEM. It may
 * be made shorter later, by `length`. */
int secret_new(size_t length, struct postern_secret *ret) MUST_CHECK;

#endif
