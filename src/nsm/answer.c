/* One item after the other, by libcbor's decoder for streams, which allocates nothing whatever a head announces. */
#include "nsm/answer.h"

#include <cbor.h>
#include <string.h>

#define DEPTH_MAX  8u /* an answer's deepest item is at 4, a document's at 3 */
#define INDEFINITE UINT64_MAX

/* OTHER: an item in itself, which nobody asks for. CHUNKS: strings up to a break. */
enum type { OTHER, NONE, BOOL, UINT, BYTES, TEXT, ARRAY, MAP, CHUNKS, TAG, BREAK };

struct item {
    enum type type;
    uint64_t value; /* the integer, the truth, or the number of entries */
    const uint8_t *bytes;
    size_t length;
};

static void take_null(void *item)
{
    *(struct item *)item = (struct item){.type = NONE};
}

static void take_bool(void *item, bool value)
{
    *(struct item *)item = (struct item){.type = BOOL, .value = value};
}

static void take_uint8(void *item, uint8_t value)
{
    *(struct item *)item = (struct item){.type = UINT, .value = value};
}

static void take_uint16(void *item, uint16_t value)
{
    *(struct item *)item = (struct item){.type = UINT, .value = value};
}

static void take_uint32(void *item, uint32_t value)
{
    *(struct item *)item = (struct item){.type = UINT, .value = value};
}

static void take_uint64(void *item, uint64_t value)
{
    *(struct item *)item = (struct item){.type = UINT, .value = value};
}

static void take_bytes(void *item, cbor_data bytes, size_t length)
{
    *(struct item *)item = (struct item){.type = BYTES, .bytes = bytes, .length = length};
}

static void take_text(void *item, cbor_data bytes, size_t length)
{
    *(struct item *)item = (struct item){.type = TEXT, .bytes = bytes, .length = length};
}

/* There is no room for so many, and they are not to be taken for an open end. */
static uint64_t definite(size_t count)
{
    return count == INDEFINITE ? INDEFINITE - 1 : count;
}

static void take_array(void *item, size_t count)
{
    *(struct item *)item = (struct item){.type = ARRAY, .value = definite(count)};
}

static void take_map(void *item, size_t count)
{
    *(struct item *)item = (struct item){.type = MAP, .value = definite(count)};
}

static void take_open_array(void *item)
{
    *(struct item *)item = (struct item){.type = ARRAY, .value = INDEFINITE};
}

static void take_open_map(void *item)
{
    *(struct item *)item = (struct item){.type = MAP, .value = INDEFINITE};
}

static void take_chunks(void *item)
{
    *(struct item *)item = (struct item){.type = CHUNKS, .value = INDEFINITE};
}

static void take_tag(void *item, uint64_t value)
{
    *(struct item *)item = (struct item){.type = TAG, .value = value};
}

static void take_break(void *item)
{
    *(struct item *)item = (struct item){.type = BREAK};
}

/* Reads an item, or the head of one that others are in, and goes behind it. */
static bool step(struct answer *at, struct item *ret)
{
    struct cbor_callbacks callbacks = cbor_empty_callbacks;
    struct cbor_decoder_result result;

    callbacks.null = take_null;
    callbacks.boolean = take_bool;
    callbacks.uint8 = take_uint8;
    callbacks.uint16 = take_uint16;
    callbacks.uint32 = take_uint32;
    callbacks.uint64 = take_uint64;
    callbacks.byte_string = take_bytes;
    callbacks.string = take_text;
    callbacks.array_start = take_array;
    callbacks.map_start = take_map;
    callbacks.indef_array_start = take_open_array;
    callbacks.indef_map_start = take_open_map;
    callbacks.byte_string_start = take_chunks;
    callbacks.string_start = take_chunks;
    callbacks.tag = take_tag;
    callbacks.indef_break = take_break;

    *ret = (struct item){.type = OTHER};
    if (at->at == at->end) {
        return false;
    }
    result = cbor_stream_decode(at->at, (size_t)(at->end - at->at), &callbacks, ret);
    at->at += result.read;
    return result.status == CBOR_DECODER_FINISHED;
}

/* Whether the next thing is a break; goes behind it. */
static bool at_break(struct answer *at)
{
    struct answer next = *at;
    struct item item;

    if (!step(&next, &item) || item.type != BREAK) {
        return false;
    }
    *at = next;
    return true;
}

static bool skip(struct answer *at, unsigned depth);

/* The items that are in the one whose head was read. */
static bool skip_inside(struct answer *at, const struct item *head, unsigned depth)
{
    unsigned each = head->type == MAP ? 2 : 1;

    for (uint64_t i = 0; i < head->value; i++) {
        if (head->value == INDEFINITE && at_break(at)) {
            return true;
        }
        for (unsigned part = 0; part < each; part++) {
            if (!skip(at, depth + 1)) {
                return false;
            }
        }
    }
    return true;
}

static bool skip(struct answer *at, unsigned depth)
{
    struct item item;

    if (depth > DEPTH_MAX || !step(at, &item)) {
        return false;
    }
    switch (item.type) {
    case ARRAY:
    case MAP:
    case CHUNKS:
        return skip_inside(at, &item, depth);
    case TAG:
        return skip(at, depth + 1);
    case BREAK:
        return false;
    default:
        return true;
    }
}

bool answer_is_whole(const uint8_t *bytes, size_t length, struct answer *ret)
{
    struct answer all = {.at = bytes, .end = bytes + length};

    *ret = all;
    return skip(&all, 1) && all.at == all.end;
}

static bool is_key(struct answer at, const char *key)
{
    struct item item;

    return step(&at, &item) && item.type == TEXT && item.length == strlen(key) &&
           !memcmp(item.bytes, key, item.length);
}

static bool walk(const struct answer *item, enum type type, struct answer_walk *ret)
{
    struct item head;

    ret->at = *item;
    if (!step(&ret->at, &head) || head.type != type) {
        return false;
    }
    ret->left = head.value;
    ret->each = type == MAP ? 2 : 1;
    return true;
}

bool answer_walk_map(const struct answer *map, struct answer_walk *ret)
{
    return walk(map, MAP, ret);
}

bool answer_walk_array(const struct answer *array, struct answer_walk *ret)
{
    return walk(array, ARRAY, ret);
}

bool answer_next(struct answer_walk *walk, struct answer *ret_key, struct answer *ret_value)
{
    if (walk->left == 0 || (walk->left == INDEFINITE && at_break(&walk->at))) {
        return false;
    }
    walk->left -= walk->left != INDEFINITE;
    if (walk->each == 2) {
        *ret_key = walk->at;
        if (!skip(&walk->at, 1)) {
            return false;
        }
    }
    *ret_value = walk->at;
    return skip(&walk->at, 1);
}

bool answer_find(const struct answer *map, const char *key, struct answer *ret)
{
    struct answer_walk walk;
    struct answer name;

    if (!answer_walk_map(map, &walk)) {
        return false;
    }
    while (answer_next(&walk, &name, ret)) {
        if (is_key(name, key)) {
            return true;
        }
    }
    return false;
}

bool answer_entry(const struct answer *array, size_t index, size_t count, struct answer *ret)
{
    struct item head;

    *ret = *array;
    if (!step(ret, &head) || head.type != ARRAY || head.value != count) {
        return false;
    }
    for (size_t i = 0; i < index; i++) {
        if (!skip(ret, 1)) {
            return false;
        }
    }
    return true;
}

static bool item_at(struct answer at, enum type type, struct item *ret)
{
    return step(&at, ret) && ret->type == type;
}

bool answer_is_null(const struct answer *at)
{
    struct item item;

    return item_at(*at, NONE, &item);
}

bool answer_bool(const struct answer *at, bool *ret)
{
    struct item item;

    if (!item_at(*at, BOOL, &item)) {
        return false;
    }
    *ret = item.value != 0;
    return true;
}

bool answer_uint(const struct answer *at, uint64_t *ret)
{
    struct item item;

    if (!item_at(*at, UINT, &item)) {
        return false;
    }
    *ret = item.value;
    return true;
}

bool answer_bytes(const struct answer *at, const uint8_t **ret, size_t *ret_length)
{
    struct item item;

    if (!item_at(*at, BYTES, &item)) {
        return false;
    }
    *ret = item.bytes;
    *ret_length = item.length;
    return true;
}

bool answer_text(const struct answer *at, const char **ret, size_t *ret_length)
{
    struct item item;

    if (!item_at(*at, TEXT, &item)) {
        return false;
    }
    *ret = (const char *)item.bytes;
    *ret_length = item.length;
    return true;
}
