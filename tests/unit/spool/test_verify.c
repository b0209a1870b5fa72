/* Verifying a spool that is at work meanwhile: it ends, and its count is right. */
#include "spool_bench.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define MANY 2500 /* several pieces of a recount */

/* Nothing here is about power. Every library in the program takes them from here. */
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

struct verified {
    unsigned calls;
    int result;
    struct spool_verdicts verdicts;
};

static void on_verified(void *arg, int result, const struct spool_verdicts *verdicts, const struct error *err)
{
    struct verified *verified = arg;

    (void)err;
    verified->calls++;
    verified->result = result;
    verified->verdicts = *verdicts;
}

static void on_altered(void *arg, int result, uint64_t count, const struct error *err)
{
    (void)arg;
    (void)result;
    (void)count;
    (void)err;
}

/* Copies of one record, in all states, of two routes. The tallies are what they are then. */
static void fill(struct bench *bench)
{
    char sql[1024];

    bench_give(bench, "results", 10, 1);
    bench_close(bench);
    snprintf(
        sql, sizeof(sql),
        "PRAGMA synchronous = OFF; BEGIN;"
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %u)"
        "INSERT INTO record SELECT NULL, route, enclave, key, i %% 3, attempts, 1700000000000 + i, since, "
        "created_at, size, file, digest, sum, cause, head FROM n, record;"
        "INSERT INTO body SELECT id, (SELECT data FROM body) FROM record WHERE id > 1;"
        "COMMIT",
        MANY - 1);
    bench_sql(bench, sql);
    bench_sql(bench, "DELETE FROM tally; INSERT INTO tally SELECT route, enclave, sum(state = 0), "
                     "sum((state = 0) * (size + length(head) + 512)), sum(state = 1), "
                     "sum((state = 1) * (size + length(head) + 512)), sum(state = 2), "
                     "sum((state = 2) * (size + length(head) + 512)), 0, 0 FROM record GROUP BY 1, 2");
    bench_now = 1700000000000;
    bench_open(bench);
}

static void assert_tallies(struct bench *bench)
{
    bench_close(bench);
    assert_int_equal(bench_number(bench, "SELECT count(*) FROM (SELECT route, enclave, ready, ready_bytes, "
                                         "waiting, waiting_bytes, dead, dead_bytes FROM tally WHERE "
                                         "ready + waiting + dead > 0 EXCEPT SELECT route, enclave, "
                                         "sum(state = 0), sum((state = 0) * (size + length(head) + 512)), "
                                         "sum(state = 1), sum((state = 1) * (size + length(head) + 512)), "
                                         "sum(state = 2), sum((state = 2) * (size + length(head) + 512)) "
                                         "FROM record GROUP BY 1, 2)"),
                     0);
    bench_open(bench);
}

/* Changes of each kind: a record is put, one delivered, one fails, one of those that wait wakes, some are dropped and retried. */
static void work(struct bench *bench, unsigned i)
{
    struct bench_take take;
    struct bench_put put;
    struct spool_call *call;

    assert_int_equal(bench_begin(bench, &put, i % 2 ? "results" : "audit", NULL), 0);
    spool_put_commit(put.put);
    assert_int_equal(spool_drop_one(bench->port, 1 + i * 7 % MANY, on_altered, NULL, &call), 0);
    assert_int_equal(spool_retry_one(bench->port, MANY - i * 11 % MANY, on_altered, NULL, &call), 0);
    take = (struct bench_take){.result = 1};
    assert_int_equal(spool_take(bench->port, "results", &bench_take_ops, &take, &take.take), 0);
    bench_now += 1;
    for (int j = 0; j < 3; j++) {
        spool_turn(bench->spool);
        spool_port_run(bench->port);
    }
    assert_true(put.done);
    spool_take_end(take.take, &(struct spool_outcome){.verdict = i % 2 ? SPOOL_DONE : SPOOL_RETRY});
    free(take.body);
}

static void run(struct bench *bench, struct verified *verified)
{
    for (unsigned i = 0; verified->calls == 0; i++) {
        assert_true(i < 20 * MANY);
        work(bench, i);
    }
    assert_int_equal(verified->result, 0);
}

static void test_while_all_changes(void **state)
{
    struct bench *bench = *state;

    fill(bench);
    for (int wrong = 0; wrong <= 1; wrong++) {
        struct verified verified = {.result = 1};
        struct spool_call *call;

        if (wrong) {
            bench_close(bench);
            bench_sql(bench, "UPDATE tally SET ready = ready + 5, dead_bytes = dead_bytes - 1");
            bench_open(bench);
        }
        assert_int_equal(spool_verify(bench->port, on_verified, &verified, &call), 0);
        run(bench, &verified);
        assert_int_equal(verified.verdicts.tally_wrong, wrong);
        assert_int_equal(verified.verdicts.damaged, 0);
        bench_turn(bench);
        assert_tallies(bench);
    }
}

/* Whatever is put while it is at work. */
static void test_it_ends_with_what_was_there(void **state)
{
    struct bench *bench = *state;
    struct verified verified = {.result = 1};
    struct spool_call *call;

    for (unsigned i = 0; i < 300; i++) {
        bench_give(bench, "results", 10, i);
    }
    assert_int_equal(spool_verify(bench->port, on_verified, &verified, &call), 0);
    for (unsigned i = 0; verified.calls == 0; i++) {
        struct bench_put put;

        assert_true(i < 3000);
        assert_int_equal(bench_begin(bench, &put, "results", NULL), 0);
        spool_put_commit(put.put);
        while (!put.done) {
            spool_turn(bench->spool);
            spool_port_run(bench->port);
        }
    }
    assert_int_equal(verified.result, 0);
    assert_in_range(verified.verdicts.records, 300, 301);
}

static void test_two_at_once(void **state)
{
    struct bench *bench = *state;

    fill(bench);
    for (int apart = 0; apart < 4; apart++) {
        struct verified one = {.result = 1}, other = {.result = 1};
        struct spool_call *calls[2];

        bench_close(bench);
        bench_sql(bench, "UPDATE tally SET waiting = waiting + 5");
        bench_open(bench);
        assert_int_equal(spool_verify(bench->port, on_verified, &one, &calls[0]), 0);
        for (int i = 0; i < apart; i++) {
            spool_turn(bench->spool);
            spool_port_run(bench->port);
        }
        assert_int_equal(spool_verify(bench->port, on_verified, &other, &calls[1]), 0);
        run(bench, &one);
        bench_turn(bench);
        assert_int_equal(one.calls + other.calls, 2);
        assert_int_equal(other.result, 0);
        assert_true(one.verdicts.tally_wrong);
        assert_tallies(bench);
    }
}

/* In any of its steps; what it had counted counts for the next. */
static void test_cancelled_and_begun_again(void **state)
{
    struct bench *bench = *state;
    struct verified verified = {.result = 1};
    struct spool_call *call;

    fill(bench);
    for (int turns = 0; turns < 8; turns++) {
        unsigned long count = 0;

        assert_int_equal(spool_verify(bench->port, on_verified, &verified, &call), 0);
        /* To its recount, which is of several turns, and so far into that. */
        while (count < 2 * MANY + 20 + (unsigned)turns && verified.calls == 0) {
            spool_turn(bench->spool);
            spool_port_run(bench->port);
            count++;
        }
        if (verified.calls == 0) {
            spool_call_cancel(call);
        }
        verified.calls = 0;
        work(bench, (unsigned)turns);
    }
    assert_int_equal(spool_verify(bench->port, on_verified, &verified, &call), 0);
    run(bench, &verified);
    assert_false(verified.verdicts.tally_wrong);
    bench_turn(bench);
    assert_tallies(bench);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, bench_set_up, bench_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_while_all_changes),
        TEST(test_it_ends_with_what_was_there),
        TEST(test_two_at_once),
        TEST(test_cancelled_and_begun_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
