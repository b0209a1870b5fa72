/* A string that grows. */
#include "base/text.h"

#include "base/escape.h"
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_CAPACITY 256

void text_init(struct text *text, size_t limit)
{
    *text = (struct text){.limit = limit};
}

static void drop(struct text *text)
{
    if (text->wiped && text->data) {
        explicit_bzero(text->data, text->capacity);
    }
    free(text->data);
    text->data = NULL;
}

void text_release(struct text *text)
{
    drop(text);
    *text = (struct text){.limit = text->limit, .wiped = text->wiped};
}

void text_clear(struct text *text)
{
    if (text->wiped && text->data) {
        explicit_bzero(text->data, text->capacity);
    }
    text->length = 0;
    text->failed = false;
    if (text->data) {
        text->data[0] = '\0';
    }
}

/* What realloc() leaves behind is what nobody can wipe. */
static char *grow(struct text *text, size_t capacity)
{
    char *data;

    if (!text->wiped) {
        return realloc(text->data, capacity);
    }
    data = malloc(capacity);
    if (data && text->data) {
        memcpy(data, text->data, text->length + 1);
        drop(text);
    }
    return data;
}

/* Makes room for `more` bytes and the terminator; false sets `failed`, and the text stays as it was. */
static bool reserve(struct text *text, size_t more)
{
    size_t limit = text->limit ? text->limit : SIZE_MAX / 2;
    size_t capacity;
    char *data;

    if (text->failed) {
        return false;
    }
    if (more > limit || text->length > limit - more) {
        text->failed = true;
        return false;
    }
    if (text->length + more < text->capacity) {
        return true;
    }
    capacity = text->capacity ? text->capacity : FIRST_CAPACITY;
    while (capacity <= text->length + more) {
        capacity *= 2;
    }
    if (capacity > limit + 1) {
        capacity = limit + 1;
    }
    data = grow(text, capacity);
    if (!data) {
        text->failed = true;
        return false;
    }
    text->data = data;
    text->capacity = capacity;
    return true;
}

void text_add(struct text *text, const char *string)
{
    text_add_bytes(text, string, strlen(string));
}

char *text_add_room(struct text *text, size_t length)
{
    char *room;

    if (!reserve(text, length)) {
        return NULL;
    }
    room = text->data + text->length;
    text->length += length;
    text->data[text->length] = '\0';
    return room;
}

void text_add_bytes(struct text *text, const void *data, size_t length)
{
    char *room = text_add_room(text, length);

    if (room && length > 0) {
        memcpy(room, data, length);
    }
}

void text_add_char(struct text *text, char c)
{
    if (reserve(text, 1)) {
        text->data[text->length++] = c;
        text->data[text->length] = '\0';
    }
}

void text_add_u64(struct text *text, uint64_t number)
{
    char digits[20];
    size_t at = sizeof digits;

    do {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    text_add_bytes(text, digits + at, sizeof digits - at);
}

void text_addf(struct text *text, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    text_addv(text, format, args);
    va_end(args);
}

/* Into the room that is there already, and once more if that was too little. */
void text_addv(struct text *text, const char *format, va_list args)
{
    va_list again;
    size_t room;
    int length;

    if (!reserve(text, 0)) {
        return;
    }
    va_copy(again, args);
    room = text->capacity - text->length;
    length = vsnprintf(text->data + text->length, room, format, args);
    if (length < 0) {
        text->failed = true;
    } else if (reserve(text, (size_t)length)) {
        if ((size_t)length >= room) {
            vsnprintf(text->data + text->length, (size_t)length + 1, format, again);
        }
        text->length += (size_t)length;
    }
    text->data[text->length] = '\0';
    va_end(again);
}

/* What stands for itself, or the escaped character that comes first. Returns how much of `data` that was. */
static size_t add_some(struct text *text, const char *data, size_t length, const char *also_plain)
{
    char escaped[ESCAPE_MAX];
    size_t used = escape_plain(data, length);

    if (used == 0 && *data != '\0' && strchr(also_plain, *data)) {
        used = 1;
    }
    if (used > 0) {
        text_add_bytes(text, data, used);
    } else {
        text_add_bytes(text, escaped, escape_json(data, length, escaped, &used));
    }
    return used;
}

static void add_escaped(struct text *text, const char *data, size_t length, const char *also_plain)
{
    while (length > 0 && !text->failed) {
        size_t used = add_some(text, data, length, also_plain);

        data += used;
        length -= used;
    }
}

void text_add_json(struct text *text, const char *data, size_t length)
{
    add_escaped(text, data, length, "");
}

void text_add_shown(struct text *text, const char *data, size_t length)
{
    add_escaped(text, data, length, "\"\\");
}

const char *text_string(const struct text *text)
{
    return text->data ? text->data : "";
}
