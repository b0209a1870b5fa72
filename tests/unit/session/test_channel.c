/* Streams: opening and answering, both directions and their ends, and the timers of each. */
#include "peer.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct peer peer;

static void test_opener(void **state)
{
    struct channel *channel;
    int user;

    (void)state;
    peer_start(&peer, SESSION_CLIENT);
    channel = peer_open(&peer, "kms");
    channel_set_user(channel, &user);
    assert_ptr_equal(channel_user(channel), &user);
    assert_ptr_equal(channel_session(channel), peer.session);
    peer_send(&peer, 1, 5, false);
    assert_said(&peer, "OPEN(1,kms) DATA(1,5)");
    channel_accept(channel); /* not ours to answer */
    channel_refuse(channel, CODE_CANCEL, NULL, false);
    put_opened(&peer, 1);
    put_data(&peer, 1, 3, true);
    assert_events(&peer, "opened(1) data(1,3) fin(1)");
    assert_int_equal(channel_bytes_sent(channel), 5);
    assert_int_equal(channel_bytes_received(channel), 3);
    assert_int_equal(channel_bytes_held(channel), 3);
    channel_consumed(channel, 0);
    channel_consumed(channel, 3);
    assert_int_equal(channel_bytes_held(channel), 0);
    assert_true(channel_receiving_over(channel));
    assert_false(channel_sending_over(channel));
    channel_stop(channel, CODE_CANCEL); /* it is over already */
    peer_send(&peer, 1, 0, true);
    assert_said(&peer, "DATA(1,0,fin)");
    assert_true(channel_sending_over(channel));
    channel_ready(channel);
    channel_reset(channel, CODE_CANCEL);
    assert_said(&peer, "");
    peer_release(&peer, 1);
    assert_int_equal(peer.session->table.count, 0);
    peer_stop(&peer);
}

static void test_acceptor(void **state)
{
    (void)state;
    peer_start(&peer, SESSION_SERVER);
    put_open(&peer, 1, "kms");
    peer_send(&peer, 1, 5, true);
    put_data(&peer, 1, 3, true);
    assert_said(&peer, ""); /* nothing before the answer */
    channel_accept(peer_channel(&peer, 1));
    channel_accept(peer_channel(&peer, 1));
    channel_refuse(peer_channel(&peer, 1), CODE_CANCEL, NULL, false);
    assert_said(&peer, "OPENED(1) DATA(1,5,fin)");
    assert_events(&peer, "open(1,kms) data(1,3) fin(1)");
    peer_release(&peer, 1);
    assert_said(&peer, "");
    peer_stop(&peer);
}

static void test_refusing(void **state)
{
    (void)state;
    peer_start(&peer, SESSION_SERVER);
    put_open(&peer, 1, "kms");
    put_open(&peer, 3, "kms");
    put_data(&peer, 1, 100, false);
    channel_refuse(peer_channel(&peer, 1), code_of_reason(REASON_CONNECT_TIMEOUT), "no answer\nfrom 10.0.0.1",
                   true);
    channel_refuse(peer_channel(&peer, 3), 12345, NULL, false);
    assert_said(&peer, "REFUSED(1,connect_timeout,no answer?from 10.0.0.1,retryable) REFUSED(3,unknown)");
    put_data(&peer, 1, 50, false); /* was under way: dropped */
    put_reset(&peer, 1, code_of_reason(REASON_CONNECT_TIMEOUT), 150);
    put_data(&peer, 3, 0, true);
    assert_events(&peer, "open(1,kms) open(3,kms) data(1,100)");
    assert_int_equal(channel_bytes_held(peer_channel(&peer, 1)), 100);
    peer_release(&peer, 1);
    peer_release(&peer, 3);
    assert_int_equal(peer.session->consumed, 150);
    assert_int_equal(peer.session->table.count, 0);
    peer_stop(&peer);
}

/* A message of any length is cut to what fits. */
static void test_long_message(void **state)
{
    char message[600];

    (void)state;
    memset(message, 'x', sizeof(message));
    message[sizeof(message) - 1] = '\0';
    peer_start(&peer, SESSION_SERVER);
    put_open(&peer, 1, "kms");
    channel_refuse(peer_channel(&peer, 1), CODE_CANCEL, message, false);
    peer_said(&peer);
    assert_int_equal(strlen(peer.said), strlen("REFUSED(1,cancel,)") + 255);
    peer_stop(&peer);
}

static void test_refused(void **state)
{
    (void)state;
    peer_start(&peer, SESSION_CLIENT);
    peer_open(&peer, "one");
    peer_open(&peer, "two");
    peer_send(&peer, 1, 5, false);
    peer_send(&peer, 3, 5, true);
    peer_said(&peer);
    put_refused(&peer, 1, CODE_CANCEL);
    put_refused(&peer, 3, code_of_reason(REASON_DENIED_ROUTE));
    assert_events(&peer, "refused(1,cancel,no,retryable) refused(3,denied_route,no,retryable)");
    assert_said(&peer, "RESET(1,cancel,5)"); /* the other said FIN */
    peer_release(&peer, 1);
    peer_release(&peer, 3);
    assert_int_equal(peer.session->table.count, 0);
    peer_stop(&peer);
}

static void test_unknown_kind(void **state)
{
    (void)state;
    peer_start(&peer, SESSION_SERVER);
    put_frame(&peer, FRAME_OPEN, 0, 1, "\xa2\x01\x63kms\x02\x07", 8);
    assert_events(&peer, "");
    assert_said(&peer, "REFUSED(1,unsupported_kind)");
    put_reset(&peer, 1, CODE_UNSUPPORTED, 0);
    assert_int_equal(peer.session->table.count, 0);
    peer_stop(&peer);
}

/* The application is told of the kinds that it said it knows. */
static void test_known_kind(void **state)
{
    (void)state;
    peer_config(&peer, SESSION_SERVER);
    peer.config.max_kind = CONTROL_KIND_HTTP;
    peer_new(&peer);
    put_preface(&peer);
    put_hello(&peer);
    peer_said(&peer);
    put_pong(&peer);
    peer.events[0] = '\0';
    put_frame(&peer, FRAME_OPEN, 0, 1, "\xa2\x01\x63kms\x02\x01", 8);
    assert_events(&peer, "open(1,kms)");
    put_frame(&peer, FRAME_OPEN, 0, 3, "\xa2\x01\x63kms\x02\x02", 8);
    assert_events(&peer, "");
    assert_said(&peer, "REFUSED(3,unsupported_kind)");
    peer_stop(&peer);
}

/* Each way to give up a stream, on either side, before and after the answer. */
static void test_giving_up(void **state)
{
    (void)state;
    peer_start(&peer, SESSION_CLIENT);
    peer_open(&peer, "kms");
    peer_release(&peer, 1); /* before OPEN is out: it must come all the same, since ids leave no gap */
    assert_said(&peer, "OPEN(1,kms) STOP(1,cancel) RESET(1,cancel,0)");
    put_refused(&peer, 1, CODE_CANCEL);
    assert_int_equal(peer.session->table.count, 0);
    peer_open(&peer, "kms");
    peer_said(&peer);
    put_opened(&peer, 3);
    peer_send(&peer, 3, 7, false);
    channel_stop(peer_channel(&peer, 3), CODE_NO_PROGRESS);
    channel_stop(peer_channel(&peer, 3), CODE_CANCEL);
    assert_said(&peer, "STOP(3,no_progress) DATA(3,7)");
    put_data(&peer, 3, 9, false);
    put_reset(&peer, 3, CODE_NO_PROGRESS, 9); /* asked for: not told */
    channel_reset(peer_channel(&peer, 3), CODE_CANCEL);
    assert_said(&peer, "RESET(3,cancel,7)");
    assert_events(&peer, "opened(3)");
    peer_release(&peer, 3);
    assert_int_equal(peer.session->table.count, 0);
    peer_stop(&peer);

    peer_start(&peer, SESSION_SERVER);
    put_open(&peer, 1, "kms");
    put_open(&peer, 3, "kms");
    put_open(&peer, 5, "kms");
    peer_release(&peer, 1);
    channel_reset(peer_channel(&peer, 3), CODE_INTERNAL);
    channel_stop(peer_channel(&peer, 5), CODE_CALM);
    assert_said(&peer, "REFUSED(1,cancel) REFUSED(3,internal_error) REFUSED(5,calm)");
    peer_stop(&peer);
}

static void test_peer_gives_up(void **state)
{
    (void)state;
    peer_start(&peer, SESSION_SERVER);
    for (uint32_t id = 1; id <= 7; id += 2) {
        put_open(&peer, id, "kms");
    }
    channel_accept(peer_channel(&peer, 3));
    channel_accept(peer_channel(&peer, 5));
    peer_send(&peer, 5, 3, true);
    assert_said(&peer, "OPENED(3) OPENED(5) DATA(5,3,fin)");
    peer.events[0] = '\0';
    put_stop(&peer, 1, CODE_CANCEL); /* not answered yet: this is the answer */
    put_stop(&peer, 3, CODE_NO_PROGRESS);
    put_stop(&peer, 5, CODE_CANCEL); /* crossed with the end */
    put_reset(&peer, 7, CODE_CANCEL, 0);
    assert_events(&peer, "stopped(1,cancel) stopped(3,no_progress) reset(7,cancel)");
    assert_said(&peer, "REFUSED(1,cancel) RESET(3,no_progress,0)");
    put_data(&peer, 1, 0, true); /* it had sent this before: not told */
    put_data(&peer, 3, 0, true);
    assert_events(&peer, "fin(3)");
    channel_accept(peer_channel(&peer, 1)); /* too late */
    channel_accept(peer_channel(&peer, 7));
    assert_said(&peer, "OPENED(7)");
    peer_stop(&peer);
}

/* What comes after a release is nobody's; the STOP that was not needed is not sent. */
static void test_after_release(void **state)
{
    (void)state;
    peer_start(&peer, SESSION_CLIENT);
    peer_open(&peer, "kms");
    peer_said(&peer);
    put_opened(&peer, 1);
    put_data(&peer, 1, 10, false);
    peer.events[0] = '\0';
    peer_release(&peer, 1);
    put_u64(&peer, FRAME_MAX_STREAM_DATA, 1, 90000);
    put_data(&peer, 1, 10, true);
    assert_events(&peer, "");
    assert_said(&peer, "RESET(1,cancel,0)");
    assert_int_equal(peer.session->consumed, 20);
    assert_int_equal(peer.session->table.count, 0);
    put_u64(&peer, FRAME_MAX_STREAM_DATA, 1, 91000); /* late: let pass */
    put_stop(&peer, 1, CODE_CANCEL);
    assert_false(session_is_over(peer.session));

    peer_open(&peer, "kms"); /* released before the answer, which comes */
    peer_said(&peer);
    peer_release(&peer, 3);
    put_opened(&peer, 3);
    assert_said(&peer, "STOP(3,cancel) RESET(3,cancel,0)");
    put_stop(&peer, 3, CODE_CANCEL);
    put_reset(&peer, 3, CODE_CANCEL, 0);
    assert_events(&peer, "");
    assert_int_equal(peer.session->table.count, 0);
    peer_stop(&peer);
}

static void test_timers(void **state)
{
    (void)state;
    peer_start(&peer, SESSION_CLIENT);
    peer_open(&peer, "slow");
    peer_said(&peer);
    peer_wait(&peer, 29999, true);
    assert_int_equal(peer_channel(&peer, 1)->timer, TIMER_OPEN);
    peer.events[0] = '\0';
    session_tick(peer.session, peer.now += 1);
    assert_events(&peer, "failed(1,open_timeout)");
    peer.said[0] = '\0';
    session_tick(peer.session, peer.now);
    assert_said(&peer, "PING STOP(1,open_timeout) RESET(1,open_timeout,0)");
    put_refused(&peer, 1, CODE_OPEN_TIMEOUT); /* no other event */
    assert_events(&peer, "");
    peer_stop(&peer);

    /* nobody takes: neither the peer, nor we */
    peer_start(&peer, SESSION_CLIENT);
    peer_open(&peer, "kms");
    peer_open(&peer, "kms");
    peer_said(&peer);
    put_opened(&peer, 1);
    put_opened(&peer, 3);
    peer_send(&peer, 1, 20000, true);
    put_data(&peer, 3, 10, false);
    peer_said(&peer);
    peer_wait(&peer, 200000, true);
    channel_consumed(peer_channel(&peer, 3), 5); /* progress */
    peer_wait(&peer, 99999, true);
    peer.events[0] = '\0';
    session_tick(peer.session, peer.now += 1);
    assert_events(&peer, "failed(1,no_progress)");
    assert_said(&peer, "PING STOP(1,no_progress) RESET(1,no_progress,10000)");
    put_pong(&peer);
    put_data(&peer, 1, 0, true);
    peer_wait(&peer, 199999, true);
    peer.events[0] = '\0';
    session_tick(peer.session, peer.now += 1);
    assert_events(&peer, "failed(3,no_progress)");
    peer_stop(&peer);

    /* one half is over, and the other rests */
    peer_start(&peer, SESSION_SERVER);
    put_open(&peer, 1, "kms");
    channel_accept(peer_channel(&peer, 1));
    put_data(&peer, 1, 0, true);
    peer_send(&peer, 1, 5, false);
    peer_said(&peer);
    peer_wait(&peer, 299999, true);
    peer.events[0] = '\0';
    session_tick(peer.session, peer.now += 1);
    assert_events(&peer, "failed(1,half_closed_timeout)");
    assert_said(&peer, "PING RESET(1,half_closed_timeout,5)");
    peer_release(&peer, 1);
    peer_stop(&peer);

    /* none of these */
    peer_config(&peer, SESSION_SERVER);
    peer.config.progress_timeout = peer.config.half_closed_timeout = 0;
    peer_new(&peer);
    put_preface(&peer);
    put_hello(&peer);
    peer_said(&peer);
    put_pong(&peer);
    put_open(&peer, 1, "kms");
    put_data(&peer, 1, 5, true);
    peer_open(&peer, "back");
    peer_open(&peer, "back");
    peer_open(&peer, "back");
    for (uint32_t id = 2; id <= 6; id += 2) {
        peer_send(&peer, id, 10000, true);
    }
    peer_said(&peer);
    for (uint32_t id = 2; id <= 6; id += 2) {
        put_opened(&peer, id);
    }
    peer.events[0] = '\0';
    peer_wait(&peer, 100000, true);
    assert_null(strstr(peer.events, "failed"));
    assert_null(strstr(peer.events, "ended"));
    peer_stop(&peer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_opener),        cmocka_unit_test(test_acceptor),
        cmocka_unit_test(test_refusing),      cmocka_unit_test(test_long_message),
        cmocka_unit_test(test_refused),       cmocka_unit_test(test_unknown_kind),
        cmocka_unit_test(test_known_kind),    cmocka_unit_test(test_giving_up),
        cmocka_unit_test(test_peer_gives_up), cmocka_unit_test(test_after_release),
        cmocka_unit_test(test_timers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
