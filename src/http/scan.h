/*
 * The head of a message, or its trailers, looked at byte by byte before anything reads it: every line ends with
 * CR LF, every byte is one that the grammar has at its place, every bound is kept. What passes has one reading;
 * llhttp, which is lenient in ways that differ from version to version, sees nothing else.
 *
 * Nothing is kept but a few counts: a verdict depends on the bytes alone, not on how they were split.
 */
#ifndef POSTERN_HTTP_SCAN_H
#define POSTERN_HTTP_SCAN_H

#include "base/compiler.h"
#include "http/refusal.h"
#include <stdbool.h>
#include <stddef.h>

enum http_scan_kind { HTTP_SCAN_REQUEST, HTTP_SCAN_RESPONSE };

struct http_scan_limits {
    size_t bytes;    /* of the whole head */
    size_t target;   /* of a request's target */
    unsigned fields; /* header lines */
};

enum http_scan_state {
    HTTP_SCAN_BEGIN,
    HTTP_SCAN_BLANK, /* the LF of an empty line before the request */
    HTTP_SCAN_METHOD,
    HTTP_SCAN_TARGET,
    HTTP_SCAN_VERSION,
    HTTP_SCAN_STATUS,
    HTTP_SCAN_REASON,
    HTTP_SCAN_NAME_BEGIN,
    HTTP_SCAN_NAME,
    HTTP_SCAN_VALUE,
    HTTP_SCAN_LINE_END, /* the LF after the CR */
    HTTP_SCAN_HEAD_END, /* the LF of the empty line */
    HTTP_SCAN_OVER,
};

struct http_scan {
    /* Once over: */
    size_t begin;     /* where the first line begins: 2 if an empty line stood before the request */
    size_t target_at; /* of a request's target */
    size_t target_size;
    size_t lines_at; /* of the first header line */
    unsigned fields; /* how many header lines there are */
    unsigned minor;  /* of HTTP/1.x */
    unsigned status; /* of a response */

    /* Private. */
    enum http_scan_state state;
    enum http_scan_kind kind;
    unsigned classes; /* of bytes in a value */
    size_t size;      /* bytes seen */
    unsigned at;      /* within a part of fixed form */
    char major;
};

void http_scan_init(struct http_scan *scan, enum http_scan_kind kind);

/* For the trailers of such a message: header lines alone. */
void http_scan_init_trailers(struct http_scan *scan, enum http_scan_kind kind);

/* Looks at `size` more bytes. *ret_used of them belong to the head; after them it is over if there are fewer
 * than `size`, or http_scan_is_over() says so. Not to be called again after a refusal. */
enum http_refusal http_scan_read(struct http_scan *scan, const struct http_scan_limits *limits,
                                 const char *data, size_t size, size_t *ret_used) MUST_CHECK;

static inline bool http_scan_is_over(const struct http_scan *scan)
{
    return scan->state == HTTP_SCAN_OVER;
}

/* Why a byte is refused that has no place where it stands: control characters and the like have words of
 * their own, for any other it is `otherwise`. */
enum http_refusal http_refuse_byte(char c, enum http_refusal otherwise);

#endif
