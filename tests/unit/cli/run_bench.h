/* What the tests of `postern run` share: a loop, a daemon on it, a wire to that, and what was told. */
#ifndef POSTERN_TESTS_RUN_BENCH_H
#define POSTERN_TESTS_RUN_BENCH_H

#include "cli/run_wire.h"
#include "far.h"

struct run_bench {
    struct cli_loop loop;
    struct far far;
    struct run_wire wire;
    struct tell tell;
    struct text told; /* each line with a newline */
    char folder[32], path[64];
    bool far_runs, wire_made;
};

/* With a daemon, and a wire to it. */
void run_bench_start(struct run_bench *bench);
void run_bench_stop(struct run_bench *bench);

void run_bench_start_far(struct run_bench *bench);
void run_bench_stop_far(struct run_bench *bench);

/* For scenarios in which memory fails: 0, or why there is no wire. */
int run_bench_wire(struct run_bench *bench);

bool run_bench_told(const struct run_bench *bench, const char *text);

#endif
