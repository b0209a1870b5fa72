/* Streams to the log: their ends and their turns, those of sessions, and calls that fail. */
#include "fault.h"
#include "framed_client.h"
#include "log_stream_bench.h"
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void test_a_drain_asks_for_the_end(void **state)
{
    char byte;
    (void)state;
    int fd = start();
    send_text(fd, "one\n");
    log_stream_drain(&stream);
    log_stream_drain(&stream);
    ssize_t n = -1;
    WAIT_FOR(&loopback, (n = recv(fd, &byte, 1, MSG_DONTWAIT)) == 0);
    send_text(fd, "two\nthree");
    finish(fd);
    log_stream_drain(&stream);
    read_back();
    assert_int_equal(count, 3);
}

static void test_ends(void **state)
{
    struct peer peer;
    (void)state;
    int fd = start();
    send_text(fd, "one\ntwo");
    WAIT_FOR(&loopback, moved == 7);
    peer_init(&peer, fd);
    peer_reset(&peer);
    WAIT_FOR(&loopback, ended == 1);
    assert_int_equal(stream.why, REASON_CLIENT_RESET);
    fd = start();
    /* What lies there unread is still written. */
    assert_int_equal(send(fd, "three\nfour", 10, 0), 10);
    log_stream_end(&stream, REASON_SHUTDOWN);
    log_stream_end(&stream, REASON_INTERNAL);
    WAIT_FOR(&loopback, ended == 2);
    assert_int_equal(stream.why, REASON_SHUTDOWN);
    close(fd);
    read_back();
    assert_int_equal(count, 4);
    assert_string_equal(field(1, "line"), "two");
    assert_string_equal(field(3, "line"), "four");
}

/* A caller that sends as fast as it can leaves the others their turn. */
static void test_a_turn_ends(void **state)
{
    static char text[300000];
    int fds[2];
    struct log_stream_source from = source("payroll");
    struct sock_kind_options kind = {.kind = ADDR_UNIX};
    int size = 1 << 20;
    (void)state;
    memset(text, '\n', sizeof text);
    pair_of_unix(fds);
    assert_int_equal(setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof size), 0);
    ssize_t sent = send(fds[0], text, sizeof text, MSG_DONTWAIT);
    assert_true(sent > 2 * (ssize_t)LOG_STREAM_TURN);
    log_stream_start(&stream, &loopback.loop, &ops, &from, fds[1], &kind);
    uint64_t before = 0;
    while (moved < (uint64_t)sent) {
        loopback_turn(&loopback);
        assert_true(moved - before <= 2 * LOG_STREAM_TURN);
        before = moved;
    }
    finish(fds[0]);
}

/* ---- Streams of sessions ---- */

static struct session_io io;
static struct framed_client client;
static const char *opened_with; /* the meta `name` */
static bool binary;
static unsigned sessions_ended;

static void on_open(struct session_io *which, struct channel *channel, const struct control_open *open)
{
    struct log_stream_source from = source("payroll");
    log_stream_start_channel(&stream, &loopback.loop, &ops, &from, which, channel, open);
}

static void on_session_ended(struct session_io *which, const struct session_end *end)
{
    (void)which;
    (void)end;
    sessions_ended++;
}

static const struct session_io_ops session_ops = {.open = on_open, .ended = on_session_ended};

static void start_session(void)
{
    int fds[2];
    struct session_config config;
    struct sock_kind_options kind = {.kind = ADDR_TCP};
    session_config_default(&config, SESSION_SERVER);
    sessions_ended = 0;
    pair_of_tcp(fds);
    framed_client_init(&client, fds[0], NULL);
    assert_int_equal(session_io_start(&io, &loopback.loop, &session_ops, &config, fds[1], &kind), 0);
}

#define MEET(condition) WAIT_FOR(&loopback, (framed_client_turn(&client), (condition)))

static struct framed_stream *open_named(void)
{
    struct control_open open = {.route = control_text("logs"), .meta_count = opened_with != NULL};
    struct framed_stream *one = &client.streams[client.count++];
    open.meta[0] = (struct control_meta_entry){control_text("name"), control_text(opened_with), binary};
    memset(one, 0, sizeof *one);
    one->client = &client;
    assert_int_equal(session_open(client.session, &open, one, &one->channel), 0);
    return one;
}

static void end_session(void)
{
    session_drain(client.session, 0);
    MEET(sessions_ended == 1);
    framed_client_close(&client);
}

static void test_a_stream_of_a_session(void **state)
{
    (void)state;
    opened_with = "stderr";
    binary = false;
    start_session();
    MEET(client.ready);
    struct framed_stream *one = open_named();
    one->next = 'a';
    framed_say(one, 26);
    MEET(one->opened && moved == 26);
    log_stream_drain(&stream);
    MEET(one->ended);
    framed_finish(one);
    MEET(ended == 1);
    assert_int_equal(stream.why, REASON_FINISHED);
    framed_release(one);
    end_session();
    read_back();
    assert_int_equal(count, 1);
    assert_string_equal(field(0, "name"), "stderr");
    assert_string_equal(field(0, "line"), "abcdefghijklmnopqrstuvwxyz");
}

static void test_names_that_are_none(void **state)
{
    static const char *const names[] = {NULL, "0123456789012345678901234567890123456789", "bytes"};
    (void)state;
    start_session();
    MEET(client.ready);
    for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
        opened_with = names[i];
        binary = i == 2;
        struct framed_stream *one = open_named();
        framed_finish(one);
        MEET(ended == i + 1 && one->ended);
        assert_string_equal(stream.name, i == 1 ? "01234567890123456789012345678901" : "");
        framed_release(one);
    }
    end_session();
}

static void test_a_stream_that_is_given_up(void **state)
{
    (void)state;
    opened_with = NULL;
    start_session();
    MEET(client.ready);
    struct framed_stream *one = open_named();
    one->next = 'a';
    framed_say(one, 5);
    MEET(moved == 5);
    framed_reset(one, CODE_CANCEL);
    MEET(ended == 1);
    assert_int_equal(stream.why, REASON_CLIENT_RESET);
    framed_release(one);
    one = open_named();
    MEET(one->opened);
    log_stream_end(&stream, REASON_SHUTDOWN);
    MEET(ended == 2 && one->reset);
    assert_int_equal(one->code, code_of_reason(REASON_SHUTDOWN));
    framed_release(one);
    one = open_named();
    MEET(one->opened);
    framed_client_close(&client); /* the session is lost */
    WAIT_FOR(&loopback, ended == 3 && sessions_ended == 1);
    assert_int_equal(stream.why, REASON_CLIENT_RESET);
    read_back();
    assert_string_equal(field(0, "line"), "abcde");
}

/* ---- Faults ---- */

static void lines_in_parts(void *arg)
{
    (void)arg;
    ended = 0;
    fault_spare(true);
    int fds[2];
    struct log_stream_source from = source("payroll");
    struct sock_kind_options kind = {.kind = ADDR_TCP};
    pair_of_tcp(fds);
    fault_spare(false);
    log_stream_start(&stream, &loopback.loop, &ops, &from, fds[1], &kind);
    for (unsigned i = 0; i < 5 && ended == 0; i++) {
        fault_spare(true);
        (void)send(fds[0], "half\nanother ", 13, MSG_NOSIGNAL | MSG_DONTWAIT);
        fault_spare(false);
        loopback_turn(&loopback);
        loopback_turn(&loopback);
    }
    close(fds[0]);
    WAIT_FOR(&loopback, ended == 1);
}

static void test_faults(void **state)
{
    (void)state;
    assert_true(fault_loop("log stream", FAULT_MEMORY | FAULT_READ | FAULT_EPOLL, lines_in_parts, NULL) >= 5);
    assert_true(counter_get(&counters.lines_dropped) >= 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    loopback_spare_libuv();
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        TEST(test_a_drain_asks_for_the_end),
        TEST(test_ends),
        TEST(test_a_turn_ends),
        TEST(test_a_stream_of_a_session),
        TEST(test_names_that_are_none),
        TEST(test_a_stream_that_is_given_up),
        TEST(test_faults),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
