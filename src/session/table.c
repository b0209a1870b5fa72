/* A chained hash table that grows by doubling and never shrinks. */
#include "session/table.h"

#include "session/session_private.h"
#include <stdlib.h>

#define BITS_AT_FIRST 3
#define BITS_AT_MOST  24

static size_t size_of(uint8_t bits)
{
    return (size_t)1 << bits;
}

/* Multiplicative hashing of a secret's and the id's mixture (the finaliser of MurmurHash3). */
static struct channel **bucket(struct channel **buckets, uint8_t bits, uint32_t seed, uint32_t id)
{
    uint32_t hash = id ^ seed;

    hash = (hash ^ hash >> 16) * 0x85ebca6bu;
    hash = (hash ^ hash >> 13) * 0xc2b2ae35u;
    hash ^= hash >> 16;
    return &buckets[hash & (size_of(bits) - 1)];
}

bool table_init(struct table *table, uint32_t seed)
{
    *table = (struct table){.seed = seed, .bits = BITS_AT_FIRST};
    table->buckets = calloc(size_of(BITS_AT_FIRST), sizeof(struct channel *));
    return table->buckets != NULL;
}

void table_release(struct table *table)
{
    free(table->buckets);
    table->buckets = NULL;
}

static void push(struct channel **head, struct channel *channel)
{
    channel->next_in_bucket = *head;
    *head = channel;
}

static void grow(struct table *table)
{
    uint8_t bits = (uint8_t)(table->bits + 1);
    struct channel **larger = calloc(size_of(bits), sizeof(struct channel *));

    if (!larger) {
        return;
    }
    for (size_t i = 0; i < size_of(table->bits); i++) {
        struct channel *next;
        for (struct channel *channel = table->buckets[i]; channel; channel = next) {
            next = channel->next_in_bucket;
            push(bucket(larger, bits, table->seed, channel->id), channel);
        }
    }
    free(table->buckets);
    table->buckets = larger;
    table->bits = bits;
}

void table_add(struct table *table, struct channel *channel)
{
    if (table->count >= size_of(table->bits) && table->bits < BITS_AT_MOST) {
        grow(table);
    }
    push(bucket(table->buckets, table->bits, table->seed, channel->id), channel);
    table->count++;
}

void table_remove(struct table *table, struct channel *channel)
{
    struct channel **link = bucket(table->buckets, table->bits, table->seed, channel->id);

    while (*link != channel) {
        link = &(*link)->next_in_bucket;
    }
    *link = channel->next_in_bucket;
    table->count--;
}

struct channel *table_find(const struct table *table, uint32_t id)
{
    struct channel *channel = *bucket(table->buckets, table->bits, table->seed, id);

    while (channel && channel->id != id) {
        channel = channel->next_in_bucket;
    }
    return channel;
}

void table_each(const struct table *table, void (*visit)(struct channel *channel, void *arg), void *arg)
{
    for (size_t i = 0; i < size_of(table->bits); i++) {
        struct channel *next;
        for (struct channel *channel = table->buckets[i]; channel; channel = next) {
            next = channel->next_in_bucket;
            visit(channel, arg);
        }
    }
}
