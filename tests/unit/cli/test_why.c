/* Codes in words. */
#include "cli/why.h"

#include "session/codes.h"
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void test_reasons_have_the_tables_words(void **state)
{
    (void)state;
    char text[ERROR_TEXT_MAX];
    for (unsigned i = 0; i < REASON_COUNT; i++) {
        why_format(CODE_REASON + i, "tcp://10.0.0.1:443", text);
        assert_ptr_equal(strstr(text, reason_word((enum reason)i)), text);
        assert_non_null(strstr(text, reason_meaning((enum reason)i)));
        assert_non_null(strstr(text, " (tcp://10.0.0.1:443); "));
        assert_non_null(strstr(text, reason_advice((enum reason)i)));
    }
}

/* A daemon that has nothing to add says the table's words. */
static void test_the_same_words_once(void **state)
{
    (void)state;
    char text[ERROR_TEXT_MAX];
    why_format(CODE_REASON + REASON_DENIED_ROUTE, reason_meaning(REASON_DENIED_ROUTE), text);
    const char *first = strstr(text, reason_meaning(REASON_DENIED_ROUTE));
    assert_non_null(first);
    assert_null(strstr(first + 1, reason_meaning(REASON_DENIED_ROUTE)));
}

/* Each has words of its own, or is a broken rule. */
static void test_the_protocols_own(void **state)
{
    (void)state;
    static const uint32_t codes[] = {
#define X(id, number, word) number,
        CODE_TABLE(X)
#undef X
    };
    char text[ERROR_TEXT_MAX];
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        why_format(codes[i], NULL, text);
        assert_ptr_equal(strstr(text, code_word(codes[i])), text);
        assert_non_null(strstr(text, "; "));
        assert_null(strstr(text, "()"));
    }
    assert_string_equal(why_format(CODE_PROTOCOL, "", text),
                        "protocol: a rule of the protocol was broken; report it, with "
                        "this line and the daemon's log");
    assert_non_null(strstr(why_format(CODE_LOST, NULL, text), "the connection to the daemon was lost"));
}

static void test_codes_of_a_later_release(void **state)
{
    (void)state;
    char text[ERROR_TEXT_MAX];
    assert_string_equal(
        why_format(0x7777, "in full", text),
        "unknown: a reason that this release does not know (in full); look at the daemon's log");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reasons_have_the_tables_words),
        cmocka_unit_test(test_the_same_words_once),
        cmocka_unit_test(test_the_protocols_own),
        cmocka_unit_test(test_codes_of_a_later_release),
    };
    return cmocka_run_group_tests_name("cli/why", tests, NULL, NULL);
}
