/* Relays of a session's streams: bytes, half-closes, failures of either side, refusals, and the session's own end. */
#include "channel_bench.h"
#include "hello_maker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

static struct channel_bench bench;

static int set_up(void **state)
{
    (void)state;
    channel_bench_open(&bench);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    channel_bench_close(&bench);
    return 0;
}

/* ---- Bytes and half-closes ---- */

static void test_bytes_both_ways_and_both_orders_of_the_end(void **state)
{
    (void)state;
    assert_true(channel_bench_start(&bench, pair_of_tcp, NULL));
    for (unsigned client_first = 0; client_first <= 1; client_first++) {
        struct peer upstream;
        struct framed_stream *stream = channel_bench_establish(&bench, &upstream);
        struct channel_relay *relay = &bench.relays[client_first];
        framed_say(stream, 100000);
        peer_say(&upstream, 200000);
        TURN_UNTIL(&bench, peer_hear(&upstream)->heard == 100000 && stream->heard == 200000);
        if (client_first) {
            framed_finish(stream);
            TURN_UNTIL(&bench, peer_hear(&upstream)->ended);
            peer_say(&upstream, 300);
            TURN_UNTIL(&bench, stream->heard == 200300);
            assert_false(stream->ended);
            peer_finish(&upstream);
            TURN_UNTIL(&bench, stream->ended);
        } else {
            peer_finish(&upstream);
            TURN_UNTIL(&bench, stream->ended);
            framed_say(stream, 300);
            TURN_UNTIL(&bench, peer_hear(&upstream)->heard == 100300);
            assert_false(upstream.ended);
            framed_finish(stream);
            TURN_UNTIL(&bench, peer_hear(&upstream)->ended);
        }
        channel_bench_finish(&bench, client_first, REASON_FINISHED);
        assert_int_equal(relay->opened, 1);
        assert_int_equal(relay->moved_in, stream->said);
        assert_int_equal(relay->moved_out, upstream.sent);
        assert_false(stream->reset || stream->stopped || stream->failed);
        assert_true(stream->ended);
        peer_close(&upstream);
    }
    channel_bench_end(&bench);
    assert_int_equal(bench.end.code, CODE_NO_ERROR);
}

/* ---- Failures ---- */

static void test_a_reset_of_the_clients_cuts_the_upstream(void **state)
{
    struct peer upstream;
    (void)state;
    assert_true(channel_bench_start(&bench, pair_of_tcp, NULL));
    struct framed_stream *stream = channel_bench_establish(&bench, &upstream);
    framed_say(stream, 10);
    TURN_UNTIL(&bench, peer_hear(&upstream)->heard == 10);
    framed_reset(stream, CODE_CANCEL);
    TURN_UNTIL(&bench, peer_hear(&upstream)->ended || upstream.error != 0);
    assert_int_equal(upstream.error, -ECONNRESET);
    channel_bench_finish(&bench, 0, REASON_CLIENT_RESET);
    assert_string_equal(bench.relays[0].detail, "the client's side ended it: cancel");
    TURN_UNTIL(&bench, stream->reset);
    assert_int_equal(stream->code, code_of_reason(REASON_CLIENT_RESET));
    peer_close(&upstream);
    channel_bench_end(&bench);
}

static void test_a_stop_of_the_clients_ends_what_comes_from_the_upstream(void **state)
{
    struct peer upstream;
    (void)state;
    assert_true(channel_bench_start(&bench, pair_of_tcp, NULL));
    struct framed_stream *stream = channel_bench_establish(&bench, &upstream);
    framed_stop(stream, CODE_CANCEL);
    TURN_UNTIL(&bench, bench.relays[0].relay.out.broken);
    assert_int_equal(bench.live, 1);
    framed_say(stream, 5000); /* what it still sends is delivered */
    framed_finish(stream);
    TURN_UNTIL(&bench, peer_hear(&upstream)->ended);
    assert_int_equal(upstream.heard, 5000);
    channel_bench_finish(&bench, 0, REASON_CLIENT_RESET);
    peer_close(&upstream);
    channel_bench_end(&bench);
}

static void test_a_reset_of_the_upstreams_is_told(void **state)
{
    struct peer upstream;
    (void)state;
    assert_true(channel_bench_start(&bench, pair_of_tcp, NULL));
    struct framed_stream *stream = channel_bench_establish(&bench, &upstream);
    peer_say(&upstream, 1000);
    peer_reset(&upstream);
    TURN_UNTIL(&bench, stream->reset);
    assert_int_equal(stream->code, code_of_reason(REASON_UPSTREAM_RESET));
    assert_true(stream->stopped);
    channel_bench_finish(&bench, 0, REASON_UPSTREAM_RESET);
    channel_bench_end(&bench);
}

static void test_an_upstream_that_closes_both_ways(void **state)
{
    struct peer upstream;
    (void)state;
    assert_true(channel_bench_start(&bench, pair_of_tcp, NULL));
    struct framed_stream *stream = channel_bench_establish(&bench, &upstream);
    peer_say(&upstream, 1000);
    peer_close(&upstream);
    TURN_UNTIL(&bench, stream->ended);
    assert_int_equal(stream->heard, 1000);
    framed_say(stream, 100000); /* to nobody */
    TURN_UNTIL(&bench, stream->stopped);
    assert_int_equal(stream->code, code_of_reason(REASON_UPSTREAM_RESET));
    channel_bench_finish(&bench, 0, REASON_UPSTREAM_RESET);
    channel_bench_end(&bench);
}

/* ---- Backpressure ---- */

/* What the client may send, and no more, waits in the daemon. */
static void test_a_slow_upstream_holds_a_window_at_most(void **state)
{
    struct peer upstream;
    struct session_stats stats;
    (void)state;
    assert_true(channel_bench_start(&bench, pair_of_tcp, NULL));
    struct framed_stream *stream = channel_bench_establish(&bench, &upstream);
    framed_say(stream, 50000000);
    framed_finish(stream);
    struct relay *relay = &bench.relays[0].relay;
    TURN_UNTIL(&bench, relay->in.blocked && channel_stalled(stream->channel));
    TURN_UNTIL(&bench, channel_bytes_held(relay->client.channel.channel) > 0);
    for (int i = 0; i < 20; i++) {
        channel_bench_turn(&bench);
        session_stats(bench.io.session, &stats);
        assert_in_range(channel_bytes_held(relay->client.channel.channel), 0, bench.session_config.budget);
    }
    assert_null(relay->in.held);
    assert_null(relay->in.pipe);
    assert_true(stream->said < 50000000);
    TURN_UNTIL(&bench, peer_hear(&upstream)->ended);
    assert_int_equal(upstream.heard, 50000000);
    assert_null(relay->client.channel.kept);
    peer_finish(&upstream);
    channel_bench_finish(&bench, 0, REASON_FINISHED);
    peer_close(&upstream);
    channel_bench_end(&bench);
}

/* An upstream that sends more than the client takes is not read, and nothing of it is held. */
static void test_a_client_that_gives_no_credit_costs_no_memory(void **state)
{
    struct peer upstream;
    (void)state;
    assert_true(channel_bench_start(&bench, pair_of_tcp, NULL));
    struct framed_stream *stream = channel_bench_establish(&bench, &upstream);
    struct relay *relay = &bench.relays[0].relay;
    stream->deaf = true;
    /* Not until it is muted: that takes a report, and where the socket was full by the first read there may be none. */
    TURN_UNTIL(&bench, (peer_fill(&upstream), stream->heard == 16384));
    assert_true(channel_stalled(relay->client.channel.channel));
    assert_null(relay->out.held);
    assert_null(relay->out.pipe);
    assert_null(bench.io.out);
    for (int i = 0; i < 10; i++) {
        peer_fill(&upstream);
        channel_bench_turn(&bench);
    }
    assert_int_equal(stream->heard, 16384);
    framed_hear(stream);
    TURN_UNTIL(&bench, stream->heard == upstream.sent);
    TURN_UNTIL(&bench, !relay->upstream.stream.muted);
    peer_finish(&upstream);
    TURN_UNTIL(&bench, stream->ended);
    framed_finish(stream);
    channel_bench_finish(&bench, 0, REASON_FINISHED);
    peer_close(&upstream);
    channel_bench_end(&bench);
}

/* One stream stands still in both directions, the other ones go on. */
static void test_a_stalled_stream_stalls_no_other(void **state)
{
    struct peer stuck, moving;
    (void)state;
    assert_true(channel_bench_start(&bench, pair_of_tcp, NULL));
    struct framed_stream *first = channel_bench_establish(&bench, &stuck);
    first->deaf = true;
    framed_say(first, 50000000);
    TURN_UNTIL(&bench,
               (peer_fill(&stuck), bench.relays[0].relay.in.blocked && bench.relays[0].relay.out.blocked));
    struct framed_stream *second = channel_bench_establish(&bench, &moving);
    framed_say(second, 3000000);
    TURN_UNTIL(&bench, peer_hear(&moving)->heard == 3000000);
    size_t said = 0;
    TURN_UNTIL(&bench, (said += peer_say(&moving, 3000000 - said), said == 3000000));
    TURN_UNTIL(&bench, second->heard == 3000000);
    framed_reset(first, CODE_CANCEL); /* at once, whatever is held for whom */
    channel_bench_finish(&bench, 0, REASON_CLIENT_RESET);
    peer_close(&stuck);
    framed_finish(second);
    peer_finish(&moving);
    channel_bench_finish(&bench, 1, REASON_FINISHED);
    peer_close(&moving);
    channel_bench_end(&bench);
}

static void test_many_streams_at_once(void **state)
{
    enum { MANY = 100 };
    static struct peer upstreams[MANY];
    struct framed_stream *streams[MANY];
    (void)state;
    bench.route.first_byte_timeout_ms = bench.route.idle_timeout_ms = 600000;
    assert_true(channel_bench_start(&bench, pair_of_unix, NULL));
    for (int i = 0; i < MANY; i++) {
        streams[i] = channel_bench_establish(&bench, &upstreams[i]);
    }
    for (int i = 0; i < MANY; i++) {
        framed_say(streams[i], 40000);
        framed_finish(streams[i]);
    }
    for (int i = 0; i < MANY; i++) {
        TURN_UNTIL(&bench, peer_hear(&upstreams[i])->ended);
        assert_int_equal(upstreams[i].heard, 40000);
        peer_say(&upstreams[i], 50000);
        peer_close(&upstreams[i]);
    }
    for (int i = 0; i < MANY; i++) {
        TURN_UNTIL(&bench, streams[i]->ended);
        assert_int_equal(streams[i]->heard, 50000);
        channel_bench_finish(&bench, (unsigned)i, REASON_FINISHED);
    }
    channel_bench_end(&bench);
}

/* ---- Before it is open ---- */

static void test_what_the_client_says_before_the_answer_is_delivered(void **state)
{
    struct peer upstream;
    (void)state;
    assert_true(channel_bench_start(&bench, pair_of_tcp, NULL));
    TURN_UNTIL(&bench, bench.client.ready);
    struct framed_stream *stream = framed_client_open(&bench.client, "test");
    framed_say(stream, 10000);
    framed_finish(stream);
    framed_client_turn(&bench.client);
    peer_init(&upstream, accept_one(&bench.loopback, bench.listener));
    TURN_UNTIL(&bench, peer_hear(&upstream)->ended);
    assert_int_equal(upstream.heard, 10000);
    peer_say(&upstream, 500);
    peer_finish(&upstream);
    TURN_UNTIL(&bench, stream->ended);
    assert_int_equal(stream->heard, 500);
    channel_bench_finish(&bench, 0, REASON_FINISHED);
    peer_close(&upstream);
    channel_bench_end(&bench);
}

static void give_up_while_dialing(void (*give_up)(struct framed_stream *stream, uint32_t code))
{
    struct blackhole hole;
    blackhole_open(&hole);
    channel_bench_lead(&bench, hole.port);
    assert_true(channel_bench_start(&bench, pair_of_tcp, NULL));
    TURN_UNTIL(&bench, bench.client.ready);
    struct framed_stream *stream = framed_client_open(&bench.client, "test");
    framed_say(stream, 100);
    TURN_UNTIL(&bench, bench.count == 1 && bench.relays[0].relay.client.channel.kept != NULL);
    assert_int_equal(bench.relays[0].relay.state, RELAY_DIALING);
    give_up(stream, CODE_CANCEL);
    channel_bench_finish(&bench, 0, REASON_CLIENT_RESET);
    TURN_UNTIL(&bench, stream->refused);
    assert_int_equal(bench.relays[0].opened, 0);
    channel_bench_end(&bench);
    blackhole_close(&hole);
}

static void test_a_client_that_gives_up_while_it_is_dialed(void **state)
{
    (void)state;
    give_up_while_dialing(framed_reset);
    give_up_while_dialing(framed_stop);
}

static struct config_sni sni[] = {{.pattern = "*.example.com"}};
static struct bytes hello;

static struct framed_stream *say_hello(const char *name)
{
    bench.route.sni = sni;
    bench.route.sni_count = 1;
    assert_true(channel_bench_start(&bench, pair_of_tcp, NULL));
    TURN_UNTIL(&bench, bench.client.ready);
    hello.length = 0;
    make_hello(&hello, name);
    struct framed_stream *stream = framed_client_open(&bench.client, "test");
    framed_say_bytes(stream, hello.at, hello.length);
    return stream;
}

static void test_a_hello_comes_as_data_before_the_answer(void **state)
{
    struct peer upstream;
    static unsigned char got[BYTES_MAX];
    size_t done = 0;
    (void)state;
    struct framed_stream *stream = say_hello("a.example.com");
    framed_client_turn(&bench.client);
    peer_init(&upstream, accept_one(&bench.loopback, bench.listener));
    TURN_UNTIL(&bench, stream->opened);
    assert_string_equal(bench.relays[0].relay.server_name, "a.example.com");
    while (done < hello.length) {
        ssize_t n = recv(upstream.fd, got + done, sizeof got - done, 0);
        done += n > 0 ? (size_t)n : 0;
        channel_bench_turn(&bench);
    }
    assert_int_equal(done, hello.length);
    assert_memory_equal(got, hello.at, hello.length);
    peer_say(&upstream, 10);
    TURN_UNTIL(&bench, stream->heard == 10);
    framed_finish(stream);
    peer_close(&upstream);
    channel_bench_finish(&bench, 0, REASON_FINISHED);
    channel_bench_end(&bench);
}

/* The refusal says it all: no alert goes before it. */
static void test_a_name_that_is_not_allowed(void **state)
{
    (void)state;
    struct framed_stream *stream = say_hello("www.example.org");
    TURN_UNTIL(&bench, stream->refused);
    assert_int_equal(stream->code, code_of_reason(REASON_DENIED_SNI));
    assert_string_equal(stream->message, reason_meaning(REASON_DENIED_SNI));
    assert_false(stream->retryable);
    assert_int_equal(stream->heard, 0);
    channel_bench_finish(&bench, 0, REASON_DENIED_SNI);
    channel_bench_end(&bench);
}

static void test_a_hello_that_does_not_come(void **state)
{
    (void)state;
    bench.route.hello_timeout_ms = 20;
    struct framed_stream *stream = say_hello("a.example.com");
    stream->byte_count = 20;
    TURN_UNTIL(&bench, stream->refused);
    assert_int_equal(stream->code, code_of_reason(REASON_HELLO_TIMEOUT));
    channel_bench_finish(&bench, 0, REASON_HELLO_TIMEOUT);
    channel_bench_end(&bench);
}

/* Whoever opened it asked for something, and is told what was missing. */
static void test_a_hello_that_ends_too_soon(void **state)
{
    (void)state;
    for (size_t said = 0; said <= 20; said += 20) {
        struct framed_stream *stream = say_hello("a.example.com");
        stream->byte_count = said;
        framed_finish(stream);
        TURN_UNTIL(&bench, stream->refused);
        assert_int_equal(stream->code, code_of_reason(REASON_BAD_HELLO));
        channel_bench_finish(&bench, 0, REASON_BAD_HELLO);
        channel_bench_end(&bench);
    }
}

/* ---- Refusals ---- */

static void test_a_refusal_says_why(void **state)
{
    (void)state;
    channel_bench_lead(&bench, refusing_port());
    assert_true(channel_bench_start(&bench, pair_of_tcp, NULL));
    TURN_UNTIL(&bench, bench.client.ready);
    struct framed_stream *stream = framed_client_open(&bench.client, "test");
    framed_say(stream, 100);
    TURN_UNTIL(&bench, stream->refused);
    assert_int_equal(stream->code, code_of_reason(REASON_CONNECT_REFUSED));
    assert_true(stream->retryable);
    assert_string_equal(stream->message, reason_meaning(REASON_CONNECT_REFUSED)); /* and not where it led */
    channel_bench_finish(&bench, 0, REASON_CONNECT_REFUSED);
    struct framed_stream *other = framed_client_open(&bench.client, "else");
    TURN_UNTIL(&bench, other->refused);
    assert_int_equal(other->code, code_of_reason(REASON_DENIED_ROUTE));
    channel_bench_end(&bench);
}

/* ---- Time ---- */

static void test_an_idle_stream_is_ended(void **state)
{
    struct peer upstream;
    (void)state;
    bench.route.idle_timeout_ms = 100;
    assert_true(channel_bench_start(&bench, pair_of_tcp, NULL));
    struct framed_stream *stream = channel_bench_establish(&bench, &upstream);
    framed_say(stream, 10);
    TURN_UNTIL(&bench, stream->reset && stream->stopped);
    assert_int_equal(stream->code, code_of_reason(REASON_IDLE_TIMEOUT));
    channel_bench_finish(&bench, 0, REASON_IDLE_TIMEOUT);
    peer_hear(&upstream);
    assert_int_equal(upstream.error, -ECONNRESET);
    peer_close(&upstream);
    channel_bench_end(&bench);
}

static void test_half_closed_for_too_long(void **state)
{
    struct peer upstream;
    (void)state;
    bench.route.half_closed_timeout_ms = 50;
    assert_true(channel_bench_start(&bench, pair_of_tcp, NULL));
    struct framed_stream *stream = channel_bench_establish(&bench, &upstream);
    framed_finish(stream);
    TURN_UNTIL(&bench, stream->reset);
    assert_int_equal(stream->code, code_of_reason(REASON_HALF_CLOSED_TIMEOUT));
    channel_bench_finish(&bench, 0, REASON_HALF_CLOSED_TIMEOUT);
    peer_close(&upstream);
    channel_bench_end(&bench);
}

/* ---- From outside ---- */

static void test_its_owner_ends_it(void **state)
{
    struct peer upstream;
    (void)state;
    assert_true(channel_bench_start(&bench, pair_of_tcp, NULL));
    struct framed_stream *stream = channel_bench_establish(&bench, &upstream);
    relay_end(&bench.relays[0].relay, REASON_SHUTDOWN);
    relay_end(&bench.relays[0].relay, REASON_INTERNAL); /* harmless */
    assert_int_equal(bench.relays[0].ended, 0);         /* not from inside */
    TURN_UNTIL(&bench, stream->reset && stream->stopped);
    assert_int_equal(stream->code, code_of_reason(REASON_SHUTDOWN));
    channel_bench_finish(&bench, 0, REASON_SHUTDOWN);
    peer_close(&upstream);

    bench.end_in_opened = true;
    stream = channel_bench_establish(&bench, &upstream);
    channel_bench_finish(&bench, 1, REASON_SHUTDOWN);
    peer_close(&upstream);

    bench.end_in_opened = false;
    bench.end_in_moved = true;
    stream = channel_bench_establish(&bench, &upstream);
    framed_say(stream, 10);
    channel_bench_finish(&bench, 2, REASON_SHUTDOWN);
    peer_close(&upstream);
    stream = channel_bench_establish(&bench, &upstream);
    peer_say(&upstream, 10); /* within `fill` */
    channel_bench_finish(&bench, 3, REASON_SHUTDOWN);
    TURN_UNTIL(&bench, stream->reset);
    peer_close(&upstream);
    bench.end_in_moved = false;
    channel_bench_end(&bench);
}

/* ---- The session ---- */

static void test_a_lost_session_ends_its_relays(void **state)
{
    struct peer upstream;
    (void)state;
    assert_true(channel_bench_start(&bench, pair_of_tcp, NULL));
    channel_bench_establish(&bench, &upstream);
    framed_client_close(&bench.client);
    WAIT_FOR(&bench.loopback, bench.ended == 1);
    assert_int_equal(bench.end.code, CODE_LOST);
    assert_int_equal(bench.relays[0].why, REASON_CLIENT_RESET);
    assert_string_equal(bench.relays[0].detail, "the client's side ended it: lost");
    peer_hear(&upstream);
    assert_int_equal(upstream.error, -ECONNRESET);
    peer_close(&upstream);
}

static void test_a_session_that_is_ended_within_a_relays_report(void **state)
{
    struct peer upstream;
    (void)state;
    for (int from_upstream = 0; from_upstream <= 1; from_upstream++) {
        bench.end_session_in_moved = true;
        assert_true(channel_bench_start(&bench, pair_of_tcp, NULL));
        struct framed_stream *stream = channel_bench_establish(&bench, &upstream);
        if (from_upstream) {
            peer_say(&upstream, 1000);
        } else {
            framed_say(stream, 1000);
        }
        TURN_UNTIL(&bench, bench.ended == 1);
        assert_int_equal(bench.end.code, CODE_INTERNAL);
        assert_int_equal(bench.relays[0].why, REASON_CLIENT_RESET);
        peer_close(&upstream);
        framed_client_close(&bench.client);
    }
}

/* A client that sent all, heard all, and left: what a slow upstream has not taken yet is still delivered. */
static void test_a_client_that_left_while_its_bytes_are_on_their_way(void **state)
{
    struct peer upstream;
    struct session_config config;
    (void)state;
    session_config_default(&config, SESSION_CLIENT);
    config.max_streams = 0;
    config.max_own_streams = 1;
    bench.session_config.max_streams = 4;
    bench.session_config.max_own_streams = 0;
    assert_true(channel_bench_start(&bench, pair_of_tcp, &config));
    struct framed_stream *stream = channel_bench_establish(&bench, &upstream);
    struct relay *relay = &bench.relays[0].relay;
    peer_finish(&upstream);
    TURN_UNTIL(&bench, stream->ended);
    framed_say(stream, 1);
    while (!relay->in.blocked) {
        framed_say(stream, 10000);
        channel_bench_turn(&bench);
    }
    channel_finish(stream->channel); /* what there is no credit for is not said */
    TURN_UNTIL(&bench, channel_sending_over(stream->channel));
    size_t said = stream->said;
    framed_release(stream);
    session_drain(bench.client.session, 0);
    TURN_UNTIL(&bench, bench.client.ended);
    assert_int_equal(bench.client.end_code, CODE_NO_ERROR);
    framed_client_close(&bench.client);
    WAIT_FOR(&bench.loopback, bench.io.state == SESSION_IO_CLOSED);
    assert_int_equal(bench.live, 1);
    assert_int_equal(bench.ended, 0);
    WAIT_FOR(&bench.loopback, peer_hear(&upstream)->ended);
    assert_int_equal(upstream.heard, said);
    WAIT_FOR(&bench.loopback, bench.ended == 1);
    assert_int_equal(bench.relays[0].why, REASON_FINISHED);
    assert_int_equal(bench.end.code, CODE_NO_ERROR);
    peer_close(&upstream);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_bytes_both_ways_and_both_orders_of_the_end),
        TEST(test_a_reset_of_the_clients_cuts_the_upstream),
        TEST(test_a_stop_of_the_clients_ends_what_comes_from_the_upstream),
        TEST(test_a_reset_of_the_upstreams_is_told),
        TEST(test_an_upstream_that_closes_both_ways),
        TEST(test_a_slow_upstream_holds_a_window_at_most),
        TEST(test_a_client_that_gives_no_credit_costs_no_memory),
        TEST(test_a_stalled_stream_stalls_no_other),
        TEST(test_many_streams_at_once),
        TEST(test_what_the_client_says_before_the_answer_is_delivered),
        TEST(test_a_client_that_gives_up_while_it_is_dialed),
        TEST(test_a_hello_comes_as_data_before_the_answer),
        TEST(test_a_name_that_is_not_allowed),
        TEST(test_a_hello_that_does_not_come),
        TEST(test_a_hello_that_ends_too_soon),
        TEST(test_a_refusal_says_why),
        TEST(test_an_idle_stream_is_ended),
        TEST(test_half_closed_for_too_long),
        TEST(test_its_owner_ends_it),
        TEST(test_a_lost_session_ends_its_relays),
        TEST(test_a_session_that_is_ended_within_a_relays_report),
        TEST(test_a_client_that_left_while_its_bytes_are_on_their_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
