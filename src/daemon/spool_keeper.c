/* The daemon's spool: see spool_keeper.h. */
#include "daemon/spool_keeper.h"

#include "base/log.h"
#include "base/units.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static void on_wake(uv_async_t *wake)
{
    struct spool_keeper *keeper = wake->data;
    if (keeper->port != NULL) {
        spool_port_run(keeper->port);
    }
}

/* On a thread of the spool. */
static void wake_up(void *arg)
{
    struct spool_keeper *keeper = arg;
    (void)uv_async_send(&keeper->wake);
}

int spool_keeper_init(struct spool_keeper *keeper, uv_loop_t *loop)
{
    *keeper = (struct spool_keeper){.spool = NULL};
    keeper->wake.data = keeper;
    return uv_async_init(loop, &keeper->wake, on_wake);
}

void spool_keeper_close(struct spool_keeper *keeper)
{
    if (keeper->spool != NULL) {
        spool_port_close(keeper->port);
        spool_close(keeper->spool);
        free(keeper->path);
    }
    keeper->spool = NULL;
    keeper->port = NULL;
    keeper->path = NULL;
    uv_close((uv_handle_t *)&keeper->wake, NULL);
}

static bool spools(const struct config_route *route)
{
    return route->type == CONFIG_FORWARD && route->forward->delivery == CONFIG_SPOOL;
}

const struct config_route *spool_route(const struct config *config, const char *name)
{
    for (unsigned i = 0; i < config->route_count; i++) {
        if (spools(&config->routes[i]) && strcmp(config->routes[i].name, name) == 0) {
            return &config->routes[i];
        }
    }
    return NULL;
}

static const struct config_route *first_route(const struct config *config)
{
    for (unsigned i = 0; i < config->route_count; i++) {
        if (spools(&config->routes[i])) {
            return &config->routes[i];
        }
    }
    return NULL;
}

static int open_at(struct spool_keeper *keeper, const struct config *config)
{
    const struct spool_options options = {.path = config->spool.path}; /* its bounds: spool_keeper_apply() */
    keeper->path = strdup(config->spool.path);
    if (keeper->path == NULL) {
        return error_errno(&keeper->why, -ENOMEM, "cannot open the spool");
    }
    int rv = spool_open(&options, &keeper->spool, &keeper->why);
    if (rv != 0) {
        goto err_path;
    }
    rv = spool_port_open(keeper->spool, wake_up, keeper, &keeper->port);
    if (rv == 0) {
        return 0;
    }
    error_errno(&keeper->why, rv, "cannot open a port to the spool");
    spool_close(keeper->spool);
err_path:
    keeper->spool = NULL;
    keeper->port = NULL;
    free(keeper->path);
    keeper->path = NULL;
    return rv;
}

static const char *advice(int code)
{
    switch (code) {
    case -EUCLEAN:
        return "; nothing in it is touched: `posternctl spool set-aside` moves it out of the way, whole, "
               "then `posternctl reload` begins a new one";
    case -EBUSY:
        return "; end the other process, then `posternctl reload`";
    default:
        return "; mend that, then `posternctl reload`";
    }
}

static void tell_open(const struct spool_keeper *keeper)
{
    struct spool_stats stats;
    spool_stats(keeper->spool, NULL, &stats);
    log_event(LOG_LEVEL_INFO, "spool opened",
              "%s: %" PRIu64 " record%s to deliver, %" PRIu64 " waiting to be tried again, %" PRIu64
              " dead, %" PRIu64 " damaged",
              keeper->path, stats.records[SPOOL_READY], units_plural(stats.records[SPOOL_READY]),
              stats.records[SPOOL_WAITING], stats.records[SPOOL_DEAD], stats.records[SPOOL_DAMAGED]);
}

void spool_keeper_open(struct spool_keeper *keeper, const struct config *config)
{
    const struct config_route *route = first_route(config);
    if (keeper->spool != NULL) {
        return;
    }
    keeper->why.text[0] = '\0';
    if (route == NULL) {
        return;
    }
    int rv = open_at(keeper, config);
    if (rv == 0) {
        tell_open(keeper);
        return;
    }
    log_event(
        LOG_LEVEL_ERROR, "spool not opened",
        "%s%s. Until then requests of route %s and all others with `delivery: spool` are refused; the other "
        "routes work",
        keeper->why.text, advice(rv), route->name);
}

/* ---- Policies ---- */

static void set_policy(struct spool_keeper *keeper, const struct config_route *route)
{
    const struct config_forward *forward = route->forward;
    const struct spool_policy policy = {
        .attempts = forward->retry.attempts,
        .max_age_ms = forward->retry.max_age_ms,
        .max_bytes = forward->spool_max_bytes,
        .first_pause_ms = forward->retry.min_pause_ms,
        .most_pause_ms = forward->retry.max_pause_ms,
    };
    if (spool_set_policy(keeper->spool, route->name, &policy) != 0) {
        log_event(LOG_LEVEL_ERROR, "out of memory",
                  "route %s: its spool's bounds are those of before; `posternctl reload` tries again",
                  route->name);
    }
}

struct orphans {
    const struct config *config;
    uint64_t records;
    char route[SPOOL_NAME_MAX + 1]; /* the first of them */
    unsigned routes;
};

static void count_orphans(void *arg, const char *route, const char *enclave, const struct spool_stats *stats)
{
    struct orphans *orphans = arg;
    uint64_t records = 0;
    (void)enclave;
    for (unsigned i = 0; i < SPOOL_STATES; i++) {
        records += stats->records[i];
    }
    if (records == 0 || spool_route(orphans->config, route) != NULL) {
        return;
    }
    orphans->records += records;
    if (orphans->routes++ == 0) {
        memcpy(orphans->route, route, strnlen(route, SPOOL_NAME_MAX));
    }
}

/* Kept, and not delivered: whoever took the route away may not have known what was still on its way. */
static void tell_orphans(struct spool_keeper *keeper, const struct config *config)
{
    struct orphans orphans = {.config = config};
    spool_each_route(keeper->spool, count_orphans, &orphans);
    if (orphans.routes > 0) {
        log_event(LOG_LEVEL_WARN, "spooled records without a route",
                  "%" PRIu64 " record%s of %u route%s that the configuration does not have, or not with "
                  "`delivery: spool`: %s%s. Nothing of it is lost: give the route back, or `posternctl spool "
                  "export` and "
                  "`posternctl spool drop`",
                  orphans.records, units_plural(orphans.records), orphans.routes,
                  units_plural(orphans.routes), orphans.route, orphans.routes > 1 ? " and others" : "");
    }
}

/* Unless the file says how much: no enclave fills the spool for the others. 0: there is no other. */
static uint64_t enclave_bound(const struct config *config)
{
    const struct config_spool *spool = &config->spool;
    if (spool->max_enclave_bytes != 0 || config->enclave_count < 2) {
        return spool->max_enclave_bytes;
    }
    return spool->max_bytes - spool->max_bytes / 8;
}

void spool_keeper_apply(struct spool_keeper *keeper, const struct config *config)
{
    if (keeper->spool == NULL) {
        return;
    }
    spool_set_bounds(keeper->spool, config->spool.max_bytes, enclave_bound(config));
    for (unsigned i = 0; i < config->route_count; i++) {
        if (spools(&config->routes[i])) {
            set_policy(keeper, &config->routes[i]);
        }
    }
    tell_orphans(keeper, config);
}

bool spool_keeper_differs(const struct spool_keeper *keeper, const struct config *config)
{
    return keeper->spool != NULL && strcmp(keeper->path, config->spool.path) != 0;
}
