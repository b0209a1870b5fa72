/* A stream tied to something local: see tunnel.h. */
#include "cli/tunnel.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define HELD_MIN 4096u /* a smaller buffer is not worth making another */

void tunnel_init(struct tunnel *tunnel, const struct tunnel_ops *ops)
{
    memset(tunnel, 0, sizeof *tunnel);
    tunnel->ops = ops;
}

void tunnel_open(struct tunnel *tunnel, struct channel *channel)
{
    tunnel->channel = channel;
    channel_ready(channel);
}

static void drop_held(struct tunnel *tunnel)
{
    free(tunnel->held);
    tunnel->held = NULL;
    tunnel->held_at = tunnel->held_end = tunnel->held_size = 0;
}

void tunnel_release(struct tunnel *tunnel)
{
    drop_held(tunnel);
    if (tunnel->channel != NULL) {
        channel_release(tunnel->channel);
        tunnel->channel = NULL;
    }
}

/*
 * The session's credit bounds the bytes that are held, and with them this: a buffer is at most twice as large as what lies in it, or it is
 * the smallest. A new one has room for half as much again, so that what is copied from buffer to buffer is a few times what is held in all,
 * however it grows and shrinks.
 */
static uint32_t size_for(size_t length)
{
    size_t size = length + length / 2;
    return size > HELD_MIN ? (uint32_t)size : HELD_MIN;
}

static uint32_t held(const struct tunnel *tunnel)
{
    return tunnel->held_end - tunnel->held_at;
}

static bool resize(struct tunnel *tunnel, uint32_t size)
{
    uint8_t *other = malloc(size);
    uint32_t used = held(tunnel);
    if (other == NULL) {
        return false;
    }
    if (used > 0) {
        memcpy(other, tunnel->held + tunnel->held_at, used);
    }
    free(tunnel->held);
    tunnel->held = other;
    tunnel->held_size = size;
    tunnel->held_at = 0;
    tunnel->held_end = used;
    return true;
}

static bool make_room(struct tunnel *tunnel, size_t length)
{
    uint32_t used = held(tunnel);
    if (tunnel->held_size - used < length) {
        return resize(tunnel, size_for(used + length));
    }
    memmove(tunnel->held, tunnel->held + tunnel->held_at, used);
    tunnel->held_at = 0;
    tunnel->held_end = used;
    return true;
}

/* Without memory for a smaller one the larger one stays. */
static void give_room_back(struct tunnel *tunnel)
{
    if (tunnel->held_size > HELD_MIN && held(tunnel) < tunnel->held_size / 2) {
        (void)resize(tunnel, size_for(held(tunnel)));
    }
}

/* The only way out. */
static void end(struct tunnel *tunnel, enum tunnel_end how)
{
    if (tunnel->end != TUNNEL_RUNS) {
        return;
    }
    tunnel->end = how;
    tunnel->in_over = tunnel->out_over = true;
    tunnel->ops->over(tunnel);
}

/* Both directions are told: what came so far, here or there, is not all. */
static void give_up(struct tunnel *tunnel, int status)
{
    tunnel->status = status;
    if (tunnel->channel != NULL) {
        channel_reset(tunnel->channel, TUNNEL_CODE);
        channel_stop(tunnel->channel, TUNNEL_CODE);
    }
    end(tunnel, TUNNEL_LOCAL_FAILED);
}

void tunnel_fail(struct tunnel *tunnel, int status)
{
    if (tunnel->end == TUNNEL_RUNS) {
        give_up(tunnel, status);
    }
}

static void settle(struct tunnel *tunnel)
{
    if (tunnel->in_over && tunnel->out_over) {
        end(tunnel, tunnel->status == 0 ? TUNNEL_FINISHED : TUNNEL_LOCAL_FAILED);
    }
}

/* The local side takes no more; what it had sent before it went away may still be read. */
static void break_out(struct tunnel *tunnel, int status)
{
    channel_consumed(tunnel->channel, held(tunnel));
    drop_held(tunnel);
    channel_stop(tunnel->channel, TUNNEL_CODE);
    tunnel->status = status;
    tunnel->out_over = true;
    channel_ready(tunnel->channel);
    settle(tunnel);
}

/* All that came was written. */
static void pass_end_on(struct tunnel *tunnel)
{
    if (tunnel->held != NULL || tunnel->out_over) {
        return;
    }
    if (tunnel->reset_came) {
        end(tunnel, TUNNEL_CUT);
    } else if (tunnel->all_came) {
        tunnel->out_over = true;
        tunnel->ops->finish(tunnel);
        settle(tunnel);
    }
}

/* Returns how many bytes are gone, or -1 if it was the end of writing. */
static ssize_t give(struct tunnel *tunnel, const uint8_t *bytes, size_t size)
{
    size_t done = 0;
    while (done < size) {
        ssize_t n = tunnel->ops->write(tunnel, bytes + done, size - done);
        if (n == -EAGAIN) {
            break;
        }
        if (n < 0) {
            break_out(tunnel, (int)n);
            return -1;
        }
        done += (size_t)n;
    }
    return (ssize_t)done;
}

void tunnel_writable(struct tunnel *tunnel)
{
    if (tunnel->held == NULL || tunnel->out_over) {
        return;
    }
    ssize_t n = give(tunnel, tunnel->held + tunnel->held_at, held(tunnel));
    if (n < 0) {
        return;
    }
    tunnel->held_at += (uint32_t)n;
    channel_consumed(tunnel->channel, (size_t)n);
    if (tunnel->held_at == tunnel->held_end) {
        drop_held(tunnel);
        pass_end_on(tunnel);
    } else {
        give_room_back(tunnel);
    }
}

static void hold(struct tunnel *tunnel, const uint8_t *bytes, size_t length)
{
    if (tunnel->held_size - tunnel->held_end < length && !make_room(tunnel, length)) {
        give_up(tunnel, -ENOMEM);
        return;
    }
    memcpy(tunnel->held + tunnel->held_end, bytes, length);
    tunnel->held_end += (uint32_t)length;
}

void tunnel_readable(struct tunnel *tunnel)
{
    if (tunnel->channel != NULL && !tunnel->in_over) {
        channel_ready(tunnel->channel);
    }
}

/* ---- Events ---- */

static void on_data(struct channel *channel, const uint8_t *bytes, size_t length)
{
    struct tunnel *tunnel = channel_user(channel);
    ssize_t n = 0;
    if (tunnel->held == NULL) {
        n = give(tunnel, bytes, length);
        if (n < 0) {
            channel_consumed(channel, length);
            return;
        }
        channel_consumed(channel, (size_t)n);
    }
    if ((size_t)n < length) {
        hold(tunnel, bytes + n, length - (size_t)n);
    }
}

static void on_fin(struct channel *channel)
{
    struct tunnel *tunnel = channel_user(channel);
    tunnel->all_came = true;
    pass_end_on(tunnel);
}

static void on_reset(struct channel *channel, uint32_t code)
{
    struct tunnel *tunnel = channel_user(channel);
    tunnel->reset_came = true;
    tunnel->code = code;
    pass_end_on(tunnel);
}

/* The far side takes no more. What it still has to say may be an answer that explains it. */
static void on_stopped(struct channel *channel, uint32_t code)
{
    struct tunnel *tunnel = channel_user(channel);
    if (!tunnel->in_over) {
        tunnel->stopped = true;
        tunnel->stop_code = code;
    }
    tunnel->in_over = true;
    settle(tunnel);
}

/* No other event comes, and the session may go before the owner has taken note. */
static void let_go(struct tunnel *tunnel)
{
    channel_release(tunnel->channel);
    tunnel->channel = NULL;
}

static void on_refused(struct channel *channel, const struct control_refused *refused)
{
    struct tunnel *tunnel = channel_user(channel);
    let_go(tunnel);
    if (tunnel->end != TUNNEL_RUNS) {
        return;
    }
    tunnel->code = refused->code;
    tunnel->retryable = refused->retryable;
    if (tunnel->ops->refused != NULL) {
        tunnel->ops->refused(tunnel, refused);
    }
    end(tunnel, TUNNEL_REFUSED);
}

static void on_failed(struct channel *channel, uint32_t code, bool retryable)
{
    struct tunnel *tunnel = channel_user(channel);
    let_go(tunnel);
    if (tunnel->end == TUNNEL_RUNS) {
        tunnel->code = code;
        tunnel->retryable = retryable;
        end(tunnel, TUNNEL_LOST);
    }
}

static size_t on_fill(struct channel *channel, uint8_t *buffer, size_t size, enum channel_more *more)
{
    struct tunnel *tunnel = channel_user(channel);
    *more = CHANNEL_PAUSE;
    if (tunnel->in_over) {
        return 0;
    }
    ssize_t n = tunnel->ops->read(tunnel, buffer, size);
    if (n > 0) {
        tunnel->read_any = true;
        *more = CHANNEL_MORE;
        return (size_t)n;
    }
    if (n == 0) {
        *more = CHANNEL_FIN;
        tunnel->in_over = true;
        settle(tunnel);
    } else if (n != -EAGAIN) {
        give_up(tunnel, (int)n);
    }
    return 0;
}

const struct session_events tunnel_events = {
    .data = on_data,
    .fin = on_fin,
    .reset = on_reset,
    .stopped = on_stopped,
    .refused = on_refused,
    .failed = on_failed,
    .fill = on_fill,
};
