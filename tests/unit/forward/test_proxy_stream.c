/* Requests in absolute form, of one client of a `connect` route. What a whole daemon does is in tests/system/test_http_proxy.py. */
#include "stream_bench.h"

#include "fault.h"
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define OK "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

static struct config_host host = {.pattern = "127.0.0.1"};

/* A request for `path` of the upstream. */
static const char *ask(const char *path)
{
    static char text[256];
    unsigned port = sb.far_side.port;
    snprintf(text, sizeof text,
             "GET http://127.0.0.1:%u%s HTTP/1.1\r\nProxy-Authorization: Basic c2VjcmV0\r\nHost: "
             "127.0.0.1:%u\r\n\r\n",
             port, path, port);
    return text;
}

/* The same, as it has to arrive. */
static const char *asked(const char *path)
{
    static char text[256];
    snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nhost: 127.0.0.1:%u\r\n\r\n", path, sb.far_side.port);
    return text;
}

/* The bench's route becomes a proxy's, without rules of its own. */
static int proxy_setup(void **state)
{
    stream_setup(state);
    forward_stream_end(&sb.stream, REASON_SHUTDOWN);
    AWAIT(sb.ended == 1);
    host.port = sb.far_side.port;
    sb.far_side.route->type = CONFIG_CONNECT;
    sb.far_side.route->forward = NULL;
    sb.far_side.route->hosts = &host;
    sb.far_side.route->host_count = 1;
    return 0;
}

static int setup(void **state)
{
    proxy_setup(state);
    stream_restart(pair_of_tcp, ADDR_TCP);
    return 0;
}

static void requests_lead_where_they_say(void **state)
{
    static const char *const paths[] = {"/a", "/b?c"};
    char authority[32];
    (void)state;
    snprintf(authority, sizeof authority, "127.0.0.1:%u", host.port);
    for (unsigned i = 0; i < 2; i++) {
        client_say(ask(paths[i]));
        far_serve(asked(paths[i]), OK);
        AWAIT((client_hear(), sb.told_count == i + 1));
        assert_int_equal(sb.told[i].why, HTTP_REFUSED_NONE);
        assert_string_equal(sb.told[i].host, authority);
        AWAIT((far_hear(&sb.far), sb.far.ended || sb.far.cut)); /* it is not kept */
        far_release(&sb.far);
        sb.far.fd = -1;
    }
    assert_int_equal(sb.stream.state, FORWARD_WAITING);
    assert_null(sb.stream.plain);
    assert_null(sb.stream.held);
    shutdown(sb.client, SHUT_WR);
    await_end(REASON_FINISHED);
    assert_int_equal(sb.stream.requests, 2);
}

static void what_is_refused_ends_the_connection(void **state)
{
    static const struct {
        const char *request;
        enum http_refusal why;
    } cases[] = {
        {"GET http://evil.test/ HTTP/1.1\r\nHost: evil.test\r\n\r\n", HTTP_REFUSED_DENIED_HOST},
        {"GET https://127.0.0.1/ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", HTTP_REFUSED_TARGET_FORM},
        {"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", HTTP_REFUSED_TARGET_FORM},
        {"CONNECT 127.0.0.1:1 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", HTTP_REFUSED_METHOD},
        {"GET http://evil.test/ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", HTTP_REFUSED_HOST},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        client_say(cases[i].request);
        AWAIT(client_heard(http_refusal_word(cases[i].why)));
        AWAIT((client_hear(), sb.got_end));
        assert_int_equal(sb.told_count, 1);
        assert_int_equal(sb.told[0].why, cases[i].why);
        assert_false(sb.told[0].reached);
        shutdown(sb.client, SHUT_WR);
        await_end(REASON_FINISHED);
        loopback_turn(&sb.far_side.net);
        stream_restart(pair_of_tcp, ADDR_TCP);
    }
}

static void half_a_head(void **state)
{
    (void)state;
    forward_stream_end(&sb.stream, REASON_SHUTDOWN);
    AWAIT(sb.ended == 1);
    sb.far_side.route->hello_timeout_ms = 20;
    assert_int_equal(stream_take("GET http://127"), 0);
    AWAIT(client_heard("head_timeout"));
    assert_int_equal(sb.told[0].status, 408);
}

/* What was read by another counts, and is the first of what is read. */
static void a_client_that_was_heard_before(void **state)
{
    char whole[256];
    (void)state;
    forward_stream_end(&sb.stream, REASON_SHUTDOWN);
    AWAIT(sb.ended == 1);
    snprintf(whole, sizeof whole, "%s", ask("/whole"));
    assert_int_equal(stream_take(whole), 0);
    assert_int_equal(sb.moved_in, strlen(whole));
    far_serve(asked("/whole"), OK);
    AWAIT(client_heard("ok"));
    forward_stream_end(&sb.stream, REASON_SHUTDOWN);
    AWAIT(sb.ended == 1);
    far_release(&sb.far);
    sb.far.fd = -1;
    assert_int_equal(stream_take("GE"), 0);
    client_say(ask("/half") + 2);
    far_serve(asked("/half"), OK);
    AWAIT(client_heard("ok"));
}

/* Drained before it was even looked at, it is answered all the same. */
static void a_drain(void **state)
{
    (void)state;
    forward_stream_end(&sb.stream, REASON_SHUTDOWN);
    AWAIT(sb.ended == 1);
    assert_int_equal(stream_take(ask("/a")), 0);
    forward_stream_drain(&sb.stream);
    far_serve(asked("/a"), OK);
    AWAIT(client_heard("ok") && sb.got_end);
    shutdown(sb.client, SHUT_WR);
    await_end(REASON_FINISHED);
}

/* ---- Faults */

/* It is served, refused in words, or cut; or not taken over at all. */
static void serve_one(void *unused)
{
    (void)unused;
    fault_spare(true);
    proxy_setup(NULL);
    const char *request = ask("/a");
    fault_spare(false);
    int r = stream_take(request);
    uint64_t limit = loopback_limit();
    while (r == 0 && sb.ended == 0 && !sb.got_end && !sb.got_reset &&
           strstr(text_string(&sb.got), "\r\n\r\nok") == NULL) {
        loopback_check(limit, "an end", __FILE__, __LINE__);
        loopback_turn(&sb.far_side.net);
        fault_spare(true);
        struct pollfd there = {.fd = sb.far_side.listener, .events = POLLIN};
        if (sb.far.fd < 0 && poll(&there, 1, 0) == 1) {
            sb.far.fd = accept4(sb.far_side.listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        } else if (sb.far.fd >= 0 && far_heard(&sb.far, asked("/a"))) {
            text_clear(&sb.far.heard);
            far_say(&sb.far_side, &sb.far, OK);
        }
        client_hear();
        fault_spare(false);
    }
    fault_spare(true);
    if (r != 0) {
        stream_restart(pair_of_tcp, ADDR_TCP);
    }
    stream_teardown(NULL);
    fault_spare(false);
}

static void whatever_fails(void **state)
{
    (void)state;
    stream_teardown(NULL);
    loopback_spare_libuv();
    assert_true(fault_loop("proxy_stream", FAULT_MEMORY | FAULT_EPOLL, serve_one, NULL) >= 6);
    stream_setup(NULL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, stream_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(requests_lead_where_they_say),
        TEST(what_is_refused_ends_the_connection),
        TEST(half_a_head),
        TEST(a_client_that_was_heard_before),
        TEST(a_drain),
        TEST(whatever_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
