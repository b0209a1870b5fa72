/* Tests of aws/sign.c: the examples that AWS has published, the key's reuse, and what is refused. */
#include "aws/sign.h"

#include "fault.h"
#include <errno.h>
#include <openssl/err.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define EMPTY_HASH "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

static const struct aws_credentials example = {"AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
                                               NULL};

enum { AUG_30_2015 = 1440938160, MAY_24_2013 = 1369353600, DAY = 86400 };

static const struct aws_header iam_headers[] = {
    {"Host", "iam.amazonaws.com"},
    {"Content-Type", "application/x-www-form-urlencoded; charset=utf-8"},
};

static const struct aws_request iam_request = {
    .method = "GET",
    .target = "/?Action=ListUsers&Version=2010-05-08",
    .headers = iam_headers,
    .header_count = 2,
    .payload_hash = EMPTY_HASH,
};

static int sign_iam(struct aws_signer *signer, const struct aws_credentials *credentials, time_t now,
                    char *ret, size_t size)
{
    struct aws_signature signature;
    struct error err = ERROR_INIT;
    int rv = aws_sign(signer, credentials, &iam_request, now, &signature, NULL, &err);
    if (rv == 0) {
        snprintf(ret, size, "%s", text_string(&signature.authorization));
        aws_signature_release(&signature);
    }
    return rv;
}

/* IAM User Guide, "Signature Version 4 signing process", as it stood with its figures. */
static void test_published_for_iam(void **state)
{
    char text[1024];
    struct aws_signer signer;
    (void)state;
    aws_signer_init(&signer, "us-east-1", "iam");
    assert_int_equal(sign_iam(&signer, &example, AUG_30_2015, text, sizeof text), 0);
    assert_string_equal(text, "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, "
                              "SignedHeaders=content-type;host;x-amz-date, "
                              "Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7");
    aws_signer_release(&signer);
}

/* S3 API Reference, "Examples: Signature Calculations", GET Object. */
static void test_published_for_s3(void **state)
{
    static const struct aws_header headers[] = {{"Host", "examplebucket.s3.amazonaws.com"},
                                                {"Range", "bytes=0-9"}};
    static const struct aws_credentials credentials = {"AKIAIOSFODNN7EXAMPLE",
                                                       "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", NULL};
    struct aws_request request = {"GET", "/test.txt", headers, 2, EMPTY_HASH};
    struct aws_signer signer;
    struct aws_signature signature;
    (void)state;
    aws_signer_init(&signer, "us-east-1", "s3");
    assert_int_equal(aws_sign(&signer, &credentials, &request, MAY_24_2013, &signature, NULL, NULL), 0);
    assert_string_equal(signature.date, "20130524T000000Z");
    assert_true(signature.sends_payload_hash);
    assert_false(signature.sends_token);
    assert_non_null(strstr(text_string(&signature.authorization),
                           "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"));
    aws_signature_release(&signature);
    aws_signer_release(&signer);
}

/* Each of the next signatures, by a signer with a history, is what a fresh one gives. */
static void test_the_key_follows_day_and_secret(void **state)
{
    static const struct aws_credentials other = {"AKIDEXAMPLE", "another secret", NULL};
    static const struct {
        const struct aws_credentials *credentials;
        time_t now;
    } steps[] = {{&example, AUG_30_2015},     {&example, AUG_30_2015 + 1}, {&example, AUG_30_2015 + DAY},
                 {&other, AUG_30_2015 + DAY}, {&other, AUG_30_2015},       {&example, AUG_30_2015}};
    struct aws_signer old, fresh;
    char by_old[1024], by_fresh[1024], before[1024] = "";
    (void)state;
    aws_signer_init(&old, "us-east-1", "iam");
    for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
        aws_signer_init(&fresh, "us-east-1", "iam");
        assert_int_equal(sign_iam(&old, steps[i].credentials, steps[i].now, by_old, sizeof by_old), 0);
        assert_int_equal(sign_iam(&fresh, steps[i].credentials, steps[i].now, by_fresh, sizeof by_fresh), 0);
        assert_string_equal(by_old, by_fresh);
        assert_string_not_equal(by_old, before);
        strcpy(before, by_old);
        aws_signer_release(&fresh);
    }
    aws_signer_release(&old);
    for (size_t i = 0; i < sizeof old.key; i++) {
        assert_int_equal(old.key[i], 0);
    }
}

static void test_the_token_is_signed(void **state)
{
    static const struct aws_credentials temporary = {"AKIDEXAMPLE", "secret", "the token"};
    struct aws_signer signer;
    struct aws_signature signature;
    struct aws_steps steps = {TEXT_INIT, TEXT_INIT};
    (void)state;
    aws_signer_init(&signer, "us-east-1", "iam");
    signer.hash_header = true;
    assert_int_equal(aws_sign(&signer, &temporary, &iam_request, AUG_30_2015, &signature, &steps, NULL), 0);
    assert_true(signature.sends_token);
    assert_true(signature.sends_payload_hash);
    assert_non_null(strstr(steps.canonical.data, "\nx-amz-security-token:the token\n"));
    assert_non_null(strstr(steps.canonical.data, "\nx-amz-content-sha256:" EMPTY_HASH "\n"));
    assert_null(strstr(steps.string_to_sign.data, "secret"));
    aws_signature_release(&signature);
    aws_steps_release(&steps);
    aws_signer_release(&signer);
}

static void assert_refused(const struct aws_request *request, time_t now, int code)
{
    struct aws_signer signer;
    struct aws_signature signature;
    struct error err = ERROR_INIT;
    aws_signer_init(&signer, "us-east-1", "iam");
    assert_int_equal(aws_sign(&signer, &example, request, now, &signature, NULL, &err), code);
    assert_string_not_equal(err.text, "");
    assert_null(signature.authorization.data);
    aws_signer_release(&signer);
}

static void test_refused(void **state)
{
    static const struct aws_header ours[] = {
        {"Authorization", "x"},        {"X-Amz-Date", "x"}, {"x-amz-security-token", "x"},
        {"X-AMZ-CONTENT-SHA256", "x"}, {"a", "b\nc"},
    };
    static struct aws_header many[AWS_HEADERS_MAX + 1];
    struct aws_request request = iam_request;
    (void)state;
    request.header_count = 1;
    for (size_t i = 0; i < ARRAY_SIZE(ours); i++) {
        request.headers = &ours[i];
        assert_refused(&request, AUG_30_2015, -EINVAL);
    }
    for (size_t i = 0; i < ARRAY_SIZE(many); i++) {
        many[i] = (struct aws_header){"a", "b"};
    }
    request.headers = many;
    request.header_count = ARRAY_SIZE(many);
    assert_refused(&request, AUG_30_2015, -E2BIG);
    assert_refused(&iam_request, (time_t)1 << 40, -EINVAL); /* a year of five digits */
    assert_refused(&iam_request, (time_t)INT64_MAX, -EINVAL);
}

static void test_hash(void **state)
{
    char hex[AWS_HASH_HEX_SIZE];
    (void)state;
    assert_int_equal(aws_hash("", 0, hex), 0);
    assert_string_equal(hex, EMPTY_HASH);
    assert_int_equal(aws_hash("abc", 3, hex), 0);
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

static void once(void *arg)
{
    char text[1024];
    struct aws_signer signer;
    (void)arg;
    aws_signer_init(&signer, "us-east-1", "iam");
    int rv = sign_iam(&signer, &example, AUG_30_2015, text, sizeof text);
    assert_true(rv == 0 || rv == -ENOMEM || rv == -EIO);
    if (rv == 0) {
        assert_non_null(strstr(text, "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"));
    }
    aws_signer_release(&signer);
}

static void test_out_of_memory(void **state)
{
    (void)state;
    ERR_clear_error(); /* makes the thread's queue of errors, which stays */
    assert_true(fault_loop("sign", FAULT_MEMORY, once, NULL) >= 10);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_published_for_iam),
        cmocka_unit_test(test_published_for_s3),
        cmocka_unit_test(test_the_key_follows_day_and_secret),
        cmocka_unit_test(test_the_token_is_signed),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_hash),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
