/*
 * What the tests of the pollable style share: a connection and its server, in one thread, turned by hand.
 *
 *     connect_door();
 *     stream = open_route("echo");
 *     send_all(stream, "hello", 5);
 *     TURN_UNTIL(postern_wait_opened(stream, 0, NULL) == 0);
 */
#ifndef POSTERN_TESTS_CLIENT_POLLABLE_H
#define POSTERN_TESTS_CLIENT_POLLABLE_H

#include "client/clock.h"
#include "postern/postern.h"
#include "server.h"

#define LIMIT_MS 20000

extern struct server server;
extern struct postern *door;
extern struct postern_options options; /* of the next connection */
extern struct postern_error err;       /* of the last function that failed */

int pollable_setup(void **state);
int pollable_teardown(void **state);

void start_door(void);
void connect_door(void); /* the same, and waits for the server */

/* What there is to be done on both sides; at most a millisecond of waiting. */
void turn(void);

#define TURN_UNTIL(condition)                               \
    do {                                                    \
        uint64_t limit = clock_ms() + LIMIT_MS;             \
        while (!(condition)) {                              \
            if (clock_ms() > limit)                         \
                fail_msg("did not come true: " #condition); \
            turn();                                         \
        }                                                   \
    } while (0)

struct postern_stream *open_route(const char *route);
void send_all(struct postern_stream *stream, const void *data, size_t size);

/* What postern_read() says when it no longer says -EAGAIN. */
ssize_t read_some(struct postern_stream *stream, void *buffer, size_t size);

/* To the end, which has to be a good one. */
size_t read_all(struct postern_stream *stream, char *buffer, size_t size);

#endif
