/*
 * Between request.c, which carries a request, request_head.c, which writes how it begins, and request_answer.c, which reads what
 * comes back.
 */
#ifndef POSTERN_CLIENT_REQUEST_PRIVATE_H
#define POSTERN_CLIENT_REQUEST_PRIVATE_H

#include "client/clock.h"
#include "client/postern_private.h"

#include "base/text.h"
#include "http/body.h"
#include "http/head.h"
#include "http/response.h"

struct postern_request {
    struct postern_stream *stream; /* owned */

    struct text out; /* what is sent before anything else: the head, a chunk, the body's end; owned */
    size_t out_at;
    struct http_body_out body;
    bool finished, gave_up;

    struct http_response response;
    struct http_head head; /* of the answer, as it is told; owned */
    bool answered;         /* `head` is there */
    bool over;
    size_t in_at, in_end;
    char in[4096]; /* what came with the answer's head, and belongs to its body */
};

struct request_plan {
    const char *method; /* the caller's, or static */
    struct http_framing framing;
};

/* Checks what was asked for, and adds the head to `out`. 0, -EINVAL or -ENOMEM. */
int request_write_head(const char *route, const struct postern_request_options *options,
                       struct request_plan *ret, struct text *out, struct postern_error *err) MUST_CHECK;

/* How long one call may take, whatever it waits for. */
struct patience {
    int timeout_ms;
    uint64_t until; /* ms; of a timeout above 0 */
};

static inline int patience_left(const struct patience *patience)
{
    uint64_t now;

    if (patience->timeout_ms <= 0) {
        return patience->timeout_ms;
    }
    now = clock_ms();
    return patience->until > now ? (int)(patience->until - now) : 0;
}

/* To the head of the answer: 0, or why it is not there. */
int request_read_head(struct postern_request *request, const struct patience *patience,
                      struct postern_error *err) MUST_CHECK;

/* Some of its body, once the head is there; 0 at its end. */
ssize_t request_read_body(struct postern_request *request, void *buffer, size_t size,
                          const struct patience *patience, struct postern_error *err) MUST_CHECK;

#endif
