/* What a route lets requests ask for. */
#include "http/policy.h"
#include <errno.h>
#include <llhttp.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* llhttp's numbers of HTTP's methods have no gap; PRI, which is HTTP/2's, and RTSP's come after. */
#define METHOD_LAST HTTP_SOURCE

void http_policy_init(struct http_policy *policy)
{
    *policy = (struct http_policy){.query = HTTP_QUERY_ANY};
}

static void release_words(struct http_words *words)
{
    for (unsigned i = 0; i < words->count; i++) {
        free(words->list[i]);
    }
    free(words->list);
}

void http_policy_release(struct http_policy *policy)
{
    release_words(&policy->paths);
    release_words(&policy->parameters);
    release_words(&policy->types);
    http_policy_init(policy);
}

static int add_word(struct http_words *words, const char *word, struct error *err)
{
    char **list = reallocarray(words->list, words->count + 1, sizeof *list);
    if (list == NULL) {
        return error_errno(err, -ENOMEM, "cannot keep %s", word);
    }
    words->list = list;
    list[words->count] = strdup(word);
    if (list[words->count] == NULL) {
        return error_errno(err, -ENOMEM, "cannot keep %s", word);
    }
    words->count++;
    return 0;
}

int http_policy_add_method(struct http_policy *policy, const char *method, struct error *err)
{
    if (strcmp(method, "CONNECT") == 0 || strcmp(method, "TRACE") == 0) {
        return error_set(err, -EINVAL, "%s is never forwarded", method);
    }
    for (unsigned i = 0; i <= METHOD_LAST; i++) {
        if (strcmp(llhttp_method_name((llhttp_method_t)i), method) == 0) {
            policy->methods |= UINT64_C(1) << i;
            return 0;
        }
    }
    return error_set(err, -EINVAL, "%s is no HTTP method; expected one in upper case, such as POST", method);
}

int http_policy_add_path(struct http_policy *policy, const char *path, struct error *err)
{
    struct http_span span = http_span_of(path);
    struct text judged;
    text_init(&judged, span.size + 1);
    bool plain = span.size > 0 && path[0] == '/';
    enum http_refusal why = plain ? http_path_judge(span, &judged) : HTTP_REFUSED_TARGET;
    int r = why == HTTP_REFUSED_NONE ? add_word(&policy->paths, judged.data, err)
            : why == HTTP_REFUSED_NO_MEMORY
                ? error_errno(err, -ENOMEM, "cannot keep %s", path)
                : error_set(err, -EINVAL, "%s is no plain path; expected one that begins with /", path);
    text_release(&judged);
    return r;
}

int http_policy_add_parameter(struct http_policy *policy, const char *name, struct error *err)
{
    if (!http_span_all(http_span_of(name), HTTP_UNRESERVED)) {
        return error_set(err, -EINVAL, "%s is no plain name; expected letters, digits and -._~", name);
    }
    policy->query = HTTP_QUERY_NAMES;
    return add_word(&policy->parameters, name, err);
}

int http_policy_add_type(struct http_policy *policy, const char *type, struct error *err)
{
    const char *slash = strchr(type, '/');
    struct http_span before = {.data = type, .size = slash != NULL ? (size_t)(slash - type) : 0};
    if (slash == NULL || !http_span_all(before, HTTP_TOKEN) ||
        !http_span_all(http_span_of(slash + 1), HTTP_TOKEN)) {
        return error_set(err, -EINVAL,
                         "%s is no content type; expected one such as application/json or image/*", type);
    }
    return add_word(&policy->types, type, err);
}

void http_policy_tell_methods(const struct http_policy *policy, struct text *out)
{
    const char *between = "";
    for (unsigned i = 0; i <= METHOD_LAST; i++) {
        if ((policy->methods & UINT64_C(1) << i) != 0) {
            text_addf(out, "%s%s", between, llhttp_method_name((llhttp_method_t)i));
            between = ", ";
        }
    }
}

static bool method_is_allowed(const struct http_policy *policy, unsigned method)
{
    return policy->methods == 0 || (method <= METHOD_LAST && (policy->methods & UINT64_C(1) << method) != 0);
}

/* "/a" begins "/a" and "/a/b", not "/ab"; "/a/" begins "/a/b" alone. */
static bool path_begins(const char *path, const char *prefix)
{
    size_t size = strlen(prefix);
    return strncmp(path, prefix, size) == 0 &&
           (path[size] == '\0' || path[size] == '/' || prefix[size - 1] == '/');
}

static bool path_is_allowed(const struct http_policy *policy, const char *path)
{
    for (unsigned i = 0; i < policy->paths.count; i++) {
        if (path_begins(path, policy->paths.list[i])) {
            return true;
        }
    }
    return policy->paths.count == 0;
}

static bool has_word(const struct http_words *words, struct http_span span)
{
    for (unsigned i = 0; i < words->count; i++) {
        if (http_span_is(span, words->list[i])) {
            return true;
        }
    }
    return false;
}

/* Each name has to be written as the configuration has it. A semicolon, at which some servers divide too, may stand
 * nowhere. */
static bool parameters_are_allowed(const struct http_policy *policy, struct http_span query)
{
    const char *end = query.data + query.size;
    if (memchr(query.data, ';', query.size) != NULL) {
        return false;
    }
    for (const char *at = query.data; at <= end;) {
        const char *mark = memchr(at, '&', (size_t)(end - at));
        const char *over = mark != NULL ? mark : end;
        const char *equals = memchr(at, '=', (size_t)(over - at));
        struct http_span name = {.data = at, .size = (size_t)((equals != NULL ? equals : over) - at)};
        if (!has_word(&policy->parameters, name)) {
            return false;
        }
        at = over + 1;
    }
    return true;
}

static bool query_is_allowed(const struct http_policy *policy, struct http_span query)
{
    if (policy->query == HTTP_QUERY_ANY || query.data == NULL) {
        return true;
    }
    return policy->query == HTTP_QUERY_NAMES && parameters_are_allowed(policy, query);
}

static bool type_matches(const char *pattern, struct http_span type)
{
    size_t size = strlen(pattern);
    if (size >= 2 && strcmp(pattern + size - 2, "/*") == 0) {
        return type.size > size - 1 && strncasecmp(type.data, pattern, size - 1) == 0;
    }
    return http_span_is_word(type, pattern);
}

/* Whether nothing ends the list of parameters, or could be taken to: a comma, behind which some look for another type. */
static bool are_parameters(struct http_span text)
{
    bool quoted = false;
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] == '"') {
            quoted = !quoted;
        } else if (quoted && text.data[i] == '\\') {
            i++;
        } else if (!quoted && text.data[i] == ',') {
            return false;
        }
    }
    return !quoted;
}

static bool is_type(struct http_span type)
{
    const char *slash = type.size > 0 ? memchr(type.data, '/', type.size) : NULL;
    size_t size = slash != NULL ? (size_t)(slash - type.data) : 0;
    return size > 0 && http_span_all((struct http_span){.data = type.data, .size = size}, HTTP_TOKEN) &&
           http_span_all((struct http_span){.data = slash + 1, .size = type.size - size - 1}, HTTP_TOKEN);
}

static bool type_is_allowed(const struct http_policy *policy, struct http_span type)
{
    const char *mark = type.size > 0 ? memchr(type.data, ';', type.size) : NULL;
    struct http_span parameters = {.data = NULL};
    if (mark != NULL) {
        size_t size = (size_t)(mark - type.data);
        parameters = (struct http_span){.data = mark, .size = type.size - size};
        type = http_span_trim((struct http_span){.data = type.data, .size = size});
    }
    if (!is_type(type) || !are_parameters(parameters)) {
        return false;
    }
    for (unsigned i = 0; i < policy->types.count; i++) {
        if (type_matches(policy->types.list[i], type)) {
            return true;
        }
    }
    return false;
}

static bool is_overridden(const struct http_policy *policy, unsigned traits)
{
    bool target = policy->paths.count > 0 || policy->query != HTTP_QUERY_ANY;
    return (policy->methods != 0 && (traits & HTTP_TRAIT_METHOD) != 0) ||
           (target && (traits & HTTP_TRAIT_TARGET) != 0);
}

enum http_refusal http_policy_judge(const struct http_policy *policy, const struct http_asked *asked)
{
    if (!method_is_allowed(policy, asked->method)) {
        return HTTP_REFUSED_DENIED_METHOD;
    }
    if (!path_is_allowed(policy, text_string(&asked->target->path))) {
        return HTTP_REFUSED_DENIED_PATH;
    }
    if (!query_is_allowed(policy, asked->target->query)) {
        return HTTP_REFUSED_DENIED_QUERY;
    }
    if (is_overridden(policy, asked->traits)) {
        return HTTP_REFUSED_DENIED_OVERRIDE;
    }
    if (asked->type != NULL && policy->types.count > 0 && !type_is_allowed(policy, *asked->type)) {
        return HTTP_REFUSED_DENIED_TYPE;
    }
    return HTTP_REFUSED_NONE;
}
