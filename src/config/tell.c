/*
 * How mistakes are told: what was found, what was expected, and what was probably meant. Looking for the
 * last is the one costly thing here, so it stops when the list of mistakes is full.
 */
#include "base/escape.h"
#include "base/text.h"
#include "config/build.h"
#include "config/utf8.h"
#include <stdarg.h>
#include <string.h>

#define HINTS_MAX 256 /* candidates looked through for "did you mean" */

void build_tell(struct build *build, struct place place, const char *key, const char *format, ...)
{
    const char *parts[] = {build->section, build->entry, build->inner, key};
    struct text text = TEXT_INIT;
    va_list args;
    for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
        if (parts[i] != NULL) {
            text_addf(&text, "%s%.*s", text.length > 0 ? "." : "", utf8_clip(parts[i]), parts[i]);
        }
    }
    text_add(&text, text.length > 0 ? ": " : "");
    va_start(args, format);
    text_addv(&text, format, args);
    va_end(args);
    build->no_memory = build->no_memory || text.failed;
    diags_add(build->diags, place, "%s", text_string(&text));
    text_release(&text);
}

static void hint_text(struct text *text, const char *hint)
{
    if (hint != NULL) {
        text_addf(text, " (did you mean %s?)", hint);
    }
}

static void found_text(struct text *text, const struct node *value)
{
    const char *shown = value->kind == NODE_TEXT ? escape_user(value->text) : NULL;
    switch (value->kind) {
    case NODE_TEXT:
        text_addf(text, "\"%s%.*s%s\"", shown != value->text ? "..." : "", utf8_clip(shown), shown,
                  strlen(shown) > UTF8_CLIP ? "..." : "");
        break;
    case NODE_LIST:
        text_add(text, value->count > 0 ? "a list" : "an empty list");
        break;
    case NODE_MAP:
        text_add(text, "a map of keys");
        break;
    default:
        text_add(text, "nothing");
        break;
    }
}

void build_expected_what(struct build *build, const struct key *key, const struct node *value,
                         const char *what, const char *hint)
{
    struct text text = TEXT_INIT;
    if (value->kind == NODE_BAD) {
        return;
    }
    found_text(&text, value);
    hint_text(&text, hint);
    build->no_memory = build->no_memory || text.failed;
    build_tell(build, value->place, key->name, "expected %s, not %s", what, text_string(&text));
    text_release(&text);
}

void build_expected(struct build *build, const struct key *key, const struct node *value, const char *hint)
{
    struct text what = TEXT_INIT;
    key_expects(key, &what);
    build->no_memory = build->no_memory || what.failed;
    build_expected_what(build, key, value, text_string(&what), hint);
    text_release(&what);
}

static const char *nearest_name(const struct names *names, const char *word)
{
    const char *candidates[HINTS_MAX];
    size_t count = 0;
    for (; count < names->count && count < HINTS_MAX; count++) {
        candidates[count] = names->list[count].name;
    }
    return diags_nearest(word, candidates, count);
}

void tell_no_such(struct build *build, const struct names *names, const struct key *key,
                  const struct node *value)
{
    const char *hint = build->diags->total < DIAGS_MAX ? nearest_name(names, value->text) : NULL;
    if (hint != NULL) {
        build_tell(build, value->place, key->name, "there is no %s named \"%.*s\" (did you mean %s?)",
                   names->what, utf8_clip(value->text), value->text, hint);
    } else {
        build_tell(build, value->place, key->name, "there is no %s named \"%.*s\": expected one under `%ss:`",
                   names->what, utf8_clip(value->text), value->text, names->what);
    }
}

static const char *nearest_key(enum scope scope, const char *word)
{
    const char *candidates[HINTS_MAX];
    size_t count = 0;
    for (size_t i = 0; i < key_count; i++) {
        if (key_table[i].scope == scope) {
            candidates[count++] = key_table[i].name;
        }
    }
    for (int i = SCOPE_FILE + 1; scope == SCOPE_FILE && i < SCOPE_SECTIONS; i++) {
        candidates[count++] = key_sections[i].name;
    }
    return diags_nearest(word, candidates, count);
}

static void keys_text(struct text *text, const struct build *build, enum scope scope)
{
    const char *between = "";
    for (size_t i = 0; i < key_count; i++) {
        if (key_table[i].scope == scope && (scope != SCOPE_ROUTE || key_is_of(&key_table[i], build->type))) {
            text_addf(text, "%s%s", between, key_table[i].name);
            between = ", ";
        }
    }
    for (int i = SCOPE_FILE + 1; scope == SCOPE_FILE && i < SCOPE_SECTIONS; i++) {
        text_addf(text, ", %s", key_sections[i].name);
    }
}

void tell_unknown(struct build *build, enum scope scope, const struct node *node)
{
    if (build->diags->total >= DIAGS_MAX) {
        build_tell(build, node->key_place, NULL, "unknown key");
        return;
    }
    struct text text = TEXT_INIT;
    const char *hint = nearest_key(scope, node->key);
    text_addf(&text, "unknown key \"%.*s\"", utf8_clip(node->key), node->key);
    if (strchr(node->key, ':') != NULL) {
        text_add(&text, ": put a space behind the colon");
    } else if (hint != NULL) {
        hint_text(&text, hint);
    } else {
        text_add(&text, ": expected one of ");
        keys_text(&text, build, scope);
    }
    build->no_memory = build->no_memory || text.failed;
    build_tell(build, node->key_place, NULL, "%s", text_string(&text));
    text_release(&text);
}

void tell_missing(struct build *build, const struct key *key, struct place place)
{
    struct text text = TEXT_INIT;
    key_expects(key, &text);
    build->no_memory = build->no_memory || text.failed;
    build_tell(build, place, NULL, "the key `%s` is missing: expected %s", key->name, text_string(&text));
    text_release(&text);
}

/* An enclave is a CID to many. */
static bool is_bare_cid(const struct build *build, const struct node *node)
{
    return build->section != NULL && build->entry != NULL &&
           strcmp(build->section, key_sections[SCOPE_ENCLAVE].name) == 0 && node->kind == NODE_TEXT &&
           node->text[0] != '\0' && node->text[strspn(node->text, "0123456789")] == '\0';
}

void tell_not_section(struct build *build, const struct node *node)
{
    struct text text = TEXT_INIT;
    if (node->kind == NODE_BAD) {
        return;
    }
    text_add(&text, "expected keys with values, not ");
    found_text(&text, node);
    if (is_bare_cid(build, node)) {
        text_addf(&text, " (did you mean {cid: %.*s}?)", utf8_clip(node->text), node->text);
    }
    build->no_memory = build->no_memory || text.failed;
    build_tell(build, node->place, NULL, "%s", text_string(&text));
    text_release(&text);
}
