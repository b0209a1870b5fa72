/* posternctl attest verify: what is shown of a document, and the verdict. */
#include "maker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "contains.h"
#include "run_ctl.h"

#define AT "1700000000" /* MAKER_NOW */

static struct maker_chain chain;
static struct sim_document making;
static struct ran ran;
static char path[] = "/tmp/document-XXXXXX", root_path[] = "/tmp/root-XXXXXX";
static char root[2 * ATTEST_FINGERPRINT + 1];
static char pcr0[2 + 2 * 48 + 1];

static void write_file(const char *name, const void *data, size_t size)
{
    FILE *out = fopen(name, "w");

    assert_non_null(out);
    assert_int_equal(fwrite(data, 1, size, out), size);
    assert_int_equal(fclose(out), 0);
}

static void write_document(void)
{
    size_t size;
    uint8_t *bytes = maker_sign(&making, &chain, &size);

    write_file(path, bytes, size);
    free(bytes);
}

static void to_hex(const uint8_t *data, size_t size, char *text)
{
    for (size_t i = 0; i < size; i++) {
        snprintf(text + 2 * i, 3, "%02x", data[i]);
    }
}

static int setup_group(void **state)
{
    (void)state;
    maker_chain_make(&chain, &(struct maker_kind){.curve = NULL});
    maker_document_init(&making);
    to_hex(chain.fingerprint, ATTEST_FINGERPRINT, root);
    strcpy(pcr0, "0=");
    to_hex(making.pcrs[0].data, 48, pcr0 + 2);
    assert_true(mkstemp(path) >= 0 && mkstemp(root_path) >= 0);
    return 0;
}

static int teardown_group(void **state)
{
    (void)state;
    unlink(path);
    unlink(root_path);
    maker_chain_release(&chain);
    return 0;
}

static int setup(void **state)
{
    (void)state;
    maker_document_init(&making);
    write_document();
    ran = (struct ran){.code = -1};
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    ran_release(&ran);
    return 0;
}

static void test_one_that_is_verified(void **state)
{
    (void)state;
    run_ctl(&ran, "attest", "verify", path, "--root", root, "--at", AT, "--pcr", pcr0, NULL);
    assert_string_equal(ran.err, "");
    assert_int_equal(ran.code, CTL_DONE);
    assert_contains(ran.out,
                    "module      i-0123-enc4567\nmade        2023-11-14T22:13:20Z\nPCR0        010203");
    assert_contains(ran.out, "and 15 more that are zero\nverified\n");
}

static void test_what_was_put_in_is_shown_and_compared(void **state)
{
    (void)state;
    making.nonce = (struct attest_bytes){(const uint8_t *)"\xab\x01", 2};
    making.user_data = (struct attest_bytes){(const uint8_t *)"", 0};
    write_document();
    run_ctl(&ran, "attest", "verify", path, "--root", root, "--at", "document", "--nonce", "AB01",
            "--user-data", "", NULL);
    assert_int_equal(ran.code, CTL_DONE);
    assert_contains(ran.out, "user data   (empty)\nnonce       ab01\nverified\n");
    assert_contains(ran.err, "no measurement was compared");
    ran_release(&ran);
    run_ctl(&ran, "attest", "verify", path, "--root", root, "--at", AT, "--nonce", "ab02", NULL);
    assert_int_equal(ran.code, CTL_FAILED);
    assert_contains(ran.out, "nonce       ab01\n");
    assert_contains(ran.err, "its nonce is another");
}

static void test_the_public_key(void **state)
{
    (void)state;
    char large[1025] = {0};

    making.public_key = (struct attest_bytes){(const uint8_t *)"0\x01\x02", 3};
    write_document();
    write_file(root_path, "0\x01\x02", 3);
    run_ctl(&ran, "attest", "verify", path, "--root", root, "--at", AT, "--pcr", pcr0, "--public-key",
            root_path, NULL);
    assert_string_equal(ran.err, "");
    assert_int_equal(ran.code, CTL_DONE);
    ran_release(&ran);
    write_file(root_path, "0\x01\x03", 3);
    run_ctl(&ran, "attest", "verify", path, "--root", root, "--at", AT, "--public-key", root_path, NULL);
    assert_int_equal(ran.code, CTL_FAILED);
    assert_contains(ran.err, "its public key is another");
    ran_release(&ran);
    write_file(root_path, "", 0);
    run_ctl(&ran, "attest", "verify", path, "--public-key", root_path, NULL);
    assert_int_equal(ran.code, CTL_USAGE);
    assert_contains(ran.err, "is empty: a document holds a key of 1 to 1024 bytes");
    ran_release(&ran);
    write_file(root_path, large, sizeof large);
    run_ctl(&ran, "attest", "verify", path, "--public-key", root_path, NULL);
    assert_int_equal(ran.code, CTL_USAGE);
    assert_contains(ran.err, "is too large");
    ran_release(&ran);
    run_ctl(&ran, "attest", "verify", path, "--public-key", "/", NULL);
    assert_int_equal(ran.code, CTL_FAILED);
    ran_release(&ran);
    run_ctl(&ran, "attest", "verify", path, "--public-key", "/nowhere/key", NULL);
    assert_int_equal(ran.code, CTL_FAILED);
    assert_contains(ran.err, "--public-key: cannot read /nowhere/key: No such file");
}

static void test_a_root_out_of_a_file(void **state)
{
    (void)state;
    char base64[8192], pem[10240];

    EVP_EncodeBlock((unsigned char *)base64, chain.root, chain.root_size);
    int size = snprintf(pem, sizeof pem, "-----BEGIN CERTIFICATE-----\n");
    for (size_t i = 0; i < strlen(base64); i += 64) {
        size += snprintf(pem + size, sizeof pem - (size_t)size, "%.64s\n", base64 + i);
    }
    size += snprintf(pem + size, sizeof pem - (size_t)size, "-----END CERTIFICATE-----\n");
    write_file(root_path, pem, (size_t)size);
    run_ctl(&ran, "attest", "verify", path, "--root", root_path, "--at", AT, "--pcr", pcr0, NULL);
    assert_string_equal(ran.err, "");
    assert_int_equal(ran.code, CTL_DONE);
}

static void test_base64(void **state)
{
    (void)state;
    char base64[16384];
    size_t size;
    uint8_t *bytes = maker_sign(&making, &chain, &size);

    int length = EVP_EncodeBlock((unsigned char *)base64, bytes, (int)size);
    write_file(path, base64, (size_t)length);
    free(bytes);
    run_ctl(&ran, "attest", "verify", path, "--root", root, "--at", AT, "--pcr", pcr0, NULL);
    assert_int_equal(ran.code, CTL_DONE);
}

static void test_json(void **state)
{
    (void)state;
    run_ctl(&ran, "--json", "attest", "verify", path, "--root", root, "--at", AT, NULL);
    assert_int_equal(ran.code, CTL_DONE);
    assert_contains(ran.out, "\"verified\": true,\n  \"reason\": null,\n  \"module_id\": \"i-0123-enc4567\"");
    assert_contains(ran.out, "\"public_key\": null");
    ran_release(&ran);
    run_ctl(&ran, "--json", "attest", "verify", path, "--at", AT, NULL);
    assert_int_equal(ran.code, CTL_FAILED);
    assert_contains(ran.out, "\"verified\": false,\n  \"reason\": \"/tmp/document-");
    assert_contains(ran.out, ": the attestation document is not to be believed");
}

/* JSON is UTF-8, and the name of a file need not be. */
static void test_json_of_any_name(void **state)
{
    (void)state;
    run_ctl(&ran, "--json", "attest", "verify", "/nowhere/a\xff\nb", NULL);
    assert_int_equal(ran.code, CTL_FAILED);
    assert_string_equal(ran.err, "");
    assert_contains(ran.out, "\"error\": \"cannot read /nowhere/a\xef\xbf\xbd\\nb: No such file");
    ran_release(&ran);
    char other[] = "/tmp/\xff-document-XXXXXX";
    assert_true(mkstemp(other) >= 0);
    assert_int_equal(rename(path, other), 0);
    run_ctl(&ran, "--json", "attest", "verify", other, "--at", AT, NULL);
    assert_int_equal(rename(other, path), 0);
    assert_contains(ran.out, "\"reason\": \"/tmp/\xef\xbf\xbd-document-");
}

static void test_what_is_refused_by_default(void **state)
{
    (void)state;
    static const uint8_t zero[48];

    /* Long ago. */
    run_ctl(&ran, "attest", "verify", path, "--root", root, NULL);
    assert_int_equal(ran.code, CTL_FAILED);
    assert_contains(ran.err, "has expired");
    ran_release(&ran);
    making.pcrs[0].data = zero;
    write_document();
    run_ctl(&ran, "attest", "verify", path, "--root", root, "--at", AT, NULL);
    assert_int_equal(ran.code, CTL_FAILED);
    assert_contains(ran.err, "debug mode");
    ran_release(&ran);
    run_ctl(&ran, "attest", "verify", path, "--root", root, "--at", AT, "--allow-debug", NULL);
    assert_int_equal(ran.code, CTL_DONE);
    assert_contains(ran.err, "INSECURE: a debug enclave");
    ran_release(&ran);
    making.algorithm_none = true;
    write_document();
    run_ctl(&ran, "attest", "verify", path, "--at", AT, "--allow-debug", NULL);
    assert_int_equal(ran.code, CTL_FAILED);
    assert_contains(ran.err, "nobody has signed it");
    ran_release(&ran);
    run_ctl(&ran, "attest", "verify", path, "--at", AT, "--allow-debug", "--insecure-unsigned", NULL);
    assert_int_equal(ran.code, CTL_DONE);
    assert_contains(ran.err, "INSECURE: nobody has signed it");
}

static void test_age(void **state)
{
    (void)state;
    run_ctl(&ran, "attest", "verify", path, "--root", root, "--at", "1700000300", "--max-age", "5m", NULL);
    assert_int_equal(ran.code, CTL_DONE);
    ran_release(&ran);
    run_ctl(&ran, "attest", "verify", path, "--root", root, "--at", "1700000301", "--max-age", "5m", NULL);
    assert_int_equal(ran.code, CTL_FAILED);
    assert_contains(ran.err, "too old");
    assert_contains(ran.err, path);
}

static void test_files_that_are_none(void **state)
{
    (void)state;
    run_ctl(&ran, "attest", "verify", "/nonexistent", NULL);
    assert_int_equal(ran.code, CTL_FAILED);
    assert_contains(ran.err, "cannot read /nonexistent");
    ran_release(&ran);
    write_file(path, "hello\n", 6);
    run_ctl(&ran, "attest", "verify", path, NULL);
    assert_int_equal(ran.code, CTL_FAILED);
    assert_contains(ran.err, path);
    assert_contains(ran.err, ": not an attestation document");
    ran_release(&ran);
    run_ctl(&ran, "attest", "verify", "/", NULL);
    assert_int_equal(ran.code, CTL_FAILED);
    assert_contains(ran.err, "cannot read /: Is a directory");
    ran_release(&ran);
    char *large = calloc(1, 65537);
    assert_non_null(large);
    write_file(path, large, 65537);
    free(large);
    run_ctl(&ran, "attest", "verify", path, NULL);
    assert_int_equal(ran.code, CTL_FAILED);
    assert_contains(ran.err, "too large");
}

static void test_usage(void **state)
{
    (void)state;
    static const char *const wrong[][2] = {
        {"--at", "yesterday"}, {"--pcr", "32=00"},  {"--pcr", "0"},       {"--pcr", "0=0011"},
        {"--pcr", "x=00"},     {"--nonce", "xyz"},  {"--user-data", "0"}, {"--root", "/nonexistent"},
        {"--max-age", "5"},    {"--max-age", "0s"},
    };

    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        run_ctl(&ran, "attest", "verify", path, wrong[i][0], wrong[i][1], NULL);
        assert_int_equal(ran.code, CTL_USAGE);
        assert_contains(ran.err, wrong[i][0]);
        ran_release(&ran);
    }
    /* Of what is asked about at its own time, no age could be too great. */
    run_ctl(&ran, "attest", "verify", path, "--root", root, "--at", "document", "--max-age", "1s", NULL);
    assert_int_equal(ran.code, CTL_USAGE);
    assert_contains(ran.err, "--max-age");
    ran_release(&ran);
    run_ctl(&ran, "attest", NULL);
    assert_int_equal(ran.code, CTL_USAGE);
    ran_release(&ran);
    run_ctl(&ran, "attest", "sign", path, NULL);
    assert_int_equal(ran.code, CTL_USAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(test_one_that_is_verified),
        TEST(test_what_was_put_in_is_shown_and_compared),
        TEST(test_the_public_key),
        TEST(test_a_root_out_of_a_file),
        TEST(test_base64),
        TEST(test_json),
        TEST(test_json_of_any_name),
        TEST(test_what_is_refused_by_default),
        TEST(test_age),
        TEST(test_files_that_are_none),
        TEST(test_usage),
    };
    return cmocka_run_group_tests(tests, setup_group, teardown_group);
}
