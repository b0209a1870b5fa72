/* The simulated KMS's keys: see key.h. What is kept of them is in key_file.c. */
#include "sim/key.h"

#include <errno.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RSA_CIPHERS "RSAES_OAEP_SHA_1 RSAES_OAEP_SHA_256"
#define RSA_SIGNING                                                                                     \
    "RSASSA_PKCS1_V1_5_SHA_256 RSASSA_PKCS1_V1_5_SHA_384 RSASSA_PKCS1_V1_5_SHA_512 RSASSA_PSS_SHA_256 " \
    "RSASSA_PSS_SHA_384 RSASSA_PSS_SHA_512"

static const struct sim_spec specs[] = {
    {.name = SIM_SPEC_SYMMETRIC, .ciphers = SIM_SPEC_SYMMETRIC},
    {.name = "RSA_2048", .rsa_bits = 2048, .ciphers = RSA_CIPHERS, .signing = RSA_SIGNING},
    {.name = "RSA_3072", .rsa_bits = 3072, .ciphers = RSA_CIPHERS, .signing = RSA_SIGNING},
    {.name = "RSA_4096", .rsa_bits = 4096, .ciphers = RSA_CIPHERS, .signing = RSA_SIGNING},
    {.name = "ECC_NIST_P256", .curve = "P-256", .signing = "ECDSA_SHA_256", .agreement = "ECDH"},
    {.name = "ECC_NIST_P384", .curve = "P-384", .signing = "ECDSA_SHA_384", .agreement = "ECDH"},
    {.name = "ECC_NIST_P521", .curve = "P-521", .signing = "ECDSA_SHA_512", .agreement = "ECDH"},
    {.name = "ECC_SECG_P256K1", .curve = "secp256k1", .signing = "ECDSA_SHA_256"},
};

const struct sim_spec *sim_spec_find(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(specs); i++) {
        if (strcmp(specs[i].name, name) == 0) {
            return &specs[i];
        }
    }
    return NULL;
}

EVP_PKEY *sim_spec_generate(const struct sim_spec *spec)
{
    EVP_PKEY *pair = spec->curve      ? EVP_EC_gen(spec->curve)
                     : spec->rsa_bits ? EVP_RSA_gen(spec->rsa_bits)
                                      : NULL;

    ERR_clear_error();
    return pair;
}

/* ---- The store ---- */

static void free_key(struct sim_key *key)
{
    if (key->policy_text) {
        iam_policy_release(&key->policy);
    }
    OPENSSL_cleanse(key->material, sizeof key->material);
    EVP_PKEY_free(key->pair);
    free(key->alias);
    free(key->description);
    free(key->policy_text);
    free(key);
}

void sim_keys_release(struct sim_keys *keys)
{
    for (size_t i = 0; i < keys->count; i++) {
        free_key(keys->list[i]);
    }
    keys->count = 0;
}

/* The part of an ARN of this region and account behind its colons; any other name as it is. NULL: another's. */
static const char *local_name(const struct sim_keys *keys, const char *name)
{
    char begin[SIM_KEY_ARN];

    if (strncmp(name, "arn:", 4) != 0) {
        return name;
    }
    int size = snprintf(begin, sizeof begin, "arn:aws:kms:%s:%s:", keys->region, keys->account);
    if (strncmp(name, begin, (size_t)size) != 0) {
        return NULL;
    }
    name += size;
    if (strncmp(name, "key/", 4) == 0) {
        return name + 4;
    }
    return strncmp(name, "alias/", 6) == 0 ? name : NULL;
}

struct sim_key *sim_keys_find(const struct sim_keys *keys, const char *name)
{
    const char *local = local_name(keys, name);

    for (size_t i = 0; local && i < keys->count; i++) {
        struct sim_key *key = keys->list[i];
        if (strcmp(key->id, local) == 0 || (key->alias && strcmp(key->alias, local) == 0)) {
            return key;
        }
    }
    return NULL;
}

int sim_key_set_policy(struct sim_key *key, const char *policy, size_t size, struct error *err)
{
    struct iam_policy read;
    struct text mistakes = TEXT_INIT;
    char *copy = malloc(size + 1);
    int rv = copy ? iam_policy_read(&read, policy, size, &mistakes) : -ENOMEM;

    if (rv == 0) {
        if (key->policy_text) {
            iam_policy_release(&key->policy);
        }
        free(key->policy_text);
        memcpy(copy, policy, size);
        copy[size] = '\0';
        key->policy = read;
        key->policy_text = copy;
    } else {
        error_set(err, rv, "the policy is malformed: %.300s", text_string(&mistakes));
        free(copy);
    }
    text_release(&mistakes);
    return rv;
}

/* What KMS gives a key that is made without one: the account may do everything, by its own policies. */
static int set_default_policy(struct sim_key *key, const char *account, struct error *err)
{
    char text[512];
    int size =
        snprintf(text, sizeof text,
                 "{\"Version\":\"2012-10-17\",\"Id\":\"key-default-1\",\"Statement\":[{\"Sid\":\"Enable IAM "
                 "User Permissions\",\"Effect\":\"Allow\",\"Principal\":{\"AWS\":\"arn:aws:iam::%s:root\"},"
                 "\"Action\":\"kms:*\",\"Resource\":\"*\"}]}",
                 account);

    return sim_key_set_policy(key, text, (size_t)size, err);
}

static bool make_id(char id[SIM_BLOB_ID])
{
    unsigned char r[16];

    if (RAND_bytes(r, sizeof r) != 1) {
        return false;
    }
    r[6] = (unsigned char)((r[6] & 0x0f) | 0x40);
    r[8] = (unsigned char)((r[8] & 0x3f) | 0x80);
    snprintf(id, SIM_BLOB_ID, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", r[0],
             r[1], r[2], r[3], r[4], r[5], r[6], r[7], r[8], r[9], r[10], r[11], r[12], r[13], r[14], r[15]);
    return true;
}

static char *copy_of(const char *text)
{
    return text ? strdup(text) : NULL;
}

static int fill_in(struct sim_key *key, const struct sim_keys *keys, const struct sim_key_wanted *wanted,
                   struct error *err)
{
    if (wanted->id) {
        snprintf(key->id, sizeof key->id, "%s", wanted->id);
    } else if (!make_id(key->id)) {
        return error_set(err, -EIO, "cannot make a key's id");
    }
    snprintf(key->arn, sizeof key->arn, "arn:aws:kms:%s:%s:key/%s", keys->region, keys->account, key->id);
    key->alias = copy_of(wanted->alias);
    key->description = copy_of(wanted->description);
    if ((wanted->alias && !key->alias) || (wanted->description && !key->description)) {
        return error_set(err, -ENOMEM, "cannot make a key: out of memory");
    }
    key->pair = sim_spec_generate(key->spec);
    if (RAND_bytes(key->material, sizeof key->material) != 1 ||
        (!key->pair && strcmp(key->spec->name, SIM_SPEC_SYMMETRIC) != 0)) {
        return error_set(err, -EIO, "cannot make a key: the cryptographic library failed");
    }
    return wanted->policy ? sim_key_set_policy(key, wanted->policy, strlen(wanted->policy), err)
                          : set_default_policy(key, keys->account, err);
}

static int may_be_added(const struct sim_keys *keys, const struct sim_key_wanted *wanted, struct error *err)
{
    if (keys->count == SIM_KEYS_MAX) {
        return error_set(err, -ENOSPC, "there are %d keys already", SIM_KEYS_MAX);
    }
    if (wanted->id && (strlen(wanted->id) >= SIM_BLOB_ID || strchr(wanted->id, '/') || !wanted->id[0])) {
        return error_set(err, -EINVAL, "a key's id has at most %d characters and no slash", SIM_BLOB_ID - 1);
    }
    if ((wanted->id && sim_keys_find(keys, wanted->id)) ||
        (wanted->alias && sim_keys_find(keys, wanted->alias))) {
        return error_set(err, -EEXIST, "there is a key of that id or alias already");
    }
    return 0;
}

int sim_keys_add(struct sim_keys *keys, const struct sim_key_wanted *wanted, time_t now, struct sim_key **ret,
                 struct error *err)
{
    int rv = may_be_added(keys, wanted, err);

    if (rv != 0) {
        return rv;
    }
    struct sim_key *key = calloc(1, sizeof *key);
    if (!key) {
        return error_set(err, -ENOMEM, "cannot make a key: out of memory");
    }
    key->spec = wanted->spec;
    key->usage = wanted->usage;
    key->created = now;
    rv = fill_in(key, keys, wanted, err);
    if (rv != 0) {
        free_key(key);
        return rv;
    }
    keys->list[keys->count++] = key;
    *ret = key;
    return 0;
}
