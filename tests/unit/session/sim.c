/*
 * A randomized simulation of both sides (scorecard R7).
 *
 *     sim [--seeds N] [--first S] [--trace]
 *
 * Each seed is a whole life of a session: its limits, its streams, the delays and splits of its connection, what the
 * applications do and when, and in some an accident. Checked at every step: no byte is lost, made up or reordered; no
 * window, no budget is overdrawn; credit adds up. Checked at the end: everything that nobody broke off arrived whole, and
 * both sides ended in the way that the accident, or its absence, calls for. A run that stands still is a deadlock. A failure names its
 * seed: `sim --first SEED --seeds 1 --trace` replays it.
 */
#include "sim.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STEPS_MAX 200000u

uint64_t rng_next(struct rng *rng)
{
    uint64_t z = rng->state += 0x9e3779b97f4a7c15u; /* SplitMix64 */

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

uint32_t rng_below(struct rng *rng, uint32_t bound)
{
    return bound > 0 ? (uint32_t)(rng_next(rng) % bound) : 0;
}

bool rng_chance(struct rng *rng, uint32_t percent)
{
    return rng_next(rng) % 100 < percent;
}

void sim_fail(const struct sim *sim, const char *format, ...)
{
    va_list args;

    fprintf(stderr, "sim: seed %llu, step %llu: ", (unsigned long long)sim->seed,
            (unsigned long long)sim->steps);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, "\nreplay: sim --first %llu --seeds 1 --trace\n", (unsigned long long)sim->seed);
    exit(1);
}

void sim_trace(const struct sim *sim, const char *format, ...)
{
    va_list args;

    if (!sim->trace) {
        return;
    }
    printf("%8llu ms, step %llu: ", (unsigned long long)sim->now, (unsigned long long)sim->steps);
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    putchar('\n');
}

static void random_config(struct sim *sim, struct session_config *config, enum session_role role)
{
    struct rng *rng = &sim->rng;

    session_config_default(config, role);
    config->max_streams = rng_below(rng, 17);
    config->max_own_streams = 1 + rng_below(rng, 16);
    config->max_payload = rng_chance(rng, 30) ? FRAME_PAYLOAD_MIN : FRAME_PAYLOAD_MIN + rng_below(rng, 60000);
    config->budget =
        UINT64_C(2048) * (config->max_streams + config->max_own_streams) * (1 + rng_below(rng, 20));
    if (config->budget < CONTROL_SESSION_WINDOW_MIN) {
        config->budget = CONTROL_SESSION_WINDOW_MIN;
    }
    config->hash_seed = (uint32_t)rng_next(rng);
}

static void start(struct sim *sim, uint64_t seed, bool trace)
{
    struct session_config config[2];

    memset(sim->wires, 0, sizeof(sim->wires));
    sim->seed = seed;
    sim->now = sim->steps = sim->bytes = 0;
    sim->faulted = sim->black = false;
    sim->trace = trace;
    sim->rng = (struct rng){seed};
    sim->fault = rng_chance(&sim->rng, 30) ? 1 + rng_below(&sim->rng, FAULT_COUNT - 1) : FAULT_NONE;
    sim->fault_step = rng_below(&sim->rng, 200);
    sim->rude = rng_chance(&sim->rng, 40);
    sim->stalls = rng_chance(&sim->rng, 25);
    sim->split = rng_chance(&sim->rng, 20) ? 1 + rng_below(&sim->rng, 30) : 1 + rng_below(&sim->rng, 40000);
    for (unsigned i = 0; i < 2; i++) {
        random_config(sim, &config[i], i == 0 ? SESSION_CLIENT : SESSION_SERVER);
        app_init(&sim->sides[i], sim, &config[i]);
    }
    /* Who may open nothing at all must not wait for it. */
    for (unsigned i = 0; i < 2; i++) {
        if (config[1 - i].max_streams == 0) {
            sim->sides[i].to_open = 0;
        }
    }
}

static void cut(struct sim *sim)
{
    for (unsigned i = 0; i < 2; i++) {
        session_receive_end(sim->sides[i].session, sim->now);
    }
    memset(sim->wires, 0, sizeof(sim->wires));
    sim->black = true;
}

static void strike(struct sim *sim)
{
    struct side *side = &sim->sides[rng_below(&sim->rng, 2)];

    if (sim->fault == FAULT_NONE || sim->faulted || sim->steps < sim->fault_step) {
        return;
    }
    sim->faulted = true;
    sim_trace(sim, "accident %d", sim->fault);
    switch (sim->fault) {
    case FAULT_CUT:
        cut(sim);
        return;
    case FAULT_ABORT:
        session_abort(side->session, CODE_INTERNAL, "the simulation wills it");
        return;
    case FAULT_BLACKHOLE:
        memset(sim->wires, 0, sizeof(sim->wires));
        sim->black = true;
        return;
    default:
        session_drain(side->session, rng_chance(&sim->rng, 50) ? 1 + rng_below(&sim->rng, 2000) : 0);
        side->drained = true;
    }
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t next_moment(const struct sim *sim)
{
    uint64_t next = SESSION_NEVER;

    for (unsigned i = 0; i < 2; i++) {
        next = earlier(next, wire_next(&sim->wires[i]));
        next = earlier(next, session_next_deadline(sim->sides[i].session));
    }
    return next;
}

static bool step(struct sim *sim)
{
    unsigned first = rng_below(&sim->rng, 2);
    bool moved = false;

    strike(sim);
    for (unsigned i = 0; i < 2; i++) {
        unsigned who = first ^ i;
        struct side *side = &sim->sides[who];
        moved |= wire_deliver(sim, 1 - who);
        app_check(side);
        if (rng_chance(&sim->rng, 70)) {
            moved |= app_act(side);
        }
        app_check(side);
        if (rng_chance(&sim->rng, 80)) {
            moved |= wire_write(sim, who);
        }
        app_check(side);
        if (session_next_deadline(side->session) <= sim->now) {
            session_tick(side->session, sim->now);
        }
        app_check(side);
    }
    return moved;
}

static bool all_over(const struct sim *sim)
{
    return sim->sides[0].over && sim->sides[1].over;
}

static void maybe_drain(struct sim *sim)
{
    if (sim->sides[0].drained || sim->sides[1].drained || !app_idle(&sim->sides[0]) ||
        !app_idle(&sim->sides[1])) {
        return;
    }
    struct side *side = &sim->sides[rng_below(&sim->rng, 2)];
    sim_trace(sim, "side %d drains", (int)(side - sim->sides));
    session_drain(side->session, 0);
    side->drained = true;
}

/* Without an accident, what nobody cut short has arrived: then each stream was told its end by both. */
static void check_end(struct sim *sim)
{
    const struct side *a = &sim->sides[0], *b = &sim->sides[1];

    if (sim->fault == FAULT_NONE || !sim->faulted) {
        CHECK(sim, a->end_code == CODE_NO_ERROR && b->end_code == CODE_NO_ERROR);
        CHECK(sim, a->session->sent == b->session->received && b->session->sent == a->session->received);
        CHECK(sim, a->session->table.count == 0 && b->session->table.count == 0);
        CHECK(sim,
              a->session->consumed == a->session->received && b->session->consumed == b->session->received);
        CHECK(sim,
              a->session->shared_given == 0 && b->session->shared_given == 0 && a->session->holders == 0);
        CHECK(sim, a->session->own_live == 0 && b->session->own_live == 0);
        if (!sim->rude && !sim->stalls) {
            CHECK(sim, a->whole == a->opened + b->opened && b->whole == a->whole);
        }
        return;
    }
    if (sim->fault == FAULT_CUT) {
        CHECK(sim, (a->end_code == CODE_LOST || a->end_code == CODE_NO_ERROR) &&
                       (b->end_code == CODE_LOST || b->end_code == CODE_NO_ERROR));
    }
    if (sim->fault == FAULT_BLACKHOLE) {
        CHECK(sim,
              a->end_code == CODE_TIMEOUT || a->end_code == CODE_NO_ERROR || a->end_code == CODE_GOING_AWAY);
    }
    /* The deadline may pass for one side when the other has just finished. */
    if (sim->fault == FAULT_DRAIN) {
        for (unsigned i = 0; i < 2; i++) {
            CHECK(sim, sim->sides[i].end_code == CODE_GOING_AWAY || sim->sides[i].end_code == CODE_NO_ERROR);
        }
    }
}

static void run(struct sim *sim)
{
    uint64_t still = 0;

    while (!all_over(sim)) {
        if (++sim->steps > STEPS_MAX) {
            sim_fail(sim, "no end in sight");
        }
        sim->now += rng_below(&sim->rng, 3) == 0;
        if (step(sim)) {
            still = 0;
        } else if (++still > 50) { /* by then chance alone is no explanation */
            uint64_t next = next_moment(sim);
            if (next == SESSION_NEVER && !all_over(sim)) {
                sim_fail(sim, "deadlock");
            }
            if (next != SESSION_NEVER && next > sim->now) {
                sim->now = next;
            }
            still = 0;
        }
        maybe_drain(sim);
    }
    check_end(sim);
}

static void finish(struct sim *sim)
{
    for (unsigned i = 0; i < 2; i++) {
        app_release_all(&sim->sides[i]);
        session_free(sim->sides[i].session);
    }
}

static uint64_t number(const char *text)
{
    char *end;
    uint64_t value = strtoull(text, &end, 10);

    if (*end || end == text) {
        fprintf(stderr, "usage: sim [--seeds N] [--first S] [--trace]\n");
        exit(2);
    }
    return value;
}

int main(int argc, char **argv)
{
    static struct sim sim;
    uint64_t seeds = 1000, first = 1, frames = 0, bytes = 0;
    bool trace = false;

    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--seeds") == 0 && i + 1 < argc) {
            seeds = number(argv[++i]);
        } else if (strcmp(argv[i], "--first") == 0 && i + 1 < argc) {
            first = number(argv[++i]);
        } else if (strcmp(argv[i], "--trace") == 0) {
            trace = true;
        } else {
            number("");
        }
    }
    for (uint64_t seed = first; seed < first + seeds; seed++) {
        start(&sim, seed, trace);
        run(&sim);
        frames += sim.sides[0].session->reader.begun + sim.sides[1].session->reader.begun;
        bytes += sim.bytes;
        finish(&sim);
    }
    printf("R7: %llu seeds from %llu, %llu frames, %llu bytes, all as they should be\n",
           (unsigned long long)seeds, (unsigned long long)first, (unsigned long long)frames,
           (unsigned long long)bytes);
    return 0;
}
