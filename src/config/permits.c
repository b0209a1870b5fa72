/*
 * Who may open streams to what on a framed listener, and whether a session can carry that many.
 *
 * The pairs of enclave and route are one sorted array, as large as what the file says, so that the look-up of a
 * name that a caller made up costs a few comparisons.
 */
#include "base/units.h"
#include "config/build.h"
#include <stdlib.h>
#include <string.h>

static int by_enclave_name_and_place(const void *left, const void *right)
{
    const struct config_permit *a = left;
    const struct config_permit *b = right;
    if (a->enclave != b->enclave) {
        return a->enclave < b->enclave ? -1 : 1;
    }
    int order = strcmp(a->name, b->name);
    if (order != 0) {
        return order;
    }
    if (a->place.line != b->place.line) {
        return a->place.line < b->place.line ? -1 : 1;
    }
    return a->place.column < b->place.column ? -1 : 1;
}

static void sort_permits(struct build *build, const struct key *key, struct config_listener *listener)
{
    struct config_permit *all = listener->permits;
    qsort(all, listener->permit_count, sizeof *all, by_enclave_name_and_place);
    for (unsigned i = 1; i < listener->permit_count; i++) {
        if (all[i].enclave == all[i - 1].enclave && all[i].route == all[i - 1].route) {
            build_tell(build, all[i].place, key->name, "%s is in the list twice", all[i].name);
        }
    }
}

static void permit(struct build *build, const struct key *key, const struct node *item, int enclave,
                   struct config_listener *listener)
{
    int route = build_name(build, &build->routes, key, item);
    if (enclave >= 0 && route >= 0) {
        listener->permits[listener->permit_count++] =
            (struct config_permit){enclave, route, build->config->routes[route].name, item->place};
    }
}

/* One enclave, and the list of its routes. */
static void permit_enclave(struct build *build, const struct key *key, const struct node *routes,
                           struct config_listener *listener)
{
    const struct node name = {.kind = NODE_TEXT, .place = routes->key_place, .text = routes->key};
    int enclave = build_name(build, &build->enclaves, key, &name);
    if (enclave >= 0) {
        listener->allow[enclave] = true;
    }
    if (routes->kind != NODE_LIST || routes->count == 0) {
        build_expected_what(build, key, routes, "a list of names of routes, e.g. [kms]", NULL);
        return;
    }
    for (const struct node *item = routes->first; item != NULL; item = item->next) {
        permit(build, key, item, enclave, listener);
    }
}

static unsigned count_routes(const struct node *map)
{
    unsigned count = 0;
    for (const struct node *routes = map->first; routes != NULL; routes = routes->next) {
        count += routes->count;
    }
    return count;
}

void set_permits(struct build *build, const struct key *key, const struct node *value,
                 struct config_listener *listener)
{
    if (value->kind == NODE_TEXT && strcmp(value->text, "any") == 0) {
        build_tell(
            build, value->place, key->name,
            "any would let callers that are no enclave choose among all routes: expected {ENCLAVE: [ROUTE, "
            "...]}, and on a unix, tcp or hybrid listener `peer:` to say which enclave a caller counts as");
        return;
    }
    if (value->kind == NODE_LIST) {
        build_tell(build, value->place, key->name,
                   "a list of enclaves is for raw listeners: the caller of a framed one names the route, so "
                   "expected the routes of each enclave, {ENCLAVE: [ROUTE, ...]}");
        return;
    }
    if (value->kind != NODE_MAP || value->count == 0) {
        build_expected_what(build, key, value, "the routes of each enclave, {ENCLAVE: [ROUTE, ...]}", NULL);
        return;
    }
    listener->permits = build_alloc(build, count_routes(value), sizeof *listener->permits);
    if (listener->permits == NULL) {
        return;
    }
    for (const struct node *routes = value->first; routes != NULL; routes = routes->next) {
        permit_enclave(build, key, routes, listener);
    }
    sort_permits(build, key, listener);
}

/* ---- Whether the budget is enough ---- */

static bool has_sessions(const struct config *config, unsigned enclave)
{
    for (unsigned i = 0; i < config->listener_count; i++) {
        const struct config_listener *listener = &config->listeners[i];
        if (listener->protocol == CONFIG_FRAMED && listener->allow[enclave]) {
            return true;
        }
    }
    return false;
}

static void tell_too_many(struct build *build, struct place place, const struct config_enclave *enclave)
{
    char budget[UNITS_TEXT_MAX], least[UNITS_TEXT_MAX];
    build->section = key_sections[SCOPE_ENCLAVE].name;
    build->entry = enclave->name;
    build_tell(build, place, "max_streams",
               "%u streams on one session need a `sessions.budget` of at least %s, and it is %s",
               enclave->max_streams, units_format_size(enclave->max_streams * CONFIG_BUDGET_A_STREAM, least),
               units_format_size(build->config->sessions.budget, budget));
    build->section = build->entry = NULL;
}

static void tell_too_little(struct build *build, struct place place, const struct config_enclave *enclave)
{
    char budget[UNITS_TEXT_MAX], least[UNITS_TEXT_MAX];
    build->section = key_sections[SCOPE_SESSIONS].name;
    build_tell(
        build, place, "budget",
        "%s is too little for the %u streams that the enclave %.*s may have on one session: expected at "
        "least %s, or a smaller `max_streams` of the enclave",
        units_format_size(build->config->sessions.budget, budget), enclave->max_streams, CONFIG_NAME_MAX,
        enclave->name, units_format_size(enclave->max_streams * CONFIG_BUDGET_A_STREAM, least));
    build->section = NULL;
}

/* Told at the key that was written. One was, since the defaults agree. */
void permits_check(struct build *build, const struct node *root)
{
    const struct config *config = build->config;
    const struct node *sessions = tree_get(root, "sessions");
    const struct node *budget = sessions != NULL ? tree_get(sessions, "budget") : NULL;
    const struct node *enclaves = tree_get(root, "enclaves");
    const struct node *map = enclaves != NULL ? enclaves->first : NULL;
    for (unsigned i = 0; i < config->enclave_count && map != NULL; i++, map = map->next) {
        const struct config_enclave *enclave = &config->enclaves[i];
        const struct node *streams = tree_get(map, "max_streams");
        if (enclave->max_streams * CONFIG_BUDGET_A_STREAM <= config->sessions.budget ||
            !has_sessions(config, i)) {
            continue;
        }
        if (streams != NULL) {
            tell_too_many(build, streams->place, enclave);
        } else if (budget != NULL) {
            tell_too_little(build, budget->place, enclave);
        }
    }
}
