/* What was written, and did not go where it was to go. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/output.h"
#include <errno.h>
#include <sys/types.h>

/* As a disk that is full for a while. */
struct disk {
    unsigned writes, fails;
};

static ssize_t write_some(void *cookie, const char *data, size_t size)
{
    struct disk *disk = cookie;

    (void)data;
    if (disk->writes++ < disk->fails) {
        errno = ENOSPC;
        return 0;
    }
    return (ssize_t)size;
}

static FILE *open_disk(struct disk *disk)
{
    const cookie_io_functions_t functions = {.write = write_some};
    FILE *out = fopencookie(disk, "w", functions);

    assert_non_null(out);
    return out;
}

static void test_all_of_it_went(void **state)
{
    struct disk disk = {.fails = 0};
    FILE *out = open_disk(&disk);

    (void)state;
    assert_int_equal(output_finish(out), 0);
    fputs("hello", out);
    assert_int_equal(output_finish(out), 0);
    assert_int_equal(disk.writes, 1);
    assert_int_equal(fclose(out), 0);
}

static void test_the_end_did_not(void **state)
{
    struct disk disk = {.fails = 1};
    FILE *out = open_disk(&disk);

    (void)state;
    fputs("hello", out);
    assert_int_equal(output_finish(out), -ENOSPC);
    (void)fclose(out);
}

static void test_the_beginning_did_not(void **state)
{
    struct disk disk = {.fails = 1};
    FILE *out = open_disk(&disk);

    (void)state;
    fputs("hello", out);
    assert_int_not_equal(fflush(out), 0);
    fputs("world", out);
    assert_int_equal(fflush(out), 0);
    assert_int_equal(output_finish(out), -EIO);
    (void)fclose(out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_of_it_went),
        cmocka_unit_test(test_the_end_did_not),
        cmocka_unit_test(test_the_beginning_did_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
