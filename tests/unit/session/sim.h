/*
 * Two sessions that talk over a simulated connection, and the applications above them, all driven by one seed.
 *
 * sim.c runs seeds, sim_wire.c is the connection, sim_app.c the two applications. What an application sends is a function
 * of the stream's id, the direction and the offset, so that the other one knows at each byte whether it is the right one,
 * and at the end whether it was the last.
 */
#ifndef POSTERN_TESTS_SIM_H
#define POSTERN_TESTS_SIM_H

#include "session/session_private.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WIRE_CAPACITY 65536u /* as a socket's buffer: what is there stops the writer */
#define CONVS_MAX     64u
#define CHUNKS_MAX    256u

struct rng {
    uint64_t state;
};

uint64_t rng_next(struct rng *rng);
uint32_t rng_below(struct rng *rng, uint32_t bound);
bool rng_chance(struct rng *rng, uint32_t percent);

/* One direction of the connection. */
struct wire {
    uint8_t bytes[WIRE_CAPACITY];
    size_t head, length;
    struct {
        uint64_t at; /* when it may be read */
        size_t length;
    } chunks[CHUNKS_MAX];
    size_t first, count;
    uint64_t latest;
};

struct sim;
struct side;

/* One end of a stream, as its application sees it. */
struct conv {
    struct side *side;
    struct channel *channel; /* NULL: the place is free */
    uint32_t id;
    bool own;
    bool answered; /* by us, or to us */
    uint64_t to_send, sent, received, held;
    bool stuck; /* consumes nothing */
    bool got_end, failed;
    bool cut_short; /* one of us broke it off: it need not be whole */
};

struct side {
    struct sim *sim;
    struct session *session;
    struct conv convs[CONVS_MAX];
    unsigned to_open, opened;
    bool may_open, ready, drained, over;
    uint32_t end_code;
    bool end_by_peer;
    uint64_t bytes_in;
    unsigned whole; /* streams whose last byte came as promised */
};

enum fault { FAULT_NONE, FAULT_CUT, FAULT_ABORT, FAULT_BLACKHOLE, FAULT_DRAIN, FAULT_COUNT };

struct sim {
    uint64_t seed, now;
    struct rng rng;
    struct side sides[2];
    struct wire wires[2]; /* wires[i]: what sides[i] wrote */
    enum fault fault;
    uint32_t fault_step;
    bool faulted, black;
    bool rude;      /* streams are reset, stopped, refused, released at any time */
    bool stalls;    /* some streams are never consumed */
    uint32_t split; /* most bytes delivered at once */
    uint64_t frames, steps, bytes;
    bool trace;
};

/* Prints what failed, with the seed, and exits. */
void sim_fail(const struct sim *sim, const char *format, ...) PRINTF_LIKE(2, 3) __attribute__((noreturn));
#define CHECK(sim, condition)                                           \
    do {                                                                \
        if (!(condition))                                               \
            sim_fail(sim, "%s:%d: %s", __FILE__, __LINE__, #condition); \
    } while (0)

void sim_trace(const struct sim *sim, const char *format, ...) PRINTF_LIKE(2, 3);

/* sim_wire.c: both return whether anything moved. */
bool wire_write(struct sim *sim, unsigned from);
bool wire_deliver(struct sim *sim, unsigned from);
uint64_t wire_next(const struct wire *wire); /* when something can be read; SESSION_NEVER */

/* sim_app.c */
extern const struct session_events app_events;
void app_init(struct side *side, struct sim *sim, const struct session_config *config);
bool app_act(struct side *side);        /* something at random; whether anything was done */
bool app_idle(const struct side *side); /* nothing to do any more */
void app_check(const struct side *side);
void app_release_all(struct side *side);

#endif
