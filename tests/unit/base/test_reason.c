/* The table of reasons. */
#include "base/reason.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void test_columns(void **state)
{
    (void)state;
    assert_string_equal(reason_word(REASON_DENIED_SNI), "denied_sni");
    assert_int_equal(reason_kind(REASON_DENIED_SNI), REASON_KIND_POLICY);
    assert_false(reason_retryable(REASON_DENIED_SNI));
    assert_true(reason_retryable(REASON_CONNECT_TIMEOUT));
    assert_string_equal(reason_meaning(REASON_CONNECT_REFUSED), "the destination refused the connection");
    assert_string_equal(reason_advice(REASON_CONNECT_REFUSED),
                        "see that something listens there, at that port");
}

/* The words are labels of metrics and arguments of a command. */
static void test_words_are_words(void **state)
{
    (void)state;
    for (unsigned i = 0; i < REASON_COUNT; i++) {
        const char *word = reason_word((enum reason)i);

        assert_true(strlen(word) > 0 && strlen(word) <= 32);
        assert_int_equal(strspn(word, "abcdefghijklmnopqrstuvwxyz_"), strlen(word));
        assert_int_equal(reason_find(word), i);
        assert_true(strlen(reason_meaning((enum reason)i)) > 0);
        assert_true(strlen(reason_advice((enum reason)i)) > 0);
        assert_true(reason_kind((enum reason)i) <= REASON_KIND_INTERNAL);
    }
}

static void test_unknown(void **state)
{
    (void)state;
    assert_int_equal(reason_find("no_such_reason"), REASON_COUNT);
    assert_int_equal(reason_find(""), REASON_COUNT);
    assert_int_equal(reason_find("FINISHED"), REASON_COUNT);
}

/* A number that is no reason comes from a fault of ours, and must not become a fault of memory. */
static void test_outside_of_the_table(void **state)
{
    (void)state;
    assert_string_equal(reason_word(REASON_NONE), "internal");
    assert_string_equal(reason_word((enum reason)12345), "internal");
    assert_string_equal(reason_word((enum reason) - 1), "internal");
    assert_int_equal(reason_kind(REASON_NONE), REASON_KIND_INTERNAL);
    assert_true(reason_retryable(REASON_NONE));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_columns),
        cmocka_unit_test(test_words_are_words),
        cmocka_unit_test(test_unknown),
        cmocka_unit_test(test_outside_of_the_table),
    };

    return cmocka_run_group_tests_name("reason", tests, NULL, NULL);
}
