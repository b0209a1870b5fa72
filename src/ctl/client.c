/* One request to the admin socket. */
#include "ctl/client.h"
#include "http/message.h"
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

unsigned client_time_ms = 15000;

static uint64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* Returns 0 when `events` are there, or a negative errno value. */
static int wait_for(int fd, short events, uint64_t deadline)
{
    struct pollfd wanted = {.fd = fd, .events = events};
    for (;;) {
        uint64_t now = now_ms();
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

static int send_all(int fd, const char *data, size_t size, uint64_t deadline)
{
    while (size > 0) {
        ssize_t count = send(fd, data, size, MSG_NOSIGNAL);
        if (count >= 0) {
            data += count;
            size -= (size_t)count;
            continue;
        }
        int r = errno == EAGAIN ? wait_for(fd, POLLOUT, deadline) : -errno;
        if (r != 0) {
            return r;
        }
    }
    return 0;
}

/* Returns the number of bytes, 0 at the end, or a negative errno value. */
static ssize_t receive(int fd, char *data, size_t size, uint64_t deadline)
{
    for (;;) {
        ssize_t count = recv(fd, data, size, 0);
        if (count >= 0) {
            return count;
        }
        int r = errno == EAGAIN ? wait_for(fd, POLLIN, deadline) : -errno;
        if (r != 0) {
            return r;
        }
    }
}

/* vsock over a unix socket: "CONNECT PORT\n" is answered by "OK n\n". Read byte by byte: what follows is the stream. */
static int shake_hands(int fd, uint32_t port, uint64_t deadline)
{
    char line[32];
    size_t length = 0;
    int size = snprintf(line, sizeof line, "CONNECT %u\n", port);
    int r = send_all(fd, line, (size_t)size, deadline);
    if (r != 0) {
        return r;
    }
    while (length < sizeof line) {
        ssize_t count = receive(fd, &line[length], 1, deadline);
        if (count <= 0) {
            return count == 0 ? -ECONNREFUSED : (int)count;
        }
        if (line[length++] == '\n') {
            return strncmp(line, "OK ", 3) == 0 ? 0 : -ECONNREFUSED;
        }
    }
    return -EPROTO;
}

static int finish_connect(int fd, uint64_t deadline)
{
    int error = 0;
    socklen_t size = sizeof error;
    int r = wait_for(fd, POLLOUT, deadline);
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

int client_connect(const struct addr *addr, unsigned deadline_ms)
{
    struct sockaddr_any address;
    uint64_t deadline = now_ms() + deadline_ms;
    if (addr->kind == ADDR_TCP && !addr->literal) {
        return connect_by_name(addr, deadline);
    }
    int r = addr_to_sockaddr(addr, false, &address);
    if (r != 0) {
        return r;
    }
    int fd = connect_to(&address.u.base, address.length, deadline);
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

static int send_request(int fd, const char *method, const char *target, uint64_t deadline)
{
    char request[512];
    int size = snprintf(request, sizeof request,
                        "%s %s HTTP/1.1\r\nHost: postern\r\nUser-Agent: posternctl/" POSTERN_VERSION
                        "\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
                        method, target);
    if ((size_t)size >= sizeof request) {
        return -EMSGSIZE;
    }
    return send_all(fd, request, (size_t)size, deadline);
}

static int read_answer(int fd, struct http_message *message, uint64_t deadline)
{
    char data[16384];
    for (;;) {
        ssize_t count = receive(fd, data, sizeof data, deadline);
        if (count < 0) {
            return (int)count;
        }
        int r = count == 0 ? http_message_finish(message) : http_message_feed(message, data, (size_t)count);
        if (r != 0) {
            return r > 0 ? 0 : r;
        }
    }
}

static int exchange(int fd, const char *method, const char *target, struct client_answer *ret)
{
    struct http_message message;
    uint64_t deadline = now_ms() + client_time_ms;
    int r = send_request(fd, method, target, deadline);
    if (r != 0) {
        return r;
    }
    http_message_init(&message, HTTP_MESSAGE_RESPONSE, 16384, CLIENT_ANSWER_MAX);
    r = read_answer(fd, &message, deadline);
    if (r == 0) {
        ret->status = message.status;
        ret->body = message.body;
        text_init(&message.body, 0); /* given away */
    }
    http_message_release(&message);
    return r;
}

static int tell_connect_failed(int r, const char *address, struct error *err)
{
    switch (r) {
    case -ENOENT:
        return error_set(err, r,
                         "cannot reach the daemon at %s: there is no such socket, so it does not run, or its "
                         "`admin.listen` is another; try `systemctl status postern` or `posternctl doctor`",
                         address);
    case -ECONNREFUSED:
        return error_set(
            err, r,
            "cannot reach the daemon at %s: nobody listens there any more; try `systemctl status "
            "postern` or `posternctl doctor`",
            address);
    case -EACCES:
    case -EPERM:
        return error_set(
            err, r,
            "may not use the admin socket %s: only root and members of the group postern may; use "
            "sudo, or `sudo usermod -aG postern $USER` and log in again",
            address);
    default:
        return error_errno(err, r, "cannot reach the daemon at %s", address);
    }
}

static int tell_exchange_failed(int r, const char *address, const char *target, struct error *err)
{
    switch (r) {
    case -ETIMEDOUT:
        return error_set(err, r,
                         "the daemon at %s did not answer %s within %u s: it hangs; its log and `posternctl "
                         "doctor` may say why",
                         address, target, client_time_ms / 1000);
    case -EBADMSG:
    case -EMSGSIZE:
        return error_set(err, r, "what listens at %s does not answer %s as a daemon would: is it posternd?",
                         address, target);
    default:
        return error_errno(err, r, "asking the daemon at %s for %s", address, target);
    }
}

int client_ask(const char *address, const char *method, const char *target, struct client_answer *ret,
               struct error *err)
{
    struct addr addr;
    *ret = (struct client_answer){.status = 0};
    text_init(&ret->body, 0);
    int r = addr_parse(address, &addr, err);
    if (r != 0) {
        error_prefix(err, "the admin socket's address \"%s\"", address);
        return r;
    }
    int fd = client_connect(&addr, client_time_ms);
    if (fd < 0) {
        return tell_connect_failed(fd, address, err);
    }
    r = exchange(fd, method, target, ret);
    close(fd);
    return r == 0 ? 0 : tell_exchange_failed(r, address, target, err);
}
