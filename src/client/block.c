/* Blocks of input: see block.h. */
#include "client/block.h"

#include <stdlib.h>

struct block *block_new(size_t *live)
{
    struct block *block = malloc(sizeof(*block));

    if (!block) {
        return NULL;
    }
    block->references = 1;
    block->live = live;
    ++*live;
    return block;
}

struct block *block_hold(struct block *block)
{
    block->references++;
    return block;
}

void block_release(struct block *block)
{
    if (!block || --block->references > 0) {
        return;
    }
    --*block->live;
    free(block);
}
