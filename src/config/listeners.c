/* Listeners: where they listen, who may come, and which of them are in each other's way. */
#include "config/build.h"
#include <stdio.h>
#include <string.h>

/* Whether the protocol is known: what the other keys may hold depends on it. */
bool listener_is_readable(struct build *build, const struct node *map, void *object)
{
    (void)object;
    const struct key *key = key_find(SCOPE_LISTENER, "protocol");
    const struct node *protocol = tree_get(map, "protocol");
    struct config_listener unused;
    if (protocol == NULL || protocol->kind == NODE_BAD || value_is_choice(key, protocol)) {
        return true;
    }
    value_set(build, key, protocol, &unused); /* tells */
    return false;
}

/* A port alone is what other programs take. */
static bool is_port(const struct node *value)
{
    return value->text[0] != '\0' && strlen(value->text) <= 10 &&
           value->text[strspn(value->text, "0123456789")] == '\0';
}

/* An address to listen on: nothing in it waits for a resolver. */
bool listen_address(struct build *build, const struct key *key, const struct node *value, struct addr *ret)
{
    struct error err = ERROR_INIT;
    struct addr addr;
    if (value->kind != NODE_TEXT) {
        build_expected(build, key, value, NULL);
        return false;
    }
    if (is_port(value)) {
        char hint[32];
        snprintf(hint, sizeof hint, "vsock://any:%s", value->text);
        build_expected(build, key, value, hint);
        return false;
    }
    if (addr_parse_listen(value->text, &addr, &err) != 0) {
        build_tell(build, value->place, key->name, "%s", err.text);
        return false;
    }
    if (addr.kind == ADDR_VSOCK && addr.cid_by_name) {
        build_tell(build, value->place, key->name,
                   "the name of an enclave is a destination: expected vsock://any:%u to listen", addr.port);
        return false;
    }
    if (addr.kind == ADDR_TCP && !addr.literal) {
        build_tell(build, value->place, key->name,
                   "a name cannot be listened on: expected an IP address, e.g. tcp://127.0.0.1:%u",
                   addr.port);
        return false;
    }
    *ret = addr;
    return true;
}

void set_listen(struct build *build, const struct key *key, const struct node *value, void *object)
{
    (void)listen_address(build, key, value, &((struct config_listener *)object)->listen);
}

void set_listener_route(struct build *build, const struct key *key, const struct node *value, void *object)
{
    struct config_listener *listener = object;
    int id = build_name(build, &build->routes, key, value);
    listener->route = id >= 0 ? id : CONFIG_NO_ROUTE;
}

void set_peer(struct build *build, const struct key *key, const struct node *value, void *object)
{
    struct config_listener *listener = object;
    listener->peer = build_name(build, &build->enclaves, key, value);
}

static void allow_one(struct build *build, const struct key *key, const struct node *item,
                      struct config_listener *listener)
{
    int id = build_name(build, &build->enclaves, key, item);
    if (id < 0) {
        return;
    }
    if (listener->allow[id]) {
        build_tell(build, item->place, key->name, "%s is in the list twice", item->text);
    }
    listener->allow[id] = true;
}

static void set_allow_list(struct build *build, const struct key *key, const struct node *value,
                           struct config_listener *listener)
{
    if (value->kind == NODE_TEXT && strcmp(value->text, "any") == 0) {
        listener->allow_any = true;
        return;
    }
    if (value->kind == NODE_MAP && value->count > 0) {
        build_tell(
            build, value->place, key->name,
            "routes by enclave are for framed listeners: a raw one has one `route`, and expects a list of "
            "names of enclaves, or any");
        return;
    }
    if (value->kind == NODE_LIST && value->count == 0) {
        build_tell(build, value->place, key->name,
                   "an empty list, so nobody could connect: expected at least one enclave, or any");
        return;
    }
    if (value->kind != NODE_LIST) {
        char hint[CONFIG_NAME_MAX + 3];
        bool one = value->kind == NODE_TEXT && strlen(value->text) <= CONFIG_NAME_MAX;
        snprintf(hint, sizeof hint, "[%s]", one ? value->text : "");
        build_expected_what(build, key, value, "a list of names of enclaves, or any", one ? hint : NULL);
        return;
    }
    for (const struct node *item = value->first; item != NULL; item = item->next) {
        allow_one(build, key, item, listener);
    }
}

void set_allow(struct build *build, const struct key *key, const struct node *value, void *object)
{
    struct config_listener *listener = object;
    size_t before = build->diags->total;
    listener->allow_place = value->place;
    if (listener->protocol == CONFIG_FRAMED) {
        set_permits(build, key, value, listener);
    } else {
        set_allow_list(build, key, value, listener);
    }
    build->allow_is_bad = build->diags->total > before;
}

static void check_peer(struct build *build, const struct node *map, const struct config_listener *listener)
{
    const struct node *peer = tree_get(map, "peer");
    const struct node *allow = tree_get(map, "allow");
    if (listener->listen.kind == ADDR_VSOCK) {
        if (peer != NULL) {
            build_tell(build, peer->key_place, "peer",
                       "a vsock caller has a CID of its own, which the kernel vouches for: remove this key");
        }
        return;
    }
    bool names = allow != NULL && (allow->kind == NODE_LIST || allow->kind == NODE_MAP);
    if (!names || allow->count == 0) {
        return;
    }
    if (peer == NULL) {
        build_tell(
            build, allow->place, "allow",
            "a caller on this address has no CID, so nobody could connect: expected `peer:` to say which "
            "enclave a caller counts as%s",
            listener->protocol == CONFIG_RAW ? ", or `allow: any`" : "");
    } else if (listener->peer >= 0 && !listener->allow[listener->peer] && !build->allow_is_bad) {
        build_tell(build, peer->place, "peer",
                   "%s is not in `allow`, so nobody could connect: expected one of the enclaves there",
                   peer->text);
    }
}

static void check_route(struct build *build, const struct node *map, const struct config_listener *listener)
{
    const struct node *route = tree_get(map, "route");
    if (listener->protocol == CONFIG_RAW && route == NULL) {
        tell_missing(build, key_find(SCOPE_LISTENER, "route"), map->key_place);
    } else if (listener->protocol == CONFIG_FRAMED && route != NULL) {
        build_tell(
            build, route->key_place, "route",
            "the caller of a framed listener names the route of each stream: remove this key, and list the "
            "routes in `allow: {ENCLAVE: [ROUTE, ...]}`");
    }
}

void listener_check(struct build *build, const struct node *map, void *object)
{
    const struct config_listener *listener = object;
    const struct node *mode = tree_get(map, "mode");
    check_route(build, map, listener);
    if (listener->listen.kind == ADDR_NONE) {
        return; /* told, and the rest depends on it */
    }
    check_peer(build, map, listener);
    bool has_file = listener->listen.kind == ADDR_HYBRID ||
                    (listener->listen.kind == ADDR_UNIX && listener->listen.host[0] != '@');
    if (mode != NULL && !has_file) {
        build_tell(build, mode->key_place, "mode",
                   "only a unix or hybrid listener with a path has a file with permissions: remove this key");
    }
}

/* Whether two of unix and hybrid addresses are bound to one file. */
static bool same_file(const struct addr *a, const struct addr *b)
{
    if (a->kind == b->kind) {
        return strcmp(a->host, b->host) == 0 && (a->kind == ADDR_UNIX || a->port == b->port);
    }
    const struct addr *hybrid = a->kind == ADDR_HYBRID ? a : b;
    const struct addr *plain = a->kind == ADDR_HYBRID ? b : a;
    size_t length = strlen(hybrid->host);
    char port[16];
    snprintf(port, sizeof port, "_%u", hybrid->port);
    return strncmp(plain->host, hybrid->host, length) == 0 && strcmp(plain->host + length, port) == 0;
}

static bool has_path(const struct addr *addr)
{
    return addr->kind == ADDR_UNIX || addr->kind == ADDR_HYBRID;
}

static bool is_every_host(const struct addr *addr)
{
    return strcmp(addr->host, "0.0.0.0") == 0 || strcmp(addr->host, "::") == 0;
}

/* Whether the kernel would refuse to bind both. */
static bool in_the_way(const struct addr *a, const struct addr *b)
{
    if (has_path(a) && has_path(b)) {
        return same_file(a, b);
    }
    if (a->kind != b->kind || a->port != b->port) {
        return false;
    }
    if (a->kind == ADDR_VSOCK) {
        return a->cid == b->cid || a->cid == ADDR_CID_ANY || b->cid == ADDR_CID_ANY;
    }
    bool same_family = (strchr(a->host, ':') != NULL) == (strchr(b->host, ':') != NULL);
    return a->port != 0 &&
           (strcmp(a->host, b->host) == 0 || (same_family && (is_every_host(a) || is_every_host(b))));
}

static void tell_in_the_way(struct build *build, struct place place, const struct addr *other,
                            const char *who)
{
    char text[ADDR_TEXT_MAX];
    build_tell(build, place, "listen", "%s has %s, and only one can listen there", who,
               addr_format(other, text));
}

static void check_against_services(struct build *build, struct place place, const struct addr *listen)
{
    const struct config *config = build->config;
    if (config->admin.kind != ADDR_NONE && in_the_way(listen, &config->admin)) {
        tell_in_the_way(build, place, &config->admin, "admin.listen");
    }
    if (config->metrics.kind != ADDR_NONE && in_the_way(listen, &config->metrics)) {
        tell_in_the_way(build, place, &config->metrics, "metrics.listen");
    }
}

static void check_against_earlier(struct build *build, struct place place, unsigned id)
{
    const struct config_listener *all = build->config->listeners;
    for (unsigned i = 0; i < id; i++) {
        if (all[i].listen.kind != ADDR_NONE && in_the_way(&all[id].listen, &all[i].listen)) {
            char who[CONFIG_NAME_MAX + 16];
            snprintf(who, sizeof who, "the listener %.*s", CONFIG_NAME_MAX, all[i].name);
            tell_in_the_way(build, place, &all[i].listen, who);
            return;
        }
    }
}

/* Every pair: the bound on the file's size bounds the work. */
void listeners_check(struct build *build, const struct node *section)
{
    const struct node *map = section->first;
    for (unsigned i = 0; i < build->config->listener_count; i++, map = map->next) {
        const struct config_listener *listener = &build->config->listeners[i];
        if (listener->listen.kind != ADDR_NONE) {
            struct place place = tree_get(map, "listen")->place;
            build->entry = listener->name;
            check_against_services(build, place, &listener->listen);
            check_against_earlier(build, place, i);
        }
    }
}
