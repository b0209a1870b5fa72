/* Pauses: doubled, bounded, spread, and never before Retry-After. */
#include "spool/backoff.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static const struct spool_policy policy = {.first_pause_ms = 100, .most_pause_ms = 1000};

static void test_doubles_up_to_the_most(void **state)
{
    static const uint64_t most[] = {100, 100, 200, 400, 800, 1000, 1000};

    (void)state;
    for (uint32_t i = 0; i < 7; i++) {
        assert_int_equal(backoff_pause(&policy, i, 0, 0), most[i]);
        assert_int_equal(backoff_pause(&policy, i, 0, most[i] / 2), most[i] - most[i] / 2);
    }
    assert_int_equal(backoff_pause(&policy, UINT32_MAX, 0, 0), 1000);
}

static void test_chance_takes_off_half_at_most(void **state)
{
    (void)state;
    for (uint64_t random = 0; random < 5000; random++) {
        uint64_t pause = backoff_pause(&policy, 4, 0, random * 2654435761U);

        assert_in_range(pause, 400, 800);
    }
}

static void test_defaults(void **state)
{
    const struct spool_policy nothing = {.attempts = 0};
    const struct spool_policy odd = {.first_pause_ms = 5000, .most_pause_ms = 10};
    const struct spool_policy huge = {.first_pause_ms = UINT64_MAX, .most_pause_ms = UINT64_MAX};

    (void)state;
    assert_int_equal(backoff_pause(&nothing, 1, 0, 0), 1000);
    assert_int_equal(backoff_pause(&nothing, 100, 0, 0), 300000);
    assert_int_equal(backoff_pause(&odd, 1, 0, 0), 10);
    assert_int_equal(backoff_pause(&huge, 5, 0, 0), SPOOL_DELAY_MAX_MS);
}

static void test_retry_after(void **state)
{
    (void)state;
    assert_int_equal(backoff_pause(&policy, 1, 50, 0), 100); /* less than the pause */
    assert_int_equal(backoff_pause(&policy, 1, 30000, 0), 30000);
    assert_int_equal(backoff_pause(&policy, 1, 30000, 3000), 33000);
    assert_int_equal(backoff_pause(&policy, 1, 30000, 3001), 30000);
    assert_int_equal(backoff_pause(&policy, 1, UINT64_MAX, 12345), SPOOL_DELAY_MAX_MS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_doubles_up_to_the_most),
        cmocka_unit_test(test_chance_takes_off_half_at_most),
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_retry_after),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
