/*
 * The other side of a session under test: a client made of the session core, over a non-blocking socket, that moves only when
 * it is told to.
 *
 *     framed_client_init(&client, fd);
 *     struct framed_stream *stream = framed_client_open(&client, "kms");
 *     framed_say(stream, 1000);
 *     WAIT_FOR(&loopback, framed_client_turn(&client)->streams[0].heard == 1000);
 *
 * What a stream sends counts up byte by byte, and what it hears must do the same (see loopback.h). In a program that
 * fails calls on purpose, this side's do not fail.
 */
#ifndef POSTERN_TESTS_FRAMED_CLIENT_H
#define POSTERN_TESTS_FRAMED_CLIENT_H

#include "session/session.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FRAMED_STREAMS 300
#define FRAMED_OUT     (256u * 1024)

struct framed_stream {
    struct channel *channel; /* NULL: released */
    struct framed_client *client;
    unsigned char next, wanted;
    const unsigned char *bytes; /* said first, instead of the pattern */
    size_t byte_count;
    size_t to_say, said, heard, held;
    bool finish;  /* after what is to be said */
    bool deaf;    /* what comes is not consumed, so no credit is given */
    bool opened;  /* what the other side said: */
    bool refused; /* with `code`, `message`, `retryable` */
    bool ended;
    bool reset, stopped, failed; /* with `code` */
    uint32_t code;
    char message[256];
    bool retryable;
};

struct framed_client {
    int fd; /* -1: closed */
    struct session *session;
    struct session_config config; /* as of the start */
    uint64_t ahead;               /* ms that its clock is ahead of the real one */
    unsigned char out[FRAMED_OUT];
    size_t out_at, out_length;
    bool mute;      /* writes nothing */
    bool deaf;      /* reads nothing */
    bool heard_end; /* the other side is done, or */
    int error;      /* cut it: the negative errno value */
    bool ready, ended;
    uint32_t end_code;
    bool end_by_peer;
    char end_text[256], build[65];
    unsigned pongs, goaways;
    unsigned count;
    struct framed_stream streams[FRAMED_STREAMS];
};

/* The defaults, or `config` if it is not NULL. Makes `fd` non-blocking. */
void framed_client_init(struct framed_client *client, int fd, const struct session_config *config);

/* Frees the session and closes the socket. Harmless when done already. */
void framed_client_close(struct framed_client *client);

/* Reads what is there and writes what fits. Returns the client. */
struct framed_client *framed_client_turn(struct framed_client *client);

/* A stream to `route`; fails the test if there can be none. */
struct framed_stream *framed_client_open(struct framed_client *client, const char *route);

void framed_say(struct framed_stream *stream, size_t size);
void framed_say_bytes(struct framed_stream *stream, const void *bytes, size_t size); /* not copied */
void framed_finish(struct framed_stream *stream);
void framed_reset(struct framed_stream *stream, uint32_t code);
void framed_stop(struct framed_stream *stream, uint32_t code);
void framed_hear(struct framed_stream *stream); /* consumes what is held, and is not deaf any more */
void framed_release(struct framed_stream *stream);

/* Bytes of ours, past the session: to break the protocol with. */
void framed_client_write(struct framed_client *client, const void *bytes, size_t length);

#endif
