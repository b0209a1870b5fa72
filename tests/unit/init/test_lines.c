/* Lines on their way: split, kept, dropped, taken out in pieces. */
#include "init/lines.h"

#include "fault.h"
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void put(struct lines *lines, const char *text)
{
    lines_put(lines, text, strlen(text));
}

/* Takes everything out, `step` bytes at a time. */
static size_t drain(struct lines *lines, char *out, size_t step)
{
    const char *next;
    size_t length, total = 0;

    while ((next = lines_next(lines, &length))) {
        length = length < step ? length : step;
        memcpy(out + total, next, length);
        lines_sent(lines, length);
        total += length;
    }
    out[total] = '\0';
    return total;
}

static void test_lines(void **state)
{
    struct lines lines;
    char out[1024];

    (void)state;
    assert_int_equal(lines_init(&lines, LINES_SIZE_MIN), 0);
    assert_true(lines_empty(&lines));
    put(&lines, "one\ntw");
    put(&lines, "o\n\n\nthree");
    drain(&lines, out, 1000);
    assert_string_equal(out, "one\ntwo\n");
    assert_true(lines_empty(&lines));
    put(&lines, "");
    lines_put_line(&lines, "between");
    assert_false(lines_empty(&lines));
    lines_end(&lines);
    lines_end(&lines);
    drain(&lines, out, 1);
    assert_string_equal(out, "between\nthree\n");
    assert_int_equal(lines.dropped, 0);
    lines_release(&lines);
}

static void test_long_lines_become_several(void **state)
{
    static char text[2 * LINES_LINE_MAX + 10], out[4 * LINES_LINE_MAX];
    struct lines lines;

    (void)state;
    assert_int_equal(lines_init(&lines, 4 * LINES_SIZE_MIN), 0);
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = '\n';
    lines_put(&lines, text, sizeof text);
    assert_int_equal(drain(&lines, out, 1000), sizeof text + 2);
    assert_int_equal(out[LINES_LINE_MAX], '\n');
    assert_int_equal(out[2 * LINES_LINE_MAX + 1], '\n');
    /* As long as the bound exactly: one line, however its newline comes. */
    text[LINES_LINE_MAX] = '\n';
    lines_put(&lines, text, LINES_LINE_MAX + 1);
    lines_put(&lines, text, LINES_LINE_MAX);
    lines_put(&lines, "\n", 1);
    lines_put(&lines, "y\n", 2);
    assert_int_equal(drain(&lines, out, 1000), 2 * (LINES_LINE_MAX + 1) + 2);
    text[LINES_LINE_MAX] = 'x';
    lines_put_line(&lines, text);
    assert_int_equal(drain(&lines, out, 1000), LINES_LINE_MAX + 1);
    lines_release(&lines);
}

static void test_the_oldest_are_dropped_and_the_gap_is_said(void **state)
{
    static char out[2 * LINES_SIZE_MIN];
    char line[100], expected[100];
    struct lines lines;
    unsigned count = LINES_SIZE_MIN / 50;

    (void)state;
    assert_int_equal(lines_init(&lines, LINES_SIZE_MIN), 0);
    for (unsigned i = 0; i < count + 7; i++) {
        snprintf(line, sizeof line, "%049u\n", i);
        put(&lines, line);
    }
    assert_int_equal(lines.dropped, 7);
    drain(&lines, out, 77);
    snprintf(expected, sizeof expected, "postern: 7 lines dropped here\n%049u\n", 7);
    assert_memory_equal(out, expected, strlen(expected));
    assert_string_equal(out + strlen(out) - 50, line);
    /* Said once. */
    put(&lines, "on\n");
    drain(&lines, out, 77);
    assert_string_equal(out, "on\n");
    assert_int_equal(lines.dropped, 7);
    lines_release(&lines);
}

static void test_a_line_that_is_being_sent_is_not_dropped(void **state)
{
    static char out[2 * LINES_SIZE_MIN], filler[LINES_LINE_MAX];
    struct lines lines;
    const char *next;
    size_t length;

    (void)state;
    assert_int_equal(lines_init(&lines, LINES_SIZE_MIN), 0);
    put(&lines, "whole\n");
    next = lines_next(&lines, &length);
    assert_memory_equal(next, "whole\n", 6);
    lines_sent(&lines, 3);
    memset(filler, 'f', sizeof filler - 1);
    filler[sizeof filler - 1] = '\0';
    for (unsigned i = 0; i < 3; i++) {
        lines_put_line(&lines, filler);
    }
    assert_int_equal(lines.dropped, 1);
    drain(&lines, out, 100000);
    assert_memory_equal(out, "le\npostern: 1 line dropped here\nfff", 35);
    lines_release(&lines);
}

/* Against a plain list of lines: whatever is put, what comes out are the last lines, in order, and as many as
 * were put, dropped ones counted. */
static void test_many_random_lines(void **state)
{
    static char out[64 * LINES_SIZE_MIN];
    struct lines lines;
    unsigned long put_lines = 0, seen = 0, told = 0;
    unsigned seed = 1;
    char *at, *line;

    (void)state;
    assert_int_equal(lines_init(&lines, LINES_SIZE_MIN), 0);
    for (unsigned turn = 0; turn < 200; turn++) {
        unsigned burst = (unsigned)rand_r(&seed) % 200;

        for (unsigned i = 0; i < burst; i++) {
            char text[400];
            int length = snprintf(text, sizeof text, "%lu %0*d\n", put_lines, 1 + rand_r(&seed) % 300, 0);
            int first = rand_r(&seed) % (length + 1);

            lines_put(&lines, text, (size_t)first);
            lines_put(&lines, text + first, (size_t)(length - first));
            put_lines++;
        }
        drain(&lines, out, 1 + (size_t)rand_r(&seed) % 5000);
        for (at = out; (line = strsep(&at, "\n")) && at;) {
            if (!strncmp(line, "postern: ", 9)) {
                told += strtoul(line + 9, NULL, 10);
            } else {
                assert_int_equal(strtoul(line, NULL, 10), seen + told);
                seen++;
            }
        }
        assert_int_equal(seen + told, put_lines);
    }
    assert_int_equal(told, lines.dropped);
    assert_true(told > 100 && seen > 100);
    lines_release(&lines);
}

static void test_reading(void **state)
{
    struct lines lines;
    char out[100];
    int ends[2];

    (void)state;
    assert_int_equal(pipe2(ends, O_NONBLOCK), 0);
    assert_int_equal(lines_init(&lines, LINES_SIZE_MIN), 0);
    assert_int_equal(lines_read(&lines, ends[0], 100), -EAGAIN);
    assert_int_equal(write(ends[1], "abc\ndef", 7), 7);
    assert_int_equal(lines_read(&lines, ends[0], 5), 5);
    assert_int_equal(lines_read(&lines, ends[0], 100000), 2);
    close(ends[1]);
    assert_int_equal(lines_read(&lines, ends[0], 100000), 0);
    lines_end(&lines);
    drain(&lines, out, 100);
    assert_string_equal(out, "abc\ndef\n");
    close(ends[0]);
    assert_int_equal(lines_read(&lines, ends[0], 5), -EBADF);
    lines_release(&lines);
}

static void test_out_of_memory(void **state)
{
    struct lines lines;

    (void)state;
    fault_arm(FAULT_MEMORY, 1);
    assert_int_equal(lines_init(&lines, LINES_SIZE_MIN), -ENOMEM);
    assert_int_equal(fault_disarm(), 1);
    lines_release(&lines);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_long_lines_become_several),
        cmocka_unit_test(test_the_oldest_are_dropped_and_the_gap_is_said),
        cmocka_unit_test(test_a_line_that_is_being_sent_is_not_dropped),
        cmocka_unit_test(test_many_random_lines),
        cmocka_unit_test(test_reading),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
