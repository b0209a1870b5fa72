/* The spool with its own threads, used by several others: for what ThreadSanitizer sees, and for what closing leaves. */
#include "spool_bench.h"
#include "spool_client.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define CLIENTS 3
#define PUTS    300U

static void *run_client(void *arg)
{
    struct client *client = arg;
    struct spool *spool = client->spool;

    client_start(client, spool);
    while (client->puts_active > 0) {
        client_run(client);
    }
    client_stop(client);
    return NULL;
}

static void *look_at_figures(void *arg)
{
    struct spool *spool = arg;

    for (int i = 0; i < 200; i++) {
        struct spool_stats stats;
        struct spool_health health;

        spool_stats(spool, NULL, &stats);
        spool_health(spool, &health);
    }
    return NULL;
}

static void open_spool(struct bench *bench)
{
    struct error err = ERROR_INIT;

    bench->options.manual = false;
    bench->options.now_ms = NULL;
    if (spool_open(&bench->options, &bench->spool, &err) < 0) {
        fail_msg("%s", err.text);
    }
}

static void test_several_threads(void **state)
{
    struct client clients[CLIENTS];
    pthread_t threads[CLIENTS + 1];
    struct bench bench;
    struct spool_stats before, after;
    uint64_t acknowledged = 0, aborted = 0, delivered = 0;

    (void)state;
    bench_make(&bench);
    open_spool(&bench);
    memset(clients, 0, sizeof(clients));
    for (unsigned i = 0; i < CLIENTS; i++) {
        clients[i] = (struct client){.spool = bench.spool,
                                     .route = i ? "results" : "audit",
                                     .next = i * PUTS,
                                     .last = (i + 1) * PUTS,
                                     .random = i};
        assert_int_equal(pthread_create(&threads[i], NULL, run_client, &clients[i]), 0);
    }
    assert_int_equal(pthread_create(&threads[CLIENTS], NULL, look_at_figures, bench.spool), 0);
    for (unsigned i = 0; i < CLIENTS + 1; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    for (unsigned i = 0; i < CLIENTS; i++) {
        acknowledged += clients[i].acknowledged;
        aborted += clients[i].aborted;
        delivered += clients[i].delivered;
    }
    assert_int_equal(acknowledged + aborted, CLIENTS * PUTS);
    spool_close(bench.spool);

    /* What was told while it closed was done while it closed. */
    bench.options.manual = true;
    bench_open(&bench);
    after = bench_stats(&bench, NULL);
    assert_in_range(after.records[SPOOL_READY] + after.records[SPOOL_WAITING] + delivered, acknowledged,
                    acknowledged + aborted);
    before = after;
    assert_int_equal(before.in_flight, 0);
    bench_close(&bench);
    bench_remove(&bench);
}

/* A waiting record wakes the writer by itself. */
static void test_the_writer_wakes_by_itself(void **state)
{
    struct bench bench;
    struct client client = {.route = "results", .last = 1};

    (void)state;
    bench_make(&bench);
    open_spool(&bench);
    client_start(&client, bench.spool);
    client.random = 0;
    while (client.delivered == 0) {
        client_run(&client);
    }
    client_stop(&client);
    spool_close(bench.spool);
    bench_remove(&bench);
}

static void test_an_idle_spool_closes(void **state)
{
    struct bench bench;

    (void)state;
    bench_make(&bench);
    open_spool(&bench);
    spool_close(bench.spool);
    open_spool(&bench);
    spool_close(bench.spool);
    bench_remove(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_several_threads),
        cmocka_unit_test(test_the_writer_wakes_by_itself),
        cmocka_unit_test(test_an_idle_spool_closes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
