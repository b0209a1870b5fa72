/*
 * The value of a header that a route sets: text with variables in it.
 *
 *     Bearer ${credential:token}        ${enclave} ${cid} ${route} ${request_id}
 *     ${env:NAME} ${file:/PATH} ${credential:NAME}          $${ stands for ${ itself
 *
 * Parsed once, when the configuration is read; expanded for each request, with a provider of the values. Values are
 * secrets: they appear in no error and no log line.
 */
#ifndef POSTERN_HTTP_TEMPLATE_H
#define POSTERN_HTTP_TEMPLATE_H

#include "base/compiler.h"
#include "base/error.h"
#include "base/text.h"
#include <stdbool.h>

#define HTTP_TEMPLATE_PARTS_MAX 32
#define HTTP_TEMPLATE_VALUE_MAX (16 * 1024) /* of a header's value, expanded */

enum http_variable {
    HTTP_VARIABLE_ENCLAVE,    /* the enclave's name */
    HTTP_VARIABLE_CID,        /* its CID */
    HTTP_VARIABLE_ROUTE,      /* the route's name */
    HTTP_VARIABLE_REQUEST_ID, /* of this request, as in the log */
    HTTP_VARIABLE_ENV,        /* of the daemon's environment */
    HTTP_VARIABLE_FILE,       /* what a file holds */
    HTTP_VARIABLE_CREDENTIAL, /* what the file of that name in $CREDENTIALS_DIRECTORY holds */
    HTTP_VARIABLE_COUNT
};

struct http_template_part {
    char *text; /* owned; of a literal the bytes, of a variable what follows its colon (or "") */
    bool variable;
    enum http_variable kind;
};

struct http_template {
    struct http_template_part *parts; /* owned */
    unsigned count;
};

/* Gives values. A whole file may end with a newline, which is not a part of the value. */
struct http_provider {
    /* Adds the value to `out`. Returns 0, or a negative errno value with the reason in `err`, which holds nothing
     * of the value. */
    int (*get)(void *data, enum http_variable kind, const char *name, struct text *out, struct error *err);
    void *data;
};

/* Returns 0, -EINVAL with what is wrong in `err`, or -ENOMEM. http_template_release() must follow. */
int http_template_parse(struct http_template *tmpl, const char *text, struct error *err) MUST_CHECK;
void http_template_release(struct http_template *tmpl);

/* Adds the value to `out`: visible characters, blanks and tabs, at least one byte and at most
 * HTTP_TEMPLATE_VALUE_MAX. Returns 0, or a negative errno value with the variable and the reason in `err`; `out` is
 * then of no use. */
int http_template_expand(const struct http_template *tmpl, const struct http_provider *provider,
                         struct text *out, struct error *err) MUST_CHECK;

/* Whether anything but the words of the configuration is in it. */
bool http_template_has(const struct http_template *tmpl, enum http_variable kind);

/* Whether anything in it comes from where secrets are kept: the environment, files and credentials. */
bool http_template_has_secret(const struct http_template *tmpl);

#endif
