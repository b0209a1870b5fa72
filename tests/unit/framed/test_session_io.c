/* A session on a loop: its socket, its turns, and all the ways in which it ends. */
#include "io_bench.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>

static struct io_bench bench;

/* ---- Played by the test ---- */

static size_t largest_send;
static unsigned sends_to_fail, reads_to_starve;
static int fail_with;
static bool no_random;

ssize_t __real_send(int fd, const void *data, size_t size, int flags);
ssize_t __wrap_send(int fd, const void *data, size_t size, int flags);
ssize_t __real_recv(int fd, void *data, size_t size, int flags);
ssize_t __wrap_recv(int fd, void *data, size_t size, int flags);
ssize_t __wrap_getrandom(void *data, size_t size, unsigned flags);

static bool is_ours(int fd)
{
    return fd == bench.io.sock.watcher.fd && fd != bench.client.fd;
}

ssize_t __wrap_send(int fd, const void *data, size_t size, int flags)
{
    if (!is_ours(fd)) {
        return __real_send(fd, data, size, flags);
    }
    largest_send = size > largest_send ? size : largest_send;
    if (sends_to_fail > 0) {
        sends_to_fail--;
        errno = fail_with;
        return -1;
    }
    return __real_send(fd, data, size, flags);
}

ssize_t __wrap_recv(int fd, void *data, size_t size, int flags)
{
    if (is_ours(fd) && reads_to_starve > 0) {
        reads_to_starve--;
        errno = EAGAIN;
        return -1;
    }
    return __real_recv(fd, data, size, flags);
}

ssize_t __wrap_getrandom(void *data, size_t size, unsigned flags)
{
    (void)flags;
    if (no_random) {
        errno = EAGAIN;
        return -1;
    }
    memset(data, 7, size);
    return (ssize_t)size;
}

static int set_up(void **state)
{
    (void)state;
    io_bench_open(&bench);
    largest_send = 0;
    sends_to_fail = reads_to_starve = 0;
    no_random = false;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    io_bench_close(&bench);
    return 0;
}

static struct io_app *app(unsigned nth)
{
    return &bench.apps[nth];
}

/* ---- Its life ---- */

static void test_a_session_from_end_to_end(void **state)
{
    (void)state;
    io_bench_establish(&bench, NULL);
    TURN_UNTIL(&bench, bench.pongs == 1 && bench.client.pongs == 1);
    struct framed_stream *stream = io_bench_stream(&bench);
    framed_say(stream, 1000);
    app(0)->to_say = 2000;
    stream_again(&app(0)->stream.stream, STREAM_WRITABLE);
    TURN_UNTIL(&bench, stream->opened && app(0)->taken == 1000 && stream->heard == 2000);
    framed_finish(stream);
    TURN_UNTIL(&bench, app(0)->end == 0);
    io_app_close(app(0), false);
    TURN_UNTIL(&bench, stream->ended);
    framed_release(stream);
    assert_null(bench.io.in);
    assert_null(bench.io.out);
    session_drain(bench.client.session, 0);
    TURN_UNTIL(&bench, bench.ended == 1 && bench.client.heard_end);
    assert_int_equal(bench.end.code, CODE_NO_ERROR);
    assert_int_equal(bench.client.end_code, CODE_NO_ERROR);
    assert_int_equal(bench.client.error, 0);
    framed_client_close(&bench.client);
}

static void test_streams_that_are_turned_away(void **state)
{
    (void)state;
    bench.refuse = true;
    io_bench_establish(&bench, NULL);
    struct framed_stream *stream = framed_client_open(&bench.client, "test");
    TURN_UNTIL(&bench, stream->refused);
    assert_int_equal(stream->code, code_of_reason(REASON_DENIED_ROUTE));
    assert_int_equal(bench.io.streams, 0);
    io_bench_end(&bench);
    assert_int_equal(bench.end.code, CODE_NO_ERROR);
}

static void test_the_seed_is_random_unless_given(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        bench.config.hash_seed = i == 0 ? 5 : 0;
        no_random = i == 2;
        io_bench_establish(&bench, NULL);
        io_bench_end(&bench);
    }
}

/* ---- Drains and ends ---- */

static void test_a_drain_lets_streams_finish(void **state)
{
    (void)state;
    io_bench_establish(&bench, NULL);
    struct framed_stream *stream = io_bench_stream(&bench);
    session_io_drain(&bench.io, 0);
    TURN_UNTIL(&bench, bench.client.goaways > 0);
    framed_say(stream, 500);
    framed_finish(stream);
    TURN_UNTIL(&bench, app(0)->end == 0);
    assert_int_equal(bench.ended, 0);
    io_app_close(app(0), false);
    TURN_UNTIL(&bench, stream->ended);
    framed_release(stream);
    TURN_UNTIL(&bench, bench.ended == 1);
    assert_int_equal(bench.end.code, CODE_NO_ERROR);
    TURN_UNTIL(&bench, bench.client.ended);
    assert_int_equal(bench.client.end_code, CODE_NO_ERROR);
    framed_client_close(&bench.client);
}

static void test_a_drain_has_a_deadline(void **state)
{
    (void)state;
    io_bench_establish(&bench, NULL);
    io_bench_stream(&bench);
    session_io_drain(&bench.io, 20);
    TURN_UNTIL(&bench, bench.ended == 1);
    assert_int_equal(bench.end.code, CODE_GOING_AWAY);
    assert_int_equal(app(0)->stream.why, REASON_SHUTDOWN);
    TURN_UNTIL(&bench, bench.client.ended);
    assert_int_equal(bench.client.end_code, CODE_GOING_AWAY);
    framed_client_close(&bench.client);
}

static void test_an_end_from_outside(void **state)
{
    (void)state;
    io_bench_establish(&bench, NULL);
    struct framed_stream *stream = io_bench_stream(&bench);
    session_io_end(&bench.io, CODE_GOING_AWAY, "the daemon stops");
    assert_int_equal(bench.ended, 0); /* not from inside */
    assert_false(app(0)->closed);
    TURN_UNTIL(&bench, bench.ended == 1);
    assert_true(app(0)->closed);
    assert_int_equal(app(0)->stream.why, REASON_SHUTDOWN);
    assert_string_equal(bench.end_text, "the daemon stops");
    TURN_UNTIL(&bench, stream->failed);
    assert_string_equal(bench.client.end_text, "the daemon stops");
    assert_int_equal(bench.client.error, 0);
    framed_client_close(&bench.client);
}

static void end_session(struct io_app *which, unsigned events)
{
    if (!which->stream.stream.failed) {
        session_io_end(&bench.io, CODE_INTERNAL, "enough");
    } else {
        io_app_close(which, true);
    }
    (void)events;
}

static void test_an_end_from_inside_of_a_report(void **state)
{
    (void)state;
    app(0)->on_report = end_session;
    io_bench_establish(&bench, NULL);
    framed_say(io_bench_stream(&bench), 100);
    TURN_UNTIL(&bench, bench.ended == 1);
    assert_int_equal(bench.end.code, CODE_INTERNAL);
    TURN_UNTIL(&bench, bench.client.ended);
    assert_int_equal(bench.client.end_code, CODE_INTERNAL);
    framed_client_close(&bench.client);
}

/* ---- A peer that does not keep to the protocol, or goes away ---- */

static void test_a_breach_is_answered(void **state)
{
    (void)state;
    assert_int_equal(io_bench_start(&bench, pair_of_tcp, NULL), 0);
    framed_client_write(&bench.client, "GET / HTTP/1.1\r\n\r\n", 18);
    bench.client.mute = true;
    TURN_UNTIL(&bench, bench.client.heard_end);
    assert_int_equal(bench.client.end_code, CODE_PROTOCOL);
    assert_memory_equal(bench.client.end_text, "H-1", 3);
    assert_int_equal(bench.ended, 0); /* the peer is heard to its end */
    framed_client_close(&bench.client);
    TURN_UNTIL(&bench, bench.ended == 1);
    assert_int_equal(bench.end.code, CODE_PROTOCOL);
    assert_false(bench.end.by_peer);
}

static void test_a_peer_that_says_nothing(void **state)
{
    (void)state;
    bench.config.handshake_timeout = 20;
    assert_int_equal(io_bench_start(&bench, pair_of_tcp, NULL), 0);
    bench.client.mute = true;
    TURN_UNTIL(&bench, bench.client.heard_end);
    assert_int_equal(bench.client.end_code, CODE_TIMEOUT);
    framed_client_close(&bench.client);
    TURN_UNTIL(&bench, bench.ended == 1);
    assert_int_equal(bench.end.code, CODE_TIMEOUT);
}

static void test_a_connection_that_ends_too_early(void **state)
{
    (void)state;
    for (int reset = 0; reset <= 1; reset++) {
        struct peer gone;
        io_bench_establish(&bench, NULL);
        io_bench_stream(&bench);
        peer_init(&gone, bench.client.fd);
        bench.client.fd = -1;
        if (reset) {
            peer_reset(&gone);
        } else {
            peer_close(&gone);
        }
        TURN_UNTIL(&bench, bench.ended == 1);
        assert_int_equal(bench.end.code, CODE_LOST);
        assert_int_equal(app(0)->stream.why, REASON_CLIENT_RESET);
        assert_int_equal(app(0)->stream.code, CODE_LOST);
        framed_client_close(&bench.client);
        io_app_init(app(0));
    }
}

static void fire_timer(void)
{
    bench.io.linger_by = 0;
    uv_timer_start(&bench.io.timer, bench.io.timer.timer_cb, 0, 0);
}

/* It neither reads what was said nor closes. */
static void test_a_peer_that_does_not_part(void **state)
{
    (void)state;
    io_bench_establish(&bench, NULL);
    session_io_end(&bench.io, CODE_GOING_AWAY, "bye");
    WAIT_FOR(&bench.loopback, bench.io.finished);
    for (int i = 0; i < 5; i++) {
        loopback_turn(&bench.loopback);
    }
    assert_int_equal(bench.io.state, SESSION_IO_PARTING);
    assert_int_equal(bench.ended, 0);
    framed_client_write(&bench.client, "whatever comes", 14); /* is not looked at */
    for (int i = 0; i < 5; i++) {
        loopback_turn(&bench.loopback);
    }
    assert_int_equal(bench.ended, 0);
    fire_timer();
    WAIT_FOR(&bench.loopback, bench.ended == 1);
    framed_client_close(&bench.client);
}

static void test_it_waits_as_long_as_its_owner_says(void **state)
{
    (void)state;
    io_bench_establish(&bench, NULL);
    session_io_end(&bench.io, CODE_GOING_AWAY, "bye");
    session_io_hurry(&bench.io, 1);
    WAIT_FOR(&bench.loopback, bench.ended == 1);
    framed_client_close(&bench.client);

    io_bench_establish(&bench, NULL);
    session_io_end(&bench.io, CODE_GOING_AWAY, "bye");
    WAIT_FOR(&bench.loopback, bench.io.state == SESSION_IO_PARTING);
    session_io_hurry(&bench.io, 1);
    session_io_hurry(&bench.io, 1000000); /* not later */
    WAIT_FOR(&bench.loopback, bench.ended == 1);
    framed_client_close(&bench.client);
}

/* ---- A socket that is full, or fails ---- */

static void fill_socket(unsigned streams)
{
    struct session_config config;
    session_config_default(&config, SESSION_CLIENT);
    config.budget = 256 << 20;
    io_bench_establish(&bench, &config);
    bench.client.deaf = true;
    for (unsigned i = 0; i < streams; i++) {
        framed_client_open(&bench.client, "test");
    }
    TURN_UNTIL(&bench, bench.count == streams);
    for (unsigned i = 0; i < streams; i++) {
        app(i)->to_say = 65536;
        stream_again(&app(i)->stream.stream, STREAM_WRITABLE);
    }
    TURN_UNTIL(&bench, bench.io.full);
}

static bool all_heard(unsigned streams)
{
    for (unsigned i = 0; i < streams; i++) {
        if (bench.client.streams[i].heard < 65536) {
            return false;
        }
    }
    return true;
}

static void test_a_full_socket_holds_one_buffer(void **state)
{
    (void)state;
    fill_socket(200);
    for (int i = 0; i < 5; i++) {
        io_bench_turn(&bench);
        assert_non_null(bench.io.out);
        assert_in_range(bench.io.out_length - bench.io.out_at, 1, LOOP_BUFFER_SIZE);
    }
    /* It is read all the same. */
    framed_say(&bench.client.streams[0], 100);
    TURN_UNTIL(&bench, app(0)->taken == 100);
    bench.client.deaf = false;
    TURN_UNTIL(&bench, all_heard(200));
    assert_null(bench.io.out);
    assert_false(bench.io.full);
    io_bench_end(&bench);
}

static void test_an_end_while_the_socket_is_full(void **state)
{
    (void)state;
    fill_socket(200);
    session_io_end(&bench.io, CODE_GOING_AWAY, "bye");
    for (int i = 0; i < 5; i++) {
        io_bench_turn(&bench);
    }
    assert_int_equal(bench.io.state, SESSION_IO_PARTING);
    assert_non_null(bench.io.out);
    bench.client.deaf = false; /* the last word comes after what was there */
    TURN_UNTIL(&bench, bench.ended == 1);
    assert_int_equal(bench.client.end_code, CODE_GOING_AWAY);
    framed_client_close(&bench.client);
}

static void test_an_end_that_a_full_socket_does_not_take(void **state)
{
    (void)state;
    fill_socket(200);
    session_io_end(&bench.io, CODE_GOING_AWAY, "bye");
    WAIT_FOR(&bench.loopback, bench.io.state == SESSION_IO_PARTING);
    fire_timer();
    WAIT_FOR(&bench.loopback, bench.ended == 1);
    framed_client_close(&bench.client);
}

/* What the peer had said before is heard, then the session is lost. */
static void test_a_write_that_fails(void **state)
{
    (void)state;
    for (int starve = 0; starve <= 1; starve++) {
        io_bench_establish(&bench, NULL);
        TURN_UNTIL(&bench, bench.pongs == 1);
        struct framed_stream *stream = io_bench_stream(&bench);
        app(0)->end = 1;
        framed_say(stream, 1000);
        framed_client_turn(&bench.client);
        sends_to_fail = 1;
        fail_with = starve ? ENOBUFS : EPIPE;
        app(0)->to_say = 10;
        stream_again(&app(0)->stream.stream, STREAM_WRITABLE);
        TURN_UNTIL(&bench, bench.ended == 1);
        assert_int_equal(bench.end.code, CODE_LOST);
        assert_int_equal(app(0)->taken, 1000);
        framed_client_close(&bench.client);
        io_app_init(app(0));
    }
}

/* Each write of bounded size, none cut. */
static void test_writes_to_vsock_are_small(void **state)
{
    static const size_t bounds[] = {31 * 1024, 4096, 1 << 20};
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bounds); i++) {
        bench.kind = (struct sock_kind_options){.kind = ADDR_VSOCK, .vsock_write_max = bounds[i]};
        assert_int_equal(io_bench_start(&bench, pair_of_unix, NULL), 0);
        TURN_UNTIL(&bench, bench.ready == 1 && bench.client.ready);
        struct framed_stream *stream = io_bench_stream(&bench);
        largest_send = 0;
        app(0)->to_say = 1000000;
        stream_again(&app(0)->stream.stream, STREAM_WRITABLE);
        TURN_UNTIL(&bench, stream->heard == 1000000);
        assert_in_range(largest_send, 1, bounds[i]);
        io_bench_end(&bench);
        io_app_init(app(0));
    }
}

/* ---- Turns ---- */

/* All in one write: the streams begin over several turns. */
static void test_many_opens_are_spread_over_turns(void **state)
{
    struct session_config config;
    (void)state;
    session_config_default(&config, SESSION_CLIENT);
    bench.config.max_streams = config.max_own_streams = FRAMED_STREAMS;
    bench.kind.kind = ADDR_UNIX;
    assert_int_equal(io_bench_start(&bench, pair_of_unix, &config), 0);
    TURN_UNTIL(&bench, bench.ready == 1 && bench.client.ready);
    bench.opened_most = 0;
    for (unsigned i = 0; i < FRAMED_STREAMS; i++) {
        framed_say(framed_client_open(&bench.client, "test"), 10);
    }
    TURN_UNTIL(&bench, bench.count == FRAMED_STREAMS);
    assert_in_range(bench.opened_most, 1, SESSION_IO_ACTS);
    TURN_UNTIL(&bench, app(FRAMED_STREAMS - 1)->taken == 10);
    assert_null(bench.io.in);
    io_bench_end(&bench);
}

/* Bytes that come while others, read before, still wait for their turn: their report is over when those are through. */
static void test_what_comes_while_input_is_left(void **state)
{
    struct session_config config;
    (void)state;
    session_config_default(&config, SESSION_CLIENT);
    bench.config.max_streams = config.max_own_streams = FRAMED_STREAMS;
    bench.config.ping_interval = config.ping_interval = CONTROL_PING_MAX; /* or it would help */
    assert_int_equal(io_bench_start(&bench, pair_of_tcp, &config), 0);
    TURN_UNTIL(&bench, bench.pongs > 0 && bench.client.pongs > 0);
    for (unsigned i = 0; i < FRAMED_STREAMS; i++) {
        framed_say(framed_client_open(&bench.client, "test"), 10);
    }
    TURN_UNTIL(&bench, bench.count > 0);
    assert_true(bench.count < FRAMED_STREAMS && bench.io.in != NULL);
    framed_say(&bench.client.streams[0], 10);
    TURN_UNTIL(&bench, app(FRAMED_STREAMS - 1)->taken == 10 && app(0)->taken == 20);
    io_bench_end(&bench);
}

static void test_much_at_once(void **state)
{
    struct session_config config;
    (void)state;
    session_config_default(&config, SESSION_CLIENT);
    config.budget = 64 << 20;
    bench.config.budget = 64 << 20;
    io_bench_establish(&bench, &config);
    struct framed_stream *stream = io_bench_stream(&bench);
    framed_say(stream, 20000000);
    app(0)->to_say = 20000000;
    stream_again(&app(0)->stream.stream, STREAM_WRITABLE);
    TURN_UNTIL(&bench, app(0)->taken == 20000000 && stream->heard == 20000000);
    io_bench_end(&bench);
}

/* ---- The end of the last stream ---- */

/* The session is over in order, and the last bytes of a stream are still on their way to where they lead. */
static void test_it_ends_after_its_last_stream(void **state)
{
    (void)state;
    app(0)->most = 100;
    io_bench_establish(&bench, NULL);
    struct framed_stream *stream = io_bench_stream(&bench);
    assert_int_equal(stream_finish(&app(0)->stream.stream), 0);
    app(0)->take = false;
    framed_say(stream, 10000);
    framed_finish(stream);
    TURN_UNTIL(&bench, stream->ended && app(0)->stream.stream.hung_up);
    framed_release(stream);
    session_drain(bench.client.session, 0);
    TURN_UNTIL(&bench, bench.client.ended);
    framed_client_close(&bench.client);
    WAIT_FOR(&bench.loopback, bench.io.state == SESSION_IO_CLOSED);
    for (int i = 0; i < 5; i++) {
        loopback_turn(&bench.loopback);
    }
    assert_int_equal(bench.ended, 0);
    assert_false(app(0)->stream.stream.failed);
    app(0)->take = true;
    app(0)->most = 0;
    stream_again(&app(0)->stream.stream, STREAM_READABLE); /* as the owner asks when there is room */
    WAIT_FOR(&bench.loopback, app(0)->end == 0);
    assert_int_equal(app(0)->taken, 10000);
    io_app_close(app(0), false);
    assert_int_equal(bench.ended, 0);
    WAIT_FOR(&bench.loopback, bench.ended == 1);
    assert_int_equal(bench.end.code, CODE_NO_ERROR);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_a_session_from_end_to_end),
        TEST(test_streams_that_are_turned_away),
        TEST(test_the_seed_is_random_unless_given),
        TEST(test_a_drain_lets_streams_finish),
        TEST(test_a_drain_has_a_deadline),
        TEST(test_an_end_from_outside),
        TEST(test_an_end_from_inside_of_a_report),
        TEST(test_a_breach_is_answered),
        TEST(test_a_peer_that_says_nothing),
        TEST(test_a_connection_that_ends_too_early),
        TEST(test_a_peer_that_does_not_part),
        TEST(test_it_waits_as_long_as_its_owner_says),
        TEST(test_a_full_socket_holds_one_buffer),
        TEST(test_an_end_while_the_socket_is_full),
        TEST(test_an_end_that_a_full_socket_does_not_take),
        TEST(test_a_write_that_fails),
        TEST(test_writes_to_vsock_are_small),
        TEST(test_what_comes_while_input_is_left),
        TEST(test_many_opens_are_spread_over_turns),
        TEST(test_much_at_once),
        TEST(test_it_ends_after_its_last_stream),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
