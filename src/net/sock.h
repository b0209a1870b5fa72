/*
 * Sockets of every family an address can name, and the traps of each. No loop: every call returns at
 * once. Descriptors are non-blocking and close-on-exec.
 */
#ifndef POSTERN_NET_SOCK_H
#define POSTERN_NET_SOCK_H

#include "base/compiler.h"
#include "base/error.h"
#include "net/addr.h"
#include <stdbool.h>
#include <stdint.h>

struct sock_options {
    uint64_t vsock_buffer_size;  /* 0: the kernel's default */
    uint64_t connect_timeout_ms; /* vsock: the kernel's own limit is 2 s unless told otherwise */
    unsigned unix_mode;          /* of a listening socket's file */
};

/*
 * Makes a listening socket. Options that the kernel hands down to accepted sockets are set here, once:
 * TCP_NODELAY, urgent data in line, the vsock buffer sizes. A unix socket file that nobody answers at is replaced; one that
 * somebody answers at is -EADDRINUSE, like a port. Returns the descriptor or a negative errno value.
 */
int sock_listen(const struct addr *addr, const struct sock_options *options, struct error *err) MUST_CHECK;

/* Whether there is a file in the place of a unix or hybrid address that never was a socket: nobody holds it, and it is not ours to remove. */
bool sock_is_other_file(const struct addr *addr);

/* Sets these options on a listening socket that somebody else made. */
void sock_adopt_listener(int fd, const struct sock_options *options);

/* Takes one connection. Returns the descriptor, or a negative errno value (-EAGAIN: none waits). */
int sock_accept(int listener, struct sockaddr_any *ret_peer) MUST_CHECK;

/*
 * Starts connecting. Returns the descriptor, and in *ret_pending whether the outcome is still open: then
 * wait for it to be writable and ask sock_outcome(). Or a negative errno value. A vsock CID that no
 * transport of the host reaches is tried once more by way of the parent (VMADDR_FLAG_TO_HOST): a machine
 * with vhost_vsock loaded would otherwise look for the CID among its own guests.
 */
int sock_connect(const struct sockaddr_any *to, const struct sock_options *options,
                 bool *ret_pending) MUST_CHECK;

/* How a pending connect ended: 0 or a negative errno value. */
int sock_outcome(int fd) MUST_CHECK;

/* Makes the close that follows tell the peer that the stream was cut, where the family can (TCP: a reset). */
void sock_set_abort(int fd);

/* What an errno value of connect() means on that kind of address: on vsock, a refusal looks like a reset. */
const char *sock_connect_words(enum addr_kind kind, int code);

/* The kind of address a socket address is one of; ADDR_NONE for other families. */
enum addr_kind sock_kind(const struct sockaddr_any *sockaddr);

/* The CID of a vsock peer. */
uint32_t sock_peer_cid(const struct sockaddr_any *peer);

#endif
