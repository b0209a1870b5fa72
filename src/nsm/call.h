/* Within the folder: an NSM, a request as it is built up, and an answer. */
#ifndef POSTERN_NSM_CALL_H
#define POSTERN_NSM_CALL_H

#include "nsm/answer.h"
#include "nsm/nsm.h"

/* A request in CBOR. What does not fit any more is counted in `size` all the same. */
struct nsm_request {
    const char *name;  /* of the operation: a constant */
    uint64_t deadline; /* NSM_NEVER, unless it is set behind nsm_request_init() */
    size_t size;
    uint8_t bytes[NSM_REQUEST_MAX];
};

/* `name` alone, or as the key of a map of that many arguments. */
void nsm_request_init(struct nsm_request *request, const char *name, unsigned arguments);
void nsm_request_text(struct nsm_request *request, const char *text);
void nsm_request_uint(struct nsm_request *request, uint64_t value);
void nsm_request_bytes(struct nsm_request *request, const struct nsm_bytes *bytes); /* or null */

struct nsm_reply {
    size_t size;
    uint8_t bytes[NSM_RESPONSE_MAX];
};

/*
 * Asks, and finds in the answer, {name: what}, the place of `what`, which lives in *reply. An operation that tells nothing
 * is answered by its name alone: `ret` is NULL then.
 */
int nsm_call(struct nsm *nsm, const struct nsm_request *request, struct nsm_reply *reply, struct answer *ret,
             struct error *err) MUST_CHECK;

/* -EBADMSG, and says that the answer to this operation is none. */
int nsm_malformed(const char *name, struct error *err);

#endif
