/* Sealing and opening with data keys from KMS: see include/postern/seal.h. */
#include "postern/seal.h"

#include "kms/answer.h"
#include "kms/base64.h"
#include "kms/call.h"
#include "kms/kms_private.h"
#include "kms/seal_stream.h"
#include "kms/secret.h"
#include "kms/struct.h"
#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int fail(struct postern_error *ret, int status, const char *what, struct error *err)
{
    if (what != NULL) {
        error_prefix(err, "%s", what);
    }
    return kms_fail(ret, status, NULL, err);
}

/*
 * KMS looks for an alias in the account of whoever calls. In an enclave the AWS credentials come from the parent, and in an account of its
 * own the parent can have an alias of any name lead to a key of its own. An ARN, of a key or of an alias, names the account; a key's ID is
 * KMS's to choose.
 */
static int check_account(const char *key_id, struct error *err)
{
    static const char alias[] = "alias/";
    return strncmp(key_id, alias, sizeof alias - 1) != 0
               ? 0
               : error_set(
                     err, -EINVAL,
                     "%.200s may be of any account, whichever the AWS credentials are of, and those come "
                     "from outside of the enclave: name the KMS key by its ARN",
                     key_id);
}

/* ---- A data key without attestation ---- */

static json_t *context_object(const struct postern_kms_call *call)
{
    json_t *object = json_object();
    for (size_t i = 0; object != NULL && i < call->context_count; i++) {
        if (json_object_set_new(object, call->context[i].key, json_string(call->context[i].value)) != 0) {
            json_decref(object);
            object = NULL;
        }
    }
    return object;
}

static json_t *token_array(const struct postern_kms_call *call)
{
    json_t *array = json_array();
    for (size_t i = 0; array != NULL && i < call->grant_token_count; i++) {
        if (json_array_append_new(array, json_string(call->grant_tokens[i])) != 0) {
            json_decref(array);
            array = NULL;
        }
    }
    return array;
}

static int take_plaintext(const json_t *body, struct postern_secret *ret)
{
    json_t *member = json_object_get(body, "Plaintext");
    size_t length = json_string_length(member), size = 0;
    if (length == 0 || secret_new(length, ret) != 0) {
        return -EPROTO;
    }
    if (base64_decode(json_string_value(member), length, ret->data, &size) != 0) {
        return -EPROTO;
    }
    ret->length = size;
    return 0;
}

static int take_data_key(const struct kms_answer *answer, struct postern_kms_data_key *ret, struct error *err)
{
    const char *key_id = json_string_value(json_object_get(answer->body, "KeyId"));
    uint8_t *ciphertext = NULL;
    int r = take_plaintext(answer->body, &ret->plaintext);
    if (r != 0 || key_id == NULL) {
        return error_set(err, -EPROTO, "GenerateDataKey: what KMS answered is no data key");
    }
    r = kms_answer_blob(answer, "CiphertextBlob", SEAL_DATA_KEY_MAX, &ciphertext, &ret->ciphertext_length,
                        err);
    ret->ciphertext = ciphertext;
    ret->key_id = r == 0 ? strdup(key_id) : NULL;
    return r != 0 || ret->key_id != NULL ? r : error_set(err, -ENOMEM, "GenerateDataKey: out of memory");
}

/* What an enclave never does: the answer has the key in the clear. */
static int ask_openly(struct postern_kms *kms, const struct postern_seal_options *options,
                      struct postern_kms_data_key *ret, struct postern_error *ret_error)
{
    struct kms_answer answer = {.body = NULL};
    struct error err = ERROR_INIT;
    json_t *request =
        json_pack("{s:s, s:s, s:o, s:o}", "KeyId", options->key_id, "KeySpec", "AES_256", "EncryptionContext",
                  context_object(&options->call), "GrantTokens", token_array(&options->call));
    if (request == NULL) {
        error_set(&err, -EINVAL, "GenerateDataKey: out of memory, or what is asked for is not in UTF-8");
        return fail(ret_error, -EINVAL, NULL, &err);
    }
    int r =
        kms_call(kms, "GenerateDataKey", request, kms_deadline(kms, options->call.timeout_ms), &answer, &err);
    if (r == 0) {
        r = take_data_key(&answer, ret, &err);
    }
    json_decref(request);
    r = r == 0 ? 0 : kms_fail(ret_error, r, &answer, &err);
    kms_answer_release(&answer);
    return r;
}

static int ask_attested(struct postern_kms *kms, const struct postern_seal_options *options,
                        struct postern_kms_data_key *ret, struct postern_error *err)
{
    struct postern_kms_data_key_request request;
    postern_kms_data_key_request_init(&request);
    request.call = options->call;
    request.key_id = options->key_id;
    request.key_spec = "AES_256";
    return postern_kms_generate_data_key(kms, &request, ret, err);
}

/* ---- Sealing ---- */

static int seal_under(const struct postern_kms_data_key *key, const struct postern_seal_options *options,
                      const struct postern_seal_io *io, struct error *err)
{
    struct seal_header header = {.key_id = key->key_id,
                                 .data_key = key->ciphertext,
                                 .data_key_size = key->ciphertext_length,
                                 .context = options->call.context,
                                 .context_count = options->call.context_count};
    struct seal_cipher cipher;
    uint8_t *bytes;
    size_t size;
    if (key->plaintext.length != SEAL_KEY_SIZE) {
        return error_set(err, -EPROTO, "KMS made a data key of %zu bytes, and not of %u",
                         key->plaintext.length, SEAL_KEY_SIZE);
    }
    if (RAND_bytes(header.salt, SEAL_SALT_SIZE) != 1) {
        ERR_clear_error();
        return error_set(err, -EIO, "there are no random bytes to be had");
    }
    int r = seal_encode(&header, key->plaintext.data, &bytes, &size, err);
    if (r != 0) {
        return r;
    }
    r = seal_cipher_init(&cipher, key->plaintext.data, bytes, size, err);
    if (r == 0) {
        r = io->write(io->user, bytes, size);
        r = r == 0 ? seal_stream(&cipher, io, err) : error_errno(err, r < 0 ? r : -EIO, "cannot write");
        seal_cipher_release(&cipher);
    }
    free(bytes);
    return r;
}

/* Before anybody is asked for anything. */
static int check_sealing(const struct postern_seal_options *options, struct error *err)
{
    if (options->key_id == NULL || (options->flags & ~POSTERN_SEAL_WITHOUT_ATTESTATION) != 0) {
        return error_set(err, -EINVAL, "the options lack a key_id, or have a flag that is not known");
    }
    int r =
        (options->flags & POSTERN_SEAL_WITHOUT_ATTESTATION) != 0 ? 0 : check_account(options->key_id, err);
    r = r == 0 ? kms_check_call(&options->call, err) : r;
    return r == 0 ? seal_check_context(options->call.context, options->call.context_count, err) : r;
}

int postern_seal(struct postern_kms *kms, const struct postern_seal_options *given,
                 const struct postern_seal_io *io, struct postern_error *ret_error)
{
    struct postern_seal_options options = {0};
    struct postern_kms_data_key key = {.key_id = NULL};
    struct error err = ERROR_INIT;
    int r = kms_read_struct(&options, sizeof options, given, given->size, ret_error);
    if (r != 0) {
        return r;
    }
    r = check_sealing(&options, &err);
    if (r != 0) {
        return fail(ret_error, r, "cannot seal", &err);
    }
    bool openly = (options.flags & POSTERN_SEAL_WITHOUT_ATTESTATION) != 0;
    r = openly ? ask_openly(kms, &options, &key, ret_error) : ask_attested(kms, &options, &key, ret_error);
    if (r == 0) {
        r = seal_under(&key, &options, io, &err);
        r = r == 0 ? 0 : fail(ret_error, r, "cannot seal", &err);
    }
    postern_kms_data_key_release(&key);
    return r;
}

/* ---- Opening ---- */

static const char *find_value(const struct seal_header *header, const char *key)
{
    for (size_t i = 0; i < header->context_count; i++) {
        if (strcmp(header->context[i].key, key) == 0) {
            return header->context[i].value;
        }
    }
    return NULL;
}

/* KMS would decrypt with any context that stands in the file: whether it is the one that is meant is ours to see. */
static int compare_context(const struct seal_header *header, const struct postern_kms_call *call,
                           struct error *err)
{
    int r = kms_check_call(call, err);
    r = r == 0 ? seal_check_context(call->context, call->context_count, err) : r;
    for (size_t i = 0; r == 0 && i < call->context_count; i++) {
        const char *value = find_value(header, call->context[i].key);
        if (value == NULL) {
            return error_set(err, -EPERM, "it was sealed without %s in its context", call->context[i].key);
        }
        if (strcmp(value, call->context[i].value) != 0) {
            return error_set(err, -EPERM, "it was sealed with another %s in its context",
                             call->context[i].key);
        }
    }
    return r;
}

/* KMS has compared the keys. Its word stays. */
static int tell_other_key(const char *key_id, struct postern_error *why)
{
    why->status = -EPERM;
    snprintf(why->message, sizeof why->message,
             "cannot open: it was sealed under another key than %.200s (KMS answers IncorrectKeyException)",
             key_id);
    return -EPERM;
}

static int decrypt_key(struct postern_kms *kms, const struct postern_unseal_options *options,
                       const struct seal_header *header, struct postern_secret *ret,
                       struct postern_error *err)
{
    struct postern_kms_decrypt_request request;
    struct postern_error why;
    postern_kms_decrypt_request_init(&request);
    request.call = options->call;
    request.call.context = header->context;
    request.call.context_count = header->context_count;
    request.ciphertext = header->data_key;
    request.ciphertext_length = header->data_key_size;
    request.key_id = options->key_id != NULL ? options->key_id : header->key_id;
    int r = postern_kms_decrypt(kms, &request, ret, &why);
    if (r != 0 && strcmp(why.word, "IncorrectKeyException") == 0) {
        r = tell_other_key(request.key_id, &why);
    }
    if (r != 0 && err != NULL) {
        *err = why;
    }
    return r;
}

static int open_under(const struct postern_secret *key, const uint8_t *bytes, size_t size,
                      const struct postern_seal_io *io, struct error *err)
{
    struct seal_cipher cipher;
    if (key->length != SEAL_KEY_SIZE) {
        return error_set(err, -EBADMSG, "its data key has %zu bytes, and not %u", key->length, SEAL_KEY_SIZE);
    }
    int r = seal_cipher_init(&cipher, key->data, bytes, size, err);
    if (r == 0) {
        r = seal_open_stream(&cipher, io, err);
        seal_cipher_release(&cipher);
    }
    return r;
}

static int read_header(const struct postern_seal_io *io, struct seal_header *ret, uint8_t **ret_bytes,
                       size_t *ret_size, struct error *err)
{
    int r = seal_read_header(io, ret_bytes, ret_size, err);
    if (r != 0) {
        return r;
    }
    r = seal_decode(*ret_bytes, *ret_size, ret, err);
    if (r != 0) {
        free(*ret_bytes);
    }
    return r;
}

int postern_unseal(struct postern_kms *kms, const struct postern_unseal_options *given,
                   const struct postern_seal_io *io, struct postern_error *ret_error)
{
    struct postern_unseal_options options = {0};
    struct postern_secret key = {.data = NULL};
    struct error err = ERROR_INIT;
    struct seal_header header;
    uint8_t *bytes;
    size_t size;
    int r = kms_read_struct(&options, sizeof options, given, given->size, ret_error);
    if (r != 0) {
        return r;
    }
    r = options.flags != 0 ? error_set(&err, -EINVAL, "the options have a flag that is not known") : 0;
    r = r == 0 && options.key_id != NULL ? check_account(options.key_id, &err) : r;
    r = r == 0 ? read_header(io, &header, &bytes, &size, &err) : r;
    if (r != 0) {
        return fail(ret_error, r, "cannot open", &err);
    }
    r = compare_context(&header, &options.call, &err);
    if (r != 0) {
        r = fail(ret_error, r, "cannot open", &err);
    } else {
        r = decrypt_key(kms, &options, &header, &key, ret_error);
    }
    if (r == 0) {
        r = open_under(&key, bytes, size, io, &err);
        r = r == 0 ? 0 : fail(ret_error, r, "cannot open", &err);
    }
    postern_secret_wipe(&key);
    seal_release(&header);
    free(bytes);
    return r;
}

/* ---- Describing ---- */

int postern_sealed_describe(const struct postern_seal_io *io, struct postern_sealed *ret,
                            struct postern_error *ret_error)
{
    struct error err = ERROR_INIT;
    struct seal_header header;
    uint8_t *bytes;
    size_t size;
    int r = read_header(io, &header, &bytes, &size, &err);
    if (r != 0) {
        return fail(ret_error, r, "cannot read what is sealed", &err);
    }
    free(bytes);
    *ret = (struct postern_sealed){.key_id = header.key_id,
                                   .context_count = header.context_count,
                                   .context = header.context,
                                   .memory = header.memory};
    return 0;
}

void postern_sealed_release(struct postern_sealed *sealed)
{
    free(sealed->memory);
    *sealed = (struct postern_sealed){.memory = NULL};
}
