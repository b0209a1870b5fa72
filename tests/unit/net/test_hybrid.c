/* The vsock-over-unix greeting: in pieces, with data behind it, with nonsense, with nobody there. */
#include "net/hybrid.h"

#include "loopback.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

ssize_t __real_send(int fd, const void *data, size_t size, int flags);
ssize_t __wrap_send(int fd, const void *data, size_t size, int flags);
ssize_t __real_recv(int fd, void *data, size_t size, int flags);
ssize_t __wrap_recv(int fd, void *data, size_t size, int flags);

static int send_errors[4], recv_errors[4]; /* given before the real call, each once */
static size_t send_most;                   /* 0: no bound */

static int next_error(int errors[4])
{
    int code = errors[0];
    memmove(errors, errors + 1, 3 * sizeof *errors);
    errors[3] = 0;
    return code;
}

ssize_t __wrap_send(int fd, const void *data, size_t size, int flags)
{
    errno = next_error(send_errors);
    if (errno != 0) {
        return -1;
    }
    return __real_send(fd, data, send_most != 0 && size > send_most ? send_most : size, flags);
}

ssize_t __wrap_recv(int fd, void *data, size_t size, int flags)
{
    errno = next_error(recv_errors);
    return errno != 0 ? -1 : __real_recv(fd, data, size, flags);
}

struct bench {
    struct hybrid_greeting greeting;
    int fd, backend;
};

static int set_up(void **state)
{
    static struct bench bench;
    int fds[2];
    memset(send_errors, 0, sizeof send_errors);
    memset(recv_errors, 0, sizeof recv_errors);
    send_most = 0;
    pair_of_unix(fds);
    bench.fd = fds[0];
    bench.backend = fds[1];
    hybrid_greeting_init(&bench.greeting, 4294967295u);
    *state = &bench;
    return 0;
}

static int tear_down(void **state)
{
    struct bench *bench = *state;
    close(bench->fd);
    if (bench->backend >= 0) {
        close(bench->backend);
    }
    return 0;
}

static int step(struct bench *bench)
{
    return hybrid_greeting_step(&bench->greeting, bench->fd);
}

static void answer(const struct bench *bench, const char *text)
{
    assert_int_equal(write(bench->backend, text, strlen(text)), strlen(text));
}

static void close_backend(struct bench *bench)
{
    close(bench->backend);
    bench->backend = -1;
}

static void test_the_request(void **state)
{
    struct bench *bench = *state;
    char request[64] = "";
    assert_int_equal(step(bench), -EAGAIN);
    assert_true(read(bench->backend, request, sizeof request - 1) > 0);
    assert_string_equal(request, "CONNECT 4294967295\n");
}

static void test_the_request_goes_out_in_pieces_and_once(void **state)
{
    struct bench *bench = *state;
    char request[64] = "";
    send_most = 3;
    send_errors[0] = EINTR;
    send_errors[2] = EAGAIN;
    assert_int_equal(step(bench), -EAGAIN);
    assert_int_equal(bench->greeting.sent, 3);
    assert_int_equal(step(bench), -EAGAIN);
    assert_int_equal(step(bench), -EAGAIN);
    assert_true(read(bench->backend, request, sizeof request - 1) > 0);
    assert_string_equal(request, "CONNECT 4294967295\n");
}

static void test_an_answer_byte_by_byte(void **state)
{
    struct bench *bench = *state;
    for (const char *text = "OK 107374182"; *text != '\0'; text++) {
        char one[2] = {*text, '\0'};
        assert_int_equal(step(bench), -EAGAIN);
        answer(bench, one);
    }
    recv_errors[0] = EINTR;
    assert_int_equal(step(bench), -EAGAIN);
    answer(bench, "\n");
    assert_int_equal(step(bench), 0);
}

static void test_what_follows_is_not_read(void **state)
{
    struct bench *bench = *state;
    char rest[64] = "";
    answer(bench, "OK 1\nhello from the guest");
    assert_int_equal(step(bench), 0);
    assert_true(read(bench->fd, rest, sizeof rest - 1) > 0);
    assert_string_equal(rest, "hello from the guest");
}

static void test_other_answers(void **state)
{
    static const char *const wrong[] = {
        "\n",
        "OK\n",
        "OK \n",
        "ok 1\n",
        "OK  1\n",
        "OK 1 \n",
        "OK x\n",
        "OK 1\r\n",
        "OK -1\n",
        "FAIL 1\n",
        "NOT",
        "OK 1111111111111111111111111111",
        "HTTP/1.1 400 Bad Request\r\n\r\n",
        "SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n",
    };
    struct bench *bench = *state;
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
        hybrid_greeting_init(&bench->greeting, 1);
        answer(bench, wrong[i]);
        int rv = step(bench);
        if (strchr(wrong[i], '\n') == NULL && strlen(wrong[i]) < sizeof bench->greeting.answer - 1) {
            assert_int_equal(rv, -EAGAIN); /* it may still become one */
        } else {
            assert_int_equal(rv, -EPROTO);
        }
        tear_down(state);
        set_up(state);
    }
}

static void test_a_nul_in_the_answer(void **state)
{
    struct bench *bench = *state;
    assert_int_equal(write(bench->backend, "OK 1\0\n", 6), 6);
    assert_int_equal(step(bench), -EPROTO);
}

static void test_nobody_listens_in_the_guest(void **state)
{
    struct bench *bench = *state;
    assert_int_equal(step(bench), -EAGAIN);
    close_backend(bench); /* with the request unread: a reset */
    assert_int_equal(step(bench), -ECONNREFUSED);
}

static void test_closed_in_the_middle_of_the_answer(void **state)
{
    struct bench *bench = *state;
    char request[64];
    assert_int_equal(step(bench), -EAGAIN);
    assert_true(read(bench->backend, request, sizeof request) > 0);
    answer(bench, "OK 1");
    close_backend(bench);
    assert_int_equal(step(bench), -ECONNREFUSED);
}

static void test_closed_before_the_request(void **state)
{
    struct bench *bench = *state;
    close_backend(bench);
    assert_int_equal(step(bench), -ECONNREFUSED);
}

static void test_other_failures_are_passed_on(void **state)
{
    struct bench *bench = *state;
    send_errors[0] = ENOBUFS;
    assert_int_equal(step(bench), -ENOBUFS);
    recv_errors[0] = ENOMEM;
    assert_int_equal(step(bench), -ENOMEM);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_the_request),
        TEST(test_the_request_goes_out_in_pieces_and_once),
        TEST(test_an_answer_byte_by_byte),
        TEST(test_what_follows_is_not_read),
        TEST(test_other_answers),
        TEST(test_a_nul_in_the_answer),
        TEST(test_nobody_listens_in_the_guest),
        TEST(test_closed_in_the_middle_of_the_answer),
        TEST(test_closed_before_the_request),
        TEST(test_other_failures_are_passed_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
