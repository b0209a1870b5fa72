/* AWS keys in memory: see credentials_keys.h. */
#include "aws/credentials_keys.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

uint64_t credentials_now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void wipe(char *string)
{
    if (string != NULL) {
        OPENSSL_cleanse(string, strlen(string));
        free(string);
    }
}

void credentials_keys_release(struct credentials_keys *keys)
{
    if (keys != NULL) {
        wipe(keys->access_key_id);
        wipe(keys->secret_access_key);
        wipe(keys->session_token);
        *keys = (struct credentials_keys){.expires = 0};
    }
}

/* Visible ASCII alone: no key of AWS's has anything else, and a line break would forge a header. */
static int check(const char *name, const char *value, size_t max, struct error *err)
{
    size_t size = value != NULL ? strnlen(value, max + 1) : 0;
    if (size == 0) {
        return error_set(err, -EINVAL, "the %s is missing or empty", name);
    }
    if (size > max) {
        return error_set(err, -EINVAL, "the %s is longer than %zu bytes", name, max);
    }
    for (size_t i = 0; i < size; i++) {
        if (value[i] <= ' ' || value[i] > '~') {
            return error_set(err, -EINVAL,
                             "the %s has a blank, a line break or a byte that is not ASCII in it", name);
        }
    }
    return 0;
}

/* A comma or an equals sign would give the Authorization header another meaning. */
static int check_id(const char *id, struct error *err)
{
    int rv = check("access key ID", id, CREDENTIALS_ID_MAX, err);
    return rv == 0 && strpbrk(id, ",=/") != NULL
               ? error_set(err, -EINVAL, "the access key ID has a character in it that none has")
               : rv;
}

int credentials_keys_set(struct credentials_keys *ret, const char *id, const char *secret, const char *token,
                         struct error *err)
{
    bool has_token = token != NULL && token[0] != '\0';
    *ret = (struct credentials_keys){.expires = 0};
    int rv = check_id(id, err);
    rv = rv == 0 ? check("secret access key", secret, CREDENTIALS_SECRET_MAX, err) : rv;
    rv = rv == 0 && has_token ? check("session token", token, CREDENTIALS_TOKEN_MAX, err) : rv;
    if (rv != 0) {
        return rv;
    }
    ret->access_key_id = strdup(id);
    ret->secret_access_key = strdup(secret);
    ret->session_token = has_token ? strdup(token) : NULL;
    if (ret->access_key_id == NULL || ret->secret_access_key == NULL ||
        (has_token && ret->session_token == NULL)) {
        credentials_keys_release(ret);
        return error_errno(err, -ENOMEM, "cannot keep AWS credentials");
    }
    return 0;
}

struct aws_credentials credentials_keys_view(const struct credentials_keys *keys)
{
    return (struct aws_credentials){.access_key_id = keys->access_key_id,
                                    .secret_access_key = keys->secret_access_key,
                                    .session_token = keys->session_token};
}
