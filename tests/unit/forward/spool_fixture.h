/*
 * A worker's share of a spool, for tests: a loop, and a spool that is turned by hand, in a directory of its own. Included by one
 * source of a test program.
 */
#ifndef SPOOL_FIXTURE_H
#define SPOOL_FIXTURE_H

#include "forward/forward_spool.h"
#include "spool_bench.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct fixture {
    struct loop loop;
    struct bench bench; /* its port is not used */
    struct forward_spool spool;
};

static void fixture_open(struct fixture *fixture)
{
    const struct resolver_options dns = {
        .servers = "127.0.0.1:1", .timeout_ms = 1000, .min_ttl_ms = 1, .max_ttl_ms = 1000, .cache_size = 16};
    struct error err = ERROR_INIT;
    memset(fixture, 0, sizeof *fixture);
    assert_int_equal(loop_init(&fixture->loop, &dns, &err), 0);
    bench_make(&fixture->bench);
    bench_open(&fixture->bench);
    assert_int_equal(forward_spool_init(&fixture->spool, &fixture->loop), 0);
    assert_int_equal(forward_spool_attach(&fixture->spool, fixture->bench.spool, &err), 0);
}

/* Until neither the spool nor the loop has anything to do at once. */
static void fixture_turn(struct fixture *fixture)
{
    for (unsigned i = 0; i < 20; i++) {
        (void)uv_run(&fixture->loop.uv, UV_RUN_NOWAIT);
        while (spool_turn(fixture->bench.spool)) {
            (void)uv_run(&fixture->loop.uv, UV_RUN_NOWAIT);
        }
    }
}

static void fixture_close(struct fixture *fixture)
{
    fixture_turn(fixture);
    forward_spool_close(&fixture->spool);
    loop_close(&fixture->loop);
    bench_close(&fixture->bench);
    bench_remove(&fixture->bench);
}

#endif
