/* The Authorization header, taken apart. Whether signatures hold: tests/system/test_sim_kms.py, and test_sim_sdk.py with AWS's own. */
#include "sim/signature.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define BEGIN "AWS4-HMAC-SHA256 "
#define SCOPE "Credential=AKID/20150830/us-east-1/kms/aws4_request"

static void test_a_header(void **state)
{
    (void)state;
    static const char *const texts[] = {BEGIN SCOPE ", SignedHeaders=host;x-amz-date, Signature=0a0b",
                                        BEGIN SCOPE ",SignedHeaders=host;x-amz-date,Signature=0a0b",
                                        BEGIN "Signature=0a0b, " SCOPE ", SignedHeaders=host;x-amz-date"};
    struct sim_authorization found;

    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        assert_true(sim_authorization_read(texts[i], &found));
        assert_string_equal(found.access_key_id, "AKID");
        assert_string_equal(found.day, "20150830");
        assert_string_equal(found.region, "us-east-1");
        assert_string_equal(found.service, "kms");
        assert_string_equal(found.signed_headers, "host;x-amz-date");
        assert_string_equal(found.signature, "0a0b");
    }
}

static void test_what_is_none(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",
        "Basic QUJD",
        BEGIN,
        BEGIN SCOPE,
        BEGIN SCOPE ", SignedHeaders=host",
        BEGIN "SignedHeaders=host, Signature=0a",
        BEGIN "Credential=AKID, SignedHeaders=host, Signature=0a",
        BEGIN "Credential=AKID/20150830/us-east-1/kms, SignedHeaders=host, Signature=0a",
        BEGIN "Credential=AKID/20150830/us-east-1/kms/aws5_request, SignedHeaders=host, Signature=0a",
        BEGIN SCOPE "/more, SignedHeaders=host, Signature=0a"};
    struct sim_authorization found;
    char large[sizeof found.text + 1];

    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        assert_false(sim_authorization_read(texts[i], &found));
    }
    memset(large, 'x', sizeof large - 1);
    memcpy(large, BEGIN, sizeof BEGIN - 1);
    large[sizeof large - 1] = '\0';
    assert_false(sim_authorization_read(large, &found));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_header),
        cmocka_unit_test(test_what_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
