/* Names: folded, known, and kept in the order that the look-up needs. */
#include "http/fields.h"
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static const char *const names[] = {"",
#define X(id, name, traits) name,
                                    HTTP_NAME_TABLE(X)
#undef X
};

static void every_name_is_found(void **state)
{
    (void)state;
    for (unsigned i = 1; i < HTTP_NAME_COUNT; i++) {
        struct http_folded folded;
        http_fold(http_span_of(names[i]), &folded);
        assert_false(folded.odd);
        assert_int_equal(http_name_find(&folded), i);
        assert_true(i == 1 || strlen(names[i - 1]) <= strlen(names[i]));
        assert_true(strlen(names[i]) < HTTP_FOLDED_MAX);
    }
    assert_int_equal(http_name_traits(HTTP_NAME_OTHER), 0);
}

static void names_fold(void **state)
{
    (void)state;
    static const struct {
        const char *name, *folded;
        bool odd;
        enum http_name known;
    } samples[] = {
        {"HOST", "host", false, HTTP_NAME_HOST},
        {"x-A-9", "x-a-9", false, HTTP_NAME_OTHER},
        {"X_A", "x-a", true, HTTP_NAME_OTHER},
        {"Content_Length", "content-length", true, HTTP_NAME_CONTENT_LENGTH},
        {"content--length", "content-length", true, HTTP_NAME_CONTENT_LENGTH},
        {"_Content.Length!", "content-length", true, HTTP_NAME_CONTENT_LENGTH},
        {"Proxy-Foo", "proxy-foo", false, HTTP_NAME_PROXY_CONNECTION},
        {"proxy", "proxy", false, HTTP_NAME_OTHER},
        {"proxya-b", "proxya-b", false, HTTP_NAME_OTHER},
        {"-", "", true, HTTP_NAME_OTHER},
        {"zzzz", "zzzz", false, HTTP_NAME_OTHER},
    };
    for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
        struct http_folded folded;
        http_fold(http_span_of(samples[i].name), &folded);
        assert_int_equal(folded.size, strlen(samples[i].folded));
        assert_memory_equal(folded.data, samples[i].folded, folded.size);
        assert_int_equal(folded.odd, samples[i].odd);
        assert_int_equal(http_name_find(&folded), samples[i].known);
    }
}

static void long_names_are_cut(void **state)
{
    (void)state;
    char name[2 * HTTP_FOLDED_MAX];
    struct http_folded folded;
    memset(name, 'a', sizeof name);
    http_fold((struct http_span){.data = name, .size = sizeof name}, &folded);
    assert_int_equal(folded.size, HTTP_FOLDED_MAX);
    name[HTTP_FOLDED_MAX - 1] = '-';
    http_fold((struct http_span){.data = name, .size = HTTP_FOLDED_MAX}, &folded);
    assert_int_equal(folded.size, HTTP_FOLDED_MAX);
    assert_int_equal(http_name_find(&folded), HTTP_NAME_OTHER);
}

static void fields_are_found(void **state)
{
    (void)state;
    static const char bytes[] = "X\r\nA: 1\r\nb:\r\nA:\t2 \r\n\r\n";
    struct http_fields fields;
    http_fields_init(&fields, 100);
    text_add(&fields.bytes, bytes);
    assert_int_equal(http_fields_split(&fields, 3, 3), 0);
    assert_true(http_span_is(http_fields_find(&fields, "a")->value, "1"));
    assert_true(http_span_is(fields.list[1].value, ""));
    assert_true(http_span_is(fields.list[2].value, "2"));
    assert_null(http_fields_find(&fields, "c"));
    http_fields_release(&fields);
    assert_null(http_fields_find(&fields, "a"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_name_is_found),
        cmocka_unit_test(names_fold),
        cmocka_unit_test(long_names_are_cut),
        cmocka_unit_test(fields_are_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
