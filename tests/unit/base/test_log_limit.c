/* How often one kind of line is written. */
#include "base/log_private.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define SECOND UINT64_C(1000000000)

/* The clock that limits look at, moved by hand. */
static _Atomic uint64_t now = 1000 * SECOND;

int clock_gettime(clockid_t clock, struct timespec *ret)
{
    if (clock != CLOCK_MONOTONIC) {
        return (int)syscall(SYS_clock_gettime, clock, ret);
    }
    ret->tv_sec = (time_t)(now / SECOND);
    ret->tv_nsec = (long)(now % SECOND);
    return 0;
}

/* Whether a line passes; *ret_suppressed is what it tells of those before it. */
static bool passes(struct log_limit *limit, unsigned *ret_suppressed)
{
    struct log_line line;
    const char *field;

    log_begin_limited(&line, limit, LOG_LEVEL_INFO, "stream ended");
    if (!line.wanted) {
        return false;
    }
    log_line_finish(&line);
    line.data[line.length - 1] = '\0';
    *ret_suppressed = 0;
    field = strstr(line.data, "suppressed=");
    assert_true(!field || sscanf(field, "suppressed=%u", ret_suppressed) == 1);
    return true;
}

static unsigned passed_of(struct log_limit *limit, unsigned tries)
{
    unsigned passed = 0;
    unsigned suppressed;

    for (unsigned i = 0; i < tries; i++) {
        passed += passes(limit, &suppressed);
    }
    return passed;
}

static void test_burst_then_rate(void **state)
{
    struct log_limit limit = LOG_LIMIT_INIT(10, 5);

    (void)state;
    assert_int_equal(passed_of(&limit, 100), 5);
    now += SECOND / 10 - 1;
    assert_int_equal(passed_of(&limit, 100), 0);
    now += 1;
    assert_int_equal(passed_of(&limit, 100), 1);
    now += SECOND / 4;
    assert_int_equal(passed_of(&limit, 100), 2);
    /* the half of a token that was over is not lost */
    now += SECOND / 20;
    assert_int_equal(passed_of(&limit, 100), 1);
    now += 3600 * SECOND;
    assert_int_equal(passed_of(&limit, 100), 5);
}

static void test_tells_what_it_held_back(void **state)
{
    struct log_limit limit = LOG_LIMIT_INIT(1, 1);
    unsigned suppressed;

    (void)state;
    assert_true(passes(&limit, &suppressed));
    assert_int_equal(suppressed, 0);
    for (int i = 0; i < 7; i++) {
        assert_false(passes(&limit, &suppressed));
    }
    now += SECOND;
    assert_true(passes(&limit, &suppressed));
    assert_int_equal(suppressed, 7);
    now += SECOND;
    assert_true(passes(&limit, &suppressed));
    assert_int_equal(suppressed, 0);
}

/* A line below the level is nobody's business, and takes no token. */
static void test_unwanted(void **state)
{
    struct log_limit limit = LOG_LIMIT_INIT(1, 1);
    struct log_line line;
    unsigned suppressed;

    (void)state;
    for (int i = 0; i < 10; i++) {
        log_begin_limited(&line, &limit, LOG_LEVEL_DEBUG, "detail");
        assert_false(line.wanted);
    }
    assert_true(passes(&limit, &suppressed));
    assert_int_equal(suppressed, 0);
}

static void test_zero_counts_as_one(void **state)
{
    struct log_limit limit = LOG_LIMIT_INIT(0, 0);

    (void)state;
    assert_int_equal(passed_of(&limit, 10), 1);
    now += SECOND;
    assert_int_equal(passed_of(&limit, 10), 1);
}

static void test_largest(void **state)
{
    struct log_limit fast = LOG_LIMIT_INIT(UINT32_MAX, UINT32_MAX);
    struct log_limit patient = LOG_LIMIT_INIT(1, UINT32_MAX);

    (void)state;
    assert_int_equal(passed_of(&fast, 1000), 1000);
    assert_int_equal(passed_of(&patient, 1000), 1000);
}

#define THREADS 4
#define TRIES   5000

struct crowd {
    struct log_limit limit;
    _Atomic unsigned passed;
    _Atomic unsigned told;
};

static void *try_often(void *arg)
{
    struct crowd *crowd = arg;
    unsigned suppressed;

    for (int i = 0; i < TRIES; i++) {
        if (passes(&crowd->limit, &suppressed)) {
            atomic_fetch_add(&crowd->passed, 1);
            atomic_fetch_add(&crowd->told, suppressed);
        }
        if (i % 100 == 0) {
            atomic_fetch_add(&now, SECOND / 1000);
        }
    }
    return NULL;
}

/* No token is taken twice, and each line is either written or told: the clock stands still at the end, so
 * the sums are exact. */
static void test_shared_by_threads(void **state)
{
    struct crowd crowd = {.limit = LOG_LIMIT_INIT(1000, 100)};
    pthread_t threads[THREADS];
    unsigned ticks = THREADS * TRIES / 100;
    unsigned suppressed;

    (void)state;
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, try_often, &crowd), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    assert_true(crowd.passed >= 100 && crowd.passed <= 100 + ticks);
    now += 10 * SECOND;
    assert_true(passes(&crowd.limit, &suppressed));
    assert_int_equal(crowd.passed + crowd.told + suppressed, THREADS * TRIES);
}

static int setup(void **state)
{
    (void)state;
    log_set(LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_burst_then_rate), cmocka_unit_test(test_tells_what_it_held_back),
        cmocka_unit_test(test_unwanted),        cmocka_unit_test(test_zero_counts_as_one),
        cmocka_unit_test(test_largest),         cmocka_unit_test(test_shared_by_threads),
    };

    return cmocka_run_group_tests_name("log_limit", tests, setup, NULL);
}
