/*
 * The names the resolver knows: a tree by name, and a list by last use.
 *
 * Callers may choose names freely, so the tree is a balanced one (glibc's): no choice of names makes it slow.
 */
#include "net/resolve_cache.h"
#include <netinet/in.h>
#include <search.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static int compare_names(const void *a, const void *b)
{
    return strcasecmp(a, b);
}

static struct cache_entry *entry_of(const void *name)
{
    return CONTAINER_OF(name, struct cache_entry, name);
}

static uint64_t later(uint64_t now, uint64_t ms)
{
    return ms < UINT64_MAX - now ? now + ms : UINT64_MAX;
}

static void set_cached(struct cache *cache, unsigned cached)
{
    cache->cached = cached;
    atomic_store_explicit(cache->gauge, cached, memory_order_relaxed);
}

void cache_init(struct cache *cache, const struct resolver_options *options, _Atomic uint64_t *gauge)
{
    cache->options = options;
    cache->names = NULL;
    cache->gauge = gauge;
    TAILQ_INIT(&cache->used);
    set_cached(cache, 0);
}

void cache_clear(struct cache *cache)
{
    while (cache->names != NULL) {
        struct cache_entry *entry = entry_of(*(void **)cache->names); /* a node begins with its key */
        tdelete(entry->name, &cache->names, compare_names);
        free(entry);
    }
    TAILQ_INIT(&cache->used);
    set_cached(cache, 0);
}

struct cache_entry *cache_get(struct cache *cache, const char *name)
{
    void *const *node = tfind(name, &cache->names, compare_names);
    size_t size = strlen(name) + 1;
    struct cache_entry *entry;

    if (node != NULL) {
        return entry_of(*node);
    }
    entry = calloc(1, sizeof(*entry) + size);
    if (entry == NULL) {
        return NULL;
    }
    TAILQ_INIT(&entry->waiting);
    memcpy(entry->name, name, size);
    if (tsearch(entry->name, &cache->names, compare_names) == NULL) {
        free(entry);
        return NULL;
    }
    return entry;
}

void cache_release(struct cache *cache, struct cache_entry *entry)
{
    if (entry->asked || !TAILQ_EMPTY(&entry->waiting) || entry->ready > 0 ||
        entry->content != CACHE_NOTHING) {
        return;
    }
    tdelete(entry->name, &cache->names, compare_names);
    free(entry);
}

static void clear_content(struct cache *cache, struct cache_entry *entry)
{
    if (entry->content == CACHE_NOTHING) {
        return;
    }
    TAILQ_REMOVE(&cache->used, entry, used_link);
    set_cached(cache, cache->cached - 1);
    entry->content = CACHE_NOTHING;
    entry->stale = false;
}

static void set_content(struct cache *cache, struct cache_entry *entry, enum cache_content content)
{
    clear_content(cache, entry);
    entry->content = content;
    TAILQ_INSERT_TAIL(&cache->used, entry, used_link);
    set_cached(cache, cache->cached + 1);
}

void cache_keep_answer(struct cache *cache, struct cache_entry *entry, uint64_t now,
                       const struct dns_channel_answer *answer)
{
    uint64_t ttl = (uint64_t)answer->ttl_s * 1000;

    if (ttl > cache->options->max_ttl_ms) {
        ttl = cache->options->max_ttl_ms;
    }
    if (ttl < cache->options->min_ttl_ms) {
        ttl = cache->options->min_ttl_ms;
    }
    set_content(cache, entry, CACHE_ADDRESSES);
    entry->expires = later(now, ttl);
    entry->useless = later(entry->expires, cache->options->stale_ms);
    entry->count = answer->count;
    memcpy(entry->ip, answer->ip, answer->count * sizeof(answer->ip[0]));
}

void cache_keep_failure(struct cache *cache, struct cache_entry *entry, uint64_t now, enum reason why)
{
    entry->failure = why;
    if (why == REASON_DNS_NOT_FOUND) {
        set_content(cache, entry, CACHE_NOT_FOUND);
        entry->expires = later(now, cache->options->min_ttl_ms);
    } else if (entry->content == CACHE_ADDRESSES && cache_may_serve(entry, now)) {
        entry->stale = true;
        entry->retry = later(now, cache->options->min_ttl_ms);
    } else {
        clear_content(cache, entry);
    }
}

void cache_touch(struct cache *cache, struct cache_entry *entry)
{
    if (entry->content == CACHE_NOTHING) {
        return;
    }
    TAILQ_REMOVE(&cache->used, entry, used_link);
    TAILQ_INSERT_TAIL(&cache->used, entry, used_link);
}

void cache_trim(struct cache *cache)
{
    struct cache_entry *entry = TAILQ_FIRST(&cache->used);

    while (entry != NULL && cache->cached > cache->options->cache_size) {
        struct cache_entry *next = TAILQ_NEXT(entry, used_link);
        if (entry->ready == 0) {
            clear_content(cache, entry);
            cache_release(cache, entry);
        }
        entry = next;
    }
}

bool cache_is_fresh(const struct cache_entry *entry, uint64_t now)
{
    return entry->content != CACHE_NOTHING && now < entry->expires;
}

bool cache_must_do(const struct cache_entry *entry, uint64_t now)
{
    return entry->stale && now < entry->retry && cache_may_serve(entry, now);
}

bool cache_may_serve(const struct cache_entry *entry, uint64_t now)
{
    return now < entry->useless;
}

static void fill_address(struct sockaddr_any *ret, const struct resolve_ip *ip)
{
    struct sockaddr_in in = {.sin_family = AF_INET};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};

    memset(ret, 0, sizeof(*ret));
    if (ip->is_ipv6) {
        memcpy(&in6.sin6_addr, ip->bytes, 16);
        memcpy(&ret->u, &in6, sizeof(in6));
        ret->length = sizeof(in6);
    } else {
        memcpy(&in.sin_addr, ip->bytes, 4);
        memcpy(&ret->u, &in, sizeof(in));
        ret->length = sizeof(in);
    }
}

void cache_fill_answer(const struct cache_entry *entry, struct resolved *ret)
{
    ret->count = entry->count;
    ret->stale = entry->stale;
    for (unsigned i = 0; i < entry->count; i++) {
        fill_address(&ret->address[i], &entry->ip[i]);
    }
}
