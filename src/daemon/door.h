/*
 * Doors: a listener as one worker runs it. The main thread opens, changes and closes them by jobs, made
 * beforehand so that a reload which lacks the memory fails before anything has changed. Each is posted by worker_order(). The
 * drain's is part of the worker, since it has to come without memory, too.
 */
#ifndef POSTERN_DAEMON_DOOR_H
#define POSTERN_DAEMON_DOOR_H

#include "base/compiler.h"
#include "daemon/rules.h"
#include "daemon/worker.h"
#include "net/listener.h"
#include <stdbool.h>
#include <sys/queue.h>

struct door {
    struct listener listener;
    struct worker *worker;
    struct rules *rules; /* one reference; replaced by a reload that keeps the listener */
    unsigned id;         /* of the listener in those rules */
    bool inherited;      /* the socket is systemd's too, and outlives this process */
    bool draining;       /* callers are refused */
    LIST_ENTRY(door) link;
};

/* A door on the listening socket `fd`, for listener `id` of the rules. The descriptor is taken over when the
 * job runs, a reference to the rules at once. NULL: out of memory. */
struct job *door_job_open(int fd, bool inherited, struct rules *rules, unsigned id) MUST_CHECK;

/* The door at `fd` goes on under other rules. */
struct job *door_job_change(int fd, struct rules *rules, unsigned id) MUST_CHECK;

/* What sessions open is judged by these rules from now on. */
struct job *door_job_adopt(struct rules *rules) MUST_CHECK;

/* Closes the door at `fd`. */
struct job *door_job_close(int fd) MUST_CHECK;

/* Before the end, which is so far away: doors on sockets of our own go on to refuse callers, with the reason. Those
 * on systemd's are closed, and their callers wait in the backlog for the next process. Sessions and log streams are
 * told. Once in a worker's life. */
void door_order_drain(struct worker *worker, uint64_t deadline_ms);

/* For a job that is not posted after all. NULL is harmless. */
void door_job_discard(struct job *job);

/* Worker's thread. */
void door_close_all(struct worker *worker);

#endif
