/* Between server.c, which has the sockets, and server_routes.c, which has what is done with streams. */
#ifndef POSTERN_TESTS_CLIENT_SERVER_PRIVATE_H
#define POSTERN_TESTS_CLIENT_SERVER_PRIVATE_H

#include "server.h"

#include <stdio.h>
#include <stdlib.h>

#define MUST(condition)                                                             \
    do {                                                                            \
        if (!(condition)) {                                                         \
            fprintf(stderr, "%s:%d: server: %s\n", __FILE__, __LINE__, #condition); \
            abort();                                                                \
        }                                                                           \
    } while (0)

extern const struct session_events server_events;

/* The peer's streams that are over, or all of them. */
void server_free_tasks(struct server_peer *peer, bool all);

#endif
