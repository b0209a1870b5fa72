/* Who gets how much of the memory of bodies. */
#include "forward/body_memory.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static struct body_memory memory;

static int open_it(void **state)
{
    (void)state;
    assert_int_equal(body_memory_init(&memory), 0);
    body_memory_set_limit(&memory, 1000);
    return 0;
}

static int close_it(void **state)
{
    (void)state;
    assert_int_equal(body_memory_used(&memory), 0);
    body_memory_close(&memory);
    return 0;
}

static void one_alone_gets_half(void **state)
{
    struct body_grant grant = {.size = 0}, other = {.size = 0};
    (void)state;
    assert_true(body_memory_grow(&memory, &grant, 16, 300));
    assert_true(body_memory_grow(&memory, &grant, 16, 200)); /* has it */
    assert_int_equal(grant.size, 300);
    assert_true(body_memory_grow(&memory, &other, 16, 200));
    assert_false(body_memory_grow(&memory, &other, 16, 201));
    assert_false(body_memory_grow(&memory, &grant, 16, 301));
    assert_int_equal(body_memory_used(&memory), 500);
    body_memory_give(&memory, &other);
    assert_true(body_memory_grow(&memory, &grant, 16, 500));
    body_memory_give(&memory, &grant);
    body_memory_give(&memory, &grant); /* harmless */
}

/* However many are greedy, another can begin. */
static void a_newcomer_can_begin(void **state)
{
    struct body_grant grants[5] = {{.size = 0}};
    const size_t shares[] = {500, 250, 125, 62, 31};
    (void)state;
    for (uint32_t i = 0; i < 5; i++) {
        assert_true(body_memory_grow(&memory, &grants[i], i, shares[i]));
        assert_false(body_memory_grow(&memory, &grants[i], i, shares[i] + 1));
    }
    for (unsigned i = 0; i < 5; i++) {
        body_memory_give(&memory, &grants[i]);
    }
}

/* Whoever has more than the others now gets no more, until it has as much as they may have. */
static void two_end_at_a_third(void **state)
{
    struct body_grant early = {.size = 0}, more = {.size = 0}, late = {.size = 0};
    (void)state;
    assert_true(body_memory_grow(&memory, &early, 1, 333));
    assert_true(body_memory_grow(&memory, &more, 1, 167));
    assert_true(body_memory_grow(&memory, &late, 2, 250));
    body_memory_give(&memory, &more);
    assert_true(body_memory_grow(&memory, &late, 2, 333));
    assert_false(body_memory_grow(&memory, &more, 1, 1));
    assert_false(body_memory_grow(&memory, &late, 2, 334));
    body_memory_give(&memory, &early);
    body_memory_give(&memory, &late);
}

static void a_smaller_limit_takes_nothing_away(void **state)
{
    struct body_grant grant = {.size = 0}, other = {.size = 0};
    (void)state;
    assert_true(body_memory_grow(&memory, &grant, 1, 400));
    body_memory_set_limit(&memory, 100);
    assert_false(body_memory_grow(&memory, &grant, 1, 401));
    assert_false(body_memory_grow(&memory, &other, 2, 1));
    assert_int_equal(body_memory_used(&memory), 400);
    body_memory_give(&memory, &grant);
    assert_true(body_memory_grow(&memory, &other, 2, 50));
    body_memory_give(&memory, &other);
}

static void nothing_before_a_limit_is_set(void **state)
{
    struct body_memory fresh;
    struct body_grant grant = {.size = 0};
    (void)state;
    assert_int_equal(body_memory_init(&fresh), 0);
    assert_false(body_memory_grow(&fresh, &grant, 1, 1));
    body_memory_close(&fresh);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, open_it, close_it)
    const struct CMUnitTest tests[] = {
        T(one_alone_gets_half),
        T(a_newcomer_can_begin),
        T(two_end_at_a_third),
        T(a_smaller_limit_takes_nothing_away),
        T(nothing_before_a_limit_is_set),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
