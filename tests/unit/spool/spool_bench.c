/* The bench of the spool's tests. */
#include "spool_bench.h"

#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* In programs whose calls fail on purpose. */
void fault_spare(bool spare) __attribute__((weak));

static void spare(bool yes)
{
    if (fault_spare) {
        fault_spare(yes);
    }
}

uint64_t bench_now = 1700000000000U;

static uint64_t now(void)
{
    return bench_now;
}

static void on_wake(void *arg)
{
    struct bench *bench = arg;

    bench->wakes++;
}

void bench_make(struct bench *bench)
{
    *bench = (struct bench){.options = {.manual = true, .now_ms = now}};
    snprintf(bench->folder, sizeof(bench->folder), "%s/postern-spool.XXXXXX", "/tmp");
    assert_non_null(mkdtemp(bench->folder));
    snprintf(bench->path, sizeof(bench->path), "%s/spool", bench->folder);
    bench->options.path = bench->path;
}

int bench_try_open(struct bench *bench, struct error *err)
{
    int r = spool_open(&bench->options, &bench->spool, err);

    if (r < 0) {
        return r;
    }
    r = spool_port_open(bench->spool, on_wake, bench, &bench->port);
    if (r < 0) {
        spool_close(bench->spool);
    }
    return r;
}

void bench_open(struct bench *bench)
{
    struct error err = ERROR_INIT;
    int r = bench_try_open(bench, &err);

    if (r < 0) {
        fail_msg("cannot open the spool: %d: %s", r, err.text);
    }
    bench_turn(bench);
}

void bench_close(struct bench *bench)
{
    bench_turn(bench);
    spool_port_close(bench->port);
    spool_close(bench->spool);
}

static void remove_tree(const char *path)
{
    DIR *directory = opendir(path);
    struct dirent *entry;
    char child[512];

    while (directory && (entry = readdir(directory)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) {
            continue;
        }
        snprintf(child, sizeof(child), "%s/%s", path, entry->d_name);
        if (unlink(child) != 0) {
            remove_tree(child);
        }
    }
    if (directory) {
        closedir(directory);
    }
    rmdir(path);
}

void bench_remove(struct bench *bench)
{
    remove_tree(bench->folder);
}

void bench_turn(struct bench *bench)
{
    unsigned wakes;

    do {
        while (spool_turn(bench->spool)) {
            ;
        }
        wakes = bench->wakes;
        spool_port_run(bench->port);
        while (spool_turn(bench->spool)) {
            ;
        }
    } while (bench->wakes != wakes);
    spool_port_run(bench->port);
}

char *bench_body(size_t size, unsigned seed)
{
    char *body = malloc(size + 1);
    uint32_t x = seed * 2654435761U + 1;

    assert_non_null(body);
    for (size_t i = 0; i < size; i++) {
        x = x * 1664525U + 1013904223U;
        body[i] = (char)(x >> 24);
    }
    return body;
}

/* --- Putting --- */

static void on_room(void *arg)
{
    struct bench_put *put = arg;

    put->rooms++;
}

static void on_done(void *arg, int result, uint64_t id, const struct error *err)
{
    struct bench_put *put = arg;

    assert_false(put->done);
    put->done = true;
    put->put = NULL;
    put->result = result;
    put->id = id;
    put->error = *err;
}

const struct spool_put_ops bench_put_ops = {.room = on_room, .done = on_done};

int bench_begin(struct bench *bench, struct bench_put *put, const char *route, const char *key)
{
    const char *enclave = bench->enclave ? bench->enclave : "payroll";
    const struct spool_request request = {
        .route = route, .enclave = enclave, .key = key, .head = "POST /", .head_size = 6};

    *put = (struct bench_put){.result = 1};
    put->result = spool_put_begin(bench->port, &request, &bench_put_ops, put, &put->put, &put->error);
    return put->result;
}

int bench_write(struct bench *bench, struct bench_put *put, const void *data, size_t size)
{
    size_t taken = 0;

    while (taken < size && put->put) {
        int64_t n = spool_put_write(put->put, (const char *)data + taken, size - taken, &put->error);

        if (n < 0) {
            return (int)n;
        }
        taken += (size_t)n;
        if (taken < size) {
            bench_turn(bench);
        }
    }
    return put->put ? 0 : put->result;
}

int bench_put(struct bench *bench, const char *route, const char *key, const void *body, size_t size,
              uint64_t *ret_id)
{
    struct bench_put put;
    int r = bench_begin(bench, &put, route, key);

    if (r < 0) {
        return r;
    }
    r = bench_write(bench, &put, body, size);
    if (r < 0) {
        if (put.put) {
            spool_put_abort(put.put);
        }
        bench_turn(bench);
        return r;
    }
    spool_put_commit(put.put);
    bench_turn(bench);
    assert_true(put.done);
    *ret_id = put.id;
    return put.result;
}

uint64_t bench_give(struct bench *bench, const char *route, size_t size, unsigned seed)
{
    char *body = bench_body(size, seed);
    uint64_t id = 0;

    assert_int_equal(bench_put(bench, route, NULL, body, size, &id), 0);
    assert_true(id > 0);
    free(body);
    return id;
}

/* --- Taking --- */

static void on_ready(void *arg, int result, const struct error *err)
{
    struct bench_take *take = arg;

    assert_false(take->ready);
    take->ready = true;
    take->result = result;
    take->error = *err;
}

static void on_data(void *arg, int result, const void *data, size_t size, bool last, const struct error *err)
{
    struct bench_take *take = arg;

    take->data_result = result;
    take->pieces++;
    if (result < 0) {
        take->error = *err;
        return;
    }
    spare(true); /* the test's own copy */
    take->body = realloc(take->body, take->size + size + 1);
    spare(false);
    assert_non_null(take->body);
    if (size > 0) {
        memcpy(take->body + take->size, data, size);
    }
    take->size += size;
    take->last = last;
}

const struct spool_take_ops bench_take_ops = {.ready = on_ready, .data = on_data};

void bench_take(struct bench *bench, struct bench_take *take, const char *route)
{
    *take = (struct bench_take){.result = 1};
    assert_int_equal(spool_take(bench->port, route, &bench_take_ops, take, &take->take), 0);
    bench_turn(bench);
}

void bench_look(struct bench *bench, struct bench_take *take, uint64_t id)
{
    *take = (struct bench_take){.result = 1};
    assert_int_equal(spool_look(bench->port, id, &bench_take_ops, take, &take->take), 0);
    bench_turn(bench);
}

int bench_read(struct bench *bench, struct bench_take *take)
{
    take->size = 0;
    take->last = false;
    do {
        unsigned pieces = take->pieces;

        spool_take_read(take->take);
        bench_turn(bench);
        assert_int_equal(take->pieces, pieces + 1);
    } while (take->data_result == 0 && !take->last);
    return take->data_result;
}

void bench_end(struct bench *bench, struct bench_take *take, const struct spool_outcome *outcome)
{
    spool_take_end(take->take, outcome);
    free(take->body);
    take->body = NULL;
    take->take = NULL;
    bench_turn(bench);
}

void bench_verdict(struct bench *bench, struct bench_take *take, enum spool_verdict verdict)
{
    const struct spool_outcome outcome = {.verdict = verdict, .cause = "503 Service Unavailable"};

    bench_end(bench, take, &outcome);
}

void bench_deliver(struct bench *bench, const char *route, uint64_t id, enum spool_verdict verdict)
{
    struct bench_take take;

    bench_take(bench, &take, route);
    assert_true(take.ready);
    assert_int_equal(spool_take_record(take.take)->id, id);
    bench_verdict(bench, &take, verdict);
}

void bench_assert_body(struct bench *bench, struct bench_take *take, size_t size, unsigned seed)
{
    char *body = bench_body(size, seed);

    assert_int_equal(spool_take_record(take->take)->body_size, size);
    assert_int_equal(bench_read(bench, take), 0);
    assert_int_equal(take->size, size);
    assert_memory_equal(take->body, body, size);
    free(body);
}

struct spool_stats bench_stats(struct bench *bench, const char *route)
{
    struct spool_stats stats;

    spool_stats(bench->spool, route, &stats);
    return stats;
}

unsigned bench_files(const struct bench *bench)
{
    char path[96];
    unsigned count = 0;
    DIR *directory;
    struct dirent *entry;

    snprintf(path, sizeof(path), "%s/bodies", bench->path);
    directory = opendir(path);
    assert_non_null(directory);
    while ((entry = readdir(directory)) != NULL) {
        count += entry->d_name[0] != '.';
    }
    closedir(directory);
    return count;
}

static sqlite3 *open_database(const struct bench *bench)
{
    char path[96];
    sqlite3 *db;

    snprintf(path, sizeof(path), "%s/spool.db", bench->path);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    return db;
}

void bench_sql(const struct bench *bench, const char *sql)
{
    sqlite3 *db = open_database(bench);
    char *message = NULL;

    if (sqlite3_exec(db, sql, NULL, NULL, &message) != SQLITE_OK) {
        fail_msg("%s: %s", sql, message);
    }
    sqlite3_close(db);
}

int64_t bench_number(const struct bench *bench, const char *sql)
{
    sqlite3 *db = open_database(bench);
    sqlite3_stmt *statement;
    int64_t number;

    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &statement, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    number = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    sqlite3_close(db);
    return number;
}

int bench_set_up(void **state)
{
    struct bench *bench = calloc(1, sizeof(*bench));

    assert_non_null(bench);
    bench_make(bench);
    bench_open(bench);
    *state = bench;
    return 0;
}

int bench_tear_down(void **state)
{
    struct bench *bench = *state;

    bench_close(bench);
    bench_remove(bench);
    free(bench);
    return 0;
}

void bench_reopen(struct bench *bench)
{
    bench_close(bench);
    bench_open(bench);
}

void bench_set_policy(struct bench *bench, struct spool_policy policy)
{
    assert_int_equal(spool_set_policy(bench->spool, "results", &policy), 0);
}
