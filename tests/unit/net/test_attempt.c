/* One try to get through. The resolver is played. */
#include "net/attempt.h"

#include "loopback.h"
#include "played_resolver.h"
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

static struct attempt attempt;
static struct error err;

static int begin(const char *address)
{
    struct addr to;

    err.text[0] = '\0';
    assert_int_equal(addr_parse(address, &to, &err), 0);
    return attempt_begin(&attempt, &to, 1000, "is posternd running, and this its framed listener?", &err);
}

/* Steps until it is decided. */
static int finish(int status)
{
    while (status == -EAGAIN) {
        struct pollfd one = {.fd = attempt_fd(&attempt), .events = attempt_wants(&attempt)};
        assert_int_equal(poll(&one, 1, 20000), 1);
        status = attempt_step(&attempt, &err);
    }
    return status;
}

static int setup(void **state)
{
    (void)state;
    memset(&resolver, 0, sizeof resolver);
    memset(&attempt, 0, sizeof attempt);
    attempt.fd = -1;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    attempt_end(&attempt);
    attempt_end(&attempt);
    assert_int_equal(resolver.given, resolver.freed);
    return 0;
}

static void tcp_address(char *text, size_t size, const char *host, uint16_t port)
{
    snprintf(text, size, "tcp://%s:%u", host, port);
}

/* A listening unix socket of the abstract namespace, and its address. */
static int unix_listener(const char *scheme, const char *tail, int backlog, char *text, size_t size)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    char folder[] = "/tmp/postern-XXXXXX";

    assert_non_null(mkdtemp(folder));
    snprintf(at.sun_path, sizeof at.sun_path, "%s/s", folder);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(fd, backlog), 0);
    snprintf(text, size, "%s://%s%s", scheme, at.sun_path, tail);
    return fd;
}

static void unix_close(int fd, const char *text)
{
    char path[128];

    snprintf(path, sizeof path, "%s", strchr(text, '/') + 2);
    if (strncmp(text, "hybrid", 6) == 0) {
        *strrchr(path, ':') = '\0';
    }
    close(fd);
    unlink(path);
    *strrchr(path, '/') = '\0';
    rmdir(path);
}

/* What connect() fails with; 0: it is the real one. */
static int connect_fails;

int __real_connect(int fd, const struct sockaddr *at, socklen_t length);
int __wrap_connect(int fd, const struct sockaddr *at, socklen_t length);

int __wrap_connect(int fd, const struct sockaddr *at, socklen_t length)
{
    if (connect_fails != 0) {
        errno = connect_fails;
        return -1;
    }
    return __real_connect(fd, at, length);
}

static void test_tcp(void **state)
{
    uint16_t port;
    int listener = tcp_listener(4, &port);
    char text[64];
    int fd;

    (void)state;
    tcp_address(text, sizeof text, "127.0.0.1", port);
    assert_int_equal(finish(begin(text)), 0);
    fd = attempt_take(&attempt);
    assert_true(fd >= 0);
    assert_int_equal(attempt_fd(&attempt), -1);
    close(fd);
    close(listener);
    assert_int_equal(resolver.given, 0);
}

static void test_refused(void **state)
{
    char text[64];

    (void)state;
    tcp_address(text, sizeof text, "127.0.0.1", refusing_port());
    assert_int_equal(finish(begin(text)), -ECONNREFUSED);
    assert_non_null(strstr(err.text, text));
    assert_non_null(strstr(err.text, "Connection refused"));
    assert_non_null(strstr(err.text, "posternd"));
}

static void test_unix_without_a_file(void **state)
{
    (void)state;
    assert_int_equal(begin("unix:///nonexistent/postern.sock"), -ENOENT);
    assert_string_equal(err.text,
                        "cannot connect to unix:///nonexistent/postern.sock: No such file or directory; is "
                        "posternd running, and this its framed listener?");
}

/* It runs, and there is no use in looking whether it does. */
static void test_unix_without_permission(void **state)
{
    (void)state;
    connect_fails = EACCES;
    assert_int_equal(begin("unix:///run/postern.sock"), -EACCES);
    connect_fails = 0;
    assert_string_equal(
        err.text, "cannot connect to unix:///run/postern.sock: Permission denied; the permissions of the "
                  "socket, or of a directory on the way to it, keep this user out");
}

/* There is no waiting for room in a backlog, only trying again later. */
static void test_unix_with_a_full_backlog(void **state)
{
    char text[128];
    int listener = unix_listener("unix", "", 0, text, sizeof text);
    int fds[3], n = 0;

    (void)state;
    while (n < 3 && begin(text) == 0) {
        fds[n++] = attempt_take(&attempt);
    }
    assert_in_range(n, 1, 2);
    assert_int_equal(begin(text), -ECONNREFUSED);
    while (n > 0) {
        close(fds[--n]);
    }
    unix_close(listener, text);
}

static void test_a_name_with_several_addresses(void **state)
{
    int listener = tcp_listener(4, &resolver.ports[2]);

    (void)state;
    resolver.ports[0] = refusing_port();
    resolver.ports[1] = refusing_port();
    assert_int_equal(finish(begin("tcp://Parent.example:7000")), 0);
    assert_string_equal(resolver.host, "parent.example");
    assert_string_equal(resolver.port, "7000");
    assert_int_equal(attempt.sockets, 3);
    close(listener);
}

static void test_a_name_of_which_no_address_answers(void **state)
{
    (void)state;
    resolver.ports[0] = refusing_port();
    resolver.ports[1] = refusing_port();
    assert_int_equal(finish(begin("tcp://parent.example:7000")), -ECONNREFUSED);
    assert_non_null(strstr(err.text, "tcp://parent.example:7000"));
}

static void test_a_name_without_addresses(void **state)
{
    (void)state;
    assert_int_equal(begin("tcp://parent.example:7000"), -EHOSTUNREACH);
    attempt_end(&attempt);
    resolver.result = EAI_NONAME;
    assert_int_equal(begin("tcp://parent.example:7000"), -EHOSTUNREACH);
    assert_non_null(strstr(err.text, "the name was not found (Name or service not known)"));
    resolver.result = EAI_MEMORY;
    assert_int_equal(begin("tcp://parent.example:7000"), -ENOMEM);
}

/* The other side of the greeting: takes the connection, reads the line, and answers. */
static int greet(int listener, const char *expected, const char *answer)
{
    int fd = accept(listener, NULL, NULL);
    char line[64] = "";
    ssize_t n = recv(fd, line, sizeof line - 1, 0);

    assert_int_equal(n, strlen(expected));
    assert_string_equal(line, expected);
    if (answer) {
        assert_int_equal(send(fd, answer, strlen(answer), MSG_NOSIGNAL), strlen(answer));
    }
    return fd;
}

static int hybrid(const char *answer)
{
    char text[128];
    int listener = unix_listener("hybrid", ":5005", 4, text, sizeof text);
    int status = begin(text);
    int fd;

    assert_int_equal(status, -EAGAIN);
    assert_int_equal(attempt_wants(&attempt), POLLIN);
    fd = greet(listener, "CONNECT 5005\n", answer);
    if (!answer) {
        close(fd);
    }
    status = finish(status);
    if (answer) {
        close(fd);
    }
    unix_close(listener, text);
    return status;
}

static void test_hybrid(void **state)
{
    int fd;
    char byte;

    (void)state;
    assert_int_equal(hybrid("OK 1073741824\nx"), 0);
    fd = attempt_take(&attempt);
    assert_int_equal(recv(fd, &byte, 1, 0), 1); /* what follows the greeting is not ours to take */
    assert_int_equal(byte, 'x');
    close(fd);
}

static void test_hybrid_refused(void **state)
{
    (void)state;
    assert_int_equal(hybrid(NULL), -ECONNREFUSED);
    assert_int_equal(hybrid("SORRY\n"), -EPROTO);
}

static void test_what_has_no_socket_address(void **state)
{
    struct addr to;

    (void)state;
    assert_int_equal(addr_parse("vsock://payroll:7000", &to, NULL), 0);
    assert_int_equal(attempt_begin(&attempt, &to, 1000, "is posternd running, and this its framed listener?",
                                   &err),
                     -EINVAL);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_tcp),
        TEST(test_refused),
        TEST(test_unix_without_a_file),
        TEST(test_unix_without_permission),
        TEST(test_unix_with_a_full_backlog),
        TEST(test_a_name_with_several_addresses),
        TEST(test_a_name_of_which_no_address_answers),
        TEST(test_a_name_without_addresses),
        TEST(test_hybrid),
        TEST(test_hybrid_refused),
        TEST(test_what_has_no_socket_address),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
