/*
 * Documents that AWS's hardware has signed, where they are at hand (SHARED_DATA): each is taken at its own time, and with
 * anything about it changed it is not. Skipped, and said so, where they are not.
 *
 *     ATTEST_EVERY_BIT=1    every bit of each, instead of a bit of every 31st byte: some minutes; and a line for the scorecard
 */
#include "attest/verify.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct genuine {
    const char *file;
    bool debug;
} genuine[] = {
    {"attestation-1.cbor", false},
    {"attestation-2-indefinite-map.cbor", false},
    {"attestation-3-debug.cbor", true},
};

#define GENUINE (sizeof genuine / sizeof *genuine)

static uint8_t bytes[ATTEST_DOCUMENT_MAX];
static size_t size;
static struct attest_expected expected;
static struct error err;
static unsigned taken, changes;

static bool load(const struct genuine *document)
{
    char path[1024];

    snprintf(path, sizeof path, "%s/%s", SHARED_DATA, document->file);
    FILE *in = fopen(path, "r");
    if (!in) {
        print_message("skipped: there is no %s\n", path);
        return false;
    }
    size = fread(bytes, 1, sizeof bytes, in);
    fclose(in);
    attest_expect(&expected, 0);
    expected.at_timestamp = true;
    expected.debug_too = document->debug;
    return true;
}

static int verify(void)
{
    struct attest_document document;

    int rv = attest_parse(bytes, size, &document, &err);
    return rv == 0 ? attest_verify(&document, &expected, &err) : rv;
}

static void test_each_is_taken_at_its_time(void **state)
{
    (void)state;
    for (size_t i = 0; i < GENUINE; i++) {
        if (!load(&genuine[i])) {
            skip();
        }
        if (verify() != 0) {
            fail_msg("%s: %s", genuine[i].file, err.text);
        }
        taken++;
        expected.debug_too = false;
        assert_int_equal(verify(), genuine[i].debug ? -EPERM : 0);
        /* They were good for three hours. */
        expected.at_timestamp = false;
        expected.at = 1893456000;
        assert_int_equal(verify(), -EKEYEXPIRED);
        expected.at = 1500000000;
        assert_int_equal(verify(), -EKEYEXPIRED);
    }
}

static void test_bytes_behind_each(void **state)
{
    (void)state;
    for (size_t i = 0; i < GENUINE; i++) {
        if (!load(&genuine[i])) {
            skip();
        }
        bytes[size++] = 0;
        assert_int_equal(verify(), -EBADMSG);
    }
}

static void change(size_t at, unsigned bit)
{
    changes++;
    bytes[at] ^= (uint8_t)(1u << bit);
    if (verify() == 0) {
        fail_msg("taken with bit %u of byte %zu changed", bit, at);
    }
    bytes[at] ^= (uint8_t)(1u << bit);
}

static void test_each_is_refused_with_a_change(void **state)
{
    (void)state;
    bool every = getenv("ATTEST_EVERY_BIT");

    for (size_t i = 0; i < GENUINE; i++) {
        if (!load(&genuine[i])) {
            skip();
        }
        for (size_t at = 0; at < size; at += every ? 1 : 31) {
            for (unsigned bit = 0; bit < (every ? 8 : 1); bit++) {
                change(at, every ? bit : (unsigned)(at % 8));
            }
        }
        assert_int_equal(verify(), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_is_taken_at_its_time),
        cmocka_unit_test(test_bytes_behind_each),
        cmocka_unit_test(test_each_is_refused_with_a_change),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    if (getenv("ATTEST_EVERY_BIT")) {
        printf("R3: %u of %zu genuine documents taken; of %u with one bit changed, a byte behind, or at "
               "another time, %s\n",
               taken, GENUINE, changes, failed ? "not all refused" : "none taken");
        failed += taken < GENUINE;
    }
    return failed;
}
