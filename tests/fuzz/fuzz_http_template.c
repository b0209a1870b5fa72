/* A header rule: a template, and behind a '\0' the value of all its variables. What comes out is fit for a header. */
#include "http/header_rules.h"
#include "http/syntax.h"
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int get_value(void *data, enum http_variable kind, const char *name, struct text *out,
                     struct error *err)
{
    const struct http_span *value = data;
    (void)err;
    if (kind == HTTP_VARIABLE_CREDENTIAL && (strchr(name, '/') != NULL || name[0] == '.')) {
        abort(); /* a way out of the directory */
    }
    text_add_bytes(out, value->data, value->size);
    return 0;
}

static void check_expanded(const struct http_template *tmpl, struct http_span value)
{
    struct http_provider provider = {.get = get_value, .data = &value};
    struct text out = TEXT_INIT;
    struct error err = ERROR_INIT;
    int r = http_template_expand(tmpl, &provider, &out, &err);
    struct http_span made = {.data = text_string(&out), .size = out.length};
    if (r == 0 && made.size > 0 && !http_span_all(made, HTTP_VALUE)) {
        abort();
    }
    if (r != 0 && (err.text[0] == '\0' || strchr(err.text, '\n') != NULL)) {
        abort();
    }
    text_release(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct http_header_rules rules;
    const char *end = size > 0 ? memchr(data, '\0', size) : NULL;
    if (end == NULL) {
        return 0;
    }
    size_t length = (size_t)(end - (const char *)data);
    struct http_span value = {.data = end + 1, .size = size - length - 1};
    http_header_rules_init(&rules);
    if (http_header_rules_add(&rules, HTTP_HEADER_SET, "x", (const char *)data, NULL) == 0) {
        check_expanded(&rules.list[0].value, value);
    }
    int r = http_header_rules_add(&rules, HTTP_HEADER_REMOVE, (const char *)data, NULL, NULL);
    if (r == 0 && !http_span_all(http_span_of((const char *)data), HTTP_TOKEN)) {
        abort();
    }
    http_header_rules_release(&rules);
    return 0;
}
