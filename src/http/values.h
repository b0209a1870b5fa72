/*
 * What the variables of templates are worth: the names that a request goes under, and secrets out of the environment and
 * out of files.
 *
 * A file is read again when it is another one or has changed, so that a secret that was rotated counts from the next
 * request on, without a reload. What was read is kept for as long as that can be told: a file that changed a moment
 * before it was read may change again without its times telling, and is read each time. A file that is missing, or is
 * none that one can read whole, is an error each time it is asked for: an old secret is not used in its place.
 *
 * Values are in no error and no log line. Files are local and small; reading them does not wait for the network.
 */
#ifndef POSTERN_HTTP_VALUES_H
#define POSTERN_HTTP_VALUES_H

#include "base/compiler.h"
#include "base/error.h"
#include "base/text.h"
#include "http/template.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

/* Bytes of a secret's file, its newline included. */
#define HTTP_SECRET_MAX (HTTP_TEMPLATE_VALUE_MAX + 1)

struct http_secret {
    char *path;
    struct text value;
    struct stat stat; /* of the file that the value is from */
    bool settled;     /* a change since would show in `stat` */
};

/* The secrets of one worker; not thread-safe. */
struct http_secrets {
    const char *directory; /* of credentials; not owned; NULL: there is none */
    struct http_secret *list;
    unsigned count;
};

/* `directory`: $CREDENTIALS_DIRECTORY. */
void http_secrets_init(struct http_secrets *secrets, const char *directory);
void http_secrets_release(struct http_secrets *secrets);

struct http_values {
    const char *enclave; /* its name; NULL: the caller is none that is configured */
    uint32_t cid;
    const char *route;
    const char *request_id;
    struct http_secrets *secrets;
};

/* The `get` of a struct http_provider whose data is a struct http_values. */
int http_values_get(void *data, enum http_variable kind, const char *name, struct text *out,
                    struct error *err);

#endif
