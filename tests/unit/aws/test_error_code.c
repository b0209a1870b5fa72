/* Error codes, as AWS's services have them, and what is none. */
#include "aws/error_code.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void assert_code(const char *type, const char *body, const char *code)
{
    char found[AWS_ERROR_CODE_MAX + 1];
    aws_error_code_read((struct http_span){.data = type, .size = strlen(type)}, body, strlen(body), found);
    assert_string_equal(found, code);
}

static void test_every_protocol(void **state)
{
    (void)state;
    assert_code("",
                "{\"__type\":\"com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException\","
                "\"message\":\"The level of configured provisioned throughput for the table was exceeded.\"}",
                "ProvisionedThroughputExceededException");
    assert_code("", "{\"__type\":\"UnrecognizedClientException\",\"message\":\"\"}",
                "UnrecognizedClientException");
    assert_code("TooManyRequestsException:http://internal.amazon.com/coral/com.amazonaws.lambda/",
                "{\"message\":\"Rate Exceeded.\"}", "TooManyRequestsException");
    assert_code("", "{\"message\":\"Rate Exceeded.\",\"code\":\"TooManyRequestsException\"}",
                "TooManyRequestsException");
    assert_code("",
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>ExpiredToken</Code><Message>The "
                "provided token has expired.</Message></Error>",
                "ExpiredToken");
    assert_code("",
                "<ErrorResponse xmlns=\"http://sns.amazonaws.com/doc/2010-03-31/\"><Error><Type>Sender</Type>"
                "<Code>Throttling</Code><Message>Rate exceeded</Message></Error></ErrorResponse>",
                "Throttling");
    assert_code("", "{\"__type\":\"AWS.SimpleQueueService.NonExistentQueue\"}",
                "AWS.SimpleQueueService.NonExistentQueue");
}

static void test_what_is_none(void **state)
{
    char longest[AWS_ERROR_CODE_MAX + 1], body[2 * AWS_ERROR_CODE_MAX];
    (void)state;
    static const char *const none[] = {
        "",
        "no",
        "{",
        "[]",
        "{}",
        "null",
        "{\"__type\":7}",
        "{\"__type\":\"two words\"}",
        "{\"__type\":\"a\\u0000b\"}",
        "{\"__type\":\"a\\nb\"}",
        "{\"__type\":\"Cut",
        "<",
        "<Code>",
        "<Code>Cut",
        "<Code>two words</Code>",
        "<Code></Code>",
        "<Code>a<b></Code>",
    };
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++) {
        assert_code("", none[i], "");
    }
    assert_code("not, a word", "{\"__type\":\"Throttling\"}", "Throttling");
    memset(longest, 'a', AWS_ERROR_CODE_MAX);
    longest[AWS_ERROR_CODE_MAX] = '\0';
    assert_code(longest, "", longest);
    memset(body, 'a', AWS_ERROR_CODE_MAX + 1);
    body[AWS_ERROR_CODE_MAX + 1] = '\0';
    assert_code(body, "", "");
}

static void test_what_it_says(void **state)
{
    (void)state;
    assert_int_equal(aws_error_kind("SlowDown"), AWS_ERROR_PASSING);
    assert_int_equal(aws_error_kind("ProvisionedThroughputExceededException"), AWS_ERROR_PASSING);
    assert_int_equal(aws_error_kind("Throttling"), AWS_ERROR_PASSING);
    assert_int_equal(aws_error_kind("RequestThrottledException"), AWS_ERROR_PASSING);
    assert_int_equal(aws_error_kind("KMSThrottlingException"), AWS_ERROR_PASSING);
    assert_int_equal(aws_error_kind("ExpiredTokenException"), AWS_ERROR_CALLER);
    assert_int_equal(aws_error_kind("AccessDenied"), AWS_ERROR_CALLER);
    assert_int_equal(aws_error_kind("ValidationException"), AWS_ERROR_OTHER);
    assert_int_equal(aws_error_kind(""), AWS_ERROR_OTHER);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_protocol),
        cmocka_unit_test(test_what_is_none),
        cmocka_unit_test(test_what_it_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
