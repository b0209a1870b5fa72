/* Putting and taking: what goes in comes out, in order, whole, and once. */
#include "spool_bench.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* --- In and out --- */

static void test_a_record_comes_out_as_it_went_in(void **state)
{
    static const size_t sizes[] = {0,
                                   1,
                                   1000,
                                   SPOOL_INLINE_MAX - 1,
                                   SPOOL_INLINE_MAX,
                                   SPOOL_INLINE_MAX + 1,
                                   2 * SPOOL_INLINE_MAX,
                                   2 * SPOOL_INLINE_MAX + 1,
                                   150 * SPOOL_INLINE_MAX + 17};
    struct bench *bench = *state;

    for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        uint64_t id = bench_give(bench, "results", sizes[i], i);
        const struct spool_record *record;
        struct bench_take take;

        assert_int_equal(bench_files(bench), sizes[i] > SPOOL_INLINE_MAX);
        bench_take(bench, &take, "results");
        assert_true(take.ready);
        assert_int_equal(take.result, 0);
        record = spool_take_record(take.take);
        assert_int_equal(record->id, id);
        assert_string_equal(record->route, "results");
        assert_string_equal(record->enclave, "payroll");
        assert_int_equal(strlen(record->key), 36);
        assert_int_equal(record->head_size, 6);
        assert_memory_equal(record->head, "POST /", 6);
        assert_int_equal(record->attempts, 0);
        assert_int_equal(record->created_at, bench_now);
        assert_string_equal(record->cause, "");
        bench_assert_body(bench, &take, sizes[i], i);
        bench_verdict(bench, &take, SPOOL_DONE);
        assert_int_equal(bench_files(bench), 0);
        assert_int_equal(bench_stats(bench, NULL).records[SPOOL_READY], 0);
        assert_int_equal(bench_stats(bench, NULL).delivered, i + 1);
    }
}

static void test_a_key_is_kept_or_made(void **state)
{
    struct bench *bench = *state;
    struct bench_take takes[3];
    uint64_t id;

    assert_int_equal(bench_put(bench, "results", "their own", "x", 1, &id), 0);
    bench_give(bench, "results", 1, 1);
    bench_give(bench, "results", 1, 1);
    for (int i = 0; i < 3; i++) {
        bench_take(bench, &takes[i], "results");
    }
    assert_string_equal(spool_take_record(takes[0].take)->key, "their own");
    assert_string_not_equal(spool_take_record(takes[1].take)->key, spool_take_record(takes[2].take)->key);
    for (int i = 0; i < 3; i++) {
        bench_verdict(bench, &takes[i], SPOOL_DONE);
    }
}

static void test_what_is_too_long_is_refused(void **state)
{
    struct bench *bench = *state;
    char name[SPOOL_NAME_MAX + 2];
    struct spool_request request = {.route = "results", .enclave = "payroll"};
    struct spool_request bad[5];
    struct spool_policy policy = {.attempts = 0};
    struct bench_put put = {.result = 0};

    memset(name, 'a', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    for (int i = 0; i < 5; i++) {
        bad[i] = request;
    }
    bad[0].route = name;
    bad[1].enclave = name;
    bad[2].key = name;
    bad[3].head = name;
    bad[3].head_size = SPOOL_HEAD_MAX + 1;
    bad[4].expected = UINT64_MAX;
    for (int i = 0; i < 5; i++) {
        struct error err = ERROR_INIT;

        assert_int_equal(spool_put_begin(bench->port, &bad[i], &bench_put_ops, &put, &put.put, &err),
                         i < 4 ? -EMSGSIZE : -ENOSPC);
        assert_true(err.text[0] != '\0');
    }
    assert_int_equal(spool_set_policy(bench->spool, name, &policy), -EMSGSIZE);

    name[SPOOL_NAME_MAX] = '\0';
    request.key = request.enclave = name;
    assert_int_equal(spool_put_begin(bench->port, &request, &bench_put_ops, &put, &put.put, &put.error), 0);
    spool_put_commit(put.put);
    bench_turn(bench);
    assert_int_equal(put.result, 0);
    assert_int_equal(put.id, 1);
}

static void test_an_abort_leaves_nothing(void **state)
{
    struct bench *bench = *state;
    char *body = bench_body(400000, 1);
    struct bench_put put;

    /* Before anything, with a little in memory, with the file being named, with it being written, with it written. */
    for (int turns = -2; turns < 12; turns++) {
        assert_int_equal(bench_begin(bench, &put, "results", NULL), 0);
        if (turns == -1) {
            assert_int_equal(bench_write(bench, &put, body, 1000), 0);
        }
        if (turns >= 0) {
            assert_true(spool_put_write(put.put, body, 400000, &put.error) > (int64_t)SPOOL_INLINE_MAX);
        }
        for (int i = 0; i < turns; i++) {
            spool_turn(bench->spool);
            if (i % 2) {
                spool_port_run(bench->port);
            }
        }
        spool_put_abort(put.put);
        bench_turn(bench);
        assert_false(put.done);
        assert_int_equal(bench_files(bench), 0);
        assert_int_equal(bench_stats(bench, NULL).incoming_bytes, 0);
        assert_int_equal(bench_stats(bench, NULL).records[SPOOL_READY], 0);
    }
    /* After the commit it is kept, or not: nobody hears of it, and nothing is left half done. */
    for (int turns = 0; turns < 6; turns++) {
        assert_int_equal(bench_begin(bench, &put, "results", NULL), 0);
        assert_int_equal(bench_write(bench, &put, body, 400000), 0);
        bench_turn(bench);
        spool_put_commit(put.put);
        for (int i = 0; i < turns; i++) {
            spool_turn(bench->spool);
        }
        spool_put_abort(put.put);
        bench_turn(bench);
        assert_false(put.done);
        assert_int_equal(bench_stats(bench, NULL).incoming_bytes, 0);
        assert_int_equal(bench_files(bench), bench_stats(bench, NULL).records[SPOOL_READY]);
    }
    free(body);
}

static void test_a_body_comes_in_at_the_disks_pace(void **state)
{
    struct bench *bench = *state;
    size_t size = 10 * SPOOL_INLINE_MAX;
    char *body = bench_body(size, 3);
    struct bench_put put;
    struct bench_take take;
    int64_t taken;

    assert_int_equal(bench_begin(bench, &put, "results", NULL), 0);
    taken = spool_put_write(put.put, body, size, &put.error);
    assert_int_equal(taken, 2 * SPOOL_INLINE_MAX); /* one buffer on its way, and one filled */
    assert_int_equal(spool_put_write(put.put, body + taken, 1, &put.error), 0);
    assert_int_equal(put.rooms, 0);
    bench_turn(bench);
    assert_int_equal(put.rooms, 1);
    assert_int_equal(bench_write(bench, &put, body + taken, size - (size_t)taken), 0);
    spool_put_commit(put.put);
    bench_turn(bench);
    assert_int_equal(put.result, 0);
    bench_take(bench, &take, "results");
    bench_assert_body(bench, &take, size, 3);
    bench_verdict(bench, &take, SPOOL_DONE);
    free(body);
}

/* --- Order and leases --- */

static void test_the_oldest_comes_first_and_each_once(void **state)
{
    struct bench *bench = *state;
    struct bench_take takes[5];
    uint64_t ids[4];

    for (unsigned i = 0; i < 4; i++) {
        ids[i] = bench_give(bench, "results", 100, i);
        bench_give(bench, "audit", 100, 100 + i);
    }
    for (int i = 0; i < 5; i++) {
        bench_take(bench, &takes[i], "results");
    }
    for (int i = 0; i < 4; i++) {
        assert_true(takes[i].ready);
        assert_int_equal(spool_take_record(takes[i].take)->id, ids[i]);
    }
    assert_false(takes[4].ready);
    assert_int_equal(bench_stats(bench, "results").in_flight, 4);
    assert_int_equal(bench_stats(bench, "audit").in_flight, 0);

    /* What is given back is the next again, for who waits already. */
    bench_verdict(bench, &takes[1], SPOOL_RELEASE);
    assert_true(takes[4].ready);
    assert_int_equal(spool_take_record(takes[4].take)->id, ids[1]);
    assert_int_equal(spool_take_record(takes[4].take)->attempts, 0);
    bench_verdict(bench, &takes[0], SPOOL_DONE);
    bench_verdict(bench, &takes[2], SPOOL_RELEASE);
    bench_deliver(bench, "results", ids[2], SPOOL_DONE);
    bench_verdict(bench, &takes[3], SPOOL_DONE);
    bench_verdict(bench, &takes[4], SPOOL_DONE);
    assert_int_equal(bench_stats(bench, "results").in_flight, 0);
    assert_int_equal(bench_stats(bench, "results").records[SPOOL_READY], 0);
    assert_int_equal(bench_stats(bench, "audit").records[SPOOL_READY], 4);
}

static void test_a_take_waits_for_a_record(void **state)
{
    struct bench *bench = *state;
    struct bench_take first, second;

    bench_take(bench, &first, "results");
    bench_take(bench, &second, "results");
    assert_false(first.ready);
    bench_verdict(bench, &first, SPOOL_RELEASE);
    bench_give(bench, "audit", 10, 1);
    assert_false(second.ready);
    bench_give(bench, "results", 10, 1);
    assert_true(second.ready);
    bench_verdict(bench, &second, SPOOL_DONE);
}

static void test_a_take_can_be_ended_at_any_time(void **state)
{
    struct bench *bench = *state;
    const struct spool_outcome release = {.verdict = SPOOL_RELEASE};
    const struct spool_outcome done = {.verdict = SPOOL_DONE};
    struct bench_take take = {.result = 1};
    uint64_t id;

    /* Before the writer saw it. */
    assert_int_equal(spool_take(bench->port, "results", &bench_take_ops, &take, &take.take), 0);
    spool_take_end(take.take, &release);
    bench_turn(bench);

    /* Reported, and not yet heard of. */
    id = bench_give(bench, "results", 200000, 1);
    assert_int_equal(spool_take(bench->port, "results", &bench_take_ops, &take, &take.take), 0);
    while (spool_turn(bench->spool)) {
        ;
    }
    spool_take_end(take.take, &done); /* of which it knows nothing */
    bench_turn(bench);
    assert_false(take.ready);
    assert_int_equal(bench_stats(bench, NULL).records[SPOOL_READY], 1);

    /* With a piece of the body on its way, and reported. */
    for (int turns = 0; turns < 2; turns++) {
        bench_take(bench, &take, "results");
        spool_take_read(take.take);
        if (turns) {
            spool_turn(bench->spool);
        }
        bench_verdict(bench, &take, SPOOL_RELEASE);
        assert_int_equal(take.pieces, 0);
        assert_int_equal(bench_stats(bench, NULL).in_flight, 0);
    }
    bench_deliver(bench, "results", id, SPOOL_DONE);
    assert_int_equal(bench_files(bench), 0);
}

static void test_a_lease_ends_with_the_process(void **state)
{
    struct bench *bench = *state;
    struct bench_take take;
    char key[SPOOL_NAME_MAX + 1];
    uint64_t id = bench_give(bench, "results", 100000, 7);

    bench_take(bench, &take, "results");
    snprintf(key, sizeof(key), "%s", spool_take_record(take.take)->key);
    bench_verdict(bench, &take, SPOOL_RELEASE);
    bench_reopen(bench);
    bench_take(bench, &take, "results");
    assert_int_equal(spool_take_record(take.take)->id, id);
    assert_string_equal(spool_take_record(take.take)->key, key);
    bench_assert_body(bench, &take, 100000, 7);
    bench_verdict(bench, &take, SPOOL_DONE);
}

static void test_ids_are_never_used_twice(void **state)
{
    struct bench *bench = *state;
    uint64_t id = bench_give(bench, "results", 1, 1);

    bench_deliver(bench, "results", id, SPOOL_DONE);
    bench_reopen(bench);
    assert_int_equal(bench_give(bench, "results", 1, 1), id + 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, bench_set_up, bench_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_record_comes_out_as_it_went_in),  TEST(test_a_key_is_kept_or_made),
        TEST(test_what_is_too_long_is_refused),       TEST(test_an_abort_leaves_nothing),
        TEST(test_a_body_comes_in_at_the_disks_pace), TEST(test_the_oldest_comes_first_and_each_once),
        TEST(test_a_take_waits_for_a_record),         TEST(test_a_take_can_be_ended_at_any_time),
        TEST(test_a_lease_ends_with_the_process),     TEST(test_ids_are_never_used_twice),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
