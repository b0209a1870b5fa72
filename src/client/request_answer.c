/* The answer to a postern_request(): what comes on its stream, taken apart as it is wanted. */
#include "client/request_private.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static int fail_answer(const struct postern_request *request, struct postern_error *err)
{
    enum http_refusal why = request->response.why;
    enum http_refusal exactly =
        request->response.reader.why != HTTP_REFUSED_NONE ? request->response.reader.why : why;
    char message[400];
    int status;

    if (why == HTTP_REFUSED_NO_MEMORY) {
        return postern_fail(err, -ENOMEM, "reading the answer: out of memory");
    }
    if (why == HTTP_REFUSED_RESPONSE_CUT) {
        snprintf(message, sizeof(message), "%s; look at the daemon's log",
                 request->answered ? "the answer was cut off: the daemon ended the stream before it was whole"
                                   : "the daemon ended the stream without an answer: whether the request was "
                                     "carried out is not known");
        status = -ECONNRESET;
    } else {
        snprintf(message, sizeof(message), "the answer is no HTTP/1.1 that has one reading: %s (%s): %s; %s",
                 http_refusal_word(why), http_refusal_word(exactly), http_refusal_meaning(why),
                 "see that the route is of the type `forward`, and look at the daemon's log");
        status = -EPROTO;
    }
    postern_fail(err, status, message);
    if (err) {
        err->word = http_refusal_word(exactly);
    }
    return status;
}

/* The other side has said its end. */
static int hear_end(struct postern_request *request, struct postern_error *err)
{
    if (http_response_finish(&request->response, true) != HTTP_EVENT_END) {
        return fail_answer(request, err);
    }
    request->over = true;
    return 0;
}

static int take_head(struct postern_request *request, struct postern_error *err)
{
    const struct http_fields *fields = &request->response.reader.fields;

    for (unsigned i = 0; i < fields->count; i++) {
        if (fields->list[i].crosses) {
            http_head_add(&request->head, fields->list[i].name, fields->list[i].value);
        }
    }
    if (request->head.failed) {
        request->response.why = HTTP_REFUSED_NO_MEMORY;
        return fail_answer(request, err);
    }
    request->answered = true;
    request->over = request->response.framing.body == HTTP_BODY_NONE;
    return 0;
}

static int parse_head(struct postern_request *request, struct postern_error *err)
{
    struct http_span piece;
    size_t used;
    enum http_event event = http_response_read(&request->response, request->in + request->in_at,
                                               request->in_end - request->in_at, &used, &piece);

    request->in_at += used;
    if (event == HTTP_EVENT_REFUSED) {
        return fail_answer(request, err);
    }
    if (event == HTTP_EVENT_HEAD && request->response.status >= 200) {
        return take_head(request, err);
    }
    return 0;
}

int request_read_head(struct postern_request *request, const struct patience *patience,
                      struct postern_error *err)
{
    int status = request->response.why != HTTP_REFUSED_NONE ? fail_answer(request, err) : 0;
    ssize_t n;

    while (!request->answered && status == 0) {
        if (request->in_at == request->in_end) {
            n = postern_read(request->stream, request->in, sizeof(request->in), patience_left(patience), err);
            if (n <= 0) {
                return n < 0 ? (int)n : hear_end(request, err);
            }
            request->in_at = 0;
            request->in_end = (size_t)n;
        }
        status = parse_head(request, err);
    }
    return status;
}

/* Finds the pieces of the body in what came, and moves them to its beginning. A refusal is told when they were. */
static size_t decode(struct postern_request *request, char *bytes, size_t size)
{
    size_t at = 0, filled = 0, used;
    struct http_span piece;
    enum http_event event;

    do {
        event = http_response_read(&request->response, bytes + at, size - at, &used, &piece);
        at += used;
        if (event == HTTP_EVENT_BODY) {
            memmove(bytes + filled, piece.data, piece.size);
            filled += piece.size;
        }
    } while (event == HTTP_EVENT_BODY);
    request->over = event == HTTP_EVENT_END;
    return filled;
}

static ssize_t fetch(struct postern_request *request, void *buffer, size_t size,
                     const struct patience *patience, struct postern_error *err)
{
    size_t n = request->in_end - request->in_at;

    if (n == 0) {
        return postern_read(request->stream, buffer, size, patience_left(patience), err);
    }
    n = n < size ? n : size;
    memcpy(buffer, request->in + request->in_at, n);
    request->in_at += n;
    return (ssize_t)n;
}

ssize_t request_read_body(struct postern_request *request, void *buffer, size_t size,
                          const struct patience *patience, struct postern_error *err)
{
    size_t filled = 0;
    ssize_t n;

    while (filled == 0 && !request->over) {
        if (request->response.why != HTTP_REFUSED_NONE) {
            return fail_answer(request, err);
        }
        n = fetch(request, buffer, size, patience, err);
        if (n < 0) {
            return n;
        }
        if (n == 0) {
            return hear_end(request, err);
        }
        filled = decode(request, buffer, (size_t)n);
    }
    return (ssize_t)filled;
}

/* ---- What is known of the answer ---- */

int postern_request_header_at(const struct postern_request *request, size_t index, struct postern_header *ret)
{
    if (!request->answered || index >= request->head.count) {
        return 0;
    }
    ret->name = http_head_name(&request->head, (unsigned)index).data;
    ret->value = http_head_value(&request->head, (unsigned)index).data;
    return 1;
}

const char *postern_request_header(const struct postern_request *request, const char *name)
{
    for (unsigned i = 0; request->answered && i < request->head.count; i++) {
        if (http_span_is_word(http_head_name(&request->head, i), name)) {
            return http_head_value(&request->head, i).data;
        }
    }
    return NULL;
}

uint64_t postern_request_length(const struct postern_request *request)
{
    const struct http_response *response = &request->response;

    if (!request->answered) {
        return POSTERN_BODY_UNKNOWN;
    }
    if (response->told_length) {
        return response->length;
    }
    if (response->framing.body == HTTP_BODY_LENGTH) {
        return response->framing.length;
    }
    return response->framing.body == HTTP_BODY_NONE ? 0 : POSTERN_BODY_UNKNOWN;
}

struct postern_stream *postern_request_stream(const struct postern_request *request)
{
    return request->stream;
}
