/*
 * What all exchanges of one worker share: the secrets of its routes, the connections to their upstreams that are kept, and
 * what is counted.
 *
 * Lifetimes: the worker embeds it. forward_worker_close() comes after the last exchange ended and before loop_close(), which
 * runs the loop until what was closed is gone: the memory lives until then.
 */
#ifndef POSTERN_FORWARD_WORKER_H
#define POSTERN_FORWARD_WORKER_H

#include "base/text.h"
#include "forward/body_memory.h"
#include "forward/credentials.h"
#include "http/head.h"
#include "http/request.h"
#include "http/values.h"
#include "net/loop.h"
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <time.h>
#include <uv.h>

struct exchange;
struct upstream;

/* Counted since the start, for the metrics; `open` and `idle` are how many there are now. Read from other threads: each is
 * atomic, relaxed. */
struct forward_stats {
    _Atomic uint64_t opened;  /* connections to upstreams that came to be usable */
    _Atomic uint64_t failed;  /* that did not */
    _Atomic uint64_t reused;  /* requests that found one waiting */
    _Atomic uint64_t retried; /* requests sent again, the connection that waited being dead */
    _Atomic uint64_t resumed; /* TLS handshakes that were short, thanks to an earlier one */
    _Atomic uint64_t open;
    _Atomic uint64_t idle; /* of the open ones */
};

static inline void forward_count(_Atomic uint64_t *stat, int64_t change)
{
    atomic_fetch_add_explicit(stat, (uint64_t)change, memory_order_relaxed);
}

struct forward_worker {
    struct loop *loop;
    struct http_secrets secrets;   /* of all routes */
    struct http_rules proxy_rules; /* of requests to connect routes, which have none of their own */
    struct credentials_store credentials;
    struct forward_stats stats;
    struct body_memory *bodies; /* of all workers */

    /* Private. */
    LIST_HEAD(upstream_list, upstream) upstreams; /* one for each route that is in use */
    TAILQ_HEAD(exchange_list, exchange) due[2];   /* to be seen to in the loop's next turn; and in this one */
    unsigned next_turn;                           /* which of them is which */
    uv_idle_t turn;                               /* runs while there are any */
    time_t dated;                                 /* the time that `date` tells */
    char date[40];                                /* of answers of our own */
    /* Memory of the last ones, for the next; wiped. */
    struct text spare;
    struct http_head spare_head;
};

/* The directory of credentials is $CREDENTIALS_DIRECTORY. `bodies` outlives the worker. */
void forward_worker_init(struct forward_worker *worker, struct loop *loop, struct body_memory *bodies);
void forward_worker_close(struct forward_worker *worker);

/* An empty head, maybe in memory of an earlier one, and its end: wiped, as it may hold secrets. A head that was never lent is
 * harmless. */
void forward_worker_lend_head(struct forward_worker *worker, struct http_head *ret);
void forward_worker_take_head(struct forward_worker *worker, struct http_head *head);

#endif
