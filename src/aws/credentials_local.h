/*
 * AWS keys out of this machine's own places: the environment, and the shared credentials file. Read at once, without
 * waiting.
 */
#ifndef POSTERN_AWS_CREDENTIALS_LOCAL_H
#define POSTERN_AWS_CREDENTIALS_LOCAL_H

#include "aws/credentials_file.h"
#include "aws/credentials_keys.h"
#include "base/compiler.h"
#include "base/error.h"
#include <stddef.h>

/* AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN. 0; -ENOENT: the first of them is not set; -EINVAL, -ENOMEM. */
int credentials_env_read(struct credentials_keys *ret, struct error *err) MUST_CHECK;

/* The variable's value; NULL if it is not set, or empty, which counts the same. */
const char *credentials_env(const char *name);

/*
 * The keys of a profile in a file. Where these are NULL, the environment says which: AWS_PROFILE, or "default", and AWS_SHARED_CREDENTIALS_FILE, or
 * .aws/credentials in HOME. What is named, here or there, is set up by that: no keys of another place stand in for it.
 *
 * 0; -ENOENT: there are none, and nothing names any; -EIO: what is named is not there; or another failure of credentials_file_read().
 */
int credentials_local_file(const char *file, const char *profile, struct credentials_keys *ret,
                           struct credentials_stamp *stamp, struct error *err) MUST_CHECK;

/* Whether that file may be another one by now than that of the stamp. */
bool credentials_local_file_changed(const char *file, const struct credentials_stamp *stamp);

#endif
