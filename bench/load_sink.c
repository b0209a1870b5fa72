/*
 * The server behind the relay that only takes. The tool must not be what is measured: over TCP it lets the kernel drop the bytes
 * instead of copying them (MSG_TRUNC), so that the relay is the busiest of the three.
 */
#include "load.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define PIECE  (256 * 1024)
#define EVENTS 64

static char received_piece[PIECE];

static void watch(int epoll_fd, int fd, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.fd = fd};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0) {
        die("cannot watch a socket: %s", strerror(errno));
    }
}

/* Takes what is there. Returns false at the end of the stream. */
static bool drain(struct sink *sink, int fd, int flags)
{
    for (;;) {
        ssize_t got = recv(fd, received_piece, PIECE, flags);
        if (got > 0) {
            sink->started = sink->received > 0 ? sink->started : now();
            sink->received += (uint64_t)got;
        } else if (got == 0 || errno == ECONNRESET) {
            return false; /* what is missing then is found by who sent it */
        } else if (errno == EAGAIN) {
            return true;
        } else if (errno != EINTR) {
            die("receiving failed: %s", strerror(errno));
        }
    }
}

static void accept_all(struct sink *sink, int epoll_fd)
{
    int fd;
    while ((fd = accept4(sink->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        watch(epoll_fd, fd, EPOLLIN);
    }
}

static void *receive(void *data)
{
    struct sink *sink = data;
    struct epoll_event events[EVENTS];
    int family = sink->options->listen.u.base.sa_family;
    int flags = MSG_DONTWAIT | (family == AF_INET || family == AF_INET6 ? MSG_TRUNC : 0);
    int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    unsigned open = sink->options->streams;
    watch(epoll_fd, sink->listener, EPOLLIN);
    while (open > 0) {
        int count = epoll_wait(epoll_fd, events, EVENTS, (int)(1000 * sink->options->seconds) + 10000);
        if (count == 0) {
            die("the relay holds back what was sent: %" PRIu64 " bytes arrived", sink->received);
        }
        for (int i = 0; i < count; i++) {
            if (events[i].data.fd == sink->listener) {
                accept_all(sink, epoll_fd);
            } else if (!drain(sink, events[i].data.fd, flags)) {
                close(events[i].data.fd);
                open--;
            }
        }
    }
    sink->ended = now();
    close(epoll_fd);
    return NULL;
}

void sink_start(struct sink *sink, const struct options *options)
{
    *sink = (struct sink){.options = options, .listener = open_listener(&options->listen)};
    if (pthread_create(&sink->thread, NULL, receive, sink) != 0) {
        die("cannot start a thread");
    }
}

void sink_join(struct sink *sink)
{
    pthread_join(sink->thread, NULL);
    close(sink->listener);
}

int run_sink(const struct options *options)
{
    struct sink sink;
    sink_start(&sink, options);
    printf("{\"mode\": \"sink\", \"ready\": true}\n");
    fflush(stdout);
    sink_join(&sink);
    printf("{\"mode\": \"sink\", \"received\": %" PRIu64 ", \"busy_seconds\": %.6f}\n", sink.received,
           sink.ended - sink.started);
    return 0;
}

int run_echo(const struct options *options)
{
    struct echo echo;
    echo_start(&echo, &options->listen);
    printf("{\"mode\": \"echo\", \"ready\": true}\n");
    fflush(stdout);
    wait_for_the_end(now() + options->seconds);
    echo_stop(&echo);
    return 0;
}
