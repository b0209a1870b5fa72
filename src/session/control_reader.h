/*
 * Strict reading of deterministic CBOR (RFC 8949, section 4.2.1), one item at a time, with nothing allocated.
 *
 * What is let through is the little that control frames use: unsigned integers, texts of printable ASCII, byte
 * strings, booleans, arrays and maps, all of definite length and in their shortest form. Depth and
 * entries are bounded, so the work is linear in the bytes. libcbor tells the items apart.
 */
#ifndef POSTERN_SESSION_CONTROL_READER_H
#define POSTERN_SESSION_CONTROL_READER_H

#include "session/frame.h"

#define CONTROL_DEPTH_MAX   4u  /* the frame's own map is the first */
#define CONTROL_ENTRIES_MAX 32u /* in a map or an array */

enum control_type {
    CONTROL_UINT = 1,
    CONTROL_TEXT,
    CONTROL_BYTES,
    CONTROL_BOOL,
    CONTROL_ARRAY,
    CONTROL_MAP,
};

struct control_item {
    enum control_type type;
    uint64_t value;       /* the integer, the boolean, or the number of entries */
    const uint8_t *bytes; /* of a text or byte string; lives as long as the frame */
    size_t length;
};

struct control_reader {
    const uint8_t *at, *end;
    struct breach *breach; /* set when something returned false */
};

void control_reader_init(struct control_reader *reader, const uint8_t *bytes, size_t length,
                         struct breach *breach);

/* Says that a rule is broken; always false. */
bool control_broken(struct control_reader *reader, const char *text);

/* The next item; of an array or a map its head only. */
bool control_read(struct control_reader *reader, struct control_item *ret) MUST_CHECK;

/* The next item, which has to be of this type (and for an integer at most `max`, for a string at most `max` long). */
bool control_read_typed(struct control_reader *reader, enum control_type type, uint64_t max,
                        struct control_item *ret) MUST_CHECK;

/* Passes over one item of any type, itself at `depth`, with all that is in it. */
bool control_skip(struct control_reader *reader, unsigned depth) MUST_CHECK;

/* Whether nothing is left. */
bool control_at_end(struct control_reader *reader) MUST_CHECK;

#endif
