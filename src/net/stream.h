/*
 * A stream of bytes in both directions, as the relay sees one: told when it is ready, read and written
 * without ever blocking, finished one direction at a time: a connected socket (struct sock_stream), or a stream inside
 * a framed session (framed/channel_stream.h).
 *
 * Readiness is edge-triggered: after a report, read or write until -EAGAIN (or a count below what was asked, which
 * says the same, but not of a read while `hung_up` or `patchy`), or ask for another report with stream_again(). That it
 * can be written to is not reported unless it could not be, or was asked for.
 *
 * A stream may have memory of its own where its bytes lie, or are to lie. Then it lends it (`borrow`, `reserve`), and who moves bytes
 * need not copy them. A socket buffers nothing, and lends nothing.
 *
 * Lifetimes: the owner embeds the stream. After stream_close() no report comes and the memory is the
 * owner's; it may be called from inside a report.
 */
#ifndef POSTERN_NET_STREAM_H
#define POSTERN_NET_STREAM_H

#include "base/compiler.h"
#include "net/addr.h"
#include "net/poller.h"
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

enum { STREAM_READABLE = 1, STREAM_WRITABLE = 2 };

struct stream;
struct pipe;

typedef void (*stream_cb)(struct stream *stream, unsigned events);

struct stream_ops {
    ssize_t (*read)(struct stream *stream, void *data, size_t size);        /* bytes; 0: end; -errno */
    ssize_t (*write)(struct stream *stream, const void *data, size_t size); /* bytes, maybe fewer; -errno */
    int (*finish)(struct stream *stream);                                   /* no more writes: half-close */
    void (*again)(struct stream *stream, unsigned events);
    void (*mute)(struct stream *stream, bool muted);
    void (*await_room)(struct stream *stream); /* NULL without a splice_fd */
    void (*close)(struct stream *stream, bool abort);

    /* Both or neither. Bytes that lie ready, for `*data` to point to until the next call for this stream, or the end of the
     * report: how many, 0: end, or -errno; and how many of them were taken away. */
    ssize_t (*borrow)(struct stream *stream, const void **data);
    void (*consumed)(struct stream *stream, size_t size);

    /* May be NULL, and only of those that lend. A pipe with bytes that come before those that borrow() gives, to be taken out by
     * splice(2), and told of by consumed(); NULL: there are none. */
    struct pipe *(*piped)(struct stream *stream);

    /* Both or neither. Room for bytes, while the stream reports that it is writable: how much, or -errno; and how many were put
     * there. -EAGAIN has it report so, later. */
    ssize_t (*reserve)(struct stream *stream, void **room);
    void (*commit)(struct stream *stream, size_t size);
};

struct stream {
    const struct stream_ops *ops;
    stream_cb cb;
    /* Reported once and true from then on: read on to the end, which tells what the peer still had to say. */
    bool hung_up; /* the peer sends no more */
    bool gone;    /* nor does it take anything: it closed both ways, or aborted */
    bool failed;  /* it aborted, or the network did */
    bool
        cut; /* a write was told so: the error is told once, and the end that a read finds after it is none */
    bool muted;    /* that it is readable is not reported */
    bool patchy;   /* a read may come out short though there is more */
    bool urgent;   /* urgent data came, which splice(2) does not pass */
    int splice_fd; /* what splice(2) may be used on; -1 where it does not pay or cannot be */
};

static inline ssize_t stream_read(struct stream *stream, void *data, size_t size)
{
    return stream->ops->read(stream, data, size);
}

static inline ssize_t stream_write(struct stream *stream, const void *data, size_t size)
{
    return stream->ops->write(stream, data, size);
}

static inline int stream_finish(struct stream *stream)
{
    return stream->ops->finish(stream);
}

/* Reports `events` once more, after other streams had their turn; never from within this call. It counts from within a report, too: a
 * stream inside a session reports that it is writable from `fill`, where channel_ready() would be forgotten, and is asked again. */
static inline void stream_again(struct stream *stream, unsigned events)
{
    stream->ops->again(stream, events);
}

/* For a stream that is not going to be read for now, and keeps being reported as readable. */
static inline void stream_mute(struct stream *stream, bool muted)
{
    if (stream->muted != muted) {
        stream->muted = muted;
        stream->ops->mute(stream, muted);
    }
}

/* splice(2) to the stream's `splice_fd` found it full: it reports when it has room. Its own write knows. */
static inline void stream_await_room(struct stream *stream)
{
    stream->ops->await_room(stream);
}

static inline bool stream_can_borrow(const struct stream *stream)
{
    return stream->ops->borrow != NULL;
}

static inline ssize_t stream_borrow(struct stream *stream, const void **data)
{
    return stream->ops->borrow(stream, data);
}

static inline void stream_consumed(struct stream *stream, size_t size)
{
    stream->ops->consumed(stream, size);
}

static inline struct pipe *stream_piped(struct stream *stream)
{
    return stream->ops->piped != NULL ? stream->ops->piped(stream) : NULL;
}

static inline bool stream_can_reserve(const struct stream *stream)
{
    return stream->ops->reserve != NULL;
}

static inline ssize_t stream_reserve(struct stream *stream, void **room)
{
    return stream->ops->reserve(stream, room);
}

static inline void stream_commit(struct stream *stream, size_t size)
{
    stream->ops->commit(stream, size);
}

/* With `abort`, the peer is told that the stream was cut, where the transport can tell. */
static inline void stream_close(struct stream *stream, bool abort)
{
    stream->ops->close(stream, abort);
}

/* A stream over a connected socket of any family. */
struct sock_stream {
    struct stream stream;
    struct watcher watcher;
    struct poller *poller;
    size_t write_max; /* most bytes in one write; 0: no bound */
    bool vsock;
};

struct sock_kind_options {
    enum addr_kind kind;
    size_t vsock_write_max; /* vsock writes over ~31 KiB arrive corrupted on some kernels */
};

/* Takes over a connected `fd`. Returns 0, or a negative errno value: the descriptor is then still
 * the caller's. */
int sock_stream_open(struct sock_stream *sock, struct poller *poller, int fd,
                     const struct sock_kind_options *kind, stream_cb cb) MUST_CHECK;

/* The same with a socket that `watcher` already watches, which is idle afterwards. */
int sock_stream_adopt(struct sock_stream *sock, struct poller *poller, struct watcher *watcher,
                      const struct sock_kind_options *kind, stream_cb cb) MUST_CHECK;

/* Whether nothing has come that was not read, nor an end: asked of the socket, whatever was reported so far, unless the poller knows
 * it as of some microseconds ago. */
bool sock_stream_silent(const struct sock_stream *sock) MUST_CHECK;

/* stream_close() for the owner of the struct. Harmless when watcher.fd is -1: never opened, or closed. */
void sock_stream_close(struct sock_stream *sock, bool abort);

#endif
