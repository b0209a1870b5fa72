/* Looking for AWS keys: see credentials_load.h. */
#include "forward/credentials_load.h"

#include "aws/credentials_local.h"
#include <errno.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

#define WEB_IDENTITY "AWS_WEB_IDENTITY_TOKEN_FILE"

int credentials_load_init(struct credentials_load *load, struct loop *loop, const struct config_sign *sign,
                          credentials_load_cb cb, void *data)
{
    *load = (struct credentials_load){.loop = loop, .kind = sign->credentials, .cb = cb, .data = data};
    load->file = sign->credentials_file != NULL ? strdup(sign->credentials_file) : NULL;
    load->profile = sign->profile != NULL ? strdup(sign->profile) : NULL;
    bool failed = (sign->credentials_file != NULL && load->file == NULL) ||
                  (sign->profile != NULL && load->profile == NULL);
    if (failed) {
        credentials_load_release(load);
    }
    return failed ? -ENOMEM : 0;
}

void credentials_load_release(struct credentials_load *load)
{
    fetch_cancel(load->fetch);
    load->fetch = NULL;
    OPENSSL_cleanse(load->instance.token, sizeof load->instance.token);
    free(load->file);
    free(load->profile);
    load->file = load->profile = NULL;
}

void credentials_load_end(struct credentials_load *load, enum config_credentials from,
                          struct credentials_keys *keys)
{
    struct credentials_found found = {.keys = *keys, .from = from};
    *keys = (struct credentials_keys){.expires = 0};
    load->cb(load->data, &found, NULL);
}

void credentials_load_fail(struct credentials_load *load, const struct error *err)
{
    load->cb(load->data, NULL, err);
}

/* ---- The places ---- */

bool credentials_load_changed(const struct credentials_load *load, enum config_credentials from)
{
    return from == CONFIG_CREDENTIALS_FILE && credentials_local_file_changed(load->file, &load->stamp);
}

static int look_at(struct credentials_load *load, enum config_credentials place,
                   struct credentials_found *ret, struct error *err)
{
    ret->from = place;
    switch (place) {
    case CONFIG_CREDENTIALS_ENV:
        return credentials_env_read(&ret->keys, err);
    case CONFIG_CREDENTIALS_FILE:
        return credentials_local_file(load->file, load->profile, &ret->keys, &load->stamp, err);
    case CONFIG_CREDENTIALS_CONTAINER:
        return credentials_container_start(load, err);
    default:
        return credentials_instance_start(load, err);
    }
}

int credentials_load_start(struct credentials_load *load, struct credentials_found *ret, struct error *err)
{
    static const enum config_credentials chain[] = {CONFIG_CREDENTIALS_ENV, CONFIG_CREDENTIALS_FILE,
                                                    CONFIG_CREDENTIALS_CONTAINER,
                                                    CONFIG_CREDENTIALS_INSTANCE};
    if (load->kind != CONFIG_CREDENTIALS_AUTO) {
        return look_at(load, load->kind, ret, err);
    }
    int rv = -ENOENT;
    for (size_t i = 0; i < ARRAY_SIZE(chain) && rv == -ENOENT; i++) {
        rv = look_at(load, chain[i], ret, err);
        /* It would come next, and what the instance gives is another role. */
        if (rv == -ENOENT && i == 0 && credentials_env(WEB_IDENTITY) != NULL) {
            rv = error_set(err, -EINVAL,
                           WEB_IDENTITY " is set, which is not followed; use a pod identity, or say in "
                                        "`sign` which `credentials` are meant");
        }
    }
    if (rv == -ENOENT) {
        error_prefix(err, "there are no AWS credentials in the environment, in a file, or at a container's "
                          "endpoint, and");
    }
    return rv;
}
