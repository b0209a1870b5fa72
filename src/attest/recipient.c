/* Opening what KMS encrypts for an enclave: see recipient.h. */
#include "attest/recipient.h"

#include <errno.h>
#include <openssl/cms.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

struct recipient {
    EVP_PKEY *key;
    uint8_t *public_key; /* owned, by OpenSSL */
    size_t public_key_size;
};

/* rsaesOaep, with SHA-256 and MGF1 with SHA-256 (RFC 8017, A.2.1), as KMS writes it. */
static const uint8_t oaep_sha256[] = {0x30, 0x3c, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01,
                                      0x01, 0x07, 0x30, 0x2f, 0xa0, 0x0f, 0x30, 0x0d, 0x06, 0x09, 0x60,
                                      0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0xa1,
                                      0x1c, 0x30, 0x1a, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d,
                                      0x01, 0x01, 0x08, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01,
                                      0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00};

/* ---- The key ---- */

int recipient_new(struct recipient **ret, struct error *err)
{
    struct recipient *recipient = calloc(1, sizeof *recipient);

    if (!recipient) {
        return error_set(err, -ENOMEM, "cannot make a key for KMS to encrypt to: out of memory");
    }
    recipient->key = EVP_RSA_gen(RECIPIENT_KEY_BITS);
    int size = recipient->key ? i2d_PUBKEY(recipient->key, &recipient->public_key) : 0;
    if (size <= 0 || (unsigned)size > RECIPIENT_KEY_MAX) {
        recipient_free(recipient);
        ERR_clear_error();
        return error_set(err, -EIO,
                         "cannot make a key for KMS to encrypt to: the cryptographic library failed");
    }
    recipient->public_key_size = (size_t)size;
    *ret = recipient;
    return 0;
}

void recipient_free(struct recipient *recipient)
{
    if (recipient) {
        EVP_PKEY_free(recipient->key);
        OPENSSL_free(recipient->public_key);
        free(recipient);
    }
}

const uint8_t *recipient_public_key(const struct recipient *recipient, size_t *ret_size)
{
    *ret_size = recipient->public_key_size;
    return recipient->public_key;
}

void recipient_wipe(struct recipient_secret *secret)
{
    OPENSSL_clear_free(secret->data, secret->size);
    *secret = (struct recipient_secret){.data = NULL};
}

/* ---- The envelope ---- */

/* One whole structure, and nothing behind it. NULL: it is none. */
static CMS_ContentInfo *read_cms(const uint8_t *bytes, size_t size)
{
    const uint8_t *at = bytes;
    CMS_ContentInfo *cms = size <= RECIPIENT_CMS_MAX ? d2i_CMS_ContentInfo(NULL, &at, (long)size) : NULL;

    if (cms && at != bytes + size) {
        CMS_ContentInfo_free(cms);
        cms = NULL;
    }
    return cms;
}

static bool is_oaep(X509_ALGOR *algorithm)
{
    uint8_t *der = NULL;
    int size = i2d_X509_ALGOR(algorithm, &der);
    bool same = size == (int)sizeof oaep_sha256 && !memcmp(der, oaep_sha256, sizeof oaep_sha256);

    OPENSSL_free(der);
    return same;
}

/* Exactly one recipient, with the key's encryption as it has to be. Whom it names is not looked at: how KMS makes that
 * name is not written down, and a wrong one cannot be decrypted. */
static bool has_one_recipient(CMS_ContentInfo *cms)
{
    STACK_OF(CMS_RecipientInfo) *all = CMS_get0_RecipientInfos(cms);
    X509_ALGOR *algorithm = NULL;

    if (sk_CMS_RecipientInfo_num(all) != 1) {
        return false;
    }
    CMS_RecipientInfo *only = sk_CMS_RecipientInfo_value(all, 0);
    return CMS_RecipientInfo_type(only) == CMS_RECIPINFO_TRANS &&
           CMS_RecipientInfo_ktri_get0_algs(only, NULL, NULL, &algorithm) == 1 && is_oaep(algorithm);
}

static bool is_envelope(CMS_ContentInfo *cms)
{
    return OBJ_obj2nid(CMS_get0_type(cms)) == NID_pkcs7_enveloped &&
           OBJ_obj2nid(CMS_get0_eContentType(cms)) == NID_pkcs7_data && has_one_recipient(cms);
}

static bool is_aes_256_cbc(BIO *content)
{
    EVP_CIPHER_CTX *cipher = NULL;
    BIO *decrypting = BIO_find_type(content, BIO_TYPE_CIPHER);

    return decrypting && BIO_get_cipher_ctx(decrypting, &cipher) == 1 && cipher &&
           EVP_CIPHER_CTX_get_nid(cipher) == NID_aes_256_cbc;
}

/* Everything that comes, up to the end. The padding is judged there. */
static bool read_all(BIO *content, uint8_t *data, size_t room, size_t *ret_size)
{
    int n;

    *ret_size = 0;
    while ((n = BIO_read(content, data + *ret_size, (int)(room - *ret_size))) > 0) {
        *ret_size += (size_t)n;
    }
    BIO *decrypting = BIO_find_type(content, BIO_TYPE_CIPHER);
    return n == 0 && *ret_size < room && BIO_get_cipher_status(decrypting) == 1;
}

/*
 * Without CMS_DEBUG_DECRYPT OpenSSL goes on with a key made at random when the right one could not be decrypted, so that nobody
 * who may try often learns which it was; of a wrong key's results one in 200 would then pass for a secret. Here nobody tries often,
 * and all failures are told alike.
 */
static bool decrypt(CMS_ContentInfo *cms, EVP_PKEY *key, uint8_t *data, size_t room, size_t *ret_size)
{
    /* The first call does nothing but to note the flag. */
    if (CMS_decrypt(cms, NULL, NULL, NULL, NULL, CMS_DEBUG_DECRYPT) != 1 ||
        CMS_decrypt_set1_pkey(cms, key, NULL) != 1) {
        return false;
    }
    BIO *content = CMS_dataInit(cms, NULL);
    bool good = content && is_aes_256_cbc(content) && read_all(content, data, room, ret_size);
    BIO_free_all(content);
    return good;
}

int recipient_open(struct recipient *recipient, const uint8_t *cms, size_t size, struct recipient_secret *ret,
                   struct error *err)
{
    uint8_t *data = OPENSSL_malloc(RECIPIENT_CMS_MAX);
    size_t length = 0;

    if (!data) {
        return error_set(err, -ENOMEM, "cannot open KMS's answer: out of memory");
    }
    CMS_ContentInfo *envelope = read_cms(cms, size);
    bool good = envelope && is_envelope(envelope) &&
                decrypt(envelope, recipient->key, data, RECIPIENT_CMS_MAX, &length) && length > 0;
    CMS_ContentInfo_free(envelope);
    ERR_clear_error();
    if (!good) {
        OPENSSL_clear_free(data, RECIPIENT_CMS_MAX);
        return error_set(
            err, -EBADMSG,
            "cannot open KMS's answer: it is not encrypted as KMS does, or not for this enclave");
    }
    /* What is wiped later is what is told here, so the rest goes now. */
    OPENSSL_cleanse(data + length, RECIPIENT_CMS_MAX - length);
    *ret = (struct recipient_secret){.data = data, .size = length};
    return 0;
}
