/*
 * Bodies on their way out: pieces are sent from where they lie, with what the framing needs before and after them. For a
 * request to the upstream and a response to the enclave alike.
 *
 *     send(prefix, http_body_prefix(&body, piece.size, prefix)); send(piece.data, piece.size);
 *     http_body_end(&body, &reader.trailers, &text); send(text);
 */
#ifndef POSTERN_HTTP_BODY_H
#define POSTERN_HTTP_BODY_H

#include "base/text.h"
#include "http/chunked.h"
#include "http/fields.h"
#include "http/reader.h"

struct http_body_out {
    struct http_framing framing;
    bool begun;
};

void http_body_init(struct http_body_out *body, struct http_framing framing);

/* What goes out before a piece of `size` > 0 bytes, into `buffer`; returns how much. */
size_t http_body_prefix(struct http_body_out *body, size_t size, char buffer[HTTP_CHUNK_PREFIX_MAX]);

/* What goes out after the last piece, added to `out`: those of the trailers that cross, if the body is chunked. */
void http_body_end(const struct http_body_out *body, const struct http_fields *trailers, struct text *out);

#endif
