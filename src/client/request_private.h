/* Between request.c, which carries a request and its answer, and request_head.c, which writes how it begins. */
#ifndef POSTERN_CLIENT_REQUEST_PRIVATE_H
#define POSTERN_CLIENT_REQUEST_PRIVATE_H

#include "client/postern_private.h"

#include "base/text.h"
#include "http/reader.h"

struct request_plan {
    const char *method; /* the caller's, or static */
    struct http_framing framing;
};

/* Checks what was asked for, and adds the head to `out`. 0, -EINVAL or -ENOMEM. */
int request_write_head(const char *route, const struct postern_request_options *options,
                       struct request_plan *ret, struct text *out, struct postern_error *err) MUST_CHECK;

#endif
