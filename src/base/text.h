/*
 * A string that grows: for /metrics, /status, and everything else that is built up and then sent whole.
 *
 * Invariant: data[length] is '\0' whenever data is not NULL. When memory runs out, or `limit` would be
 * passed, `failed` is set, later additions do nothing, and the caller looks once, at the end.
 */
#ifndef POSTERN_BASE_TEXT_H
#define POSTERN_BASE_TEXT_H

#include "base/compiler.h"
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct text {
    char *data; /* owned; NULL while empty */
    size_t length;
    size_t capacity;
    size_t limit; /* most bytes `length` may reach; 0: no limit */
    bool failed;
    bool wiped; /* what it lets go of, as it grows, too: for secrets */
};

#define TEXT_INIT    \
    {                \
        .data = NULL \
    }
#define TEXT_SECRET_INIT \
    {                    \
        .wiped = true    \
    }

void text_init(struct text *text, size_t limit); /* not for secrets: TEXT_SECRET_INIT is */
void text_release(struct text *text);            /* frees, and leaves an empty text behind */
void text_clear(struct text *text);              /* empties, keeps the memory */

void text_add(struct text *text, const char *string);
void text_add_bytes(struct text *text, const void *data, size_t length);
void text_add_char(struct text *text, char c);
void text_add_u64(struct text *text, uint64_t number); /* in decimal */

/* Adds `length` bytes, which the caller writes at what is returned. NULL: `failed` is set. */
char *text_add_room(struct text *text, size_t length) MUST_CHECK;
void text_addf(struct text *text, const char *format, ...) PRINTF_LIKE(2, 3);
void text_addv(struct text *text, const char *format, va_list args) PRINTF_LIKE(2, 0);

/* Escaped for the inside of a JSON string, quotes not included. Bytes that are not UTF-8 become U+FFFD. */
void text_add_json(struct text *text, const char *data, size_t length);

/* For people to read, on a terminal maybe: the same, but quotes and backslashes stay as they are. */
void text_add_shown(struct text *text, const char *data, size_t length);

/* What was built ("" if nothing); still owned by `text`. */
const char *text_string(const struct text *text);

#endif
