/* Text of others, escaped: see shown.h. */
#include "ctl/shown.h"

#include "base/escape.h"
#include "base/text.h"
#include <errno.h>
#include <string.h>

void shown_put(FILE *out, const char *text, size_t length)
{
    while (length > 0) {
        char escaped[ESCAPE_MAX];
        size_t used = escape_plain(text, length);
        if (used == 0 && (*text == '"' || *text == '\\')) {
            used = 1;
        }
        if (used > 0) {
            (void)fwrite(text, 1, used, out);
        } else {
            (void)fwrite(escaped, 1, escape_json(text, length, escaped, &used), out);
        }
        text += used;
        length -= used;
    }
}

void shown_put_lines(FILE *out, const char *text, size_t length)
{
    const char *end = text + length, *newline;
    for (; (newline = memchr(text, '\n', (size_t)(end - text))) != NULL; text = newline + 1) {
        shown_put(out, text, (size_t)(newline - text));
        fputc('\n', out);
    }
    shown_put(out, text, (size_t)(end - text));
}

static void add_lines(struct text *shown, const char *text, size_t length)
{
    const char *end = text + length, *newline;
    for (; (newline = memchr(text, '\n', (size_t)(end - text))) != NULL; text = newline + 1) {
        text_add_shown(shown, text, (size_t)(newline - text));
        text_add_char(shown, '\n');
    }
    text_add_shown(shown, text, (size_t)(end - text));
}

json_t *shown_json(const char *text, size_t length)
{
    json_t *string = json_stringn(text, length);
    struct text shown = TEXT_INIT;
    if (string != NULL) {
        return string;
    }
    add_lines(&shown, text, length);
    string = shown.failed ? NULL : json_string(text_string(&shown));
    text_release(&shown);
    return string;
}

static int make_string(json_t *string)
{
    const char *text = json_string_value(string);
    struct text shown = TEXT_INIT;
    add_lines(&shown, text, strlen(text));
    int r = shown.failed || json_string_set(string, text_string(&shown)) != 0 ? -ENOMEM : 0;
    text_release(&shown);
    return r;
}

/* As deep as the parser went, and no deeper. */
int shown_make(json_t *value)
{
    const char *name;
    json_t *inner;
    size_t index;
    int r = 0;
    if (json_is_string(value)) {
        return make_string(value);
    }
    json_object_foreach(value, name, inner)
    {
        r = r == 0 ? shown_make(inner) : r;
    }
    json_array_foreach(value, index, inner)
    {
        r = r == 0 ? shown_make(inner) : r;
    }
    return r;
}
