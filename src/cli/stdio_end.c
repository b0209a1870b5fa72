/* Standard input and output that never wait: see stdio_end.h. */
#include "cli/stdio_end.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static bool is_always_ready(const struct stat *st)
{
    return S_ISREG(st->st_mode) || S_ISDIR(st->st_mode) || S_ISBLK(st->st_mode);
}

static int open_again(int fd, bool writing)
{
    char name[64];
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    return open(name, (writing ? O_WRONLY : O_RDONLY) | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

void stdio_end_open(struct stdio_end *end, int inherited, bool writing)
{
    struct stat st;
    *end = (struct stdio_end){.kind = STDIO_ASKED, .inherited = inherited, .fd = inherited};
    if (fstat(inherited, &st) != 0) {
        return; /* reading and writing will tell */
    }
    if (is_always_ready(&st)) {
        end->kind = STDIO_FILE;
    } else if (S_ISSOCK(st.st_mode)) {
        end->kind = STDIO_SOCKET;
    } else if (S_ISFIFO(st.st_mode) || isatty(inherited)) {
        int fd = open_again(inherited, writing);
        end->fd = fd >= 0 ? fd : inherited;
        end->kind = fd >= 0 ? STDIO_OWN : STDIO_ASKED;
    }
}

/* 0, or -EAGAIN. What an error hides behind is for the call itself to tell. */
static int ask(int fd, short events)
{
    struct pollfd wanted = {.fd = fd, .events = events};
    return poll(&wanted, 1, 0) != 0 ? 0 : -EAGAIN;
}

ssize_t stdio_end_read(struct stdio_end *end, void *buffer, size_t size)
{
    ssize_t n;
    if (end->kind == STDIO_ASKED && ask(end->fd, POLLIN) != 0) {
        return -EAGAIN;
    }
    do {
        n = end->kind == STDIO_SOCKET ? recv(end->fd, buffer, size, MSG_DONTWAIT)
                                      : read(end->fd, buffer, size);
    } while (n < 0 && errno == EINTR);
    return n >= 0 ? n : -errno;
}

ssize_t stdio_end_write(struct stdio_end *end, const void *bytes, size_t size)
{
    ssize_t n;
    if (end->kind == STDIO_ASKED) {
        if (ask(end->fd, POLLOUT) != 0) {
            return -EAGAIN;
        }
        size = size < PIPE_BUF ? size : PIPE_BUF;
    }
    do {
        n = end->kind == STDIO_SOCKET ? send(end->fd, bytes, size, MSG_DONTWAIT | MSG_NOSIGNAL)
                                      : write(end->fd, bytes, size);
    } while (n < 0 && errno == EINTR);
    return n >= 0 ? n : -errno;
}

/* The number stays taken, so that no other descriptor becomes what a library takes for standard output. */
static void give_back(int inherited)
{
    int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (nothing < 0 || dup2(nothing, inherited) < 0) {
        close(inherited);
    }
    if (nothing >= 0) {
        close(nothing);
    }
}

void stdio_end_close(struct stdio_end *end, bool writing)
{
    if (end->inherited < 0) {
        return;
    }
    if (end->kind == STDIO_OWN) {
        close(end->fd);
    }
    if (end->kind == STDIO_SOCKET && writing) {
        (void)shutdown(end->fd, SHUT_WR); /* standard input may be the same one */
    }
    give_back(end->inherited);
    end->inherited = end->fd = -1;
}
