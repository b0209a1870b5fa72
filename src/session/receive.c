/*
 * What comes in: the preface, HELLO, the frames of the session itself; streams' frames go to receive_stream.c.
 *
 * Each rule that is checked here carries its id in docs/protocol.md. Once one is broken nothing more is read.
 */
#include "session/session_private.h"

#include <string.h>

void receive_breach(struct session *session, enum code code, const char *text)
{
    session_fail(session, (struct breach){code, text});
}

/* Work for us that does nothing for anybody: a little of it happens to honest peers. */
void receive_noise(struct session *session)
{
    if (!limit_take(&session->noise, session->now)) {
        receive_breach(session, CODE_CALM, "L-4: too many frames that do nothing");
    }
}

static void begin_running(struct session *session, const struct control_hello *peer)
{
    session->peer = *peer;
    session->peer.build = (struct control_text){NULL, 0}; /* that one lies in the input */
    session->own_allowed = peer->max_streams;
    session->send_max = peer->session_window;
    session->phase = PHASE_RUNNING;
    session_ping(session);
    if (session->events->ready) {
        session->events->ready(session, peer);
    }
}

static void receive_hello(struct session *session, const struct frame *frame)
{
    struct control_hello peer;
    struct breach breach;

    if (session->phase == PHASE_RUNNING) {
        receive_breach(session, CODE_PROTOCOL, "H-3: a second HELLO");
        return;
    }
    if (!control_decode_hello(frame->bytes, frame->length, &peer, &breach)) {
        session_fail(session, breach);
        return;
    }
    if (peer.role == (uint32_t)session->config.role) {
        receive_breach(session, CODE_PROTOCOL, "H-4: both sides have the same role");
    } else if (peer.version_max < session->config.version_min ||
               peer.version_min > session->config.version_max) {
        receive_breach(session, CODE_VERSION, "H-5: there is no version that both sides speak");
    } else {
        begin_running(session, &peer);
    }
}

static void receive_fatal(struct session *session, const struct control_goaway *goaway)
{
    session->peer_last = goaway->last_stream;
    session_finish(session, goaway->code, true, goaway->message);
}

static uint32_t last_own_id(const struct session *session)
{
    uint32_t first = session->config.role == SESSION_CLIENT ? 1 : 2;

    return session->own_sent == 0 ? 0 : 2 * (session->own_sent - 1) + first;
}

static void receive_goaway(struct session *session, const struct frame *frame)
{
    struct control_goaway goaway;
    struct breach breach;

    if (!control_decode_goaway(frame->bytes, frame->length, &goaway, &breach)) {
        session_fail(session, breach);
        return;
    }
    if (goaway.last_stream > session->peer_last) {
        receive_breach(session, CODE_PROTOCOL, "G-1: a GOAWAY that takes back what an earlier one said");
    } else if (goaway.code != CODE_NO_ERROR) {
        receive_fatal(session, &goaway);
    } else if (session->phase != PHASE_RUNNING) {
        receive_breach(session, CODE_PROTOCOL, "H-2: the first frame is not HELLO");
    } else if (goaway.last_stream < last_own_id(session)) {
        receive_breach(session, CODE_PROTOCOL, "G-4: a GOAWAY without an error that leaves out a stream");
    } else if (session->peer_warned && (session->peer_final || goaway.last_stream == session->peer_last)) {
        session->peer_last = goaway.last_stream;
        receive_noise(session);
    } else {
        session->peer_last = goaway.last_stream;
        session->peer_warned = true;
        session->peer_final |= goaway.last_stream != CONTROL_LAST_WARNING;
        session_fail_unsent(session);
        if (session->events->going_away) {
            session->events->going_away(session, &goaway);
        }
    }
}

static void receive_ping(struct session *session, const struct frame *frame)
{
    if (session->owes & OWES_PONG) {
        receive_breach(session, CODE_PROTOCOL, "K-1: a PING before the one before it was answered");
    } else if (!limit_take(&session->pings, session->now)) {
        receive_breach(session, CODE_CALM, "L-3: too many PINGs");
    } else {
        memcpy(session->pong, frame->bytes, sizeof(session->pong));
        session->owes |= OWES_PONG;
    }
}

static void receive_pong(struct session *session, const struct frame *frame)
{
    uint64_t number = session->ping_number;

    if (!session->ping_under_way || frame_get_u64(frame->bytes) != number) {
        receive_breach(session, CODE_PROTOCOL, "K-2: a PONG that answers no PING");
        return;
    }
    session->ping_under_way = false;
    session->ping_number++;
    session->rtt = session->now - session->ping_sent_at;
    if (session->rtt < session->rtt_least) {
        session->rtt_least = session->rtt;
    }
    session->pong_by = SESSION_NEVER;
    session->ping_at = session->now + session->config.ping_interval;
    if (session->goaway == GOAWAY_BARRIER) {
        if (number >= session->barrier) {
            session->goaway = GOAWAY_FINAL;
        } else {
            session_ping(session);
        }
    }
    if (session->events->pong) {
        session->events->pong(session, session->rtt);
    }
}

static void receive_max_data(struct session *session, const struct frame *frame)
{
    uint64_t limit = frame_get_u64(frame->bytes);

    if (limit <= session->send_max) {
        receive_breach(session, CODE_FLOW_CONTROL, "W-4: a MAX_DATA that does not grow");
        return;
    }
    if (limit - session->send_max < SMALL_GRANT) {
        receive_noise(session);
    }
    session->send_max = limit;
    session->blocked_since = SESSION_NEVER;
}

static void receive_max_streams(struct session *session, const struct frame *frame)
{
    uint32_t allowed = frame_get_u32(frame->bytes);

    if (allowed <= session->own_allowed || allowed > CONTROL_STREAMS_MAX) {
        receive_breach(session, CODE_FLOW_CONTROL,
                       "W-5: a MAX_STREAMS that does not grow, or beyond 2^31 - 1");
        return;
    }
    session->own_allowed = allowed;
}

/* Of stream 0, or GOAWAY and HELLO before the session runs. */
static void receive_session_frame(struct session *session, const struct frame *frame)
{
    switch (frame->header.type) {
    case FRAME_HELLO:
        receive_hello(session, frame);
        return;
    case FRAME_GOAWAY:
        receive_goaway(session, frame);
        return;
    case FRAME_PING:
        receive_ping(session, frame);
        return;
    case FRAME_PONG:
        receive_pong(session, frame);
        return;
    case FRAME_MAX_DATA:
        receive_max_data(session, frame);
        return;
    default:
        receive_max_streams(session, frame);
    }
}

static void receive_frame(struct session *session, enum frame_event event, const struct frame *frame)
{
    uint8_t type = frame->header.type;

    if (event == FRAME_BROKEN) {
        session_fail(session, frame->breach);
    } else if (session->phase == PHASE_HELLO && type != FRAME_HELLO && type != FRAME_GOAWAY) {
        receive_breach(session, CODE_PROTOCOL, "H-2: the first frame is not HELLO");
    } else if (event == FRAME_IGNORED) {
        receive_noise(session);
    } else if (event == FRAME_PIECE) {
        receive_data(session, frame);
    } else if (type >= FRAME_OPEN) {
        receive_stream_frame(session, frame);
    } else {
        receive_session_frame(session, frame);
    }
}

static void receive_preface(struct session *session, const uint8_t **bytes, size_t *length)
{
    while (*length > 0 && session->phase == PHASE_PREFACE) {
        if (**bytes != frame_preface[session->preface_seen]) {
            receive_breach(session, CODE_PROTOCOL, "H-1: not the preface of this protocol");
            return;
        }
        ++*bytes;
        --*length;
        if (++session->preface_seen == FRAME_PREFACE_SIZE) {
            session->phase = PHASE_HELLO;
        }
    }
}

/* The time of the frame that is not whole yet, if there is one, runs from its first byte. */
static void watch_frame(struct session *session)
{
    if (!frame_reader_midway(&session->reader)) {
        session->frame_since = SESSION_NEVER;
    } else if (session->frame_since == SESSION_NEVER || session->frame_watched != session->reader.begun) {
        session->frame_since = session->now;
    }
    session->frame_watched = session->reader.begun;
}

void session_yield(struct session *session)
{
    session->yielded = true;
}

size_t session_receive(struct session *session, uint64_t now, const void *bytes, size_t length)
{
    size_t given = length;
    const uint8_t *at = bytes;
    enum frame_event event;
    struct frame frame;

    session_enter(session, now);
    session->yielded = false;
    receive_preface(session, &at, &length);
    while (session->phase < PHASE_ENDING && !session->yielded &&
           (event = frame_read(&session->reader, &at, &length, &frame)) != FRAME_NOTHING) {
        receive_frame(session, event, &frame);
    }
    watch_frame(session);
    session_leave(session);
    return session->phase < PHASE_ENDING ? given - length : given;
}

size_t session_expects(const struct session *session, struct channel **ret)
{
    size_t left = frame_reader_data_left(&session->reader);
    bool last = session->reader.header.flags & FRAME_FIN;

    *ret = left > 0 && !last && session_running(session) ? receive_expects(session) : NULL;
    return *ret ? left : 0;
}

void session_skip(struct session *session, uint64_t now, size_t length)
{
    session_set_now(session, now);
    receive_skip(receive_expects(session), length);
    frame_reader_skip(&session->reader, length);
    watch_frame(session);
}

static void find_unfinished(struct channel *channel, void *arg)
{
    if (!channel->send_over || !channel->receive_over || channel->pending) {
        *(bool *)arg = true;
    }
}

/* On vsock an abort looks like a clean end, so only what was said counts. */
void session_receive_end(struct session *session, uint64_t now)
{
    bool unfinished = false;

    session_enter(session, now);
    table_each(&session->table, find_unfinished, &unfinished);
    if (session->peer_final && !unfinished && !frame_reader_midway(&session->reader)) {
        session_finish(session, CODE_NO_ERROR, false, control_text(NULL));
    } else {
        session_finish(session, CODE_LOST, false,
                       control_text("G-5: the connection ended without a GOAWAY, or before its streams"));
    }
    session_leave(session);
}
