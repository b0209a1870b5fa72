/* postern_attest_verify(): what a program may expect, and what it is told. What makes a document one is tested with src/attest. */
#include "postern/seal.h"
#include "postern/verify.h"

#include "maker.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct maker_chain chain;
static struct attest_document made;
static uint8_t *document;
static size_t size;
static struct postern_attest_expected expected;
static struct postern_attest_statement said;
static struct postern_error err;

static int setup(void **state)
{
    struct sim_document making;
    struct error why = ERROR_INIT;

    (void)state;
    maker_chain_make(&chain, &(struct maker_kind){.curve = NULL});
    maker_document_init(&making);
    making.nonce = (struct attest_bytes){(const uint8_t *)"nonce", 5};
    making.user_data = (struct attest_bytes){(const uint8_t *)"user data", 9};
    making.public_key = (struct attest_bytes){(const uint8_t *)"key", 3};
    document = maker_sign(&making, &chain, &size);
    postern_attest_expected_init(&expected);
    expected.root = chain.fingerprint;
    expected.at = MAKER_NOW;
    memset(&said, 0, sizeof said);
    return attest_parse(document, size, &made, &why);
}

static int teardown(void **state)
{
    (void)state;
    free(document);
    maker_chain_release(&chain);
    return 0;
}

static int verify(void)
{
    memset(&err, 0, sizeof err);
    return postern_attest_verify(document, size, &expected, &said, &err);
}

static struct postern_attest_bytes bytes_of(const struct attest_bytes *bytes)
{
    return (struct postern_attest_bytes){.data = bytes->data, .length = bytes->size};
}

static void test_what_it_says(void **state)
{
    (void)state;
    assert_int_equal(verify(), 0);
    assert_int_equal(said.timestamp_ms, made.timestamp_ms);
    assert_ptr_equal(said.module_id.data, made.module_id.data);
    assert_int_equal(said.module_id.length, made.module_id.size);
    for (unsigned i = 0; i < POSTERN_NSM_PCRS; i++) {
        assert_ptr_equal(said.pcrs[i].data, made.pcrs[i].data);
        assert_int_equal(said.pcrs[i].length, made.pcrs[i].size);
    }
    assert_ptr_equal(said.nonce.data, made.nonce.data);
    assert_ptr_equal(said.user_data.data, made.user_data.data);
    assert_ptr_equal(said.public_key.data, made.public_key.data);
    assert_int_equal(postern_attest_verify(document, size, &expected, NULL, NULL), 0);
}

static void test_what_is_expected(void **state)
{
    static const uint8_t other[48] = {1};
    struct postern_attest_bytes *const fields[] = {&expected.pcrs[0], &expected.nonce, &expected.user_data,
                                                   &expected.public_key};

    (void)state;
    expected.pcrs[0] = bytes_of(&made.pcrs[0]);
    expected.nonce = bytes_of(&made.nonce);
    expected.user_data = bytes_of(&made.user_data);
    expected.public_key = bytes_of(&made.public_key);
    assert_int_equal(verify(), 0);
    for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
        struct postern_attest_bytes kept = *fields[i];

        *fields[i] = (struct postern_attest_bytes){.data = other, .length = sizeof other};
        said.timestamp_ms = 0;
        assert_int_equal(verify(), -EPERM);
        assert_int_equal(err.status, -EPERM);
        assert_string_not_equal(err.message, "");
        assert_int_equal(said.timestamp_ms, 0);                   /* nothing is told of what does not hold */
        *fields[i] = (struct postern_attest_bytes){.length = 32}; /* lost, and not "any" */
        assert_int_equal(verify(), -EINVAL);
        *fields[i] = kept;
    }
}

static void test_whom_and_when(void **state)
{
    static const uint8_t nobody[32];

    (void)state;
    expected.at = MAKER_NOW + 86400 * 30;
    assert_int_equal(verify(), -EKEYEXPIRED);
    expected.flags = POSTERN_ATTEST_AT_ITS_TIME;
    assert_int_equal(verify(), 0);
    expected.max_age_ms = 1; /* no document is older than itself */
    assert_int_equal(verify(), -EINVAL);
    expected.max_age_ms = 0;
    expected.flags = 0;
    expected.at = 0; /* now, which is years later */
    assert_int_equal(verify(), -EKEYEXPIRED);
    expected.at = MAKER_NOW;
    expected.root = nobody;
    assert_int_equal(verify(), -EKEYREJECTED);
    expected.root = NULL; /* AWS's */
    assert_int_equal(verify(), -EKEYREJECTED);
    assert_int_equal(postern_attest_verify(document, size, NULL, NULL, &err), -EKEYREJECTED);
}

static void test_what_is_no_document(void **state)
{
    (void)state;
    size--;
    assert_int_equal(verify(), -EBADMSG);
    document[size / 2] ^= 1;
    size++;
    assert_true(verify() < 0);
}

static void test_what_is_not_known(void **state)
{
    struct {
        struct postern_attest_expected known;
        int more;
    } newer = {.more = 1};

    (void)state;
    expected.flags = 8;
    assert_int_equal(verify(), -EINVAL);
    expected.flags = 0;
    expected.size = 0;
    assert_int_equal(verify(), -EINVAL);
    newer.known.size = sizeof newer;
    assert_int_equal(postern_attest_verify(document, size, &newer.known, NULL, &err), -EINVAL);
    assert_int_equal(postern_attest_verify(NULL, size, NULL, NULL, &err), -EINVAL);
    assert_string_equal(err.message, "the document has a length and no bytes");
    assert_int_equal(postern_attest_verify(NULL, 0, NULL, NULL, &err), -EBADMSG);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

/* Programs were built with them, and they have no `size` to tell how large they were then. */
static void test_structs_that_may_not_change(void **state)
{
    (void)state;
    assert_int_equal(sizeof(struct postern_attest_bytes), 16);
    assert_int_equal(sizeof(struct postern_attest_statement), 584);
    assert_int_equal(sizeof(struct postern_secret), 16);
    assert_int_equal(sizeof(struct postern_kms_context), 16);
    assert_int_equal(sizeof(struct postern_kms_call), 72);
    assert_int_equal(sizeof(struct postern_kms_data_key), 40);
    assert_int_equal(sizeof(struct postern_kms_data_key_pair), 56);
    assert_int_equal(sizeof(struct postern_seal_io), 24);
    assert_int_equal(sizeof(struct postern_sealed), 32);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_what_it_says),        TEST(test_what_is_expected),  TEST(test_whom_and_when),
        TEST(test_what_is_no_document), TEST(test_what_is_not_known), TEST(test_structs_that_may_not_change),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
