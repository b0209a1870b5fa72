/* Connections of the simulator: see wire.h. */
#include "sim/wire.h"
#include "net/sock.h"

#include <errno.h>
#include <limits.h>
#include <openssl/err.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

static int await(const struct sim_wire *wire, short events)
{
    struct pollfd polled[2] = {{.fd = wire->fd, .events = events}, {.fd = wire->stop, .events = POLLIN}};
    int n = poll(polled, 2, wire->timeout_ms);

    if (n < 0) {
        return errno == EINTR ? 0 : -errno;
    }
    if (n == 0) {
        return -ETIMEDOUT;
    }
    return polled[1].revents != 0 ? -ECANCELED : 0;
}

/* What a call of OpenSSL's that returned `result` waits for. 0: try again; 1: the other side has ended. */
static int await_tls(struct sim_wire *wire, int result)
{
    switch (SSL_get_error(wire->tls, result)) {
    case SSL_ERROR_WANT_READ:
        return await(wire, POLLIN);
    case SSL_ERROR_WANT_WRITE:
        return await(wire, POLLOUT);
    case SSL_ERROR_ZERO_RETURN:
        return 1;
    default:
        wire->broken = true;
        ERR_clear_error();
        return -ECONNRESET;
    }
}

int sim_wire_open(struct sim_wire *wire, int fd, int stop, int timeout_ms, SSL_CTX *context)
{
    int rv = 0, n;

    *wire = (struct sim_wire){.fd = fd, .stop = stop, .timeout_ms = timeout_ms};
    if (!context) {
        return 0;
    }
    wire->tls = SSL_new(context);
    wire->broken = true; /* until the handshake is through */
    if (!wire->tls || SSL_set_fd(wire->tls, fd) != 1) {
        ERR_clear_error();
        return -ENOMEM;
    }
    do {
        n = SSL_accept(wire->tls);
        rv = n == 1 ? 0 : await_tls(wire, n);
    } while (n != 1 && rv == 0);
    wire->broken = n != 1;
    return rv > 0 ? -ECONNRESET : rv;
}

void sim_wire_close(struct sim_wire *wire)
{
    if (wire->tls && !wire->broken) {
        SSL_shutdown(wire->tls);
    }
    SSL_free(wire->tls);
    ERR_clear_error();
    close(wire->fd);
}

void sim_wire_cut(struct sim_wire *wire)
{
    wire->broken = true;
    sock_set_abort(wire->fd);
}

static int read_clear(struct sim_wire *wire, void *data, size_t size)
{
    for (;;) {
        ssize_t n = read(wire->fd, data, size);
        if (n >= 0) {
            return (int)n;
        }
        int rv = errno == EAGAIN ? await(wire, POLLIN) : errno == EINTR ? 0 : -errno;
        if (rv != 0) {
            return rv;
        }
    }
}

static int read_tls(struct sim_wire *wire, void *data, size_t size)
{
    for (;;) {
        int n = SSL_read(wire->tls, data, (int)size);
        if (n > 0) {
            return n;
        }
        int rv = await_tls(wire, n);
        if (rv != 0) {
            return rv > 0 ? 0 : rv;
        }
    }
}

int sim_wire_read(struct sim_wire *wire, void *data, size_t size)
{
    size = size < INT_MAX ? size : INT_MAX;
    return wire->tls ? read_tls(wire, data, size) : read_clear(wire, data, size);
}

int sim_wire_read_all(struct sim_wire *wire, void *data, size_t size, bool *ret_some)
{
    char *at = data;
    size_t done = 0;

    *ret_some = false;
    while (done < size) {
        int n = sim_wire_read(wire, at + done, size - done);
        if (n < 0) {
            return n;
        }
        if (n == 0) {
            return done == 0 ? 0 : -EPIPE;
        }
        done += (size_t)n;
        *ret_some = true;
    }
    return 0;
}

static int write_some(struct sim_wire *wire, const char *data, size_t size)
{
    if (wire->tls) {
        int n = SSL_write(wire->tls, data, size < INT_MAX ? (int)size : INT_MAX);
        if (n > 0) {
            return n;
        }
        int rv = await_tls(wire, n);
        return rv > 0 ? -EPIPE : rv;
    }
    ssize_t n = write(wire->fd, data, size < INT_MAX ? size : INT_MAX);
    if (n >= 0) {
        return (int)n;
    }
    return errno == EAGAIN ? await(wire, POLLOUT) : errno == EINTR ? 0 : -errno;
}

int sim_wire_write(struct sim_wire *wire, const void *data, size_t size)
{
    const char *at = data;

    while (size > 0) {
        int n = write_some(wire, at, size);
        if (n < 0) {
            return n;
        }
        at += n;
        size -= (size_t)n;
    }
    return 0;
}

void sim_wire_wait(const struct sim_wire *wire, int ms)
{
    struct pollfd stop = {.fd = wire->stop, .events = POLLIN};

    (void)poll(&stop, 1, ms);
}
