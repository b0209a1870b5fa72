/* Envelopes as AWS writes them: see envelope.h. */
#include "envelope.h"

#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define OID_ENVELOPED "\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x03"
#define OID_DATA      "\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01"
#define AES_256_CBC   "\x06\x09\x60\x86\x48\x01\x65\x03\x04\x01\x2a"

void bytes_add(struct bytes *out, const void *data, size_t size)
{
    assert_true(out->size + size <= sizeof out->data);
    if (size > 0) {
        memcpy(out->data + out->size, data, size);
    }
    out->size += size;
}

#define ADD(out, literal) bytes_add(out, literal, sizeof(literal) - 1)

void bytes_add_tlv(struct bytes *out, uint8_t tag, const void *data, size_t size)
{
    uint8_t head[4] = {tag, 0x82, (uint8_t)(size >> 8), (uint8_t)size};

    if (size < 128) {
        head[1] = (uint8_t)size;
    }
    bytes_add(out, head, size < 128 ? 2 : 4);
    bytes_add(out, data, size);
}

static void add_part(struct bytes *out, const struct part *part, const char *usual, size_t usual_size)
{
    bytes_add(out, part->data ? part->data : usual, part->data ? part->size : usual_size);
}

#define ADD_PART(out, part, usual) add_part(out, part, usual, sizeof(usual) - 1)

EVP_PKEY *envelope_key_of(const struct recipient *recipient)
{
    size_t size;
    const uint8_t *at = recipient_public_key(recipient, &size);
    EVP_PKEY *key = d2i_PUBKEY(NULL, &at, (long)size);

    assert_non_null(key);
    return key;
}

static void wrap_key(const struct envelope *envelope, EVP_PKEY *to, const struct part *key, uint8_t out[256])
{
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new(to, NULL);
    const char *hash = envelope->hash ? envelope->hash : "SHA256";
    size_t size = 256;

    assert_int_equal(EVP_PKEY_encrypt_init(context), 1);
    assert_int_equal(EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_OAEP_PADDING), 1);
    assert_int_equal(EVP_PKEY_CTX_set_rsa_oaep_md_name(context, hash, NULL), 1);
    assert_int_equal(EVP_PKEY_CTX_set_rsa_mgf1_md_name(context, envelope->mgf ? envelope->mgf : hash, NULL),
                     1);
    assert_int_equal(EVP_PKEY_encrypt(context, out, &size, key->data, key->size), 1);
    assert_int_equal(size, 256);
    EVP_PKEY_CTX_free(context);
}

static void encrypt(const struct envelope *envelope, const uint8_t *key, const uint8_t *iv, struct bytes *out)
{
    EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
    EVP_CIPHER *cipher = EVP_CIPHER_fetch(NULL, envelope->cipher ? envelope->cipher : "AES-256-CBC", NULL);
    const struct part secret = PART("the secret");
    const struct part *plain = envelope->plain.data ? &envelope->plain : &secret;
    int some, rest;

    assert_int_equal(EVP_EncryptInit_ex2(context, cipher, key, iv, NULL), 1);
    assert_int_equal(EVP_EncryptUpdate(context, out->data, &some, plain->data, (int)plain->size), 1);
    assert_int_equal(EVP_EncryptFinal_ex(context, out->data + some, &rest), 1);
    out->size = (size_t)(some + rest);
    EVP_CIPHER_free(cipher);
    EVP_CIPHER_CTX_free(context);
}

static void add_recipients(struct bytes *out, const struct envelope *envelope, EVP_PKEY *to,
                           const struct part *key)
{
    static const uint8_t name[34] = {0x80, 32, 7};
    struct bytes one = {.size = 0}, all = {.size = 0};
    uint8_t wrapped[256];

    if (envelope->recipients.data) {
        bytes_add(out, envelope->recipients.data, envelope->recipients.size);
        return;
    }
    ADD_PART(&one, &envelope->recipient_version, "\x02\x01\x02");
    add_part(&one, &envelope->name, (const char *)name, sizeof name);
    ADD_PART(&one, &envelope->algorithm, OAEP_SHA256);
    if (envelope->wrapped_key.data) {
        bytes_add_tlv(&one, 0x04, envelope->wrapped_key.data, envelope->wrapped_key.size);
    } else {
        wrap_key(envelope, to, key, wrapped);
        bytes_add_tlv(&one, 0x04, wrapped, sizeof wrapped);
    }
    for (unsigned i = 0; i < (envelope->copies ? envelope->copies : 1); i++) {
        bytes_add_tlv(&all, 0x30, one.data, one.size);
    }
    bytes_add_tlv(out, 0x31, all.data, all.size);
}

static void add_encrypted(struct bytes *out, const struct envelope *envelope, const struct part *key,
                          const struct part *iv)
{
    struct bytes data = {.size = 0};
    size_t piece = envelope->piece ? envelope->piece : 24;

    if (envelope->content.data) {
        bytes_add(out, envelope->content.data, envelope->content.size);
        return;
    }
    if (envelope->ciphertext.data) {
        bytes_add(&data, envelope->ciphertext.data, envelope->ciphertext.size);
    } else {
        encrypt(envelope, key->data, iv->data, &data);
    }
    if (envelope->primitive) {
        bytes_add_tlv(out, 0x80, data.data, data.size);
        return;
    }
    ADD(out, "\xa0\x80");
    for (size_t at = 0; at < data.size; at += piece) {
        bytes_add_tlv(out, 0x04, data.data + at, data.size - at < piece ? data.size - at : piece);
    }
    ADD(out, "\0\0");
}

static void add_content(struct bytes *out, const struct envelope *envelope, const struct part *key)
{
    uint8_t random[16];
    const struct part made = {.data = random, .size = sizeof random};
    const struct part *iv = envelope->iv.data ? &envelope->iv : &made;
    struct bytes algorithm = {.size = 0};

    RAND_bytes(random, sizeof random);
    ADD(out, "\x30\x80");
    ADD_PART(out, &envelope->content_type, OID_DATA);
    if (envelope->content_algorithm.data) {
        bytes_add(out, envelope->content_algorithm.data, envelope->content_algorithm.size);
    } else {
        ADD(&algorithm, AES_256_CBC);
        bytes_add_tlv(&algorithm, 0x04, iv->data, iv->size);
        bytes_add_tlv(out, 0x30, algorithm.data, algorithm.size);
    }
    /* What is done is done with 16 bytes, whatever is said of them. */
    add_encrypted(out, envelope, key, iv->size == sizeof random ? iv : &made);
    ADD(out, "\0\0");
}

void envelope_make(struct bytes *out, const struct envelope *envelope, EVP_PKEY *to)
{
    uint8_t random[32];
    const struct part made = {.data = random, .size = sizeof random};
    const struct part *key = envelope->key.data ? &envelope->key : &made;

    RAND_bytes(random, sizeof random);
    out->size = 0;
    ADD(out, "\x30\x80");
    ADD_PART(out, &envelope->type, OID_ENVELOPED);
    ADD(out, "\xa0\x80\x30\x80");
    ADD_PART(out, &envelope->version, "\x02\x01\x02");
    bytes_add(out, envelope->originator.data, envelope->originator.size);
    add_recipients(out, envelope, to, key);
    /* A key that is too short for the content's cipher is still told, and the content is then encrypted under another. */
    add_content(out, envelope, key->size == sizeof random ? key : &made);
    bytes_add(out, envelope->attributes.data, envelope->attributes.size);
    ADD_PART(out, &envelope->end, "\0\0\0\0\0\0");
}
