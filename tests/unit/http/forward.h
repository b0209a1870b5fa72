/*
 * The forwarder without sockets: bytes of an enclave in, bytes for an upstream out, and the other way round; for
 * tests, fuzz targets and the judge of requests. Asserts what must always hold by abort().
 */
#ifndef POSTERN_TESTS_FORWARD_H
#define POSTERN_TESTS_FORWARD_H

#include "base/text.h"
#include "http/request.h"
#include "http/response.h"
#include <stdbool.h>
#include <stddef.h>

struct forwarded {
    struct text wire;      /* what was sent on */
    struct text meaning;   /* the same without the framing: heads and bodies, however they were split */
    struct text fields;    /* of the meaning, the heads and trailers alone: no body can pass for one */
    unsigned whole;        /* messages that were sent on to their end */
    bool cut;              /* one was begun, and not */
    enum http_refusal why; /* HTTP_REFUSED_NONE: what came was taken, or is not over */
    enum http_event last;
    size_t used; /* of the input */
};

void forwarded_release(struct forwarded *forwarded);

/* Feeds a connection's bytes in pieces of `step`, each in memory of its own, to the last request or the first
 * refusal. Every variable is worth its own name. */
void forward_requests(struct forwarded *forwarded, const struct http_rules *rules, const char *data,
                      size_t size, size_t step);

struct forward_answer {
    struct http_limits limits;
    struct http_client client;
    bool head_only;
    bool unclean; /* the connection ends by no clean close */
};

/* One answer and its end of connection. */
void forward_response(struct forwarded *forwarded, const struct forward_answer *how, const char *data,
                      size_t size, size_t step);

/* Reads `wire` by llhttp in its strict mode and adds to `meaning` what it has in struct forwarded. False: llhttp
 * refuses it. `head_only`: the response is to HEAD. */
bool forward_reread(bool response, bool head_only, const struct text *wire, struct text *meaning);

#endif
