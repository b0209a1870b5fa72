/* Requests of one client, on their way to an upstream and back. What a whole daemon does is in tests/system/test_forward.py. */
#include "stream_bench.h"

#include "fault.h"
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define OK "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

static void a_request_and_its_answer(void **state)
{
    (void)state;
    client_say("POST /a?q HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody");
    far_serve("POST /v1/a?q HTTP/1.1\r\nhost: results.test\r\ncontent-length: 4\r\n\r\nbody",
              "HTTP/1.1 201 Created\r\nX-Request-Id: theirs\r\nX-Request-ID: again\r\nX-Own: 1\r\n"
              "Content-Length: 6\r\n\r\nstored");
    AWAIT(client_heard("stored"));
    assert_int_equal(sb.told_count, 1);
    assert_int_equal(sb.told[0].why, HTTP_REFUSED_NONE);
    assert_int_equal(sb.told[0].status, 201);
    assert_string_equal(sb.told[0].method, "POST");
    assert_string_equal(sb.told[0].path, "/a");
    assert_int_equal(sb.told[0].body_in, 4);
    assert_int_equal(sb.told[0].body_out, 6);
    char expected[256];
    snprintf(expected, sizeof expected,
             "HTTP/1.1 201 Created\r\nx-own: 1\r\ncontent-length: 6\r\nx-request-id: %s\r\n\r\nstored",
             sb.told[0].id);
    assert_string_equal(text_string(&sb.got), expected);
    assert_int_equal(sb.moved_out, sb.got.length);
    assert_int_equal(sb.stream.state, FORWARD_WAITING);
    assert_null(sb.stream.held); /* nothing is kept between requests */
    assert_null(sb.stream.out.data);
    shutdown(sb.client, SHUT_WR);
    await_end(REASON_FINISHED);
    assert_int_equal(sb.stream.requests, 1);
    assert_true(sb.got_end);
}

/* Ids are never the same, on one connection or another. */
static void every_request_has_an_id_of_its_own(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        client_say("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        far_serve("\r\n\r\n", OK);
        AWAIT(sb.told_count == i + 1);
    }
    assert_string_not_equal(sb.told[0].id, sb.told[1].id);
    assert_string_not_equal(sb.told[1].id, sb.told[2].id);
}

static void bytes_come_in_any_split(void **state)
{
    (void)state;
    const char request[] = "PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
                           "3;e=1\r\none\r\n4\r\nmore\r\n0\r\nX-T: 1\r\n\r\n";
    for (const char *at = request; *at != '\0'; at++) {
        client_say_bytes(at, 1);
        loopback_turn(&sb.far_side.net);
    }
    far_serve("x-t: 1\r\n\r\n", OK);
    AWAIT(client_heard("ok"));
    assert_int_equal(sb.told[0].body_in, 7);
}

/* The second is read when the answer to the first is out, and not before. */
static void one_at_a_time(void **state)
{
    (void)state;
    client_say("GET /1 HTTP/1.1\r\nHost: x\r\n\r\nPOST /2 HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\ntwo"
               "GET /3 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\nGET /4 HTTP/1.1\r\nHost: x\r\n\r\n");
    far_accept(&sb.far_side, &sb.far);
    AWAIT(far_heard(&sb.far, "/1 "));
    loopback_pass(&sb.far_side.net, 5);
    assert_false(far_heard(&sb.far, "/2 "));
    far_serve("/1 ", OK);
    far_serve("two", OK);
    far_serve("/3 ", OK);
    AWAIT((client_hear(), sb.got_end));
    assert_false(far_heard(&sb.far, "/4 "));
    close(sb.client);
    sb.client = -1;
    await_end(REASON_FINISHED);
    assert_int_equal(sb.stream.requests, 3);
}

static void what_is_refused_ends_the_connection(void **state)
{
    (void)state;
    client_say("GET / HTTP/1.1\r\nHost : x\r\n\r\nGET /more HTTP/1.1\r\nHost: x\r\n\r\n");
    AWAIT((client_hear(), sb.got_end));
    assert_true(client_heard("HTTP/1.1 400 Bad Request\r\n"));
    assert_true(client_heard("\"code\":\"bad_header_name\""));
    assert_true(client_heard("connection: close\r\n"));
    assert_true(client_heard(sb.told[0].id));
    assert_int_equal(sb.told_count, 1);
    assert_int_equal(sb.told[0].status, 400);
    assert_string_equal(sb.told[0].path, "");
    assert_int_equal(sb.stream.state, FORWARD_PARTING);
    client_say("and more that nobody reads");
    shutdown(sb.client, SHUT_WR);
    await_end(REASON_FINISHED);
}

static void a_method_that_is_not_allowed(void **state)
{
    (void)state;
    assert_int_equal(http_policy_add_method(&sb.far_side.forward->rules.policy, "POST", NULL), 0);
    client_say("HEAD / HTTP/1.1\r\nHost: x\r\n\r\n");
    AWAIT((client_hear(), sb.got_end));
    assert_true(client_heard("HTTP/1.1 405 Method Not Allowed\r\n"));
    assert_true(client_heard("allow: POST\r\n"));
    assert_false(client_heard("denied_method")); /* the answer to HEAD has no body */
}

/* The upstream has half a request, and must see that it is no more. */
static void what_is_refused_in_the_middle(void **state)
{
    (void)state;
    client_say("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n");
    far_accept(&sb.far_side, &sb.far);
    AWAIT(far_heard(&sb.far, "one"));
    client_say("xyz\r\n");
    AWAIT((client_hear(), sb.got_end));
    assert_true(client_heard("\"code\":\"bad_chunk\""));
    assert_int_equal(sb.told[0].why, HTTP_REFUSED_CHUNK);
    AWAIT((far_hear(&sb.far), sb.far.cut || sb.far.ended));
    assert_false(far_heard(&sb.far, "\r\n0\r\n"));
}

/* And the client has half an answer. */
static void what_is_refused_after_the_answer_began(void **state)
{
    (void)state;
    client_say("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n");
    far_serve("one", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n");
    AWAIT(client_heard("half"));
    client_say("xyz\r\n");
    AWAIT((client_hear(), sb.got_reset));
    assert_true(sb.told[0].cut);
    await_end(REASON_UPSTREAM_RESET);
}

static void an_answer_that_breaks(void **state)
{
    (void)state;
    client_say("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    far_serve("GET", "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nhalf");
    AWAIT(client_heard("half"));
    far_close(&sb.far);
    AWAIT((client_hear(), sb.got_reset));
    assert_int_equal(sb.told[0].why, HTTP_REFUSED_RESPONSE_CUT);
    assert_int_equal(sb.told[0].status, 200);
    assert_true(sb.told[0].cut);
    await_end(REASON_UPSTREAM_RESET);
}

static void an_answer_before_the_request_is_whole(void **state)
{
    (void)state;
    client_say("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf");
    far_serve("half", "HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno");
    AWAIT((client_hear(), sb.got_end));
    assert_true(client_heard("connection: close\r\n") && client_heard("\r\n\r\nno"));
    assert_int_equal(sb.told[0].status, 413);
    shutdown(sb.client, SHUT_WR);
    await_end(REASON_FINISHED);
}

static void an_upstream_that_is_not_there(void **state)
{
    (void)state;
    sb.far_side.route->to.port = refusing_port();
    client_say("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    AWAIT((client_hear(), sb.got_end));
    assert_true(client_heard("HTTP/1.1 502 Bad Gateway\r\n") && client_heard("upstream_refused"));
    assert_false(client_heard("127.0.0.1"));
    assert_false(sb.told[0].reached);
}

static void a_client_that_goes_away(void **state)
{
    (void)state;
    client_say("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf");
    far_accept(&sb.far_side, &sb.far);
    AWAIT(far_heard(&sb.far, "half"));
    client_reset();
    await_end(REASON_CLIENT_RESET);
    assert_int_equal(sb.told[0].why, HTTP_REFUSED_REQUEST_CUT);
    assert_int_equal(sb.told[0].status, 0);
    AWAIT((far_hear(&sb.far), sb.far.cut || sb.far.ended));
}

static void a_client_that_closes_in_the_middle(void **state)
{
    (void)state;
    client_say("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf");
    far_accept(&sb.far_side, &sb.far);
    AWAIT(far_heard(&sb.far, "half"));
    shutdown(sb.client, SHUT_WR);
    AWAIT((client_hear(), sb.got_end));
    assert_true(client_heard("request_cut_off"));
    await_end(REASON_FINISHED);
}

static void half_a_head(void **state)
{
    (void)state;
    client_say("GET / HTT");
    shutdown(sb.client, SHUT_WR);
    AWAIT((client_hear(), sb.got_end));
    assert_true(client_heard("request_cut_off"));
    await_end(REASON_FINISHED);
}

/* Over a pair of unix sockets a close tells both ways at once. */
static void a_unix_client_that_closes(void **state)
{
    (void)state;
    forward_stream_end(&sb.stream, REASON_SHUTDOWN);
    await_end(REASON_SHUTDOWN);
    stream_restart(pair_of_unix, ADDR_UNIX);
    client_say("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    far_accept(&sb.far_side, &sb.far);
    AWAIT(far_heard(&sb.far, "GET"));
    close(sb.client);
    sb.client = -1;
    await_end(REASON_CLIENT_RESET);
    assert_int_equal(sb.told[0].why, HTTP_REFUSED_REQUEST_CUT);
    stream_restart(pair_of_unix, ADDR_UNIX);
    close(sb.client);
    sb.client = -1;
    await_end(REASON_FINISHED);
    assert_int_equal(sb.told_count, 0);
}

/* ---- Large ones */

static char large[3 * 1024 * 1024];

/* Neither side gets ahead of the other by more than what is told. */
static void an_answer_to_a_client_that_does_not_read(const char *head, const char *begin, const char *end)
{
    client_say("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    far_serve("GET", head);
    far_say(&sb.far_side, &sb.far, begin);
    size_t sent = 0;
    while (sent < sizeof large) {
        ssize_t n = send(sb.far.fd, large + sent, sizeof large - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
        sent += n > 0 ? (size_t)n : 0;
        assert_true(sb.stream.out.length - sb.stream.out_at <= FORWARD_HELD + 1024);
        loopback_turn(&sb.far_side.net);
        if (n < 0) {
            client_hear(); /* a little, now and then */
        }
    }
    for (unsigned i = 0; i < 200; i++) { /* more turns than a read takes to fill whatever has no bound */
        loopback_turn(&sb.far_side.net);
        assert_true(sb.stream.out.length - sb.stream.out_at <= FORWARD_HELD + 1024);
    }
    far_say(&sb.far_side, &sb.far, end);
    AWAIT((client_hear(), sb.told_count == 1 && sb.got.length > sizeof large));
    AWAIT((client_hear(), sb.stream.state == FORWARD_WAITING));
    assert_int_equal(sb.told[0].body_out, sizeof large);
    assert_int_equal(sb.told[0].why, HTTP_REFUSED_NONE);
    size_t letters = 0;
    for (size_t i = 0; i < sb.got.length; i++) {
        letters += sb.got.data[i] == 'L';
    }
    assert_int_equal(letters, sizeof large);
}

static void a_long_answer(void **state)
{
    char head[128];
    (void)state;
    memset(large, 'L', sizeof large);
    snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", sizeof large);
    an_answer_to_a_client_that_does_not_read(head, "", "");
}

static void a_long_answer_in_chunks(void **state)
{
    char begin[32];
    (void)state;
    memset(large, 'L', sizeof large);
    snprintf(begin, sizeof begin, "%zx\r\n", sizeof large);
    an_answer_to_a_client_that_does_not_read("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", begin,
                                             "\r\n0\r\n\r\n");
}

static void a_long_request(void **state)
{
    char head[128];
    (void)state;
    memset(large, 'L', sizeof large);
    snprintf(head, sizeof head, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\n", sizeof large);
    client_say(head);
    far_accept(&sb.far_side, &sb.far);
    for (size_t sent = 0; sent < sizeof large;) {
        ssize_t n = send(sb.client, large + sent, sizeof large - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
        sent += n > 0 ? (size_t)n : 0;
        loopback_turn(&sb.far_side.net);
        if (n < 0) {
            far_hear(&sb.far);
        }
    }
    AWAIT((far_hear(&sb.far), sb.far.heard.length > sizeof large));
    far_say(&sb.far_side, &sb.far, OK);
    AWAIT(client_heard("ok"));
    assert_int_equal(sb.told[0].body_in, sizeof large);
}

/* ---- Time */

static void time_runs_out(void **state)
{
    (void)state;
    sb.far_side.forward->head_timeout_ms = 5;
    client_say("GET / HTTP/1.1\r\n");
    AWAIT((client_hear(), sb.got_end));
    assert_true(client_heard("HTTP/1.1 408 ") && client_heard("head_timeout"));
    shutdown(sb.client, SHUT_WR);
    await_end(REASON_FINISHED);

    sb.far_side.forward->head_timeout_ms = 60000;
    sb.far_side.route->idle_timeout_ms = 30;
    stream_restart(pair_of_tcp, ADDR_TCP);
    await_end(REASON_IDLE_TIMEOUT);
    assert_true(sb.got_end); /* and no reset: nothing was under way */

    stream_restart(pair_of_tcp, ADDR_TCP);
    client_say("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf");
    AWAIT((client_hear(), sb.got_end));
    assert_true(client_heard("body_timeout"));
}

static void an_answer_that_is_not_taken_in_time(void **state)
{
    (void)state;
    memset(large, 'L', sizeof large);
    client_say("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    far_serve("GET", "HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n");
    sb.far_side.route->idle_timeout_ms = 50;
    while (sb.ended == 0) { /* the client does not read */
        (void)!send(sb.far.fd, large, sizeof large, MSG_NOSIGNAL | MSG_DONTWAIT);
        loopback_turn(&sb.far_side.net);
        if (sb.stream.timer_at > loop_now(&sb.far_side.net.loop) + 1000) {
            uv_timer_start(&sb.stream.timer, sb.stream.timer.timer_cb, 60, 0); /* as if time had passed */
            sb.stream.timer_at = 0;
        }
    }
    assert_int_equal(sb.stream.why, REASON_IDLE_TIMEOUT);
    assert_int_equal(sb.told[0].why, HTTP_REFUSED_REQUEST_CUT);
}

/* ---- The daemon's own ends */

static void a_drain(void **state)
{
    (void)state;
    client_say("GET /1 HTTP/1.1\r\nHost: x\r\n\r\nGET /2 HTTP/1.1\r\nHost: x\r\n\r\n");
    far_accept(&sb.far_side, &sb.far);
    AWAIT(far_heard(&sb.far, "/1 "));
    forward_stream_drain(&sb.stream);
    far_serve("/1 ", OK);
    AWAIT((client_hear(), sb.got_end));
    assert_true(client_heard("connection: close\r\n"));
    assert_int_equal(sb.told_count, 1);
    close(sb.client);
    sb.client = -1;
    await_end(REASON_FINISHED);
    stream_restart(pair_of_tcp, ADDR_TCP);
    forward_stream_drain(&sb.stream);
    await_end(REASON_DRAINING);
    assert_true(sb.got_end);
}

static void an_end_from_outside(void **state)
{
    (void)state;
    client_say("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf");
    far_accept(&sb.far_side, &sb.far);
    AWAIT(far_heard(&sb.far, "half"));
    forward_stream_end(&sb.stream, REASON_SHUTDOWN);
    assert_int_equal(sb.ended, 0);
    await_end(REASON_SHUTDOWN);
    assert_true(sb.got_reset);
    assert_int_equal(sb.told_count, 1);
    assert_int_equal(sb.told[0].why, HTTP_REFUSED_REQUEST_CUT);
}

/* ---- Old and careful clients */

static void a_client_of_http_1_0(void **state)
{
    (void)state;
    client_say("GET / HTTP/1.0\r\n\r\n");
    far_serve("GET",
              "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nuntil\r\n4\r\n end\r\n0\r\n\r\n");
    AWAIT((client_hear(), sb.got_end));
    assert_true(client_heard("connection: close\r\n") && client_heard("\r\n\r\nuntil end"));
}

static void a_client_that_asks_first(void **state)
{
    (void)state;
    client_say("POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n");
    far_serve("expect: 100-continue\r\n", "HTTP/1.1 100 Continue\r\n\r\n");
    AWAIT(client_heard("HTTP/1.1 100 Continue\r\n\r\n"));
    client_say("body");
    far_serve("body", OK);
    AWAIT(client_heard("ok"));
    assert_int_equal(sb.stream.state, FORWARD_WAITING);
}

/* It is not told what it did not wait for. */
static void a_client_that_asks_and_does_not_wait(void **state)
{
    (void)state;
    client_say("POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\nbody");
    far_accept(&sb.far_side, &sb.far);
    AWAIT(far_heard(&sb.far, "expect: 100-continue\r\n"));
    far_say(&sb.far_side, &sb.far, "HTTP/1.1 100 Continue\r\n\r\n");
    far_serve("body", OK);
    AWAIT(client_heard("ok"));
    assert_false(client_heard("100 Continue"));
}

/* ---- The spool */

static void a_spool_that_is_not_there(void **state)
{
    (void)state;
    sb.far_side.forward->delivery = CONFIG_SPOOL;
    client_say("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody");
    AWAIT((client_hear(), sb.got_end));
    assert_true(client_heard("HTTP/1.1 503 ") && client_heard("spool_unavailable"));
    assert_false(sb.told[0].kept);
    shutdown(sb.client, SHUT_WR);
    await_end(REASON_FINISHED);
}

/* ---- Faults */

/* It is served, refused in words, or cut; and nothing is left of it. */
static void serve_one(void *unused)
{
    (void)unused;
    fault_spare(true);
    stream_setup(NULL);
    client_say("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody");
    fault_spare(false);
    uint64_t limit = loopback_limit();
    while (sb.ended == 0 && !sb.got_end && !sb.got_reset &&
           strstr(text_string(&sb.got), "\r\n\r\nok") == NULL) {
        loopback_check(limit, "an end", __FILE__, __LINE__);
        loopback_turn(&sb.far_side.net);
        fault_spare(true);
        struct pollfd there = {.fd = sb.far_side.listener, .events = POLLIN};
        if (sb.far.fd < 0 && poll(&there, 1, 0) == 1) {
            sb.far.fd = accept4(sb.far_side.listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        } else if (sb.far.fd >= 0 && far_heard(&sb.far, "body")) {
            text_clear(&sb.far.heard);
            far_say(&sb.far_side, &sb.far, OK);
        }
        client_hear();
        fault_spare(false);
    }
    fault_spare(true);
    stream_teardown(NULL);
    fault_spare(false);
}

static void memory_runs_out(void **state)
{
    (void)state;
    stream_teardown(NULL);
    loopback_spare_libuv();
    assert_true(fault_loop("forward_stream", FAULT_MEMORY, serve_one, NULL) >= 5);
    stream_setup(NULL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, stream_setup, stream_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_request_and_its_answer),
        TEST(every_request_has_an_id_of_its_own),
        TEST(bytes_come_in_any_split),
        TEST(one_at_a_time),
        TEST(what_is_refused_ends_the_connection),
        TEST(a_method_that_is_not_allowed),
        TEST(what_is_refused_in_the_middle),
        TEST(what_is_refused_after_the_answer_began),
        TEST(an_answer_that_breaks),
        TEST(an_answer_before_the_request_is_whole),
        TEST(an_upstream_that_is_not_there),
        TEST(a_client_that_goes_away),
        TEST(a_client_that_closes_in_the_middle),
        TEST(half_a_head),
        TEST(a_unix_client_that_closes),
        TEST(a_long_answer),
        TEST(a_long_answer_in_chunks),
        TEST(a_long_request),
        TEST(time_runs_out),
        TEST(an_answer_that_is_not_taken_in_time),
        TEST(a_drain),
        TEST(an_end_from_outside),
        TEST(a_client_of_http_1_0),
        TEST(a_client_that_asks_first),
        TEST(a_client_that_asks_and_does_not_wait),
        TEST(a_spool_that_is_not_there),
        TEST(memory_runs_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
