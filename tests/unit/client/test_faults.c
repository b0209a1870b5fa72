/*
 * The library with every allocation and every call failing once, and for good. Whatever fails: it ends, nothing is left behind, what
 * was read is the beginning of what was sent, and the end of a stream is told only after all of it.
 */
#include "client/clock.h"
#include "fault.h"
#include "postern/postern.h"
#include "server.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#define LIMIT_MS 20000
#define SIZE     40000u

static struct server server;
static struct postern *door;

ssize_t __real_sendmsg(int fd, const struct msghdr *message, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags);

/* FAULT_WRITE would have shutdown() fail for good, too, and each run wait for a deadline. */
ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags)
{
    if (!fault_strikes(FAULT_OWN)) {
        return __real_sendmsg(fd, message, flags);
    }
    errno = EIO;
    return -1;
}

static void turn(void)
{
    struct pollfd one = {.fd = postern_fd(door), .events = POLLIN};
    int timeout = postern_timeout(door);

    server_turn(&server, 0);
    (void)poll(&one, 1, timeout < 0 || timeout > 1 ? 1 : timeout);
    postern_process(door);
}

static uint64_t limit;

static void turn_in_time(void)
{
    if (clock_ms() > limit) {
        fail_msg("it does not come to an end");
    }
    turn();
}

struct talk {
    struct postern_stream *stream; /* NULL: over */
    size_t sent, heard;
    bool finished;
};

static uint8_t value(size_t i)
{
    return (uint8_t)(i * 13 + i / 251);
}

static void end(struct talk *talk)
{
    postern_close(talk->stream);
    talk->stream = NULL;
}

static bool say(struct talk *talk)
{
    uint8_t bytes[SIZE];
    ssize_t n;

    for (size_t i = talk->sent; i < SIZE; i++) {
        bytes[i] = value(i);
    }
    n = talk->sent < SIZE ? postern_write(talk->stream, bytes + talk->sent, SIZE - talk->sent, 0, NULL) : 0;
    if (n > 0) {
        talk->sent += (size_t)n;
    }
    if (talk->sent == SIZE && !talk->finished) {
        talk->finished = postern_finish(talk->stream, NULL) == 0;
    }
    return n >= 0 || n == -EAGAIN;
}

static bool hear(struct talk *talk)
{
    uint8_t bytes[4096];
    struct postern_error err;
    ssize_t n = postern_read(talk->stream, bytes, sizeof bytes, 0, &err);

    for (ssize_t i = 0; i < n; i++) {
        assert_int_equal(bytes[i], value(talk->heard + (size_t)i));
    }
    talk->heard += n > 0 ? (size_t)n : 0;
    if (n == 0) {
        assert_int_equal(talk->heard, SIZE);
    }
    if (n < 0 && n != -EAGAIN) {
        assert_true(err.status == n && err.message[0] != '\0');
    }
    return n > 0 || n == -EAGAIN;
}

static void talk_on(struct talk *talk)
{
    unsigned events;

    while (talk->stream) {
        if (!say(talk) || !hear(talk)) {
            end(talk);
        }
        turn_in_time();
        while (postern_next(door, &events)) {
        }
    }
}

static int start(void)
{
    struct postern_options options;

    postern_options_init(&options);
    options.backoff_min_ms = 1;
    options.backoff_max_ms = 5;
    options.open_timeout_ms = 300;
    options.connect_timeout_ms = 300;
    options.pong_timeout_ms = 200;
    options.max_streams = 4;
    options.memory = 1u << 20;
    limit = clock_ms() + LIMIT_MS;
    return postern_start(server.address, &options, &door, NULL);
}

/* A whole life: what is refused, what goes both ways, what is closed early, and the orderly end. */
static void life(void *arg)
{
    struct talk talk = {.stream = NULL};
    struct postern_stream *other;
    int status;

    (void)arg;
    server_start(&server);
    if (start() == 0) {
        if (postern_open(door, "refuse", NULL, &other, NULL) == 0) {
            while ((status = postern_wait_opened(other, 0, NULL)) == -EAGAIN) {
                turn_in_time();
            }
            assert_true(status < 0);
            postern_close(other);
        }
        if (postern_open(door, "echo", NULL, &talk.stream, NULL) == 0) {
            talk_on(&talk);
        }
        if (postern_open(door, "source:100000", NULL, &other, NULL) == 0) {
            for (int i = 0; i < 5; i++) {
                turn_in_time();
            }
            (void)postern_ping(door, 0, NULL, NULL);
            postern_close(other);
        }
        assert_int_equal(postern_drain(door, 50, NULL), 0);
        while (postern_wait_ready(door, 0, NULL) != -ESHUTDOWN) {
            turn_in_time();
        }
        postern_disconnect(door, 0);
    }
    server_stop(&server);
}

static void test_a_life(void **state)
{
    (void)state;
    assert_true(fault_loop("client life, memory", FAULT_MEMORY, life, NULL) >= 20);
    assert_true(fault_loop("client life, sockets", FAULT_SOCKET | FAULT_CONNECT | FAULT_EPOLL, life, NULL) >=
                4);
    assert_true(fault_loop("client life, reading and writing", FAULT_READ | FAULT_WRITE, life, NULL) >= 10);
}

/* Memory does not come back, nor does the socket. */
static void test_a_life_without_hope(void **state)
{
    (void)state;
    assert_true(fault_loop("client life, memory for good", FAULT_MEMORY | FAULT_STICKY, life, NULL) >= 20);
    assert_true(fault_loop("client life, sockets for good",
                           FAULT_SOCKET | FAULT_CONNECT | FAULT_EPOLL | FAULT_STICKY, life, NULL) >= 4);
    assert_true(fault_loop("client life, reading for good", FAULT_READ | FAULT_STICKY, life, NULL) >= 5);
    assert_true(fault_loop("client life, writing for good", FAULT_OWN | FAULT_STICKY, life, NULL) >= 5);
}

/* Only what the caller's thread does: see fault.h. */
static void connect_once(void *arg)
{
    struct postern_error err = {.status = 0};

    (void)arg;
    server_start(&server);
    fault_spare(true);
    server_run(&server);
    fault_spare(false);
    if (postern_connect(server.address, NULL, &door, &err) == 0) {
        postern_disconnect(door, 0);
    } else {
        assert_true(err.status < 0 && err.message[0] != '\0');
    }
    server_stop(&server);
}

static void test_connecting(void **state)
{
    (void)state;
    assert_true(fault_loop("client connect", FAULT_MEMORY | FAULT_PIPE | FAULT_EPOLL | FAULT_THREAD,
                           connect_once, NULL) >= 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_life),
        cmocka_unit_test(test_a_life_without_hope),
        cmocka_unit_test(test_connecting),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
