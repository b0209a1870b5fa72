/* What a forward route lets requests ask for, and what it does to their headers: into the rules of src/http. */
#include "config/build.h"
#include <errno.h>
#include <string.h>

#define WORDS_MAX 256 /* in one list: requests are held against each */

typedef int (*add_word)(struct http_policy *policy, const char *word, struct error *err);

/* What http/ says of a value, at its place. */
static void judge(struct build *build, const struct key *key, struct place place, int r,
                  const struct error *err)
{
    if (r == -ENOMEM) {
        build->no_memory = true;
    } else if (r != 0) {
        build_tell(build, place, key->name, "%s", err->text);
    }
}

static bool is_there_before(const struct node *list, const struct node *item)
{
    const struct node *node = list->first;
    while (node != item && (node->kind != NODE_TEXT || strcmp(node->text, item->text) != 0)) {
        node = node->next;
    }
    return node != item;
}

static void add_words(struct build *build, const struct key *key, const struct node *list,
                      struct http_policy *policy, const char *what, add_word add)
{
    if (list->kind != NODE_LIST || list->count == 0) {
        build_expected(build, key, list, NULL);
        return;
    }
    if (list->count > WORDS_MAX) {
        build_tell(build, list->place, key->name, "a list of %u: expected at most %d", list->count,
                   WORDS_MAX);
        return;
    }
    for (const struct node *item = list->first; item != NULL; item = item->next) {
        struct error err = ERROR_INIT;
        if (item->kind != NODE_TEXT) {
            build_expected_what(build, key, item, what, NULL);
        } else if (is_there_before(list, item)) {
            build_tell(build, item->place, key->name, "%s is here twice", item->text);
        } else {
            judge(build, key, item->place, add(policy, item->text, &err), &err);
        }
    }
}

void set_methods(struct build *build, const struct key *key, const struct node *value, void *object)
{
    struct config_forward *forward = object;
    add_words(build, key, value, &forward->rules.policy, "an HTTP method such as POST",
              http_policy_add_method);
}

void set_paths(struct build *build, const struct key *key, const struct node *value, void *object)
{
    struct config_forward *forward = object;
    add_words(build, key, value, &forward->rules.policy, "a path such as /results", http_policy_add_path);
}

void set_content_types(struct build *build, const struct key *key, const struct node *value, void *object)
{
    struct config_forward *forward = object;
    add_words(build, key, value, &forward->rules.policy, "a content type such as application/json",
              http_policy_add_type);
}

void set_query(struct build *build, const struct key *key, const struct node *value, void *object)
{
    static const char *const words[] = {"any", "none"};
    static const enum http_query_rule rules[] = {HTTP_QUERY_ANY, HTTP_QUERY_NONE};
    struct config_forward *forward = object;
    for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
        if (value->kind == NODE_TEXT && strcmp(value->text, words[i]) == 0) {
            forward->rules.policy.query = rules[i];
            return;
        }
    }
    if (value->kind == NODE_TEXT) {
        build_expected(build, key, value, diags_nearest(value->text, words, ARRAY_SIZE(words)));
        return;
    }
    add_words(build, key, value, &forward->rules.policy, "the name of a parameter",
              http_policy_add_parameter);
}

/* ---- Headers ---- */

/* A template that is wrong is told where it stands, and not where the header's name does. */
static bool template_is_good(struct build *build, const struct key *key, const struct node *value)
{
    struct http_template template;
    struct error err = ERROR_INIT;
    if (value->kind != NODE_TEXT || value->text[0] == '\0') {
        build_expected_what(build, key, value, "the header\'s value", NULL);
        return false;
    }
    int r = http_template_parse(&template, value->text, &err);
    http_template_release(&template);
    judge(build, key, value->place, r, &err);
    return r == 0;
}

static void set_values(struct build *build, const struct key *key, const struct node *map,
                       struct config_forward *forward, enum http_header_action action)
{
    if (map->kind != NODE_MAP || map->count == 0) {
        build_expected(build, key, map, NULL);
        return;
    }
    for (const struct node *item = map->first; item != NULL; item = item->next) {
        struct error err = ERROR_INIT;
        if (template_is_good(build, key, item)) {
            int r = http_header_rules_add(&forward->rules.headers, action, item->key, item->text, &err);
            judge(build, key, item->key_place, r, &err);
        }
    }
}

void set_headers_set(struct build *build, const struct key *key, const struct node *value, void *object)
{
    set_values(build, key, value, object, HTTP_HEADER_SET);
}

void set_headers_add(struct build *build, const struct key *key, const struct node *value, void *object)
{
    set_values(build, key, value, object, HTTP_HEADER_ADD);
}

void set_headers_remove(struct build *build, const struct key *key, const struct node *value, void *object)
{
    struct config_forward *forward = object;
    if (value->kind != NODE_LIST || value->count == 0) {
        build_expected(build, key, value, NULL);
        return;
    }
    for (const struct node *item = value->first; item != NULL; item = item->next) {
        struct error err = ERROR_INIT;
        if (item->kind != NODE_TEXT) {
            build_expected_what(build, key, item, "the name of a header", NULL);
            continue;
        }
        int r = http_header_rules_add(&forward->rules.headers, HTTP_HEADER_REMOVE, item->text, NULL, &err);
        judge(build, key, item->place, r, &err);
    }
}
