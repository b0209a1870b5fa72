/*
 * Edge-triggered readiness of sockets, inside a libuv loop.
 *
 * One epoll instance a loop holds all relayed sockets; the loop watches it with a single uv_poll_t. Why
 * not a uv_poll_t or a uv_stream_t for each socket: a relay that splices needs to know readiness, not
 * to be handed bytes; a uv_poll_t pays two epoll_ctl() for each change of interest, loses the error behind
 * POLLERR and costs 160 bytes an idle connection; a uv_stream_t reads into memory. Here a socket is added
 * once, for both directions, and closed. (Measured: docs/performance.md.)
 *
 * Edge-triggered means: after a report, read or write until EAGAIN (or a short count), or no further
 * report comes. A watcher that stops early for fairness calls poller_again().
 *
 * Room to write is reported to some only when they ask (ROOM_ON_DEMAND). A TCP socket tells of room when it had none. A unix or vsock
 * one tells each time that the peer has read something, and would wake the loop for that once a message.
 *
 * Lifetimes: the caller embeds the watcher. After poller_remove() no report comes, not even one already
 * fetched from the kernel, so the memory may be freed at once, from inside any report. Remove before
 * closing the descriptor.
 */
#ifndef POSTERN_NET_POLLER_H
#define POSTERN_NET_POLLER_H

#include "base/compiler.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/queue.h>
#include <uv.h>

struct watcher;

/* `events` are EPOLLIN, EPOLLPRI, EPOLLOUT, EPOLLRDHUP, EPOLLHUP, EPOLLERR, as the kernel or poller_again()
 * gave them. */
typedef void (*watcher_cb)(struct watcher *watcher, uint32_t events);

enum poller_room { ROOM_REPORTED, ROOM_ON_DEMAND };

struct watcher {
    watcher_cb cb;
    int fd;         /* -1 when not added */
    uint32_t again; /* events to report once more on the next turn */
    bool due;       /* that turn has come, and others are reported first */
    bool muted;     /* poller_mute() */
    bool on_demand; /* ROOM_ON_DEMAND; then: */
    bool awaited;   /* room was asked for, and not reported since */
    bool watched;   /* the kernel tells of room */
    TAILQ_ENTRY(watcher) again_link;
};

#define POLLER_BATCH 256

struct poller {
    int epoll_fd;
    uv_poll_t poll;
    uv_idle_t idle; /* runs while `again` is not empty, so that the loop does not sleep */
    uv_prepare_t prepare;
    TAILQ_HEAD(watcher_list, watcher) again, due;
    struct epoll_event batch[POLLER_BATCH]; /* fetched, being reported */
    int batch_next, batch_count;
    uint64_t fetched_ns; /* when the last batch was; the poller's alone to set */
    unsigned closing;    /* handles still to be closed */
    void (*closed)(void *data);
    void *closed_data;
};

/* Returns 0 or a negative errno value: then the loop is to be run until it has closed what was begun. */
int poller_init(struct poller *poller, uv_loop_t *loop) MUST_CHECK;

/* All watchers must have been removed. `cb` is called from the loop when the memory is the caller's again. */
void poller_close(struct poller *poller, void (*cb)(void *data), void *data);

/* Adds `fd` for reading and writing, edge-triggered; its present state is reported on the next turn.
 * Returns 0 or a negative errno value. */
int poller_add(struct poller *poller, struct watcher *watcher, int fd, enum poller_room room,
               watcher_cb cb) MUST_CHECK;

/* Adds a listening `fd`: reading only, level-triggered, so that an accept which failed is tried again. */
int poller_add_listener(struct poller *poller, struct watcher *watcher, int fd, watcher_cb cb) MUST_CHECK;

/* The descriptor of `from` becomes `to`'s, and its present state is reported to `to`. `from` is idle
 * after. */
int poller_move(struct poller *poller, struct watcher *from, struct watcher *to, enum poller_room room,
                watcher_cb cb) MUST_CHECK;

/* Harmless when not added. */
void poller_remove(struct poller *poller, struct watcher *watcher);

/* The same, and closes the descriptor, of which no duplicate may exist: one system call less, since
 * closing takes it out of the epoll instance too. */
void poller_drop(struct poller *poller, struct watcher *watcher);

/* While muted, that there is something to read is not reported: a source whose sink is full would wake the
 * loop with each packet. Its end still is. Unmuting reports what has come meanwhile. */
void poller_mute(struct poller *poller, struct watcher *watcher, bool muted);

/* The descriptor took less than was written: reports EPOLLOUT when it takes more, once. For ROOM_REPORTED there is nothing to do. */
void poller_await_room(struct poller *poller, struct watcher *watcher);

/* Whether nothing had come for the watcher that it was not told of, when the kernel was last asked, and that is at most `within_ns`
 * ago. False may mean that it is not known, as it never is but from inside of a report. */
bool poller_is_quiet(const struct poller *poller, const struct watcher *watcher, uint64_t within_ns);

/* When the kernel was last asked, by uv_hrtime(); 0: never yet. */
static inline uint64_t poller_fetched_ns(const struct poller *poller)
{
    return poller->fetched_ns;
}

/* Reports `events` to the watcher on the loop's next turn, after other sockets had theirs. */
void poller_again(struct poller *poller, struct watcher *watcher, uint32_t events);

#endif
