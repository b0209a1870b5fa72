/* Request ids. */
#include "forward/ids.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include <cmocka.h>

#define WORKERS 3
#define EACH    2000

static bool dry;

ssize_t __real_getrandom(void *data, size_t size, unsigned flags);
ssize_t __wrap_getrandom(void *data, size_t size, unsigned flags);
ssize_t __wrap_getrandom(void *data, size_t size, unsigned flags)
{
    if (dry) {
        errno = ENOSYS;
        return -1;
    }
    return __real_getrandom(data, size, flags);
}

static char made[WORKERS * EACH][FORWARD_ID_SIZE];

static int compare(const void *a, const void *b)
{
    return strcmp(a, b);
}

/* Those of several workers, which may as well be one after its restart. */
static void make_all(bool dries_up)
{
    struct forward_ids ids[WORKERS];
    dry = false;
    for (unsigned i = 0; i < WORKERS; i++) {
        assert_int_equal(forward_ids_init(&ids[i]), 0);
    }
    dry = dries_up;
    for (unsigned i = 0; i < WORKERS * EACH; i++) {
        forward_ids_next(&ids[i % WORKERS], made[i]);
        assert_int_equal(strspn(made[i], "0123456789abcdef"), FORWARD_ID_SIZE - 1);
        assert_int_equal(made[i][FORWARD_ID_SIZE - 1], '\0');
    }
}

static void assert_unique(void)
{
    qsort(made, WORKERS * EACH, FORWARD_ID_SIZE, compare);
    for (unsigned i = 1; i < WORKERS * EACH; i++) {
        assert_string_not_equal(made[i - 1], made[i]);
    }
}

static void test_unique(void **state)
{
    (void)state;
    make_all(false);
    assert_unique();
}

/* Neither what two of a worker have in common, nor which came first. */
static void test_opaque(void **state)
{
    unsigned ascending = 0;
    (void)state;
    make_all(false);
    for (unsigned i = WORKERS; i < WORKERS * EACH; i++) {
        const char *id = made[i], *before = made[i - WORKERS];
        assert_true(strncmp(id, before, 14) != 0);
        assert_true(strcmp(id + 18, before + 18) != 0);
        ascending += strcmp(before, id) < 0;
    }
    assert_in_range(ascending, WORKERS * EACH / 4, 3 * WORKERS * EACH / 4);
}

static void test_no_randomness_at_the_start(void **state)
{
    struct forward_ids ids;
    (void)state;
    dry = true;
    assert_int_equal(forward_ids_init(&ids), -EIO);
}

static void test_no_randomness_later(void **state)
{
    (void)state;
    make_all(true);
    assert_unique();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unique),
        cmocka_unit_test(test_opaque),
        cmocka_unit_test(test_no_randomness_at_the_start),
        cmocka_unit_test(test_no_randomness_later),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
