/* What is read of problem documents. */
#include "cli/problem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static struct problem problem;

static void read_text(const char *text)
{
    problem_read(&problem, text, strlen(text));
}

static void test_members(void **state)
{
    (void)state;
    read_text(
        " {\"status\": 503, \"x\": {\"detail\": [\"no\", {\"detail\": \"}\"}]}, \"detail\" : \"why\",\n"
        "\"title\":\"T\", \"code\":\"c\",\"advice\":\"do \\\"this\\\"\\n\\/ that\",\"t\":true, \"n\":null}");
    assert_string_equal(problem.title, "T");
    assert_string_equal(problem.detail, "why");
    assert_string_equal(problem.code, "c");
    assert_string_equal(problem.advice, "do \\\"this\\\" / that");
}

/* What comes first is told, and the rest let be. */
static void test_what_is_none(void **state)
{
    (void)state;
    static const char *const texts[] = {"",
                                        "null",
                                        "[\"detail\",\"x\"]",
                                        "{",
                                        "{}",
                                        "{\"detail",
                                        "{\"detail\"",
                                        "{\"detail\":",
                                        "{\"detail\":\"x",
                                        "{\"detail\":\"x\\",
                                        "{\"detail\":{\"detail\":\"x\"}}",
                                        "{\"detail\":}",
                                        "{\"a\":]",
                                        "{\"a\":[\"x",
                                        "{detail:\"x\"}"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        read_text(texts[i]);
        assert_string_equal(problem.detail, "");
    }
    read_text("{\"detail\":\"x\",");
    assert_string_equal(problem.detail, "x");
    read_text("{\"detail\":\"x\" \"title\":\"y\"}");
    assert_string_equal(problem.title, "");
}

static void test_depth(void **state)
{
    (void)state;
    char deep[200] = "{\"a\":";
    memset(deep + 5, '[', 100);
    read_text(deep);
    assert_string_equal(problem.detail, "");
}

/* A terminal can bear it, however long it is. */
static void test_hostile_texts(void **state)
{
    (void)state;
    char text[5000] = "{\"detail\":\"";
    read_text("{\"detail\":\"\x1b[2J\xff\xe2\x80\xae\\u001b\"}");
    for (const char *at = problem.detail; *at != '\0'; at++) {
        assert_true((unsigned char)*at >= 0x20);
    }
    assert_null(strstr(problem.detail, "\xe2\x80\xae"));
    memset(text + 11, '\\', 4000);
    strcpy(text + 4011, "\",\"code\":\"c\"}");
    read_text(text);
    assert_in_range(strlen(problem.detail), 100, PROBLEM_TEXT_MAX - 1);
    assert_string_equal(problem.code, "c");
}

static void test_types(void **state)
{
    (void)state;
    assert_true(problem_is_type("application/problem+json"));
    assert_true(problem_is_type("Application/Problem+JSON; charset=utf-8"));
    assert_false(problem_is_type("application/problem+jsonx"));
    assert_false(problem_is_type("application/json"));
    assert_false(problem_is_type(""));
    assert_false(problem_is_type(NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_members), cmocka_unit_test(test_what_is_none),
        cmocka_unit_test(test_depth),   cmocka_unit_test(test_hostile_texts),
        cmocka_unit_test(test_types),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
