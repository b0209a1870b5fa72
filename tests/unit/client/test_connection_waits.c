/* The core by itself where something takes a while: attempts, and several threads, played by one. */
#include "connection_bench.h"
#include "fault.h"
#include "loopback.h"
#include "played_resolver.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int take_one(int listener)
{
    int fd;

    TURN_UNTIL((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0);
    return fd;
}

/* The first address does not answer. */
static void test_by_name(void **state)
{
    int listener;

    (void)state;
    resolver.ports[0] = refusing_port();
    listener = tcp_listener(4, &resolver.ports[1]);
    fcntl(listener, F_SETFL, O_NONBLOCK);
    assert_int_equal(make("tcp://parent.example:7000", &events), 0);
    connection_connect(connection);
    server_adopt(&server, take_one(listener));
    TURN_UNTIL(connection_is_ready(connection));
    assert_int_equal(resolver.freed, 1);
    close(listener);
}

static void test_without_a_way_to_wait_for_an_answer(void **state)
{
    struct blackhole hole;
    char text[64];

    (void)state;
    blackhole_open(&hole);
    snprintf(text, sizeof text, "tcp://127.0.0.1:%u", hole.port);
    assert_int_equal(make(text, &events), 0);
    connection_connect(connection);
    fault_arm(FAULT_EPOLL, 1);
    turn();
    fault_disarm();
    assert_int_equal(downs, 1);
    assert_int_equal(down_status, -ENOMEM);
    blackhole_close(&hole);
}

static void test_nobody_answers(void **state)
{
    struct blackhole hole;
    char text[64];

    (void)state;
    blackhole_open(&hole);
    config.connect_timeout = 30;
    snprintf(text, sizeof text, "tcp://127.0.0.1:%u", hole.port);
    assert_int_equal(make(text, &events), 0);
    connection_connect(connection);
    TURN_UNTIL(downs == 1);
    assert_int_equal(down_status, -ETIMEDOUT);
    assert_non_null(strstr(down_text, "no answer within 30 ms"));
    blackhole_close(&hole);
}

static int unix_listener(const char *path)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    snprintf(at.sun_path, sizeof at.sun_path, "%s", path);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(fd, 4), 0);
    return fd;
}

/* One who lets the connection wait has no more time for the greeting than is left. */
static void test_one_try_has_one_time(void **state)
{
    char path[64], text[100];
    uint64_t begun, now;
    int listener, fd;

    (void)state;
    snprintf(path, sizeof path, "/tmp/postern-waits.%d", getpid());
    snprintf(text, sizeof text, "hybrid://%s:5005", path);
    listener = unix_listener(path);
    assert_int_equal(make(text, &events), 0);
    connection_connect(connection);
    fd = take_one(listener);
    begun = clock_ms();
    TURN_UNTIL(clock_ms() > begun + 200);
    assert_int_equal(write(fd, "OK 1\n", 5), 5);
    TURN_UNTIL(recv(fd, text, sizeof text, MSG_PEEK) > 13); /* CONNECT 5005, and what a session begins with */
    now = clock_ms();
    assert_true(now + (uint64_t)connection_timeout(connection) <= begun + config.connect_timeout);
    close(fd);
    close(listener);
    unlink(path);
}

static void test_drained_while_nobody_answers(void **state)
{
    struct blackhole hole;
    char text[64];

    (void)state;
    blackhole_open(&hole);
    snprintf(text, sizeof text, "tcp://127.0.0.1:%u", hole.port);
    assert_int_equal(make(text, &events), 0);
    connection_connect(connection);
    turn();
    connection_drain(connection, 0);
    TURN_UNTIL(connection_is_over(connection));
    assert_int_equal(downs, 0);
    blackhole_close(&hole);
}

/* ---- Several threads, played by one: what happens while the lock is let go ---- */

static void unlocked(void *user)
{
    void (*now)(void) = meanwhile;

    assert_ptr_equal(user, &server);
    if (!now || skipped-- > 0) {
        return;
    }
    meanwhile = NULL;
    now();
}

static void locked(void *user)
{
    assert_ptr_equal(user, &server);
}

static void start_locked(void)
{
    config.lock = locked;
    config.unlock = unlocked;
    start();
}

static void lose_it(void)
{
    spared = true;
    server_cut(&server);
    spared = false;
    while (downs == 0) {
        connection_process(connection, 1);
    }
}

/* The other thread finds the connection lost while this one sends: descriptor and buffer stay until it is done. */
static void test_lost_while_it_is_sent_on(void **state)
{
    struct channel *channel;

    (void)state;
    start_locked();
    channel = open_route("stall");
    TURN_A_WHILE();
    to_send = 10;
    channel_ready(channel);
    meanwhile = lose_it;
    connection_flush(connection);
    assert_int_equal(downs, 1);
    assert_int_equal(failures, 1);
    connection_connect(connection);
    TURN_UNTIL(connection_is_ready(connection));
}

static struct channel *second;

static void send_more(void)
{
    to_send += 10;
    channel_ready(second);
    connection_flush(connection); /* leaves it to the one who sends */
    assert_int_equal(to_send, 10);
}

static void test_one_sends_for_all(void **state)
{
    struct channel *first;

    (void)state;
    start_locked();
    first = open_route("echo");
    second = open_route("echo");
    TURN_A_WHILE();
    to_send = 5;
    channel_ready(first);
    meanwhile = send_more;
    connection_flush(connection);
    assert_int_equal(to_send, 0);
    TURN_UNTIL(held == 15);
    channel_release(first);
    channel_release(second);
}

static void give_it_up(void)
{
    connection_drain(connection, 0);
}

static void test_drained_while_it_connects(void **state)
{
    (void)state;
    config.lock = locked;
    config.unlock = unlocked;
    assert_int_equal(make(server.address, &events), 0);
    connection_connect(connection);
    meanwhile = give_it_up;
    skipped = 1; /* first it waits, then it connects */
    connection_process(connection, 0);
    assert_null(meanwhile);
    TURN_UNTIL(connection_is_over(connection));
    assert_int_equal(downs, 0);
}

/* Whether the socket has room again could not be asked for: better lost than stuck. */
static void test_without_a_way_to_wait_for_room(void **state)
{
    struct channel *channel;

    (void)state;
    start();
    channel = open_route("echo");
    TURN_A_WHILE();
    to_send = 10;
    channel_ready(channel);
    played.choked = 1;
    fault_arm(FAULT_EPOLL, 1);
    connection_flush(connection);
    assert_int_equal(fault_disarm(), 1);
    TURN_UNTIL(downs == 1);
    assert_int_equal(down_code, CODE_LOST);
}

/* It can neither be written nor shut down, and says nothing: it is not waited for. */
static void test_a_socket_that_is_stuck(void **state)
{
    struct channel *channel;

    (void)state;
    start();
    channel = open_route("stall");
    TURN_A_WHILE();
    to_send = 10;
    channel_ready(channel);
    fault_arm(FAULT_WRITE | FAULT_STICKY, 1);
    connection_flush(connection);
    TURN_UNTIL(downs == 1);
    fault_disarm();
    assert_int_equal(failures, 1);
    assert_int_equal(down_code, CODE_LOST);
}

/* Early in the life of a machine. */
static void test_without_randomness(void **state)
{
    (void)state;
    played.predictable = true;
    start();
    server_cut(&server);
    TURN_UNTIL(downs == 1);
    connection_connect(connection);
    TURN_UNTIL(readies == 2);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_by_name),
        TEST(test_without_a_way_to_wait_for_an_answer),
        TEST(test_nobody_answers),
        TEST(test_one_try_has_one_time),
        TEST(test_drained_while_nobody_answers),
        TEST(test_lost_while_it_is_sent_on),
        TEST(test_one_sends_for_all),
        TEST(test_drained_while_it_connects),
        TEST(test_without_a_way_to_wait_for_room),
        TEST(test_a_socket_that_is_stuck),
        TEST(test_without_randomness),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
