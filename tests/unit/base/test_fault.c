/* The failing of calls on purpose: an aid that misses failures, or leaks, would vouch for code it
 * never tried. */
#include "fault.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static void *nothing(void *arg)
{
    return arg;
}

/* The first call of that kind fails with `error`, the second is the real one. */
#define ASSERT_FAILS(calls, error, call)     \
    do {                                     \
        int result;                          \
        int number;                          \
                                             \
        fault_arm(calls, 1);                 \
        errno = 0;                           \
        result = (int)(call);                \
        number = errno;                      \
        assert_int_equal(fault_disarm(), 1); \
        assert_int_equal(result, -1);        \
        assert_int_equal(number, error);     \
    } while (0)

static void test_each_call_fails(void **state)
{
    char byte[1] = {0};
    struct iovec part = {.iov_base = byte, .iov_len = 1};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    struct sockaddr address = {0};
    socklen_t size = sizeof(address);
    struct stat st;
    int fds[2];

    (void)state;
    ASSERT_FAILS(FAULT_OPEN, EMFILE, open("/dev/null", O_RDONLY));
    ASSERT_FAILS(FAULT_OPEN, EMFILE, open64("/dev/null", O_RDONLY));
    ASSERT_FAILS(FAULT_OPEN, EMFILE, openat(AT_FDCWD, "/dev/null", O_RDONLY));
    ASSERT_FAILS(FAULT_OPEN, EMFILE, openat64(AT_FDCWD, "/dev/null", O_RDONLY));
    ASSERT_FAILS(FAULT_OPEN, EMFILE, fopen("/dev/null", "r") ? 0 : -1);
    ASSERT_FAILS(FAULT_OPEN, EMFILE, fopen64("/dev/null", "r") ? 0 : -1);
    ASSERT_FAILS(FAULT_FCNTL, EINVAL, fcntl(0, F_GETFD));
    ASSERT_FAILS(FAULT_SOCKET, EMFILE, socket(AF_UNIX, SOCK_STREAM, 0));
    ASSERT_FAILS(FAULT_SOCKET, EMFILE, socketpair(AF_UNIX, SOCK_STREAM, 0, fds));
    ASSERT_FAILS(FAULT_ACCEPT, EMFILE, accept(0, NULL, NULL));
    ASSERT_FAILS(FAULT_ACCEPT, EMFILE, accept4(0, NULL, NULL, 0));
    ASSERT_FAILS(FAULT_BIND, EADDRINUSE, bind(0, &address, sizeof(address)));
    ASSERT_FAILS(FAULT_BIND, EADDRINUSE, listen(0, 1));
    ASSERT_FAILS(FAULT_CONNECT, ENETUNREACH, connect(0, &address, sizeof(address)));
    ASSERT_FAILS(FAULT_SOCKOPT, ENOBUFS, setsockopt(0, SOL_SOCKET, SO_RCVBUF, byte, 1));
    ASSERT_FAILS(FAULT_SOCKOPT, ENOBUFS, getsockopt(0, SOL_SOCKET, SO_ERROR, byte, &size));
    ASSERT_FAILS(FAULT_SOCKOPT, ENOBUFS, getsockname(0, &address, &size));
    ASSERT_FAILS(FAULT_SOCKOPT, ENOBUFS, getpeername(0, &address, &size));
    ASSERT_FAILS(FAULT_PIPE, EMFILE, pipe(fds));
    ASSERT_FAILS(FAULT_PIPE, EMFILE, pipe2(fds, O_CLOEXEC));
    ASSERT_FAILS(FAULT_PIPE, EMFILE, eventfd(0, 0));
    ASSERT_FAILS(FAULT_EPOLL, ENOMEM, epoll_create1(0));
    ASSERT_FAILS(FAULT_EPOLL, ENOMEM, epoll_ctl(0, EPOLL_CTL_ADD, 0, NULL));
    ASSERT_FAILS(FAULT_READ, EIO, read(0, byte, 1));
    ASSERT_FAILS(FAULT_READ, EIO, recv(0, byte, 1, 0));
    ASSERT_FAILS(FAULT_READ, EIO, recvmsg(0, &message, 0));
    ASSERT_FAILS(FAULT_WRITE, EIO, write(1, byte, 1));
    ASSERT_FAILS(FAULT_WRITE, EIO, writev(1, &part, 1));
    ASSERT_FAILS(FAULT_WRITE, EIO, send(1, byte, 1, 0));
    ASSERT_FAILS(FAULT_WRITE, EIO, sendmsg(1, &message, 0));
    ASSERT_FAILS(FAULT_WRITE, EIO, splice(0, NULL, 1, NULL, 1, 0));
    ASSERT_FAILS(FAULT_WRITE, EIO, shutdown(0, SHUT_WR));
    ASSERT_FAILS(FAULT_FILE, EIO, stat("/", &st));
    ASSERT_FAILS(FAULT_FILE, EIO, lstat("/", &st));
    ASSERT_FAILS(FAULT_FILE, EIO, fstat(0, &st));
    ASSERT_FAILS(FAULT_FILE, EIO, unlink("/nonexistent"));
    ASSERT_FAILS(FAULT_FILE, EIO, chmod("/nonexistent", 0));
    ASSERT_FAILS(FAULT_FILE, EIO, chown("/nonexistent", 0, 0));
}

static void test_threads_fail(void **state)
{
    pthread_t thread;

    (void)state;
    fault_arm(FAULT_THREAD, 1);
    assert_int_equal(pthread_create(&thread, NULL, nothing, NULL), EAGAIN);
    assert_int_equal(pthread_create(&thread, NULL, nothing, NULL), 0);
    assert_int_equal(fault_disarm(), 1);
    pthread_join(thread, NULL);
}

/* Through a pointer the compiler does not look through, or it would leave the allocation out. */
static void *(*volatile allocate)(size_t size) = malloc;

static bool can_allocate(void)
{
    void *memory = allocate(8);

    free(memory);
    return memory != NULL;
}

/* Each way to get memory, as a function that either gets some and gives it back, or gets none. */

static bool by_calloc(void)
{
    void *volatile memory = calloc(1, 8);

    free(memory);
    return memory != NULL;
}

static bool by_realloc(void)
{
    void *small = allocate(8);
    void *larger = realloc(small, 1024);

    if (!larger) {
        free(small);
    }
    free(larger);
    return larger != NULL;
}

static bool by_reallocarray(void)
{
    void *volatile memory = reallocarray(NULL, 2, 8);

    free(memory);
    return memory != NULL;
}

static bool by_posix_memalign(void)
{
    void *memory;

    if (posix_memalign(&memory, 64, 64) != 0) {
        return false;
    }
    assert_int_equal((uintptr_t)memory % 64, 0);
    free(memory);
    return true;
}

static bool by_aligned_alloc(void)
{
    void *volatile memory = aligned_alloc(64, 64);

    assert_int_equal((uintptr_t)memory % 64, 0);
    free(memory);
    return memory != NULL;
}

static bool by_strdup(void)
{
    char *words = strdup("words");
    bool works = words != NULL;

    assert_true(!works || strcmp(words, "words") == 0);
    free(words);
    return works;
}

static bool by_strndup(void)
{
    char *words = strndup("words", 2);
    bool works = words != NULL;

    assert_true(!works || strcmp(words, "wo") == 0);
    free(words);
    return works;
}

static bool by_asprintf(void)
{
    char *words;

    if (asprintf(&words, "%d words", 2) < 0) {
        return false;
    }
    assert_string_equal(words, "2 words");
    free(words);
    return true;
}

static void test_every_allocator(void **state)
{
    static bool (*const ways[])(void) = {can_allocate,    by_calloc,         by_realloc,
                                         by_reallocarray, by_posix_memalign, by_aligned_alloc,
                                         by_strdup,       by_strndup,        by_asprintf};

    (void)state;
    for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
        assert_true(ways[i]());
        fault_arm(FAULT_MEMORY | FAULT_STICKY, 1);
        assert_false(ways[i]());
        assert_true(fault_disarm() >= 1);
        assert_true(ways[i]());
    }
}

static void test_sizes_do_not_overflow(void **state)
{
    volatile size_t large = SIZE_MAX;

    (void)state;
    assert_null(reallocarray(NULL, large, 2));
    assert_int_equal(errno, ENOMEM);
}

static void test_the_nth_fails(void **state)
{
    (void)state;
    fault_arm(FAULT_MEMORY, 3);
    assert_true(can_allocate());
    assert_true(can_allocate());
    assert_false(can_allocate());
    assert_true(can_allocate());
    assert_int_equal(fault_disarm(), 1);

    fault_arm(FAULT_MEMORY | FAULT_STICKY, 2);
    assert_true(can_allocate());
    assert_false(can_allocate());
    assert_false(can_allocate());
    assert_int_equal(fault_disarm(), 2);
    assert_true(can_allocate());
}

/* The thread is up before anything fails, so that only what it does itself can. */
struct visitor {
    pthread_barrier_t barrier;
    bool works;
};

static void *allocate_when_told(void *arg)
{
    struct visitor *visitor = arg;

    pthread_barrier_wait(&visitor->barrier);
    pthread_barrier_wait(&visitor->barrier);
    visitor->works = can_allocate();
    pthread_barrier_wait(&visitor->barrier);
    return NULL;
}

static bool other_thread_can_allocate(unsigned calls)
{
    struct visitor visitor = {.works = false};
    pthread_t thread;

    assert_int_equal(pthread_barrier_init(&visitor.barrier, NULL, 2), 0);
    assert_int_equal(pthread_create(&thread, NULL, allocate_when_told, &visitor), 0);
    pthread_barrier_wait(&visitor.barrier);
    fault_arm(calls, 1);
    pthread_barrier_wait(&visitor.barrier);
    pthread_barrier_wait(&visitor.barrier);
    fault_disarm();
    pthread_join(thread, NULL);
    pthread_barrier_destroy(&visitor.barrier);
    return visitor.works;
}

static void test_other_threads(void **state)
{
    (void)state;
    assert_true(other_thread_can_allocate(FAULT_MEMORY));
    assert_false(other_thread_can_allocate(FAULT_MEMORY | FAULT_EVERY_THREAD));
}

static void keep_both(void *arg)
{
    void *one = allocate(8);
    void *two = allocate(8);

    (void)arg;
    free(one);
    free(two);
}

static void leak_one(void *arg)
{
    void **leaked = arg;
    void *one = allocate(8);
    void *two = allocate(8);

    if (two) {
        free(one);
    } else {
        *leaked = one;
    }
    free(two);
}

static void leak_descriptor(void *arg)
{
    int fd = open("/dev/null", O_RDONLY);
    void *memory = allocate(8);

    (void)arg;
    if (memory) {
        close(fd);
    }
    free(memory);
}

static void test_loop_counts(void **state)
{
    (void)state;
    assert_int_equal(fault_loop("two allocations", FAULT_MEMORY, keep_both, NULL), 2);
    assert_int_equal(fault_loop("no files", FAULT_OPEN, keep_both, NULL), 0);
}

static void test_leaks_memory(void **state)
{
    void *leaked = NULL;

    (void)state;
    fault_loop("leak", FAULT_MEMORY, leak_one, &leaked);
}

static void test_leaks_descriptor(void **state)
{
    (void)state;
    fault_loop("leak", FAULT_MEMORY, leak_descriptor, NULL);
}

/* In a child, because what is to be seen is a test that fails. */
static int failures_of(void (*test)(void **state))
{
    const struct CMUnitTest tests[] = {{"in the child", test, NULL, NULL, NULL}};
    int status;
    pid_t child = fork();

    assert_true(child >= 0);
    if (child == 0) {
        int null = open("/dev/null", O_WRONLY);

        dup2(null, STDOUT_FILENO);
        dup2(null, STDERR_FILENO);
        _exit(_cmocka_run_group_tests("child", tests, 1, NULL, NULL));
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void test_leaks_fail(void **state)
{
    (void)state;
    assert_int_equal(failures_of(test_leaks_memory), 1);
    assert_int_equal(failures_of(test_leaks_descriptor), 1);
    assert_int_equal(failures_of(test_loop_counts), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_call_fails), cmocka_unit_test(test_threads_fail),
        cmocka_unit_test(test_every_allocator), cmocka_unit_test(test_sizes_do_not_overflow),
        cmocka_unit_test(test_the_nth_fails),   cmocka_unit_test(test_other_threads),
        cmocka_unit_test(test_loop_counts),     cmocka_unit_test(test_leaks_fail),
    };

    return cmocka_run_group_tests_name("fault", tests, NULL, NULL);
}
