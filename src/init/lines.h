/*
 * The app's output, as lines on their way to the parent: split, kept while nobody takes them, and dropped, oldest first, when
 * there are more than may be kept.
 *
 *     a pipe --> split into lines --> [ ring, whole lines ] --> [ out: being sent ] --> the stream
 *
 * Empty lines are passed over. Once a line is in `out` it is not dropped any more, so what is sent never breaks off inside of a line. Where lines are missing,
 * a line says how many, in their place.
 */
#ifndef POSTERN_INIT_LINES_H
#define POSTERN_INIT_LINES_H

#include "base/compiler.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define LINES_LINE_MAX 8192u                 /* a longer line becomes several */
#define LINES_OUT_MAX  (2u * LINES_LINE_MAX) /* taken out of the ring at once */
#define LINES_SIZE_MIN (2u * LINES_LINE_MAX) /* of a ring */

struct lines {
    char *ring; /* owned */
    size_t size, head, used;
    uint64_t gap;     /* lines dropped since one was last taken out: not said yet */
    uint64_t dropped; /* all of them */

    size_t open_length; /* of the line that has not come to its end */
    char open[LINES_LINE_MAX];

    size_t out_at, out_length;
    char out[LINES_OUT_MAX];
};

/* `size` is at least LINES_SIZE_MIN. 0 or -ENOMEM. */
int lines_init(struct lines *lines, size_t size) MUST_CHECK;
void lines_release(struct lines *lines); /* harmless when zeroed */

/* Takes in what came. */
void lines_put(struct lines *lines, const char *data, size_t length);

/* A line of its own; not mixed up with one that is being put in pieces. */
void lines_put_line(struct lines *lines, const char *text);

/* Nothing more comes: what has no newline is a line too. */
void lines_end(struct lines *lines);

/* Reads from a non-blocking `fd` into the lines, at most `most` bytes. What read() said: bytes, 0 at the end, or a
 * negative errno value; -EAGAIN: all there is was read. */
ssize_t lines_read(struct lines *lines, int fd, size_t most);

/* What is to be sent next; NULL and 0 if nothing is. Then says how much of it was. */
const char *lines_next(struct lines *lines, size_t *ret_length);
void lines_sent(struct lines *lines, size_t length);

/* Whether everything was sent, but for a line that has no end yet. */
bool lines_empty(const struct lines *lines);

#endif
