/*
 * Keeping the clock right: asks somebody who knows, at the start and from time to time, and does what init/clock.h makes
 * of the answer.
 *
 * The hypervisor's PTP clock is asked where there is one. Else the NSM is at the start, and the parent from then on, over a
 * stream of a `time` route (docs/protocol.md, "Routes that the daemon answers itself"): a few questions, of which the
 * one that was answered fastest counts.
 */
#ifndef POSTERN_CLI_RUN_CLOCK_H
#define POSTERN_CLI_RUN_CLOCK_H

#include "cli/run_wire.h"
#include "init/clock.h"
#include "init/settings.h"

#define RUN_CLOCK_ASK    8u  /* bytes of a question, which the answer begins with */
#define RUN_CLOCK_ANSWER 16u /* and then u64, nanoseconds since 1970 */
#define RUN_CLOCK_WORDS  4u  /* questions in a row */

#define RUN_CLOCK_PATIENCE_MS 10000u /* for the answers to all of them */

struct run_clock {
    const struct settings *settings;
    const struct tell *told;
    struct cli_loop *loop;
    struct clock clock;
    struct cli_timer timer;
    struct cli_timer patience; /* runs while the questions are open */
    uint32_t patience_ms;
    void (*first)(
        struct run_clock *clock); /* called once, when the time is known for the first time; may be NULL */
    bool known;
    char trouble[ERROR_TEXT_MAX + 384]; /* what was told last, whole: the longest is a route and its error */

    struct run_stream stream;
    uint8_t ask[RUN_CLOCK_ASK], answer[RUN_CLOCK_ANSWER];
    unsigned asked_bytes, answer_bytes, words;
    int64_t asked;
    bool have_best;
    struct clock_sample best;
};

/* Asks the hypervisor, before anything else is started. `nsm` may be NULL; settings->clock is not AUTO any more. */
void run_clock_init(struct run_clock *clock, const struct settings *settings, struct nsm *nsm,
                    const struct tell *told);

/* Goes on by itself, at once and in the interval. `wire` may be NULL: there is no route for the time. */
void run_clock_start(struct run_clock *clock, struct cli_loop *loop, struct run_wire *wire);

void run_clock_stop(struct run_clock *clock); /* harmless when not started */

#endif
