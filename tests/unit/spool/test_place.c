/* The directory: whose it is, who can read it, and setting it aside. */
#include "spool/place.h"

#include "fault.h"
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

static int set_up(void **state)
{
    struct bench *bench = calloc(1, sizeof(*bench));

    assert_non_null(bench);
    bench_make(bench);
    *state = bench;
    return 0;
}

static int tear_down(void **state)
{
    bench_remove(*state);
    free(*state);
    return 0;
}

static unsigned mode_of(const struct bench *bench, const char *name)
{
    char path[128];
    struct stat st;

    snprintf(path, sizeof(path), "%s%s", bench->path, name);
    assert_int_equal(stat(path, &st), 0);
    return st.st_mode & 07777;
}

static void test_all_is_private(void **state)
{
    struct bench *bench = *state;
    mode_t before = umask(0);

    bench_open(bench);
    bench_give(bench, "results", 100000, 1);
    umask(before);
    assert_int_equal(mode_of(bench, ""), 0700);
    assert_int_equal(mode_of(bench, "/spool.db"), 0600);
    assert_int_equal(mode_of(bench, "/spool.db-wal"), 0600);
    assert_int_equal(mode_of(bench, "/bodies"), 0700);
    assert_int_equal(mode_of(bench, "/bodies/0000000000000001"), 0600);
    bench_close(bench);
}

static void expect(struct bench *bench, int code, const char *word)
{
    struct error err = ERROR_INIT;
    struct place place;

    assert_int_equal(bench_try_open(bench, &err), code);
    assert_non_null(strstr(err.text, word));
    assert_non_null(strstr(err.text, bench->path));
    assert_int_equal(place_open(&place, bench->path, &err), code);
}

static void change_mode(const struct bench *bench, const char *name, mode_t mode)
{
    char path[128];

    snprintf(path, sizeof(path), "%s%s", bench->path, name);
    assert_int_equal(chmod(path, mode), 0);
}

static void test_what_is_open_to_others_is_refused(void **state)
{
    static const char *const names[] = {"", "/bodies", "/spool.db", "/spool.db-wal"};
    struct bench *bench = *state;

    bench_open(bench);
    bench_give(bench, "results", 10, 1);
    bench_close(bench);
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        unsigned mode = mode_of(bench, names[i]);

        change_mode(bench, names[i], mode | 040);
        expect(bench, -EPERM, "chmod");
        change_mode(bench, names[i], mode);
    }
    bench_open(bench);
    bench_close(bench);
}

static void test_what_is_no_plain_file_is_refused(void **state)
{
    struct bench *bench = *state;
    char path[128], other[128];

    snprintf(path, sizeof(path), "%s/spool.db", bench->path);
    snprintf(other, sizeof(other), "%s/other", bench->folder);
    assert_int_equal(mkdir(bench->path, 0700), 0);
    assert_int_equal(symlink("/etc/passwd", path), 0);
    expect(bench, -EPERM, "plain file");
    assert_int_equal(unlink(path), 0);

    close(open(other, O_CREAT | O_RDWR, 0600));
    assert_int_equal(link(other, path), 0);
    expect(bench, -EPERM, "plain file");
    assert_int_equal(unlink(path), 0);

    snprintf(path, sizeof(path), "%s/bodies", bench->path);
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(rmdir(bench->path), 0);
    assert_int_equal(symlink(bench->folder, bench->path), 0);
    expect(bench, -ENOTDIR, "cannot use it");
    assert_int_equal(unlink(bench->path), 0);
    snprintf(bench->path, sizeof(bench->path), "%s/not/there", bench->folder);
    expect(bench, -ENOENT, "cannot use it");
}

/* Root can be another user for a moment. */
static void test_what_belongs_to_another_is_refused(void **state)
{
    struct bench *bench = *state;

    if (geteuid() != 0) {
        skip();
    }
    assert_int_equal(mkdir(bench->path, 0700), 0);
    assert_int_equal(chown(bench->path, 12345, 12345), 0);
    expect(bench, -EPERM, "chown");
}

static void test_a_path_with_odd_characters(void **state)
{
    struct bench *bench = *state;

    snprintf(bench->path, sizeof(bench->path), "%s/a %%41?b#c", bench->folder);
    bench_open(bench);
    bench_deliver(bench, "results", bench_give(bench, "results", 100000, 1), SPOOL_DONE);
    bench_close(bench);
    assert_int_equal(mode_of(bench, "/spool.db"), 0600);

    assert_int_equal(chdir(bench->folder), 0);
    snprintf(bench->path, sizeof(bench->path), "relative");
    bench_open(bench);
    bench_deliver(bench, "results", bench_give(bench, "results", 100000, 1), SPOOL_DONE);
    bench_close(bench);
    assert_int_equal(mode_of(bench, "/spool.db"), 0600);
    assert_int_equal(chdir("/"), 0);
}

static void test_set_aside(void **state)
{
    struct bench *bench = *state;
    char first[64], second[64], path[256];
    struct error err = ERROR_INIT;

    bench_open(bench);
    bench_give(bench, "results", 100000, 1);
    bench_close(bench);
    assert_int_equal(spool_set_aside(bench->path, first, sizeof(first), &err), 0);
    bench_open(bench);
    assert_int_equal(bench_stats(bench, NULL).records[SPOOL_READY], 0);
    bench_close(bench);
    assert_int_equal(spool_set_aside(bench->path, second, sizeof(second), &err), 0);
    assert_string_not_equal(first, second);
    snprintf(path, sizeof(path), "/%s", first);
    assert_int_equal(mode_of(bench, path), 0700);
    snprintf(path, sizeof(path), "/%s/bodies/0000000000000001", first);
    assert_int_equal(mode_of(bench, path), 0600);

    /* What was set aside is a spool of its own. */
    snprintf(path, sizeof(path), "%s/%s", bench->path, first);
    bench->options.path = path;
    bench_open(bench);
    assert_int_equal(bench_stats(bench, NULL).records[SPOOL_READY], 1);
    bench_close(bench);

    assert_int_equal(spool_set_aside("/nowhere", first, sizeof(first), &err), -ENOENT);
    assert_int_equal(spool_set_aside(bench->path, first, 4, &err), -ENAMETOOLONG);
}

static void open_and_close(void *arg)
{
    struct bench *bench = arg;
    struct error err = ERROR_INIT;
    struct place place;

    if (place_open(&place, bench->path, &err) == 0) {
        place_close(&place);
    } else {
        assert_true(err.text[0] != '\0');
    }
}

static void set_it_aside(void *arg)
{
    struct bench *bench = arg;
    struct error err = ERROR_INIT;
    char name[64];

    if (spool_set_aside(bench->path, name, sizeof(name), &err) < 0) {
        assert_true(err.text[0] != '\0');
    }
}

static void test_every_call_may_fail(void **state)
{
    assert_true(fault_loop("spool place", FAULT_MEMORY | FAULT_OPEN | FAULT_FILE, open_and_close, *state) >=
                8);
    assert_true(fault_loop("spool aside", FAULT_MEMORY | FAULT_OPEN, set_it_aside, *state) >= 2);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_all_is_private),
        TEST(test_what_is_open_to_others_is_refused),
        TEST(test_what_is_no_plain_file_is_refused),
        TEST(test_what_belongs_to_another_is_refused),
        TEST(test_a_path_with_odd_characters),
        TEST(test_set_aside),
        TEST(test_every_call_may_fail),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
