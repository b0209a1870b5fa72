/* The server behind the relay in the modes short and idle: sends back what it is sent. */
#include "load.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define EVENTS 64

static void watch(const struct echo *echo, int fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    if (epoll_ctl(echo->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0) {
        die("cannot watch a socket: %s", strerror(errno));
    }
}

/* A reply is small beside a socket's buffer, so waiting here is rare; the client never waits for another
 * connection before it reads its reply, so it ends. False: the peer is gone. */
static bool send_back(int fd, const char *data, size_t length)
{
    while (length > 0) {
        ssize_t sent = send(fd, data, length, MSG_DONTWAIT);
        if (sent > 0) {
            data += sent;
            length -= (size_t)sent;
        } else if (errno == EAGAIN) {
            struct pollfd room = {.fd = fd, .events = POLLOUT};
            if (poll(&room, 1, 10000) == 0) {
                die("the relay has taken no reply for ten seconds");
            }
        } else {
            return false;
        }
    }
    return true;
}

static void serve(int fd)
{
    static char data[16384];
    ssize_t got = recv(fd, data, sizeof data, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (got <= 0 || !send_back(fd, data, (size_t)got)) {
        close(fd);
    }
}

static void *run(void *data)
{
    const struct echo *echo = data;
    struct epoll_event events[EVENTS];
    for (;;) {
        int count = epoll_wait(echo->epoll_fd, events, EVENTS, -1);
        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;
            if (fd == echo->stop_fd) {
                return NULL;
            }
            if (fd != echo->listener) {
                serve(fd);
                continue;
            }
            while ((fd = accept4(echo->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
                watch(echo, fd);
            }
        }
    }
}

void echo_start(struct echo *echo, const struct address *address)
{
    echo->listener = open_listener(address);
    echo->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    echo->stop_fd = eventfd(0, EFD_CLOEXEC);
    if (echo->epoll_fd < 0 || echo->stop_fd < 0) {
        die("cannot start the echo server: %s", strerror(errno));
    }
    watch(echo, echo->listener);
    watch(echo, echo->stop_fd);
    if (pthread_create(&echo->thread, NULL, run, echo) != 0) {
        die("cannot start a thread");
    }
}

void echo_stop(struct echo *echo)
{
    uint64_t one = 1;
    if (write(echo->stop_fd, &one, sizeof one) != sizeof one) {
        die("cannot stop the echo server: %s", strerror(errno));
    }
    pthread_join(echo->thread, NULL);
    close(echo->listener);
    close(echo->epoll_fd);
    close(echo->stop_fd);
}
