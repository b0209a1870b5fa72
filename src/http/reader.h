/*
 * Messages out of bytes, one direction of a connection, in any split: the head whole and scanned, then the body in
 * pieces that lie where the bytes came, then the trailers. What heads mean is judged by request.c and
 * response.c, which own a reader; they say how the body is framed. No socket, no loop, no clock.
 *
 *     loop: http_reader_read() -> MORE     all bytes were read; come again with others
 *                              -> HEAD     http_reader_frame() must follow
 *                              -> BODY     *ret_piece of it; not called again, nothing more is read: backpressure
 *                              -> END      the message is over; bytes that follow were not looked at
 *                              -> REFUSED  `why`; not to be called again
 *
 * Memory: the head and the trailers, within limits, grown as bytes come; nothing for a body of any size, and nothing
 * between messages.
 *
 * Lifetimes: the caller embeds the reader. Fields live until http_reader_next() or _release(); a piece as long as the
 * bytes that were given.
 */
#ifndef POSTERN_HTTP_READER_H
#define POSTERN_HTTP_READER_H

#include "base/compiler.h"
#include "http/chunked.h"
#include "http/fields.h"
#include "http/refusal.h"
#include "http/scan.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct http_limits {
    struct http_scan_limits head; /* the bounds in bytes and in fields hold for trailers too */
    uint64_t body;                /* bytes */
    unsigned interim;             /* responses: 1xx answers before the one that counts */
};

/* What a route has unless it says otherwise. */
#define HTTP_LIMITS_INIT                                                                                   \
    {                                                                                                      \
        .head = {.bytes = 32 * 1024, .target = 8 * 1024, .fields = 100}, .body = UINT64_MAX, .interim = 16 \
    }

enum http_event {
    HTTP_EVENT_MORE,
    HTTP_EVENT_HEAD,
    HTTP_EVENT_BODY,
    HTTP_EVENT_END,
    HTTP_EVENT_REFUSED,
};

enum http_body {
    HTTP_BODY_NONE,
    HTTP_BODY_LENGTH,
    HTTP_BODY_CHUNKED,
    HTTP_BODY_UNTIL_END, /* of the connection; responses */
};

struct http_framing {
    enum http_body body;
    uint64_t length; /* HTTP_BODY_LENGTH: more than 0 */
};

enum http_phase { HTTP_PHASE_HEAD, HTTP_PHASE_BODY, HTTP_PHASE_TRAILERS, HTTP_PHASE_OVER };

struct http_reader {
    enum http_refusal why;
    struct http_scan scan;       /* of the head */
    struct http_fields fields;   /* from HEAD on */
    struct http_fields trailers; /* at END */

    /* Private. */
    const struct http_limits *limits;
    enum http_scan_kind kind;
    enum http_phase phase;
    struct http_framing framing;
    uint64_t left; /* of the body: to come, or that may come */
    struct http_chunked chunked;
    struct http_scan trailer_scan;
};

/* `limits` must outlive the reader. */
void http_reader_init(struct http_reader *reader, enum http_scan_kind kind, const struct http_limits *limits);
void http_reader_release(struct http_reader *reader);

/* After END: for the next message. */
void http_reader_next(struct http_reader *reader);

enum http_event http_reader_read(struct http_reader *reader, const char *data, size_t size, size_t *ret_used,
                                 struct http_span *ret_piece) MUST_CHECK;

/* After HEAD: how the body is framed. A length over the limit is refused. */
enum http_refusal http_reader_frame(struct http_reader *reader, struct http_framing framing) MUST_CHECK;

/* How much of a body of known length is still to come; 0 of any other. */
static inline uint64_t http_reader_left(const struct http_reader *reader)
{
    return reader->phase == HTTP_PHASE_BODY && reader->framing.body == HTTP_BODY_LENGTH ? reader->left : 0;
}

/* That many bytes of it went another way: fewer than are left. */
void http_reader_skip(struct http_reader *reader, uint64_t size);

/* The peer has closed. Returns END if that ends the message, MORE if nothing of a message has come, else REFUSED:
 * it was cut off. */
enum http_event http_reader_finish(struct http_reader *reader) MUST_CHECK;

/* Whether bytes of a message have come, an empty line before it not counted. */
static inline bool http_reader_begun(const struct http_reader *reader)
{
    return reader->fields.bytes.length > reader->scan.begin;
}

/* Notes the refusal; what returns then is HTTP_EVENT_REFUSED. */
enum http_event http_reader_refuse(struct http_reader *reader, enum http_refusal why);

#endif
