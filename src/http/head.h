/*
 * The head of a message that we send: built up, maybe signed, then written out in one canonical form, so that what was
 * judged is what the other side reads. Names are in lower case, one blank follows the colon, nothing is folded.
 *
 * Memory: two blocks, the bytes within a limit, and wiped wherever they are let go of: a value may be a secret. When memory runs out `failed` is set, later additions do nothing, and
 * the caller looks once, at the end.
 */
#ifndef POSTERN_HTTP_HEAD_H
#define POSTERN_HTTP_HEAD_H

#include "base/compiler.h"
#include "base/text.h"
#include "http/syntax.h"
#include <stdbool.h>

struct http_head_field {
    size_t name_at, name_size, value_size; /* in `bytes` */
};

struct http_head {
    struct text line;  /* the request or status line, without its end; owned, as is what follows */
    struct text bytes; /* the headers as they are sent, but with a '\0' for each colon and '\r': strings */
    struct http_head_field *fields;
    unsigned count, capacity;
    bool failed;
};

void http_head_init(struct http_head *head, size_t limit);
void http_head_release(struct http_head *head);
void http_head_clear(struct http_head *head); /* empties and wipes it, keeps the memory */

/* Adds a header. The name is written in lower case; that it is a token, and the value without controls, is up to
 * the caller. */
void http_head_add(struct http_head *head, struct http_span name, struct http_span value);
void http_head_add_number(struct http_head *head, const char *name, uint64_t value);

/* A header whose value is being added to head->bytes: begin, add, end. */
void http_head_begin(struct http_head *head, struct http_span name);
void http_head_end(struct http_head *head);

/* Each is followed by a '\0', for those who want a string: a signer. */
struct http_span http_head_name(const struct http_head *head, unsigned index);
struct http_span http_head_value(const struct http_head *head, unsigned index);

/* Adds the line, the headers and the empty line to `out`. */
void http_head_write(const struct http_head *head, struct text *out);

#endif
