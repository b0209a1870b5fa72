/* Attestation documents verified: whom the chain convinces, and what is asked of the contents. */
#include "maker.h"

#include "fault.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct maker_chain chain;
static struct sim_document making;
static struct attest_expected expected;
static struct error err;

static int setup(void **state)
{
    (void)state;
    maker_chain_make(&chain, &(struct maker_kind){.curve = NULL});
    maker_document_init(&making);
    attest_expect(&expected, MAKER_NOW);
    memcpy(expected.root, chain.fingerprint, sizeof expected.root);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    maker_chain_release(&chain);
    return 0;
}

static void chain_of(const struct maker_kind *kind)
{
    maker_chain_release(&chain);
    maker_chain_make(&chain, kind);
    memcpy(expected.root, chain.fingerprint, sizeof expected.root);
}

static int verify_bytes(const uint8_t *bytes, size_t size)
{
    struct attest_document document;

    err.text[0] = '\0';
    int rv = attest_parse(bytes, size, &document, &err);
    return rv == 0 ? attest_verify(&document, &expected, &err) : rv;
}

static int verify(void)
{
    size_t size;
    uint8_t *bytes = maker_sign(&making, &chain, &size);
    int rv = verify_bytes(bytes, size);

    free(bytes);
    return rv;
}

static void assert_refused(int code, const char *why)
{
    int rv = verify();
    if (rv != code) {
        fail_msg("%d instead of %d: %s", rv, code, err.text);
    }
    if (!strstr(err.text, why)) {
        fail_msg("'%s' is not in '%s'", why, err.text);
    }
}

/* ---- The chain and the signature ---- */

static void test_a_good_one(void **state)
{
    (void)state;
    assert_int_equal(verify(), 0);
    assert_string_equal(err.text, "");
    making.tagged = making.open_map = true;
    assert_int_equal(verify(), 0);
}

static void test_another_root(void **state)
{
    (void)state;
    expected.root[31] ^= 1;
    assert_refused(-EKEYREJECTED, "another root");
    attest_expect(&expected, MAKER_NOW);
    assert_refused(-EKEYREJECTED, "another root");
}

static void test_times(void **state)
{
    (void)state;
    expected.at = MAKER_NOW + 2 * 3600;
    assert_refused(-EKEYEXPIRED, "certificate has expired");
    expected.at = MAKER_NOW - 2 * 3600;
    assert_refused(-EKEYEXPIRED, "not yet valid");
    expected.at_timestamp = true;
    assert_int_equal(verify(), 0);
    making.timestamp_ms = (MAKER_NOW + 2 * 3600) * UINT64_C(1000);
    assert_refused(-EKEYEXPIRED, "certificate has expired");
}

static void test_age(void **state)
{
    (void)state;
    making.timestamp_ms -= 60000;
    expected.max_age_ms = 60000;
    assert_int_equal(verify(), 0);
    expected.max_age_ms = 59999;
    assert_refused(-EPERM, "too old");
    expected.at_timestamp = true;
    assert_int_equal(verify(), 0);
    /* Its clock is ahead of ours: no age. */
    expected.at_timestamp = false;
    making.timestamp_ms += 120000;
    assert_int_equal(verify(), 0);
}

static void test_chains_that_convince_nobody(void **state)
{
    (void)state;
    static const struct {
        struct maker_kind kind;
        const char *why;
    } kinds[] = {
        {{.leaf_is_ca = true}, "not one for signatures"},
        {{.leaf_signs_nothing = true}, "not one for signatures"},
        {{.leaf_without_usage = true}, "not one for signatures"},
        {{.between_is_no_ca = true}, "its certificate chain"},
        {{.curve = "P-256"}, "P-384"},
    };

    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        chain_of(&kinds[i].kind);
        assert_refused(-EKEYREJECTED, kinds[i].why);
    }
}

/* Somebody else's certificate in the place of ours: the chain holds, the signature does not. */
static void test_another_leaf_of_the_same_root(void **state)
{
    (void)state;
    size_t size;
    EVP_PKEY *other = EVP_EC_gen("P-384");
    EVP_PKEY *own = chain.leaf_key;

    chain.leaf_key = other;
    uint8_t *bytes = maker_sign(&making, &chain, &size);
    assert_int_equal(verify_bytes(bytes, size), -EKEYREJECTED);
    assert_non_null(strstr(err.text, "signature does not hold"));
    chain.leaf_key = own;
    EVP_PKEY_free(other);
    free(bytes);
}

static void test_garbage_in_the_chain(void **state)
{
    (void)state;
    chain.between[0] ^= 1;
    assert_refused(-EKEYREJECTED, "a certificate of its chain is malformed");
    chain.between[0] ^= 1;
    chain.leaf[0] ^= 1;
    assert_refused(-EKEYREJECTED, "its certificate is malformed");
    chain.leaf[0] ^= 1;
    chain.leaf_size--;
    assert_refused(-EKEYREJECTED, "its certificate is malformed");
}

/* A bit of each byte; each costs up to three verifications of signatures, so not every byte here. */
static void test_changed_bytes(void **state)
{
    (void)state;
    size_t size;
    uint8_t *bytes = maker_sign(&making, &chain, &size);

    for (size_t i = 0; i < size; i += 5) {
        bytes[i] ^= (uint8_t)(1u << i % 8);
        assert_int_not_equal(verify_bytes(bytes, size), 0);
        bytes[i] ^= (uint8_t)(1u << i % 8);
    }
    assert_int_equal(verify_bytes(bytes, size), 0);
    free(bytes);
}

static void test_unsigned(void **state)
{
    (void)state;
    making.algorithm_none = true;
    assert_refused(-EKEYREJECTED, "nobody has signed it");
    expected.unsigned_too = true;
    assert_int_equal(verify(), 0);
    /* A signature that is there has to hold all the same. */
    making.algorithm_none = false;
    expected.root[0] ^= 1;
    assert_refused(-EKEYREJECTED, "another root");
}

/* ---- The contents ---- */

static void test_debug_enclaves(void **state)
{
    (void)state;
    static const uint8_t zero[48];

    making.pcrs[0].data = zero;
    assert_refused(-EPERM, "debug mode");
    expected.debug_too = true;
    assert_int_equal(verify(), 0);
    making.pcrs[0].data = NULL;
    assert_refused(-EPERM, "no PCR0");
}

static void test_pcrs(void **state)
{
    (void)state;
    uint8_t other[48] = {9};

    for (unsigned i = 0; i < 16; i++) {
        expected.pcrs[i] = making.pcrs[i];
    }
    assert_int_equal(verify(), 0);
    expected.pcrs[8].data = other;
    assert_refused(-EPERM, "PCR8 is another");
    expected.pcrs[8] = (struct attest_bytes){making.pcrs[8].data, 32};
    assert_refused(-EPERM, "PCR8 is another");
    expected.pcrs[8].data = NULL;
    expected.pcrs[31] = (struct attest_bytes){other, 48};
    assert_refused(-EPERM, "PCR31 is not there");
}

static void test_what_the_enclave_put_in(void **state)
{
    (void)state;
    const struct attest_bytes one = {(const uint8_t *)"one", 3}, two = {(const uint8_t *)"two", 3};

    making.nonce = making.user_data = making.public_key = one;
    expected.nonce = expected.user_data = expected.public_key = one;
    assert_int_equal(verify(), 0);
    expected.nonce = two;
    assert_refused(-EPERM, "nonce");
    expected.nonce = one;
    expected.user_data = two;
    assert_refused(-EPERM, "user data");
    expected.user_data = one;
    expected.public_key = two;
    assert_refused(-EPERM, "public key");
    expected.public_key = one;
    making.nonce.data = NULL;
    assert_refused(-EPERM, "nonce");
}

/* ---- Out of memory ---- */

/* Thousands of allocations, which differ little after the first: each of those, then one in 97. Which step lacked the memory is
 * told as well as OpenSSL lets it be known; that it did makes no forgery good. */
static void test_out_of_memory(void **state)
{
    (void)state;
    struct attest_document document;
    size_t size;
    uint8_t *bytes = maker_sign(&making, &chain, &size);
    unsigned long nth = 1;

    bytes[size - 1] ^= 1;
    assert_int_equal(attest_parse(bytes, size, &document, &err), 0);
    assert_int_equal(attest_verify(&document, &expected, &err), -EKEYREJECTED);
    do {
        fault_arm(FAULT_MEMORY, nth);
        assert_true(attest_verify(&document, &expected, &err) < 0);
        nth += nth < 300 ? 1 : 97;
    } while (fault_disarm() > 0);
    assert_true(nth > 1000);
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(test_a_good_one),
        TEST(test_another_root),
        TEST(test_times),
        TEST(test_age),
        TEST(test_chains_that_convince_nobody),
        TEST(test_another_leaf_of_the_same_root),
        TEST(test_garbage_in_the_chain),
        TEST(test_changed_bytes),
        TEST(test_unsigned),
        TEST(test_debug_enclaves),
        TEST(test_pcrs),
        TEST(test_what_the_enclave_put_in),
        TEST(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
