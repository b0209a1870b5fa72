/*
 * A stream to a `log` route: its lines go to the daemon's log, with the name of the enclave.
 *
 *     {"ts":...,"level":"info","event":"enclave log","enclave":"payroll","route":"logs","name":"stderr","line":"..."}
 *
 * `name` is what the opener of a framed stream gave as meta `name`. A line that does not fit into one of the log's is
 * continued in the next (field `continues`). Lines over the route's lines_per_second, counted for the enclave over
 * all of its streams, are dropped; how many is told by the enclave's next line that passes (field `dropped`), or,
 * when none comes, a second later in a line of its own, and at the stream's end. Such lines have a bound, too: what an end
 * does not tell is left for the next.
 *
 * Nothing is ever sent the other way but the end: when the daemon drains, so that the enclave says what it still has to
 * say, and ends its side. The loop is never held up: the log has a queue of its own, and drops, too, rather than wait.
 *
 * Memory: while a line has not come to its end, LOG_STREAM_HELD bytes; else none.
 *
 * Lifetimes: as a relay's (relay/relay.h). The owner embeds it, and hears ended() exactly once, from the loop and never from
 * inside of a function of this header: the memory is then the owner's again.
 */
#ifndef POSTERN_DAEMON_LOG_STREAM_H
#define POSTERN_DAEMON_LOG_STREAM_H

#include "base/compiler.h"
#include "base/reason.h"
#include "config/config.h"
#include "daemon/counters.h"
#include "framed/channel_stream.h"
#include "net/loop.h"
#include "net/stream.h"
#include <stdbool.h>
#include <stdint.h>

#define LOG_STREAM_HELD \
    1536u /* of a line that came in parts, before it is continued in the next line of the log */
#define LOG_STREAM_TURN     65536u
#define LOG_STREAM_NAME_MAX 32u
#define LOG_STREAM_BURST    5u    /* seconds' worth of lines that may come at once */
#define LOG_STREAM_SAY_MS   1000u /* after which dropped lines are told without another line */
#define LOG_STREAM_SAYS \
    10u /* times that they may be told so at once; then one a second, of the enclave's streams together */

struct log_stream;

struct log_stream_ops {
    void (*moved)(struct log_stream *log, uint64_t bytes);
    void (*ended)(struct log_stream *log); /* see log->why */
};

struct log_stream {
    const struct log_stream_ops *ops;
    struct loop *loop;
    const struct config_route *route;
    const char *enclave; /* NULL: nobody's */
    struct enclave_counters *counters;
    union {
        struct stream stream; /* whichever it is */
        struct sock_stream sock;
        struct channel_stream channel;
    };
    bool framed; /* it is a channel */
    bool open;   /* the stream is */
    uv_timer_t timer;
    char *held; /* owned: the beginning of a line; NULL as a rule */
    uint32_t held_length;
    bool skipping; /* up to the end of the line */
    bool finished; /* the end was sent */
    bool over;
    enum reason why; /* once it is over */
    uint64_t started_at;
    uint64_t bytes, lines, dropped;
    char name[LOG_STREAM_NAME_MAX + 1]; /* "": none was given */
};

/* Where its lines come from. */
struct log_stream_source {
    const struct config_route *route;
    const char *enclave;               /* NULL: nobody's */
    struct enclave_counters *counters; /* of that enclave, or of nobody */
};

/* Takes over an accepted socket. Strings and counters outlive the stream. */
void log_stream_start(struct log_stream *log, struct loop *loop, const struct log_stream_ops *ops,
                      const struct log_stream_source *source, int fd, const struct sock_kind_options *kind);

/* The same for a stream that the peer of a session opened: to be called from within the session's open(), whose channel it
 * takes over. */
void log_stream_start_channel(struct log_stream *log, struct loop *loop, const struct log_stream_ops *ops,
                              const struct log_stream_source *source, struct session_io *io,
                              struct channel *channel, const struct control_open *open);

/* Tells the other side that the log goes away: it is to say what it still has to say, and to end. */
void log_stream_drain(struct log_stream *log);

/* Ends it from outside. What came is still written. Harmless when it is over. */
void log_stream_end(struct log_stream *log, enum reason why);

#endif
