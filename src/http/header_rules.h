/*
 * What a route does to the headers of requests: sets some, adds some, removes some.
 *
 * A header that is set belongs to the route: what the enclave sends under that name is dropped, under a name that
 * differs by punctuation alone it is refused, and neither Connection nor a trailer may name it. A header that is
 * added stands beside what the enclave sends. Names are compared folded (fields.h).
 *
 * Made when the configuration is read, then immutable and shared.
 */
#ifndef POSTERN_HTTP_HEADER_RULES_H
#define POSTERN_HTTP_HEADER_RULES_H

#include "base/compiler.h"
#include "base/error.h"
#include "http/fields.h"
#include "http/template.h"

#define HTTP_HEADER_RULES_MAX 64

enum http_header_action { HTTP_HEADER_NONE, HTTP_HEADER_SET, HTTP_HEADER_ADD, HTTP_HEADER_REMOVE };

struct http_header_rule {
    enum http_header_action action;
    struct http_folded name;    /* which is how it is sent */
    struct http_template value; /* of SET and ADD */
};

struct http_header_rules {
    struct http_header_rule *list; /* owned */
    unsigned count;
};

void http_header_rules_init(struct http_header_rules *rules);
void http_header_rules_release(struct http_header_rules *rules);

/* `value` is a template's text; NULL for REMOVE. Returns 0, -EINVAL with what is wrong in `err`, or -ENOMEM. A name that
 * frames messages, is of one connection, or has a rule already, is wrong; so is ADD of one that may stand only once. */
int http_header_rules_add(struct http_header_rules *rules, enum http_header_action action, const char *name,
                          const char *value, struct error *err) MUST_CHECK;

/* The rule of that name, if there is one, is from now on to REMOVE; its value is forgotten. */
void http_header_rules_drop_value(struct http_header_rules *rules, const struct http_folded *name);

/* What happens to a header of that name; HTTP_HEADER_NONE: nothing, or `rules` is NULL. */
enum http_header_action http_header_rules_find(const struct http_header_rules *rules,
                                               const struct http_folded *name);

#endif
