/* KMS's operations on keys themselves: CreateKey, DescribeKey, policies, states, aliases. */
#include "sim/kms_call.h"

#include <errno.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>

#define ALL_SPECS \
    "SYMMETRIC_DEFAULT RSA_2048 RSA_3072 RSA_4096 ECC_NIST_P256 ECC_NIST_P384 ECC_NIST_P521 ECC_SECG_P256K1"
#define ALL_USAGES "ENCRYPT_DECRYPT KEY_AGREEMENT SIGN_VERIFY"

#define DELETION_DAYS 30

static const struct sim_for administration = {.usage = NULL};

/* After the keys have changed; the caller holds the lock. */
static int save(struct sim_call *call)
{
    struct error err;

    return sim_keys_save(&call->kms->keys, call->kms->directory, &err) == 0
               ? 0
               : sim_kms_break(&call->error, err.text);
}

static int add(struct sim_call *call, json_t *to, const char *name, json_t *value)
{
    return json_object_set_new(to, name, value) == 0
               ? 0
               : sim_kms_break(&call->error, "the answer cannot be put together");
}

/* ---- Descriptions ---- */

/* Words that are separated by blanks, as a list. */
static json_t *list_of(const char *words)
{
    json_t *list = json_array();

    while (list && *words != '\0') {
        size_t size = strcspn(words, " ");
        if (json_array_append_new(list, json_stringn(words, size)) != 0) {
            json_decref(list);
            return NULL;
        }
        words += size + (words[size] == ' ');
    }
    return list;
}

static const char *state_of(const struct sim_key *key)
{
    return key->pending_deletion ? "PendingDeletion" : key->disabled ? "Disabled" : "Enabled";
}

/* What the key is for, by the names that its usage gives it. */
static int add_algorithms(struct sim_call *call, json_t *to, const struct sim_key *key)
{
    if (strcmp(key->usage, "ENCRYPT_DECRYPT") == 0) {
        return add(call, to, "EncryptionAlgorithms", list_of(key->spec->ciphers));
    }
    if (strcmp(key->usage, "KEY_AGREEMENT") == 0) {
        return add(call, to, "KeyAgreementAlgorithms", list_of(key->spec->agreement));
    }
    return add(call, to, "SigningAlgorithms", list_of(key->spec->signing));
}

static int out_metadata(struct sim_call *call, const struct sim_key *key)
{
    json_t *object =
        json_pack("{s:s, s:s, s:s, s:f, s:b, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:b}", "AWSAccountId",
                  call->kms->account, "KeyId", key->id, "Arn", key->arn, "CreationDate", (double)key->created,
                  "Enabled", !key->disabled && !key->pending_deletion, "Description",
                  key->description ? key->description : "", "KeyUsage", key->usage, "KeyState", state_of(key),
                  "Origin", "AWS_KMS", "KeyManager", "CUSTOMER", "CustomerMasterKeySpec", key->spec->name,
                  "KeySpec", key->spec->name, "MultiRegion", 0);
    int rv = object ? add_algorithms(call, object, key) : sim_kms_break(&call->error, "out of memory");

    if (rv != 0) {
        json_decref(object);
        return rv;
    }
    return add(call, call->out, "KeyMetadata", object);
}

int sim_describe_key(struct sim_call *call)
{
    int rv = sim_call_key(call, NULL, &administration);

    if (rv == 0) {
        pthread_mutex_lock(&call->kms->lock);
        rv = out_metadata(call, call->key);
        pthread_mutex_unlock(&call->kms->lock);
    }
    return rv;
}

int sim_list_keys(struct sim_call *call)
{
    json_t *list = json_array();
    int rv = sim_call_account(call);

    pthread_mutex_lock(&call->kms->lock);
    for (size_t i = 0; rv == 0 && i < call->kms->keys.count; i++) {
        const struct sim_key *key = call->kms->keys.list[i];
        if (json_array_append_new(list, json_pack("{s:s, s:s}", "KeyId", key->id, "KeyArn", key->arn)) != 0) {
            rv = sim_kms_break(&call->error, "out of memory");
        }
    }
    pthread_mutex_unlock(&call->kms->lock);
    rv = rv == 0 ? add(call, call->out, "Keys", json_incref(list)) : rv;
    json_decref(list);
    return rv == 0 ? add(call, call->out, "Truncated", json_false()) : rv;
}

int sim_get_public_key(struct sim_call *call)
{
    uint8_t *der = NULL;
    int rv = sim_call_key(call, NULL, &administration);

    if (rv == 0 && !call->key->pair) {
        rv = sim_kms_refuse(&call->error, "UnsupportedOperationException",
                            "%s is a symmetric key, which has no public part", call->key->arn);
    }
    int size = rv == 0 ? i2d_PUBKEY(call->key->pair, &der) : 0;
    if (rv == 0 && size <= 0) {
        rv = sim_kms_break(&call->error, "the cryptographic library failed");
    }
    rv = rv == 0 ? sim_out_bytes(call, "PublicKey", der, (size_t)size) : rv;
    rv = rv == 0 ? sim_out_text(call, "KeyId", call->key->arn) : rv;
    rv = rv == 0 ? sim_out_text(call, "KeySpec", call->key->spec->name) : rv;
    rv = rv == 0 ? sim_out_text(call, "CustomerMasterKeySpec", call->key->spec->name) : rv;
    rv = rv == 0 ? sim_out_text(call, "KeyUsage", call->key->usage) : rv;
    rv = rv == 0 ? add_algorithms(call, call->out, call->key) : rv;
    OPENSSL_free(der);
    return rv;
}

/* ---- New keys ---- */

static bool fits(const struct sim_spec *spec, const char *usage)
{
    if (strcmp(usage, "ENCRYPT_DECRYPT") == 0) {
        return spec->ciphers != NULL;
    }
    return strcmp(usage, "KEY_AGREEMENT") == 0 ? spec->agreement != NULL : spec->signing != NULL;
}

/* Of the static words, since the key keeps it. */
static const char *static_usage(const char *usage)
{
    static const char *const all[] = {"ENCRYPT_DECRYPT", "KEY_AGREEMENT", "SIGN_VERIFY"};

    for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
        if (strcmp(all[i], usage) == 0) {
            return all[i];
        }
    }
    return all[0];
}

static int read_wanted(struct sim_call *call, struct sim_key_wanted *ret)
{
    const char *spec, *usage;
    int rv = sim_in_text(call, "CustomerMasterKeySpec", &spec);

    rv = rv == 0 ? sim_in_word(call, "KeySpec", ALL_SPECS, spec ? spec : SIM_SPEC_SYMMETRIC, &spec) : rv;
    rv = rv == 0 ? sim_in_word(call, "KeyUsage", ALL_USAGES, "ENCRYPT_DECRYPT", &usage) : rv;
    rv = rv == 0 ? sim_in_text(call, "Policy", &ret->policy) : rv;
    rv = rv == 0 ? sim_in_text(call, "Description", &ret->description) : rv;
    if (rv != 0) {
        return rv;
    }
    ret->spec = sim_spec_find(spec);
    ret->usage = static_usage(usage);
    return fits(ret->spec, usage)
               ? 0
               : sim_kms_refuse(&call->error, "ValidationException",
                                "KeyUsage %s is not compatible with KeySpec %s", usage, spec);
}

static int malformed(struct sim_call *call, int rv, const struct error *err)
{
    return rv == -EBADMSG  ? sim_kms_refuse(&call->error, "MalformedPolicyDocumentException", "%s", err->text)
           : rv == -ENOSPC ? sim_kms_refuse(&call->error, "LimitExceededException", "%s", err->text)
                           : sim_kms_break(&call->error, err->text);
}

int sim_create_key(struct sim_call *call)
{
    struct sim_key_wanted wanted = {.id = NULL};
    struct error err;
    int rv = sim_call_account(call);

    rv = rv == 0 ? read_wanted(call, &wanted) : rv;
    if (rv != 0) {
        return rv;
    }
    pthread_mutex_lock(&call->kms->lock);
    rv = sim_keys_add(&call->kms->keys, &wanted, sim_now(call->kms->clock), &call->key, &err);
    rv = rv == 0 ? save(call) : malformed(call, rv, &err);
    rv = rv == 0 ? out_metadata(call, call->key) : rv;
    pthread_mutex_unlock(&call->kms->lock);
    return rv;
}

/* ---- Policies ---- */

/* A key has one policy, by this name. */
static int check_name(struct sim_call *call)
{
    const char *name;
    int rv = sim_in_text(call, "PolicyName", &name);

    return rv == 0 && name && strcmp(name, "default") != 0
               ? sim_kms_refuse(&call->error, "NotFoundException", "No such policy exists")
               : rv;
}

int sim_get_key_policy(struct sim_call *call)
{
    int rv = sim_call_key(call, NULL, &administration);

    rv = rv == 0 ? check_name(call) : rv;
    if (rv == 0) {
        pthread_mutex_lock(&call->kms->lock);
        rv = sim_out_text(call, "Policy", call->key->policy_text);
        pthread_mutex_unlock(&call->kms->lock);
    }
    return rv == 0 ? sim_out_text(call, "PolicyName", "default") : rv;
}

int sim_put_key_policy(struct sim_call *call)
{
    const char *policy = "";
    struct error err;
    int rv = sim_call_key(call, NULL, &administration);

    rv = rv == 0 ? check_name(call) : rv;
    rv = rv == 0 ? sim_in_text(call, "Policy", &policy) : rv;
    if (rv == 0 && (!policy || strlen(policy) > SIM_POLICY_MAX)) {
        return sim_kms_refuse(&call->error, "ValidationException", "Policy has to have 1 to %zu characters",
                              SIM_POLICY_MAX);
    }
    if (rv == 0) {
        pthread_mutex_lock(&call->kms->lock);
        rv = sim_key_set_policy(call->key, policy, strlen(policy), &err);
        rv = rv == 0 ? save(call) : malformed(call, rv, &err);
        pthread_mutex_unlock(&call->kms->lock);
    }
    return rv;
}

/* ---- States and names ---- */

static int set_state(struct sim_call *call, bool disabled, bool pending_deletion)
{
    int rv = sim_call_key(call, NULL, &administration);

    if (rv == 0) {
        pthread_mutex_lock(&call->kms->lock);
        call->key->disabled = disabled;
        call->key->pending_deletion = pending_deletion;
        rv = save(call);
        pthread_mutex_unlock(&call->kms->lock);
    }
    return rv;
}

int sim_enable_key(struct sim_call *call)
{
    return set_state(call, false, false);
}

int sim_disable_key(struct sim_call *call)
{
    return set_state(call, true, false);
}

/* Nothing is ever deleted here. */
int sim_schedule_key_deletion(struct sim_call *call)
{
    json_int_t days = DELETION_DAYS;
    int rv = sim_in_number(call, "PendingWindowInDays", 7, DELETION_DAYS, &days);

    rv = rv == 0 ? set_state(call, false, true) : rv;
    rv = rv == 0 ? sim_out_text(call, "KeyId", call->key->arn) : rv;
    rv = rv == 0 ? sim_out_text(call, "KeyState", "PendingDeletion") : rv;
    rv = rv == 0 ? add(call, call->out, "DeletionDate",
                       json_real((double)(sim_now(call->kms->clock) + days * 86400)))
                 : rv;
    return rv == 0 ? add(call, call->out, "PendingWindowInDays", json_integer(days)) : rv;
}

/* As AWS's, it leaves the key disabled. */
int sim_cancel_key_deletion(struct sim_call *call)
{
    int rv = set_state(call, true, false);

    return rv == 0 ? sim_out_text(call, "KeyId", call->key->arn) : rv;
}

static int set_alias(struct sim_call *call, const char *alias)
{
    struct sim_keys *keys = &call->kms->keys;

    if (sim_keys_find(keys, alias)) {
        return sim_kms_refuse(&call->error, "AlreadyExistsException",
                              "An alias with the name %.256s already exists", alias);
    }
    char *copy = strdup(alias);
    if (!copy) {
        return sim_kms_break(&call->error, "out of memory");
    }
    free(call->key->alias);
    call->key->alias = copy;
    return save(call);
}

/* A key has one alias here: the last that it was given. */
int sim_create_alias(struct sim_call *call)
{
    const char *alias = "", *target = "";
    int rv = sim_in_text(call, "AliasName", &alias);

    rv = rv == 0 ? sim_in_text(call, "TargetKeyId", &target) : rv;
    if (rv == 0 && (!alias || !target || strncmp(alias, "alias/", 6) != 0 || strlen(alias) > 256)) {
        return sim_kms_refuse(&call->error, "ValidationException", "AliasName has to begin with alias/");
    }
    rv = rv == 0 ? sim_call_key(call, target, &administration) : rv;
    if (rv == 0) {
        pthread_mutex_lock(&call->kms->lock);
        rv = set_alias(call, alias);
        pthread_mutex_unlock(&call->kms->lock);
    }
    return rv;
}
