/* The threaded style, one call at a time; and what it does to the process. */
#include "client/clock.h"
#include "threads_bench.h"
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void test_echo(void **state)
{
    struct postern_stream *stream;
    char buffer[10];

    (void)state;
    connect_door();
    stream = open_route("peek");
    assert_int_equal(postern_write(stream, "hello", 5, LONG_MS, &err), 5);
    assert_int_equal(postern_wait_opened(stream, LONG_MS, &err), 0);
    assert_int_equal(postern_read(stream, buffer, sizeof buffer, LONG_MS, &err), 5);
    assert_memory_equal(buffer, "hello", 5);
    assert_int_equal(postern_finish(stream, &err), 0);
    assert_int_equal(postern_read(stream, buffer, sizeof buffer, -1, &err), 0);
    postern_close(stream);
}

static void test_nobody_listens(void **state)
{
    (void)state;
    server_listen(&server, false);
    assert_int_equal(postern_connect(server.address, &options, &door, &err), -ENOTCONN);
    assert_non_null(strstr(err.message, "cannot connect to unix://@postern-test-"));
    assert_null(door);
}

static void test_bad_arguments(void **state)
{
    (void)state;
    options.flags = 1u << 31;
    assert_int_equal(postern_connect(server.address, &options, &door, &err), -EINVAL);
    assert_int_equal(postern_connect("nowhere", NULL, &door, &err), -EINVAL);
    assert_null(door);
}

static void test_lazy(void **state)
{
    struct postern_stream *stream;
    int status;

    (void)state;
    server_listen(&server, false);
    options.flags = POSTERN_LAZY;
    connect_door();
    while ((status = postern_wait_ready(door, 50, &err)) == -ETIMEDOUT) {
    }
    assert_int_equal(status, -ENOTCONN);
    stream = open_route("echo");
    assert_int_equal(postern_wait_opened(stream, 0, &err), -EAGAIN);
    assert_int_equal(postern_wait_opened(stream, 1, &err), -ETIMEDOUT);
    assert_non_null(strstr(err.message, "the time given for it is over"));
    server_listen(&server, true);
    assert_int_equal(postern_wait_opened(stream, LONG_MS, &err), 0);
    assert_int_equal(postern_wait_ready(door, -1, &err), 0);
    postern_close(stream);
}

static void test_times(void **state)
{
    struct postern_stream *stream;
    static char bytes[1 << 20];
    char byte;
    ssize_t n;

    (void)state;
    connect_door();
    stream = open_route("stall");
    assert_int_equal(postern_read(stream, &byte, 1, 0, &err), -EAGAIN);
    assert_int_equal(postern_read(stream, &byte, 1, 5, &err), -ETIMEDOUT);
    /* A part is taken, and the rest not. */
    n = postern_write(stream, bytes, sizeof bytes, 1100, &err);
    assert_in_range(n, 1, sizeof bytes - 1);
    assert_int_equal(postern_write(stream, bytes, 1, 5, &err), -ETIMEDOUT);
    assert_int_equal(postern_write(stream, bytes, 1, 0, &err), -EAGAIN);
    postern_close(stream);
}

static void test_expires(void **state)
{
    struct postern_open_options open;
    struct postern_stream *stream;

    (void)state;
    connect_door();
    postern_open_options_init(&open);
    open.timeout_ms = 20;
    assert_int_equal(postern_open(door, "silent", &open, &stream, &err), 0);
    assert_int_equal(postern_read(stream, &(char){0}, 1, -1, &err), -ECONNREFUSED);
    assert_string_equal(err.word, "open_timeout");
    postern_close(stream);
}

static void test_ping(void **state)
{
    uint32_t us = 0;

    (void)state;
    connect_door();
    assert_int_equal(postern_ping(door, LONG_MS, &us, &err), 0);
    assert_in_range(us, 1, LONG_MS * 1000);
    assert_int_equal(postern_ping(door, -1, NULL, &err), 0);
    server_set_deaf(&server, true);
    assert_int_equal(postern_ping(door, 5, &us, &err), -ETIMEDOUT);
    server_set_deaf(&server, false);
    assert_int_equal(postern_ping(door, LONG_MS, &us, &err), 0);
    server_cut(&server);
    while (postern_ping(door, LONG_MS, &us, &err) == 0) {
    }
    assert_int_equal(err.status, -ENOTCONN);
}

static void test_comes_back(void **state)
{
    struct postern_stream *old, *new;
    char byte;

    (void)state;
    connect_door();
    old = open_route("echo");
    assert_int_equal(postern_wait_opened(old, LONG_MS, &err), 0);
    server_cut(&server);
    assert_int_equal(postern_read(old, &byte, 1, LONG_MS, &err), -ENOTCONN);
    new = open_route("echo");
    assert_int_equal(postern_write(new, "x", 1, LONG_MS, &err), 1);
    assert_int_equal(postern_read(new, &byte, 1, LONG_MS, &err), 1);
    assert_int_equal(server_figure(&server, &server.accepted), 2);
    postern_close(old);
    postern_close(new);
}

/* What was written and finished arrives, though everything is ended at once. */
static void test_disconnecting_sends_the_rest(void **state)
{
    struct postern_stream *stream;

    (void)state;
    connect_door();
    stream = open_route("sink");
    assert_int_equal(postern_write(stream, "hello", 5, LONG_MS, &err), 5);
    assert_int_equal(postern_finish(stream, &err), 0);
    postern_close(stream);
    postern_disconnect(door, LONG_MS);
    door = NULL;
    wait_for_figure(&server.finished, 1);
    assert_int_equal(server_figure(&server, &server.reset), 0);
    assert_int_equal(server_figure(&server, &server.lost), 0);
}

static void test_disconnecting_waits_no_longer_than_told(void **state)
{
    struct postern_stream *stream;

    (void)state;
    connect_door();
    stream = open_route("silent");
    assert_int_equal(postern_finish(stream, &err), 0);
    postern_close(stream);
    postern_disconnect(door, 10);
    door = NULL;
}

static void test_draining(void **state)
{
    struct postern_stream *stream;

    (void)state;
    connect_door();
    stream = open_route("echo");
    assert_int_equal(postern_wait_opened(stream, LONG_MS, &err), 0);
    assert_int_equal(postern_drain(door, 0, &err), 0);
    assert_int_equal(postern_wait_ready(door, 5, &err), -ETIMEDOUT);
    postern_close(stream);
    assert_int_equal(postern_wait_ready(door, LONG_MS, &err), -ESHUTDOWN);
    assert_int_equal(postern_ping(door, 5, NULL, &err), -ENOTCONN);
    postern_process(door); /* not for this style: does nothing */
}

/* ---- The process ---- */

static uint64_t blocked_signals(const char *task)
{
    char path[300], line[256];
    uint64_t mask = 0;
    FILE *file;

    snprintf(path, sizeof path, "/proc/self/task/%s/status", task);
    file = fopen(path, "r");
    if (!file) {
        return 0;
    }
    while (fgets(line, sizeof line, file)) {
        if (strncmp(line, "SigBlk:", 7) == 0) {
            mask = strtoull(line + 7, NULL, 16);
        }
    }
    fclose(file);
    return mask;
}

static unsigned threads_without_signals(void)
{
    const uint64_t wanted = 1u << (SIGTERM - 1) | 1u << (SIGINT - 1) | 1u << (SIGALRM - 1);
    DIR *tasks = opendir("/proc/self/task");
    unsigned count = 0;
    struct dirent *entry;

    assert_non_null(tasks);
    while ((entry = readdir(tasks))) {
        count += entry->d_name[0] != '.' && (blocked_signals(entry->d_name) & wanted) == wanted;
    }
    closedir(tasks);
    return count;
}

static void test_its_thread_takes_no_signals(void **state)
{
    unsigned before = threads_without_signals(); /* a sanitizer may have one */

    (void)state;
    connect_door();
    assert_int_equal(threads_without_signals(), before + 1);
}

/* No SIGPIPE, which would end this program. */
static void test_no_signal_when_the_peer_is_gone(void **state)
{
    struct postern_stream *stream;

    (void)state;
    connect_door();
    for (int i = 0; i < 20; i++) {
        stream = open_route("echo");
        (void)postern_wait_opened(stream, LONG_MS, NULL);
        server_cut(&server);
        while (postern_write(stream, "x", 1, LONG_MS, NULL) > 0) {
        }
        postern_close(stream);
    }
}

static void test_a_child_leaves_it_alone(void **state)
{
    struct postern_stream *stream;
    int status;
    pid_t child;
    char byte;

    (void)state;
    connect_door();
    stream = open_route("echo");
    assert_int_equal(postern_wait_opened(stream, LONG_MS, &err), 0);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        bool good = postern_write(stream, "x", 1, -1, NULL) == -ECHILD;
        postern_close(stream);
        postern_disconnect(door, -1);
        server_leave(good);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(postern_write(stream, "y", 1, LONG_MS, &err), 1);
    assert_int_equal(postern_read(stream, &byte, 1, LONG_MS, &err), 1);
    postern_close(stream);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_echo),
        TEST(test_nobody_listens),
        TEST(test_bad_arguments),
        TEST(test_lazy),
        TEST(test_times),
        TEST(test_expires),
        TEST(test_ping),
        TEST(test_comes_back),
        TEST(test_disconnecting_sends_the_rest),
        TEST(test_disconnecting_waits_no_longer_than_told),
        TEST(test_draining),
        TEST(test_its_thread_takes_no_signals),
        TEST(test_no_signal_when_the_peer_is_gone),
        TEST(test_a_child_leaves_it_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
