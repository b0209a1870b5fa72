/*
 * The calls that fail on purpose.
 *
 * Each is defined here under its own name, which the dynamic linker prefers to the C library's, for the
 * program and for every shared library alike. This file is compiled without sanitizers: malloc() is
 * called before they are awake.
 */
#undef _FORTIFY_SOURCE /* its inline versions would stand in the way of the definitions */

#include "fault.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
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
#include <unistd.h>

#include <cmocka.h>

/* More runs than this are a scenario that never ends. */
#define RUNS_MAX 100000UL

/* Descriptors looked at for leaks. */
#define DESCRIPTORS_MAX 1024

static _Atomic unsigned armed;     /* enum fault_calls; 0: none */
static _Atomic long left;          /* calls until the one that fails */
static _Atomic unsigned long hits; /* calls that failed */
static _Thread_local bool is_armer;
static _Thread_local int spared;

static _Atomic long live; /* allocations not yet freed, in all threads */

bool fault_strikes(unsigned call)
{
    unsigned calls = atomic_load(&armed);
    long n;

    if (!(calls & call) || spared || (!(calls & FAULT_EVERY_THREAD) && !is_armer)) {
        return false;
    }
    n = atomic_fetch_sub(&left, 1);
    if (n > 1 || (n < 1 && !(calls & FAULT_STICKY))) {
        return false;
    }
    atomic_fetch_add(&hits, 1);
    return true;
}

/* Memory. The sanitizers' allocators where there are any, so that they go on seeing everything. */

extern void *__interceptor_malloc(size_t size) __attribute__((weak));
extern void *__interceptor_calloc(size_t count, size_t size) __attribute__((weak));
extern void *__interceptor_realloc(void *old, size_t size) __attribute__((weak));
extern void *__interceptor_memalign(size_t alignment, size_t size) __attribute__((weak));
extern void __interceptor_free(void *memory) __attribute__((weak));
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *old, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);
extern void __libc_free(void *memory);

static bool out_of_memory(void)
{
    if (!fault_strikes(FAULT_MEMORY)) {
        return false;
    }
    errno = ENOMEM;
    return true;
}

static void *counted(void *memory)
{
    if (memory) {
        atomic_fetch_add(&live, 1);
    }
    return memory;
}

void *malloc(size_t size)
{
    if (out_of_memory()) {
        return NULL;
    }
    return counted(__interceptor_malloc ? __interceptor_malloc(size) : __libc_malloc(size));
}

void *calloc(size_t count, size_t size)
{
    if (out_of_memory()) {
        return NULL;
    }
    return counted(__interceptor_calloc ? __interceptor_calloc(count, size) : __libc_calloc(count, size));
}

void *realloc(void *old, size_t size)
{
    void *memory;

    if (out_of_memory()) {
        return NULL;
    }
    memory = __interceptor_realloc ? __interceptor_realloc(old, size) : __libc_realloc(old, size);
    if (!old) {
        return counted(memory);
    }
    if (!memory && size == 0) {
        atomic_fetch_sub(&live, 1);
    }
    return memory;
}

void *reallocarray(void *old, size_t count, size_t size)
{
    size_t total;

    if (__builtin_mul_overflow(count, size, &total)) {
        errno = ENOMEM;
        return NULL;
    }
    return realloc(old, total);
}

void *memalign(size_t alignment, size_t size)
{
    if (out_of_memory()) {
        return NULL;
    }
    return counted(__interceptor_memalign ? __interceptor_memalign(alignment, size)
                                          : __libc_memalign(alignment, size));
}

void *aligned_alloc(size_t alignment, size_t size)
{
    return memalign(alignment, size);
}

int posix_memalign(void **ret, size_t alignment, size_t size)
{
    int saved = errno;
    void *memory = memalign(alignment, size);

    errno = saved;
    if (!memory) {
        return ENOMEM;
    }
    *ret = memory;
    return 0;
}

void free(void *memory)
{
    if (!memory) {
        return;
    }
    atomic_fetch_sub(&live, 1);
    if (__interceptor_free) {
        __interceptor_free(memory);
    } else {
        __libc_free(memory);
    }
}

/* What the dynamic linker allocates for a thread's variables it keeps with the thread's stack for the next
 * one. LeakSanitizer knows, but looks at who called malloc(), and that is now this file. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:ld-linux\n";
}

/* The sanitizers' own versions of these would not come by here. */
char *strndup(const char *string, size_t most)
{
    size_t length = strnlen(string, most);
    char *copy = malloc(length + 1);

    if (!copy) {
        return NULL;
    }
    memcpy(copy, string, length);
    copy[length] = '\0';
    return copy;
}

char *strdup(const char *string)
{
    return strndup(string, PTRDIFF_MAX - 1);
}

/* Calls. */

/* The definition of `name` that this one stands in front of, looked up once: the sanitizer's, where it has
 * its own (linked statically, it is not the next one), or else the C library's. */
static void *real_of(_Atomic(void *) *known, void *intercepted, const char *name)
{
    void *real = atomic_load(known);

    if (!real) {
        real = intercepted ? intercepted : dlsym(RTLD_NEXT, name);
        atomic_store(known, real);
    }
    return real;
}

#define REAL(name) ((__typeof__(&(name)))real_of(&known, (void *)__interceptor_##name, #name))

#define CALL(type, failed, name, call, error, parameters, arguments)    \
    extern __typeof__(name) __interceptor_##name __attribute__((weak)); \
    type name parameters                                                \
    {                                                                   \
        static _Atomic(void *) known;                                   \
                                                                        \
        if (fault_strikes(call)) {                                      \
            errno = (error);                                            \
            return failed;                                              \
        }                                                               \
        return REAL(name) arguments;                                    \
    }

/* The same with one more argument, `extra`, that callers may leave out: what is then passed on is
 * not read. */
#define CALL_MORE(name, call, error, parameters, last, type, arguments) \
    extern __typeof__(name) __interceptor_##name __attribute__((weak)); \
    int name parameters                                                 \
    {                                                                   \
        static _Atomic(void *) known;                                   \
        va_list more;                                                   \
        type extra;                                                     \
                                                                        \
        va_start(more, last);                                           \
        extra = va_arg(more, type);                                     \
        va_end(more);                                                   \
        if (fault_strikes(call)) {                                      \
            errno = (error);                                            \
            return -1;                                                  \
        }                                                               \
        return REAL(name) arguments;                                    \
    }

/* clang-format off */
CALL_MORE(open, FAULT_OPEN, EMFILE, (const char *path, int flags, ...), flags, mode_t, (path, flags, extra))
CALL_MORE(open64, FAULT_OPEN, EMFILE, (const char *path, int flags, ...), flags, mode_t, (path, flags, extra))
CALL_MORE(openat, FAULT_OPEN, EMFILE, (int at, const char *path, int flags, ...), flags, mode_t,
          (at, path, flags, extra))
CALL_MORE(openat64, FAULT_OPEN, EMFILE, (int at, const char *path, int flags, ...), flags, mode_t,
          (at, path, flags, extra))
/* What a hardened build makes of open() when it cannot see the flags. */
int __open_2(const char *path, int flags);
int __open64_2(const char *path, int flags);
CALL(int, -1, __open_2, FAULT_OPEN, EMFILE, (const char *path, int flags), (path, flags))
CALL(int, -1, __open64_2, FAULT_OPEN, EMFILE, (const char *path, int flags), (path, flags))
CALL_MORE(fcntl, FAULT_FCNTL, EINVAL, (int fd, int command, ...), command, void *, (fd, command, extra))
CALL_MORE(fcntl64, FAULT_FCNTL, EINVAL, (int fd, int command, ...), command, void *, (fd, command, extra))
CALL(FILE *, NULL, fopen, FAULT_OPEN, EMFILE, (const char *path, const char *mode), (path, mode))
CALL(FILE *, NULL, fopen64, FAULT_OPEN, EMFILE, (const char *path, const char *mode), (path, mode))

CALL(int, -1, socket, FAULT_SOCKET, EMFILE, (int family, int type, int protocol), (family, type, protocol))
CALL(int, -1, socketpair, FAULT_SOCKET, EMFILE, (int family, int type, int protocol, int fds[2]),
     (family, type, protocol, fds))
CALL(int, -1, accept, FAULT_ACCEPT, EMFILE, (int fd, __SOCKADDR_ARG address, socklen_t *size),
     (fd, address, size))
CALL(int, -1, accept4, FAULT_ACCEPT, EMFILE, (int fd, __SOCKADDR_ARG address, socklen_t *size, int flags),
     (fd, address, size, flags))
CALL(int, -1, bind, FAULT_BIND, EADDRINUSE, (int fd, __CONST_SOCKADDR_ARG address, socklen_t size),
     (fd, address, size))
CALL(int, -1, listen, FAULT_BIND, EADDRINUSE, (int fd, int backlog), (fd, backlog))
CALL(int, -1, connect, FAULT_CONNECT, ENETUNREACH, (int fd, __CONST_SOCKADDR_ARG address, socklen_t size),
     (fd, address, size))
CALL(int, -1, setsockopt, FAULT_SOCKOPT, ENOBUFS,
     (int fd, int level, int name, const void *value, socklen_t size), (fd, level, name, value, size))
CALL(int, -1, getsockopt, FAULT_SOCKOPT, ENOBUFS,
     (int fd, int level, int name, void *value, socklen_t *size), (fd, level, name, value, size))
CALL(int, -1, getsockname, FAULT_SOCKOPT, ENOBUFS, (int fd, __SOCKADDR_ARG address, socklen_t *size),
     (fd, address, size))
CALL(int, -1, getpeername, FAULT_SOCKOPT, ENOBUFS, (int fd, __SOCKADDR_ARG address, socklen_t *size),
     (fd, address, size))

CALL(int, -1, pipe, FAULT_PIPE, EMFILE, (int fds[2]), (fds))
CALL(int, -1, pipe2, FAULT_PIPE, EMFILE, (int fds[2], int flags), (fds, flags))
CALL(int, -1, eventfd, FAULT_PIPE, EMFILE, (unsigned start, int flags), (start, flags))
CALL(int, -1, epoll_create1, FAULT_EPOLL, ENOMEM, (int flags), (flags))
CALL(int, -1, epoll_ctl, FAULT_EPOLL, ENOMEM, (int epoll, int command, int fd, struct epoll_event *event),
     (epoll, command, fd, event))
CALL(int, EAGAIN, pthread_create, FAULT_THREAD, EAGAIN,
     (pthread_t *thread, const pthread_attr_t *attributes, void *(*function)(void *), void *arg),
     (thread, attributes, function, arg))

CALL(ssize_t, -1, read, FAULT_READ, EIO, (int fd, void *data, size_t size), (fd, data, size))
CALL(ssize_t, -1, recv, FAULT_READ, EIO, (int fd, void *data, size_t size, int flags),
     (fd, data, size, flags))
CALL(ssize_t, -1, recvmsg, FAULT_READ, EIO, (int fd, struct msghdr *message, int flags), (fd, message, flags))
CALL(ssize_t, -1, write, FAULT_WRITE, EIO, (int fd, const void *data, size_t size), (fd, data, size))
CALL(ssize_t, -1, writev, FAULT_WRITE, EIO, (int fd, const struct iovec *parts, int count),
     (fd, parts, count))
CALL(ssize_t, -1, send, FAULT_WRITE, EIO, (int fd, const void *data, size_t size, int flags),
     (fd, data, size, flags))
CALL(ssize_t, -1, sendmsg, FAULT_WRITE, EIO, (int fd, const struct msghdr *message, int flags),
     (fd, message, flags))
CALL(ssize_t, -1, splice, FAULT_WRITE, EIO,
     (int in, off64_t *in_at, int out, off64_t *out_at, size_t size, unsigned flags),
     (in, in_at, out, out_at, size, flags))
CALL(int, -1, shutdown, FAULT_WRITE, EIO, (int fd, int how), (fd, how))

CALL(int, -1, stat, FAULT_FILE, EIO, (const char *path, struct stat *st), (path, st))
CALL(int, -1, lstat, FAULT_FILE, EIO, (const char *path, struct stat *st), (path, st))
CALL(int, -1, fstat, FAULT_FILE, EIO, (int fd, struct stat *st), (fd, st))
CALL(int, -1, unlink, FAULT_FILE, EIO, (const char *path), (path))
CALL(int, -1, chmod, FAULT_FILE, EIO, (const char *path, mode_t mode), (path, mode))
CALL(int, -1, chown, FAULT_FILE, EIO, (const char *path, uid_t user, gid_t group), (path, user, group))
/* clang-format on */

/* Arming, and the loop. */

void fault_arm(unsigned calls, unsigned long nth)
{
    is_armer = true;
    atomic_store(&hits, 0);
    atomic_store(&left, (long)nth);
    atomic_store(&armed, calls);
}

void fault_spare(bool spare)
{
    spared += spare ? 1 : -1;
}

unsigned long fault_disarm(void)
{
    atomic_store(&armed, 0);
    is_armer = false;
    return atomic_load(&hits);
}

static int open_descriptors(void)
{
    int count = 0;

    for (int fd = 0; fd < DESCRIPTORS_MAX; fd++) {
        count += fcntl(fd, F_GETFD) >= 0;
    }
    return count;
}

struct leak {
    long allocations;
    int descriptors;
};

static bool is_leak(const struct leak *leak)
{
    return leak->allocations > 0 || leak->descriptors > 0;
}

struct scenario {
    unsigned calls;
    void (*run)(void *arg);
    void *arg;
};

/* One run with the nth call failing; returns how many failed. */
static unsigned long run(const struct scenario *scenario, unsigned long nth, struct leak *ret)
{
    int descriptors = open_descriptors();
    long allocations = atomic_load(&live);
    unsigned long failed;

    fault_arm(scenario->calls, nth);
    scenario->run(scenario->arg);
    failed = fault_disarm();
    ret->allocations = atomic_load(&live) - allocations;
    ret->descriptors = open_descriptors() - descriptors;
    return failed;
}

/* What the first failure of its kind made, to be kept for good (a message catalogue, a thread's stack), is no
 * leak: the same run again makes nothing more. */
static bool leaks_again(const struct scenario *scenario, unsigned long nth, struct leak *leak)
{
    for (int tries = 0; tries < 2 && is_leak(leak); tries++) {
        run(scenario, nth, leak);
    }
    return is_leak(leak);
}

unsigned long fault_loop(const char *name, unsigned calls, void (*function)(void *arg), void *arg)
{
    const struct scenario scenario = {.calls = calls, .run = function, .arg = arg};
    bool trace = getenv("FAULT_TRACE") != NULL;

    fault_disarm();
    function(arg);
    for (unsigned long nth = 1; nth <= RUNS_MAX; nth++) {
        struct leak leak;
        unsigned long failed;

        if (trace) {
            fprintf(stderr, "faults: %s: failing call %lu\n", name, nth);
        }
        failed = run(&scenario, nth, &leak);
        if (leaks_again(&scenario, nth, &leak)) {
            fail_msg("%s: failing call %lu leaks %ld allocations and %d descriptors", name, nth,
                     leak.allocations, leak.descriptors);
        }
        if (failed == 0) {
            printf("faults: %s: %lu failures injected\n", name, nth - 1);
            return nth - 1;
        }
    }
    fail_msg("%s: still calling after %lu failures", name, RUNS_MAX);
    return RUNS_MAX;
}
