/* Every allocation fails once: nothing leaks, nothing that was acknowledged goes, and the spool goes on. */
#include "fault.h"
#include "spool_bench.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* Nothing here is about power, and there are thousands of these. Every library in the program takes them from here. */
int fsync(int fd)
{
    (void)fd;
    return 0;
}

int fdatasync(int fd)
{
    (void)fd;
    return 0;
}

static const struct spool_outcome release = {.verdict = SPOOL_RELEASE};

static int set_up(void **state)
{
    struct bench *bench = calloc(1, sizeof(*bench));

    assert_non_null(bench);
    bench_make(bench);
    bench_open(bench);
    /* What is made once and kept: for a route, and by SQLite as the database and the log grow to their sizes. */
    bench_deliver(bench, "results", bench_give(bench, "results", 100000, 1), SPOOL_DONE);
    for (unsigned i = 0; i < 100; i++) {
        bench_give(bench, "results", 60000, i);
    }
    for (unsigned i = 0; i < 100; i++) {
        bench_deliver(bench, "results", 2 + i, SPOOL_DONE);
    }
    *state = bench;
    return 0;
}

static int tear_down(void **state)
{
    struct bench *bench = *state;

    bench_close(bench);
    bench_remove(bench);
    free(bench);
    return 0;
}

/* Every so many-th call, where all of them take too long. */
static void sample_faults(unsigned calls, unsigned stride, void (*scenario)(void *arg), void *arg)
{
    unsigned long hits = 1;

    for (unsigned long nth = 1; hits > 0; nth += stride) {
        fault_arm(calls, nth);
        scenario(arg);
        hits = fault_disarm();
    }
}

static void open_and_close(void *arg)
{
    struct bench *bench = arg;
    struct error err = ERROR_INIT;

    if (bench_try_open(bench, &err) == 0) {
        bench_close(bench);
    }
}

static void test_opening(void **state)
{
    struct bench *bench = *state;

    bench_give(bench, "results", 10, 1);
    bench_close(bench);
#ifndef POSTERN_SANITIZED /* which make it slow: samples have to do */
    assert_true(fault_loop("spool open", FAULT_MEMORY, open_and_close, bench) >= 100);
#endif
    assert_true(fault_loop("spool open, without files", FAULT_OPEN | FAULT_FILE, open_and_close, bench) >= 5);
    sample_faults(FAULT_MEMORY, 37, open_and_close, bench);
    sample_faults(FAULT_MEMORY | FAULT_STICKY, 37, open_and_close, bench); /* memory does not come back */
    bench_open(bench);
    assert_int_equal(bench_stats(bench, NULL).records[SPOOL_READY], 1);
}

/* The first start, too: what a failed one left must not be in the way of the next. */
static void make_and_close(void *arg)
{
    struct error err = ERROR_INIT;
    struct bench other;

    (void)arg;
    fault_spare(true);
    bench_make(&other);
    fault_spare(false);
    if (bench_try_open(&other, &err) == 0) {
        bench_close(&other);
    }
    fault_spare(true);
    bench_open(&other);
    bench_close(&other);
    bench_remove(&other);
    fault_spare(false);
}

static void test_making(void **state)
{
    sample_faults(FAULT_MEMORY, 37, make_and_close, *state);
}

static void put_and_drop(struct bench *bench, size_t size)
{
    struct spool_stats before = bench_stats(bench, NULL), after;
    struct bench_put put = {.result = 1};
    char *body;
    bool done = false;

    fault_spare(true);
    body = bench_body(size, 1);
    fault_spare(false);
    if (bench_begin(bench, &put, "results", NULL) == 0) {
        int r = bench_write(bench, &put, body, size);

        if (put.put && r < 0) {
            spool_put_abort(put.put);
        } else if (put.put) {
            spool_put_commit(put.put);
        }
        bench_turn(bench);
        done = put.done && put.result == 0;
    }
    fault_spare(true);
    bench_turn(bench);
    after = bench_stats(bench, NULL);
    assert_int_equal(after.records[SPOOL_READY], before.records[SPOOL_READY] + done);
    assert_int_equal(after.incoming_bytes, 0);
    while (bench_stats(bench, NULL).records[SPOOL_READY] > 0) {
        struct bench_take take;

        bench_take(bench, &take, "results");
        bench_verdict(bench, &take, SPOOL_DONE);
    }
    free(body);
    fault_spare(false);
}

static void put_small(void *arg)
{
    put_and_drop(arg, 30000);
}

static void put_large(void *arg)
{
    put_and_drop(arg, 200000);
}

static void test_putting(void **state)
{
    assert_true(fault_loop("spool put small", FAULT_MEMORY, put_small, *state) >= 10);
    assert_true(fault_loop("spool put large", FAULT_MEMORY | FAULT_OPEN, put_large, *state) >= 15);
}

/* What was put is there when the memory is. */
static void take_and_end(struct bench *bench, size_t size, enum spool_verdict verdict)
{
    struct spool_outcome outcome = {.verdict = verdict, .cause = "no"};
    struct bench_take take = {.result = 1};
    struct spool_stats stats;
    uint64_t id;

    fault_spare(true);
    id = bench_give(bench, "results", size, 1);
    fault_spare(false);
    if (spool_take(bench->port, "results", &bench_take_ops, &take, &take.take) == 0) {
        bench_turn(bench);
        if (take.ready) {
            spool_take_read(take.take);
        }
        for (int i = 0; i < 3; i++) {
            spool_turn(bench->spool);
        }
        spool_take_end(take.take, take.ready ? &outcome : &release);
        bench_turn(bench);
    }
    fault_spare(true);
    bench_now += 120000;
    bench_turn(bench);
    bench_now += 120000;
    bench_turn(bench);
    stats = bench_stats(bench, NULL);
    assert_int_equal(stats.in_flight, 0);
    assert_int_equal(stats.records[SPOOL_DAMAGED], 0);
    if (stats.records[SPOOL_READY] > 0) {
        bench_take(bench, &take, "results");
        assert_true(take.ready);
        assert_int_equal(spool_take_record(take.take)->id, id);
        bench_assert_body(bench, &take, size, 1);
        bench_verdict(bench, &take, SPOOL_DONE);
    } else {
        assert_int_equal(verdict, SPOOL_DONE);
    }
    fault_spare(false);
}

static void take_small(void *arg)
{
    take_and_end(arg, 30000, SPOOL_DONE);
}

static void take_large(void *arg)
{
    take_and_end(arg, 200000, SPOOL_DONE);
}

static void take_again(void *arg)
{
    take_and_end(arg, 100, SPOOL_RETRY);
}

static void test_taking(void **state)
{
    assert_true(fault_loop("spool take small", FAULT_MEMORY, take_small, *state) >= 5);
    assert_true(fault_loop("spool take large", FAULT_MEMORY, take_large, *state) >= 8);
    assert_true(fault_loop("spool take again", FAULT_MEMORY, take_again, *state) >= 5);
}

/* A new route and a new enclave. */
static void put_elsewhere(void *arg)
{
    static unsigned count;
    struct bench *bench = arg;
    struct bench_put put;
    char route[32];

    snprintf(route, sizeof(route), "route-%u", count++);
    if (bench_begin(bench, &put, route, NULL) == 0) {
        spool_put_abort(put.put);
    }
    bench_turn(bench);
}

static void test_new_routes(void **state)
{
    struct bench *bench = *state;

    for (unsigned long nth = 1; nth < 12; nth++) {
        fault_arm(FAULT_MEMORY, nth);
        put_elsewhere(bench);
        fault_disarm();
    }
    for (unsigned long nth = 1; nth < 6; nth++) {
        struct spool_policy policy = {.attempts = 1};
        struct bench_take take = {.result = 1};
        char name[32];
        int r;

        snprintf(name, sizeof(name), "policy-%lu", nth);
        fault_arm(FAULT_MEMORY, nth);
        r = spool_set_policy(bench->spool, name, &policy);
        fault_disarm();
        assert_int_equal(r, nth <= 2 ? -ENOMEM : 0);
        snprintf(name, sizeof(name), "take-%lu", nth);
        fault_arm(FAULT_MEMORY, nth);
        r = spool_take(bench->port, name, &bench_take_ops, &take, &take.take);
        fault_disarm();
        assert_int_equal(r, nth <= 3 ? -ENOMEM : 0);
        if (r == 0) {
            bench_end(bench, &take, &release);
        }
    }
}

struct answers {
    unsigned count;
    int result;
};

static void on_list(void *arg, int result, const struct spool_record *records, size_t count, uint64_t next,
                    const struct error *err)
{
    struct answers *answers = arg;

    (void)records;
    (void)count;
    (void)next;
    assert_int_equal(err->text[0] != '\0', result < 0);
    answers->count++;
    answers->result = result;
}

static void on_altered(void *arg, int result, uint64_t count, const struct error *err)
{
    on_list(arg, result, NULL, 0, count, err);
}

static void on_verified(void *arg, int result, const struct spool_verdicts *verdicts, const struct error *err)
{
    (void)verdicts;
    (void)err;
    on_list(arg, result, NULL, 0, 0, result < 0 ? err : &(struct error)ERROR_INIT);
}

static void ask_operators_questions(void *arg)
{
    struct bench *bench = arg;
    const struct spool_query query = {.route = "results"};
    const struct spool_query damaged = {.states = 1U << SPOOL_DAMAGED, .route = "audit"};
    struct answers answers = {.count = 0};
    struct spool_call *call;
    unsigned asked = 0;

    asked += spool_list(bench->port, &query, on_list, &answers, &call) == 0;
    asked += spool_retry_all(bench->port, &query, on_altered, &answers, &call) == 0;
    asked += spool_retry_one(bench->port, 2, on_altered, &answers, &call) == 0;
    asked += spool_retry_all(bench->port, &damaged, on_altered, &answers, &call) == 0;
    asked += spool_drop_one(bench->port, 77777, on_altered, &answers, &call) == 0;
    asked += spool_verify(bench->port, on_verified, &answers, &call) == 0;
    bench_turn(bench);
    fault_spare(true);
    bench_turn(bench);
    fault_spare(false);
    assert_int_equal(answers.count, asked);
}

static void test_operators(void **state)
{
    struct bench *bench = *state;

    bench_give(bench, "results", 100000, 1);
    bench_give(bench, "results", 100, 1);
    bench_give(bench, "audit", 100, 1);
    bench_close(bench);
    bench_sql(bench, "UPDATE record SET state = 3, key = 'another' WHERE route = 'audit'");
    bench_open(bench);
    assert_true(fault_loop("spool operators", FAULT_MEMORY, ask_operators_questions, bench) >= 20);
    assert_int_equal(bench_stats(bench, NULL).records[SPOOL_DAMAGED], 1); /* verifying has counted it */
    assert_int_equal(bench_stats(bench, NULL).records[SPOOL_READY], 2);
}

/* The chores allocate little; what they cannot do now they do later. */
static void let_it_age(void *arg)
{
    struct bench *bench = arg;
    struct bench_take take;
    uint64_t id;

    fault_spare(true);
    id = bench_give(bench, "results", 100000, 1);
    bench_deliver(bench, "results", id, SPOOL_RETRY);
    bench_now += 60000;
    fault_spare(false);
    bench_turn(bench);
    bench_now += 1000000;
    bench_turn(bench);
    fault_spare(true);
    for (int i = 0; i < 3; i++) {
        bench_now += 60001;
        bench_turn(bench);
    }
    bench_look(bench, &take, id);
    assert_int_equal(take.result, 0);
    assert_int_equal(spool_take_record(take.take)->state, SPOOL_DEAD);
    bench_end(bench, &take, &release);
    fault_spare(false);
}

static void test_chores(void **state)
{
    struct bench *bench = *state;
    const struct spool_policy policy = {.max_age_ms = 500000};

    assert_int_equal(spool_set_policy(bench->spool, "results", &policy), 0);
    for (unsigned long nth = 1; nth < 40; nth++) {
        fault_arm(FAULT_MEMORY, nth);
        let_it_age(bench);
        fault_disarm();
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_opening),    TEST(test_making),    TEST(test_putting), TEST(test_taking),
        TEST(test_new_routes), TEST(test_operators), TEST(test_chores),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
