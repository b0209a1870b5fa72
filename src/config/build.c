/*
 * From a tree to a configuration: walks the file by the key table, and tells every mistake on the way.
 *
 * First the names of all entries are gathered, so that the order of the sections does not matter; then
 * enclaves, routes and listeners are read in that order, since each may mention the ones before.
 */
#include "config/build.h"
#include "config/changes.h"
#include "config/utf8.h"
#include <stdlib.h>
#include <string.h>

/* A section of named entries, and what reads one of them. */
struct entries {
    enum scope scope;
    size_t size; /* of the struct */
    void *list;
    bool (*readable)(struct build *build, const struct node *map, void *object); /* NULL: always */
    void (*check)(struct build *build, const struct node *map, void *object); /* NULL: nothing across keys */
};

char *build_strdup(struct build *build, const char *string)
{
    char *copy = config_strdup(build->config, string);
    build->no_memory = build->no_memory || copy == NULL;
    return copy;
}

void *build_alloc(struct build *build, size_t count, size_t size)
{
    void *memory = config_alloc(build->config, count, size);
    build->no_memory = build->no_memory || memory == NULL;
    return memory;
}

/* ---- Names ---- */

static int by_name(const void *left, const void *right)
{
    return strcmp(((const struct named *)left)->name, ((const struct named *)right)->name);
}

/* A section that holds a map, or nothing at all. */
static bool is_section(const struct node *node)
{
    return node->kind == NODE_MAP || node->kind == NODE_NULL;
}

static void gather_names(struct build *build, const struct node *section, struct names *names)
{
    if (section == NULL) {
        return;
    }
    names->unknown = !is_section(section);
    names->list = build_alloc(build, section->count, sizeof *names->list);
    if (names->list == NULL || section->kind != NODE_MAP) {
        return;
    }
    for (const struct node *node = section->first; node != NULL; node = node->next) {
        names->list[names->count] = (struct named){node->key, (int)names->count};
        names->count++;
    }
    qsort(names->list, names->count, sizeof *names->list, by_name);
}

int build_name(struct build *build, const struct names *names, const struct key *key,
               const struct node *value)
{
    if (value->kind != NODE_TEXT) {
        build_expected_what(build, key, value,
                            names == &build->routes ? "the name of a route" : "the name of an enclave", NULL);
        return -1;
    }
    struct named wanted = {.name = value->text};
    const struct named *found =
        names->count > 0 ? bsearch(&wanted, names->list, names->count, sizeof wanted, by_name) : NULL;
    if (found != NULL) {
        return found->id;
    }
    if (names->unknown) {
        return -1;
    }
    tell_no_such(build, names, key, value);
    return -1;
}

static bool is_name(const char *name)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789_-";
    size_t length = strlen(name);
    return length <= CONFIG_NAME_MAX && name[0] != '_' && name[0] != '-' && strspn(name, letters) == length;
}

/* Names that an address or a list of enclaves would read as something else. */
static bool is_taken(const char *name)
{
    return strcmp(name, "any") == 0 || strcmp(name, "parent") == 0 || strcmp(name, "local") == 0 ||
           name[strspn(name, "0123456789")] == '\0';
}

static void check_name(struct build *build, enum scope scope, const struct node *node)
{
    if (!is_name(node->key)) {
        build_tell(build, node->key_place, NULL,
                   "not a name: expected at most %d of a-z, 0-9, - and _, a letter or digit first",
                   CONFIG_NAME_MAX);
    } else if (scope == SCOPE_ENCLAVE && is_taken(node->key)) {
        build_tell(
            build, node->key_place, NULL,
            "an address would take this name for a CID: expected one that is neither any, parent, local nor "
            "a number");
    }
}

/* ---- Keys ---- */

void build_defaults(struct build *build, enum scope scope, void *object)
{
    for (size_t i = 0; i < key_count; i++) {
        const struct key *key = &key_table[i];
        if (key->scope == scope && key->fallback != NULL) {
            struct node value = {.kind = NODE_TEXT, .text = key->fallback};
            value_set(build, key, &value, object);
        }
    }
}

static bool is_section_name(const char *name)
{
    for (int i = SCOPE_FILE + 1; i < SCOPE_SECTIONS; i++) {
        if (strcmp(key_sections[i].name, name) == 0) {
            return true;
        }
    }
    return false;
}

/* The keys of one map, in the order of the table. */
static void read_keys(struct build *build, enum scope scope, const struct node *map, struct place place,
                      void *object)
{
    for (size_t i = 0; i < key_count; i++) {
        const struct key *key = &key_table[i];
        const struct node *value = key->scope == scope ? tree_get(map, key->name) : NULL;
        if (value != NULL) {
            value_set(build, key, value, object);
        } else if (key->scope == scope && key->required) {
            tell_missing(build, key, place);
        }
    }
}

static void check_unknown(struct build *build, enum scope scope, const struct node *map)
{
    for (const struct node *node = map->first; node != NULL; node = node->next) {
        if (key_find(scope, node->key) == NULL) {
            tell_unknown(build, scope, node);
        }
    }
}

/* Credentials are signed with only where the file says so. */
static void *object_within(struct build *build, enum scope scope, void *object)
{
    struct config_forward *forward = object;
    if (scope != SCOPE_AWS) {
        return object;
    }
    forward->sign = build_alloc(build, 1, sizeof *forward->sign);
    if (forward->sign != NULL) {
        build_defaults(build, scope, forward->sign);
    }
    return forward->sign;
}

void build_map(struct build *build, const struct key *key, const struct node *map, void *object)
{
    const char *around = build->inner;
    build->inner = key_sections[key->within].name;
    void *within = is_section(map) ? object_within(build, key->within, object) : NULL;
    if (within != NULL) {
        read_keys(build, key->within, map, map->key_place, within);
        check_unknown(build, key->within, map);
    } else if (!is_section(map)) {
        tell_not_section(build, map);
    }
    build->inner = around;
}

/* ---- Sections ---- */

void *build_object(struct config *config, enum scope scope)
{
    switch (scope) {
    case SCOPE_DNS:
        return &config->dns;
    case SCOPE_VSOCK:
        return &config->vsock;
    case SCOPE_SESSIONS:
        return &config->sessions;
    case SCOPE_SPOOL:
        return &config->spool;
    default:
        return config;
    }
}

static void read_sections(struct build *build, const struct node *root)
{
    for (int i = SCOPE_FILE + 1; i < SCOPE_ENCLAVE; i++) {
        enum scope scope = (enum scope)i;
        const struct node *section = tree_get(root, key_sections[scope].name);
        if (section == NULL) {
            continue;
        }
        build->section = key_sections[scope].name;
        if (is_section(section)) {
            read_keys(build, scope, section, section->key_place, build_object(build->config, scope));
            check_unknown(build, scope, section);
        } else {
            tell_not_section(build, section);
        }
        build->section = NULL;
    }
}

static void read_entry(struct build *build, const struct entries *entries, const struct node *map,
                       void *object)
{
    check_name(build, entries->scope, map);
    if (!is_section(map)) {
        tell_not_section(build, map);
        return;
    }
    if (entries->readable != NULL && !entries->readable(build, map, object)) {
        return;
    }
    build_defaults(build, entries->scope, object);
    read_keys(build, entries->scope, map, map->key_place, object);
    check_unknown(build, entries->scope, map);
    if (entries->check != NULL) {
        entries->check(build, map, object);
    }
}

static void read_entries(struct build *build, const struct node *root, const struct entries *entries)
{
    const struct node *section = tree_get(root, key_sections[entries->scope].name);
    if (section == NULL || build->no_memory) {
        return;
    }
    build->section = key_sections[entries->scope].name;
    if (is_section(section)) {
        unsigned char *object = entries->list;
        for (const struct node *map = section->first; map != NULL; map = map->next) {
            build->entry = map->key;
            read_entry(build, entries, map, object);
            object += entries->size;
        }
        build->entry = NULL;
    } else {
        tell_not_section(build, section);
    }
    build->section = NULL;
}

/* Each entry by its place in the file, with what no key says. */
static unsigned entry_count(const struct node *root, enum scope scope)
{
    const struct node *section = tree_get(root, key_sections[scope].name);
    return section != NULL && section->kind == NODE_MAP ? section->count : 0;
}

static const struct node *first_entry(const struct node *root, enum scope scope)
{
    const struct node *section = tree_get(root, key_sections[scope].name);
    return section != NULL && section->kind == NODE_MAP ? section->first : NULL;
}

static void make_enclaves(struct build *build, const struct node *root)
{
    struct config *config = build->config;
    config->enclaves = build_alloc(build, entry_count(root, SCOPE_ENCLAVE), sizeof *config->enclaves);
    const struct node *node = first_entry(root, SCOPE_ENCLAVE);
    for (; node != NULL && config->enclaves != NULL; node = node->next) {
        struct config_enclave *enclave = &config->enclaves[config->enclave_count++];
        enclave->name = build_strdup(build, node->key);
        enclave->place = node->key_place;
        enclave->digest = changes_digest(node);
    }
}

static void make_routes(struct build *build, const struct node *root)
{
    struct config *config = build->config;
    config->routes = build_alloc(build, entry_count(root, SCOPE_ROUTE), sizeof *config->routes);
    const struct node *node = first_entry(root, SCOPE_ROUTE);
    for (; node != NULL && config->routes != NULL; node = node->next) {
        struct config_route *route = &config->routes[config->route_count++];
        route->name = build_strdup(build, node->key);
        route->place = node->key_place;
        route->digest = changes_digest(node);
    }
}

static void make_listeners(struct build *build, const struct node *root)
{
    struct config *config = build->config;
    config->listeners = build_alloc(build, entry_count(root, SCOPE_LISTENER), sizeof *config->listeners);
    const struct node *node = first_entry(root, SCOPE_LISTENER);
    for (; node != NULL && config->listeners != NULL; node = node->next) {
        struct config_listener *listener = &config->listeners[config->listener_count++];
        listener->name = build_strdup(build, node->key);
        listener->allow = build_alloc(build, config->enclave_count, sizeof *listener->allow);
        listener->peer = CONFIG_NOBODY;
        listener->route = CONFIG_NO_ROUTE;
        listener->place = node->key_place;
        listener->digest = changes_digest(node);
    }
}

static bool has_entries(const char *key)
{
    return strcmp(key, key_sections[SCOPE_ENCLAVE].name) == 0 ||
           strcmp(key, key_sections[SCOPE_ROUTE].name) == 0 ||
           strcmp(key, key_sections[SCOPE_LISTENER].name) == 0;
}

static void note_sections(struct build *build, const struct node *root)
{
    struct config *config = build->config;
    config->sections = build_alloc(build, root->count, sizeof *config->sections);
    for (const struct node *node = root->first; node != NULL && config->sections != NULL; node = node->next) {
        if (!has_entries(node->key)) {
            config->sections[config->section_count++] =
                (struct config_section){.name = build_strdup(build, node->key),
                                        .digest = changes_digest(node)};
        }
    }
}

/* ---- The whole ---- */

struct with_cid {
    const struct config_enclave *enclave;
};

static int by_cid(const void *left, const void *right)
{
    const struct config_enclave *a = ((const struct with_cid *)left)->enclave;
    const struct config_enclave *b = ((const struct with_cid *)right)->enclave;
    return a->cid != b->cid ? (a->cid < b->cid ? -1 : 1) : (a < b ? -1 : a > b);
}

static struct place place_of_cid(const struct node *root, unsigned id)
{
    const struct node *node = first_entry(root, SCOPE_ENCLAVE);
    for (; id > 0; id--) {
        node = node->next;
    }
    return tree_get(node, "cid")->place;
}

/* Two enclaves with one CID could not be told apart. */
static void check_cids(struct build *build, const struct node *root)
{
    struct config *config = build->config;
    struct with_cid *sorted = calloc(config->enclave_count + 1u, sizeof *sorted);
    if (sorted == NULL) {
        build->no_memory = true;
        return;
    }
    for (unsigned i = 0; i < config->enclave_count; i++) {
        sorted[i].enclave = &config->enclaves[i];
    }
    qsort(sorted, config->enclave_count, sizeof *sorted, by_cid);
    build->section = key_sections[SCOPE_ENCLAVE].name;
    for (unsigned i = 1; i < config->enclave_count && build->diags->total < DIAGS_MAX; i++) {
        const struct config_enclave *enclave = sorted[i].enclave;
        const struct config_enclave *before = sorted[i - 1].enclave;
        if (enclave->cid != 0 && enclave->cid == before->cid) {
            build->entry = enclave->name;
            build_tell(build, place_of_cid(root, (unsigned)(enclave - config->enclaves)), "cid",
                       "CID %u is that of the enclave %.*s already: expected one of its own", enclave->cid,
                       CONFIG_NAME_MAX, before->name);
        }
    }
    build->section = build->entry = NULL;
    free(sorted);
}

static void check_across(struct build *build, const struct node *root)
{
    const struct config *config = build->config;
    const struct node *dns = tree_get(root, "dns");
    const struct node *listeners = tree_get(root, "listeners");
    if (config->dns.min_ttl_ms > config->dns.max_ttl_ms && dns != NULL) {
        build_tell(build, dns->key_place, "dns",
                   "min_ttl is longer than max_ttl: expected the shorter one first");
    }
    check_cids(build, root);
    permits_check(build, root);
    forward_check_memory(build, root);
    if (listeners != NULL) {
        build->section = key_sections[SCOPE_LISTENER].name;
        listeners_check(build, listeners);
        build->section = build->entry = NULL;
    }
}

/* Nothing else can be said about a file in a format that this program does not know. */
static bool version_is_known(struct build *build, const struct node *root)
{
    const struct node *version = tree_get(root, "version");
    if (version == NULL ||
        (version->kind == NODE_TEXT && !version->quoted && strcmp(version->text, "1") == 0)) {
        return true;
    }
    if (version->kind != NODE_TEXT || strcmp(version->text, "1") == 0) {
        build_expected(build, key_find(SCOPE_FILE, "version"), version, NULL);
    } else {
        build_tell(build, version->place, "version",
                   "this program reads version 1 of the format, and the file says %.*s: expected 1, or a "
                   "newer program",
                   utf8_clip(version->text), version->text);
    }
    return false;
}

static void check_unknown_sections(struct build *build, const struct node *root)
{
    for (const struct node *node = root->first; node != NULL; node = node->next) {
        if (!is_section_name(node->key) && key_find(SCOPE_FILE, node->key) == NULL) {
            tell_unknown(build, SCOPE_FILE, node);
        }
    }
}

void build_config(struct build *build, const struct node *root)
{
    struct config *config = build->config;
    if (root->kind != NODE_MAP) {
        tell_not_section(build, root);
        return;
    }
    if (!version_is_known(build, root)) {
        return;
    }
    build->enclaves.what = "enclave";
    build->routes.what = "route";
    gather_names(build, tree_get(root, "enclaves"), &build->enclaves);
    gather_names(build, tree_get(root, "routes"), &build->routes);
    make_enclaves(build, root);
    make_routes(build, root);
    make_listeners(build, root);
    note_sections(build, root);
    if (build->no_memory) {
        return;
    }
    read_keys(build, SCOPE_FILE, root, (struct place){1, 1}, config);
    check_unknown_sections(build, root);
    read_sections(build, root);
    read_entries(build, root,
                 &(struct entries){SCOPE_ENCLAVE, sizeof *config->enclaves, config->enclaves, NULL, NULL});
    read_entries(build, root,
                 &(struct entries){SCOPE_ROUTE, sizeof *config->routes, config->routes, route_is_readable,
                                   route_check});
    read_entries(build, root,
                 &(struct entries){SCOPE_LISTENER, sizeof *config->listeners, config->listeners,
                                   listener_is_readable, listener_check});
    check_across(build, root);
}
