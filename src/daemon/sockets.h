/*
 * The listening sockets of a configuration: kept from the one before where the address is the same, else
 * handed over by systemd, else bound. A set is complete before anything else changes, so that a reload
 * that cannot bind leaves everything as it was. Of TCP port 0, where several listeners have one address and a port each, it is the
 * one of the same name that is kept.
 *
 * The descriptors belong to the doors once those are open; a set only knows them. Main thread only.
 */
#ifndef POSTERN_DAEMON_SOCKETS_H
#define POSTERN_DAEMON_SOCKETS_H

#include "base/compiler.h"
#include "base/error.h"
#include "config/config.h"
#include "daemon/notify.h"
#include "net/sock_file.h"
#include <stdbool.h>

struct bound_socket {
    char name[CONFIG_NAME_MAX + 1]; /* of its listener; "" outside of a set */
    struct addr at;
    int fd;
    struct sock_file file; /* of a unix socket that this process bound */
    bool inherited;        /* from systemd */
    bool kept;             /* from the set before */
    unsigned worker;       /* whose door it is */
};

/* By listener id. */
struct socket_set {
    struct bound_socket *sockets;
    unsigned count;
};

/* Makes the set for `config`. Returns 0, or a negative errno value with everything new closed again. */
int socket_set_prepare(struct socket_set *set, const struct socket_set *before, const struct config *config,
                       struct activation *activation, struct error *err) MUST_CHECK;

/* Closes what is new in a set that is not put in force after all, and frees it. */
void socket_set_abandon(struct socket_set *set);

/* The socket of `set` with that descriptor; NULL: none. */
const struct bound_socket *socket_set_find(const struct socket_set *set, int fd);

/* Frees the set, not the descriptors. */
void socket_set_release(struct socket_set *set);

/* Gives the file of a unix socket that this process bound these permissions. Returns 0 or a negative
 * errno value; -ENOENT: it is there no more. */
int bound_socket_set_mode(const struct bound_socket *socket, unsigned mode) MUST_CHECK;

/* Sets on a socket that stays what its connections inherit: the next ones have it from then on. */
void bound_socket_tune(const struct bound_socket *socket, const struct config *config);

/* Gives it to that group. */
int bound_socket_set_group(const struct bound_socket *socket, gid_t group) MUST_CHECK;

/* Removes the file of a unix socket that this process bound and has closed, unless another is in its place. */
void bound_socket_unlink(const struct bound_socket *socket);

/* One socket for a given name and address: systemd's, or bound. Returns 0 or a negative errno value. */
int bound_socket_open(struct bound_socket *socket, const char *name, const struct addr *at, unsigned mode,
                      const struct config *config, struct activation *activation,
                      struct error *err) MUST_CHECK;

#endif
