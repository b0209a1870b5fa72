/*
 * A channel as a stream: see channel_stream.h.
 *
 * Bytes that came. A piece of DATA lies in the session's input until the turn ends. The stream is told of it at the turn's end, or
 * before the next piece if it is large; small pieces are gathered into one first, so that many small frames are not as many
 * system calls. What is not taken is kept, in chunks that grow with what is held.
 *
 * When there is no memory to keep them, the stream fails.
 *
 * A report may close the stream and free its memory, or have another adopt its channel. So tell() goes by `told` of the session_io,
 * which follows that, and nothing looks at a stream after it was told but at the one that has the channel then.
 */
#include "framed/framed_private.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#define LARGE_PIECE    4096u /* costs more to copy than to write by itself */
#define KEPT_CHUNK_MIN 512u  /* a chunk is as large as what is held, within these bounds */
#define KEPT_CHUNK_MAX 65536u

/* Bytes [at..end) are waiting. */
struct kept {
    struct kept *next;
    struct kept *last; /* of the first chunk only */
    uint32_t at, end, size;
    unsigned char bytes[];
};

static struct channel_stream *of(struct stream *stream)
{
    return CONTAINER_OF(stream, struct channel_stream, stream);
}

static struct session_io *io_of(const struct channel_stream *stream)
{
    return session_io_of(channel_session(stream->channel));
}

/* Outside of the session's events, it has to be told what time it is. */
static struct session_io *io_now(const struct channel_stream *stream)
{
    struct session_io *io = io_of(stream);
    session_set_now(io->session, loop_now(io->loop));
    return io;
}

/* ---- Who is to be told ---- */

static void unlist(struct session_io *io, struct channel_stream *stream)
{
    if (stream->listed) {
        TAILQ_REMOVE(stream->listed_again ? &io->again : &io->due, stream, link);
        stream->listed = false;
    }
}

static void list(struct session_io *io, struct channel_stream *stream, bool again)
{
    if (stream->listed && stream->listed_again == again) {
        return;
    }
    unlist(io, stream);
    stream->listed = true;
    stream->listed_again = again;
    TAILQ_INSERT_TAIL(again ? &io->again : &io->due, stream, link);
}

void channel_stream_next_turn(struct session_io *io)
{
    struct channel_stream *stream;
    TAILQ_FOREACH (stream, &io->again, link) {
        stream->listed_again = false;
    }
    TAILQ_CONCAT(&io->due, &io->again, link);
}

/* Returns the stream that has the channel afterwards; NULL: it was closed. */
static struct channel_stream *tell(struct session_io *io, struct channel_stream *stream, unsigned events)
{
    io->told = stream;
    session_io_act(io);
    stream->stream.cb(&stream->stream, events);
    struct channel_stream *open = io->told;
    io->told = NULL;
    return open;
}

/* ---- What is kept ---- */

static void drop_kept(struct channel_stream *stream)
{
    while (stream->kept != NULL) {
        struct kept *next = stream->kept->next;
        free(stream->kept);
        stream->kept = next;
    }
}

static void drop_first(struct channel_stream *stream)
{
    struct kept *first = stream->kept;
    stream->kept = first->next;
    if (stream->kept != NULL) {
        stream->kept->last = first->last;
    }
    free(first);
}

static struct kept *add_chunk(struct channel_stream *stream, size_t wanted)
{
    uint64_t held = channel_bytes_held(stream->channel);
    size_t size = held < KEPT_CHUNK_MIN ? KEPT_CHUNK_MIN : held < KEPT_CHUNK_MAX ? held : KEPT_CHUNK_MAX;
    size = size > wanted ? size : wanted;
    struct kept *chunk = malloc(sizeof *chunk + size);
    if (chunk == NULL) {
        return NULL;
    }
    chunk->next = NULL;
    chunk->at = chunk->end = 0;
    chunk->size = (uint32_t)size;
    if (stream->kept == NULL) {
        stream->kept = chunk;
    } else {
        stream->kept->last->next = chunk;
    }
    stream->kept->last = chunk;
    return chunk;
}

static size_t add_bytes(struct kept *chunk, const uint8_t *bytes, size_t length)
{
    size_t room = chunk->size - chunk->end;
    size_t fit = length < room ? length : room;
    memcpy(chunk->bytes + chunk->end, bytes, fit);
    chunk->end += (uint32_t)fit;
    return fit;
}

static int keep(struct channel_stream *stream, const uint8_t *bytes, size_t length)
{
    size_t fit = stream->kept != NULL ? add_bytes(stream->kept->last, bytes, length) : 0;
    if (fit == length) {
        return 0;
    }
    struct kept *chunk = add_chunk(stream, length - fit);
    if (chunk == NULL) {
        return -ENOMEM;
    }
    add_bytes(chunk, bytes + fit, length - fit);
    return 0;
}

/* ---- What goes past the session ---- */

static void drop_pipe(struct session_io *io, struct channel_stream *stream)
{
    pipe_pool_put(&io->loop->pipes, stream->pipe);
    stream->pipe = NULL;
}

static void drop_pipe_if_empty(struct session_io *io, struct channel_stream *stream)
{
    if (stream->pipe != NULL && stream->pipe->held == 0) {
        drop_pipe(io, stream);
    }
}

static bool can_pass(const struct session_io *io, const struct channel_stream *stream)
{
    return stream->splices && io->sock.stream.splice_fd >= 0;
}

/* Not now while bytes are kept: those come after what is in the pipe. */
static bool may_pass(const struct session_io *io, const struct channel_stream *stream)
{
    return can_pass(io, stream) && stream->kept == NULL && stream->piece_length == 0;
}

bool channel_stream_passes(const struct session_io *io, const struct channel *channel, size_t left)
{
    const struct channel_stream *stream = channel_user(channel);
    bool much = left >= PASS_MIN || (stream->pipe != NULL && io->lean == LEAN_READS - 1);
    return much && may_pass(io, stream);
}

/* Returns the bytes moved: 0 if the socket has none, or the pipe no room, or after an error, which a read finds, too. */
static size_t fill_pipe(const struct session_io *io, struct pipe *pipe, size_t size)
{
    ssize_t n;
    do {
        n = splice(io->sock.stream.splice_fd, NULL, pipe->write_fd, NULL, size,
                   SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    } while (n < 0 && errno == EINTR);
    size_t moved = n > 0 ? (size_t)n : 0;
    pipe->held += moved;
    return moved;
}

size_t channel_stream_pass(struct session_io *io, struct channel *channel, size_t left)
{
    struct channel_stream *stream = channel_user(channel);
    if (stream->pipe == NULL) {
        stream->pipe = pipe_pool_get(&io->loop->pipes);
    }
    size_t moved = stream->pipe != NULL ? fill_pipe(io, stream->pipe, left) : 0;
    if (moved > 0) {
        session_skip(io->session, loop_now(io->loop), moved);
        list(io, stream, false);
    }
    drop_pipe_if_empty(io, stream);
    return moved;
}

/* ---- The session's events ---- */

static void fail(struct session_io *io, struct channel_stream *stream, enum reason why, uint32_t code)
{
    unlist(io, stream);
    drop_pipe(io, stream);
    drop_kept(stream);
    stream->piece_length = 0;
    stream->why = (uint8_t)why;
    stream->code = code;
    stream->stream.hung_up = stream->stream.gone = stream->stream.failed = true;
    tell(io, stream, STREAM_READABLE | STREAM_WRITABLE);
}

/* False: the stream may be gone. */
static bool keep_piece(struct session_io *io, struct channel_stream *stream)
{
    uint32_t length = stream->piece_length;
    stream->piece_length = 0;
    if (length == 0 || keep(stream, stream->piece, length) == 0) {
        return true;
    }
    channel_stop(stream->channel, code_of_reason(REASON_NO_MEMORY));
    fail(io, stream, REASON_NO_MEMORY, code_of_reason(REASON_NO_MEMORY));
    return false;
}

/* Has the stream take its piece; what is left of it is kept. False: the stream may be gone. */
static bool hand_over(struct session_io *io, struct channel_stream *stream)
{
    bool silent = stream->stream.muted && !stream->asked;
    stream->asked = false;
    if (!silent) {
        stream = tell(io, stream, STREAM_READABLE);
    }
    return stream != NULL && keep_piece(io, stream);
}

void channel_stream_run_due(struct session_io *io)
{
    struct channel_stream *stream;
    while ((stream = TAILQ_FIRST(&io->due)) != NULL) {
        unlist(io, stream);
        hand_over(io, stream);
    }
}

void channel_stream_on_data(struct channel *channel, const uint8_t *bytes, size_t length)
{
    struct channel_stream *stream = channel_user(channel);
    struct session_io *io = io_of(stream);
    bool large = stream->piece_length >= LARGE_PIECE && length >= LARGE_PIECE;
    if (!(large ? hand_over(io, stream) : keep_piece(io, stream))) {
        return;
    }
    stream = channel_user(channel);
    if (length >= PASS_MIN && can_pass(io, stream)) {
        io->lean = LEAN_READS; /* the next one, then */
    }
    stream->piece = bytes;
    stream->piece_length = (uint32_t)length;
    io->lent = true;
    if (!stream->listed) {
        session_io_act(io);
    }
    list(io, stream, false);
}

void channel_stream_on_fin(struct channel *channel)
{
    struct channel_stream *stream = channel_user(channel);
    stream->ended = true;
    stream->stream.hung_up = true;
    list(io_of(stream), stream, false);
}

void channel_stream_on_reset(struct channel *channel, uint32_t code)
{
    struct channel_stream *stream = channel_user(channel);
    fail(io_of(stream), stream, REASON_CLIENT_RESET, code);
}

void channel_stream_on_stopped(struct channel *channel, uint32_t code)
{
    struct channel_stream *stream = channel_user(channel);
    stream->why = REASON_CLIENT_RESET;
    stream->code = code;
    stream->stream.gone = true;
    tell(io_of(stream), stream, STREAM_WRITABLE);
}

/* A timer of this side, the end that this side gave the session, or what the peer made of it: that it may call by any
 * code. */
static enum reason reason_of(const struct session_io *io, uint32_t code)
{
    if (code == CODE_NO_PROGRESS) {
        return REASON_IDLE_TIMEOUT;
    }
    if (code == CODE_GOING_AWAY && io->leaving) {
        return REASON_SHUTDOWN;
    }
    return code == code_of_reason(REASON_HALF_CLOSED_TIMEOUT) ? REASON_HALF_CLOSED_TIMEOUT
                                                              : REASON_CLIENT_RESET;
}

void channel_stream_on_failed(struct channel *channel, uint32_t code, bool retryable UNUSED)
{
    struct channel_stream *stream = channel_user(channel);
    fail(io_of(stream), stream, reason_of(io_of(stream), code), code);
}

size_t channel_stream_on_fill(struct channel *channel, uint8_t *buffer, size_t size, enum channel_more *more)
{
    struct channel_stream *stream = channel_user(channel);
    struct session_io *io = io_of(stream);
    io->fill.stream = stream;
    io->fill.room = buffer;
    io->fill.size = (uint32_t)size;
    io->fill.used = 0;
    io->fill.more = false;
    stream = tell(io, stream, STREAM_WRITABLE);
    if (stream != NULL && io->fill.more && io->fill.used == 0) {
        tell(io, stream, STREAM_WRITABLE); /* without bytes the session would not ask again */
    }
    io->fill.stream = NULL;
    *more = io->fill.more ? CHANNEL_MORE : CHANNEL_PAUSE;
    return io->fill.used;
}

/* ---- The stream's operations ---- */

static struct pipe *stream_op_piped(struct stream *base)
{
    return of(base)->pipe;
}

static ssize_t stream_op_borrow(struct stream *base, const void **data)
{
    struct channel_stream *stream = of(base);
    if (base->failed) {
        return -ECONNRESET;
    }
    if (stream->kept != NULL) {
        *data = stream->kept->bytes + stream->kept->at;
        return (ssize_t)(stream->kept->end - stream->kept->at);
    }
    if (stream->piece_length > 0) {
        *data = stream->piece;
        return (ssize_t)stream->piece_length;
    }
    return stream->ended ? 0 : -EAGAIN;
}

static void stream_op_consumed(struct stream *base, size_t size)
{
    struct channel_stream *stream = of(base);
    struct session_io *io = io_now(stream);
    if (stream->pipe != NULL) {
        stream->pipe->held -= size;
        drop_pipe_if_empty(io, stream);
    } else if (stream->kept != NULL) {
        stream->kept->at += (uint32_t)size;
        if (stream->kept->at == stream->kept->end) {
            drop_first(stream);
        }
    } else {
        stream->piece += size;
        stream->piece_length -= (uint32_t)size;
    }
    channel_consumed(stream->channel, size);
    if (session_has_output(io->session)) {
        session_io_wake(io);
    }
}

static ssize_t stream_op_read(struct stream *base, void *data, size_t size)
{
    size_t done = 0;
    while (done < size) {
        const void *bytes;
        ssize_t n = stream_op_borrow(base, &bytes);
        if (n <= 0) {
            return done > 0 ? (ssize_t)done : n;
        }
        size_t fit = size - done < (size_t)n ? size - done : (size_t)n;
        memcpy((unsigned char *)data + done, bytes, fit);
        stream_op_consumed(base, fit);
        done += fit;
    }
    return (ssize_t)done;
}

/* One frame a report: a second time it is asked again first, so that the end of what is sent, which a report may
 * bring, never meets bytes that the session does not know of yet. */
static ssize_t stream_op_reserve(struct stream *base, void **room)
{
    struct channel_stream *stream = of(base);
    struct session_io *io = io_now(stream);
    if (base->failed || base->gone) {
        return base->failed ? -ECONNRESET : -EPIPE;
    }
    if (io->fill.stream != stream) {
        channel_ready(stream->channel);
        session_io_wake(io);
        return -EAGAIN;
    }
    if (io->fill.used > 0) {
        io->fill.more = true;
        return -EAGAIN;
    }
    *room = io->fill.room;
    return (ssize_t)io->fill.size;
}

static void stream_op_commit(struct stream *base, size_t size)
{
    io_of(of(base))->fill.used = (uint32_t)size;
}

static ssize_t stream_op_write(struct stream *base, const void *data, size_t size)
{
    void *room;
    ssize_t n = stream_op_reserve(base, &room);
    if (n < 0) {
        return n;
    }
    size_t fit = size < (size_t)n ? size : (size_t)n;
    memcpy(room, data, fit);
    stream_op_commit(base, fit);
    return (ssize_t)fit;
}

static int stream_op_finish(struct stream *base)
{
    struct channel_stream *stream = of(base);
    struct session_io *io = io_now(stream);
    if (channel_sending_over(stream->channel)) {
        return -ENOTCONN;
    }
    channel_finish(stream->channel);
    session_io_wake(io);
    return 0;
}

static void stream_op_again(struct stream *base, unsigned events)
{
    struct channel_stream *stream = of(base);
    struct session_io *io = io_now(stream);
    if ((events & STREAM_READABLE) != 0) {
        stream->asked = true;
        list(io, stream, true);
        session_io_again(io);
    }
    if ((events & STREAM_WRITABLE) != 0 && io->fill.stream == stream) {
        io->fill.more = true; /* channel_ready() has no effect from within `fill` */
    } else if ((events & STREAM_WRITABLE) != 0) {
        channel_ready(stream->channel);
        session_io_wake(io);
    }
}

static void stream_op_mute(struct stream *base, bool muted)
{
    struct channel_stream *stream = of(base);
    if (!muted && (stream->pipe != NULL || stream->kept != NULL || stream->ended)) {
        stream_op_again(base, STREAM_READABLE);
    }
}

static void stream_op_close(struct stream *base, bool abort)
{
    struct channel_stream *stream = of(base);
    if (stream->channel == NULL) {
        return;
    }
    struct session_io *io = io_now(stream);
    uint32_t code = stream->close_why == REASON_NONE ? CODE_CANCEL : code_of_reason(stream->close_why);
    unlist(io, stream);
    drop_pipe(io, stream);
    drop_kept(stream);
    if (io->told == stream) {
        io->told = NULL;
    }
    if (abort) {
        channel_reset(stream->channel, code);
    } else {
        channel_finish(stream->channel);
    }
    channel_stop(stream->channel, code);
    channel_release(stream->channel);
    stream->channel = NULL;
    session_io_leave(io);
}

static const struct stream_ops channel_stream_ops = {
    .read = stream_op_read,
    .write = stream_op_write,
    .finish = stream_op_finish,
    .again = stream_op_again,
    .mute = stream_op_mute,
    .close = stream_op_close,
    .borrow = stream_op_borrow,
    .consumed = stream_op_consumed,
    .piped = stream_op_piped,
    .reserve = stream_op_reserve,
    .commit = stream_op_commit,
};

void channel_stream_open(struct channel_stream *stream, struct session_io *io, struct channel *channel,
                         stream_cb cb)
{
    memset(stream, 0, sizeof *stream);
    stream->stream.ops = &channel_stream_ops;
    stream->stream.cb = cb;
    stream->stream.splice_fd = -1;
    stream->channel = channel;
    stream->why = stream->close_why = REASON_NONE;
    channel_set_user(channel, stream);
    io->streams++;
}

void channel_stream_adopt(struct channel_stream *stream, struct channel_stream *from, stream_cb cb)
{
    struct session_io *io = io_now(from);
    unlist(io, from);
    *stream = *from;
    stream->stream.cb = cb;
    channel_set_user(stream->channel, stream);
    if (io->told == from) {
        io->told = stream;
    }
    if (io->fill.stream == from) {
        io->fill.stream = stream;
    }
    from->channel = NULL;
    from->pipe = NULL;
    from->kept = NULL;
    from->piece_length = 0;
    stream_again(&stream->stream, STREAM_READABLE);
}

void channel_stream_accept(struct channel_stream *stream)
{
    struct session_io *io = io_now(stream);
    channel_accept(stream->channel);
    session_io_wake(io);
}

void channel_stream_refuse(struct channel_stream *stream, enum reason why, const char *message)
{
    struct session_io *io = io_now(stream);
    stream->close_why = (uint8_t)why;
    channel_refuse(stream->channel, code_of_reason(why), message != NULL ? message : reason_meaning(why),
                   reason_retryable(why));
    session_io_wake(io);
}

void channel_stream_give_up(struct channel_stream *stream, enum reason why)
{
    stream->close_why = (uint8_t)why;
}
