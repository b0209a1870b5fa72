/*
 * Bytes to somewhere and back: see wire.h.
 *
 * A socket is connected as the client connects to the daemon (net/attempt.h). It is never blocking, and poll() waits.
 */
#include "kms/wire.h"

#include "kms/clock.h"
#include "net/attempt.h"
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Some kernels corrupt what is larger on vsock. */
#define WRITE_MAX ((size_t)31 * 1024)

const char *kms_place_name(const struct kms_place *place, char buffer[ADDR_TEXT_MAX])
{
    if (!place->door) {
        return addr_format(&place->addr, buffer);
    }
    snprintf(buffer, ADDR_TEXT_MAX, "route %s", place->route);
    return buffer;
}

static int fail(struct kms_wire *wire, int status, const char *what)
{
    wire->trouble.status = status == -ENOMEM || status == -ETIMEDOUT ? status : -ENOTCONN;
    error_errno(&wire->trouble.why, status, "%s", what);
    return wire->trouble.status;
}

/* ---- A stream ---- */

static int fail_stream(struct kms_wire *wire, int status, const struct postern_error *why, const char *what)
{
    if (status == -EAGAIN || status == -ETIMEDOUT) {
        return fail(wire, -ETIMEDOUT, what);
    }
    wire->trouble.status = status == -ENOMEM ? status : -ENOTCONN;
    wire->trouble.code = why->code;
    wire->trouble.retryable = why->retryable;
    return error_set(&wire->trouble.why, wire->trouble.status, "%s", why->message);
}

static int open_stream(struct kms_wire *wire, const struct kms_place *to)
{
    struct postern_open_options options;
    struct postern_error why;
    int left = kms_left_ms(wire->deadline);

    postern_open_options_init(&options);
    options.timeout_ms = left > 0 ? (uint32_t)left : 1;
    int status = postern_open(to->door, to->route, &options, &wire->stream, &why);
    return status == 0 ? 0 : fail_stream(wire, status, &why, "opening a stream");
}

static ssize_t read_stream(struct kms_wire *wire, void *buffer, size_t size)
{
    struct postern_error why;
    int left = wire->looking ? 0 : kms_left_ms(wire->deadline);
    ssize_t n = postern_read(wire->stream, buffer, size, left, &why);

    if (wire->looking && n == -EAGAIN) {
        return n;
    }
    return n < 0 ? fail_stream(wire, (int)n, &why, "reading the answer") : n;
}

static int write_stream(struct kms_wire *wire, const char *data, size_t size)
{
    struct postern_error why;

    while (size > 0) {
        ssize_t n = postern_write(wire->stream, data, size, kms_left_ms(wire->deadline), &why);
        if (n < 0) {
            return fail_stream(wire, (int)n, &why, "sending the request");
        }
        wire->sent += (uint64_t)n;
        data += n;
        size -= (size_t)n;
    }
    return 0;
}

/* ---- A socket ---- */

static int wait_for(int fd, short events, uint64_t deadline)
{
    struct pollfd one = {.fd = fd, .events = events};
    int n;

    do {
        n = poll(&one, 1, kms_left_ms(deadline));
    } while (n < 0 && errno == EINTR);
    if (n < 0) {
        return -errno;
    }
    return n > 0 ? 0 : -ETIMEDOUT;
}

/* A name's look-up has no bound; the connecting has. */
static int open_socket(struct kms_wire *wire, const struct addr *addr)
{
    static const char hint[] = "is something listening there that leads to the service?";
    struct error *err = &wire->trouble.why;
    struct attempt attempt;
    char text[ADDR_TEXT_MAX];
    int status = attempt_begin(&attempt, addr, (uint32_t)kms_left_ms(wire->deadline) + 1, hint, err);

    while (status == -EAGAIN) {
        status = wait_for(attempt_fd(&attempt), attempt_wants(&attempt), wire->deadline);
        status = status == 0 ? attempt_step(&attempt, err)
                             : error_errno(err, status, "cannot connect to %s", addr_format(addr, text));
    }
    wire->fd = status == 0 ? attempt_take(&attempt) : -1;
    attempt_end(&attempt);
    wire->trouble.status = status == 0 || status == -ENOMEM || status == -ETIMEDOUT ? status : -ENOTCONN;
    return wire->trouble.status;
}

static ssize_t read_socket(struct kms_wire *wire, void *buffer, size_t size)
{
    for (;;) {
        ssize_t n = recv(wire->fd, buffer, size, 0);
        if (n >= 0) {
            return n;
        }
        if (wire->looking && errno == EAGAIN) {
            return -EAGAIN;
        }
        int status = errno == EAGAIN || errno == EINTR ? wait_for(wire->fd, POLLIN, wire->deadline) : -errno;
        if (status != 0) {
            return fail(wire, status, "reading the answer");
        }
    }
}

static int write_socket(struct kms_wire *wire, const char *data, size_t size)
{
    while (size > 0) {
        ssize_t n = send(wire->fd, data, size < WRITE_MAX ? size : WRITE_MAX, MSG_NOSIGNAL);
        if (n < 0) {
            int status =
                errno == EAGAIN || errno == EINTR ? wait_for(wire->fd, POLLOUT, wire->deadline) : -errno;
            if (status != 0) {
                return fail(wire, status, "sending the request");
            }
            continue;
        }
        wire->sent += (uint64_t)n;
        data += n;
        size -= (size_t)n;
    }
    return 0;
}

/* ---- Both ---- */

int kms_wire_open(struct kms_wire *ret, const struct kms_place *to, uint64_t deadline)
{
    *ret = (struct kms_wire){.fd = -1, .deadline = deadline};
    return to->door ? open_stream(ret, to) : open_socket(ret, &to->addr);
}

void kms_wire_close(struct kms_wire *wire, bool polite)
{
    if (wire->stream && polite) {
        (void)postern_finish(wire->stream, NULL);
    }
    postern_close(wire->stream);
    if (wire->fd >= 0) {
        close(wire->fd);
    }
    wire->stream = NULL;
    wire->fd = -1;
}

ssize_t kms_wire_read(struct kms_wire *wire, void *buffer, size_t size)
{
    if (wire->trouble.status != 0) {
        return wire->trouble.status;
    }
    ssize_t n = wire->stream ? read_stream(wire, buffer, size) : read_socket(wire, buffer, size);
    wire->ended = n == 0;
    return n;
}

int kms_wire_write(struct kms_wire *wire, const void *data, size_t size)
{
    if (wire->trouble.status != 0) {
        return wire->trouble.status;
    }
    if (!wire->stream) {
        return write_socket(wire, data, size);
    }
    return write_stream(wire, data, size);
}
