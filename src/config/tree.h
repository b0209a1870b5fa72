/*
 * A YAML file as a tree whose nodes know their place. libyaml reads the text; what it would let through
 * and a configuration has no use for is refused here: anchors and aliases (with them, files that grow
 * when read), tags, merge keys, several documents, the same key twice, keys that are no text.
 *
 * Bounded: the bytes, the nodes, the depth, and the length of a value. Work is proportional to the size,
 * but for one sort of each map's keys.
 */
#ifndef POSTERN_CONFIG_TREE_H
#define POSTERN_CONFIG_TREE_H

#include "base/compiler.h"
#include "base/diag.h"
#include "config/arena.h"
#include <stdbool.h>
#include <stddef.h>

#define TREE_SIZE_MAX  ((size_t)1024 * 1024)
#define TREE_DEPTH_MAX 16
#define TREE_NODES_MAX 50000 /* keys count too */
#define TREE_TEXT_MAX  4096

enum node_kind {
    NODE_TEXT,
    NODE_NULL, /* nothing, `~` or `null` */
    NODE_LIST,
    NODE_MAP,
    NODE_BAD, /* refused, and told so already: whoever meets it stays silent */
};

struct node {
    enum node_kind kind;
    struct place place;
    const char *text; /* NODE_TEXT: printable on one line; "" otherwise */
    bool quoted;      /* NODE_TEXT: written in quotes or as a block */
    const char *key;  /* NULL outside a map */
    struct place key_place;
    bool dropped;       /* private: a key that the map must not hold */
    unsigned count;     /* of the children */
    struct node *first; /* children in the file's order */
    struct node *last;
    struct node *next;
};

/* Reads the text. Returns 0 with the root in *ret, which lives in `arena`; mistakes that leave the rest of
 * the tree readable are told in `diags` all the same. -EINVAL: no tree, and `diags` says why. -ENOMEM. */
int tree_parse(const char *data, size_t size, struct arena *arena, struct diags *diags,
               const struct node **ret) MUST_CHECK;

/* The value of a key, or NULL. A node that is no map has none. */
const struct node *tree_get(const struct node *map, const char *key);

#endif
