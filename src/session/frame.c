/* The header, the table of forms, and the reader. */
#include "session/frame.h"

#include <assert.h>
#include <string.h>

/* The first byte is no letter and no TLS record type, so that HTTP, TLS and a person at a terminal are told apart
 * at once; CR LF shows a transport that translates line ends; NUL ends a C string. */
const uint8_t frame_preface[FRAME_PREFACE_SIZE] = {0xf0, 'P', 'S', 'T', 'N', '\r', '\n', 0x00};

enum scope { SESSION, STREAM };

struct form {
    const char *name; /* NULL: no such type */
    enum scope scope;
    uint8_t flags; /* those that have a meaning */
    uint16_t min, max;
};

static const struct form forms[] = {
    [FRAME_HELLO] = {"HELLO", SESSION, 0, 1, FRAME_CONTROL_MAX},
    [FRAME_GOAWAY] = {"GOAWAY", SESSION, 0, 1, FRAME_CONTROL_MAX},
    [FRAME_PING] = {"PING", SESSION, 0, 8, 8},
    [FRAME_PONG] = {"PONG", SESSION, 0, 8, 8},
    [FRAME_MAX_DATA] = {"MAX_DATA", SESSION, 0, 8, 8},
    [FRAME_MAX_STREAMS] = {"MAX_STREAMS", SESSION, 0, 4, 4},
    [FRAME_OPEN] = {"OPEN", STREAM, 0, 1, FRAME_CONTROL_MAX},
    [FRAME_OPENED] = {"OPENED", STREAM, 0, 1, FRAME_CONTROL_MAX},
    [FRAME_REFUSED] = {"REFUSED", STREAM, 0, 1, FRAME_CONTROL_MAX},
    [FRAME_DATA] = {"DATA", STREAM, FRAME_FIN, 0, FRAME_PAYLOAD_MAX},
    [FRAME_MAX_STREAM_DATA] = {"MAX_STREAM_DATA", STREAM, 0, 8, 8},
    [FRAME_RESET] = {"RESET", STREAM, 0, 12, 12},
    [FRAME_STOP] = {"STOP", STREAM, 0, 4, 4},
};

void frame_put_u32(uint8_t *out, uint32_t value)
{
    out[0] = (uint8_t)(value >> 24);
    out[1] = (uint8_t)(value >> 16);
    out[2] = (uint8_t)(value >> 8);
    out[3] = (uint8_t)value;
}

void frame_put_u64(uint8_t *out, uint64_t value)
{
    frame_put_u32(out, (uint32_t)(value >> 32));
    frame_put_u32(out + 4, (uint32_t)value);
}

uint32_t frame_get_u32(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

uint64_t frame_get_u64(const uint8_t *bytes)
{
    return (uint64_t)frame_get_u32(bytes) << 32 | frame_get_u32(bytes + 4);
}

void frame_encode_header(uint8_t out[FRAME_HEADER], struct frame_header header)
{
    out[0] = header.type;
    out[1] = header.flags;
    out[2] = (uint8_t)(header.length >> 8);
    out[3] = (uint8_t)header.length;
    frame_put_u32(out + 4, header.stream);
}

struct frame_header frame_decode_header(const uint8_t bytes[FRAME_HEADER])
{
    return (struct frame_header){
        .type = bytes[0],
        .flags = bytes[1],
        .length = (uint16_t)(bytes[2] << 8 | bytes[3]),
        .stream = frame_get_u32(bytes + 4),
    };
}

static bool broken(struct breach *breach, enum code code, const char *text)
{
    *breach = (struct breach){code, text};
    return false;
}

bool frame_check(struct frame_header header, uint32_t max_payload, struct breach *breach)
{
    const struct form *form = header.type < ARRAY_SIZE(forms) ? &forms[header.type] : NULL;
    bool known = form && form->name;

    if (!known && header.type < FRAME_IGNORABLE) {
        return broken(breach, CODE_PROTOCOL, "F-1: a frame of an unknown type below 0x80");
    }
    if ((!known || header.type == FRAME_DATA) && header.length > max_payload) {
        return broken(breach, CODE_FRAME_SIZE, "F-2: a frame longer than the announced maximum");
    }
    if (!known) {
        return true;
    }
    if (header.length < form->min || header.length > form->max) {
        return broken(breach, CODE_FRAME_SIZE, "F-3: a length that this type of frame cannot have");
    }
    if (header.flags & ~form->flags) {
        return broken(breach, CODE_PROTOCOL, "F-4: a flag that has no meaning");
    }
    if ((form->scope == SESSION) != (header.stream == 0)) {
        return broken(breach, CODE_PROTOCOL,
                      "F-5: stream 0 in a stream's frame, or a stream in the session's");
    }
    return true;
}

void frame_reader_init(struct frame_reader *reader, uint32_t max_payload)
{
    memset(reader, 0, sizeof(*reader));
    reader->max_payload = max_payload;
}

void frame_reader_skip(struct frame_reader *reader, size_t length)
{
    assert(length <= frame_reader_data_left(reader));
    reader->have += (uint32_t)length;
    if (reader->have == FRAME_HEADER + reader->header.length) {
        reader->have = 0;
    }
}

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Gathers up to `until` bytes of the frame; true once they are there. */
static bool gather(struct frame_reader *reader, size_t until, const uint8_t **data, size_t *length)
{
    size_t taken = smaller(until - reader->have, *length);

    if (taken > 0) {
        memcpy(reader->bytes + reader->have, *data, taken);
    }
    reader->have += (uint32_t)taken;
    *data += taken;
    *length -= taken;
    return reader->have == until;
}

/* The next bytes of a payload that is not gathered: of DATA, or of what is ignored. */
static void pass(struct frame_reader *reader, const uint8_t **data, size_t *length, struct frame *ret)
{
    size_t whole = FRAME_HEADER + reader->header.length;
    size_t taken = smaller(whole - reader->have, *length);

    ret->bytes = *data;
    ret->length = taken;
    *data += taken;
    *length -= taken;
    reader->have += (uint32_t)taken;
    ret->last = reader->have == whole;
    if (ret->last) {
        reader->have = 0;
    }
}

static enum frame_event take_payload(struct frame_reader *reader, const uint8_t **data, size_t *length,
                                     struct frame *ret)
{
    size_t payload = reader->header.length;

    if (reader->have == FRAME_HEADER && *length >= payload) { /* all of it lies there: no copy */
        ret->bytes = *data;
        *data += payload;
        *length -= payload;
    } else {
        if (!gather(reader, FRAME_HEADER + payload, data, length)) {
            return FRAME_NOTHING;
        }
        ret->bytes = reader->bytes + FRAME_HEADER;
    }
    ret->length = payload;
    reader->have = 0;
    return FRAME_WHOLE;
}

enum frame_event frame_read(struct frame_reader *reader, const uint8_t **data, size_t *length,
                            struct frame *ret)
{
    memset(ret, 0, sizeof(*ret));
    if (*length == 0) {
        return FRAME_NOTHING;
    }
    if (reader->have < FRAME_HEADER) {
        reader->begun += reader->have == 0;
        if (!gather(reader, FRAME_HEADER, data, length)) {
            return FRAME_NOTHING;
        }
        reader->header = frame_decode_header(reader->bytes);
        if (!frame_check(reader->header, reader->max_payload, &ret->breach)) {
            return FRAME_BROKEN;
        }
        ret->first = true;
    }
    ret->header = reader->header;
    if (reader->header.type == FRAME_DATA) {
        pass(reader, data, length, ret);
        return FRAME_PIECE;
    }
    if (reader->header.type >= FRAME_IGNORABLE) {
        pass(reader, data, length, ret);
        return ret->first ? FRAME_IGNORED : frame_read(reader, data, length, ret);
    }
    return take_payload(reader, data, length, ret);
}
