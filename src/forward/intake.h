/*
 * A request that is to be kept in the spool: fed as an exchange would be, answered by 202 once it is durable, or refused.
 *
 *     intake_start(); intake_body()..., intake_body_end() -> end(): intake_answer() has the whole answer
 *
 * What is kept is the request as it was judged, in canonical bytes, before the route's own headers are put in: no secret
 * is at rest, and a rotated one counts at delivery. Its key is the client's `Idempotency-Key`, or one is made.
 *
 *     postern-spool/1 cid=16 request=4f1c...            whom it is from, for the templates of the route
 *     POST /results?run=7 HTTP/1.1                      and from here on as it came, without what frames the body
 *     host: parent
 *     idempotency-key: ...
 *     (empty line)
 *
 * A body of any size streams into the spool, with backpressure, in constant memory. Trailers cannot be kept: a request that
 * has some that count is refused. Before end() with HTTP_REFUSED_NONE nothing is promised; after it the record
 * is on the disk.
 *
 * Lifetimes: the caller embeds the intake, whose memory is its own again when end() is called, or when intake_cancel()
 * returns. No callback comes from inside of a call. Request and values are needed during intake_start() alone, but for the
 * trailers at intake_body_end().
 */
#ifndef POSTERN_FORWARD_INTAKE_H
#define POSTERN_FORWARD_INTAKE_H

#include "base/compiler.h"
#include "base/error.h"
#include "base/text.h"
#include "config/config.h"
#include "forward/forward_spool.h"
#include "http/request.h"
#include "http/values.h"
#include <stdbool.h>
#include <stdint.h>

#define INTAKE_KEY_MAX SPOOL_NAME_MAX

struct intake_end {
    enum http_refusal why; /* HTTP_REFUSED_NONE: kept; else the word for the enclave */
    uint64_t id;           /* kept: of the record */
    const char *key;       /* kept: what every delivery of it carries */
    const char *detail; /* refused: for the log, and if it is not of the parent's own for the enclave; NULL */
    unsigned retry_after_s; /* refused: the enclave may try again then; 0: not said */
};

struct intake_ops {
    /* intake_body() took less than it was given, and takes more now. */
    void (*want)(struct intake *intake);
    /* The client waits for a 100 before it sends the body: there is room for it. At most once; may be NULL. */
    void (*go_on)(struct intake *intake);
    /* Exactly once, unless it was cancelled. What `end` points to is good until this returns. */
    void (*end)(struct intake *intake, const struct intake_end *end);
};

struct intake { /* private */
    struct forward_spool *spool;
    const struct intake_ops *ops;
    struct spool_put *put; /* NULL: not begun, or over */
    const struct http_request *request;
    uint64_t size, most; /* bytes of the body: taken, and that can be delivered */
    bool body_over;
    bool go_on;  /* is to be told */
    bool queued; /* in spool->over, for go_on() or end() */
    enum http_refusal why;
    uint64_t id;
    unsigned retry_after_s;
    struct error err;
    char key[INTAKE_KEY_MAX + 1];
    TAILQ_ENTRY(intake) link;
};

/* `request` is judged, at HEAD. A failure is told by end(), too. */
void intake_start(struct intake *intake, struct forward_spool *spool, const struct intake_ops *ops,
                  const struct config_route *route, const struct http_request *request,
                  const struct http_values *values);

/* Takes up to `size` bytes; less: wait for want(). After a failure everything is taken, until end() comes. */
size_t intake_body(struct intake *intake, const char *data, size_t size) MUST_CHECK;

/* All of it was given. */
void intake_body_end(struct intake *intake);

/* The client has gone, or its request was refused in the middle of the body. Instead of end(). Nothing is kept, unless
 * intake_body_end() was called already: then the record may be. */
void intake_cancel(struct intake *intake);

/* The whole answer to the enclave, as http_refusal_answer() has it: 202 with {"id": ..., "key": ...}, or the
 * problem, with the detail and the time to try again from `end`. */
void intake_answer(const struct intake_end *end, const struct http_refusal_note *note, bool keep_alive,
                   struct text *out);

/* What is kept, read back: the first line and where the head begins. */
struct intake_origin {
    uint32_t cid;
    char request_id[64];
    size_t head_at;
};

/* False: it is not of the form above. */
bool intake_origin_read(const char *head, size_t size, struct intake_origin *ret) MUST_CHECK;

#endif
