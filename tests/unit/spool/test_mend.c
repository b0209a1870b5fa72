/* What was set apart, and reads well again: brought back by an operator's word, after it was verified. */
#include "spool_bench.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define LARGE 300000
#define SMALL 60000 /* in the database, on pages of its own */

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

static struct altered retry(struct bench *bench, uint64_t id)
{
    struct altered altered = {.answers = 0};
    struct spool_call *call;

    assert_int_equal(spool_retry_one(bench->port, id, on_altered, &altered, &call), 0);
    bench_turn(bench);
    assert_int_equal(altered.answers, 1);
    assert_int_equal(altered.count, altered.result == 0);
    return altered;
}

static void assert_refused(struct bench *bench, uint64_t id, const char *why)
{
    struct altered altered = retry(bench, id);

    assert_int_equal(altered.result, -EBADMSG);
    if (!strstr(altered.error.text, why) || !strstr(altered.error.text, "stays set apart")) {
        fail_msg("'%s' is not in '%s'", why, altered.error.text);
    }
    assert_int_equal(bench_stats(bench, NULL).records[SPOOL_DAMAGED], 1);
}

static void assert_mended(struct bench *bench, uint64_t id, size_t size, unsigned seed)
{
    struct bench_take take;

    assert_int_equal(retry(bench, id).result, 0);
    assert_int_equal(bench_stats(bench, NULL).records[SPOOL_DAMAGED], 0);
    assert_int_equal(bench_stats(bench, NULL).records[SPOOL_READY], 1);
    bench_take(bench, &take, "results");
    assert_true(take.ready);
    assert_int_equal(spool_take_record(take.take)->id, id);
    assert_int_equal(spool_take_record(take.take)->attempts, 0);
    assert_string_equal(spool_take_record(take.take)->cause, "");
    bench_assert_body(bench, &take, size, seed);
    bench_verdict(bench, &take, SPOOL_DONE);
    assert_int_equal(bench_stats(bench, NULL).delivered, 1);
}

/* Of the only body in a file. */
static const char *file_of(const struct bench *bench, char path[128])
{
    snprintf(path, 128, "%s/bodies/0000000000000001", bench->path);
    return path;
}

static void write_byte(const char *path, off_t at, char byte)
{
    int fd = open(path, O_RDWR);

    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    close(fd);
}

static void be_set_apart(struct bench *bench)
{
    struct bench_take take;

    bench_take(bench, &take, "results");
    if (take.ready) {
        assert_int_equal(bench_read(bench, &take), -EBADMSG);
    }
    bench_verdict(bench, &take, SPOOL_RELEASE);
    assert_int_equal(bench_stats(bench, NULL).records[SPOOL_DAMAGED], 1);
}

/* --- One record --- */

static void test_a_file_that_was_gone(void **state)
{
    struct bench *bench = *state;
    char path[128], elsewhere[80];
    uint64_t id = bench_give(bench, "results", LARGE, 1);

    snprintf(elsewhere, sizeof(elsewhere), "%s/elsewhere", bench->folder);
    assert_int_equal(rename(file_of(bench, path), elsewhere), 0);
    be_set_apart(bench);
    assert_refused(bench, id, "the file is gone");
    assert_int_equal(rename(elsewhere, path), 0);
    assert_mended(bench, id, LARGE, 1);
    assert_int_equal(bench_files(bench), 0);
}

static void test_a_file_that_is_another(void **state)
{
    struct bench *bench = *state;
    char path[128];
    char *body = bench_body(LARGE, 1);
    uint64_t id = bench_give(bench, "results", LARGE, 1);

    write_byte(file_of(bench, path), LARGE - 1, (char)~body[LARGE - 1]);
    be_set_apart(bench);
    assert_refused(bench, id, "its body is not what was put");
    bench_reopen(bench);
    assert_refused(bench, id, "its body is not what was put");
    write_byte(path, LARGE - 1, body[LARGE - 1]);
    assert_mended(bench, id, LARGE, 1);
    free(body);
}

static void alter_closed(struct bench *bench, const char *sql)
{
    bench_close(bench);
    bench_sql(bench, sql);
    bench_open(bench);
}

static void test_a_row_that_is_another(void **state)
{
    struct bench *bench = *state;
    uint64_t id = bench_give(bench, "results", 10, 1);

    alter_closed(bench, "UPDATE record SET created_at = created_at + 1");
    be_set_apart(bench);
    assert_refused(bench, id, "its sum is wrong");
    alter_closed(bench, "UPDATE record SET created_at = created_at - 1");
    assert_mended(bench, id, 10, 1);
}

static void test_an_empty_body(void **state)
{
    struct bench *bench = *state;
    uint64_t id = bench_give(bench, "results", 0, 1);

    alter_closed(bench, "UPDATE record SET key = key || 'x'");
    be_set_apart(bench);
    assert_refused(bench, id, "its sum is wrong");
    alter_closed(bench, "UPDATE record SET key = rtrim(key, 'x')");
    assert_mended(bench, id, 0, 1);
}

/* --- A disk that fails to read --- */

static off_t bad = -1; /* cannot be read, of any file */

static ssize_t failing_pread(int fd, void *data, size_t size, off_t at)
{
    if (bad >= 0 && at <= bad && bad < at + (off_t)size) {
        errno = EIO;
        return -1;
    }
    return pread(fd, data, size, at);
}

static void replace_pread(sqlite3_syscall_ptr function)
{
    sqlite3_vfs *vfs = sqlite3_vfs_find(NULL);

    /* Whichever of them it uses. */
    (void)vfs->xSetSystemCall(vfs, "pread", function);
    (void)vfs->xSetSystemCall(vfs, "pread64", function);
}

/* Where the middle of the body is in the closed database. */
static off_t find_body(const struct bench *bench, const char *body)
{
    char path[128];
    static char content[1024 * 1024];
    const char *found;

    snprintf(path, sizeof(path), "%s/spool.db", bench->path);
    bench_sql(bench, "PRAGMA wal_checkpoint(TRUNCATE)");
    FILE *in = fopen(path, "r");
    assert_non_null(in);
    size_t size = fread(content, 1, sizeof(content), in);
    fclose(in);
    found = memmem(content, size, body + SMALL / 2, 16);
    assert_non_null(found);
    return found - content;
}

static void test_a_page_that_could_not_be_read(void **state)
{
    struct bench *bench = *state;
    char *body = bench_body(SMALL, 1);
    uint64_t id = bench_give(bench, "results", SMALL, 1);

    bench_close(bench);
    bad = find_body(bench, body);
    replace_pread((sqlite3_syscall_ptr)failing_pread);
    bench_open(bench);
    be_set_apart(bench);
    assert_refused(bench, id, "record 1: it is damaged: the database cannot read it: see what the kernel");
    bad = -1;
    assert_mended(bench, id, SMALL, 1);
    replace_pread(NULL);
    free(body);
}

/* --- Many --- */

static uint64_t retry_all(struct bench *bench, struct spool_query query)
{
    struct altered altered = {.answers = 0};
    struct spool_call *call;

    assert_int_equal(spool_retry_all(bench->port, &query, on_altered, &altered, &call), 0);
    bench_turn(bench);
    assert_int_equal(altered.answers, 1);
    assert_int_equal(altered.result, 0);
    return altered.count;
}

/* 600, of which 2 are damaged indeed, and every third is of route audit. */
static void fill(struct bench *bench)
{
    for (unsigned i = 0; i < 600; i++) {
        bench_give(bench, i % 3 ? "results" : "audit", i == 7 ? LARGE : 10, i);
    }
    alter_closed(bench, "UPDATE record SET state = 3;"
                        "UPDATE body SET data = x'00' WHERE id IN (2, 300);"
                        "UPDATE tally SET damaged = ready, damaged_bytes = ready_bytes, ready = 0, "
                        "ready_bytes = 0");
    assert_int_equal(bench_stats(bench, NULL).records[SPOOL_DAMAGED], 600);
}

static void test_all_that_can_be(void **state)
{
    const unsigned damaged = 1U << SPOOL_DAMAGED;
    struct bench *bench = *state;

    fill(bench);
    assert_int_equal(retry_all(bench, (struct spool_query){.states = 0}), 0);
    assert_int_equal(retry_all(bench, (struct spool_query){.states = damaged, .route = "nobody"}), 0);
    assert_int_equal(retry_all(bench, (struct spool_query){.states = damaged, .route = "audit"}), 200);
    assert_int_equal(bench_stats(bench, "audit").records[SPOOL_READY], 200);
    assert_int_equal(retry_all(bench, (struct spool_query){.states = damaged}), 398);
    assert_int_equal(bench_stats(bench, NULL).records[SPOOL_DAMAGED], 2);
    assert_int_equal(retry_all(bench, (struct spool_query){.states = damaged}), 0);
    bench_deliver(bench, "audit", 1, SPOOL_DONE);
    bench_deliver(bench, "results", 3, SPOOL_DONE);
}

static void test_cancelling(void **state)
{
    struct bench *bench = *state;

    fill(bench);
    for (int turns = 0; turns < 40; turns++) {
        const struct spool_query query = {.states = 1U << SPOOL_DAMAGED};
        struct altered one = {.answers = 0}, all = {.answers = 0};
        struct spool_call *calls[2];

        assert_int_equal(spool_retry_one(bench->port, turns % 2 ? 8 : 2, on_altered, &one, &calls[0]), 0);
        assert_int_equal(spool_retry_all(bench->port, &query, on_altered, &all, &calls[1]), 0);
        for (int i = 0; i < turns; i++) {
            spool_turn(bench->spool);
            if (i % 3) {
                spool_port_run(bench->port);
            }
        }
        if (one.answers == 0) {
            spool_call_cancel(calls[0]);
        }
        if (all.answers == 0) {
            spool_call_cancel(calls[1]);
        }
        bench_turn(bench);
        assert_true(one.answers <= 1 && all.answers <= 1);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, bench_set_up, bench_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_file_that_was_gone),
        TEST(test_a_file_that_is_another),
        TEST(test_a_row_that_is_another),
        TEST(test_an_empty_body),
        TEST(test_a_page_that_could_not_be_read),
        TEST(test_all_that_can_be),
        TEST(test_cancelling),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
