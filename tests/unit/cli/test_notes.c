/* Lines on standard error: bounded, counted, and never waited for. */
#include "cli/notes.h"

#include "cli/loop.h"
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static unsigned lines(const char *text)
{
    unsigned count = 0;
    for (; *text != '\0'; text++) {
        count += *text == '\n';
    }
    return count;
}

static void test_says(void **state)
{
    (void)state;
    char *text;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    struct notes notes;
    notes_init(&notes, out, "postern: ");
    notes_say(&notes, "one %d", 1);
    notes_say_some(&notes, "two");
    notes_init(&notes, out, "postern: INSECURE: ");
    notes_say(&notes, "three");
    assert_int_equal(fclose(out), 0);
    assert_string_equal(text, "postern: one 1\npostern: two\npostern: INSECURE: three\n");
    free(text);
}

static void test_a_flood_is_counted(void **state)
{
    (void)state;
    char *text;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    struct notes notes;
    notes_init(&notes, out, "postern: ");
    for (unsigned i = 0; i < NOTES_BURST; i++) {
        notes_say_some(&notes, "refused");
    }
    /* On a slow machine some tokens come back meanwhile: then the next line is said, with the count. */
    do {
        notes_say_some(&notes, "refused");
    } while (notes.left_out < 3);
    fflush(out);
    assert_true(lines(text) >= NOTES_BURST);
    uint64_t left_out = notes.left_out;
    notes_say(&notes, "matters");
    fflush(out);
    char wanted[100];
    snprintf(wanted, sizeof wanted, "postern: matters (%ju lines left out before)\n", (uintmax_t)left_out);
    assert_non_null(strstr(text, wanted));
    assert_int_equal(notes.left_out, 0);

    notes.refilled_at = cli_now_ms() - 3600000; /* an hour later all tokens are back, and no more than all */
    notes_say_some(&notes, "refused again");
    assert_int_equal(notes.tokens, NOTES_BURST - 1);
    assert_int_equal(fclose(out), 0);
    assert_non_null(strstr(text, "postern: refused again\n"));
    free(text);
}

static void test_a_reader_that_stalls_is_not_waited_for(void **state)
{
    (void)state;
    int fds[2];
    char byte = 'x';
    assert_int_equal(pipe(fds), 0);
    assert_int_equal(fcntl(fds[1], F_SETFL, O_NONBLOCK), 0);
    while (write(fds[1], &byte, 1) == 1) {
    }
    assert_int_equal(fcntl(fds[1], F_SETFL, 0), 0);
    FILE *out = fdopen(fds[1], "w");
    assert_non_null(out);
    struct notes notes;
    notes_init(&notes, out, "postern: ");
    notes_say(&notes, "nobody reads this");
    assert_int_equal(notes.left_out, 1);
    close(fds[0]);
    assert_int_equal(fclose(out), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_says),
        cmocka_unit_test(test_a_flood_is_counted),
        cmocka_unit_test(test_a_reader_that_stalls_is_not_waited_for),
    };
    return cmocka_run_group_tests_name("cli/notes", tests, NULL, NULL);
}
