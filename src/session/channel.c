/* A channel's life, and what the application does with it. */
#include "session/session_private.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* For a stream of the peer's the spare steps in when memory has run out, if only to refuse it. */
struct channel *channel_new(struct session *session, uint32_t id, bool own)
{
    struct channel *channel = calloc(1, sizeof(*channel));

    if (!channel && !own) {
        channel = session->spare;
        session->spare = NULL;
    }
    if (!channel) {
        return NULL;
    }
    channel->session = session;
    channel->id = id;
    channel->own = own;
    channel->timer = TIMER_NONE;
    channel->send_max = session->peer.stream_window;
    window_open(channel);
    table_add(&session->table, channel);
    return channel;
}

void channel_owe(struct channel *channel, unsigned frames)
{
    if (channel->session->phase >= PHASE_ENDING) {
        return;
    }
    if (!channel->pending) {
        TAILQ_INSERT_TAIL(&channel->session->control, channel, control_link);
    }
    channel->pending |= (uint8_t)frames;
}

/* Puts it in the ready list if it may send. An acceptor sends nothing before its answer. */
void channel_schedule(struct channel *channel)
{
    if (!channel->wants || channel->send_over || channel->ready || channel->stalled) {
        return;
    }
    if (!channel->own && !channel->answered) {
        return;
    }
    channel->ready = true;
    TAILQ_INSERT_TAIL(&channel->session->ready, channel, ready_link);
}

void channel_unschedule(struct channel *channel)
{
    struct session *session = channel->session;

    if (!channel->ready) {
        return;
    }
    if (TAILQ_FIRST(&session->ready) == channel) {
        session->turn = TURN;
    }
    TAILQ_REMOVE(&session->ready, channel, ready_link);
    channel->ready = false;
}

static void end_sending(struct channel *channel)
{
    channel->send_over = true;
    channel->wants = false;
    channel->stalled = false;
    channel_unschedule(channel);
}

static void begin_discarding(struct channel *channel)
{
    channel->discard = true;
    window_close(channel);
}

/* The one gate. */
void channel_settle(struct channel *channel)
{
    struct session *session = channel->session;

    timer_update(channel, false);
    if (channel->dead || !channel->released || !channel->send_over || !channel->receive_over ||
        channel->pending) {
        return;
    }
    channel->dead = true;
    timer_stop(channel);
    TAILQ_INSERT_TAIL(&session->dead, channel, control_link);
    table_remove(&session->table, channel);
    if (channel->own) {
        session->own_live--;
        return;
    }
    session->peer_gone++;
    session_offer_streams(session);
}

void channel_cut(struct channel *channel)
{
    if (channel->pending) {
        TAILQ_REMOVE(&channel->session->control, channel, control_link);
    }
    channel->pending = 0;
    end_sending(channel);
    channel->receive_over = true;
}

void channel_drop(struct channel *channel, size_t bytes)
{
    window_consumed(channel, bytes);
}

void channel_fail(struct channel *channel, uint32_t code, bool retryable)
{
    struct session *session = channel->session;
    bool tell = !channel->silent && !channel->released;

    channel_reset(channel, code);
    channel_stop(channel, code);
    channel->silent = true;
    if (tell && session->events->failed) {
        session->events->failed(channel, code, retryable);
    }
    channel_settle(channel);
}

void channel_release(struct channel *channel)
{
    struct session *session = channel->session;

    assert(!channel->released);
    if (!channel->finishing || (!channel->own && !channel->answered)) {
        channel_reset(channel, CODE_CANCEL);
    }
    channel_stop(channel, CODE_CANCEL);
    channel->released = true;
    channel->user = NULL;
    if (!channel->receive_over) {
        channel->discard = true;
    }
    window_release(channel);
    channel_settle(channel);
    if (!session->busy) {
        session_bury(session);
    }
}

void channel_accept(struct channel *channel)
{
    if (channel->own || channel->answered) {
        return;
    }
    channel->answered = true;
    channel_owe(channel, PENDING_OPENED);
    channel_schedule(channel);
}

/* Encoded now, since the message is the caller's. Without memory for it the code goes alone. */
static void keep_refusal(struct channel *channel, const struct control_refused *refused)
{
    uint8_t bytes[CONTROL_MESSAGE_MAX + 32];
    size_t length;

    length = control_encode_refused(refused, bytes, sizeof(bytes));
    channel->payload = length > 0 ? malloc(length) : NULL;
    if (!channel->payload) {
        return;
    }
    memcpy(channel->payload, bytes, length);
    channel->payload_length = (uint16_t)length;
}

void channel_refuse(struct channel *channel, uint32_t code, const char *message, bool retryable)
{
    char text[CONTROL_MESSAGE_MAX + 1];
    struct control_refused refused = {code, control_message(message, text), retryable};

    if (channel->own || channel->answered) {
        return;
    }
    channel->answered = true;
    channel->reset_code = code;
    channel->retryable = retryable;
    if (message) {
        keep_refusal(channel, &refused);
    }
    channel_owe(channel, PENDING_REFUSED);
    end_sending(channel);
    begin_discarding(channel);
    channel_settle(channel);
}

void channel_ready(struct channel *channel)
{
    if (channel->send_over) {
        return;
    }
    channel->wants = true;
    channel_schedule(channel);
}

void channel_finish(struct channel *channel)
{
    if (channel->send_over) {
        return;
    }
    channel->finishing = true;
    channel->stalled = false;
    channel->wants = true;
    channel_schedule(channel);
    timer_update(channel, false);
}

void channel_consumed(struct channel *channel, size_t bytes)
{
    assert(bytes <= channel_bytes_held(channel));
    if (bytes == 0) {
        return;
    }
    window_consumed(channel, bytes);
    timer_update(channel, true);
}

void channel_reset(struct channel *channel, uint32_t code)
{
    if (channel->send_over) {
        return;
    }
    if (!channel->own && !channel->answered) {
        channel_refuse(channel, code, NULL, false);
        return;
    }
    channel->reset_code = code;
    channel_owe(channel, PENDING_RESET);
    end_sending(channel);
    channel_settle(channel);
}

void channel_stop(struct channel *channel, uint32_t code)
{
    if (channel->receive_over || channel->discard) {
        return;
    }
    if (!channel->own && !channel->answered) {
        channel_refuse(channel, code, NULL, false);
        return;
    }
    channel->stop_code = code;
    channel_owe(channel, PENDING_STOP);
    begin_discarding(channel);
    channel_settle(channel);
}

uint32_t channel_id(const struct channel *channel)
{
    return channel->id;
}

struct session *channel_session(const struct channel *channel)
{
    return channel->session;
}

void *channel_user(const struct channel *channel)
{
    return channel->user;
}

void channel_set_user(struct channel *channel, void *user)
{
    channel->user = user;
}

bool channel_sending_over(const struct channel *channel)
{
    return channel->send_over;
}

bool channel_receiving_over(const struct channel *channel)
{
    return channel->receive_over || channel->discard;
}

uint64_t channel_bytes_sent(const struct channel *channel)
{
    return channel->sent;
}

uint64_t channel_bytes_received(const struct channel *channel)
{
    return channel->received;
}

uint64_t channel_bytes_held(const struct channel *channel)
{
    return channel->received - channel->consumed;
}

bool channel_stalled(const struct channel *channel)
{
    return channel->stalled;
}
