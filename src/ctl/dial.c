/* Blocking connections with a deadline. */
#include "ctl/dial.h"
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

uint64_t dial_now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

int dial_wait(int fd, short events, uint64_t deadline)
{
    struct pollfd wanted = {.fd = fd, .events = events};
    for (;;) {
        uint64_t now = dial_now_ms();
        int r = now < deadline ? poll(&wanted, 1, (int)(deadline - now)) : 0;
        if (r > 0) {
            return 0;
        }
        if (r == 0) {
            return -ETIMEDOUT;
        }
        if (errno != EINTR) {
            return -errno;
        }
    }
}

int dial_send(int fd, const char *data, size_t size, uint64_t deadline)
{
    while (size > 0) {
        ssize_t count = send(fd, data, size, MSG_NOSIGNAL);
        if (count >= 0) {
            data += count;
            size -= (size_t)count;
            continue;
        }
        int r = errno == EAGAIN ? dial_wait(fd, POLLOUT, deadline) : -errno;
        if (r != 0) {
            return r;
        }
    }
    return 0;
}

ssize_t dial_receive(int fd, char *data, size_t size, uint64_t deadline)
{
    for (;;) {
        ssize_t count = recv(fd, data, size, 0);
        if (count >= 0) {
            return count;
        }
        int r = errno == EAGAIN ? dial_wait(fd, POLLIN, deadline) : -errno;
        if (r != 0) {
            return r;
        }
    }
}

/* vsock over a unix socket: "CONNECT PORT\n" is answered by "OK n\n". Read byte by byte: what
 * follows is the stream. */
static int shake_hands(int fd, uint32_t port, uint64_t deadline)
{
    char line[32];
    size_t length = 0;
    int size = snprintf(line, sizeof line, "CONNECT %u\n", port);
    int r = dial_send(fd, line, (size_t)size, deadline);
    if (r != 0) {
        return r;
    }
    while (length < sizeof line) {
        ssize_t count = dial_receive(fd, &line[length], 1, deadline);
        if (count <= 0) {
            return count == 0 ? -ECONNREFUSED : (int)count;
        }
        if (line[length++] == '\n') {
            return strncmp(line, "OK ", 3) == 0 ? 0 : -EPROTO;
        }
    }
    return -EPROTO;
}

static int finish_connect(int fd, uint64_t deadline)
{
    int error = 0;
    socklen_t size = sizeof error;
    int r = dial_wait(fd, POLLOUT, deadline);
    if (r != 0) {
        return r;
    }
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0 ? -error : -errno;
}

static int connect_to(const struct sockaddr *address, socklen_t size, uint64_t deadline)
{
    int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return -errno;
    }
    int r = 0;
    if (connect(fd, address, size) != 0) {
        r = errno == EINPROGRESS ? finish_connect(fd, deadline) : -errno;
    }
    if (r != 0) {
        close(fd);
        return r;
    }
    return fd;
}

static int connect_by_name(const struct addr *addr, uint64_t deadline)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *list;
    char port[16];
    int r = -EHOSTUNREACH;
    snprintf(port, sizeof port, "%u", addr->port);
    if (getaddrinfo(addr->host, port, &hints, &list) != 0) {
        return r;
    }
    for (struct addrinfo *entry = list; entry != NULL && r < 0; entry = entry->ai_next) {
        r = connect_to(entry->ai_addr, entry->ai_addrlen, deadline);
    }
    freeaddrinfo(list);
    return r;
}

int dial_sockaddr(const struct sockaddr_any *address, uint64_t deadline)
{
    return connect_to(&address->u.base, address->length, deadline);
}

int dial_addr(const struct addr *addr, uint64_t deadline)
{
    struct sockaddr_any address;
    if (addr->kind == ADDR_TCP && !addr->literal) {
        return connect_by_name(addr, deadline);
    }
    int r = addr_to_sockaddr(addr, false, &address);
    if (r != 0) {
        return r;
    }
    int fd = dial_sockaddr(&address, deadline);
    if (fd < 0 || addr->kind != ADDR_HYBRID) {
        return fd;
    }
    r = shake_hands(fd, addr->port, deadline);
    if (r != 0) {
        close(fd);
        return r;
    }
    return fd;
}
