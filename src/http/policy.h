/*
 * What a route lets requests ask for: methods, paths, queries, types of bodies. Made when the configuration is
 * read, then immutable and shared. An empty policy allows everything that request.h does.
 */
#ifndef POSTERN_HTTP_POLICY_H
#define POSTERN_HTTP_POLICY_H

#include "base/compiler.h"
#include "base/error.h"
#include "base/text.h"
#include "http/fields.h"
#include "http/refusal.h"
#include "http/target.h"
#include <stdbool.h>
#include <stdint.h>

enum http_query_rule {
    HTTP_QUERY_ANY,
    HTTP_QUERY_NONE,
    HTTP_QUERY_NAMES, /* parameters of these names alone */
};

struct http_words {
    char **list; /* owned, with its strings */
    unsigned count;
};

struct http_policy {
    uint64_t methods;        /* a bit for each of llhttp's numbers; 0: all */
    struct http_words paths; /* beginnings, whole segments; none: all */
    enum http_query_rule query;
    struct http_words parameters;
    struct http_words types; /* "application/json", "image/<any>"; none: all */
};

void http_policy_init(struct http_policy *policy);
void http_policy_release(struct http_policy *policy);

/* Each returns 0, -EINVAL with what is wrong in `err`, or -ENOMEM. */
int http_policy_add_method(struct http_policy *policy, const char *method, struct error *err) MUST_CHECK;
int http_policy_add_path(struct http_policy *policy, const char *path, struct error *err) MUST_CHECK;
int http_policy_add_parameter(struct http_policy *policy, const char *name, struct error *err) MUST_CHECK;
int http_policy_add_type(struct http_policy *policy, const char *type, struct error *err) MUST_CHECK;

/* The methods, as an Allow header has them: "POST, PUT". */
void http_policy_tell_methods(const struct http_policy *policy, struct text *out);

/* What is asked for, judged. `type` is the Content-Type of a request with a body, or that could have one and says of which type; NULL: of no other. `traits` are of all headers
 * that cross: one by which some servers take another method, path or query is refused where those are restricted. */
struct http_asked {
    unsigned method; /* llhttp's number */
    const struct http_target *target;
    const struct http_span *type;
    unsigned traits; /* of enum http_trait */
};

enum http_refusal http_policy_judge(const struct http_policy *policy,
                                    const struct http_asked *asked) MUST_CHECK;

#endif
