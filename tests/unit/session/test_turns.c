/* Streams beside each other: credit of each and of all, whose turn it is, and room that is short. */
#include "peer.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct peer peer;

static void test_streams_credit(void **state)
{
    struct control_open open = {.route = control_text("kms")};
    struct channel *channel;

    (void)state;
    peer_start(&peer, SESSION_CLIENT);
    peer.session->config.max_own_streams = 4;
    for (unsigned i = 0; i < 3; i++) {
        peer_open(&peer, "kms");
    }
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
    peer_release(&peer, 1);
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
    peer_release(&peer, 1);
    assert_said(&peer, ""); /* three are left */
    put_open(&peer, 3, "kms");
    assert_said(&peer, "MAX_STREAMS(5)");
    put_open(&peer, 5, "kms");
    put_open(&peer, 7, "kms");
    put_open(&peer, 9, "kms");
    put_stop(&peer, 9, CODE_CANCEL);
    put_data(&peer, 9, 0, true);
    assert_said(&peer, "REFUSED(9,cancel)"); /* over, but not gone */
    peer_release(&peer, 9);
    assert_said(&peer, "MAX_STREAMS(6)");
    peer_stop(&peer);
}

static void test_stream_stall(void **state)
{
    (void)state;
    peer_start(&peer, SESSION_CLIENT);
    peer_open(&peer, "kms");
    peer_send(&peer, 1, 12000, true);
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
        peer_send(&peer, id, 10000, true);
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
        peer_send(&peer, id, 10000, true);
    }
    peer_said(&peer);
    channel_reset(peer_channel(&peer, 5), CODE_CANCEL);
    for (uint32_t id = 1; id <= 5; id += 2) {
        put_opened(&peer, id);
    }
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
    peer_send(&peer, 1, bytes, true);
    peer_send(&peer, 3, bytes, true);
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
    peer_send(&peer, 2, 3000, false);
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
    for (unsigned i = 0; i < 3; i++) {
        open.meta[i] = (struct control_meta_entry){{&"abc"[i], 1}, {value, sizeof(value)}, false};
    }
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
        if (id % 10 == 3) {
            channel_stop(peer_channel(&peer, id), CODE_CANCEL);
        }
        if (id % 10 == 5) {
            channel_reset(peer_channel(&peer, id), CODE_CANCEL);
        }
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
    for (size_t more_room = 0; more_room < 64; more_room++) {
        crowd(more_room);
    }
}

static void meddle(struct peer *p, struct channel *channel, const char *event)
{
    if (strcmp(event, "fill") != 0) {
        return;
    }
    struct peer_channel *place = peer_place(p, channel_id(channel));
    if (channel_id(channel) == 1) {
        channel_reset(channel, CODE_INTERNAL);
    }
    if (channel_id(channel) == 3) {
        channel_ready(channel); /* while it is asked */
    }
    if (channel_id(channel) == 5 && place->to_send == 0) {
        place->more = false;
    }
}

static void test_fill(void **state)
{
    (void)state;
    peer_start(&peer, SESSION_CLIENT);
    for (uint32_t id = 1; id <= 5; id += 2) {
        peer_open(&peer, "k");
        peer_send(&peer, id, 10, false);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_streams_credit),
        cmocka_unit_test(test_places),
        cmocka_unit_test(test_stream_stall),
        cmocka_unit_test(test_session_stall),
        cmocka_unit_test(test_turns),
        cmocka_unit_test(test_control_first),
        cmocka_unit_test(test_room_for_control),
        cmocka_unit_test(test_no_room),
        cmocka_unit_test(test_fill),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
