/* The forwarder without sockets. */
#include "forward.h"
#include "http/body.h"
#include <llhttp.h>
#include <stdlib.h>
#include <string.h>

#define OUT_HEAD_MAX (256 * 1024)

void forwarded_release(struct forwarded *forwarded)
{
    text_release(&forwarded->wire);
    text_release(&forwarded->meaning);
    text_release(&forwarded->fields);
}

static int get_value(void *data, enum http_variable kind, const char *name, struct text *out,
                     struct error *err)
{
    static const char *const words[] = {"enclave", "16", "route", "id-1", "env", "file", "credential"};
    (void)data;
    (void)err;
    text_addf(out, "%s%s", words[kind], name);
    return 0;
}

static const struct http_provider provider = {.get = get_value};
static const struct http_upstream upstream = {.authority = "up.example:8443",
                                              .base_path = "/base",
                                              .expect = true,
                                              .provider = &provider};

/* Heads are the same whatever their framing is made of: without Content-Length and the like. */
static void add_head_meaning(struct text *meaning, const struct http_head *head)
{
    text_addf(meaning, "[%s]\n", text_string(&head->line));
    for (unsigned i = 0; i < head->count; i++) {
        struct http_span name = http_head_name(head, i), value = http_head_value(head, i);
        text_addf(meaning, "%.*s: ", (int)name.size, name.data);
        text_add_bytes(meaning, value.data, value.size);
        text_add(meaning, "\n");
    }
    text_add(meaning, "\n");
}

static void add_piece(struct forwarded *forwarded, struct http_body_out *body, struct http_span piece)
{
    char prefix[HTTP_CHUNK_PREFIX_MAX];
    if (piece.size == 0) {
        abort();
    }
    text_add_bytes(&forwarded->wire, prefix, http_body_prefix(body, piece.size, prefix));
    text_add_bytes(&forwarded->wire, piece.data, piece.size);
    text_add_bytes(&forwarded->meaning, piece.data, piece.size);
}

static void add_trailers(struct text *meaning, const struct http_fields *trailers)
{
    for (unsigned i = 0; i < trailers->count; i++) {
        const struct http_field *field = &trailers->list[i];
        if (field->crosses) {
            for (size_t k = 0; k < field->name.size; k++) {
                char c = field->name.data[k];
                text_add_char(meaning, c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c);
            }
            text_add(meaning, ": ");
            text_add_bytes(meaning, field->value.data, field->value.size);
            text_add(meaning, "\n");
        }
    }
}

static void add_end(struct forwarded *forwarded, const struct http_body_out *body,
                    const struct http_fields *trailers)
{
    http_body_end(body, trailers, &forwarded->wire);
    text_add(&forwarded->meaning, "\n");
    if (body->framing.body == HTTP_BODY_CHUNKED) {
        add_trailers(&forwarded->meaning, trailers);
        add_trailers(&forwarded->fields, trailers);
    }
    text_add(&forwarded->meaning, "<end>\n");
    forwarded->whole++;
    forwarded->cut = false;
}

static void refuse(struct forwarded *forwarded, enum http_refusal why)
{
    forwarded->why = why;
    forwarded->last = HTTP_EVENT_REFUSED;
    if (why == HTTP_REFUSED_NONE) {
        abort();
    }
}

/* A path in its judged form is judged to be itself. */
static void check_path(const struct http_target *target)
{
    struct text again = TEXT_INIT;
    struct http_span path = {.data = target->path.data, .size = target->path.length};
    if (path.size > 0 &&
        (http_path_judge(path, &again) != HTTP_REFUSED_NONE || strcmp(text_string(&again), path.data) != 0)) {
        abort();
    }
    text_release(&again);
}

static void begin_request(struct forwarded *forwarded, const struct http_request *request,
                          struct http_body_out *body)
{
    struct http_head head;
    struct error err = ERROR_INIT;
    check_path(&request->target);
    http_head_init(&head, OUT_HEAD_MAX);
    enum http_refusal why = http_request_rewrite(request, &upstream, &head, &err);
    if (why == HTTP_REFUSED_NONE) {
        http_head_write(&head, &forwarded->wire);
        add_head_meaning(&forwarded->meaning, &head);
        add_head_meaning(&forwarded->fields, &head);
        http_body_init(body, request->framing);
        forwarded->cut = true;
    } else {
        refuse(forwarded, why);
    }
    http_head_release(&head);
}

/* One event of the request. False: no more is to be read. */
static bool take_request(struct forwarded *forwarded, struct http_request *request,
                         struct http_body_out *body, struct http_span piece)
{
    switch (forwarded->last) {
    case HTTP_EVENT_HEAD:
        begin_request(forwarded, request, body);
        return forwarded->last != HTTP_EVENT_REFUSED;
    case HTTP_EVENT_BODY:
        add_piece(forwarded, body, piece);
        return true;
    case HTTP_EVENT_END:
        add_end(forwarded, body, &request->reader.trailers);
        if (!request->keep_alive) {
            return false;
        }
        http_request_next(request);
        return true;
    case HTTP_EVENT_REFUSED:
        refuse(forwarded, request->reader.why);
        return false;
    default:
        return true;
    }
}

static bool feed_request(struct forwarded *forwarded, struct http_request *request,
                         struct http_body_out *body, const char *data, size_t size)
{
    size_t at = 0;
    do {
        size_t used;
        struct http_span piece;
        forwarded->last = http_request_read(request, data + at, size - at, &used, &piece);
        at += used;
        forwarded->used += used;
        if (!take_request(forwarded, request, body, piece)) {
            return false;
        }
    } while (at < size || forwarded->last == HTTP_EVENT_HEAD || forwarded->last == HTTP_EVENT_BODY);
    return true;
}

/* A copy exactly as large as the bytes, so that a sanitizer sees a read past them. */
static char *copy_of(const char *data, size_t size)
{
    char *copy = malloc(size);
    if (copy == NULL) {
        abort();
    }
    memcpy(copy, data, size);
    return copy;
}

void forward_requests(struct forwarded *forwarded, const struct http_rules *rules, const char *data,
                      size_t size, size_t step)
{
    struct http_request request;
    struct http_body_out body = {.begun = false};
    bool more = true;
    *forwarded = (struct forwarded){.whole = 0};
    http_request_init(&request, rules);
    for (size_t at = 0; at < size && more; at += step) {
        size_t part = size - at < step ? size - at : step;
        char *copy = copy_of(data + at, part);
        more = feed_request(forwarded, &request, &body, copy, part);
        free(copy);
    }
    http_request_release(&request);
}

static void begin_response(struct forwarded *forwarded, const struct http_response *response,
                           const struct http_client *client, struct http_body_out *body)
{
    struct http_head head;
    struct http_framing framing;
    http_head_init(&head, OUT_HEAD_MAX);
    if (http_response_rewrite(response, client, &head, &framing) != HTTP_REFUSED_NONE) {
        abort();
    }
    http_head_write(&head, &forwarded->wire);
    add_head_meaning(&forwarded->meaning, &head);
    add_head_meaning(&forwarded->fields, &head);
    http_body_init(body, framing);
    forwarded->cut = response->status >= 200;
    http_head_release(&head);
}

/* False: no more is to be read. */
static bool take_response(struct forwarded *forwarded, struct http_response *response,
                          const struct http_client *client, struct http_body_out *body,
                          struct http_span piece)
{
    switch (forwarded->last) {
    case HTTP_EVENT_HEAD:
        begin_response(forwarded, response, client, body);
        return true;
    case HTTP_EVENT_BODY:
        add_piece(forwarded, body, piece);
        return true;
    case HTTP_EVENT_END:
        add_end(forwarded, body, &response->reader.trailers);
        return false;
    case HTTP_EVENT_REFUSED:
        refuse(forwarded, response->why);
        return false;
    default:
        return true;
    }
}

static bool feed_response(struct forwarded *forwarded, struct http_response *response,
                          const struct http_client *client, struct http_body_out *body, const char *data,
                          size_t size)
{
    size_t at = 0;
    do {
        size_t used;
        struct http_span piece;
        forwarded->last = http_response_read(response, data + at, size - at, &used, &piece);
        at += used;
        forwarded->used += used;
        if (!take_response(forwarded, response, client, body, piece)) {
            return false;
        }
    } while (at < size || forwarded->last == HTTP_EVENT_HEAD || forwarded->last == HTTP_EVENT_BODY);
    return true;
}

void forward_response(struct forwarded *forwarded, const struct forward_answer *how, const char *data,
                      size_t size, size_t step)
{
    struct http_response response;
    struct http_body_out body = {.begun = false};
    bool more = true;
    *forwarded = (struct forwarded){.whole = 0};
    http_response_init(&response, &how->limits, how->head_only);
    for (size_t at = 0; at < size && more; at += step) {
        size_t part = size - at < step ? size - at : step;
        char *copy = copy_of(data + at, part);
        more = feed_response(forwarded, &response, &how->client, &body, copy, part);
        free(copy);
    }
    if (more) {
        forwarded->last = http_response_finish(&response, !how->unclean);
        take_response(forwarded, &response, &how->client, &body, (struct http_span){.data = NULL});
    }
    http_response_release(&response);
}

/* llhttp's reading. */

struct reread {
    llhttp_t parser;
    struct text *meaning;
    struct text line; /* of the status line: the reason */
    bool head_only;
    bool in_trailers;
    bool failed;
};

static struct reread *reread_of(llhttp_t *parser)
{
    return CONTAINER_OF(parser, struct reread, parser);
}

static int on_url(llhttp_t *parser, const char *data, size_t size)
{
    struct reread *reread = reread_of(parser);
    text_addf(reread->meaning, "[%s ", llhttp_method_name((llhttp_method_t)parser->method));
    text_add_bytes(reread->meaning, data, size);
    text_add(reread->meaning, " HTTP/1.1]\n");
    return 0;
}

static int on_status_over(llhttp_t *parser)
{
    struct reread *reread = reread_of(parser);
    text_addf(reread->meaning, "[HTTP/1.1 %u %s]\n", parser->status_code, text_string(&reread->line));
    text_clear(&reread->line);
    return 0;
}

static int on_status(llhttp_t *parser, const char *data, size_t size)
{
    text_add_bytes(&reread_of(parser)->line, data, size);
    return 0;
}

static int on_bytes(llhttp_t *parser, const char *data, size_t size)
{
    text_add_bytes(reread_of(parser)->meaning, data, size);
    return 0;
}

static int on_name(llhttp_t *parser, const char *data, size_t size)
{
    struct reread *reread = reread_of(parser);
    if ((parser->flags & F_TRAILING) != 0 && !reread->in_trailers) {
        reread->in_trailers = true;
        text_add(reread->meaning, "\n");
    }
    return on_bytes(parser, data, size);
}

static int on_name_over(llhttp_t *parser)
{
    text_add(reread_of(parser)->meaning, ": ");
    return 0;
}

static int on_value_over(llhttp_t *parser)
{
    text_add(reread_of(parser)->meaning, "\n");
    return 0;
}

static int on_head_over(llhttp_t *parser)
{
    struct reread *reread = reread_of(parser);
    reread->in_trailers = false;
    text_add(reread->meaning, "\n");
    return reread->head_only ? 1 : 0;
}

static int on_over(llhttp_t *parser)
{
    struct reread *reread = reread_of(parser);
    if (parser->type == HTTP_RESPONSE && parser->status_code < 200) {
        return 0;
    }
    text_add(reread->meaning, reread->in_trailers ? "<end>\n" : "\n<end>\n");
    return 0;
}

bool forward_reread(bool response, bool head_only, const struct text *wire, struct text *meaning)
{
    static const llhttp_settings_t settings = {
        .on_url = on_url,
        .on_status = on_status,
        .on_status_complete = on_status_over,
        .on_header_field = on_name,
        .on_header_field_complete = on_name_over,
        .on_header_value = on_bytes,
        .on_header_value_complete = on_value_over,
        .on_headers_complete = on_head_over,
        .on_body = on_bytes,
        .on_message_complete = on_over,
    };
    struct reread reread = {.meaning = meaning, .head_only = head_only};
    text_init(&reread.line, 0);
    llhttp_init(&reread.parser, response ? HTTP_RESPONSE : HTTP_REQUEST, &settings);
    llhttp_errno_t error = llhttp_execute(&reread.parser, text_string(wire), wire->length);
    if (error == HPE_OK && response) {
        error = llhttp_finish(&reread.parser);
    }
    text_release(&reread.line);
    return error == HPE_OK;
}
