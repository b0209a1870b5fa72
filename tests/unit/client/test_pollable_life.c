/* The pollable style: connections, from their making to their end. */
#include "client/postern_private.h"
#include "pollable.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- Connecting ---- */

static void test_connects(void **state)
{
    (void)state;
    start_door();
    assert_int_equal(postern_wait_ready(door, 1000, &err), -EAGAIN);
    assert_true(err.retryable);
    TURN_UNTIL(postern_wait_ready(door, 0, NULL) == 0);
    TURN_UNTIL(server.build[0] != '\0');
    assert_string_equal(server.build, "libpostern 0.1.0");
    assert_int_equal(server.accepted, 1);
}

static void test_tells_its_own_build(void **state)
{
    (void)state;
    options.build = "payroll 7";
    connect_door();
    TURN_UNTIL(server.build[0] != '\0');
    assert_string_equal(server.build, "payroll 7");
}

static void test_nobody_listens(void **state)
{
    (void)state;
    server_listen(&server, false);
    start_door();
    TURN_UNTIL(postern_wait_ready(door, 0, &err) == -ENOTCONN);
    assert_non_null(strstr(err.message, "cannot connect to unix://@postern-test-"));
    assert_non_null(strstr(err.message, "posternd"));
    assert_int_equal(err.code, 0);
    assert_string_equal(err.word, "");
    assert_true(err.retryable);
}

/* Asking again is trying again. */
static void test_connects_when_somebody_listens(void **state)
{
    (void)state;
    server_listen(&server, false);
    start_door();
    TURN_UNTIL(postern_wait_ready(door, 0, NULL) == -ENOTCONN);
    server_listen(&server, true);
    TURN_UNTIL(postern_wait_ready(door, 0, NULL) == 0);
}

static void test_does_not_wait_for_the_greeting_for_ever(void **state)
{
    (void)state;
    options.connect_timeout_ms = 30;
    server.deaf = true;
    start_door();
    TURN_UNTIL(postern_wait_ready(door, 0, &err) == -ENOTCONN);
    assert_string_equal(err.word, "timeout");
    assert_non_null(strstr(err.message, "H-6"));
}

static void test_a_server_that_hangs_up(void **state)
{
    (void)state;
    server.rude = true;
    start_door();
    TURN_UNTIL(postern_wait_ready(door, 0, &err) == -ENOTCONN);
    assert_int_equal(err.code, 0x24);
    assert_string_equal(err.word, "lost");
}

static void test_refuses_bad_options(void **state)
{
    struct newer {
        struct postern_options known;
        uint32_t unknown;
    } newer;
    char longest[66];

    (void)state;
    options.flags = 2;
    assert_int_equal(postern_start(server.address, &options, &door, &err), -EINVAL);
    options.flags = 0;
    memset(longest, 'x', 65);
    longest[65] = '\0';
    options.build = longest;
    assert_int_equal(postern_start(server.address, &options, &door, &err), -EINVAL);
    options.build = "a\nb";
    assert_int_equal(postern_start(server.address, &options, &door, &err), -EINVAL);
    options.build = NULL;
    options.memory = 1000;
    assert_int_equal(postern_start(server.address, &options, &door, &err), -EINVAL);
    assert_non_null(strstr(err.message, "2 KiB"));
    options.memory = 0;
    options.backoff_min_ms = 100;
    assert_int_equal(postern_start(server.address, &options, &door, &err), -EINVAL);
    options.size = 4;
    assert_int_equal(postern_start(server.address, &options, &door, &err), -EINVAL);
    memset(&newer, 0, sizeof newer);
    postern_options_init(&newer.known);
    newer.known.size = sizeof newer;
    newer.unknown = 1;
    assert_int_equal(postern_start(server.address, &newer.known, &door, NULL), -EINVAL);
    newer.unknown = 0;
    newer.known.backoff_min_ms = 20000; /* above the default of the other one */
    assert_int_equal(postern_start(server.address, &newer.known, &door, &err), 0);
}

static void test_refuses_bad_addresses(void **state)
{
    (void)state;
    assert_int_equal(postern_start("tcp://[::1]", NULL, &door, &err), -EINVAL);
    assert_non_null(strstr(err.message, "port"));
    assert_int_equal(err.status, -EINVAL);
    assert_false(err.retryable);
    assert_int_equal(postern_start("vsock://payroll:7000", NULL, &door, &err), -EINVAL);
    assert_int_equal(postern_start("vsock://any:7000", NULL, &door, &err), -EINVAL);
    assert_non_null(strstr(err.message, "`parent`"));
}

static void test_takes_the_address_from_the_environment(void **state)
{
    (void)state;
    setenv("POSTERN_ADDRESS", server.address, 1);
    assert_int_equal(postern_start(NULL, &options, &door, &err), 0);
    unsetenv("POSTERN_ADDRESS");
    TURN_UNTIL(postern_wait_ready(door, 0, NULL) == 0);
}

static void test_where_it_leads_without_an_address(void **state)
{
    struct addr to;

    (void)state;
    unsetenv("POSTERN_ADDRESS");
    assert_int_equal(postern_read_address(NULL, &to, &err), 0);
    assert_int_equal(to.kind, ADDR_VSOCK);
    assert_int_equal(to.cid, 3);
    assert_int_equal(to.port, 7000);
    assert_int_equal(postern_read_address("", &to, &err), 0);
    assert_int_equal(to.cid, 3);
}

/* ---- Losing the connection ---- */

static void test_comes_back_after_a_loss(void **state)
{
    struct postern_stream *old, *new;
    char buffer[10];

    (void)state;
    connect_door();
    old = open_route("echo");
    send_all(old, "kept", 4);
    TURN_A_WHILE();
    server_cut(&server);
    TURN_UNTIL(postern_write(old, "x", 1, 0, &err) == -ENOTCONN);
    assert_int_equal(err.code, 0x24);
    /* What came before is not lost. */
    assert_int_equal(postern_read(old, buffer, sizeof buffer, 0, &err), 4);
    assert_int_equal(postern_read(old, buffer, sizeof buffer, 0, &err), -ENOTCONN);
    assert_string_equal(err.message, "the connection to the daemon was lost: lost");
    assert_int_equal(server.accepted, 1);
    new = open_route("echo");
    send_all(new, "hello", 5);
    assert_int_equal(read_some(new, buffer, sizeof buffer), 5);
    assert_int_equal(server.accepted, 2);
    postern_close(old);
    postern_close(new);
}

/* Its streams were over, and were told of nothing. */
static void test_is_lost_after_its_streams(void **state)
{
    struct postern_stream *read, *unread;
    char buffer[10];

    (void)state;
    connect_door();
    read = open_route("sink");
    unread = open_route("sink");
    postern_finish(read, NULL);
    postern_finish(unread, NULL);
    assert_int_equal(read_all(read, buffer, sizeof buffer), 1);
    TURN_UNTIL(server.finished == 2);
    TURN_A_WHILE();
    server_cut(&server);
    TURN_UNTIL(postern_wait_ready(door, 0, NULL) != 0);
    TURN_UNTIL(postern_wait_ready(door, 0, NULL) == 0);
    assert_int_equal(read_all(unread, buffer, sizeof buffer), 1);
    postern_close(read);
    postern_close(unread);
}

static bool is_readable(void)
{
    return poll(&(struct pollfd){.fd = postern_fd(door), .events = POLLIN}, 1, 0) != 0;
}

/* Bytes that nobody fetches keep the session there, but it has nothing more to tell. */
static void test_is_quiet_once_it_is_lost(void **state)
{
    struct postern_stream *stream;
    char buffer[10];

    (void)state;
    connect_door();
    stream = open_route("sink");
    postern_finish(stream, NULL);
    TURN_UNTIL(server.finished == 1);
    TURN_A_WHILE();
    server_cut(&server);
    TURN_UNTIL(postern_ping(door, 0, NULL, NULL) == -ENOTCONN);
    TURN_A_WHILE();
    assert_false(is_readable());
    assert_int_not_equal(postern_timeout(door), 0);
    assert_int_equal(read_all(stream, buffer, sizeof buffer), 1);
    postern_close(stream);
}

/* A stream that has nothing to do any more does not hold a drain up, though it was not closed. */
static void test_drains_past_what_is_over(void **state)
{
    struct postern_stream *stream, *answered;
    char buffer[10];

    (void)state;
    connect_door();
    stream = open_route("sink");
    answered = open_route("source:1");
    postern_finish(stream, NULL);
    assert_int_equal(read_all(stream, buffer, sizeof buffer), 1);
    assert_int_equal(read_all(answered, buffer, sizeof buffer), 1);
    postern_finish(answered, NULL);
    assert_int_equal(postern_drain(door, 0, &err), 0);
    TURN_UNTIL(postern_wait_ready(door, 0, &err) == -ESHUTDOWN);
    assert_int_equal(postern_read(stream, buffer, 1, 0, &err), 0);
    postern_close(stream);
    postern_close(answered);
}

static void test_is_told_why_it_was_lost(void **state)
{
    struct postern_stream *stream;

    (void)state;
    connect_door();
    stream = open_route("echo");
    TURN_UNTIL(postern_wait_opened(stream, 0, NULL) == 0);
    server_abort(&server, CODE_CALM, "too much of everything");
    TURN_UNTIL(postern_wait_ready(door, 0, &err) == -ENOTCONN);
    assert_string_equal(err.word, "calm");
    assert_non_null(strstr(err.message, "the session was ended by unix://@postern-test-"));
    assert_non_null(strstr(err.message, "too much of everything"));
    assert_int_equal(postern_read(stream, &(char){0}, 1, 0, &err), -ENOTCONN);
    postern_close(stream);
}

static void test_goes_elsewhere_when_the_daemon_drains(void **state)
{
    struct postern_stream *old, *new;
    char buffer[10];

    (void)state;
    connect_door();
    old = open_route("echo");
    send_all(old, "a", 1);
    assert_int_equal(read_some(old, buffer, 1), 1);
    server_drain(&server, 0);
    TURN_UNTIL(postern_wait_ready(door, 0, &err) != 0);
    assert_int_equal(err.code, 0x0b);
    new = open_route("echo");
    send_all(new, "b", 1);
    assert_int_equal(read_some(new, buffer, 1), 1);
    assert_int_equal(server.accepted, 2);
    send_all(old, "c", 1);
    assert_int_equal(read_some(old, buffer, 1), 1);
    assert_int_equal(buffer[0], 'c');
    assert_int_equal(server_peers(&server), 2);
    postern_finish(old, NULL);
    assert_int_equal(read_some(old, buffer, 1), 0);
    postern_close(old);
    TURN_UNTIL(server_peers(&server) == 1);
    assert_int_equal(server.lost, 0);
    postern_close(new);
}

/* A daemon that does so over and over does not get any number of connections. */
static void test_drained_sessions_are_bounded(void **state)
{
    struct postern_stream *streams[12];

    (void)state;
    connect_door();
    for (int i = 0; i < 12; i++) {
        streams[i] = open_route("echo");
        TURN_UNTIL(postern_wait_opened(streams[i], 0, NULL) == 0);
        server_drain(&server, 0);
        TURN_UNTIL(postern_wait_ready(door, 0, NULL) == -ENOTCONN);
        assert_in_range(server_peers(&server), 1, 8);
    }
    assert_int_equal(postern_read(streams[0], &(char){0}, 1, 0, &err), -ENOTCONN);
    assert_int_equal(postern_read(streams[11], &(char){0}, 1, 0, &err), -EAGAIN);
    for (int i = 0; i < 12; i++) {
        postern_close(streams[i]);
    }
}

static void test_drains(void **state)
{
    struct postern_stream *stream, *late = NULL, *queued;

    (void)state;
    server.config.max_streams = 1;
    connect_door();
    stream = open_route("echo");
    queued = open_route("echo");
    TURN_UNTIL(postern_wait_opened(stream, 0, NULL) == 0);
    assert_int_equal(postern_drain(door, 0, &err), 0);
    assert_int_equal(postern_wait_opened(queued, 0, &err), -ESHUTDOWN);
    assert_int_equal(postern_open(door, "echo", NULL, &late, &err), -ESHUTDOWN);
    assert_int_equal(err.status, -ESHUTDOWN);
    assert_false(err.retryable);
    assert_null(late);
    send_all(stream, "x", 1);
    assert_int_equal(read_some(stream, &(char){0}, 1), 1);
    assert_int_equal(postern_wait_ready(door, 0, &err), -EAGAIN);
    postern_finish(stream, NULL);
    assert_int_equal(read_some(stream, &(char){0}, 1), 0);
    postern_close(stream);
    TURN_UNTIL(postern_wait_ready(door, 0, &err) == -ESHUTDOWN);
    TURN_UNTIL(server_peers(&server) == 0);
    assert_int_equal(server.lost, 0);
    postern_close(queued);
}

/* A stream that was opened is one of those that may finish, though nothing of it was written yet. */
static void test_drains_right_after_an_open(void **state)
{
    struct postern_stream *stream;
    char buffer[10];

    (void)state;
    connect_door();
    stream = open_route("source:1");
    postern_finish(stream, NULL);
    assert_int_equal(postern_drain(door, 0, &err), 0);
    assert_int_equal(read_all(stream, buffer, sizeof buffer), 1);
    postern_close(stream);
    TURN_UNTIL(postern_wait_ready(door, 0, &err) == -ESHUTDOWN);
    assert_int_equal(server.lost, 0);
}

static void test_drains_before_it_is_connected(void **state)
{
    (void)state;
    server.deaf = true;
    start_door();
    assert_int_equal(postern_drain(door, 0, &err), 0);
    TURN_UNTIL(postern_wait_ready(door, 0, &err) == -ESHUTDOWN);
}

static void test_disconnecting_gives_streams_up(void **state)
{
    struct postern_stream *open, *queued, *lingering;

    (void)state;
    connect_door();
    open = open_route("source:100000");
    lingering = open_route("silent");
    postern_finish(lingering, NULL);
    postern_close(lingering);
    TURN_UNTIL(postern_wait_opened(open, 0, NULL) == 0);
    TURN_A_WHILE();
    server_cut(&server);
    TURN_UNTIL(postern_wait_ready(door, 0, NULL) != 0);
    queued = open_route("echo");
    postern_disconnect(door, 1000);
    door = NULL;
    assert_int_equal(postern_wait_opened(queued, 0, &err), -ESHUTDOWN);
    assert_int_equal(postern_read(queued, &(char){0}, 1, 0, &err), -ESHUTDOWN);
    assert_int_equal(postern_read(open, &(char){0}, 1, 0, &err), -ENOTCONN);
    postern_close(open);
    postern_close(queued);
    postern_disconnect(NULL, 0);
    postern_close(NULL);
}

/* Nothing was called that would have written the stream's end, or the stream itself. */
static void test_disconnecting_writes_what_was_closed(void **state)
{
    struct postern_stream *stream;

    (void)state;
    connect_door();
    stream = open_route("http");
    assert_int_equal(postern_write(stream, "all of it", 9, 0, &err), 9);
    assert_int_equal(postern_finish(stream, &err), 0);
    postern_close(stream);
    stream = open_route("sink");
    assert_int_equal(postern_finish(stream, &err), 0);
    postern_close(stream);
    postern_disconnect(door, 0);
    door = NULL;
    for (int turns = 0; server_peers(&server) > 0 && turns < LIMIT_MS; turns++) {
        server_turn(&server, 1);
    }
    assert_int_equal(server.opens, 2);
    assert_string_equal(server.http.heard, "all of it");
    assert_int_equal(server.finished, 2);
}

/* ---- Pings ---- */

static void test_ping(void **state)
{
    uint32_t us = 0;

    (void)state;
    start_door();
    assert_int_equal(postern_ping(door, 0, &us, &err), -ENOTCONN);
    TURN_UNTIL(postern_wait_ready(door, 0, NULL) == 0);
    assert_int_equal(postern_ping(door, 0, &us, &err), -EAGAIN);
    TURN_UNTIL(postern_ping(door, 0, &us, NULL) == 0);
    assert_in_range(us, 1, LIMIT_MS * 1000);
    TURN_UNTIL(postern_ping(door, 0, NULL, NULL) == 0);
    assert_int_equal(postern_ping(door, 0, &us, &err), -EAGAIN);
    server_cut(&server);
    TURN_UNTIL(postern_ping(door, 0, &us, &err) == -ENOTCONN);
    assert_int_equal(postern_ping(door, 0, &us, &err), -ENOTCONN);
    assert_string_equal(err.word, "lost");
}

static void test_a_daemon_that_hangs_is_lost(void **state)
{
    uint32_t us;

    (void)state;
    options.pong_timeout_ms = 30;
    connect_door();
    TURN_UNTIL(postern_ping(door, 0, &us, NULL) == 0);
    server_set_deaf(&server, true);
    assert_int_equal(postern_ping(door, 0, &us, NULL), -EAGAIN);
    TURN_UNTIL(postern_wait_ready(door, 0, &err) == -ENOTCONN);
    assert_string_equal(err.word, "timeout");
    assert_non_null(strstr(err.message, "K-3"));
}

static void test_a_drain_does_not_keep_a_ping_waiting(void **state)
{
    (void)state;
    connect_door();
    TURN_UNTIL(postern_ping(door, 0, NULL, NULL) == 0);
    server_set_deaf(&server, true);
    assert_int_equal(postern_ping(door, 0, NULL, NULL), -EAGAIN);
    assert_int_equal(postern_drain(door, 10, NULL), 0);
    TURN_UNTIL(postern_wait_ready(door, 0, NULL) == -ESHUTDOWN);
    assert_int_equal(postern_ping(door, 0, NULL, &err), -ENOTCONN);
}

static void test_versions(void **state)
{
    char version[32];

    (void)state;
    snprintf(version, sizeof version, "%d.%d.%d", POSTERN_VERSION_MAJOR, POSTERN_VERSION_MINOR,
             POSTERN_VERSION_PATCH);
    assert_string_equal(postern_version(), version);
    assert_string_equal(postern_version(), POSTERN_VERSION);
    assert_string_equal(postern_code_word(0x20), "cancel");
    assert_string_equal(postern_code_word(0x4711), "unknown");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_connects),
        TEST(test_tells_its_own_build),
        TEST(test_nobody_listens),
        TEST(test_connects_when_somebody_listens),
        TEST(test_does_not_wait_for_the_greeting_for_ever),
        TEST(test_a_server_that_hangs_up),
        TEST(test_refuses_bad_options),
        TEST(test_refuses_bad_addresses),
        TEST(test_takes_the_address_from_the_environment),
        TEST(test_where_it_leads_without_an_address),
        TEST(test_comes_back_after_a_loss),
        TEST(test_is_lost_after_its_streams),
        TEST(test_is_quiet_once_it_is_lost),
        TEST(test_drains_past_what_is_over),
        TEST(test_is_told_why_it_was_lost),
        TEST(test_goes_elsewhere_when_the_daemon_drains),
        TEST(test_drained_sessions_are_bounded),
        TEST(test_drains),
        TEST(test_drains_right_after_an_open),
        TEST(test_drains_before_it_is_connected),
        TEST(test_disconnecting_gives_streams_up),
        TEST(test_disconnecting_writes_what_was_closed),
        TEST(test_ping),
        TEST(test_a_daemon_that_hangs_is_lost),
        TEST(test_a_drain_does_not_keep_a_ping_waiting),
        cmocka_unit_test(test_versions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
