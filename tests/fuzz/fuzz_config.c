/*
 * The configuration from arbitrary bytes: whatever they are, they are accepted or refused with a reason, and
 * what is accepted can be used.
 */
#include "config/config.h"
#include "config/policy.h"
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void demand(int condition, const char *what)
{
    if (!condition) {
        fprintf(stderr, "broken: %s\n", what);
        abort();
    }
}

static void use_permits(const struct config *config, const struct config_listener *listener)
{
    demand(listener->route == CONFIG_NO_ROUTE && !listener->allow_any,
           "a framed listener that leads somewhere");
    demand(listener->permit_count > 0, "a framed listener that leads nowhere");
    for (unsigned i = 0; i < listener->permit_count; i++) {
        const struct config_permit *permit = &listener->permits[i];
        const char *name = config->routes[permit->route].name;
        int route = CONFIG_NO_ROUTE;
        demand(listener->allow[permit->enclave], "a permit for one who is not let in");
        demand(policy_route(listener, permit->enclave, name, strlen(name), &route) == REASON_NONE &&
                   route == permit->route,
               "a permit that is not found");
        demand(config->enclaves[permit->enclave].max_streams * CONFIG_BUDGET_A_STREAM <=
                   config->sessions.budget,
               "a budget that is too small");
    }
}

static void use_listeners(const struct config *config)
{
    char text[ADDR_TEXT_MAX];
    for (unsigned i = 0; i < config->listener_count; i++) {
        const struct config_listener *listener = &config->listeners[i];
        demand(listener->listen.kind != ADDR_NONE, "a listener without an address");
        if (listener->protocol == CONFIG_FRAMED) {
            use_permits(config, listener);
        } else {
            demand(listener->route >= 0 && (unsigned)listener->route < config->route_count,
                   "a listener without a route");
        }
        demand(listener->peer >= CONFIG_NOBODY && listener->peer < (int)config->enclave_count,
               "a peer that is none");
        addr_format(&listener->listen, text);
        for (int id = CONFIG_NOBODY; id < (int)config->enclave_count; id++) {
            (void)policy_listener(listener, id);
        }
    }
}

static void use_hosts(const struct config_route *route)
{
    demand(route->type != CONFIG_CONNECT || route->host_count > 0, "a proxy to nowhere");
    for (unsigned i = 0; i < route->host_count; i++) {
        const struct config_host *host = &route->hosts[i];
        bool wild = host->pattern[0] == '*';
        char name[ADDR_HOST_MAX + 2];
        snprintf(name, sizeof name, "%s%s", wild ? "x" : "", host->pattern + wild);
        demand(policy_host(route, name, strlen(name), host->port) != NULL || strlen(name) >= ADDR_HOST_MAX,
               "a host that does not match");
    }
}

static void use_routes(const struct config *config)
{
    for (unsigned i = 0; i < config->route_count; i++) {
        const struct config_route *route = &config->routes[i];
        demand((route->type == CONFIG_FORWARD) == (route->forward != NULL), "rules of another route");
        use_hosts(route);
        demand(route->to_kind != CONFIG_TO_ADDRESS || route->type == CONFIG_LOG ||
                   route->type == CONFIG_TIME || route->type == CONFIG_CONNECT || route->to.kind != ADDR_NONE,
               "a route that leads nowhere");
        demand(!route->to.cid_by_name, "a name left in an address");
        demand(route->to_kind == CONFIG_TO_ADDRESS || route->sni_count > 0, "no names to choose by");
        demand(route->idle_timeout_ms > 0 && route->max_streams > 0, "a bound of nothing");
        for (unsigned j = 0; j < route->sni_count; j++) {
            const char *pattern = route->sni[j].pattern;
            char name[ADDR_HOST_MAX + 2];
            snprintf(name, sizeof name, "%s%s", pattern[0] == '*' ? "x" : "", pattern + (pattern[0] == '*'));
            const struct config_sni *found = policy_sni(route, name);
            demand(found != NULL || !addr_is_hostname(name), "a pattern that does not match");
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct diags diags;
    struct text said = TEXT_INIT;
    struct config *config = NULL;
    diags_init(&diags, "fuzz.yaml");
    int r = config_parse("fuzz.yaml", (const char *)data, size, &config, &diags);
    demand((r == 0) == (diags.total == 0), "the verdict and the mistakes differ");
    diags_format(&diags, &said);
    size_t lines = 0;
    for (size_t i = 0; i < said.length; i++) {
        lines += said.data[i] == '\n';
    }
    demand(lines == diags.count + (diags.total > diags.count), "a mistake of several lines");
    if (r == 0) {
        use_listeners(config);
        use_routes(config);
    }
    config_unref(config);
    text_release(&said);
    diags_release(&diags);
    return 0;
}
