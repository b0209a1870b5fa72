/*
 * What resolvers share that joined one another: settings, cache, counters, and how many queries there are, and for whom.
 *
 * `lock` guards `members`, `queries`, the askers and the cache with its entries, and what resolve.c says. It is held for
 * a look-up or for the hand-out of an answer, never over a call to a caller or into c-ares.
 *
 * Lifetimes: an asker is there while a query of its is under way, whoever waits for that; so it may be gone from everywhere else.
 */
#ifndef POSTERN_NET_RESOLVE_COMMON_H
#define POSTERN_NET_RESOLVE_COMMON_H

#include "base/compiler.h"
#include "net/resolve.h"
#include "net/resolve_cache.h"
#include <uv.h>

struct resolve_asker {
    uint32_t id;
    unsigned queries; /* under way */
    LIST_ENTRY(resolve_asker) link;
};

struct resolve_common {
    uv_mutex_t lock;
    struct resolver_options options; /* its strings are owned; never changed */
    struct resolver_stats *stats;
    unsigned members; /* the last one frees all of this */
    unsigned queries; /* under way, those past their deadline among them */
    LIST_HEAD(, resolve_asker) askers;
    struct cache cache;
};

/* Without members yet. NULL: out of memory. */
struct resolve_common *resolve_common_new(const struct resolver_options *options,
                                          struct resolver_stats *stats) MUST_CHECK;

void resolve_common_enter(struct resolve_common *common);
void resolve_common_leave(struct resolve_common *common);

/* Under the lock. Takes a place for a query of that asker's (0: nobody's, and bounded by all alone): REASON_NONE, or why there is none,
 * which resolve.h tells. `*ret` may be NULL, and is to be given back with the place. */
enum reason resolve_common_take_place(struct resolve_common *common, uint32_t id,
                                      struct resolve_asker **ret) MUST_CHECK;
void resolve_common_give_place(struct resolve_common *common, struct resolve_asker *asker);

#endif
