/*
 * The target of a request, judged, and brought into the one form in which it is forwarded.
 *
 * Servers, and what stands in front of them, decode a path and resolve its dots in different orders; a path that
 * comes out differently may pass one's rules and reach another's files. So %-escapes of letters, digits and "-._~"
 * are decoded, all others written in upper case, and refused is what could still be read in two ways: segments
 * of one or two dots (with parameters behind them too), empty segments but for the last, and the escapes of "/",
 * "\", "%" before two digits (double encoding) and control characters. The query is only checked to be one.
 */
#ifndef POSTERN_HTTP_TARGET_H
#define POSTERN_HTTP_TARGET_H

#include "base/compiler.h"
#include "base/text.h"
#include "http/refusal.h"
#include "http/syntax.h"
#include <stdbool.h>
#include <stdint.h>

/* The forms of RFC 9112 (3.2), as bits. */
enum http_form {
    HTTP_FORM_ORIGIN = 1 << 0,    /* /path?query */
    HTTP_FORM_ABSOLUTE = 1 << 1,  /* http://host/path?query, or https */
    HTTP_FORM_AUTHORITY = 1 << 2, /* host:port, of CONNECT alone */
};

struct http_target {
    enum http_form form;
    bool secure;                /* ABSOLUTE: the scheme is https */
    struct http_span host;      /* ABSOLUTE and AUTHORITY: without brackets */
    uint16_t port;              /* the same; 0: none was given */
    struct http_span authority; /* the same, as sent */
    struct text path;           /* in its judged form; owned */
    struct http_span query;     /* what follows the first "?"; data NULL: there is none */
};

/* Reads a target whose bytes were scanned (class HTTP_TARGET). Spans are of `text`. http_target_release() must
 * follow, whatever is returned. */
enum http_refusal http_target_read(struct http_target *target, struct http_span text, bool connect,
                                   unsigned forms) MUST_CHECK;
void http_target_release(struct http_target *target);

/* Brings a path, which begins with "/", into its judged form, added to `out`. */
enum http_refusal http_path_judge(struct http_span path, struct text *out) MUST_CHECK;

#endif
