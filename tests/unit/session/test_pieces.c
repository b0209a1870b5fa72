/* What is sent from where it lies. */
#include "peer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define PIECES 9

static struct peer peer;
static uint8_t buffer[65536];
static struct iovec pieces[PIECES];
static size_t count;

static void open_one(uint32_t id)
{
    peer_open(&peer, "k");
    peer_said(&peer);
    put_opened(&peer, id);
    put_u64(&peer, FRAME_MAX_STREAM_DATA, id, 1 << 20);
}

static void send(uint32_t id, size_t bytes)
{
    peer_place(&peer, id)->to_send = bytes;
    if (bytes > 0) {
        channel_ready(peer_channel(&peer, id));
    }
}

/* Streams 1 and 3, the first of which lends. */
static void start(size_t first, size_t second)
{
    peer_start(&peer, SESSION_CLIENT);
    put_u64(&peer, FRAME_MAX_DATA, 0, 1 << 30);
    peer.session->peer.max_payload = FRAME_PAYLOAD_MAX;
    open_one(1);
    open_one(3);
    peer_place(&peer, 1)->lends = true;
    send(1, first);
    send(3, second);
}

static size_t say(size_t size, size_t room)
{
    count = room;
    return session_send_pieces(peer.session, peer.now, buffer, size, pieces, &count);
}

/* A piece is told by where it is and how long. */
static void assert_piece(size_t i, const void *at, size_t length)
{
    assert_true(i < count);
    assert_ptr_equal(pieces[i].iov_base, at);
    assert_int_equal(pieces[i].iov_len, length);
}

static void assert_header(const uint8_t *at, uint8_t flags, uint32_t stream, size_t length)
{
    const uint8_t expected[FRAME_HEADER] = {FRAME_DATA, flags, (uint8_t)(length >> 8), (uint8_t)length, 0,
                                            0,          0,     (uint8_t)stream};

    assert_memory_equal(at, expected, FRAME_HEADER);
}

static void test_headers_and_what_is_lent(void **state)
{
    (void)state;
    start(100000, 0);
    peer_place(&peer, 1)->fin = true;
    assert_int_equal(say(65536, PIECES), 65536);
    assert_int_equal(count, 2);
    assert_piece(0, buffer, FRAME_HEADER);
    assert_piece(1, peer_lent, 65528);
    assert_header(buffer, 0, 1, 65528);
    assert_int_equal(say(65536, PIECES), FRAME_HEADER + 34472);
    assert_int_equal(count, 2);
    assert_header(buffer, FRAME_FIN, 1, 34472);
    assert_int_equal(channel_bytes_sent(peer_channel(&peer, 1)), 100000);
    assert_false(session_has_output(peer.session));
    peer_stop(&peer);
}

/* What is lent counts, so that no write is longer than it may be. */
static void test_bound(void **state)
{
    (void)state;
    start(100000, 0);
    assert_int_equal(say(20000, PIECES), 20000);
    assert_piece(1, peer_lent, 20000 - FRAME_HEADER);
    peer_stop(&peer);

    start(16384, 100000);
    assert_int_equal(say(20000, PIECES), 20000);
    assert_int_equal(count, 3);
    assert_piece(1, peer_lent, 16384);
    assert_piece(2, buffer + FRAME_HEADER, 20000 - 16384 - FRAME_HEADER);
    peer_stop(&peer);
}

/* What does not lend lies in the buffer, with whatever is beside it there. */
static void test_between_others(void **state)
{
    (void)state;
    start(30000, 1000);
    put_frame(&peer, FRAME_PING, 0, 0, "12345678", 8);
    assert_int_equal(say(65536, PIECES), 16 + 3 * FRAME_HEADER + 31000);
    assert_int_equal(count, 4);
    assert_piece(0, buffer, 16 + FRAME_HEADER); /* PONG */
    assert_piece(1, peer_lent, 16384);
    assert_piece(2, buffer + 16 + FRAME_HEADER, FRAME_HEADER + 1000 + FRAME_HEADER);
    assert_piece(3, peer_lent, 13616);
    assert_header(buffer + 16 + FRAME_HEADER, 0, 3, 1000);
    peer_stop(&peer);
}

/* Without room to say where bytes lie they are copied. */
static void test_too_few_pieces(void **state)
{
    (void)state;
    start(100000, 0);
    assert_int_equal(say(65536, 2), 65536);
    assert_int_equal(count, 1);
    assert_piece(0, buffer, 65536);
    peer_stop(&peer);

    start(100000, 1000);
    peer.session->peer.max_payload = 8192;
    assert_int_equal(say(65536, 4), 65536);
    assert_int_equal(count, 3);
    assert_piece(1, peer_lent, 8192);
    assert_piece(2, buffer + FRAME_HEADER, 65536 - 8192 - FRAME_HEADER);
    peer_stop(&peer);
}

/* Where one buffer is to hold all, nobody is asked. */
static void test_one_buffer(void **state)
{
    (void)state;
    start(1000, 0);
    assert_int_equal(session_send(peer.session, peer.now, buffer, sizeof(buffer)), FRAME_HEADER + 1000);
    assert_int_equal(buffer[FRAME_HEADER], 'd');
    count = PIECES;
    assert_int_equal(say(65536, PIECES), 0);
    assert_int_equal(count, 0);
    peer_stop(&peer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_headers_and_what_is_lent),
        cmocka_unit_test(test_bound),
        cmocka_unit_test(test_between_others),
        cmocka_unit_test(test_too_few_pieces),
        cmocka_unit_test(test_one_buffer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
