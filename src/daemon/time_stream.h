/*
 * A stream to a `time` route: whoever asks is told what time it is here. docs/protocol.md, "Routes that the daemon answers
 * itself", says how: 8 bytes of the caller's are answered with the same 8 and the time in nanoseconds, as often as it
 * asks. The time is taken when the answer is written, so that waiting for that does not spoil it.
 *
 * One question is held, and one answer; while the answer is not taken, no question is read. The stream ends when the caller's
 * side does, or after the route's idle_timeout without a question.
 *
 * Lifetimes: as a relay's (relay/relay.h). The owner embeds it, and hears ended() exactly once, from the loop and never from
 * inside of a function of this header: the memory is then the owner's again.
 */
#ifndef POSTERN_DAEMON_TIME_STREAM_H
#define POSTERN_DAEMON_TIME_STREAM_H

#include "base/compiler.h"
#include "base/reason.h"
#include "config/config.h"
#include "framed/channel_stream.h"
#include "net/loop.h"
#include "net/stream.h"
#include <stdbool.h>
#include <stdint.h>

#define TIME_STREAM_ASK    8u
#define TIME_STREAM_ANSWER 16u
#define TIME_STREAM_TURN   64u /* questions answered before other streams have their turn */

struct time_stream;

struct time_stream_ops {
    void (*moved)(struct time_stream *time, uint64_t in, uint64_t out); /* bytes */
    void (*ended)(struct time_stream *time);                            /* see time->why */
};

struct time_stream {
    const struct time_stream_ops *ops;
    struct loop *loop;
    uint64_t idle_ms;
    union {
        struct stream stream; /* whichever it is */
        struct sock_stream sock;
        struct channel_stream channel;
    };
    bool framed;  /* it is a channel */
    bool open;    /* the stream is */
    bool leaving; /* all was said: the next report ends it */
    bool over;
    enum reason why; /* once it is over */
    uv_timer_t timer;
    uint8_t ask[TIME_STREAM_ASK], answer[TIME_STREAM_ANSWER];
    unsigned asked, answered; /* bytes of it, that came, that went */
    uint64_t started_at;
    uint64_t bytes_in, bytes_out;
};

/* Takes over an accepted socket. */
void time_stream_start(struct time_stream *time, struct loop *loop, const struct time_stream_ops *ops,
                       const struct config_route *route, int fd, const struct sock_kind_options *kind);

/* From within the session's open(). */
void time_stream_start_channel(struct time_stream *time, struct loop *loop, const struct time_stream_ops *ops,
                               const struct config_route *route, struct session_io *io,
                               struct channel *channel);

/* Ends it from outside. Harmless when it is over. */
void time_stream_end(struct time_stream *time, enum reason why);

#endif
