/*
 * The characters of HTTP, as RFC 9110 and 9112 have them and no wider, and spans of them. What is not ASCII
 * is in no class but that of opaque bytes.
 */
#ifndef POSTERN_HTTP_SYNTAX_H
#define POSTERN_HTTP_SYNTAX_H

#include "base/compiler.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum http_class {
    HTTP_TOKEN = 1 << 0,      /* of methods, header names, codings, options */
    HTTP_VALUE = 1 << 1,      /* of header values: visible, blank and tab */
    HTTP_OPAQUE = 1 << 2,     /* 0x80 and up, which a response's values may have */
    HTTP_PATH = 1 << 3,       /* pchar and "/"; "%" too, whose digits are looked at elsewhere */
    HTTP_QUERY = 1 << 4,      /* the same and "?" */
    HTTP_UNRESERVED = 1 << 5, /* what never needs a %-escape */
    HTTP_DIGIT = 1 << 6,
    HTTP_HEX = 1 << 7,
    HTTP_TARGET = 1 << 8, /* of any target: those of queries, and the brackets around IPv6 addresses */
    HTTP_ALNUM = 1 << 9,  /* letters and digits */
};

extern const uint16_t http_classes[256];

static inline bool http_is(char c, unsigned classes)
{
    return (http_classes[(unsigned char)c] & classes) != 0;
}

/* Of a letter, the small one; anything else as it is. */
static inline char http_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

/* Of a hexadecimal digit. */
static inline unsigned http_hex_value(char c)
{
    return c <= '9' ? (unsigned)(c - '0') : (unsigned)((c | 0x20) - 'a') + 10;
}

/* How many bytes at the start of `data` are of one of `classes`. */
size_t http_run(const char *data, size_t size, unsigned classes);

/* Bytes that belong to somebody else; not terminated. An empty one may have data NULL. */
struct http_span {
    const char *data;
    size_t size;
};

#define HTTP_SPAN(literal)                             \
    (struct http_span)                                 \
    {                                                  \
        .data = (literal), .size = sizeof(literal) - 1 \
    }

struct http_span http_span_of(const char *string);

/* Whether it is `word`; the second without regard to case. */
bool http_span_is(struct http_span span, const char *word);
bool http_span_is_word(struct http_span span, const char *word);

bool http_span_equal(struct http_span a, struct http_span b);
bool http_span_same_word(struct http_span a, struct http_span b); /* without regard to case */

/* Whether all of it, and at least one byte, is of `classes`. */
bool http_span_all(struct http_span span, unsigned classes);

/* Without the blanks and tabs around it. */
struct http_span http_span_trim(struct http_span span);

/* Decimal digits: at least one, no sign, no leading zero, no overflow, nothing else. */
bool http_span_number(struct http_span span, uint64_t *ret) MUST_CHECK;

/* The next element of a comma-separated list, trimmed, maybe empty; *list keeps what follows. False when
 * there is none. A list that is empty has one empty element. To begin with, `list->data` is not NULL. */
bool http_list_next(struct http_span *list, struct http_span *ret_element);

/* HOST or HOST:PORT as a Host header or a URL has it: a name, an IPv4 address or [IPv6], not empty; a port
 * of 1 to 65535. With *ret_host without the brackets; *ret_port is 0 when there is none. */
bool http_authority(struct http_span text, struct http_span *ret_host, uint16_t *ret_port) MUST_CHECK;

#endif
