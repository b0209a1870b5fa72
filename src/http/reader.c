/* Messages out of bytes: scanned heads, framed bodies. */
#include "http/reader.h"

#include <assert.h>

void http_reader_init(struct http_reader *reader, enum http_scan_kind kind, const struct http_limits *limits)
{
    *reader = (struct http_reader){.kind = kind, .limits = limits};
    http_fields_init(&reader->fields, limits->head.bytes);
    http_fields_init(&reader->trailers, limits->head.bytes);
    http_scan_init(&reader->scan, kind);
}

void http_reader_release(struct http_reader *reader)
{
    http_fields_release(&reader->fields);
    http_fields_release(&reader->trailers);
}

void http_reader_next(struct http_reader *reader)
{
    http_reader_release(reader);
    http_reader_init(reader, reader->kind, reader->limits);
}

enum http_event http_reader_refuse(struct http_reader *reader, enum http_refusal why)
{
    reader->why = why;
    return HTTP_EVENT_REFUSED;
}

/* Scans bytes into `fields`. */
static enum http_refusal scan_into(struct http_reader *reader, struct http_scan *scan,
                                   struct http_fields *fields, struct http_span input, size_t *ret_used)
{
    enum http_refusal why = http_scan_read(scan, &reader->limits->head, input.data, input.size, ret_used);
    if (why != HTTP_REFUSED_NONE) {
        return why;
    }
    text_add_bytes(&fields->bytes, input.data, *ret_used);
    return fields->bytes.failed ? HTTP_REFUSED_NO_MEMORY : HTTP_REFUSED_NONE;
}

static enum http_event read_head(struct http_reader *reader, struct http_span input, size_t *ret_used)
{
    enum http_refusal why = scan_into(reader, &reader->scan, &reader->fields, input, ret_used);
    if (why != HTTP_REFUSED_NONE) {
        return http_reader_refuse(reader, why);
    }
    if (!http_scan_is_over(&reader->scan)) {
        return HTTP_EVENT_MORE;
    }
    if (http_fields_split(&reader->fields, reader->scan.lines_at, reader->scan.fields) != 0) {
        return http_reader_refuse(reader, HTTP_REFUSED_NO_MEMORY);
    }
    return HTTP_EVENT_HEAD;
}

enum http_refusal http_reader_frame(struct http_reader *reader, struct http_framing framing)
{
    uint64_t limit = reader->limits->body;
    reader->framing = framing;
    reader->phase = framing.body == HTTP_BODY_NONE ? HTTP_PHASE_OVER : HTTP_PHASE_BODY;
    reader->left = framing.body == HTTP_BODY_LENGTH ? framing.length : limit;
    http_chunked_init(&reader->chunked, limit);
    http_scan_init_trailers(&reader->trailer_scan, reader->kind);
    return framing.length > limit ? HTTP_REFUSED_BODY_SIZE : HTTP_REFUSED_NONE;
}

void http_reader_skip(struct http_reader *reader, uint64_t size)
{
    assert(size < http_reader_left(reader));
    reader->left -= size;
}

static enum http_event read_plain(struct http_reader *reader, struct http_span input, size_t *ret_used,
                                  struct http_span *ret_piece)
{
    if (reader->left == 0) {
        return http_reader_refuse(reader,
                                  HTTP_REFUSED_BODY_SIZE); /* it goes on after as much as it may have */
    }
    *ret_used = input.size < reader->left ? input.size : (size_t)reader->left;
    *ret_piece = (struct http_span){.data = input.data, .size = *ret_used};
    reader->left -= *ret_used;
    if (reader->left == 0 && reader->framing.body == HTTP_BODY_LENGTH) {
        reader->phase = HTTP_PHASE_OVER;
    }
    return HTTP_EVENT_BODY;
}

static enum http_event read_chunked(struct http_reader *reader, struct http_span input, size_t *ret_used,
                                    struct http_span *ret_piece)
{
    enum http_refusal why = http_chunked_read(&reader->chunked, input.data, input.size, ret_used, ret_piece);
    if (why != HTTP_REFUSED_NONE) {
        return http_reader_refuse(reader, why);
    }
    if (reader->chunked.state == HTTP_CHUNKED_OVER) {
        reader->phase = HTTP_PHASE_TRAILERS;
    }
    return ret_piece->size > 0 ? HTTP_EVENT_BODY : HTTP_EVENT_MORE;
}

static enum http_event read_trailers(struct http_reader *reader, struct http_span input, size_t *ret_used)
{
    struct http_scan *scan = &reader->trailer_scan;
    enum http_refusal why = scan_into(reader, scan, &reader->trailers, input, ret_used);
    if (why != HTTP_REFUSED_NONE) {
        return http_reader_refuse(reader, why);
    }
    if (!http_scan_is_over(scan)) {
        return HTTP_EVENT_MORE;
    }
    if (http_fields_split(&reader->trailers, 0, scan->fields) != 0) {
        return http_reader_refuse(reader, HTTP_REFUSED_NO_MEMORY);
    }
    reader->phase = HTTP_PHASE_OVER;
    return HTTP_EVENT_END;
}

static enum http_event read_phase(struct http_reader *reader, struct http_span input, size_t *ret_used,
                                  struct http_span *ret_piece)
{
    switch (reader->phase) {
    case HTTP_PHASE_HEAD:
        return read_head(reader, input, ret_used);
    case HTTP_PHASE_TRAILERS:
        return read_trailers(reader, input, ret_used);
    default:
        return reader->framing.body == HTTP_BODY_CHUNKED ? read_chunked(reader, input, ret_used, ret_piece)
                                                         : read_plain(reader, input, ret_used, ret_piece);
    }
}

enum http_event http_reader_read(struct http_reader *reader, const char *data, size_t size, size_t *ret_used,
                                 struct http_span *ret_piece)
{
    enum http_event event = HTTP_EVENT_MORE;
    size_t at = 0;
    *ret_piece = (struct http_span){.data = NULL};
    while (at < size && event == HTTP_EVENT_MORE && reader->phase != HTTP_PHASE_OVER) {
        size_t used = 0;
        event =
            read_phase(reader, (struct http_span){.data = data + at, .size = size - at}, &used, ret_piece);
        at += used;
    }
    *ret_used = at;
    return event == HTTP_EVENT_MORE && reader->phase == HTTP_PHASE_OVER ? HTTP_EVENT_END : event;
}

enum http_event http_reader_finish(struct http_reader *reader)
{
    if (reader->phase == HTTP_PHASE_OVER) {
        return HTTP_EVENT_END;
    }
    if (reader->phase == HTTP_PHASE_BODY && reader->framing.body == HTTP_BODY_UNTIL_END) {
        reader->phase = HTTP_PHASE_OVER;
        return HTTP_EVENT_END;
    }
    if (!http_reader_begun(reader)) {
        return HTTP_EVENT_MORE;
    }
    bool request = reader->kind == HTTP_SCAN_REQUEST;
    return http_reader_refuse(reader, request ? HTTP_REFUSED_REQUEST_CUT : HTTP_REFUSED_RESPONSE_CUT);
}
