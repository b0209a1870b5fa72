/* One look for AWS credentials, at the place that is asked for or down the chain of `auto`: see credentials.h. */
#include "aws/credentials_local.h"
#include "kms/credentials.h"
#include <errno.h>

#define WEB_IDENTITY "AWS_WEB_IDENTITY_TOKEN_FILE"

static int look_given(const struct kms_look *look, struct credentials_keys *ret, struct error *err)
{
    const struct credentials_keys *given = &look->given;

    if (!given->access_key_id) {
        return error_set(err, -ENOENT, "no AWS credentials are given");
    }
    return credentials_keys_set(ret, given->access_key_id, given->secret_access_key, given->session_token,
                                err);
}

bool kms_look_changed(const struct kms_look *look, const struct kms_keys *keys)
{
    return keys->from == KMS_CREDENTIALS_FILE && credentials_local_file_changed(look->file, &keys->stamp);
}

static int look_at(struct kms_look *look, enum kms_credentials_place place, uint64_t deadline,
                   struct kms_keys *ret, struct error *err)
{
    ret->from = place;
    switch (place) {
    case KMS_CREDENTIALS_GIVEN:
        return look_given(look, &ret->keys, err);
    case KMS_CREDENTIALS_ENVIRONMENT:
        return credentials_env_read(&ret->keys, err);
    case KMS_CREDENTIALS_FILE:
        return credentials_local_file(look->file, look->profile, &ret->keys, &ret->stamp, err);
    case KMS_CREDENTIALS_CONTAINER:
        return kms_look_container(deadline, &ret->keys, err);
    default:
        return kms_look_metadata(look, deadline, &ret->keys, err);
    }
}

/* Any other failure than that a place is not set up ends the look: keys of another place would be those of somebody else. */
static int look_down(struct kms_look *look, uint64_t deadline, struct kms_keys *ret, struct error *err)
{
    static const enum kms_credentials_place chain[] = {KMS_CREDENTIALS_GIVEN, KMS_CREDENTIALS_ENVIRONMENT,
                                                       KMS_CREDENTIALS_FILE, KMS_CREDENTIALS_CONTAINER,
                                                       KMS_CREDENTIALS_METADATA};
    int status = -ENOENT;

    for (size_t i = 0; i < ARRAY_SIZE(chain) && status == -ENOENT; i++) {
        status = look_at(look, chain[i], deadline, ret, err);
        if (status == -ENOENT && chain[i] == KMS_CREDENTIALS_ENVIRONMENT && credentials_env(WEB_IDENTITY)) {
            status = error_set(err, -EINVAL, WEB_IDENTITY " is set, which is not followed");
        }
    }
    if (status == -ENOENT) {
        error_prefix(err,
                     "there are no AWS credentials given, in the environment, in a file, or at a container's "
                     "endpoint, and");
    }
    return status;
}

int kms_look(struct kms_look *look, uint64_t deadline, struct kms_keys *ret, struct error *err)
{
    return look->place == KMS_CREDENTIALS_AUTO ? look_down(look, deadline, ret, err)
                                               : look_at(look, look->place, deadline, ret, err);
}
