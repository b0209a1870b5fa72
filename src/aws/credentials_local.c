/* AWS keys out of this machine's own places: see credentials_local.h. */
#include "aws/credentials_local.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

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

int credentials_file_path(const char *file, char *ret, size_t size, struct error *err)
{
    const char *told = file != NULL ? file : credentials_env("AWS_SHARED_CREDENTIALS_FILE");
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

const char *credentials_profile(const char *profile)
{
    const char *told = profile != NULL ? profile : credentials_env("AWS_PROFILE");
    return told != NULL ? told : "default";
}
