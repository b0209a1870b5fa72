/* Answers of the server that come later, whole or in pieces. */
#include "http/server.h"
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#define REQUEST "GET /x HTTP/1.1\r\nHost: x\r\n\r\n"
#define TURNS   60000 /* each waits a millisecond at most; a test that uses them up fails */

struct fixture {
    uv_loop_t loop;
    struct http_server server;
    struct sockaddr_un address;
    socklen_t address_size;
    struct http_connection *connection; /* that is to be answered */
    uint64_t time_ms;
    unsigned sent, gone, closed;
};

static void on_sent(void *arg)
{
    ((struct fixture *)arg)->sent++;
}

static void on_gone(void *arg)
{
    ((struct fixture *)arg)->gone++;
}

static const struct http_later_ops later_ops = {.sent = on_sent, .gone = on_gone};

static void handler(void *data, const struct http_message *request, struct http_answer *response)
{
    struct fixture *fixture = data;
    (void)request;
    fixture->connection = response->connection;
    http_answer_later(response, &later_ops, fixture, fixture->time_ms);
}

static void on_server_closed(void *data)
{
    ((struct fixture *)data)->closed++;
}

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    assert_non_null(fixture);
    assert_int_equal(uv_loop_init(&fixture->loop), 0);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    fixture->time_ms = 600000;
    fixture->address.sun_family = AF_UNIX;
    assert_int_equal(bind(fd, (struct sockaddr *)&fixture->address, sizeof(sa_family_t)), 0);
    fixture->address_size = sizeof fixture->address;
    assert_int_equal(getsockname(fd, (struct sockaddr *)&fixture->address, &fixture->address_size), 0);
    assert_int_equal(http_server_start(&fixture->server, &fixture->loop, fd, handler, fixture), 0);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    http_server_close(&fixture->server, on_server_closed, fixture);
    (void)uv_run(&fixture->loop, UV_RUN_DEFAULT);
    assert_int_equal(fixture->closed, 1);
    assert_int_equal(uv_loop_close(&fixture->loop), 0);
    free(fixture);
    return 0;
}

/* Turns the loop until `*value` is `wanted`. */
static void turn_until(struct fixture *fixture, const unsigned *value, unsigned wanted)
{
    for (unsigned i = 0; i < TURNS && *value != wanted; i++) {
        (void)uv_run(&fixture->loop, UV_RUN_NOWAIT);
        (void)poll(NULL, 0, 1);
    }
    assert_int_equal(*value, wanted);
}

static int ask(struct fixture *fixture)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&fixture->address, fixture->address_size), 0);
    assert_int_equal(send(fd, REQUEST, strlen(REQUEST), MSG_NOSIGNAL), strlen(REQUEST));
    for (unsigned i = 0; i < TURNS && fixture->connection == NULL; i++) {
        (void)uv_run(&fixture->loop, UV_RUN_NOWAIT);
        (void)poll(NULL, 0, 1);
    }
    assert_non_null(fixture->connection);
    return fd;
}

/* What has come until the server closed. */
static void hear(struct fixture *fixture, int fd, struct text *out)
{
    static char data[65536];
    struct pollfd client = {.fd = fd, .events = POLLIN};
    text_init(out, 0);
    for (unsigned i = 0; i < TURNS; i++) {
        (void)uv_run(&fixture->loop, UV_RUN_NOWAIT);
        if (poll(&client, 1, 1) == 0) {
            continue;
        }
        ssize_t count = recv(fd, data, sizeof data, 0);
        if (count <= 0) {
            close(fd);
            return;
        }
        text_add_bytes(out, data, (size_t)count);
    }
    fail();
}

static void all_of_it_later(void **state)
{
    struct fixture *fixture = *state;
    struct text heard;
    struct http_answer answer = {.status = 404, .content_type = "text/plain"};
    int fd = ask(fixture);
    text_init(&answer.body, 0);
    text_add(&answer.body, "nothing there\n");
    http_later_answer(fixture->connection, &answer);
    hear(fixture, fd, &heard);
    assert_non_null(strstr(heard.data, "HTTP/1.1 404 Not Found\r\n"));
    assert_non_null(strstr(heard.data, "\r\n\r\nnothing there\n"));
    assert_int_equal(fixture->gone + fixture->sent, 0);
    text_release(&heard);
}

static void what_failed_for_want_of_memory_is_said(void **state)
{
    struct fixture *fixture = *state;
    struct text heard;
    struct http_answer answer = {.status = 200, .content_type = "text/plain"};
    int fd = ask(fixture);
    text_init(&answer.body, 0);
    answer.body.failed = true;
    http_later_answer(fixture->connection, &answer);
    hear(fixture, fd, &heard);
    assert_non_null(strstr(heard.data, "HTTP/1.1 503 "));
    text_release(&heard);
}

static void in_pieces(void **state)
{
    struct fixture *fixture = *state;
    struct text heard;
    int fd = ask(fixture);
    http_later_begin(fixture->connection, "application/http", 11);
    turn_until(fixture, &fixture->sent, 1);
    http_later_piece(fixture->connection, "hello ", 6);
    turn_until(fixture, &fixture->sent, 2);
    http_later_piece(fixture->connection, "world", 5);
    turn_until(fixture, &fixture->sent, 3);
    hear(fixture, fd, &heard);
    assert_non_null(strstr(heard.data, "\r\nContent-Length: 11\r\n"));
    assert_non_null(strstr(heard.data, "\r\n\r\nhello world"));
    assert_int_equal(fixture->gone, 0);
    text_release(&heard);
}

static void what_cannot_be_finished_ends_short(void **state)
{
    struct fixture *fixture = *state;
    struct text heard;
    int fd = ask(fixture);
    http_later_begin(fixture->connection, "application/http", 11);
    turn_until(fixture, &fixture->sent, 1);
    http_later_cut(fixture->connection);
    hear(fixture, fd, &heard);
    assert_non_null(strstr(heard.data, "\r\nContent-Length: 11\r\n"));
    assert_int_equal(fixture->gone, 0);
    text_release(&heard);
}

static void a_client_that_goes_is_told_of(void **state)
{
    struct fixture *fixture = *state;
    close(ask(fixture));
    turn_until(fixture, &fixture->gone, 1);
}

static void one_that_goes_in_the_middle_too(void **state)
{
    struct fixture *fixture = *state;
    static char piece[1 << 20];
    int fd = ask(fixture);
    http_later_begin(fixture->connection, "application/http", sizeof piece * 4);
    turn_until(fixture, &fixture->sent, 1);
    http_later_piece(fixture->connection, piece, sizeof piece); /* more than the socket takes */
    close(fd);
    turn_until(fixture, &fixture->gone, 1);
}

static void one_that_takes_too_long_too(void **state)
{
    struct fixture *fixture = *state;
    fixture->time_ms = 1;
    int fd = ask(fixture);
    turn_until(fixture, &fixture->gone, 1);
    close(fd);
}

static void a_server_that_closes_waits_for_nobody(void **state)
{
    struct fixture *fixture = *state;
    int fd = ask(fixture);
    http_server_close(&fixture->server, on_server_closed, fixture);
    assert_int_equal(fixture->gone, 1); /* at once: what the answer was to be made of may go */
    close(fd);
}

#define WITH_SERVER(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_SERVER(all_of_it_later),
        WITH_SERVER(what_failed_for_want_of_memory_is_said),
        WITH_SERVER(in_pieces),
        WITH_SERVER(what_cannot_be_finished_ends_short),
        WITH_SERVER(a_client_that_goes_is_told_of),
        WITH_SERVER(one_that_goes_in_the_middle_too),
        WITH_SERVER(one_that_takes_too_long_too),
        WITH_SERVER(a_server_that_closes_waits_for_nobody),
    };
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
