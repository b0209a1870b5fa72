/*
 * One accepted connection, in the clear or in TLS, for a thread that waits: within a time for each step, and until the simulator
 * ends. What goes wrong is one negative errno value, and then nothing more is to be done with it but to close it.
 */
#ifndef POSTERN_SIM_WIRE_H
#define POSTERN_SIM_WIRE_H

#include "base/compiler.h"
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>

struct sim_wire {
    int fd;
    int stop;       /* readable once everything is to end; not owned */
    int timeout_ms; /* of each wait */
    SSL *tls;       /* NULL: in the clear */
    bool broken;    /* TLS is in no state to be ended well */
};

/* Takes over the socket, which does not block; with `context`, the handshake. Closed by sim_wire_close() in either case. 0 or a
 * negative errno value. */
int sim_wire_open(struct sim_wire *wire, int fd, int stop, int timeout_ms, SSL_CTX *context) MUST_CHECK;
void sim_wire_close(struct sim_wire *wire);

/* Some bytes. 0: the other side has ended; -ETIMEDOUT, -ECANCELED, or another negative errno value. */
int sim_wire_read(struct sim_wire *wire, void *data, size_t size) MUST_CHECK;

/* All of them, or -EPIPE if the end came before. 0 if the end came before the first, with *ret_some false. */
int sim_wire_read_all(struct sim_wire *wire, void *data, size_t size, bool *ret_some) MUST_CHECK;
int sim_wire_write(struct sim_wire *wire, const void *data, size_t size) MUST_CHECK;

/* Waits that long, or until the other side does something, or everything is to end. */
void sim_wire_wait(const struct sim_wire *wire, int ms);

/* Lets the other side see a connection that was cut. */
void sim_wire_cut(struct sim_wire *wire);

#endif
