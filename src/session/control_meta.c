/* Meta, and the writer that it shares with the maps around it. */
#include "session/control_meta.h"

#include <cbor.h>
#include <string.h>

static void advance(struct control_writer *writer, size_t written)
{
    if (written == 0) {
        writer->failed = true;
    }
    writer->at += written;
}

static size_t room(const struct control_writer *writer)
{
    return writer->failed ? 0 : (size_t)(writer->end - writer->at);
}

void control_put_uint(struct control_writer *writer, uint64_t value)
{
    advance(writer, cbor_encode_uint(value, writer->at, room(writer)));
}

void control_put_map(struct control_writer *writer, size_t entries)
{
    advance(writer, cbor_encode_map_start(entries, writer->at, room(writer)));
}

void control_put_string(struct control_writer *writer, bool binary, struct control_text string)
{
    advance(writer, binary ? cbor_encode_bytestring_start(string.length, writer->at, room(writer))
                           : cbor_encode_string_start(string.length, writer->at, room(writer)));
    if (string.length > room(writer) || (!binary && !control_printable(string))) {
        writer->failed = true;
        return;
    }
    if (string.length > 0) {
        memcpy(writer->at, string.data, string.length);
    }
    writer->at += string.length;
}

/* The order of the encoded keys: since the length is in the first bytes, shorter comes first. */
static int compare(struct control_text a, struct control_text b)
{
    if (a.length != b.length) {
        return a.length < b.length ? -1 : 1;
    }
    return a.length == 0 ? 0 : memcmp(a.data, b.data, a.length);
}

void control_put_meta(struct control_writer *writer, const struct control_open *open)
{
    const struct control_meta_entry *last = NULL;

    control_put_map(writer, open->meta_count);
    for (size_t i = 0; i < open->meta_count; i++) {
        const struct control_meta_entry *next = NULL;

        for (size_t j = 0; j < open->meta_count; j++) {
            const struct control_meta_entry *entry = &open->meta[j];
            if (last && compare(entry->key, last->key) <= 0) {
                continue;
            }
            if (!next || compare(entry->key, next->key) < 0) {
                next = entry;
            }
        }
        if (!next) { /* a key stands there twice */
            writer->failed = true;
            return;
        }
        control_put_string(writer, false, next->key);
        control_put_string(writer, next->binary, next->value);
        last = next;
    }
}

static struct control_text text_of(const struct control_item *item)
{
    return (struct control_text){(const char *)item->bytes, item->length};
}

static bool get_value(struct control_reader *reader, struct control_meta_entry *entry)
{
    struct control_item item;

    if (!control_read(reader, &item)) {
        return false;
    }
    if ((item.type != CONTROL_TEXT && item.type != CONTROL_BYTES) || item.length > CONTROL_META_VALUE_MAX) {
        return control_broken(reader, "C-9: a value of the wrong type or out of its range");
    }
    entry->value = text_of(&item);
    entry->binary = item.type == CONTROL_BYTES;
    return true;
}

bool control_get_meta(struct control_reader *reader, struct control_open *open)
{
    struct control_item item;

    if (!control_read_typed(reader, CONTROL_MAP, 0, &item)) {
        return false;
    }
    if (item.value > CONTROL_META_MAX) {
        return control_broken(reader, "C-9: a value of the wrong type or out of its range");
    }
    for (size_t i = 0; i < item.value; i++) {
        struct control_item key;

        if (!control_read_typed(reader, CONTROL_TEXT, CONTROL_META_KEY_MAX, &key)) {
            return false;
        }
        open->meta[i].key = text_of(&key);
        if (i > 0 && compare(open->meta[i - 1].key, open->meta[i].key) >= 0) {
            return control_broken(reader, "C-3: keys of meta that are not in ascending order");
        }
        if (!get_value(reader, &open->meta[i])) {
            return false;
        }
        open->meta_count = i + 1;
    }
    return true;
}
