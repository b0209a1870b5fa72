/*
 * The shared credentials file of AWS's tools, as much of it as holds keys:
 *
 *     [default]
 *     aws_access_key_id = AKIA...
 *     aws_secret_access_key = ...
 *     aws_session_token = ...
 *
 * Lines that begin with # or ; are comments. A profile may be there in several pieces; what is said last counts. Lines that are
 * further indented than the setting before them belong to that setting, and are passed over. Roles to be assumed,
 * programs to be run and single sign-on are not followed: a profile with one of them and no keys is refused, since what
 * another place gives would be somebody else's.
 *
 * The file is read again when it is another one or has changed (as http/values.h does it).
 */
#ifndef POSTERN_AWS_CREDENTIALS_FILE_H
#define POSTERN_AWS_CREDENTIALS_FILE_H

#include "aws/credentials_keys.h"
#include "base/compiler.h"
#include "base/error.h"
#include <stdbool.h>
#include <sys/stat.h>

#define CREDENTIALS_FILE_MAX ((size_t)64 * 1024)

/* Which file keys were read from. */
struct credentials_stamp {
    struct stat stat;
    bool settled; /* a change since would show in `stat` */
};

/* Cuts `data` into strings: `size` bytes, writable, and one more. Returns 0 with the profile's keys; -ENOENT: the profile, or its keys,
 * are not there; -EINVAL, with the line or the name of what is wrong; -ENOMEM. */
int credentials_file_parse(char *data, size_t size, const char *profile, struct credentials_keys *ret,
                           struct error *err) MUST_CHECK;

/* The same out of the file of that path. -ENOENT: there is none; or another negative errno value. */
int credentials_file_read(const char *path, const char *profile, struct credentials_keys *ret,
                          struct credentials_stamp *stamp, struct error *err) MUST_CHECK;

/* Whether the file at `path` may be another one by now than that of the stamp. */
bool credentials_file_changed(const char *path, const struct credentials_stamp *stamp);

#endif
