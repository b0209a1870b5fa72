/*
 * A worker: one thread, one loop, and everything about the connections it was given. Workers share no
 * connection state; what they tell each other goes through worker_post().
 *
 * Lifetimes: worker_set_start() makes the threads; from then on a worker's fields are its thread's own, but
 * for those marked shared. worker_set_stop() has them end their streams and return.
 */
#ifndef POSTERN_DAEMON_WORKER_H
#define POSTERN_DAEMON_WORKER_H

#include "base/compiler.h"
#include "base/error.h"
#include "base/log.h"
#include "daemon/counters.h"
#include "daemon/rules.h"
#include "forward/delivery.h"
#include "forward/forward_spool.h"
#include "forward/forward_stream.h"
#include "forward/worker.h"
#include "net/loop.h"
#include "relay/relay.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <uv.h>

/* A turn of the loop that takes this long is reported: other streams waited for it. */
#define WORKER_STALL_MS 100

struct worker;
struct door;
struct stream_record;
struct session_record;

/* Something for the worker's thread to do. The memory is run()'s to free. */
struct job {
    void (*run)(struct worker *worker, struct job *job);
    STAILQ_ENTRY(job) link;
};

struct worker {
    unsigned index;
    struct worker_set *set;
    uv_thread_t thread;
    struct loop loop;
    struct relay_worker relays;
    struct forward_worker forward;
    struct forward_spool spool; /* its share of it */
    struct deliveries deliveries;
    struct forward_ids request_ids;
    uv_async_t wake;
    uv_check_t turn_begins; /* for stalls */
    uv_prepare_t turn_ends;
    bool draining;
    uint64_t drain_by; /* loop time at which what is left will be cut */
    bool stopping;
    struct rules *
        rules; /* one reference: the newest that sessions and deliveries were told of; NULL before the first */
    struct log_limit log_ended, log_refused, log_deliveries, log_given_up;
    LIST_HEAD(, door) doors;
    LIST_HEAD(, stream_record) streams;
    LIST_HEAD(, session_record) sessions;

    /* Shared: */
    uv_mutex_t lock; /* guards `jobs` and `orders` */
    STAILQ_HEAD(, job) jobs;
    unsigned orders;         /* of the main thread's, not carried out yet */
    uv_cond_t idle;          /* `orders` is 0 */
    counter active;          /* streams, those on their way here included */
    counter sessions_active; /* and sessions */
    counter ping, pong;      /* see worker_busy_ms() */
    counter pinged_at_ms;
    _Atomic(const char *) route; /* the route that was last worked on, for the report of a stall */
    struct job stop, drain;      /* these two cannot fail for want of memory */
    uint64_t drain_ms;           /* main thread's until `drain` is posted */
};

/* All workers, and what they share. */
struct worker_set {
    struct worker *workers;
    unsigned count;
    struct counters *counters;
    struct body_memory bodies; /* initialised while `workers` is not NULL */
    uv_barrier_t stopped;      /* when all are past it, none hands streams to another any more */
    counter session_number;    /* of the latest session */
    _Atomic bool draining;     /* `emptied` is called only then */
    void (*emptied)(
        void *data); /* on a worker's thread: the last stream of the daemon has ended, or its last session */
    void *data;
};

/* Starts `count` threads. `emptied`, `data` and `counters` are set before. Returns 0 or a negative
 * errno value. */
int worker_set_start(struct worker_set *set, unsigned count, const struct config *config,
                     struct error *err) MUST_CHECK;

/* Ends all streams (REASON_SHUTDOWN), sessions and doors, and waits for the threads. Harmless on an empty set. */
void worker_set_stop(struct worker_set *set);

/* From any thread, until worker_set_stop(). */
void worker_post(struct worker *worker, struct job *job);

/* Main thread: the same, for a job that worker_await() is to wait for. Its run() calls worker_done() once. */
void worker_order(struct worker *worker, struct job *job);

/* Worker's thread: an order has been carried out. */
void worker_done(struct worker *worker);

/* Main thread: waits until the worker has carried out its orders, for `ms` at most. Returns whether it has. */
bool worker_await(struct worker *worker, uint64_t ms);

/* How long the worker has not been back in its loop, in milliseconds; 0 when it answered the last ping. Sends
 * the next ping. Main thread, now and then: this is what the watchdog goes by. */
uint64_t worker_busy_ms(struct worker *worker);

#endif
