/*
 * A local address that leads to a route: the listening socket of `postern listen`.
 *
 * Connections are taken a bounded number a turn. Out of descriptors, a spare one is given up for a moment to take the connection
 * and cut it, so that the program behind it is told now and not when others have gone; after any other failure, and
 * while door_hold() is in force, connections wait in the backlog.
 */
#ifndef POSTERN_CLI_DOOR_H
#define POSTERN_CLI_DOOR_H

#include "cli/loop.h"
#include "net/addr.h"
#include "net/sock_file.h"

struct door;

struct door_ops {
    /* `fd` is the callee's, non-blocking. The door may be held or closed from inside. */
    void (*entered)(struct door *door, int fd);
    /* accept() failed with that negative errno value; `shed` connections were cut for want of descriptors. */
    void (*failed)(struct door *door, int status, unsigned shed);
};

struct door {
    const struct door_ops *ops;
    struct cli_loop *loop;
    struct cli_watch watch;
    struct cli_timer pause;
    struct addr at;
    const char *route; /* not owned */
    void *user;
    int fd, spare_fd;      /* -1: none */
    struct sock_file file; /* of a unix socket */
    bool held;
};

/* Reads "LOCAL=ROUTE" of a command line, where the route is what follows the last '='. `route` points into it. */
int door_parse(const char *text, struct addr *ret_at, const char **ret_route, struct error *err) MUST_CHECK;

/* Begins to listen. `unix_mode` is of a unix socket's file. On failure there is nothing to close. */
int door_open(struct door *door, struct cli_loop *loop, const struct addr *at, const char *route,
              unsigned unix_mode, const struct door_ops *ops, void *user, struct error *err) MUST_CHECK;

/* And removes a unix socket's file, if it is still this one's. Harmless when closed. */
void door_close(struct door *door);

/* While held, nobody is let in. */
void door_hold(struct door *door, bool held);

#endif
