/*
 * How hard a route tries: as many deliveries at once as it may have, until its upstream seems to be down; then one at a time,
 * a probe, with growing pauses. So that a backlog of any size neither spins, nor uses up the attempts of all its records
 * on an upstream that takes none. Pure; one for each route.
 */
#ifndef POSTERN_FORWARD_THROTTLE_H
#define POSTERN_FORWARD_THROTTLE_H

#include <stdbool.h>
#include <stdint.h>

/* Records that fail one after another, though their upstream was reached: are they all poison? */
#define THROTTLE_PATIENCE 4

struct throttle {
    uint64_t first_ms, most_ms; /* pauses */
    unsigned failures;          /* without a delivery in between */
    uint64_t pause_ms;          /* 0: the upstream seems to be up; else before the next probe */
};

void throttle_init(struct throttle *throttle, uint64_t first_ms, uint64_t most_ms);

/* The upstream took one, or found it wanting: it is there. */
void throttle_up(struct throttle *throttle);

/* An operator asks for the next probe: pauses grow from the first one again. */
void throttle_again(struct throttle *throttle);

/* One failed. `plain`: the upstream was not reached, or asked for time; `retry_after_ms` may be 0. `probe`: it was one;
 * others that were in flight when the first failed tell nothing new. Returns how long to wait before the next
 * take; 0: go on. */
uint64_t throttle_down(struct throttle *throttle, bool plain, bool probe, uint64_t retry_after_ms);

static inline bool throttle_holds(const struct throttle *throttle)
{
    return throttle->pause_ms > 0;
}

#endif
