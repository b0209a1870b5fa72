/*
 * A YAML file as a tree whose nodes know their place: libyaml's events, put together without recursion.
 *
 * A mistake that spoils only its own node (an anchor, a tag, a key written twice) is told and reading goes
 * on, so that one run tells them all. One that spoils what follows (no YAML, too deep, too much) ends it.
 */
#include "config/tree.h"
#include "config/utf8.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

struct level {
    struct node *node;
    const char *key; /* a map's key that waits for its value */
    struct place key_place;
};

struct reader {
    yaml_parser_t yaml;
    const char *data; /* for a second look at a line that libyaml refused */
    size_t size;
    struct arena *arena;
    struct diags *diags;
    struct node *root;
    struct level stack[TREE_DEPTH_MAX];
    unsigned depth;
    unsigned nodes;
    unsigned documents;
    bool ended;
};

static struct place place_of(yaml_mark_t mark)
{
    return (struct place){(unsigned)mark.line + 1, (unsigned)mark.column + 1};
}

static int refuse(struct reader *reader, struct place place, const char *why)
{
    diags_add(reader->diags, place, "%s", why);
    return -EINVAL;
}

/* What libyaml says is about its grammar; what helps is what people do wrong to get there. */
static const char *advice_for(const char *problem)
{
    static const struct {
        const char *problem;
        const char *advice;
    } table[] = {
        {"mapping values are not allowed in this context",
         "see that the key before has a colon and a space behind it, that the line is indented like its "
         "neighbours, and that a value which contains \": \" is in quotes"},
        {"found character that cannot start any token",
         "put a value that starts with such a character in quotes"},
        {"did not find expected key", "indent the line like its neighbours"},
        {"did not find expected '-' indicator", "indent the line like its neighbours"},
        {"could not find expected ':'", "put a colon and a space after the key"},
        {"found unexpected end of stream", "close what was opened"},
        {"did not find expected ',' or '}'", "separate with a comma, and close with }"},
        {"did not find expected ',' or ']'", "separate with a comma, and close with ]"},
        {"did not find expected alphabetic or numeric character",
         "put a value that begins with * or & in quotes, as in \"*.example.com\""},
        {"did not find expected node content",
         "give the key or the value that is missing, or close what was opened"},
        {"found unknown escape character", "write \\\\ for a backslash, or use single quotes"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        if (strcmp(problem, table[i].problem) == 0) {
            return table[i].advice;
        }
    }
    return "see the YAML rules for quotes and indentation";
}

static bool tab_indents(const struct reader *reader, size_t line)
{
    const char *at = reader->data;
    const char *end = reader->data + reader->size;
    for (; line > 0 && at < end; line--) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        at = newline != NULL ? newline + 1 : end;
    }
    while (at < end && *at == ' ') {
        at++;
    }
    return at < end && *at == '\t';
}

static int refuse_yaml(struct reader *reader)
{
    const yaml_parser_t *yaml = &reader->yaml;
    if (yaml->error == YAML_MEMORY_ERROR) {
        return -ENOMEM;
    }
    struct place place = place_of(yaml->problem_mark);
    if (tab_indents(reader, yaml->problem_mark.line)) {
        return refuse(reader, place, "a tab in the indentation: YAML takes spaces only");
    }
    const char *problem = yaml->problem != NULL ? yaml->problem : "unreadable";
    bool elsewhere = yaml->context_mark.line != yaml->problem_mark.line ||
                     yaml->context_mark.column != yaml->problem_mark.column;
    if (yaml->context != NULL && elsewhere) {
        diags_add(reader->diags, place, "not YAML: %s (%s that starts at line %zu, column %zu); %s", problem,
                  yaml->context, yaml->context_mark.line + 1, yaml->context_mark.column + 1,
                  advice_for(problem));
    } else {
        diags_add(reader->diags, place, "not YAML: %s; %s", problem, advice_for(problem));
    }
    return -EINVAL;
}

/* A new node, hung under the map or list that is open. */
static int add_node(struct reader *reader, enum node_kind kind, struct place place, struct node **ret)
{
    struct node *node = arena_alloc(reader->arena, 1, sizeof *node);
    if (node == NULL) {
        return -ENOMEM;
    }
    node->kind = kind;
    node->place = place;
    node->text = "";
    *ret = node;
    if (reader->depth == 0) {
        reader->root = node;
        return 0;
    }
    struct level *level = &reader->stack[reader->depth - 1];
    struct node *parent = level->node;
    node->key = level->key;
    node->key_place = level->key_place;
    level->key = NULL;
    if (parent->last != NULL) {
        parent->last->next = node;
    } else {
        parent->first = node;
    }
    parent->last = node;
    parent->count++;
    return 0;
}

static bool wants_key(const struct reader *reader)
{
    if (reader->depth == 0) {
        return false;
    }
    const struct level *level = &reader->stack[reader->depth - 1];
    return level->node->kind == NODE_MAP && level->key == NULL;
}

static int count_node(struct reader *reader, struct place place)
{
    if (++reader->nodes <= TREE_NODES_MAX) {
        return 0;
    }
    diags_add(reader->diags, place, "more than %d keys and values: split the configuration", TREE_NODES_MAX);
    return -EINVAL;
}

/* Told, and then ignored: the node itself is fine. */
static void check_decoration(struct reader *reader, struct place place, const yaml_char_t *anchor,
                             const yaml_char_t *tag)
{
    if (anchor != NULL) {
        diags_add(reader->diags, place, "anchors and aliases are not used in this file: write the value out");
    }
    if (tag != NULL) {
        diags_add(reader->diags, place, "tags are not used in this file: remove the word that starts with !");
    }
}

static bool text_is_fit(struct reader *reader, struct place place, const char *text, size_t length)
{
    if (length > TREE_TEXT_MAX) {
        diags_add(reader->diags, place, "a text of %zu bytes: expected at most %d", length, TREE_TEXT_MAX);
        return false;
    }
    if (!utf8_is_plain(text, length)) {
        diags_add(reader->diags, place,
                  "a line break or another unprintable character in a text: expected one line");
        return false;
    }
    return true;
}

static int read_key(struct reader *reader, const yaml_event_t *event, struct place place)
{
    const char *text = (const char *)event->data.scalar.value;
    size_t length = event->data.scalar.length;
    if (!text_is_fit(reader, place, text, length)) {
        return -EINVAL;
    }
    if (length == 0) {
        return refuse(reader, place, "a key is missing before the colon");
    }
    struct level *level = &reader->stack[reader->depth - 1];
    level->key = arena_string(reader->arena, text, length);
    level->key_place = place;
    return level->key != NULL ? 0 : -ENOMEM;
}

static bool is_null(const char *text)
{
    return text[0] == '\0' || strcmp(text, "~") == 0 || strcmp(text, "null") == 0 ||
           strcmp(text, "Null") == 0 || strcmp(text, "NULL") == 0;
}

static int read_value(struct reader *reader, const yaml_event_t *event, struct place place)
{
    struct node *node = NULL;
    const char *text = (const char *)event->data.scalar.value;
    size_t length = event->data.scalar.length;
    int r = add_node(reader, NODE_TEXT, place, &node);
    if (r != 0) {
        return r;
    }
    node->quoted = event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
    if (!text_is_fit(reader, place, text, length)) {
        node->kind = NODE_BAD;
        return 0;
    }
    if (!node->quoted && is_null(text)) {
        node->kind = NODE_NULL;
        return 0;
    }
    char *copy = arena_string(reader->arena, text, length);
    if (copy == NULL) {
        return -ENOMEM;
    }
    node->text = copy;
    return 0;
}

static int on_scalar(struct reader *reader, const yaml_event_t *event, struct place place)
{
    check_decoration(reader, place, event->data.scalar.anchor, event->data.scalar.tag);
    return wants_key(reader) ? read_key(reader, event, place) : read_value(reader, event, place);
}

static int on_alias(struct reader *reader, struct place place)
{
    check_decoration(reader, place, (const yaml_char_t *)"", NULL);
    if (wants_key(reader)) {
        return -EINVAL;
    }
    struct node *node = NULL;
    return add_node(reader, NODE_BAD, place, &node);
}

static int on_start(struct reader *reader, enum node_kind kind, struct place place)
{
    if (wants_key(reader)) {
        return refuse(reader, place, "a map or list where a key belongs: put a text with { or [ in quotes");
    }
    if (reader->depth == TREE_DEPTH_MAX) {
        diags_add(reader->diags, place, "nested deeper than %d levels", TREE_DEPTH_MAX);
        return -EINVAL;
    }
    struct node *node = NULL;
    int r = add_node(reader, kind, place, &node);
    if (r == 0) {
        reader->stack[reader->depth++] = (struct level){.node = node};
    }
    return r;
}

struct keyed {
    struct node *node;
};

static int by_key_and_place(const void *left, const void *right)
{
    const struct node *a = ((const struct keyed *)left)->node;
    const struct node *b = ((const struct keyed *)right)->node;
    int order = strcmp(a->key, b->key);
    if (order != 0) {
        return order;
    }
    if (a->key_place.line != b->key_place.line) {
        return a->key_place.line < b->key_place.line ? -1 : 1;
    }
    return a->key_place.column < b->key_place.column ? -1 : 1;
}

/* The keys from `sorted` on that are the same as its first. Marks all but that one, the first in the file. */
static unsigned judge_repeated(struct reader *reader, const struct keyed *sorted, unsigned count)
{
    const struct node *first = sorted[0].node;
    unsigned same = 1;
    for (; same < count && strcmp(sorted[same].node->key, first->key) == 0; same++) {
        diags_add(reader->diags, sorted[same].node->key_place,
                  "the key \"%.*s\" is here twice: the first is at line %u, column %u", utf8_clip(first->key),
                  first->key, first->key_place.line, first->key_place.column);
        sorted[same].node->dropped = true;
    }
    return same;
}

/* Marks what a map must not hold as dropped: repeated keys and merge keys. */
static void judge_keys(struct reader *reader, const struct keyed *sorted, unsigned count)
{
    for (unsigned i = 0; i < count;) {
        struct node *node = sorted[i].node;
        i += judge_repeated(reader, sorted + i, count - i);
        if (strcmp(node->key, "<<") == 0) {
            diags_add(reader->diags, node->key_place,
                      "merge keys are not used in this file: write the keys out");
            node->dropped = true;
        }
    }
}

static void drop_marked(struct node *map)
{
    struct node **link = &map->first;
    map->last = NULL;
    map->count = 0;
    while (*link != NULL) {
        struct node *node = *link;
        if (node->dropped) {
            *link = node->next;
            continue;
        }
        map->last = node;
        map->count++;
        link = &node->next;
    }
}

static int finish_map(struct reader *reader, struct node *map)
{
    struct keyed *sorted = calloc(map->count + 1u, sizeof *sorted);
    if (sorted == NULL) {
        return -ENOMEM;
    }
    unsigned count = 0;
    for (struct node *node = map->first; node != NULL; node = node->next) {
        sorted[count++].node = node;
    }
    qsort(sorted, count, sizeof *sorted, by_key_and_place);
    judge_keys(reader, sorted, count);
    free(sorted);
    drop_marked(map);
    return 0;
}

static int on_document(struct reader *reader, struct place place)
{
    if (++reader->documents > 1) {
        return refuse(reader, place, "a second document starts here: expected one in a file");
    }
    return 0;
}

static int on_node(struct reader *reader, const yaml_event_t *event, struct place place)
{
    int r = count_node(reader, place);
    if (r != 0) {
        return r;
    }
    switch (event->type) {
    case YAML_SCALAR_EVENT:
        return on_scalar(reader, event, place);
    case YAML_SEQUENCE_START_EVENT:
        check_decoration(reader, place, event->data.sequence_start.anchor, event->data.sequence_start.tag);
        return on_start(reader, NODE_LIST, place);
    case YAML_MAPPING_START_EVENT:
        check_decoration(reader, place, event->data.mapping_start.anchor, event->data.mapping_start.tag);
        return on_start(reader, NODE_MAP, place);
    default:
        return on_alias(reader, place);
    }
}

static int on_event(struct reader *reader, const yaml_event_t *event)
{
    struct place place = place_of(event->start_mark);
    switch (event->type) {
    case YAML_DOCUMENT_START_EVENT:
        return on_document(reader, place);
    case YAML_MAPPING_END_EVENT:
        return finish_map(reader, reader->stack[--reader->depth].node);
    case YAML_SEQUENCE_END_EVENT:
        reader->depth--;
        return 0;
    case YAML_STREAM_END_EVENT:
        reader->ended = true;
        return 0;
    case YAML_STREAM_START_EVENT:
    case YAML_DOCUMENT_END_EVENT:
        return 0;
    default:
        return on_node(reader, event, place);
    }
}

static int read_events(struct reader *reader)
{
    while (!reader->ended) {
        yaml_event_t event;
        if (!yaml_parser_parse(&reader->yaml, &event)) {
            return refuse_yaml(reader);
        }
        int r = on_event(reader, &event);
        yaml_event_delete(&event);
        if (r != 0) {
            return r;
        }
    }
    if (reader->root == NULL || reader->root->kind == NODE_NULL) {
        return refuse(
            reader, (struct place){0, 0},
            "the file is empty: expected at least `version: 1` (postern.yaml(5) explains every key)");
    }
    return 0;
}

/* %YAML and %TAG begin a line, where no value can. libyaml's time grows with the square of their number. */
static bool has_directives(const char *data, size_t size, struct diags *diags)
{
    unsigned line = 1;
    for (size_t i = 0; i < size; i++) {
        if (data[i] == '%' && (i == 0 || data[i - 1] == '\n')) {
            diags_add(diags, (struct place){line, 1},
                      "directives (%%YAML, %%TAG) are not used in this file: remove the line");
            return true;
        }
        line += data[i] == '\n';
    }
    return false;
}

int tree_parse(const char *data, size_t size, struct arena *arena, struct diags *diags,
               const struct node **ret)
{
    static const char mark[] = "\xef\xbb\xbf"; /* the byte order mark that some editors put in front */
    if (size > TREE_SIZE_MAX) {
        diags_add(diags, (struct place){0, 0}, "the file is larger than %zu KiB: this is no configuration",
                  TREE_SIZE_MAX / 1024);
        return -EINVAL;
    }
    if (size >= 3 && memcmp(data, mark, 3) == 0) {
        data += 3;
        size -= 3;
    }
    if (!utf8_check(data, size, diags) || has_directives(data, size, diags)) {
        return -EINVAL;
    }
    struct reader reader = {.data = data, .size = size, .arena = arena, .diags = diags};
    if (!yaml_parser_initialize(&reader.yaml)) {
        return -ENOMEM;
    }
    yaml_parser_set_encoding(&reader.yaml, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&reader.yaml, (const unsigned char *)data, size);
    int r = read_events(&reader);
    yaml_parser_delete(&reader.yaml);
    if (r == 0) {
        *ret = reader.root;
    }
    return r;
}

const struct node *tree_get(const struct node *map, const char *key)
{
    for (const struct node *node = map->first; node != NULL; node = node->next) {
        if (node->key != NULL && strcmp(node->key, key) == 0) {
            return node;
        }
    }
    return NULL;
}
