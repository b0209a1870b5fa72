/*
 * Bulk: streams that carry bytes one way as fast as they go. One thread sends, one receives; the time is
 * from the first byte sent to the last end of stream received, and all that was sent must arrive.
 *
 * The tool must not be what is measured: over TCP the receiver lets the kernel drop the bytes instead
 * of copying them (MSG_TRUNC), so that the relay is the busiest of the three.
 *
 * What is sent from memory travels in fragments of up to 32 KiB, which only the loopback has; sent from a
 * file (--from-file) it travels in fragments of a page, as from a network card. A relay that splices feels
 * it: a pipe holds so many fragments, whatever their size.
 */
#include "load.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <unistd.h>

#define PIECE  (256 * 1024)
#define EVENTS 64

struct bulk {
    const struct options *options;
    int listener;
    double started, ended;
    uint64_t received;
};

static char sent_piece[PIECE], received_piece[PIECE];
static int source = -1; /* the file to send from; -1: send from memory */

static void open_source(void)
{
    source = memfd_create("source", MFD_CLOEXEC);
    if (source < 0 || write(source, sent_piece, PIECE) != PIECE) {
        die("cannot make a file in memory: %s", strerror(errno));
    }
}

static void watch(int epoll_fd, int fd, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.fd = fd};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0) {
        die("cannot watch a socket: %s", strerror(errno));
    }
}

/* Takes what is there. Returns false at the end of the stream. */
static bool drain(struct bulk *bulk, int fd, int flags)
{
    for (;;) {
        ssize_t got = recv(fd, received_piece, PIECE, flags);
        if (got > 0) {
            bulk->received += (uint64_t)got;
        } else if (got == 0) {
            return false;
        } else if (errno == EAGAIN) {
            return true;
        } else if (errno != EINTR) {
            die("receiving failed: %s", strerror(errno));
        }
    }
}

static void accept_all(struct bulk *bulk, int epoll_fd)
{
    int fd;
    while ((fd = accept4(bulk->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        watch(epoll_fd, fd, EPOLLIN);
    }
}

static void *receive(void *data)
{
    struct bulk *bulk = data;
    struct epoll_event events[EVENTS];
    int family = bulk->options->listen.u.base.sa_family;
    int flags = MSG_DONTWAIT | (family == AF_INET || family == AF_INET6 ? MSG_TRUNC : 0);
    int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    unsigned open = bulk->options->streams;
    watch(epoll_fd, bulk->listener, EPOLLIN);
    while (open > 0) {
        int count = epoll_wait(epoll_fd, events, EVENTS, (int)(1000 * bulk->options->seconds) + 10000);
        if (count == 0) {
            die("the relay holds back what was sent: %" PRIu64 " bytes arrived", bulk->received);
        }
        for (int i = 0; i < count; i++) {
            if (events[i].data.fd == bulk->listener) {
                accept_all(bulk, epoll_fd);
            } else if (!drain(bulk, events[i].data.fd, flags)) {
                close(events[i].data.fd);
                open--;
            }
        }
    }
    bulk->ended = now();
    close(epoll_fd);
    return NULL;
}

/* One send on a stream that has room; false when the stream has sent its share or the time is over. */
static bool send_piece(int fd, uint64_t *left, double until)
{
    if (*left == 0 || now() > until) {
        return false;
    }
    size_t piece = *left < PIECE ? (size_t)*left : PIECE;
    off_t start = 0;
    ssize_t sent = source >= 0 ? sendfile(fd, source, &start, piece) : send(fd, sent_piece, piece, 0);
    if (sent >= 0) {
        *left -= (uint64_t)sent;
    } else if (errno != EAGAIN && errno != EINTR) {
        die("sending failed: %s", strerror(errno));
    }
    return true;
}

/* Sends on every stream what it takes, in turns, until all had their share. Returns what was sent. */
static uint64_t send_all(struct pollfd *streams, const struct options *options, double until)
{
    uint64_t share = options->bytes / options->streams, total = 0;
    uint64_t *left = calloc(options->streams, sizeof *left);
    unsigned open = options->streams;
    if (left == NULL) {
        die("out of memory");
    }
    for (unsigned i = 0; i < options->streams; i++) {
        left[i] = share;
    }
    while (open > 0) {
        if (poll(streams, options->streams, 10000) == 0) {
            die("the relay has taken nothing for ten seconds");
        }
        for (unsigned i = 0; i < options->streams; i++) {
            if (streams[i].revents != 0 && !send_piece(streams[i].fd, &left[i], until)) {
                shutdown(streams[i].fd, SHUT_WR);
                streams[i].fd = -1 - streams[i].fd; /* poll() passes over it; closed by the caller */
                total += share - left[i];
                open--;
            }
        }
    }
    free(left);
    return total;
}

int run_bulk(const struct options *options)
{
    struct bulk bulk = {.options = options, .listener = open_listener(&options->listen)};
    struct pollfd *streams = calloc(options->streams, sizeof *streams);
    pthread_t receiver;
    if (streams == NULL || pthread_create(&receiver, NULL, receive, &bulk) != 0) {
        die("out of memory");
    }
    if (options->from_file) {
        open_source();
    }
    for (unsigned i = 0; i < options->streams; i++) {
        streams[i] = (struct pollfd){.fd = open_connection(&options->connect), .events = POLLOUT};
        fcntl(streams[i].fd, F_SETFL, O_NONBLOCK);
    }
    bulk.started = now();
    uint64_t sent = send_all(streams, options, bulk.started + options->seconds);
    pthread_join(receiver, NULL);
    for (unsigned i = 0; i < options->streams; i++) {
        close(-1 - streams[i].fd);
    }
    double seconds = bulk.ended - bulk.started;
    printf("{\"mode\": \"bulk\", \"streams\": %u, \"sent\": %" PRIu64 ", \"received\": %" PRIu64
           ", \"seconds\": %.6f, \"bytes_per_second\": %.0f}\n",
           options->streams, sent, bulk.received, seconds, (double)bulk.received / seconds);
    free(streams);
    close(bulk.listener);
    return sent == bulk.received ? 0 : 1;
}
