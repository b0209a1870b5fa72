/* The rules in force: see rules.h. */
#include "daemon/rules.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

static void release(struct rules *rules)
{
    free(rules->routes);
    free(rules->enclaves);
    free(rules->listeners);
    config_unref(rules->config);
    free(rules);
}

static bool bind_route(struct rules *rules, unsigned id)
{
    const struct config_route *route = &rules->config->routes[id];
    bool forwards = route->type == CONFIG_FORWARD || route->type == CONFIG_CONNECT;
    rules->routes[id] = counters_route(rules->counters, route->name);
    return rules->routes[id] != NULL && (!forwards || counters_requests(rules->routes[id]));
}

static bool bind_counters(struct rules *rules)
{
    const struct config *config = rules->config;
    bool complete = true;
    for (unsigned i = 0; i < config->route_count; i++) {
        complete = bind_route(rules, i) && complete;
    }
    for (unsigned i = 0; i <= config->enclave_count; i++) {
        const char *name = i < config->enclave_count ? config->enclaves[i].name : "";
        rules->enclaves[i] = counters_enclave(rules->counters, name);
        complete = complete && rules->enclaves[i] != NULL;
    }
    for (unsigned i = 0; i < config->listener_count; i++) {
        rules->listeners[i] = counters_listener(rules->counters, config->listeners[i].name);
        complete = complete && rules->listeners[i] != NULL;
    }
    return complete;
}

struct rules *rules_new(struct config *config, struct counters *counters)
{
    struct rules *rules = calloc(1, sizeof *rules);
    if (rules == NULL) {
        config_unref(config);
        return NULL;
    }
    rules->config = config;
    rules->counters = counters;
    rules->generation = ++counters->generation;
    atomic_init(&rules->references, 1);
    rules->routes = calloc(config->route_count + 1, sizeof *rules->routes);
    rules->enclaves = calloc(config->enclave_count + 1, sizeof *rules->enclaves);
    rules->listeners = calloc(config->listener_count + 1, sizeof *rules->listeners);
    if (rules->routes == NULL || rules->enclaves == NULL || rules->listeners == NULL ||
        !bind_counters(rules)) {
        release(rules);
        return NULL;
    }
    return rules;
}

struct rules *rules_ref(struct rules *rules)
{
    atomic_fetch_add_explicit(&rules->references, 1, memory_order_relaxed);
    return rules;
}

void rules_unref(struct rules *rules)
{
    if (rules != NULL && atomic_fetch_sub_explicit(&rules->references, 1, memory_order_acq_rel) == 1) {
        release(rules);
    }
}

struct enclave_counters *rules_enclave(const struct rules *rules, int enclave)
{
    return rules->enclaves[enclave == CONFIG_NOBODY ? (int)rules->config->enclave_count : enclave];
}
