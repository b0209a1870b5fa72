/* How hard a route tries. */
#include "forward/throttle.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void an_upstream_that_is_not_there_is_probed(void **state)
{
    struct throttle throttle;
    (void)state;
    throttle_init(&throttle, 100, 1000);
    assert_false(throttle_holds(&throttle));
    assert_int_equal(throttle_down(&throttle, true, false, 0), 100);
    assert_true(throttle_holds(&throttle));
    /* Those that were in flight with it tell nothing new. */
    assert_int_equal(throttle_down(&throttle, true, false, 5000), 0);
    const uint64_t pauses[] = {200, 400, 800, 1000, 1000};
    for (size_t i = 0; i < sizeof pauses / sizeof *pauses; i++) {
        assert_int_equal(throttle_down(&throttle, true, true, 0), pauses[i]);
    }
    throttle_up(&throttle);
    assert_false(throttle_holds(&throttle));
    assert_int_equal(throttle_down(&throttle, true, false, 0), 100);
}

static void a_few_records_may_be_poison(void **state)
{
    struct throttle throttle;
    (void)state;
    throttle_init(&throttle, 100, 1000);
    for (unsigned i = 1; i < THROTTLE_PATIENCE; i++) {
        assert_int_equal(throttle_down(&throttle, false, false, 0), 0);
        assert_false(throttle_holds(&throttle));
    }
    throttle_up(&throttle); /* one among them was good */
    for (unsigned i = 1; i < THROTTLE_PATIENCE; i++) {
        assert_int_equal(throttle_down(&throttle, false, false, 0), 0);
    }
    assert_int_equal(throttle_down(&throttle, false, false, 0), 100);
    assert_int_equal(throttle_down(&throttle, false, true, 0), 200);
}

static void time_that_is_asked_for_is_given(void **state)
{
    struct throttle throttle;
    (void)state;
    throttle_init(&throttle, 100, 1000);
    assert_int_equal(throttle_down(&throttle, true, false, 700), 700);
    assert_int_equal(throttle_down(&throttle, true, true, 50), 200);
    assert_int_equal(throttle_down(&throttle, true, true, 999999), 1000);
}

static void odd_bounds_are_borne(void **state)
{
    struct throttle throttle;
    (void)state;
    throttle_init(&throttle, 0, 0);
    assert_true(throttle_down(&throttle, true, false, 0) > 0);
    throttle_init(&throttle, 5000, 1000);
    assert_int_equal(throttle_down(&throttle, true, false, 0), 1000);
    assert_int_equal(throttle_down(&throttle, true, true, 0), 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_upstream_that_is_not_there_is_probed),
        cmocka_unit_test(a_few_records_may_be_poison),
        cmocka_unit_test(time_that_is_asked_for_is_given),
        cmocka_unit_test(odd_bounds_are_borne),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
