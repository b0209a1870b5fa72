/*
 * Memory for jansson while all other memory fails. jansson (2.14) does not survive want of it while it reads a document: it runs on, into
 * an assert() of its own or into freed memory.
 *
 *     struct json_arena_before before = json_arena_use();
 *     fault_loop(...);                   each round begins with json_arena_clear()
 *     json_arena_leave(before);
 */
#ifndef POSTERN_TESTS_JSON_ARENA_H
#define POSTERN_TESTS_JSON_ARENA_H

#include <jansson.h>
#include <stddef.h>

static char json_arena[8 * 1024 * 1024];
static size_t json_arena_used;

struct json_arena_before {
    json_malloc_t malloc;
    json_free_t free;
};

static inline void json_arena_clear(void)
{
    json_arena_used = 0;
}

static inline void *json_arena_malloc(size_t size)
{
    size_t at = json_arena_used;
    json_arena_used += (size + 15) / 16 * 16;
    return json_arena_used <= sizeof json_arena ? json_arena + at : NULL;
}

static inline void json_arena_free(void *pointer)
{
    (void)pointer;
}

static inline struct json_arena_before json_arena_use(void)
{
    struct json_arena_before before;
    json_get_alloc_funcs(&before.malloc, &before.free);
    json_set_alloc_funcs(json_arena_malloc, json_arena_free);
    return before;
}

static inline void json_arena_leave(struct json_arena_before before)
{
    json_set_alloc_funcs(before.malloc, before.free);
}

#endif
