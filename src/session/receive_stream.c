/*
 * The frames of streams. docs/protocol.md, "Streams", has the table of what is legal in which state; a stream that
 * is not in the session's table was either never opened or is closed, and its number tells which.
 */
#include "session/session_private.h"

#include <stdlib.h>

static bool was_opened(const struct session *session, uint32_t id)
{
    uint32_t ordinal = (id - 1) >> 1;

    return ordinal < (session_is_own_id(session, id) ? session->own_sent : session->peer_opened);
}

/* One whose OPEN is still to be sent is not there yet, as far as the peer can know. */
static struct channel *find(const struct session *session, uint32_t id)
{
    struct channel *channel = table_find(&session->table, id);

    return channel && channel->pending & PENDING_OPEN ? NULL : channel;
}

/* The peer promised to end its direction with what came just now. */
static void end_receiving(struct channel *channel)
{
    channel->receive_over = true;
    window_close(channel);
}

static bool tells(const struct channel *channel)
{
    return !channel->silent && !channel->released;
}

static bool check_open(struct session *session, uint32_t id)
{
    if (session_is_own_id(session, id)) {
        receive_breach(session, CODE_PROTOCOL, "S-1: an OPEN with an id of the other side's");
    } else if ((id - 1) >> 1 != session->peer_opened) {
        receive_breach(session, CODE_PROTOCOL, "S-2: an OPEN with an id that is not the next");
    } else if (session->peer_opened >= session->peer_allowed) {
        receive_breach(session, CODE_STREAM_LIMIT, "S-3: more streams than MAX_STREAMS allows");
    } else if (session->peer_warned) {
        receive_breach(session, CODE_PROTOCOL, "G-2: an OPEN from the side that is going away");
    } else if (session->goaway >= GOAWAY_FINAL) {
        receive_breach(session, CODE_PROTOCOL, "G-3: an OPEN after GOAWAY was seen");
    } else if (!limit_take(&session->opens, session->now)) {
        receive_breach(session, CODE_CALM, "L-1: too many OPENs");
    } else {
        return true;
    }
    return false;
}

static void receive_open(struct session *session, const struct frame *frame)
{
    struct control_open open;
    struct breach breach;
    struct channel *channel;
    bool unsupported;

    if (!check_open(session, frame->header.stream)) {
        return;
    }
    if (!control_decode_open(frame->bytes, frame->length, &open, &breach)) {
        session_fail(session, breach);
        return;
    }
    channel = channel_new(session, frame->header.stream, false);
    if (!channel) {
        receive_breach(session, CODE_INTERNAL, "out of memory");
        return;
    }
    session->peer_opened++;
    session_offer_streams(session);
    limit_earn(&session->noise, NOISE_EARNED);
    unsupported = open.kind > session->config.max_kind;
    if (session->spare && !unsupported) {
        session->events->open(channel, &open);
        return;
    }
    session->stats.unsupported += unsupported;
    channel_refuse(channel, unsupported ? CODE_UNSUPPORTED : code_of_reason(REASON_NO_MEMORY), NULL,
                   !unsupported);
    channel_release(channel);
}

static bool check_answer(struct channel *channel)
{
    if (channel->own && !channel->answered) {
        return true;
    }
    receive_breach(channel->session, CODE_PROTOCOL,
                   "S-5: an answer to a stream that was not asked for or has one");
    return false;
}

static void receive_opened(struct channel *channel, const struct frame *frame)
{
    struct breach breach;

    if (!check_answer(channel)) {
        return;
    }
    if (!control_decode_opened(frame->bytes, frame->length, &breach)) {
        session_fail(channel->session, breach);
        return;
    }
    channel->answered = true;
    if (tells(channel) && channel->session->events->opened) {
        channel->session->events->opened(channel);
    }
    timer_update(channel, true);
}

static void receive_refused(struct channel *channel, const struct frame *frame)
{
    const struct session_events *events = channel->session->events;
    struct control_refused refused;
    struct breach breach;
    bool tell = tells(channel);

    if (!check_answer(channel)) {
        return;
    }
    if (!control_decode_refused(frame->bytes, frame->length, &refused, &breach)) {
        session_fail(channel->session, breach);
        return;
    }
    channel->answered = true;
    end_receiving(channel);
    channel_reset(channel, refused.code);
    channel->silent = true;
    if (tell && events->refused) {
        events->refused(channel, &refused);
    }
    channel_settle(channel);
}

static void receive_max_stream_data(struct channel *channel, const struct frame *frame)
{
    uint64_t limit = frame_get_u64(frame->bytes);

    if (limit <= channel->send_max) {
        receive_breach(channel->session, CODE_FLOW_CONTROL, "W-3: a MAX_STREAM_DATA that does not grow");
        return;
    }
    if (limit - channel->send_max < SMALL_GRANT) {
        receive_noise(channel->session);
    }
    channel->send_max = limit;
    channel->stalled = false;
    channel_schedule(channel);
    timer_update(channel, true);
}

static void receive_reset(struct channel *channel, const struct frame *frame)
{
    struct session *session = channel->session;
    bool tell = tells(channel) && !channel->discard;

    if (frame_get_u64(frame->bytes + 4) != channel->received) {
        receive_breach(session, CODE_PROTOCOL, "S-8: a RESET whose final size is not what was sent");
        return;
    }
    if (!limit_take(&session->resets, session->now)) {
        receive_breach(session, CODE_CALM, "L-2: too many RESETs and STOPs");
        return;
    }
    end_receiving(channel);
    if (tell && session->events->reset) {
        session->events->reset(channel, frame_get_u32(frame->bytes));
    }
    channel_settle(channel);
}

static void receive_stop(struct channel *channel, const struct frame *frame)
{
    struct session *session = channel->session;
    uint32_t code = frame_get_u32(frame->bytes);
    bool tell = tells(channel) && !channel->send_over;

    if (channel->stop_received) {
        receive_breach(session, CODE_PROTOCOL, "S-9: a second STOP");
        return;
    }
    if (!limit_take(&session->resets, session->now)) {
        receive_breach(session, CODE_CALM, "L-2: too many RESETs and STOPs");
        return;
    }
    channel->stop_received = true;
    channel_reset(channel, code);
    if (tell && session->events->stopped) {
        session->events->stopped(channel, code);
    }
}

/* A frame for a stream that is over on our side. What the peer may have sent before it knew is let pass. */
static void receive_stray(struct session *session, const struct frame *frame)
{
    uint8_t type = frame->header.type;

    if (!was_opened(session, frame->header.stream)) {
        receive_breach(session, CODE_PROTOCOL, "S-4: a frame of a stream that was never opened");
    } else if (type == FRAME_MAX_STREAM_DATA || type == FRAME_STOP) {
        receive_noise(session);
    } else {
        receive_breach(session, CODE_STREAM_CLOSED, "S-7: a frame after the end of its direction");
    }
}

/* What the peer may send on this stream now. */
static bool check_state(struct channel *channel, uint8_t type)
{
    bool ends = type == FRAME_DATA || type == FRAME_RESET;

    if (channel->own && !channel->answered && (ends || type == FRAME_STOP)) {
        receive_breach(channel->session, CODE_PROTOCOL, "S-6: a frame before the answer to OPEN");
        return false;
    }
    if (channel->receive_over && (ends || type == FRAME_OPENED || type == FRAME_REFUSED)) {
        receive_breach(channel->session, CODE_STREAM_CLOSED, "S-7: a frame after the end of its direction");
        return false;
    }
    return true;
}

void receive_stream_frame(struct session *session, const struct frame *frame)
{
    struct channel *channel;

    if (frame->header.type == FRAME_OPEN) {
        receive_open(session, frame);
        return;
    }
    channel = find(session, frame->header.stream);
    if (!channel) {
        receive_stray(session, frame);
        return;
    }
    if (!check_state(channel, frame->header.type)) {
        return;
    }
    switch (frame->header.type) {
    case FRAME_OPENED:
        receive_opened(channel, frame);
        return;
    case FRAME_REFUSED:
        receive_refused(channel, frame);
        return;
    case FRAME_MAX_STREAM_DATA:
        receive_max_stream_data(channel, frame);
        return;
    case FRAME_RESET:
        receive_reset(channel, frame);
        return;
    default:
        receive_stop(channel, frame);
    }
}

/* The whole frame is judged when its header is there. */
static bool check_data(struct channel *channel, const struct frame_header *header)
{
    struct session *session = channel->session;

    if (!check_state(channel, FRAME_DATA)) {
        return false;
    }
    if (header->length > channel->receive_max - channel->received) {
        receive_breach(session, CODE_FLOW_CONTROL, "W-1: more bytes than MAX_STREAM_DATA allows");
    } else if (header->length > session->receive_max - session->received) {
        receive_breach(session, CODE_FLOW_CONTROL, "W-2: more bytes than MAX_DATA allows");
    } else {
        return true;
    }
    return false;
}

static void count(struct channel *channel, size_t length)
{
    channel->received += length;
    channel->session->received += length;
}

static bool is_wanted(const struct channel *channel)
{
    return !channel->discard && tells(channel);
}

static void take(struct channel *channel, const struct frame *frame)
{
    count(channel, frame->length);
    if (is_wanted(channel)) {
        channel->session->events->data(channel, frame->bytes, frame->length);
    } else {
        channel_drop(channel, frame->length);
    }
}

struct channel *receive_expects(const struct session *session)
{
    struct channel *channel = find(session, session->reader.header.stream);

    return channel && is_wanted(channel) ? channel : NULL;
}

void receive_skip(struct channel *channel, size_t length)
{
    count(channel, length);
    timer_update(channel, true);
}

static void finish(struct channel *channel)
{
    bool tell = tells(channel) && !channel->discard;

    end_receiving(channel);
    if (tell && channel->session->events->fin) {
        channel->session->events->fin(channel);
    }
    channel_settle(channel);
}

void receive_data(struct session *session, const struct frame *frame)
{
    struct channel *channel = find(session, frame->header.stream);

    if (!channel) {
        receive_stray(session, frame);
        return;
    }
    if (frame->first) {
        if (!check_data(channel, &frame->header)) {
            return;
        }
        if (frame->header.length == 0 && !(frame->header.flags & FRAME_FIN)) {
            receive_noise(session);
        }
    }
    if (frame->length > 0) {
        take(channel, frame);
        timer_update(channel, true);
    }
    if (frame->last && frame->header.flags & FRAME_FIN && session_running(session)) {
        finish(channel);
    }
}
