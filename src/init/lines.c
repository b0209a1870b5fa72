/* Splitting, keeping, dropping. The ring holds lines with their newlines, and nothing else. */
#include "init/lines.h"
#include "base/units.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int lines_init(struct lines *lines, size_t size)
{
    memset(lines, 0, sizeof *lines);
    lines->ring = malloc(size);
    lines->size = size;
    return lines->ring ? 0 : -ENOMEM;
}

void lines_release(struct lines *lines)
{
    free(lines->ring);
    memset(lines, 0, sizeof *lines);
}

/* ---- The ring ---- */

/* The length of the oldest line, its newline included. */
static size_t oldest(const struct lines *lines)
{
    size_t before_wrap = lines->size - lines->head;
    size_t first = lines->used < before_wrap ? lines->used : before_wrap;
    const char *found = memchr(lines->ring + lines->head, '\n', first);

    if (found) {
        return (size_t)(found - (lines->ring + lines->head)) + 1;
    }
    found = memchr(lines->ring, '\n', lines->used - first);
    return found ? first + (size_t)(found - lines->ring) + 1 : lines->used;
}

static void discard(struct lines *lines, size_t length)
{
    lines->head = (lines->head + length) % lines->size;
    lines->used -= length;
}

static void append(struct lines *lines, const char *data, size_t length)
{
    size_t at = (lines->head + lines->used) % lines->size;
    size_t before_wrap = lines->size - at;
    size_t first = length < before_wrap ? length : before_wrap;

    memcpy(lines->ring + at, data, first);
    memcpy(lines->ring, data + first, length - first);
    lines->used += length;
}

/* `length` without the newline, at most LINES_LINE_MAX. */
static void keep(struct lines *lines, const char *data, size_t length)
{
    while (lines->size - lines->used < length + 1) {
        discard(lines, oldest(lines));
        lines->gap++;
        lines->dropped++;
    }
    append(lines, data, length);
    append(lines, "\n", 1);
}

/* ---- In ---- */

void lines_put(struct lines *lines, const char *data, size_t length)
{
    while (length > 0) {
        const char *end = memchr(data, '\n', length);
        size_t piece = end ? (size_t)(end - data) : length;
        size_t room = sizeof lines->open - lines->open_length;
        bool whole = end && piece <= room;

        piece = piece < room ? piece : room;
        memcpy(lines->open + lines->open_length, data, piece);
        lines->open_length += piece;
        if (whole || lines->open_length == sizeof lines->open) {
            lines_end(lines);
        }
        piece += whole ? 1 : 0; /* and the newline */
        data += piece;
        length -= piece;
    }
}

void lines_put_line(struct lines *lines, const char *text)
{
    keep(lines, text, strnlen(text, LINES_LINE_MAX));
}

void lines_end(struct lines *lines)
{
    if (lines->open_length > 0) {
        keep(lines, lines->open, lines->open_length);
        lines->open_length = 0;
    }
}

ssize_t lines_read(struct lines *lines, int fd, size_t most)
{
    char data[16384];
    ssize_t got = read(fd, data, most < sizeof data ? most : sizeof data);

    if (got < 0) {
        return -errno;
    }
    lines_put(lines, data, (size_t)got);
    return got;
}

/* ---- Out ---- */

/* As many whole lines as there is room for. */
static void refill(struct lines *lines)
{
    lines->out_at = lines->out_length = 0;
    if (lines->gap > 0) {
        lines->out_length =
            (size_t)snprintf(lines->out, sizeof lines->out, "postern: %" PRIu64 " line%s dropped here\n",
                             lines->gap, units_plural(lines->gap));
        lines->gap = 0;
    }
    while (lines->used > 0) {
        size_t length = oldest(lines), before_wrap = lines->size - lines->head;
        size_t first = length < before_wrap ? length : before_wrap;

        if (length > sizeof lines->out - lines->out_length) {
            break;
        }
        memcpy(lines->out + lines->out_length, lines->ring + lines->head, first);
        memcpy(lines->out + lines->out_length + first, lines->ring, length - first);
        lines->out_length += length;
        discard(lines, length);
    }
}

const char *lines_next(struct lines *lines, size_t *ret_length)
{
    if (lines->out_at == lines->out_length) {
        refill(lines);
    }
    *ret_length = lines->out_length - lines->out_at;
    return *ret_length > 0 ? lines->out + lines->out_at : NULL;
}

void lines_sent(struct lines *lines, size_t length)
{
    lines->out_at += length;
}

bool lines_empty(const struct lines *lines)
{
    return lines->used == 0 && lines->gap == 0 && lines->out_at == lines->out_length;
}
