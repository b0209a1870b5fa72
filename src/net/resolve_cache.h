/*
 * The names the resolver knows, or is asking about: what their addresses are and how long that holds.
 *
 * An entry is there while something holds it: content worth keeping, a query under way, or requests that wait
 * or are to be told its content. The latter three are resolve.c's; cache_release() looks at all four. Of entries with content there are at most `cache_size`, once cache_trim() has been called.
 */
#ifndef POSTERN_NET_RESOLVE_CACHE_H
#define POSTERN_NET_RESOLVE_CACHE_H

#include "base/compiler.h"
#include "base/reason.h"
#include "net/resolve.h"
#include "net/resolve_channel.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

TAILQ_HEAD(resolve_requests, resolve_request);

enum cache_content { CACHE_NOTHING, CACHE_ADDRESSES, CACHE_NOT_FOUND };

struct cache_entry {
    bool asked;                      /* a query is under way */
    struct resolve_requests waiting; /* for its end */
    unsigned ready;                  /* requests that are to be told the content */

    enum cache_content content;
    bool stale;          /* the last query failed, and the addresses are those of an earlier one */
    enum reason failure; /* why the last query brought no addresses, if there are none */
    uint64_t expires;    /* the content is fresh before */
    uint64_t useless;    /* the addresses may be served before, if need be */
    uint64_t retry;      /* stale: not to be asked again before */
    TAILQ_ENTRY(cache_entry) used_link;
    unsigned count;
    struct resolve_ip ip[RESOLVE_ADDRS_MAX];
    char name[];
};

TAILQ_HEAD(cache_list, cache_entry);

struct cache {
    const struct resolver_options *options;
    void *names;            /* tree of the entries' names, regardless of case */
    struct cache_list used; /* entries with content, the one used last at the end */
    unsigned cached;        /* length of `used` */
    _Atomic uint64_t *gauge;
};

void cache_init(struct cache *cache, const struct resolver_options *options, _Atomic uint64_t *gauge);

/* Frees all entries. */
void cache_clear(struct cache *cache);

/* The entry of the name, a new one if need be; NULL: out of memory. */
struct cache_entry *cache_get(struct cache *cache, const char *name) MUST_CHECK;

/* Frees the entry if nothing holds it. */
void cache_release(struct cache *cache, struct cache_entry *entry);

/* What a query brought at the time `now`: addresses, or a reason. */
void cache_keep_answer(struct cache *cache, struct cache_entry *entry, uint64_t now,
                       const struct dns_channel_answer *answer);
void cache_keep_failure(struct cache *cache, struct cache_entry *entry, uint64_t now, enum reason why);

/* Marks the entry as the one used last. */
void cache_touch(struct cache *cache, struct cache_entry *entry);

/* Lets the entries go that were used longest ago. Those whose content is to be told keep it. */
void cache_trim(struct cache *cache);

/* The content is within its TTL. */
bool cache_is_fresh(const struct cache_entry *entry, uint64_t now);

/* The last query failed only just now, and the old addresses are still good enough. */
bool cache_must_do(const struct cache_entry *entry, uint64_t now);

/* The addresses, of an entry that has some, are good enough where new ones cannot be had. */
bool cache_may_serve(const struct cache_entry *entry, uint64_t now);

/* The entry's addresses, as a caller gets them. */
void cache_fill_answer(const struct cache_entry *entry, struct resolved *ret);

#endif
