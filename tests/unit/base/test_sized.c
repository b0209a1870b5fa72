/* Structs of callers that are older than the library, as old, newer, and not initialized. */
#include "base/sized.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

struct known {
    size_t size;
    uint32_t old, new;
};

struct newer {
    struct known known;
    uint32_t newest;
};

#define OLD_SIZE offsetof(struct known, new)

static void what_both_know_is_copied(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct newer given = {.known = {.size = sizeof given, .old = 1, .new = 2}};
    struct known ret = {.size = sizeof ret};
    assert_int_equal(sized_read(&ret, sizeof ret, &given, sizeof given, &err), 0);
    assert_int_equal(ret.old, 1);
    assert_int_equal(ret.new, 2);
}

static void what_an_older_caller_does_not_know_keeps_its_default(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct known given = {.size = OLD_SIZE, .old = 1, .new = 2};
    struct known ret = {.size = sizeof ret, .new = 3};
    assert_int_equal(sized_read(&ret, sizeof ret, &given, OLD_SIZE, &err), 0);
    assert_int_equal(ret.old, 1);
    assert_int_equal(ret.new, 3);
}

static void expect_refused(const void *given, size_t size, const char *why)
{
    struct error err = ERROR_INIT;
    struct known ret = {.old = 7, .new = 8};
    assert_int_equal(sized_read(&ret, sizeof ret, given, size, &err), -EINVAL);
    assert_non_null(strstr(err.text, why));
    assert_int_equal(ret.old, 7);
    assert_int_equal(ret.new, 8);
}

static void what_only_a_newer_caller_knows_is_refused(void **state)
{
    (void)state;
    struct newer given = {.known = {.size = sizeof given}, .newest = 1};
    expect_refused(&given, sizeof given, "does not know");
}

/* The sizes of what was not initialized are not believed: nothing is read at NULL. */
static void what_was_not_initialized_is_refused(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, sizeof(size_t) - 1, SIZED_MAX + 1, SIZE_MAX};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        expect_refused(NULL, sizes[i], "not initialized");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_both_know_is_copied),
        cmocka_unit_test(what_an_older_caller_does_not_know_keeps_its_default),
        cmocka_unit_test(what_only_a_newer_caller_knows_is_refused),
        cmocka_unit_test(what_was_not_initialized_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
