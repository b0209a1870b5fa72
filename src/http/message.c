/* One HTTP/1.1 message, read whole. */
#include "http/message.h"
#include <errno.h>
#include <llhttp.h>

void http_message_init(struct http_message *message, enum http_message_kind kind, size_t head_max,
                       size_t body_max)
{
    *message = (struct http_message){.kind = kind, .method = "", .path = "", .query = "", .why = ""};
    http_rules_init(&message->rules);
    message->rules.limits.head =
        (struct http_scan_limits){.bytes = head_max, .target = head_max, .fields = HTTP_HEADERS_MAX};
    message->rules.limits.body = body_max;
    text_init(&message->body, body_max);
    text_init(&message->query_text, head_max);
    if (kind == HTTP_MESSAGE_REQUEST) {
        http_request_init(&message->request, &message->rules);
    } else {
        http_response_init(&message->response, &message->rules.limits, false);
    }
}

void http_message_release(struct http_message *message)
{
    if (message->kind == HTTP_MESSAGE_REQUEST) {
        http_request_release(&message->request);
    } else {
        http_response_release(&message->response);
    }
    http_rules_release(&message->rules);
    text_release(&message->body);
    text_release(&message->query_text);
}

static const struct http_reader *reader_of(const struct http_message *message)
{
    return message->kind == HTTP_MESSAGE_REQUEST ? &message->request.reader : &message->response.reader;
}

static int refuse(struct http_message *message, enum http_refusal why)
{
    /* There are pages here for a few methods only: one that is unknown is no other than one that is not theirs. */
    message->refused = why == HTTP_REFUSED_METHOD ? 405 : (int)http_refusal_status(why);
    message->why = http_refusal_meaning(why);
    switch (why) {
    case HTTP_REFUSED_NO_MEMORY:
        return -ENOMEM;
    case HTTP_REFUSED_HEAD_SIZE:
    case HTTP_REFUSED_TARGET_SIZE:
    case HTTP_REFUSED_FIELDS:
    case HTTP_REFUSED_BODY_SIZE:
        return -EMSGSIZE;
    default:
        return -EBADMSG;
    }
}

/* Returns 0, or what refuse() gave. */
static int take_head(struct http_message *message)
{
    if (message->kind == HTTP_MESSAGE_RESPONSE) {
        message->status = (int)message->response.status;
        return 0;
    }
    const struct http_target *target = &message->request.target;
    text_add_bytes(&message->query_text, target->query.data, target->query.size);
    message->method = llhttp_method_name((llhttp_method_t)message->request.method);
    message->path = text_string(&target->path);
    message->query = text_string(&message->query_text);
    return message->query_text.failed ? refuse(message, HTTP_REFUSED_NO_MEMORY) : 0;
}

/* A refusal, too, is answered without a body if that was asked for. */
static void take_method(struct http_message *message)
{
    if (message->kind == HTTP_MESSAGE_REQUEST && http_span_is(message->request.method_name, "HEAD")) {
        message->method = "HEAD";
    }
}

static int take(struct http_message *message, enum http_event event, struct http_span piece)
{
    switch (event) {
    case HTTP_EVENT_HEAD:
        return take_head(message);
    case HTTP_EVENT_BODY:
        text_add_bytes(&message->body, piece.data, piece.size);
        return message->body.failed ? refuse(message, HTTP_REFUSED_NO_MEMORY) : 0;
    case HTTP_EVENT_END:
        message->complete = true;
        return 1;
    case HTTP_EVENT_REFUSED:
        take_method(message);
        return refuse(message, reader_of(message)->why);
    default:
        return 0;
    }
}

static enum http_event read_event(struct http_message *message, struct http_span input, size_t *ret_used,
                                  struct http_span *ret_piece)
{
    if (message->kind == HTTP_MESSAGE_REQUEST) {
        return http_request_read(&message->request, input.data, input.size, ret_used, ret_piece);
    }
    return http_response_read(&message->response, input.data, input.size, ret_used, ret_piece);
}

int http_message_feed(struct http_message *message, const char *data, size_t size)
{
    struct http_span input = {.data = data, .size = size};
    enum http_event event;
    int r;
    do {
        size_t used;
        struct http_span piece;
        event = read_event(message, input, &used, &piece);
        input.data += used;
        input.size -= used;
        r = take(message, event, piece);
    } while (r == 0 && event != HTTP_EVENT_MORE);
    return r;
}

int http_message_finish(struct http_message *message)
{
    if (message->kind == HTTP_MESSAGE_RESPONSE && !message->complete) {
        message->complete = http_response_finish(&message->response, true) == HTTP_EVENT_END;
    }
    bool request = message->kind == HTTP_MESSAGE_REQUEST;
    return message->complete
               ? 1
               : refuse(message, request ? HTTP_REFUSED_REQUEST_CUT : HTTP_REFUSED_RESPONSE_CUT);
}

const struct http_span *http_message_header(const struct http_message *message, const char *name)
{
    const struct http_field *field = http_fields_find(&reader_of(message)->fields, name);
    return field != NULL ? &field->value : NULL;
}
