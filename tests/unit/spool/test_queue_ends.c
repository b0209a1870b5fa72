/* What is tried again, what dies, and what there is no room for. */
#include "spool_bench.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* --- Failed attempts --- */

static void fail_once(struct bench *bench, uint64_t id, struct spool_outcome outcome)
{
    struct bench_take take;

    outcome.verdict = SPOOL_RETRY;
    outcome.cause = "503 Service Unavailable";
    bench_take(bench, &take, "results");
    assert_true(take.ready);
    assert_int_equal(spool_take_record(take.take)->id, id);
    bench_end(bench, &take, &outcome);
}

static void test_a_failed_attempt_comes_again_after_a_pause(void **state)
{
    struct bench *bench = *state;
    uint64_t id = bench_give(bench, "results", 10, 1);
    struct bench_take take;

    bench_set_policy(bench, (struct spool_policy){.first_pause_ms = 1000, .most_pause_ms = 4000});
    for (unsigned i = 0; i < 5; i++) {
        uint64_t most = i < 2 ? 1000U << i : 4000;

        fail_once(bench, id, (struct spool_outcome){.verdict = SPOOL_RETRY});
        assert_int_equal(bench_stats(bench, NULL).records[SPOOL_WAITING], 1);
        assert_int_equal(bench_stats(bench, NULL).records[SPOOL_READY], 0);
        assert_int_equal(bench_stats(bench, NULL).retried, i + 1);
        bench_take(bench, &take, "results");
        bench_now += most / 2 - 1;
        bench_turn(bench);
        assert_false(take.ready);
        bench_now += most - most / 2 + 1;
        bench_turn(bench);
        assert_true(take.ready);
        assert_int_equal(spool_take_record(take.take)->attempts, i + 1);
        assert_string_equal(spool_take_record(take.take)->cause, "503 Service Unavailable");
        bench_verdict(bench, &take, SPOOL_RELEASE);
    }
    bench_deliver(bench, "results", id, SPOOL_DONE);
}

static void test_retry_after_is_honoured(void **state)
{
    struct bench *bench = *state;
    uint64_t id = bench_give(bench, "results", 10, 1);
    struct bench_take take;

    fail_once(bench, id, (struct spool_outcome){.retry_after_ms = 3600000});
    bench_take(bench, &take, "results");
    bench_now += 3599999;
    bench_turn(bench);
    assert_false(take.ready);
    bench_now += 360001;
    bench_turn(bench);
    assert_true(take.ready);
    bench_verdict(bench, &take, SPOOL_DONE);
}

static void test_what_became_due_keeps_its_place(void **state)
{
    struct bench *bench = *state;
    uint64_t ids[3];

    for (unsigned i = 0; i < 3; i++) {
        ids[i] = bench_give(bench, "results", 10, i);
    }
    fail_once(bench, ids[0], (struct spool_outcome){.retry_after_ms = 20000});
    fail_once(bench, ids[1], (struct spool_outcome){.retry_after_ms = 10000});
    bench_now += 30000;
    bench_reopen(bench);
    for (unsigned i = 0; i < 3; i++) {
        bench_deliver(bench, "results", ids[i], SPOOL_DONE);
    }
}

static void test_a_clock_that_is_set_back_holds_nothing_for_long(void **state)
{
    struct bench *bench = *state;
    uint64_t id = bench_give(bench, "results", 10, 1);

    fail_once(bench, id, (struct spool_outcome){.retry_after_ms = 1000});
    bench_now -= 30 * SPOOL_DELAY_MAX_MS;
    bench_reopen(bench);
    bench_deliver(bench, "results", id, SPOOL_DONE);
    bench_now += 30 * SPOOL_DELAY_MAX_MS;
}

static void test_poison_dies_after_its_attempts(void **state)
{
    struct bench *bench = *state;
    uint64_t id = bench_give(bench, "results", 10, 1);
    struct bench_take look;

    bench_set_policy(bench, (struct spool_policy){.attempts = 3});
    for (int i = 0; i < 5; i++) {
        fail_once(bench, id, (struct spool_outcome){.blameless = i >= 2 && i < 4});
        bench_now += 400000;
        bench_turn(bench);
    }
    assert_int_equal(bench_stats(bench, "results").records[SPOOL_DEAD], 1);
    assert_int_equal(bench_stats(bench, "results").died, 1);
    assert_int_equal(bench_stats(bench, "results").retried, 4);
    bench_reopen(bench);
    assert_int_equal(bench_stats(bench, "results").records[SPOOL_DEAD], 1);
    bench_look(bench, &look, id);
    assert_int_equal(look.result, 0);
    assert_int_equal(spool_take_record(look.take)->state, SPOOL_DEAD);
    assert_int_equal(spool_take_record(look.take)->attempts, 3);
    assert_string_equal(spool_take_record(look.take)->cause, "503 Service Unavailable");
    bench_assert_body(bench, &look, 10, 1);
    bench_verdict(bench, &look, SPOOL_RELEASE);
}

static void test_what_nobody_can_take_dies_at_once(void **state)
{
    struct bench *bench = *state;
    uint64_t id = bench_give(bench, "results", 10, 1);

    bench_deliver(bench, "results", id, SPOOL_BURY);
    assert_int_equal(bench_stats(bench, NULL).records[SPOOL_DEAD], 1);
    assert_int_equal(bench_stats(bench, NULL).died, 1);
}

static void test_what_is_too_old_dies(void **state)
{
    struct bench *bench = *state;
    struct bench_take take;
    uint64_t old = 0, fresh;

    bench_set_policy(bench, (struct spool_policy){.max_age_ms = 1000000});
    /* By an attempt that fails. */
    old = bench_give(bench, "results", 10, 1);
    bench_take(bench, &take, "results");
    bench_now += 1000000;
    bench_verdict(bench, &take, SPOOL_RETRY);
    assert_int_equal(bench_stats(bench, NULL).records[SPOOL_DEAD], 1);

    /* When it is asked for. */
    for (unsigned i = 0; i < 600; i++) {
        old = bench_give(bench, "results", 10, 1);
    }
    bench_now += 1000000 - 1000;
    fresh = bench_give(bench, "results", 10, 2);
    bench_now += 1000;
    bench_deliver(bench, "results", fresh, SPOOL_DONE);
    assert_int_equal(bench_stats(bench, NULL).records[SPOOL_DEAD], 601);
    bench_look(bench, &take, old);
    assert_string_equal(spool_take_record(take.take)->cause, "it is older than `max_age`");
    bench_verdict(bench, &take, SPOOL_RELEASE);

    /* When nobody asks. */
    for (unsigned i = 0; i < 600; i++) {
        bench_give(bench, "results", 10, 1);
    }
    bench_now += 1000000;
    bench_turn(bench);
    for (int i = 0; i < 4; i++) {
        bench_now += 60001;
        bench_turn(bench);
    }
    assert_int_equal(bench_stats(bench, NULL).records[SPOOL_DEAD], 1201);
    assert_int_equal(bench_stats(bench, NULL).records[SPOOL_READY], 0);
}

static void test_what_is_being_delivered_does_not_die_meanwhile(void **state)
{
    struct bench *bench = *state;
    struct bench_take take;

    bench_set_policy(bench, (struct spool_policy){.max_age_ms = 1000});
    bench_give(bench, "results", 10, 1);
    bench_take(bench, &take, "results");
    assert_true(take.ready);
    bench_now += 100000;
    bench_turn(bench);
    assert_int_equal(bench_stats(bench, NULL).records[SPOOL_DEAD], 0);
    bench_verdict(bench, &take, SPOOL_DONE);
    assert_int_equal(bench_stats(bench, NULL).delivered, 1);
}

/* --- Bounds --- */

static void expect_full(struct bench *bench, const char *route, size_t size, const char *word)
{
    char *body = bench_body(size, 1);
    struct bench_put put;
    int r = bench_begin(bench, &put, route, "k");

    if (r == 0) {
        r = bench_write(bench, &put, body, size);
        spool_put_abort(put.put);
        bench_turn(bench);
    }
    assert_int_equal(r, -ENOSPC);
    assert_non_null(strstr(put.error.text, word));
    free(body);
}

static void test_a_full_spool_refuses(void **state)
{
    struct bench *bench = *state;
    uint64_t id;

    bench_close(bench);
    bench->options.max_bytes = 300000;
    bench_open(bench);
    id = bench_give(bench, "results", 200000, 1);
    expect_full(bench, "audit", 100000, "full");
    assert_int_equal(bench_stats(bench, NULL).refused, 1);
    assert_int_equal(bench_files(bench), 1);
    /* Dead ones are kept too. */
    bench_deliver(bench, "results", id, SPOOL_BURY);
    expect_full(bench, "audit", 100000, "full");
    bench_give(bench, "audit", 90000, 1);
    expect_full(bench, "audit", 100000, "full");
    assert_int_equal(bench_stats(bench, "audit").refused, 3);
    assert_int_equal(bench_stats(bench, "results").refused, 0);
}

static void test_routes_and_enclaves_have_their_share(void **state)
{
    struct bench *bench = *state;
    struct bench_put put;

    bench_set_policy(bench, (struct spool_policy){.max_bytes = 100000});
    bench_give(bench, "results", 50000, 1);
    expect_full(bench, "results", 50000, "route results");
    bench_give(bench, "audit", 50000, 1);

    bench_close(bench);
    bench->options.max_enclave_bytes = 110000;
    bench_open(bench);
    expect_full(bench, "audit", 20000, "enclave payroll");

    /* What is coming in counts. */
    assert_int_equal(bench_begin(bench, &put, "audit", NULL), 0);
    assert_int_equal(bench_write(bench, &put, "0123456789", 10), 0);
    assert_int_equal(bench_stats(bench, NULL).incoming_bytes, SPOOL_RECORD_COST + 6 + 10);
    spool_put_abort(put.put);
}

static void test_an_announced_body_is_refused_at_once(void **state)
{
    struct bench *bench = *state;
    struct spool_request request = {.route = "results", .enclave = "payroll", .expected = 200000};
    struct bench_put put = {.result = 0};

    bench_set_policy(bench, (struct spool_policy){.max_bytes = 100000});
    assert_int_equal(spool_put_begin(bench->port, &request, &bench_put_ops, &put, &put.put, &put.error),
                     -ENOSPC);
    request.expected = 90000;
    assert_int_equal(spool_put_begin(bench->port, &request, &bench_put_ops, &put, &put.put, &put.error), 0);
    expect_full(bench, "results", 20000, "route results");
    assert_int_equal(bench_write(bench, &put, "little", 6), 0);
    spool_put_commit(put.put);
    bench_turn(bench);
    assert_int_equal(put.result, 0);
    assert_int_equal(bench_stats(bench, NULL).incoming_bytes, 0);
    assert_int_equal(bench_stats(bench, NULL).bytes[SPOOL_READY], SPOOL_RECORD_COST + 6);
}

/* --- Figures --- */

struct seen {
    unsigned routes, enclaves;
    uint64_t records;
};

static void on_each(void *arg, const char *route, const char *enclave, const struct spool_stats *stats)
{
    struct seen *seen = arg;

    assert_non_null(route);
    seen->routes += enclave == NULL;
    seen->enclaves += enclave != NULL;
    seen->records += stats->records[SPOOL_READY];
}

static void test_the_gauges_tell_what_is_there(void **state)
{
    struct bench *bench = *state;
    struct seen seen = {.routes = 0};
    struct spool_health health;
    uint64_t first, start = bench_now;

    assert_int_equal(bench_stats(bench, NULL).oldest_at, 0);
    first = bench_give(bench, "results", 100, 1);
    bench_now += 1000;
    bench_give(bench, "results", 100, 1);
    bench_now += 1000;
    bench_give(bench, "audit", 100, 1);
    assert_int_equal(bench_stats(bench, NULL).oldest_at, start);
    assert_int_equal(bench_stats(bench, "audit").oldest_at, start + 2000);
    assert_int_equal(bench_stats(bench, "nobody").oldest_at, 0);
    assert_int_equal(bench_stats(bench, "results").bytes[SPOOL_READY], 2 * (SPOOL_RECORD_COST + 106));
    bench_reopen(bench);
    assert_int_equal(bench_stats(bench, NULL).oldest_at, start);
    fail_once(bench, first, (struct spool_outcome){.retry_after_ms = 5000});
    assert_int_equal(bench_stats(bench, NULL).oldest_at, start); /* it waits */
    bench_now += 10000;
    bench_deliver(bench, "results", first, SPOOL_DONE);
    assert_int_equal(bench_stats(bench, NULL).oldest_at, start + 1000);

    spool_each_route(bench->spool, on_each, &seen);
    assert_int_equal(seen.routes, 2);
    assert_int_equal(seen.records, 2);
    spool_each_enclave(bench->spool, on_each, &seen);
    assert_int_equal(seen.enclaves, 2);
    assert_int_equal(seen.records, 4);
    spool_health(bench->spool, &health);
    assert_int_equal(health.result, 0);
    assert_true(health.commits > 0);
    assert_true(health.settled >= health.commits);
    for (int i = 0; i < SPOOL_STATES; i++) {
        assert_true(strlen(spool_state_word(i)) > 0);
    }
}

static void test_space_is_given_back(void **state)
{
    struct bench *bench = *state;
    char *body = bench_body(60000, 1);
    struct bench_put puts[200];

    for (int i = 0; i < 200; i++) {
        assert_int_equal(bench_begin(bench, &puts[i], "results", NULL), 0);
        assert_int_equal(bench_write(bench, &puts[i], body, 60000), 0);
        spool_put_commit(puts[i].put);
    }
    bench_turn(bench);
    assert_int_equal(bench_stats(bench, NULL).accepted, 200);
    bench_close(bench);
    assert_true(bench_number(bench, "PRAGMA page_count") > 3000);
    bench_open(bench);
    for (int i = 0; i < 200; i++) {
        bench_deliver(bench, "results", puts[i].id, SPOOL_DONE);
    }
    bench_now += 100000;
    bench_turn(bench);
    bench_close(bench);
    assert_true(bench_number(bench, "PRAGMA page_count") < 2000);
    bench_open(bench);
    free(body);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, bench_set_up, bench_tear_down)

/* Whoever was answered on one thread may put the next record on another. */
static void test_what_is_kept_is_counted_once(void **state)
{
    struct bench *bench = *state;
    struct bench_put put;

    assert_int_equal(bench_begin(bench, &put, "results", NULL), 0);
    assert_int_equal(bench_write(bench, &put, "0123456789", 10), 0);
    assert_true(bench_stats(bench, NULL).incoming_bytes > 0);
    spool_put_commit(put.put);
    while (spool_turn(bench->spool)) {
        ;
    }
    assert_false(put.done); /* the port has not run */
    assert_int_equal(bench_stats(bench, NULL).records[SPOOL_READY], 1);
    assert_int_equal(bench_stats(bench, NULL).incoming_bytes, 0);
    bench_turn(bench);
    assert_true(put.done);
    assert_int_equal(bench_stats(bench, NULL).incoming_bytes, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_failed_attempt_comes_again_after_a_pause),
        TEST(test_retry_after_is_honoured),
        TEST(test_what_became_due_keeps_its_place),
        TEST(test_a_clock_that_is_set_back_holds_nothing_for_long),
        TEST(test_poison_dies_after_its_attempts),
        TEST(test_what_nobody_can_take_dies_at_once),
        TEST(test_what_is_too_old_dies),
        TEST(test_what_is_being_delivered_does_not_die_meanwhile),
        TEST(test_what_is_kept_is_counted_once),
        TEST(test_a_full_spool_refuses),
        TEST(test_routes_and_enclaves_have_their_share),
        TEST(test_an_announced_body_is_refused_at_once),
        TEST(test_the_gauges_tell_what_is_there),
        TEST(test_space_is_given_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
