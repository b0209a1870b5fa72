/*
 * One bounded HTTP request over plain TCP, for the endpoints on this machine or beside it that hand out credentials:
 * loopback and link-local addresses, and nothing else. It follows no redirect, knows no proxy and keeps no connection.
 *
 * What it sends and what it gets may be a secret: it wipes its own copies, and puts nothing of either into an error.
 *
 * Lifetimes: fetch_start() makes the fetch, and it frees itself. The callback comes exactly once, from the loop, unless
 * fetch_cancel() comes first; after either the pointer is not to be used.
 */
#ifndef POSTERN_FORWARD_FETCH_H
#define POSTERN_FORWARD_FETCH_H

#include "aws/credentials_url.h"
#include "base/compiler.h"
#include "base/error.h"
#include "net/loop.h"
#include <stdbool.h>
#include <stdint.h>

#define FETCH_HEAD_MAX   ((size_t)8 * 1024)
#define FETCH_BODY_MAX   ((size_t)32 * 1024)
#define FETCH_HEADER_MAX ((size_t)8 * 1024) /* of a value */

struct fetch_header {
    const char *name;
    const char *value;
};

#define FETCH_HEADERS_MAX 2

struct fetch_options {
    const char *method;                             /* GET or PUT; no body */
    const struct credentials_url *url;              /* copied, as is all of this */
    const char *target;                             /* instead of the URL's; NULL: the URL's */
    struct fetch_header headers[FETCH_HEADERS_MAX]; /* up to the first without a name */
    uint64_t timeout_ms;                            /* for all of it */
};

/* The body is a string; it is wiped after the callback. */
struct fetched {
    int status;
    const char *body;
    size_t size;
};

/* `fetched` is NULL and `err` says what was tried and how it ended; `code` is then -ETIMEDOUT, -ECONNREFUSED,
 * -EHOSTUNREACH, -ENOMEM, or anything else. */
typedef void (*fetch_cb)(void *data, int code, const struct fetched *fetched, const struct error *err);

struct fetch; /* opaque */

/* NULL, with the reason in `err`: out of memory, an address that is not near, a header or target that cannot be one. */
struct fetch *fetch_start(struct loop *loop, const struct fetch_options *options, fetch_cb cb, void *data,
                          struct error *err) MUST_CHECK;

/* Harmless on NULL. */
void fetch_cancel(struct fetch *fetch);

#endif
