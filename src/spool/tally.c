/* The books of the spool. */
#include "spool/tally.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BUCKETS_FIRST 16

void tallies_init(struct tallies *tallies)
{
    *tallies = (struct tallies){.count = 0};
    SLIST_INIT(&tallies->all);
    SLIST_INIT(&tallies->touched);
}

static void destroy(struct tally *tally)
{
    free(tally->route);
    free(tally->enclave);
    free(tally);
}

void tallies_release(struct tallies *tallies)
{
    while (!SLIST_EMPTY(&tallies->all)) {
        struct tally *tally = SLIST_FIRST(&tallies->all);

        SLIST_REMOVE_HEAD(&tallies->all, link);
        destroy(tally);
    }
    free(tallies->buckets);
    tallies_init(tallies);
}

/* FNV-1a, of both names with what ends the first. The names are the configuration's: nobody chooses them so that they collide. */
static uint64_t hash_of(const char *route, const char *enclave)
{
    const char *const names[] = {route, enclave};
    uint64_t hash = 0xcbf29ce484222325U;

    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        for (const char *at = names[i];; at++) {
            hash = (hash ^ (unsigned char)*at) * 0x100000001b3U;
            if (*at == '\0') {
                break;
            }
        }
    }
    return hash;
}

static struct tally_list *bucket_of(const struct tallies *tallies, uint64_t hash)
{
    return &tallies->buckets[hash & (tallies->bucket_count - 1)];
}

/* Without memory for more, those that there are do it, but more slowly. */
static int grow(struct tallies *tallies)
{
    size_t count = tallies->bucket_count > 0 ? 2 * tallies->bucket_count : BUCKETS_FIRST;
    struct tally_list *buckets = calloc(count, sizeof(*buckets));
    struct tally *tally;

    if (!buckets) {
        return tallies->bucket_count > 0 ? 0 : -ENOMEM;
    }
    free(tallies->buckets);
    tallies->buckets = buckets;
    tallies->bucket_count = count;
    SLIST_FOREACH (tally, &tallies->all, link) {
        SLIST_INSERT_HEAD(bucket_of(tallies, tally->hash), tally, bucket_link);
    }
    return 0;
}

static struct tally *find(const struct tallies *tallies, uint64_t hash, const char *route,
                          const char *enclave)
{
    struct tally *tally = NULL;

    if (tallies->bucket_count == 0) {
        return NULL;
    }
    SLIST_FOREACH (tally, bucket_of(tallies, hash), bucket_link) {
        if (tally->hash == hash && strcmp(tally->route, route) == 0 && strcmp(tally->enclave, enclave) == 0) {
            break;
        }
    }
    return tally;
}

struct tally *tallies_get(struct tallies *tallies, const char *route, const char *enclave)
{
    uint64_t hash = hash_of(route, enclave);
    struct tally *tally = find(tallies, hash, route, enclave);

    if (tally || (tallies->count >= tallies->bucket_count && grow(tallies) < 0)) {
        return tally;
    }
    tally = calloc(1, sizeof(*tally));
    if (!tally) {
        return NULL;
    }
    tally->route = strdup(route);
    tally->enclave = strdup(enclave);
    if (!tally->route || !tally->enclave) {
        destroy(tally);
        return NULL;
    }
    tally->hash = hash;
    tallies->count++;
    SLIST_INSERT_HEAD(&tallies->all, tally, link);
    SLIST_INSERT_HEAD(bucket_of(tallies, hash), tally, bucket_link);
    return tally;
}

static void add(struct tally_count *count, int64_t records, int64_t bytes)
{
    count->records += records;
    count->bytes += bytes;
}

static void touch(struct tallies *tallies, struct tally *tally)
{
    if (tally->touched) {
        return;
    }
    tally->touched = true;
    SLIST_INSERT_HEAD(&tallies->touched, tally, touched_link);
}

void tallies_change(struct tallies *tallies, struct tally *tally, uint64_t id, enum spool_state state,
                    int64_t records, int64_t bytes)
{
    add(&tally->changes[state], records, bytes);
    if (id <= tallies->found_to) {
        add(&tally->found_changes[state], records, bytes);
    }
    touch(tallies, tally);
}

void tallies_find(struct tallies *tallies, struct tally *tally, uint64_t id, enum spool_state state,
                  int64_t bytes)
{
    add(&tally->found[state], 1, bytes);
    tallies->found_to = id;
}

bool tallies_correct(struct tallies *tallies)
{
    struct tally *tally;
    bool wrong = false;

    tallies->found_to = 0;
    SLIST_FOREACH (tally, &tallies->all, link) {
        for (int i = 0; i < SPOOL_STATES; i++) {
            int64_t records = tally->found[i].records - tally->counts[i].records;
            int64_t bytes = tally->found[i].bytes - tally->counts[i].bytes;

            tally->found[i] = (struct tally_count){0, 0};
            if (records != 0 || bytes != 0) {
                add(&tally->changes[i], records, bytes);
                touch(tallies, tally);
                wrong = true;
            }
        }
    }
    return wrong;
}

static void settle(struct tallies *tallies, bool keep)
{
    while (!SLIST_EMPTY(&tallies->touched)) {
        struct tally *tally = SLIST_FIRST(&tallies->touched);

        SLIST_REMOVE_HEAD(&tallies->touched, touched_link);
        tally->touched = false;
        for (int i = 0; i < SPOOL_STATES; i++) {
            if (keep) {
                add(&tally->counts[i], tally->changes[i].records, tally->changes[i].bytes);
                add(&tally->found[i], tally->found_changes[i].records, tally->found_changes[i].bytes);
            }
            tally->changes[i] = tally->found_changes[i] = (struct tally_count){0, 0};
        }
    }
}

void tallies_fold(struct tallies *tallies)
{
    settle(tallies, true);
}

void tallies_forget(struct tallies *tallies)
{
    settle(tallies, false);
}

uint64_t tallies_used(const struct tallies *tallies, const char *route, const char *enclave)
{
    const struct tally *tally;
    uint64_t used = 0;

    SLIST_FOREACH (tally, &tallies->all, link) {
        if ((route && strcmp(tally->route, route) != 0) ||
            (enclave && strcmp(tally->enclave, enclave) != 0)) {
            continue;
        }
        used += tally->incoming;
        for (int i = 0; i < SPOOL_STATES; i++) {
            used += tally->counts[i].bytes > 0 ? (uint64_t)tally->counts[i].bytes : 0;
        }
    }
    return used;
}
