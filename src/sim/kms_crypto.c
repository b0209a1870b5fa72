/* KMS's operations on what callers bring: Encrypt, Decrypt, ReEncrypt, DeriveSharedSecret. */
#include "sim/kms_call.h"

#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>

#define USAGE_ENCRYPT "ENCRYPT_DECRYPT"
#define USAGE_AGREE   "KEY_AGREEMENT"

#define ALL_CIPHERS "SYMMETRIC_DEFAULT RSAES_OAEP_SHA_1 RSAES_OAEP_SHA_256"

static int failed(struct sim_call *call)
{
    ERR_clear_error();
    return sim_kms_break(&call->error, "the cryptographic library failed");
}

static bool is_symmetric(const struct sim_key *key)
{
    return key->pair == NULL;
}

static int check_cipher(struct sim_call *call, const char *algorithm)
{
    if (strcmp(algorithm, SIM_SPEC_SYMMETRIC) == 0 ? is_symmetric(call->key) : !is_symmetric(call->key)) {
        return 0;
    }
    return sim_kms_refuse(&call->error, "InvalidKeyUsageException",
                          "Algorithm %s is incompatible with key spec %s.", algorithm, call->key->spec->name);
}

/* ---- RSA ---- */

static EVP_PKEY_CTX *begin_rsa(EVP_PKEY *key, const char *algorithm, bool encrypt)
{
    const char *hash = strcmp(algorithm, "RSAES_OAEP_SHA_1") == 0 ? "SHA1" : "SHA256";
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new(key, NULL);

    if (context && (encrypt ? EVP_PKEY_encrypt_init(context) : EVP_PKEY_decrypt_init(context)) == 1 &&
        EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_OAEP_PADDING) == 1 &&
        EVP_PKEY_CTX_set_rsa_oaep_md_name(context, hash, NULL) == 1 &&
        EVP_PKEY_CTX_set_rsa_mgf1_md_name(context, hash, NULL) == 1) {
        return context;
    }
    EVP_PKEY_CTX_free(context);
    return NULL;
}

static int run_rsa(EVP_PKEY *key, const char *algorithm, bool encrypt, const struct sim_bytes *in,
                   struct sim_bytes *ret)
{
    EVP_PKEY_CTX *context = begin_rsa(key, algorithm, encrypt);
    size_t size = (size_t)EVP_PKEY_get_size(key);
    uint8_t *out = malloc(size);
    bool good = context && out &&
                (encrypt ? EVP_PKEY_encrypt(context, out, &size, in->data, in->size)
                         : EVP_PKEY_decrypt(context, out, &size, in->data, in->size)) == 1;

    EVP_PKEY_CTX_free(context);
    ERR_clear_error();
    if (!good) {
        free(out);
        return -EBADMSG;
    }
    *ret = (struct sim_bytes){out, size};
    return 0;
}

/* ---- Encrypt ---- */

/* With call->key, for call->context. */
static int seal(struct sim_call *call, const char *algorithm, const struct sim_context *context,
                const struct sim_bytes *plain, struct sim_bytes *ret)
{
    const struct sim_key *key = call->key;

    if (is_symmetric(key)) {
        return sim_blob_seal(key->material, key->id, context, plain->data, plain->size, ret) == 0
                   ? 0
                   : failed(call);
    }
    return run_rsa(key->pair, algorithm, true, plain, ret) == 0
               ? 0
               : sim_kms_refuse(&call->error, "ValidationException",
                                "The plaintext is too long for algorithm %s and key spec %s", algorithm,
                                key->spec->name);
}

int sim_encrypt(struct sim_call *call)
{
    struct sim_bytes plain = {.data = NULL}, blob = {.data = NULL};
    const char *algorithm;
    int rv = sim_in_word(call, "EncryptionAlgorithm", ALL_CIPHERS, SIM_SPEC_SYMMETRIC, &algorithm);

    rv = rv == 0 ? sim_in_context(call) : rv;
    rv = rv == 0 ? sim_in_bytes(call, "Plaintext", SIM_PLAINTEXT_MAX, &plain) : rv;
    rv = rv == 0 ? sim_call_key(call, NULL, &(struct sim_for){.usage = USAGE_ENCRYPT, .algorithm = algorithm})
                 : rv;
    rv = rv == 0 ? check_cipher(call, algorithm) : rv;
    rv = rv == 0 ? seal(call, algorithm, &call->context, &plain, &blob) : rv;
    rv = rv == 0 ? sim_out_bytes(call, "CiphertextBlob", blob.data, blob.size) : rv;
    rv = rv == 0 ? sim_out_text(call, "KeyId", call->key->arn) : rv;
    rv = rv == 0 ? sim_out_text(call, "EncryptionAlgorithm", algorithm) : rv;
    sim_bytes_release(&plain);
    sim_bytes_release(&blob);
    return rv;
}

/* ---- Decrypt ---- */

static int invalid_ciphertext(struct sim_call *call)
{
    return sim_kms_refuse(&call->error, "InvalidCiphertextException", "%s", "");
}

/* The key that a symmetric ciphertext names. One that is gone is told as one that the caller may not use. */
static int key_of_blob(struct sim_call *call, const struct sim_bytes *blob, const char *algorithm)
{
    char id[SIM_BLOB_ID];

    if (!sim_blob_key_id(blob, id)) {
        return invalid_ciphertext(call);
    }
    int rv = sim_call_key(
        call, id, &(struct sim_for){.usage = USAGE_ENCRYPT, .algorithm = algorithm, .of_ciphertext = true});
    if (rv != 0 && !call->key) {
        return sim_kms_refuse(
            &call->error, "AccessDeniedException",
            "The ciphertext refers to a customer master key that does not exist, does not exist "
            "in this region, or you are not allowed to access.");
    }
    return rv;
}

/* A key that is named has to be the one that the ciphertext is of. */
static int check_named(struct sim_call *call, const char *named, const struct sim_bytes *blob)
{
    char id[SIM_BLOB_ID];

    if (!sim_blob_key_id(blob, id)) {
        return invalid_ciphertext(call);
    }
    return strcmp(id, call->key->id) == 0
               ? 0
               : sim_kms_refuse(&call->error, "IncorrectKeyException",
                                "The key ID in the request does not identify a CMK that can perform this "
                                "operation: %.200s",
                                named);
}

static int find_key(struct sim_call *call, const char *named, const char *algorithm,
                    const struct sim_bytes *blob)
{
    if (!named) {
        return strcmp(algorithm, SIM_SPEC_SYMMETRIC) == 0
                   ? key_of_blob(call, blob, algorithm)
                   : sim_kms_refuse(&call->error, "ValidationException",
                                    "KeyId is needed for an asymmetric key");
    }
    int rv = sim_call_key(call, named, &(struct sim_for){.usage = USAGE_ENCRYPT, .algorithm = algorithm});
    rv = rv == 0 ? check_cipher(call, algorithm) : rv;
    return rv == 0 && is_symmetric(call->key) ? check_named(call, named, blob) : rv;
}

/* What is in `blob`, with call->key set by it. */
static int open_blob(struct sim_call *call, const char *named, const char *algorithm,
                     const struct sim_bytes *blob, struct sim_bytes *ret)
{
    int rv = find_key(call, named, algorithm, blob);

    if (rv != 0) {
        return rv;
    }
    rv = is_symmetric(call->key) ? sim_blob_open(call->key->material, &call->context, blob, ret)
                                 : run_rsa(call->key->pair, algorithm, false, blob, ret);
    return rv == 0 ? 0 : rv == -ENOMEM ? failed(call) : invalid_ciphertext(call);
}

int sim_decrypt(struct sim_call *call)
{
    struct sim_bytes plain = {.data = NULL}, blob = {.data = NULL};
    const char *algorithm, *named = NULL;
    int rv = sim_in_word(call, "EncryptionAlgorithm", ALL_CIPHERS, SIM_SPEC_SYMMETRIC, &algorithm);

    rv = rv == 0 ? sim_in_context(call) : rv;
    rv = rv == 0 ? sim_in_text(call, "KeyId", &named) : rv;
    rv = rv == 0 ? sim_in_bytes(call, "CiphertextBlob", SIM_CIPHERTEXT_MAX, &blob) : rv;
    rv = rv == 0 ? open_blob(call, named, algorithm, &blob, &plain) : rv;
    rv = rv == 0 ? sim_out_text(call, "KeyId", call->key->arn) : rv;
    rv = rv == 0 ? sim_out_text(call, "EncryptionAlgorithm", algorithm) : rv;
    rv = rv == 0 ? sim_out_secret(call, "Plaintext", plain.data, plain.size) : rv;
    sim_bytes_release(&plain);
    sim_bytes_release(&blob);
    return rv;
}

/* ---- ReEncrypt ---- */

/* IAM has two actions for it, one for each key. */
static int re_open(struct sim_call *call, const struct sim_bytes *blob, struct sim_bytes *ret,
                   const char **ret_algorithm)
{
    const char *named = NULL;
    int rv = sim_in_word(call, "SourceEncryptionAlgorithm", ALL_CIPHERS, SIM_SPEC_SYMMETRIC, ret_algorithm);

    call->operation = "ReEncryptFrom";
    rv = rv == 0 ? sim_context_read(json_object_get(call->in, "SourceEncryptionContext"), &call->context,
                                    &call->error)
                 : rv;
    rv = rv == 0 ? sim_in_text(call, "SourceKeyId", &named) : rv;
    rv = rv == 0 ? open_blob(call, named, *ret_algorithm, blob, ret) : rv;
    rv = rv == 0 ? sim_out_text(call, "SourceKeyId", call->key->arn) : rv;
    return rv == 0 ? sim_out_text(call, "SourceEncryptionAlgorithm", *ret_algorithm) : rv;
}

static int re_seal(struct sim_call *call, const struct sim_bytes *plain)
{
    struct sim_bytes blob = {.data = NULL};
    const char *named = NULL, *algorithm;
    int rv = sim_in_word(call, "DestinationEncryptionAlgorithm", ALL_CIPHERS, SIM_SPEC_SYMMETRIC, &algorithm);

    call->operation = "ReEncryptTo";
    rv = rv == 0 ? sim_context_read(json_object_get(call->in, "DestinationEncryptionContext"), &call->context,
                                    &call->error)
                 : rv;
    rv = rv == 0 ? sim_in_text(call, "DestinationKeyId", &named) : rv;
    rv = rv == 0 ? sim_call_key(call, named ? named : "",
                                &(struct sim_for){.usage = USAGE_ENCRYPT, .algorithm = algorithm})
                 : rv;
    rv = rv == 0 ? check_cipher(call, algorithm) : rv;
    rv = rv == 0 ? seal(call, algorithm, &call->context, plain, &blob) : rv;
    rv = rv == 0 ? sim_out_bytes(call, "CiphertextBlob", blob.data, blob.size) : rv;
    rv = rv == 0 ? sim_out_text(call, "KeyId", call->key->arn) : rv;
    rv = rv == 0 ? sim_out_text(call, "DestinationEncryptionAlgorithm", algorithm) : rv;
    sim_bytes_release(&blob);
    return rv;
}

int sim_re_encrypt(struct sim_call *call)
{
    struct sim_bytes plain = {.data = NULL}, blob = {.data = NULL};
    const char *algorithm;
    int rv = sim_in_bytes(call, "CiphertextBlob", SIM_CIPHERTEXT_MAX, &blob);

    rv = rv == 0 ? re_open(call, &blob, &plain, &algorithm) : rv;
    rv = rv == 0 ? re_seal(call, &plain) : rv;
    call->operation = "ReEncrypt";
    sim_bytes_release(&plain);
    sim_bytes_release(&blob);
    return rv;
}

/* ---- DeriveSharedSecret ---- */

static int derive(EVP_PKEY *own, EVP_PKEY *other, struct sim_bytes *ret)
{
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new(own, NULL);
    size_t size = 0;
    bool good = context && EVP_PKEY_derive_init(context) == 1 &&
                EVP_PKEY_derive_set_peer(context, other) == 1 && EVP_PKEY_derive(context, NULL, &size) == 1;

    ret->data = good ? malloc(size) : NULL;
    good = ret->data && EVP_PKEY_derive(context, ret->data, &size) == 1;
    ret->size = good ? size : 0;
    EVP_PKEY_CTX_free(context);
    ERR_clear_error();
    return good ? 0 : -EBADMSG;
}

static int agree(struct sim_call *call, const struct sim_bytes *der, struct sim_bytes *ret)
{
    const uint8_t *at = der->data;
    EVP_PKEY *other = d2i_PUBKEY(NULL, &at, (long)der->size);
    bool good = other && at == der->data + der->size && EVP_PKEY_get_base_id(other) == EVP_PKEY_EC &&
                derive(call->key->pair, other, ret) == 0;

    EVP_PKEY_free(other);
    ERR_clear_error();
    return good ? 0
                : sim_kms_refuse(&call->error, "ValidationException",
                                 "PublicKey is not one of the key's curve, in DER as X.509 has it");
}

int sim_derive_shared_secret(struct sim_call *call)
{
    struct sim_bytes der = {.data = NULL}, secret = {.data = NULL};
    const char *agreement;
    int rv = sim_in_word(call, "KeyAgreementAlgorithm", "ECDH", NULL, &agreement);

    rv = rv == 0 ? sim_in_bytes(call, "PublicKey", 8192, &der) : rv;
    rv = rv == 0 ? sim_call_key(call, NULL, &(struct sim_for){.usage = USAGE_AGREE, .agreement = agreement})
                 : rv;
    rv = rv == 0 ? agree(call, &der, &secret) : rv;
    rv = rv == 0 ? sim_out_text(call, "KeyId", call->key->arn) : rv;
    rv = rv == 0 ? sim_out_text(call, "KeyAgreementAlgorithm", agreement) : rv;
    rv = rv == 0 ? sim_out_text(call, "KeyOrigin", "AWS_KMS") : rv;
    rv = rv == 0 ? sim_out_secret(call, "SharedSecret", secret.data, secret.size) : rv;
    sim_bytes_release(&der);
    sim_bytes_release(&secret);
    return rv;
}
