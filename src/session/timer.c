/*
 * What a channel waits for, and for how long.
 *
 * Each kind of waiting has one length, so each kind is a list in the order of its deadlines: to begin anew is
 * to go to the end of the list, and the next deadline is that of the first.
 */
#include "session/session_private.h"

static uint32_t length_of(const struct session *session, enum timer timer)
{
    switch (timer) {
    case TIMER_STOP:
        return session->config.stop_timeout;
    case TIMER_OPEN:
        return session->config.open_timeout;
    case TIMER_PROGRESS:
        return session->config.progress_timeout;
    default:
        return session->config.half_closed_timeout;
    }
}

static enum timer waits_for(const struct channel *channel)
{
    if (channel->discard && !channel->receive_over) {
        return TIMER_STOP;
    }
    if (channel->silent || channel->released || (channel->send_over && channel->receive_over)) {
        return TIMER_NONE;
    }
    if (channel->own && !channel->answered) {
        return TIMER_OPEN;
    }
    if (channel->stalled || channel->received > channel->consumed) {
        return TIMER_PROGRESS;
    }
    if (channel->send_over || channel->receive_over) {
        return TIMER_HALF;
    }
    return TIMER_NONE;
}

void timer_stop(struct channel *channel)
{
    if (channel->timer != TIMER_NONE) {
        TAILQ_REMOVE(&channel->session->timers[channel->timer], channel, timer_link);
    }
    channel->timer = TIMER_NONE;
}

void timer_update(struct channel *channel, bool progress)
{
    struct session *session = channel->session;
    enum timer timer = channel->dead || session->phase >= PHASE_ENDING ? TIMER_NONE : waits_for(channel);

    if (timer != TIMER_NONE && length_of(session, timer) == 0) {
        timer = TIMER_NONE;
    }
    /* Bytes do not prolong the wait for an answer, or for the end of what nobody wants. */
    if (timer == channel->timer && (timer <= TIMER_OPEN || !progress)) {
        return;
    }
    timer_stop(channel);
    if (timer == TIMER_NONE) {
        return;
    }
    channel->timer = (uint8_t)timer;
    channel->timer_since = session->now;
    TAILQ_INSERT_TAIL(&session->timers[timer], channel, timer_link);
}

static void expire(struct channel *channel, enum timer timer)
{
    switch (timer) {
    case TIMER_STOP:
        session_fail(channel->session,
                     (struct breach){CODE_TIMEOUT,
                                     "S-10: a stream that was stopped or refused was not ended"});
        return;
    case TIMER_OPEN:
        channel_fail(channel, CODE_OPEN_TIMEOUT, false);
        return;
    case TIMER_PROGRESS:
        channel_fail(channel, CODE_NO_PROGRESS, false);
        return;
    default:
        channel_fail(channel, code_of_reason(REASON_HALF_CLOSED_TIMEOUT), false);
        return;
    }
}

void timer_run(struct session *session)
{
    for (unsigned timer = 0; timer < TIMER_COUNT; timer++) {
        struct channel *channel;
        while (session_running(session) && (channel = TAILQ_FIRST(&session->timers[timer])) &&
               session->now - channel->timer_since >= length_of(session, timer)) {
            timer_stop(channel);
            expire(channel, timer);
        }
    }
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t after(uint64_t since, uint32_t length)
{
    return since == SESSION_NEVER || length == 0 ? SESSION_NEVER : since + length;
}

uint64_t session_next_deadline(const struct session *session)
{
    uint64_t next = session->drain_by;

    if (session->phase == PHASE_OVER) {
        return SESSION_NEVER;
    }
    if (session->phase == PHASE_ENDING || session_is_done(session)) {
        return session->now;
    }
    if (session->phase < PHASE_RUNNING) {
        return earlier(next, after(session->started_at, session->config.handshake_timeout));
    }
    next = earlier(next, after(session->frame_since, session->config.frame_timeout));
    next = earlier(next, after(session->blocked_since, session->config.progress_timeout));
    next = earlier(next, earlier(session->ping_at, session->pong_by));
    for (unsigned timer = 0; timer < TIMER_COUNT; timer++) {
        const struct channel *channel = TAILQ_FIRST(&session->timers[timer]);
        if (channel) {
            next = earlier(next, after(channel->timer_since, length_of(session, timer)));
        }
    }
    return next;
}
