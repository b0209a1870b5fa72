/*
 * The control frames' payloads: deterministic CBOR maps with small integers as keys.
 *
 * Decoding is strict (control_reader.h) and copies nothing: texts point into the frame, are not terminated, and live
 * as long as it does. Encoding gives the one encoding that there is. Keys and ranges are those of
 * docs/protocol.md, "Control frames".
 */
#ifndef POSTERN_SESSION_CONTROL_H
#define POSTERN_SESSION_CONTROL_H

#include "session/frame.h"

#define CONTROL_ROUTE_MAX          255u
#define CONTROL_MESSAGE_MAX        255u
#define CONTROL_BUILD_MAX          64u
#define CONTROL_META_MAX           16u /* entries */
#define CONTROL_META_KEY_MAX       64u
#define CONTROL_META_VALUE_MAX     1024u
#define CONTROL_WINDOW_MIN         1024u
#define CONTROL_SESSION_WINDOW_MIN 4096u
#define CONTROL_WINDOW_MAX         (UINT64_C(1) << 40)
#define CONTROL_STREAMS_MAX        ((UINT32_C(1) << 31) - 1)
#define CONTROL_PING_MIN           1000u    /* ms */
#define CONTROL_PING_MAX           3600000u /* ms */
#define CONTROL_LAST_WARNING       UINT32_MAX

/* What a stream carries. */
#define CONTROL_KIND_BYTES 0u /* bytes both ways */
#define CONTROL_KIND_HTTP  1u /* HTTP/1.1: requests of the opener's, and their answers */

struct control_text {
    const char *data; /* NULL: not there */
    size_t length;
};

struct control_hello {
    uint32_t version_min, version_max; /* 1..65535 */
    uint32_t role;                     /* 0 client, 1 server */
    uint32_t max_payload;              /* of DATA that the sender of this takes */
    uint32_t max_streams;              /* the peer may open at first */
    uint64_t stream_window;            /* bytes the peer may send at first on each stream */
    uint64_t session_window;           /* and on all of them */
    uint32_t ping_interval;            /* ms between the PINGs it will send */
    uint64_t features;                 /* bits */
    struct control_text build;         /* for the log */
};

struct control_meta_entry {
    struct control_text key;
    struct control_text value;
    bool binary; /* the value is a byte string, not a text */
};

struct control_open {
    struct control_text route;
    uint32_t kind;       /* CONTROL_KIND_... */
    uint32_t timeout_ms; /* how long the opener waits for the answer; 0: not said */
    size_t meta_count;
    struct control_meta_entry meta[CONTROL_META_MAX];
};

struct control_refused {
    uint32_t code;
    struct control_text message;
    bool retryable; /* nothing was done: the same OPEN may succeed later */
};

struct control_goaway {
    uint32_t last_stream; /* CONTROL_LAST_WARNING: not settled yet */
    uint32_t code;
    struct control_text message;
    uint32_t deadline_ms; /* until streams that are left will be cut; 0: none was set */
};

/* Each returns the length, or 0 if it does not fit or is not what the ranges allow. */
size_t control_encode_hello(const struct control_hello *hello, uint8_t *out, size_t size);
size_t control_encode_open(const struct control_open *open, uint8_t *out, size_t size);
size_t control_encode_opened(uint8_t *out, size_t size);
size_t control_encode_refused(const struct control_refused *refused, uint8_t *out, size_t size);
size_t control_encode_goaway(const struct control_goaway *goaway, uint8_t *out, size_t size);

bool control_decode_hello(const uint8_t *bytes, size_t length, struct control_hello *ret,
                          struct breach *breach) MUST_CHECK;
bool control_decode_open(const uint8_t *bytes, size_t length, struct control_open *ret,
                         struct breach *breach) MUST_CHECK;
bool control_decode_opened(const uint8_t *bytes, size_t length, struct breach *breach) MUST_CHECK;
bool control_decode_refused(const uint8_t *bytes, size_t length, struct control_refused *ret,
                            struct breach *breach) MUST_CHECK;
bool control_decode_goaway(const uint8_t *bytes, size_t length, struct control_goaway *ret,
                           struct breach *breach) MUST_CHECK;

/* The value under a key, NULL if there is none. */
const struct control_meta_entry *control_meta_find(const struct control_open *open, const char *key);

struct control_text control_text(const char *string);
bool control_printable(struct control_text text);

/* A message as it may be sent: cut, and with '?' for what is not printable. Lies in `buffer`, which may be `string`;
 * NULL stays NULL. */
struct control_text control_message(const char *string, char buffer[CONTROL_MESSAGE_MAX + 1]);

#endif
