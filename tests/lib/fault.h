/*
 * Failing calls on purpose: every allocation, and every system call worth it, made to fail once, to see
 * that nothing crashes, hangs or leaks.
 *
 *     postern_unit_test(base text FAULTS)                             in tests.cmake
 *
 *     static void build(void *arg)                                    in the test
 *     {
 *         struct text text;
 *         text_init(&text, 0);
 *         text_add(&text, "hello");
 *         if (!text.failed)
 *             assert_string_equal(text_string(&text), "hello");
 *         text_release(&text);
 *     }
 *
 *     static void test_out_of_memory(void **state)
 *     {
 *         assert_true(fault_loop("text", FAULT_MEMORY, build, NULL) >= 1);
 *     }
 *
 * The scenario does the same things each time, cleans up after itself, and checks its results as far as
 * they hold when a call failed. It is run with nothing failing first, so that what is made once and kept
 * (by the C library, by libuv) exists; then with the first call failing, the second, and so on, until a
 * run comes to its end with no call left to fail. After each run the allocations and the open descriptors
 * must be as many as before it.
 *
 * A program that links this has its own malloc() and the like, which all libraries in it use, and which
 * pass on to the sanitizer's or to the C library's. Failures strike the thread that armed them only, unless
 * FAULT_EVERY_THREAD says otherwise; then which call is the nth is up to the scheduler, and a sanitizer does
 * not survive a thread that begins while memory fails. libuv gives up by
 * abort() when FAULT_EPOLL strikes inside of a running loop: that is not ours to repair.
 *
 * With FAULT_TRACE in the environment, each failure is told on standard error before it strikes.
 */
#ifndef POSTERN_TESTS_FAULT_H
#define POSTERN_TESTS_FAULT_H

#include <stdbool.h>

enum fault_calls {
    FAULT_MEMORY = 1 << 0,  /* malloc calloc realloc reallocarray memalign posix_memalign aligned_alloc
                               strdup strndup, and what the C library makes of them: ENOMEM */
    FAULT_OPEN = 1 << 1,    /* open openat fopen, with their 64s: EMFILE */
    FAULT_SOCKET = 1 << 2,  /* socket socketpair: EMFILE */
    FAULT_ACCEPT = 1 << 3,  /* accept accept4: EMFILE */
    FAULT_BIND = 1 << 4,    /* bind listen: EADDRINUSE */
    FAULT_CONNECT = 1 << 5, /* connect: ENETUNREACH */
    FAULT_SOCKOPT = 1 << 6, /* setsockopt getsockopt getsockname getpeername: ENOBUFS */
    FAULT_PIPE = 1 << 7,    /* pipe pipe2 eventfd: EMFILE */
    FAULT_EPOLL = 1 << 8,   /* epoll_create1 epoll_ctl: ENOMEM */
    FAULT_FCNTL = 1 << 9,   /* fcntl fcntl64: EINVAL */
    FAULT_THREAD = 1 << 10, /* pthread_create: EAGAIN */
    FAULT_READ = 1 << 11,   /* read recv recvmsg: EIO */
    FAULT_WRITE = 1 << 12,  /* write writev send sendmsg splice shutdown: EIO */
    FAULT_FILE = 1 << 13,   /* stat lstat fstat unlink chmod chown: EIO */

    FAULT_OWN = 1 << 16, /* what the test itself makes to fail, see fault_strikes() */

    FAULT_STICKY = 1 << 14,      /* once one failed, all of them go on failing: memory does not come back */
    FAULT_EVERY_THREAD = 1 << 15 /* not only in the thread that armed it */
};

/* Runs `scenario(arg)` as told above and returns how many failures were injected, which it also prints,
 * as `faults: NAME: N failures injected`. Fails the test on a leak. */
unsigned long fault_loop(const char *name, unsigned calls, void (*scenario)(void *arg), void *arg);

/* For a single failure by hand: the nth of `calls`, counted from 1 and from now, fails. */
void fault_arm(unsigned calls, unsigned long nth);

/* While spared, no call of this thread fails: for what a scenario does to play the other side. May
 * be nested. */
void fault_spare(bool spare);

/* Whether the call that is about to be made is the one to fail. For calls that a test wraps at link time
 * (-Wl,--wrap=epoll_ctl), and so takes from the program alone and not from the libraries in it. */
bool fault_strikes(unsigned call);

/* Nothing fails any more. Returns how many calls did since fault_arm(): more than one only if sticky. */
unsigned long fault_disarm(void);

#endif
