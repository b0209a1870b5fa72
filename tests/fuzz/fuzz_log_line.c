/*
 * Any bytes as the values of a line, zeros parting them; the first byte picks the format. The line must
 * be one line, and in JSON whatever is between its quotes must not end them.
 */
#include "base/log_private.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
    if (!holds) {
        abort();
    }
}

/* Past the string that begins at `at`, by JSON's rules. */
static size_t skip_string(const struct log_line *line, size_t at)
{
    require(line->data[at] == '"');
    for (at++; line->data[at] != '"'; at++) {
        require(at + 2 < line->length && (unsigned char)line->data[at] >= 0x20);
        if (line->data[at] == '\\') {
            at++;
        }
    }
    return at + 1;
}

/* An object of strings, and of the one value that is not: the mark of a truncated line. */
static void check_json(const struct log_line *line)
{
    size_t at = 0;

    do {
        require(line->data[at] == (at == 0 ? '{' : ','));
        at = skip_string(line, at + 1);
        require(line->data[at] == ':');
        if (line->data[at + 1] == 't') {
            at += strlen(":true");
        } else {
            at = skip_string(line, at + 1);
        }
    } while (line->data[at] == ',');
    require(line->data[at] == '}' && at + 2 == line->length);
}

static void check_line(const struct log_line *line)
{
    require(line->length > 0 && line->length <= LOG_LINE_MAX);
    for (size_t i = 0; i + 1 < line->length; i++) {
        require((unsigned char)line->data[i] >= 0x20 && line->data[i] != 0x7f);
    }
    require(line->data[line->length - 1] == '\n');
    if (line->json) {
        check_json(line);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct log_line line;
    char *values;

    if (size == 0) {
        return 0;
    }
    values = malloc(size);
    if (!values) {
        return 0;
    }
    memcpy(values, data + 1, size - 1);
    values[size - 1] = '\0';
    log_set(LOG_LEVEL_INFO, data[0] % 2 ? LOG_FORMAT_JSON : LOG_FORMAT_TEXT);
    log_begin(&line, LOG_LEVEL_INFO, "stream ended");
    for (size_t at = 0; at < size; at += strlen(values + at) + 1) {
        log_str(&line, "value", values + at);
    }
    log_line_finish(&line);
    check_line(&line);
    free(values);
    return 0;
}
