/* Envelopes as KMS writes them: see cms.h. */
#include "sim/cms.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <openssl/sha.h>
#include <string.h>

#define CONTENT_KEY   32
#define IV            16
#define ENCRYPTED_KEY 256
#define SMALL_PIECE   16

#define ADD(out, literal) text_add_bytes(out, literal, sizeof(literal) - 1)
#define END(out)          ADD(out, "\0\0")

#define ENVELOPED_DATA "\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x03"
#define DATA           "\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01"
#define AES_256_CBC    "\x06\x09\x60\x86\x48\x01\x65\x03\x04\x01\x2a"
#define VERSION_2      "\x02\x01\x02"

/* SEQUENCE {rsaesOaep, SEQUENCE {[0] sha256, [1] mgf1 with sha256}} (RFC 8017, A.2.1) */
#define OAEP_SHA256                                                                                        \
    "\x30\x3c\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x07\x30\x2f\xa0\x0f\x30\x0d\x06\x09\x60\x86\x48\x01" \
    "\x65\x03\x04\x02\x01\x05\x00\xa1\x1c\x30\x1a\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x08\x30\x0d\x06" \
    "\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00"

static void add_head(struct text *out, int tag, size_t size)
{
    text_add_char(out, (char)tag);
    if (size >= 256) {
        text_add_char(out, (char)0x82);
        text_add_char(out, (char)(size >> 8));
    } else if (size >= 128) {
        text_add_char(out, (char)0x81);
    }
    text_add_char(out, (char)size);
}

static void add_tlv(struct text *out, int tag, const void *data, size_t size)
{
    add_head(out, tag, size);
    text_add_bytes(out, data, size);
}

/* ---- The cryptography ---- */

static int encrypt_key(EVP_PKEY *to, const char *hash, const uint8_t key[CONTENT_KEY],
                       uint8_t out[ENCRYPTED_KEY])
{
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new(to, NULL);
    size_t size = ENCRYPTED_KEY;
    bool good = context && EVP_PKEY_encrypt_init(context) == 1 &&
                EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_OAEP_PADDING) == 1 &&
                EVP_PKEY_CTX_set_rsa_oaep_md_name(context, hash, NULL) == 1 &&
                EVP_PKEY_CTX_set_rsa_mgf1_md_name(context, hash, NULL) == 1 &&
                EVP_PKEY_encrypt(context, out, &size, key, CONTENT_KEY) == 1 && size == ENCRYPTED_KEY;

    EVP_PKEY_CTX_free(context);
    return good ? 0 : -EIO;
}

/* `out` has room for a block more. */
static int encrypt_content(const uint8_t key[CONTENT_KEY], const uint8_t iv[IV], const void *secret,
                           size_t size, uint8_t *out, size_t *ret_size)
{
    EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
    int some = 0, rest = 0;
    bool good = context && EVP_EncryptInit_ex(context, EVP_aes_256_cbc(), NULL, key, iv) == 1 &&
                EVP_EncryptUpdate(context, out, &some, secret, (int)size) == 1 &&
                EVP_EncryptFinal_ex(context, out + some, &rest) == 1;

    EVP_CIPHER_CTX_free(context);
    *ret_size = (size_t)some + (size_t)rest;
    return good ? 0 : -EIO;
}

/* ---- The structure ---- */

/* How KMS derives the identifier is not known; it is of this size. */
static void add_recipient(struct text *out, const uint8_t *der, size_t der_size,
                          const uint8_t key[ENCRYPTED_KEY])
{
    uint8_t name[SHA256_DIGEST_LENGTH];
    struct text one = TEXT_INIT, all = TEXT_INIT;

    SHA256(der, der_size, name);
    ADD(&one, VERSION_2);
    add_tlv(&one, 0x80, name, sizeof name);
    ADD(&one, OAEP_SHA256);
    add_tlv(&one, 0x04, key, ENCRYPTED_KEY);
    add_tlv(&all, 0x30, one.data, one.length);
    add_tlv(out, 0x31, all.data, all.length);
    out->failed = out->failed || one.failed || all.failed;
    text_release(&one);
    text_release(&all);
}

static void add_content(struct text *out, enum sim_cms_shape shape, const uint8_t iv[IV], const uint8_t *data,
                        size_t size)
{
    size_t piece = shape == SIM_CMS_PIECES ? SMALL_PIECE : SIM_CMS_PIECE;

    ADD(out, "\x30\x80" DATA "\x30\x1d" AES_256_CBC);
    add_tlv(out, 0x04, iv, IV);
    if (shape == SIM_CMS_PRIMITIVE) {
        add_tlv(out, 0x80, data, size);
    } else {
        ADD(out, "\xa0\x80");
        for (size_t at = 0; at < size; at += piece) {
            add_tlv(out, 0x04, data + at, size - at < piece ? size - at : piece);
        }
        END(out);
    }
    END(out);
}

static void add_envelope(struct text *out, enum sim_cms_shape shape, const struct text *recipient,
                         const uint8_t iv[IV], const uint8_t *data, size_t size)
{
    ADD(out, "\x30\x80" ENVELOPED_DATA "\xa0\x80\x30\x80" VERSION_2);
    text_add_bytes(out, recipient->data, recipient->length);
    add_content(out, shape, iv, data, size);
    END(out);
    END(out);
    END(out);
}

int sim_cms_seal(const struct sim_cms_kind *kind, EVP_PKEY *to, const uint8_t *der, size_t der_size,
                 const void *secret, size_t size, struct text *out)
{
    uint8_t key[CONTENT_KEY], iv[IV], encrypted_key[ENCRYPTED_KEY];
    struct text recipient = TEXT_INIT;
    uint8_t *data = OPENSSL_malloc(size + 2 * IV);
    size_t data_size = 0;
    int rv = data ? 0 : -ENOMEM;

    if (rv == 0 && (RAND_bytes(key, sizeof key) != 1 || RAND_bytes(iv, sizeof iv) != 1)) {
        rv = -EIO;
    }
    if (rv == 0) {
        rv = encrypt_key(to, kind->hash ? kind->hash : "SHA256", key, encrypted_key);
    }
    if (rv == 0) {
        rv = encrypt_content(key, iv, secret, size, data, &data_size);
    }
    if (rv == 0) {
        add_recipient(&recipient, der, der_size, encrypted_key);
        add_envelope(out, kind->shape, &recipient, iv, data, data_size);
        rv = out->failed || recipient.failed ? -ENOMEM : 0;
    }
    OPENSSL_cleanse(key, sizeof key);
    OPENSSL_free(data);
    text_release(&recipient);
    ERR_clear_error();
    return rv;
}
