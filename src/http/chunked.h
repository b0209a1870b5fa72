/*
 * The chunked coding, both ways, in constant memory: the bytes of a body are handed on where they lie.
 *
 * Stricter than RFC 9112 (7.1): a size has at most sixteen digits, there are no blanks around it or in
 * extensions, and the extensions of a body are at most HTTP_CHUNK_EXTENSIONS_MAX bytes. Extensions are dropped: they
 * are of one connection.
 *
 * Why not llhttp: what it lets through in chunk lines differs from version to version, and a chunk line that two
 * servers read in different ways is the classic of smuggling. Tests hold both to the same reading.
 */
#ifndef POSTERN_HTTP_CHUNKED_H
#define POSTERN_HTTP_CHUNKED_H

#include "base/compiler.h"
#include "http/refusal.h"
#include "http/syntax.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HTTP_CHUNK_EXTENSIONS_MAX 4096

enum http_chunked_state {
    HTTP_CHUNKED_SIZE,
    HTTP_CHUNKED_EXTENSION, /* after the semicolon */
    HTTP_CHUNKED_NAME,
    HTTP_CHUNKED_VALUE,
    HTTP_CHUNKED_TOKEN,
    HTTP_CHUNKED_QUOTED,
    HTTP_CHUNKED_ESCAPED,
    HTTP_CHUNKED_UNQUOTED,
    HTTP_CHUNKED_SIZE_LF,
    HTTP_CHUNKED_DATA,
    HTTP_CHUNKED_DATA_CR,
    HTTP_CHUNKED_DATA_LF,
    HTTP_CHUNKED_OVER, /* past the last chunk's line: the trailers follow */
};

struct http_chunked {
    enum http_chunked_state state;
    unsigned digits;
    unsigned extensions; /* bytes */
    uint64_t left;       /* of the chunk */
    uint64_t room;       /* bytes that further chunks may have */
};

/* For a body of at most `limit` bytes. */
void http_chunked_init(struct http_chunked *chunked, uint64_t limit);

/* Reads on until there is a piece of the body, the last chunk is over, or nothing is left. *ret_used bytes were
 * read, the piece's among them. */
enum http_refusal http_chunked_read(struct http_chunked *chunked, const char *data, size_t size,
                                    size_t *ret_used, struct http_span *ret_piece) MUST_CHECK;

#define HTTP_CHUNK_PREFIX_MAX 24

/* What has to stand before a piece of `size` > 0 bytes: the end of the chunk before, if any, and the piece's size.
 * Returns the bytes put into `buffer`. */
size_t http_chunk_prefix(bool first, uint64_t size, char buffer[HTTP_CHUNK_PREFIX_MAX]);

#endif
