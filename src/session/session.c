/*
 * A session from its making to its end.
 *
 *     PREFACE -> HELLO -> RUNNING -> ENDING -> OVER
 *
 * ENDING lasts only until the function that noticed is left, or, where the application asked for the end, until the
 * next one: then the channels that are left fail, `ended` is told, and all that is still to come out
 * is the GOAWAY. Nothing of the session refers to a channel after its death; see session_private.h.
 */
#include "session/session_private.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RESERVE_MAX 65536u

void session_config_default(struct session_config *config, enum session_role role)
{
    *config = (struct session_config){
        .role = role,
        .version_min = SESSION_VERSION,
        .version_max = SESSION_VERSION,
        .max_payload = FRAME_PAYLOAD_MAX,
        .max_streams = 256,
        .max_own_streams = 256,
        .budget = 16u << 20,
        .handshake_timeout = 10000,
        .frame_timeout = 30000,
        .open_timeout = 30000,
        .stop_timeout = 30000,
        .progress_timeout = 300000,
        .half_closed_timeout = 300000,
        .ping_interval = 15000,
        .pong_timeout = 30000,
        .opens = {50000, 50000},
        .resets = {2000, 4000},
        .pings = {5, 50},
        .noise = {1000, 2000},
    };
}

static uint64_t most_streams(const struct session_config *config)
{
    return (uint64_t)config->max_streams + config->max_own_streams;
}

int session_config_check(const struct session_config *config, struct error *err)
{
    if (config->version_min < 1 || config->version_min > config->version_max ||
        config->version_max > UINT16_MAX) {
        return error_set(err, -EINVAL, "session: versions are from 1 to 65535, the smaller first");
    }
    if (config->max_payload < FRAME_PAYLOAD_MIN || config->max_payload > FRAME_PAYLOAD_MAX) {
        return error_set(err, -EINVAL, "session: max_payload is from %u to %u", FRAME_PAYLOAD_MIN,
                         FRAME_PAYLOAD_MAX);
    }
    if (most_streams(config) > CONTROL_STREAMS_MAX) {
        return error_set(err, -EINVAL, "session: at most %u streams", CONTROL_STREAMS_MAX);
    }
    if (config->budget < CONTROL_SESSION_WINDOW_MIN || config->budget > CONTROL_WINDOW_MAX / 2 ||
        config->budget / 2 < CONTROL_WINDOW_MIN * most_streams(config)) {
        return error_set(err, -EINVAL,
                         "session: the budget is at least 2 KiB for each stream, and at most 512 GiB");
    }
    if (config->ping_interval < CONTROL_PING_MIN || config->ping_interval > CONTROL_PING_MAX) {
        return error_set(err, -EINVAL, "session: ping_interval is from %u to %u ms", CONTROL_PING_MIN,
                         CONTROL_PING_MAX);
    }
    if (config->handshake_timeout == 0 || config->frame_timeout == 0 || config->open_timeout == 0 ||
        config->stop_timeout == 0 || config->pong_timeout == 0) {
        return error_set(err, -EINVAL, "session: only progress_timeout and half_closed_timeout may be 0");
    }
    if (config->build &&
        (strlen(config->build) > CONTROL_BUILD_MAX || !control_printable(control_text(config->build)))) {
        return error_set(err, -EINVAL, "session: build is at most %u bytes of printable ASCII",
                         CONTROL_BUILD_MAX);
    }
    return 0;
}

/* See window.c. */
static void divide_budget(struct session *session)
{
    uint64_t budget = session->config.budget;
    uint64_t most = most_streams(&session->config);
    uint64_t reserve = most > 0 ? budget / 2 / most : RESERVE_MAX;

    session->reserve = reserve < RESERVE_MAX ? (uint32_t)reserve : RESERVE_MAX;
    session->shared = budget / 4 * 3 - session->reserve * most;
    if (session->shared > UINT32_MAX / 2) { /* a window is 32 bits wide */
        session->shared = UINT32_MAX / 2;
    }
    session->receive_max = budget;
}

static void init_limits(struct session *session)
{
    struct limit_rate resets = session->config.resets;

    /* A peer that ends may take all of its streams with it at once, and be allowed as many anew. */
    resets.burst += 2 * session->config.max_streams;
    limit_init(&session->opens, session->config.opens, session->now);
    limit_init(&session->resets, resets, session->now);
    limit_init(&session->pings, session->config.pings, session->now);
    limit_init(&session->noise, session->config.noise, session->now);
}

struct session *session_new(const struct session_config *config, const struct session_events *events,
                            void *user, uint64_t now)
{
    struct session *session;

    if (session_config_check(config, NULL) < 0) {
        return NULL;
    }
    session = calloc(1, sizeof(*session));
    if (!session) {
        return NULL;
    }
    session->spare = calloc(1, sizeof(*session->spare));
    if (!table_init(&session->table, config->hash_seed) || !session->spare) {
        table_release(&session->table);
        free(session->spare);
        free(session);
        return NULL;
    }
    session->config = *config;
    session->events = events;
    session->user = user;
    session->now = session->started_at = now;
    session->frame_since = session->blocked_since = session->drain_by = SESSION_NEVER;
    session->ping_at = session->pong_by = session->rtt_least = SESSION_NEVER;
    session->turn = TURN;
    session->peer_allowed = config->max_streams;
    session->peer_last = CONTROL_LAST_WARNING;
    TAILQ_INIT(&session->control);
    TAILQ_INIT(&session->ready);
    TAILQ_INIT(&session->dead);
    for (unsigned timer = 0; timer < TIMER_COUNT; timer++) {
        TAILQ_INIT(&session->timers[timer]);
    }
    frame_reader_init(&session->reader, config->max_payload);
    divide_budget(session);
    init_limits(session);
    return session;
}

static void free_channel(struct channel *channel, void *arg UNUSED)
{
    free(channel->payload);
    free(channel);
}

void session_bury(struct session *session)
{
    struct channel *channel;

    while ((channel = TAILQ_FIRST(&session->dead))) {
        TAILQ_REMOVE(&session->dead, channel, control_link);
        free_channel(channel, NULL);
    }
    if (!session->spare && session->phase == PHASE_RUNNING) {
        session->spare = calloc(1, sizeof(*session->spare));
    }
}

void session_free(struct session *session)
{
    if (!session) {
        return;
    }
    assert(!session->busy);
    session_bury(session);
    table_each(&session->table, free_channel, NULL);
    table_release(&session->table);
    free(session->spare);
    free(session);
}

void *session_user(const struct session *session)
{
    return session->user;
}

uint32_t session_last_peer_id(const struct session *session)
{
    uint32_t first = session->config.role == SESSION_CLIENT ? 2 : 1;

    return session->peer_opened == 0 ? 0 : 2 * (session->peer_opened - 1) + first;
}

/* The first cause is the one that counts: the callers see to that. `text` is copied. */
static void end_with(struct session *session, uint32_t code, bool by_peer, struct control_text text)
{
    session->phase = PHASE_ENDING;
    snprintf(session->end_text, sizeof(session->end_text), "%.*s", (int)text.length,
             text.data ? text.data : "");
    control_message(session->end_text, session->end_text);
    session->end = (struct session_end){code, by_peer, session->end_text};
}

void session_fail(struct session *session, struct breach breach)
{
    if (session->phase >= PHASE_ENDING) {
        return;
    }
    session->owes = OWES_FATAL;
    end_with(session, breach.code, false, control_text(breach.text));
}

void session_finish(struct session *session, uint32_t code, bool by_peer, struct control_text text)
{
    if (session->phase >= PHASE_ENDING) {
        return;
    }
    session->owes = 0;
    end_with(session, code, by_peer, text);
}

void session_abort(struct session *session, enum code code, const char *text)
{
    session_fail(session, (struct breach){code, text});
}

static void fail_left(struct channel *channel, void *arg)
{
    struct session *session = arg;
    bool over = channel->send_over && channel->receive_over && !channel->pending;
    bool unseen =
        channel->pending & PENDING_OPEN || (session->end.by_peer && channel->id > session->peer_last);

    channel_cut(channel);
    timer_stop(channel);
    if (!over && !channel->silent && !channel->released && session->events->failed) {
        session->events->failed(channel, session->end.code, channel->own && unseen);
    }
    channel->silent = true;
    channel_settle(channel);
}

static void end(struct session *session)
{
    table_each(&session->table, fail_left, session);
    session->phase = PHASE_OVER;
    if (session->events->ended) {
        session->events->ended(session, &session->end);
    }
}

bool session_is_done(const struct session *session)
{
    return session_running(session) && session->table.count == 0 &&
           (session->goaway == GOAWAY_SENT || (session->peer_final && session->goaway != GOAWAY_FINAL));
}

static void part(struct session *session)
{
    if (session->goaway == GOAWAY_SENT) {
        session_finish(session, CODE_NO_ERROR, false, control_text(NULL));
    } else {
        session->goaway = GOAWAY_FINAL;
    }
}

void session_enter(struct session *session, uint64_t now)
{
    assert(!session->busy);
    session->busy = true;
    session_set_now(session, now);
}

void session_leave(struct session *session)
{
    if (session_is_done(session)) {
        part(session);
    }
    if (session->phase == PHASE_ENDING) {
        end(session);
    }
    if (session_owes_streams(session)) {
        session->told_no_streams = false;
        if (session->events->streams) {
            session->events->streams(session);
        }
    }
    session_bury(session);
    session->busy = false;
}

void session_set_now(struct session *session, uint64_t now)
{
    if (now > session->now) {
        session->now = now;
    }
}

static void run_pings(struct session *session)
{
    if (session->now >= session->pong_by) {
        session_fail(session, (struct breach){CODE_TIMEOUT, "K-3: a PING was not answered in time"});
    } else if (session->now >= session->ping_at) {
        session_ping(session);
    }
}

void session_tick(struct session *session, uint64_t now)
{
    session_enter(session, now);
    if (session->phase < PHASE_RUNNING) {
        if (session->now - session->started_at >= session->config.handshake_timeout) {
            session_fail(session, (struct breach){CODE_TIMEOUT, "H-6: no whole HELLO came in time"});
        }
    } else if (session_running(session)) {
        if (session->now >= session->drain_by) {
            session_fail(session, (struct breach){CODE_GOING_AWAY, "the time to finish is over"});
        }
        if (session->frame_since != SESSION_NEVER &&
            session->now - session->frame_since >= session->config.frame_timeout) {
            session_fail(session,
                         (struct breach){CODE_TIMEOUT, "F-6: a frame was begun and not finished in time"});
        }
        if (TAILQ_EMPTY(&session->ready)) { /* what waited for it is gone */
            session->blocked_since = SESSION_NEVER;
        }
        if (session->blocked_since != SESSION_NEVER && session->config.progress_timeout > 0 &&
            session->now - session->blocked_since >= session->config.progress_timeout) {
            session_fail(session,
                         (struct breach){CODE_TIMEOUT, "W-6: no credit for the session came in time"});
        }
        run_pings(session);
        timer_run(session);
    }
    session_leave(session);
}

bool session_ping(struct session *session)
{
    if (!session_running(session) || session->pong_by != SESSION_NEVER) {
        return false;
    }
    session->owes |= OWES_PING;
    session->ping_at = SESSION_NEVER;
    session->pong_by = session->now + session->config.pong_timeout;
    return true;
}

void session_drain(struct session *session, uint32_t deadline_ms)
{
    uint64_t by = deadline_ms > 0 ? session->now + deadline_ms : SESSION_NEVER;

    if (session->phase < PHASE_RUNNING) {
        session_abort(session, CODE_GOING_AWAY, "going away");
        return;
    }
    if (by < session->drain_by) {
        session->drain_by = by;
    }
    if (session->goaway == GOAWAY_NONE) {
        session->goaway = GOAWAY_WARN;
    }
}

void session_offer_streams(struct session *session)
{
    uint64_t allow = (uint64_t)session->peer_gone + session->config.max_streams;

    if (allow > session->peer_allowed && session->peer_allowed < CONTROL_STREAMS_MAX &&
        session->peer_allowed - session->peer_opened <= session->config.max_streams / 2) {
        session->owes |= OWES_MAX_STREAMS;
    }
}

static void fail_if_unsent(struct channel *channel, void *arg UNUSED)
{
    const struct session_events *events = channel->session->events;

    if (!(channel->pending & PENDING_OPEN)) {
        return;
    }
    channel_cut(channel);
    if (!channel->released && events->failed) {
        events->failed(channel, CODE_GOING_AWAY, true);
    }
    channel->silent = true;
    channel_settle(channel);
}

void session_fail_unsent(struct session *session)
{
    table_each(&session->table, fail_if_unsent, NULL);
}

bool session_owes_streams(const struct session *session)
{
    return session->told_no_streams && session_running(session) &&
           session->own_opened < session->own_allowed &&
           session->own_live < session->config.max_own_streams && session->goaway == GOAWAY_NONE &&
           !session->peer_warned;
}

static int may_open(struct session *session)
{
    if (session->phase >= PHASE_ENDING || session->goaway != GOAWAY_NONE || session->peer_warned ||
        session->own_opened >= CONTROL_STREAMS_MAX) {
        return -ESHUTDOWN;
    }
    if (session_running(session) && session->own_opened < session->own_allowed &&
        session->own_live < session->config.max_own_streams) {
        return 0;
    }
    session->told_no_streams = true;
    return -EAGAIN;
}

int session_open(struct session *session, const struct control_open *open, void *user, struct channel **ret)
{
    uint8_t bytes[FRAME_CONTROL_MAX];
    uint32_t first = session->config.role == SESSION_CLIENT ? 1 : 2;
    int status = may_open(session);
    size_t length;
    struct channel *channel;
    uint8_t *payload;

    if (status < 0) {
        return status;
    }
    length = control_encode_open(open, bytes, sizeof(bytes));
    if (length == 0) {
        return -EINVAL;
    }
    payload = malloc(length);
    channel = payload ? channel_new(session, 2 * session->own_opened + first, true) : NULL;
    if (!channel) {
        free(payload);
        return -ENOMEM;
    }
    memcpy(payload, bytes, length);
    channel->payload = payload;
    channel->payload_length = (uint16_t)length;
    channel->user = user;
    session->own_opened++;
    session->own_live++;
    limit_earn(&session->noise, NOISE_EARNED);
    channel_owe(channel, PENDING_OPEN);
    timer_update(channel, true);
    *ret = channel;
    return 0;
}

bool session_is_over(const struct session *session)
{
    return session->phase == PHASE_OVER;
}

void session_stats(const struct session *session, struct session_stats *ret)
{
    *ret = session->stats;
    ret->channels = session->table.count;
    ret->opened = session->own_opened;
    ret->accepted = session->peer_opened;
    ret->bytes_sent = session->sent;
    ret->bytes_received = session->received;
    ret->held = session->received - session->consumed;
    ret->rtt_ms = session->rtt;
}
