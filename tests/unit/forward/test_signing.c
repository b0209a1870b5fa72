/* Tests of forward/signing.c, with keys out of the environment: what it adds is what aws_sign() makes of the same head. */
#include "forward/signing.h"

#include "base/log.h"
#include "endpoint.h"
#include "fault.h"
#include "loopback.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define ID    "AKIDEXAMPLE"
#define KEY   "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
#define TOKEN "session-token=="

enum { CREDENTIALS_LARGE = 200 };

struct bench {
    struct loopback loopback;
    struct credentials_store store;
    struct config_sign sign;
    struct signing *signing;
    struct signing_job job;
    struct http_head head;
};

static void set_keys(const char *id, const char *key, const char *token)
{
    const char *const names[] = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"};
    const char *const values[] = {id, key, token};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        if (values[i] != NULL) {
            assert_int_equal(setenv(names[i], values[i], 1), 0);
        } else {
            assert_int_equal(unsetenv(names[i]), 0);
        }
    }
}

static void bench_open(struct bench *bench, const char *service, bool unsigned_payload)
{
    memset(bench, 0, sizeof *bench);
    loopback_open(&bench->loopback);
    credentials_store_init(&bench->store, &bench->loopback.loop);
    bench->sign = (struct config_sign){.service = service,
                                       .region = "eu-west-1",
                                       .unsigned_payload = unsigned_payload,
                                       .credentials = CONFIG_CREDENTIALS_ENV};
    bench->signing = signing_new(&bench->store, &bench->sign);
    assert_non_null(bench->signing);
    http_head_init(&bench->head, 0);
    text_add(&bench->head.line, "PUT /bucket/a%20b?x=1&y HTTP/1.1");
    http_head_add(&bench->head, HTTP_SPAN("host"), HTTP_SPAN("s3.eu-west-1.amazonaws.com"));
    http_head_add(&bench->head, HTTP_SPAN("x-amz-meta-enclave"), HTTP_SPAN("payroll"));
    http_head_add(&bench->head, HTTP_SPAN("user-agent"), HTTP_SPAN("anything"));
    http_head_add(&bench->head, HTTP_SPAN("content-length"), HTTP_SPAN("4"));
}

static void bench_close(struct bench *bench)
{
    http_head_release(&bench->head);
    signing_free(bench->signing);
    credentials_store_close(&bench->store);
    loopback_close(&bench->loopback);
    set_keys(NULL, NULL, NULL);
}

static const char *value_of(const struct bench *bench, const char *name)
{
    for (unsigned i = 0; i < bench->head.count; i++) {
        if (http_span_is(http_head_name(&bench->head, i), name)) {
            return http_head_value(&bench->head, i).data;
        }
    }
    return NULL;
}

static void never(void *data, int code, const struct error *err)
{
    (void)data, (void)code, (void)err;
    fail_msg("the callback came");
}

static int start(struct bench *bench, const char *body, struct error *err)
{
    *err = (struct error)ERROR_INIT;
    return signing_start(bench->signing, &bench->job, &bench->head, body, body != NULL ? strlen(body) : 0,
                         never, bench, err);
}

/* Signed again, with the library alone, as at the time that the head tells. */
static void check_authorization(const struct bench *bench, const char *payload_hash, const char *token)
{
    static const struct aws_header headers[] = {{"host", "s3.eu-west-1.amazonaws.com"},
                                                {"x-amz-meta-enclave", "payroll"},
                                                {"content-length", "4"}};
    struct aws_request request = {.method = "PUT",
                                  .target = "/bucket/a%20b?x=1&y",
                                  .headers = headers,
                                  .header_count = ARRAY_SIZE(headers),
                                  .payload_hash = payload_hash};
    struct aws_credentials credentials = {ID, KEY, token};
    struct aws_signer signer;
    struct aws_signature signature;
    struct error err = ERROR_INIT;
    struct tm tm = {.tm_isdst = 0};
    assert_non_null(strptime(value_of(bench, "x-amz-date"), "%Y%m%dT%H%M%SZ", &tm));
    aws_signer_init(&signer, "eu-west-1", bench->sign.service);
    signer.hash_header |= bench->sign.unsigned_payload;
    assert_int_equal(aws_sign(&signer, &credentials, &request, timegm(&tm), &signature, NULL, &err), 0);
    assert_string_equal(value_of(bench, "authorization"), text_string(&signature.authorization));
    aws_signature_release(&signature);
    aws_signer_release(&signer);
}

static void test_signs_what_is_sent(void **state)
{
    struct bench bench;
    struct error err;
    char hash[AWS_HASH_HEX_SIZE];
    (void)state;
    set_keys(ID, KEY, TOKEN);
    bench_open(&bench, "s3", false);
    assert_true(signing_needs_body(bench.signing));
    assert_int_equal(start(&bench, "body", &err), 0);
    assert_int_equal(aws_hash("body", 4, hash), 0);
    assert_string_equal(value_of(&bench, "x-amz-content-sha256"), hash);
    assert_string_equal(value_of(&bench, "x-amz-security-token"), TOKEN);
    assert_null(strstr(value_of(&bench, "authorization"), "user-agent"));
    check_authorization(&bench, hash, TOKEN);
    bench_close(&bench);
}

static void test_leaves_the_payload_unsigned(void **state)
{
    struct bench bench;
    struct error err;
    (void)state;
    set_keys(ID, KEY, NULL);
    bench_open(&bench, "s3", true);
    assert_false(signing_needs_body(bench.signing));
    assert_int_equal(start(&bench, NULL, &err), 0);
    assert_string_equal(value_of(&bench, "x-amz-content-sha256"), AWS_UNSIGNED_PAYLOAD);
    assert_null(value_of(&bench, "x-amz-security-token"));
    check_authorization(&bench, AWS_UNSIGNED_PAYLOAD, NULL);
    bench_close(&bench);
}

static void test_hashes_an_empty_body(void **state)
{
    struct bench bench;
    struct error err;
    char hash[AWS_HASH_HEX_SIZE];
    (void)state;
    set_keys(ID, KEY, NULL);
    bench_open(&bench, "sqs", false);
    assert_int_equal(start(&bench, NULL, &err), 0);
    assert_int_equal(aws_hash("", 0, hash), 0);
    assert_null(value_of(&bench, "x-amz-content-sha256"));
    check_authorization(&bench, hash, NULL);
    bench_close(&bench);
}

/* S3's paths get one spelling, which is signed and sent; those of others stay as they are, as do all queries. */
static void test_spells_paths_of_objects(void **state)
{
    static const char *const services[] = {"s3", "s3-object-lambda", "lambda"};
    static const char *const lines[] = {"PUT /bucket/a%2Bb%27%28/%C3%BC%2B~?x='+%2b HTTP/1.1",
                                        "PUT /bucket/a%2Bb%27%28/%C3%BC%2B~?x='+%2b HTTP/1.1",
                                        "PUT /bucket/a+b'(/%c3%bc%2b~?x='+%2b HTTP/1.1"};
    struct bench bench;
    struct error err;
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(services); i++) {
        set_keys(ID, KEY, NULL);
        bench_open(&bench, services[i], false);
        text_clear(&bench.head.line);
        text_add(&bench.head.line, "PUT /bucket/a+b'(/%c3%bc%2b~?x='+%2b HTTP/1.1");
        assert_int_equal(start(&bench, NULL, &err), 0);
        assert_string_equal(text_string(&bench.head.line), lines[i]);
        bench_close(&bench);
    }
}

/* ---- Keys that have to be waited for ---- */

static const char *give_keys(struct endpoint *endpoint, const char *request)
{
    (void)request;
    return endpoint->data;
}

#define ANSWER(body)                                                                                      \
    "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{\"AccessKeyId\":\"" ID "\",\"SecretAccessKey\":\"" body \
    "\",\"Token\":\"" TOKEN "\"}"

struct outcome {
    unsigned ends;
    int code;
    struct error err;
};

static void note(void *data, int code, const struct error *err)
{
    struct outcome *outcome = data;
    outcome->ends++;
    outcome->code = code;
    outcome->err = *err;
}

/* Signs with keys of a container's endpoint, which answers so. */
static void wait_for_keys(const char *answer, bool cancel, struct outcome *outcome, struct bench *bench)
{
    struct endpoint endpoint;
    struct error err = ERROR_INIT;
    char url[128];
    set_keys(NULL, NULL, NULL);
    bench_open(bench, "s3", false);
    signing_free(bench->signing);
    endpoint_open(&endpoint, &bench->loopback, give_keys, (void *)(uintptr_t)answer);
    assert_int_equal(setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", endpoint_url(&endpoint, "/x", url), 1), 0);
    bench->sign.credentials = CONFIG_CREDENTIALS_CONTAINER;
    bench->signing = signing_new(&bench->store, &bench->sign);
    assert_non_null(bench->signing);
    *outcome = (struct outcome){.ends = 0};
    assert_int_equal(signing_start(bench->signing, &bench->job, &bench->head, "body", 4, note, outcome, &err),
                     1);
    if (cancel) {
        signing_cancel(&bench->job);
        WAIT_FOR(&bench->loopback, endpoint.requests == 1 && endpoint.lines == NULL);
    } else {
        WAIT_FOR(&bench->loopback, outcome->ends == 1);
    }
    endpoint_close(&endpoint);
    unsetenv("AWS_CONTAINER_CREDENTIALS_FULL_URI");
}

static void test_waits_for_keys(void **state)
{
    struct bench bench;
    struct outcome outcome;
    char hash[AWS_HASH_HEX_SIZE];
    (void)state;
    wait_for_keys(ANSWER(KEY), false, &outcome, &bench);
    assert_int_equal(outcome.code, 0);
    assert_int_equal(aws_hash("body", 4, hash), 0);
    check_authorization(&bench, hash, TOKEN);
    signing_cancel(&bench.job); /* it is over */
    bench_close(&bench);
}

static void test_keys_that_do_not_come(void **state)
{
    struct bench bench;
    struct outcome outcome;
    (void)state;
    wait_for_keys(ANSWER(""), false, &outcome, &bench);
    assert_true(outcome.code < 0 && outcome.code != -ENOMEM);
    assert_non_null(strstr(outcome.err.text, "secret access key"));
    assert_in_range(signing_retry_after_s(bench.signing), 1, 11);
    bench_close(&bench);
}

static void test_a_job_that_is_cancelled(void **state)
{
    struct bench bench;
    struct outcome outcome;
    (void)state;
    wait_for_keys(ANSWER(KEY), true, &outcome, &bench);
    assert_int_equal(outcome.ends, 0);
    assert_null(value_of(&bench, "authorization"));
    bench_close(&bench);
}

/* ---- The upstream's clock ---- */

static unsigned lines_told;

void __wrap_log_end(struct log_line *line);
void __wrap_log_end(struct log_line *line)
{
    lines_told += line->wanted && strstr(line->data, "clock is off") != NULL;
}

static unsigned refused(struct bench *bench, unsigned status, const char *code, long ahead_s)
{
    char date[40];
    struct tm tm;
    time_t theirs = time(NULL) + ahead_s;
    strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&theirs, &tm));
    lines_told = 0;
    signing_refused(bench->signing, "route", status, code, http_span_of(date));
    return lines_told;
}

static void test_a_clock_that_is_off(void **state)
{
    struct bench bench;
    (void)state;
    set_keys(ID, KEY, NULL);
    bench_open(&bench, "s3", true);
    assert_int_equal(refused(&bench, 404, "", 3600), 0);
    assert_int_equal(refused(&bench, 403, "", 60), 0);
    assert_int_equal(refused(&bench, 403, "", -60), 0);
    lines_told = 0;
    signing_refused(bench.signing, "route", 403, "", HTTP_SPAN("yesterday"));
    signing_refused(bench.signing, "route", 403, "", HTTP_SPAN("Thu, 01 Jan 1970 00:00:00 CET"));
    assert_int_equal(lines_told, 0);
    assert_int_equal(refused(&bench, 403, "", -3600), 1);
    assert_int_equal(refused(&bench, 403, "", -3600), 0); /* once a minute */
    signing_free(bench.signing);
    bench.signing = signing_new(&bench.store, &bench.sign);
    assert_int_equal(refused(&bench, 403, "", 3600), 1);
    signing_free(bench.signing);
    bench.signing = signing_new(&bench.store, &bench.sign);
    assert_int_equal(refused(&bench, 400, "ValidationException", 3600), 0);
    assert_int_equal(refused(&bench, 400, "InvalidSignatureException", 3600), 1);
    bench_close(&bench);
}

static void refuse_keys(const char *id, const char *key, const char *token, int code, const char *word)
{
    struct bench bench;
    struct error err;
    set_keys(id, key, token);
    bench_open(&bench, "sqs", false);
    assert_int_equal(start(&bench, NULL, &err), code);
    assert_non_null(strstr(err.text, word));
    assert_null(strstr(err.text, "SECRETWORD"));
    assert_null(value_of(&bench, "authorization"));
    assert_int_equal(signing_retry_after_s(bench.signing), 1);
    bench_close(&bench);
}

static void test_refuses_keys_that_are_none(void **state)
{
    (void)state;
    refuse_keys(NULL, NULL, NULL, -ENOENT, "AWS_ACCESS_KEY_ID");
    refuse_keys(ID, NULL, NULL, -EINVAL, "secret access key");
    refuse_keys(ID, "SECRETWORD with blanks", NULL, -EINVAL, "secret access key");
    static char large[CREDENTIALS_LARGE];
    memset(large, 'x', sizeof large - 1);
    refuse_keys(large, KEY, NULL, -EINVAL, "longer than");
    refuse_keys("SECRETWORD,x", KEY, NULL, -EINVAL, "access key ID");
    refuse_keys(ID, KEY, "SECRETWORD\r\nx-evil: 1", -EINVAL, "session token");
}

static void test_refuses_a_head_that_cannot_be_signed(void **state)
{
    struct bench bench;
    struct error err;
    (void)state;
    set_keys(ID, KEY, NULL);
    bench_open(&bench, "sqs", false);
    http_head_add(&bench.head, HTTP_SPAN("x-amz-date"), HTTP_SPAN("20150830T123600Z"));
    assert_int_equal(start(&bench, NULL, &err), -EINVAL);
    assert_non_null(strstr(err.text, "x-amz-date"));
    text_clear(&bench.head.line);
    text_add(&bench.head.line, "GET /");
    assert_int_equal(start(&bench, NULL, &err), -EINVAL);
    for (unsigned i = 0; i < AWS_HEADERS_MAX; i++) {
        http_head_add(&bench.head, HTTP_SPAN("x-more"), HTTP_SPAN("1"));
    }
    text_add(&bench.head.line, " HTTP/1.1");
    assert_int_equal(start(&bench, NULL, &err), -E2BIG);
    signing_cancel(&bench.job);
    bench_close(&bench);
}

static void sign_once(void *arg)
{
    struct bench *bench = arg;
    struct signing *signing = signing_new(&bench->store, &bench->sign);
    struct http_head head;
    struct error err = ERROR_INIT;
    if (signing == NULL) {
        return;
    }
    http_head_init(&head, 0);
    text_add(&head.line, "GET / HTTP/1.1");
    http_head_add(&head, HTTP_SPAN("host"), HTTP_SPAN("sqs"));
    if (!head.failed && !head.line.failed) {
        int rv = signing_start(signing, &bench->job, &head, NULL, 0, never, NULL, &err);
        assert_true(rv == 0 || rv == -ENOMEM || rv == -EIO);
        assert_true((rv == 0) == (err.text[0] == '\0'));
    }
    http_head_release(&head);
    signing_free(signing);
}

static void test_out_of_memory(void **state)
{
    struct bench bench;
    (void)state;
    set_keys(ID, KEY, TOKEN);
    bench_open(&bench, "s3", false);
    signing_free(bench.signing);
    bench.signing = NULL;
    assert_true(fault_loop("signing", FAULT_MEMORY, sign_once, &bench) >= 10);
    bench_close(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_signs_what_is_sent),
        cmocka_unit_test(test_leaves_the_payload_unsigned),
        cmocka_unit_test(test_hashes_an_empty_body),
        cmocka_unit_test(test_spells_paths_of_objects),
        cmocka_unit_test(test_waits_for_keys),
        cmocka_unit_test(test_keys_that_do_not_come),
        cmocka_unit_test(test_a_job_that_is_cancelled),
        cmocka_unit_test(test_a_clock_that_is_off),
        cmocka_unit_test(test_refuses_keys_that_are_none),
        cmocka_unit_test(test_refuses_a_head_that_cannot_be_signed),
        cmocka_unit_test(test_out_of_memory),
    };
    log_set(LOG_LEVEL_WARN, LOG_FORMAT_JSON);
    loopback_spare_libuv();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
