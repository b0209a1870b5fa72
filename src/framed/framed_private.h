/*
 * What session_io.c and channel_stream.c share.
 */
#ifndef POSTERN_FRAMED_FRAMED_PRIVATE_H
#define POSTERN_FRAMED_FRAMED_PRIVATE_H

#include "framed/channel_stream.h"

/* What of a payload is worth the system calls of going past the session (measured: docs/performance.md); and the reads that then look out
 * for the next, since there may be a small frame before it. */
#define PASS_MIN   16384u
#define LEAN_READS 2u

/* session_io.c */

/* Something was done for a stream: after many in a turn the session's input waits for the next. */
void session_io_act(struct session_io *io);

/* Has the session write what it has to say, soon. */
void session_io_wake(struct session_io *io);

/* The same, and in any state the streams in `again` have their turn. */
void session_io_again(struct session_io *io);

/* One stream less. */
void session_io_leave(struct session_io *io);

/* channel_stream.c: the session's events about channels. */
void channel_stream_on_data(struct channel *channel, const uint8_t *bytes, size_t length);
void channel_stream_on_fin(struct channel *channel);
void channel_stream_on_reset(struct channel *channel, uint32_t code);
void channel_stream_on_stopped(struct channel *channel, uint32_t code);
void channel_stream_on_failed(struct channel *channel, uint32_t code, bool retryable);
size_t channel_stream_on_fill(struct channel *channel, uint8_t *buffer, size_t size, enum channel_more *more);

/* Tells the streams in `due` what came for them. After it nothing refers to the session's input. */
void channel_stream_run_due(struct session_io *io);

/* Whether what is left of a payload is to go past the session: much, or a little of a stream that has more on its way so. */
bool channel_stream_passes(const struct session_io *io, const struct channel *channel, size_t left);

/* Moves bytes of it that are in the socket into the stream's pipe, and returns how many. 0: the stream has to be told first of those that
 * are there, or they have to be read. */
size_t channel_stream_pass(struct session_io *io, struct channel *channel, size_t left);

/* Those that asked to be told again are due. */
void channel_stream_next_turn(struct session_io *io);

#endif
