/* Payload that goes past the session: who may have it, and that the books are those of what was received. */
#include "peer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static struct peer peer;

static void start(void)
{
    peer_start(&peer, SESSION_SERVER);
    put_open(&peer, 1, "k");
    channel_accept(peer_channel(&peer, 1));
    peer_said(&peer);
    peer.events[0] = '\0';
}

static void put_header(uint32_t id, uint16_t length, uint8_t flags)
{
    uint8_t header[FRAME_HEADER];

    frame_encode_header(header, (struct frame_header){FRAME_DATA, flags, length, id});
    put_bytes(&peer, header, sizeof(header));
}

static size_t expects(void)
{
    struct channel *channel;
    size_t left = session_expects(peer.session, &channel);

    assert_true((left > 0) == (channel != NULL));
    if (left > 0) {
        assert_ptr_equal(channel, peer_channel(&peer, 1));
    }
    return left;
}

static void test_between_frames_nothing_is_expected(void **state)
{
    (void)state;
    start();
    assert_int_equal(expects(), 0);
    put_data(&peer, 1, 10, false);
    assert_int_equal(expects(), 0);
    peer_stop(&peer);
}

/* In any mixture with what is received, a frame is a frame. */
static void test_what_is_skipped_counts_as_received(void **state)
{
    uint8_t bytes[100];
    struct session_stats stats;
    (void)state;
    start();
    memset(bytes, 'd', sizeof(bytes));
    put_header(1, 300, 0);
    assert_int_equal(expects(), 300);
    session_skip(peer.session, peer.now, 100);
    assert_int_equal(expects(), 200);
    put_bytes(&peer, bytes, 100);
    assert_int_equal(expects(), 100);
    session_skip(peer.session, peer.now, 100);
    assert_int_equal(expects(), 0);
    assert_events(&peer, "data(1,100)");
    assert_int_equal(channel_bytes_received(peer_channel(&peer, 1)), 300);
    assert_int_equal(channel_bytes_held(peer_channel(&peer, 1)), 300);
    session_stats(peer.session, &stats);
    assert_int_equal(stats.bytes_received, 300);
    assert_int_equal(stats.held, 300);
    put_data(&peer, 1, 5, true);
    assert_events(&peer, "data(1,5) fin(1)");
    peer_stop(&peer);
}

/* The credit for it comes when it is consumed, and not before. */
static void test_credit_comes_with_consumption(void **state)
{
    (void)state;
    start();
    put_header(1, 2048, 0);
    session_skip(peer.session, peer.now, 2048);
    assert_said(&peer, "");
    channel_consumed(peer_channel(&peer, 1), 2048);
    assert_said(&peer, "MAX_STREAM_DATA(1,10240)");
    peer_stop(&peer);
}

/* The header was judged, so what it breaks is found before anything goes past. */
static void test_a_header_that_breaks_a_rule(void **state)
{
    (void)state;
    start();
    put_header(1, 5000, 0); /* 4096 are allowed */
    assert_int_equal(expects(), 0);
    assert_int_equal(peer.session->end.code, CODE_FLOW_CONTROL);
    peer_stop(&peer);
}

static void test_the_last_frame_is_received(void **state)
{
    (void)state;
    start();
    put_header(1, 300, FRAME_FIN);
    assert_int_equal(expects(), 0);
    peer_stop(&peer);
}

static void test_other_frames_are_received(void **state)
{
    uint8_t header[FRAME_HEADER];
    (void)state;
    start();
    frame_encode_header(header, (struct frame_header){FRAME_OPEN, 0, 20, 3});
    put_bytes(&peer, header, sizeof(header));
    assert_int_equal(expects(), 0);
    peer_stop(&peer);
}

/* Whoever wants no more does not get it past the session, either. */
static void test_nobody_wants_it(void **state)
{
    (void)state;
    start();
    put_header(1, 300, 0);
    session_skip(peer.session, peer.now, 100);
    channel_stop(peer_channel(&peer, 1), CODE_CANCEL);
    assert_int_equal(expects(), 0);
    peer_stop(&peer);

    start();
    put_header(1, 300, 0);
    session_skip(peer.session, peer.now, 100);
    peer_release(&peer, 1);
    assert_int_equal(expects(), 0);
    peer_stop(&peer);
}

/* The clock of a frame that is not whole goes on while it is skipped, and stops with its last byte. */
static void test_a_frame_has_its_time(void **state)
{
    (void)state;
    start();
    put_header(1, 300, 0);
    uint64_t since = peer.session->frame_since;
    assert_true(since != SESSION_NEVER);
    session_skip(peer.session, peer.now += 5, 299);
    assert_int_equal(peer.session->frame_since, since);
    session_skip(peer.session, peer.now, 1);
    assert_true(peer.session->frame_since == SESSION_NEVER);
    peer_stop(&peer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_between_frames_nothing_is_expected),
        cmocka_unit_test(test_what_is_skipped_counts_as_received),
        cmocka_unit_test(test_credit_comes_with_consumption),
        cmocka_unit_test(test_a_header_that_breaks_a_rule),
        cmocka_unit_test(test_the_last_frame_is_received),
        cmocka_unit_test(test_other_frames_are_received),
        cmocka_unit_test(test_nobody_wants_it),
        cmocka_unit_test(test_a_frame_has_its_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
