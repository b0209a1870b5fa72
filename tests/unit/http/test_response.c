/* Responses: the table, every split of it, and what a response tells. */
#include "fault.h"
#include "forward.h"
#include "table.h"
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static const struct http_limits limits = {.head = {.bytes = 256, .target = 0, .fields = 8},
                                          .body = 1000000,
                                          .interim = 3};

static bool begins(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

static struct forward_answer how_of(const char *name)
{
    bool old = begins(name, "old-");
    return (struct forward_answer){.limits = limits,
                                   .client = {.chunked = !old, .keep_alive = !old},
                                   .head_only = begins(name, "head-"),
                                   .unclean = begins(name, "unclean-")};
}

static const char *verdict_of(const struct forwarded *forwarded)
{
    return forwarded->why != HTTP_REFUSED_NONE ? http_refusal_word(forwarded->why)
           : forwarded->whole > 0              ? "forwarded"
                                               : "incomplete";
}

static void check_reread(const struct table_case *entry, const struct forwarded *forwarded)
{
    struct text meaning = TEXT_INIT;
    if (!forward_reread(true, begins(entry->name, "head-"), &forwarded->wire, &meaning) ||
        strcmp(text_string(&meaning), text_string(&forwarded->meaning)) != 0) {
        fail_msg("%s: llhttp reads\n%s\nfor\n%s", entry->name, text_string(&meaning),
                 text_string(&forwarded->meaning));
    }
    text_release(&meaning);
}

static void check_case(const struct table_case *entry)
{
    struct forward_answer how = how_of(entry->name);
    struct forwarded whole;
    forward_response(&whole, &how, entry->bytes.data, entry->bytes.length, entry->bytes.length);
    if (strcmp(verdict_of(&whole), entry->verdict) != 0) {
        fail_msg("%s: %s, expected %s", entry->name, verdict_of(&whole), entry->verdict);
    }
    if (whole.whole > 0) {
        assert_string_equal(text_string(&whole.wire), text_string(&entry->wire));
        check_reread(entry, &whole);
    }
    for (size_t step = 1; step < entry->bytes.length; step++) {
        struct forwarded split;
        forward_response(&split, &how, entry->bytes.data, entry->bytes.length, step);
        assert_string_equal(verdict_of(&split), entry->verdict);
        assert_string_equal(text_string(&split.meaning), text_string(&whole.meaning));
        assert_int_equal(split.used, whole.used);
        forwarded_release(&split);
    }
    forwarded_release(&whole);
}

static void the_table_of_responses(void **state)
{
    (void)state;
    struct table table;
    struct table_case entry;
    table_open(&table, TEST_DATA "/responses.table");
    while (table_next(&table, &entry)) {
        check_case(&entry);
        table_release(&entry);
    }
    table_close(&table);
}

/* Reads a response to its end. */
static enum http_event read_all(struct http_response *response, const char *text)
{
    size_t size = strlen(text), at = 0, used;
    struct http_span piece;
    enum http_event event;
    do {
        event = http_response_read(response, text + at, size - at, &used, &piece);
        at += used;
    } while (event == HTTP_EVENT_HEAD || event == HTTP_EVENT_BODY);
    return event;
}

static void a_connection_may_be_used_again(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool again;
    } samples[] = {
        {"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na", true},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", true},
        {"HTTP/1.1 204 OK\r\n\r\n", true},
        {"HTTP/1.1 200 OK\r\nConnection: Close\r\nContent-Length: 1\r\n\r\na", false},
        {"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\na", false},
        {"HTTP/1.1 200 OK\r\n\r\na", false},
    };
    for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
        struct http_response response;
        http_response_init(&response, &limits, false);
        assert_false(http_response_begun(&response));
        enum http_event event = read_all(&response, samples[i].text);
        assert_true(event == HTTP_EVENT_END || event == HTTP_EVENT_MORE);
        assert_true(http_response_begun(&response));
        assert_int_equal(http_response_finish(&response, true), HTTP_EVENT_END);
        assert_int_equal(response.keep_alive, samples[i].again);
        http_response_release(&response);
    }
}

/* A request may go out once more only if nothing came back, an interim answer included. */
static void an_answer_that_never_came(void **state)
{
    (void)state;
    struct http_response response;
    http_response_init(&response, &limits, false);
    assert_int_equal(http_response_finish(&response, true), HTTP_EVENT_REFUSED);
    assert_int_equal(response.why, HTTP_REFUSED_RESPONSE_CUT);
    assert_false(http_response_begun(&response));
    http_response_release(&response);
    http_response_init(&response, &limits, false);
    assert_int_equal(read_all(&response, "HTTP/1.1 100 Continue\r\n\r\n"), HTTP_EVENT_MORE);
    assert_true(http_response_begun(&response));
    http_response_release(&response);
}

static void a_body_until_the_end_has_a_bound(void **state)
{
    (void)state;
    struct http_limits tight = limits;
    struct http_response response;
    tight.body = 3;
    http_response_init(&response, &tight, false);
    assert_int_equal(read_all(&response, "HTTP/1.1 200 OK\r\n\r\nabc"), HTTP_EVENT_MORE);
    assert_int_equal(read_all(&response, "d"), HTTP_EVENT_REFUSED);
    assert_int_equal(response.why, HTTP_REFUSED_RESPONSE_SIZE);
    http_response_release(&response);
    http_response_init(&response, &tight, false);
    assert_int_equal(read_all(&response, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n"), HTTP_EVENT_REFUSED);
    assert_int_equal(response.why, HTTP_REFUSED_RESPONSE_SIZE);
    http_response_release(&response);
}

static void rewrite(const struct http_response *response, struct text *out)
{
    static const struct http_client client = {.chunked = true};
    struct http_head head;
    struct http_framing framing;
    http_head_init(&head, 4096);
    if (http_response_rewrite(response, &client, &head, &framing) == HTTP_REFUSED_NONE) {
        http_head_write(&head, out);
    }
    http_head_release(&head);
}

static void run(void *arg)
{
    (void)arg;
    static const char text[] =
        "HTTP/1.1 200 OK\r\nA: b\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nC: d\r\n\r\n";
    struct http_response response;
    struct text out = TEXT_INIT;
    size_t at = 0, used;
    struct http_span piece;
    enum http_event event;
    http_response_init(&response, &limits, false);
    do {
        event = http_response_read(&response, text + at, sizeof text - 1 - at, &used, &piece);
        at += used;
        if (event == HTTP_EVENT_HEAD) {
            rewrite(&response, &out);
        }
    } while (event == HTTP_EVENT_HEAD || event == HTTP_EVENT_BODY);
    assert_true(event == HTTP_EVENT_END ||
                (event == HTTP_EVENT_REFUSED && response.why == HTTP_REFUSED_NO_MEMORY));
    if (out.length > 0 && !out.failed) {
        assert_string_equal(
            text_string(&out),
            "HTTP/1.1 200 OK\r\na: b\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n");
    }
    text_release(&out);
    http_response_release(&response);
}

static void memory_fails(void **state)
{
    (void)state;
    assert_true(fault_loop("http response", FAULT_MEMORY, run, NULL) >= 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_table_of_responses),
        cmocka_unit_test(a_connection_may_be_used_again),
        cmocka_unit_test(an_answer_that_never_came),
        cmocka_unit_test(a_body_until_the_end_has_a_bound),
        cmocka_unit_test(memory_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
