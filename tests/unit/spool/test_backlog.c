/*
 * A large backlog: starting on it, and working on it, costs no more memory than on an empty spool, and no more reading.
 *
 * Each measurement is a process of its own, which tells what it used; the records are copies of a few real ones.
 */
#include "spool_bench.h"

#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define RECORDS 200000U
#define ROUNDS  200

/* What may be more: a page here and there. */
#define MORE_KIB 1024

struct used {
    long resident_kib; /* the most it ever was */
    int64_t sqlite_bytes;
};

static long resident_kib(void)
{
    FILE *status = fopen("/proc/self/status", "r");
    char line[128];
    long most = -1;

    while (status && fgets(line, sizeof(line), status)) {
        if (strncmp(line, "VmHWM:", 6) == 0) {
            most = strtol(line + 6, NULL, 10);
        }
    }
    if (status) {
        fclose(status);
    }
    return most;
}

/* Starts, delivers, has some fail, puts, looks at figures and at a page of the list. */
static void work(struct bench *bench)
{
    bench_open(bench);
    for (unsigned i = 0; i < ROUNDS; i++) {
        struct bench_take take;

        bench_give(bench, "results", 1000, i);
        bench_take(bench, &take, "results");
        assert_true(take.ready);
        bench_verdict(bench, &take, i % 2 ? SPOOL_DONE : SPOOL_RETRY);
        bench_now += 1000;
        assert_true(bench_stats(bench, NULL).oldest_at > 0);
    }
    bench_close(bench);
}

static struct used measure(struct bench *bench)
{
    struct used used = {.resident_kib = -1};
    int pipes[2], status;
    pid_t child;

    assert_int_equal(pipe(pipes), 0);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        sqlite3_memory_highwater(1);
        work(bench);
        used.resident_kib = resident_kib();
        used.sqlite_bytes = sqlite3_memory_highwater(0);
        _exit(write(pipes[1], &used, sizeof(used)) == sizeof(used) ? 0 : 1);
    }
    close(pipes[1]);
    assert_int_equal(read(pipes[0], &used, sizeof(used)), sizeof(used));
    close(pipes[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    return used;
}

/* By SQL, in a moment; sums do not say which record they are of, so that a copy is a good record. */
static void fill(struct bench *bench)
{
    char sql[1024];

    bench_open(bench);
    bench_give(bench, "results", 300, 1);
    bench_close(bench);
    snprintf(sql, sizeof(sql),
             "PRAGMA synchronous = OFF; BEGIN;"
             "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %u)"
             "INSERT INTO record SELECT NULL, route, enclave, key, i %% 3, attempts, 1700000000000 + i, "
             "since, created_at,"
             " size, file, digest, sum, cause, head FROM n, record WHERE id = (SELECT max(id) FROM record);"
             "INSERT INTO body SELECT id, (SELECT data FROM body) FROM record WHERE id NOT IN (SELECT id "
             "FROM body);"
             "COMMIT",
             RECORDS);
    bench_sql(bench, sql);
    bench_sql(bench, "DELETE FROM tally; INSERT INTO tally SELECT route, enclave, sum(state = 0), "
                     "sum((state = 0) * (size + length(head) + 512)), sum(state = 1), "
                     "sum((state = 1) * (size + length(head) + 512)), sum(state = 2), "
                     "sum((state = 2) * (size + length(head) + 512)), 0, 0 FROM record GROUP BY 1, 2");
}

static void test_a_backlog_costs_no_memory(void **state)
{
    struct bench empty, full;
    struct used less, more;

    (void)state;
    bench_make(&empty);
    bench_make(&full);
    work(&empty); /* so that both start on a database that is there, and with a log */
    work(&full);
    fill(&full);
    less = measure(&empty);
    more = measure(&full);
    printf("resident %ld KiB with %u records, %ld KiB with few; SQLite's own %lld KiB and %lld KiB\n",
           more.resident_kib, RECORDS, less.resident_kib, (long long)more.sqlite_bytes / 1024,
           (long long)less.sqlite_bytes / 1024);
    /* SQLite caches 2 MiB, of which few records need less. */
    assert_true(more.sqlite_bytes < less.sqlite_bytes + (2048 + MORE_KIB) * 1024);
#ifndef POSTERN_SANITIZED
    assert_true(more.resident_kib < less.resident_kib + 2048 + MORE_KIB);
#endif
    bench_remove(&empty);
    bench_remove(&full);
}

/* How often a machine that is busy with other things is asked. */
#define TRIES 5

static double cpu_ms(void)
{
    struct timespec at;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &at);
    return (double)at.tv_sec * 1e3 + (double)at.tv_nsec / 1e6;
}

/* Sixteen times as much costs less than `times` as much. What is quadratic never does. */
static void assert_cost(const char *what, double (*cost_ms)(unsigned), unsigned number, double times)
{
    double few, many;
    unsigned tries = 0;

    do {
        few = cost_ms(number);
        many = cost_ms(number * 16);
        printf("%s: %.3f ms, and of 16 times as many %.3f ms\n", what, few, many);
    } while (many >= times * few && ++tries < TRIES);
    assert_true(tries < TRIES);
}

/* A closed spool with a record of each enclave in each route. */
static void make_tallies(struct bench *bench, unsigned routes, unsigned enclaves)
{
    char sql[512];

    bench_make(bench);
    bench_open(bench);
    bench_close(bench);
    snprintf(sql, sizeof(sql),
             "WITH RECURSIVE r (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM r WHERE i < %u),"
             "e (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM e WHERE i < %u) INSERT INTO tally "
             "SELECT 'results-of-' || r.i, 'enclave-' || e.i, 1, 600, 0, 0, 0, 0, 0, 0 FROM r, e",
             routes, enclaves);
    bench_sql(bench, sql);
}

/* What opening takes, at best, with so many enclaves of 20 routes. */
static double opening_ms(unsigned enclaves)
{
    struct bench bench;
    double best = 1e9;

    make_tallies(&bench, 20, enclaves);
    for (int i = 0; i < 3; i++) {
        double began = cpu_ms(), took;

        bench_open(&bench);
        took = cpu_ms() - began;
        best = took < best ? took : best;
        assert_int_equal(bench_stats(&bench, "results-of-7").records[SPOOL_READY], enclaves);
        bench_close(&bench);
    }
    bench_remove(&bench);
    return best;
}

/* Each pair that ever was has a row in the tallies. */
static void test_opening_with_many_enclaves(void **state)
{
    (void)state;
    assert_cost("opening with 2,000 tallies", opening_ms, 100, 16 * 3);
}

struct sum {
    unsigned routes;
    uint64_t records;
};

static void add(void *arg, const char *route, const char *enclave, const struct spool_stats *stats)
{
    struct sum *sum = arg;

    assert_true(route && !enclave);
    sum->routes++;
    sum->records += stats->records[SPOOL_READY];
}

/* What the figures of so many routes take, at best, with 20 enclaves in each. */
static double figures_ms(unsigned routes)
{
    struct bench bench;
    double best = 1e9;

    make_tallies(&bench, routes, 20);
    bench_open(&bench);
    for (int i = 0; i < 3; i++) {
        struct sum sum = {.routes = 0};
        double began = cpu_ms(), took;

        spool_each_route(bench.spool, add, &sum);
        took = cpu_ms() - began;
        best = took < best ? took : best;
        assert_int_equal(sum.routes, routes);
        assert_int_equal(sum.records, routes * 20);
    }
    bench_close(&bench);
    bench_remove(&bench);
    return best;
}

/* They are asked for with the lock held, by each look at the metrics. */
static void test_figures_of_many_routes(void **state)
{
    (void)state;
    assert_cost("figures of 50 routes", figures_ms, 50, 16 * 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_opening_with_many_enclaves),
        cmocka_unit_test(test_figures_of_many_routes),
        cmocka_unit_test(test_a_backlog_costs_no_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
