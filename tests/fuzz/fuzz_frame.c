/*
 * The frame reader, fed in one piece and in pieces that the input's last byte chooses: both readings must be the same, and no
 * frame may be what docs/protocol.md does not allow.
 */
#include "session/frame.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct reading {
    uint64_t hash;
    uint64_t frames;
    bool broken;
};

static void need(bool good)
{
    if (!good) {
        abort();
    }
}

static void mix(struct reading *reading, const void *bytes, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        reading->hash = (reading->hash ^ ((const uint8_t *)bytes)[i]) * 0x100000001b3u;
    }
}

static void take(struct reading *reading, enum frame_event event, const struct frame *frame)
{
    struct breach breach;
    uint8_t header[FRAME_HEADER];

    need(frame_check(frame->header, 16384, &breach));
    frame_encode_header(header, frame->header);
    if (event == FRAME_WHOLE || frame->first) {
        reading->frames++;
        mix(reading, header, sizeof(header));
    }
    if (event != FRAME_IGNORED) {
        mix(reading, frame->bytes, frame->length);
    }
    need(event != FRAME_WHOLE || frame->length == frame->header.length);
    need(frame->length <= frame->header.length);
}

static void feed(struct frame_reader *reader, struct reading *reading, const uint8_t *data, size_t size)
{
    struct frame frame;
    enum frame_event event;

    while (!reading->broken && (event = frame_read(reader, &data, &size, &frame)) != FRAME_NOTHING) {
        reading->broken = event == FRAME_BROKEN;
        if (reading->broken) {
            need(frame.breach.code != CODE_NO_ERROR && frame.breach.text);
        } else {
            take(reading, event, &frame);
        }
    }
    need(reading->broken || size == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct frame_reader whole, pieces;
    struct reading one = {1, 0, false}, two = {1, 0, false};
    size_t piece = size > 0 ? 1u + data[size - 1] % 64u : 1;

    frame_reader_init(&whole, 16384);
    frame_reader_init(&pieces, 16384);
    feed(&whole, &one, data, size);
    for (size_t at = 0; at < size && !two.broken; at += piece) {
        feed(&pieces, &two, data + at, size - at < piece ? size - at : piece);
    }
    need(one.broken == two.broken && one.frames == two.frames && one.hash == two.hash);
    return 0;
}
