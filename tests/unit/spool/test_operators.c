/* Operators: listing, retrying and dropping, of one record and of many. */
#include "spool_bench.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct listed {
    unsigned answers;
    int result;
    size_t count;
    uint64_t first, last, next;
    enum spool_state state;
};

static void on_list(void *arg, int result, const struct spool_record *records, size_t count, uint64_t next,
                    const struct error *err)
{
    struct listed *listed = arg;

    (void)err;
    listed->answers++;
    listed->result = result;
    listed->next = next;
    for (size_t i = 0; i < count; i++) {
        if (listed->count == 0) {
            listed->first = records[i].id;
        }
        assert_true(records[i].id > listed->last);
        assert_null(records[i].head);
        assert_int_equal(records[i].head_size, 6);
        assert_string_equal(records[i].enclave, "payroll");
        listed->last = records[i].id;
        listed->state = records[i].state;
        listed->count++;
    }
}

/* All pages of the answer. */
static struct listed list(struct bench *bench, struct spool_query query)
{
    struct listed listed = {.answers = 0};
    struct spool_call *call;

    do {
        assert_int_equal(spool_list(bench->port, &query, on_list, &listed, &call), 0);
        bench_turn(bench);
        assert_int_equal(listed.result, 0);
        query.after = listed.next;
    } while (listed.next > 0);
    return listed;
}

struct altered {
    unsigned answers;
    int result;
    uint64_t count;
    struct error error;
};

static void on_altered(void *arg, int result, uint64_t count, const struct error *err)
{
    struct altered *altered = arg;

    altered->answers++;
    altered->result = result;
    altered->count = count;
    altered->error = *err;
}

typedef int (*one_call)(struct spool_port *port, uint64_t id, spool_alter_cb cb, void *arg,
                        struct spool_call **ret);
typedef int (*all_call)(struct spool_port *port, const struct spool_query *query, spool_alter_cb cb,
                        void *arg, struct spool_call **ret);

static int one(struct bench *bench, one_call function, uint64_t id)
{
    struct altered altered = {.answers = 0};
    struct spool_call *call;

    assert_int_equal(function(bench->port, id, on_altered, &altered, &call), 0);
    bench_turn(bench);
    assert_int_equal(altered.answers, 1);
    assert_int_equal(altered.count, altered.result == 0);
    assert_int_equal(altered.error.text[0] != '\0', altered.result < 0);
    return altered.result;
}

static uint64_t all(struct bench *bench, all_call function, struct spool_query query)
{
    struct altered altered = {.answers = 0};
    struct spool_call *call;

    assert_int_equal(function(bench->port, &query, on_altered, &altered, &call), 0);
    bench_turn(bench);
    assert_int_equal(altered.answers, 1);
    assert_int_equal(altered.result, 0);
    return altered.count;
}

/* 600 records, every third of route audit, of the others every fourth dead. */
static void fill(struct bench *bench)
{
    for (unsigned i = 0; i < 600; i++) {
        uint64_t id = bench_give(bench, i % 3 ? "results" : "audit", i == 7 ? 100000 : 10, i);

        if (i % 3) {
            bench_deliver(bench, "results", id, i % 4 ? SPOOL_RETRY : SPOOL_BURY);
        }
    }
}

static void test_listing(void **state)
{
    struct bench *bench = *state;
    struct listed listed;

    fill(bench);
    listed = list(bench, (struct spool_query){.after = 0});
    assert_int_equal(listed.count, 600);
    assert_int_equal(listed.answers, 3);
    assert_int_equal(listed.last, 600);
    assert_int_equal(list(bench, (struct spool_query){.after = 590}).count, 10);
    assert_int_equal(list(bench, (struct spool_query){.route = "audit"}).count, 200);
    assert_int_equal(list(bench, (struct spool_query){.route = "nobody"}).count, 0);
    listed = list(bench, (struct spool_query){.states = 1U << SPOOL_DEAD, .limit = 10});
    assert_int_equal(listed.count, 100);
    assert_int_equal(listed.answers, 11);
    assert_int_equal(listed.state, SPOOL_DEAD);
    assert_int_equal(
        list(bench, (struct spool_query){.states = 1U << SPOOL_WAITING | 1U << SPOOL_DEAD}).count, 400);
    assert_int_equal(list(bench, (struct spool_query){.states = 1U << SPOOL_DAMAGED}).count, 0);
    assert_int_equal(list(bench, (struct spool_query){.states = 1U << SPOOL_READY, .route = "audit"}).count,
                     200);
}

/* A question that finds little still ends soon, and says where to go on. */
static void test_a_question_is_bounded(void **state)
{
    struct bench *bench = *state;
    struct listed listed;

    bench_give(bench, "results", 10, 1);
    bench_close(bench);
    bench_sql(bench,
              "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 25000)"
              "INSERT INTO record SELECT NULL, 'audit', enclave, key, state, attempts, next_at, since, "
              "created_at, size, file, digest, sum, cause, head FROM record, n");
    bench_open(bench);
    listed = list(bench, (struct spool_query){.route = "results"});
    assert_int_equal(listed.count, 1);
    assert_int_equal(listed.answers, 3);
}

static void test_retrying_one(void **state)
{
    struct bench *bench = *state;
    struct bench_take take;
    uint64_t id = bench_give(bench, "results", 10, 1);

    bench_deliver(bench, "results", id, SPOOL_RETRY);
    assert_int_equal(one(bench, spool_retry_one, id), 0);
    bench_take(bench, &take, "results");
    assert_true(take.ready);
    assert_int_equal(spool_take_record(take.take)->attempts, 0);
    assert_string_equal(spool_take_record(take.take)->cause, "");
    assert_int_equal(one(bench, spool_retry_one, id), -EBUSY);
    bench_verdict(bench, &take, SPOOL_BURY);
    assert_int_equal(one(bench, spool_retry_one, id), 0);
    assert_int_equal(one(bench, spool_retry_one, id), 0);
    assert_int_equal(bench_stats(bench, NULL).records[SPOOL_READY], 1);
    assert_int_equal(bench_stats(bench, NULL).records[SPOOL_DEAD], 0);
    assert_int_equal(one(bench, spool_retry_one, id + 1), -ENOENT);

    bench_close(bench);
    bench_sql(bench, "UPDATE record SET head = 'x'");
    bench_open(bench);
    bench_take(bench, &take, "results");
    bench_verdict(bench, &take, SPOOL_RELEASE);
    assert_int_equal(one(bench, spool_retry_one, id), -EBADMSG);
    assert_int_equal(one(bench, spool_drop_one, id), 0);
}

/* Its age is counted anew, or it would die again at once. */
static void test_retrying_what_was_too_old(void **state)
{
    struct bench *bench = *state;
    const struct spool_policy policy = {.max_age_ms = 1000};
    uint64_t id = bench_give(bench, "results", 10, 1);

    assert_int_equal(spool_set_policy(bench->spool, "results", &policy), 0);
    bench_now += 70000;
    bench_turn(bench);
    assert_int_equal(bench_stats(bench, NULL).records[SPOOL_DEAD], 1);
    assert_int_equal(one(bench, spool_retry_one, id), 0);
    bench_deliver(bench, "results", id, SPOOL_DONE);
}

static void test_retrying_all(void **state)
{
    struct bench *bench = *state;

    fill(bench);
    assert_int_equal(all(bench, spool_retry_all, (struct spool_query){.states = 1U << SPOOL_READY}), 0);
    assert_int_equal(all(bench, spool_retry_all, (struct spool_query){.states = 1U << SPOOL_DAMAGED}), 0);
    assert_int_equal(all(bench, spool_retry_all, (struct spool_query){.route = "audit"}), 0);
    assert_int_equal(all(bench, spool_retry_all, (struct spool_query){.states = 1U << SPOOL_DEAD}), 100);
    assert_int_equal(bench_stats(bench, NULL).records[SPOOL_READY], 300);
    assert_int_equal(all(bench, spool_retry_all, (struct spool_query){.route = "results"}), 300);
    assert_int_equal(bench_stats(bench, NULL).records[SPOOL_READY], 600);
    bench_deliver(bench, "results", 2, SPOOL_DONE);
}

static void test_dropping(void **state)
{
    struct bench *bench = *state;
    struct bench_take take;

    fill(bench);
    assert_int_equal(bench_files(bench), 1);
    assert_int_equal(one(bench, spool_drop_one, 8), 0);
    assert_int_equal(bench_files(bench), 0);
    assert_int_equal(one(bench, spool_drop_one, 8), -ENOENT);
    bench_take(bench, &take, "audit");
    assert_int_equal(one(bench, spool_drop_one, 1), -EBUSY);
    assert_int_equal(all(bench, spool_drop_all, (struct spool_query){.route = "audit"}), 199);
    bench_verdict(bench, &take, SPOOL_DONE);
    assert_int_equal(bench_stats(bench, "audit").records[SPOOL_READY], 0);
    bench_give(bench, "results", 100000, 1);
    bench_give(bench, "results", 100000, 1);
    assert_int_equal(all(bench, spool_drop_all, (struct spool_query){.after = 100}), 336);
    assert_int_equal(bench_files(bench), 0);
    assert_int_equal(all(bench, spool_drop_all, (struct spool_query){.after = 0}), 65);
    for (int i = 0; i < SPOOL_STATES; i++) {
        assert_int_equal(bench_stats(bench, NULL).records[i], 0);
    }
    assert_int_equal(bench_stats(bench, NULL).oldest_at, 0);
}

static void test_cancelling(void **state)
{
    struct bench *bench = *state;
    struct altered altered = {.answers = 0};
    struct listed listed = {.answers = 0};
    const struct spool_query query = {.after = 0};

    fill(bench);
    for (int turns = 0; turns < 5; turns++) {
        struct spool_call *calls[2];

        assert_int_equal(spool_retry_all(bench->port, &query, on_altered, &altered, &calls[0]), 0);
        assert_int_equal(spool_list(bench->port, &query, on_list, &listed, &calls[1]), 0);
        for (int i = 0; i < turns; i++) {
            spool_turn(bench->spool);
        }
        spool_call_cancel(calls[0]);
        spool_call_cancel(calls[1]);
        bench_turn(bench);
    }
    assert_int_equal(altered.answers + listed.answers, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, bench_set_up, bench_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_listing),      TEST(test_a_question_is_bounded),
        TEST(test_retrying_one), TEST(test_retrying_what_was_too_old),
        TEST(test_retrying_all), TEST(test_dropping),
        TEST(test_cancelling),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
