/* Relays of a session's streams: bytes, half-closes, failures of either side, refusals, and the session's own end. */
#include "channel_bench.h"
#include "hello_maker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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
    assert_non_null(strstr(stream->message, "cannot connect to tcp://127.0.0.1:"));
    channel_bench_finish(&bench, 0, REASON_CONNECT_REFUSED);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_bytes_both_ways_and_both_orders_of_the_end, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_reset_of_the_clients_cuts_the_upstream, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_stop_of_the_clients_ends_what_comes_from_the_upstream, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_a_reset_of_the_upstreams_is_told, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_refusal_says_why, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_lost_session_ends_its_relays, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
