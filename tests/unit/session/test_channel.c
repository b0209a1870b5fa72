/* Streams: opening and answering, both directions and their ends, credit, turns, timers. */
#include "peer.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct peer peer;

static void send(uint32_t id, uint64_t bytes, bool fin)
{
    struct peer_channel *place = peer_place(&peer, id);

    place->to_send = bytes;
    place->fin = fin;
    channel_ready(place->channel);
}

static void release(uint32_t id)
{
    peer_release(&peer, id);
}

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
    send(1, 5, false);
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
    send(1, 0, true);
    assert_said(&peer, "DATA(1,0,fin)");
    assert_true(channel_sending_over(channel));
    channel_ready(channel);
    channel_reset(channel, CODE_CANCEL);
    assert_said(&peer, "");
    release(1);
    assert_int_equal(peer.session->table.count, 0);
    peer_stop(&peer);
}

static void test_acceptor(void **state)
{
    (void)state;
    peer_start(&peer, SESSION_SERVER);
    put_open(&peer, 1, "kms");
    send(1, 5, true);
    put_data(&peer, 1, 3, true);
    assert_said(&peer, ""); /* nothing before the answer */
    channel_accept(peer_channel(&peer, 1));
    channel_accept(peer_channel(&peer, 1));
    channel_refuse(peer_channel(&peer, 1), CODE_CANCEL, NULL, false);
    assert_said(&peer, "OPENED(1) DATA(1,5,fin)");
    assert_events(&peer, "open(1,kms) data(1,3) fin(1)");
    release(1);
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
    release(1);
    release(3);
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
    send(1, 5, false);
    send(3, 5, true);
    peer_said(&peer);
    put_refused(&peer, 1, CODE_CANCEL);
    put_refused(&peer, 3, code_of_reason(REASON_DENIED_ROUTE));
    assert_events(&peer, "refused(1,cancel,no,retryable) refused(3,denied_route,no,retryable)");
    assert_said(&peer, "RESET(1,cancel,5)"); /* the other said FIN */
    release(1);
    release(3);
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

/* Each way to give up a stream, on either side, before and after the answer. */
static void test_giving_up(void **state)
{
    (void)state;
    peer_start(&peer, SESSION_CLIENT);
    peer_open(&peer, "kms");
    release(1); /* before OPEN is out: it must come all the same, since ids leave no gap */
    assert_said(&peer, "OPEN(1,kms) STOP(1,cancel) RESET(1,cancel,0)");
    put_refused(&peer, 1, CODE_CANCEL);
    assert_int_equal(peer.session->table.count, 0);
    peer_open(&peer, "kms");
    peer_said(&peer);
    put_opened(&peer, 3);
    send(3, 7, false);
    channel_stop(peer_channel(&peer, 3), CODE_NO_PROGRESS);
    channel_stop(peer_channel(&peer, 3), CODE_CANCEL);
    assert_said(&peer, "STOP(3,no_progress) DATA(3,7)");
    put_data(&peer, 3, 9, false);
    put_reset(&peer, 3, CODE_NO_PROGRESS, 9); /* asked for: not told */
    channel_reset(peer_channel(&peer, 3), CODE_CANCEL);
    assert_said(&peer, "RESET(3,cancel,7)");
    assert_events(&peer, "opened(3)");
    release(3);
    assert_int_equal(peer.session->table.count, 0);
    peer_stop(&peer);

    peer_start(&peer, SESSION_SERVER);
    put_open(&peer, 1, "kms");
    put_open(&peer, 3, "kms");
    put_open(&peer, 5, "kms");
    release(1);
    channel_reset(peer_channel(&peer, 3), CODE_INTERNAL);
    channel_stop(peer_channel(&peer, 5), CODE_CALM);
    assert_said(&peer, "REFUSED(1,cancel) REFUSED(3,internal_error) REFUSED(5,calm)");
    peer_stop(&peer);
}

static void test_peer_gives_up(void **state)
{
    (void)state;
    peer_start(&peer, SESSION_SERVER);
    for (uint32_t id = 1; id <= 7; id += 2)
        put_open(&peer, id, "kms");
    channel_accept(peer_channel(&peer, 3));
    channel_accept(peer_channel(&peer, 5));
    send(5, 3, true);
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
    release(1);
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
    release(3);
    put_opened(&peer, 3);
    assert_said(&peer, "STOP(3,cancel) RESET(3,cancel,0)");
    put_stop(&peer, 3, CODE_CANCEL);
    put_reset(&peer, 3, CODE_CANCEL, 0);
    assert_events(&peer, "");
    assert_int_equal(peer.session->table.count, 0);
    peer_stop(&peer);
}

static void test_streams_credit(void **state)
{
    struct control_open open = {.route = control_text("kms")};
    struct channel *channel;

    (void)state;
    peer_start(&peer, SESSION_CLIENT);
    peer.session->config.max_own_streams = 4;
    for (unsigned i = 0; i < 3; i++)
        peer_open(&peer, "kms");
    assert_int_equal(session_open(peer.session, &open, NULL, &channel), -EAGAIN);
    peer_said(&peer);
    put_u32(&peer, FRAME_MAX_STREAMS, 0, 10);
    assert_events(&peer, "streams");
    peer_open(&peer, "kms");
    assert_int_equal(session_open(peer.session, &open, NULL, &channel), -EAGAIN); /* our own bound */
    peer_said(&peer);
    put_refused(&peer, 1, CODE_CANCEL);
    peer_said(&peer);
    assert_events(&peer, "refused(1,cancel,no,retryable)");
    release(1);
    assert_true(session_has_output(peer.session)); /* the news */
    assert_said(&peer, "");
    assert_events(&peer, "streams");
    peer_open(&peer, "kms");
    peer_stop(&peer);
}

/* Places come back by teardown, told when half of them are used. */
static void test_places(void **state)
{
    (void)state;
    peer_start(&peer, SESSION_SERVER); /* four at once */
    put_open(&peer, 1, "kms");
    put_reset(&peer, 1, CODE_CANCEL, 0);
    put_stop(&peer, 1, CODE_CANCEL);
    assert_said(&peer, "REFUSED(1,cancel)");
    release(1);
    assert_said(&peer, ""); /* three are left */
    put_open(&peer, 3, "kms");
    assert_said(&peer, "MAX_STREAMS(5)");
    put_open(&peer, 5, "kms");
    put_open(&peer, 7, "kms");
    put_open(&peer, 9, "kms");
    put_stop(&peer, 9, CODE_CANCEL);
    put_data(&peer, 9, 0, true);
    assert_said(&peer, "REFUSED(9,cancel)"); /* over, but not gone */
    release(9);
    assert_said(&peer, "MAX_STREAMS(6)");
    peer_stop(&peer);
}

static void test_stream_stall(void **state)
{
    (void)state;
    peer_start(&peer, SESSION_CLIENT);
    peer_open(&peer, "kms");
    send(1, 12000, true);
    assert_said(&peer, "OPEN(1,kms) DATA(1,10000)");
    assert_true(channel_stalled(peer_channel(&peer, 1)));
    assert_false(session_has_output(peer.session));
    put_u64(&peer, FRAME_MAX_STREAM_DATA, 1, 11000);
    assert_false(channel_stalled(peer_channel(&peer, 1)));
    assert_said(&peer, "DATA(1,1000)");
    put_u64(&peer, FRAME_MAX_STREAM_DATA, 1, 1 << 20);
    assert_said(&peer, "DATA(1,1000,fin)");
    put_u64(&peer, FRAME_MAX_STREAM_DATA, 1, 1 << 21); /* crossed with the end */
    assert_said(&peer, "");
    peer_stop(&peer);
}

static void test_session_stall(void **state)
{
    struct session_stats stats;

    (void)state;
    peer_start(&peer, SESSION_CLIENT);
    for (uint32_t id = 1; id <= 5; id += 2) {
        peer_open(&peer, "kms");
        send(id, 10000, true);
    }
    peer_said(&peer); /* 25000 in all */
    assert_false(session_has_output(peer.session));
    session_stats(peer.session, &stats);
    assert_int_equal(stats.session_stalls, 1);
    assert_int_equal(stats.bytes_sent, 25000);
    assert_int_equal(session_next_deadline(peer.session), peer.now + 15000);
    put_u64(&peer, FRAME_MAX_DATA, 0, 30000);
    assert_said(&peer, "DATA(5,5000,fin)");
    peer_stop(&peer);

    /* What waited is given up: then nothing waits any more. */
    peer_start(&peer, SESSION_CLIENT);
    for (uint32_t id = 1; id <= 5; id += 2) {
        peer_open(&peer, "kms");
        send(id, 10000, true);
    }
    peer_said(&peer);
    channel_reset(peer_channel(&peer, 5), CODE_CANCEL);
    for (uint32_t id = 1; id <= 5; id += 2)
        put_opened(&peer, id);
    peer_said(&peer);
    peer_wait(&peer, 200000, true);
    assert_int_equal(peer.session->blocked_since, SESSION_NEVER);
    peer_stop(&peer);
}

/* Turns of 16 KiB, whatever the frames are; a frame that is cut by the room for it goes on when there is room again. */
static void open_two(uint64_t bytes)
{
    peer_start(&peer, SESSION_CLIENT);
    put_u64(&peer, FRAME_MAX_DATA, 0, 1 << 30);
    for (uint32_t id = 1; id <= 3; id += 2) {
        peer_open(&peer, "kms");
        peer_said(&peer);
        put_opened(&peer, id);
        put_u64(&peer, FRAME_MAX_STREAM_DATA, id, 1 << 20);
    }
    send(1, bytes, true);
    send(3, bytes, true);
}

static void test_turns(void **state)
{
    (void)state;
    open_two(40000);
    peer.session->peer.max_payload = 8192;
    peer.send_size = 1 << 20;
    assert_said(&peer, "DATA(1,8192) DATA(1,8192) DATA(3,8192) DATA(3,8192) DATA(1,8192) DATA(1,8192) "
                       "DATA(3,8192) DATA(3,8192) DATA(1,7232,fin) DATA(3,7232,fin)");
    peer_stop(&peer);

    open_two(20000);
    peer.send_size = 16384 + 8 + 8 + 511; /* what is left is too little to begin a frame in */
    assert_said(&peer, "DATA(1,16384) DATA(3,16384) DATA(1,3616,fin) DATA(3,3616,fin)");
    peer_stop(&peer);

    open_two(20000);
    peer.send_size = 8192; /* the turn goes on where the room ended */
    assert_said(&peer,
                "DATA(1,8184) DATA(1,8184) DATA(1,16) DATA(3,8160) DATA(3,8184) DATA(3,40) DATA(1,3616,fin) "
                "DATA(3,3616,fin)");
    peer_stop(&peer);
}

static void test_control_first(void **state)
{
    (void)state;
    peer_start(&peer, SESSION_SERVER);
    peer_open(&peer, "back");
    peer_said(&peer);
    put_opened(&peer, 2);
    send(2, 3000, false);
    put_open(&peer, 1, "kms");
    channel_accept(peer_channel(&peer, 1));
    put_u64(&peer, FRAME_PING, 0, 9);
    session_ping(peer.session);
    assert_said(&peer, "PONG PING OPENED(1) DATA(2,3000)");
    peer_stop(&peer);
}

/* Each OPEN is large; they do not fit into one write, and none is lost. */
static void test_room_for_control(void **state)
{
    static char value[CONTROL_META_VALUE_MAX];
    struct control_open open = {.route = control_text("kms"), .meta_count = 3};
    struct channel *channel;

    (void)state;
    memset(value, 'v', sizeof(value));
    for (unsigned i = 0; i < 3; i++)
        open.meta[i] = (struct control_meta_entry){{&"abc"[i], 1}, {value, sizeof(value)}, false};
    peer_start(&peer, SESSION_CLIENT);
    peer.send_size = SESSION_SEND_MIN;
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(session_open(peer.session, &open, NULL, &channel), 0);
        peer.channels[i].channel = channel;
    }
    channel_reset(channel, CODE_CANCEL);
    assert_said(&peer, "OPEN(1,kms) OPEN(3,kms) OPEN(5,kms) RESET(5,cancel,0)");
    open.meta[1].key = open.meta[0].key; /* twice the same */
    peer_stop(&peer);

    peer_start(&peer, SESSION_CLIENT);
    assert_int_equal(session_open(peer.session, &open, NULL, &channel), -EINVAL);
    open.meta_count = 0;
    open.route = control_text("two\nlines");
    assert_int_equal(session_open(peer.session, &open, NULL, &channel), -EINVAL);
    open.route = control_text("");
    assert_int_equal(session_open(peer.session, &open, NULL, &channel), -EINVAL);
    peer_stop(&peer);
}

/* Frames of each kind that do not fit in what an OPENED, a STOP and so on left. */
static void crowd(size_t more_room)
{
    static uint8_t buffer[SESSION_SEND_MIN + 64];
    size_t total = 0, n;
    unsigned calls = 0;

    peer_config(&peer, SESSION_SERVER);
    peer.config.max_streams = 300;
    peer.config.budget = 4 << 20;
    peer_new(&peer);
    put_preface(&peer);
    put_hello(&peer);
    peer_said(&peer);
    put_pong(&peer);
    for (uint32_t id = 1; id < 600; id += 2) {
        put_open(&peer, id, "k");
        if (id % 10 == 1) {
            channel_refuse(peer_channel(&peer, id), CODE_CANCEL, id % 20 == 1 ? "because" : NULL, false);
            continue;
        }
        channel_accept(peer_channel(&peer, id));
        put_data(&peer, id, 4000, false);
        channel_consumed(peer_channel(&peer, id), 4000);
        if (id % 10 == 3)
            channel_stop(peer_channel(&peer, id), CODE_CANCEL);
        if (id % 10 == 5)
            channel_reset(peer_channel(&peer, id), CODE_CANCEL);
    }
    while ((n = session_send(peer.session, peer.now, buffer, SESSION_SEND_MIN + more_room)) > 0) {
        total += n;
        calls++;
    }
    assert_in_range(calls, 2, 10);
    /* 30 refusals with 24 or 16 bytes, 270 OPENED, 210 MAX_STREAM_DATA, 60 STOPs, 60 RESETs, and the session's own */
    assert_true(total > 270 * 9 + 210 * 16 + 60 * 12 + 60 * 20);
    assert_false(session_has_output(peer.session));
    peer_stop(&peer);
}

static void test_no_room(void **state)
{
    (void)state;
    for (size_t more_room = 0; more_room < 64; more_room++)
        crowd(more_room);
}

static void meddle(struct peer *p, struct channel *channel, const char *event)
{
    if (strcmp(event, "fill") != 0)
        return;
    struct peer_channel *place = peer_place(p, channel_id(channel));
    if (channel_id(channel) == 1)
        channel_reset(channel, CODE_INTERNAL);
    if (channel_id(channel) == 3)
        channel_ready(channel); /* while it is asked */
    if (channel_id(channel) == 5 && place->to_send == 0)
        place->more = false;
}

static void test_fill(void **state)
{
    (void)state;
    peer_start(&peer, SESSION_CLIENT);
    for (uint32_t id = 1; id <= 5; id += 2) {
        peer_open(&peer, "k");
        send(id, 10, false);
    }
    peer_place(&peer, 5)->more = true; /* says there is more, and there is not */
    peer.in_event = meddle;
    peer.send_size = 65536;
    channel_ready(peer_channel(&peer, 5));
    uint8_t buffer[SESSION_SEND_MIN];
    size_t n = session_send(peer.session, peer.now, buffer, sizeof(buffer));
    peer.in_event = NULL;
    assert_true(n > 0);
    /* 1 was reset before it sent; 3 sent, and rests as it said; 5 sent, said MORE without bytes, and rests */
    assert_int_equal(channel_bytes_sent(peer_channel(&peer, 1)), 0);
    assert_int_equal(channel_bytes_sent(peer_channel(&peer, 3)), 10);
    assert_int_equal(channel_bytes_sent(peer_channel(&peer, 5)), 10);
    assert_said(&peer, "RESET(1,internal_error,0)");
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
    send(1, 20000, true);
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
    send(1, 5, false);
    peer_said(&peer);
    peer_wait(&peer, 299999, true);
    peer.events[0] = '\0';
    session_tick(peer.session, peer.now += 1);
    assert_events(&peer, "failed(1,half_closed_timeout)");
    assert_said(&peer, "PING RESET(1,half_closed_timeout,5)");
    release(1);
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
    for (uint32_t id = 2; id <= 6; id += 2)
        send(id, 10000, true);
    peer_said(&peer);
    for (uint32_t id = 2; id <= 6; id += 2)
        put_opened(&peer, id);
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
        cmocka_unit_test(test_giving_up),     cmocka_unit_test(test_peer_gives_up),
        cmocka_unit_test(test_after_release), cmocka_unit_test(test_streams_credit),
        cmocka_unit_test(test_places),        cmocka_unit_test(test_stream_stall),
        cmocka_unit_test(test_session_stall), cmocka_unit_test(test_turns),
        cmocka_unit_test(test_control_first), cmocka_unit_test(test_room_for_control),
        cmocka_unit_test(test_no_room),       cmocka_unit_test(test_fill),
        cmocka_unit_test(test_timers),
    };

    return cmocka_run_group_tests_name("channel", tests, NULL, NULL);
}
