/*
 * AWS keys out of this machine's own places: the environment, and the shared credentials file. Read at once, without
 * waiting.
 */
#ifndef POSTERN_AWS_CREDENTIALS_LOCAL_H
#define POSTERN_AWS_CREDENTIALS_LOCAL_H

#include "aws/credentials_keys.h"
#include "base/compiler.h"
#include "base/error.h"
#include <stddef.h>

/* AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN. 0; -ENOENT: the first of them is not set; -EINVAL, -ENOMEM. */
int credentials_env_read(struct credentials_keys *ret, struct error *err) MUST_CHECK;

/* The variable's value; NULL if it is not set, or empty, which counts the same. */
const char *credentials_env(const char *name);

/* `file`, or where the environment says: $AWS_SHARED_CREDENTIALS_FILE, $HOME/.aws/credentials. 0, or -ENOENT: nowhere. */
int credentials_file_path(const char *file, char *ret, size_t size, struct error *err) MUST_CHECK;

/* `profile`, or $AWS_PROFILE, or "default". */
const char *credentials_profile(const char *profile);

#endif
