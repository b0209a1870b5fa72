/*
 * Each rule of docs/protocol.md, broken once: what is sent, and what comes back. A rule without a row, and a row without a
 * rule, fail the test; so does a code that is not the document's.
 */
#include "document.h"
#include "peer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void control(struct peer *peer, uint8_t type, uint32_t stream, const char *bytes, size_t length)
{
    put_frame(peer, type, 0, stream, bytes, length);
}

#define CONTROL(peer, type, stream, bytes) control(peer, type, stream, bytes, sizeof(bytes) - 1)

/* The session under test is a server, and nothing has been said, in these. */
static void wrong_preface(struct peer *peer)
{
    put_bytes(peer, "GET / HTTP/1.1\r\n", 16);
}

static void wrong_preface_at_its_end(struct peer *peer)
{
    put_bytes(peer, "\xf0PSTN\n", 6);
}

static void ping_before_hello(struct peer *peer)
{
    put_preface(peer);
    put_u64(peer, FRAME_PING, 0, 1);
}

static void data_before_hello(struct peer *peer)
{
    put_preface(peer);
    put_data(peer, 1, 5, false);
}

static void unknown_before_hello(struct peer *peer)
{
    put_preface(peer);
    put_frame(peer, 0x90, 0, 0, NULL, 0);
}

static void goaway_before_hello(struct peer *peer)
{
    put_preface(peer);
    put_goaway(peer, CONTROL_LAST_WARNING, CODE_NO_ERROR, NULL);
}

static void same_role(struct peer *peer)
{
    put_preface(peer);
    CONTROL(peer, FRAME_HELLO, 0,
            "\xa7\x01\x82\x01\x01\x02\x01\x03\x19\x40\x00\x04\x00\x05\x19\x40\x00\x06\x19\x40\x00\x07\x19\x3a"
            "\x98");
}

static void later_version(struct peer *peer)
{
    put_preface(peer);
    CONTROL(peer, FRAME_HELLO, 0,
            "\xa7\x01\x82\x02\x03\x02\x00\x03\x19\x40\x00\x04\x00\x05\x19\x40\x00\x06\x19\x40\x00\x07\x19\x3a"
            "\x98");
}

static void no_hello(struct peer *peer)
{
    put_preface(peer);
    peer_wait(peer, 10000, false);
}

static void half_a_hello(struct peer *peer)
{
    put_preface(peer);
    put_bytes(peer, "\x01\x00\x00\x2c\x00", 5);
    peer_wait(peer, 10000, false);
}

static void no_streams_value(struct peer *peer)
{
    put_preface(peer); /* max_streams is 2^31 */
    CONTROL(peer, FRAME_HELLO, 0,
            "\xa7\x01\x82\x01\x01\x02\x00\x03\x19\x40\x00\x04\x1a\x80\x00\x00\x00\x05\x19\x40\x00\x06\x19\x40"
            "\x00\x07\x19\x3a\x98");
}

static void tiny_window(struct peer *peer)
{
    put_preface(peer); /* stream_window is 1023 */
    CONTROL(peer, FRAME_HELLO, 0,
            "\xa7\x01\x82\x01\x01\x02\x00\x03\x19\x40\x00\x04\x00\x05\x19\x03\xff\x06\x19\x40\x00\x07\x19\x3a"
            "\x98");
}

static void versions_backwards(struct peer *peer)
{
    put_preface(peer);
    CONTROL(peer, FRAME_HELLO, 0,
            "\xa7\x01\x82\x02\x01\x02\x00\x03\x19\x40\x00\x04\x00\x05\x19\x40\x00\x06\x19\x40\x00\x07\x19\x3a"
            "\x98");
}

static void three_versions(struct peer *peer)
{
    put_preface(peer);
    CONTROL(peer, FRAME_HELLO, 0,
            "\xa7\x01\x83\x01\x01\x02\x02\x00\x03\x19\x40\x00\x04\x00\x05\x19\x40\x00\x06\x19\x40\x00\x07\x19"
            "\x3a\x98");
}

/* From here on HELLO was exchanged. */
static void second_hello(struct peer *peer)
{
    put_hello(peer);
}

static void type_zero(struct peer *peer)
{
    put_frame(peer, 0, 0, 0, NULL, 0);
}

static void unknown_type(struct peer *peer)
{
    put_frame(peer, 0x7f, 0, 1, NULL, 0);
}

static void long_data(struct peer *peer)
{
    put_open(peer, 1, "kms");
    put_bytes(peer, "\x13\x00\x20\x01\x00\x00\x00\x01", 8);
}

static void long_unknown(struct peer *peer)
{
    put_bytes(peer, "\xff\x00\xff\xff\x00\x00\x00\x01", 8);
}

static void short_ping(struct peer *peer)
{
    put_frame(peer, FRAME_PING, 0, 0, "1234567", 7);
}

static void empty_open(struct peer *peer)
{
    put_frame(peer, FRAME_OPEN, 0, 1, NULL, 0);
}

static void long_control(struct peer *peer)
{
    put_bytes(peer, "\x10\x00\x10\x01\x00\x00\x00\x01", 8);
}

static void flag_on_ping(struct peer *peer)
{
    put_frame(peer, FRAME_PING, 1, 0, "12345678", 8);
}

static void unknown_flag_on_data(struct peer *peer)
{
    put_open(peer, 1, "kms");
    put_frame(peer, FRAME_DATA, 2, 1, "d", 1);
}

static void ping_on_a_stream(struct peer *peer)
{
    put_frame(peer, FRAME_PING, 0, 1, "12345678", 8);
}

static void data_on_the_session(struct peer *peer)
{
    put_frame(peer, FRAME_DATA, 0, 0, "d", 1);
}

static void half_a_frame(struct peer *peer)
{
    put_open(peer, 1, "kms");
    put_bytes(peer,
              "\x13\x00\x10\x00\x00\x00\x00\x01"
              "d",
              9);
    for (unsigned i = 0; i < 6; i++) { /* a byte now and then does not help */
        peer_wait(peer, 5000, false);
        put_bytes(peer, "d", 1);
    }
}

static void no_map(struct peer *peer)
{
    CONTROL(peer, FRAME_OPEN, 1, "\x01");
}

static void cut_map(struct peer *peer)
{
    CONTROL(peer, FRAME_OPEN, 1, "\xa1\x01\x63km");
}

static void after_the_map(struct peer *peer)
{
    CONTROL(peer, FRAME_OPEN, 1, "\xa1\x01\x63kms\x00");
}

static void long_integer(struct peer *peer)
{
    CONTROL(peer, FRAME_OPEN, 1, "\xa1\x18\x01\x63kms");
}

static void long_length(struct peer *peer)
{
    CONTROL(peer, FRAME_OPEN, 1, "\xa1\x01\x78\x03kms");
}

static void long_count(struct peer *peer)
{
    CONTROL(peer, FRAME_OPEN, 1, "\xb8\x01\x01\x63kms");
}

static void key_twice(struct peer *peer)
{
    CONTROL(peer, FRAME_OPEN, 1, "\xa2\x01\x63kms\x01\x63kms");
}

static void keys_unordered(struct peer *peer)
{
    CONTROL(peer, FRAME_OPEN, 1, "\xa2\x02\x00\x01\x63kms");
}

static void key_is_text(struct peer *peer)
{
    CONTROL(peer, FRAME_OPEN, 1, "\xa1\x61r\x63kms");
}

static void huge_key(struct peer *peer)
{
    CONTROL(peer, FRAME_OPEN, 1, "\xa1\x1b\x00\x00\x00\x01\x00\x00\x00\x00\x00");
}

static void meta_unordered(struct peer *peer)
{
    CONTROL(peer, FRAME_OPEN, 1,
            "\xa2\x01\x63kms\x03\xa2\x62"
            "aa\x60\x61z\x60");
}

static void meta_twice(struct peer *peer)
{
    CONTROL(peer, FRAME_OPEN, 1, "\xa2\x01\x63kms\x03\xa2\x61z\x60\x61z\x60");
}

static void indefinite_map(struct peer *peer)
{
    CONTROL(peer, FRAME_OPEN, 1, "\xbf\x01\x63kms\xff");
}

static void indefinite_text(struct peer *peer)
{
    CONTROL(peer, FRAME_OPEN, 1, "\xa1\x01\x7f\x63kms\xff");
}

static void negative(struct peer *peer)
{
    CONTROL(peer, FRAME_OPEN, 1, "\xa2\x01\x63kms\x18\x40\x20");
}

static void tag(struct peer *peer)
{
    CONTROL(peer, FRAME_OPEN, 1, "\xa1\x01\xc1\x63kms");
}

static void floating(struct peer *peer)
{
    CONTROL(peer, FRAME_OPEN, 1, "\xa2\x01\x63kms\x18\x40\xf9\x00\x00");
}

static void null(struct peer *peer)
{
    CONTROL(peer, FRAME_OPEN, 1, "\xa2\x01\x63kms\x03\xf6");
}

static void deep(struct peer *peer)
{
    CONTROL(peer, FRAME_OPEN, 1, "\xa2\x01\x63kms\x18\x40\x81\x81\x81\x81\x00");
}

static void crowded(struct peer *peer)
{
    CONTROL(peer, FRAME_OPEN, 1, "\xa2\x01\x63kms\x18\x40\x98\x21");
}

static void line_break(struct peer *peer)
{
    CONTROL(peer, FRAME_OPEN, 1, "\xa1\x01\x64kms\n");
}

static void not_ascii(struct peer *peer)
{
    CONTROL(peer, FRAME_OPEN, 1, "\xa2\x01\x63kms\x18\x40\x61\x7f");
}

static void unknown_key(struct peer *peer)
{
    CONTROL(peer, FRAME_OPEN, 1, "\xa2\x01\x63kms\x18\x3f\x00");
}

static void unknown_key_in_opened(struct peer *peer)
{
    peer_open(peer, "kms");
    peer_said(peer);
    CONTROL(peer, FRAME_OPENED, 2, "\xa1\x01\x00");
}

static void key_missing(struct peer *peer)
{
    CONTROL(peer, FRAME_OPEN, 1, "\xa1\x02\x00");
}

static void refused_without_retryable(struct peer *peer)
{
    peer_open(peer, "kms");
    peer_said(peer);
    CONTROL(peer, FRAME_REFUSED, 2, "\xa1\x01\x01");
}

static void goaway_without_code(struct peer *peer)
{
    CONTROL(peer, FRAME_GOAWAY, 0, "\xa1\x01\x01");
}

static void empty_route(struct peer *peer)
{
    CONTROL(peer, FRAME_OPEN, 1, "\xa1\x01\x60");
}

static void route_is_bytes(struct peer *peer)
{
    CONTROL(peer, FRAME_OPEN, 1, "\xa1\x01\x43kms");
}

static void timeout_is_large(struct peer *peer)
{
    CONTROL(peer, FRAME_OPEN, 1, "\xa2\x01\x63kms\x04\x1b\x00\x00\x00\x01\x00\x00\x00\x00");
}

static void meta_value_is_number(struct peer *peer)
{
    CONTROL(peer, FRAME_OPEN, 1, "\xa2\x01\x63kms\x03\xa1\x61z\x00");
}

static void meta_is_text(struct peer *peer)
{
    CONTROL(peer, FRAME_OPEN, 1, "\xa2\x01\x63kms\x03\x61z");
}

static void meta_key_is_number(struct peer *peer)
{
    CONTROL(peer, FRAME_OPEN, 1, "\xa2\x01\x63kms\x03\xa1\x01\x61z");
}

static void meta_too_many(struct peer *peer)
{
    CONTROL(peer, FRAME_OPEN, 1, "\xa2\x01\x63kms\x03\xb1");
}

static void ids_of_ours(struct peer *peer)
{
    put_open(peer, 2, "kms");
}

static void id_left_out(struct peer *peer)
{
    put_open(peer, 3, "kms");
}

static void id_again(struct peer *peer)
{
    put_open(peer, 1, "kms");
    put_open(peer, 1, "kms");
}

static void too_many_streams(struct peer *peer)
{
    for (uint32_t id = 1; id <= 9; id += 2)
        put_open(peer, id, "kms");
}

/* A stream's place does not come back by its reset. */
static void rapid_reset(struct peer *peer)
{
    for (uint32_t id = 1; id <= 9; id += 2) {
        put_open(peer, id, "kms");
        put_reset(peer, id, CODE_CANCEL, 0);
        put_stop(peer, id, CODE_CANCEL);
        peer_said(peer);
    }
}

static void data_never_opened(struct peer *peer)
{
    put_data(peer, 1, 1, false);
}

static void credit_never_opened(struct peer *peer)
{
    put_u64(peer, FRAME_MAX_STREAM_DATA, 2, 100000);
}

static void opened_never_opened(struct peer *peer)
{
    put_opened(peer, 2);
}

static void answer_not_sent(struct peer *peer)
{
    peer_open(peer, "kms"); /* the OPEN is still here */
    put_opened(peer, 2);
}

static void answer_by_the_opener(struct peer *peer)
{
    put_open(peer, 1, "kms");
    put_opened(peer, 1);
}

static void second_answer(struct peer *peer)
{
    peer_open(peer, "kms");
    peer_said(peer);
    put_opened(peer, 2);
    put_refused(peer, 2, CODE_CANCEL);
}

static void data_before_the_answer(struct peer *peer)
{
    peer_open(peer, "kms");
    peer_said(peer);
    put_data(peer, 2, 1, false);
}

static void reset_before_the_answer(struct peer *peer)
{
    peer_open(peer, "kms");
    peer_said(peer);
    put_reset(peer, 2, CODE_CANCEL, 0);
}

static void stop_before_the_answer(struct peer *peer)
{
    peer_open(peer, "kms");
    peer_said(peer);
    put_stop(peer, 2, CODE_CANCEL);
}

static void data_after_fin(struct peer *peer)
{
    put_open(peer, 1, "kms");
    put_data(peer, 1, 1, true);
    put_data(peer, 1, 1, false);
}

static void reset_after_fin(struct peer *peer)
{
    put_open(peer, 1, "kms");
    put_data(peer, 1, 1, true);
    put_reset(peer, 1, CODE_CANCEL, 1);
}

static void fin_after_reset(struct peer *peer)
{
    put_open(peer, 1, "kms");
    put_reset(peer, 1, CODE_CANCEL, 0);
    put_data(peer, 1, 0, true);
}

static void opened_after_refused(struct peer *peer)
{
    peer_open(peer, "kms");
    peer_said(peer);
    put_refused(peer, 2, CODE_CANCEL);
    put_opened(peer, 2);
}

static void close_both(struct peer *peer)
{
    peer_open(peer, "kms");
    peer_said(peer);
    put_refused(peer, 2, CODE_CANCEL);
    channel_release(peer_channel(peer, 2));
    peer->channels[0].channel = NULL;
    peer_said(peer);
}

static void data_after_close(struct peer *peer)
{
    close_both(peer);
    put_data(peer, 2, 1, false);
}

static void refused_after_close(struct peer *peer)
{
    close_both(peer);
    put_refused(peer, 2, CODE_CANCEL);
}

static void wrong_final_size(struct peer *peer)
{
    put_open(peer, 1, "kms");
    put_data(peer, 1, 10, false);
    put_reset(peer, 1, CODE_CANCEL, 11);
}

static void second_stop(struct peer *peer)
{
    put_open(peer, 1, "kms");
    channel_accept(peer_channel(peer, 1));
    put_stop(peer, 1, CODE_CANCEL);
    put_stop(peer, 1, CODE_CANCEL);
}

static void stop_ignored(struct peer *peer)
{
    put_open(peer, 1, "kms");
    channel_accept(peer_channel(peer, 1));
    channel_stop(peer_channel(peer, 1), CODE_CANCEL);
    peer_said(peer);
    peer_wait(peer, 30000, true);
}

static void refusal_ignored(struct peer *peer)
{
    put_open(peer, 1, "kms");
    channel_refuse(peer_channel(peer, 1), CODE_CANCEL, NULL, false);
    peer_said(peer);
    for (unsigned i = 0; i < 30; i++) { /* going on does not help */
        peer_wait(peer, 1000, true);
        put_data(peer, 1, 1, false);
    }
}

static void over_the_stream(struct peer *peer)
{
    put_open(peer, 1, "kms");
    put_data(peer, 1, 4096, false);
    put_data(peer, 1, 1, false);
}

static void over_the_session(struct peer *peer)
{
    put_open(peer, 1, "kms");
    peer->session->receive_max = 4000; /* which our own windows never come to */
    put_data(peer, 1, 4001, false);
}

static void stream_credit_again(struct peer *peer)
{
    peer_open(peer, "kms");
    peer_said(peer);
    put_u64(peer, FRAME_MAX_STREAM_DATA, 2, 10000);
}

static void session_credit_again(struct peer *peer)
{
    put_u64(peer, FRAME_MAX_DATA, 0, 25000);
}

static void streams_again(struct peer *peer)
{
    put_u32(peer, FRAME_MAX_STREAMS, 0, 3);
}

static void streams_beyond(struct peer *peer)
{
    put_u32(peer, FRAME_MAX_STREAMS, 0, 0x80000000u);
}

/* Three streams want 30000 bytes, and the session lets 25000 through. */
static void no_session_credit(struct peer *peer)
{
    for (uint32_t id = 2; id <= 6; id += 2) {
        peer_open(peer, "kms");
        peer_place(peer, id)->to_send = 10000;
        channel_ready(peer_channel(peer, id));
    }
    peer_said(peer);
    for (uint32_t id = 2; id <= 6; id += 2)
        put_opened(peer, id);
    peer_wait(peer, 300000, true);
}

static void two_pings(struct peer *peer)
{
    put_u64(peer, FRAME_PING, 0, 1);
    put_u64(peer, FRAME_PING, 0, 2);
}

static void pong_unasked(struct peer *peer)
{
    put_u64(peer, FRAME_PONG, 0, 0);
}

static void pong_of_another(struct peer *peer)
{
    session_ping(peer->session);
    peer_said(peer);
    put_u64(peer, FRAME_PONG, 0, 77);
}

static void no_pong(struct peer *peer)
{
    for (unsigned i = 0; i < 45; i++) { /* talking is no answer */
        put_u64(peer, FRAME_PING, 0, i);
        peer_said(peer);
        peer_wait(peer, 1000, false);
    }
}

static void goaway_taken_back(struct peer *peer)
{
    put_goaway(peer, 8, CODE_NO_ERROR, NULL);
    put_goaway(peer, 10, CODE_NO_ERROR, NULL);
}

static void open_while_going_away(struct peer *peer)
{
    put_goaway(peer, CONTROL_LAST_WARNING, CODE_NO_ERROR, NULL);
    put_open(peer, 1, "kms");
}

static void open_after_our_goaway(struct peer *peer)
{
    put_open(peer, 1, "kms");
    session_drain(peer->session, 0);
    peer_said(peer);
    put_pong(peer);
    peer_said(peer);
    put_open(peer, 3, "kms");
}

static void goaway_leaves_out(struct peer *peer)
{
    peer_open(peer, "kms");
    peer_said(peer);
    put_goaway(peer, 0, CODE_NO_ERROR, NULL);
}

static void end_without_goaway(struct peer *peer)
{
    put_end(peer);
}

static void end_with_a_stream(struct peer *peer)
{
    peer_open(peer, "kms");
    peer_said(peer);
    put_goaway(peer, 2, CODE_NO_ERROR, NULL);
    put_end(peer);
}

static void end_in_a_frame(struct peer *peer)
{
    put_open(peer, 1, "kms");
    put_goaway(peer, 0, CODE_NO_ERROR, NULL);
    put_bytes(peer, "\x03", 1);
    put_end(peer);
}

static void many_opens(struct peer *peer)
{
    for (uint32_t i = 0; !session_is_over(peer->session); i++) {
        assert_in_range(i, 0, 20);
        put_open(peer, 2 * i + 1, "kms");
        if (!session_is_over(peer->session))
            put_data(peer, 2 * i + 1, 0, true);
        if (session_is_over(peer->session))
            return;
        channel_release(peer_channel(peer, 2 * i + 1));
        peer->channels[0].channel = NULL;
        peer_said(peer);
    }
    assert_int_equal(peer->session->peer_opened, peer->config.opens.burst);
}

static void many_resets(struct peer *peer)
{
    for (uint32_t i = 0; !session_is_over(peer->session); i++) {
        assert_in_range(i, 0, 30);
        put_open(peer, 2 * i + 1, "kms");
        put_reset(peer, 2 * i + 1, CODE_CANCEL, 0);
        if (session_is_over(peer->session))
            return;
        channel_release(peer_channel(peer, 2 * i + 1));
        peer->channels[0].channel = NULL;
        peer_said(peer);
    }
}

static void many_stops(struct peer *peer)
{
    for (uint32_t i = 0; !session_is_over(peer->session); i++) {
        assert_in_range(i, 0, 30);
        put_open(peer, 2 * i + 1, "kms");
        put_data(peer, 2 * i + 1, 0, true);
        put_stop(peer, 2 * i + 1, CODE_CANCEL);
        if (session_is_over(peer->session))
            return;
        channel_release(peer_channel(peer, 2 * i + 1));
        peer->channels[0].channel = NULL;
        peer_said(peer);
    }
}

static void many_pings(struct peer *peer)
{
    for (unsigned i = 0; !session_is_over(peer->session); i++) {
        assert_in_range(i, 0, 20);
        put_u64(peer, FRAME_PING, 0, i);
        peer_said(peer);
    }
}

static void many_empty(struct peer *peer)
{
    put_open(peer, 1, "kms");
    for (unsigned i = 0; !session_is_over(peer->session); i++) {
        assert_in_range(i, 0, 30);
        put_data(peer, 1, 0, false);
    }
}

static void many_unknown(struct peer *peer)
{
    for (unsigned i = 0; !session_is_over(peer->session); i++) {
        assert_in_range(i, 0, 30);
        put_frame(peer, 0x80, 0, 0, "abc", 3);
    }
}

static void many_small_stream_grants(struct peer *peer)
{
    put_open(peer, 1, "kms");
    for (unsigned i = 0; !session_is_over(peer->session); i++) {
        assert_in_range(i, 0, 30);
        put_u64(peer, FRAME_MAX_STREAM_DATA, 1, 10001 + i);
    }
}

static void many_small_grants(struct peer *peer)
{
    for (unsigned i = 0; !session_is_over(peer->session); i++) {
        assert_in_range(i, 0, 30);
        put_u64(peer, FRAME_MAX_DATA, 0, 25001 + i * 511);
    }
}

static void many_late(struct peer *peer)
{
    close_both(peer);
    for (unsigned i = 0; !session_is_over(peer->session); i++) {
        assert_in_range(i, 0, 30);
        put_u64(peer, FRAME_MAX_STREAM_DATA, 2, 100000);
        put_stop(peer, 2, CODE_CANCEL);
    }
}

static const struct row {
    const char *id;
    void (*breaks)(struct peer *peer);
    bool fresh; /* before the handshake */
} rows[] = {
    {"H-1", wrong_preface, true},
    {"H-1", wrong_preface_at_its_end, true},
    {"H-2", ping_before_hello, true},
    {"H-2", data_before_hello, true},
    {"H-2", unknown_before_hello, true},
    {"H-2", goaway_before_hello, true},
    {"H-3", second_hello, false},
    {"H-4", same_role, true},
    {"H-5", later_version, true},
    {"H-6", no_hello, true},
    {"H-6", half_a_hello, true},
    {"F-1", type_zero, false},
    {"F-1", unknown_type, false},
    {"F-2", long_data, false},
    {"F-2", long_unknown, false},
    {"F-3", short_ping, false},
    {"F-3", empty_open, false},
    {"F-3", long_control, false},
    {"F-4", flag_on_ping, false},
    {"F-4", unknown_flag_on_data, false},
    {"F-5", ping_on_a_stream, false},
    {"F-5", data_on_the_session, false},
    {"F-6", half_a_frame, false},
    {"C-1", no_map, false},
    {"C-1", cut_map, false},
    {"C-1", after_the_map, false},
    {"C-2", long_integer, false},
    {"C-2", long_length, false},
    {"C-2", long_count, false},
    {"C-3", key_twice, false},
    {"C-3", keys_unordered, false},
    {"C-3", key_is_text, false},
    {"C-3", huge_key, false},
    {"C-3", meta_unordered, false},
    {"C-3", meta_twice, false},
    {"C-4", indefinite_map, false},
    {"C-4", indefinite_text, false},
    {"C-4", negative, false},
    {"C-4", tag, false},
    {"C-4", floating, false},
    {"C-4", null, false},
    {"C-5", deep, false},
    {"C-5", crowded, false},
    {"C-6", line_break, false},
    {"C-6", not_ascii, false},
    {"C-7", unknown_key, false},
    {"C-7", unknown_key_in_opened, false},
    {"C-8", key_missing, false},
    {"C-8", refused_without_retryable, false},
    {"C-8", goaway_without_code, false},
    {"C-9", empty_route, false},
    {"C-9", route_is_bytes, false},
    {"C-9", timeout_is_large, false},
    {"C-9", meta_value_is_number, false},
    {"C-9", meta_is_text, false},
    {"C-9", meta_key_is_number, false},
    {"C-9", meta_too_many, false},
    {"C-9", no_streams_value, true},
    {"C-9", tiny_window, true},
    {"C-9", versions_backwards, true},
    {"C-9", three_versions, true},
    {"S-1", ids_of_ours, false},
    {"S-2", id_left_out, false},
    {"S-2", id_again, false},
    {"S-3", too_many_streams, false},
    {"S-3", rapid_reset, false},
    {"S-4", data_never_opened, false},
    {"S-4", credit_never_opened, false},
    {"S-4", opened_never_opened, false},
    {"S-4", answer_not_sent, false},
    {"S-5", answer_by_the_opener, false},
    {"S-5", second_answer, false},
    {"S-6", data_before_the_answer, false},
    {"S-6", reset_before_the_answer, false},
    {"S-6", stop_before_the_answer, false},
    {"S-7", data_after_fin, false},
    {"S-7", reset_after_fin, false},
    {"S-7", fin_after_reset, false},
    {"S-7", opened_after_refused, false},
    {"S-7", data_after_close, false},
    {"S-7", refused_after_close, false},
    {"S-8", wrong_final_size, false},
    {"S-9", second_stop, false},
    {"S-10", stop_ignored, false},
    {"S-10", refusal_ignored, false},
    {"W-1", over_the_stream, false},
    {"W-2", over_the_session, false},
    {"W-3", stream_credit_again, false},
    {"W-4", session_credit_again, false},
    {"W-5", streams_again, false},
    {"W-5", streams_beyond, false},
    {"W-6", no_session_credit, false},
    {"K-1", two_pings, false},
    {"K-2", pong_unasked, false},
    {"K-2", pong_of_another, false},
    {"K-3", no_pong, false},
    {"G-1", goaway_taken_back, false},
    {"G-2", open_while_going_away, false},
    {"G-3", open_after_our_goaway, false},
    {"G-4", goaway_leaves_out, false},
    {"G-5", end_without_goaway, false},
    {"G-5", end_with_a_stream, false},
    {"G-5", end_in_a_frame, false},
    {"L-1", many_opens, false},
    {"L-2", many_resets, false},
    {"L-2", many_stops, false},
    {"L-3", many_pings, false},
    {"L-4", many_empty, false},
    {"L-4", many_unknown, false},
    {"L-4", many_small_stream_grants, false},
    {"L-4", many_small_grants, false},
    {"L-4", many_late, false},
};

static const struct rule *rule_of(const char *id)
{
    size_t count;
    const struct rule *rules = document_rules(&count);

    for (size_t i = 0; i < count; i++)
        if (strcmp(rules[i].id, id) == 0)
            return &rules[i];
    fail_msg("docs/protocol.md has no rule %s", id);
    return NULL;
}

static void start(struct peer *peer, bool fresh)
{
    peer_config(peer, SESSION_SERVER);
    if (fresh) {
        peer_new(peer);
        peer_said(peer);
        return;
    }
    peer->config.opens = (struct limit_rate){10, 10};
    peer->config.resets = (struct limit_rate){10, 1}; /* and twice the streams */
    peer->config.pings = (struct limit_rate){2, 10};
    peer->config.noise = (struct limit_rate){10, 10};
    peer_new(peer);
    put_preface(peer);
    put_hello(peer);
    peer_said(peer);
    put_pong(peer);
    peer->events[0] = '\0';
}

static void check_row(const struct row *row)
{
    static struct peer peer;
    const struct rule *rule = rule_of(row->id);
    char expected[64], code[RULE_CODE_MAX] = "";
    const char *ended;

    for (size_t i = 0; rule->code[i]; i++)
        code[i] = (char)(rule->code[i] == '_' ? '_' : rule->code[i] + ('a' - 'A'));
    start(&peer, row->fresh);
    row->breaks(&peer);
    ended = strstr(peer.events, "ended(");
    snprintf(expected, sizeof(expected), "ended(%s,%s:", code, row->id);
    if (!ended || strncmp(ended, expected, strlen(expected)) != 0)
        fail_msg("row %zu, %s: %s", (size_t)(row - rows), expected, ended ? ended : peer.events);
    assert_true(session_is_over(peer.session));
    snprintf(expected, sizeof(expected), ",%s,%s:", code, row->id);
    peer_said(&peer);
    if (rule->id[0] == 'G' && rule->id[2] == '5')
        assert_string_equal(peer.said, "");
    else if (!strstr(peer.goaway, expected))
        fail_msg("row %zu, %s: said %s", (size_t)(row - rows), expected, peer.goaway);
    /* It says nothing more, hears nothing more, and wants nothing more. */
    put_hello(&peer);
    session_tick(peer.session, peer.now + 1000000);
    assert_false(session_has_output(peer.session));
    assert_int_equal(session_next_deadline(peer.session), SESSION_NEVER);
    peer_stop(&peer);
}

static void test_each_is_enforced(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        check_row(&rows[i]);
}

static void test_each_has_a_row(void **state)
{
    size_t count;
    const struct rule *rules = document_rules(&count);

    (void)state;
    assert_true(count > 40);
    for (size_t i = 0; i < count; i++) {
        size_t row = 0;
        while (row < ARRAY_SIZE(rows) && strcmp(rows[row].id, rules[i].id) != 0)
            row++;
        if (row == ARRAY_SIZE(rows))
            fail_msg("no row breaks rule %s", rules[i].id);
    }
}

/* The numbers of the document are the code's. */
static void test_codes(void **state)
{
    char text[80];

    (void)state;
    for (unsigned i = 0; i < REASON_COUNT; i++) {
        snprintf(text, sizeof(text), "| %x | `%s` |", code_of_reason((enum reason)i),
                 reason_word((enum reason)i));
        if (!strstr(document_text(), text))
            fail_msg("docs/protocol.md lacks %s", text);
    }
#define X(id, number, word)                                     \
    snprintf(text, sizeof(text), "| %02x | %s |", number, #id); \
    if (!strstr(document_text(), text))                         \
        fail_msg("docs/protocol.md lacks %s", text);
    CODE_TABLE(X)
#undef X
}

/* The defaults of the document are the code's. */
static void test_defaults(void **state)
{
    struct session_config config;
    static const char *const lines[] = {
        "| `max_payload` | 16384 bytes |",
        "| `max_streams` | 256 from the peer, 256 own |",
        "| `budget` | 16 MiB a session |",
        "| `handshake_timeout` | 10 s |",
        "| `frame_timeout` | 30 s |",
        "| `open_timeout` | 30 s |",
        "| `stop_timeout` | 30 s |",
        "| `progress_timeout` | 5 min |",
        "| `half_closed_timeout` | 5 min |",
        "| `ping_interval` | 15 s |",
        "| `pong_timeout` | 30 s |",
        "| OPEN | 50000 a second, 50000 at once |",
        "| RESET and STOP | 2000 a second, 4000 at once |",
        "| PING | 5 a second, 50 at once |",
        "| frames that do nothing | 1000 a second, 2000 at once |",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(lines); i++)
        if (!strstr(document_text(), lines[i]))
            fail_msg("docs/protocol.md lacks %s", lines[i]);
    session_config_default(&config, SESSION_CLIENT);
    assert_true(config.max_payload == 16384 && config.max_streams == 256 && config.max_own_streams == 256);
    assert_true(config.budget == 16 << 20 && config.handshake_timeout == 10000 &&
                config.frame_timeout == 30000);
    assert_true(config.open_timeout == 30000 && config.stop_timeout == 30000 &&
                config.progress_timeout == 300000);
    assert_true(config.half_closed_timeout == 300000 && config.ping_interval == 15000 &&
                config.pong_timeout == 30000);
    assert_true(config.opens.per_second == 50000 && config.opens.burst == 50000);
    assert_true(config.resets.per_second == 2000 && config.resets.burst == 4000);
    assert_true(config.pings.per_second == 5 && config.pings.burst == 50);
    assert_true(config.noise.per_second == 1000 && config.noise.burst == 2000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_is_enforced),
        cmocka_unit_test(test_each_has_a_row),
        cmocka_unit_test(test_codes),
        cmocka_unit_test(test_defaults),
    };

    return cmocka_run_group_tests_name("rules", tests, NULL, NULL);
}
