/*
 * The key table: one row for each key of the configuration file. The parser walks it, its defaults are
 * parsed from it, and conf/postern.yaml, docs/configuration.md and the manual page are made from it.
 */
#ifndef POSTERN_CONFIG_KEYS_H
#define POSTERN_CONFIG_KEYS_H

#include "base/compiler.h"
#include "base/text.h"
#include "config/tree.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum scope {
    SCOPE_FILE, /* keys that stand by themselves */
    SCOPE_LOG,
    SCOPE_ADMIN,
    SCOPE_METRICS,
    SCOPE_LIMITS,
    SCOPE_DNS,
    SCOPE_VSOCK,
    SCOPE_SESSIONS,
    SCOPE_SPOOL,
    SCOPE_ENCLAVE, /* from here on, sections of named entries */
    SCOPE_LISTENER,
    SCOPE_ROUTE,
    SCOPE_HEADERS, /* from here on, maps within a route */
    SCOPE_TLS,
    SCOPE_SIGN,
    SCOPE_AWS,
    SCOPE_RETRY,
    SCOPE_COUNT
};

#define SCOPE_SECTIONS SCOPE_HEADERS /* how many are sections of the file */

struct section {
    const char *name; /* of the key that holds it; NULL: SCOPE_FILE. Of a map within a route: of the keys */
    const char *doc;  /* NULL: SCOPE_FILE, and maps within a route, whose keys have one */
};

enum key_kind {
    KEY_NUMBER,
    KEY_DURATION, /* stored in milliseconds */
    KEY_SIZE,
    KEY_SWITCH,
    KEY_CHOICE,  /* stored as the index of the word */
    KEY_MAP,     /* has keys of its own */
    KEY_SPECIAL, /* has its own setter, and says itself what it expects */
};

struct build;
struct key;
typedef void (*key_setter)(struct build *build, const struct key *key, const struct node *value,
                           void *object);

struct key {
    enum scope scope;
    const char *name;
    const char *fallback; /* the default, as it would be written; NULL: none */
    bool required;
    bool conditional; /* the default counts only beside certain values of other keys */
    unsigned types;   /* SCOPE_ROUTE: of the routes that have it, a bit for each enum config_type; 0: all */
    bool
        in_forward; /* SCOPE_ROUTE: the field is one of struct config_forward, and so of forward routes alone */
    enum key_kind kind;
    size_t offset; /* of the field in the scope's struct, and its size; special ones know theirs */
    size_t width;
    uint64_t min, max;
    enum scope within;          /* KEY_MAP: of its keys */
    const char *word;           /* KEY_NUMBER and KEY_SIZE: a word that stands for 0 */
    const char *const *choices; /* KEY_CHOICE: ends with NULL */
    key_setter set;             /* KEY_SPECIAL */
    const char *expects;        /* KEY_SPECIAL */
    const char *doc;            /* a sentence or more, without markup but for backquotes */
};

extern const struct section key_sections[SCOPE_COUNT];
extern const struct key key_table[];
extern const size_t key_count;

/* The row, or NULL. */
const struct key *key_find(enum scope scope, const char *name);

/* Whether routes of that type have the key. */
bool key_is_of(const struct key *key, unsigned type);

/* What the key takes: "a duration from 1ms to 30d". */
void key_expects(const struct key *key, struct text *out);

/* "log.level", "routes.NAME.to". */
void key_path(const struct key *key, struct text *out);

/* What describe.c makes from the table: a Markdown table, and a list in the mdoc language. */
void keys_markdown(struct text *out);
void keys_mdoc(struct text *out);

#endif
