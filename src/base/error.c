/* Errors as text, in a buffer the caller brought. */
#include "base/error.h"

#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Formats into `buffer`, cutting what does not fit; returns the length that is there. */
static size_t PRINTF_LIKE(3, 0) format_cut(char *buffer, size_t size, const char *format, va_list args)
{
    int length = vsnprintf(buffer, size, format, args);

    if (length < 0) {
        buffer[0] = '\0';
        return 0;
    }
    return (size_t)length < size ? (size_t)length : size - 1;
}

/* Appends to a text of `length`, cutting what does not fit; returns the new length. */
static size_t append_cut(char text[ERROR_TEXT_MAX], size_t length, const char *more)
{
    size_t room = strnlen(more, ERROR_TEXT_MAX - 1 - length);

    memcpy(text + length, more, room);
    text[length + room] = '\0';
    return length + room;
}

/* Every text is made in a buffer of its own first, so that an argument may be the old text itself. */
int error_set(struct error *err, int code, const char *format, ...)
{
    char text[ERROR_TEXT_MAX];
    va_list args;
    size_t length;

    if (!err) {
        return code;
    }
    va_start(args, format);
    length = format_cut(text, sizeof(text), format, args);
    va_end(args);
    memcpy(err->text, text, length + 1);
    return code;
}

int error_errno(struct error *err, int code, const char *format, ...)
{
    char text[ERROR_TEXT_MAX];
    va_list args;
    size_t length;

    if (!err) {
        return code;
    }
    va_start(args, format);
    length = format_cut(text, sizeof(text), format, args);
    va_end(args);
    length = append_cut(text, length, ": ");
    append_cut(text, length, error_words(code));
    memcpy(err->text, text, sizeof(text));
    return code;
}

void error_prefix(struct error *err, const char *format, ...)
{
    char text[ERROR_TEXT_MAX];
    va_list args;
    size_t length;

    if (!err) {
        return;
    }
    va_start(args, format);
    length = format_cut(text, sizeof(text), format, args);
    va_end(args);
    if (err->text[0]) {
        length = append_cut(text, length, ": ");
        append_cut(text, length, err->text);
    }
    memcpy(err->text, text, sizeof(text));
}

const char *error_words(int code)
{
    /* Valid until the same thread asks for another number the system has no words for. */
    static _Thread_local char unknown[32];
    const char *words = code <= 0 && code > INT_MIN ? strerrordesc_np(-code) : NULL;

    if (words) {
        return words;
    }
    snprintf(unknown, sizeof(unknown), "unknown error %d", code);
    return unknown;
}
