/* A disk that returns what was never put, and databases that are none: said, set apart, and nothing thrown away. */
#include "spool_bench.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define LARGE 300000

/* --- Records --- */

static void test_a_damaged_record_is_set_apart(void **state)
{
    static const char *const damages[] = {
        "UPDATE record SET head = 'PUT  /' WHERE id = 1",
        "UPDATE record SET head = x'' WHERE id = 1",
        "UPDATE record SET key = 'another' WHERE id = 1",
        "UPDATE record SET enclave = 'fraud' WHERE id = 1",
        "UPDATE record SET size = 11 WHERE id = 1",
        "UPDATE record SET created_at = 1 WHERE id = 1",
        "UPDATE record SET file = 77 WHERE id = 1",
        "UPDATE record SET digest = zeroblob(32) WHERE id = 1",
        "UPDATE record SET sum = zeroblob(32) WHERE id = 1",
        "UPDATE record SET sum = x'00' WHERE id = 1",
        "UPDATE record SET digest = x'' WHERE id = 1",
        "UPDATE body SET data = x'00' WHERE id = 1",
        "UPDATE body SET data = 'abcdefghij' WHERE id = 1",
        "DELETE FROM body WHERE id = 1",
        /* NOT NULL is the schema's word, and bytes do not keep it. */
        "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = replace(sql, 'key TEXT NOT NULL', 'key "
        "TEXT');"
        "PRAGMA writable_schema = RESET; UPDATE record SET key = NULL WHERE id = 1",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(damages); i++) {
        struct bench bench;
        struct bench_take take;
        struct spool_outcome release = {.verdict = SPOOL_RELEASE};

        bench_make(&bench);
        bench_open(&bench);
        bench_give(&bench, "results", 10, 1);
        bench_give(&bench, "results", 10, 2);
        bench_close(&bench);
        bench_sql(&bench, damages[i]);
        bench_open(&bench);
        bench_take(&bench, &take, "results");
        assert_true(take.ready);
        assert_int_equal(spool_take_record(take.take)->id, 2);
        if (bench_stats(&bench, NULL).records[SPOOL_DAMAGED] != 1) {
            fail_msg("not found: %s", damages[i]);
        }
        bench_end(&bench, &take, &release);

        /* And stays so. */
        bench_close(&bench);
        bench_open(&bench);
        assert_int_equal(bench_stats(&bench, NULL).records[SPOOL_DAMAGED], 1);
        bench_look(&bench, &take, 1);
        assert_int_equal(take.result, -EBADMSG);
        assert_non_null(strstr(take.error.text, "record 1"));
        bench_end(&bench, &take, &release);
        bench_close(&bench);
        bench_remove(&bench);
    }
}

static void spoil_file(const struct bench *bench, off_t at, off_t length)
{
    char path[128];
    int fd;

    snprintf(path, sizeof(path), "%s/bodies/0000000000000001", bench->path);
    if (length == 0) {
        assert_int_equal(unlink(path), 0);
        return;
    }
    assert_int_equal(truncate(path, length), 0);
    fd = open(path, O_RDWR);
    assert_int_equal(pwrite(fd, "!", 1, at), 1);
    close(fd);
}

static void test_a_damaged_file_never_comes_whole(void **state)
{
    static const struct {
        off_t at, length;
        unsigned pieces; /* good ones */
    } cases[] = {{0, LARGE, 4}, {LARGE - 1, LARGE, 4}, {70000, LARGE, 4}, {0, 100000, 1}, {0, 0, 0}};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct bench bench;
        struct bench_take take;
        uint64_t id;

        bench_make(&bench);
        bench_open(&bench);
        id = bench_give(&bench, "results", LARGE, 1);
        spoil_file(&bench, cases[i].at, cases[i].length);
        bench_take(&bench, &take, "results");
        assert_int_equal(bench_read(&bench, &take), -EBADMSG);
        assert_false(take.last);
        assert_int_equal(take.pieces, cases[i].pieces + 1);
        assert_true(take.error.text[0] != '\0');
        bench_verdict(&bench, &take, SPOOL_DONE); /* is not believed */
        assert_int_equal(bench_stats(&bench, NULL).delivered, 0);
        assert_int_equal(bench_stats(&bench, NULL).records[SPOOL_DAMAGED], 1);
        bench_look(&bench, &take, id);
        assert_int_equal(take.result, 0);
        assert_true(strlen(spool_take_record(take.take)->cause) > 10);
        bench_verdict(&bench, &take, SPOOL_RELEASE);
        bench_close(&bench);
        bench_remove(&bench);
    }
}

static void test_a_look_sets_it_apart_too(void **state)
{
    struct bench *bench = *state;
    struct bench_take take, look;
    uint64_t id = bench_give(bench, "results", LARGE, 1);

    spoil_file(bench, 5, LARGE);
    /* But not under the hands of who delivers it. */
    bench_take(bench, &take, "results");
    bench_look(bench, &look, id);
    assert_int_equal(bench_read(bench, &look), -EBADMSG);
    bench_verdict(bench, &look, SPOOL_RELEASE);
    assert_int_equal(bench_stats(bench, NULL).records[SPOOL_DAMAGED], 0);
    bench_verdict(bench, &take, SPOOL_RELEASE);
    bench_look(bench, &look, id);
    assert_int_equal(bench_read(bench, &look), -EBADMSG);
    bench_verdict(bench, &look, SPOOL_RELEASE);
    assert_int_equal(bench_stats(bench, NULL).records[SPOOL_DAMAGED], 1);
    bench_look(bench, &look, id + 1);
    assert_int_equal(look.result, -ENOENT);
    bench_verdict(bench, &look, SPOOL_RELEASE);
}

static void test_what_is_looked_at_may_go(void **state)
{
    struct bench *bench = *state;
    struct bench_take look;
    uint64_t id = bench_give(bench, "results", LARGE, 1);

    bench_look(bench, &look, id);
    bench_deliver(bench, "results", id, SPOOL_DONE);
    assert_int_equal(bench_files(bench), 0);
    bench_assert_body(bench, &look, LARGE, 1);
    bench_verdict(bench, &look, SPOOL_RELEASE);
    bench_look(bench, &look, id);
    assert_int_equal(look.result, -ENOENT);
    bench_verdict(bench, &look, SPOOL_RELEASE);
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

static void verify(struct bench *bench, struct verified *verified)
{
    struct spool_call *call;

    *verified = (struct verified){.result = 1};
    assert_int_equal(spool_verify(bench->port, on_verified, verified, &call), 0);
    bench_turn(bench);
    assert_int_equal(verified->calls, 1);
}

static void test_verifying_finds_all_of_it(void **state)
{
    struct bench *bench = *state;
    struct verified verified;

    bench_give(bench, "results", LARGE, 1);
    for (unsigned i = 0; i < 600; i++) {
        bench_give(bench, i % 2 ? "audit" : "results", 10, i);
    }
    verify(bench, &verified);
    assert_int_equal(verified.result, 0);
    assert_int_equal(verified.verdicts.records, 601);
    assert_int_equal(verified.verdicts.bytes, LARGE + 6000);
    assert_int_equal(verified.verdicts.damaged, 0);
    assert_false(verified.verdicts.tally_wrong);

    spoil_file(bench, 5, LARGE);
    bench_close(bench);
    bench_sql(bench, "UPDATE body SET data = x'00' WHERE id IN (100, 500);"
                     "UPDATE record SET state = 17 WHERE id = 33;"
                     "UPDATE tally SET ready = ready + 5 WHERE route = 'audit'");
    bench_open(bench);
    verify(bench, &verified);
    assert_int_equal(verified.result, 0);
    assert_int_equal(verified.verdicts.records, 601);
    assert_int_equal(verified.verdicts.damaged, 3);
    assert_true(verified.verdicts.tally_wrong);
    assert_int_equal(bench_stats(bench, NULL).records[SPOOL_DAMAGED], 4);
    assert_int_equal(bench_stats(bench, NULL).records[SPOOL_READY], 597);
    verify(bench, &verified);
    assert_false(verified.verdicts.tally_wrong);
}

static void test_verifying_can_be_cancelled(void **state)
{
    struct bench *bench = *state;
    struct verified verified = {.calls = 0};

    bench_give(bench, "results", LARGE, 1);
    bench_give(bench, "results", 10, 1);
    for (int turns = 0; turns < 20; turns++) {
        struct spool_call *call;

        assert_int_equal(spool_verify(bench->port, on_verified, &verified, &call), 0);
        for (int i = 0; i < turns && verified.calls == 0; i++) {
            spool_turn(bench->spool);
            if (i % 2) {
                spool_port_run(bench->port);
            }
        }
        if (verified.calls == 0) {
            spool_call_cancel(call);
        }
        bench_turn(bench);
        verified.calls = 0;
    }
}

/* --- Databases --- */

static void database_path(const struct bench *bench, char path[128], const char *name)
{
    snprintf(path, 128, "%s/%s", bench->path, name);
}

static void write_at(const char *path, off_t at, const char *data, size_t size)
{
    int fd = open(path, O_RDWR);

    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, data, size, at), size);
    close(fd);
}

static void expect_refusal(struct bench *bench, int code, const char *word)
{
    struct error err = ERROR_INIT;

    assert_int_equal(bench_try_open(bench, &err), code);
    assert_non_null(strstr(err.text, word));
}

static void test_what_is_no_database_is_refused_and_left_alone(void **state)
{
    struct bench *bench = *state;
    char path[128], name[64], text[8192];
    struct error err;

    bench_give(bench, "results", 10, 1);
    bench_close(bench);
    memset(text, '!', sizeof(text));
    bench_sql(bench, "PRAGMA wal_checkpoint(TRUNCATE)");
    database_path(bench, path, "spool.db");
    write_at(path, 0, text, 100);
    expect_refusal(bench, -EUCLEAN, "set the spool aside");
    expect_refusal(bench, -EUCLEAN, path);
    assert_int_equal(spool_set_aside(bench->path, name, sizeof(name), &err), 0);
    bench_open(bench);
    bench_give(bench, "results", 10, 1);
    bench_close(bench);

    /* Damage within: all of the pages of its schema. */
    bench_sql(bench, "PRAGMA wal_checkpoint(TRUNCATE)");
    write_at(path, 100, text, 3900);
    expect_refusal(bench, -EUCLEAN, "damaged");
    assert_int_equal(spool_set_aside(bench->path, name, sizeof(name), &err), 0);
    bench_open(bench);
}

/* What somebody wrote into it once is data, and does nothing of its own. */
static void test_a_database_that_acts_does_not(void **state)
{
    struct bench *bench = *state;

    bench_give(bench, "results", 10, 1);
    bench_close(bench);
    bench_sql(bench, "CREATE TRIGGER thief AFTER INSERT ON record BEGIN DELETE FROM record; END");
    bench_open(bench);
    bench_deliver(bench, "results", bench_give(bench, "results", 10, 2) - 1, SPOOL_DONE);
    assert_int_equal(bench_stats(bench, NULL).records[SPOOL_READY], 1);
    bench_deliver(bench, "results", 2, SPOOL_DONE);
}

static void test_anothers_database_is_refused(void **state)
{
    struct bench *bench = *state;

    bench_close(bench);
    bench_sql(bench, "PRAGMA user_version = 3");
    expect_refusal(bench, -EUCLEAN, "a newer posternd has written it (version 3)");
    bench_sql(bench, "PRAGMA user_version = 2; PRAGMA application_id = 5");
    expect_refusal(bench, -EUCLEAN, "version");
    bench_sql(bench, "PRAGMA user_version = 0");
    expect_refusal(bench, -EUCLEAN, "not a spool's");
    bench_sql(bench, "PRAGMA user_version = 2; PRAGMA application_id = 1886352244; DROP TABLE garbage");
    expect_refusal(bench, -EIO, "tables");
    bench_sql(bench, "CREATE TABLE garbage (file INTEGER PRIMARY KEY AUTOINCREMENT)");
    bench_open(bench);
}

static void test_one_process_has_it(void **state)
{
    struct bench *bench = *state;
    struct bench other = *bench;

    bench_give(bench, "results", 10, 1);
    expect_refusal(&other, -EBUSY, "another process");
}

static void test_damage_while_it_runs(void **state)
{
    struct bench *bench = *state;
    struct bench_take take;
    struct spool_health health;
    char path[128], text[4096];

    for (unsigned i = 0; i < 400; i++) {
        bench_give(bench, "results", 10000, i);
    }
    bench_close(bench);
    bench_sql(bench, "PRAGMA wal_checkpoint(TRUNCATE)");
    database_path(bench, path, "spool.db");
    memset(text, 0x7f, sizeof(text));
    for (off_t page = 20; page < 900; page++) {
        write_at(path, page * 4096, text, sizeof(text));
    }
    bench_open(bench);
    bench_take(bench, &take, "results");
    bench_turn(bench);
    spool_health(bench->spool, &health);
    assert_false(take.ready);
    assert_int_equal(health.result, -EUCLEAN);
    assert_non_null(strstr(health.error.text, "damaged"));
    bench_verdict(bench, &take, SPOOL_RELEASE);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, bench_set_up, bench_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_damaged_record_is_set_apart),
        cmocka_unit_test(test_a_damaged_file_never_comes_whole),
        TEST(test_a_look_sets_it_apart_too),
        TEST(test_what_is_looked_at_may_go),
        TEST(test_verifying_finds_all_of_it),
        TEST(test_verifying_can_be_cancelled),
        TEST(test_what_is_no_database_is_refused_and_left_alone),
        TEST(test_a_database_that_acts_does_not),
        TEST(test_anothers_database_is_refused),
        TEST(test_one_process_has_it),
        TEST(test_damage_while_it_runs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
