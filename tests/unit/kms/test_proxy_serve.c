/* Many connections of the proxy: who is let in, who has to go, and how all of it ends. */
#include "fault.h"
#include "kms/proxy.h"
#include "net/sock.h"
#include "scripted_kms.h"
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static const char request[] = "POST / HTTP/1.1\r\nHost: a\r\nX-Amz-Target: TrentService.Decrypt\r\n\r\n";

/* ---- A proxy in a thread ---- */

static struct bench {
    struct kms_proxy_options options;
    struct sockaddr_any at;
    int listener;
    int stop[2], began[2], go_on[2]; /* pipes */
    pthread_t thread;
    int result;
    struct error err;
} bench;

static void listen_anywhere(void)
{
    struct addr address;
    struct error err = ERROR_INIT;
    const struct sock_options options = {.unix_mode = 0600};

    assert_int_equal(addr_parse_listen("tcp://127.0.0.1:0", &address, &err), 0);
    bench.listener = sock_listen(&address, &options, &err);
    assert_true(bench.listener >= 0);
    bench.at.length = sizeof bench.at.u;
    assert_int_equal(getsockname(bench.listener, &bench.at.u.base, &bench.at.length), 0);
}

static int setup(void **state)
{
    (void)state;
    scripted_kms_reset();
    bench = (struct bench){.listener = -1};
    kms_proxy_options_init(&bench.options);
    listen_anywhere();
    return pipe(bench.stop) || pipe(bench.began) || pipe(bench.go_on);
}

static int teardown(void **state)
{
    (void)state;
    close(bench.listener);
    for (unsigned i = 0; i < 2; i++) {
        close(bench.stop[i]);
        close(bench.began[i]);
        close(bench.go_on[i]);
    }
    return scripted_kms_secrets();
}

static void *run(void *data)
{
    (void)data;
    bench.result = kms_proxy_serve(NULL, bench.listener, bench.stop[0], &bench.options, &bench.err);
    return NULL;
}

static void start(void)
{
    assert_int_equal(pthread_create(&bench.thread, NULL, run, NULL), 0);
}

static void stop(void)
{
    assert_int_equal(write(bench.stop[1], "", 1), 1);
}

static void join(void)
{
    assert_int_equal(pthread_join(bench.thread, NULL), 0);
    assert_int_equal(bench.result, 0);
}

/* From now on calls wait until they are let go. */
static void hold_calls(void)
{
    scripted_kms.began_fd = bench.began[1];
    scripted_kms.go_on_fd = bench.go_on[0];
}

static void await_call(void)
{
    char byte;

    assert_int_equal(read(bench.began[0], &byte, 1), 1);
}

static void let_go(void)
{
    assert_int_equal(write(bench.go_on[1], "", 1), 1);
}

/* ---- Clients ---- */

static int come(void)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    assert_true(fd >= 0);
    assert_int_equal(connect(fd, &bench.at.u.base, bench.at.length), 0);
    return fd;
}

static void ask(int fd)
{
    assert_int_equal(send(fd, request, sizeof request - 1, MSG_NOSIGNAL), sizeof request - 1);
}

/* One answer, whole; "" at the end of the connection. */
static const char *answer(int fd)
{
    static char text[4096];
    size_t size = 0;

    text[0] = '\0';
    while (!strstr(text, "c2VjcmV0\"}") && size < sizeof text - 1) {
        ssize_t n = recv(fd, text + size, sizeof text - 1 - size, 0);
        if (n <= 0) {
            break;
        }
        size += (size_t)n;
        text[size] = '\0';
    }
    return text;
}

static void assert_answered(int fd)
{
    assert_memory_equal(answer(fd), "HTTP/1.1 200 OK\r\n", 17);
}

/* ---- Tests ---- */

static void test_many_connections(void **state)
{
    (void)state;
    int clients[20];

    start();
    for (unsigned i = 0; i < ARRAY_SIZE(clients); i++) {
        clients[i] = come();
    }
    for (unsigned turn = 0; turn < 2; turn++) {
        for (unsigned i = 0; i < ARRAY_SIZE(clients); i++) {
            ask(clients[i]);
        }
        for (unsigned i = 0; i < ARRAY_SIZE(clients); i++) {
            assert_answered(clients[i]);
        }
    }
    stop();
    for (unsigned i = 0; i < ARRAY_SIZE(clients); i++) {
        assert_string_equal(answer(clients[i]), "");
        close(clients[i]);
    }
    join();
    assert_int_equal(scripted_kms.calls, 40);
}

/* One of those who are idle gives way: which is idle by now, and for how long, is up to the scheduler. */
static void test_newcomers_take_the_place_of_the_idle(void **state)
{
    (void)state;
    struct pollfd old[2] = {{.events = POLLIN}, {.events = POLLIN}};

    bench.options.connections = 2;
    start();
    for (unsigned i = 0; i < 2; i++) {
        old[i].fd = come();
        ask(old[i].fd);
        assert_answered(old[i].fd);
    }
    int newcomer = come();
    ask(newcomer);
    assert_answered(newcomer);
    assert_int_equal(poll(old, 2, -1), 1);
    bool second = old[1].revents != 0;
    assert_string_equal(answer(old[second].fd), "");
    ask(old[!second].fd);
    assert_answered(old[!second].fd);
    stop();
    join();
    close(newcomer);
    close(old[0].fd);
    close(old[1].fd);
}

/* Where nobody is idle, newcomers wait until somebody is. */
static void test_newcomers_wait_for_the_busy(void **state)
{
    (void)state;
    bench.options.connections = 1;
    hold_calls();
    start();
    int first = come();
    ask(first);
    await_call();
    int second = come();
    ask(second);
    struct pollfd quiet = {.fd = bench.began[0], .events = POLLIN};
    assert_int_equal(poll(&quiet, 1, 50), 0);
    let_go();
    assert_answered(first);
    await_call();
    let_go();
    assert_answered(second);
    assert_string_equal(answer(first), "");
    stop();
    join();
    close(first);
    close(second);
}

/* Calls are not one after another. */
static void test_calls_at_once(void **state)
{
    (void)state;
    int clients[8];

    hold_calls();
    start();
    for (unsigned i = 0; i < ARRAY_SIZE(clients); i++) {
        clients[i] = come();
        ask(clients[i]);
    }
    for (unsigned i = 0; i < ARRAY_SIZE(clients); i++) {
        await_call();
    }
    for (unsigned i = 0; i < ARRAY_SIZE(clients); i++) {
        let_go();
    }
    for (unsigned i = 0; i < ARRAY_SIZE(clients); i++) {
        assert_answered(clients[i]);
        close(clients[i]);
    }
    stop();
    join();
}

/* A request with a body of 20,000 bytes. */
static void ask_much(int fd)
{
    static char much[20400];
    size_t size = 0;

    size += (size_t)snprintf(much, sizeof much,
                             "POST / HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-amz-json-1.1\r\n"
                             "X-Amz-Target: TrentService.Encrypt\r\nContent-Length: 20000\r\n\r\n{\"a\":\"");
    memset(much + size, 'a', 20000 - 8);
    memcpy(much + size + 20000 - 8, "\"}", 2);
    size += 20000 - 6;
    assert_int_equal(send(fd, much, size, MSG_NOSIGNAL), size);
}

/* What a request takes is counted until it is answered, and not only while it is read. */
static void test_memory_while_calls_are_under_way(void **state)
{
    (void)state;
    bench.options.memory = 80000;
    hold_calls();
    scripted_kms.body = "{\"Plaintext\":\"c2VjcmV0\"}";
    start();
    int first = come(), second = come();
    ask_much(first);
    await_call();
    ask_much(second);
    struct pollfd either[] = {{.fd = second, .events = POLLIN}, {.fd = bench.began[0], .events = POLLIN}};
    assert_int_equal(poll(either, 2, -1), 1);
    assert_int_equal(either[1].revents, 0); /* no second call */
    const char *text = answer(second);
    assert_memory_equal(text, "HTTP/1.1 503 ", 13);
    assert_non_null(strstr(text, "no_memory"));
    let_go();
    assert_answered(first);
    ask_much(first); /* there is room again */
    await_call();
    let_go();
    assert_answered(first);
    stop();
    join();
    close(first);
    close(second);
}

static void test_what_is_under_way_is_answered_at_the_end(void **state)
{
    (void)state;
    hold_calls();
    start();
    int busy = come(), idle = come();
    ask(busy);
    await_call();
    stop();
    assert_string_equal(answer(idle), "");
    let_go();
    const char *text = answer(busy);
    assert_memory_equal(text, "HTTP/1.1 200 OK\r\n", 17);
    assert_non_null(strstr(text, "connection: close\r\n"));
    join();
    close(busy);
    close(idle);
}

/* In a process of its own, since threads are left. What it returns: */
static int serve_and_leave(void)
{
    bench.result = kms_proxy_serve(NULL, bench.listener, bench.stop[0], &bench.options, &bench.err);
    return bench.result == -ETIMEDOUT && strcmp(bench.err.text, "1 connection not over in time") == 0 ? 42
                                                                                                      : 1;
}

static void expect_leave(bool twice)
{
    hold_calls();
    pid_t child = fork();
    if (child == 0) {
        _exit(serve_and_leave());
    }
    int busy = come(), status;
    ask(busy);
    await_call();
    stop();
    if (twice) {
        /* The first has been heard when idle ones are gone, and nobody is let in. */
        struct pollfd heard = {.fd = bench.stop[0], .events = POLLIN};
        while (poll(&heard, 1, 0) > 0) {
            usleep(1000);
        }
        stop();
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 42);
    close(busy);
}

static void test_an_end_that_takes_too_long(void **state)
{
    (void)state;
    bench.options.drain_ms = 10;
    expect_leave(false);
}

static void test_a_second_signal_does_not_wait(void **state)
{
    (void)state;
    bench.options.drain_ms = 3600000;
    expect_leave(true);
}

/* ---- Failures ---- */

static void *client(void *data)
{
    int fd = *(int *)data;

    (void)!send(fd, request, sizeof request - 1, MSG_NOSIGNAL);
    (void)answer(fd);
    close(fd);
    stop();
    return NULL;
}

static void serve_once(void *data)
{
    pthread_t thread;
    char byte;

    (void)data;
    fault_spare(true);
    listen_anywhere();
    int fd = come();
    assert_int_equal(pthread_create(&thread, NULL, client, &fd), 0);
    fault_spare(false);
    int r = kms_proxy_serve(NULL, bench.listener, bench.stop[0], &bench.options, &bench.err);
    fault_spare(true);
    close(bench.listener);
    bench.listener = -1;
    assert_int_equal(pthread_join(thread, NULL), 0);
    if (r != 0) {
        assert_int_not_equal(bench.err.text[0], '\0');
        assert_int_equal(read(bench.stop[0], &byte, 1), 1);
    }
    fault_spare(false);
}

static void test_failing_calls(void **state)
{
    (void)state;
    close(bench.listener);
    fault_loop("kms-proxy", FAULT_MEMORY | FAULT_ACCEPT | FAULT_THREAD | FAULT_PIPE, serve_once, NULL);
    listen_anywhere();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_many_connections, setup, teardown),
        cmocka_unit_test_setup_teardown(test_newcomers_take_the_place_of_the_idle, setup, teardown),
        cmocka_unit_test_setup_teardown(test_newcomers_wait_for_the_busy, setup, teardown),
        cmocka_unit_test_setup_teardown(test_calls_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_memory_while_calls_are_under_way, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_is_under_way_is_answered_at_the_end, setup, teardown),
        cmocka_unit_test_setup_teardown(test_an_end_that_takes_too_long, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_second_signal_does_not_wait, setup, teardown),
        cmocka_unit_test_setup_teardown(test_failing_calls, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
