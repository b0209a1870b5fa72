/*
 * A stream tied to something local: what the local side gives is sent, what comes is given to it, and each end is
 * passed on as what it is. Knows neither sockets nor files: `ops` read and write.
 *
 * Nothing is copied but what the local side does not take at once. That is held, at most the stream's window
 * of it, in a buffer that grows and shrinks with it; and only when it is gone may the daemon send more. What the local side has to say is read when the session
 * has room for it, and right into that; so both sides are slowed down by the slower one.
 *
 * Life: tunnel_init(), tunnel_open(), then events in any order until `over` is called, once. That may be inside any of
 * these functions but tunnel_init() and tunnel_release(); the owner calls tunnel_release() later, when the session is not
 * asking for bytes (`fill`). After `over` nothing is read, written or told any more.
 */
#ifndef POSTERN_CLI_TUNNEL_H
#define POSTERN_CLI_TUNNEL_H

#include "session/session.h"
#include <sys/types.h>

struct tunnel;

enum tunnel_end {
    TUNNEL_RUNS,
    TUNNEL_FINISHED,     /* both sides said they were done, or the far side `stopped` and was heard out */
    TUNNEL_CUT,          /* the far side gave it up: `code` */
    TUNNEL_REFUSED,      /* it was not opened: `code`, and the daemon's words in refused() before */
    TUNNEL_LOST,         /* a timer, or the end of the session: `code` */
    TUNNEL_LOCAL_FAILED, /* the local side: `status` */
};

struct tunnel_ops {
    /* Up to `size` bytes of the local side's. 0: its end; -EAGAIN: nothing now, tunnel_readable() follows; another
     * negative errno value: it has failed. */
    ssize_t (*read)(struct tunnel *tunnel, void *buffer, size_t size);

    /* Gives it bytes; returns how many it took. -EAGAIN: none now, tunnel_writable() follows; another negative
     * errno value: it takes no more. */
    ssize_t (*write)(struct tunnel *tunnel, const void *bytes, size_t size);

    /* It has all there is: tells it the end. */
    void (*finish)(struct tunnel *tunnel);

    /* See above: `end` and what belongs to it are set. */
    void (*over)(struct tunnel *tunnel);

    /* What the daemon said when it refused; before `over`. May be NULL. */
    void (*refused)(struct tunnel *tunnel, const struct control_refused *refused);
};

struct tunnel {
    const struct tunnel_ops *ops;
    struct channel *channel; /* NULL before tunnel_open(), and after tunnel_release(), REFUSED and LOST */
    uint8_t *held;           /* owned: bytes from held_at to held_end wait for the local side */
    uint32_t held_at, held_end, held_size;
    enum tunnel_end end : 8;
    bool in_over : 1;    /* nothing more is read from the local side */
    bool out_over : 1;   /* nothing more is written to it */
    bool all_came : 1;   /* the far side is done; what is held is the last */
    bool reset_came : 1; /* the same, but there should have been more */
    bool stopped : 1;    /* the far side took no more before the local side was done: `stop_code` */
    bool read_any : 1;   /* from the local side: it cannot be tied to another stream any more */
    bool retryable : 1;  /* REFUSED and LOST: the daemon did nothing */
    uint32_t code, stop_code;
    int status;
};

/* Cut tunnels tell the daemon this. */
#define TUNNEL_CODE (CODE_REASON + REASON_CLIENT_RESET)

void tunnel_init(struct tunnel *tunnel, const struct tunnel_ops *ops);

/* Ties it to a stream, of which it is the user. The local side is read at once: the far side may wait for its first bytes
 * before it answers. */
void tunnel_open(struct tunnel *tunnel, struct channel *channel);

/* Frees what it holds, and gives up the stream if there is one. */
void tunnel_release(struct tunnel *tunnel);

/* The local side may be read, or written to. */
void tunnel_readable(struct tunnel *tunnel);
void tunnel_writable(struct tunnel *tunnel);

/* The local side has failed. */
void tunnel_fail(struct tunnel *tunnel, int status);

/* What the session tells of its channels, for tunnels as their users. */
extern const struct session_events tunnel_events;

#endif
