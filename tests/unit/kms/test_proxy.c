/* A connection of the proxy, from its first byte to its end: what an SDK sends, and what it gets. */
#include "fault.h"
#include "kms/proxy_private.h"
#include "kms/proxy_request.h"
#include "kms/shape.h"
#include "scripted_kms.h"
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define HEAD              "POST / HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nContent-Type: application/x-amz-json-1.1\r\n"
#define TARGET(operation) "X-Amz-Target: TrentService." operation "\r\n"

static struct kms_proxy_options options;
static char said[600]; /* the last note */
static struct error err;

/* ---- Talking ---- */

static void keep_note(void *data, const char *text)
{
    (void)data;
    snprintf(said, sizeof said, "%s", text);
}

static int setup(void **state)
{
    (void)state;
    scripted_kms_reset();
    kms_proxy_options_init(&options);
    options.note = keep_note;
    said[0] = '\0';
    return 0;
}

struct talk {
    char answer[65536]; /* everything that came, terminated */
    size_t size;
};

static void no_residue(const struct proxy_guest *guest)
{
    for (size_t i = 0; i < sizeof guest->in; i++) {
        assert_int_equal(guest->in[i], 0);
    }
    assert_null(guest->body);
    assert_int_equal(guest->proxy->held, 0);
    assert_int_equal(scripted_kms_secrets(), 0);
}

static void serve(int fd, bool draining)
{
    static struct proxy_guest guest;
    struct kms_proxy proxy;

    int r = kms_proxy_init(&proxy, NULL, &options, &err);
    if (r == 0) {
        proxy.draining = draining;
        proxy_guest_init(&guest, &proxy, fd);
        proxy_guest_run(&guest);
        no_residue(&guest);
    }
    kms_proxy_release(&proxy);
}

/* Sends those bytes, and what follows from them, up to the end. `stay`: the client does not say that it sends no more. */
static void talk_bytes(struct talk *talk, const char *bytes, size_t size, bool stay)
{
    int ends[2];

    fault_spare(true);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    assert_int_equal(fcntl(ends[0], F_SETFL, O_NONBLOCK), 0);
    assert_int_equal(send(ends[1], bytes, size, MSG_DONTWAIT), size);
    if (!stay) {
        shutdown(ends[1], SHUT_WR);
    }
    fault_spare(false);
    serve(ends[0], false);
    fault_spare(true);
    close(ends[0]);
    talk->size = 0;
    for (ssize_t n = 1; n > 0; talk->size += n > 0 ? (size_t)n : 0) {
        n = recv(ends[1], talk->answer + talk->size, sizeof talk->answer - 1 - talk->size, 0);
    }
    talk->answer[talk->size] = '\0';
    close(ends[1]);
    fault_spare(false);
}

static void talk_text(struct talk *talk, const char *text)
{
    talk_bytes(talk, text, strlen(text), false);
}

/* One request, whole. */
static void ask(struct talk *talk, const char *operation, const char *body)
{
    static char request[32768];

    snprintf(request, sizeof request, HEAD "X-Amz-Target: TrentService.%s\r\nContent-Length: %zu\r\n\r\n%s",
             operation, strlen(body), body);
    talk_text(talk, request);
}

static void assert_answer(const struct talk *talk, unsigned status, const char *body)
{
    char line[32];
    const char *end = strstr(talk->answer, "\r\n\r\n");

    snprintf(line, sizeof line, "HTTP/1.1 %u ", status);
    if (!end || strncmp(talk->answer, line, strlen(line)) != 0) {
        fail_msg("not %u: %s", status, talk->answer);
    }
    assert_non_null(strstr(talk->answer, "content-type: application/x-amz-json-1.1\r\n"));
    assert_string_equal(end + 4, body);
}

static void assert_error(const struct talk *talk, unsigned status, const char *type)
{
    char line[32], name[128];

    snprintf(line, sizeof line, "HTTP/1.1 %u ", status);
    snprintf(name, sizeof name, "{\"__type\":\"%s\",\"message\":\"", type);
    if (strncmp(talk->answer, line, strlen(line)) != 0 || !strstr(talk->answer, name)) {
        fail_msg("not %u %s: %s", status, type, talk->answer);
    }
}

/* ---- Calls ---- */

static void test_decrypt(void **state)
{
    (void)state;
    struct talk talk;

    scripted_kms.body = "{\"KeyId\":\"k\",\"EncryptionAlgorithm\":\"SYMMETRIC_DEFAULT\"}";
    ask(&talk, "Decrypt", "{\"CiphertextBlob\":\"AAAA\"}");
    assert_answer(
        &talk, 200,
        "{\"KeyId\":\"k\",\"EncryptionAlgorithm\":\"SYMMETRIC_DEFAULT\",\"Plaintext\":\"c2VjcmV0\"}");
    assert_null(strstr(talk.answer, "connection: close"));
    assert_true(scripted_kms.attested);
    assert_string_equal(scripted_kms.operation, "Decrypt");
    assert_string_equal(scripted_kms.request, "{\"CiphertextBlob\":\"AAAA\"}");
    assert_string_equal(said, "");
}

static void test_where_results_stand(void **state)
{
    (void)state;
    static const struct {
        const char *operation, *answer;
    } results[] = {
        {"Decrypt", "{\"Plaintext\":\"c2VjcmV0\"}"},
        {"GenerateDataKey", "{\"Plaintext\":\"c2VjcmV0\"}"},
        {"GenerateRandom", "{\"Plaintext\":\"c2VjcmV0\"}"},
        {"GenerateDataKeyPair", "{\"PrivateKeyPlaintext\":\"c2VjcmV0\"}"},
        {"DeriveSharedSecret", "{\"SharedSecret\":\"c2VjcmV0\"}"},
    };
    struct talk talk;

    for (size_t i = 0; i < ARRAY_SIZE(results); i++) {
        ask(&talk, results[i].operation, "{}");
        assert_answer(&talk, 200, results[i].answer);
    }
    /* A null in its place gives way. */
    scripted_kms.body = "{\"Plaintext\":null}";
    ask(&talk, "Decrypt", "{}");
    assert_answer(&talk, 200, "{\"Plaintext\":\"c2VjcmV0\"}");
}

static void test_others_pass(void **state)
{
    (void)state;
    struct talk talk;

    scripted_kms.body =
        "{\"CiphertextBlob\":\"AQ==\",\"CreationDate\":1732291200.125,\"Nested\":{\"a\":[1,true,null]}}";
    ask(&talk, "Encrypt", "{\"Plaintext\":\"c2Vj\",\"KeyId\":\"k\"}");
    assert_answer(&talk, 200, scripted_kms.body);
    assert_false(scripted_kms.attested);
    assert_string_equal(scripted_kms.request, "{\"Plaintext\":\"c2Vj\",\"KeyId\":\"k\"}");
    /* No body is an empty object, and some operations answer nothing. */
    scripted_kms.body = NULL;
    ask(&talk, "EnableKey", "");
    assert_answer(&talk, 200, "");
    assert_string_equal(scripted_kms.request, "{}");
}

static void test_errors_of_kms_come_as_they_are(void **state)
{
    (void)state;
    static const int results[] = {-EACCES, -ENOKEY, -EREMOTEIO, -EBUSY};
    struct talk talk;

    scripted_kms.status = 400;
    scripted_kms.body = "{\"__type\":\"com.amazonaws.kms#AnyException\",\"Message\":\"m\",\"Extra\":1}";
    scripted_kms.error = "KMS says no";
    for (size_t i = 0; i < ARRAY_SIZE(results); i++) {
        scripted_kms.result = results[i];
        ask(&talk, "Decrypt", "{}");
        assert_answer(&talk, 400, scripted_kms.body);
        ask(&talk, "ListKeys", "{}");
        assert_answer(&talk, 400, scripted_kms.body);
    }
    assert_string_equal(said, "ListKeys: KMS says no");
}

static void test_what_kms_has_not_answered(void **state)
{
    (void)state;
    static const struct {
        int result;
        unsigned status;
        const char *type;
    } failures[] = {
        {-EINVAL, 400, "ValidationException"},   {-EBADMSG, 502, "PosternAnswerRefused"},
        {-EPROTO, 502, "PosternBadAnswer"},      {-EREMOTEIO, 502, "PosternBadAnswer"},
        {-ENOTCONN, 503, "PosternUnreachable"},  {-EKEYREJECTED, 502, "PosternUntrustedPeer"},
        {-ENOKEY, 503, "PosternNoCredentials"},  {-EBUSY, 503, "PosternUnreachable"},
        {-ETIMEDOUT, 504, "PosternTimeout"},     {-ENODEV, 500, "PosternNoEnclave"},
        {-EIO, 500, "PosternAttestationFailed"}, {-ENOMEM, 503, "PosternNoMemory"},
        {-ECHILD, 500, "PosternFailed"},         {-EACCES, 500, "PosternFailed"},
    };
    struct talk talk;

    scripted_kms.status = 0;
    scripted_kms.body = NULL;
    scripted_kms.error = "why \"it\" failed \xc3";
    for (size_t i = 0; i < ARRAY_SIZE(failures); i++) {
        scripted_kms.result = failures[i].result;
        ask(&talk, i % 2 ? "Decrypt" : "ListKeys", "{}");
        assert_error(&talk, failures[i].status, failures[i].type);
        assert_non_null(strstr(talk.answer, "why \\\"it\\\" failed ?\"}"));
    }
    /* What may have been carried out is answered with what no SDK repeats. */
    scripted_kms.unknown = true;
    scripted_kms.result = -ENOTCONN;
    ask(&talk, "CreateKey", "{}");
    assert_error(&talk, 409, "PosternOutcomeUnknown");
}

/* An answer that was refused is not shown to anybody, whatever stands in it. */
static void test_a_refused_answer_is_not_passed_on(void **state)
{
    (void)state;
    static const int results[] = {-EBADMSG, -EPROTO, -EREMOTEIO};
    struct talk talk;

    scripted_kms.body = "{\"Plaintext\":\"bGVhaw==\"}";
    scripted_kms.error = "refused";
    for (size_t i = 0; i < ARRAY_SIZE(results); i++) {
        scripted_kms.result = results[i];
        ask(&talk, "Decrypt", "{}");
        assert_error(&talk, 502, results[i] == -EBADMSG ? "PosternAnswerRefused" : "PosternBadAnswer");
        assert_null(strstr(talk.answer, "bGVhaw"));
        assert_null(strstr(said, "bGVhaw"));
    }
}

/* ---- What is no call ---- */

static void test_requests_that_are_no_calls(void **state)
{
    (void)state;
    static char deep[200], many[3 * JSON_VALUES_MAX + 16];
    const struct {
        const char *target, *body, *type;
    } requests[] = {
        {"", "{}", "UnknownOperationException"},
        {"X-Amz-Target: Decrypt\r\n", "{}", "UnknownOperationException"},
        {"X-Amz-Target: TrentService.\r\n", "{}", "UnknownOperationException"},
        {"X-Amz-Target: DynamoDB_20120810.GetItem\r\n", "{}", "UnknownOperationException"},
        {"X-Amz-Target: TrentService.De/crypt\r\n", "{}", "UnknownOperationException"},
        {"X-Amz-Target: TrentService.Decrypt2\r\n", "{}", "UnknownOperationException"},
        {"X-Amz-Target: TrentService.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n",
         "{}", "UnknownOperationException"},
        {TARGET("Decrypt") TARGET("Encrypt"), "{}", "UnknownOperationException"},
        {TARGET("Decrypt") "x-amz-target: TrentService.Decrypt\r\n", "{}", "UnknownOperationException"},
        {TARGET("Decrypt"), "[]", "SerializationException"},
        {TARGET("Decrypt"), "{", "SerializationException"},
        {TARGET("Decrypt"), "{}x", "SerializationException"},
        {TARGET("Decrypt"), "{\"a\":1,\"a\":2}", "SerializationException"},
        {TARGET("Decrypt"), "{\"a\":\"\\u0000\"}", "SerializationException"},
        {TARGET("Decrypt"), "{\"a\":\"\xff\"}", "SerializationException"},
        {TARGET("Decrypt"), deep, "SerializationException"},
        {TARGET("Decrypt"), many, "SerializationException"},
        {TARGET("Decrypt"), "{\"Recipient\":{}}", "ValidationException"},
        {TARGET("Decrypt"), "{\"Recipient\":null}", "ValidationException"},
        {TARGET("Encrypt"), "{\"rEcIpIeNt\":1}", "ValidationException"},
    };
    static char request[4 * JSON_VALUES_MAX];
    struct talk talk;

    memset(deep, '[', sizeof deep - 1);
    memset(many, ',', sizeof many - 1);
    for (size_t i = 0; i < ARRAY_SIZE(requests); i++) {
        snprintf(request, sizeof request, HEAD "%sContent-Length: %zu\r\n\r\n%s", requests[i].target,
                 strlen(requests[i].body), requests[i].body);
        talk_text(&talk, request);
        assert_error(&talk, 400, requests[i].type);
        assert_null(strstr(talk.answer, "connection: close")); /* it was whole, and another may follow */
    }
    talk_text(&talk, "POST /service/TrentService/operation/Decrypt HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_error(&talk, 404, "UnknownOperationException");
    assert_int_equal(scripted_kms.calls, 0);
}

/* As deep, and as many, as may be; brackets in strings are none. */
static void test_modest_requests(void **state)
{
    (void)state;
    struct talk talk;

    ask(&talk, "Decrypt", "{\"a\":[[[[[[[[[[[[[[[]]]]]]]]]]]]]]],\"b\":[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]}");
    assert_answer(&talk, 200, "{\"Plaintext\":\"c2VjcmV0\"}");
    ask(&talk, "Decrypt", "{\"a\":\"[[[[[[[[[[[[[[[[[[[[[[[[[[{{{{{\\\"[[[[\\\\\"}");
    assert_answer(&talk, 200, "{\"Plaintext\":\"c2VjcmV0\"}");
    ask(&talk, "Decrypt", "{\"a\":[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]}");
    assert_error(&talk, 400, "SerializationException");
}

static void test_requests_that_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *request;
        unsigned status;
        const char *type;
    } requests[] = {
        {"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 405, "denied_method"},
        {"PUT / HTTP/1.1\r\nHost: a\r\n\r\n", 405, "denied_method"},
        {"POST /?a=b HTTP/1.1\r\nHost: a\r\n\r\n", 403, "denied_query"},
        {"POST http://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_target_form"},
        {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Type: application/json\r\n\r\n{}", 415,
         "denied_content_type"},
        {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}", 415, "denied_content_type"},
        {HEAD "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}", 400, "both_lengths"},
        {HEAD "Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}", 400, "doubled_header"},
        {HEAD "Content-Length: +2\r\n\r\n{}", 400, "bad_content_length"},
        {HEAD "Transfer-Encoding: gzip, chunked\r\n\r\n", 400, "bad_transfer_encoding"},
        {HEAD "Transfer-Encoding: chunked\r\n\r\nz\r\n", 400, "bad_chunk"},
        {HEAD "Content-Length : 2\r\n\r\n{}", 400, "bad_header_name"},
        {"POST / HTTP/1.1\nHost: a\n\n", 400, "bare_lf"},
        {"POST / HTTP/2.0\r\nHost: a\r\n\r\n", 505, "bad_version"},
        {"\x16\x03\x01\x02\x00", 400, "control_byte"},
        {HEAD "Content-Length: 1048577\r\n\r\n", 413, "body_too_large"},
    };
    struct talk talk;

    for (size_t i = 0; i < ARRAY_SIZE(requests); i++) {
        talk_text(&talk, requests[i].request);
        assert_error(&talk, requests[i].status, requests[i].type);
        assert_non_null(strstr(talk.answer, "connection: close\r\n"));
        assert_null(strstr(talk.answer, "route")); /* there are none here */
    }
    assert_int_equal(scripted_kms.calls, 0);
    talk_text(&talk, "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_memory_equal(talk.answer, "HTTP/1.1 405 ", 13);
    assert_memory_equal(talk.answer + talk.size - 4, "\r\n\r\n", 4);
}

/* ---- Connections ---- */

static unsigned answers_in(const struct talk *talk)
{
    unsigned count = 0;

    for (const char *at = talk->answer; (at = strstr(at, "HTTP/1.1 200 OK\r\n")) != NULL; at++) {
        count++;
    }
    return count;
}

static void test_many_requests_at_once(void **state)
{
    (void)state;
    struct talk talk;

    talk_text(&talk, HEAD TARGET("Decrypt") "Content-Length: 2\r\n\r\n{}" HEAD TARGET(
                         "Encrypt") "Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n" HEAD
                         TARGET("GenerateRandom") "\r\n");
    assert_int_equal(answers_in(&talk), 3);
    assert_int_equal(scripted_kms.calls, 3);
    talk_text(&talk, HEAD TARGET("Decrypt") "Connection: close\r\n\r\n" HEAD TARGET("Decrypt") "\r\n");
    assert_int_equal(answers_in(&talk), 1);
    assert_non_null(strstr(talk.answer, "connection: close\r\n"));
    talk_text(&talk,
              "POST / HTTP/1.0\r\n" TARGET("Decrypt") "\r\nPOST / HTTP/1.0\r\n" TARGET("Decrypt") "\r\n");
    assert_int_equal(answers_in(&talk), 1);
}

static void test_expect(void **state)
{
    (void)state;
    struct talk talk;

    talk_text(&talk, HEAD TARGET("Decrypt") "Expect: 100-continue\r\nContent-Length: 2\r\n\r\n{}");
    assert_memory_equal(talk.answer, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n", 42);
}

/* In more pieces than one read takes, and one allocation. */
static void test_large_bodies(void **state)
{
    (void)state;
    static char request[65536], body[60000];
    struct talk talk;

    memset(body, 'a', sizeof body - 1);
    memcpy(body, "{\"a\":\"", 6);
    memcpy(body + sizeof body - 3, "\"}", 2);
    snprintf(request, sizeof request, HEAD TARGET("Encrypt") "Content-Length: %zu\r\n\r\n%s", strlen(body),
             body);
    talk_text(&talk, request);
    assert_answer(&talk, 200, "{}");
    assert_string_equal(scripted_kms.request, body);
    options.body = sizeof body - 2;
    talk_text(&talk, request);
    assert_error(&talk, 413, "body_too_large");
    options.body = sizeof body - 1;
    talk_text(&talk, request);
    assert_answer(&talk, 200, "{}");
    options.memory = 50000;
    talk_text(&talk, request);
    assert_error(&talk, 503, "no_memory");
}

static void test_large_heads(void **state)
{
    (void)state;
    static char request[40000], value[33000];
    struct talk talk;

    memset(value, 'a', sizeof value - 1);
    snprintf(request, sizeof request, HEAD "X-A: %s\r\n\r\n", value);
    talk_text(&talk, request);
    assert_error(&talk, 431, "head_too_large");
}

static void test_a_client_that_says_nothing(void **state)
{
    (void)state;
    struct talk talk;

    options.idle_ms = 10;
    talk_bytes(&talk, "", 0, true);
    assert_string_equal(talk.answer, "");
    /* And one that has said something before. */
    const char *request = HEAD TARGET("Decrypt") "\r\n";
    talk_bytes(&talk, request, strlen(request), true);
    assert_int_equal(answers_in(&talk), 1);
}

static void test_a_client_that_does_not_go_on(void **state)
{
    (void)state;
    static const char *const requests[] = {"POST", HEAD TARGET("Decrypt") "Content-Length: 2\r\n\r\n{"};
    struct talk talk;

    options.request_ms = 10;
    for (size_t i = 0; i < ARRAY_SIZE(requests); i++) {
        talk_bytes(&talk, requests[i], strlen(requests[i]), true);
        assert_error(&talk, 408, "head_timeout");
    }
    /* Who has gone is not answered. */
    options.request_ms = 600000;
    for (size_t i = 0; i < ARRAY_SIZE(requests); i++) {
        talk_text(&talk, requests[i]);
        assert_string_equal(talk.answer, "");
    }
}

/* More than the kernel takes on its behalf. */
static void test_a_client_that_does_not_read(void **state)
{
    (void)state;
    static char body[4 * 1024 * 1024];
    struct talk talk;
    const char *request = HEAD TARGET("ListKeys") "\r\n" HEAD TARGET("ListKeys") "\r\n";

    memset(body, 'a', sizeof body - 1);
    memcpy(body, "{\"a\":\"", 6);
    memcpy(body + sizeof body - 3, "\"}", 2);
    scripted_kms.body = body;
    options.request_ms = 10;
    talk_bytes(&talk, request, strlen(request), true);
    assert_int_equal(scripted_kms.calls, 1);
}

/* What has come is answered, and nothing is waited for. */
static void test_draining(void **state)
{
    (void)state;
    int ends[2];
    char answer[4096] = "";
    const char *request = HEAD TARGET("Decrypt") "\r\n" HEAD TARGET("Decrypt") "\r\n";

    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
        if (i == 1) {
            assert_int_equal(send(ends[1], request, strlen(request), 0), strlen(request));
        }
        serve(ends[0], true);
        close(ends[0]);
        assert_int_equal(recv(ends[1], answer, sizeof answer - 1, 0) > 0, i == 1);
        close(ends[1]);
        assert_int_equal(scripted_kms.calls, i);
    }
    assert_non_null(strstr(answer, "connection: close\r\n"));
}

/* ---- Failures ---- */

static void talk_once(void *data)
{
    static struct talk talk;

    talk_text(&talk, *(const char *const *)data);
}

static void test_failing_calls(void **state)
{
    (void)state;
    static const char *const requests[] = {
        HEAD TARGET("Decrypt") "Content-Length: 9\r\n\r\n{\"a\":\"b\"}",
        HEAD TARGET("Encrypt") "Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n",
        HEAD TARGET("Decrypt") "Content-Length: 16\r\n\r\n{\"Recipient\":{}}",
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    };

    for (size_t i = 0; i < ARRAY_SIZE(requests); i++) {
        assert_true(fault_loop("a connection of kms-proxy",
                               FAULT_MEMORY | FAULT_READ | FAULT_WRITE | FAULT_PIPE, talk_once,
                               (void *)&requests[i]) >= 10);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_decrypt, setup),
        cmocka_unit_test_setup(test_where_results_stand, setup),
        cmocka_unit_test_setup(test_others_pass, setup),
        cmocka_unit_test_setup(test_errors_of_kms_come_as_they_are, setup),
        cmocka_unit_test_setup(test_what_kms_has_not_answered, setup),
        cmocka_unit_test_setup(test_a_refused_answer_is_not_passed_on, setup),
        cmocka_unit_test_setup(test_requests_that_are_no_calls, setup),
        cmocka_unit_test_setup(test_modest_requests, setup),
        cmocka_unit_test_setup(test_requests_that_are_refused, setup),
        cmocka_unit_test_setup(test_many_requests_at_once, setup),
        cmocka_unit_test_setup(test_expect, setup),
        cmocka_unit_test_setup(test_large_bodies, setup),
        cmocka_unit_test_setup(test_large_heads, setup),
        cmocka_unit_test_setup(test_a_client_that_says_nothing, setup),
        cmocka_unit_test_setup(test_a_client_that_does_not_go_on, setup),
        cmocka_unit_test_setup(test_a_client_that_does_not_read, setup),
        cmocka_unit_test_setup(test_draining, setup),
        cmocka_unit_test_setup(test_failing_calls, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
