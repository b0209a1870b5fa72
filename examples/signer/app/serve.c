/*
 * One listener, and a number of threads that each serve one connection at a time: one line in, one line out. A connection has a deadline
 * from its first moment, so whoever is slow holds up one thread for that long, and memory has a bound.
 */
#include "signer.h"

#include <errno.h>
#include <linux/vm_sockets.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define THREADS    16
#define BACKLOG    128
#define SERVING_MS 5000 /* a connection, whole */

struct listener {
    const struct signer *signer;
    int fd;
};

static long now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* ---- One connection ---- */

static bool wait_for(int fd, short events, long deadline)
{
    struct pollfd one = {.fd = fd, .events = events};
    long left = deadline - now_ms();

    return left > 0 && poll(&one, 1, (int)left) == 1;
}

/* Up to the end of the line, which becomes a zero. What comes behind it is not looked at. */
static bool read_line(int fd, char *line, long deadline)
{
    size_t have = 0;

    while (have < LINE_SIZE && wait_for(fd, POLLIN, deadline)) {
        ssize_t n = recv(fd, line + have, LINE_SIZE - have, 0);
        if (n <= 0) {
            return false;
        }
        char *end = memchr(line + have, '\n', (size_t)n);
        if (end) {
            *end = '\0';
            return strlen(line) == (size_t)(end - line); /* no zero in between */
        }
        have += (size_t)n;
    }
    return false;
}

static void write_line(int fd, const char *line, size_t size, long deadline)
{
    while (size > 0 && wait_for(fd, POLLOUT, deadline)) {
        ssize_t n = send(fd, line, size, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno != EAGAIN && errno != EINTR) {
            return;
        }
        line += n > 0 ? n : 0;
        size -= n > 0 ? (size_t)n : 0;
    }
}

static void serve_one(const struct signer *signer, int fd)
{
    char request[LINE_SIZE], reply[REPLY_SIZE];
    long deadline = now_ms() + SERVING_MS;

    if (read_line(fd, request, deadline)) {
        size_t size = answer(signer, request, reply);
        reply[size] = '\n'; /* in the place of the zero */
        write_line(fd, reply, size + 1, deadline);
        shutdown(fd, SHUT_WR);
    }
}

static void *serve_all(void *user)
{
    const struct listener *listener = user;

    for (;;) {
        int fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0) {
            serve_one(listener->signer, fd);
            close(fd);
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
            poll(NULL, 0, 100); /* it would be the same at once */
        }
    }
    return NULL;
}

/* ---- The listener ---- */

union address {
    struct sockaddr any;
    struct sockaddr_vm vsock;
    struct sockaddr_in tcp;
    struct sockaddr_un local;
};

/* vsock://any:PORT, tcp://127.0.0.1:PORT or unix:///path. Returns the length of the socket's address, 0 if it is none of these. */
static socklen_t parse_address(const char *text, union address *ret)
{
    unsigned port;
    char rest;

    memset(ret, 0, sizeof *ret);
    if (sscanf(text, "vsock://any:%u%c", &port, &rest) == 1) {
        ret->vsock.svm_family = AF_VSOCK;
        ret->vsock.svm_cid = VMADDR_CID_ANY;
        ret->vsock.svm_port = port;
        return sizeof ret->vsock;
    }
    if (sscanf(text, "tcp://127.0.0.1:%u%c", &port, &rest) == 1 && port <= UINT16_MAX) {
        ret->tcp.sin_family = AF_INET;
        ret->tcp.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        ret->tcp.sin_port = htons((uint16_t)port);
        return sizeof ret->tcp;
    }
    if (strncmp(text, "unix:///", 8) == 0 && strlen(text + 7) < sizeof ret->local.sun_path) {
        ret->local.sun_family = AF_UNIX;
        strcpy(ret->local.sun_path, text + 7);
        return sizeof ret->local;
    }
    return 0;
}

static int listen_at(const char *text)
{
    union address address;
    socklen_t size = parse_address(text, &address);

    if (size == 0) {
        fprintf(stderr, "signer: %s: vsock://any:PORT, tcp://127.0.0.1:PORT or unix:///path is expected\n",
                text);
        return -1;
    }
    int fd = socket(address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    if (fd >= 0 && address.any.sa_family == AF_INET) {
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    } else if (address.any.sa_family == AF_UNIX) {
        unlink(address.local.sun_path); /* left over from before */
    }
    if (fd < 0 || bind(fd, &address.any, size) != 0 || listen(fd, BACKLOG) != 0) {
        fprintf(stderr, "signer: cannot listen at %s: %s\n", text, strerror(errno));
        if (fd >= 0) {
            close(fd);
        }
        return -1;
    }
    return fd;
}

int serve(const struct signer *signer, const char *address)
{
    struct listener listener = {.signer = signer, .fd = listen_at(address)};

    if (listener.fd < 0) {
        return -1;
    }
    for (int i = 1; i < THREADS; i++) {
        pthread_t thread;
        int rv = pthread_create(&thread, NULL, serve_all, &listener);
        if (rv != 0) {
            fprintf(stderr, "signer: cannot start a thread: %s\n", strerror(rv));
            exit(1); /* the threads that there are use what is on this stack */
        }
    }
    printf("signer: ready at %s\n", address);
    fflush(stdout);
    serve_all(&listener);
    return 0;
}
