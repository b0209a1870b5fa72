/* jansson's memory: see json_memory.h. Each piece has a header, which remembers how large it is. */
#include "cli/json_memory.h"

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

union header {
    size_t size; /* of what follows */
    max_align_t alignment;
};

static void *allocate(size_t size)
{
    union header *header = size <= SIZE_MAX - sizeof *header ? malloc(sizeof *header + size) : NULL;
    if (header == NULL) {
        return NULL;
    }
    header->size = size;
    return header + 1;
}

static void wipe_and_free(void *memory)
{
    union header *header = memory;
    if (header != NULL) {
        header--;
        explicit_bzero(memory, header->size);
        free(header);
    }
}

void json_memory_wipe_all(void)
{
    json_set_alloc_funcs(allocate, wipe_and_free);
}
