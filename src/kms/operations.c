/* The five operations of include/postern/kms.h: requests out of structs, results out of answers. */
#include "kms/answer.h"
#include "kms/attested.h"
#include "kms/kms_private.h"
#include "kms/struct.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

#define CIPHERTEXT_MAX 6144u
#define BYTES_MAX      1024u
#define PUBLIC_KEY_MAX 8192u

/* What a call makes on its way. */
struct operation {
    const char *name;
    const struct postern_kms_call *call;
    json_t *request;
    struct kms_answer answer;
    struct postern_secret secret;
    struct error err;
};

/* ---- Requests ---- */

int kms_check_call(const struct postern_kms_call *call, struct error *err)
{
    for (size_t i = 0; i < ARRAY_SIZE(call->reserved); i++) {
        if (call->reserved[i]) {
            return error_set(err, -EINVAL,
                             "what a call asks for is not known to this version of the library");
        }
    }
    if ((call->context_count > 0 && !call->context) || (call->grant_token_count > 0 && !call->grant_tokens)) {
        return error_set(
            err, -EINVAL,
            "a count of grant tokens, or of the context's pairs, is set, and their array is not");
    }
    for (size_t i = 0; i < call->grant_token_count; i++) {
        if (!call->grant_tokens[i]) {
            return error_set(err, -EINVAL, "a grant token is missing");
        }
    }
    return 0;
}

/* `status` is what was found out already. A string that is not UTF-8 is no argument, all else is memory. */
static int add_string(struct operation *operation, int status, const char *name, const char *value)
{
    if (status != 0 || !value) {
        return status;
    }
    if (json_object_set_new(operation->request, name, json_string(value)) == 0) {
        return 0;
    }
    json_t *probe = json_string("");
    json_decref(probe);
    return probe ? error_set(&operation->err, -EINVAL, "%s: what it is given is not UTF-8", name)
                 : error_set(&operation->err, -ENOMEM, "%s: out of memory", name);
}

static int add_blob(struct operation *operation, int status, const char *name, const void *data, size_t size,
                    size_t max)
{
    if (status != 0) {
        return status;
    }
    if (!data || size == 0 || size > max) {
        return error_set(&operation->err, -EINVAL, "%s: 1 to %zu bytes are wanted, %zu given", name, max,
                         data ? size : 0);
    }
    return json_object_set_new(operation->request, name, kms_json_blob(data, size)) == 0
               ? 0
               : error_set(&operation->err, -ENOMEM, "%s: out of memory", name);
}

static int add_number(struct operation *operation, int status, const char *name, unsigned number)
{
    if (status != 0) {
        return status;
    }
    if (number == 0 || number > BYTES_MAX) {
        return error_set(&operation->err, -EINVAL, "%s: 1 to %u bytes may be asked for", name, BYTES_MAX);
    }
    return json_object_set_new(operation->request, name, json_integer(number)) == 0
               ? 0
               : error_set(&operation->err, -ENOMEM, "%s: out of memory", name);
}

static int need(struct operation *operation, int status, const char *name, const char *value)
{
    if (status == 0 && (!value || value[0] == '\0')) {
        return error_set(&operation->err, -EINVAL, "%s is missing", name);
    }
    return add_string(operation, status, name, value);
}

static int add_context(struct operation *operation)
{
    const struct postern_kms_call *call = operation->call;
    json_t *context = json_object();
    int status = 0;

    for (size_t i = 0; i < call->context_count && status == 0; i++) {
        const struct postern_kms_context *pair = &call->context[i];
        if (!pair->key || !pair->value) {
            status =
                error_set(&operation->err, -EINVAL, "a pair of the encryption context has no key or value");
        } else if (json_object_get(context, pair->key)) {
            status = error_set(&operation->err, -EINVAL, "the encryption context has a key twice");
        } else if (json_object_set_new(context, pair->key, json_string(pair->value)) != 0) {
            status =
                error_set(&operation->err, -EINVAL, "the encryption context is not UTF-8, or out of memory");
        }
    }
    if (status != 0 || json_object_set(operation->request, "EncryptionContext", context) == 0) {
        json_decref(context);
        return status;
    }
    json_decref(context);
    return error_set(&operation->err, -ENOMEM, "the encryption context: out of memory");
}

static int add_grants(struct operation *operation)
{
    const struct postern_kms_call *call = operation->call;
    json_t *tokens = json_array();
    int failed = 0;

    for (size_t i = 0; i < call->grant_token_count; i++) {
        failed |= json_array_append_new(tokens, json_string(call->grant_tokens[i]));
    }
    failed |= json_object_set_new(operation->request, "GrantTokens", tokens);
    return failed ? error_set(&operation->err, -EINVAL, "a grant token is not UTF-8, or out of memory") : 0;
}

static int add_common(struct operation *operation, int status)
{
    const struct postern_kms_call *call = operation->call;

    if (status == 0) {
        status = kms_check_call(call, &operation->err);
    }
    if (status == 0 && call->context_count > 0) {
        status = add_context(operation);
    }
    if (status == 0 && call->grant_token_count > 0) {
        status = add_grants(operation);
    }
    return status;
}

/* ---- The call ---- */

static int begin(struct operation *operation, const char *name, const struct postern_kms_call *call)
{
    *operation = (struct operation){.name = name, .call = call, .request = json_object()};
    return operation->request ? 0 : error_set(&operation->err, -ENOMEM, "%s: out of memory", name);
}

static int carry_out(struct postern_kms *kms, struct operation *operation, int status)
{
    status = add_common(operation, status);
    if (status != 0) {
        error_prefix(&operation->err, "%s", operation->name);
        return status;
    }
    return kms_attested_call(kms, operation->name, operation->request,
                             kms_deadline(kms, operation->call->timeout_ms), &operation->answer,
                             &operation->secret, &operation->err);
}

/* What was made goes, but for a secret that was handed on. */
static int end(struct operation *operation, int status, struct postern_error *err)
{
    if (status != 0) {
        kms_fail(err, status, &operation->answer, &operation->err);
    }
    postern_secret_wipe(&operation->secret);
    kms_answer_release(&operation->answer);
    json_decref(operation->request);
    return status;
}

/* The secret is the caller's. */
static void hand_on(struct operation *operation, struct postern_secret *ret)
{
    *ret = operation->secret;
    operation->secret = (struct postern_secret){.data = NULL};
}

/* A key or random bytes of another length are none that were asked for. 0: any. */
static int check_length(struct operation *operation, int status, size_t wanted)
{
    if (status != 0 || wanted == 0 || operation->secret.length == wanted) {
        return status;
    }
    return error_set(&operation->err, -EPROTO, "%s: %zu bytes were asked for, and KMS's answer has %zu",
                     operation->name, wanted, operation->secret.length);
}

static int take_blob(struct operation *operation, int status, const char *name, size_t max, void **ret,
                     size_t *ret_size)
{
    uint8_t *data;

    if (status != 0) {
        return status;
    }
    status = kms_answer_blob(&operation->answer, name, max, &data, ret_size, &operation->err);
    *ret = status == 0 ? data : NULL;
    return status;
}

static int take_string(struct operation *operation, int status, const char *name, char **ret)
{
    const char *value = json_string_value(json_object_get(operation->answer.body, name));

    if (status != 0) {
        return status;
    }
    if (!value) {
        return error_set(&operation->err, -EPROTO, "%s: KMS's answer has no %s", operation->name, name);
    }
    *ret = strdup(value);
    return *ret ? 0 : error_set(&operation->err, -ENOMEM, "%s: out of memory", operation->name);
}

/* ---- Decrypt ---- */

int postern_kms_decrypt(struct postern_kms *kms, const struct postern_kms_decrypt_request *given,
                        struct postern_secret *ret, struct postern_error *err)
{
    struct postern_kms_decrypt_request request = {0};
    struct operation operation;
    int status = kms_read_struct(&request, sizeof request, given, given->size, err);

    if (status != 0) {
        return status;
    }
    status = begin(&operation, "Decrypt", &request.call);
    status = add_blob(&operation, status, "CiphertextBlob", request.ciphertext, request.ciphertext_length,
                      CIPHERTEXT_MAX);
    status = add_string(&operation, status, "KeyId", request.key_id);
    status = add_string(&operation, status, "EncryptionAlgorithm", request.algorithm);
    status = carry_out(kms, &operation, status);
    if (status == 0) {
        hand_on(&operation, ret);
    }
    return end(&operation, status, err);
}

/* ---- GenerateDataKey ---- */

void postern_kms_data_key_release(struct postern_kms_data_key *data_key)
{
    if (data_key) {
        postern_secret_wipe(&data_key->plaintext);
        free(data_key->ciphertext);
        free(data_key->key_id);
        *data_key = (struct postern_kms_data_key){.key_id = NULL};
    }
}

static int data_key_length(const struct postern_kms_data_key_request *request)
{
    if (request->bytes != 0) {
        return (int)request->bytes;
    }
    if (!request->key_spec || strcmp(request->key_spec, "AES_256") == 0) {
        return 32;
    }
    return strcmp(request->key_spec, "AES_128") == 0 ? 16 : 0;
}

static int add_spec(struct operation *operation, int status,
                    const struct postern_kms_data_key_request *request)
{
    if (status == 0 && request->bytes != 0 && request->key_spec) {
        return error_set(&operation->err, -EINVAL,
                         "either a key spec or a number of bytes is wanted, not both");
    }
    if (request->bytes != 0) {
        return add_number(operation, status, "NumberOfBytes", request->bytes);
    }
    return add_string(operation, status, "KeySpec", request->key_spec ? request->key_spec : "AES_256");
}

int postern_kms_generate_data_key(struct postern_kms *kms, const struct postern_kms_data_key_request *given,
                                  struct postern_kms_data_key *ret, struct postern_error *err)
{
    struct postern_kms_data_key_request request = {0};
    struct postern_kms_data_key made = {.key_id = NULL};
    struct operation operation;
    int status = kms_read_struct(&request, sizeof request, given, given->size, err);

    if (status != 0) {
        return status;
    }
    status = begin(&operation, "GenerateDataKey", &request.call);
    status = need(&operation, status, "KeyId", request.key_id);
    status = add_spec(&operation, status, &request);
    status = carry_out(kms, &operation, status);
    status = check_length(&operation, status, (size_t)data_key_length(&request));
    status = take_blob(&operation, status, "CiphertextBlob", CIPHERTEXT_MAX, &made.ciphertext,
                       &made.ciphertext_length);
    status = take_string(&operation, status, "KeyId", &made.key_id);
    if (status == 0) {
        hand_on(&operation, &made.plaintext);
        *ret = made;
    } else {
        postern_kms_data_key_release(&made);
    }
    return end(&operation, status, err);
}

/* ---- GenerateDataKeyPair ---- */

void postern_kms_data_key_pair_release(struct postern_kms_data_key_pair *pair)
{
    if (pair) {
        postern_secret_wipe(&pair->private_key);
        free(pair->private_key_ciphertext);
        free(pair->public_key);
        free(pair->key_id);
        *pair = (struct postern_kms_data_key_pair){.key_id = NULL};
    }
}

int postern_kms_generate_data_key_pair(struct postern_kms *kms,
                                       const struct postern_kms_data_key_pair_request *given,
                                       struct postern_kms_data_key_pair *ret, struct postern_error *err)
{
    struct postern_kms_data_key_pair_request request = {0};
    struct postern_kms_data_key_pair made = {.key_id = NULL};
    struct operation operation;
    int status = kms_read_struct(&request, sizeof request, given, given->size, err);

    if (status != 0) {
        return status;
    }
    status = begin(&operation, "GenerateDataKeyPair", &request.call);
    status = need(&operation, status, "KeyId", request.key_id);
    status = need(&operation, status, "KeyPairSpec", request.key_pair_spec);
    status = carry_out(kms, &operation, status);
    status = take_blob(&operation, status, "PrivateKeyCiphertextBlob", CIPHERTEXT_MAX,
                       &made.private_key_ciphertext, &made.private_key_ciphertext_length);
    status =
        take_blob(&operation, status, "PublicKey", PUBLIC_KEY_MAX, &made.public_key, &made.public_key_length);
    status = take_string(&operation, status, "KeyId", &made.key_id);
    if (status == 0) {
        hand_on(&operation, &made.private_key);
        *ret = made;
    } else {
        postern_kms_data_key_pair_release(&made);
    }
    return end(&operation, status, err);
}

/* ---- GenerateRandom ---- */

int postern_kms_generate_random(struct postern_kms *kms, const struct postern_kms_random_request *given,
                                struct postern_secret *ret, struct postern_error *err)
{
    struct postern_kms_random_request request = {0};
    struct operation operation;
    int status = kms_read_struct(&request, sizeof request, given, given->size, err);

    if (status != 0) {
        return status;
    }
    status = begin(&operation, "GenerateRandom", &request.call);
    status = add_number(&operation, status, "NumberOfBytes", request.bytes);
    status = carry_out(kms, &operation, status);
    status = check_length(&operation, status, request.bytes);
    if (status == 0) {
        hand_on(&operation, ret);
    }
    return end(&operation, status, err);
}

/* ---- DeriveSharedSecret ---- */

int postern_kms_derive_shared_secret(struct postern_kms *kms,
                                     const struct postern_kms_shared_secret_request *given,
                                     struct postern_secret *ret, struct postern_error *err)
{
    struct postern_kms_shared_secret_request request = {0};
    struct operation operation;
    int status = kms_read_struct(&request, sizeof request, given, given->size, err);

    if (status != 0) {
        return status;
    }
    status = begin(&operation, "DeriveSharedSecret", &request.call);
    status = need(&operation, status, "KeyId", request.key_id);
    status = need(&operation, status, "KeyAgreementAlgorithm", "ECDH");
    status = add_blob(&operation, status, "PublicKey", request.public_key, request.public_key_length,
                      PUBLIC_KEY_MAX);
    status = carry_out(kms, &operation, status);
    if (status == 0) {
        hand_on(&operation, ret);
    }
    return end(&operation, status, err);
}
