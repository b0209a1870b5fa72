/*
 * A disk that is reached over a network, preloaded: each sync takes $BENCH_SYNC_US microseconds more than that of the machine's own.
 */
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static int sync_slowly(const char *name, int fd)
{
    int (*next)(int);
    const char *us = getenv("BENCH_SYNC_US");
    long more = us != NULL ? strtol(us, NULL, 10) : 0;
    struct timespec time = {.tv_sec = more / 1000000, .tv_nsec = more % 1000000 * 1000};
    *(void **)&next = dlsym(RTLD_NEXT, name);
    (void)nanosleep(&time, NULL);
    return next(fd);
}

int fsync(int fd)
{
    return sync_slowly("fsync", fd);
}

int fdatasync(int fd)
{
    return sync_slowly("fdatasync", fd);
}
