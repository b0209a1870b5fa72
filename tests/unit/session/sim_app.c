/* The applications: they open, answer, send, hold, consume, break off, from within events and outside of them. */
#include "sim.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PATTERN 8191u /* prime to everything a frame's size could be */

static const uint8_t *pattern(void)
{
    static uint8_t bytes[2 * PATTERN];

    if (!bytes[1]) {
        struct rng rng = {1};
        for (size_t i = 0; i < PATTERN; i++) {
            bytes[i] = bytes[i + PATTERN] = (uint8_t)(rng_next(&rng) | (i == 1));
        }
    }
    return bytes;
}

/* What is sent on a stream by its opener (or acceptor) is fixed by the seed. */
static uint64_t key(const struct sim *sim, uint32_t id, bool opener)
{
    struct rng rng = {sim->seed * 1000003 + id * 2 + opener};

    return rng_next(&rng);
}

static uint64_t planned(const struct sim *sim, uint32_t id, bool opener)
{
    uint64_t k = key(sim, id, opener);

    switch (k % 8) {
    case 0:
        return 0;
    case 1:
        return 1;
    case 2:
        return k / 8 % 60000;
    default:
        return k / 8 % 3000;
    }
}

static struct conv *conv_of(struct channel *channel)
{
    return channel_user(channel);
}

static struct conv *new_conv(struct side *side, bool own)
{
    for (size_t i = 0; i < CONVS_MAX; i++) {
        if (side->convs[i].channel) {
            continue;
        }
        side->convs[i] = (struct conv){.side = side,
                                       .own = own,
                                       .stuck = side->sim->stalls && rng_chance(&side->sim->rng, 20)};
        return &side->convs[i];
    }
    return NULL;
}

static void begin(struct conv *conv, struct channel *channel)
{
    conv->channel = channel;
    conv->id = channel_id(channel);
    conv->to_send = planned(conv->side->sim, conv->id, conv->own);
}

static void let_go(struct conv *conv)
{
    if (!conv->channel) {
        return;
    }
    sim_trace(conv->side->sim, "side %d releases %u", (int)(conv->side - conv->side->sim->sides), conv->id);
    channel_release(conv->channel);
    conv->channel = NULL;
}

/* In the middle of an event, things happen to this stream or to another. */
static void meddle(struct side *side, struct conv *conv)
{
    struct rng *rng = &side->sim->rng;

    if (!side->sim->rude || !rng_chance(rng, 5)) {
        return;
    }
    if (rng_chance(rng, 50)) {
        conv = &side->convs[rng_below(rng, CONVS_MAX)];
    }
    if (!conv->channel) {
        return;
    }
    conv->cut_short = true;
    switch (rng_below(rng, 3)) {
    case 0:
        channel_reset(conv->channel, CODE_CANCEL);
        return;
    case 1:
        channel_stop(conv->channel, CODE_CANCEL);
        return;
    default:
        let_go(conv);
    }
}

static void on_ready(struct session *session, const struct control_hello *peer)
{
    struct side *side = session_user(session);

    CHECK(side->sim, !side->ready && peer->version_max == SESSION_VERSION);
    side->ready = side->may_open = true;
}

static void on_open(struct channel *channel, const struct control_open *open)
{
    struct side *side = session_user(channel_session(channel));
    struct conv *conv = new_conv(side, false);

    CHECK(side->sim, conv && open->route.length == 4 && memcmp(open->route.data, "echo", 4) == 0);
    channel_set_user(channel, conv);
    begin(conv, channel);
    if (rng_chance(&side->sim->rng, 50)) {
        channel_accept(channel);
        conv->answered = true;
        channel_ready(channel);
    }
    meddle(side, conv);
}

static void on_opened(struct channel *channel)
{
    struct conv *conv = conv_of(channel);

    CHECK(conv->side->sim, conv->own && !conv->answered && !conv->failed);
    conv->answered = true;
    meddle(conv->side, conv);
}

static void on_refused(struct channel *channel, const struct control_refused *refused)
{
    struct conv *conv = conv_of(channel);
    struct sim *sim = conv->side->sim;

    CHECK(sim, conv->own && !conv->answered && !conv->failed);
    CHECK(sim, sim->rude || sim->fault == FAULT_DRAIN || sim->stalls);
    CHECK(sim, refused->code == CODE_CANCEL || refused->code == code_of_reason(REASON_LIMIT_ROUTE) ||
                   refused->code == CODE_NO_PROGRESS);
    conv->failed = true;
}

static void on_data(struct channel *channel, const uint8_t *bytes, size_t length)
{
    struct conv *conv = conv_of(channel);
    struct sim *sim = conv->side->sim;
    uint64_t k = key(sim, conv->id, !conv->own);

    CHECK(sim, !conv->got_end && !conv->failed && length > 0);
    for (size_t i = 0; i < length;) {
        size_t at = (size_t)((k + conv->received) % PATTERN);
        size_t piece = length - i < PATTERN ? length - i : PATTERN;
        CHECK(sim, memcmp(bytes + i, pattern() + at, piece) == 0);
        conv->received += piece;
        i += piece;
    }
    conv->held += length;
    conv->side->bytes_in += length;
    CHECK(sim, conv->received <= planned(sim, conv->id, !conv->own));
    if (!conv->stuck && rng_chance(&sim->rng, 50)) {
        size_t some = 1 + rng_below(&sim->rng, (uint32_t)conv->held);
        channel_consumed(channel, some);
        conv->held -= some;
    }
    if (rng_chance(&sim->rng, 5)) {
        session_yield(conv->side->session);
    }
    meddle(conv->side, conv);
}

static void on_fin(struct channel *channel)
{
    struct conv *conv = conv_of(channel);

    CHECK(conv->side->sim,
          !conv->got_end && conv->received == planned(conv->side->sim, conv->id, !conv->own));
    conv->got_end = true;
    conv->side->whole++;
    meddle(conv->side, conv);
}

static void on_reset(struct channel *channel, uint32_t code)
{
    struct conv *conv = conv_of(channel);

    CHECK(conv->side->sim, !conv->got_end && code != 0);
    conv->got_end = conv->cut_short = true;
    meddle(conv->side, conv);
}

static void on_stopped(struct channel *channel, uint32_t code)
{
    struct conv *conv = conv_of(channel);

    CHECK(conv->side->sim, code != 0);
    conv->cut_short = true;
    meddle(conv->side, conv);
}

static void on_failed(struct channel *channel, uint32_t code, bool retryable)
{
    struct conv *conv = conv_of(channel);
    struct sim *sim = conv->side->sim;

    sim_trace(sim, "side %d: %u failed: %s", (int)(conv->side - sim->sides), conv->id, code_word(code));
    CHECK(sim, !conv->failed);
    CHECK(sim, !retryable || conv->own);
    CHECK(sim, sim->faulted || (sim->stalls && code == CODE_NO_PROGRESS) || code == CODE_GOING_AWAY ||
                   code == code_of_reason(REASON_HALF_CLOSED_TIMEOUT) || code == CODE_OPEN_TIMEOUT);
    conv->failed = true;
    meddle(conv->side, conv);
}

static size_t on_fill(struct channel *channel, uint8_t *buffer, size_t size, enum channel_more *more)
{
    struct conv *conv = conv_of(channel);
    struct sim *sim = conv->side->sim;
    uint64_t k = key(sim, conv->id, conv->own);
    uint64_t left = conv->to_send - conv->sent;
    size_t length = size < left ? size : (size_t)left;

    CHECK(sim, size > 0 && !conv->failed && (conv->own || conv->answered));
    if (rng_chance(&sim->rng, 10)) {
        length = rng_below(&sim->rng, (uint32_t)length + 1);
    }
    for (size_t i = 0; i < length;) {
        size_t piece = length - i < PATTERN ? length - i : PATTERN;
        memcpy(buffer + i, pattern() + (k + conv->sent) % PATTERN, piece);
        conv->sent += piece;
        i += piece;
    }
    *more = rng_chance(&sim->rng, 20) ? CHANNEL_PAUSE : CHANNEL_MORE;
    if (conv->sent == conv->to_send && rng_chance(&sim->rng, 80)) {
        if (rng_chance(&sim->rng, 30)) {
            channel_finish(channel); /* whatever it says besides */
        } else {
            *more = CHANNEL_FIN;
        }
    }
    meddle(conv->side, conv);
    return length;
}

/* As far as the pattern surely goes without a break. */
static size_t on_lend(struct channel *channel, const void **bytes, size_t size, enum channel_more *more)
{
    struct conv *conv = conv_of(channel);
    struct sim *sim = conv->side->sim;
    size_t at = (size_t)((key(sim, conv->id, conv->own) + conv->sent) % PATTERN);
    uint64_t left = conv->to_send - conv->sent;
    size_t length = size < left ? size : (size_t)left;

    CHECK(sim, size > 0 && !conv->failed && (conv->own || conv->answered));
    if (length == 0 || rng_chance(&sim->rng, 30)) {
        return 0;
    }
    length = length < PATTERN ? length : PATTERN;
    *bytes = pattern() + at;
    conv->sent += length;
    *more = rng_chance(&sim->rng, 20) ? CHANNEL_PAUSE : CHANNEL_MORE;
    if (conv->sent == conv->to_send && rng_chance(&sim->rng, 50)) {
        *more = CHANNEL_FIN;
    }
    return length;
}

static void on_streams(struct session *session)
{
    struct side *side = session_user(session);

    side->may_open = true;
}

static void on_ended(struct session *session, const struct session_end *end)
{
    struct side *side = session_user(session);

    CHECK(side->sim, !side->over);
    sim_trace(side->sim, "side %d ended: %s %s", (int)(side - side->sim->sides), code_word(end->code),
              end->text);
    side->over = true;
    side->end_code = end->code;
    side->end_by_peer = end->by_peer;
    if (!side->sim->faulted && end->code != CODE_NO_ERROR) {
        sim_fail(side->sim, "side %d ended: %s %s", (int)(side - side->sim->sides), code_word(end->code),
                 end->text);
    }
}

const struct session_events app_events = {
    .ready = on_ready,
    .open = on_open,
    .opened = on_opened,
    .refused = on_refused,
    .data = on_data,
    .fin = on_fin,
    .reset = on_reset,
    .stopped = on_stopped,
    .failed = on_failed,
    .fill = on_fill,
    .lend = on_lend,
    .streams = on_streams,
    .ended = on_ended,
};

void app_init(struct side *side, struct sim *sim, const struct session_config *config)
{
    memset(side, 0, sizeof(*side));
    side->sim = sim;
    side->to_open = rng_below(&sim->rng, 12);
    side->session = session_new(config, &app_events, side, 0);
    CHECK(sim, side->session != NULL);
}

static bool open_one(struct side *side)
{
    struct control_open open = {.route = {"echo", 4}};
    struct conv *conv = new_conv(side, true);
    struct channel *channel;
    int status;

    if (!conv) {
        return false;
    }
    status = session_open(side->session, &open, conv, &channel);
    if (status == -EAGAIN) {
        side->may_open = false;
        return false;
    }
    if (status == -ESHUTDOWN) {
        side->to_open = side->opened;
        return true;
    }
    CHECK(side->sim, status == 0);
    side->opened++;
    begin(conv, channel);
    channel_ready(channel);
    return true;
}

/* Whether a stream has come to its end, as far as its application is concerned. */
static bool is_done(const struct conv *conv)
{
    if (conv->failed) {
        return true;
    }
    return channel_sending_over(conv->channel) && channel_receiving_over(conv->channel) &&
           (conv->held == 0 || conv->stuck);
}

static bool be_rude(struct conv *conv)
{
    struct rng *rng = &conv->side->sim->rng;

    conv->cut_short = true;
    switch (rng_below(rng, 4)) {
    case 0:
        channel_reset(conv->channel, CODE_CANCEL);
        return true;
    case 1:
        channel_stop(conv->channel, CODE_CANCEL);
        return true;
    case 2:
        if (!conv->own && !conv->answered) {
            channel_refuse(conv->channel, code_of_reason(REASON_LIMIT_ROUTE),
                           rng_chance(rng, 50) ? "full\n" : NULL, true);
        }
        return true;
    default:
        let_go(conv);
        return true;
    }
}

static bool act_on(struct conv *conv)
{
    struct rng *rng = &conv->side->sim->rng;

    if (is_done(conv)) {
        let_go(conv);
        return true;
    }
    if (conv->side->sim->rude && rng_chance(rng, 2)) {
        return be_rude(conv);
    }
    if (!conv->own && !conv->answered) {
        conv->answered = true;
        channel_accept(conv->channel);
        channel_ready(conv->channel);
        return true;
    }
    if (conv->held > 0 && !conv->stuck) {
        size_t some = 1 + rng_below(rng, (uint32_t)conv->held);
        channel_consumed(conv->channel, some);
        conv->held -= some;
        return true;
    }
    if (!channel_sending_over(conv->channel) && !channel_stalled(conv->channel) && !conv->channel->wants) {
        channel_ready(conv->channel);
        return true;
    }
    return false;
}

bool app_act(struct side *side)
{
    unsigned from = rng_below(&side->sim->rng, CONVS_MAX);
    bool acted = false;

    if (side->over) {
        return false;
    }
    session_set_now(side->session, side->sim->now);
    if (side->ready && side->may_open && side->opened < side->to_open && rng_chance(&side->sim->rng, 60)) {
        acted |= open_one(side);
    }
    for (unsigned i = 0; i < CONVS_MAX; i++) {
        struct conv *conv = &side->convs[(from + i) % CONVS_MAX];
        if (conv->channel && rng_chance(&side->sim->rng, 60)) {
            acted |= act_on(conv);
        }
    }
    if (rng_chance(&side->sim->rng, 1)) {
        session_ping(side->session);
    }
    return acted;
}

bool app_idle(const struct side *side)
{
    if (side->over) {
        return true;
    }
    if (!side->ready || side->opened < side->to_open) {
        return false;
    }
    for (size_t i = 0; i < CONVS_MAX; i++) {
        if (side->convs[i].channel) {
            return false;
        }
    }
    return true;
}

/* What must hold at any moment, whatever happens. */
void app_check(const struct side *side)
{
    const struct session *session = side->session;
    const struct sim *sim = side->sim;
    uint64_t held = 0, shared = 0, windows = 0;

    if (session->phase != PHASE_RUNNING) {
        return;
    }
    for (size_t i = 0; i < CONVS_MAX; i++) {
        const struct conv *conv = &side->convs[i];
        const struct channel *channel = conv->channel;
        if (!channel) {
            continue;
        }
        /* After a stop nothing is handed over, and what comes counts as consumed at once. */
        CHECK(sim, conv->held <= channel_bytes_held(channel) || channel->discard);
        CHECK(sim, channel_bytes_held(channel) <= channel->window);
        CHECK(sim, channel->window >= session->reserve);
        if (!channel->discard && !channel->receive_over) {
            CHECK(sim, channel->receive_max - channel->consumed <= channel->window);
        }
        CHECK(sim, channel->sent <= channel->send_max && channel->received <= channel->receive_max);
        held += channel_bytes_held(channel);
        shared += channel->window - session->reserve;
        windows += channel->window;
    }
    CHECK(sim, shared == session->shared_given && shared <= session->shared);
    CHECK(sim, windows <= session->config.budget / 4 * 3);
    CHECK(sim, held == session->received - session->consumed);
    CHECK(sim, held <= session->config.budget);
    CHECK(sim, session->sent <= session->send_max && session->received <= session->receive_max);
    /* The promise of window.c: there is always room in the session for what streams may be sent. */
    CHECK(sim,
          session->consumed + session->config.budget - session->receive_max < session->config.budget / 4 ||
              session->owes & OWES_MAX_DATA);
}

void app_release_all(struct side *side)
{
    for (size_t i = 0; i < CONVS_MAX; i++) {
        let_go(&side->convs[i]);
    }
}
