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
#include "forward/verdict.h"
#include "http/refusal.h"
#include "session/codes.h"
#include <stdatomic.h>
#include <stdbool.h>
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

/* Upper bounds of a histogram's buckets, in milliseconds; a last one has no bound. */
#define HISTOGRAM_BUCKETS 12
#define HISTOGRAM_BUCKETS_INIT                               \
    {                                                        \
        1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000 \
    }
extern const unsigned histogram_bucket_ms[HISTOGRAM_BUCKETS];

struct histogram {
    counter bucket[HISTOGRAM_BUCKETS + 1];
    counter sum_us;
    counter count;
};

/* How a session can end, as an index: the protocol's own codes, and one for all others that a peer may give. */
enum session_code {
#define X(id, number, word) SESSION_CODE_##id,
    CODE_TABLE(X)
#undef X
        SESSION_CODE_OTHER,
    SESSION_CODE_COUNT
};

/* How an open can be refused: for a reason, or as one of a kind that nobody knows. */
#define OPEN_UNSUPPORTED REASON_COUNT
#define OPEN_REFUSALS    (REASON_COUNT + 1)

/* Answers are counted by the first digit of their status. */
#define REQUEST_CLASSES 6

/* Of the requests to a route that forwards them. */
struct request_counters {
    counter answered[REQUEST_CLASSES];   /* by the upstream, whole; 0: with a status that is none */
    counter kept;                        /* in the spool, and so answered */
    counter refused[HTTP_REFUSED_COUNT]; /* by the word: refused, failed, or broken off */
    counter body_in, body_out;           /* bytes of bodies */
    struct histogram duration;           /* of those that were answered */
};

struct route_counters {
    const char *name;
    counter active;                       /* streams open now, opening ones included */
    counter accepted;                     /* streams that passed policy and limits */
    counter ended[REASON_COUNT];          /* by reason, refused ones included */
    counter bytes_in;                     /* from the caller to the destination */
    counter bytes_out;                    /* from the destination to the caller */
    struct histogram connect;             /* from the decision to connect to a connected destination */
    counter deliveries[VERDICT_OUTCOMES]; /* attempts to deliver a spooled record, by what became of them */
    counter held;                         /* 1 while its upstream is down, and only probed; else 0 */
    struct request_counters *requests;    /* owned; NULL unless the route forwards requests, or once did */
    struct route_counters *next;
};

struct enclave_counters {
    const char *name; /* "" for callers that are no enclave */
    counter active;
    counter accepted;
    counter refused;
    counter bytes_in;
    counter bytes_out;
    counter sessions_active;
    counter sessions_opened;
    counter sessions_refused;
    counter stream_stalls; /* times that a stream waited for the peer's credit, though the session had some */
    counter session_stalls; /* times that a whole session did */
    counter lines;          /* of its log streams, handed to the log */
    counter lines_dropped;  /* over lines_per_second */
    counter lines_unsaid;   /* of those, not yet told in the log */
    counter line_tokens;    /* the state of that bound, see log_take_token() */
    counter say_tokens;     /* the same, of the lines that tell of those */
    struct enclave_counters *next;
};

struct listener_counters {
    const char *name;
    counter accepted;      /* connections taken from the kernel */
    counter refused;       /* of those, closed at once: policy, limits */
    counter denied;        /* of these, by policy: strangers */
    counter accept_errors; /* accept() failed: EMFILE and its like */
    struct listener_counters *next;
};

struct counters {
    struct route_counters *routes; /* lists, in the order in which they were made */
    struct enclave_counters *enclaves;
    struct listener_counters *listeners;
    counter active;     /* streams open now in the whole daemon */
    counter sessions;   /* and sessions */
    counter delivering; /* workers that have spooled records on their way */
    counter sessions_ended[SESSION_CODE_COUNT];
    counter opens_refused[OPEN_REFUSALS]; /* streams that a session's caller asked for and did not get */
    struct histogram round_trip;          /* of sessions' PINGs */
    counter reloads_ok;
    counter reloads_failed;
    counter reload_time_s;  /* Unix time of the last reload or start that was tried */
    counter reload_last_ok; /* 1 or 0 */
    counter stalls;         /* times an event loop was busy for 100 ms or more */
    uint64_t start_time_s;
    uint64_t generation; /* of the latest rules. Main thread only */
};

void counters_init(struct counters *counters);
void counters_release(struct counters *counters);

/* The entry with that name, made if there is none. NULL: out of memory. Main thread only. */
struct route_counters *counters_route(struct counters *counters, const char *name);
struct enclave_counters *counters_enclave(struct counters *counters, const char *name);
struct listener_counters *counters_listener(struct counters *counters, const char *name);

/* Counts a connection, or a session, that was not let in. */
void counters_refuse(struct listener_counters *listener, enum reason why);

/* Gives the route counters of requests, unless it has them. Returns whether it has them now. Main thread only. */
bool counters_requests(struct route_counters *route) MUST_CHECK;

void histogram_add(struct histogram *histogram, uint64_t microseconds);

/* The index of a GOAWAY's code, and its word. */
enum session_code session_code(uint32_t code);
const char *session_code_word(enum session_code code);

/* The word for why an open was refused, by its index in opens_refused. */
const char *open_refusal_word(unsigned index);

#endif
