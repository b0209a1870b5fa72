/*
 * A session on a loop: ties the framed protocol (session/session.h) to a connected socket.
 *
 *     OPEN -> PARTING -> CLOSED -> ended()
 *
 * OPEN lasts as long as the session. PARTING: the session is over, what it still had to say is written, and the socket is read
 * to its end, for SESSION_IO_LINGER_MS at most. CLOSED: the socket is gone; of streams that were over before the session was, the
 * last bytes may still be on their way to where they lead.
 *
 * Always read: whatever the state of its streams is, the socket is read. What a stream cannot be rid of at once is kept by its
 * channel_stream, within the credit that the peer was given. What is to be written is asked for only when the socket takes it.
 *
 * In bulk: while large payloads come for streams that splice, a read ends where the next payload begins, and that one is spliced past the
 * session (session_expects()).
 *
 * Memory: an idle session has no buffer. Of two that the loop lends (LOOP_BUFFER_SIZE each), one is held while the socket is full,
 * with what it did not take, and one while a turn is over before all that was read has been looked at.
 *
 * Turns: other sockets have theirs after SESSION_IO_TURN bytes each way, or SESSION_IO_ACTS times that a stream was begun or was
 * told of something. What streams want to send is gathered until the reports of the loop's turn are through, and goes
 * out in one write.
 *
 * Lifetimes: the owner embeds it. Once session_io_start() has returned 0, ended() comes exactly once, from the loop and never from
 * inside of a function of this header; it comes after the session's last stream was closed, a turn of the loop later at
 * least, and the memory is then the owner's again.
 */
#ifndef POSTERN_FRAMED_SESSION_IO_H
#define POSTERN_FRAMED_SESSION_IO_H

#include "base/compiler.h"
#include "net/loop.h"
#include "net/stream.h"
#include "session/session.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#define SESSION_IO_TURN      1048576u /* bytes each way */
#define SESSION_IO_ACTS      128u
#define SESSION_IO_LINGER_MS 5000u

struct session_io;
struct channel_stream;

/* All but `open` and `ended` may be NULL. */
struct session_io_ops {
    void (*ready)(struct session_io *io, const struct control_hello *peer);

    /* The peer opened a stream. Before it returns, either channel_stream_open() takes the channel, or channel_refuse() and
     * channel_release() turn it away. */
    void (*open)(struct session_io *io, struct channel *channel, const struct control_open *open);

    void (*pong)(struct session_io *io, uint64_t rtt_ms);
    void (*ended)(struct session_io *io, const struct session_end *end);
};

enum session_io_state { SESSION_IO_OPEN, SESSION_IO_PARTING, SESSION_IO_CLOSED };

TAILQ_HEAD(channel_stream_list, channel_stream);

struct session_io {
    const struct session_io_ops *ops;
    struct loop *loop;
    struct session *session; /* owned */
    struct session_end end;  /* once it is over */
    enum session_io_state state;
    struct sock_stream sock;
    uv_timer_t timer;
    uint64_t timer_at; /* loop time that it is set to; SESSION_NEVER: it is not */
    uint64_t linger_by;
    unsigned char *in, *out; /* lent; NULL as a rule */
    uint32_t in_at, in_length, out_at, out_length;
    uint32_t asked;   /* of the socket, for `in` */
    uint8_t lean;     /* reads that end where the next payload begins */
    bool lent;        /* some of `in` was handed to streams, which have not been told yet */
    uint32_t acts;    /* in this turn */
    uint32_t streams; /* not yet closed */
    uint32_t linger_ms;
    bool leaving;  /* it was told to drain, or to end */
    bool fresh;    /* `in` was read in this turn */
    bool full;     /* the socket takes no more for now */
    bool cut;      /* nor ever again */
    bool finished; /* it was shut down for writing */
    bool heard;    /* it was read to its end */

    /* Of channel_stream.c: */
    struct channel_stream_list due;   /* to be told of what came, before this turn is over */
    struct channel_stream_list again; /* at the next turn */
    struct channel_stream *told;      /* being told; NULL once it was closed */
    struct {                          /* the room that is being filled */
        struct channel_stream *stream;
        unsigned char *room;
        uint32_t size, used;
        bool more;
    } fill;
};

/* Takes over `fd`, a connected socket of that kind. `config` is copied; where its hash_seed is 0, a random one is made. 0, or a
 * negative errno value: then `fd` is closed, and that was all. */
int session_io_start(struct session_io *io, struct loop *loop, const struct session_io_ops *ops,
                     const struct session_config *config, int fd,
                     const struct sock_kind_options *kind) MUST_CHECK;

/* session_drain() and session_abort(), at any time. */
void session_io_drain(struct session_io *io, uint32_t deadline_ms);
void session_io_end(struct session_io *io, enum code code, const char *text);

/* Once it is over, it waits for the peer so long at most, in place of SESSION_IO_LINGER_MS. */
void session_io_hurry(struct session_io *io, uint32_t linger_ms);

static inline struct session_io *session_io_of(const struct session *session)
{
    return session_user(session);
}

#endif
