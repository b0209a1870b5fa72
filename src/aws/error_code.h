/*
 * The word by which a service of AWS says why it refuses a request, its error code, and what that says of asking again.
 *
 * The status does not say it: services that speak JSON answer 400 to what comes too fast, and to keys that have expired, as they do to what they
 * will never take. Where the word is depends on the service's protocol (Smithy, "AWS protocols"):
 *
 *     awsJson 1.0, 1.1   DynamoDB, Kinesis, SQS   {"__type": "com.amazonaws.dynamodb.v20120810#ThrottlingException", ...}
 *     restJson1          Lambda                   X-Amzn-ErrorType: TooManyRequestsException:http://..., or {"code": ...}
 *     restXml, query     S3, SNS                  <Error><Code>SlowDown</Code>...
 */
#ifndef POSTERN_AWS_ERROR_CODE_H
#define POSTERN_AWS_ERROR_CODE_H

#include "http/syntax.h"
#include <stddef.h>

#define AWS_ERROR_CODE_MAX 64
#define AWS_ERROR_BODY_MAX 4096 /* bytes of a body; those of errors have some hundreds */

enum aws_error_kind {
    AWS_ERROR_OTHER,   /* the same request would be refused again; or the code says nothing */
    AWS_ERROR_PASSING, /* it came too fast, or was too slow: the same may succeed later */
    AWS_ERROR_CALLER   /* who signed it is not known, or not allowed to; or the time was not right */
};

/* `type` is the value of the header x-amzn-errortype, or empty. "" in `ret`: there is none, or what is in its place is no word. */
void aws_error_code_read(struct http_span type, const char *body, size_t size,
                         char ret[AWS_ERROR_CODE_MAX + 1]);

enum aws_error_kind aws_error_kind(const char *code);

#endif
