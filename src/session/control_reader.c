/* One CBOR item at a time, and nothing that is not in its shortest form. */
#include "session/control_reader.h"

#include "session/control.h"

#include <cbor.h>
#include <string.h>

/* libcbor calls back once for each item. What has no place in a control frame leaves `type` at 0. */
static void take_uint8(void *item, uint8_t value)
{
    *(struct control_item *)item = (struct control_item){.type = CONTROL_UINT, .value = value};
}

static void take_uint16(void *item, uint16_t value)
{
    *(struct control_item *)item = (struct control_item){.type = CONTROL_UINT, .value = value};
}

static void take_uint32(void *item, uint32_t value)
{
    *(struct control_item *)item = (struct control_item){.type = CONTROL_UINT, .value = value};
}

static void take_uint64(void *item, uint64_t value)
{
    *(struct control_item *)item = (struct control_item){.type = CONTROL_UINT, .value = value};
}

static void take_text(void *item, cbor_data bytes, size_t length)
{
    *(struct control_item *)item =
        (struct control_item){.type = CONTROL_TEXT, .bytes = bytes, .length = length};
}

static void take_bytes(void *item, cbor_data bytes, size_t length)
{
    *(struct control_item *)item =
        (struct control_item){.type = CONTROL_BYTES, .bytes = bytes, .length = length};
}

static void take_bool(void *item, bool value)
{
    *(struct control_item *)item = (struct control_item){.type = CONTROL_BOOL, .value = value};
}

static void take_array(void *item, size_t count)
{
    *(struct control_item *)item = (struct control_item){.type = CONTROL_ARRAY, .value = count};
}

static void take_map(void *item, size_t count)
{
    *(struct control_item *)item = (struct control_item){.type = CONTROL_MAP, .value = count};
}

/* The length of the shortest head for this item. */
static size_t shortest_head(const struct control_item *item)
{
    unsigned char head[9];

    if (item->type == CONTROL_BOOL) {
        return 1;
    }
    return cbor_encode_uint(item->type == CONTROL_TEXT || item->type == CONTROL_BYTES ? item->length
                                                                                      : item->value,
                            head, sizeof(head));
}

void control_reader_init(struct control_reader *reader, const uint8_t *bytes, size_t length,
                         struct breach *breach)
{
    reader->at = bytes;
    reader->end = bytes + length;
    reader->breach = breach;
}

bool control_broken(struct control_reader *reader, const char *text)
{
    *reader->breach = (struct breach){CODE_CONTROL, text};
    return false;
}

bool control_read(struct control_reader *reader, struct control_item *ret)
{
    struct cbor_callbacks callbacks = cbor_empty_callbacks;
    struct cbor_decoder_result result;

    callbacks.uint8 = take_uint8;
    callbacks.uint16 = take_uint16;
    callbacks.uint32 = take_uint32;
    callbacks.uint64 = take_uint64;
    callbacks.string = take_text;
    callbacks.byte_string = take_bytes;
    callbacks.boolean = take_bool;
    callbacks.array_start = take_array;
    callbacks.map_start = take_map;

    memset(ret, 0, sizeof(*ret));
    result = cbor_stream_decode(reader->at, (size_t)(reader->end - reader->at), &callbacks, ret);
    if (result.status != CBOR_DECODER_FINISHED) {
        return control_broken(reader, "C-1: the payload is not one whole CBOR map");
    }
    if (ret->type == 0) {
        return control_broken(reader, "C-4: a type of item that has no place in a control frame");
    }
    if (result.read - ret->length != shortest_head(ret)) {
        return control_broken(reader, "C-2: an item that is not in its shortest form");
    }
    if ((ret->type == CONTROL_ARRAY || ret->type == CONTROL_MAP) && ret->value > CONTROL_ENTRIES_MAX) {
        return control_broken(reader, "C-5: more entries or levels than a control frame may have");
    }
    if (ret->type == CONTROL_TEXT &&
        !control_printable((struct control_text){(const char *)ret->bytes, ret->length})) {
        return control_broken(reader, "C-6: a text with a byte that is not printable ASCII");
    }
    reader->at += result.read;
    return true;
}

bool control_read_typed(struct control_reader *reader, enum control_type type, uint64_t max,
                        struct control_item *ret)
{
    if (!control_read(reader, ret)) {
        return false;
    }
    if (ret->type != type || (type == CONTROL_UINT ? ret->value : ret->length) > max) {
        return control_broken(reader, "C-9: a value of the wrong type or out of its range");
    }
    return true;
}

/* Texts and integers within ignored maps may be keys of any kind; that they are in order is not looked at. */
bool control_skip(struct control_reader *reader, unsigned depth)
{
    struct control_item item;
    uint64_t inside;

    if (!control_read(reader, &item)) {
        return false;
    }
    if (item.type != CONTROL_ARRAY && item.type != CONTROL_MAP) {
        return true;
    }
    if (depth > CONTROL_DEPTH_MAX) {
        return control_broken(reader, "C-5: more entries or levels than a control frame may have");
    }
    inside = item.type == CONTROL_MAP ? 2 * item.value : item.value;
    for (uint64_t i = 0; i < inside; i++) {
        if (!control_skip(reader, depth + 1)) {
            return false;
        }
    }
    return true;
}

bool control_at_end(struct control_reader *reader)
{
    return reader->at == reader->end || control_broken(reader, "C-1: the payload is not one whole CBOR map");
}
