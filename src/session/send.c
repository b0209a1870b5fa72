/*
 * What goes out, in this order: the preface and HELLO; the session's own frames; streams' frames other than DATA, first
 * come first served; DATA, in turns of TURN bytes.
 *
 * Everything is written from state at the moment it is sent, so a credit that was given twice before it was sent
 * is one frame, and a peer that does not read makes nothing grow here.
 */
#include "session/session_private.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define PIECES_A_FRAME 3u   /* what is before it with its header, its payload, and what may come after it */
#define SMALL_TAIL     512u /* no DATA frame is begun in less room than this, unless nothing stands before it */

/* `end` comes nearer by what is lent, so that it bounds all that is to be written. */
struct output {
    uint8_t *start, *at, *end;
    struct iovec *pieces;
    size_t count, most; /* of pieces that are done, and that there may be; 0: all of it lies in the buffer */
    uint8_t *piece;     /* where the next one begins, in the buffer */
    size_t lent;        /* bytes */
};

static size_t room(const struct output *output)
{
    return (size_t)(output->end - output->at);
}

/* Where the payload of a frame of `length` bytes goes; NULL if it does not fit. */
static uint8_t *put_frame(struct output *output, uint8_t type, uint32_t stream, size_t length)
{
    uint8_t *payload = output->at + FRAME_HEADER;

    if (room(output) < FRAME_HEADER + length) {
        return NULL;
    }
    frame_encode_header(output->at,
                        (struct frame_header){.type = type, .length = (uint16_t)length, .stream = stream});
    output->at = payload + length;
    return payload;
}

static bool put_u32(struct output *output, uint8_t type, uint32_t stream, uint32_t value)
{
    uint8_t *payload = put_frame(output, type, stream, 4);

    if (payload) {
        frame_put_u32(payload, value);
    }
    return payload != NULL;
}

static bool put_u64(struct output *output, uint8_t type, uint32_t stream, uint64_t value)
{
    uint8_t *payload = put_frame(output, type, stream, 8);

    if (payload) {
        frame_put_u64(payload, value);
    }
    return payload != NULL;
}

static bool put_bytes(struct output *output, uint8_t type, uint32_t stream, const uint8_t *bytes,
                      size_t length)
{
    uint8_t *payload = put_frame(output, type, stream, length);

    if (payload) {
        memcpy(payload, bytes, length);
    }
    return payload != NULL;
}

static void put_hello(struct session *session, struct output *output)
{
    struct control_hello hello = {
        .version_min = session->config.version_min,
        .version_max = session->config.version_max,
        .role = session->config.role,
        .max_payload = session->config.max_payload,
        .max_streams = session->config.max_streams,
        .stream_window = session->reserve,
        .session_window = session->config.budget,
        .ping_interval = session->config.ping_interval,
        .build = control_text(session->config.build),
    };
    uint8_t bytes[256];
    size_t length = control_encode_hello(&hello, bytes, sizeof(bytes));

    memcpy(output->at, frame_preface, FRAME_PREFACE_SIZE);
    output->at += FRAME_PREFACE_SIZE;
    put_bytes(output, FRAME_HELLO, 0, bytes, length);
    session->hello_sent = true;
}

static void put_goaway(struct output *output, uint32_t last, uint32_t code, const char *text,
                       uint32_t deadline)
{
    struct control_goaway goaway = {last, code, control_text(text), deadline};
    uint8_t bytes[CONTROL_MESSAGE_MAX + 64];
    size_t length = control_encode_goaway(&goaway, bytes, sizeof(bytes));

    put_bytes(output, FRAME_GOAWAY, 0, bytes, length);
}

static uint32_t time_left(const struct session *session)
{
    uint64_t left = session->drain_by > session->now ? session->drain_by - session->now : 1;

    if (session->drain_by == SESSION_NEVER) {
        return 0;
    }
    return left < UINT32_MAX ? (uint32_t)left : UINT32_MAX;
}

static void put_own_goaway(struct session *session, struct output *output)
{
    if (session->goaway == GOAWAY_WARN) {
        session_fail_unsent(session);
        put_goaway(output, CONTROL_LAST_WARNING, CODE_NO_ERROR, NULL, time_left(session));
        session->goaway = GOAWAY_BARRIER;
        session->barrier = session->ping_number + session->ping_under_way;
        session_ping(session);
    } else if (session->goaway == GOAWAY_FINAL) {
        put_goaway(output, session_last_peer_id(session), CODE_NO_ERROR, NULL, time_left(session));
        session->goaway = GOAWAY_SENT;
    }
}

static void put_ping(struct session *session, struct output *output)
{
    put_u64(output, FRAME_PING, 0, session->ping_number);
    session->ping_under_way = true;
    session->ping_sent_at = session->now;
}

static void put_max_streams(struct session *session, struct output *output)
{
    uint64_t allowed = (uint64_t)session->peer_gone + session->config.max_streams;

    session->peer_allowed = allowed < CONTROL_STREAMS_MAX ? (uint32_t)allowed : CONTROL_STREAMS_MAX;
    put_u32(output, FRAME_MAX_STREAMS, 0, session->peer_allowed);
}

/* All of these together fit into SESSION_SEND_MIN. */
static void put_session_frames(struct session *session, struct output *output)
{
    uint8_t owes = session->owes;

    session->owes = 0;
    if (owes & OWES_PONG) {
        put_bytes(output, FRAME_PONG, 0, session->pong, sizeof(session->pong));
    }
    put_own_goaway(session, output);
    owes |= session->owes;
    session->owes = 0;
    if (owes & OWES_PING) {
        put_ping(session, output);
    }
    if (owes & OWES_MAX_DATA) {
        session->receive_max = session->consumed + session->config.budget;
        put_u64(output, FRAME_MAX_DATA, 0, session->receive_max);
    }
    if (owes & OWES_MAX_STREAMS) {
        put_max_streams(session, output);
    }
}

/* The OPEN of our own, or the refusal; true once it is out. */
static bool put_payload(struct channel *channel, struct output *output, uint8_t type)
{
    uint8_t bytes[32];

    if (!channel->payload) { /* a refusal without a message */
        struct control_refused refused = {.code = channel->reset_code, .retryable = channel->retryable};
        return put_bytes(output, type, channel->id, bytes,
                         control_encode_refused(&refused, bytes, sizeof(bytes)));
    }
    if (!put_bytes(output, type, channel->id, channel->payload, channel->payload_length)) {
        return false;
    }
    free(channel->payload);
    channel->payload = NULL;
    channel->session->own_sent += channel->own;
    return true;
}

static bool put_reset(struct channel *channel, struct output *output)
{
    uint8_t *payload = put_frame(output, FRAME_RESET, channel->id, 12);

    if (!payload) {
        return false;
    }
    frame_put_u32(payload, channel->reset_code);
    frame_put_u64(payload + 4, channel->sent);
    return true;
}

/* A credit that became pointless is not sent. */
static bool put_credit(struct channel *channel, struct output *output)
{
    if (channel->receive_over || channel->discard) {
        return true;
    }
    if (room(output) < FRAME_HEADER + 8) {
        return false;
    }
    return !window_grant(channel) ||
           put_u64(output, FRAME_MAX_STREAM_DATA, channel->id, channel->receive_max);
}

static bool put_pending(struct channel *channel, enum pending frame, struct output *output)
{
    uint8_t opened[1];

    switch (frame) {
    case PENDING_OPEN:
        return put_payload(channel, output, FRAME_OPEN);
    case PENDING_OPENED:
        return put_bytes(output, FRAME_OPENED, channel->id, opened,
                         control_encode_opened(opened, sizeof(opened)));
    case PENDING_REFUSED:
        return put_payload(channel, output, FRAME_REFUSED);
    case PENDING_CREDIT:
        return put_credit(channel, output);
    case PENDING_STOP:
        return channel->receive_over || put_u32(output, FRAME_STOP, channel->id, channel->stop_code);
    default:
        return put_reset(channel, output);
    }
}

/* In the order of the bits, which is the order they must have on the wire. False: the room is used up. */
static bool put_channel(struct channel *channel, struct output *output)
{
    for (unsigned frame = PENDING_OPEN; frame <= PENDING_RESET; frame <<= 1) {
        if (!(channel->pending & frame)) {
            continue;
        }
        if (!put_pending(channel, frame, output)) {
            return false;
        }
        channel->pending &= (uint8_t)~frame;
    }
    return true;
}

static bool put_control(struct session *session, struct output *output)
{
    struct channel *channel;

    while ((channel = TAILQ_FIRST(&session->control))) {
        if (!put_channel(channel, output)) {
            return false;
        }
        TAILQ_REMOVE(&session->control, channel, control_link);
        channel_settle(channel);
    }
    return true;
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static void stall(struct channel *channel)
{
    channel->stalled = true;
    channel->session->stats.stream_stalls++;
    channel_unschedule(channel);
    timer_update(channel, false);
}

/* How much the first of the ready list may send in one frame. Nobody waits for one that is alone. */
static size_t turn_left(const struct session *session)
{
    bool alone = !TAILQ_NEXT(TAILQ_FIRST(&session->ready), ready_link);

    return alone ? FRAME_PAYLOAD_MAX : session->turn;
}

/* Its turn is over: to the end of the list. */
static void next_turn(struct channel *channel)
{
    struct session *session = channel->session;

    TAILQ_REMOVE(&session->ready, channel, ready_link);
    TAILQ_INSERT_TAIL(&session->ready, channel, ready_link);
    session->turn = TURN;
}

static void account(struct channel *channel, size_t length, enum channel_more more)
{
    struct session *session = channel->session;

    channel->sent += length;
    session->sent += length;
    if (more == CHANNEL_FIN) {
        channel->wants = false;
        channel->send_over = true;
        channel_unschedule(channel);
    } else if (more == CHANNEL_PAUSE) {
        channel->wants = false;
        channel_unschedule(channel);
    } else {
        session->turn -= (uint32_t)least(session->turn, length);
        if (session->turn == 0) {
            next_turn(channel);
        }
    }
    timer_update(channel, length > 0);
    channel_settle(channel);
}

static void add_piece(struct output *output, const void *bytes, size_t length)
{
    if (length > 0) {
        output->pieces[output->count++] = (struct iovec){(void *)bytes, length};
    }
}

/* What was put into the buffer since the last one. */
static void end_piece(struct output *output)
{
    add_piece(output, output->piece, (size_t)(output->at - output->piece));
    output->piece = output->at;
}

/* Bytes that are to go from where they lie; NULL: there are none, or no room to say where they are. */
static const void *borrow(struct channel *channel, const struct output *output, size_t size,
                          size_t *ret_length, enum channel_more *more)
{
    const struct session_events *events = channel->session->events;
    const void *bytes = NULL;

    if (events->lend && output->count + PIECES_A_FRAME <= output->most) {
        *ret_length = events->lend(channel, &bytes, size, more);
    }
    return bytes;
}

static void put_data_header(const struct channel *channel, struct output *output, size_t length, bool fin)
{
    frame_encode_header(output->at, (struct frame_header){.type = FRAME_DATA,
                                                          .flags = fin ? FRAME_FIN : 0,
                                                          .length = (uint16_t)length,
                                                          .stream = channel->id});
    output->at += FRAME_HEADER;
}

static void put_lent(struct output *output, const void *bytes, size_t length)
{
    end_piece(output);
    add_piece(output, bytes, length);
    output->lent += length;
    output->end -= length;
}

/* Credit that could wait goes with what is sent now anyway: who asks and answers in turns needs no frame of its own for it. */
static void put_credit_along(struct channel *channel, struct output *output)
{
    if (window_is_due(channel) && !(channel->pending & PENDING_CREDIT) &&
        room(output) >= FRAME_HEADER + 8 + FRAME_HEADER + SMALL_TAIL) {
        (void)put_credit(channel, output);
    }
}

/* One DATA frame of the channel whose turn it is. */
static void put_data(struct channel *channel, struct output *output)
{
    struct session *session = channel->session;
    uint64_t credit = least(channel->send_max - channel->sent, session->send_max - session->sent);
    size_t size = (size_t)least(least(room(output) - FRAME_HEADER, session->peer.max_payload),
                                least(turn_left(session), credit));
    enum channel_more more = CHANNEL_PAUSE;
    const void *lent = NULL;
    size_t length = 0;

    if (!channel->finishing) {
        lent = borrow(channel, output, size, &length, &more);
    }
    if (!channel->finishing && !lent) {
        length = session->events->fill(channel, output->at + FRAME_HEADER, size, &more);
    }
    assert(length <= size);
    if (channel->send_over) { /* it was reset meanwhile */
        return;
    }
    if (channel->finishing) {
        more = CHANNEL_FIN;
    }
    if (length == 0 && more == CHANNEL_MORE) {
        more = CHANNEL_PAUSE;
    }
    if (length > 0 || more == CHANNEL_FIN) {
        put_data_header(channel, output, length, more == CHANNEL_FIN);
    }
    if (lent) {
        put_lent(output, lent, length);
    } else {
        output->at += length;
    }
    account(channel, length, more);
}

static void put_all_data(struct session *session, struct output *output)
{
    struct channel *channel;

    while (session_running(session) && (channel = TAILQ_FIRST(&session->ready))) {
        if (room(output) < FRAME_HEADER + (output->at == output->start ? 1 : SMALL_TAIL)) {
            return;
        }
        if (channel->sent == channel->send_max && !channel->finishing) {
            stall(channel);
            continue;
        }
        if (session->sent == session->send_max) {
            if (session->blocked_since == SESSION_NEVER) {
                session->blocked_since = session->now;
                session->stats.session_stalls++;
            }
            return;
        }
        put_credit_along(channel, output);
        put_data(channel, output);
    }
}

static bool may_send_data(const struct session *session)
{
    return !TAILQ_EMPTY(&session->ready) && session->blocked_since == SESSION_NEVER;
}

bool session_has_output(const struct session *session)
{
    if (!session->hello_sent || session->owes & OWES_FATAL) {
        return true;
    }
    if (!session_running(session)) {
        return false;
    }
    return session->owes || session_owes_streams(session) || session->goaway == GOAWAY_WARN ||
           session->goaway == GOAWAY_FINAL || !TAILQ_EMPTY(&session->control) || may_send_data(session);
}

static void put_all(struct session *session, uint64_t now, struct output *output)
{
    session_enter(session, now);
    if (!session->hello_sent) {
        put_hello(session, output);
    }
    if (session->owes & OWES_FATAL) {
        session->owes = 0;
        put_goaway(output, session_last_peer_id(session), session->end.code, session->end_text, 0);
    } else if (session_running(session)) {
        put_session_frames(session, output);
        if (put_control(session, output)) {
            put_all_data(session, output);
        }
    }
    session_leave(session);
}

size_t session_send(struct session *session, uint64_t now, void *buffer, size_t size)
{
    struct output output = {.start = buffer, .at = buffer, .end = (uint8_t *)buffer + size};

    assert(size >= SESSION_SEND_MIN);
    put_all(session, now, &output);
    return (size_t)(output.at - output.start);
}

size_t session_send_pieces(struct session *session, uint64_t now, void *buffer, size_t size,
                           struct iovec *pieces, size_t *count)
{
    struct output output = {.start = buffer,
                            .at = buffer,
                            .end = (uint8_t *)buffer + size,
                            .pieces = pieces,
                            .most = *count,
                            .piece = buffer};

    assert(size >= SESSION_SEND_MIN && *count > 0);
    put_all(session, now, &output);
    end_piece(&output);
    *count = output.count;
    return (size_t)(output.at - output.start) + output.lent;
}
