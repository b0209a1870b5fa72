/* KMS's operations that make something new: GenerateRandom, GenerateDataKey and GenerateDataKeyPair, with and without plaintext. */
#include "sim/kms_call.h"

#include <openssl/err.h>
#include <openssl/rand.h>
#include <openssl/x509.h>
#include <string.h>

#define USAGE_ENCRYPT "ENCRYPT_DECRYPT"
#define PAIR_SPECS    "RSA_2048 RSA_3072 RSA_4096 ECC_NIST_P256 ECC_NIST_P384 ECC_NIST_P521 ECC_SECG_P256K1"

static int failed(struct sim_call *call)
{
    ERR_clear_error();
    return sim_kms_break(&call->error, "the cryptographic library failed");
}

int sim_generate_random(struct sim_call *call)
{
    unsigned char bytes[SIM_RANDOM_MAX];
    json_int_t size = 0;
    int rv = sim_in_number(call, "NumberOfBytes", 1, SIM_RANDOM_MAX, &size);

    rv = rv == 0 ? sim_call_account(call) : rv;
    if (rv == 0 && size == 0) {
        rv = sim_kms_refuse(&call->error, "ValidationException", "NumberOfBytes must be specified.");
    }
    if (rv == 0) {
        rv = RAND_bytes(bytes, (int)size) == 1 ? sim_out_secret(call, "Plaintext", bytes, (size_t)size)
                                               : failed(call);
    }
    OPENSSL_cleanse(bytes, sizeof bytes);
    return rv;
}

/* ---- Data keys ---- */

/* Either by its name or by its size. */
static int read_size(struct sim_call *call, size_t *ret)
{
    const char *spec = NULL;
    json_int_t size = 0;
    int rv = sim_in_text(call, "KeySpec", &spec);

    rv = rv == 0 ? sim_in_number(call, "NumberOfBytes", 1, SIM_RANDOM_MAX, &size) : rv;
    if (rv != 0) {
        return rv;
    }
    if ((spec == NULL) == (size == 0)) {
        return sim_kms_refuse(&call->error, "ValidationException",
                              "Please specify either number of bytes or key spec.");
    }
    if (spec && strcmp(spec, "AES_256") != 0 && strcmp(spec, "AES_128") != 0) {
        return sim_kms_refuse(&call->error, "ValidationException",
                              "1 validation error detected: Value at 'keySpec' failed to satisfy constraint");
    }
    *ret = !spec ? (size_t)size : strcmp(spec, "AES_256") == 0 ? 32 : 16;
    return 0;
}

/* Data keys are encrypted by symmetric keys alone. */
static int symmetric_key(struct sim_call *call, const char *pair_spec)
{
    int rv = sim_call_key(call, NULL,
                          &(struct sim_for){.usage = USAGE_ENCRYPT,
                                            .algorithm = SIM_SPEC_SYMMETRIC,
                                            .pair_spec = pair_spec});

    if (rv == 0 && call->key->pair) {
        rv = sim_kms_refuse(&call->error, "InvalidKeyUsageException",
                            "%s key usage is not valid for %s: it is no symmetric key.", call->key->arn,
                            call->operation);
    }
    return rv;
}

static int out_blob(struct sim_call *call, const char *name, const void *data, size_t size)
{
    struct sim_bytes blob = {.data = NULL};
    int rv = sim_blob_seal(call->key->material, call->key->id, &call->context, data, size, &blob) == 0
                 ? sim_out_bytes(call, name, blob.data, blob.size)
                 : failed(call);

    sim_bytes_release(&blob);
    return rv;
}

static int data_key(struct sim_call *call, bool plaintext)
{
    unsigned char bytes[SIM_RANDOM_MAX];
    size_t size = 0;
    int rv = sim_in_context(call);

    rv = rv == 0 ? read_size(call, &size) : rv;
    rv = rv == 0 ? symmetric_key(call, NULL) : rv;
    rv = rv == 0 && RAND_bytes(bytes, (int)size) != 1 ? failed(call) : rv;
    rv = rv == 0 ? out_blob(call, "CiphertextBlob", bytes, size) : rv;
    rv = rv == 0 ? sim_out_text(call, "KeyId", call->key->arn) : rv;
    rv = rv == 0 && plaintext ? sim_out_secret(call, "Plaintext", bytes, size) : rv;
    OPENSSL_cleanse(bytes, sizeof bytes);
    return rv;
}

int sim_generate_data_key(struct sim_call *call)
{
    return data_key(call, true);
}

int sim_generate_data_key_without_plaintext(struct sim_call *call)
{
    return data_key(call, false);
}

/* ---- Pairs ---- */

static int out_public(struct sim_call *call, EVP_PKEY *pair)
{
    uint8_t *der = NULL;
    int size = i2d_PUBKEY(pair, &der);
    int rv = size > 0 ? sim_out_bytes(call, "PublicKey", der, (size_t)size) : failed(call);

    OPENSSL_free(der);
    return rv;
}

/* In PKCS#8. */
static int out_private(struct sim_call *call, EVP_PKEY *pair, bool plaintext)
{
    uint8_t *der = NULL;
    PKCS8_PRIV_KEY_INFO *info = EVP_PKEY2PKCS8(pair);
    int size = info ? i2d_PKCS8_PRIV_KEY_INFO(info, &der) : 0;
    int rv = size > 0 ? out_blob(call, "PrivateKeyCiphertextBlob", der, (size_t)size) : failed(call);

    rv = rv == 0 && plaintext ? sim_out_secret(call, "PrivateKeyPlaintext", der, (size_t)size) : rv;
    OPENSSL_clear_free(der, size > 0 ? (size_t)size : 0);
    PKCS8_PRIV_KEY_INFO_free(info);
    return rv;
}

static int data_key_pair(struct sim_call *call, bool plaintext)
{
    EVP_PKEY *pair = NULL;
    const char *spec;
    int rv = sim_in_word(call, "KeyPairSpec", PAIR_SPECS, NULL, &spec);

    rv = rv == 0 ? sim_in_context(call) : rv;
    rv = rv == 0 ? symmetric_key(call, spec) : rv;
    if (rv == 0) {
        pair = sim_spec_generate(sim_spec_find(spec));
        rv = pair ? 0 : failed(call);
    }
    rv = rv == 0 ? out_public(call, pair) : rv;
    rv = rv == 0 ? out_private(call, pair, plaintext) : rv;
    rv = rv == 0 ? sim_out_text(call, "KeyId", call->key->arn) : rv;
    rv = rv == 0 ? sim_out_text(call, "KeyPairSpec", spec) : rv;
    EVP_PKEY_free(pair);
    return rv;
}

int sim_generate_data_key_pair(struct sim_call *call)
{
    return data_key_pair(call, true);
}

int sim_generate_data_key_pair_without_plaintext(struct sim_call *call)
{
    return data_key_pair(call, false);
}
