/* Routes: where they lead, and what a ClientHello may name. */
#include "config/build.h"
#include "config/utf8.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Whether the type is one that there is. A route of another type has other keys, about which nothing more can
 * be said. */
bool route_is_readable(struct build *build, const struct node *map, void *object)
{
    const struct key *key = key_find(SCOPE_ROUTE, "type");
    const struct node *type = tree_get(map, "type");
    struct config_route judged = {.type = CONFIG_RELAY};
    if (type != NULL) {
        value_set(build, key, type, &judged);
    }
    if (type != NULL && !value_is_choice(key, type)) {
        return false; /* told */
    }
    build->type = judged.type; /* one that is missing is told, and the rest read as a relay's */
    return build->type != CONFIG_FORWARD || forward_prepare(build, object);
}

/* An address that streams are carried to, an enclave's name in it turned into its CID. */
/* A name alone, as it stands in a browser: what is mostly behind it. */
static bool is_bare_host(const char *text)
{
    char address[ADDR_TEXT_MAX];
    struct addr addr;
    int length = snprintf(address, sizeof address, "tcp://%s:443", text);
    return strpbrk(text, ":/") == NULL && strchr(text, '.') != NULL && length < (int)sizeof address &&
           addr_parse(address, &addr, NULL) == 0;
}

static bool destination(struct build *build, const struct key *key, const struct node *value,
                        struct addr *ret)
{
    struct error err = ERROR_INIT;
    if (value->kind != NODE_TEXT) {
        build_expected(build, key, value, NULL);
        return false;
    }
    if (addr_parse(value->text, ret, &err) != 0) {
        bool bare = is_bare_host(value->text);
        build_tell(build, value->place, key->name, "%s%s%s%s", err.text, bare ? ", such as tcp://" : "",
                   bare ? value->text : "", bare ? ":443" : "");
        return false;
    }
    if (ret->kind == ADDR_VSOCK && ret->cid_by_name) {
        struct node name = {.kind = NODE_TEXT, .place = value->place, .text = ret->host};
        int id = build_name(build, &build->enclaves, key, &name);
        if (id < 0) {
            return false;
        }
        ret->cid = build->config->enclaves[id].cid;
        ret->cid_by_name = false;
        ret->host[0] = '\0';
    } else if (ret->kind == ADDR_VSOCK && ret->cid == ADDR_CID_ANY) {
        build_tell(build, value->place, key->name,
                   "CID any is for listeners: expected whom to connect to, an enclave's name or CID");
        return false;
    }
    return true;
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static void tell_bad_pattern(struct build *build, const struct key *key, struct place place, const char *text)
{
    const char *rest = strncmp(text, "*.", 2) == 0 ? text + 2 : text;
    size_t length = strlen(rest);
    const char *why = strchr(rest, '*') != NULL ? "a wildcard is `*.` in front and nowhere else"
                      : length > 0 && rest[length - 1] == '.'
                          ? "leave the final dot out"
                          : "expected a host name such as kms.us-east-1.amazonaws.com, or a wildcard such as "
                            "\"*.example.com\"; a ClientHello never names an IP address or a port";
    build_tell(build, place, key->name, "\"%.*s\" is not a name that a ClientHello carries: %s",
               utf8_clip(text), text, why);
}

static bool pattern(struct build *build, const struct key *key, struct place place, const char *text,
                    struct config_sni *ret)
{
    const char *rest = strncmp(text, "*.", 2) == 0 ? text + 2 : text;
    if (!addr_is_hostname(rest)) {
        tell_bad_pattern(build, key, place, text);
        return false;
    }
    char *copy = build_strdup(build, text);
    if (copy == NULL) {
        return false;
    }
    for (char *c = copy; *c != '\0'; c++) {
        *c = lower(*c);
    }
    ret->pattern = copy;
    ret->place = place;
    return true;
}

static int by_pattern_and_place(const void *left, const void *right)
{
    const struct config_sni *a = left;
    const struct config_sni *b = right;
    int order = strcmp(a->pattern, b->pattern);
    if (order != 0) {
        return order;
    }
    if (a->place.line != b->place.line) {
        return a->place.line < b->place.line ? -1 : 1;
    }
    return a->place.column < b->place.column ? -1 : 1;
}

/* Sorts the patterns, as policy_sni() wants them, and tells those that are there twice. */
static void sort_patterns(struct build *build, const struct key *key, struct config_route *route)
{
    qsort(route->sni, route->sni_count, sizeof *route->sni, by_pattern_and_place);
    const struct config_sni *first = route->sni;
    for (unsigned i = 1; i < route->sni_count; i++) {
        if (strcmp(first->pattern, route->sni[i].pattern) != 0) {
            first = &route->sni[i];
            continue;
        }
        build_tell(
            build, route->sni[i].place, key->name,
            "%s is here twice (letters count the same in either case): the first is at line %u, column %u",
            first->pattern, first->place.line, first->place.column);
    }
}

static bool is_address(struct build *build, const struct key *key, const struct node *item)
{
    if (item->kind != NODE_TEXT) {
        build_expected_what(build, key, item, "an address such as vsock://NAME:PORT", NULL);
    }
    return item->kind == NODE_TEXT;
}

static void set_sni_map(struct build *build, const struct key *key, const struct node *map,
                        struct config_route *route)
{
    if (map->kind != NODE_MAP || map->count == 0) {
        if (map->kind != NODE_BAD) {
            build_tell(build, map->place, key->name,
                       "nothing to choose from: expected {sni: {NAME: ADDRESS}} with at least one name");
        }
        return;
    }
    route->sni = build_alloc(build, map->count, sizeof *route->sni);
    if (route->sni == NULL) {
        return;
    }
    for (const struct node *item = map->first; item != NULL; item = item->next) {
        struct config_sni *entry = &route->sni[route->sni_count];
        bool named = pattern(build, key, item->key_place, item->key, entry);
        bool leads = is_address(build, key, item) && destination(build, key, item, &entry->to);
        route->sni_count += named && leads;
    }
    sort_patterns(build, key, route);
}

/* {sni: {...}} */
static void set_to_map(struct build *build, const struct key *key, const struct node *value,
                       struct config_route *route)
{
    const struct node *map = tree_get(value, "sni");
    for (const struct node *item = value->first; item != NULL; item = item->next) {
        if (item != map) {
            build_tell(build, item->key_place, key->name,
                       "unknown key \"%.*s\": expected {sni: {NAME: ADDRESS}}", utf8_clip(item->key),
                       item->key);
        }
    }
    if (map != NULL) {
        set_sni_map(build, key, map, route);
    } else if (value->count == 0) {
        build_expected(build, key, value, NULL);
    }
}

void set_to(struct build *build, const struct key *key, const struct node *value, void *object)
{
    struct config_route *route = object;
    if (route->type == CONFIG_FORWARD) {
        set_url(build, key, value, route);
    } else if (value->kind == NODE_MAP) {
        route->to_kind = CONFIG_TO_SNI_MAP;
        set_to_map(build, key, value, route);
    } else if (value->kind == NODE_TEXT && strcmp(value->text, "sni") == 0) {
        route->to_kind = CONFIG_TO_SNI;
    } else {
        route->to_kind = CONFIG_TO_ADDRESS;
        (void)destination(build, key, value, &route->to);
    }
}

void set_sni(struct build *build, const struct key *key, const struct node *value, void *object)
{
    struct config_route *route = object;
    if (route->to_kind == CONFIG_TO_SNI_MAP) {
        return; /* route_check() tells */
    }
    if (value->kind != NODE_LIST || value->count == 0) {
        build_expected(build, key, value, NULL);
        return;
    }
    route->sni = build_alloc(build, value->count, sizeof *route->sni);
    if (route->sni == NULL) {
        return;
    }
    for (const struct node *item = value->first; item != NULL; item = item->next) {
        if (item->kind == NODE_TEXT) {
            route->sni_count += pattern(build, key, item->place, item->text, &route->sni[route->sni_count]);
        } else {
            build_expected_what(build, key, item, "a host name or wildcard", NULL);
        }
    }
    sort_patterns(build, key, route);
}

/* "`type: relay` or `type: connect`": of a key that some routes have. */
static void types_text(const struct key *key, struct text *out)
{
    const char *const *types = key_find(SCOPE_ROUTE, "type")->choices;
    for (unsigned type = 0; types[type] != NULL; type++) {
        if (key_is_of(key, type)) {
            bool last = key->types >> (type + 1) == 0;
            text_addf(out, "%s`type: %s`", out->length == 0 ? "" : last ? " or " : ", ", types[type]);
        }
    }
}

static void tell_type(struct build *build, const struct key *key, const struct node *node)
{
    struct text types = TEXT_INIT;
    types_text(key, &types);
    build->no_memory = build->no_memory || types.failed;
    build_tell(build, node->key_place, node->key, "this key goes with %s only", text_string(&types));
    text_release(&types);
}

/* Keys of other types of routes. A route that leads to no destination has few, and says why. */
static void check_types(struct build *build, const struct node *map, const struct config_route *route)
{
    const char *words =
        route->type == CONFIG_LOG    ? "a log route leads nowhere but to the log: remove this key"
        : route->type == CONFIG_TIME ? "a time route leads nowhere but to the clock: remove this key"
                                     : NULL;
    for (const struct node *node = map->first; node != NULL; node = node->next) {
        const struct key *key = key_find(SCOPE_ROUTE, node->key);
        if (key == NULL || key_is_of(key, route->type)) {
            continue; /* told already, or well */
        }
        if (words != NULL) {
            build_tell(build, node->key_place, node->key, "%s", words);
        } else {
            tell_type(build, key, node);
        }
    }
}

static void check_relay(struct build *build, const struct node *map, const struct config_route *route)
{
    const struct node *to = tree_get(map, "to");
    const struct node *sni = tree_get(map, "sni");
    const struct node *port = tree_get(map, "port");
    if (to == NULL) {
        tell_missing(build, key_find(SCOPE_ROUTE, "to"), map->key_place);
        return;
    }
    if (route->to_kind == CONFIG_TO_SNI && sni == NULL) {
        build_tell(
            build, to->place, "to",
            "`to: sni` lets the caller choose the destination, so it needs `sni:`, the list of names that "
            "are allowed");
    }
    if (route->to_kind == CONFIG_TO_SNI_MAP && sni != NULL) {
        build_tell(build, sni->key_place, "sni",
                   "the names are in `to: {sni: ...}` already: remove this list");
    }
    if (route->to_kind != CONFIG_TO_SNI && port != NULL) {
        build_tell(build, port->key_place, "port",
                   "a port beside an address: write it in the address (this key goes with `to: sni` only)");
    }
}

static void check_connect(struct build *build, const struct node *map)
{
    if (tree_get(map, "hosts") == NULL) {
        tell_missing(build, key_find(SCOPE_ROUTE, "hosts"), map->key_place);
    }
}

void route_check(struct build *build, const struct node *map, void *object)
{
    struct config_route *route = object;
    check_types(build, map, route);
    if (route->type == CONFIG_RELAY) {
        check_relay(build, map, route);
    } else if (route->type == CONFIG_FORWARD) {
        forward_check(build, map, route);
    } else if (route->type == CONFIG_CONNECT) {
        check_connect(build, map);
    }
}
