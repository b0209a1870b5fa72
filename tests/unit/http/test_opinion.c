/* The second opinion: every way in which llhttp's reading may differ from ours is a refusal. */
#include "http/opinion.h"
#include <llhttp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static const struct http_limits limits = HTTP_LIMITS_INIT;
static const struct http_framing none;

static void read_head(struct http_reader *reader, enum http_scan_kind kind, const char *text)
{
    size_t used;
    struct http_span piece;
    http_reader_init(reader, kind, &limits);
    assert_int_equal(http_reader_read(reader, text, strlen(text), &used, &piece), HTTP_EVENT_HEAD);
}

static enum http_refusal opinion_of(const struct http_reader *reader, struct http_framing framing)
{
    unsigned method = 99;
    enum http_refusal why = http_second_opinion(reader, framing, &method);
    assert_int_equal(method == 99, why != HTTP_REFUSED_NONE);
    return why;
}

/* With `change` made to our reading of a head that both read the same. */
static void check(enum http_scan_kind kind, const char *text, struct http_framing framing,
                  void (*change)(struct http_reader *reader))
{
    struct http_reader reader;
    read_head(&reader, kind, text);
    assert_int_equal(opinion_of(&reader, framing), HTTP_REFUSED_NONE);
    change(&reader);
    assert_int_equal(opinion_of(&reader, framing), HTTP_REFUSED_DISAGREEMENT);
    http_reader_release(&reader);
}

static void another_target(struct http_reader *reader)
{
    reader->scan.target_size--;
}

static void another_name(struct http_reader *reader)
{
    reader->fields.list[0].name = HTTP_SPAN("Hust");
}

static void another_value(struct http_reader *reader)
{
    reader->fields.list[0].value = HTTP_SPAN("y");
}

static void a_value_where_none_is(struct http_reader *reader)
{
    reader->fields.list[1].value = HTTP_SPAN("y");
}

static void fewer_fields(struct http_reader *reader)
{
    reader->fields.count--;
}

static void another_version(struct http_reader *reader)
{
    reader->scan.minor = 0;
}

static void another_status(struct http_reader *reader)
{
    reader->scan.status++;
}

static void no_http(struct http_reader *reader)
{
    reader->fields.bytes.data[reader->scan.lines_at] = ' ';
}

static void a_head_without_end(struct http_reader *reader)
{
    reader->fields.bytes.length--;
}

static void differences_are_refused(void **state)
{
    (void)state;
    static const char request[] = "GET /a HTTP/1.1\r\nHost: x\r\nA:\r\nB: c\r\n\r\n";
    static void (*const changes[])(struct http_reader *) = {
        another_target, another_name,    another_value, a_value_where_none_is,
        fewer_fields,   another_version, no_http,       a_head_without_end,
    };
    for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
        check(HTTP_SCAN_REQUEST, request, none, changes[i]);
    }
    check(HTTP_SCAN_RESPONSE, "HTTP/1.1 204 x\r\nA: b\r\n\r\n", none, another_status);
}

static void framings_are_compared(void **state)
{
    (void)state;
    static const struct http_framing chunked = {.body = HTTP_BODY_CHUNKED};
    static const struct http_framing five = {.body = HTTP_BODY_LENGTH, .length = 5};
    static const struct http_framing until_end = {.body = HTTP_BODY_UNTIL_END};
    static const struct {
        const char *headers;
        bool none, chunked, five;
    } samples[] = {
        {"", true, false, false},
        {"Content-Length: 5\r\n", false, false, true},
        {"Content-Length: 6\r\n", false, false, false},
        {"Transfer-Encoding: chunked\r\n", false, true, false},
    };
    for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
        struct http_reader reader;
        struct text text = TEXT_INIT;
        text_addf(&text, "PUT / HTTP/1.1\r\nHost: x\r\n%s\r\n", samples[i].headers);
        read_head(&reader, HTTP_SCAN_REQUEST, text_string(&text));
        assert_int_equal(opinion_of(&reader, none) == HTTP_REFUSED_NONE, samples[i].none);
        assert_int_equal(opinion_of(&reader, chunked) == HTTP_REFUSED_NONE, samples[i].chunked);
        assert_int_equal(opinion_of(&reader, five) == HTTP_REFUSED_NONE, samples[i].five);
        http_reader_release(&reader);
        text_clear(&text);
        text_addf(&text, "HTTP/1.1 200 OK\r\n%s\r\n", samples[i].headers);
        read_head(&reader, HTTP_SCAN_RESPONSE, text_string(&text));
        assert_int_equal(opinion_of(&reader, none), HTTP_REFUSED_NONE);
        assert_int_equal(opinion_of(&reader, until_end) == HTTP_REFUSED_NONE, samples[i].none);
        http_reader_release(&reader);
        text_release(&text);
    }
}

static void methods_are_told(void **state)
{
    (void)state;
    struct http_reader reader;
    unsigned method;
    read_head(&reader, HTTP_SCAN_REQUEST, "PATCH / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_int_equal(http_second_opinion(&reader, none, &method), HTTP_REFUSED_NONE);
    assert_int_equal(method, HTTP_PATCH);
    http_reader_release(&reader);
    read_head(&reader, HTTP_SCAN_REQUEST, "PETCH / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_int_equal(opinion_of(&reader, none), HTTP_REFUSED_METHOD);
    http_reader_release(&reader);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(differences_are_refused),
        cmocka_unit_test(framings_are_compared),
        cmocka_unit_test(methods_are_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
