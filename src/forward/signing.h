/*
 * Signing the requests of a route with AWS credentials, on their way out: between http_request_rewrite(), which made the
 * head, and the sending of it.
 *
 * What is signed is what will be sent: method and target are read out of head->line (where S3's paths get the one spelling that S3
 * signs them in), and every header of the head is
 * signed, but for those that proxies may change (aws/canonical.h). So nothing may be added to the head afterwards, and the
 * framing must be settled before: a body that was gathered to be hashed goes out with a content-length (S3 takes no
 * chunked one), and `transfer-encoding` is not signed.
 *
 * Added are x-amz-date, authorization, and where they are called for x-amz-security-token and x-amz-content-sha256. They belong to
 * the route: the configuration has a rule for each (aws_signature_headers), so that none of the enclave's gets here.
 *
 * Lifetimes: the exchange embeds the job, and keeps the head where it is, until the callback or signing_cancel(). The
 * signing is kept while jobs are under way, and config_sign outlives it. Not thread-safe.
 */
#ifndef POSTERN_FORWARD_SIGNING_H
#define POSTERN_FORWARD_SIGNING_H

#include "aws/sign.h"
#include "base/compiler.h"
#include "base/error.h"
#include "config/config.h"
#include "forward/credentials.h"
#include "http/head.h"
#include <stdbool.h>
#include <stddef.h>

struct signing; /* one for each upstream whose route has `sign` */

/* `store` is the worker's, beside its http_secrets. NULL: out of memory. */
struct signing *signing_new(struct credentials_store *store, const struct config_sign *sign) MUST_CHECK;
void signing_free(struct signing *signing); /* NULL is harmless */

/* `code` is 0, the head is signed; or a negative errno value and `err` says why, without secrets: -ENOMEM (no_memory), -E2BIG
 * (unsignable: the request has too much in it), anything else: the enclave is told credentials_unavailable, see signing_retry_after_s(). */
typedef void (*signing_cb)(void *data, int code, const struct error *err);

/* All private. Zeroed: idle. */
struct signing_job {
    struct signing *signing;
    struct http_head *head;
    signing_cb cb;
    void *data;
    char payload_hash[AWS_HASH_HEX_SIZE];
    struct credentials_waiter waiter;
};

/* Whether the body has to be gathered first, up to sign->body_max; else it need not be there yet, and may stream. */
bool signing_needs_body(const struct signing *signing);

/*
 * Signs `head`. `body` is the whole body (NULL with size 0: none), of which nothing is kept; not looked at unless
 * signing_needs_body().
 *
 * 0: done, the credentials were at hand. 1: the callback comes later, never from inside. Negative: as the callback's code.
 */
int signing_start(struct signing *signing, struct signing_job *job, struct http_head *head, const void *body,
                  size_t size, signing_cb cb, void *data, struct error *err) MUST_CHECK;

/* The callback will not come. Harmless on an idle job. */
void signing_cancel(struct signing_job *job);

/* For the Retry-After of a refusal. */
unsigned signing_retry_after_s(const struct signing *signing);

/*
 * To be told of an answer that refuses a request, 4xx, with its error code (aws/error_code.h) or "", and its Date header, or an empty
 * one. If it is the signature that is refused, by status 403 or by the code, the credentials are asked for anew, now and then; and if that Date
 * is far from our clock, the log says so, now and then: AWS calls that RequestTimeTooSkewed.
 */
void signing_refused(struct signing *signing, const char *route, unsigned status, const char *code,
                     struct http_span date);

#endif
