/* Templates of header values. */
#include "http/template.h"
#include "http/syntax.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* `rest` is the class that the text after the colon has; 0: there is no colon. */
static const struct {
    const char *word;
    const char *expects; /* after the colon; NULL: nothing */
} variables[HTTP_VARIABLE_COUNT] = {
    [HTTP_VARIABLE_ENCLAVE] = {"enclave", NULL},
    [HTTP_VARIABLE_CID] = {"cid", NULL},
    [HTTP_VARIABLE_ROUTE] = {"route", NULL},
    [HTTP_VARIABLE_REQUEST_ID] = {"request_id", NULL},
    [HTTP_VARIABLE_ENV] = {"env", "NAME, of letters, digits and _"},
    [HTTP_VARIABLE_FILE] = {"file", "/PATH, which begins with a slash"},
    [HTTP_VARIABLE_CREDENTIAL] = {"credential", "NAME, of letters, digits and ._-"},
};

static bool is_env_name(const char *name)
{
    const char *c = name;
    while (http_is(*c, HTTP_TOKEN) && (http_is(*c, HTTP_UNRESERVED) || *c == '_') &&
           strchr("-.~", *c) == NULL) {
        c++;
    }
    return *c == '\0' && c > name && !http_is(name[0], HTTP_DIGIT);
}

/* A plain file name: what systemd lets a credential be called, and no way out of the directory. */
static bool is_credential_name(const char *name)
{
    const char *c = name;
    while (http_is(*c, HTTP_UNRESERVED) && *c != '~') {
        c++;
    }
    return *c == '\0' && c > name && name[0] != '.';
}

static bool is_path(const char *name)
{
    return name[0] == '/' && name[1] != '\0';
}

static bool argument_fits(enum http_variable kind, const char *argument)
{
    switch (kind) {
    case HTTP_VARIABLE_ENV:
        return is_env_name(argument);
    case HTTP_VARIABLE_FILE:
        return is_path(argument);
    case HTTP_VARIABLE_CREDENTIAL:
        return is_credential_name(argument);
    default:
        return true;
    }
}

/* Appends a part; `text` is copied. */
static struct http_template_part *add_part(struct http_template *tmpl, const char *text, size_t size)
{
    struct http_template_part *part = &tmpl->parts[tmpl->count];
    part->text = strndup(text, size);
    if (part->text == NULL) {
        return NULL;
    }
    tmpl->count++;
    return part;
}

static int find_variable(struct http_span name, enum http_variable *ret)
{
    for (unsigned i = 0; i < HTTP_VARIABLE_COUNT; i++) {
        if (http_span_is(name, variables[i].word)) {
            *ret = (enum http_variable)i;
            return 0;
        }
    }
    return -EINVAL;
}

/* "name" or "name:argument", from between the braces. */
static int add_variable(struct http_template *tmpl, struct http_span inside, struct error *err)
{
    const char *colon = memchr(inside.data, ':', inside.size);
    size_t name_size = colon != NULL ? (size_t)(colon - inside.data) : inside.size;
    size_t argument_at = colon != NULL ? name_size + 1 : name_size;
    enum http_variable kind;
    if (find_variable((struct http_span){.data = inside.data, .size = name_size}, &kind) != 0) {
        return error_set(err, -EINVAL,
                         "${%.*s} is no variable; expected enclave, cid, route, request_id, env:NAME, "
                         "file:/PATH or credential:NAME",
                         (int)inside.size, inside.data);
    }
    if (variables[kind].expects == NULL && colon != NULL) {
        return error_set(err, -EINVAL, "${%s} takes nothing after its name", variables[kind].word);
    }
    struct http_template_part *part = add_part(tmpl, inside.data + argument_at, inside.size - argument_at);
    if (part == NULL) {
        return error_errno(err, -ENOMEM, "cannot keep a template");
    }
    part->variable = true;
    part->kind = kind;
    if (!argument_fits(kind, part->text)) {
        return error_set(err, -EINVAL, "${%.*s}: expected %s:%s", (int)inside.size, inside.data,
                         variables[kind].word, variables[kind].expects);
    }
    return 0;
}

/* Text up to the next variable; "$${" is the text "${". */
static int add_literal(struct http_template *tmpl, const char *text, size_t *ret_size, struct error *err)
{
    const char *mark = strstr(text, "${");
    bool escaped = mark != NULL && mark > text && mark[-1] == '$';
    size_t size = mark == NULL ? strlen(text) : (size_t)(mark - text);
    struct http_span literal = {.data = text, .size = escaped ? size - 1 : size};
    *ret_size = escaped ? size + 2 : size;
    if (literal.size > 0 && !http_span_all(literal, HTTP_VALUE)) {
        return error_set(err, -EINVAL, "a header's value is ASCII");
    }
    struct http_template_part *part = add_part(tmpl, literal.data, literal.size);
    if (part != NULL && escaped) {
        part = add_part(tmpl, "${", 2);
    }
    return part != NULL ? 0 : error_errno(err, -ENOMEM, "cannot keep a template");
}

/* So that no error, which repeats parts of the text, has one either. */
static bool has_control(const char *text)
{
    while ((unsigned char)*text >= ' ' && *text != 0x7f) {
        text++;
    }
    return *text != '\0';
}

int http_template_parse(struct http_template *tmpl, const char *text, struct error *err)
{
    *tmpl = (struct http_template){.count = 0};
    if (has_control(text)) {
        return error_set(err, -EINVAL, "a header's value has no control characters");
    }
    /* Each round of the loop adds two parts at most. */
    tmpl->parts = calloc(HTTP_TEMPLATE_PARTS_MAX + 1, sizeof *tmpl->parts);
    if (tmpl->parts == NULL) {
        return error_errno(err, -ENOMEM, "cannot keep a template");
    }
    while (*text != '\0') {
        size_t size;
        int r;
        if (tmpl->count >= HTTP_TEMPLATE_PARTS_MAX) {
            return error_set(err, -EINVAL, "too many variables in one value");
        }
        if (strncmp(text, "${", 2) == 0) {
            const char *end = strchr(text, '}');
            if (end == NULL) {
                return error_set(err, -EINVAL,
                                 "a variable without its closing brace; write $${ for ${ itself");
            }
            size = (size_t)(end - text) + 1;
            r = add_variable(tmpl, (struct http_span){.data = text + 2, .size = size - 3}, err);
        } else {
            r = add_literal(tmpl, text, &size, err);
        }
        if (r != 0) {
            return r;
        }
        text += size;
    }
    return 0;
}

void http_template_release(struct http_template *tmpl)
{
    for (unsigned i = 0; i < tmpl->count; i++) {
        free(tmpl->parts[i].text);
    }
    free(tmpl->parts);
    *tmpl = (struct http_template){.count = 0};
}

static bool is_file(enum http_variable kind)
{
    return kind == HTTP_VARIABLE_FILE || kind == HTTP_VARIABLE_CREDENTIAL;
}

static const char *colon_of(const struct http_template_part *part)
{
    return variables[part->kind].expects != NULL ? ":" : "";
}

static int check_value(const struct http_template_part *part, const char *data, size_t size,
                       struct error *err)
{
    struct http_span value = {.data = data, .size = size};
    const char *word = variables[part->kind].word;
    if (size == 0) {
        return error_set(err, -EINVAL, "${%s%s%s} is empty", word, colon_of(part), part->text);
    }
    if (!http_span_all(value, HTTP_VALUE)) {
        return error_set(err, -EINVAL,
                         "${%s%s%s} has a byte that no header may have; expected one line of ASCII", word,
                         colon_of(part), part->text);
    }
    return 0;
}

static int expand_variable(const struct http_template_part *part, const struct http_provider *provider,
                           struct text *out, struct error *err)
{
    size_t at = out->length;
    int r = provider->get(provider->data, part->kind, part->text, out, err);
    if (r != 0) {
        error_prefix(err, "${%s%s%s}", variables[part->kind].word, colon_of(part), part->text);
        return r;
    }
    if (out->failed) {
        return 0;
    }
    if (is_file(part->kind) && out->length > at && out->data[out->length - 1] == '\n') {
        out->data[--out->length] = '\0';
    }
    return check_value(part, text_string(out) + at, out->length - at, err);
}

int http_template_expand(const struct http_template *tmpl, const struct http_provider *provider,
                         struct text *out, struct error *err)
{
    size_t begin = out->length;
    for (unsigned i = 0; i < tmpl->count; i++) {
        const struct http_template_part *part = &tmpl->parts[i];
        if (!part->variable) {
            text_add(out, part->text);
            continue;
        }
        int r = expand_variable(part, provider, out, err);
        if (r != 0) {
            return r;
        }
    }
    if (out->failed) {
        return error_errno(err, -ENOMEM, "cannot make a header");
    }
    if (out->length - begin > HTTP_TEMPLATE_VALUE_MAX) {
        return error_set(err, -EMSGSIZE, "a header would be longer than %d bytes", HTTP_TEMPLATE_VALUE_MAX);
    }
    return 0;
}

bool http_template_has(const struct http_template *tmpl, enum http_variable kind)
{
    for (unsigned i = 0; i < tmpl->count; i++) {
        if (tmpl->parts[i].variable && tmpl->parts[i].kind == kind) {
            return true;
        }
    }
    return false;
}

bool http_template_has_secret(const struct http_template *tmpl)
{
    return http_template_has(tmpl, HTTP_VARIABLE_ENV) || http_template_has(tmpl, HTTP_VARIABLE_FILE) ||
           http_template_has(tmpl, HTTP_VARIABLE_CREDENTIAL);
}
