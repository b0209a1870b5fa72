/*
 * The header fields of a message, or its trailers, as they came: bytes that were scanned (scan.h), and where in
 * them each name and value is. One allocation for the bytes, one for the list, both bounded by what the scan
 * let through.
 *
 * And what is known of names: which never cross, which frame the message, which may stand only once. Names are
 * looked up folded: lower case, and each run of other characters than letters and digits one hyphen, because
 * there are servers that read Content_Length, content--length or X.Enclave as the name with hyphens.
 */
#ifndef POSTERN_HTTP_FIELDS_H
#define POSTERN_HTTP_FIELDS_H

#include "base/compiler.h"
#include "base/text.h"
#include "http/syntax.h"
#include <stdbool.h>
#include <stddef.h>

/* What a name is. */
enum http_trait {
    HTTP_TRAIT_HOP = 1 << 0,     /* of one connection: never crosses */
    HTTP_TRAIT_FRAMING = 1 << 1, /* says where the message ends, or whom it is for: we write our own */
    HTTP_TRAIT_SINGLE = 1 << 2,  /* may stand only once in a request */
    HTTP_TRAIT_METHOD = 1 << 3,  /* another method, for servers that hear of it so */
    HTTP_TRAIT_TARGET = 1 << 4,  /* another path and query */
};

/* Those that count in the head alone: none of them may be a trailer, and Connection may name only those that it is
 * there to name. In the order of their size, which a look-up goes by. */
#define HTTP_NAME_TABLE(X)                                      \
    X(TE, "te", HOP)                                            \
    X(AGE, "age", ONCE)                                         \
    X(VIA, "via", PLAIN)                                        \
    X(DATE, "date", ONCE)                                       \
    X(ETAG, "etag", ONCE)                                       \
    X(FROM, "from", ONCE)                                       \
    X(HOST, "host", FRAMING | ONCE)                             \
    X(VARY, "vary", PLAIN)                                      \
    X(ALLOW, "allow", PLAIN)                                    \
    X(RANGE, "range", ONCE)                                     \
    X(COOKIE, "cookie", PLAIN)                                  \
    X(EXPECT, "expect", FRAMING | ONCE)                         \
    X(PRAGMA, "pragma", PLAIN)                                  \
    X(SERVER, "server", PLAIN)                                  \
    X(EXPIRES, "expires", ONCE)                                 \
    X(REFERER, "referer", ONCE)                                 \
    X(TRAILER, "trailer", FRAMING)                              \
    X(UPGRADE, "upgrade", HOP)                                  \
    X(WARNING, "warning", PLAIN)                                \
    X(IF_MATCH, "if-match", PLAIN)                              \
    X(IF_RANGE, "if-range", ONCE)                               \
    X(LOCATION, "location", ONCE)                               \
    X(FORWARDED, "forwarded", PLAIN)                            \
    X(CONNECTION, "connection", HOP)                            \
    X(KEEP_ALIVE, "keep-alive", HOP)                            \
    X(SET_COOKIE, "set-cookie", PLAIN)                          \
    X(USER_AGENT, "user-agent", ONCE)                           \
    X(CONTENT_MD5, "content-md5", ONCE)                         \
    X(RETRY_AFTER, "retry-after", ONCE)                         \
    X(CONTENT_TYPE, "content-type", ONCE)                       \
    X(MAX_FORWARDS, "max-forwards", ONCE)                       \
    X(AUTHORIZATION, "authorization", ONCE)                     \
    X(CACHE_CONTROL, "cache-control", PLAIN)                    \
    X(CONTENT_RANGE, "content-range", ONCE)                     \
    X(IF_NONE_MATCH, "if-none-match", PLAIN)                    \
    X(X_HTTP_METHOD, "x-http-method", METHOD)                   \
    X(X_REWRITE_URL, "x-rewrite-url", TARGET)                   \
    X(LAST_MODIFIED, "last-modified", ONCE)                     \
    X(X_ORIGINAL_URI, "x-original-uri", TARGET)                 \
    X(X_ORIGINAL_URL, "x-original-url", TARGET)                 \
    X(CONTENT_LENGTH, "content-length", FRAMING | ONCE)         \
    X(HTTP2_SETTINGS, "http2-settings", HOP)                    \
    X(CONTENT_ENCODING, "content-encoding", PLAIN)              \
    X(CONTENT_LOCATION, "content-location", ONCE)               \
    X(PROXY_CONNECTION, "proxy-connection", HOP)                \
    X(WWW_AUTHENTICATE, "www-authenticate", PLAIN)              \
    X(IF_MODIFIED_SINCE, "if-modified-since", ONCE)             \
    X(TRANSFER_ENCODING, "transfer-encoding", FRAMING | ONCE)   \
    X(X_METHOD_OVERRIDE, "x-method-override", METHOD)           \
    X(PROXY_AUTHENTICATE, "proxy-authenticate", HOP)            \
    X(AUTHENTICATION_INFO, "authentication-info", PLAIN)        \
    X(CONTENT_DISPOSITION, "content-disposition", ONCE)         \
    X(IF_UNMODIFIED_SINCE, "if-unmodified-since", ONCE)         \
    X(PROXY_AUTHORIZATION, "proxy-authorization", HOP)          \
    X(X_HTTP_METHOD_OVERRIDE, "x-http-method-override", METHOD) \
    X(PROXY_AUTHENTICATION_INFO, "proxy-authentication-info", HOP)

enum http_name {
    HTTP_NAME_OTHER, /* known for nothing */
#define X(id, name, traits) HTTP_NAME_##id,
    HTTP_NAME_TABLE(X)
#undef X
        HTTP_NAME_COUNT
};

struct http_field {
    struct http_span name, value; /* as sent, blanks around the value left out */
    enum http_name known;         /* set by those who judge; so is: */
    bool crosses;                 /* to the other connection */
};

struct http_fields {
    struct text bytes; /* owned, as are the spans' bytes; not changed while `list` is there */
    struct http_field *list;
    unsigned count;
};

void http_fields_init(struct http_fields *fields, size_t limit);
void http_fields_release(struct http_fields *fields);

/* Makes the list of `count` fields: of the scanned lines in `bytes` from `at` to the empty line. Returns 0 or
 * -ENOMEM. */
int http_fields_split(struct http_fields *fields, size_t at, unsigned count) MUST_CHECK;

/* The first field of that name, without regard to case; NULL if there is none. */
const struct http_field *http_fields_find(const struct http_fields *fields, const char *name);

#define HTTP_FOLDED_MAX 64

/* A name, folded. A longer one is cut: it is none of those that are known, nor may a rule have it. */
struct http_folded {
    unsigned size;
    bool odd; /* the name is not its folded form in another case */
    char data[HTTP_FOLDED_MAX];
};

void http_fold(struct http_span name, struct http_folded *ret);

enum http_name http_name_find(const struct http_folded *folded);
unsigned http_name_traits(enum http_name name); /* of enum http_trait */

#endif
