/*
 * A tunnel between a stream and a local side that is played by hand. The daemon's side is a session of its own; what
 * the two say is passed on by hand, too.
 */
#include "cli/tunnel.h"

#include "fault.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MIB (1u << 20)

static struct session *client, *server;
static struct channel *far_end; /* the stream as the daemon sees it */
static char far_told[200];      /* what it was told of it */
static size_t far_got;          /* bytes */
static size_t far_to_send;
static bool far_fin, far_consumes;
static uint64_t now;

/* The local side. */
static struct tunnel tunnel;
static size_t local_has, local_takes; /* bytes it will give, and take, before -EAGAIN */
static bool local_ended;              /* after those bytes it is done */
static int read_fails, write_fails;
static size_t local_sent, local_got;
static unsigned finished, over;
static char refusal[100];

static uint8_t pattern(size_t at)
{
    return (uint8_t)(at * 7 + at / 251);
}

static ssize_t local_read(struct tunnel *of, void *buffer, size_t size)
{
    (void)of;
    size = size < local_has ? size : local_has;
    if (size == 0) {
        return read_fails != 0 ? read_fails : local_ended ? 0 : -EAGAIN;
    }
    for (size_t i = 0; i < size; i++) {
        ((uint8_t *)buffer)[i] = pattern(local_sent++);
    }
    local_has -= size;
    return (ssize_t)size;
}

static ssize_t local_write(struct tunnel *of, const void *bytes, size_t size)
{
    (void)of;
    if (write_fails != 0) {
        return write_fails;
    }
    size = size < local_takes ? size : local_takes;
    if (size == 0) {
        return -EAGAIN;
    }
    for (size_t i = 0; i < size; i++) {
        assert_int_equal(((const uint8_t *)bytes)[i], pattern(local_got++));
    }
    local_takes -= size;
    return (ssize_t)size;
}

static void local_finish(struct tunnel *of)
{
    (void)of;
    finished++;
}

static void local_over(struct tunnel *of)
{
    assert_true(of->end != TUNNEL_RUNS);
    over++;
}

static void local_refused(struct tunnel *of, const struct control_refused *refused)
{
    assert_int_equal(of->code, refused->code);
    snprintf(refusal, sizeof refusal, "%.*s", (int)refused->message.length, refused->message.data);
}

static const struct tunnel_ops ops = {
    .read = local_read,
    .write = local_write,
    .finish = local_finish,
    .over = local_over,
    .refused = local_refused,
};

static void far_tell(const char *what)
{
    strncat(far_told, what, sizeof far_told - strlen(far_told) - 1);
}

static void far_open(struct channel *channel, const struct control_open *open)
{
    (void)open;
    far_end = channel;
}

static void far_data(struct channel *channel, const uint8_t *bytes, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        assert_int_equal(bytes[i], pattern(far_got++));
    }
    if (far_consumes) {
        channel_consumed(channel, length);
    }
}

static void far_fin_came(struct channel *channel)
{
    (void)channel;
    far_tell("fin ");
}

static void far_code(const char *what, uint32_t code)
{
    char text[40];
    snprintf(text, sizeof text, "%s(%s) ", what, code_word(code));
    far_tell(text);
}

static void far_reset(struct channel *channel, uint32_t code)
{
    (void)channel;
    far_code("reset", code);
}

static void far_stopped(struct channel *channel, uint32_t code)
{
    (void)channel;
    far_code("stopped", code);
}

static size_t far_sent;

static size_t far_fill(struct channel *channel, uint8_t *buffer, size_t size, enum channel_more *more)
{
    (void)channel;
    size = size < far_to_send ? size : far_to_send;
    for (size_t i = 0; i < size; i++) {
        buffer[i] = pattern(far_sent++);
    }
    far_to_send -= size;
    *more = far_to_send > 0 ? CHANNEL_MORE : far_fin ? CHANNEL_FIN : CHANNEL_PAUSE;
    return size;
}

static const struct session_events far_events = {
    .open = far_open,
    .data = far_data,
    .fin = far_fin_came,
    .reset = far_reset,
    .stopped = far_stopped,
    .fill = far_fill,
};

static bool pass(struct session *from, struct session *to)
{
    static uint8_t buffer[70000];
    if (!session_has_output(from)) {
        return false;
    }
    size_t size = session_send(from, now, buffer, sizeof buffer);
    session_receive(to, now, buffer, size);
    return true;
}

/* Until neither has anything to say. */
static void talk(void)
{
    while (pass(client, server) || pass(server, client)) {
    }
}

static struct session *make(enum session_role role, const struct session_events *events)
{
    struct session_config config;
    session_config_default(&config, role);
    config.budget = MIB;
    config.max_streams = role == SESSION_CLIENT ? 0 : 4;
    config.max_own_streams = role == SESSION_CLIENT ? 4 : 0;
    return session_new(&config, events, NULL, now);
}

static void begin(void)
{
    now = 1000;
    far_end = NULL;
    far_told[0] = refusal[0] = '\0';
    far_got = far_to_send = far_sent = 0;
    far_fin = false;
    far_consumes = true;
    local_has = local_sent = local_got = 0;
    local_takes = SIZE_MAX;
    local_ended = false;
    read_fails = write_fails = 0;
    finished = over = 0;
    client = make(SESSION_CLIENT, &tunnel_events);
    server = make(SESSION_SERVER, &far_events);
    assert_non_null(client);
    assert_non_null(server);
    talk();
}

static void open_tunnel(void)
{
    struct control_open open = {.route = control_text("kms")};
    struct channel *channel;
    tunnel_init(&tunnel, &ops);
    assert_int_equal(session_open(client, &open, &tunnel, &channel), 0);
    tunnel_open(&tunnel, channel);
    talk();
    assert_non_null(far_end);
}

static int setup(void **state)
{
    (void)state;
    begin();
    open_tunnel();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    tunnel_release(&tunnel);
    session_free(client);
    session_free(server);
    return 0;
}

static void far_send(size_t bytes, bool fin)
{
    far_to_send = bytes;
    far_fin = fin;
    channel_ready(far_end);
    talk();
}

static void local_give(size_t bytes, bool end)
{
    local_has = bytes;
    local_ended = end;
    tunnel_readable(&tunnel);
    talk();
}

static void test_bytes_go_before_the_answer(void **state)
{
    (void)state;
    local_give(300, false);
    assert_int_equal(far_got, 300);
    assert_string_equal(far_told, "");
}

static void test_both_directions_and_their_ends(void **state)
{
    (void)state;
    channel_accept(far_end);
    local_give(50000, false);
    far_send(70000, false);
    assert_int_equal(far_got, 50000);
    assert_int_equal(local_got, 70000);
    local_give(1, true);
    assert_string_equal(far_told, "fin ");
    assert_int_equal(over, 0);
    far_send(10, false); /* half-closed, and the other direction goes on */
    assert_int_equal(local_got, 70010);
    far_send(5, true);
    assert_int_equal(local_got, 70015);
    assert_int_equal(finished, 1);
    assert_int_equal(over, 1);
    assert_int_equal(tunnel.end, TUNNEL_FINISHED);
    assert_false(tunnel.stopped);
    tunnel_release(&tunnel);
    talk();
    assert_string_equal(far_told, "fin "); /* and nothing was cancelled */
}

static void test_the_far_side_may_be_done_first(void **state)
{
    (void)state;
    channel_accept(far_end);
    far_send(3, true);
    assert_int_equal(finished, 1);
    assert_int_equal(over, 0);
    local_give(100000, true);
    assert_int_equal(far_got, 100000);
    assert_int_equal(tunnel.end, TUNNEL_FINISHED);
}

/* What is not taken is held, and no more comes than the window lets through. */
static void test_a_slow_local_side(void **state)
{
    (void)state;
    struct session_stats stats;
    channel_accept(far_end);
    local_takes = 1000;
    far_send(3 * MIB, true);
    assert_int_equal(local_got, 1000);
    assert_true(far_to_send > 2 * MIB);
    session_stats(client, &stats);
    assert_true(stats.held > 0 && stats.held <= MIB);
    assert_int_equal(stats.held, tunnel.held_end - tunnel.held_at);
    assert_true(tunnel.held_size <= 2 * MIB);
    for (unsigned turns = 0; local_got < 3 * MIB; turns++) {
        assert_true(turns < 10000);
        local_takes = 7777;
        tunnel_writable(&tunnel);
        talk();
        session_stats(client, &stats);
        assert_true(tunnel.held_size <= 4096 || tunnel.held_size <= 2 * stats.held);
    }
    assert_int_equal(local_got, 3 * MIB);
    assert_null(tunnel.held); /* an idle stream holds no buffer */
    assert_int_equal(finished, 1);
}

/* However much came before: else many streams that have been filled once would hold far more than the session's budget. */
static void test_its_buffer_is_at_most_twice_what_is_held(void **state)
{
    (void)state;
    static const size_t pieces[] = {1, 1000, 20000, 1, 30000, 10000, 1};
    size_t sent = 0, largest = 0;
    channel_accept(far_end);
    local_takes = 0;
    for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++) {
        far_send(pieces[i], false);
        sent += pieces[i];
        assert_int_equal(tunnel.held_end - tunnel.held_at, sent);
        assert_true(tunnel.held_size <= 4096 || tunnel.held_size <= 2 * sent);
        largest = tunnel.held_size;
    }
    for (; local_got + 997 < sent; tunnel_writable(&tunnel)) {
        local_takes = 997;
        size_t left = tunnel.held_end - tunnel.held_at;
        assert_true(tunnel.held_size <= 4096 || tunnel.held_size <= 2 * left);
    }
    assert_true(largest > 60000);
    assert_int_equal(tunnel.held_size, 4096);
    local_takes = SIZE_MAX;
    tunnel_writable(&tunnel);
    assert_int_equal(local_got, sent);
    assert_null(tunnel.held);
}

static void test_a_slow_far_side(void **state)
{
    (void)state;
    channel_accept(far_end);
    far_consumes = false;
    local_give(3 * MIB, true);
    assert_true(far_got < MIB);
    assert_int_equal(far_got + local_has, 3 * MIB); /* what has no credit stays where it is */
    far_consumes = true;
    while (far_got < 3 * MIB) {
        channel_consumed(far_end, channel_bytes_held(far_end));
        talk();
    }
    assert_string_equal(far_told, "fin ");
}

static void test_a_refusal(void **state)
{
    (void)state;
    local_give(10, false);
    channel_refuse(far_end, CODE_REASON + REASON_CONNECT_REFUSED, "tcp://10.0.0.1:443", true);
    talk();
    assert_int_equal(over, 1);
    assert_int_equal(tunnel.end, TUNNEL_REFUSED);
    assert_int_equal(tunnel.code, CODE_REASON + REASON_CONNECT_REFUSED);
    assert_true(tunnel.retryable);
    assert_true(tunnel.read_any);
    assert_string_equal(refusal, "tcp://10.0.0.1:443");
}

static void test_a_reset(void **state)
{
    (void)state;
    channel_accept(far_end);
    far_send(100, false);
    channel_reset(far_end, CODE_REASON + REASON_UPSTREAM_RESET);
    talk();
    assert_int_equal(local_got, 100);
    assert_int_equal(finished, 0);
    assert_int_equal(tunnel.end, TUNNEL_CUT);
    assert_int_equal(tunnel.code, CODE_REASON + REASON_UPSTREAM_RESET);
    assert_int_equal(over, 1);
    tunnel_release(&tunnel);
    talk();
    assert_string_equal(far_told, "reset(cancel) ");
}

/* What came before it is given first. */
static void test_a_reset_while_bytes_are_held(void **state)
{
    (void)state;
    channel_accept(far_end);
    local_takes = 10;
    far_send(100, false);
    channel_reset(far_end, CODE_CANCEL);
    talk();
    assert_int_equal(over, 0);
    local_takes = 50;
    tunnel_writable(&tunnel);
    assert_int_equal(over, 0);
    local_takes = 1000;
    tunnel_writable(&tunnel);
    assert_int_equal(local_got, 100);
    assert_int_equal(tunnel.end, TUNNEL_CUT);
}

static void test_the_far_side_takes_no_more(void **state)
{
    (void)state;
    channel_accept(far_end);
    local_give(10, false);
    channel_stop(far_end, CODE_REASON + REASON_UPSTREAM_RESET);
    talk();
    assert_int_equal(over, 0);
    local_give(10, true);
    assert_int_equal(local_has, 10); /* nobody wants it */
    far_send(20, true);              /* but the answer is heard */
    assert_int_equal(local_got, 20);
    assert_int_equal(tunnel.end, TUNNEL_FINISHED);
    assert_true(tunnel.stopped);
    assert_int_equal(tunnel.stop_code, CODE_REASON + REASON_UPSTREAM_RESET);
}

static void test_a_stop_after_the_end_is_none(void **state)
{
    (void)state;
    channel_accept(far_end);
    local_give(10, true);
    channel_stop(far_end, CODE_CANCEL);
    far_send(1, true);
    assert_int_equal(tunnel.end, TUNNEL_FINISHED);
    assert_false(tunnel.stopped);
}

static void test_the_local_side_fails_to_be_read(void **state)
{
    (void)state;
    channel_accept(far_end);
    local_give(10, false);
    read_fails = -ECONNRESET;
    tunnel_readable(&tunnel);
    talk();
    assert_int_equal(over, 1);
    assert_int_equal(tunnel.end, TUNNEL_LOCAL_FAILED);
    assert_int_equal(tunnel.status, -ECONNRESET);
    assert_int_equal(far_got, 10);
    assert_string_equal(far_told, "stopped(client_reset) reset(client_reset) ");
    tunnel_readable(&tunnel); /* nothing more happens */
    tunnel_writable(&tunnel);
    tunnel_fail(&tunnel, -EIO);
    assert_int_equal(over, 1);
    assert_int_equal(tunnel.status, -ECONNRESET);
}

/* What it had said before it went is still delivered. */
static void test_the_local_side_takes_no_more(void **state)
{
    (void)state;
    channel_accept(far_end);
    local_takes = 0;
    far_send(5000, false);
    write_fails = -EPIPE;
    local_has = 500;
    local_ended = true;
    tunnel_writable(&tunnel);
    talk();
    assert_int_equal(far_got, 500);
    assert_string_equal(far_told, "stopped(client_reset) fin ");
    assert_int_equal(tunnel.end, TUNNEL_LOCAL_FAILED);
    assert_int_equal(tunnel.status, -EPIPE);
    assert_int_equal(over, 1);
}

static void test_the_local_side_takes_no_more_of_what_comes(void **state)
{
    (void)state;
    channel_accept(far_end);
    write_fails = -EPIPE;
    far_send(5000, false);
    assert_int_equal(over, 0);
    far_send(5000, true);
    local_give(5, true);
    assert_int_equal(tunnel.end, TUNNEL_LOCAL_FAILED);
    assert_int_equal(over, 1);
}

static void test_the_session_ends(void **state)
{
    (void)state;
    channel_accept(far_end);
    talk();
    session_receive_end(client, now);
    assert_int_equal(tunnel.end, TUNNEL_LOST);
    assert_int_equal(tunnel.code, CODE_LOST);
    assert_int_equal(over, 1);
}

/* The owner has not released it yet, and is told nothing more. */
static void test_refused_or_lost_when_it_was_over(void **state)
{
    (void)state;
    tunnel_fail(&tunnel, -ECONNRESET);
    channel_refuse(far_end, CODE_REASON + REASON_CONNECT_REFUSED, NULL, true);
    talk();
    assert_int_equal(over, 1);
    assert_string_equal(refusal, "");
    teardown(NULL);
    setup(NULL);
    channel_accept(far_end);
    talk();
    tunnel_fail(&tunnel, -ECONNRESET);
    session_receive_end(client, now);
    assert_int_equal(over, 1);
    assert_int_equal(tunnel.end, TUNNEL_LOCAL_FAILED);
}

static void test_no_stream_was_had(void **state)
{
    (void)state;
    struct tunnel other;
    tunnel_init(&other, &ops);
    tunnel_readable(&other);
    tunnel_writable(&other);
    tunnel_fail(&other, -ECONNRESET);
    assert_int_equal(over, 1);
    assert_int_equal(other.status, -ECONNRESET);
    tunnel_release(&other);
}

static void test_given_up_by_its_owner(void **state)
{
    (void)state;
    channel_accept(far_end);
    talk();
    tunnel_release(&tunnel);
    tunnel_release(&tunnel);
    talk();
    assert_string_equal(far_told, "stopped(cancel) reset(cancel) ");
    assert_int_equal(over, 0);
}

static void hold_without_memory(void *arg)
{
    (void)arg;
    fault_spare(true);
    begin();
    open_tunnel();
    channel_accept(far_end);
    local_takes = 10;
    fault_spare(false);
    far_send(100, false);
    fault_spare(true);
    if (over == 1) {
        assert_int_equal(tunnel.end, TUNNEL_LOCAL_FAILED);
        assert_int_equal(tunnel.status, -ENOMEM);
        assert_string_equal(far_told, "stopped(client_reset) reset(client_reset) ");
    } else {
        assert_int_equal(tunnel.held_end, 90);
    }
    teardown(NULL);
    fault_spare(false);
}

static void test_out_of_memory(void **state)
{
    (void)state;
    teardown(NULL);
    assert_true(fault_loop("tunnel", FAULT_MEMORY, hold_without_memory, NULL) >= 1);
    setup(NULL);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_bytes_go_before_the_answer),
        TEST(test_both_directions_and_their_ends),
        TEST(test_the_far_side_may_be_done_first),
        TEST(test_a_slow_local_side),
        TEST(test_its_buffer_is_at_most_twice_what_is_held),
        TEST(test_a_slow_far_side),
        TEST(test_a_refusal),
        TEST(test_a_reset),
        TEST(test_a_reset_while_bytes_are_held),
        TEST(test_the_far_side_takes_no_more),
        TEST(test_a_stop_after_the_end_is_none),
        TEST(test_the_local_side_fails_to_be_read),
        TEST(test_the_local_side_takes_no_more),
        TEST(test_the_local_side_takes_no_more_of_what_comes),
        TEST(test_the_session_ends),
        TEST(test_refused_or_lost_when_it_was_over),
        TEST(test_no_stream_was_had),
        TEST(test_given_up_by_its_owner),
        TEST(test_out_of_memory),
    };
    return cmocka_run_group_tests_name("cli/tunnel", tests, NULL, NULL);
}
