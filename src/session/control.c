/*
 * The control frames as tables: one row a key, from which both encoding and decoding follow.
 */
#include "session/control.h"
#include "session/control_meta.h"

#include <string.h>

#define FIRST_IGNORED_KEY 64u

enum field_type {
    U32,
    U64,
    FLAG,
    TEXT,
    VERSIONS, /* of struct control_hello */
    META,     /* of struct control_open */
};

struct field {
    uint32_t key;
    enum field_type type;
    bool required;
    size_t offset; /* in the struct */
    uint64_t min;
    uint64_t max; /* of the number, or of the text's length */
};

static const struct field hello_fields[] = {
    {1, VERSIONS, true, 0, 1, UINT16_MAX},
    {2, U32, true, offsetof(struct control_hello, role), 0, 1},
    {3, U32, true, offsetof(struct control_hello, max_payload), FRAME_PAYLOAD_MIN, FRAME_PAYLOAD_MAX},
    {4, U32, true, offsetof(struct control_hello, max_streams), 0, CONTROL_STREAMS_MAX},
    {5, U64, true, offsetof(struct control_hello, stream_window), CONTROL_WINDOW_MIN, CONTROL_WINDOW_MAX},
    {6, U64, true, offsetof(struct control_hello, session_window), CONTROL_SESSION_WINDOW_MIN,
     CONTROL_WINDOW_MAX},
    {7, U32, true, offsetof(struct control_hello, ping_interval), CONTROL_PING_MIN, CONTROL_PING_MAX},
    {8, U64, false, offsetof(struct control_hello, features), 0, UINT64_MAX},
    {9, TEXT, false, offsetof(struct control_hello, build), 0, CONTROL_BUILD_MAX},
};

static const struct field open_fields[] = {
    {1, TEXT, true, offsetof(struct control_open, route), 1, CONTROL_ROUTE_MAX},
    {2, U32, false, offsetof(struct control_open, kind), 0, UINT32_MAX},
    {3, META, false, 0, 0, CONTROL_META_MAX},
    {4, U32, false, offsetof(struct control_open, timeout_ms), 0, UINT32_MAX},
};

static const struct field refused_fields[] = {
    {1, U32, true, offsetof(struct control_refused, code), 0, UINT32_MAX},
    {2, TEXT, false, offsetof(struct control_refused, message), 0, CONTROL_MESSAGE_MAX},
    {3, FLAG, true, offsetof(struct control_refused, retryable), 0, 1},
};

static const struct field goaway_fields[] = {
    {1, U32, true, offsetof(struct control_goaway, last_stream), 0, UINT32_MAX},
    {2, U32, true, offsetof(struct control_goaway, code), 0, UINT32_MAX},
    {3, TEXT, false, offsetof(struct control_goaway, message), 0, CONTROL_MESSAGE_MAX},
    {4, U32, false, offsetof(struct control_goaway, deadline_ms), 0, UINT32_MAX},
};

struct map {
    const struct field *fields;
    size_t count;
};

#define MAP(table) ((struct map){(table), ARRAY_SIZE(table)})

/* Fields are reached by their offset, as what their type says they are. */
static uint64_t number(const struct field *field, const void *object)
{
    const char *at = (const char *)object + field->offset;
    uint32_t small;
    uint64_t large;

    if (field->type == FLAG) {
        return *(const bool *)at;
    }
    if (field->type == U32) {
        memcpy(&small, at, sizeof(small));
        return small;
    }
    memcpy(&large, at, sizeof(large));
    return large;
}

static void set_number(const struct field *field, void *object, uint64_t value)
{
    char *at = (char *)object + field->offset;
    uint32_t small = (uint32_t)value;

    if (field->type == FLAG) {
        *(bool *)at = value != 0;
    } else if (field->type == U32) {
        memcpy(at, &small, sizeof(small));
    } else {
        memcpy(at, &value, sizeof(value));
    }
}

static struct control_text text_in(const struct field *field, const void *object)
{
    struct control_text text;

    memcpy(&text, (const char *)object + field->offset, sizeof(text));
    return text;
}

static bool present(const struct field *field, const void *object)
{
    if (field->required) {
        return true;
    }
    if (field->type == TEXT) {
        return text_in(field, object).data != NULL;
    }
    if (field->type == META) {
        return ((const struct control_open *)object)->meta_count > 0;
    }
    return number(field, object) != 0;
}

static void put_versions(struct control_writer *writer, const struct control_hello *hello)
{
    /* An array of two: the one array there is. */
    if (writer->at < writer->end && !writer->failed) {
        *writer->at++ = 0x82;
    }
    control_put_uint(writer, hello->version_min);
    control_put_uint(writer, hello->version_max);
}

static void put_value(struct control_writer *writer, const struct field *field, const void *object)
{
    uint64_t size;

    if (field->type == VERSIONS) {
        put_versions(writer, object);
        return;
    }
    if (field->type == META) {
        control_put_meta(writer, object);
        return;
    }
    size = field->type == TEXT ? text_in(field, object).length : number(field, object);
    if (size < field->min || size > field->max) {
        writer->failed = true;
    } else if (field->type == TEXT) {
        control_put_string(writer, false, text_in(field, object));
    } else if (field->type == FLAG && writer->at < writer->end) {
        *writer->at++ = size ? 0xf5 : 0xf4;
    } else {
        control_put_uint(writer, size);
    }
}

static size_t encode(struct map map, const void *object, uint8_t *out, size_t size)
{
    struct control_writer writer = {out, out + size, false};
    size_t entries = 0;

    for (size_t i = 0; i < map.count; i++) {
        entries += present(&map.fields[i], object);
    }
    control_put_map(&writer, entries);
    for (size_t i = 0; i < map.count; i++) {
        if (!present(&map.fields[i], object)) {
            continue;
        }
        control_put_uint(&writer, map.fields[i].key);
        put_value(&writer, &map.fields[i], object);
    }
    return writer.failed ? 0 : (size_t)(writer.at - out);
}

static bool get_versions(struct control_reader *reader, const struct field *field,
                         struct control_hello *hello)
{
    struct control_item item, min, max;

    if (!control_read_typed(reader, CONTROL_ARRAY, 0, &item) ||
        !control_read_typed(reader, CONTROL_UINT, field->max, &min) ||
        !control_read_typed(reader, CONTROL_UINT, field->max, &max)) {
        return false;
    }
    if (item.value != 2 || min.value < field->min || min.value > max.value) {
        return control_broken(reader, "C-9: a value of the wrong type or out of its range");
    }
    hello->version_min = (uint32_t)min.value;
    hello->version_max = (uint32_t)max.value;
    return true;
}

static bool get_text(struct control_reader *reader, const struct field *field, void *object)
{
    struct control_item item;
    struct control_text text;

    if (!control_read_typed(reader, CONTROL_TEXT, field->max, &item)) {
        return false;
    }
    if (item.length < field->min) {
        return control_broken(reader, "C-9: a value of the wrong type or out of its range");
    }
    text = (struct control_text){(const char *)item.bytes, item.length};
    memcpy((char *)object + field->offset, &text, sizeof(text));
    return true;
}

static bool get_value(struct control_reader *reader, const struct field *field, void *object)
{
    struct control_item item;

    if (field->type == VERSIONS) {
        return get_versions(reader, field, object);
    }
    if (field->type == META) {
        return control_get_meta(reader, object);
    }
    if (field->type == TEXT) {
        return get_text(reader, field, object);
    }
    if (!control_read_typed(reader, field->type == FLAG ? CONTROL_BOOL : CONTROL_UINT, field->max, &item)) {
        return false;
    }
    if (item.value < field->min) {
        return control_broken(reader, "C-9: a value of the wrong type or out of its range");
    }
    set_number(field, object, item.value);
    return true;
}

static const struct field *find(struct map map, uint64_t key)
{
    for (size_t i = 0; i < map.count; i++) {
        if (map.fields[i].key == key) {
            return &map.fields[i];
        }
    }
    return NULL;
}

static bool get_entry(struct control_reader *reader, struct map map, void *object, uint64_t key)
{
    const struct field *field = find(map, key);

    if (field) {
        return get_value(reader, field, object);
    }
    if (key < FIRST_IGNORED_KEY) {
        return control_broken(reader, "C-7: an unknown key below 64");
    }
    return control_skip(reader, 2);
}

static bool decode(struct map map, const uint8_t *bytes, size_t length, void *object, struct breach *breach)
{
    struct control_reader reader;
    struct control_item head, key;
    uint64_t seen = 0, least = 0;

    control_reader_init(&reader, bytes, length, breach);
    if (!control_read(&reader, &head)) {
        return false;
    }
    if (head.type != CONTROL_MAP) {
        return control_broken(&reader, "C-1: the payload is not one whole CBOR map");
    }
    for (uint64_t i = 0; i < head.value; i++) {
        if (!control_read(&reader, &key)) {
            return false;
        }
        if (key.type != CONTROL_UINT || key.value < least || key.value > UINT32_MAX) {
            return control_broken(&reader, "C-3: keys that are not integers in ascending order");
        }
        least = key.value + 1;
        if (!get_entry(&reader, map, object, key.value)) {
            return false;
        }
        if (key.value < FIRST_IGNORED_KEY) {
            seen |= UINT64_C(1) << key.value;
        }
    }
    if (!control_at_end(&reader)) {
        return false;
    }
    for (size_t i = 0; i < map.count; i++) {
        if (map.fields[i].required && !(seen & UINT64_C(1) << map.fields[i].key)) {
            return control_broken(&reader, "C-8: a key is missing");
        }
    }
    return true;
}

size_t control_encode_hello(const struct control_hello *hello, uint8_t *out, size_t size)
{
    return encode(MAP(hello_fields), hello, out, size);
}

size_t control_encode_open(const struct control_open *open, uint8_t *out, size_t size)
{
    return encode(MAP(open_fields), open, out, size);
}

size_t control_encode_opened(uint8_t *out, size_t size)
{
    return encode((struct map){NULL, 0}, NULL, out, size);
}

size_t control_encode_refused(const struct control_refused *refused, uint8_t *out, size_t size)
{
    return encode(MAP(refused_fields), refused, out, size);
}

size_t control_encode_goaway(const struct control_goaway *goaway, uint8_t *out, size_t size)
{
    return encode(MAP(goaway_fields), goaway, out, size);
}

bool control_decode_hello(const uint8_t *bytes, size_t length, struct control_hello *ret,
                          struct breach *breach)
{
    memset(ret, 0, sizeof(*ret));
    return decode(MAP(hello_fields), bytes, length, ret, breach);
}

bool control_decode_open(const uint8_t *bytes, size_t length, struct control_open *ret, struct breach *breach)
{
    memset(ret, 0, sizeof(*ret));
    return decode(MAP(open_fields), bytes, length, ret, breach);
}

bool control_decode_opened(const uint8_t *bytes, size_t length, struct breach *breach)
{
    return decode((struct map){NULL, 0}, bytes, length, NULL, breach);
}

bool control_decode_refused(const uint8_t *bytes, size_t length, struct control_refused *ret,
                            struct breach *breach)
{
    memset(ret, 0, sizeof(*ret));
    return decode(MAP(refused_fields), bytes, length, ret, breach);
}

bool control_decode_goaway(const uint8_t *bytes, size_t length, struct control_goaway *ret,
                           struct breach *breach)
{
    memset(ret, 0, sizeof(*ret));
    return decode(MAP(goaway_fields), bytes, length, ret, breach);
}

const struct control_meta_entry *control_meta_find(const struct control_open *open, const char *key)
{
    size_t length = strlen(key);

    for (size_t i = 0; i < open->meta_count; i++) {
        if (open->meta[i].key.length == length && memcmp(open->meta[i].key.data, key, length) == 0) {
            return &open->meta[i];
        }
    }
    return NULL;
}

bool control_printable(struct control_text text)
{
    for (size_t i = 0; i < text.length; i++) {
        if (text.data[i] < 0x20 || text.data[i] > 0x7e) {
            return false;
        }
    }
    return true;
}

struct control_text control_message(const char *string, char buffer[CONTROL_MESSAGE_MAX + 1])
{
    size_t length = string ? strnlen(string, CONTROL_MESSAGE_MAX) : 0;

    if (!string) {
        return (struct control_text){NULL, 0};
    }
    for (size_t i = 0; i < length; i++) {
        buffer[i] = string[i] >= 0x20 && string[i] <= 0x7e ? string[i] : '?';
    }
    buffer[length] = '\0';
    return (struct control_text){buffer, length};
}

struct control_text control_text(const char *string)
{
    return (struct control_text){string, string ? strlen(string) : 0};
}
