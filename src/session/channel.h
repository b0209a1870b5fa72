/*
 * A channel: one end of a stream inside a session (docs/protocol.md, "Streams").
 *
 * Nothing that a stream carries is ever held here. What comes in is handed to the application as it lies in the
 * session's input, and the application says with channel_consumed() when it has got rid of it: only then may
 * the peer send more. What goes out is asked for, with the `fill` callback, when it is its turn to be written.
 *
 * Life. A channel begins with session_open() or the `open` event and is the application's until it calls
 * channel_release(), once, at any time. Release it when what stands behind the stream (a socket, a file) is really gone:
 * for a stream that the peer opened, this is what lets it open another. No event tells of a channel after its
 * release. What is not over at the release is cancelled, but for a direction that was finished.
 */
#ifndef POSTERN_SESSION_CHANNEL_H
#define POSTERN_SESSION_CHANNEL_H

#include "base/compiler.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct channel;
struct session;

void channel_release(struct channel *channel);

/* The answer to a stream that the peer opened, once the outcome is known. `code` is a reason's or one of CODE_TABLE;
 * `message` is copied and may be NULL. A refused channel still wants to be released. */
void channel_accept(struct channel *channel);
void channel_refuse(struct channel *channel, uint32_t code, const char *message, bool retryable);

/* There is something to send, or the end of it: `fill` will be asked, until it says CHANNEL_PAUSE. */
void channel_ready(struct channel *channel);

/* All was sent: the end follows what `fill` gave so far, and `fill` is asked no more. Also from within `fill`: what that one
 * returns comes before it. It waits for no credit. A release that comes after it does not cancel this direction. */
void channel_finish(struct channel *channel);

/* So many bytes of what `data` handed over are gone for good. At most what was handed over. */
void channel_consumed(struct channel *channel, size_t bytes);

/* Sends no more, and tells the peer that what it got is not all. */
void channel_reset(struct channel *channel, uint32_t code);

/* Wants no more: what is still under way is dropped, and the peer is asked to stop. */
void channel_stop(struct channel *channel, uint32_t code);

uint32_t channel_id(const struct channel *channel);
struct session *channel_session(const struct channel *channel);
void *channel_user(const struct channel *channel);
void channel_set_user(struct channel *channel, void *user);

/* Whether nothing more will be sent (the end was sent, or a reset), or come in. */
bool channel_sending_over(const struct channel *channel);
bool channel_receiving_over(const struct channel *channel);

/* Payload bytes so far, and those handed over that were not reported as consumed. */
uint64_t channel_bytes_sent(const struct channel *channel);
uint64_t channel_bytes_received(const struct channel *channel);
uint64_t channel_bytes_held(const struct channel *channel);

/* Whether it has something to send and waits for the peer to take more. */
bool channel_stalled(const struct channel *channel);

#endif
