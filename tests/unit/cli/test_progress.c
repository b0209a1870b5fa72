/* The line that tells how far it is. */
#include "cli/progress.h"

#include <fcntl.h>
#include <pty.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define MIB (UINT64_C(1) << 20)

static char line[PROGRESS_LINE_MAX];

static void test_lines(void **state)
{
    (void)state;
    struct progress progress = {.what = "sending", .rate = MIB};
    progress_line(&progress, 5 * MIB, 10 * MIB, 79, line);
    assert_non_null(strstr(line, "sending 5 MiB of 10 MiB  ["));
    assert_non_null(strstr(line, "] 1 MiB/s  5s left"));
    assert_in_range(strlen(line), 60, 79);
    progress_line(&progress, 5 * MIB, PROGRESS_UNKNOWN, 79, line);
    assert_string_equal(line, "sending 5 MiB  1 MiB/s");
    progress_line(&progress, 10 * MIB, 10 * MIB, 79, line);
    assert_null(strstr(line, "left"));
    assert_non_null(strstr(line, "==] "));
    progress_line(&progress, 0, 0, 79, line);
    assert_non_null(strstr(line, "==] "));
}

/* It never wraps, and says what matters first. */
static void test_widths(void **state)
{
    (void)state;
    struct progress progress = {.what = "sending", .rate = 1};
    for (unsigned width = 20; width < PROGRESS_LINE_MAX; width++) {
        progress_line(&progress, UINT64_MAX / 2, UINT64_MAX - 1, width, line);
        assert_in_range(strlen(line), 20, width);
        assert_memory_equal(line, "sending ", 8);
    }
}

static size_t drain(int fd, char *buffer, size_t size)
{
    ssize_t n = read(fd, buffer, size - 1);
    buffer[n > 0 ? n : 0] = '\0';
    return n > 0 ? (size_t)n : 0;
}

static void test_a_terminal(void **state)
{
    (void)state;
    struct progress progress;
    char seen[1000];
    int master, slave;
    assert_int_equal(openpty(&master, &slave, NULL, NULL, NULL), 0);
    assert_int_equal(fcntl(master, F_SETFL, O_NONBLOCK), 0);
    FILE *terminal = fdopen(slave, "w");
    assert_non_null(terminal);
    progress_init(&progress, terminal, 1000);
    progress_clear(&progress);
    progress_show(&progress, "sending", 0, MIB, 1000);
    progress_show(&progress, "sending", MIB / 2, MIB, 1499);
    assert_int_equal(drain(master, seen, sizeof seen), 0);
    progress_show(&progress, "sending", MIB / 2, MIB, 1500);
    assert_true(drain(master, seen, sizeof seen) > 0);
    assert_int_equal(seen[0], '\r');
    assert_non_null(strstr(seen, "sending 512 KiB of 1 MiB"));
    assert_non_null(strstr(seen, "1 MiB/s"));
    assert_null(strchr(seen, '\n'));
    progress_show(&progress, "sending", MIB, MIB, 1600); /* too soon */
    assert_int_equal(drain(master, seen, sizeof seen), 0);
    progress_show(&progress, "receiving", 0, MIB, 1650);
    progress_show(&progress, "receiving", 0, MIB, 1900);
    assert_true(drain(master, seen, sizeof seen) > 0);
    assert_non_null(strstr(seen, "receiving 0 B of 1 MiB"));
    progress_clear(&progress);
    assert_true(drain(master, seen, sizeof seen) > 0);
    assert_string_equal(seen, "\r\033[K");
    progress_clear(&progress);
    assert_int_equal(drain(master, seen, sizeof seen), 0);
    fclose(terminal);
    close(master);
}

static void test_no_terminal(void **state)
{
    (void)state;
    struct progress progress;
    char *text = NULL;
    size_t size = 0;
    FILE *file = open_memstream(&text, &size);
    assert_non_null(file);
    progress_init(&progress, file, 0);
    progress_show(&progress, "sending", 1, 2, 10000);
    progress_clear(&progress);
    fclose(file);
    assert_int_equal(size, 0);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_widths),
        cmocka_unit_test(test_a_terminal),
        cmocka_unit_test(test_no_terminal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
