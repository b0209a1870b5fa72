/*
 * What belongs to one connection, and never crosses to the next: Connection and what it names, Keep-Alive, Proxy-*, TE,
 * Upgrade; and the headers that frame the message, which the writer makes anew.
 */
#ifndef POSTERN_HTTP_HOP_H
#define POSTERN_HTTP_HOP_H

#include "base/compiler.h"
#include "http/header_rules.h"
#include "http/reader.h"

/* Options that one message's Connection headers may have: each is compared with every header. */
#define HTTP_OPTIONS_MAX 16

struct http_hop {
    bool close;      /* `Connection: close` */
    bool keep_alive; /* `Connection: keep-alive` */
    bool upgrade;    /* `Connection: upgrade`, or an Upgrade header */
};

/* Sets `known` and `crosses` of each field. A name that is confusable with one that is known, or has one of `rules` (may
 * be NULL), is refused; so is a Connection header that is no list, or names what must reach the other end. */
enum http_refusal http_hop_judge(struct http_fields *fields, const struct http_header_rules *rules,
                                 struct http_hop *ret) MUST_CHECK;

/* The same for trailers: a name that counts in the head alone, or has one of `rules`, is refused. */
enum http_refusal http_trailers_judge(struct http_fields *trailers,
                                      const struct http_header_rules *rules) MUST_CHECK;

/* Whether `name` may be a trailer. */
enum http_refusal http_trailer_name_judge(struct http_span name,
                                          const struct http_header_rules *rules) MUST_CHECK;

/* Reads Content-Length and Transfer-Encoding, both may be NULL: the framing that they announce, HTTP_BODY_NONE if
 * neither is there. */
enum http_refusal http_framing_judge(const struct http_field *length, const struct http_field *coding,
                                     unsigned minor, struct http_framing *ret) MUST_CHECK;

#endif
