/*
 * A session under test, spoken to by hand: frames go in as bytes, what it says comes out as words, and its events are a text.
 *
 *     peer_start(&peer, SESSION_SERVER);
 *     put_open(&peer, 1, "kms");
 *     assert_events(&peer, "open(1,kms)");
 *     channel_accept(peer_channel(&peer, 1));
 *     assert_said(&peer, "OPENED(1)");
 */
#ifndef POSTERN_TESTS_PEER_H
#define POSTERN_TESTS_PEER_H

#include "session/session_private.h"

#define PEER_TEXT_MAX 4000
#define PEER_CHANNELS 400

extern const uint8_t peer_lent[65536];

/* What a channel's application does. */
struct peer_channel {
    struct channel *channel;
    uint64_t to_send; /* bytes that `fill` still gives */
    bool fin;         /* after them */
    bool more;        /* `fill` says MORE though it has no more */
    bool lends;       /* peer_lent, where it is asked for */
};

struct peer {
    struct session_config config;
    struct session *session;
    uint64_t now;
    struct peer_channel channels[PEER_CHANNELS];
    bool consume; /* what comes is consumed at once */
    void (*in_event)(struct peer *peer, struct channel *channel, const char *event); /* may meddle */
    char events[PEER_TEXT_MAX];
    char said[PEER_TEXT_MAX];
    char goaway[400]; /* the last that was said */
    size_t out_bytes, events_count, held_most;
    size_t send_size; /* room given to session_send() */
};

/* The events that a peer listens to. */
extern const struct session_events peer_events;

void peer_config(struct peer *peer, enum session_role role); /* small, round limits */
void peer_new(struct peer *peer);                            /* nothing said yet */
void peer_start(struct peer *peer,
                enum session_role role); /* handshake done, first PING answered, all forgotten */
void peer_stop(struct peer *peer);

struct channel *peer_channel(struct peer *peer, uint32_t id);
struct peer_channel *peer_place(struct peer *peer, uint32_t id);
void peer_send(struct peer *peer, uint32_t id, uint64_t bytes, bool fin); /* has it ready to be said */
void peer_release(struct peer *peer, uint32_t id);
struct channel *peer_open(struct peer *peer, const char *route); /* by the session under test */

/* Bytes and frames to it. */
void put_bytes(struct peer *peer, const void *bytes, size_t length);
void put_frame(struct peer *peer, uint8_t type, uint8_t flags, uint32_t stream, const void *payload,
               size_t length);
void put_preface(struct peer *peer);
void put_hello(struct peer *peer); /* of the other role, with ample limits */
void put_open(struct peer *peer, uint32_t id, const char *route);
void put_opened(struct peer *peer, uint32_t id);
void put_refused(struct peer *peer, uint32_t id, uint32_t code);
void put_data(struct peer *peer, uint32_t id, size_t length, bool fin);
void put_reset(struct peer *peer, uint32_t id, uint32_t code, uint64_t size);
void put_stop(struct peer *peer, uint32_t id, uint32_t code);
void put_u32(struct peer *peer, uint8_t type, uint32_t stream, uint32_t value);
void put_u64(struct peer *peer, uint8_t type, uint32_t stream, uint64_t value);
void put_goaway(struct peer *peer, uint32_t last, uint32_t code, const char *message);
void put_pong(struct peer *peer); /* to the PING under way */
void put_end(struct peer *peer);

/* Time passes, deadline by deadline; PINGs are answered if `alive`. */
void peer_wait(struct peer *peer, uint64_t ms, bool alive);

/* All that it has to say, as words: "PONG DATA(1,5) DATA(1,0,fin)". */
const char *peer_said(struct peer *peer);

void assert_said_at(struct peer *peer, const char *expected, const char *file, int line);
void assert_events_at(struct peer *peer, const char *expected, const char *file, int line);
#define assert_said(peer, expected)   assert_said_at(peer, expected, __FILE__, __LINE__)
#define assert_events(peer, expected) assert_events_at(peer, expected, __FILE__, __LINE__)

/* The two halves of the conversation that docs/protocol.md shows. */
struct transcript {
    uint8_t bytes[2][4096];
    size_t length[2];
};

void transcript_make(struct transcript *transcript);
void transcript_print(const struct transcript *transcript); /* as it stands in the document */

#endif
