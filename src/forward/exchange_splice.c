/*
 * A long body on its way out without a copy: from the client's socket into a pipe and on to the upstream's, within the kernel,
 * as relays do it (relay/flow.h).
 *
 * The pipe is lent while bytes are on their way. What the upstream does not take stays in it, and nothing else goes out before;
 * exchange_flush() goes on with it. The body's last bytes come as all others: they end it.
 */
#include "forward/exchange_private.h"

#include "net/pipe_pool.h"
#include <errno.h>
#include <fcntl.h>

static bool can_splice(const struct exchange *exchange)
{
    const struct http_framing *framing = &exchange->body.framing;
    return exchange->state == EXCHANGE_OPEN && !exchange->broken && framing->body == HTTP_BODY_LENGTH &&
           !exchange->keeping && exchange->out.length == 0 && exchange->conn->stream->splice_fd >= 0;
}

void exchange_drop_pipe(struct exchange *exchange)
{
    if (exchange->pipe != NULL) {
        pipe_pool_put(&exchange->worker->loop->pipes, exchange->pipe);
        exchange->pipe = NULL;
    }
}

static ssize_t move(int from, int to, size_t size)
{
    ssize_t n;
    do {
        n = splice(from, NULL, to, NULL, size, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

void exchange_flush_pipe(struct exchange *exchange)
{
    struct pipe *pipe = exchange->pipe;
    ssize_t n = 0;
    while (pipe->held > 0 && (n = move(pipe->read_fd, exchange->conn->stream->splice_fd, pipe->held)) > 0) {
        pipe->held -= (size_t)n;
        exchange->reached = true;
        exchange->progress_at = loop_now(exchange->worker->loop);
    }
    exchange->blocked = n == -EAGAIN;
    if (exchange->blocked) {
        stream_await_room(exchange->conn->stream);
    }
    if (n < 0 && n != -EAGAIN) {
        exchange_note_broken(exchange);
    }
}

/* The pipe is empty: splice says EAGAIN for a full pipe as for an empty source, and only so can the two be told apart. */
static ssize_t fill(struct exchange *exchange, int fd, size_t most)
{
    struct pipe *pipe = exchange->pipe;
    ssize_t n = move(fd, pipe->write_fd, most < pipe->size ? most : pipe->size);
    if (n <= 0) {
        exchange_drop_pipe(exchange);
        return n == 0 ? -ENOTSUP : n; /* its end, or urgent data: a read tells them apart */
    }
    char prefix[HTTP_CHUNK_PREFIX_MAX];
    (void)http_body_prefix(&exchange->body, (size_t)n, prefix); /* counts: there is none */
    pipe->held = (size_t)n;
    exchange->sent_bytes += (uint64_t)n;
    return n;
}

ssize_t exchange_body_splice(struct exchange *exchange, int fd, size_t most)
{
    if (!can_splice(exchange)) {
        return -ENOTSUP;
    }
    if (exchange->blocked) {
        exchange->wants = true;
        return 0;
    }
    if (exchange->pipe == NULL) {
        exchange->pipe = pipe_pool_get(&exchange->worker->loop->pipes);
    }
    if (exchange->pipe == NULL) {
        return -ENOTSUP;
    }
    ssize_t n = fill(exchange, fd, most);
    if (n > 0) {
        exchange_flush_pipe(exchange);
        exchange_watch(exchange);
    }
    return n;
}
