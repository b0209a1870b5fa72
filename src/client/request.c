/*
 * postern_request() and what belongs to it: HTTP over a stream, see include/postern/postern.h.
 *
 * It stands on the functions for streams, which have the lock; a request itself is one thread's, and has none.
 *
 * Sending is over when the body is (`finished`, and `out` empty), or when nobody wants it any more (`gave_up`): the
 * daemon stopped it, or the answer came early and is no success. The answer is over at `over`, or at `status`,
 * which is told again each time. A stream that both were over on is ended in an orderly way, any other is reset.
 */
#include "client/request_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_MAX 16384u /* bytes of a body that are copied to go out with what frames them */

static const struct http_limits limits = HTTP_LIMITS_INIT;

/* ---- Time ---- */

static const struct patience no_patience;

/* Nobody waits on a pollable connection. */
static struct patience patience_for(const struct postern_request *request, int timeout_ms)
{
    struct patience patience = {.timeout_ms = request->stream->postern->threaded ? timeout_ms : 0};

    if (patience.timeout_ms > 0) {
        patience.until = clock_ms() + (unsigned)timeout_ms;
    }
    return patience;
}

static bool is_wait(ssize_t status)
{
    return status == -EAGAIN || status == -ETIMEDOUT;
}

/* The last of several waits had no time left, and did not know that there had been some. */
static int fail_wait(const struct patience *patience, struct postern_error *err)
{
    return postern_fail_wait(err, patience->timeout_ms > 0 ? -ETIMEDOUT : -EAGAIN, "waiting for the answer");
}

/* `err` is left alone by what succeeds in the end. */
static ssize_t tell(ssize_t result, const struct postern_error *why, struct postern_error *err)
{
    if (result < 0 && err) {
        *err = *why;
    }
    return result;
}

/* ---- The request ---- */

static bool has_out(const struct postern_request *request)
{
    return request->out_at < request->out.length;
}

/* What is left is wanted by nobody. */
static void give_up(struct postern_request *request)
{
    request->gave_up = true;
    request->out_at = request->out.length;
}

/* Whether the answer that is there wants no more of the body. */
static bool wants_no_more(const struct postern_request *request)
{
    return request->answered && (request->response.status >= 300 || request->over);
}

/* What came meanwhile may be the answer, an interim one, or the end of everything. */
static int hear(struct postern_request *request, struct postern_error *err)
{
    int status = request_read_head(request, &no_patience, err);

    if (wants_no_more(request)) {
        give_up(request);
    }
    return status == -EAGAIN ? 0 : status;
}

/* 0: more is wanted. */
static int may_send(struct postern_request *request, struct postern_error *err)
{
    int status = request->answered && !request->over ? 0 : hear(request, err);

    if (status < 0) {
        give_up(request);
    } else if (request->gave_up) {
        status = postern_fail(err, -EPIPE, "no more is wanted of the body: the answer tells why");
    }
    return status;
}

/*
 * Sends bytes, up to `size`. Returns how many were taken, or why none was: -EAGAIN and -ETIMEDOUT, or something that is
 * final for sending, with `gave_up` set.
 */
static ssize_t send_some(struct postern_request *request, const char *data, size_t size,
                         const struct patience *patience, struct postern_error *err)
{
    ssize_t n;
    bool heard;

    do {
        n = may_send(request, err);
        if (n < 0) {
            return n;
        }
        n = postern_write_or_hear(request->stream, data, size, patience_left(patience), err);
        heard = n == -EAGAIN && patience_left(patience) != 0;
    } while (heard && !request->answered);
    if (heard) {
        return postern_fail(err, -EAGAIN, "writing: the answer has begun, and wants to be read first");
    }
    if (n < 0 && !is_wait(n)) {
        give_up(request);
    }
    return is_wait(n) ? fail_wait(patience, err) : n;
}

static int send_out(struct postern_request *request, const struct patience *patience,
                    struct postern_error *err)
{
    ssize_t n;

    while (has_out(request)) {
        n = send_some(request, request->out.data + request->out_at, request->out.length - request->out_at,
                      patience, err);
        if (n < 0) {
            return (int)n;
        }
        request->out_at += (size_t)n;
    }
    text_clear(&request->out);
    request->out_at = 0;
    return 0;
}

static int take_back(struct text *text, size_t length, struct postern_error *err)
{
    text->failed = false;
    text->length = length;
    return postern_fail(err, -ENOMEM, "sending the body: out of memory");
}

/* Puts bytes behind what is to be sent anyway. Returns how many. */
static ssize_t put(struct postern_request *request, const char *data, size_t size, struct postern_error *err)
{
    size_t n = size < CHUNK_MAX ? size : CHUNK_MAX;
    size_t before = request->out.length;
    char prefix[HTTP_CHUNK_PREFIX_MAX];
    struct http_body_out body = request->body;

    text_add_bytes(&request->out, prefix, http_body_prefix(&body, n, prefix));
    text_add_bytes(&request->out, data, n);
    if (request->out.failed) {
        return take_back(&request->out, before, err);
    }
    request->body = body;
    return (ssize_t)n;
}

/* A body whose length is known goes out from where it is, but for a little that fits behind the head. */
static ssize_t write_some(struct postern_request *request, const char *data, size_t size,
                          const struct patience *patience, struct postern_error *err)
{
    bool chunked = request->body.framing.body == HTTP_BODY_CHUNKED;
    bool first = !request->body.begun && has_out(request);
    ssize_t n;
    int status;

    if (!first || (!chunked && size > CHUNK_MAX)) {
        status = send_out(request, patience, err);
        if (status < 0) {
            return status;
        }
    }
    if (chunked || has_out(request)) {
        return put(request, data, size, err);
    }
    n = send_some(request, data, size, patience, err);
    if (n > 0) {
        (void)http_body_prefix(&request->body, (size_t)n, (char[HTTP_CHUNK_PREFIX_MAX]){0});
    }
    return n;
}

/* Before anything of the request's own is told, or changed: that is the parent's in a child process. */
static int check(const struct postern_request *request, const void *bytes, size_t size,
                 struct postern_error *err)
{
    int status = postern_check_process(request->stream->postern, err);

    return status == 0 ? postern_check_bytes(bytes, size, err) : status;
}

static int may_write(struct postern_request *request, size_t size, struct postern_error *err)
{
    if (request->finished && request->body.framing.body == HTTP_BODY_NONE) {
        return postern_fail(err, -EINVAL, "the request has no body: see `body_length`");
    }
    if (request->finished) {
        return postern_fail(err, -ESHUTDOWN, "cannot write: postern_request_finish() was called");
    }
    if (request->body.framing.body == HTTP_BODY_LENGTH && size > request->body.framing.length) {
        return postern_fail(err, -EINVAL, "this would be more than the `body_length` that was announced");
    }
    return request->gave_up ? may_send(request, err) : 0;
}

ssize_t postern_request_write(struct postern_request *request, const void *data, size_t size, int timeout_ms,
                              struct postern_error *err)
{
    struct patience patience = patience_for(request, timeout_ms);
    struct postern_error why;
    size_t taken = 0;
    ssize_t n = check(request, data, size, &why);

    n = n == 0 ? may_write(request, size, &why) : n;
    while (n >= 0 && taken < size) {
        n = write_some(request, (const char *)data + taken, size - taken, &patience, &why);
        taken += n > 0 ? (size_t)n : 0;
    }
    if (n >= 0) {
        n = send_out(request, &patience, &why);
    }
    return taken > 0 ? (ssize_t)taken : tell(n, &why, err);
}

int postern_request_finish(struct postern_request *request, struct postern_error *err)
{
    static const struct http_fields no_trailers;
    size_t before = request->out.length;
    int status = check(request, NULL, 0, err);

    if (status < 0 || request->body.framing.body == HTTP_BODY_NONE) {
        return status;
    }
    status = may_write(request, 0, err);
    if (status < 0) {
        return status;
    }
    if (request->body.framing.body == HTTP_BODY_LENGTH && request->body.framing.length > 0) {
        return postern_fail(err, -EINVAL, "the body is shorter than the `body_length` that was announced");
    }
    http_body_end(&request->body, &no_trailers, &request->out);
    if (request->out.failed) {
        return take_back(&request->out, before, err);
    }
    request->finished = true;
    (void)send_out(request, &no_patience, NULL); /* the others go on with it, and tell what it was */
    return 0;
}

/* ---- Waiting for the answer ---- */

/* What is left to be sent goes first, as long as nothing comes. That nobody takes it has a reason, which is to be read. */
static int send_rest(struct postern_request *request, const struct patience *patience,
                     struct postern_error *err)
{
    bool hurry = request->over || request->in_at < request->in_end;
    int status = has_out(request) ? send_out(request, hurry ? &no_patience : patience, err) : 0;

    return is_wait(status) ? status : 0;
}

static int wait_for_head(struct postern_request *request, const struct patience *patience,
                         struct postern_error *err)
{
    int status = request->answered ? 0 : send_rest(request, patience, err);

    if (status == 0 || request->answered) {
        status = request_read_head(request, patience, err);
    }
    return is_wait(status) ? fail_wait(patience, err) : status;
}

int postern_request_status(struct postern_request *request, int timeout_ms, struct postern_error *err)
{
    struct patience patience = patience_for(request, timeout_ms);
    struct postern_error why;
    int status = check(request, NULL, 0, &why);

    status = status == 0 ? wait_for_head(request, &patience, &why) : status;
    return status == 0 ? (int)request->response.status : (int)tell(status, &why, err);
}

ssize_t postern_request_read(struct postern_request *request, void *buffer, size_t size, int timeout_ms,
                             struct postern_error *err)
{
    struct patience patience = patience_for(request, timeout_ms);
    struct postern_error why;
    ssize_t n;

    if (size == 0) {
        return postern_fail(err, -EINVAL, "cannot read 0 bytes");
    }
    n = check(request, buffer, size, &why);
    n = n == 0 ? wait_for_head(request, &patience, &why) : n;
    if (n == 0) {
        (void)send_rest(request, &patience, &why);
        n = request_read_body(request, buffer, size, &patience, &why);
    }
    if (is_wait(n)) {
        n = fail_wait(&patience, &why);
    }
    return tell(n, &why, err);
}

/* ---- Beginning and ending ---- */

static void free_request(struct postern_request *request)
{
    http_response_release(&request->response);
    http_head_release(&request->head);
    text_release(&request->out);
    free(request);
}

static int begin(struct postern_request *request, const char *route,
                 const struct postern_request_options *options, struct postern_error *err)
{
    struct request_plan plan;
    int status;

    text_init(&request->out, 0);
    http_head_init(&request->head, 0);
    status = request_write_head(route, options, &plan, &request->out, err);
    http_response_init(&request->response, &limits, status == 0 && strcmp(plan.method, "HEAD") == 0);
    if (status != 0) {
        return status;
    }
    http_body_init(&request->body, plan.framing);
    request->finished = plan.framing.body == HTTP_BODY_NONE;
    return 0;
}

static int open_stream(struct postern_request *request, struct postern *postern, const char *route,
                       uint32_t timeout_ms, struct postern_error *err)
{
    struct postern_open_options options;
    int status;

    postern_open_options_init(&options);
    options.kind = POSTERN_KIND_HTTP;
    options.timeout_ms = timeout_ms;
    status = postern_open(postern, route, &options, &request->stream, err);
    if (status == 0 && request->finished) {
        (void)send_out(request, &no_patience, NULL); /* those who wait for the answer tell what went wrong */
    }
    return status;
}

int postern_request(struct postern *postern, const char *route, const struct postern_request_options *given,
                    struct postern_request **ret, struct postern_error *err)
{
    struct postern_request_options options = {0};
    struct postern_request *request;
    int status = given ? postern_read_struct(&options, sizeof(options), given, given->size, err) : 0;

    if (status == 0 && !route) {
        status = postern_fail(err, -EINVAL, "a request needs a route: the pointer is NULL");
    }
    if (status != 0) {
        return status;
    }
    request = calloc(1, sizeof(*request));
    if (!request) {
        return postern_fail(err, -ENOMEM, "cannot make a request: out of memory");
    }
    status = begin(request, route, &options, err);
    if (status == 0) {
        status = open_stream(request, postern, route, options.timeout_ms, err);
    }
    if (status == 0) {
        *ret = request;
    } else {
        free_request(request);
    }
    return status;
}

void postern_request_close(struct postern_request *request)
{
    if (!request) {
        return;
    }
    if (request->over && request->finished && !request->gave_up && !has_out(request)) {
        (void)postern_finish(request->stream, NULL); /* else it is over already */
    }
    postern_close(request->stream);
    free_request(request);
}
