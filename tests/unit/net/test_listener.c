/* Listeners: every connection is taken, or reset and counted, and none is left to wait for nobody. */
#include "net/listener.h"

#include "fault.h"
#include "loopback.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

int __real_accept4(int fd, struct sockaddr *address, socklen_t *size, int flags);
int __wrap_accept4(int fd, struct sockaddr *address, socklen_t *size, int flags);
int __real_epoll_ctl(int epoll, int command, int fd, struct epoll_event *event);
int __wrap_epoll_ctl(int epoll, int command, int fd, struct epoll_event *event);

static int accept_errors[8]; /* what the next calls of the listener answer; 0: the real call */
static int listening_fd;

int __wrap_accept4(int fd, struct sockaddr *address, socklen_t *size, int flags)
{
    if (fd == listening_fd) {
        int code = accept_errors[0];
        memmove(accept_errors, accept_errors + 1, sizeof accept_errors - sizeof accept_errors[0]);
        if (code != 0) {
            errno = code;
            return -1;
        }
    }
    return __real_accept4(fd, address, size, flags);
}

int __wrap_epoll_ctl(int epoll, int command, int fd, struct epoll_event *event)
{
    if (fault_strikes(FAULT_OWN)) {
        errno = ENOSPC;
        return -1;
    }
    return __real_epoll_ctl(epoll, command, fd, event);
}

struct bench {
    struct loopback loopback;
    struct listener listener;
    uint16_t port;
    unsigned accepted, failures, shed, closed;
    int code;       /* of the last failure */
    bool hoard;     /* keeps what is accepted */
    int hoarded[8]; /* as long as there is room */
    unsigned close_after;
};

static struct bench *of(struct listener *listener)
{
    return CONTAINER_OF(listener, struct bench, listener);
}

static void on_accepted(struct listener *listener, int fd, const struct sockaddr_any *peer)
{
    struct bench *bench = of(listener);
    assert_int_equal(peer->u.base.sa_family, AF_INET);
    if (bench->hoard && bench->accepted < ARRAY_SIZE(bench->hoarded)) {
        bench->hoarded[bench->accepted] = fd;
    } else {
        close(fd);
    }
    bench->accepted++;
    if (bench->accepted == bench->close_after) {
        listener_close(listener);
    }
}

static void on_failed(struct listener *listener, int code, unsigned shed)
{
    struct bench *bench = of(listener);
    bench->failures++;
    bench->code = code;
    bench->shed += shed;
    if (bench->close_after == 0) {
        return;
    }
    listener_close(listener);
}

static void on_closed(struct listener *listener)
{
    of(listener)->closed++;
}

static const struct listener_ops ops = {.accepted = on_accepted, .failed = on_failed, .closed = on_closed};

static void start(struct bench *bench)
{
    memset(bench, 0, sizeof *bench);
    memset(accept_errors, 0, sizeof accept_errors);
    loopback_open(&bench->loopback);
    listening_fd = tcp_listener(100, &bench->port);
    listener_start(&bench->listener, &bench->loopback.loop, listening_fd, &ops);
}

static void stop(struct bench *bench)
{
    listener_close(&bench->listener);
    listener_close(&bench->listener); /* idempotent */
    WAIT_FOR(&bench->loopback, bench->closed == 1);
    loopback_close(&bench->loopback);
    assert_int_equal(bench->closed, 1);
}

static void test_connections_are_taken(void **state)
{
    struct bench bench;
    (void)state;
    start(&bench);
    for (int i = 0; i < 10; i++) {
        close(tcp_connect(bench.port));
    }
    WAIT_FOR(&bench.loopback, bench.accepted == 10);
    assert_int_equal(bench.failures, 0);
    stop(&bench);
}

static void test_a_turn_takes_so_many_and_the_rest_comes_next(void **state)
{
    enum { COUNT = LISTENER_TURN + 10 };
    int clients[COUNT];
    struct bench bench;
    (void)state;
    start(&bench);
    for (int i = 0; i < COUNT; i++) {
        clients[i] = tcp_connect(bench.port);
    }
    WAIT_FOR(&bench.loopback, bench.accepted > 0);
    assert_int_equal(bench.accepted, LISTENER_TURN);
    WAIT_FOR(&bench.loopback, bench.accepted == COUNT);
    for (int i = 0; i < COUNT; i++) {
        close(clients[i]);
    }
    stop(&bench);
}

static void test_closing_inside_of_accepted(void **state)
{
    struct bench bench;
    (void)state;
    start(&bench);
    bench.close_after = 2;
    int clients[4];
    for (int i = 0; i < 4; i++) {
        clients[i] = tcp_connect(bench.port);
    }
    WAIT_FOR(&bench.loopback, bench.closed == 1);
    assert_int_equal(bench.accepted, 2);
    for (int i = 0; i < 4; i++) {
        close(clients[i]);
    }
    stop(&bench);
}

static void test_closing_inside_of_failed(void **state)
{
    struct bench bench;
    (void)state;
    start(&bench);
    bench.close_after = 100;
    accept_errors[0] = ENOBUFS;
    int client = tcp_connect(bench.port);
    WAIT_FOR(&bench.loopback, bench.closed == 1);
    assert_int_equal(bench.failures, 1);
    close(client);
    stop(&bench);
}

static void test_what_concerns_one_connection_stops_nothing(void **state)
{
    static const int codes[] = {ECONNABORTED, EINTR, EPROTO, ENETDOWN, EHOSTUNREACH, ENETUNREACH, EPERM};
    struct bench bench;
    (void)state;
    start(&bench);
    memcpy(accept_errors, codes, sizeof codes);
    int client = tcp_connect(bench.port);
    WAIT_FOR(&bench.loopback, bench.accepted == 1);
    assert_int_equal(bench.failures, 0); /* which is what a pause begins with */
    close(client);
    stop(&bench);
}

static void test_other_failures_pause(void **state)
{
    struct bench bench;
    (void)state;
    start(&bench);
    accept_errors[0] = ENOBUFS;
    int client = tcp_connect(bench.port);
    uint64_t began = uv_hrtime();
    WAIT_FOR(&bench.loopback, bench.failures == 1);
    assert_int_equal(bench.code, -ENOBUFS);
    assert_int_equal(bench.shed, 0);
    WAIT_FOR(&bench.loopback, bench.accepted == 1);
    assert_true(uv_hrtime() - began >= (uint64_t)(LISTENER_PAUSE_MS - 5) * 1000000);
    assert_int_equal(bench.failures, 1);
    close(client);
    stop(&bench);
}

static void test_closing_while_paused(void **state)
{
    struct bench bench;
    (void)state;
    start(&bench);
    accept_errors[0] = ENOMEM;
    int client = tcp_connect(bench.port);
    WAIT_FOR(&bench.loopback, bench.failures == 1);
    stop(&bench);
    assert_int_equal(bench.accepted, 0);
    close(client);
}

static void test_a_pause_that_cannot_end_goes_on(void **state)
{
    struct bench bench;
    (void)state;
    start(&bench);
    accept_errors[0] = ENOMEM;
    int client = tcp_connect(bench.port);
    WAIT_FOR(&bench.loopback, bench.failures == 1);
    fault_arm(FAULT_OWN, 1); /* poller_add_listener() at the pause's end */
    loopback_pass(&bench.loopback, LISTENER_PAUSE_MS + 20);
    assert_int_equal(fault_disarm(), 1);
    assert_int_equal(bench.accepted, 0);
    WAIT_FOR(&bench.loopback, bench.accepted == 1);
    close(client);
    stop(&bench);
}

static void test_a_socket_that_cannot_be_watched_is_tried_again(void **state)
{
    struct bench bench = {.accepted = 0};
    (void)state;
    loopback_open(&bench.loopback);
    listening_fd = tcp_listener(100, &bench.port);
    fault_arm(FAULT_OWN, 1);
    listener_start(&bench.listener, &bench.loopback.loop, listening_fd, &ops);
    assert_int_equal(fault_disarm(), 1);
    assert_int_equal(bench.failures, 1);
    assert_int_equal(bench.code, -ENOSPC);
    int client = tcp_connect(bench.port);
    WAIT_FOR(&bench.loopback, bench.accepted == 1);
    close(client);
    stop(&bench);
}

/* ---- Out of descriptors ---- */

static struct rlimit before;

static void leave_descriptors(unsigned count)
{
    struct rlimit limit;
    int fds[64];
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    limit = before;
    /* Descriptors are handed out lowest first: the limit is the first free one, and so many more. */
    assert_in_range(count, 0, 63);
    for (unsigned i = 0; i <= count; i++) {
        fds[i] = dup(0);
        assert_true(fds[i] >= 0);
    }
    limit.rlim_cur = (rlim_t)fds[count];
    for (unsigned i = 0; i <= count; i++) {
        close(fds[i]);
    }
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

static void give_descriptors_back(void)
{
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
}

static void test_out_of_descriptors_callers_are_reset_and_counted(void **state)
{
    struct peer clients[6];
    struct bench bench;
    (void)state;
    start(&bench);
    bench.hoard = true;
    for (int i = 0; i < 6; i++) {
        peer_init(&clients[i], tcp_connect(bench.port));
    }
    leave_descriptors(2);
    WAIT_FOR(&bench.loopback, bench.accepted + bench.shed == 6);
    assert_int_equal(bench.accepted, 2);
    assert_int_equal(bench.shed, 4);
    assert_int_equal(bench.code, -EMFILE);
    for (int i = 2; i < 6; i++) {
        assert_int_equal(peer_hear(&clients[i])->error, -ECONNRESET);
    }
    /* It goes on like that, without a pause. */
    give_descriptors_back();
    struct peer late;
    peer_init(&late, tcp_connect(bench.port));
    WAIT_FOR(&bench.loopback, bench.accepted == 3);
    for (int i = 0; i < 6; i++) {
        peer_close(&clients[i]);
    }
    for (int i = 0; i < 3; i++) {
        close(bench.hoarded[i]);
    }
    peer_close(&late);
    stop(&bench);
}

/* accept() says EMFILE even when nobody waits: the one who took the last descriptor is no failure. */
static void test_the_last_descriptor_is_no_failure(void **state)
{
    struct bench bench;
    (void)state;
    start(&bench);
    bench.hoard = true;
    int client = tcp_connect(bench.port);
    leave_descriptors(1);
    WAIT_FOR(&bench.loopback, bench.accepted == 1);
    loopback_pass(&bench.loopback, 5);
    give_descriptors_back();
    assert_int_equal(bench.failures, 0);
    int late = tcp_connect(bench.port);
    WAIT_FOR(&bench.loopback, bench.accepted == 2);
    assert_int_equal(bench.failures, 0); /* nor was there a pause, then */
    close(client);
    close(late);
    close(bench.hoarded[0]);
    close(bench.hoarded[1]);
    stop(&bench);
}

static void test_a_spare_that_is_lost_comes_back(void **state)
{
    struct bench bench;
    (void)state;
    start(&bench);
    close(bench.listener.spare_fd);
    bench.listener.spare_fd = -1; /* another thread was faster */
    accept_errors[0] = EMFILE;
    int client = tcp_connect(bench.port);
    WAIT_FOR(&bench.loopback, bench.failures == 1);
    assert_int_equal(bench.shed, 0);
    WAIT_FOR(&bench.loopback, bench.accepted == 1);
    assert_true(bench.listener.spare_fd >= 0);
    close(client);
    stop(&bench);
}

/* ---- Faults ---- */

static struct loopback fault_loopback;

static void whole_life(void *arg)
{
    struct bench bench = {.hoard = false};
    (void)arg;
    memset(accept_errors, 0, sizeof accept_errors);
    listening_fd = tcp_listener(10, &bench.port);
    listener_start(&bench.listener, &fault_loopback.loop, listening_fd, &ops);
    struct peer client;
    peer_init(&client, tcp_connect(bench.port));
    /* Taken, or reset: the caller always hears. */
    WAIT_FOR(&fault_loopback, peer_hear(&client)->ended || client.error != 0);
    assert_int_equal(bench.accepted + bench.shed, 1);
    peer_close(&client);
    listener_close(&bench.listener);
    WAIT_FOR(&fault_loopback, bench.closed == 1);
}

static void test_faults(void **state)
{
    const unsigned calls = FAULT_MEMORY | FAULT_OPEN | FAULT_ACCEPT | FAULT_OWN | FAULT_SOCKOPT | FAULT_FCNTL;
    (void)state;
    loopback_open(&fault_loopback);
    assert_true(fault_loop("listener", calls, whole_life, NULL) >= 4);
    loopback_close(&fault_loopback);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_connections_are_taken),
        cmocka_unit_test(test_a_turn_takes_so_many_and_the_rest_comes_next),
        cmocka_unit_test(test_closing_inside_of_accepted),
        cmocka_unit_test(test_closing_inside_of_failed),
        cmocka_unit_test(test_what_concerns_one_connection_stops_nothing),
        cmocka_unit_test(test_other_failures_pause),
        cmocka_unit_test(test_closing_while_paused),
        cmocka_unit_test(test_a_pause_that_cannot_end_goes_on),
        cmocka_unit_test(test_a_socket_that_cannot_be_watched_is_tried_again),
        cmocka_unit_test(test_out_of_descriptors_callers_are_reset_and_counted),
        cmocka_unit_test(test_the_last_descriptor_is_no_failure),
        cmocka_unit_test(test_a_spare_that_is_lost_comes_back),
        cmocka_unit_test(test_faults),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
