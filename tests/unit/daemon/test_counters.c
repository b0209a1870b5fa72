/* Counters: kept by name, in order, and the buckets of the histogram. */
#include "daemon/counters.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);

static bool no_memory;

void *__wrap_calloc(size_t count, size_t size)
{
    return no_memory ? NULL : __real_calloc(count, size);
}

static void entries_are_made_once_and_in_order(void **state)
{
    (void)state;
    struct counters counters;
    char name[] = "kms";
    counters_init(&counters);
    assert_true(counters.start_time_s > 0);
    struct route_counters *kms = counters_route(&counters, name);
    struct route_counters *web = counters_route(&counters, "web");
    assert_non_null(kms);
    assert_non_null(web);
    name[0] = 'x'; /* the name was copied */
    assert_ptr_equal(counters_route(&counters, "kms"), kms);
    assert_ptr_equal(counters_route(&counters, "web"), web);
    assert_ptr_equal(counters.routes, kms);
    assert_ptr_equal(kms->next, web);
    assert_null(web->next);
    assert_string_equal(kms->name, "kms");
    counters_release(&counters);
    assert_null(counters.routes);
}

static void the_lists_are_separate(void **state)
{
    (void)state;
    struct counters counters;
    counters_init(&counters);
    struct enclave_counters *enclave = counters_enclave(&counters, "a");
    struct listener_counters *listener = counters_listener(&counters, "a");
    assert_non_null(enclave);
    assert_non_null(listener);
    assert_null(counters.routes);
    counter_add(&enclave->active, 3);
    counter_sub(&enclave->active, 1);
    assert_int_equal(counter_get(&enclave->active), 2);
    assert_int_equal(counter_get(&listener->accepted), 0);
    counter_set(&listener->accepted, 9);
    assert_int_equal(counter_get(&listener->accepted), 9);
    assert_string_equal(enclave->name, "a");
    assert_string_equal(listener->name, "a");
    counters_release(&counters);
}

static void want_of_memory_is_told(void **state)
{
    (void)state;
    struct counters counters;
    counters_init(&counters);
    no_memory = true;
    assert_null(counters_route(&counters, "kms"));
    assert_null(counters_enclave(&counters, "kms"));
    assert_null(counters_listener(&counters, "kms"));
    no_memory = false;
    assert_non_null(counters_route(&counters, "kms"));
    counters_release(&counters);
}

static void latencies_fall_into_buckets(void **state)
{
    (void)state;
    static const struct {
        uint64_t microseconds;
        unsigned bucket;
    } samples[] = {
        {0, 0},     {1000, 0},     {1001, 1},     {2000, 1},
        {99999, 6}, {5000000, 11}, {5000001, 12}, {UINT64_MAX / 2, 12},
    };
    for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
        struct histogram histogram = {.count = 0};
        histogram_add(&histogram, samples[i].microseconds);
        for (unsigned bucket = 0; bucket <= HISTOGRAM_BUCKETS; bucket++) {
            assert_int_equal(counter_get(&histogram.bucket[bucket]), bucket == samples[i].bucket);
        }
        assert_int_equal(counter_get(&histogram.count), 1);
        assert_int_equal(counter_get(&histogram.sum_us), samples[i].microseconds);
    }
}

static void codes_have_words(void **state)
{
    (void)state;
    assert_int_equal(session_code(CODE_NO_ERROR), SESSION_CODE_NO_ERROR);
    assert_int_equal(session_code(CODE_LOST), SESSION_CODE_LOST);
    assert_int_equal(session_code(CODE_CALM), SESSION_CODE_CALM);
    assert_int_equal(session_code(0x1f), SESSION_CODE_OTHER);
    assert_int_equal(session_code(code_of_reason(REASON_SHUTDOWN)), SESSION_CODE_OTHER);
    assert_int_equal(session_code(UINT32_MAX), SESSION_CODE_OTHER);
    assert_string_equal(session_code_word(SESSION_CODE_NO_ERROR), "no_error");
    assert_string_equal(session_code_word(SESSION_CODE_LOST), "lost");
    assert_string_equal(session_code_word(SESSION_CODE_OTHER), "other");
    for (unsigned i = 0; i < SESSION_CODE_COUNT; i++) {
        for (unsigned j = 0; j < i; j++) {
            assert_string_not_equal(session_code_word((enum session_code)i),
                                    session_code_word((enum session_code)j));
        }
    }
    assert_string_equal(open_refusal_word(REASON_DENIED_ROUTE), "denied_route");
    assert_string_equal(open_refusal_word(OPEN_UNSUPPORTED), "unsupported_kind");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(entries_are_made_once_and_in_order),
        cmocka_unit_test(the_lists_are_separate),
        cmocka_unit_test(want_of_memory_is_told),
        cmocka_unit_test(latencies_fall_into_buckets),
        cmocka_unit_test(codes_have_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
