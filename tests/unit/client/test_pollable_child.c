/* The pollable style: a connection whose process forks. */
#include "pollable.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static void in_the_child(struct postern_stream *stream)
{
    struct postern_stream *other;
    unsigned events;
    bool good = postern_read(stream, &(char){0}, 1, 0, &err) == -ECHILD && err.status == -ECHILD &&
                postern_write(stream, "x", 1, 0, NULL) == -ECHILD &&
                postern_finish(stream, NULL) == -ECHILD && postern_wait_opened(stream, 0, NULL) == -ECHILD &&
                postern_open(door, "echo", NULL, &other, NULL) == -ECHILD &&
                postern_wait_ready(door, 0, NULL) == -ECHILD &&
                postern_ping(door, 0, NULL, NULL) == -ECHILD && postern_drain(door, 0, NULL) == -ECHILD &&
                postern_timeout(door) == -1 && !postern_next(door, &events);

    postern_process(door);
    postern_reset(stream, 0);
    postern_disconnect(door, 1000);
    postern_close(stream);
    server_leave(good);
}

static void test_a_child_leaves_it_alone(void **state)
{
    struct postern_stream *stream;
    int status;
    pid_t child;

    (void)state;
    connect_door();
    stream = open_route("echo");
    send_all(stream, "x", 1);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        in_the_child(stream);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(read_some(stream, &(char){0}, 1), 1);
    send_all(stream, "y", 1);
    assert_int_equal(read_some(stream, &(char){0}, 1), 1);
    postern_close(stream);
}

/* A child that has what it inherits, but for the server's end, until `*ret_until` is closed. */
static pid_t fork_one_that_stays(int *ret_until)
{
    int until[2];
    pid_t child;

    assert_int_equal(pipe(until), 0);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        close(until[1]);
        for (int i = 0; i < SERVER_PEERS; i++) {
            close(server.peers[i].fd);
        }
        server_leave(read(until[0], &(char){0}, 1) == 0);
    }
    close(until[0]);
    *ret_until = until[1];
    return child;
}

static void let_it_go(pid_t child, int until)
{
    int status;

    close(until);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

/* A socket that a child has, too, is still there when it was closed here. */
static void test_a_child_keeps_no_lost_session(void **state)
{
    int until;
    pid_t child;

    (void)state;
    connect_door();
    child = fork_one_that_stays(&until);
    server_cut(&server);
    TURN_UNTIL(postern_ping(door, 0, NULL, NULL) == -ENOTCONN);
    TURN_A_WHILE();
    assert_int_equal(poll(&(struct pollfd){.fd = postern_fd(door), .events = POLLIN}, 1, 0), 0);
    let_it_go(child, until);
}

/* Nor one that was ended: the daemon would hold a session for it, for as long as the child lives. */
static void test_a_child_keeps_no_ended_session(void **state)
{
    int until;
    pid_t child;

    (void)state;
    connect_door();
    child = fork_one_that_stays(&until);
    postern_disconnect(door, 0);
    door = NULL;
    for (int i = 0; i < LIMIT_MS && server_peers(&server) > 0; i++) {
        server_turn(&server, 1);
    }
    assert_int_equal(server_peers(&server), 0);
    let_it_go(child, until);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_a_child_leaves_it_alone),
        TEST(test_a_child_keeps_no_lost_session),
        TEST(test_a_child_keeps_no_ended_session),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
