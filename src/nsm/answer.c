/* One item after the other, by libcbor's decoder for streams, which allocates nothing whatever a head announces. */
#include "nsm/answer.h"

#include <cbor.h>
#include <string.h>

#define DEPTH_MAX  8u /* an answer's deepest item is at 4, a document's at 3 */
#define INDEFINITE UINT64_MAX
#define BREAK_BYTE 0xffu

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

/* All that there are: what is not asked for leaves the item as OTHER. */
static const struct cbor_callbacks callbacks = {
    .null = take_null,
    .boolean = take_bool,
    .uint8 = take_uint8,
    .uint16 = take_uint16,
    .uint32 = take_uint32,
    .uint64 = take_uint64,
    .byte_string = take_bytes,
    .string = take_text,
    .array_start = take_array,
    .map_start = take_map,
    .indef_array_start = take_open_array,
    .indef_map_start = take_open_map,
    .byte_string_start = take_chunks,
    .string_start = take_chunks,
    .tag = take_tag,
    .indef_break = take_break,
    .negint8 = cbor_null_negint8_callback,
    .negint16 = cbor_null_negint16_callback,
    .negint32 = cbor_null_negint32_callback,
    .negint64 = cbor_null_negint64_callback,
    .float2 = cbor_null_float2_callback,
    .float4 = cbor_null_float4_callback,
    .float8 = cbor_null_float8_callback,
    .undefined = cbor_null_undefined_callback,
};

/* Reads an item, or the head of one that others are in, and goes behind it. */
static bool step(struct answer *at, struct item *ret)
{
    struct cbor_decoder_result result;

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
    if (at->at == at->end || *at->at != BREAK_BYTE) {
        return false;
    }
    at->at++;
    return true;
}

/* `left`: items that may still come. */
static bool skip_counted(struct answer *at, unsigned depth, unsigned *left);

/* The items that are in the one whose head was read. */
static bool skip_inside(struct answer *at, const struct item *head, unsigned depth, unsigned *left)
{
    unsigned each = head->type == MAP ? 2 : 1;

    for (uint64_t i = 0; i < head->value; i++) {
        if (head->value == INDEFINITE && at_break(at)) {
            return true;
        }
        for (unsigned part = 0; part < each; part++) {
            if (!skip_counted(at, depth + 1, left)) {
                return false;
            }
        }
    }
    return true;
}

static bool skip_counted(struct answer *at, unsigned depth, unsigned *left)
{
    struct item item;

    if (depth > DEPTH_MAX || *left == 0 || !step(at, &item)) {
        return false;
    }
    (*left)--;
    switch (item.type) {
    case ARRAY:
    case MAP:
    case CHUNKS:
        return skip_inside(at, &item, depth, left);
    case TAG:
        return skip_counted(at, depth + 1, left);
    case BREAK:
        return false;
    default:
        return true;
    }
}

/* Goes behind an item, with all that is in it. */
static bool skip(struct answer *at)
{
    unsigned left = at->items;

    return skip_counted(at, 1, &left);
}

bool answer_is_whole(const uint8_t *bytes, size_t length, unsigned items, struct answer *ret)
{
    struct answer all = {.at = bytes, .end = bytes + length, .items = items};

    *ret = all;
    return skip(&all) && all.at == all.end;
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
    }
    bool whole = walk->each == 1 || skip(&walk->at);
    *ret_value = walk->at;
    return whole && skip(&walk->at);
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
    size_t i = 0;
    while (i < index && skip(ret)) {
        i++;
    }
    return i == index;
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
