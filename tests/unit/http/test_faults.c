/* Every call behind a request made to fail once: the server answers, or closes, and leaks nothing. */
#include "fault.h"
#include "http/server.h"
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#define TURNS 50

/* The loop is older than the scenario: libuv gives up when memory fails while one is made. */
static uv_loop_t loop;

static void handler(void *data, const struct http_message *request, struct http_answer *response)
{
    (void)data;
    text_addf(&response->body, "%s %s", request->path, text_string(&request->body));
}

static int listen_somewhere(struct sockaddr_un *address, socklen_t *size)
{
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    *size = sizeof(sa_family_t);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -1;
    }
    if (bind(fd, (struct sockaddr *)address, *size) != 0) {
        close(fd);
        return -1;
    }
    *size = sizeof *address;
    if (getsockname(fd, (struct sockaddr *)address, size) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static void ask(const struct sockaddr_un *address, socklen_t size)
{
    static const char request[] = "POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi";
    char answer[1024];
    int client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (client < 0) {
        return;
    }
    if (connect(client, (const struct sockaddr *)address, size) == 0 &&
        send(client, request, sizeof request - 1, MSG_NOSIGNAL) == (ssize_t)sizeof request - 1) {
        for (unsigned i = 0; i < TURNS; i++) {
            uv_run(&loop, UV_RUN_NOWAIT);
        }
        ssize_t count = recv(client, answer, sizeof answer - 1, MSG_DONTWAIT);
        answer[count > 0 ? count : 0] = '\0';
        /* The whole answer, a refusal, or nothing: never half of one. */
        assert_true(count <= 0 || strstr(answer, "\r\n\r\n/x hi") != NULL || strstr(answer, " 503 ") != NULL);
    }
    close(client);
}

static void on_closed(void *data)
{
    *(unsigned *)data += 1;
}

static void serve(void *data)
{
    struct http_server *server = data;
    struct sockaddr_un address;
    socklen_t size;
    unsigned closed = 0;
    int fd = listen_somewhere(&address, &size);
    if (fd >= 0) {
        if (http_server_start(server, &loop, fd, handler, NULL) == 0) {
            ask(&address, size);
        }
        server->linger_ms = 1;
        http_server_close(server, on_closed, &closed);
        uv_run(&loop, UV_RUN_DEFAULT);
        assert_int_equal(closed, 1);
    }
}

static struct http_server server;

static void memory_fails(void **state)
{
    (void)state;
    assert_true(fault_loop("http memory", FAULT_MEMORY, serve, &server) >= 3);
    assert_true(fault_loop("http memory is gone", FAULT_MEMORY | FAULT_STICKY, serve, &server) >= 3);
}

static void calls_fail(void **state)
{
    (void)state;
    assert_true(fault_loop("http calls",
                           FAULT_SOCKET | FAULT_ACCEPT | FAULT_BIND | FAULT_CONNECT | FAULT_SOCKOPT, serve,
                           &server) >= 4);
    assert_true(fault_loop("http transfer", FAULT_READ | FAULT_WRITE, serve, &server) >= 2);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_fails),
        cmocka_unit_test(calls_fail),
    };
    if (uv_loop_init(&loop) != 0) {
        return 1;
    }
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    return uv_loop_close(&loop) == 0 ? failed : 1;
}
