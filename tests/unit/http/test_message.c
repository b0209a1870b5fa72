/* What is read, what is refused, and that no split of the bytes changes either. */
#include "http/message.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define HEAD_MAX 512
#define BODY_MAX 64

/* Feeds in pieces of `step` bytes, each in memory of its own, so that a sanitizer sees a read past it. */
static int feed(struct http_message *message, const char *bytes, size_t size, size_t step)
{
    int r = 0;
    for (size_t at = 0; at < size && r == 0; at += step) {
        size_t part = size - at < step ? size - at : step;
        char *copy = malloc(part);
        assert_non_null(copy);
        memcpy(copy, bytes + at, part);
        r = http_message_feed(message, copy, part);
        free(copy);
    }
    return r;
}

struct sample {
    const char *bytes;
    int result;  /* 1, 0, -EBADMSG, -EMSGSIZE */
    int refused; /* the status */
};

static void check_sample(const struct sample *sample, enum http_message_kind kind)
{
    size_t size = strlen(sample->bytes);
    for (size_t step = 1; step <= size; step += step < 8 ? 1 : 13) {
        struct http_message message;
        http_message_init(&message, kind, HEAD_MAX, BODY_MAX);
        int r = feed(&message, sample->bytes, size, step);
        if (r != sample->result || message.refused != sample->refused) {
            fail_msg("%s\nin steps of %zu: %d (%d %s)", sample->bytes, step, r, message.refused, message.why);
        }
        assert_int_equal(r < 0, message.why[0] != '\0');
        http_message_release(&message);
    }
}

#define HOST "Host: x\r\n"

static void requests_are_accepted(void **state)
{
    (void)state;
    static const struct sample samples[] = {
        {"GET / HTTP/1.1\r\n" HOST "\r\n", 1, 0},
        {"GET / HTTP/1.0\r\n\r\n", 1, 0},
        {"HEAD /metrics HTTP/1.1\r\n" HOST "\r\n", 1, 0},
        {"GET http://x/status?a HTTP/1.1\r\n" HOST "\r\n", 1, 0},
        {"GET /a HTTP/1.1\r\n" HOST "Empty:\r\nTabbed:\tv\r\n\r\n", 1, 0},
        {"POST /r HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nhello", 1, 0},
        {"POST /r HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nhell", 0, 0},
        {"POST /r HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", 1, 0},
        {"POST /r HTTP/1.1\r\n" HOST "Transfer-Encoding: Chunked\r\n\r\n0\r\nT: x\r\n\r\n", 1, 0},
        {"GET / HTTP/1.1\r\n" HOST "\r\nGET /second HTTP/1.1\r\n", 1, 0},
        {"GET / HTTP/1.1\r\n" HOST, 0, 0},
        {"OPTIONS /x HTTP/1.1\r\n" HOST "\r\n", 1, 0},
    };
    for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
        check_sample(&samples[i], HTTP_MESSAGE_REQUEST);
    }
}

static void doubtful_requests_are_refused(void **state)
{
    (void)state;
    static const struct sample samples[] = {
        {"\r\n\r\nGET / HTTP/1.1\r\n" HOST "\r\n", -EBADMSG, 400},
        {"GET / HTTP/1.1\r\n" HOST "Connection: upgrade\r\nUpgrade: websocket\r\n\r\n", -EBADMSG, 501},
        {"GET / HTTP/1.1\n" HOST "\r\n", -EBADMSG, 400},
        {"GET / HTTP/1.1\r\nHost: x\n\r\n", -EBADMSG, 400},
        {"GET / HTTP/1.1\r\n" HOST "\n", -EBADMSG, 400},
        {"GET / HTTP/1.1\r\nA: b\rc\r\n" HOST "\r\n", -EBADMSG, 400},
        {"GET / HTTP/1.1\r\nA: b\x01\r\n" HOST "\r\n", -EBADMSG, 400},
        {"GET / HTTP/1.1\r\nA: b\x7f\r\n" HOST "\r\n", -EBADMSG, 400},
        {"GET / HTTP/1.1\r\nA: b\r\n folded\r\n" HOST "\r\n", -EBADMSG, 400},
        {"GET / HTTP/1.1\r\n\tA: b\r\n" HOST "\r\n", -EBADMSG, 400},
        {"GET / HTTP/1.1\r\nA : b\r\n" HOST "\r\n", -EBADMSG, 400},
        {"GET / HTTP/1.1\r\n: b\r\n" HOST "\r\n", -EBADMSG, 400},
        {"GET / HTTP/1.1\r\nnonsense\r\n" HOST "\r\n", -EBADMSG, 400},
        {"GET  / HTTP/1.1\r\n" HOST "\r\n", -EBADMSG, 400},
        {"GET\t/ HTTP/1.1\r\n" HOST "\r\n", -EBADMSG, 400},
        {"GET / HTTP/1.1 \r\n" HOST "\r\n", -EBADMSG, 400},
        {" GET / HTTP/1.1\r\n" HOST "\r\n", -EBADMSG, 400},
        {"GET /\xc3\xa4 HTTP/1.1\r\n" HOST "\r\n", -EBADMSG, 400},
        {"GET /#x HTTP/1.1\r\n" HOST "\r\n", -EBADMSG, 400},
        {"GET x HTTP/1.1\r\n" HOST "\r\n", -EBADMSG, 400},
        {"OPTIONS * HTTP/1.1\r\n" HOST "\r\n", -EBADMSG, 400},
        {"CONNECT x:1 HTTP/1.1\r\n" HOST "\r\n", -EBADMSG, 405},
        {"GET ftp://x/ HTTP/1.1\r\n" HOST "\r\n", -EBADMSG, 400},
        {"GET / HTTP/1.1\r\n\r\n", -EBADMSG, 400},
        {"GET / HTTP/1.1\r\n" HOST HOST "\r\n", -EBADMSG, 400},
        {"GET /\r\n\r\n", -EBADMSG, 400},
        {"GET / HTTP/2.0\r\n" HOST "\r\n", -EBADMSG, 505},
        {"GET / HTTP/0.9\r\n" HOST "\r\n", -EBADMSG, 505},
        {"GET / HTTP/9.9\r\n" HOST "\r\n", -EBADMSG, 505},
        {"FROBNICATE / HTTP/1.1\r\n" HOST "\r\n", -EBADMSG, 405},
        {"get / HTTP/1.1\r\n" HOST "\r\n", -EBADMSG, 405},
        {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", -EBADMSG, 505},
        {"POST / HTTP/1.1\r\n" HOST "Content-Length: 1\r\nContent-Length: 1\r\n\r\na", -EBADMSG, 400},
        {"POST / HTTP/1.1\r\n" HOST "Content-Length: 1, 1\r\n\r\na", -EBADMSG, 400},
        {"POST / HTTP/1.1\r\n" HOST "Content-Length: +1\r\n\r\na", -EBADMSG, 400},
        {"POST / HTTP/1.1\r\n" HOST "Content-Length: 0x1\r\n\r\na", -EBADMSG, 400},
        {"POST / HTTP/1.1\r\n" HOST "Content-Length: 99999999999999999999\r\n\r\n", -EBADMSG, 400},
        {"POST / HTTP/1.1\r\n" HOST "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", -EBADMSG, 400},
        {"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n", -EBADMSG, 400},
        {"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: gzip, chunked\r\n\r\n", -EBADMSG, 400},
        {"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked, gzip\r\n\r\n", -EBADMSG, 400},
        {"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: identity\r\n\r\n", -EBADMSG, 400},
        {"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
         -EBADMSG, 400},
        {"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", -EBADMSG, 400},
        {"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\nzz\r\n", -EBADMSG, 400},
        {"POST / HTTP/1.1\r\n" HOST "Content-Length: 65\r\n\r\n", -EMSGSIZE, 413},
        {"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n41\r\n"
         "0123456789012345678901234567890123456789012345678901234567890123456789",
         -EMSGSIZE, 413},
        {"\x16\x03\x01\x02", -EBADMSG, 400},
        {"SSH-2.0-x\r\n", -EBADMSG, 400},
    };
    for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
        check_sample(&samples[i], HTTP_MESSAGE_REQUEST);
    }
}

static void nul_is_refused(void **state)
{
    (void)state;
    static const char bytes[] = "GET / HTTP/1.1\r\nA: b\0c\r\n" HOST "\r\n";
    struct http_message message;
    http_message_init(&message, HTTP_MESSAGE_REQUEST, HEAD_MAX, BODY_MAX);
    assert_int_equal(http_message_feed(&message, bytes, sizeof bytes - 1), -EBADMSG);
    assert_int_equal(message.refused, 400);
    http_message_release(&message);
}

static void a_head_has_a_bound(void **state)
{
    (void)state;
    static const char begin[] = "GET / HTTP/1.1\r\n" HOST "A: ";
    char head[HEAD_MAX + 2];
    for (size_t size = HEAD_MAX; size <= HEAD_MAX + 1; size++) {
        struct http_message message;
        memset(head, 'a', sizeof head);
        memcpy(head, begin, strlen(begin));
        memcpy(head + size - 4, "\r\n\r\n", 4);
        http_message_init(&message, HTTP_MESSAGE_REQUEST, HEAD_MAX, BODY_MAX);
        int r = feed(&message, head, size, 7);
        assert_int_equal(r, size == HEAD_MAX ? 1 : -EMSGSIZE);
        assert_int_equal(message.refused, size == HEAD_MAX ? 0 : 431);
        http_message_release(&message);
    }
}

static void headers_have_a_bound(void **state)
{
    (void)state;
    for (unsigned count = HTTP_HEADERS_MAX; count <= HTTP_HEADERS_MAX + 1; count++) {
        struct http_message message;
        struct text text;
        text_init(&text, 0);
        text_add(&text, "GET / HTTP/1.1\r\n" HOST);
        for (unsigned i = 1; i < count; i++) {
            text_add(&text, "A:b\r\n");
        }
        text_add(&text, "\r\n");
        assert_false(text.failed);
        http_message_init(&message, HTTP_MESSAGE_REQUEST, HEAD_MAX, BODY_MAX);
        int r = http_message_feed(&message, text.data, text.length);
        assert_int_equal(r, count == HTTP_HEADERS_MAX ? 1 : -EMSGSIZE);
        assert_int_equal(message.refused, count == HTTP_HEADERS_MAX ? 0 : 431);
        http_message_release(&message);
        text_release(&text);
    }
}

static void parts_of_a_request_are_told(void **state)
{
    (void)state;
    static const char bytes[] = "POST http://h:1/drain?deadline=30s?x HTTP/1.1\r\nhOST: h:1\r\nX-A: 1\r\n"
                                "Empty:\r\nX-a:  two words \r\nContent-Length: 2\r\n\r\nhi";
    for (size_t step = 1; step < sizeof bytes; step++) {
        struct http_message message;
        http_message_init(&message, HTTP_MESSAGE_REQUEST, HEAD_MAX, BODY_MAX);
        assert_int_equal(feed(&message, bytes, sizeof bytes - 1, step), 1);
        assert_string_equal(message.method, "POST");
        assert_string_equal(message.path, "/drain");
        assert_string_equal(message.query, "deadline=30s?x");
        assert_string_equal(text_string(&message.body), "hi");
        assert_true(http_span_is(*http_message_header(&message, "host"), "h:1"));
        assert_true(http_span_is(*http_message_header(&message, "X-A"), "1"));
        assert_true(http_span_is(*http_message_header(&message, "Empty"), ""));
        assert_null(http_message_header(&message, "X"));
        assert_int_equal(http_message_finish(&message), 1);
        http_message_release(&message);
    }
}

static void a_url_without_a_path_means_the_root(void **state)
{
    (void)state;
    static const char bytes[] = "GET HTTP://x?q HTTP/1.1\r\n" HOST "\r\n";
    struct http_message message;
    http_message_init(&message, HTTP_MESSAGE_REQUEST, HEAD_MAX, BODY_MAX);
    assert_int_equal(feed(&message, bytes, sizeof bytes - 1, 100), 1);
    assert_string_equal(message.path, "/");
    assert_string_equal(message.query, "q");
    http_message_release(&message);
}

static void responses_are_read(void **state)
{
    (void)state;
    static const struct sample samples[] = {
        {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", 1, 0},
        {"HTTP/1.1 204 No Content\r\n\r\n", 1, 0},
        {"HTTP/1.1 200 OK\r\n\r\nuntil the end", 0, 0},
        {"HTTP/1.1 200 all is well with me\r\nContent-Length: 0\r\n\r\n", 1, 0},
        {"HTTP/1.1 200 OK\r\nContent-Length: 65\r\n\r\n", -EMSGSIZE, 413},
        {"HTTP/1.1 200 OK\nContent-Length: 2\r\n\r\nhi", -EBADMSG, 400},
        {"220 smtp.example.com\r\n", -EBADMSG, 400},
        {"HTTP/1.1 2000 OK\r\n\r\n", -EBADMSG, 400},
    };
    for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
        check_sample(&samples[i], HTTP_MESSAGE_RESPONSE);
    }
}

static void the_end_ends_what_has_no_length(void **state)
{
    (void)state;
    static const char open_ended[] = "HTTP/1.1 422 No\r\nA: b\r\n\r\nmistakes";
    static const char cut_off[] = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi";
    struct http_message message;
    http_message_init(&message, HTTP_MESSAGE_RESPONSE, HEAD_MAX, BODY_MAX);
    assert_int_equal(feed(&message, open_ended, sizeof open_ended - 1, 5), 0);
    assert_int_equal(http_message_finish(&message), 1);
    assert_int_equal(message.status, 422);
    assert_string_equal(text_string(&message.body), "mistakes");
    assert_true(http_span_is(*http_message_header(&message, "a"), "b"));
    http_message_release(&message);

    http_message_init(&message, HTTP_MESSAGE_RESPONSE, HEAD_MAX, BODY_MAX);
    assert_int_equal(feed(&message, cut_off, sizeof cut_off - 1, 5), 0);
    assert_int_equal(http_message_finish(&message), -EBADMSG);
    http_message_release(&message);
}

/* The text's allocations are made to fail, one after the other. */

void *__real_realloc(void *pointer, size_t size);
void *__wrap_realloc(void *pointer, size_t size);

static int fail_after = -1;

void *__wrap_realloc(void *pointer, size_t size)
{
    if (fail_after == 0) {
        return NULL;
    }
    fail_after -= fail_after > 0;
    return __real_realloc(pointer, size);
}

static void want_of_memory_is_told(void **state)
{
    (void)state;
    static const char bytes[] = "POST /r HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nhello";
    unsigned failed = 0;
    for (int after = 0; after < 8; after++) {
        struct http_message message;
        http_message_init(&message, HTTP_MESSAGE_REQUEST, HEAD_MAX, BODY_MAX);
        fail_after = after;
        int r = http_message_feed(&message, bytes, sizeof bytes - 1);
        fail_after = -1;
        assert_true(r == 1 || (r == -ENOMEM && message.refused == 503));
        failed += r != 1;
        http_message_release(&message);
    }
    assert_in_range(failed, 2, 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_are_accepted),
        cmocka_unit_test(doubtful_requests_are_refused),
        cmocka_unit_test(nul_is_refused),
        cmocka_unit_test(a_head_has_a_bound),
        cmocka_unit_test(headers_have_a_bound),
        cmocka_unit_test(parts_of_a_request_are_told),
        cmocka_unit_test(a_url_without_a_path_means_the_root),
        cmocka_unit_test(responses_are_read),
        cmocka_unit_test(the_end_ends_what_has_no_length),
        cmocka_unit_test(want_of_memory_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
