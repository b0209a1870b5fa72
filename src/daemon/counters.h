/*
 * What the daemon counts, by names that live longer than any configuration.
 *
 * Counters belong to (kind, name): a route that a reload keeps goes on counting, and one that a reload
 * removes keeps its last values, since streams may still run under it. Nothing that a peer sends is ever a
 * name here, so hostile names add no series. Entries are made on the main thread only (at start and
 * reload) and never freed before the end; workers add to them with relaxed atomics, and the metrics read
 * them so.
 */
#ifndef POSTERN_DAEMON_COUNTERS_H
#define POSTERN_DAEMON_COUNTERS_H

#include "base/compiler.h"
#include "base/reason.h"
#include <stdatomic.h>
#include <stdint.h>

typedef _Atomic uint64_t counter;

static inline void counter_add(counter *c, uint64_t n)
{
    atomic_fetch_add_explicit(c, n, memory_order_relaxed);
}

static inline void counter_sub(counter *c, uint64_t n)
{
    atomic_fetch_sub_explicit(c, n, memory_order_relaxed);
}

static inline void counter_set(counter *c, uint64_t n)
{
    atomic_store_explicit(c, n, memory_order_relaxed);
}

static inline uint64_t counter_get(const counter *c)
{
    return atomic_load_explicit((counter *)c, memory_order_relaxed);
}

/* Upper bounds of the connect latency histogram's buckets, in milliseconds; a last one has no bound. */
#define CONNECT_BUCKETS 12
#define CONNECT_BUCKETS_INIT                                 \
    {                                                        \
        1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000 \
    }
extern const unsigned connect_bucket_ms[CONNECT_BUCKETS];

struct route_counters {
    const char *name;
    counter active;              /* streams open now, opening ones included */
    counter accepted;            /* streams that passed policy and limits */
    counter ended[REASON_COUNT]; /* by reason, refused ones included */
    counter bytes_in;            /* from the caller to the destination */
    counter bytes_out;           /* from the destination to the caller */
    counter connect_bucket[CONNECT_BUCKETS + 1];
    counter connect_sum_us;
    counter connect_count;
    struct route_counters *next;
};

struct enclave_counters {
    const char *name; /* "" for callers that are no enclave */
    counter active;
    counter accepted;
    counter refused;
    counter bytes_in;
    counter bytes_out;
    struct enclave_counters *next;
};

struct listener_counters {
    const char *name;
    counter accepted;      /* connections taken from the kernel */
    counter refused;       /* of those, closed at once: policy, limits */
    counter accept_errors; /* accept() failed: EMFILE and its like */
    struct listener_counters *next;
};

struct counters {
    struct route_counters *routes; /* lists, in the order in which they were made */
    struct enclave_counters *enclaves;
    struct listener_counters *listeners;
    counter active; /* streams open now in the whole daemon */
    counter reloads_ok;
    counter reloads_failed;
    counter reload_time_s;  /* Unix time of the last reload or start that was tried */
    counter reload_last_ok; /* 1 or 0 */
    counter stalls;         /* times an event loop was busy for 100 ms or more */
    uint64_t start_time_s;
};

void counters_init(struct counters *counters);
void counters_release(struct counters *counters);

/* The entry with that name, made if there is none. NULL: out of memory. Main thread only. */
struct route_counters *counters_route(struct counters *counters, const char *name);
struct enclave_counters *counters_enclave(struct counters *counters, const char *name);
struct listener_counters *counters_listener(struct counters *counters, const char *name);

void counters_connect_latency(struct route_counters *route, uint64_t microseconds);

#endif
