/* Characters, spans, numbers, lists and authorities. */
#include "http/syntax.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define ALPHA "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGIT "0123456789"
#define PCHAR ALPHA DIGIT "-._~!$&'()*+,;=:@%/"

static void the_table_is_the_grammar(void **state)
{
    (void)state;
    static const struct {
        unsigned class;
        const char *bytes;
    } grammar[] = {
        {HTTP_TOKEN, ALPHA DIGIT "!#$%&'*+-.^_`|~"},
        {HTTP_PATH, PCHAR},
        {HTTP_QUERY, PCHAR "?"},
        {HTTP_UNRESERVED, ALPHA DIGIT "-._~"},
        {HTTP_DIGIT, DIGIT},
        {HTTP_HEX, DIGIT "abcdefABCDEF"},
        {HTTP_TARGET, PCHAR "?[]"},
        {HTTP_ALNUM, ALPHA DIGIT},
    };
    for (int byte = 0; byte < 256; byte++) {
        char c = (char)byte;
        for (size_t i = 0; i < ARRAY_SIZE(grammar); i++) {
            assert_int_equal(http_is(c, grammar[i].class), byte != 0 && strchr(grammar[i].bytes, c) != NULL);
        }
        assert_int_equal(http_is(c, HTTP_VALUE), byte == '\t' || (byte >= ' ' && byte <= '~'));
        assert_int_equal(http_is(c, HTTP_OPAQUE), byte >= 0x80);
    }
}

static void spans_compare(void **state)
{
    (void)state;
    struct http_span span = http_span_of("Host");
    assert_true(http_span_is(span, "Host"));
    assert_false(http_span_is(span, "host"));
    assert_false(http_span_is(span, "Hos"));
    assert_true(http_span_is_word(span, "hOST"));
    assert_false(http_span_is_word(span, "hOSTs"));
    assert_true(http_span_equal(span, HTTP_SPAN("Host")));
    assert_false(http_span_equal(span, HTTP_SPAN("host")));
    assert_false(http_span_equal(span, HTTP_SPAN("Hos")));
    assert_true(http_span_equal((struct http_span){.data = NULL}, HTTP_SPAN("")));
    assert_true(http_span_same_word(span, HTTP_SPAN("hOst")));
    assert_false(http_span_same_word(span, HTTP_SPAN("Hast")));
    assert_false(http_span_same_word(span, HTTP_SPAN("hOsts")));
    assert_true(http_span_same_word((struct http_span){.data = NULL}, HTTP_SPAN("")));
    assert_true(http_span_all(span, HTTP_TOKEN));
    assert_false(http_span_all(HTTP_SPAN(""), HTTP_TOKEN));
    assert_false(http_span_all(HTTP_SPAN("a b"), HTTP_TOKEN));
    assert_true(http_span_equal(http_span_trim(HTTP_SPAN(" \t a b\t ")), HTTP_SPAN("a b")));
    assert_int_equal(http_span_trim(HTTP_SPAN(" \t ")).size, 0);
    assert_int_equal(http_hex_value('0'), 0);
    assert_int_equal(http_hex_value('a'), 10);
    assert_int_equal(http_hex_value('F'), 15);
}

static void numbers_are_plain(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "-1",
                                      "+1",
                                      "01",
                                      "00",
                                      " 1",
                                      "1 ",
                                      "1_0",
                                      "0x",
                                      "1e3",
                                      "1,1",
                                      "18446744073709551616",
                                      "99999999999999999999"};
    uint64_t number = 7;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        assert_false(http_span_number(http_span_of(bad[i]), &number));
        assert_int_equal(number, 7);
    }
    assert_true(http_span_number(HTTP_SPAN("0"), &number));
    assert_int_equal(number, 0);
    assert_true(http_span_number(HTTP_SPAN("18446744073709551615"), &number));
    assert_true(number == UINT64_MAX);
}

static void lists_are_divided(void **state)
{
    (void)state;
    static const char *const wanted[] = {"a", "b c", "", "d", ""};
    struct http_span list = HTTP_SPAN("a, b c ,,\td ,"), element;
    for (size_t i = 0; i < ARRAY_SIZE(wanted); i++) {
        assert_true(http_list_next(&list, &element));
        assert_true(http_span_is(element, wanted[i]));
    }
    assert_false(http_list_next(&list, &element));
    list = HTTP_SPAN("");
    assert_true(http_list_next(&list, &element));
    assert_int_equal(element.size, 0);
    assert_false(http_list_next(&list, &element));
}

static void authorities_are_read(void **state)
{
    (void)state;
    static const struct {
        const char *text, *host;
        uint16_t port;
    } good[] = {
        {"example.com", "example.com", 0},
        {"EXAMPLE.com:80", "EXAMPLE.com", 80},
        {"10.0.0.1:65535", "10.0.0.1", 65535},
        {"a_b-c.d.", "a_b-c.d.", 0},
        {"0.0.0.0=1;!$&'()*+", "0.0.0.0=1;!$&'()*+", 0},
        {"[::1]", "::1", 0},
        {"[fd00::1]:8443", "fd00::1", 8443},
    };
    static const char *const bad[] = {
        "",       ":80",     "a:",
        "a:0",    "a:65536", "a:080",
        "a:+1",   "a b",     "a,b",
        "a/b",    "a@b",     "a?b",
        "a#b",    "a%41",    ".a",
        "[",      "[]",      "[::1",
        "[::1]x", "[::g]",   "[127.0.0.1]",
        "[::1]:", "a~b",     "a:1:2",
        "::1",    "a\"",     "[1111:1111:1111:1111:1111:1111:1111:1111:1111:1111]"};
    struct http_span host;
    uint16_t port;
    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        assert_true(http_authority(http_span_of(good[i].text), &host, &port));
        assert_true(http_span_is(host, good[i].host));
        assert_int_equal(port, good[i].port);
    }
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        if (http_authority(http_span_of(bad[i]), &host, &port)) {
            fail_msg("%s is an authority", bad[i]);
        }
    }
    char name[257];
    memset(name, 'a', sizeof name);
    assert_true(http_authority((struct http_span){.data = name, .size = 255}, &host, &port));
    assert_false(http_authority((struct http_span){.data = name, .size = 256}, &host, &port));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_table_is_the_grammar), cmocka_unit_test(spans_compare),
        cmocka_unit_test(numbers_are_plain),        cmocka_unit_test(lists_are_divided),
        cmocka_unit_test(authorities_are_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
