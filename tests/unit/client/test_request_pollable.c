/* Requests in the pollable style, and with every allocation failing. */
#include "fault.h"
#include "pollable.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define HEAD_END "\r\n\r\n"
#define SIZE     (3u << 20)

static struct postern_request_options what;
static struct postern_request *request;

static void ask(const char *answer, const char *until)
{
    server.http.answer = answer;
    server.http.until = until;
    connect_door();
    assert_int_equal(postern_request(door, "http", &what, &request, &err), 0);
}

static int status_of(void)
{
    int status;

    TURN_UNTIL((status = postern_request_status(request, 5000, &err)) != -EAGAIN);
    return status;
}

static ssize_t read_on(void *buffer, size_t size)
{
    ssize_t n;

    TURN_UNTIL((n = postern_request_read(request, buffer, size, 5000, &err)) != -EAGAIN);
    return n;
}

static void test_get(void **state)
{
    char body[10];

    (void)state;
    postern_request_options_init(&what);
    ask("HTTP/1.1 200 OK\r\nContent-Length: 5" HEAD_END "hello", HEAD_END);
    assert_int_equal(postern_request_status(request, 60000, &err), -EAGAIN); /* it does not wait */
    assert_int_equal(err.status, -EAGAIN);
    assert_int_equal(status_of(), 200);
    assert_int_equal(read_on(body, sizeof body), 5);
    assert_int_equal(read_on(body, sizeof body), 0);
    postern_request_close(request);
    TURN_UNTIL(server.finished == 1);
}

/* Driven by what postern_next() tells alone. */
static void upload(uint64_t announced)
{
    static uint8_t bytes[SIZE];
    unsigned events = 0;
    size_t sent = 0;
    ssize_t n;
    int status;

    postern_request_options_init(&what);
    what.body_length = announced;
    server.http.after = SIZE;
    ask("HTTP/1.1 201 Created\r\nContent-Length: 0" HEAD_END, NULL);
    while (sent < SIZE) {
        while (sent < SIZE && (n = postern_request_write(request, bytes + sent, SIZE - sent, 0, &err)) > 0) {
            sent += (size_t)n;
        }
        if (sent < SIZE) {
            assert_int_equal(n, -EAGAIN);
            TURN_UNTIL(postern_next(door, &events) == postern_request_stream(request));
        }
    }
    assert_int_equal(postern_request_finish(request, &err), 0);
    while ((status = postern_request_status(request, 0, &err)) == -EAGAIN) {
        TURN_UNTIL(postern_next(door, &events) == postern_request_stream(request));
    }
    assert_int_equal(status, 201);
    postern_request_close(request);
}

static void test_upload(void **state)
{
    (void)state;
    upload(SIZE);
}

static void test_upload_in_chunks(void **state)
{
    (void)state;
    upload(POSTERN_BODY_UNKNOWN);
}

static void test_an_early_no(void **state)
{
    static uint8_t bytes[65536];
    ssize_t n;

    (void)state;
    postern_request_options_init(&what);
    what.body_length = UINT64_C(1) << 40;
    server.http.stall = true;
    ask("HTTP/1.1 507 Insufficient Storage\r\nContent-Length: 0" HEAD_END, HEAD_END);
    TURN_UNTIL((n = postern_request_write(request, bytes, sizeof bytes, 0, &err)) < 0 && n != -EAGAIN);
    assert_int_equal(n, -EPIPE);
    assert_int_equal(status_of(), 507);
    postern_request_close(request);
    TURN_UNTIL(server.reset == 1);
}

static void test_close_at_once(void **state)
{
    (void)state;
    postern_request_options_init(&what);
    ask(NULL, NULL);
    postern_request_close(request);
    TURN_UNTIL(server.reset == server.opens && server.opens > 0);
}

/* A request of some size, chunked both ways, to its end or to the failure. */
static void exchange(void *arg)
{
    static uint8_t bytes[40000];
    char body[64];
    size_t sent = 0;
    ssize_t n = 0;
    int status;
    void *state = NULL;

    (void)arg;
    setup(&state);
    memset(bytes, 'x', sizeof bytes);
    options.open_timeout_ms = options.connect_timeout_ms = 300;
    server.http.until = "0" HEAD_END;
    server.http.answer =
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX: y" HEAD_END "5\r\nhello\r\n0\r\nX: y" HEAD_END;
    postern_request_options_init(&what);
    what.body_length = POSTERN_BODY_UNKNOWN;
    if (postern_start(server.address, &options, &door, &err) == 0) {
        if (postern_request(door, "http", &what, &request, &err) == 0) {
            while (sent < sizeof bytes && (n >= 0 || n == -EAGAIN)) {
                n = postern_request_write(request, bytes + sent, sizeof bytes - sent, 0, &err);
                sent += n > 0 ? (size_t)n : 0;
                turn();
            }
            status = sent == sizeof bytes ? postern_request_finish(request, &err) : -EPIPE;
            if (status == 0) {
                status = status_of();
            }
            if (status == 200 && (n = read_on(body, sizeof body)) > 0) {
                assert_int_equal(n, 5);
                assert_memory_equal(body, "hello", 5);
                n = read_on(body, sizeof body);
                assert_true(n <= 0);
            }
            assert_true(status == 200 || (status < 0 && err.message[0] != '\0'));
            postern_request_close(request);
        }
        postern_disconnect(door, 0);
        door = NULL;
    }
    server_stop(&server);
}

static void test_no_memory(void **state)
{
    (void)state;
    assert_true(fault_loop("client request, memory", FAULT_MEMORY, exchange, NULL) >= 20);
    assert_true(fault_loop("client request, memory for good", FAULT_MEMORY | FAULT_STICKY, exchange, NULL) >=
                20);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_get),         TEST(test_upload),        TEST(test_upload_in_chunks),
        TEST(test_an_early_no), TEST(test_close_at_once), cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
