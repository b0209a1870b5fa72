/* Channels that are finished by a call, streams that are alone, and input that waits. */
#include "peer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static struct peer peer;

/* A stream of the peer's, accepted. */
static struct channel *accepted(uint32_t id)
{
    put_open(&peer, id, "kms");
    channel_accept(peer_channel(&peer, id));
    peer_said(&peer);
    peer.events[0] = '\0';
    return peer_channel(&peer, id);
}

static void finish_in_fill(struct peer *p, struct channel *channel, const char *event)
{
    (void)p;
    if (strcmp(event, "fill") == 0) {
        channel_finish(channel);
    }
}

static void test_the_end_follows_what_was_given(void **state)
{
    (void)state;
    peer_start(&peer, SESSION_SERVER);
    channel_finish(accepted(1));
    assert_said(&peer, "DATA(1,0,fin)");
    assert_true(channel_sending_over(peer_channel(&peer, 1)));
    channel_finish(peer_channel(&peer, 1)); /* no more than once */
    assert_said(&peer, "");

    struct channel *channel = accepted(3);
    peer_place(&peer, 3)->to_send = 10;
    channel_ready(channel);
    peer.in_event = finish_in_fill;
    assert_said(&peer, "DATA(3,10,fin)");
    peer_stop(&peer);
}

static void release_in_fill(struct peer *p, struct channel *channel, const char *event)
{
    if (strcmp(event, "fill") == 0) {
        channel_finish(channel);
        peer_release(p, channel_id(channel));
    }
}

/* The end lives in the session when the channel's owner is gone. */
static void test_a_release_after_it_cancels_nothing(void **state)
{
    (void)state;
    peer_start(&peer, SESSION_SERVER);
    channel_finish(accepted(1));
    peer_release(&peer, 1);
    assert_said(&peer, "STOP(1,cancel) DATA(1,0,fin)");
    put_reset(&peer, 1, CODE_CANCEL, 0);
    assert_int_equal(peer.session->table.count, 0);

    channel_ready(accepted(3));
    peer_place(&peer, 3)->to_send = 10;
    put_data(&peer, 3, 0, true);
    peer.in_event = release_in_fill;
    assert_said(&peer, "DATA(3,10,fin)");
    assert_int_equal(peer.session->table.count, 0);
    peer.in_event = NULL;

    put_open(&peer, 5, "kms"); /* not answered yet */
    channel_finish(peer_channel(&peer, 5));
    assert_said(&peer, "MAX_STREAMS(6)");
    peer_release(&peer, 5);
    assert_said(&peer, "REFUSED(5,cancel)");
    peer_stop(&peer);
}

static void test_the_end_waits_for_no_credit(void **state)
{
    (void)state;
    peer_start(&peer, SESSION_SERVER);
    struct channel *channel = accepted(1);
    peer_place(&peer, 1)->to_send = 20000;
    channel_ready(channel);
    assert_said(&peer, "DATA(1,10000)");
    assert_true(channel_stalled(channel));
    channel_finish(channel); /* of what it has, nothing more */
    assert_false(channel_stalled(channel));
    assert_said(&peer, "DATA(1,0,fin)");
    peer_stop(&peer);
}

static void test_a_reset_is_stronger(void **state)
{
    (void)state;
    peer_start(&peer, SESSION_SERVER);
    channel_finish(accepted(1));
    channel_reset(peer_channel(&peer, 1), CODE_INTERNAL);
    assert_said(&peer, "RESET(1,internal_error,0)");
    channel_finish(accepted(3));
    put_stop(&peer, 3, CODE_CANCEL);
    assert_said(&peer, "RESET(3,cancel,0)");
    peer_stop(&peer);
}

/* With another one ready it takes turns, alone it fills frames. */
static void test_who_is_alone_sends_whole_frames(void **state)
{
    (void)state;
    peer_config(&peer, SESSION_SERVER);
    peer_new(&peer);
    put_preface(&peer);
    struct control_hello hello = {
        .version_min = 1,
        .version_max = 1,
        .role = 0,
        .max_payload = 65528,
        .max_streams = 3,
        .stream_window = 1u << 20,
        .session_window = 1u << 20,
        .ping_interval = 15000,
    };
    uint8_t bytes[100];
    put_frame(&peer, FRAME_HELLO, 0, 0, bytes, control_encode_hello(&hello, bytes, sizeof(bytes)));
    peer.send_size = 131072;
    peer_said(&peer);
    accepted(1);
    accepted(3);
    for (uint32_t id = 1; id <= 3; id += 2) {
        peer_place(&peer, id)->to_send = 40000;
        channel_ready(peer_channel(&peer, id));
    }
    assert_said(&peer, "DATA(1,16384) DATA(3,16384) DATA(1,16384) DATA(3,16384) DATA(1,7232) DATA(3,7232)");
    peer_place(&peer, 1)->to_send = 70000;
    channel_ready(peer_channel(&peer, 1));
    assert_said(&peer, "DATA(1,65528) DATA(1,4472)");
    peer_stop(&peer);
}

static void yield(struct peer *p, struct channel *channel, const char *event)
{
    (void)channel;
    (void)event;
    session_yield(p->session);
}

static void test_input_waits_when_an_event_says_so(void **state)
{
    static const uint8_t frames[] = {
        0x10, 0x00, 0x00, 0x06, 0, 0, 0, 1, 0xa1, 0x01, 0x63, 'k', 'm', 's', /* OPEN */
        0x10, 0x00, 0x00, 0x06, 0, 0, 0, 3, 0xa1, 0x01, 0x63, 'k', 'm', 's', /* OPEN */
        0xff,                                                                /* of the next one */
    };
    (void)state;
    peer_start(&peer, SESSION_SERVER);
    peer.in_event = yield;
    assert_int_equal(session_receive(peer.session, peer.now, frames, sizeof(frames)), 14);
    assert_events(&peer, "open(1,kms)");
    assert_int_equal(session_receive(peer.session, peer.now, frames + 14, sizeof(frames) - 14), 14);
    assert_events(&peer, "open(3,kms)");
    peer.in_event = NULL;
    session_yield(peer.session); /* outside of events it means nothing */
    assert_int_equal(session_receive(peer.session, peer.now, frames + 28, 1), 1);
    /* Who is over takes everything. */
    session_abort(peer.session, CODE_INTERNAL, "enough");
    assert_int_equal(session_receive(peer.session, peer.now, frames, sizeof(frames)), sizeof(frames));
    peer_stop(&peer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_end_follows_what_was_given),
        cmocka_unit_test(test_a_release_after_it_cancels_nothing),
        cmocka_unit_test(test_the_end_waits_for_no_credit),
        cmocka_unit_test(test_a_reset_is_stronger),
        cmocka_unit_test(test_who_is_alone_sends_whole_frames),
        cmocka_unit_test(test_input_waits_when_an_event_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
