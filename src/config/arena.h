/*
 * Memory that goes all at once: the nodes of a tree, the strings of a configuration. Not thread-safe.
 */
#ifndef POSTERN_CONFIG_ARENA_H
#define POSTERN_CONFIG_ARENA_H

#include "base/compiler.h"
#include <stddef.h>

struct arena {
    struct arena_piece *pieces; /* each allocation by itself, so that a sanitizer sees its bounds */
};

#define ARENA_INIT     \
    {                  \
        .pieces = NULL \
    }

/* Zeroed memory for `count` objects of `size` bytes, valid until arena_release(); never NULL for a count of
 * 0. NULL: out of memory. */
void *arena_alloc(struct arena *arena, size_t count, size_t size) MUST_CHECK;

/* The first `length` bytes of `data` with an end put behind them. NULL: out of memory. */
char *arena_string(struct arena *arena, const char *data, size_t length) MUST_CHECK;

void arena_release(struct arena *arena);

#endif
