/*
 * One call to KMS: signed, sent over a kept connection, its answer bounded and read as JSON; throttling and troubles of KMS's
 * own are tried again within the deadline, the latter only for operations that may be carried out twice (repeat.h). What the operation means is not looked at here, and nothing is attested: see attested.h.
 *
 * A client is that of include/postern/kms.h; any number of threads may call at once.
 *
 * A request that got no answer is repeated on a new connection, if nothing of it had been sent, or the operation may be carried out twice.
 */
#ifndef POSTERN_KMS_CALL_H
#define POSTERN_KMS_CALL_H

#include "base/compiler.h"
#include "base/error.h"
#include "postern/kms.h"
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#define KMS_REQUEST_MAX ((size_t)512 * 1024)
#define KMS_ANSWER_MAX  ((size_t)256 * 1024)
#define KMS_TYPE_MAX    64

/* What came, also if it is an error of KMS's own (-EACCES, -ENOKEY, -EREMOTEIO, -EBUSY): then for those who pass it on.
 * Ended by kms_answer_release(). */
struct kms_answer {
    unsigned status;         /* of HTTP; 0: no answer came */
    json_t *body;            /* the object; owned; NULL: nothing, which is an answer, or none that is one */
    char type[KMS_TYPE_MAX]; /* AWS's name for the error, without its namespace; "": none */
    bool retryable;          /* the same may succeed later */
    uint32_t code;           /* the protocol's number, if the daemon refused the way; else 0 */
    bool unknown; /* it must not be carried out twice, and may have been carried out: no answer tells */
};

/* The deadline of a call that begins now, by the monotonic clock in ms. 0: the client's own time for a call. */
uint64_t kms_deadline(const struct postern_kms *kms, uint32_t timeout_ms);

/* `operation` is AWS's: "Decrypt". `request` is the caller's, and not changed. 0, with the answer of status 200, or what
 * kms.h says of results, with all of `ret` set in either case. */
int kms_call(struct postern_kms *kms, const char *operation, const json_t *request, uint64_t deadline,
             struct kms_answer *ret, struct error *err) MUST_CHECK;

/* What a request may need before another try, since it has grown old: from the caller's thread. 1: it has changed; 0: it has not; or a negative
 * errno value, which is then the call's. */
struct kms_renewal {
    int (*renew)(void *data, uint64_t deadline, struct error *err);
    void *data;
};

int kms_call_renewed(struct postern_kms *kms, const char *operation, const json_t *request, uint64_t deadline,
                     const struct kms_renewal *renewal, struct kms_answer *ret, struct error *err) MUST_CHECK;

/* Wipes the strings in it, since an answer may hold plaintext. */
void kms_answer_release(struct kms_answer *answer);

/* `err` for the library's callers, who may pass NULL. `answer` may be NULL. Returns `status`. */
int kms_fail(struct postern_error *ret, int status, const struct kms_answer *answer, const struct error *err);

#endif
