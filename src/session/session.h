/*
 * The framed protocol (docs/protocol.md), either side of it, without a loop, a socket or a clock.
 *
 *     bytes that came ----> session_receive() ----> events
 *     bytes to write  <---- session_send()    <---- channel_*() and `fill`
 *     time            ----> session_tick(), when session_next_deadline() has come
 *
 * Rules for the caller:
 * - Time is in milliseconds, from any beginning, and never goes back. Functions without `now` use the latest one that was
 *   told, so call session_set_now() first where some time may have passed.
 * - After anything was called, ask session_has_output(), and write what session_send() gives; the order of its bytes is
 *   the order of the wire.
 * - Always read. Credit is what bounds memory, not a connection that is left unread.
 * - Events come from within session_receive(), session_receive_end(), session_send(), session_send_pieces() and session_tick(), and
 *   from nowhere else. An event may call anything of this header and of channel.h but these five and session_free(). No event
 *   comes from within another.
 * - When session_is_over(), write what session_send() still gives, shut the connection down for writing, read it to its
 *   end within some seconds, and close it.
 *
 * Memory: the session itself (about 5 KiB), and for each stream a channel (under 200 bytes). What the application may
 * be handed and not yet have consumed never exceeds `budget`, whatever the peer does.
 */
#ifndef POSTERN_SESSION_SESSION_H
#define POSTERN_SESSION_SESSION_H

#include "base/error.h"
#include "session/channel.h"
#include "session/codes.h"
#include "session/control.h"
#include "session/limit.h"

#include <sys/uio.h>

#define SESSION_VERSION 1u
#define SESSION_SEND_MIN \
    4608u /* session_send() needs this much room: a control frame and what may stand before it */
#define SESSION_NEVER UINT64_MAX

enum session_role { SESSION_CLIENT, SESSION_SERVER };

struct session_config {
    enum session_role role;
    uint32_t version_min, version_max;
    uint32_t max_payload;     /* of a DATA frame we take */
    uint32_t max_streams;     /* opened by the peer, not yet released by us */
    uint32_t max_own_streams; /* opened by us, not yet released by us */
    uint32_t max_kind; /* the highest kind that `open` is told of; others are refused with UNSUPPORTED */
    uint64_t budget;   /* bytes handed over and not yet consumed, of all streams: the hard bound */
    uint32_t handshake_timeout, frame_timeout, open_timeout, stop_timeout; /* ms */
    uint32_t progress_timeout, half_closed_timeout;                        /* ms; 0: none */
    uint32_t ping_interval, pong_timeout;                                  /* ms */
    struct limit_rate opens, resets, pings, noise;
    uint32_t hash_seed; /* random, so that no peer can choose its streams to collide */
    const char *build;  /* told to the peer for its log; NULL: nothing. Not owned */
};

/* Why a session is over. */
struct session_end {
    uint32_t code;    /* CODE_NO_ERROR: both sides were done */
    bool by_peer;     /* it was the peer's GOAWAY that said so */
    const char *text; /* what is known, "" if nothing; the session's */
};

enum channel_more {
    CHANNEL_MORE,  /* there may be more: ask again at the next turn */
    CHANNEL_PAUSE, /* nothing more for now: channel_ready() will say when */
    CHANNEL_FIN,   /* these were the last bytes */
};

/* Each may be NULL, but for `open` where the peer may open streams, `data`, and `fill`. */
struct session_events {
    /* Both HELLOs are there: streams may be opened. */
    void (*ready)(struct session *session, const struct control_hello *peer);

    /* The peer opened a stream. Answer with channel_accept() or channel_refuse(), now or later. `open` lives as long as
     * the event. */
    void (*open)(struct channel *channel, const struct control_open *open);

    /* The peer's answer to ours. After `refused` no other event comes. */
    void (*opened)(struct channel *channel);
    void (*refused)(struct channel *channel, const struct control_refused *refused);

    /* Bytes came; they lie in the caller's input. Keep what cannot be dealt with at once. */
    void (*data)(struct channel *channel, const uint8_t *bytes, size_t length);
    void (*fin)(struct channel *channel); /* all of them came */

    /* The peer sends no more, and what came is not all. */
    void (*reset)(struct channel *channel, uint32_t code);

    /* The peer wants no more; it was told that we stopped. */
    void (*stopped)(struct channel *channel, uint32_t code);

    /* Both directions are over, from our side: a timer, or the end of the session. `retryable`: the peer never
     * saw the stream. No other event comes. */
    void (*failed)(struct channel *channel, uint32_t code, bool retryable);

    /* Puts up to `size` bytes into `buffer`, returns how many and says in `*more` what follows. Without bytes, MORE is
     * taken as PAUSE. May reset the channel, or release one that it has not finished: then what it returns is not sent;
     * channel_ready() from within has no effect, since what is returned counts. */
    size_t (*fill)(struct channel *channel, uint8_t *buffer, size_t size, enum channel_more *more);

    /* The same for session_send_pieces(), which asks it first: bytes that lie still until those pieces are written, or copied, and are
     * written from where they are. 0: there are none, `fill` is asked. Resets and releases nothing. */
    size_t (*lend)(struct channel *channel, const void **bytes, size_t size, enum channel_more *more);

    /* session_open() may succeed again. */
    void (*streams)(struct session *session);

    /* The peer will end the session: nothing new can be opened. */
    void (*going_away)(struct session *session, const struct control_goaway *goaway);

    void (*pong)(struct session *session, uint64_t rtt_ms);

    /* Comes once, after `failed` for each channel that was left. */
    void (*ended)(struct session *session, const struct session_end *end);
};

void session_config_default(struct session_config *config, enum session_role role);

/* 0, or -EINVAL with a text. */
int session_config_check(const struct session_config *config, struct error *err) MUST_CHECK;

/* `config` is copied, `events` is kept. NULL: out of memory, or a config that session_config_check() refuses. */
struct session *session_new(const struct session_config *config, const struct session_events *events,
                            void *user, uint64_t now);

/* Frees it with all its channels, released or not, without an event. NULL is let pass. */
void session_free(struct session *session);

void *session_user(const struct session *session);

/* Returns how much it took: all, unless an event said that this is enough for now. Give it the rest later. */
size_t session_receive(struct session *session, uint64_t now, const void *bytes, size_t length);
void session_yield(struct session *session);

/* What is left of the payload of a DATA frame that has begun, and of which channel, where `data` would be told of it next: then its bytes may
 * go from the connection to where they lead past the session, which is told how many went, by session_skip(). They count as handed
 * over. 0 otherwise, and for a frame that is its stream's last. */
size_t session_expects(const struct session *session, struct channel **ret);
void session_skip(struct session *session, uint64_t now, size_t length);

void session_receive_end(struct session *session,
                         uint64_t now); /* the peer sends no more bytes: EOF, or an error */

bool session_has_output(const struct session *session);

/* Fills `buffer` (at least SESSION_SEND_MIN bytes) with what is to be written; returns how much that is. */
size_t session_send(struct session *session, uint64_t now, void *buffer, size_t size) MUST_CHECK;

/* The same, in `*count` pieces at most, which are told in the order of the wire: of `buffer`, and between those what was lent. `size` bounds
 * all of it. */
size_t session_send_pieces(struct session *session, uint64_t now, void *buffer, size_t size,
                           struct iovec *pieces, size_t *count) MUST_CHECK;

uint64_t session_next_deadline(const struct session *session); /* SESSION_NEVER: there is none */
void session_tick(struct session *session, uint64_t now);
void session_set_now(struct session *session, uint64_t now);

/* Opens a stream. 0; -EAGAIN: the peer has not allowed another one yet, or `max_own_streams` are there (`streams` will
 * tell); -ESHUTDOWN: this session opens no more, make a new one; -EINVAL: the request is not one that can be
 * sent; -ENOMEM. `open` is copied. */
int session_open(struct session *session, const struct control_open *open, void *user,
                 struct channel **ret) MUST_CHECK;

/* Sends a PING; false if one is under way, or the session does not run. */
bool session_ping(struct session *session);

/* Opens and takes no more streams, lets those there are finish, then ends; after `deadline_ms` (0: never) it is ended all
 * the same. Calling it again may only shorten the deadline. */
void session_drain(struct session *session, uint32_t deadline_ms);

/* Ends it now. */
void session_abort(struct session *session, enum code code, const char *text);

/* It takes no more input, and no event comes any more; the last output may still be there. */
bool session_is_over(const struct session *session);

struct session_stats {
    size_t channels;                        /* not yet released, or not yet over */
    uint64_t opened, accepted;              /* streams, by us and by the peer */
    uint64_t bytes_sent, bytes_received;    /* payload of DATA */
    uint64_t held;                          /* handed over and not consumed */
    uint64_t stream_stalls, session_stalls; /* times that sending had to wait for credit */
    uint64_t unsupported;                   /* streams of the peer that were refused for their kind */
    uint64_t rtt_ms;                        /* the latest; 0 before the first */
};

void session_stats(const struct session *session, struct session_stats *ret);

#endif
