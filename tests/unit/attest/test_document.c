/* Attestation documents taken apart: what is taken, and each thing that is refused. */
#include "maker.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct maker_chain chain;
static struct sim_document making;
static struct attest_document document;
static struct error err;
static uint8_t *made;
static size_t made_size;

static int setup_group(void **state)
{
    (void)state;
    maker_chain_make(&chain, &(struct maker_kind){.curve = NULL});
    return 0;
}

static int teardown_group(void **state)
{
    (void)state;
    maker_chain_release(&chain);
    return 0;
}

static int setup(void **state)
{
    (void)state;
    maker_document_init(&making);
    made = NULL;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    free(made);
    return 0;
}

static void make(void)
{
    free(made);
    made = maker_sign(&making, &chain, &made_size);
}

static int parse(void)
{
    err.text[0] = '\0';
    return attest_parse(made, made_size, &document, &err);
}

static void assert_taken(void)
{
    make();
    assert_int_equal(parse(), 0);
}

static void assert_refused_now(const char *why)
{
    assert_int_equal(parse(), -EBADMSG);
    if (!strstr(err.text, why)) {
        fail_msg("'%s' is not in '%s'", why, err.text);
    }
}

static void assert_refused(const char *why)
{
    make();
    assert_refused_now(why);
}

static void assert_bytes(const struct attest_bytes *is, const void *data, size_t size)
{
    assert_int_equal(is->size, size);
    assert_memory_equal(is->data, data, size);
}

/* ---- What is taken ---- */

static void test_every_part_is_found(void **state)
{
    (void)state;
    making.nonce = (struct attest_bytes){(const uint8_t *)"once", 4};
    making.user_data = (struct attest_bytes){(const uint8_t *)"", 0};
    making.public_key = (struct attest_bytes){(const uint8_t *)"key", 3};
    assert_taken();
    assert_int_equal(document.algorithm, ATTEST_ES384);
    assert_bytes(&document.module_id, "i-0123-enc4567", 14);
    assert_int_equal(document.timestamp_ms, MAKER_NOW * UINT64_C(1000));
    assert_bytes(&document.pcrs[0], making.pcrs[0].data, 48);
    assert_non_null(document.pcrs[15].data);
    assert_null(document.pcrs[16].data);
    assert_bytes(&document.certificate, chain.leaf, (size_t)chain.leaf_size);
    assert_int_equal(document.bundle_count, 2);
    assert_bytes(&document.bundle[0], chain.root, (size_t)chain.root_size);
    assert_bytes(&document.nonce, "once", 4);
    assert_non_null(document.user_data.data);
    assert_int_equal(document.user_data.size, 0);
    assert_bytes(&document.public_key, "key", 3);
    assert_int_equal(document.signature.size, 96);
    assert_false(attest_pcr_is_zero(&document, 0));
    assert_true(attest_pcr_is_zero(&document, 1));
    assert_false(attest_pcr_is_zero(&document, 16));
}

static void test_what_genuine_ones_differ_in(void **state)
{
    (void)state;
    making.tagged = true;
    assert_taken();
    making.open_map = true;
    assert_taken();
    making.nulls_left_out = true;
    assert_taken();
    assert_null(document.nonce.data);
    making.stranger = true;
    assert_taken();
}

static void test_sizes_of_pcrs(void **state)
{
    (void)state;
    uint8_t value[65] = {1};
    static const size_t good[] = {32, 48, 64}, bad[] = {0, 31, 33, 47, 49, 63, 65};

    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        making.pcrs[31] = (struct attest_bytes){value, good[i]};
        assert_taken();
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        making.pcrs[31] = (struct attest_bytes){value, bad[i]};
        assert_refused("pcrs is not");
    }
}

static void test_the_largest(void **state)
{
    (void)state;
    static uint8_t big[ATTEST_FIELD_MAX + 1];

    making.nonce = making.user_data = making.public_key = (struct attest_bytes){big, ATTEST_FIELD_MAX};
    making.bundle_repeats = ATTEST_BUNDLE_MAX - 2;
    assert_taken();
    making.bundle_repeats++;
    assert_refused("cabundle is not");
    making.bundle_repeats = 0;
    making.nonce.size++;
    assert_refused("nonce is not");
    making.nonce.size = 0;
    making.user_data.size++;
    assert_refused("user_data is not");
    making.user_data.size = 0;
    making.public_key.size++;
    assert_refused("public_key is not");
    making.public_key.size = 0;
    assert_refused("public_key is not");
}

/* ---- What is refused ---- */

static void test_what_must_be_there(void **state)
{
    (void)state;
    making.module_id = NULL;
    assert_refused("has no module_id");
    maker_document_init(&making);
    making.digest = NULL;
    assert_refused("has no digest");
    maker_document_init(&making);
    making.timestamp_ms = 0;
    assert_refused("has no timestamp");
    maker_document_init(&making);
    making.no_pcrs = true;
    assert_refused("has no pcrs");
    maker_document_init(&making);
    making.no_certificate = true;
    assert_refused("has no certificate");
    maker_document_init(&making);
    making.no_bundle = true;
    assert_refused("has no cabundle");
}

static void test_fields_that_are_wrong(void **state)
{
    (void)state;
    making.digest = "SHA256";
    assert_refused("digest is not");
    maker_document_init(&making);
    making.module_id = "";
    assert_refused("module_id is not");
    making.module_id = "i-1\n";
    assert_refused("module_id is not");
    maker_document_init(&making);
    memset(making.pcrs, 0, sizeof making.pcrs);
    assert_refused("pcrs is not");
}

static void test_keys_that_are_there_twice(void **state)
{
    (void)state;
    static const char *const keys[] = {"module_id", "digest",     "timestamp", "pcrs", "certificate",
                                       "cabundle",  "public_key", "user_data", "nonce"};

    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        making.twice = keys[i];
        assert_refused("is there twice");
    }
}

/* The same PCR in two widths of integer is one. */
static void test_a_pcr_that_is_there_twice(void **state)
{
    (void)state;
    make();
    uint8_t *key = memmem(made, made_size, "\x0e\x58\x30", 3);
    assert_non_null(key);
    key[0] = 0x0d;
    assert_refused_now("pcrs is not");
    key[0] = 0x0e;
    assert_int_equal(parse(), 0);
}

static void test_algorithms(void **state)
{
    (void)state;
    making.algorithm_none = true;
    assert_taken();
    assert_int_equal(document.algorithm, ATTEST_UNSIGNED);
    making.algorithm_none = false;
    making.algorithm = -7;
    assert_refused("another algorithm");
    making.algorithm = -36;
    assert_refused("another algorithm");
    making.algorithm = 0;
    making.header_in_clear = true;
    assert_refused("unprotected header");
}

static void test_bytes_behind_it(void **state)
{
    (void)state;
    make();
    uint8_t *more = calloc(1, made_size + 1);
    assert_non_null(more);
    memcpy(more, made, made_size);
    free(made);
    made = more;
    made_size++;
    assert_refused_now("bytes behind it");
}

static void test_every_truncation(void **state)
{
    (void)state;
    make();
    size_t whole = made_size;
    for (made_size = 0; made_size < whole; made_size++) {
        /* A copy of its own, so that a sanitizer sees a read past the end. */
        uint8_t *part = malloc(made_size + 1);
        assert_non_null(part);
        memcpy(part + 1, made, made_size);
        assert_int_equal(attest_parse(part + 1, made_size, &document, &err), -EBADMSG);
        free(part);
    }
}

static void test_too_large(void **state)
{
    (void)state;
    made = calloc(1, ATTEST_DOCUMENT_MAX + 1);
    assert_non_null(made);
    made_size = ATTEST_DOCUMENT_MAX + 1;
    assert_refused_now("too large");
}

static void test_other_shapes(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t size;
        const char *why;
    } shapes[] = {
        {"\xa0", 1, "no COSE_Sign1"},
        {"\x83\x44\xa1\x01\x38\x22\xa0\x41\x00", 9, "no COSE_Sign1"},
        {"\x84\xa0\xa0\x41\x00\x41\x00", 7, "no COSE_Sign1"},
        {"\x84\x44\xa1\x01\x38\x22\x80\x41\x00\x41\x00", 11, "unprotected"},
        {"\x84\x44\xa1\x01\x38\x22\xa0\xf6\x41\x00", 10, "payload is missing"},
        {"\x84\x44\xa1\x01\x38\x22\xa0\x40\x41\x00", 10, "payload is missing"},
        {"\x84\x44\xa1\x01\x38\x22\xa0\x41\xa0\x41\x00", 11, "signature is not"},
        {"\x84\x43\xa1\x01\x20\xa0\x41\xa0\x41\x00", 10, "has no module_id"},
        {"\x84\x43\xa1\x01\x20\xa0\x41\x80\x41\x00", 10, "payload is no map"},
        {"\x84\x43\xa1\x01\x20\xa0\x42\xa0\x00\x41\x00", 11, "payload is no map"},
        {"\x84\x43\xa1\x01\x20\xa0\x47\xa1\x64pcrs\x00\x41\x00", 16, "pcrs is not"},
        {"\x84\x43\xa1\x01\x20\xa0\x4b\xa1\x68"
         "cabundle\x00\x41\x00",
         20, "cabundle is not"},
        {"\x84\x43\xa1\x01\x20\xa0\x43\xa1\x00\x00\x41\x00", 12, "has no module_id"},
        {"\xd2\xd2\x84\x43\xa1\x01\x20\xa0\x41\xa0\x41\x00", 12, "malformed"},
    };

    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        err.text[0] = '\0';
        assert_int_equal(attest_parse((const uint8_t *)shapes[i].bytes, shapes[i].size, &document, &err),
                         -EBADMSG);
        if (!strstr(err.text, shapes[i].why)) {
            fail_msg("shape %zu: '%s' is not in '%s'", i, shapes[i].why, err.text);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(test_every_part_is_found),
        TEST(test_what_genuine_ones_differ_in),
        TEST(test_sizes_of_pcrs),
        TEST(test_the_largest),
        TEST(test_what_must_be_there),
        TEST(test_fields_that_are_wrong),
        TEST(test_keys_that_are_there_twice),
        TEST(test_a_pcr_that_is_there_twice),
        TEST(test_algorithms),
        TEST(test_bytes_behind_it),
        TEST(test_every_truncation),
        TEST(test_too_large),
        TEST(test_other_shapes),
    };
    return cmocka_run_group_tests(tests, setup_group, teardown_group);
}
