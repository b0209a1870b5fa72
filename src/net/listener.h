/*
 * A listening socket on a loop: takes connections as they come, a bounded number a turn so that streams
 * already open have theirs, and stays alive when descriptors run out.
 *
 * Out of descriptors (EMFILE, ENFILE), a spare one is given up for a moment to take the connection and
 * reset it: the caller is refused, with a count, instead of waiting in the backlog for nobody knows how
 * long. Any other failure pauses the listener for LISTENER_PAUSE_MS, one to watch the socket among them.
 */
#ifndef POSTERN_NET_LISTENER_H
#define POSTERN_NET_LISTENER_H

#include "base/compiler.h"
#include "net/addr.h"
#include "net/loop.h"
#include <stdbool.h>
#include <stdint.h>

#define LISTENER_TURN     64
#define LISTENER_PAUSE_MS 100

struct listener;

struct listener_ops {
    /* A connection; `fd` is the callee's. The listener may be closed from inside. */
    void (*accepted)(struct listener *listener, int fd, const struct sockaddr_any *peer);
    /* accept() failed with that negative errno value; `shed` connections were reset for want of
     * descriptors. May come from inside listener_start(), and may close the listener. */
    void (*failed)(struct listener *listener, int code, unsigned shed);
    /* After listener_close(): the memory is the owner's again. */
    void (*closed)(struct listener *listener);
};

struct listener {
    const struct listener_ops *ops;
    struct loop *loop;
    struct watcher watcher;
    uv_timer_t pause;
    int fd;
    int spare_fd;
    bool closing;
};

/* Takes over `fd`, a listening socket. */
void listener_start(struct listener *listener, struct loop *loop, int fd, const struct listener_ops *ops);

/* Stops and closes; closed() follows from the loop. Idempotent. */
void listener_close(struct listener *listener);

#endif
