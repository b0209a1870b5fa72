/* Exchanges of a route that signs: bodies that are hashed are gathered first, and go out with their length. */
#include "exchange_fixture.h"

#include <stdlib.h>

#define POST(headers) "POST /r HTTP/1.1\r\nHost: postern\r\n" headers "\r\n"
#define CHUNKED       "Transfer-Encoding: chunked\r\n"

static struct config_sign sign;

/* Credentials that come later: the call that waits for them. */
static struct {
    bool late;
    struct signing *signing;
    struct signing_job *job;
    struct http_head *head;
    signing_cb cb;
    void *data;
} call;

int __real_signing_start(struct signing *signing, struct signing_job *job, struct http_head *head,
                         const void *body, size_t size, signing_cb cb, void *data, struct error *err);
int __wrap_signing_start(struct signing *signing, struct signing_job *job, struct http_head *head,
                         const void *body, size_t size, signing_cb cb, void *data, struct error *err);
int __wrap_signing_start(struct signing *signing, struct signing_job *job, struct http_head *head,
                         const void *body, size_t size, signing_cb cb, void *data, struct error *err)
{
    if (!call.late) {
        return __real_signing_start(signing, job, head, body, size, cb, data, err);
    }
    call.signing = signing;
    call.job = job;
    call.head = head;
    call.cb = cb;
    call.data = data;
    return 1;
}

static void credentials_come(void)
{
    struct error err = ERROR_INIT;
    call.late = false;
    assert_int_equal(__real_signing_start(call.signing, call.job, call.head, NULL, 0, NULL, NULL, &err), 0);
    call.cb(call.data, 0, &err);
}

static int set_up(void **state)
{
    (void)state;
    assert_int_equal(setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE", 1), 0);
    assert_int_equal(setenv("AWS_SECRET_ACCESS_KEY", "secret", 1), 0);
    open_fixture();
    sign = (struct config_sign){.service = "sqs",
                                .region = "eu-west-1",
                                .body_max = 100,
                                .credentials = CONFIG_CREDENTIALS_ENV};
    bench.forward->sign = &sign;
    return 0;
}

static void start(const char *head, const char *body)
{
    owner_init(&owner, &bench, head);
    text_add(&owner.body, body);
    owner.step = 4;
    owner_start(&owner);
}

static void hear(const char *last)
{
    far_accept(&bench, &far);
    WAIT_FOR(&bench.net, far_heard(&far, last));
    assert_non_null(strstr(far.heard.data, "\r\nauthorization: AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/"));
}

static void finish(void)
{
    far_say(&bench, &far, OK);
    WAIT_FOR(&bench.net, owner.ends > 0);
    assert_int_equal(owner.why, HTTP_REFUSED_NONE);
    assert_string_equal(owner.answer.data, "ok");
    assert_int_equal(bench.worker.stats.idle, 1);
}

static void test_without_a_body(void **state)
{
    (void)state;
    start("GET /r HTTP/1.1\r\nHost: postern\r\n\r\n", "");
    hear("\r\n\r\n");
    finish();
}

static void test_gathered(void **state)
{
    (void)state;
    start(POST(CHUNKED), "some data");
    hear("some data");
    assert_non_null(strstr(far.heard.data, "\r\ncontent-length: 9\r\n"));
    assert_null(strstr(far.heard.data, "transfer-encoding"));
    finish();
}

static void test_gathered_of_nothing(void **state)
{
    (void)state;
    start(POST(CHUNKED), "");
    hear("\r\ncontent-length: 0\r\n");
    finish();
}

static void test_gathered_from_a_client_that_waits(void **state)
{
    (void)state;
    start(POST("Expect: 100-continue\r\nContent-Length: 4\r\n"), "data");
    assert_int_equal(owner.went_on, 0);
    hear("\r\n\r\ndata");
    assert_int_equal(owner.went_on, 1);
    assert_null(strstr(far.heard.data, "expect"));
    finish();
}

static void assert_refused(enum http_refusal why)
{
    WAIT_FOR(&bench.net, owner.ends > 0);
    assert_int_equal(owner.why, why);
    assert_false(owner.reached);
}

static void test_too_large_to_gather(void **state)
{
    (void)state;
    char body[102];
    memset(body, 'x', 101);
    body[101] = '\0';
    start(POST(CHUNKED), body);
    assert_refused(HTTP_REFUSED_BODY_SIZE);
}

#define LARGE 100000

static void start_large(const char *method)
{
    char head[128], *body = malloc(LARGE + 1);
    assert_non_null(body);
    memset(body, 'x', LARGE);
    memcpy(body + LARGE - 3, "end", 4);
    snprintf(head, sizeof head, "%s /r HTTP/1.1\r\nHost: postern\r\n" CHUNKED "\r\n", method);
    sign.body_max = LARGE;
    owner_init(&owner, &bench, head);
    text_add(&owner.body, body);
    free(body);
    owner_start(&owner);
}

static void assert_all_heard(void)
{
    const char *end = strstr(far.heard.data, "\r\n\r\n");
    assert_non_null(end);
    assert_int_equal(strlen(end + 4), LARGE);
    assert_non_null(strstr(far.heard.data, "\r\ncontent-length: 100000\r\n"));
}

/* Held once, and not after it was sent. */
static void test_a_large_one(void **state)
{
    (void)state;
    start_large("POST");
    assert_int_equal(body_memory_used(&bench.bodies), LARGE + 1);
    hear("end");
    assert_all_heard();
    assert_int_equal(body_memory_used(&bench.bodies), 0);
    finish();
}

/* On a connection that was kept it is held for as long as it may have to be sent once more. */
static void test_a_large_one_that_is_sent_twice(void **state)
{
    (void)state;
    start("GET /r HTTP/1.1\r\nHost: postern\r\n\r\n", "");
    hear("\r\n\r\n");
    finish();
    owner_release(&owner);
    text_clear(&far.heard);
    start_large("PUT");
    WAIT_FOR(&bench.net, far_heard(&far, "end"));
    assert_true(body_memory_used(&bench.bodies) > LARGE);
    far_reset(&far);
    far_release(&far);
    hear("end");
    assert_all_heard();
    assert_int_equal(body_memory_used(&bench.bodies), 0);
    finish();
    assert_int_equal(bench.worker.stats.retried, 1);
}

static void test_no_memory_for_a_large_one(void **state)
{
    (void)state;
    body_memory_set_limit(&bench.bodies, (uint64_t)2 * LARGE);
    start_large("POST");
    assert_refused(HTTP_REFUSED_BODY_MEMORY);
    assert_int_equal(owner.retry_after_s, 1);
    owner_release(&owner);
    body_memory_set_limit(&bench.bodies, (uint64_t)2 * LARGE + 2);
    start_large("POST");
    hear("end");
    finish();
}

static void test_cancelled_while_gathering(void **state)
{
    (void)state;
    owner_init(&owner, &bench, POST(CHUNKED));
    owner.open_ended = true;
    text_add(&owner.body, "some");
    owner_start(&owner);
    exchange_cancel(&owner.exchange);
    assert_refused(HTTP_REFUSED_REQUEST_CUT);
}

static void test_unsigned_payload_streams(void **state)
{
    (void)state;
    sign.unsigned_payload = true;
    start(POST(CHUNKED), "some data");
    hear("\r\n0\r\n\r\n");
    assert_non_null(strstr(far.heard.data, "\r\nx-amz-content-sha256: UNSIGNED-PAYLOAD\r\n"));
    assert_non_null(strstr(far.heard.data, "4\r\nsome\r\n"));
    finish();
}

/* It sends its body without having been told to go on, and before there are credentials; a connection is kept. */
static void test_a_body_that_comes_before_credentials(void **state)
{
    (void)state;
    sign.unsigned_payload = true;
    start("GET /r HTTP/1.1\r\nHost: postern\r\n\r\n", "");
    hear("\r\n\r\n");
    finish();
    owner_release(&owner);
    call.late = true;
    start(POST("Expect: 100-continue\r\nContent-Length: 4\r\n"), "data");
    owner_give(&owner);
    assert_int_equal(owner.given, 0);
    credentials_come();
    WAIT_FOR(&bench.net, far_heard(&far, "\r\n\r\ndata"));
    far_say(&bench, &far, OK);
    WAIT_FOR(&bench.net, owner.ends > 0);
    assert_true(owner.reused);
    assert_true(owner.wanted == 1 && owner.went_on == 0); /* who has begun to send need not be told to */
}

static void test_no_credentials(void **state)
{
    (void)state;
    assert_int_equal(unsetenv("AWS_ACCESS_KEY_ID"), 0);
    start(POST("Content-Length: 4\r\n"), "data");
    assert_refused(HTTP_REFUSED_CREDENTIALS);
    assert_true(owner.retry_after_s > 0);
    assert_non_null(strstr(owner.detail, "AWS_ACCESS_KEY_ID"));
}

/* The request's own fault, and nothing that passes. */
static void test_more_than_can_be_signed(void **state)
{
    (void)state;
    struct text head = TEXT_INIT;
    text_add(&head, "GET /r?");
    for (unsigned i = 0; i <= AWS_PARAMETERS_MAX; i++) {
        text_add(&head, "a&");
    }
    text_add(&head, " HTTP/1.1\r\nHost: postern\r\n\r\n");
    start(text_string(&head), "");
    text_release(&head);
    assert_refused(HTTP_REFUSED_UNSIGNABLE);
    assert_int_equal(owner.retry_after_s, 0);
    assert_non_null(strstr(owner.detail, "more than 256 parameters"));
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(test_without_a_body),
        T(test_gathered),
        T(test_gathered_of_nothing),
        T(test_gathered_from_a_client_that_waits),
        T(test_too_large_to_gather),
        T(test_a_large_one),
        T(test_a_large_one_that_is_sent_twice),
        T(test_no_memory_for_a_large_one),
        T(test_cancelled_while_gathering),
        T(test_unsigned_payload_streams),
        T(test_a_body_that_comes_before_credentials),
        T(test_no_credentials),
        T(test_more_than_can_be_signed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
