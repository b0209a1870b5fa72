/* How the rules of streams, of flow control, of liveness, shutdown and moderation are broken. */
#include "rules.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

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
    for (uint32_t id = 1; id <= 9; id += 2) {
        put_open(peer, id, "kms");
    }
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
    peer_release(peer, 2);
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
    for (uint32_t id = 2; id <= 6; id += 2) {
        put_opened(peer, id);
    }
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
        if (!session_is_over(peer->session)) {
            put_data(peer, 2 * i + 1, 0, true);
        }
        if (session_is_over(peer->session)) {
            return;
        }
        peer_release(peer, 2 * i + 1);
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
        if (session_is_over(peer->session)) {
            return;
        }
        peer_release(peer, 2 * i + 1);
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
        if (session_is_over(peer->session)) {
            return;
        }
        peer_release(peer, 2 * i + 1);
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

static void many_final_goaways(struct peer *peer)
{
    peer_open(peer, "kms");
    for (unsigned i = 0; !session_is_over(peer->session); i++) {
        assert_in_range(i, 0, 30);
        put_goaway(peer, 1000 - i, CODE_NO_ERROR, NULL);
    }
}

const struct rule_row rules_of_streams[] = {
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
    {"L-4", many_final_goaways, false},
    {NULL, NULL, false},
};
