/* The server over real sockets: what clients get, what hostile clients do not get, and how it closes. */
#include "http/server.h"
#include "http/status.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define HOST     "Host: x\r\n"
#define PATIENCE 60000 /* ms; a test that waits this long fails */
#define LARGE    (9 * 1024 * 1024)

struct fixture {
    uv_loop_t loop;
    struct http_server server;
    struct sockaddr_un address;
    socklen_t address_size;
    unsigned handled;
    unsigned closed;
};

static uint64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void on_server_closed(void *data)
{
    struct fixture *fixture = data;
    fixture->closed++;
}

static void handler(void *data, const struct http_message *request, struct http_answer *response)
{
    struct fixture *fixture = data;
    fixture->handled++;
    if (strcmp(request->path, "/echo") == 0) {
        text_addf(&response->body, "%s %s %s", request->method, request->query, text_string(&request->body));
    } else if (strcmp(request->path, "/large") == 0) {
        for (size_t i = 0; i < LARGE / 16; i++) {
            text_add(&response->body, "0123456789abcdef");
        }
    } else if (strcmp(request->path, "/close") == 0) {
        http_server_close(&fixture->server, on_server_closed, fixture);
        http_server_close(&fixture->server, on_server_closed, fixture);
        text_add(&response->body, "closing");
    } else if (strcmp(request->path, "/fail") == 0) {
        response->body.failed = true;
    } else if (strcmp(request->path, "/post") == 0) {
        response->status = 405;
        response->allow = "POST";
    } else {
        response->status = 404;
        text_add(&response->body, "no such page\n");
    }
}

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    assert_non_null(fixture);
    assert_int_equal(uv_loop_init(&fixture->loop), 0);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    fixture->address.sun_family = AF_UNIX;
    fixture->address_size = sizeof(sa_family_t); /* "any abstract name" */
    assert_int_equal(bind(fd, (struct sockaddr *)&fixture->address, fixture->address_size), 0);
    fixture->address_size = sizeof fixture->address;
    assert_int_equal(getsockname(fd, (struct sockaddr *)&fixture->address, &fixture->address_size), 0);
    assert_int_equal(http_server_start(&fixture->server, &fixture->loop, fd, handler, fixture), 0);
    *state = fixture;
    return 0;
}

static void wait_closed(struct fixture *fixture)
{
    uint64_t end = now_ms() + PATIENCE;
    while (uv_run(&fixture->loop, UV_RUN_NOWAIT) != 0) {
        assert_true(now_ms() < end);
    }
    assert_int_equal(fixture->closed, 1);
    assert_int_equal(uv_loop_close(&fixture->loop), 0);
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    http_server_close(&fixture->server, on_server_closed, fixture);
    wait_closed(fixture);
    free(fixture);
    return 0;
}

static void turn(struct fixture *fixture, unsigned times)
{
    while (times-- > 0) {
        uv_run(&fixture->loop, UV_RUN_NOWAIT);
    }
}

static int open_client(struct fixture *fixture)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&fixture->address, fixture->address_size), 0);
    return fd;
}

static void say(int fd, const char *bytes)
{
    assert_int_equal(send(fd, bytes, strlen(bytes), MSG_NOSIGNAL), strlen(bytes));
}

/* Turns the loop until the server has closed the connection; what it said is in `out`. */
static void hear(struct fixture *fixture, int fd, struct text *out)
{
    static char buffer[65536];
    uint64_t end = now_ms() + PATIENCE;
    struct pollfd client = {.fd = fd, .events = POLLIN};
    text_init(out, 0);
    for (;;) {
        uv_run(&fixture->loop, UV_RUN_NOWAIT);
        assert_true(now_ms() < end);
        if (poll(&client, 1, 1) == 0) {
            continue;
        }
        ssize_t count = recv(fd, buffer, sizeof buffer, 0);
        if (count <= 0) {
            close(fd);
            return;
        }
        text_add_bytes(out, buffer, (size_t)count);
    }
}

static void ask(struct fixture *fixture, const char *request, struct text *answer)
{
    int fd = open_client(fixture);
    say(fd, request);
    hear(fixture, fd, answer);
}

static void assert_status(const struct text *answer, int status)
{
    char line[64];
    snprintf(line, sizeof line, "HTTP/1.1 %d %s\r\n", status, http_status_words((unsigned)status));
    if (strncmp(text_string(answer), line, strlen(line)) != 0) {
        fail_msg("expected %s, got %.80s", line, text_string(answer));
    }
}

static const char *body_of(const struct text *answer)
{
    const char *end = strstr(text_string(answer), "\r\n\r\n");
    assert_non_null(end);
    return end + 4;
}

static void expect(struct fixture *fixture, const char *request, int status, const char *body)
{
    struct text answer;
    ask(fixture, request, &answer);
    assert_status(&answer, status);
    if (body != NULL) {
        assert_string_equal(body_of(&answer), body);
    }
    text_release(&answer);
}

static void a_request_is_answered_whole(void **state)
{
    struct fixture *fixture = *state;
    struct text answer;
    ask(fixture, "POST /echo?a=b HTTP/1.1\r\n" HOST "Content-Length: 2\r\n\r\nhi", &answer);
    assert_status(&answer, 200);
    assert_non_null(strstr(answer.data, "\r\nContent-Length: 11\r\n"));
    assert_non_null(strstr(answer.data, "\r\nContent-Type: text/plain; charset=utf-8\r\n"));
    assert_non_null(strstr(answer.data, "\r\nCache-Control: no-store\r\n"));
    assert_non_null(strstr(answer.data, "\r\nConnection: close\r\n"));
    assert_non_null(strstr(answer.data, "\r\nDate: "));
    assert_null(strstr(answer.data, "\r\nAllow: "));
    assert_string_equal(body_of(&answer), "POST a=b hi");
    text_release(&answer);
}

static void our_own_parser_reads_the_answer(void **state)
{
    struct fixture *fixture = *state;
    struct text answer;
    struct http_message message;
    ask(fixture, "GET /echo HTTP/1.1\r\n" HOST "\r\n", &answer);
    http_message_init(&message, HTTP_MESSAGE_RESPONSE, 4096, 4096);
    assert_int_equal(http_message_feed(&message, answer.data, answer.length), 1);
    assert_int_equal(message.status, 200);
    assert_string_equal(text_string(&message.body), "GET  ");
    http_message_release(&message);
    text_release(&answer);
}

static void head_is_answered_without_a_body(void **state)
{
    struct fixture *fixture = *state;
    struct text answer;
    ask(fixture, "HEAD /echo?x HTTP/1.1\r\n" HOST "\r\n", &answer);
    assert_status(&answer, 200);
    assert_non_null(strstr(answer.data, "\r\nContent-Length: 7\r\n"));
    assert_string_equal(body_of(&answer), "");
    text_release(&answer);
    ask(fixture, "HEAD / HTTP/1.1\r\n" HOST HOST "\r\n", &answer);
    assert_status(&answer, 400);
    assert_string_equal(body_of(&answer), "");
    text_release(&answer);
}

static void a_request_may_come_in_pieces(void **state)
{
    struct fixture *fixture = *state;
    static const char request[] = "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 4\r\n\r\nslow";
    struct text answer;
    int fd = open_client(fixture);
    for (size_t i = 0; i + 1 < sizeof request; i++) {
        assert_int_equal(send(fd, request + i, 1, MSG_NOSIGNAL), 1);
        turn(fixture, 2);
    }
    hear(fixture, fd, &answer);
    assert_status(&answer, 200);
    assert_string_equal(body_of(&answer), "POST  slow");
    text_release(&answer);
}

static void refusals_say_why(void **state)
{
    struct fixture *fixture = *state;
    struct text answer;
    expect(fixture, "GET /echo HTTP/1.1\r\n\r\n", 400,
           "the Host header is missing, or is not a host name with or without a port\n");
    expect(fixture, "GET /nothing HTTP/1.1\r\n" HOST "\r\n", 404, "no such page\n");
    expect(fixture, "GET /echo HTTP/3.7\r\n" HOST "\r\n", 505, NULL);
    expect(fixture, "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 65537\r\n\r\n", 413,
           "the body is over the bound in bytes\n");
    expect(fixture, "POST /echo HTTP/1.1\r\n" HOST "Expect: 100-continue\r\nContent-Length: 1\r\n\r\na", 417,
           NULL);
    expect(fixture, "GET /fail HTTP/1.1\r\n" HOST "\r\n", 503, NULL);
    ask(fixture, "GET /post HTTP/1.1\r\n" HOST "\r\n", &answer);
    assert_status(&answer, 405);
    assert_non_null(strstr(answer.data, "\r\nAllow: POST\r\n"));
    text_release(&answer);
    ask(fixture, "TRACE /post HTTP/1.1\r\n" HOST "\r\n", &answer);
    assert_status(&answer, 405);
    text_release(&answer);
    ask(fixture, "BREW /post HTTP/1.1\r\n" HOST "\r\n", &answer);
    assert_status(&answer, 405);
    assert_non_null(strstr(answer.data, "\r\nAllow: GET\r\n"));
    text_release(&answer);
}

static void an_oversize_head_is_refused(void **state)
{
    struct fixture *fixture = *state;
    char request[HTTP_SERVER_HEAD_MAX + 100];
    memset(request, 'a', sizeof request - 1);
    request[sizeof request - 1] = '\0';
    memcpy(request, "GET /", 5);
    expect(fixture, request, 431, "the head, or the trailers, are over the bound in bytes\n");
}

static void what_follows_a_request_is_ignored(void **state)
{
    struct fixture *fixture = *state;
    expect(fixture, "GET /echo HTTP/1.1\r\n" HOST "\r\nGET /echo HTTP/1.1\r\n" HOST "\r\n", 200, "GET  ");
    assert_int_equal(fixture->handled, 1);
}

static void a_client_that_goes_on_talking_is_cut_off(void **state)
{
    struct fixture *fixture = *state;
    static char noise[1024];
    uint64_t end = now_ms() + PATIENCE;
    memset(noise, 'x', sizeof noise);
    fixture->server.linger_ms = PATIENCE * 2; /* not the timer's doing */
    int fd = open_client(fixture);
    say(fd, "GET /echo HTTP/1.1\r\n" HOST "\r\n");
    while (send(fd, noise, sizeof noise, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0 || errno == EAGAIN) {
        assert_true(now_ms() < end);
        turn(fixture, 1);
    }
    assert_int_equal(errno, EPIPE);
    close(fd);
}

static void a_silent_client_is_told_and_closed(void **state)
{
    struct fixture *fixture = *state;
    struct text answer;
    fixture->server.time_ms = 20;
    int fd = open_client(fixture);
    say(fd, "GET /echo HT");
    hear(fixture, fd, &answer);
    assert_status(&answer, 408);
    text_release(&answer);
    expect(fixture, "", 408, "the request took too long\n");
    assert_int_equal(fixture->handled, 0);
}

static void a_client_that_does_not_read_is_closed(void **state)
{
    struct fixture *fixture = *state;
    uint64_t end = now_ms() + PATIENCE;
    fixture->server.time_ms = 500;
    int fd = open_client(fixture);
    say(fd, "GET /large HTTP/1.1\r\n" HOST "\r\n");
    while (fixture->handled == 0) {
        turn(fixture, 1);
    }
    assert_true(fixture->server.answers >= LARGE);
    while (fixture->server.answers > 0) {
        assert_true(now_ms() < end);
        turn(fixture, 1);
    }
    close(fd);
}

static void a_large_answer_arrives(void **state)
{
    struct fixture *fixture = *state;
    struct text answer;
    ask(fixture, "GET /large HTTP/1.1\r\n" HOST "\r\n", &answer);
    assert_status(&answer, 200);
    assert_int_equal(strlen(body_of(&answer)), LARGE);
    turn(fixture, 5);
    assert_int_equal(fixture->server.answers, 0);
    text_release(&answer);
}

static void answers_under_way_have_a_bound(void **state)
{
    struct fixture *fixture = *state;
    int held[3];
    for (unsigned i = 0; i < 3; i++) {
        held[i] = open_client(fixture);
        say(held[i], "GET /large HTTP/1.1\r\n" HOST "\r\n");
        while (fixture->handled <= i) {
            turn(fixture, 1);
        }
    }
    expect(fixture, "GET /large HTTP/1.1\r\n" HOST "\r\n", 503, NULL);
    expect(fixture, "GET /echo HTTP/1.1\r\n" HOST "\r\n", 200, NULL);
    assert_true(fixture->server.answers <= HTTP_SERVER_ANSWERS_MAX);
    for (unsigned i = 0; i < 3; i++) {
        close(held[i]);
    }
}

static void the_oldest_gives_way(void **state)
{
    struct fixture *fixture = *state;
    int silent[HTTP_SERVER_CONNECTIONS + 8];
    for (size_t i = 0; i < ARRAY_SIZE(silent); i++) {
        silent[i] = open_client(fixture);
        turn(fixture, 2);
    }
    turn(fixture, 10);
    assert_int_equal(fixture->server.evicted, 8);
    expect(fixture, "GET /echo HTTP/1.1\r\n" HOST "\r\n", 200, "GET  ");
    char byte;
    for (size_t i = 0; i < ARRAY_SIZE(silent); i++) {
        ssize_t count = recv(silent[i], &byte, 1, MSG_DONTWAIT);
        assert_int_equal(count, i < 9 ? 0 : -1);
        close(silent[i]);
    }
}

/* All at once: no client gets lost between the kernel's queue and the one that waits for a place. */
static void a_crowd_is_served(void **state)
{
    struct fixture *fixture = *state;
    for (unsigned round = 0; round < 4; round++) {
        int crowd[HTTP_SERVER_CONNECTIONS];
        for (size_t i = 0; i < ARRAY_SIZE(crowd); i++) {
            crowd[i] = open_client(fixture);
            say(crowd[i], "GET /echo HTTP/1.1\r\n" HOST "\r\n");
        }
        for (size_t i = 0; i < ARRAY_SIZE(crowd); i++) {
            struct text answer;
            hear(fixture, crowd[i], &answer);
            assert_status(&answer, 200);
            text_release(&answer);
        }
    }
}

static void clients_may_vanish(void **state)
{
    struct fixture *fixture = *state;
    static const char *const said[] = {"", "GET", "GET /large HTTP/1.1\r\n" HOST "\r\n", "nonsense\r\n"};
    for (size_t i = 0; i < ARRAY_SIZE(said); i++) {
        int fd = open_client(fixture);
        say(fd, said[i]);
        turn(fixture, i % 2 == 0 ? 2 : 0);
        close(fd);
        turn(fixture, 5);
    }
    assert_true(TAILQ_EMPTY(&fixture->server.taken));
    assert_int_equal(fixture->server.answers, 0);
}

static void the_handler_may_close_the_server(void **state)
{
    struct fixture *fixture = *state;
    int idle = open_client(fixture);
    turn(fixture, 2);
    expect(fixture, "POST /close HTTP/1.1\r\n" HOST "\r\n", 200, "closing");
    char byte;
    assert_int_equal(recv(idle, &byte, 1, 0), 0);
    close(idle);
}

static void closing_waits_for_answers_only_so_long(void **state)
{
    struct fixture *fixture = *state;
    fixture->server.linger_ms = 300;
    int fd = open_client(fixture);
    say(fd, "GET /large HTTP/1.1\r\n" HOST "\r\n");
    while (fixture->handled == 0) {
        turn(fixture, 1);
    }
    uv_update_time(&fixture->loop); /* its clock is as old as the turn, in which a large answer was made */
    uint64_t begun = now_ms();
    http_server_close(&fixture->server, on_server_closed, fixture);
    while (fixture->closed == 0) {
        assert_true(now_ms() < begun + PATIENCE);
        turn(fixture, 1);
    }
    assert_true(now_ms() >= begun + 290);
    close(fd);
}

static void tcp_is_served_too(void **state)
{
    (void)state;
    struct fixture *fixture = calloc(1, sizeof *fixture);
    assert_non_null(fixture);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    assert_int_equal(uv_loop_init(&fixture->loop), 0);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, size), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    assert_int_equal(http_server_start(&fixture->server, &fixture->loop, fd, handler, fixture), 0);
    int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(client, (struct sockaddr *)&address, size), 0);
    say(client, "GET /echo HTTP/1.0\r\n\r\n");
    struct text answer;
    hear(fixture, client, &answer);
    assert_status(&answer, 200);
    text_release(&answer);
    http_server_close(&fixture->server, on_server_closed, fixture);
    wait_closed(fixture);
    free(fixture);
}

static void a_descriptor_that_is_no_socket_is_refused(void **state)
{
    (void)state;
    struct fixture *fixture = calloc(1, sizeof *fixture);
    assert_non_null(fixture);
    assert_int_equal(uv_loop_init(&fixture->loop), 0);
    assert_true(http_server_start(&fixture->server, &fixture->loop, dup(0), handler, fixture) < 0);
    http_server_close(&fixture->server, on_server_closed, fixture);
    wait_closed(fixture);
    memset(fixture, 0, sizeof *fixture);
    assert_int_equal(uv_loop_init(&fixture->loop), 0);
    assert_true(http_server_start(&fixture->server, &fixture->loop, -1, handler, fixture) < 0);
    http_server_close(&fixture->server, on_server_closed, fixture);
    wait_closed(fixture);
    free(fixture);
}

static void query_values(void **state)
{
    (void)state;
    char value[8];
    assert_int_equal(http_query_value("", "deadline", value, sizeof value), 0);
    assert_int_equal(http_query_value("deadline=30s", "deadline", value, sizeof value), 1);
    assert_string_equal(value, "30s");
    assert_int_equal(http_query_value("deadline=", "deadline", value, sizeof value), 1);
    assert_string_equal(value, "");
    assert_int_equal(http_query_value("deadline", "deadline", value, sizeof value), -EINVAL);
    assert_int_equal(http_query_value("deadlines=1", "deadline", value, sizeof value), -EINVAL);
    assert_int_equal(http_query_value("deadline=1s&x=2", "deadline", value, sizeof value), -EINVAL);
    assert_int_equal(http_query_value("deadline=12345678", "deadline", value, sizeof value), -EINVAL);
    assert_string_equal(http_status_words(999), "Unknown");
}

#define WITH_SERVER(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    signal(SIGPIPE, SIG_IGN); /* as the daemon does */
    const struct CMUnitTest tests[] = {
        WITH_SERVER(a_request_is_answered_whole),
        WITH_SERVER(our_own_parser_reads_the_answer),
        WITH_SERVER(head_is_answered_without_a_body),
        WITH_SERVER(a_request_may_come_in_pieces),
        WITH_SERVER(refusals_say_why),
        WITH_SERVER(an_oversize_head_is_refused),
        WITH_SERVER(what_follows_a_request_is_ignored),
        WITH_SERVER(a_client_that_goes_on_talking_is_cut_off),
        WITH_SERVER(a_silent_client_is_told_and_closed),
        WITH_SERVER(a_client_that_does_not_read_is_closed),
        WITH_SERVER(a_large_answer_arrives),
        WITH_SERVER(answers_under_way_have_a_bound),
        WITH_SERVER(the_oldest_gives_way),
        WITH_SERVER(a_crowd_is_served),
        WITH_SERVER(clients_may_vanish),
        WITH_SERVER(the_handler_may_close_the_server),
        WITH_SERVER(closing_waits_for_answers_only_so_long),
        cmocka_unit_test(tcp_is_served_too),
        cmocka_unit_test(a_descriptor_that_is_no_socket_is_refused),
        cmocka_unit_test(query_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
