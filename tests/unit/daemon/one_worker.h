/*
 * One worker, run by the test on its own thread, with a door that callers are brought to by hand. A vsock caller is an
 * address that says so, over a TCP connection.
 */
#ifndef POSTERN_TESTS_ONE_WORKER_H
#define POSTERN_TESTS_ONE_WORKER_H

#include "daemon/admission.h"
#include "daemon_bench.h"
#include "loopback.h"

struct one_worker {
    struct counters counters;
    struct worker_set set;
    struct worker worker;
    struct rules *rules;
    struct door door;
    int listener; /* of the destination, which the test plays */
    uint16_t port;
    unsigned emptied;
};

extern struct one_worker bench;

/* Makes it under the configuration in `format`, in which each "%u" is the destination's port. */
void one_worker_open(const char *format);

/* Ends what there is, and fails the test if a place, a reference or a stream is left. */
void one_worker_close(void);

void one_worker_turn(void);

#define AWAIT(condition)                                                 \
    do {                                                                 \
        uint64_t await_limit = loopback_limit();                         \
        while (!(condition)) {                                           \
            loopback_check(await_limit, #condition, __FILE__, __LINE__); \
            one_worker_turn();                                           \
        }                                                                \
    } while (0)

struct sockaddr_any from_vsock(uint32_t cid);
struct sockaddr_any from_tcp(void);
struct sockaddr_any from_unix(void);

/* A caller at a listener. Returns the other end. */
int call_at(unsigned listener, const struct sockaddr_any *from);

unsigned streams_open(void);

/* How many streams of the route ended, or were refused, for the reason. */
uint64_t ended_for(unsigned route, enum reason why);

#endif
