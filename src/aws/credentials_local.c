/* AWS keys out of this machine's own places: see credentials_local.h. */
#include "aws/credentials_local.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#define FILE_VARIABLE    "AWS_SHARED_CREDENTIALS_FILE"
#define PROFILE_VARIABLE "AWS_PROFILE"

const char *credentials_env(const char *name)
{
    const char *value = getenv(name); /* nobody changes the environment while threads run */
    return value != NULL && value[0] != '\0' ? value : NULL;
}

int credentials_env_read(struct credentials_keys *ret, struct error *err)
{
    const char *id = credentials_env("AWS_ACCESS_KEY_ID");
    if (id == NULL) {
        return error_set(err, -ENOENT,
                         "AWS_ACCESS_KEY_ID is not set; set it and AWS_SECRET_ACCESS_KEY in the unit, by "
                         "`EnvironmentFile=`");
    }
    int rv = credentials_keys_set(ret, id, credentials_env("AWS_SECRET_ACCESS_KEY"),
                                  credentials_env("AWS_SESSION_TOKEN"), err);
    if (rv != 0) {
        error_prefix(err, "the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY)");
    }
    return rv;
}

/* 0, or -ENOENT: nowhere. */
static int file_path(const char *file, char *ret, size_t size, struct error *err)
{
    const char *told = file != NULL ? file : credentials_env(FILE_VARIABLE);
    const char *home = credentials_env("HOME");
    if (told == NULL && home == NULL) {
        return error_set(err, -ENOENT,
                         "there is no credentials file: neither AWS_SHARED_CREDENTIALS_FILE nor HOME is set");
    }
    int length =
        told != NULL ? snprintf(ret, size, "%s", told) : snprintf(ret, size, "%s/.aws/credentials", home);
    return length < (int)size ? 0
                              : error_set(err, -ENAMETOOLONG, "the path of the credentials file is too long");
}

/* What is not there was named; by the environment, that is told. */
static int told_and_not_there(bool file, bool profile, struct error *err)
{
    if (file || profile) {
        error_prefix(err, "no other credentials stand in for those of %s%s%s", file ? FILE_VARIABLE : "",
                     file && profile ? " and " : "", profile ? PROFILE_VARIABLE : "");
    }
    return -EIO;
}

int credentials_local_file(const char *file, const char *profile, struct credentials_keys *ret,
                           struct credentials_stamp *stamp, struct error *err)
{
    const char *told_file = credentials_env(FILE_VARIABLE);
    const char *told_profile = credentials_env(PROFILE_VARIABLE);
    const char *wanted = profile != NULL ? profile : told_profile;
    char path[PATH_MAX];
    int rv = file_path(file, path, sizeof path, err);
    if (rv == 0) {
        rv = credentials_file_read(path, wanted != NULL ? wanted : "default", ret, stamp, err);
    }
    if (rv != -ENOENT || (file == NULL && told_file == NULL && wanted == NULL)) {
        return rv;
    }
    return told_and_not_there(file == NULL && told_file != NULL, profile == NULL && told_profile != NULL,
                              err);
}

bool credentials_local_file_changed(const char *file, const struct credentials_stamp *stamp)
{
    char path[PATH_MAX];
    struct error ignored;
    return file_path(file, path, sizeof path, &ignored) != 0 || credentials_file_changed(path, stamp);
}
