/*
 * Frames as bytes: the header, the form each type must have, and a reader that cuts a stream of bytes, however
 * it is split, into frames.
 *
 * The payload of a DATA frame is handed on as it comes, so a large frame costs no memory. Any other known frame is
 * at most FRAME_CONTROL_MAX bytes and is handed on whole; it is copied only if it came in pieces. The
 * payload of a frame that may be ignored is passed over.
 */
#ifndef POSTERN_SESSION_FRAME_H
#define POSTERN_SESSION_FRAME_H

#include "session/codes.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FRAME_HEADER      8u
#define FRAME_PAYLOAD_MAX 65528u /* header and payload are 64 KiB then: one packet of vsock */
#define FRAME_PAYLOAD_MIN 1024u  /* the smallest limit that may be announced for DATA */
#define FRAME_CONTROL_MAX 4096u
#define FRAME_IGNORABLE   0x80u /* a type from here on may be unknown, and is passed over then */

#define FRAME_PREFACE_SIZE 8u
extern const uint8_t frame_preface[FRAME_PREFACE_SIZE];

enum frame_type {
    FRAME_HELLO = 0x01,
    FRAME_GOAWAY = 0x02,
    FRAME_PING = 0x03,
    FRAME_PONG = 0x04,
    FRAME_MAX_DATA = 0x05,
    FRAME_MAX_STREAMS = 0x06,
    FRAME_OPEN = 0x10,
    FRAME_OPENED = 0x11,
    FRAME_REFUSED = 0x12,
    FRAME_DATA = 0x13,
    FRAME_MAX_STREAM_DATA = 0x14,
    FRAME_RESET = 0x15,
    FRAME_STOP = 0x16,
};

#define FRAME_FIN 0x01u /* DATA: the sender's last bytes on this stream */

struct frame_header {
    uint8_t type;
    uint8_t flags;
    uint16_t length; /* of the payload */
    uint32_t stream; /* 0: the session itself */
};

/* A rule of docs/protocol.md that was broken: its code, and a text that begins with the rule's id. */
struct breach {
    enum code code;
    const char *text; /* static */
};

void frame_put_u32(uint8_t *out, uint32_t value);
void frame_put_u64(uint8_t *out, uint64_t value);
uint32_t frame_get_u32(const uint8_t *bytes);
uint64_t frame_get_u64(const uint8_t *bytes);

void frame_encode_header(uint8_t out[FRAME_HEADER], struct frame_header header);
struct frame_header frame_decode_header(const uint8_t bytes[FRAME_HEADER]);

/* Whether a frame may look like this, whatever the state of the session. */
bool frame_check(struct frame_header header, uint32_t max_payload, struct breach *breach) MUST_CHECK;

enum frame_event {
    FRAME_NOTHING, /* all bytes were taken, and there is nothing to tell */
    FRAME_WHOLE,   /* a frame other than DATA */
    FRAME_PIECE,   /* of a DATA frame: the first when the header is whole, with whatever payload is there */
    FRAME_IGNORED, /* a frame of an unknown type above FRAME_IGNORABLE begins; its payload is passed over */
    FRAME_BROKEN,  /* a rule is broken: nothing after this can be read */
};

struct frame {
    struct frame_header header;
    const uint8_t *bytes; /* valid until the next call */
    size_t length;
    bool first, last; /* of the pieces */
    struct breach breach;
};

struct frame_reader {
    uint32_t max_payload;
    struct frame_header header;
    uint32_t have;  /* bytes of the frame seen, its header included; 0 between frames */
    uint64_t begun; /* frames of which at least a byte was seen */
    uint8_t bytes[FRAME_HEADER + FRAME_CONTROL_MAX];
};

void frame_reader_init(struct frame_reader *reader, uint32_t max_payload);

/* Takes bytes from the front of `*data`, and reports the first thing there is to tell. Call it until it says
 * FRAME_NOTHING. */
enum frame_event frame_read(struct frame_reader *reader, const uint8_t **data, size_t *length,
                            struct frame *ret) MUST_CHECK;

/* What is left of the payload of a DATA frame of which the header is there; 0 otherwise. */
static inline size_t frame_reader_data_left(const struct frame_reader *reader)
{
    bool data = reader->have >= FRAME_HEADER && reader->header.type == FRAME_DATA;

    return data ? FRAME_HEADER + reader->header.length - reader->have : 0;
}

/* So many bytes of that, at most, came and were not given to frame_read(). */
void frame_reader_skip(struct frame_reader *reader, size_t length);

/* Whether a frame has begun and is not whole. */
static inline bool frame_reader_midway(const struct frame_reader *reader)
{
    return reader->have > 0;
}

#endif
