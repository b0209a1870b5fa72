/*
 * From a tree to a configuration, shared by the files of this folder alone.
 *
 * tell.c words the mistakes, values.c sets single values, routes.c, forward.c, rules.c, hosts.c and listeners.c what
 * takes more than one line to say, build.c walks the tree by the key table. All of them tell mistakes and go on.
 */
#ifndef POSTERN_CONFIG_BUILD_H
#define POSTERN_CONFIG_BUILD_H

#include "base/compiler.h"
#include "base/diag.h"
#include "config/config.h"
#include "config/keys.h"
#include "config/tree.h"
#include <stdbool.h>

struct named {
    const char *name;
    int id;
};

/* The names of a section's entries, those with mistakes inside included: a mistake in an entry does not
 * make every mention of it another one. */
struct names {
    const char *what;   /* "enclave" */
    struct named *list; /* sorted by name */
    unsigned count;
    bool unknown; /* the section could not be read: nothing can be said about who is missing in it */
};

struct build {
    struct config *config;
    struct diags *diags;
    bool no_memory;
    const char *section; /* what is being read, for the messages; NULL: the file itself */
    const char *entry;   /* NULL outside sections of named entries */
    const char *inner;   /* NULL outside maps within an entry */
    unsigned type;       /* of the route that is being read */
    bool allow_is_bad;   /* of the listener that is being read: it has a mistake, which was told */
    struct names enclaves;
    struct names routes;
};

/* The entry's id, or -1, told with the place, but for sections that could not be read. */
int build_name(struct build *build, const struct names *names, const struct key *key,
               const struct node *value);

char *build_strdup(struct build *build, const char *string) MUST_CHECK;
void *build_alloc(struct build *build, size_t count, size_t size) MUST_CHECK;

/* Fills in `build->config`, which is at its defaults. */
void build_config(struct build *build, const struct node *root);

/* Sets every key of the scope that has a default. */
void build_defaults(struct build *build, enum scope scope, void *object);

/* What the defaults of a scope before SCOPE_ENCLAVE are set in. */
void *build_object(struct config *config, enum scope scope);

/* The map of a KEY_MAP, whose keys are fields of the same object. */
void build_map(struct build *build, const struct key *key, const struct node *map, void *object);

/* tell.c */

/* Tells a mistake: "SECTION.ENTRY.KEY: ...". `key` may be NULL. */
void build_tell(struct build *build, struct place place, const char *key, const char *format, ...)
    PRINTF_LIKE(4, 5);

/* Tells that the value is not what the key takes; silent about one refused already. `hint` (may be NULL) is
 * what was probably meant. */
void build_expected(struct build *build, const struct key *key, const struct node *value, const char *hint);

/* The same where something else is expected: an item of a list. */
void build_expected_what(struct build *build, const struct key *key, const struct node *value,
                         const char *what, const char *hint);

/* Tells that there is no such name, key or section. */
void tell_no_such(struct build *build, const struct names *names, const struct key *key,
                  const struct node *value);
void tell_unknown(struct build *build, enum scope scope, const struct node *node);
void tell_missing(struct build *build, const struct key *key, struct place place);
void tell_not_section(struct build *build, const struct node *node);

/* values.c: one value by its row of the table, bad ones told. */
void value_set(struct build *build, const struct key *key, const struct node *value, void *object);
bool value_is_choice(const struct key *key, const struct node *value);
void set_checked_before(struct build *build, const struct key *key, const struct node *value, void *object);
void set_cid(struct build *build, const struct key *key, const struct node *value, void *object);
void set_mode(struct build *build, const struct key *key, const struct node *value, void *object);
void set_family(struct build *build, const struct key *key, const struct node *value, void *object);
void set_admin(struct build *build, const struct key *key, const struct node *value, void *object);
void set_metrics(struct build *build, const struct key *key, const struct node *value, void *object);
void set_dns_servers(struct build *build, const struct key *key, const struct node *value, void *object);

void set_path(struct build *build, const struct key *key, const struct node *value, void *object);

/* routes.c */
void set_to(struct build *build, const struct key *key, const struct node *value, void *object);
void set_sni(struct build *build, const struct key *key, const struct node *value, void *object);
bool route_is_readable(struct build *build, const struct node *map, void *object);
void route_check(struct build *build, const struct node *map, void *object);

/* forward.c */
bool forward_prepare(struct build *build, struct config_route *route); /* false: no memory, which is noted */
void forward_check(struct build *build, const struct node *map, struct config_route *route);
void forward_check_memory(struct build *build,
                          const struct node *root); /* of all routes, against the limits */
void set_url(struct build *build, const struct key *key, const struct node *value,
             struct config_route *route);
void set_name(struct build *build, const struct key *key, const struct node *value, void *object);
void set_profile(struct build *build, const struct key *key, const struct node *value, void *object);

/* rules.c */
void set_methods(struct build *build, const struct key *key, const struct node *value, void *object);
void set_paths(struct build *build, const struct key *key, const struct node *value, void *object);
void set_query(struct build *build, const struct key *key, const struct node *value, void *object);
void set_content_types(struct build *build, const struct key *key, const struct node *value, void *object);
void set_headers_set(struct build *build, const struct key *key, const struct node *value, void *object);
void set_headers_add(struct build *build, const struct key *key, const struct node *value, void *object);
void set_headers_remove(struct build *build, const struct key *key, const struct node *value, void *object);

/* hosts.c */
void set_hosts(struct build *build, const struct key *key, const struct node *value, void *object);

/* listeners.c */
void set_listen(struct build *build, const struct key *key, const struct node *value, void *object);
void set_listener_route(struct build *build, const struct key *key, const struct node *value, void *object);
void set_allow(struct build *build, const struct key *key, const struct node *value, void *object);
void set_peer(struct build *build, const struct key *key, const struct node *value, void *object);
void set_permits(struct build *build, const struct key *key, const struct node *value,
                 struct config_listener *listener); /* permits.c: `allow` of a framed listener */
bool listener_is_readable(struct build *build, const struct node *map, void *object);
void listener_check(struct build *build, const struct node *map, void *object);
void listeners_check(struct build *build, const struct node *section);
void permits_check(struct build *build, const struct node *root);
bool listen_address(struct build *build, const struct key *key, const struct node *value, struct addr *ret);

#endif
