/*
 * Channels by their stream's id. Chained; ids are spread by a seeded hash, so that a peer cannot keep open just those
 * streams that meet in one chain. Growing may fail: then the chains are longer.
 */
#ifndef POSTERN_SESSION_TABLE_H
#define POSTERN_SESSION_TABLE_H

#include "base/compiler.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct channel;

struct table {
    struct channel **buckets; /* owned */
    size_t count;
    uint32_t seed;
    uint8_t bits; /* 2^bits buckets */
};

bool table_init(struct table *table, uint32_t seed) MUST_CHECK;
void table_release(struct table *table);
void table_add(struct table *table, struct channel *channel);
void table_remove(struct table *table, struct channel *channel);
struct channel *table_find(const struct table *table, uint32_t id);

/* Calls `visit` for each. It may remove any of them, so long as their memory stays until the walk is over, and adds
 * none. */
void table_each(const struct table *table, void (*visit)(struct channel *channel, void *arg), void *arg);

#endif
