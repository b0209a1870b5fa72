/* Requests: the table of smuggling, every split of it, bounds, and what is told of a request. */
#include "fault.h"
#include "forward.h"
#include "table.h"
#include <llhttp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define BODY_MAX 1000000

static struct http_rules rules;

static int set_up(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    http_rules_init(&rules);
    rules.limits.body = BODY_MAX;
    assert_int_equal(http_header_rules_add(&rules.headers, HTTP_HEADER_SET, "authorization",
                                           "Bearer ${credential:token}", &err),
                     0);
    assert_int_equal(http_header_rules_add(&rules.headers, HTTP_HEADER_SET, "x-enclave", "${enclave}", &err),
                     0);
    assert_int_equal(http_header_rules_add(&rules.headers, HTTP_HEADER_ADD, "via", "1.1 postern", &err), 0);
    assert_int_equal(http_header_rules_add(&rules.headers, HTTP_HEADER_REMOVE, "x-internal", NULL, &err), 0);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    http_rules_release(&rules);
    return 0;
}

static const char *verdict_of(const struct forwarded *forwarded)
{
    if (forwarded->why != HTTP_REFUSED_NONE) {
        return http_refusal_word(forwarded->why);
    }
    return forwarded->cut || forwarded->last == HTTP_EVENT_MORE ? "incomplete" : "forwarded";
}

static void check_verdict(const struct table_case *entry, const struct forwarded *forwarded, size_t step)
{
    const char *verdict = verdict_of(forwarded);
    if (strcmp(verdict, entry->verdict) != 0 || forwarded->whole != entry->whole) {
        fail_msg("%s, in steps of %zu: %s after %u, expected %s after %u", entry->name, step, verdict,
                 forwarded->whole, entry->verdict, entry->whole);
    }
}

static void check_wire(const struct table_case *entry, const struct forwarded *forwarded)
{
    bool same = entry->wire.length == forwarded->wire.length &&
                memcmp(text_string(&entry->wire), text_string(&forwarded->wire), entry->wire.length) == 0;
    /* Of one that was cut in its body the upstream has a part, which is never whole. */
    if (!same && !forwarded->cut) {
        fail_msg("%s: the upstream gets\n%s\nexpected\n%s", entry->name, text_string(&forwarded->wire),
                 text_string(&entry->wire));
    }
}

/* What was forwarded means to llhttp what it means to us. */
static void check_reread(const char *name, const struct forwarded *forwarded)
{
    struct text meaning = TEXT_INIT;
    if (!forward_reread(false, false, &forwarded->wire, &meaning) ||
        strcmp(text_string(&meaning), text_string(&forwarded->meaning)) != 0) {
        fail_msg("%s: llhttp reads\n%s\nfor\n%s", name, text_string(&meaning),
                 text_string(&forwarded->meaning));
    }
    text_release(&meaning);
}

static void check_case(const struct table_case *entry)
{
    struct forwarded whole;
    forward_requests(&whole, &rules, entry->bytes.data, entry->bytes.length, entry->bytes.length);
    check_verdict(entry, &whole, 0);
    check_wire(entry, &whole);
    if (!whole.cut) {
        check_reread(entry->name, &whole);
    }
    for (size_t step = 1; step < entry->bytes.length; step++) {
        struct forwarded split;
        forward_requests(&split, &rules, entry->bytes.data, entry->bytes.length, step);
        check_verdict(entry, &split, step);
        assert_string_equal(text_string(&split.meaning), text_string(&whole.meaning));
        assert_int_equal(split.used, whole.used);
        forwarded_release(&split);
    }
    forwarded_release(&whole);
}

static void the_table_of_smuggling(void **state)
{
    (void)state;
    struct table table;
    struct table_case entry;
    unsigned count = 0;
    table_open(&table, TEST_DATA "/smuggling.table");
    for (; table_next(&table, &entry); count++) {
        check_case(&entry);
        table_release(&entry);
    }
    table_close(&table);
    assert_true(count >= 60);
}

/* Feeds all of it, and gives the first event that is not MORE. */
static enum http_event read_head(struct http_request *request, const char *text, size_t size, size_t step)
{
    enum http_event event = HTTP_EVENT_MORE;
    for (size_t at = 0; at < size && event == HTTP_EVENT_MORE; at += step) {
        size_t used;
        struct http_span piece;
        event = http_request_read(request, text + at, size - at < step ? size - at : step, &used, &piece);
    }
    return event;
}

static enum http_refusal refusal_of(const struct http_rules *of, const char *text, size_t size, size_t step)
{
    struct http_request request;
    http_request_init(&request, of);
    enum http_event event = read_head(&request, text, size, step);
    enum http_refusal why = request.reader.why;
    assert_int_equal(event == HTTP_EVENT_REFUSED, why != HTTP_REFUSED_NONE);
    http_request_release(&request);
    return why;
}

/* At each bound, and one past it, whole and split. */
static void heads_have_bounds(void **state)
{
    (void)state;
    struct http_rules tight;
    http_rules_init(&tight);
    tight.limits.head = (struct http_scan_limits){.bytes = 128, .target = 32, .fields = 4};
    for (size_t step = 1; step <= 200; step += 199) {
        for (size_t over = 0; over <= 1; over++) {
            char text[256];
            memset(text, 'a', sizeof text);
            memcpy(text, "GET / HTTP/1.1\r\nHost: x\r\nA: ", 28);
            memcpy(text + 124 + over, "\r\n\r\n", 4);
            assert_int_equal(refusal_of(&tight, text, 128 + over, step),
                             over ? HTTP_REFUSED_HEAD_SIZE : HTTP_REFUSED_NONE);
            memset(text, 'a', sizeof text);
            memcpy(text, "GET /", 5);
            memcpy(text + 36 + over, " HTTP/1.1\r\nHost: x\r\n\r\n", 22);
            assert_int_equal(refusal_of(&tight, text, 58 + over, step),
                             over ? HTTP_REFUSED_TARGET_SIZE : HTTP_REFUSED_NONE);
            const char *fields = over ? "GET / HTTP/1.1\r\nHost: x\r\na:\r\na:\r\na:\r\na:\r\n\r\n"
                                      : "GET / HTTP/1.1\r\nHost: x\r\na:\r\na:\r\na:\r\n\r\n";
            assert_int_equal(refusal_of(&tight, fields, strlen(fields), step),
                             over ? HTTP_REFUSED_FIELDS : HTTP_REFUSED_NONE);
        }
    }
    http_rules_release(&tight);
}

static void trailers_have_the_same_bounds(void **state)
{
    (void)state;
    static const char begin[] = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n";
    struct http_rules tight;
    struct forwarded forwarded;
    char text[512];
    http_rules_init(&tight);
    tight.limits.head = (struct http_scan_limits){.bytes = 128, .target = 32, .fields = 4};
    for (size_t over = 0; over <= 1; over++) {
        size_t size = sizeof begin - 1 + 128 + over;
        memset(text, 'a', sizeof text);
        memcpy(text, begin, sizeof begin - 1);
        text[sizeof begin] = ':';
        memcpy(text + size - 4, "\r\n\r\n", 4);
        forward_requests(&forwarded, &tight, text, size, 7);
        assert_int_equal(forwarded.why, over ? HTTP_REFUSED_HEAD_SIZE : HTTP_REFUSED_NONE);
        assert_int_equal(forwarded.whole, !over);
        forwarded_release(&forwarded);
    }
    http_rules_release(&tight);
}

static void extensions_have_a_bound(void **state)
{
    (void)state;
    for (size_t over = 0; over <= 1; over++) {
        struct text text = TEXT_INIT;
        struct forwarded forwarded;
        text_add(&text, "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1;");
        for (size_t i = 0; i < HTTP_CHUNK_EXTENSIONS_MAX - 3 + over; i++) {
            text_add(&text, "a");
        }
        text_add(&text, "\r\nx\r\n1;a\r\nx\r\n0\r\n\r\n");
        forward_requests(&forwarded, &rules, text.data, text.length, text.length);
        assert_int_equal(forwarded.why, over ? HTTP_REFUSED_CHUNK : HTTP_REFUSED_NONE);
        forwarded_release(&forwarded);
        text_release(&text);
    }
}

/* A body of any size takes no memory: pieces lie where the bytes came. */
static void a_body_is_not_copied(void **state)
{
    (void)state;
    static const char head[] = "PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n";
    static char bytes[600];
    struct http_request request;
    struct http_span piece;
    size_t used;
    http_request_init(&request, &rules);
    assert_int_equal(read_head(&request, head, sizeof head - 1, 64), HTTP_EVENT_HEAD);
    size_t capacity = request.reader.fields.bytes.capacity;
    assert_int_equal(http_request_read(&request, bytes, 600, &used, &piece), HTTP_EVENT_BODY);
    assert_ptr_equal(piece.data, bytes);
    assert_int_equal(piece.size, 600);
    assert_int_equal(http_request_finish(&request), HTTP_EVENT_REFUSED);
    assert_int_equal(request.reader.why, HTTP_REFUSED_REQUEST_CUT);
    assert_int_equal(http_request_read(&request, bytes, 600, &used, &piece), HTTP_EVENT_BODY);
    assert_int_equal(piece.size, 400);
    assert_int_equal(used, 400);
    assert_int_equal(http_request_read(&request, bytes + 400, 200, &used, &piece), HTTP_EVENT_END);
    assert_int_equal(used, 0);
    assert_int_equal(http_request_finish(&request), HTTP_EVENT_END);
    assert_int_equal(request.reader.fields.bytes.capacity, capacity);
    http_request_next(&request);
    assert_int_equal(request.reader.fields.bytes.capacity, 0);
    assert_int_equal(http_request_finish(&request), HTTP_EVENT_MORE);
    http_request_release(&request);
}

static void what_a_request_tells(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool keep_alive, expects, chunked_answer;
    } samples[] = {
        {"GET / HTTP/1.1\r\nHost: x\r\n\r\n", true, false, true},
        {"GET / HTTP/1.1\r\nHost: x\r\nConnection: foo, CLOSE\r\n\r\n", false, false, true},
        {"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", false, false, false},
        {"PUT / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n", true, true, true},
        {"PUT / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n\r\n", true, false, true},
    };
    for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
        struct http_request request;
        http_request_init(&request, &rules);
        assert_int_equal(read_head(&request, samples[i].text, strlen(samples[i].text), 999), HTTP_EVENT_HEAD);
        assert_int_equal(request.keep_alive, samples[i].keep_alive);
        assert_int_equal(request.expects_continue, samples[i].expects);
        assert_int_equal(request.chunked_answer, samples[i].chunked_answer);
        assert_true(request.method == HTTP_GET ? http_span_is(request.method_name, "GET")
                                               : request.method == HTTP_PUT);
        http_request_release(&request);
    }
}

/* For routes of type `connect`: what a proxy is asked. */
static void a_proxy_takes_other_forms(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum http_refusal why;
    } samples[] = {
        {"CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n", HTTP_REFUSED_NONE},
        {"CONNECT [::1]:443 HTTP/1.1\r\nHost: [::1]:443\r\n\r\n", HTTP_REFUSED_NONE},
        {"CONNECT a.example:443 HTTP/1.0\r\n\r\n", HTTP_REFUSED_NONE},
        {"CONNECT a.example:443 HTTP/1.1\r\nHost: b.example:443\r\n\r\n", HTTP_REFUSED_NONE},
        {"CONNECT a.example:443 HTTP/1.1\r\nHost: b@example\r\n\r\n", HTTP_REFUSED_HOST},
        {"CONNECT a.example:443 HTTP/1.1\r\n\r\n", HTTP_REFUSED_HOST},
        {"GET http://a.example/ HTTP/1.1\r\nHost: b.example\r\n\r\n", HTTP_REFUSED_HOST},
        {"CONNECT a.example HTTP/1.1\r\nHost: a.example\r\n\r\n", HTTP_REFUSED_TARGET},
        {"CONNECT /a HTTP/1.1\r\nHost: a.example\r\n\r\n", HTTP_REFUSED_TARGET},
        {"GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n", HTTP_REFUSED_NONE},
        {"GET http:/a HTTP/1.1\r\nHost: a.example\r\n\r\n", HTTP_REFUSED_TARGET_FORM},
        {"GET h HTTP/1.1\r\nHost: a.example\r\n\r\n", HTTP_REFUSED_TARGET_FORM},
        {"GET /a HTTP/1.1\r\nHost: a.example\r\n\r\n", HTTP_REFUSED_TARGET_FORM},
    };
    struct http_rules proxy;
    http_rules_init(&proxy);
    proxy.forms = HTTP_FORM_AUTHORITY | HTTP_FORM_ABSOLUTE;
    for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
        assert_int_equal(refusal_of(&proxy, samples[i].text, strlen(samples[i].text), 999), samples[i].why);
    }
    struct http_request request;
    http_request_init(&request, &proxy);
    assert_int_equal(read_head(&request, samples[1].text, strlen(samples[1].text), 3), HTTP_EVENT_HEAD);
    assert_true(http_span_is(request.target.host, "::1"));
    assert_int_equal(request.target.port, 443);
    http_request_release(&request);
    http_rules_release(&proxy);
}

static void a_route_s_policy_is_asked(void **state)
{
    (void)state;
    struct http_rules strict;
    http_rules_init(&strict);
    assert_int_equal(http_policy_add_method(&strict.policy, "PUT", NULL), 0);
    assert_int_equal(http_policy_add_type(&strict.policy, "a/b", NULL), 0);
    static const struct {
        const char *text;
        enum http_refusal why;
    } samples[] = {
        {"GET / HTTP/1.1\r\nHost: x\r\n\r\n", HTTP_REFUSED_DENIED_METHOD},
        {"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n", HTTP_REFUSED_DENIED_TYPE},
        {"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Type: a/b\r\n\r\n", HTTP_REFUSED_NONE},
        {"PUT / HTTP/1.1\r\nHost: x\r\n\r\n", HTTP_REFUSED_NONE},
    };
    for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
        assert_int_equal(refusal_of(&strict, samples[i].text, strlen(samples[i].text), 999), samples[i].why);
    }
    http_rules_release(&strict);
}

static int no_value(void *data, enum http_variable kind, const char *name, struct text *out,
                    struct error *err)
{
    (void)data;
    (void)out;
    return kind == HTTP_VARIABLE_CREDENTIAL ? error_set(err, -2, "no %s", name) : 0;
}

static void a_value_that_is_not_to_be_had(void **state)
{
    (void)state;
    static const char text[] = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    static const struct http_provider provider = {.get = no_value};
    static const struct http_upstream to = {.authority = "a", .base_path = "", .provider = &provider};
    struct http_request request;
    struct http_head head;
    struct error err = ERROR_INIT;
    http_request_init(&request, &rules);
    assert_int_equal(read_head(&request, text, sizeof text - 1, 99), HTTP_EVENT_HEAD);
    http_head_init(&head, 1024);
    assert_int_equal(http_request_rewrite(&request, &to, &head, &err), HTTP_REFUSED_HEADER_VALUE);
    assert_string_equal(err.text, "header authorization: ${credential:token}: no token");
    http_head_release(&head);
    http_request_release(&request);
}

static int some_value(void *data, enum http_variable kind, const char *name, struct text *out,
                      struct error *err)
{
    (void)data;
    (void)kind;
    (void)err;
    text_addf(out, "v%s", name);
    return 0;
}

/* Memory for heads that go out is bounded: one that the route's values make too large is not sent. */
static void rewrite(struct http_request *request, size_t limit, struct text *out)
{
    static const struct http_provider provider = {.get = some_value};
    static const struct http_upstream to = {.authority = "a", .base_path = "", .provider = &provider};
    struct http_head head;
    struct error err = ERROR_INIT;
    http_head_init(&head, limit);
    enum http_refusal why = http_request_rewrite(request, &to, &head, &err);
    assert_true(why == HTTP_REFUSED_NONE || why == HTTP_REFUSED_NO_MEMORY);
    if (why == HTTP_REFUSED_NONE) {
        http_head_write(&head, out);
    }
    http_head_release(&head);
}

static void a_head_that_goes_out_has_a_bound(void **state)
{
    (void)state;
    static const char text[] = "PUT / HTTP/1.1\r\nHost: x\r\nA: b\r\n\r\n";
    static const char wanted[] = "PUT / HTTP/1.1\r\nhost: a\r\na: b\r\nauthorization: Bearer vtoken\r\n"
                                 "x-enclave: v\r\nvia: 1.1 postern\r\ncontent-length: 0\r\n\r\n";
    struct http_request request;
    http_request_init(&request, &rules);
    assert_int_equal(read_head(&request, text, sizeof text - 1, 99), HTTP_EVENT_HEAD);
    for (size_t limit = 1; limit < 120; limit++) {
        struct text out = TEXT_INIT;
        rewrite(&request, limit, &out);
        assert_string_equal(text_string(&out), out.length > 0 ? wanted : "");
        text_release(&out);
    }
    http_request_release(&request);
}

static void run(void *arg)
{
    static const char text[] =
        "PUT http://x?b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTrailer: c\r\n\r\n"
        "1\r\na\r\n0\r\nC: d\r\n\r\n";
    struct http_request request;
    struct text out = TEXT_INIT;
    size_t at = 0, used;
    struct http_span piece;
    enum http_event event;
    (void)arg;
    http_request_init(&request, &rules);
    do {
        event = http_request_read(&request, text + at, sizeof text - 1 - at, &used, &piece);
        at += used;
        if (event == HTTP_EVENT_HEAD) {
            rewrite(&request, 1024, &out);
        }
    } while (event == HTTP_EVENT_HEAD || event == HTTP_EVENT_BODY);
    assert_true(event == HTTP_EVENT_END || request.reader.why == HTTP_REFUSED_NO_MEMORY);
    if (out.length > 0 && !out.failed) {
        assert_non_null(strstr(text_string(&out), "PUT /?b HTTP/1.1\r\nhost: a\r\n"));
        assert_non_null(strstr(text_string(&out), "\r\ntrailer: c\r\n"));
    }
    text_release(&out);
    http_request_release(&request);
}

static void memory_fails(void **state)
{
    (void)state;
    assert_true(fault_loop("http request", FAULT_MEMORY, run, NULL) >= 8);
}

/* Some of a body went past the reader, which counts on. */
static void bytes_that_go_another_way(void **state)
{
    (void)state;
    static const char head[] = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n";
    static const char chunked[] = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    struct http_request request;
    struct http_span piece;
    size_t used;
    http_request_init(&request, &rules);
    assert_int_equal(http_reader_left(&request.reader), 0);
    assert_int_equal(http_request_read(&request, head, strlen(head), &used, &piece), HTTP_EVENT_HEAD);
    assert_int_equal(http_reader_left(&request.reader), 1000);
    http_reader_skip(&request.reader, 998);
    assert_int_equal(http_request_read(&request, "abc", 3, &used, &piece), HTTP_EVENT_BODY);
    assert_int_equal(piece.size, 2);
    assert_int_equal(http_reader_left(&request.reader), 0);
    assert_int_equal(http_request_read(&request, "c", 1, &used, &piece), HTTP_EVENT_END);
    http_request_next(&request);
    assert_int_equal(http_request_read(&request, chunked, strlen(chunked), &used, &piece), HTTP_EVENT_HEAD);
    assert_int_equal(http_reader_left(&request.reader), 0);
    http_request_release(&request);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_table_of_smuggling),
        cmocka_unit_test(heads_have_bounds),
        cmocka_unit_test(bytes_that_go_another_way),
        cmocka_unit_test(trailers_have_the_same_bounds),
        cmocka_unit_test(extensions_have_a_bound),
        cmocka_unit_test(a_body_is_not_copied),
        cmocka_unit_test(what_a_request_tells),
        cmocka_unit_test(a_proxy_takes_other_forms),
        cmocka_unit_test(a_route_s_policy_is_asked),
        cmocka_unit_test(a_value_that_is_not_to_be_had),
        cmocka_unit_test(a_head_that_goes_out_has_a_bound),
        cmocka_unit_test(memory_fails),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
