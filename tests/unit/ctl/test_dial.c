/* Connections with a deadline: whatever the other side does or does not do, there is an end. */
#include "ctl/dial.h"

#include "fault.h"
#include "loopback.h"
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define SOON 20     /* ms: passes in the test */
#define LATE 600000 /* does not */
#define MUCH ((size_t)4 << 20)

/* ---- Names, which lead where the test says ---- */

static uint16_t answers_at;
static bool names_nothing;

int __wrap_getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                       struct addrinfo **ret);
int __wrap_getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                       struct addrinfo **ret)
{
    static struct sockaddr_in at[2];
    static struct addrinfo list[2];
    assert_string_equal(node, "admin.test");
    assert_int_equal(hints->ai_socktype, SOCK_STREAM);
    assert_int_equal(strtoul(service, NULL, 10), answers_at);
    for (size_t i = 0; i < ARRAY_SIZE(list); i++) { /* nobody listens at the first */
        at[i] = (struct sockaddr_in){.sin_family = AF_INET,
                                     .sin_port = htons(answers_at),
                                     .sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 - (uint32_t)i)};
        list[i] = (struct addrinfo){.ai_family = AF_INET,
                                    .ai_addr = (struct sockaddr *)&at[i],
                                    .ai_addrlen = sizeof at[i],
                                    .ai_next = i == 0 ? &list[1] : NULL};
    }
    *ret = list;
    return names_nothing ? EAI_NONAME : 0;
}

void __wrap_freeaddrinfo(struct addrinfo *list);
void __wrap_freeaddrinfo(struct addrinfo *list)
{
    (void)list;
}

static uint64_t in(unsigned ms)
{
    return dial_now_ms() + ms;
}

static void test_by_name(void **state)
{
    (void)state;
    int listener = tcp_listener(8, &answers_at);
    struct addr addr = {.kind = ADDR_TCP, .host = "admin.test", .port = answers_at};
    int fd = dial_addr(&addr, in(LATE));
    assert_true(fd >= 0);
    close(fd);
    close(listener);
    addr.port = answers_at = refusing_port();
    assert_int_equal(dial_addr(&addr, in(LATE)), -ECONNREFUSED);
    names_nothing = true;
    assert_int_equal(dial_addr(&addr, in(LATE)), -EHOSTUNREACH);
    names_nothing = false;
}

static void test_nobody_answers(void **state)
{
    (void)state;
    struct blackhole hole;
    blackhole_open(&hole);
    struct addr addr = {.kind = ADDR_TCP, .host = "127.0.0.1", .literal = true, .port = hole.port};
    assert_int_equal(dial_addr(&addr, in(SOON)), -ETIMEDOUT);
    blackhole_close(&hole);
}

static void test_an_address_that_no_socket_has(void **state)
{
    (void)state;
    struct addr addr = {.kind = ADDR_NONE};
    assert_true(dial_addr(&addr, in(LATE)) < 0);
}

/* ---- What is sent, and what comes ---- */

static void pair(int fds[2])
{
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
}

static void *take_all(void *data)
{
    static char bytes[65536];
    const int *fd = data;
    size_t total = 0;
    struct pollfd one = {.fd = *fd, .events = POLLIN};
    ssize_t n = 1;
    while (n != 0 && poll(&one, 1, LATE) == 1) {
        n = recv(*fd, bytes, sizeof bytes, 0);
        total += n > 0 ? (size_t)n : 0;
    }
    return total == MUCH ? data : NULL;
}

static void test_more_than_the_socket_takes_at_once(void **state)
{
    (void)state;
    int fds[2];
    pthread_t thread;
    void *taken;
    char *much = calloc(1, MUCH);
    assert_non_null(much);
    pair(fds);
    assert_int_equal(dial_send(fds[0], much, MUCH, in(SOON)), -ETIMEDOUT);
    close(fds[0]);
    close(fds[1]);
    pair(fds);
    assert_int_equal(pthread_create(&thread, NULL, take_all, &fds[1]), 0);
    assert_int_equal(dial_send(fds[0], much, MUCH, in(LATE)), 0);
    close(fds[0]);
    assert_int_equal(pthread_join(thread, &taken), 0);
    assert_non_null(taken);
    close(fds[1]);
    free(much);
}

static void test_the_other_side_goes(void **state)
{
    (void)state;
    int fds[2];
    char byte;
    pair(fds);
    assert_int_equal(dial_receive(fds[0], &byte, 1, in(SOON)), -ETIMEDOUT);
    assert_int_equal(send(fds[0], "x", 1, MSG_NOSIGNAL), 1);
    close(fds[1]);
    assert_int_equal(dial_receive(fds[0], &byte, 1, in(LATE)), -ECONNRESET);
    assert_int_equal(dial_receive(fds[0], &byte, 1, in(LATE)), 0);
    assert_int_equal(dial_send(fds[0], "x", 1, in(LATE)), -EPIPE);
    close(fds[0]);
}

/* ---- Whatever call fails ---- */

static void connect_once(void *arg)
{
    const struct addr *addr = arg;
    int fd = dial_addr(addr, in(LATE));
    if (fd >= 0) {
        close(fd);
    } else {
        assert_in_set(-fd, ((uintmax_t[]){EMFILE, ENETUNREACH, ENOBUFS, ECONNREFUSED}), 4);
    }
}

static void test_failing_calls(void **state)
{
    (void)state;
    int listener = tcp_listener(64, &answers_at);
    struct addr literal = {.kind = ADDR_TCP, .host = "127.0.0.1", .literal = true, .port = answers_at};
    struct addr name = {.kind = ADDR_TCP, .host = "admin.test", .port = answers_at};
    unsigned calls = FAULT_SOCKET | FAULT_CONNECT | FAULT_SOCKOPT;
    assert_true(fault_loop("dial by posternctl", calls, connect_once, &literal) >= 3);
    assert_true(fault_loop("dial by posternctl, by name", calls, connect_once, &name) >= 4);
    close(listener);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_by_name),
        cmocka_unit_test(test_nobody_answers),
        cmocka_unit_test(test_an_address_that_no_socket_has),
        cmocka_unit_test(test_more_than_the_socket_takes_at_once),
        cmocka_unit_test(test_the_other_side_goes),
        cmocka_unit_test(test_failing_calls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
