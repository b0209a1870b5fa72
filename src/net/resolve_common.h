/*
 * What resolvers share that joined one another: settings, cache, counters, and how many queries there are.
 *
 * `lock` guards `members`, `queries` and the cache with its entries, and what resolve.c says. It is held for
 * a look-up or for the hand-out of an answer, never over a call to a caller or into c-ares.
 */
#ifndef POSTERN_NET_RESOLVE_COMMON_H
#define POSTERN_NET_RESOLVE_COMMON_H

#include "base/compiler.h"
#include "net/resolve.h"
#include "net/resolve_cache.h"
#include <uv.h>

struct resolve_common {
    uv_mutex_t lock;
    struct resolver_options options; /* its strings are owned; never changed */
    struct resolver_stats *stats;
    unsigned members; /* the last one frees all of this */
    unsigned queries; /* under way, those past their deadline among them */
    struct cache cache;
};

/* Without members yet. NULL: out of memory. */
struct resolve_common *resolve_common_new(const struct resolver_options *options,
                                          struct resolver_stats *stats) MUST_CHECK;

void resolve_common_enter(struct resolve_common *common);
void resolve_common_leave(struct resolve_common *common);

#endif
