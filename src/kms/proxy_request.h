/*
 * A call to KMS as an AWS SDK sends it, taken apart: `POST /`, `X-Amz-Target: TrentService.Decrypt`, and a JSON object. Whatever can be read in two
 * ways is refused, and so is what would cost more memory as a tree than as bytes: the caller may be hostile.
 *
 * What the caller has signed, and with which key, is not looked at: who can connect may call. See docs/kms.md.
 */
#ifndef POSTERN_KMS_PROXY_REQUEST_H
#define POSTERN_KMS_PROXY_REQUEST_H

#include "base/error.h"
#include "http/request.h"
#include <jansson.h>
#include <stdbool.h>

#define PROXY_OPERATION_MAX 64
#define PROXY_VALUE_SIZE \
    256 /* a member: its pair, its value and its text, each with what wiping and malloc() add */

/* Why there is no answer of KMS's, as an SDK is told. */
struct proxy_problem {
    unsigned status;
    const char *type; /* a static string: what SDKs name the exception after */
    char message[ERROR_TEXT_MAX];
};

struct proxy_call {
    char operation[PROXY_OPERATION_MAX + 1];
    json_t *request; /* an object; owned */
};

/* What that body takes as a tree, at most: told before it is read. */
size_t proxy_call_cost(struct http_span body);

/* True, with *ret to be released; else what is wrong in `why`. */
bool proxy_call_read(const struct http_request *http, struct http_span body, struct proxy_call *ret,
                     struct proxy_problem *why) MUST_CHECK;

/* Wipes the strings in it: Encrypt's request holds plaintext. */
void proxy_call_release(struct proxy_call *call);

/* `false`, so that `return proxy_problem_set(...)` reads well. */
bool proxy_problem_set(struct proxy_problem *problem, unsigned status, const char *type, const char *format,
                       ...) PRINTF_LIKE(4, 5);

#endif
