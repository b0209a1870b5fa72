/*
 * What KMS encrypts for an enclave, opened: in the shapes that AWS's servers write, which are put together here byte by byte,
 * and in none other.
 */
#include "envelope.h"
#include "fault.h"
#include <errno.h>
#include <openssl/cms.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct recipient *recipient, *other;
static struct error err;

static EVP_PKEY *key_of_recipient;
static const struct envelope usual;

static void make(struct bytes *out, const struct envelope *envelope)
{
    envelope_make(out, envelope, key_of_recipient);
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
    if (recipient_new(&recipient, &err) || recipient_new(&other, &err)) {
        return -1;
    }
    key_of_recipient = envelope_key_of(recipient);
    return 0;
}

static int teardown_group(void **state)
{
    (void)state;
    EVP_PKEY_free(key_of_recipient);
    recipient_free(recipient);
    recipient_free(other);
    recipient_free(NULL);
    return 0;
}

static void test_the_public_key_is_one_of_rsa_2048(void **state)
{
    (void)state;
    EVP_PKEY *key = envelope_key_of(recipient);

    assert_int_equal(EVP_PKEY_get_bits(key), 2048);
    assert_int_equal(EVP_PKEY_get_base_id(key), EVP_PKEY_RSA);
    EVP_PKEY_free(key);
}

static void test_the_shapes_that_aws_writes(void **state)
{
    (void)state;
    struct bytes cms;
    char large[3001];

    make(&cms, &usual);
    assert_opens(&cms, "the secret");
    make(&cms, &(struct envelope){.primitive = true});
    assert_opens(&cms, "the secret");
    memset(large, 'x', sizeof large - 1);
    large[sizeof large - 1] = '\0';
    make(&cms, &(struct envelope){.plain = {large, strlen(large)}});
    assert_opens(&cms, large);
    make(&cms, &(struct envelope){.plain = PART("0123456789abcdef"), .primitive = true});
    assert_opens(&cms, "0123456789abcdef");
}

/* As OpenSSL writes it: of definite length. */
static void test_der(void **state)
{
    (void)state;
    struct bytes cms, der;
    const uint8_t *at = cms.data;
    uint8_t *out = der.data;

    make(&cms, &(struct envelope){.primitive = true});
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
    EVP_PKEY *key = envelope_key_of(other);

    for (unsigned i = 0; i < 3000; i++) {
        envelope_make(&cms, &usual, key);
        assert_refused(&cms);
    }
    EVP_PKEY_free(key);
}

/* The same, with a key that nobody has encrypted. */
static void test_a_key_made_at_random(void **state)
{
    (void)state;
    struct bytes cms;
    uint8_t random[256];

    for (unsigned i = 0; i < 2000; i++) {
        RAND_bytes(random, sizeof random);
        make(&cms, &(struct envelope){.wrapped_key = {random, sizeof random}});
        assert_refused(&cms);
    }
}

static void test_every_truncation_and_a_byte_more(void **state)
{
    (void)state;
    struct bytes cms;

    make(&cms, &usual);
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

    make(&cms, &usual);
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

    make(&cms, &usual);
    assert_true(fault_loop("open", FAULT_MEMORY, open_one, &cms) >= 50);
}

/* The first allocation is the recipient, the second OpenSSL's. */
static void test_a_key_without_memory(void **state)
{
    (void)state;
    static const int codes[] = {-ENOMEM, -EIO};
    struct recipient *none = NULL;

    for (unsigned long nth = 1; nth <= 2; nth++) {
        fault_arm(FAULT_MEMORY | FAULT_STICKY, nth);
        int rv = recipient_new(&none, &err);
        fault_disarm();
        assert_int_equal(rv, codes[nth - 1]);
        assert_null(none);
        assert_non_null(strstr(err.text, "cannot make a key"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_public_key_is_one_of_rsa_2048),
        cmocka_unit_test(test_the_shapes_that_aws_writes),
        cmocka_unit_test(test_der),
        cmocka_unit_test(test_for_somebody_else),
        cmocka_unit_test(test_a_key_made_at_random),
        cmocka_unit_test(test_every_truncation_and_a_byte_more),
        cmocka_unit_test(test_changed_bytes),
        cmocka_unit_test(test_too_large),
        cmocka_unit_test(test_a_genuine_one),
        cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_a_key_without_memory),
    };
    return cmocka_run_group_tests(tests, setup_group, teardown_group);
}
