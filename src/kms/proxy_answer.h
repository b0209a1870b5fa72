/*
 * What an SDK is answered: the bytes of an HTTP response, whole, in memory for secrets, since there may be plaintext among them.
 */
#ifndef POSTERN_KMS_PROXY_ANSWER_H
#define POSTERN_KMS_PROXY_ANSWER_H

#include "kms/call.h"
#include "kms/proxy_request.h"

/* What is to be told: KMS's own words, or ours. */
struct proxy_answer {
    bool of_kms;
    struct kms_answer kms;
    struct proxy_problem problem;
};

/* Makes the call, attested if KMS takes a Recipient with that operation, and puts the plaintext where an SDK expects it. *ret is to be
 * released; whatever went wrong is in `err`, too, which else is empty. */
void proxy_answer_call(struct postern_kms *kms, const struct proxy_call *call, uint32_t timeout_ms,
                       struct proxy_answer *ret, struct error *err);
void proxy_answer_release(struct proxy_answer *answer);

/* 0, with *ret to be wiped, or -ENOMEM. */
int proxy_answer_write(const struct proxy_answer *answer, bool keep_alive,
                       struct postern_secret *ret) MUST_CHECK;

/* 0 or -ENOMEM. `head_only`: the request was HEAD, whose answer has no body. */
int proxy_answer_problem(const struct proxy_problem *problem, bool keep_alive, bool head_only,
                         struct postern_secret *ret) MUST_CHECK;

#endif
