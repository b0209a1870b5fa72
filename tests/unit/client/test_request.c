/* Requests in the threaded style: what is sent, what answers are taken, and what is told when there is none. */
#include "fault.h"
#include "threads_bench.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB (1u << 20)

static struct postern_request_options what;
static struct postern_request *request;
static char body[256];

static int begin(void **state)
{
    request = NULL;
    postern_request_options_init(&what);
    return setup(state);
}

static int end(void **state)
{
    postern_request_close(request);
    return teardown(state);
}

/* Its thread may still be at the last one. */
static void tell_server(const char *answer, const char *until)
{
    pthread_mutex_lock(&server.lock);
    server.http.answer = answer;
    server.http.until = until;
    server.http.heard_size = 0;
    server.http.heard[0] = '\0';
    pthread_mutex_unlock(&server.lock);
}

static void ask(const char *answer, const char *until)
{
    if (!door) {
        connect_door();
    }
    tell_server(answer, until);
    if (postern_request(door, "http", &what, &request, &err) != 0) {
        fail_msg("%s", err.message);
    }
}

static ssize_t read_all(char *buffer, size_t size)
{
    size_t have = 0;
    ssize_t n = 0;

    while (have < size &&
           (n = postern_request_read(request, buffer + have, size - have, LONG_MS, &err)) > 0) {
        have += (size_t)n;
    }
    return n < 0 ? n : (ssize_t)have;
}

static void expect_body(const char *expected)
{
    ssize_t n = read_all(body, sizeof body);

    if (n < 0) {
        fail_msg("%s", err.message);
    }
    assert_int_equal(n, strlen(expected));
    assert_memory_equal(body, expected, strlen(expected));
}

static void expect_status(int expected)
{
    int status = postern_request_status(request, LONG_MS, &err);

    if (status < 0) {
        fail_msg("%s", err.message);
    }
    assert_int_equal(status, expected);
}

#define HEAD_END "\r\n\r\n"
#define OK       "HTTP/1.1 200 OK\r\n"
#define EMPTY    "Content-Length: 0" HEAD_END

static void test_get(void **state)
{
    struct postern_header header;

    (void)state;
    ask(OK "Content-Type: text/plain\r\nX-One:  a b \r\nConnection: close\r\nContent-Length: 5" HEAD_END
           "hello",
        HEAD_END);
    expect_status(200);
    expect_status(200);
    assert_string_equal(postern_request_header(request, "CONTENT-type"), "text/plain");
    assert_null(postern_request_header(request, "connection"));
    assert_int_equal(postern_request_header_at(request, 1, &header), 1);
    assert_string_equal(header.name, "x-one");
    assert_string_equal(header.value, "a b");
    assert_int_equal(postern_request_header_at(request, 2, &header), 0);
    assert_int_equal(postern_request_length(request), 5);
    expect_body("hello");
    assert_int_equal(postern_request_read(request, body, 1, 0, &err), 0);
    assert_int_equal(server.http.kind, POSTERN_KIND_HTTP);
    assert_string_equal(server.http.heard, "GET / HTTP/1.1\r\nhost: http\r\nconnection: close" HEAD_END);
    postern_request_close(request);
    request = NULL;
    wait_for_figure(&server.finished, 1); /* in an orderly way */
}

static void test_all_that_may_be_said(void **state)
{
    const struct postern_header headers[] = {{"Content-Type", " a/b\t"}, {"X-Empty", ""}};

    (void)state;
    what = (struct postern_request_options){.size = sizeof what,
                                            .method = "PUT",
                                            .path = "/a/b?c=%20d",
                                            .header_count = 2,
                                            .headers = headers,
                                            .body_length = 4};
    ask(OK EMPTY, "body");
    assert_int_equal(postern_request_write(request, NULL, 2, LONG_MS, &err), -EINVAL);
    assert_int_equal(postern_request_read(request, NULL, 2, LONG_MS, &err), -EINVAL);
    assert_string_equal(err.message, "a length is given without bytes: the pointer is NULL");
    assert_int_equal(postern_request_write(request, "bo", 2, LONG_MS, &err), 2);
    assert_int_equal(postern_request_finish(request, &err), -EINVAL);
    assert_int_equal(postern_request_write(request, "dy!", 3, LONG_MS, &err), -EINVAL);
    assert_int_equal(postern_request_write(request, "dy", 2, LONG_MS, &err), 2);
    assert_int_equal(postern_request_finish(request, &err), 0);
    assert_int_equal(postern_request_finish(request, &err), -ESHUTDOWN);
    assert_int_equal(postern_request_write(request, "x", 1, LONG_MS, &err), -ESHUTDOWN);
    expect_status(200);
    assert_string_equal(server.http.heard,
                        "PUT /a/b?c=%20d HTTP/1.1\r\nhost: http\r\ncontent-type: a/b\r\nx-empty: \r\n"
                        "content-length: 4\r\nconnection: close" HEAD_END "body");
    expect_body("");
}

static void test_no_body(void **state)
{
    (void)state;
    what.method = "POST";
    ask(OK EMPTY, HEAD_END);
    assert_int_equal(postern_request_write(request, "x", 1, LONG_MS, &err), -EINVAL);
    assert_int_equal(postern_request_finish(request, &err), 0);
    expect_status(200);
    assert_non_null(strstr(server.http.heard, "content-length: 0"));
}

static void test_chunks(void **state)
{
    (void)state;
    what.body_length = POSTERN_BODY_UNKNOWN;
    ask(OK "Transfer-Encoding: chunked" HEAD_END
           "3\r\nabc\r\n10;x=y\r\n0123456789abcdef\r\n0\r\nX: y" HEAD_END,
        "0" HEAD_END);
    assert_int_equal(postern_request_write(request, "hello", 5, LONG_MS, &err), 5);
    assert_int_equal(postern_request_write(request, NULL, 0, LONG_MS, &err), 0);
    assert_int_equal(postern_request_write(request, " world, and more", 16, LONG_MS, &err), 16);
    assert_int_equal(postern_request_finish(request, &err), 0);
    expect_status(200);
    assert_int_equal(postern_request_length(request), POSTERN_BODY_UNKNOWN);
    assert_non_null(strstr(server.http.heard, "POST / HTTP/1.1\r\n"));
    assert_non_null(strstr(server.http.heard, "transfer-encoding: chunked\r\n"));
    assert_non_null(strstr(server.http.heard, HEAD_END "5\r\nhello\r\n10\r\n world, and more\r\n0" HEAD_END));
    expect_body("abc0123456789abcdef");
}

/* A byte at a time, so that chunks' lines come in pieces, too. */
static void test_small_buffers(void **state)
{
    char all[20] = "";
    ssize_t n;

    (void)state;
    ask(OK "Transfer-Encoding: chunked" HEAD_END "3\r\nabc\r\n4\r\ndefg\r\n0" HEAD_END, HEAD_END);
    for (size_t i = 0; (n = postern_request_read(request, all + i, 1, LONG_MS, &err)) > 0; i++) {
        assert_in_range(i, 0, 7);
    }
    assert_int_equal(n, 0);
    assert_memory_equal(all, "abcdefg", 7);
}

static void test_an_end_that_is_the_streams(void **state)
{
    (void)state;
    server.http.then = SERVER_FIN;
    ask("HTTP/1.0 200 OK" HEAD_END "to the end", HEAD_END);
    expect_body("to the end");
}

static void test_head(void **state)
{
    (void)state;
    what.method = "HEAD";
    ask(OK "Content-Length: 1000" HEAD_END, HEAD_END);
    expect_status(200);
    assert_int_equal(postern_request_length(request), 1000);
    expect_body("");
}

static void test_interim_answers(void **state)
{
    (void)state;
    what.body_length = 3;
    ask("HTTP/1.1 100 Continue" HEAD_END "HTTP/1.1 103 Early Hints\r\nLink: x" HEAD_END
        "HTTP/1.1 201 Created\r\n" EMPTY,
        "abc");
    assert_int_equal(postern_request_length(request), POSTERN_BODY_UNKNOWN);
    assert_null(postern_request_header(request, "link"));
    assert_int_equal(postern_request_write(request, "abc", 3, LONG_MS, &err), 3);
    expect_status(201);
    assert_null(postern_request_header(request, "link"));
    expect_body("");
}

/* What the daemon says of itself, and bytes behind the end. */
static void test_a_problem(void **state)
{
    (void)state;
    ask("HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\nRetry-After: "
        "7\r\nContent-Length: "
        "2" HEAD_END "{}HTTP/1.1 200 OK",
        HEAD_END);
    expect_status(503);
    assert_string_equal(postern_request_header(request, "retry-after"), "7");
    expect_body("{}");
}

static void test_big_bodies(void **state)
{
    uint8_t *bytes = malloc(MIB);
    uint64_t have = 0;
    ssize_t n;

    (void)state;
    assert_non_null(bytes);
    memset(bytes, 'x', MIB);
    what.body_length = 8 * MIB;
    server.http.after = 8 * MIB;
    server.http.body = 4 * MIB;
    ask(OK "Content-Length: 4194304" HEAD_END, NULL);
    for (int i = 0; i < 8; i++) {
        assert_int_equal(postern_request_write(request, bytes, MIB, LONG_MS, &err), MIB);
    }
    assert_int_equal(postern_request_finish(request, &err), 0);
    while ((n = postern_request_read(request, bytes, MIB, LONG_MS, &err)) > 0) {
        for (ssize_t i = 0; i < n; i++, have++) {
            if (bytes[i] != (uint8_t)have) {
                fail_msg("byte %llu is not what it was", (unsigned long long)have);
            }
        }
    }
    assert_int_equal(n, 0);
    assert_int_equal(have, 4 * MIB);
    free(bytes);
}

/* The same in chunks, which are copied. */
static void test_big_chunks(void **state)
{
    uint8_t *bytes = calloc(1, MIB);

    (void)state;
    assert_non_null(bytes);
    what.body_length = POSTERN_BODY_UNKNOWN;
    server.http.after = 3 * MIB;
    ask(OK EMPTY, NULL);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(postern_request_write(request, bytes, MIB, LONG_MS, &err), MIB);
    }
    assert_int_equal(postern_request_finish(request, &err), 0);
    expect_status(200);
    free(bytes);
}

/* ---- Answers that come early ---- */

static ssize_t write_on(size_t size, int timeout_ms)
{
    static uint8_t bytes[65536];
    size_t sent = 0;
    ssize_t n = 0;

    while (sent < size && (n = postern_request_write(request, bytes, sizeof bytes, timeout_ms, &err)) > 0) {
        sent += (size_t)n;
    }
    return n;
}

static void early(const char *answer, int then)
{
    what.body_length = UINT64_C(1) << 40;
    server.http.stall = true;
    server.http.then = then;
    ask(answer, HEAD_END);
}

#define TOO_LARGE "HTTP/1.1 413 Content Too Large\r\nContent-Length: 4" HEAD_END "much"

static void test_an_early_no(void **state)
{
    (void)state;
    early(TOO_LARGE, SERVER_STAYS);
    assert_int_equal(write_on(64 * MIB, LONG_MS), -EPIPE);
    assert_int_equal(postern_request_write(request, "x", 1, LONG_MS, &err), -EPIPE);
    assert_int_equal(postern_request_finish(request, &err), -EPIPE);
    expect_status(413);
    expect_body("much");
    postern_request_close(request);
    request = NULL;
    wait_for_figure(&server.reset, 1);
}

static void test_an_early_no_and_stop(void **state)
{
    (void)state;
    early(TOO_LARGE, SERVER_STOP_AND_FIN);
    assert_int_equal(write_on(64 * MIB, LONG_MS), -EPIPE);
    expect_status(413);
    expect_body("much");
}

/* Without a word of what was asked. */
static void test_stopped(void **state)
{
    (void)state;
    early("", SERVER_STOP);
    assert_int_equal(write_on(64 * MIB, LONG_MS), -EPIPE);
    assert_int_equal(postern_request_status(request, 1, &err), -ETIMEDOUT);
    assert_int_equal(postern_request_status(request, 0, &err), -EAGAIN);
}

/* A service that answers while it reads: the answer has to be read on, or both would wait for ever. */
static void test_an_early_yes(void **state)
{
    (void)state;
    server.http.body = 4 * MIB;
    early(OK "Content-Length: 4194304" HEAD_END, SERVER_STAYS);
    assert_int_equal(write_on(64 * MIB, LONG_MS), -EAGAIN);
    assert_non_null(strstr(err.message, "read first"));
    expect_status(200);
    assert_int_equal(read_all(body, sizeof body), sizeof body);
    assert_int_equal(body[0], 0);
    assert_int_equal(body[255] & 0xff, 255);
}

static void test_an_early_yes_that_is_over(void **state)
{
    (void)state;
    early("HTTP/1.1 204 No Content" HEAD_END, SERVER_STAYS);
    assert_int_equal(write_on(64 * MIB, LONG_MS), -EPIPE);
    expect_status(204);
    expect_body("");
}

static void test_nobody_takes_it(void **state)
{
    (void)state;
    what.body_length = UINT64_C(1) << 40;
    ask(NULL, NULL);
    assert_int_equal(postern_request_status(request, 1, &err), -ETIMEDOUT);
    assert_int_equal(err.status, -ETIMEDOUT);
    assert_int_equal(postern_request_read(request, body, 1, 1, &err), -ETIMEDOUT);
    assert_int_equal(postern_request_read(request, body, 1, 0, &err), -EAGAIN);
    assert_int_equal(postern_request_read(request, body, 0, 0, &err), -EINVAL);
}

/* ---- Answers that are none ---- */

struct bad {
    const char *answer, *word;
    int then, status;
};

static const struct bad bad_answers[] = {
    {"", "response_cut_off", SERVER_FIN, -ECONNRESET},
    {"HTTP/1.1 100 Continue" HEAD_END, "response_cut_off", SERVER_FIN, -ECONNRESET},
    {OK "Content-Le", "response_cut_off", SERVER_FIN, -ECONNRESET},
    {OK "Content-Length: 10" HEAD_END "hello", "response_cut_off", SERVER_FIN, -ECONNRESET},
    {OK "Transfer-Encoding: chunked" HEAD_END "5\r\nhello\r\n", "response_cut_off", SERVER_FIN, -ECONNRESET},
    {OK "Transfer-Encoding: chunked" HEAD_END "5 \r\nhello\r\n", "bad_chunk", SERVER_STAYS, -EPROTO},
    {OK "Content-Length: 1\r\nContent-Length: 2" HEAD_END "x", "doubled_header", SERVER_STAYS, -EPROTO},
    {OK "Content-Length: 1\r\nTransfer-Encoding: chunked" HEAD_END "x", "both_lengths", SERVER_STAYS,
     -EPROTO},
    {OK "No colon" HEAD_END, "bad_header_name", SERVER_STAYS, -EPROTO},
    {"SSH-2.0-OpenSSH_9.2\r\n", "", SERVER_STAYS, -EPROTO},
    {"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x" HEAD_END, "response_upgrade", SERVER_STAYS, -EPROTO},
    {OK "Content-Length: 10" HEAD_END "hello", "upstream_reset", SERVER_RESET, -ECONNRESET},
    {"HTTP/1.0 200 OK" HEAD_END "to the end", "upstream_reset", SERVER_RESET, -ECONNRESET},
};

static void test_bad_answers(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad_answers / sizeof bad_answers[0]; i++) {
        const struct bad *bad = &bad_answers[i];
        pthread_mutex_lock(&server.lock);
        server.http.then = bad->then;
        pthread_mutex_unlock(&server.lock);
        ask(bad->answer, HEAD_END);
        for (int again = 0; again < 2; again++) { /* it is told each time */
            ssize_t n = read_all(body, sizeof body);
            if (n != bad->status || err.status != bad->status ||
                (bad->word[0] && strcmp(err.word, bad->word) != 0)) {
                fail_msg("answer %zu: %zd, %s: %s", i, n, err.word, err.message);
            }
        }
        postern_request_close(request);
        request = NULL;
    }
}

static void test_refused(void **state)
{
    (void)state;
    connect_door();
    assert_int_equal(postern_request(door, "refuse", NULL, &request, &err), 0);
    assert_int_equal(postern_request_status(request, LONG_MS, &err), -ECONNREFUSED);
    assert_string_equal(err.word, "connect_refused");
    postern_request_close(request);
    what.body_length = POSTERN_BODY_UNKNOWN;
    assert_int_equal(postern_request(door, "refuse-mute", &what, &request, &err), 0);
    assert_int_equal(write_on(64 * MIB, LONG_MS), -ECONNREFUSED);
    assert_int_equal(postern_request_read(request, body, 1, LONG_MS, &err), -ECONNREFUSED);
}

static void *reset_soon(void *stream)
{
    usleep(1000);
    postern_reset(stream, 0);
    return NULL;
}

static void test_given_up_by_another_thread(void **state)
{
    pthread_t thread;

    (void)state;
    ask(NULL, NULL);
    assert_int_equal(pthread_create(&thread, NULL, reset_soon, postern_request_stream(request)), 0);
    assert_int_equal(postern_request_status(request, -1, &err), -ESHUTDOWN);
    pthread_join(thread, NULL);
}

/* ---- What is not sent ---- */

static void expect_refusal(const char *words)
{
    assert_int_equal(postern_request(door, "http", &what, &request, &err), -EINVAL);
    if (!strstr(err.message, words)) {
        fail_msg("%s is not in: %s", words, err.message);
    }
    assert_null(request);
}

static void test_bad_heads(void **state)
{
    static const char *const paths[] = {"", "a", "/a b", "/a\r\nX: y", "/\xc3\xa4", "/#x"};
    static const char *const names[] = {
        "",           "a b",    "a:",      "Host", "Content-Length", "content_length", "Transfer-Encoding",
        "Connection", "Expect", "Upgrade", "TE",   "x\r\n"};
    static const char *const values[] = {"a\r\nX: y", "a\nb", "\x7f", "\xff"};
    struct postern_header header = {"x", "y"};

    (void)state;
    connect_door();
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        what.path = paths[i];
        expect_refusal("a path begins with a slash");
    }
    what.path = NULL;
    what.method = "GET /";
    expect_refusal("a method is a word");
    what.method = "CONNECT";
    expect_refusal("a tunnel is no request");
    what.method = NULL;
    what.header_count = 1;
    expect_refusal("`headers` is NULL");
    what.headers = &header;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        header.name = names[i];
        expect_refusal("header");
    }
    header.name = "x";
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        header.value = values[i];
        expect_refusal("in one line");
    }
    header.value = NULL;
    expect_refusal("no name or no value");
    what.header_count = 0;
    assert_int_equal(postern_request(door, "", &what, &request, &err), -EINVAL);
    assert_int_equal(postern_request(door, NULL, &what, &request, &err), -EINVAL);
    assert_non_null(strstr(err.message, "a request needs a route"));
    assert_int_equal(postern_open(door, NULL, NULL, &(struct postern_stream *){NULL}, &err), -EINVAL);
    what.size = 3;
    assert_int_equal(postern_request(door, "http", &what, &request, &err), -EINVAL);
    postern_request_close(NULL);
}

/* Not even where nothing but what was heard before has to be told, or a little is kept to be sent later. */
static void test_in_a_child(void **state)
{
    struct postern_request *chunked = NULL;
    int status;
    pid_t child;

    (void)state;
    ask(OK "content-length: 3\r\n\r\nabc", HEAD_END);
    expect_status(200);
    what.body_length = POSTERN_BODY_UNKNOWN;
    assert_int_equal(postern_request(door, "http", &what, &chunked, &err), 0);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        bool good = postern_request_status(request, 0, NULL) == -ECHILD &&
                    postern_request_finish(request, NULL) == -ECHILD &&
                    postern_request_read(request, body, sizeof body, 0, NULL) == -ECHILD &&
                    postern_request_write(chunked, "x", 1, 0, NULL) == -ECHILD &&
                    postern_request_finish(chunked, NULL) == -ECHILD;

        postern_request_close(chunked);
        postern_request_close(request);
        postern_disconnect(door, 0);
        server_leave(good);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    expect_body("abc");
    postern_request_close(chunked);
}

/* A route's name need not be one of a host. */
static void test_odd_route(void **state)
{
    (void)state;
    connect_door();
    assert_int_equal(postern_request(door, "meta", NULL, &request, &err), 0);
    assert_int_equal(postern_request_status(request, LONG_MS, &err), -EPROTO);
    postern_request_close(request);
    tell_server(OK EMPTY, HEAD_END);
    assert_int_equal(postern_request(door, "http \"/\"", NULL, &request, &err), 0);
    expect_status(200);
    assert_non_null(strstr(server.http.heard, "host: postern\r\n"));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
    const struct CMUnitTest tests[] = {
        TEST(test_get),
        TEST(test_all_that_may_be_said),
        TEST(test_no_body),
        TEST(test_chunks),
        TEST(test_small_buffers),
        TEST(test_an_end_that_is_the_streams),
        TEST(test_head),
        TEST(test_interim_answers),
        TEST(test_a_problem),
        TEST(test_big_bodies),
        TEST(test_big_chunks),
        TEST(test_an_early_no),
        TEST(test_an_early_no_and_stop),
        TEST(test_stopped),
        TEST(test_an_early_yes),
        TEST(test_an_early_yes_that_is_over),
        TEST(test_nobody_takes_it),
        TEST(test_bad_answers),
        TEST(test_refused),
        TEST(test_given_up_by_another_thread),
        TEST(test_bad_heads),
        TEST(test_in_a_child),
        TEST(test_odd_route),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
