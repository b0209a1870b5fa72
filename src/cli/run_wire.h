/*
 * The session that `postern run` keeps for itself, and the streams on it: the log's and the clock's.
 *
 * A stream is wanted, or not. One that is wanted is opened when there is a session, and again a while after it came to an end,
 * however often; its owner is asked for bytes only once the daemon has said that it is open, so that nothing is given to a
 * stream that will be refused.
 *
 * Lifetimes: the caller embeds wire and streams; loop and texts outlive them. A stream's `over` comes from the loop, out
 * of the session's own turn. run_wire_release() ends all without a word.
 */
#ifndef POSTERN_CLI_RUN_WIRE_H
#define POSTERN_CLI_RUN_WIRE_H

#include "cli/link.h"
#include "cli/tunnel.h"
#include "init/tell.h"

/* What is waited for. */
struct run_wire_times {
    uint32_t again_ms;      /* before a stream is opened again */
    uint32_t refused_ms;    /* the same, when the daemon said that it would be refused again */
    uint32_t redial_min_ms; /* before there is another try for a session, longer with each failure ... */
    uint32_t redial_max_ms; /* ... up to this */
};

/* clang-format off */
#define RUN_WIRE_TIMES {.again_ms = 1000, .refused_ms = 30000, .redial_min_ms = 100, .redial_max_ms = 10000}
/* clang-format on */

struct run_stream;

struct run_stream_ops {
    /* As in tunnel_ops. */
    ssize_t (*read)(struct run_stream *stream, void *buffer, size_t size);
    ssize_t (*write)(struct run_stream *stream, const void *bytes, size_t size);
    void (*finish)(
        struct run_stream *stream); /* the daemon says no more; the stream is to be ended soon. May be NULL */

    void (*opened)(struct run_stream *stream);                /* may be NULL */
    void (*over)(struct run_stream *stream, const char *why); /* NULL: it was finished. */
};

struct run_stream {
    const struct run_stream_ops *ops;
    const char *route, *name; /* name: the log's, or NULL */
    struct run_wire *wire;
    bool wanted; /* the owner's */
    bool open;   /* from the request on, and until `over` */
    bool opened;
    uint64_t not_before; /* ms: when it may be tried again; CLI_NEVER: once there is a session */
    struct tunnel tunnel;
    struct cli_task leave;
    char words[256]; /* the daemon's, when it refused */
    LIST_ENTRY(run_stream) link;
};

struct run_wire {
    struct cli_loop *loop;
    struct run_wire_times times;
    const struct tell *told;
    struct cli_link link;
    struct cli_timer again;
    LIST_HEAD(run_stream_list, run_stream) streams;
    bool was_up;
    bool leaving;                 /* run_wire_drain() was called */
    char trouble[ERROR_TEXT_MAX]; /* what was last told about a session that is not there */
};

int run_wire_init(struct run_wire *wire, struct cli_loop *loop, const struct addr *to,
                  const struct run_wire_times *times, const struct tell *told, struct error *err) MUST_CHECK;
void run_wire_release(struct run_wire *wire); /* harmless when zeroed */

/* As cli_link_drain(). What streams are told then is not the daemon's doing. */
void run_wire_drain(struct run_wire *wire, uint32_t ms, void (*over)(struct cli_link *link));

/* Makes a stream known, not wanted yet. */
void run_stream_init(struct run_stream *stream, struct run_wire *wire, const struct run_stream_ops *ops,
                     const char *route, const char *name);

/* It is wanted, from now on: or has something to say, when it is open. */
void run_stream_wake(struct run_stream *stream);

/* An open one is given up: `over` will say the status's words. */
void run_stream_fail(struct run_stream *stream, int status);

#endif
