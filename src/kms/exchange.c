/* One HTTP request and its answer: see exchange.h. */
#include "kms/exchange.h"

#include "http/response.h"
#include "kms/tls.h"
#include <errno.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

#define READ_SIZE 16384u

/* ---- Lanes ---- */

static ssize_t read_tls(void *data, void *buffer, size_t size)
{
    return kms_tls_read(data, buffer, size);
}

static int write_tls(void *data, const void *bytes, size_t size)
{
    return kms_tls_write(data, bytes, size);
}

static ssize_t read_wire(void *data, void *buffer, size_t size)
{
    return kms_wire_read(data, buffer, size);
}

static int write_wire(void *data, const void *bytes, size_t size)
{
    return kms_wire_write(data, bytes, size);
}

struct kms_lane kms_tls_lane(struct kms_tls *tls)
{
    return (struct kms_lane){.data = tls, .read = read_tls, .write = write_tls, .trouble = &tls->trouble};
}

struct kms_lane kms_wire_lane(struct kms_wire *wire)
{
    return (struct kms_lane){.data = wire, .read = read_wire, .write = write_wire, .trouble = &wire->trouble};
}

/* ---- The body ---- */

static int make_room(struct kms_reply *reply, size_t size)
{
    size_t capacity = reply->capacity > 0 ? reply->capacity : 1024;

    while (capacity < size) {
        capacity *= 2;
    }
    if (capacity == reply->capacity) {
        return 0;
    }
    char *body = malloc(capacity);
    if (!body) {
        return -ENOMEM;
    }
    if (reply->body) {
        memcpy(body, reply->body, reply->size);
        OPENSSL_cleanse(reply->body, reply->capacity);
        free(reply->body);
    }
    reply->body = body;
    reply->capacity = capacity;
    return 0;
}

static int add_piece(struct kms_reply *reply, struct http_span piece)
{
    int status = make_room(reply, reply->size + piece.size + 1);

    if (status == 0) {
        memcpy(reply->body + reply->size, piece.data, piece.size);
        reply->size += piece.size;
        reply->body[reply->size] = '\0';
    }
    return status;
}

void kms_reply_release(struct kms_reply *reply)
{
    if (reply->body) {
        OPENSSL_cleanse(reply->body, reply->capacity);
        free(reply->body);
    }
    *reply = (struct kms_reply){.status = 0};
}

/* ---- The head ---- */

/* "Sun, 06 Nov 1994 08:49:37 GMT", and none of the older forms. */
static time_t read_date(struct http_span value)
{
    char text[40];
    struct tm tm = {.tm_isdst = 0};

    if (value.size >= sizeof text) {
        return 0;
    }
    memcpy(text, value.data, value.size);
    text[value.size] = '\0';
    const char *end = strptime(text, "%a, %d %b %Y %H:%M:%S GMT", &tm);
    return end && *end == '\0' ? timegm(&tm) : 0;
}

static void take_head(const struct http_response *response, struct kms_reply *reply)
{
    const struct http_field *date = http_fields_find(&response->reader.fields, "date");
    const struct http_field *id = http_fields_find(&response->reader.fields, "x-amzn-requestid");

    reply->status = response->status;
    reply->date = date ? read_date(date->value) : 0;
    if (id && id->value.size <= KMS_REQUEST_ID_MAX && http_span_all(id->value, HTTP_TOKEN)) {
        memcpy(reply->request_id, id->value.data, id->value.size);
        reply->request_id[id->value.size] = '\0';
    }
}

/* ---- The answer ---- */

static int refuse(const struct http_response *response, struct kms_trouble *trouble)
{
    bool cut = response->why == HTTP_REFUSED_RESPONSE_CUT;
    int status = response->why == HTTP_REFUSED_NO_MEMORY ? -ENOMEM : cut ? -ENOTCONN : -EPROTO;

    trouble->status = status;
    return error_set(&trouble->why, status, "reading the answer: %s", http_refusal_meaning(response->why));
}

static int no_memory(struct kms_trouble *trouble)
{
    trouble->status = -ENOMEM;
    return error_set(&trouble->why, -ENOMEM, "reading the answer: out of memory");
}

/* What came, up to the answer's end. 1: it is whole; 0: more is wanted. */
static int take_bytes(struct http_response *response, const char *bytes, size_t size, struct kms_reply *reply,
                      struct kms_trouble *trouble)
{
    struct http_span piece;
    size_t at = 0, used;

    for (;;) {
        switch (http_response_read(response, bytes + at, size - at, &used, &piece)) {
        case HTTP_EVENT_HEAD:
            take_head(response, reply);
            break;
        case HTTP_EVENT_BODY:
            if (add_piece(reply, piece) != 0) {
                return no_memory(trouble);
            }
            break;
        case HTTP_EVENT_END:
            /* What is behind the answer was asked for by nobody. */
            reply->keep = response->keep_alive && at + used == size;
            return 1;
        case HTTP_EVENT_MORE:
            return 0;
        default:
            return refuse(response, trouble);
        }
        at += used;
    }
}

/* The other side has closed: that may be the end of the answer. */
static int take_end(struct http_response *response, struct kms_trouble *trouble)
{
    return http_response_finish(response, true) == HTTP_EVENT_END ? 0 : refuse(response, trouble);
}

static int read_answer(const struct kms_lane *lane, struct http_response *response, struct kms_reply *reply,
                       struct kms_trouble *trouble)
{
    char bytes[READ_SIZE];
    int status = 0;

    while (status == 0) {
        ssize_t n = lane->read(lane->data, bytes, sizeof bytes);
        if (n < 0) {
            *trouble = *lane->trouble;
            status = (int)n;
        } else if (n == 0) {
            status = take_end(response, trouble);
            break;
        } else {
            reply->begun = true;
            status = take_bytes(response, bytes, (size_t)n, reply, trouble);
        }
    }
    OPENSSL_cleanse(bytes, sizeof bytes);
    return status < 0 ? status : 0;
}

int kms_exchange(const struct kms_lane *lane, const void *request, size_t size, size_t body_max,
                 struct kms_reply *ret, struct kms_trouble *ret_trouble)
{
    struct http_limits limits = HTTP_LIMITS_INIT;
    struct http_response response;

    *ret = (struct kms_reply){.status = 0};
    if (lane->write(lane->data, request, size) != 0) {
        *ret_trouble = *lane->trouble;
        return ret_trouble->status;
    }
    limits.body = body_max;
    limits.head.bytes = READ_SIZE;
    http_response_init(&response, &limits, false);
    int status = read_answer(lane, &response, ret, ret_trouble);
    http_response_release(&response);
    return status;
}
