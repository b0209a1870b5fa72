/* What KMS's operations have in common: see kms_call.h. */
#include "sim/kms_call.h"
#include "iam/principal.h"

#include <errno.h>
#include <openssl/rand.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>

#define WRONG_RECIPIENT_BITS 2048

/* ---- Out of the request ---- */

static int wrong_type(struct sim_call *call, const char *name)
{
    return sim_kms_refuse(&call->error, "SerializationException", "%s is of another type", name);
}

static int missing(struct sim_call *call, const char *name)
{
    return sim_kms_refuse(
        &call->error, "ValidationException",
        "1 validation error detected: Value at '%s' failed to satisfy constraint: Member must "
        "not be null",
        name);
}

static int unfit(struct sim_call *call, const char *name)
{
    return sim_kms_refuse(&call->error, "ValidationException",
                          "1 validation error detected: Value at '%s' failed to satisfy constraint", name);
}

static const json_t *find(const struct sim_call *call, const char *name)
{
    const json_t *value = json_object_get(call->in, name);

    return json_is_null(value) ? NULL : value;
}

int sim_in_text(struct sim_call *call, const char *name, const char **ret)
{
    const json_t *value = find(call, name);

    *ret = json_string_value(value);
    return value && !*ret ? wrong_type(call, name) : 0;
}

int sim_in_number(struct sim_call *call, const char *name, json_int_t min, json_int_t max, json_int_t *ret)
{
    const json_t *value = find(call, name);

    if (!value) {
        return 0;
    }
    if (!json_is_integer(value)) {
        return wrong_type(call, name);
    }
    *ret = json_integer_value(value);
    return *ret < min || *ret > max ? unfit(call, name) : 0;
}

int sim_in_bytes(struct sim_call *call, const char *name, size_t max, struct sim_bytes *ret)
{
    const json_t *value = find(call, name);

    *ret = (struct sim_bytes){.data = NULL};
    if (!value) {
        return missing(call, name);
    }
    if (!json_is_string(value)) {
        return wrong_type(call, name);
    }
    int rv = sim_base64_decode(json_string_value(value), json_string_length(value), ret);
    if (rv == -ENOMEM) {
        return sim_kms_break(&call->error, "out of memory");
    }
    if (rv != 0) {
        return sim_kms_refuse(&call->error, "SerializationException", "%s is not base64", name);
    }
    if (ret->size < 1 || ret->size > max) {
        sim_bytes_release(ret);
        return unfit(call, name);
    }
    return 0;
}

/* `allowed` has only static texts: what is returned is of it, or the request's. */
static bool is_among(const char *word, const char *allowed)
{
    size_t size = strlen(word);

    while (allowed && *allowed != '\0') {
        size_t here = strcspn(allowed, " ");
        if (here == size && memcmp(allowed, word, size) == 0) {
            return true;
        }
        allowed += here + (allowed[here] == ' ');
    }
    return false;
}

int sim_in_word(struct sim_call *call, const char *name, const char *allowed, const char *otherwise,
                const char **ret)
{
    int rv = sim_in_text(call, name, ret);

    if (rv == 0 && !*ret) {
        *ret = otherwise;
    }
    if (rv == 0 && !*ret) {
        return missing(call, name);
    }
    return rv == 0 && !is_among(*ret, allowed) ? unfit(call, name) : rv;
}

int sim_in_context(struct sim_call *call)
{
    return sim_context_read(find(call, "EncryptionContext"), &call->context, &call->error);
}

/* ---- Keys ---- */

static int not_found(struct sim_call *call, const char *name)
{
    if (strstr(name, "alias/")) {
        return sim_kms_refuse(&call->error, "NotFoundException", "Alias %.256s is not found.", name);
    }
    return sim_kms_refuse(&call->error, "NotFoundException", "Key '%.256s' does not exist", name);
}

/* A name that is no ARN is looked for in the account of whoever calls; there are keys of one account here. */
static bool is_elsewhere(const struct sim_call *call, const char *name)
{
    char account[IAM_ACCOUNT_DIGITS + 1];

    return strncmp(name, "arn:", 4) != 0 && iam_principal_account(call->caller->principal, account) &&
           strcmp(account, call->kms->account) != 0;
}

static int judge_state(struct sim_call *call, const char *usage)
{
    const struct sim_key *key = call->key;

    if (key->pending_deletion) {
        return sim_kms_refuse(&call->error, "KMSInvalidStateException", "%s is pending deletion.", key->arn);
    }
    if (key->disabled) {
        return sim_kms_refuse(&call->error, "DisabledException", "%s is disabled.", key->arn);
    }
    if (strcmp(key->usage, usage) != 0) {
        return sim_kms_refuse(&call->error, "InvalidKeyUsageException",
                              "%s key usage is %s which is not valid for %s.", key->arn, key->usage,
                              call->operation);
    }
    return 0;
}

static struct sim_access access_of(const struct sim_call *call)
{
    return (struct sim_access){.caller = call->caller,
                               .operation = call->operation,
                               .account = call->kms->account,
                               .region = call->kms->region,
                               .attested = &call->attested,
                               .context = &call->context};
}

int sim_call_key(struct sim_call *call, const char *name, const struct sim_for *what)
{
    struct sim_access access = access_of(call);
    int rv = name ? 0 : sim_in_text(call, "KeyId", &name);

    if (rv != 0) {
        return rv;
    }
    if (!name) {
        return missing(call, "KeyId");
    }
    pthread_mutex_lock(&call->kms->lock);
    bool elsewhere = !what->of_ciphertext && is_elsewhere(call, name);
    call->key = elsewhere ? NULL : sim_keys_find(&call->kms->keys, name);
    if (call->key) {
        access.key = call->key;
        access.alias = strstr(name, "alias/");
        access.algorithm = what->algorithm;
        access.pair_spec = what->pair_spec;
        access.agreement = what->agreement;
        rv = sim_access_check(&access, &call->error);
        if (rv == 0 && what->usage) {
            rv = judge_state(call, what->usage);
        }
    } else {
        rv = not_found(call, name);
    }
    pthread_mutex_unlock(&call->kms->lock);
    return rv;
}

int sim_call_account(struct sim_call *call)
{
    struct sim_access access = access_of(call);

    return sim_access_check(&access, &call->error);
}

/* ---- Into the answer ---- */

static int add(struct sim_call *call, const char *name, json_t *value)
{
    return json_object_set_new(call->out, name, value) == 0
               ? 0
               : sim_kms_break(&call->error, "the answer cannot be put together");
}

int sim_out_text(struct sim_call *call, const char *name, const char *value)
{
    return add(call, name, json_string(value));
}

int sim_out_bytes(struct sim_call *call, const char *name, const void *data, size_t size)
{
    char *text = sim_base64(data, size);
    int rv = add(call, name, text ? json_string(text) : NULL);

    free(text);
    return rv;
}

/* Somebody else's key, for the fault of that name. */
static int seal(struct sim_call *call, const void *data, size_t size, struct text *out)
{
    struct sim_cms_kind kind = {.shape = call->kms->shape};
    const struct attest_bytes *der = &call->attested.parsed.public_key;
    EVP_PKEY *other = NULL;

    switch (call->fault.kind) {
    case SIM_FAULT_CMS_PRIMITIVE:
        kind.shape = SIM_CMS_PRIMITIVE;
        break;
    case SIM_FAULT_CMS_PIECES:
        kind.shape = SIM_CMS_PIECES;
        break;
    case SIM_FAULT_CMS_SCATTERED:
        kind.shape = SIM_CMS_SCATTERED;
        break;
    case SIM_FAULT_CMS_SHA1:
        kind.hash = "SHA1";
        break;
    case SIM_FAULT_WRONG_RECIPIENT:
        other = EVP_RSA_gen(WRONG_RECIPIENT_BITS);
        break;
    default:
        break;
    }
    int rv = sim_cms_seal(&kind, other ? other : call->attested.key, der->data, der->size, data, size, out);
    EVP_PKEY_free(other);
    return rv;
}

static int out_sealed(struct sim_call *call, const void *data, size_t size)
{
    struct text envelope = TEXT_INIT;
    unsigned char noise[400];
    int rv;

    if (call->fault.kind == SIM_FAULT_WRONG_CMS && RAND_bytes(noise, sizeof noise) == 1) {
        return sim_out_bytes(call, "CiphertextForRecipient", noise, sizeof noise);
    }
    rv = seal(call, data, size, &envelope) == 0
             ? sim_out_bytes(call, "CiphertextForRecipient", envelope.data, envelope.length)
             : sim_kms_break(&call->error, "the cryptographic library failed");
    text_release(&envelope);
    return rv;
}

int sim_out_secret(struct sim_call *call, const char *name, const void *data, size_t size)
{
    enum sim_fault_kind fault = call->fault.kind;
    int rv = 0;

    if (!call->attested.present || fault == SIM_FAULT_LEAK_INSTEAD) {
        return sim_out_bytes(call, name, data, size);
    }
    if (fault == SIM_FAULT_LEAK_BESIDE) {
        rv = sim_out_bytes(call, name, data, size);
    } else if (fault == SIM_FAULT_NULL) {
        rv = add(call, name, json_null());
    } else if (fault == SIM_FAULT_EMPTY) {
        rv = sim_out_text(call, name, "");
    }
    return rv == 0 ? out_sealed(call, data, size) : rv;
}
