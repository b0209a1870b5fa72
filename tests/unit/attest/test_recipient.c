/*
 * What KMS encrypts for an enclave, opened: in the shapes that AWS's servers write, which are put together here byte by byte,
 * and in none other.
 */
#include "attest/recipient.h"

#include "fault.h"
#include <errno.h>
#include <openssl/cms.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct recipient *recipient, *other;
static struct error err;

/* ---- Envelopes ---- */

struct bytes {
    uint8_t data[8192];
    size_t size;
};

/* How it is to be; zeroed, as AWS's servers write it. */
struct kind {
    const char *plain;
    bool primitive;       /* the content in one piece, and not in several */
    const char *hash;     /* of OAEP; NULL: SHA256 */
    const char *cipher;   /* NULL: AES-256-CBC */
    unsigned recipients;  /* 0: 1 */
    bool without_content; /* none is there */
    bool other_content;   /* content of another type */
    bool other_type;      /* no envelope */
    bool bad_padding;     /* of the content */
    bool bad_algorithm;   /* RSA PKCS#1, as the algorithm says */
};

static void add(struct bytes *out, const void *data, size_t size)
{
    assert_true(out->size + size <= sizeof out->data);
    memcpy(out->data + out->size, data, size);
    out->size += size;
}

#define ADD(out, literal) add(out, literal, sizeof(literal) - 1)
#define END(out)          ADD(out, "\0\0")

static void add_tlv(struct bytes *out, uint8_t tag, const void *data, size_t size)
{
    uint8_t head[4] = {tag, 0x82, (uint8_t)(size >> 8), (uint8_t)size};

    if (size < 128) {
        head[1] = (uint8_t)size;
    }
    add(out, head, size < 128 ? 2 : 4);
    add(out, data, size);
}

static EVP_PKEY *public_key_of(const struct recipient *of)
{
    size_t size;
    const uint8_t *at = recipient_public_key(of, &size);
    EVP_PKEY *key = d2i_PUBKEY(NULL, &at, (long)size);

    assert_non_null(key);
    return key;
}

static void encrypt_key(const struct recipient *to, const char *hash, const uint8_t key[32], uint8_t out[256])
{
    EVP_PKEY *public_key = public_key_of(to);
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new(public_key, NULL);
    size_t size = 256;

    assert_int_equal(EVP_PKEY_encrypt_init(context), 1);
    assert_int_equal(EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_OAEP_PADDING), 1);
    assert_int_equal(EVP_PKEY_CTX_set_rsa_oaep_md_name(context, hash, NULL), 1);
    assert_int_equal(EVP_PKEY_CTX_set_rsa_mgf1_md_name(context, hash, NULL), 1);
    assert_int_equal(EVP_PKEY_encrypt(context, out, &size, key, 32), 1);
    assert_int_equal(size, 256);
    EVP_PKEY_CTX_free(context);
    EVP_PKEY_free(public_key);
}

static size_t encrypt_content(const struct kind *kind, const uint8_t key[32], const uint8_t iv[16],
                              uint8_t *out)
{
    EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
    EVP_CIPHER *cipher = EVP_CIPHER_fetch(NULL, kind->cipher ? kind->cipher : "AES-256-CBC", NULL);
    const char *plain = kind->plain ? kind->plain : "the secret";
    int some, rest;

    assert_int_equal(EVP_EncryptInit_ex2(context, cipher, key, iv, NULL), 1);
    assert_int_equal(EVP_EncryptUpdate(context, out, &some, (const uint8_t *)plain, (int)strlen(plain)), 1);
    assert_int_equal(EVP_EncryptFinal_ex(context, out + some, &rest), 1);
    EVP_CIPHER_free(cipher);
    EVP_CIPHER_CTX_free(context);
    if (kind->bad_padding) {
        out[some + rest - 17 < 0 ? 0 : some + rest - 17] ^= 0xff;
    }
    return (size_t)(some + rest);
}

#define OAEP_SHA256                                                                                        \
    "\x30\x3c\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x07\x30\x2f\xa0\x0f\x30\x0d\x06\x09\x60\x86\x48\x01" \
    "\x65\x03\x04\x02\x01\x05\x00\xa1\x1c\x30\x1a\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x08\x30\x0d\x06" \
    "\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00"
#define OAEP_SHA1   "\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x07\x30\x00"
#define PKCS1       "\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00"
#define AES_256_CBC "\x06\x09\x60\x86\x48\x01\x65\x03\x04\x01\x2a"
#define AES_128_CBC "\x06\x09\x60\x86\x48\x01\x65\x03\x04\x01\x02"

static void add_recipients(struct bytes *out, const struct kind *kind, const struct recipient *to,
                           const uint8_t key[32])
{
    static const uint8_t name[32] = {7};
    struct bytes one = {.size = 0}, all = {.size = 0};
    uint8_t encrypted[256];

    encrypt_key(to, kind->hash ? kind->hash : "SHA256", key, encrypted);
    ADD(&one, "\x02\x01\x02");
    add_tlv(&one, 0x80, name, sizeof name);
    if (kind->bad_algorithm) {
        ADD(&one, PKCS1);
    } else if (kind->hash) {
        ADD(&one, OAEP_SHA1);
    } else {
        ADD(&one, OAEP_SHA256);
    }
    add_tlv(&one, 0x04, encrypted, sizeof encrypted);
    for (unsigned i = 0; i < (kind->recipients ? kind->recipients : 1); i++) {
        add_tlv(&all, 0x30, one.data, one.size);
    }
    add_tlv(out, 0x31, all.data, all.size);
}

static void add_content(struct bytes *out, const struct kind *kind, const uint8_t key[32])
{
    uint8_t iv[16], data[4096];
    struct bytes algorithm = {.size = 0};
    size_t size;

    RAND_bytes(iv, sizeof iv);
    size = encrypt_content(kind, key, iv, data);
    ADD(out, "\x30\x80");
    if (kind->other_content) {
        ADD(out, "\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02");
    } else {
        ADD(out, "\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01");
    }
    if (kind->cipher) {
        ADD(&algorithm, AES_128_CBC);
    } else {
        ADD(&algorithm, AES_256_CBC);
    }
    add_tlv(&algorithm, 0x04, iv, sizeof iv);
    add_tlv(out, 0x30, algorithm.data, algorithm.size);
    if (kind->primitive) {
        add_tlv(out, 0x80, data, size);
    } else if (!kind->without_content) {
        ADD(out, "\xa0\x80");
        for (size_t at = 0; at < size; at += 24) {
            add_tlv(out, 0x04, data + at, size - at < 24 ? size - at : 24);
        }
        END(out);
    }
    END(out);
}

static void make(struct bytes *out, const struct kind *kind, const struct recipient *to)
{
    uint8_t key[32];

    RAND_bytes(key, sizeof key);
    out->size = 0;
    ADD(out, "\x30\x80");
    if (kind->other_type) {
        ADD(out, "\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02");
    } else {
        ADD(out, "\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x03");
    }
    ADD(out, "\xa0\x80\x30\x80\x02\x01\x02");
    add_recipients(out, kind, to, key);
    add_content(out, kind, key);
    END(out);
    END(out);
    END(out);
}

/* ---- Tests ---- */

static void assert_opens(const struct bytes *cms, const char *plain)
{
    struct recipient_secret secret;

    if (recipient_open(recipient, cms->data, cms->size, &secret, &err) != 0) {
        fail_msg("%s", err.text);
    }
    assert_int_equal(secret.size, strlen(plain));
    assert_memory_equal(secret.data, plain, secret.size);
    recipient_wipe(&secret);
    assert_null(secret.data);
}

/* All are told in the same words. */
static void assert_refused(const struct bytes *cms)
{
    struct recipient_secret secret = {.data = NULL};

    assert_int_equal(recipient_open(recipient, cms->data, cms->size, &secret, &err), -EBADMSG);
    assert_null(secret.data);
    assert_string_equal(err.text,
                        "cannot open KMS's answer: it is not encrypted as KMS does, or not for this enclave");
}

static int setup_group(void **state)
{
    (void)state;
    return recipient_new(&recipient, &err) || recipient_new(&other, &err);
}

static int teardown_group(void **state)
{
    (void)state;
    recipient_free(recipient);
    recipient_free(other);
    recipient_free(NULL);
    return 0;
}

static void test_the_public_key_is_one_of_rsa_2048(void **state)
{
    (void)state;
    EVP_PKEY *key = public_key_of(recipient);

    assert_int_equal(EVP_PKEY_get_bits(key), 2048);
    assert_int_equal(EVP_PKEY_get_base_id(key), EVP_PKEY_RSA);
    EVP_PKEY_free(key);
}

static void test_the_shapes_that_aws_writes(void **state)
{
    (void)state;
    struct bytes cms;
    char large[3001];

    make(&cms, &(struct kind){.plain = NULL}, recipient);
    assert_opens(&cms, "the secret");
    make(&cms, &(struct kind){.primitive = true}, recipient);
    assert_opens(&cms, "the secret");
    memset(large, 'x', sizeof large - 1);
    large[sizeof large - 1] = '\0';
    make(&cms, &(struct kind){.plain = large}, recipient);
    assert_opens(&cms, large);
    make(&cms, &(struct kind){.plain = "0123456789abcdef", .primitive = true}, recipient);
    assert_opens(&cms, "0123456789abcdef");
}

/* As OpenSSL writes it: of definite length. */
static void test_der(void **state)
{
    (void)state;
    struct bytes cms, der;
    const uint8_t *at = cms.data;
    uint8_t *out = der.data;

    make(&cms, &(struct kind){.primitive = true}, recipient);
    CMS_ContentInfo *info = d2i_CMS_ContentInfo(NULL, &at, (long)cms.size);
    assert_non_null(info);
    der.size = (size_t)i2d_CMS_ContentInfo(info, &out);
    assert_opens(&der, "the secret");
    CMS_ContentInfo_free(info);
}

/* A wrong key's garbage would pass for a secret once in 200 times, if OpenSSL were let. */
static void test_for_somebody_else(void **state)
{
    (void)state;
    struct bytes cms;

    for (unsigned i = 0; i < 400; i++) {
        make(&cms, &(struct kind){.plain = NULL}, other);
        assert_refused(&cms);
    }
}

static void test_other_ways_to_encrypt(void **state)
{
    (void)state;
    static const struct kind kinds[] = {
        {.hash = "SHA1"},          {.cipher = "AES-128-CBC"}, {.recipients = 2},
        {.without_content = true}, {.other_content = true},   {.other_type = true},
        {.bad_padding = true},     {.bad_algorithm = true},   {.plain = ""},
    };

    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        struct bytes cms;
        make(&cms, &kinds[i], recipient);
        assert_refused(&cms);
    }
}

static void test_every_truncation_and_a_byte_more(void **state)
{
    (void)state;
    struct bytes cms;

    make(&cms, &(struct kind){.plain = NULL}, recipient);
    size_t whole = cms.size;
    for (cms.size = 0; cms.size < whole; cms.size++) {
        assert_refused(&cms);
    }
    cms.data[cms.size++] = 0;
    assert_refused(&cms);
}

/* Nothing but the secret comes out of it, and nothing crashes; what is not authenticated may come out changed. */
static void test_changed_bytes(void **state)
{
    (void)state;
    struct bytes cms;
    struct recipient_secret secret;

    make(&cms, &(struct kind){.plain = NULL}, recipient);
    for (size_t i = 0; i < cms.size; i++) {
        cms.data[i] ^= (uint8_t)(1u << i % 8);
        if (recipient_open(recipient, cms.data, cms.size, &secret, &err) == 0) {
            assert_true(secret.size > 0 && secret.size <= 16);
            recipient_wipe(&secret);
        }
        cms.data[i] ^= (uint8_t)(1u << i % 8);
    }
    assert_opens(&cms, "the secret");
}

static void test_too_large(void **state)
{
    (void)state;
    uint8_t *large = calloc(1, RECIPIENT_CMS_MAX + 1);
    struct recipient_secret secret;

    assert_non_null(large);
    assert_int_equal(recipient_open(recipient, large, RECIPIENT_CMS_MAX + 1, &secret, &err), -EBADMSG);
    free(large);
}

/* KMS's own, from AWS's test data, where it is at hand: its private key is known to nobody. */
static void test_a_genuine_one(void **state)
{
    (void)state;
    struct bytes cms = {.size = 0};
    FILE *in = fopen(SHARED_DATA "/kms-cms-1.bin", "r");

    if (!in) {
        print_message("skipped: there is no %s/kms-cms-1.bin\n", SHARED_DATA);
        skip();
    }
    cms.size = fread(cms.data, 1, sizeof cms.data, in);
    fclose(in);
    assert_refused(&cms);
    /* It is of the one shape, but for its key: with ours in its place it opens. */
    const uint8_t algorithm[] = OAEP_SHA256;
    assert_non_null(memmem(cms.data, cms.size, algorithm, sizeof algorithm - 1));
}

static void open_one(void *data)
{
    struct recipient_secret secret;

    if (recipient_open(recipient, ((struct bytes *)data)->data, ((struct bytes *)data)->size, &secret,
                       &err) == 0) {
        recipient_wipe(&secret);
    }
}

static void test_out_of_memory(void **state)
{
    (void)state;
    struct bytes cms;

    make(&cms, &(struct kind){.plain = NULL}, recipient);
    assert_true(fault_loop("open", FAULT_MEMORY, open_one, &cms) >= 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_public_key_is_one_of_rsa_2048),
        cmocka_unit_test(test_the_shapes_that_aws_writes),
        cmocka_unit_test(test_der),
        cmocka_unit_test(test_for_somebody_else),
        cmocka_unit_test(test_other_ways_to_encrypt),
        cmocka_unit_test(test_every_truncation_and_a_byte_more),
        cmocka_unit_test(test_changed_bytes),
        cmocka_unit_test(test_too_large),
        cmocka_unit_test(test_a_genuine_one),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, setup_group, teardown_group);
}
