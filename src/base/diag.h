/*
 * What is wrong with a file, all of it: mistakes are collected with their place and told together, in
 * the order of their place. Bounded: after DIAGS_MAX mistakes the rest are only counted.
 *
 * Each is shown as `FILE:LINE:COL: what is wrong, and what was expected`.
 */
#ifndef POSTERN_BASE_DIAG_H
#define POSTERN_BASE_DIAG_H

#include "base/compiler.h"
#include "base/text.h"
#include <stddef.h>

#define DIAGS_MAX 100

/* A place in a file; both count from 1, and 0 means "the file as a whole". */
struct place {
    unsigned line;
    unsigned column;
};

struct diag {
    struct place place;
    char *message; /* owned */
};

struct diags {
    const char *file; /* not owned; the name to show */
    struct diag *list;
    size_t count; /* of those in `list` */
    size_t total; /* of all that were told */
};

void diags_init(struct diags *diags, const char *file);
void diags_release(struct diags *diags);

/* Adds one mistake. The text has no newline and no full stop. Out of memory still counts in `total`. */
void diags_add(struct diags *diags, struct place place, const char *format, ...) PRINTF_LIKE(3, 4);

/* All of them, sorted by place, one a line, and a last line if some were left out. */
void diags_format(struct diags *diags, struct text *out);

/* The closest of `count` candidates to `word`, for "did you mean": NULL if none is close enough
 * (Damerau-Levenshtein distance at most a third of the word's length, and at least 1). */
const char *diags_nearest(const char *word, const char *const *candidates, size_t count);

#endif
