/* A software NSM, as it may be: played by a thread that writes what it is told to, in pieces, and by poll() that runs out of time. */
#include "nsm/insecure.h"

#include "fault.h"
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

int __wrap_poll(struct pollfd *fds, nfds_t count, int timeout);
int __real_poll(struct pollfd *fds, nfds_t count, int timeout);
ssize_t __wrap_send(int fd, const void *data, size_t size, int flags);
ssize_t __real_send(int fd, const void *data, size_t size, int flags);
ssize_t __wrap_recv(int fd, void *data, size_t size, int flags);
ssize_t __real_recv(int fd, void *data, size_t size, int flags);

/* What the next calls do, in the thread of the test: an errno value, or 0. */
static __thread int poll_fails, send_fails, recv_fails;
static __thread bool no_time, played;

static int take(int *code)
{
    errno = *code;
    *code = 0;
    return errno;
}

int __wrap_poll(struct pollfd *fds, nfds_t count, int timeout)
{
    assert_in_range(timeout, 1, INSECURE_NSM_MS);
    if (take(&poll_fails)) {
        return -1;
    }
    return no_time ? 0 : __real_poll(fds, count, timeout);
}

/* A byte at a time. */
ssize_t __wrap_send(int fd, const void *data, size_t size, int flags)
{
    if (take(&send_fails)) {
        return -1;
    }
    return __real_send(fd, data, played && size > 1 ? 1 : size, flags);
}

ssize_t __wrap_recv(int fd, void *data, size_t size, int flags)
{
    if (take(&recv_fails)) {
        return -1;
    }
    return __real_recv(fd, data, played && size > 1 ? 1 : size, flags);
}

/* ---- The other side ---- */

static char folder[] = "/tmp/test-insecure-XXXXXX";

static struct {
    struct sockaddr_un at;
    char address[128];
    int listener;
    pthread_t thread;
    pthread_mutex_t lock; /* of what follows: a client that gave up leaves the thread at work */
    const void *answer;
    size_t size;
    uint8_t asked[64];
} other = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void *serve(void *data)
{
    int fd;

    (void)data;
    while ((fd = accept(other.listener, NULL, NULL)) >= 0) {
        pthread_mutex_lock(&other.lock);
        /* The request is short, and its length is in its fourth byte. */
        if (__real_recv(fd, other.asked, 4, MSG_WAITALL) == 4) {
            (void)__real_recv(fd, other.asked + 4, other.asked[3], MSG_WAITALL);
        }
        (void)__real_send(fd, other.answer, other.size, MSG_NOSIGNAL);
        pthread_mutex_unlock(&other.lock);
        close(fd);
    }
    return NULL;
}

static struct nsm *nsm;
static struct error err;

static int setup(void **state)
{
    (void)state;
    played = true;
    no_time = false;
    err.text[0] = '\0';
    other.at.sun_family = AF_UNIX;
    snprintf(other.at.sun_path, sizeof other.at.sun_path, "%s/nsm", folder);
    snprintf(other.address, sizeof other.address, "unix://%s", other.at.sun_path);
    other.listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(other.listener, (const struct sockaddr *)&other.at, sizeof other.at) != 0 ||
        listen(other.listener, 8) != 0 || pthread_create(&other.thread, NULL, serve, NULL) != 0) {
        return -1;
    }
    return nsm_open_insecure(other.address, &nsm, &err);
}

static int teardown(void **state)
{
    (void)state;
    nsm_close(nsm);
    shutdown(other.listener, SHUT_RDWR);
    pthread_join(other.thread, NULL);
    close(other.listener);
    return unlink(other.at.sun_path);
}

static int random_with(const void *answer, size_t size)
{
    uint8_t bytes[NSM_RANDOM_MAX];
    size_t length;

    pthread_mutex_lock(&other.lock);
    other.answer = answer;
    other.size = size;
    pthread_mutex_unlock(&other.lock);
    return nsm_random(nsm, bytes, &length, &err);
}

#define GOOD            "\0\0\0\x15\xa1\x69GetRandom\xa1\x66random\x41x"
#define RANDOM(literal) random_with(literal, sizeof(literal) - 1)
#define TOLD(words)     assert_non_null(strstr(err.text, words))

/* ---- Tests ---- */

static void test_one_request_and_one_answer(void **state)
{
    (void)state;
    assert_true(nsm_is_insecure(nsm));
    assert_int_equal(RANDOM(GOOD), 0);
    assert_memory_equal(other.asked, "\0\0\0\x0a\x69GetRandom", 14);
    assert_int_equal(RANDOM(GOOD "more, which nobody reads"), 0); /* on a connection of its own */
}

static void test_what_is_no_answer(void **state)
{
    static const uint8_t large[4 + NSM_RESPONSE_MAX + 1] = {0, 0, 0x30, 1},
                                                      cut[sizeof large] = {0, 0, 0x30, 0};

    (void)state;
    assert_int_equal(RANDOM(""), -ECONNRESET);
    TOLD(" gave no answer: ");
    TOLD("the INSECURE software NSM at unix://");
    assert_int_equal(RANDOM("\0\0\0"), -ECONNRESET);
    assert_int_equal(RANDOM("\0\0\0\x15\xa1\x69Get"), -ECONNRESET);
    assert_int_equal(RANDOM("\xff\xff\xff\xff"), -EMSGSIZE);
    played = false;
    assert_int_equal(random_with(large, sizeof large), -EMSGSIZE);
    assert_int_equal(random_with(cut, sizeof cut), -EMSGSIZE); /* as a driver would have cut it */
    assert_int_equal(RANDOM("\0\0\0\0"), -EBADMSG);
    assert_int_equal(RANDOM("\0\0\0\x09\xa1\x65"
                            "Error\x61x"),
                     -EIO);
    TOLD("the NSM refuses GetRandom: x");
}

static void test_interrupted_and_failing_calls(void **state)
{
    (void)state;
    poll_fails = send_fails = EINTR;
    assert_int_equal(RANDOM(GOOD), 0);
    send_fails = EAGAIN;
    recv_fails = EINTR;
    assert_int_equal(RANDOM(GOOD), 0);
    recv_fails = EAGAIN;
    assert_int_equal(RANDOM(GOOD), 0);
    poll_fails = ENOMEM;
    assert_int_equal(RANDOM(GOOD), -ENOMEM);
    send_fails = EPIPE;
    assert_int_equal(RANDOM(GOOD), -EPIPE);
    recv_fails = EIO;
    assert_int_equal(RANDOM(GOOD), -EIO);
}

static void test_no_time_is_left(void **state)
{
    (void)state;
    no_time = true;
    assert_int_equal(RANDOM(GOOD), -ETIMEDOUT);
    TOLD(" gave no answer: ");
    send_fails = EAGAIN;
    assert_int_equal(RANDOM(GOOD), -ETIMEDOUT);
}

static void test_nobody_is_there(void **state)
{
    struct nsm *none;

    (void)state;
    assert_int_equal(nsm_open_insecure("unix:///nowhere/nsm", &none, &err), 0);
    struct nsm *kept = nsm;
    nsm = none;
    assert_int_equal(RANDOM(GOOD), -ENODEV);
    TOLD("the INSECURE software NSM: cannot connect to unix:///nowhere/nsm: ");
    TOLD("; is it running?");
    nsm = kept;
    nsm_close(none);
}

/* A greeting that does not come: the software NSM reads it as a request, and closes. */
static void test_a_hybrid_address(void **state)
{
    char address[160];
    struct nsm *hybrid, *kept = nsm;

    (void)state;
    snprintf(address, sizeof address, "hybrid://%s:7", other.at.sun_path);
    assert_int_equal(nsm_open_insecure(address, &hybrid, &err), 0);
    nsm = hybrid;
    no_time = true;
    assert_int_equal(RANDOM(GOOD), -ENODEV);
    TOLD("it cannot be connected to: ");
    nsm = kept;
    nsm_close(hybrid);
}

static void test_addresses_that_are_none(void **state)
{
    static const char *const addresses[] = {"", "nsm", "unix://", "vsock://any:1", "vsock://payroll:1"};
    struct nsm *none;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(addresses); i++) {
        assert_int_equal(nsm_open_insecure(addresses[i], &none, &err), -EINVAL);
    }
}

static void ask_once(void *argument)
{
    struct nsm *one, *kept = nsm;

    (void)argument;
    if (nsm_open_insecure(other.address, &one, &err) == 0) {
        nsm = one;
        (void)RANDOM(GOOD);
        nsm = kept;
        nsm_close(one);
    }
}

static void test_whatever_fails(void **state)
{
    (void)state;
    played = false;
    assert_true(fault_loop("insecure", FAULT_MEMORY | FAULT_SOCKET | FAULT_CONNECT, ask_once, NULL) >= 4);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_one_request_and_one_answer),
        TEST(test_what_is_no_answer),
        TEST(test_interrupted_and_failing_calls),
        TEST(test_no_time_is_left),
        TEST(test_nobody_is_there),
        TEST(test_a_hybrid_address),
        TEST(test_addresses_that_are_none),
        TEST(test_whatever_fails),
    };
    if (!mkdtemp(folder)) {
        return 1;
    }
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    rmdir(folder);
    return failed;
}
