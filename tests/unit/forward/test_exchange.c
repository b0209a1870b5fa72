/* Exchanges over TCP: what goes out, what comes back, and how either can end. */
#include "exchange_plain.h"

#include <stdlib.h>
#include <sys/socket.h>

static unsigned sends; /* of the daemon */

ssize_t __real_send(int fd, const void *data, size_t size, int flags);
ssize_t __wrap_send(int fd, const void *data, size_t size, int flags);
ssize_t __wrap_send(int fd, const void *data, size_t size, int flags)
{
    sends += fd != far.fd;
    return __real_send(fd, data, size, flags);
}

static void test_get(void **state)
{
    (void)state;
    start_get();
    assert_string_equal(text_string(&far.heard), "GET /v1/r HTTP/1.1\r\nhost: results.test\r\n\r\n");
    far_say(&bench, &far, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
    assert_whole(200, "hello");
    assert_int_equal(bench.worker.stats.idle, 1);
    assert_int_equal(owner.exchange.received_bytes, 5);
}

static void test_body_of_a_length(void **state)
{
    (void)state;
    owner_init(&owner, &bench, POST_HEAD("Content-Length: 4\r\n"));
    text_add(&owner.body, "data");
    owner_start(&owner);
    far_accept(&bench, &far);
    WAIT_FOR(&bench.net, far_heard(&far, "data"));
    assert_string_equal(text_string(&far.heard),
                        "POST /v1/r?a=1 HTTP/1.1\r\nhost: results.test\r\ncontent-length: 4\r\n\r\ndata");
    far_say(&bench, &far, "HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n");
    assert_whole(201, "");
    assert_true(owner.sent);
}

static void test_chunked_both_ways(void **state)
{
    (void)state;
    owner_init(&owner, &bench, POST_HEAD("Transfer-Encoding: chunked\r\n"));
    text_add(&owner.body, "some data");
    owner.step = 4;
    owner_start(&owner);
    far_accept(&bench, &far);
    WAIT_FOR(&bench.net, far_heard(&far, "0\r\n\r\n"));
    assert_non_null(strstr(far.heard.data, "\r\n\r\n4\r\nsome\r\n4\r\n dat\r\n1\r\na\r\n0\r\n\r\n"));
    far_say(
        &bench, &far,
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nyes\r\n2\r\n!!\r\n0\r\nX-Sum: 1\r\n\r\n");
    assert_whole(200, "yes!!");
    assert_int_equal(bench.worker.stats.idle, 1);
}

/* Much more than is held, or fits into the sockets. */
static void give_much(const char *framing)
{
    owner_init(&owner, &bench, framing);
    for (unsigned i = 0; i < 400000; i++) {
        text_addf(&owner.body, "%09u\n", i);
    }
    owner.step = 40000;
    owner_start(&owner);
    far_accept(&bench, &far);
}

static void test_large_body(void **state)
{
    (void)state;
    give_much(POST_HEAD("Content-Length: 4000000\r\n"));
    WAIT_FOR(&bench.net, far_heard(&far, "000399999\n"));
    assert_string_equal(strstr(far.heard.data, "\r\n\r\n") + 4, owner.body.data);
    assert_true(owner.wanted > 0);
    far_say(&bench, &far, OK);
    assert_whole(200, "ok");
    assert_int_equal(owner.exchange.sent_bytes, 4000000);
}

static void unchunk(char *text, struct text *out)
{
    for (;;) {
        char *end;
        size_t size = strtoul(text, &end, 16);
        if (size == 0) {
            return;
        }
        text_add_bytes(out, end + 2, size);
        text = end + 2 + size + 2;
    }
}

static void test_large_chunked_body(void **state)
{
    (void)state;
    struct text body = TEXT_INIT;
    give_much(POST_HEAD("Transfer-Encoding: chunked\r\n"));
    WAIT_FOR(&bench.net, far_heard(&far, "\r\n0\r\n\r\n"));
    unchunk(strstr(far.heard.data, "\r\n\r\n") + 4, &body);
    assert_string_equal(body.data, owner.body.data);
    text_release(&body);
    far_say(&bench, &far, OK);
    assert_whole(200, "ok");
}

/* The client chooses the size of its chunks, and not how many system calls they cost. */
static void test_tiny_chunks(void **state)
{
    (void)state;
    struct text body = TEXT_INIT;
    owner_init(&owner, &bench, POST_HEAD("Transfer-Encoding: chunked\r\n"));
    owner.open_ended = true;
    owner_start(&owner);
    far_accept(&bench, &far);
    WAIT_FOR(&bench.net, far_heard(&far, "\r\n\r\n"));
    sends = 0;
    for (unsigned i = 0; i < 200; i++) {
        text_addf(&owner.body, "%09u\n", i);
    }
    owner.step = 1;
    owner.open_ended = false;
    owner_give(&owner);
    WAIT_FOR(&bench.net, far_heard(&far, "\r\n0\r\n\r\n"));
    unsigned counted = sends;
    unchunk(strstr(far.heard.data, "\r\n\r\n") + 4, &body);
    assert_string_equal(body.data, owner.body.data);
    text_release(&body);
    far_say(&bench, &far, OK);
    assert_whole(200, "ok");
    assert_in_range(counted, 1, 10);
}

/* Small pieces and large ones, in turn, keep their order. */
static void test_chunks_of_all_sizes(void **state)
{
    (void)state;
    struct text body = TEXT_INIT;
    owner_init(&owner, &bench, POST_HEAD("Transfer-Encoding: chunked\r\n"));
    owner.open_ended = true;
    owner_start(&owner);
    far_accept(&bench, &far);
    for (unsigned i = 0; i < 200; i++) {
        for (unsigned j = 0; j < (i % 3 == 0 ? 1000 : i % 5); j++) {
            text_addf(&owner.body, "%04u %04u\n", i, j);
        }
        owner_give(&owner);
        loopback_turn(&bench.net);
        far_hear(&far);
    }
    owner.open_ended = false;
    owner_give(&owner);
    WAIT_FOR(&bench.net, far_heard(&far, "\r\n0\r\n\r\n"));
    unchunk(strstr(far.heard.data, "\r\n\r\n") + 4, &body);
    assert_string_equal(body.data, owner.body.data);
    text_release(&body);
    far_say(&bench, &far, OK);
    assert_whole(200, "ok");
}

/* An owner that takes a little at a time, and says so from wherever. */
static void test_slow_owner(void **state)
{
    (void)state;
    struct text answer = TEXT_INIT;
    for (unsigned i = 0; i < 100000; i++) {
        text_addf(&answer, "%09u\n", i);
    }
    start_get();
    owner.room = 0;
    far_say(&bench, &far, "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n");
    for (size_t at = 0; at < answer.length; at += 50000) {
        far_say_bytes(&bench, &far, answer.data + at, 50000);
        WAIT_FOR(&bench.net, owner.exchange.paused || owner.ends > 0);
        while (owner.exchange.paused && owner.ends == 0 && owner.answer.length < at + 50000) {
            owner.room = 7777;
            exchange_resume(&owner.exchange);
            loopback_turn(&bench.net);
        }
    }
    while (owner.ends == 0) {
        owner.room = 7777;
        exchange_resume(&owner.exchange);
        loopback_turn(&bench.net);
    }
    assert_whole(200, answer.data);
    text_release(&answer);
    assert_int_equal(bench.worker.stats.idle, 1);
}

static void test_until_end(void **state)
{
    (void)state;
    start_get();
    far_say(&bench, &far, "HTTP/1.0 200 OK\r\n\r\nall ");
    far_say(&bench, &far, "of it");
    far_close(&far);
    assert_whole(200, "all of it");
}

static void test_early_answer(void **state)
{
    (void)state;
    owner_init(&owner, &bench, POST_HEAD("Content-Length: 100\r\n"));
    text_add(&owner.body, "only a part");
    owner.open_ended = true;
    owner_start(&owner);
    far_accept(&bench, &far);
    WAIT_FOR(&bench.net, far_heard(&far, "a part"));
    far_say(&bench, &far, "HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno");
    assert_whole(413, "no");
    assert_false(owner.sent);
    assert_int_equal(bench.worker.stats.open, 0);
}

/* What is given then is taken all the same, and thrown away. */
static void test_early_answer_and_a_reset(void **state)
{
    (void)state;
    owner_init(&owner, &bench, POST_HEAD("Content-Length: 4000000\r\n"));
    text_add(&owner.body, "000000000\n");
    owner.open_ended = true;
    owner_start(&owner);
    far_accept(&bench, &far);
    WAIT_FOR(&bench.net, far_heard(&far, "000000000\n"));
    far_say(&bench, &far, OK);
    far_reset(&far);
    for (unsigned i = 1; i < 400000; i++) { /* more than fits into the sockets */
        text_addf(&owner.body, "%09u\n", i);
    }
    owner.open_ended = false;
    owner_give(&owner);
    assert_whole(200, "ok");
    assert_false(owner.sent);
}

static void test_cut_off(void **state)
{
    (void)state;
    start_get();
    far_say(&bench, &far, "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nok");
    far_close(&far);
    wait_end();
    assert_int_equal(owner.why, HTTP_REFUSED_RESPONSE_CUT);
    assert_true(owner.answered);
}

static void test_reset(void **state)
{
    (void)state;
    start_get();
    far_say(&bench, &far, "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nok");
    WAIT_FOR(&bench.net, owner.answer.length == 2);
    far_reset(&far);
    wait_end();
    assert_int_equal(owner.why, HTTP_REFUSED_RESPONSE_CUT);
}

static void test_no_answer(void **state)
{
    (void)state;
    start_get();
    far_close(&far);
    wait_end();
    assert_int_equal(owner.why, HTTP_REFUSED_UPSTREAM_RESET);
    assert_false(owner.answered);
}

static void test_garbage(void **state)
{
    (void)state;
    start_get();
    far_say(&bench, &far, "220 smtp ready\r\n");
    wait_end();
    assert_int_equal(owner.why, HTTP_REFUSED_RESPONSE_HEAD);
}

static void test_refused(void **state)
{
    (void)state;
    bench.route->to.port = refusing_port();
    owner_init(&owner, &bench, GET);
    owner_start(&owner);
    wait_end();
    assert_int_equal(owner.why, HTTP_REFUSED_UPSTREAM_REFUSED);
    assert_false(owner.reached);
    assert_non_null(strstr(owner.detail, "127.0.0.1"));
}

static void start_expecting(void)
{
    owner_init(&owner, &bench, POST_HEAD("Expect: 100-continue\r\nContent-Length: 4\r\n"));
    text_add(&owner.body, "data");
    owner_start(&owner);
    far_accept(&bench, &far);
    WAIT_FOR(&bench.net, far_heard(&far, "expect: 100-continue\r\n\r\n"));
    assert_int_equal(owner.went_on, 0);
}

static void finish_expecting(void)
{
    WAIT_FOR(&bench.net, far_heard(&far, "data"));
    assert_int_equal(owner.went_on, 1);
    far_say(&bench, &far, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    assert_whole(200, "ok");
    assert_int_equal(owner.went_on, 1);
}

static void test_continue(void **state)
{
    (void)state;
    start_expecting();
    far_say(&bench, &far, "HTTP/1.1 100 Continue\r\n\r\n");
    finish_expecting();
}

static void test_continue_without_answer(void **state)
{
    (void)state;
    start_expecting();
    finish_expecting();
}

static void test_continue_refused(void **state)
{
    (void)state;
    start_expecting();
    far_say(&bench, &far, "HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n");
    assert_whole(401, "");
    assert_int_equal(owner.went_on, 0);
    assert_int_equal(bench.worker.stats.open, 0);
}

static void test_response_timeout(void **state)
{
    (void)state;
    bench.forward->response_timeout_ms = 20;
    start_get();
    wait_end();
    assert_int_equal(owner.why, HTTP_REFUSED_RESPONSE_TIMEOUT);
    WAIT_FOR(&bench.net, (far_hear(&far), far.cut || far.ended));
}

static void test_stalled_answer(void **state)
{
    (void)state;
    bench.route->idle_timeout_ms = 20;
    start_get();
    far_say(&bench, &far, "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nok");
    wait_end();
    assert_int_equal(owner.why, HTTP_REFUSED_UPSTREAM_STALLED);
}

static void test_stalled_request(void **state)
{
    (void)state;
    int little = 4096;
    assert_int_equal(setsockopt(bench.listener, SOL_SOCKET, SO_RCVBUF, &little, sizeof little), 0);
    bench.route->idle_timeout_ms = 20;
    owner_init(&owner, &bench, POST_HEAD("Content-Length: 64000000\r\n"));
    owner.body.data = calloc(1, 64000000);
    assert_non_null(owner.body.data);
    owner.body.length = 64000000;
    owner_start(&owner);
    far_accept(&bench, &far);
    wait_end();
    assert_int_equal(owner.why, HTTP_REFUSED_UPSTREAM_STALLED);
    assert_false(owner.answered);
}

/* The owner is behind: that is no fault of the upstream's. */
static void test_slow_owner_is_waited_for(void **state)
{
    (void)state;
    bench.route->idle_timeout_ms = 20;
    start_get();
    owner.room = 0;
    far_say(&bench, &far, OK);
    WAIT_FOR(&bench.net, owner.exchange.paused);
    loopback_pass(&bench.net, 60);
    assert_int_equal(owner.ends, 0);
    owner.room = 2;
    exchange_resume(&owner.exchange);
    assert_whole(200, "ok");
}

static void test_cancel(void **state)
{
    (void)state;
    start_get();
    exchange_cancel(&owner.exchange);
    assert_int_equal(owner.ends, 0);
    wait_end();
    assert_int_equal(owner.why, HTTP_REFUSED_REQUEST_CUT);
    WAIT_FOR(&bench.net, (far_hear(&far), far.cut));
}

static void test_cancel_at_the_head(void **state)
{
    (void)state;
    start_get();
    owner.cancels = true;
    far_say(&bench, &far, OK);
    wait_end();
    assert_int_equal(owner.why, HTTP_REFUSED_REQUEST_CUT);
    assert_string_equal(text_string(&owner.answer), "");
}

static void test_cancel_while_dialing(void **state)
{
    (void)state;
    struct blackhole hole;
    blackhole_open(&hole);
    bench.route->to.port = hole.port;
    owner_init(&owner, &bench, GET);
    owner_start(&owner);
    loopback_turn(&bench.net);
    exchange_cancel(&owner.exchange);
    wait_end();
    assert_false(owner.reached);
    blackhole_close(&hole);
}

static void test_connect_timeout(void **state)
{
    (void)state;
    struct blackhole hole;
    blackhole_open(&hole);
    bench.route->to.port = hole.port;
    bench.route->connect_timeout_ms = 20;
    owner_init(&owner, &bench, GET);
    owner_start(&owner);
    wait_end();
    assert_int_equal(owner.why, HTTP_REFUSED_UPSTREAM_TIMEOUT);
    blackhole_close(&hole);
}

static void test_header_unavailable(void **state)
{
    (void)state;
    struct error err;
    assert_int_equal(http_header_rules_add(&bench.forward->rules.headers, HTTP_HEADER_SET, "x-key",
                                           "${env:POSTERN_NOT_SET}", &err),
                     0);
    owner_init(&owner, &bench, GET);
    owner_start(&owner);
    assert_int_equal(owner.ends, 0);
    wait_end();
    assert_int_equal(owner.why, HTTP_REFUSED_HEADER_VALUE);
    assert_non_null(strstr(owner.detail, "POSTERN_NOT_SET"));
    assert_false(owner.reached);
}

static void test_head_request(void **state)
{
    (void)state;
    owner_init(&owner, &bench, "HEAD /r HTTP/1.1\r\nHost: postern\r\n\r\n");
    owner_start(&owner);
    far_accept(&bench, &far);
    WAIT_FOR(&bench.net, far_heard(&far, "\r\n\r\n"));
    far_say(&bench, &far, "HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n");
    assert_whole(200, "");
    assert_int_equal(bench.worker.stats.idle, 1);
}

static void test_plain(void **state)
{
    (void)state;
    struct config_route route = *bench.route;
    route.type = CONFIG_CONNECT;
    route.forward = NULL;
    struct config_route *own = bench.route;
    bench.route = &route;
    owner_init(&owner, &bench, GET);
    owner.plain = (struct exchange_plain){.to = route.to, .authority = "other.test"};
    owner_start(&owner);
    far_accept(&bench, &far);
    WAIT_FOR(&bench.net, far_heard(&far, "\r\n\r\n"));
    assert_string_equal(far.heard.data, "GET /r HTTP/1.1\r\nhost: other.test\r\n\r\n");
    far_say(&bench, &far, OK);
    assert_whole(200, "ok");
    assert_int_equal(bench.worker.stats.open, 0);
    bench.route = own;
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(test_get),
        T(test_body_of_a_length),
        T(test_chunked_both_ways),
        T(test_large_body),
        T(test_large_chunked_body),
        T(test_tiny_chunks),
        T(test_chunks_of_all_sizes),
        T(test_slow_owner),
        T(test_until_end),
        T(test_early_answer),
        T(test_early_answer_and_a_reset),
        T(test_cut_off),
        T(test_reset),
        T(test_no_answer),
        T(test_garbage),
        T(test_refused),
        T(test_continue),
        T(test_continue_without_answer),
        T(test_continue_refused),
        T(test_response_timeout),
        T(test_stalled_answer),
        T(test_stalled_request),
        T(test_slow_owner_is_waited_for),
        T(test_cancel),
        T(test_cancel_at_the_head),
        T(test_cancel_while_dialing),
        T(test_connect_timeout),
        T(test_header_unavailable),
        T(test_head_request),
        T(test_plain),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
