/* The rules for headers. */
#include "http/header_rules.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

void http_header_rules_init(struct http_header_rules *rules)
{
    *rules = (struct http_header_rules){.list = NULL};
}

void http_header_rules_release(struct http_header_rules *rules)
{
    for (unsigned i = 0; i < rules->count; i++) {
        http_template_release(&rules->list[i].value);
    }
    free(rules->list);
    http_header_rules_init(rules);
}

static int check_name(const struct http_header_rules *rules, enum http_header_action action, const char *name,
                      struct http_folded *ret_folded, struct error *err)
{
    struct http_span span = http_span_of(name);
    http_fold(span, ret_folded);
    if (!http_span_all(span, HTTP_TOKEN) || ret_folded->odd || ret_folded->size >= HTTP_FOLDED_MAX) {
        return error_set(
            err, -EINVAL,
            "%s is no name for a header here; expected letters and digits, with single hyphens between "
            "them, %d at most",
            name, HTTP_FOLDED_MAX - 1);
    }
    unsigned traits = http_name_traits(http_name_find(ret_folded));
    if ((traits & (HTTP_TRAIT_HOP | HTTP_TRAIT_FRAMING)) != 0) {
        return error_set(err, -EINVAL,
                         "%s cannot be set, added or removed: it is made anew for each connection", name);
    }
    /* Beside the enclave's own there would be two, of which each server takes the one that it likes. */
    if (action == HTTP_HEADER_ADD && (traits & HTTP_TRAIT_SINGLE) != 0) {
        return error_set(
            err, -EINVAL,
            "%s may stand only once in a request, and the enclave may send one: expected it under `set`",
            name);
    }
    if (http_header_rules_find(rules, ret_folded) != HTTP_HEADER_NONE) {
        return error_set(err, -EINVAL, "%s has a rule already; expected one for each header", name);
    }
    return 0;
}

int http_header_rules_add(struct http_header_rules *rules, enum http_header_action action, const char *name,
                          const char *value, struct error *err)
{
    struct http_header_rule rule = {.action = action};
    int r = check_name(rules, action, name, &rule.name, err);
    if (r != 0) {
        return r;
    }
    if (rules->count == HTTP_HEADER_RULES_MAX) {
        return error_set(err, -EINVAL, "too many headers; expected %d at most", HTTP_HEADER_RULES_MAX);
    }
    if (rules->list == NULL) {
        rules->list = calloc(HTTP_HEADER_RULES_MAX, sizeof *rules->list);
    }
    if (rules->list == NULL) {
        return error_errno(err, -ENOMEM, "cannot keep the rule for %s", name);
    }
    r = value != NULL ? http_template_parse(&rule.value, value, err) : 0;
    if (r != 0) {
        http_template_release(&rule.value);
        error_prefix(err, "%s", name);
        return r;
    }
    rules->list[rules->count++] = rule;
    return 0;
}

static struct http_header_rule *find(const struct http_header_rules *rules, const struct http_folded *name)
{
    for (unsigned i = 0; rules != NULL && i < rules->count; i++) {
        const struct http_folded *ours = &rules->list[i].name;
        if (ours->size == name->size && memcmp(ours->data, name->data, name->size) == 0) {
            return &rules->list[i];
        }
    }
    return NULL;
}

void http_header_rules_drop_value(struct http_header_rules *rules, const struct http_folded *name)
{
    struct http_header_rule *rule = find(rules, name);
    if (rule != NULL) {
        http_template_release(&rule->value);
        rule->action = HTTP_HEADER_REMOVE;
    }
}

enum http_header_action http_header_rules_find(const struct http_header_rules *rules,
                                               const struct http_folded *name)
{
    const struct http_header_rule *rule = find(rules, name);
    return rule != NULL ? rule->action : HTTP_HEADER_NONE;
}
