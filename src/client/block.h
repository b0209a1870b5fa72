/*
 * A piece of memory that a socket is read into, counted so that what came can be handed on without copying
 * it. Not for several threads at once: whoever counts holds the connection's lock.
 */
#ifndef POSTERN_CLIENT_BLOCK_H
#define POSTERN_CLIENT_BLOCK_H

#include "base/compiler.h"
#include <stddef.h>
#include <stdint.h>

#define BLOCK_SIZE 65536u

struct block {
    unsigned references;
    size_t *live; /* blocks that the owner has out; outlives them */
    uint8_t bytes[BLOCK_SIZE];
};

/* One reference, the caller's. NULL: out of memory. */
struct block *block_new(size_t *live) MUST_CHECK;

struct block *block_hold(struct block *block);
void block_release(struct block *block); /* NULL is let pass */

#endif
