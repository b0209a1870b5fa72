/* keys.json, in which the simulator keeps its keys: see key.h. */
#include "sim/keep.h"
#include "sim/key.h"

#include <errno.h>
#include <limits.h>
#include <openssl/err.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_NAME "keys.json"

static const char *const usages[] = {"ENCRYPT_DECRYPT", "KEY_AGREEMENT", "SIGN_VERIFY"};

/* ---- Out ---- */

/* The key's secret in base64. NULL: out of memory. */
static char *secret_of(const struct sim_key *key)
{
    uint8_t *der = NULL;

    if (!key->pair) {
        return sim_base64(key->material, sizeof key->material);
    }
    int size = i2d_PrivateKey(key->pair, &der);
    char *text = size > 0 ? sim_base64(der, (size_t)size) : NULL;
    OPENSSL_clear_free(der, size > 0 ? (size_t)size : 0);
    return text;
}

static json_t *to_json(const struct sim_key *key)
{
    char *secret = secret_of(key);
    json_t *object = secret
                         ? json_pack("{s:s, s:s*, s:s*, s:s, s:s, s:I, s:b, s:b, s:s, s:s}", "id", key->id,
                                     "alias", key->alias, "description", key->description, "spec",
                                     key->spec->name, "usage", key->usage, "created",
                                     (json_int_t)key->created, "disabled", key->disabled, "pending_deletion",
                                     key->pending_deletion, "secret", secret, "policy", key->policy_text)
                         : NULL;

    free(secret);
    return object;
}

int sim_keys_save(const struct sim_keys *keys, const char *directory, struct error *err)
{
    json_t *list = json_array();
    char *text = NULL;
    bool good = list != NULL;

    for (size_t i = 0; good && i < keys->count; i++) {
        good = json_array_append_new(list, to_json(keys->list[i])) == 0;
    }
    if (good) {
        text = json_dumps(list, JSON_INDENT(1));
    }
    json_decref(list);
    int rv = text ? sim_file_write(directory, FILE_NAME, text, strlen(text), err)
                  : error_set(err, -ENOMEM, "cannot write %s: out of memory", FILE_NAME);
    free(text);
    return rv;
}

/* ---- In ---- */

static bool set_secret(struct sim_key *key, const char *text)
{
    struct sim_bytes bytes;

    if (sim_base64_decode(text, strlen(text), &bytes) != 0) {
        return false;
    }
    const uint8_t *at = bytes.data;
    bool symmetric = strcmp(key->spec->name, SIM_SPEC_SYMMETRIC) == 0;
    if (symmetric && bytes.size == sizeof key->material) {
        memcpy(key->material, bytes.data, bytes.size);
    } else if (!symmetric) {
        EVP_PKEY_free(key->pair);
        key->pair = d2i_AutoPrivateKey(NULL, &at, (long)bytes.size);
        ERR_clear_error();
    }
    bool good = symmetric ? bytes.size == sizeof key->material : key->pair != NULL;
    sim_bytes_release(&bytes);
    return good;
}

static const char *find_usage(const char *usage)
{
    for (size_t i = 0; i < ARRAY_SIZE(usages); i++) {
        if (strcmp(usages[i], usage) == 0) {
            return usages[i];
        }
    }
    return NULL;
}

static int from_json(struct sim_keys *keys, json_t *object, struct error *err)
{
    struct sim_key_wanted wanted = {.id = NULL};
    const char *spec, *usage, *secret;
    json_int_t created;
    int disabled, pending;
    struct sim_key *key;

    if (json_unpack(object, "{s:s, s?s, s?s, s:s, s:s, s:I, s:b, s:b, s:s, s:s}", "id", &wanted.id, "alias",
                    &wanted.alias, "description", &wanted.description, "spec", &spec, "usage", &usage,
                    "created", &created, "disabled", &disabled, "pending_deletion", &pending, "secret",
                    &secret, "policy", &wanted.policy) != 0) {
        return error_set(err, -EBADMSG, "%s: it is none that was written here", FILE_NAME);
    }
    /* Made as a symmetric one, for whatever it is instead is read from the file, and need not be generated. */
    wanted.spec = sim_spec_find(SIM_SPEC_SYMMETRIC);
    wanted.usage = find_usage(usage);
    const struct sim_spec *own = sim_spec_find(spec);
    if (!own || !wanted.usage) {
        return error_set(err, -EBADMSG, "%s: the key %s is of an unknown kind", FILE_NAME, wanted.id);
    }
    int rv = sim_keys_add(keys, &wanted, (time_t)created, &key, err);
    if (rv != 0) {
        return rv;
    }
    key->spec = own;
    key->disabled = disabled;
    key->pending_deletion = pending;
    return set_secret(key, secret)
               ? 0
               : error_set(err, -EBADMSG, "%s: the key %s has no secret", FILE_NAME, wanted.id);
}

int sim_keys_load(struct sim_keys *keys, const char *directory, struct error *err)
{
    char path[PATH_MAX];
    struct text text = TEXT_INIT;
    json_error_t why;
    int rv;

    if (snprintf(path, sizeof path, "%s/" FILE_NAME, directory) >= (int)sizeof path) {
        return error_set(err, -ENAMETOOLONG, "cannot read %s: the directory's name is too long", FILE_NAME);
    }
    rv = sim_file_read(path, &text, err);
    if (rv == 0) {
        json_t *list = json_loadb(text_string(&text), text.length, JSON_REJECT_DUPLICATES, &why);
        rv = json_is_array(list) ? 0 : error_set(err, -EBADMSG, "%s: it is no list: %s", path, why.text);
        for (size_t i = 0; rv == 0 && i < json_array_size(list); i++) {
            rv = from_json(keys, json_array_get(list, i), err);
        }
        json_decref(list);
    }
    text_release(&text);
    return rv == -ENOENT ? 0 : rv;
}
