/*
 * A clock that a test sets, to be preloaded: CLOCK_MONOTONIC is ahead by as much as the file of $POSTERN_TEST_CLOCK says, or
 * stands still. The file holds two numbers of 64 bits: nanoseconds ahead, and the time that it stands at (0: it goes).
 *
 * Whoever waits in the kernel waits as long as ever: something has to wake the program before it sees what time it is.
 */
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define NS_IN_S INT64_C(1000000000)

struct setting {
    _Atomic int64_t ahead, stands_at;
};

static const struct setting *setting;

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("POSTERN_TEST_CLOCK");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    void *mapped = fd >= 0 ? mmap(NULL, sizeof *setting, PROT_READ, MAP_SHARED, fd, 0) : MAP_FAILED;

    setting = mapped != MAP_FAILED ? mapped : NULL;
    if (fd >= 0) {
        close(fd);
    }
}

int clock_gettime(clockid_t clock, struct timespec *ret)
{
    int64_t ahead, stands_at, now;

    if (syscall(SYS_clock_gettime, clock, ret) != 0) {
        return -1;
    }
    if (!setting ||
        (clock != CLOCK_MONOTONIC && clock != CLOCK_MONOTONIC_COARSE && clock != CLOCK_BOOTTIME)) {
        return 0;
    }
    ahead = setting->ahead;
    stands_at = setting->stands_at;
    now = stands_at != 0 ? stands_at : ret->tv_sec * NS_IN_S + ret->tv_nsec + ahead;
    ret->tv_sec = now / NS_IN_S;
    ret->tv_nsec = now % NS_IN_S;
    return 0;
}
