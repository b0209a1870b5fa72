/* A string that grows. */
#include "base/text.h"

#include "fault.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#include <cmocka.h>

static void test_adds(void **state)
{
    struct text text = TEXT_INIT;

    (void)state;
    assert_string_equal(text_string(&text), "");
    text_add_bytes(&text, "", 0);
    assert_string_equal(text_string(&text), "");
    text_add(&text, "one");
    text_add_char(&text, ' ');
    text_add_bytes(&text, "two\0three", 9);
    text_addf(&text, " %d", 4);
    char *room = text_add_room(&text, 2);
    assert_non_null(room);
    memcpy(room, " 5", 2);
    assert_false(text.failed);
    assert_int_equal(text.length, 17);
    assert_memory_equal(text_string(&text), "one two\0three 4 5", 18);
    text_release(&text);
    assert_null(text.data);
    assert_string_equal(text_string(&text), "");
}

/* Formatting meets every way of having just enough, or not enough, room. */
static void test_numbers(void **state)
{
    static const struct {
        uint64_t number;
        const char *text;
    } rows[] = {
        {0, "0"}, {9, "9"}, {10, "10"}, {1234567890, "1234567890"}, {UINT64_MAX, "18446744073709551615"}};
    struct text text = TEXT_INIT;

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        text_clear(&text);
        text_add_u64(&text, rows[i].number);
        assert_string_equal(text_string(&text), rows[i].text);
    }
    text_release(&text);
}

static void test_grows_while_formatting(void **state)
{
    char expected[600];

    (void)state;
    for (int already = 0; already < 260; already++) {
        for (int more = 250 - already; more < 262 - already; more++) {
            struct text text = TEXT_INIT;

            if (more < 1) {
                continue;
            }
            for (int i = 0; i < already; i++) {
                text_add_char(&text, 'a');
            }
            text_addf(&text, "%0*d", more, 7);
            memset(expected, 'a', (size_t)already);
            memset(expected + already, '0', (size_t)more);
            expected[already + more - 1] = '7';
            expected[already + more] = '\0';
            assert_string_equal(text_string(&text), expected);
            assert_int_equal(text.length, already + more);
            text_release(&text);
        }
    }
    for (int more = 250; more < 2000; more += 583) {
        struct text text = TEXT_INIT;

        text_addf(&text, "%*d", more, 7);
        assert_int_equal(text.length, more);
        assert_int_equal(strlen(text.data), more);
        text_release(&text);
    }
}

static void test_keeps_its_memory_when_cleared(void **state)
{
    struct text text = TEXT_INIT;
    const char *data;

    (void)state;
    text_clear(&text);
    assert_string_equal(text_string(&text), "");
    text_add(&text, "something");
    data = text.data;
    text_clear(&text);
    assert_string_equal(text_string(&text), "");
    assert_int_equal(text.length, 0);
    text_add(&text, "else");
    assert_ptr_equal(text.data, data);
    assert_string_equal(text_string(&text), "else");
    text_release(&text);
}

static void test_stops_at_its_limit(void **state)
{
    struct text text;

    (void)state;
    text_init(&text, 5);
    text_add(&text, "12345");
    assert_false(text.failed);
    text_add(&text, "");
    assert_false(text.failed);
    text_add_char(&text, '6');
    assert_null(text_add_room(&text, 1));
    assert_true(text.failed);
    text_add(&text, "");
    assert_string_equal(text_string(&text), "12345");

    text_clear(&text);
    assert_false(text.failed);
    text_addf(&text, "%s", "123456");
    assert_true(text.failed);
    assert_string_equal(text_string(&text), "");
    text_addf(&text, "%s", "1");
    assert_string_equal(text_string(&text), "");

    text_clear(&text);
    text_addf(&text, "%s", "12345");
    assert_false(text.failed);
    assert_string_equal(text_string(&text), "12345");

    text_release(&text);
    assert_int_equal(text.limit, 5);
    text_add_bytes(&text, "123456", 6);
    assert_true(text.failed);
    assert_string_equal(text_string(&text), "");
    text_release(&text);
    assert_false(text.failed);
}

static void test_refuses_what_no_memory_holds(void **state)
{
    struct text text = TEXT_INIT;

    (void)state;
    text_add(&text, "a");
    text_add_bytes(&text, "", SIZE_MAX);
    assert_true(text.failed);
    assert_string_equal(text_string(&text), "a");
    text_release(&text);
}

/* There is no such character, and vsnprintf() says so. */
static void test_formatting_may_fail(void **state)
{
    struct text text = TEXT_INIT;

    (void)state;
    text_add(&text, "kept");
    text_addf(&text, "%lc", (wint_t)0xd800);
    assert_true(text.failed);
    assert_string_equal(text_string(&text), "kept");
    text_release(&text);
}

static void test_json(void **state)
{
    static const struct {
        const char *in;
        size_t length;
        const char *out;
    } cases[] = {
        {"", 0, ""},
        {"plain ~!", 8, "plain ~!"},
        {"\"\\/", 3, "\\\"\\\\/"},
        {"a\b\t\n\f\rz", 7, "a\\b\\t\\n\\f\\rz"},
        {"\0\x01\x1f\x7f", 4, "\\u0000\\u0001\\u001f\\u007f"},
        {"caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x9a\xaa", 14, "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x9a\xaa"},
        {"\xe2\x80\xa8\xe2\x80\xa9", 6, "\\u2028\\u2029"},
        {"\xc2\x9b", 2, "\\u009b"},
        {"\xe2\x80\xae\xd8\x9c\xe2\x80\x8b\xe2\x81\xa6\xef\xbb\xbf", 14,
         "\\u202e\\u061c\\u200b\\u2066\\ufeff"},
        {"\x80\xbf", 2, "\xef\xbf\xbd\xef\xbf\xbd"},
        {"\xc0\xaf", 2, "\xef\xbf\xbd\xef\xbf\xbd"},
        {"\xe0\x80\xaf", 3, "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
        {"\xed\xa0\x80", 3, "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
        {"\xf0\x80\x80\xaf", 4, "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
        {"\xf4\x90\x80\x80", 4, "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
        {"\xf5", 1, "\xef\xbf\xbd"},
        {"a\xe2\x82", 3, "a\xef\xbf\xbd\xef\xbf\xbd"},
        {"\xe2\x82z", 3, "\xef\xbf\xbd\xef\xbf\xbdz"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct text text = TEXT_INIT;
        /* a copy without a terminator, so that reading past the end is seen */
        char *in = malloc(cases[i].length + 1);

        in = realloc(in, cases[i].length ? cases[i].length : 1);
        memcpy(in, cases[i].in, cases[i].length);
        text_add_json(&text, in, cases[i].length);
        assert_string_equal(text_string(&text), cases[i].out);
        free(in);
        text_release(&text);
    }
}

static void test_secrets(void **state)
{
    struct text text = TEXT_SECRET_INIT;
    char *room;

    (void)state;
    text_add(&text, "secret");
    text_clear(&text);
    assert_memory_equal(text.data, "\0\0\0\0\0\0", 7);
    for (unsigned i = 0; i < 1000; i++) {
        text_addf(&text, "%u ", i);
    }
    assert_int_equal(text.length, 10 * 2 + 90 * 3 + 900 * 4);
    assert_int_equal(strncmp(text_string(&text), "0 1 2 3", 7), 0);
    assert_string_equal(text_string(&text) + text.length - 8, "998 999 ");
    text_release(&text);
    assert_null(text.data);
    assert_true(text.wiped);
    room = text_add_room(&text, 3);
    assert_non_null(room);
    memcpy(room, "abc", 3);
    assert_string_equal(text_string(&text), "abc");
    text_release(&text);
}

static void test_shown(void **state)
{
    static const char in[] = "a \"b\" c:\\d \033[2J\n \xff \xc3\xa9 \xe2\x80\xae";
    struct text text = TEXT_INIT;

    (void)state;
    text_add_shown(&text, in, sizeof in); /* the zero, too */
    assert_string_equal(text_string(&text),
                        "a \"b\" c:\\d \\u001b[2J\\n \xef\xbf\xbd \xc3\xa9 \\u202e\\u0000");
    text_release(&text);
}

static void test_json_stops_at_the_limit(void **state)
{
    struct text text;

    (void)state;
    text_init(&text, 8);
    text_add_json(&text, "123\n\n\n456", 9);
    assert_true(text.failed);
    assert_string_equal(text_string(&text), "123\\n\\n");
    text_release(&text);
}

static void build(void *arg)
{
    struct text text = TEXT_INIT;

    (void)arg;
    text_add(&text, "hello");
    text_addf(&text, "%300d", 1);
    text_add_json(&text, "\n", 1);
    for (int i = 0; i < 5000; i++) {
        text_add_char(&text, 'x');
    }
    if (!text.failed) {
        assert_int_equal(text.length, 5307);
    }
    assert_int_equal(strlen(text_string(&text)), text.length);
    text_release(&text);
}

static void test_out_of_memory(void **state)
{
    (void)state;
    assert_int_equal(fault_loop("text", FAULT_MEMORY, build, NULL), 6);
    assert_int_equal(fault_loop("text, from there on", FAULT_MEMORY | FAULT_STICKY, build, NULL), 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_adds),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_grows_while_formatting),
        cmocka_unit_test(test_keeps_its_memory_when_cleared),
        cmocka_unit_test(test_stops_at_its_limit),
        cmocka_unit_test(test_refuses_what_no_memory_holds),
        cmocka_unit_test(test_formatting_may_fail),
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_secrets),
        cmocka_unit_test(test_shown),
        cmocka_unit_test(test_json_stops_at_the_limit),
        cmocka_unit_test(test_out_of_memory),
    };

    return cmocka_run_group_tests_name("text", tests, NULL, NULL);
}
