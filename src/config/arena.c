/* Memory that goes all at once: one list of pieces. */
#include "config/arena.h"
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct arena_piece {
    struct arena_piece *next;
    max_align_t data[];
};

void *arena_alloc(struct arena *arena, size_t count, size_t size)
{
    if (size != 0 && count > (SIZE_MAX - sizeof(struct arena_piece)) / size) {
        return NULL;
    }
    struct arena_piece *piece = calloc(1, sizeof *piece + count * size);
    if (piece == NULL) {
        return NULL;
    }
    piece->next = arena->pieces;
    arena->pieces = piece;
    return piece->data;
}

char *arena_string(struct arena *arena, const char *data, size_t length)
{
    char *string = arena_alloc(arena, length + 1, 1);
    if (string != NULL && length > 0) {
        memcpy(string, data, length);
    }
    return string;
}

void arena_release(struct arena *arena)
{
    while (arena->pieces != NULL) {
        struct arena_piece *piece = arena->pieces;
        arena->pieces = piece->next;
        free(piece);
    }
}
