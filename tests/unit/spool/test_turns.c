/* Enclaves that share a route: each one's records in order, and none in the way of another's. */
#include "spool_bench.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static uint64_t give(struct bench *bench, const char *enclave)
{
    bench->enclave = enclave;
    return bench_give(bench, "results", 10, 1);
}

/* Takes the next one, which must be that, and ends it so. */
static void expect_next(struct bench *bench, uint64_t id, enum spool_verdict verdict)
{
    bench_deliver(bench, "results", id, verdict);
}

static void test_enclaves_take_turns(void **state)
{
    struct bench *bench = *state;
    uint64_t busy[6], quiet[2];

    for (unsigned i = 0; i < 6; i++) {
        busy[i] = give(bench, "busy");
    }
    for (unsigned i = 0; i < 2; i++) {
        quiet[i] = give(bench, "quiet");
    }
    expect_next(bench, busy[0], SPOOL_DONE);
    expect_next(bench, quiet[0], SPOOL_DONE);
    expect_next(bench, busy[1], SPOOL_DONE);
    expect_next(bench, quiet[1], SPOOL_DONE);
    expect_next(bench, busy[2], SPOOL_DONE);
    expect_next(bench, busy[3], SPOOL_DONE);

    /* Who was done for a while is not behind what came meanwhile. */
    quiet[0] = give(bench, "quiet");
    expect_next(bench, busy[4], SPOOL_DONE);
    expect_next(bench, quiet[0], SPOOL_DONE);
    expect_next(bench, busy[5], SPOOL_DONE);
    assert_int_equal(bench_stats(bench, NULL).records[SPOOL_READY], 0);
}

static void test_turns_go_on_after_a_start(void **state)
{
    struct bench *bench = *state;
    uint64_t first[2], second[2];

    for (unsigned i = 0; i < 2; i++) {
        first[i] = give(bench, "one");
    }
    for (unsigned i = 0; i < 2; i++) {
        second[i] = give(bench, "two");
    }
    bench_reopen(bench);
    struct bench_take takes[4];
    unsigned ones = 0, twos = 0;
    for (unsigned i = 0; i < 4; i++) {
        bench_take(bench, &takes[i], "results");
        assert_true(takes[i].ready);
        uint64_t id = spool_take_record(takes[i].take)->id;
        if (ones < 2 && id == first[ones]) {
            ones++;
        } else {
            assert_true(twos < 2);
            assert_int_equal(id, second[twos]);
            twos++;
        }
        assert_true(i != 1 || (ones == 1 && twos == 1)); /* whoever began */
    }
    for (unsigned i = 0; i < 4; i++) {
        bench_verdict(bench, &takes[i], SPOOL_DONE);
    }
}

/* What its store takes from none is in the way of its own enclave alone. */
static void test_failures_of_one_do_not_hold_up_another(void **state)
{
    struct bench *bench = *state;
    const struct spool_policy policy = {.attempts = 100, .first_pause_ms = 1000, .most_pause_ms = 1000};
    uint64_t poison[3], good[3];

    assert_int_equal(spool_set_policy(bench->spool, "results", &policy), 0);
    for (unsigned i = 0; i < 3; i++) {
        poison[i] = give(bench, "poisoner");
    }
    for (unsigned i = 0; i < 3; i++) {
        good[i] = give(bench, "other");
    }
    expect_next(bench, poison[0], SPOOL_RETRY);
    expect_next(bench, good[0], SPOOL_DONE);
    bench_now += 2000; /* it is ready again, and the oldest of all */
    bench_turn(bench);
    expect_next(bench, poison[0], SPOOL_RETRY);
    expect_next(bench, good[1], SPOOL_DONE);
    expect_next(bench, poison[1], SPOOL_RELEASE);
    expect_next(bench, good[2], SPOOL_DONE);
    expect_next(bench, poison[1], SPOOL_DONE);
    expect_next(bench, poison[2], SPOOL_DONE);
    bench_now += 2000;
    bench_turn(bench);
    expect_next(bench, poison[0], SPOOL_DONE);
}

static void test_the_oldest_of_all_enclaves_is_told(void **state)
{
    struct bench *bench = *state;
    uint64_t start = bench_now;
    uint64_t first = give(bench, "one");

    bench_now += 1000;
    uint64_t second = give(bench, "two");
    assert_int_equal(bench_stats(bench, "results").oldest_at, start);
    expect_next(bench, first, SPOOL_DONE);
    assert_int_equal(bench_stats(bench, "results").oldest_at, start + 1000);
    bench_now += 1000;
    give(bench, "one");
    assert_int_equal(bench_stats(bench, "results").oldest_at, start + 1000);
    expect_next(bench, second, SPOOL_DONE);
    assert_int_equal(bench_stats(bench, "results").oldest_at, start + 2000);
}

/* A spool of the version before is brought up to this one as it is opened; its records are there. */
static void test_the_version_before(void **state)
{
    static const char before[] = "DROP INDEX ready; CREATE INDEX ready ON record (route, id) WHERE state = 0;"
                                 "PRAGMA user_version = 1";
    static const char columns[] = "SELECT count(*) FROM pragma_index_info('ready')";
    struct bench *bench = *state;
    uint64_t first = give(bench, "one"), second = give(bench, "two");
    struct error err = ERROR_INIT;

    bench_close(bench);
    bench_sql(bench, before);
    bench_open(bench);
    bench_close(bench);
    assert_int_equal(bench_number(bench, "PRAGMA user_version"), 2);
    assert_int_equal(bench_number(bench, columns), 3);

    /* Where it cannot be done, nothing is. */
    bench_sql(bench, before);
    bench_sql(bench, "DROP INDEX ready");
    assert_int_equal(bench_try_open(bench, &err), -EIO);
    assert_non_null(strstr(err.text, "cannot bring its tables up to this version"));
    assert_int_equal(bench_number(bench, "PRAGMA user_version"), 1);
    bench_sql(bench, "CREATE INDEX ready ON record (route, id) WHERE state = 0");
    bench_open(bench);
    assert_int_equal(bench_stats(bench, "results").records[SPOOL_READY], 2);
    struct bench_take takes[2];
    bench_take(bench, &takes[0], "results");
    bench_take(bench, &takes[1], "results");
    uint64_t sum = 0;
    for (unsigned i = 0; i < 2; i++) {
        assert_true(takes[i].ready);
        sum += spool_take_record(takes[i].take)->id;
        bench_verdict(bench, &takes[i], SPOOL_DONE);
    }
    assert_int_equal(sum, first + second);
}

/* What is ready is found though nothing counts it; a name that is none ends the search, and nothing else. */
static void test_tallies_that_are_not_there(void **state)
{
    struct bench *bench = *state;
    uint64_t ids[3];
    static const char *const enclaves[] = {"one", "two", "three"};

    for (unsigned i = 0; i < 3; i++) {
        ids[i] = give(bench, enclaves[i]);
    }
    bench_close(bench);
    bench_sql(bench, "DELETE FROM tally");
    bench_open(bench);
    for (unsigned i = 0; i < 3; i++) {
        struct bench_take take;
        bench_take(bench, &take, "results");
        assert_true(take.ready);
        bench_verdict(bench, &take, SPOOL_RETRY);
    }
    bench_now += 3600000;
    bench_turn(bench);
    bench_close(bench);
    bench_sql(bench, "UPDATE record SET enclave = CAST(x'7a007a' AS TEXT) WHERE enclave = 'two'");
    bench_open(bench);
    for (unsigned i = 0; i < 2; i++) {
        struct bench_take take;
        bench_take(bench, &take, "results");
        assert_true(take.ready);
        assert_int_not_equal(spool_take_record(take.take)->id, ids[1]);
        bench_verdict(bench, &take, SPOOL_DONE);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, bench_set_up, bench_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_enclaves_take_turns),
        TEST(test_turns_go_on_after_a_start),
        TEST(test_failures_of_one_do_not_hold_up_another),
        TEST(test_the_oldest_of_all_enclaves_is_told),
        TEST(test_the_version_before),
        TEST(test_tallies_that_are_not_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
