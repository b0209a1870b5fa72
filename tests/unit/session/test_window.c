/* Windows: the reserve, growth, shares, and what comes back when. */
#include "peer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct peer peer;

/* Each stream's reserve is 4096, 16384 are shared, and one takes half of that at most. */
static void start(void)
{
    peer_start(&peer, SESSION_SERVER);
    for (uint32_t id = 1; id <= 7; id += 2) {
        put_open(&peer, id, "k");
    }
    peer_said(&peer);
    peer.events[0] = '\0';
}

static void pass(uint32_t id, size_t bytes)
{
    put_data(&peer, id, bytes, false);
    channel_consumed(peer_channel(&peer, id), bytes);
}

static uint32_t window(uint32_t id)
{
    return peer_channel(&peer, id)->window;
}

static void test_growth(void **state)
{
    (void)state;
    start();
    assert_int_equal(peer.session->reserve, 4096);
    assert_int_equal(peer.session->shared, 16384);
    pass(1, 2047);
    assert_said(&peer, "");
    pass(1, 1);
    assert_said(&peer, "MAX_STREAM_DATA(1,10240)"); /* 2048 + twice 4096 */
    pass(1, 4096);
    assert_said(&peer, "MAX_STREAM_DATA(1,18432)"); /* 6144 + 12288: half of what is shared */
    peer.now += 100;
    pass(1, 8192);
    pass(1, 1024);
    assert_said(&peer, "MAX_STREAM_DATA(1,27648)");
    peer_stop(&peer);
}

/* A window that lasts longer than two round trips does not hold the peer up. */
static void test_no_growth(void **state)
{
    (void)state;
    start();
    peer.session->rtt = 50;
    session_set_now(peer.session, peer.now += 101);
    pass(1, 3072);
    assert_said(&peer, "MAX_STREAM_DATA(1,7168)");
    session_set_now(peer.session, peer.now += 100);
    pass(1, 2048);
    assert_said(&peer, "MAX_STREAM_DATA(1,13312)");
    peer_stop(&peer);
}

/* Who used half of the window slowly has time: until a quarter is left, the grant waits for something to go along with. */
static void test_a_grant_that_can_wait(void **state)
{
    (void)state;
    start();
    session_set_now(peer.session, peer.now += 1000);
    pass(1, 2048);
    pass(1, 1023);
    assert_said(&peer, "");
    pass(1, 1);
    assert_said(&peer, "MAX_STREAM_DATA(1,7168)");
    peer_stop(&peer);
}

static void test_a_grant_goes_along(void **state)
{
    (void)state;
    start();
    for (uint32_t id = 1; id <= 3; id += 2) {
        channel_accept(peer_channel(&peer, id));
    }
    peer_said(&peer);
    session_set_now(peer.session, peer.now += 1000);
    pass(1, 2047);
    peer_send(&peer, 1, 5, false);
    assert_said(&peer, "DATA(1,5)"); /* half of it is not used yet */
    pass(1, 1);
    peer_send(&peer, 3, 5, false);
    assert_said(&peer, "DATA(3,5)"); /* another stream's */
    peer_send(&peer, 1, 5, false);
    assert_said(&peer, "MAX_STREAM_DATA(1,6144) DATA(1,5)");
    peer_send(&peer, 1, 5, false);
    assert_said(&peer, "DATA(1,5)");
    peer_stop(&peer);
}

/* Where there is room for one of them, it is the DATA's. */
static void test_no_room_for_a_grant_to_go_along(void **state)
{
    (void)state;
    start();
    channel_accept(peer_channel(&peer, 1));
    peer_said(&peer);
    session_set_now(peer.session, peer.now += 1000);
    pass(1, 2048);
    peer.send_size = SESSION_SEND_MIN;
    peer_send(&peer, 1, SESSION_SEND_MIN, false);
    assert_null(strstr(peer_said(&peer), "DATA(1,0)"));
    peer_stop(&peer);
}

static void put_much(uint32_t id, size_t bytes)
{
    for (; bytes > 8192; bytes -= 8192) {
        put_data(&peer, id, 8192, false);
    }
    put_data(&peer, id, bytes, false);
}

static void use_half(struct channel *channel)
{
    size_t half = window(1) / 2;

    put_much(1, half);
    channel_consumed(channel, half);
    peer_said(&peer);
}

/* A stream whose window was let grow to 1 MiB. */
static struct channel *start_large(void)
{
    struct channel *channel;

    peer_config(&peer, SESSION_SERVER);
    peer.config.budget = 16U << 20; /* each stream's reserve is 64 KiB, nearly 12 MiB are shared */
    peer_new(&peer);
    put_preface(&peer);
    put_hello(&peer);
    put_open(&peer, 1, "k");
    peer_said(&peer);
    channel = peer_channel(&peer, 1);
    while (window(1) < 1U << 20) {
        use_half(channel);
    }
    assert_int_equal(window(1), 1U << 20);
    return channel;
}

/* More would not be under way any sooner. */
static void test_as_much_as_a_round_trip_takes(void **state)
{
    struct channel *channel;

    (void)state;
    channel = start_large();
    use_half(channel);
    assert_int_equal(window(1), 1U << 20);
    peer.session->rtt_least = 3;
    use_half(channel);
    assert_int_equal(window(1), 2U << 20);
    use_half(channel);
    assert_int_equal(window(1), 3U << 20);
    peer.session->rtt_least = 1000;
    for (unsigned i = 0; i < 4; i++) {
        use_half(channel);
    }
    assert_int_equal(window(1), peer.session->shared / 2 + peer.session->reserve);
    peer_stop(&peer);
}

/* A long wait for an answer may be one for what was sent before the question. */
static void test_shortest_round_trip(void **state)
{
    (void)state;
    start();
    assert_int_equal(peer.session->rtt_least, 0);
    peer.session->rtt_least = 7;
    for (unsigned ms = 9; ms >= 5; ms -= 4) {
        assert_true(session_ping(peer.session));
        peer_said(&peer);
        peer.now += ms;
        put_pong(&peer);
        assert_int_equal(peer.session->rtt, ms);
        assert_int_equal(peer.session->rtt_least, ms < 7 ? ms : 7);
    }
    peer_stop(&peer);
}

/* Whose application holds much already is not sent more at once, however soon half of the window was gone; rather less. */
static void test_application_behind(void **state)
{
    struct channel *channel;

    (void)state;
    channel = start_large();
    put_much(1, (1U << 19) + 262145);
    channel_consumed(channel, 1U << 19);
    assert_said(&peer, ""); /* half of the smaller one is not used yet */
    assert_int_equal(window(1), 1U << 19);
    channel_consumed(channel, 1);
    assert_null(strstr(peer_said(&peer), "MAX_STREAM_DATA(1,"));
    put_much(1, 262143);
    channel_consumed(channel, 262144);
    assert_non_null(strstr(peer_said(&peer), "MAX_STREAM_DATA(1,"));
    assert_int_equal(window(1), 1U << 20);
    peer_stop(&peer);
}

/* But not to where it is of no harm to be behind. */
static void test_least_of_one_behind(void **state)
{
    struct channel *channel;

    (void)state;
    channel = start_large();
    for (unsigned i = 0; i < 6; i++) {
        uint64_t credit = channel->receive_max - channel->received;
        put_much(1, (size_t)credit);
        channel_consumed(channel, (size_t)(channel->received - channel->consumed) - 262145);
        peer_said(&peer);
    }
    assert_int_equal(window(1), 1U << 19);
    assert_false(session_is_over(peer.session));
    peer_stop(&peer);
}

/* Two take all there is; a third comes, and they give way; nobody is below the reserve. */
static void test_shares(void **state)
{
    (void)state;
    start();
    for (unsigned i = 0; i < 4; i++) {
        pass(1, window(1) / 2);
        peer_said(&peer);
        pass(3, window(3) / 2);
        peer_said(&peer);
    }
    assert_true(peer.session->shared_given > 8000);
    for (unsigned i = 0; i < 20; i++) {
        for (uint32_t id = 1; id <= 5; id += 2) {
            uint64_t credit = peer_channel(&peer, id)->receive_max - peer_channel(&peer, id)->received;
            pass(id, credit < 8192 ? (size_t)credit : 8192);
            peer_said(&peer);
        }
        assert_true(peer.session->shared_given <= peer.session->shared);
    }
    assert_true(window(1) >= 4096 && window(3) >= 4096 && window(5) > 4096);
    assert_int_equal(window(7), 4096);
    peer_stop(&peer);
}

/* Three streams stand still with all they were given; the fourth goes on for as long as it likes. */
static void test_no_starvation(void **state)
{
    (void)state;
    start();
    for (unsigned i = 0; i < 4; i++) {
        pass(1, window(1) / 2);
        peer_said(&peer);
        pass(3, window(3) / 2);
        peer_said(&peer);
    }
    for (uint32_t id = 1; id <= 5; id += 2) {
        while (peer_channel(&peer, id)->receive_max > peer_channel(&peer, id)->received) {
            uint64_t left = peer_channel(&peer, id)->receive_max - peer_channel(&peer, id)->received;
            put_data(&peer, id, left < 8192 ? (size_t)left : 8192, false);
        }
    }
    for (unsigned i = 0; i < 1000; i++) {
        uint64_t credit = peer_channel(&peer, 7)->receive_max - peer_channel(&peer, 7)->received;
        assert_true(credit >= 2048);
        pass(7, credit < 8192 ? (size_t)credit : 8192);
        peer_said(&peer);
    }
    assert_false(session_is_over(peer.session));
    peer_stop(&peer);
}

/* What is over gives back what it had of the shared part, but for what is still held. */
static void test_giving_back(void **state)
{
    struct channel *channel;

    (void)state;
    start();
    pass(1, 2048);
    peer_said(&peer);
    pass(1, 4096);
    peer_said(&peer);
    channel = peer_channel(&peer, 1);
    assert_int_equal(peer.session->shared_given, 8192);
    put_data(&peer, 1, 6000, true);
    assert_int_equal(channel->window, 6000);
    assert_int_equal(peer.session->shared_given, 1904);
    channel_consumed(channel, 5000);
    assert_int_equal(peer.session->shared_given, 0);
    assert_int_equal(peer.session->holders, 0);
    channel_release(channel);
    assert_int_equal(peer.session->consumed, 12144);
    peer_stop(&peer);
}

/* The session's credit is told by quarters of the budget. */
static void test_session_credit(void **state)
{
    (void)state;
    start();
    session_set_now(peer.session, peer.now += 1000);
    for (unsigned i = 0; i < 7; i++) {
        pass(1, 2048);
        peer_said(&peer);
        assert_null(strstr(peer.said, "MAX_DATA"));
        session_set_now(peer.session, peer.now += 1000);
    }
    pass(1, 2048);
    assert_said(&peer, "MAX_DATA(81920) MAX_STREAM_DATA(1,20480)");
    peer_stop(&peer);
}

/* A grant that was owed and is not due any more, since the window gave way, is not sent. */
static void test_grant_gone(void **state)
{
    struct channel *channel;

    (void)state;
    start();
    pass(1, 2048);
    peer_said(&peer);
    pass(1, 4096);
    peer_said(&peer);
    channel = peer_channel(&peer, 1);
    assert_int_equal(channel->window, 12288);
    peer.session->shared_given += 8192; /* somebody took the rest */
    peer.session->holders += 5;
    pass(1, 6144);
    assert_said(&peer, "");
    assert_int_equal(channel->window, 6144);
    pass(1, 3072);
    peer.session->shared_given -= 8192;
    peer.session->holders -= 5;
    session_set_now(peer.session, peer.now += 1000);
    assert_said(&peer, "MAX_STREAM_DATA(1,21504)");
    peer_stop(&peer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_growth),
        cmocka_unit_test(test_no_growth),
        cmocka_unit_test(test_a_grant_that_can_wait),
        cmocka_unit_test(test_a_grant_goes_along),
        cmocka_unit_test(test_no_room_for_a_grant_to_go_along),
        cmocka_unit_test(test_as_much_as_a_round_trip_takes),
        cmocka_unit_test(test_shortest_round_trip),
        cmocka_unit_test(test_application_behind),
        cmocka_unit_test(test_least_of_one_behind),
        cmocka_unit_test(test_shares),
        cmocka_unit_test(test_no_starvation),
        cmocka_unit_test(test_giving_back),
        cmocka_unit_test(test_session_credit),
        cmocka_unit_test(test_grant_gone),
    };

    return cmocka_run_group_tests_name("window", tests, NULL, NULL);
}
