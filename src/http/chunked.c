/* The chunked coding. */
#include "http/chunked.h"
#include "http/scan.h"

#define DIGITS_MAX 16

void http_chunked_init(struct http_chunked *chunked, uint64_t limit)
{
    *chunked = (struct http_chunked){.state = HTTP_CHUNKED_SIZE, .room = limit};
}

static enum http_refusal bad(char c)
{
    return http_refuse_byte(c, HTTP_REFUSED_CHUNK);
}

/* After the size or an extension. */
static enum http_refusal step_after(struct http_chunked *chunked, char c)
{
    chunked->state = c == ';' ? HTTP_CHUNKED_EXTENSION : HTTP_CHUNKED_SIZE_LF;
    return c == ';' || c == '\r' ? HTTP_REFUSED_NONE : bad(c);
}

static enum http_refusal step_size(struct http_chunked *chunked, char c)
{
    if (http_is(c, HTTP_HEX)) {
        chunked->left = chunked->left << 4 | http_hex_value(c);
        return ++chunked->digits > DIGITS_MAX ? HTTP_REFUSED_CHUNK : HTTP_REFUSED_NONE;
    }
    return chunked->digits > 0 ? step_after(chunked, c) : bad(c);
}

static enum http_refusal step_name(struct http_chunked *chunked, char c)
{
    if (http_is(c, HTTP_TOKEN)) {
        chunked->state = HTTP_CHUNKED_NAME;
        return HTTP_REFUSED_NONE;
    }
    if (chunked->state == HTTP_CHUNKED_EXTENSION) {
        return bad(c);
    }
    if (c == '=') {
        chunked->state = HTTP_CHUNKED_VALUE;
        return HTTP_REFUSED_NONE;
    }
    return step_after(chunked, c);
}

static enum http_refusal step_value(struct http_chunked *chunked, char c)
{
    if (http_is(c, HTTP_TOKEN)) {
        chunked->state = HTTP_CHUNKED_TOKEN;
        return HTTP_REFUSED_NONE;
    }
    if (chunked->state == HTTP_CHUNKED_TOKEN) {
        return step_after(chunked, c);
    }
    chunked->state = HTTP_CHUNKED_QUOTED;
    return c == '"' ? HTTP_REFUSED_NONE : bad(c);
}

static enum http_refusal step_quoted(struct http_chunked *chunked, char c)
{
    if (!http_is(c, HTTP_VALUE)) {
        return bad(c);
    }
    if (chunked->state == HTTP_CHUNKED_ESCAPED) {
        chunked->state = HTTP_CHUNKED_QUOTED;
    } else if (c == '"') {
        chunked->state = HTTP_CHUNKED_UNQUOTED;
    } else if (c == '\\') {
        chunked->state = HTTP_CHUNKED_ESCAPED;
    }
    return HTTP_REFUSED_NONE;
}

static enum http_refusal step_size_lf(struct http_chunked *chunked, char c)
{
    if (c != '\n') {
        return HTTP_REFUSED_BARE_CR;
    }
    if (chunked->left > chunked->room) {
        return HTTP_REFUSED_BODY_SIZE;
    }
    chunked->room -= chunked->left;
    chunked->state = chunked->left > 0 ? HTTP_CHUNKED_DATA : HTTP_CHUNKED_OVER;
    return HTTP_REFUSED_NONE;
}

static enum http_refusal step_data_end(struct http_chunked *chunked, char c)
{
    if (chunked->state == HTTP_CHUNKED_DATA_CR) {
        chunked->state = HTTP_CHUNKED_DATA_LF;
        return c == '\r' ? HTTP_REFUSED_NONE : HTTP_REFUSED_CHUNK;
    }
    chunked->state = HTTP_CHUNKED_SIZE;
    chunked->digits = 0;
    return c == '\n' ? HTTP_REFUSED_NONE : HTTP_REFUSED_CHUNK;
}

static enum http_refusal step_extension(struct http_chunked *chunked, char c)
{
    if (++chunked->extensions > HTTP_CHUNK_EXTENSIONS_MAX) {
        return HTTP_REFUSED_CHUNK;
    }
    switch (chunked->state) {
    case HTTP_CHUNKED_EXTENSION:
    case HTTP_CHUNKED_NAME:
        return step_name(chunked, c);
    case HTTP_CHUNKED_VALUE:
    case HTTP_CHUNKED_TOKEN:
        return step_value(chunked, c);
    case HTTP_CHUNKED_UNQUOTED:
        return step_after(chunked, c);
    default:
        return step_quoted(chunked, c);
    }
}

static enum http_refusal step(struct http_chunked *chunked, char c)
{
    switch (chunked->state) {
    case HTTP_CHUNKED_SIZE:
        return step_size(chunked, c);
    case HTTP_CHUNKED_SIZE_LF:
        return step_size_lf(chunked, c);
    case HTTP_CHUNKED_DATA_CR:
    case HTTP_CHUNKED_DATA_LF:
        return step_data_end(chunked, c);
    default:
        return step_extension(chunked, c);
    }
}

enum http_refusal http_chunked_read(struct http_chunked *chunked, const char *data, size_t size,
                                    size_t *ret_used, struct http_span *ret_piece)
{
    size_t at = 0;
    *ret_piece = (struct http_span){.data = NULL};
    while (at < size && chunked->state != HTTP_CHUNKED_OVER && ret_piece->size == 0) {
        if (chunked->state == HTTP_CHUNKED_DATA) {
            ret_piece->data = data + at;
            ret_piece->size = size - at < chunked->left ? size - at : (size_t)chunked->left;
            chunked->left -= ret_piece->size;
            chunked->state = chunked->left > 0 ? HTTP_CHUNKED_DATA : HTTP_CHUNKED_DATA_CR;
            at += ret_piece->size;
            continue;
        }
        enum http_refusal refusal = step(chunked, data[at++]);
        if (refusal != HTTP_REFUSED_NONE) {
            *ret_used = at;
            return refusal;
        }
    }
    *ret_used = at;
    return HTTP_REFUSED_NONE;
}

size_t http_chunk_prefix(bool first, uint64_t size, char buffer[HTTP_CHUNK_PREFIX_MAX])
{
    char digits[DIGITS_MAX];
    size_t count = 0, at = 0;
    do {
        digits[count++] = "0123456789abcdef"[size & 15];
        size >>= 4;
    } while (size > 0);
    if (!first) {
        buffer[at++] = '\r';
        buffer[at++] = '\n';
    }
    while (count > 0) {
        buffer[at++] = digits[--count];
    }
    buffer[at++] = '\r';
    buffer[at++] = '\n';
    return at;
}
