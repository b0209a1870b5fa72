/* Tests of forward/fetch.c and fetch_url.c: one request to an endpoint near by, and everything that can come of it. */
#include "forward/fetch.h"

#include "base/log.h"
#include "endpoint.h"
#include "fault.h"
#include "loopback.h"
#include <errno.h>
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- URLs ---- */

static void test_urls(void **state)
{
    static const struct {
        const char *text, *host, *authority, *target;
        unsigned port;
    } good[] = {
        {"http://169.254.169.254", "169.254.169.254", "169.254.169.254", "", 80},
        {"http://127.0.0.1:8080/v1/c?x=1", "127.0.0.1", "127.0.0.1:8080", "/v1/c?x=1", 8080},
        {"http://localhost:99/", "127.0.0.1", "localhost:99", "/", 99},
        {"http://[fd00:ec2::23]/v1", "fd00:ec2::23", "[fd00:ec2::23]", "/v1", 80},
    };
    static const char *const bad[] = {
        "https://127.0.0.1/",
        "127.0.0.1",
        "http://",
        "http:///x",
        "http://metadata/x",
        "http://127.0.0.1:0/",
        "http://a@127.0.0.1/",
        "http://127.0.0.1/ x",
        "http://127.0.0.1/\r\nx",
        "http://127.0.0.1?x=1",
        "http://127.0.0.1#x",
        "http://127.1/",
        "http://[127.0.0.1]/",
    };
    struct credentials_url url;
    struct error err;
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        assert_int_equal(credentials_url_parse(good[i].text, &url, &err), 0);
        assert_string_equal(url.to.host, good[i].host);
        assert_int_equal(url.to.port, good[i].port);
        assert_string_equal(url.authority, good[i].authority);
        assert_string_equal(url.target, good[i].target);
    }
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        if (credentials_url_parse(bad[i], &url, &err) != -EINVAL) {
            fail_msg("%s passed", bad[i]);
        }
        assert_non_null(strstr(err.text, "http://ADDRESS"));
    }
}

static bool is_near(const char *text)
{
    struct credentials_url url;
    assert_int_equal(credentials_url_parse(text, &url, NULL), 0);
    return credentials_url_is_near(&url.to);
}

static void test_near(void **state)
{
    struct addr name = {.kind = ADDR_TCP, .host = "localhost", .port = 80};
    (void)state;
    assert_true(is_near("http://127.8.9.1"));
    assert_true(is_near("http://169.254.0.1"));
    assert_true(is_near("http://[::1]"));
    assert_true(is_near("http://[fe80::1]"));
    assert_true(is_near("http://[fd00:ec2::254]"));
    assert_false(is_near("http://10.0.0.1"));
    assert_false(is_near("http://169.253.0.1"));
    assert_false(is_near("http://[fd00:ec3::254]"));
    assert_false(is_near("http://[2001:db8::1]"));
    assert_false(credentials_url_is_near(&name));
}

/* ---- What memory that grows leaves behind ---- */

#define SECRET "secret=="

static bool left_behind;

void *__real_realloc(void *old, size_t size);
void *__wrap_realloc(void *old, size_t size);
void *__wrap_realloc(void *old, size_t size)
{
    left_behind |= old != NULL && memmem(old, malloc_usable_size(old), SECRET, strlen(SECRET)) != NULL;
    return __real_realloc(old, size);
}

/* ---- Requests ---- */

struct bench {
    struct loopback loopback;
    struct endpoint endpoint;
    const char *answer; /* NULL: none */
    unsigned ends;
    int code, status;
    char body[128];
    struct error err;
};

static const char *give(struct endpoint *endpoint, const char *request)
{
    struct bench *bench = endpoint->data;
    (void)request;
    return bench->answer;
}

static void open_bench(struct bench *bench, const char *answer)
{
    memset(bench, 0, sizeof *bench);
    loopback_open(&bench->loopback);
    endpoint_open(&bench->endpoint, &bench->loopback, give, bench);
    bench->answer = answer;
}

static void close_bench(struct bench *bench)
{
    endpoint_close(&bench->endpoint);
    loopback_close(&bench->loopback);
}

static void ended(void *data, int code, const struct fetched *fetched, const struct error *err)
{
    struct bench *bench = data;
    bench->ends++;
    bench->code = code;
    bench->status = fetched != NULL ? fetched->status : 0;
    snprintf(bench->body, sizeof bench->body, "%s", fetched != NULL ? fetched->body : "");
    bench->err = err != NULL ? *err : (struct error)ERROR_INIT;
}

static struct fetch *start(struct bench *bench, const char *method, const char *path, uint64_t timeout_ms)
{
    char text[128];
    struct credentials_url url;
    assert_int_equal(credentials_url_parse(endpoint_url(&bench->endpoint, path, text), &url, &bench->err), 0);
    const struct fetch_options options = {.method = method,
                                          .url = &url,
                                          .headers = {{"x-token", SECRET}},
                                          .timeout_ms = timeout_ms};
    return fetch_start(&bench->loopback.loop, &options, ended, bench, &bench->err);
}

static void fetch(struct bench *bench, const char *method, const char *path, uint64_t timeout_ms)
{
    unsigned before = bench->ends;
    assert_non_null(start(bench, method, path, timeout_ms));
    assert_int_equal(bench->ends, before);
    WAIT_FOR(&bench->loopback, bench->ends > before);
}

static void test_gets_an_answer(void **state)
{
    struct bench bench;
    (void)state;
    open_bench(&bench, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
    fetch(&bench, "GET", "/a?b", 60000);
    assert_int_equal(bench.code, 0);
    assert_int_equal(bench.status, 200);
    assert_string_equal(bench.body, "hello");
    assert_non_null(strstr(bench.endpoint.last, "GET /a?b HTTP/1.1\r\nhost: 127.0.0.1:"));
    assert_non_null(strstr(bench.endpoint.last, "\r\nx-token: " SECRET "\r\n"));
    bench.answer = "HTTP/1.0 404 Not Found\r\n\r\nuntil the end";
    fetch(&bench, "PUT", "", 60000);
    assert_int_equal(bench.status, 404);
    assert_string_equal(bench.body, "until the end");
    assert_non_null(strstr(bench.endpoint.last, "PUT / HTTP/1.1"));
    assert_non_null(strstr(bench.endpoint.last, "content-length: 0"));
    close_bench(&bench);
}

static void test_takes_no_bad_answer(void **state)
{
    static const char *const answers[] = {"nonsense\r\n\r\n",
                                          "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\ncut", "",
                                          "HTTP/1.1 200 OK\r\nContent-Length: 40000\r\n\r\n"};
    struct bench bench;
    (void)state;
    open_bench(&bench, NULL);
    for (size_t i = 0; i < ARRAY_SIZE(answers); i++) {
        bench.answer = answers[i];
        fetch(&bench, "GET", "/", 60000);
        assert_true(bench.code < 0);
        assert_int_equal(bench.status, 0);
        assert_non_null(strstr(bench.err.text, "http://127.0.0.1:"));
    }
    close_bench(&bench);
}

static void test_does_not_wait_for_ever(void **state)
{
    struct bench bench;
    struct blackhole hole;
    (void)state;
    open_bench(&bench, NULL);
    fetch(&bench, "GET", "/", 50);
    assert_int_equal(bench.code, -ETIMEDOUT);
    assert_non_null(strstr(bench.err.text, "did not answer in time"));
    uint16_t port = bench.endpoint.port;
    blackhole_open(&hole);
    bench.endpoint.port = hole.port;
    fetch(&bench, "GET", "/", 50);
    assert_int_equal(bench.code, -ETIMEDOUT);
    blackhole_close(&hole);
    bench.endpoint.port = refusing_port();
    fetch(&bench, "GET", "/", 60000);
    assert_int_equal(bench.code, -ECONNREFUSED);
    bench.endpoint.port = port;
    close_bench(&bench);
}

static void test_can_be_cancelled(void **state)
{
    struct bench bench;
    (void)state;
    open_bench(&bench, NULL);
    struct fetch *one = start(&bench, "GET", "/", 60000);
    struct fetch *two = start(&bench, "GET", "/", 60000);
    fetch_cancel(one);
    WAIT_FOR(&bench.loopback, bench.endpoint.requests > 0);
    fetch_cancel(two);
    fetch_cancel(NULL);
    assert_int_equal(bench.ends, 0);
    close_bench(&bench);
}

static struct fetch *start_with(struct bench *bench, const char *url_text, const char *target,
                                const char *value)
{
    struct credentials_url url;
    assert_int_equal(credentials_url_parse(url_text, &url, &bench->err), 0);
    const struct fetch_options options = {.method = "GET",
                                          .url = &url,
                                          .target = target,
                                          .headers = {{"authorization", value}},
                                          .timeout_ms = 60000};
    return fetch_start(&bench->loopback.loop, &options, ended, bench, &bench->err);
}

/* Wherever the block ends in which a request grows, and in which an answer does. */
static void test_leaves_no_secret_behind(void **state)
{
    struct bench bench;
    char answer[1200] = "", target[256] = "/", url[128];
    (void)state;
    open_bench(&bench, answer);
    int length = snprintf(answer, sizeof answer, "HTTP/1.1 200 OK\r\nContent-Length: 1008\r\n\r\n%s", SECRET);
    memset(answer + length, 'x', 1000);
    left_behind = false;
    while (strlen(target) < sizeof target - 1) {
        strcat(target, "x");
        unsigned before = bench.ends;
        assert_non_null(start_with(&bench, endpoint_url(&bench.endpoint, "", url), target, SECRET));
        WAIT_FOR(&bench.loopback, bench.ends > before);
        assert_int_equal(bench.code, 0);
    }
    assert_false(left_behind);
    close_bench(&bench);
}

static void test_refuses_to_ask(void **state)
{
    struct bench bench;
    static char large[FETCH_HEADER_MAX + 2];
    (void)state;
    open_bench(&bench, NULL);
    memset(large, 'x', sizeof large - 1);
    assert_null(start_with(&bench, "http://10.0.0.1", "/", "x"));
    assert_non_null(strstr(bench.err.text, "plain text"));
    assert_null(start_with(&bench, "http://127.0.0.1", "/ x", "x"));
    assert_non_null(strstr(bench.err.text, "path"));
    assert_null(start_with(&bench, "http://127.0.0.1", "/", "SECRET\r\nx: y"));
    assert_non_null(strstr(bench.err.text, "authorization"));
    assert_null(strstr(bench.err.text, "SECRET"));
    assert_null(start_with(&bench, "http://127.0.0.1", "/", large));
    assert_null(start_with(&bench, "http://127.0.0.1", large, "x"));
    close_bench(&bench);
}

/* Each call failing once: an end, and nothing left behind. */
static void fetch_once(void *arg)
{
    struct bench *bench = arg;
    unsigned before = bench->ends;
    struct fetch *fetch = start(bench, "GET", "/", 60000);
    if (fetch != NULL) {
        WAIT_FOR(&bench->loopback, bench->ends > before);
        assert_true(bench->code < 0 || strcmp(bench->body, "hello") == 0);
    }
    WAIT_FOR(&bench->loopback, bench->endpoint.lines == NULL);
    loopback_turn(&bench->loopback);
    loopback_turn(&bench->loopback);
}

static void test_failing_calls(void **state)
{
    struct bench bench;
    (void)state;
    open_bench(&bench, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
    assert_true(fault_loop("fetch", FAULT_MEMORY | FAULT_SOCKET | FAULT_CONNECT, fetch_once, &bench) >= 5);
    close_bench(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_urls),
        cmocka_unit_test(test_near),
        cmocka_unit_test(test_gets_an_answer),
        cmocka_unit_test(test_leaves_no_secret_behind),
        cmocka_unit_test(test_takes_no_bad_answer),
        cmocka_unit_test(test_does_not_wait_for_ever),
        cmocka_unit_test(test_can_be_cancelled),
        cmocka_unit_test(test_refuses_to_ask),
        cmocka_unit_test(test_failing_calls),
    };
    log_set(LOG_LEVEL_ERROR, LOG_FORMAT_JSON);
    loopback_spare_libuv();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
