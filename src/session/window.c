/*
 * How much the peer may send: on a stream, and in all.
 *
 * The budget B is the hard bound on what the application holds. With N streams at most:
 *
 *     R = min(B / 2N, 64 KiB)    each stream's reserve: its first window, which it always has
 *     S = 3B/4 - R*N             shared: windows grow out of this, and give it back
 *     the last quarter of B      covers what was consumed and not yet told by MAX_DATA
 *
 * The sum of all windows is at most 3B/4, so a stream that has credit of its own always has the session's too, however
 * many others stand still: no stalled stream can starve another.
 *
 * A window is told anew when half of it is used: at once if that half was gone within two round trips, else together with the
 * stream's own next bytes, or when three quarters are used. In the first case the window was what limited the peer, and it doubles,
 * as far as S goes, to half of S at most, and to no more than a fast connection has under way in a round trip: beyond that, bytes
 * lie in buffers longer than they stay in the processor's caches. But where the application holds much, it is the application that
 * limits the peer, and more credit would only have more bytes wait here: then a large window is halved.
 * When S is nearly gone, one of more than an equal share is halved, too, so that those who came late get theirs.
 */
#include "session/session_private.h"

#define BEHIND 262144u /* bytes that the application holds: half of what a pipe of the daemon takes */

#define FULL_MS \
    1048576u /* bytes of a window for each millisecond of a round trip (measured: docs/performance.md) */

static void set_window(struct channel *channel, uint64_t window)
{
    struct session *session = channel->session;

    session->holders -= channel->window > session->reserve;
    session->holders += window > session->reserve;
    session->shared_given += window;
    session->shared_given -= channel->window;
    channel->window = (uint32_t)window;
}

static uint64_t at_least(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static uint64_t at_most(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

void window_open(struct channel *channel)
{
    channel->window = channel->session->reserve;
    channel->receive_max = channel->session->reserve;
    channel->granted_at = channel->session->now;
}

static uint64_t held(const struct channel *channel)
{
    return channel->received - channel->consumed;
}

static void shrink(struct channel *channel, uint64_t least)
{
    uint64_t outstanding = channel->receive_max - channel->consumed;

    set_window(channel, at_least(at_least(channel->window / 2, outstanding), least));
}

/* Half of the window is used, or more: so that each grant is worth its frame. */
bool window_is_due(const struct channel *channel)
{
    return channel->receive_max - channel->consumed <= channel->window / 2;
}

/* Whether what is left may be gone before more is told: if half was used so fast that the window is what limits the peer. */
static bool is_limit(const struct channel *channel)
{
    const struct session *session = channel->session;

    return session->now - channel->granted_at <= 2 * at_least(session->rtt, 1);
}

/* A grant that the peer does not need yet waits for a frame of the stream's to go along with, until a quarter is left. */
static bool is_urgent(const struct channel *channel)
{
    uint64_t left = channel->receive_max - channel->consumed;

    return window_is_due(channel) && (is_limit(channel) || left <= channel->window / 4);
}

/* How much of the shared bytes one window may have. The shortest round trip counts: others were in part waits for what was sent before. */
static uint64_t most_excess(const struct session *session)
{
    uint64_t rtt = session->rtt_least == SESSION_NEVER ? 1 : at_least(session->rtt_least, 1);
    uint64_t full = at_least(FULL_MS * rtt, session->reserve) - session->reserve;

    return at_most(session->shared / 2, full);
}

/* `shared_given` is the sum of what windows have beyond the reserve; set_window() keeps it by differences. */
static void resize(struct channel *channel)
{
    struct session *session = channel->session;
    uint64_t excess = channel->window - session->reserve;
    uint64_t left = session->shared - session->shared_given;
    uint64_t most = most_excess(session);

    if (left < session->shared / 8 && excess > session->shared / (session->holders + 1)) {
        shrink(channel, session->reserve);
        return;
    }
    if (held(channel) > BEHIND) {
        if (channel->window > 2 * BEHIND) {
            shrink(channel, 2 * BEHIND);
        }
        return;
    }
    if (is_limit(channel) && excess < most) {
        set_window(channel, channel->window + at_most(at_most(channel->window, most - excess), left));
    }
}

bool window_grant(struct channel *channel)
{
    resize(channel);
    if (!window_is_due(channel)) {
        return false;
    }
    channel->receive_max = channel->consumed + channel->window;
    channel->granted_at = channel->session->now;
    return true;
}

static void consume_in_session(struct session *session, uint64_t bytes)
{
    session->consumed += bytes;
    if (session->consumed + session->config.budget - session->receive_max >= session->config.budget / 4) {
        session->owes |= OWES_MAX_DATA;
    }
}

void window_consumed(struct channel *channel, uint64_t bytes)
{
    channel->consumed += bytes;
    consume_in_session(channel->session, bytes);
    if (channel->receive_over || channel->discard) {
        window_close(channel);
    } else if (is_urgent(channel)) {
        channel_owe(channel, PENDING_CREDIT);
    }
}

void window_close(struct channel *channel)
{
    set_window(channel, at_least(held(channel), channel->session->reserve));
}

void window_release(struct channel *channel)
{
    window_consumed(channel, held(channel));
    set_window(channel, channel->session->reserve);
}
