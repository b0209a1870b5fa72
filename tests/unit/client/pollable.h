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

#include "door.h"
#include "turn_until.h"

#define LIMIT_MS 20000

void start_door(void);
void connect_door(void); /* the same, and waits for the server */

/* What there is to be done on both sides; at most a millisecond of waiting. */
void turn(void);

void send_all(struct postern_stream *stream, const void *data, size_t size);

/* What postern_read() says when it no longer says -EAGAIN. */
ssize_t read_some(struct postern_stream *stream, void *buffer, size_t size);

/* To the end, which has to be a good one. */
size_t read_all(struct postern_stream *stream, char *buffer, size_t size);

#endif
