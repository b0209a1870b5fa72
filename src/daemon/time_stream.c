/* Streams to a `time` route: see time_stream.h. */
#include "daemon/time_stream.h"

#include "net/sock.h"
#include <errno.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* ---- The end ---- */

static void on_closed(uv_handle_t *handle)
{
    struct time_stream *time = handle->data;
    time->ops->ended(time);
}

static void end(struct time_stream *time, enum reason why)
{
    if (time->over) {
        return;
    }
    time->over = true;
    time->why = why;
    if (time->open) {
        if (time->framed) {
            channel_stream_give_up(&time->channel, why);
        }
        stream_close(&time->stream, why != REASON_FINISHED);
        time->open = false;
    }
    uv_close((uv_handle_t *)&time->timer, on_closed);
}

void time_stream_end(struct time_stream *time, enum reason why)
{
    end(time, why);
}

static void on_idle(uv_timer_t *timer)
{
    end(timer->data, REASON_IDLE_TIMEOUT);
}

static void note_life(struct time_stream *time)
{
    uv_timer_start(&time->timer, on_idle, time->idle_ms, 0);
}

/* ---- Questions and answers ---- */

/* Big-endian, as all numbers of the protocol. */
static void put_time(uint8_t out[8])
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    uint64_t ns = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
    for (unsigned i = 0; i < 8; i++) {
        out[i] = (uint8_t)(ns >> (56 - 8 * i));
    }
}

/* What the last call said: bytes, 0 at the end, or a negative errno value. */
static ssize_t read_question(struct time_stream *time)
{
    ssize_t n = stream_read(&time->stream, time->ask + time->asked, TIME_STREAM_ASK - time->asked);
    if (n > 0) {
        time->asked += (unsigned)n;
        time->bytes_in += (uint64_t)n;
        time->ops->moved(time, (uint64_t)n, 0);
    }
    return n;
}

static ssize_t write_answer(struct time_stream *time)
{
    if (time->answered == 0) {
        memcpy(time->answer, time->ask, TIME_STREAM_ASK);
        put_time(time->answer + TIME_STREAM_ASK);
    }
    ssize_t n =
        stream_write(&time->stream, time->answer + time->answered, TIME_STREAM_ANSWER - time->answered);
    if (n > 0) {
        time->answered += (unsigned)n;
        time->bytes_out += (uint64_t)n;
        time->ops->moved(time, 0, (uint64_t)n);
    }
    if (time->answered == TIME_STREAM_ANSWER) {
        time->asked = time->answered = 0;
        note_life(time);
    }
    return n;
}

/* What was answered is on its way, and the end must not meet it. */
static void leave(struct time_stream *time)
{
    time->leaving = true;
    stream_again(&time->stream, STREAM_WRITABLE);
}

/* One read, or one write. False: nothing more can be done now. */
static bool step(struct time_stream *time)
{
    bool reads = time->asked < TIME_STREAM_ASK;
    ssize_t n = reads ? read_question(time) : write_answer(time);
    if (n == 0 && reads) {
        leave(time);
    } else if (n < 0 && n != -EAGAIN) {
        end(time, REASON_CLIENT_RESET);
    }
    return n > 0;
}

static void on_ready(struct time_stream *time)
{
    if (time->over) {
        return;
    }
    if (time->leaving) {
        end(time, REASON_FINISHED);
        return;
    }
    for (unsigned steps = 0; steps < 2 * TIME_STREAM_TURN; steps++) {
        if (!step(time)) {
            return;
        }
    }
    stream_again(&time->stream, STREAM_READABLE);
}

static void on_sock_ready(struct stream *stream, unsigned events UNUSED)
{
    on_ready(CONTAINER_OF(stream, struct time_stream, stream));
}

static void on_channel_ready(struct stream *stream, unsigned events UNUSED)
{
    struct time_stream *time = CONTAINER_OF(stream, struct time_stream, stream);
    if (stream->failed) {
        end(time, time->channel.why);
    } else {
        on_ready(time);
    }
}

/* ---- The beginning ---- */

static void init(struct time_stream *time, struct loop *loop, const struct time_stream_ops *ops,
                 const struct config_route *route)
{
    memset(time, 0, sizeof *time);
    time->ops = ops;
    time->loop = loop;
    time->idle_ms = route->idle_timeout_ms;
    time->started_at = loop_now(loop);
    uv_timer_init(&loop->uv, &time->timer);
    time->timer.data = time;
    note_life(time);
}

void time_stream_start(struct time_stream *time, struct loop *loop, const struct time_stream_ops *ops,
                       const struct config_route *route, int fd, const struct sock_kind_options *kind)
{
    init(time, loop, ops, route);
    int rv = sock_stream_open(&time->sock, &loop->poller, fd, kind, on_sock_ready);
    if (rv != 0) {
        sock_set_abort(fd);
        close(fd);
        end(time, rv == -ENOMEM ? REASON_NO_MEMORY : REASON_INTERNAL);
        return;
    }
    time->open = true;
}

void time_stream_start_channel(struct time_stream *time, struct loop *loop, const struct time_stream_ops *ops,
                               const struct config_route *route, struct session_io *io,
                               struct channel *channel)
{
    init(time, loop, ops, route);
    time->framed = time->open = true;
    channel_stream_open(&time->channel, io, channel, on_channel_ready);
    channel_stream_accept(&time->channel);
}
