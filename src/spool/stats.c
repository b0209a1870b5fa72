/* Figures: the tallies, which are what is on the disk, and what was counted since the start. */
#include "spool/spool_private.h"

#include <string.h>

static void add_tally(struct spool_stats *stats, const struct tally *tally)
{
    for (int i = 0; i < SPOOL_STATES; i++) {
        stats->records[i] += tally->counts[i].records > 0 ? (uint64_t)tally->counts[i].records : 0;
        stats->bytes[i] += tally->counts[i].bytes > 0 ? (uint64_t)tally->counts[i].bytes : 0;
    }
    stats->incoming_bytes += tally->incoming;
}

static void add_route(struct spool_stats *stats, const struct route *route)
{
    stats->in_flight += route->in_flight;
    stats->accepted += route->accepted;
    stats->refused += route->refused;
    stats->failed += route->failed;
    stats->delivered += route->delivered;
    stats->retried += route->retried;
    stats->died += route->died;
    if (route->oldest_at && (!stats->oldest_at || route->oldest_at < stats->oldest_at)) {
        stats->oldest_at = route->oldest_at;
    }
}

/* Under the lock. */
static struct spool_stats gather(const struct spool *spool, const char *name)
{
    struct spool_stats stats = {.in_flight = 0};
    const struct tally *tally;
    const struct route *route;

    SLIST_FOREACH (tally, &spool->tallies.all, link) {
        if (!name || strcmp(tally->route, name) == 0) {
            add_tally(&stats, tally);
        }
    }
    SLIST_FOREACH (route, &spool->routes, link) {
        if (!name || strcmp(route->name, name) == 0) {
            add_route(&stats, route);
        }
    }
    return stats;
}

void spool_stats(struct spool *spool, const char *route, struct spool_stats *ret)
{
    pthread_mutex_lock(&spool->lock);
    *ret = gather(spool, route);
    pthread_mutex_unlock(&spool->lock);
}

/* A tally is made after its route. */
static struct route *owner_of(struct spool *spool, struct tally *tally)
{
    struct route *route;

    if (tally->owner) {
        return tally->owner;
    }
    SLIST_FOREACH (route, &spool->routes, link) {
        if (strcmp(route->name, tally->route) == 0) {
            tally->owner = route;
            break;
        }
    }
    return route;
}

/* In one go through the tallies, not one for each route: others wait for the lock. */
static void gather_all(struct spool *spool)
{
    struct tally *tally;
    struct route *route;

    SLIST_FOREACH (route, &spool->routes, link) {
        route->figures = (struct spool_stats){.in_flight = 0};
        add_route(&route->figures, route);
    }
    SLIST_FOREACH (tally, &spool->tallies.all, link) {
        route = owner_of(spool, tally);
        if (route) {
            add_tally(&route->figures, tally);
        }
    }
}

void spool_each_route(struct spool *spool, spool_each_cb each, void *arg)
{
    const struct route *route;

    pthread_mutex_lock(&spool->lock);
    gather_all(spool);
    SLIST_FOREACH (route, &spool->routes, link) {
        each(arg, route->name, NULL, &route->figures);
    }
    pthread_mutex_unlock(&spool->lock);
}

void spool_each_enclave(struct spool *spool, spool_each_cb each, void *arg)
{
    const struct tally *tally;

    pthread_mutex_lock(&spool->lock);
    SLIST_FOREACH (tally, &spool->tallies.all, link) {
        struct spool_stats stats = {.in_flight = 0};

        add_tally(&stats, tally);
        each(arg, tally->route, tally->enclave, &stats);
    }
    pthread_mutex_unlock(&spool->lock);
}

void spool_health(struct spool *spool, struct spool_health *ret)
{
    pthread_mutex_lock(&spool->lock);
    *ret = spool->health;
    pthread_mutex_unlock(&spool->lock);
}
