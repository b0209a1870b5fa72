/*
 * A token bucket: so many acts a second, and so many at once.
 *
 * What it guards is cheap for the one who does it and is work for the one who gets it; a peer that runs out of tokens
 * is told to be calm.
 */
#ifndef POSTERN_SESSION_LIMIT_H
#define POSTERN_SESSION_LIMIT_H

#include "base/compiler.h"
#include <stdbool.h>
#include <stdint.h>

struct limit_rate {
    uint32_t per_second;
    uint32_t burst;
};

struct limit {
    struct limit_rate rate;
    uint64_t milli_tokens; /* thousandths, so that a millisecond earns `per_second` of them */
    uint64_t filled_at;    /* ms */
};

void limit_init(struct limit *limit, struct limit_rate rate, uint64_t now);

/* Takes one token; false if there is none. */
bool limit_take(struct limit *limit, uint64_t now) MUST_CHECK;

/* Gives tokens for honest work done, up to the burst. */
void limit_earn(struct limit *limit, uint32_t tokens);

#endif
