/*
 * A small event loop: descriptors by epoll, timers, signals, and things to be done at the end of a turn.
 *
 * The client is one thread and needs no more than this; libuv would be most of its size.
 *
 * Lifetimes: the caller embeds watches, timers and tasks. After cli_loop_remove(), cli_timer_stop() or cli_task_cancel() no call
 * comes, not even for what was fetched from the kernel already, so the memory may be freed at once, from inside
 * any call. Remove a descriptor before closing it.
 */
#ifndef POSTERN_CLI_LOOP_H
#define POSTERN_CLI_LOOP_H

#include "base/compiler.h"
#include "base/error.h"
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/queue.h>

#define CLI_LOOP_BATCH 128
#define CLI_NEVER      UINT64_MAX

struct cli_watch {
    void (*ready)(struct cli_watch *watch, uint32_t events); /* EPOLL... */
    int fd;                                                  /* -1 when not added */
};

/* A few of them are meant: they are kept in a list. */
struct cli_timer {
    void (*due)(struct cli_timer *timer);
    uint64_t at; /* CLI_NEVER: stopped */
    bool listed;
    LIST_ENTRY(cli_timer) link;
};

/* Called once, when the reports of this turn are through: for what must not be done inside a callback. */
struct cli_task {
    void (*run)(struct cli_task *task);
    bool queued;
    TAILQ_ENTRY(cli_task) link;
};

struct cli_loop {
    int epoll_fd;
    bool stopped;
    uint64_t now; /* ms, of this turn */
    LIST_HEAD(cli_timer_list, cli_timer) timers;
    TAILQ_HEAD(cli_task_list, cli_task) tasks;
    unsigned queued;
    struct epoll_event batch[CLI_LOOP_BATCH]; /* fetched, being reported */
    int next, count;
    struct cli_watch signals;
    void (*signalled)(struct cli_loop *loop, int signal);
    sigset_t mask_before;
};

int cli_loop_init(struct cli_loop *loop, struct error *err) MUST_CHECK;
void cli_loop_release(struct cli_loop *loop); /* also of one whose init failed */

/* Turns until cli_loop_stop(). Returns 0 or a negative errno value: the kernel refuses to wait. */
int cli_loop_run(struct cli_loop *loop) MUST_CHECK;
void cli_loop_stop(struct cli_loop *loop);

/* Milliseconds of the monotonic clock, as they are now, and not at the turn's beginning. */
uint64_t cli_now_ms(void);

/* `events` as epoll_ctl() has them, EPOLLET or not. 0 or a negative errno value; -EPERM: a file, which is
 * always ready. */
int cli_loop_add(struct cli_loop *loop, struct cli_watch *watch, int fd, uint32_t events,
                 void (*ready)(struct cli_watch *watch, uint32_t events)) MUST_CHECK;
void cli_loop_change(struct cli_loop *loop, struct cli_watch *watch, uint32_t events);
void cli_loop_remove(struct cli_loop *loop, struct cli_watch *watch); /* harmless when not added */

void cli_timer_start(struct cli_loop *loop, struct cli_timer *timer, uint64_t at,
                     void (*due)(struct cli_timer *timer));
void cli_timer_stop(struct cli_timer *timer); /* harmless when zeroed or stopped */

void cli_task_queue(struct cli_loop *loop, struct cli_task *task, void (*run)(struct cli_task *task));
void cli_task_cancel(struct cli_loop *loop, struct cli_task *task);

/* SIGTERM and SIGINT are no longer deadly, but told, until the loop is released. Children inherit the
 * mask: who starts one gives it `mask_before`. */
int cli_loop_signals(struct cli_loop *loop, void (*signalled)(struct cli_loop *loop, int signal),
                     struct error *err) MUST_CHECK;

#endif
