/* A server and the library's connection to it, `door`, for the tests of both styles: pollable.h, threads_bench.h. */
#ifndef POSTERN_TESTS_CLIENT_DOOR_H
#define POSTERN_TESTS_CLIENT_DOOR_H

#include "postern/postern.h"
#include "server.h"

extern struct server server;
extern struct postern *door;           /* NULL until connect_door() */
extern struct postern_options options; /* of the next connection */
extern struct postern_error err;       /* of the last function that failed */

/* Of a test. */
int setup(void **state);
int teardown(void **state);

struct postern_stream *open_route(const char *route);

#endif
