/* The table of refusals, and the answer made of it. */
#include "fault.h"
#include "http/refusal.h"
#include "http/status.h"
#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void each_has_its_word(void **state)
{
    (void)state;
    for (int i = 1; i < HTTP_REFUSED_COUNT; i++) {
        enum http_refusal refusal = (enum http_refusal)i;
        const char *word = http_refusal_word(refusal);
        assert_true(word[0] != '\0' && word[strspn(word, "abcdefghijklmnopqrstuvwxyz_")] == '\0');
        assert_int_equal(http_refusal_find(word), refusal);
        assert_true(http_refusal_status(refusal) >= 400 && http_refusal_status(refusal) < 600);
        assert_string_not_equal(http_status_words(http_refusal_status(refusal)), "Unknown");
        assert_true(islower((unsigned char)http_refusal_meaning(refusal)[0]) ||
                    isupper((unsigned char)http_refusal_meaning(refusal)[0]));
        assert_true(strlen(http_refusal_advice(refusal)) > 0);
    }
    assert_int_equal(http_refusal_find("nonsense"), HTTP_REFUSED_NONE);
    assert_int_equal(http_refusal_find(""), HTTP_REFUSED_NONE);
}

static void an_answer_says_what_and_why(void **state)
{
    (void)state;
    struct http_refusal_note note = {.detail = NULL};
    struct text out = TEXT_INIT;
    http_refusal_answer(HTTP_REFUSED_BOTH_LENGTHS, &note, &out);
    const char *body = strstr(text_string(&out), "\r\n\r\n{");
    assert_non_null(body);
    assert_int_equal(strncmp(out.data,
                             "HTTP/1.1 400 Bad Request\r\ncontent-type: application/problem+json\r\n", 66),
                     0);
    assert_non_null(strstr(out.data, "\r\nconnection: close\r\n"));
    assert_int_equal(strtoul(strstr(out.data, "content-length: ") + 16, NULL, 10), strlen(body + 4));
    assert_non_null(
        strstr(body,
               "{\"title\":\"Bad Request\",\"status\":400,\"code\":\"both_lengths\",\"detail\":\"both "));
    assert_null(strstr(body, "request_id"));
    assert_null(strstr(out.data, "allow"));
    text_release(&out);
}

static void a_note_is_told(void **state)
{
    (void)state;
    struct http_refusal_note note = {.detail = "not \"so\"\n",
                                     .request_id = "id-1",
                                     .allow = "POST, PUT",
                                     .date = "Thu, 01 Jan 1970 00:00:00 GMT",
                                     .head_only = true};
    struct text out = TEXT_INIT;
    http_refusal_answer(HTTP_REFUSED_DENIED_METHOD, &note, &out);
    assert_non_null(strstr(text_string(&out), "\r\nallow: POST, PUT\r\n"));
    assert_non_null(strstr(text_string(&out), "\r\ndate: Thu, 01 Jan 1970 00:00:00 GMT\r\n"));
    assert_string_equal(out.data + out.length - 4, "\r\n\r\n");
    text_clear(&out);
    note.head_only = false;
    http_refusal_answer(HTTP_REFUSED_METHOD, &note, &out);
    assert_null(strstr(text_string(&out), "\r\nallow:"));
    assert_non_null(strstr(text_string(&out), "\"detail\":\"not \\\"so\\\"\\n\""));
    assert_non_null(strstr(text_string(&out), "\"request_id\":\"id-1\"}\n"));
    text_release(&out);
}

static void answer(void *arg)
{
    struct http_refusal_note note = {.request_id = "id-1"};
    struct text out = TEXT_INIT;
    (void)arg;
    http_refusal_answer(HTTP_REFUSED_CHUNK, &note, &out);
    if (!out.failed) {
        assert_non_null(strstr(text_string(&out), "bad_chunk"));
    }
    text_release(&out);
}

static void memory_fails(void **state)
{
    (void)state;
    assert_true(fault_loop("http refusal", FAULT_MEMORY, answer, NULL) >= 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_has_its_word),
        cmocka_unit_test(an_answer_says_what_and_why),
        cmocka_unit_test(a_note_is_told),
        cmocka_unit_test(memory_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
