/* One direction of a relay: see flow.h. */
#include "relay/flow.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

void flow_init(struct flow *flow, struct stream *from, struct stream *to)
{
    memset(flow, 0, sizeof *flow);
    flow->from = from;
    flow->to = to;
    flow->chunk = FLOW_CHUNK_MIN;
}

static void drop_held(struct flow *flow)
{
    free(flow->held);
    flow->held = NULL;
}

static void drop_pipe(struct flow *flow, const struct flow_tools *tools)
{
    pipe_pool_put(tools->pipes, flow->pipe);
    flow->pipe = NULL;
}

void flow_release(struct flow *flow, const struct flow_tools *tools)
{
    drop_held(flow);
    drop_pipe(flow, tools);
}

void flow_preload(struct flow *flow, unsigned char *data, uint32_t length)
{
    flow->held = data;
    flow->held_at = 0;
    flow->held_length = length;
}

static int hold(struct flow *flow, const unsigned char *data, size_t length)
{
    flow->held = malloc(length);
    if (flow->held == NULL) {
        return -ENOMEM;
    }
    memcpy(flow->held, data, length);
    flow->held_at = 0;
    flow->held_length = (uint32_t)length;
    flow->chunk = FLOW_CHUNK_MIN;
    return 0;
}

static int deliver_held(struct flow *flow)
{
    while (flow->held_at < flow->held_length) {
        ssize_t n = stream_write(flow->to, flow->held + flow->held_at, flow->held_length - flow->held_at);
        if (n < 0) {
            return (int)n;
        }
        flow->held_at += (uint32_t)n;
        flow->bytes += (uint64_t)n;
    }
    drop_held(flow);
    return 0;
}

static ssize_t empty_pipe(const struct pipe *pipe, struct stream *to)
{
    ssize_t n;
    do {
        n = splice(pipe->read_fd, NULL, to->splice_fd, NULL, pipe->held, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    } while (n < 0 && errno == EINTR);
    n = n < 0 ? -errno : n;
    if (n == -EAGAIN) {
        stream_await_room(to);
    }
    return n;
}

static int deliver_pipe(struct flow *flow)
{
    struct pipe *pipe = flow->pipe;
    while (pipe->held > 0) {
        ssize_t n = empty_pipe(pipe, flow->to);
        if (n < 0) {
            return (int)n;
        }
        pipe->held -= (size_t)n;
        flow->bytes += (uint64_t)n;
    }
    return 0;
}

/* Returns 0 when nothing is held any more, or a negative errno value of the sink's. */
static int deliver(struct flow *flow)
{
    if (flow->held != NULL) {
        return deliver_held(flow);
    }
    return flow->pipe != NULL ? deliver_pipe(flow) : 0;
}

static bool can_splice(const struct flow *flow)
{
    return flow->bulk && !flow->from->urgent && flow->from->splice_fd >= 0 && flow->to->splice_fd >= 0;
}

/* The pipe is empty whenever this is called: splice says EAGAIN for a full pipe as for an empty source,
 * and only so can the two be told apart. */
static ssize_t fetch_pipe(struct flow *flow)
{
    ssize_t n;
    do {
        n = splice(flow->from->splice_fd, NULL, flow->pipe->write_fd, NULL, flow->pipe->size,
                   SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    } while (n < 0 && errno == EINTR);
    if (n < 0) {
        return -errno;
    }
    flow->pipe->held = (size_t)n;
    return n;
}

/* EPIPE says only that the peer takes no more: what it sent before may have come to a proper end. */
static enum flow_result sink_failed(struct flow *flow, int code)
{
    flow->to->cut = flow->to->cut || code != -EPIPE;
    return FLOW_SINK_FAILED;
}

static enum flow_result source_ended(struct flow *flow)
{
    if (flow->from->cut) {
        return FLOW_SOURCE_FAILED;
    }
    flow->ended = true;
    return FLOW_TIRED;
}

/* Reads a chunk and writes it at once; what the sink does not take is held. Returns the bytes read, 0 at
 * the end, or a negative errno value, *ret_sink telling whose it is. */
static ssize_t copy_chunk(struct flow *flow, const struct flow_tools *tools, bool *ret_sink)
{
    *ret_sink = false;
    ssize_t n = stream_read(flow->from, tools->scratch, flow->chunk);
    if (n <= 0) {
        return n;
    }
    ssize_t written = stream_write(flow->to, tools->scratch, (size_t)n);
    if (written < 0 && written != -EAGAIN) {
        *ret_sink = true;
        return written;
    }
    written = written > 0 ? written : 0;
    flow->bytes += (uint64_t)written;
    if (written < n) {
        int rv = hold(flow, tools->scratch + written, (size_t)(n - written));
        return rv == 0 ? n : rv;
    }
    return n;
}

/* Full chunks make the next ones larger, and then a bulk transfer; a short one ends it. */
static void adapt(struct flow *flow, size_t n)
{
    if (n < flow->chunk) {
        flow->chunk = FLOW_CHUNK_MIN;
    } else if (flow->chunk < FLOW_CHUNK_MAX) {
        flow->chunk = FLOW_CHUNK_MAX;
    } else {
        flow->bulk = true;
    }
}

static enum flow_result finish(struct flow *flow)
{
    int rv = flow->last ? 0 : stream_finish(flow->to);
    /* ENOTCONN: the sink has closed both ways already, which is no loss now that all is delivered. */
    flow->finished = rv == 0 || rv == -ENOTCONN;
    return flow->finished ? FLOW_FINISHED : FLOW_SINK_FAILED;
}

static enum flow_result source_failed(ssize_t code)
{
    return code == -ENOMEM ? FLOW_NO_MEMORY : FLOW_SOURCE_FAILED;
}

/* A short count means an empty source, as a rule (see stream.h): no need to ask again. */
static bool is_drained(const struct flow *flow, size_t n, size_t asked)
{
    return n < asked && !flow->from->hung_up && !flow->from->patchy;
}

/* One step of copying. FLOW_TIRED: go on. */
static enum flow_result step_copy(struct flow *flow, const struct flow_tools *tools, uint32_t *moved)
{
    bool sink;
    uint32_t asked = flow->chunk;
    ssize_t n = copy_chunk(flow, tools, &sink);
    if (n == -EAGAIN) {
        return FLOW_WAITING;
    }
    if (n < 0) {
        return sink ? sink_failed(flow, (int)n) : source_failed(n);
    }
    if (n == 0) {
        return source_ended(flow);
    }
    *moved += (uint32_t)n;
    if (flow->held != NULL) {
        /* It took less than there was, so it is full, and will be reported when it is not. */
        flow->blocked = true;
        return FLOW_WAITING;
    }
    adapt(flow, (size_t)n);
    return is_drained(flow, (size_t)n, asked) ? FLOW_WAITING : FLOW_TIRED;
}

/* One step from a pipe that the source lends. FLOW_TIRED: go on. */
static enum flow_result step_piped(struct flow *flow, const struct pipe *pipe, uint32_t *moved)
{
    ssize_t n = empty_pipe(pipe, flow->to);
    if (n < 0 && n != -EAGAIN) {
        return sink_failed(flow, (int)n);
    }
    flow->blocked = n < 0;
    if (flow->blocked) {
        return FLOW_WAITING;
    }
    stream_consumed(flow->from, (size_t)n);
    flow->bytes += (uint64_t)n;
    *moved += (uint32_t)n;
    return FLOW_TIRED;
}

/* One step from where the bytes lie. What the sink does not take, the source keeps. FLOW_TIRED: go on. */
static enum flow_result step_borrow(struct flow *flow, uint32_t *moved)
{
    const void *data;
    ssize_t n = stream_borrow(flow->from, &data);
    if (n <= 0) {
        return n == 0 ? source_ended(flow) : n == -EAGAIN ? FLOW_WAITING : source_failed(n);
    }
    ssize_t written = stream_write(flow->to, data, (size_t)n);
    if (written < 0 && written != -EAGAIN) {
        return sink_failed(flow, (int)written);
    }
    written = written > 0 ? written : 0;
    stream_consumed(flow->from, (size_t)written);
    flow->bytes += (uint64_t)written;
    *moved += (uint32_t)written;
    flow->blocked = written < n;
    return flow->blocked ? FLOW_WAITING : FLOW_TIRED;
}

/* One step to where the bytes are to lie. FLOW_TIRED: go on. */
static enum flow_result step_reserve(struct flow *flow, uint32_t *moved)
{
    void *room;
    ssize_t size = stream_reserve(flow->to, &room);
    if (size < 0) {
        flow->blocked = size == -EAGAIN;
        return flow->blocked ? FLOW_WAITING : sink_failed(flow, (int)size);
    }
    ssize_t n = stream_read(flow->from, room, (size_t)size);
    if (n <= 0) {
        return n == 0 ? source_ended(flow) : n == -EAGAIN ? FLOW_WAITING : source_failed(n);
    }
    stream_commit(flow->to, (size_t)n);
    flow->bytes += (uint64_t)n;
    *moved += (uint32_t)n;
    return is_drained(flow, (size_t)n, (size_t)size) ? FLOW_WAITING : FLOW_TIRED;
}

/* One step of splicing. FLOW_TIRED: go on. */
static enum flow_result step_splice(struct flow *flow, const struct flow_tools *tools, uint32_t *moved)
{
    if (flow->pipe == NULL) {
        flow->pipe = pipe_pool_get(tools->pipes);
    }
    if (flow->pipe == NULL) {
        return step_copy(flow, tools, moved);
    }
    ssize_t n = fetch_pipe(flow);
    if (n > 0) {
        *moved += (uint32_t)n;
        return FLOW_TIRED;
    }
    drop_pipe(flow, tools);
    if (n == 0) {
        return step_copy(flow, tools, moved); /* before urgent data splice says the same as at the end */
    }
    if (n == -EAGAIN) {
        flow->bulk = *moved >= FLOW_CHUNK_MAX;
        return FLOW_WAITING;
    }
    return source_failed(n);
}

static enum flow_result step(struct flow *flow, const struct flow_tools *tools, uint32_t *moved)
{
    struct pipe *pipe = stream_piped(flow->from);
    if (pipe != NULL) {
        return step_piped(flow, pipe, moved);
    }
    if (stream_can_borrow(flow->from)) {
        return step_borrow(flow, moved);
    }
    if (stream_can_reserve(flow->to)) {
        return step_reserve(flow, moved);
    }
    return can_splice(flow) ? step_splice(flow, tools, moved) : step_copy(flow, tools, moved);
}

enum flow_result flow_run(struct flow *flow, const struct flow_tools *tools)
{
    uint32_t moved = 0;
    while (moved < FLOW_TURN) {
        int rv = deliver(flow);
        flow->blocked = rv == -EAGAIN;
        if (flow->blocked) {
            return FLOW_WAITING;
        }
        if (rv != 0) {
            return sink_failed(flow, rv);
        }
        if (flow->ended) {
            return finish(flow);
        }
        enum flow_result result = step(flow, tools, &moved);
        if (result != FLOW_TIRED) {
            return result;
        }
    }
    return FLOW_TIRED;
}
