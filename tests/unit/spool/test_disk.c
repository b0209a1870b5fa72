/* A disk that is full, read-only, or fails: what is said, and what goes on. The many ways are test_crash.c's. */
#include "lossy_vfs.h"
#include "spool_bench.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

static const struct lossy_plan calm = {.kind = LOSSY_NONE};

static int set_up(void **state)
{
    struct bench *bench = calloc(1, sizeof(*bench));

    assert_non_null(bench);
    lossy_arm(&calm);
    bench_make(bench);
    bench->options.vfs = LOSSY_VFS;
    bench_open(bench);
    *state = bench;
    return 0;
}

static int tear_down(void **state)
{
    struct bench *bench = *state;

    lossy_arm(&calm);
    bench_close(bench);
    lossy_forget();
    bench_remove(bench);
    free(bench);
    return 0;
}

static void break_disk(enum lossy_kind kind, unsigned long nth)
{
    const struct lossy_plan plan = {.kind = kind, .nth = nth, .seed = nth};

    lossy_arm(&plan);
}

static void expect_put(struct bench *bench, size_t size, int result, const char *word)
{
    char *body = bench_body(size, 1);
    struct bench_put put;
    int r;

    assert_int_equal(bench_begin(bench, &put, "results", NULL), 0);
    r = bench_write(bench, &put, body, size);
    if (put.put) {
        spool_put_commit(put.put);
        bench_turn(bench);
        r = put.result;
    }
    assert_true(put.done);
    assert_int_equal(r, result);
    if (!strstr(put.error.text, word)) {
        fail_msg("'%s' is not in '%s'", word, put.error.text);
    }
    free(body);
}

static void test_every_kind_is_told_apart(void **state)
{
    static const struct {
        enum lossy_kind kind;
        int result;
        const char *word;
    } cases[] = {{LOSSY_ALWAYS, -EIO, "kernel"},
                 {LOSSY_FULL, -ENOSPC, "no space left"},
                 {LOSSY_READONLY, -EROFS, "read-only"}};
    struct bench *bench = *state;

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct spool_health health;

        for (size_t size = 60000; size < 400000; size += 300000) {
            break_disk(cases[i].kind, 1);
            for (int j = 0; j < 100 && size < SPOOL_INLINE_MAX && cases[i].kind == LOSSY_FULL; j++) {
                uint64_t id;
                char *body = bench_body(size, 1);
                int r = bench_put(bench, "results", NULL, body, size, &id);

                free(body);
                if (r < 0) {
                    break;
                }
            }
            expect_put(bench, size, cases[i].result, cases[i].word);
            spool_health(bench->spool, &health);
            if (size < SPOOL_INLINE_MAX) {
                assert_int_equal(health.result, cases[i].result);
                assert_non_null(strstr(health.error.text, cases[i].word));
            }
            lossy_arm(&calm);
            bench_now += 120000;
            bench_turn(bench);
            expect_put(bench, size, 0, "");
            spool_health(bench->spool, &health);
            assert_int_equal(health.result, 0);
            assert_string_equal(health.error.text, "");
        }
    }
    assert_true(bench_stats(bench, NULL).failed >= 6);
}

/* Of those that shared a transaction, only the one that has no room fails. */
static void test_who_shares_a_transaction_fails_alone(void **state)
{
    struct bench *bench = *state;
    struct bench_put small[10], large;
    char *body = bench_body(60000, 1);

    for (unsigned i = 0; i < 50; i++) {
        bench_deliver(bench, "results", bench_give(bench, "results", 100, i), SPOOL_DONE);
    }
    assert_int_equal(bench_begin(bench, &large, "results", NULL), 0);
    assert_int_equal(bench_write(bench, &large, body, 60000), 0);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(bench_begin(bench, &small[i], "results", NULL), 0);
        assert_int_equal(bench_write(bench, &small[i], body, 10), 0);
    }
    for (int i = 0; i < 10; i++) {
        spool_put_commit(small[i].put);
    }
    spool_put_commit(large.put);
    /* The log is as long as it is; it has room for some. */
    break_disk(LOSSY_FULL, 1);
    bench_turn(bench);
    for (int i = 0; i < 10; i++) {
        assert_true(small[i].done);
    }
    assert_true(large.done);
    assert_int_equal(bench_stats(bench, NULL).records[SPOOL_READY], bench_stats(bench, NULL).accepted - 50);
    lossy_arm(&calm);
    free(body);
}

/* What was delivered makes room, also when there is none: the log's own blocks are enough. */
static void test_a_full_disk_can_be_emptied(void **state)
{
    struct bench *bench = *state;
    uint64_t ids[60];

    for (unsigned i = 0; i < 60; i++) {
        ids[i] = bench_give(bench, "results", 20000, i);
    }
    bench_close(bench);
    bench_open(bench);
    break_disk(LOSSY_FULL, 1);
    for (unsigned i = 0; i < 60; i++) {
        bench_deliver(bench, "results", ids[i], SPOOL_DONE);
    }
    assert_int_equal(bench_stats(bench, NULL).records[SPOOL_READY], 0);
    assert_int_equal(bench_stats(bench, NULL).in_flight, 0);
}

/* A delivery that cannot be written down is not repeated, and nothing else is handed out until it can. */
static void test_a_verdict_is_kept_until_it_can_be_carried_out(void **state)
{
    struct bench *bench = *state;
    struct bench_take takes[3];
    uint64_t ids[3];

    for (unsigned i = 0; i < 3; i++) {
        ids[i] = bench_give(bench, "results", 10, i);
    }
    bench_take(bench, &takes[0], "results");
    break_disk(LOSSY_ALWAYS, 1);
    bench_verdict(bench, &takes[0], SPOOL_DONE);
    assert_int_equal(bench_stats(bench, NULL).in_flight, 1);
    bench_take(bench, &takes[1], "results");
    assert_false(takes[1].ready);
    for (int i = 0; i < 20; i++) {
        bench_now += 1000 << (i < 7 ? i : 7);
        bench_turn(bench);
    }
    assert_int_equal(bench_stats(bench, NULL).in_flight, 1);
    assert_int_equal(bench_stats(bench, NULL).delivered, 0);
    lossy_arm(&calm);
    bench_now += 60000;
    bench_turn(bench);
    assert_int_equal(bench_stats(bench, NULL).delivered, 1);
    assert_true(takes[1].ready);
    assert_int_equal(spool_take_record(takes[1].take)->id, ids[1]);
    bench_take(bench, &takes[2], "results");
    assert_int_equal(spool_take_record(takes[2].take)->id, ids[2]);

    /* And if it never can, the record comes again. */
    break_disk(LOSSY_ALWAYS, 1);
    bench_verdict(bench, &takes[1], SPOOL_DONE);
    bench_verdict(bench, &takes[2], SPOOL_RELEASE);
    bench_close(bench);
    lossy_arm(&calm);
    bench_open(bench);
    bench_deliver(bench, "results", ids[1], SPOOL_DONE);
    bench_deliver(bench, "results", ids[2], SPOOL_DONE);
}

/* Nothing is waited for that cannot come: waking, aging and collecting fail, and are tried again. */
static void test_chores_go_on_after_failures(void **state)
{
    struct bench *bench = *state;
    const struct spool_policy policy = {.first_pause_ms = 1000, .most_pause_ms = 1000, .max_age_ms = 500000};
    struct bench_take take;
    uint64_t id;

    assert_int_equal(spool_set_policy(bench->spool, "results", &policy), 0);
    id = bench_give(bench, "results", 10, 1);
    bench_deliver(bench, "results", id, SPOOL_RETRY);
    break_disk(LOSSY_ALWAYS, 1);
    for (int i = 0; i < 5; i++) {
        bench_now += 2000;
        bench_turn(bench);
    }
    assert_int_equal(bench_stats(bench, NULL).records[SPOOL_WAITING], 1);
    lossy_arm(&calm);
    bench_now += 2000;
    bench_turn(bench);
    assert_int_equal(bench_stats(bench, NULL).records[SPOOL_READY], 1);

    break_disk(LOSSY_ALWAYS, 1);
    bench_now += 500000;
    bench_turn(bench);
    assert_int_equal(bench_stats(bench, NULL).records[SPOOL_DEAD], 0);
    lossy_arm(&calm);
    bench_now += 100000;
    bench_turn(bench);
    assert_int_equal(bench_stats(bench, NULL).records[SPOOL_DEAD], 1);

    /* A body file that cannot be removed is removed at the next start. */
    id = bench_give(bench, "audit", 100000, 1);
    bench_take(bench, &take, "audit");
    bench_verdict(bench, &take, SPOOL_RELEASE);
    for (unsigned long nth = 1; nth < 12; nth++) {
        bench_take(bench, &take, "audit");
        assert_true(take.ready);
        break_disk(LOSSY_ONCE, nth);
        bench_verdict(bench, &take, SPOOL_DONE);
        lossy_arm(&calm);
        bench_now += 60000;
        bench_turn(bench);
        bench_close(bench);
        bench_open(bench);
        assert_int_equal(bench_files(bench), 0);
        bench_give(bench, "audit", 100000, 1);
    }
}

/* A page of the log may be thought to be written, and be none: nothing is built on it. */
static void test_a_log_whose_sync_failed_is_renewed(void **state)
{
    struct bench *bench = *state;

    for (unsigned long nth = 1; nth < 40; nth++) {
        struct spool_stats stats;
        uint64_t id;
        char bodies[96];

        break_disk(LOSSY_ONCE, nth);
        for (int i = 0; i < 4; i++) {
            if (bench_put(bench, "results", NULL, "x", 1, &id) < 0) {
                assert_true(lossy_has_struck());
            }
        }
        lossy_arm(&calm);
        id = bench_give(bench, "results", 10, 1);
        stats = bench_stats(bench, NULL);
        break_disk(LOSSY_POWER, 1);
        assert_int_equal(bench_put(bench, "results", NULL, "x", 1, &id), -EIO);
        bench_close(bench);
        snprintf(bodies, sizeof(bodies), "%s/bodies", bench->path);
        lossy_reboot(bodies);
        bench_open(bench);
        assert_true(bench_stats(bench, NULL).records[SPOOL_READY] >= stats.records[SPOOL_READY]);
    }
}

/* Until its owner is told, and not further. */
static void put_and_fail(struct bench *bench, const char *body, unsigned long nth)
{
    struct bench_put put;

    assert_int_equal(bench_begin(bench, &put, "results", NULL), 0);
    break_disk(LOSSY_ONCE, nth);
    if (bench_write(bench, &put, body, 100000) == 0) {
        spool_put_commit(put.put);
    }
    while (!put.done) {
        spool_turn(bench->spool);
        spool_port_run(bench->port);
    }
}

/* Whole or not at all, also if the process dies before the log was renewed. */
static void test_a_put_that_failed_leaves_no_half(void **state)
{
    struct bench *bench = *state;
    char *body = bench_body(100000, 1);
    char bodies[96];

    snprintf(bodies, sizeof(bodies), "%s/bodies", bench->path);
    for (unsigned long nth = 1; nth < 30; nth++) {
        for (unsigned long more = 1; more < 8; more++) {
            struct bench_take take;

            put_and_fail(bench, body, nth);
            break_disk(LOSSY_KILL, more);
            bench_turn(bench);
            bench_close(bench);
            lossy_reboot(bodies);
            bench_open(bench);
            bench_take(bench, &take, "results");
            if (take.ready) {
                assert_int_equal(bench_read(bench, &take), 0);
            }
            bench_verdict(bench, &take, take.ready ? SPOOL_DONE : SPOOL_RELEASE);
            assert_int_equal(bench_files(bench), 0);
        }
    }
    free(body);
}

static void test_opening_fails_clearly(void **state)
{
    struct bench *bench = *state;
    struct error err = ERROR_INIT;
    bool opened = false;

    bench_close(bench);
    for (unsigned long nth = 1; !opened; nth++) {
        assert_true(nth < 200);
        break_disk(LOSSY_ALWAYS, nth);
        opened = bench_try_open(bench, &err) == 0;
        if (!opened) {
            assert_non_null(strstr(err.text, bench->path));
        }
    }
    break_disk(LOSSY_NONE, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_every_kind_is_told_apart),    TEST(test_who_shares_a_transaction_fails_alone),
        TEST(test_a_full_disk_can_be_emptied),  TEST(test_a_verdict_is_kept_until_it_can_be_carried_out),
        TEST(test_chores_go_on_after_failures), TEST(test_a_log_whose_sync_failed_is_renewed),
        TEST(test_opening_fails_clearly),       TEST(test_a_put_that_failed_leaves_no_half),
    };

    umask(077);
    lossy_register();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
