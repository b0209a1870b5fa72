/* Calls to KMS as SDKs send them: see proxy_request.h. */
#include "kms/proxy_request.h"
#include "kms/shape.h"

#include "kms/call.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define TARGET  "x-amz-target"
#define SERVICE "TrentService."

#define EXPECTED "this is an endpoint for AWS KMS, and for the protocol JSON 1.1 alone"

bool proxy_problem_set(struct proxy_problem *problem, unsigned status, const char *type, const char *format,
                       ...)
{
    va_list args;

    problem->status = status;
    problem->type = type;
    va_start(args, format);
    (void)vsnprintf(problem->message, sizeof problem->message, format, args);
    va_end(args);
    /* A text that was cut in the middle of a character, or has somebody else's bytes in it, would not be JSON. */
    for (char *at = problem->message; *at; at++) {
        if ((unsigned char)*at >= 0x80) {
            *at = '?';
        }
    }
    return false;
}

/* The one of that name. Two would be read in two ways. */
static const struct http_field *only_field(const struct http_fields *head, const char *name)
{
    const struct http_field *found = NULL;

    for (unsigned i = 0; i < head->count; i++) {
        if (http_span_is_word(head->list[i].name, name)) {
            if (found) {
                return NULL;
            }
            found = &head->list[i];
        }
    }
    return found;
}

static bool is_letter(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

static bool read_operation(const struct http_fields *head, struct proxy_call *ret, struct proxy_problem *why)
{
    const struct http_field *target = only_field(head, TARGET);
    size_t prefix = sizeof SERVICE - 1;

    if (!target || target->value.size <= prefix || memcmp(target->value.data, SERVICE, prefix) != 0 ||
        target->value.size - prefix > PROXY_OPERATION_MAX) {
        return proxy_problem_set(why, 400, "UnknownOperationException",
                                 "one header X-Amz-Target: TrentService.OPERATION is expected: " EXPECTED);
    }
    size_t size = target->value.size - prefix;
    for (size_t i = 0; i < size; i++) {
        if (!is_letter(target->value.data[prefix + i])) {
            return proxy_problem_set(why, 400, "UnknownOperationException",
                                     "the operation in X-Amz-Target is no name of letters");
        }
    }
    memcpy(ret->operation, target->value.data + prefix, size);
    ret->operation[size] = '\0';
    return true;
}

size_t proxy_call_cost(struct http_span body)
{
    return body.size + json_values(body.data, body.size) * PROXY_VALUE_SIZE;
}

static bool has_recipient(json_t *request)
{
    const char *key;
    json_t *value;

    json_object_foreach(request, key, value)
    {
        if (strcasecmp(key, "Recipient") == 0) {
            return true;
        }
    }
    return false;
}

static bool read_request(struct http_span body, struct proxy_call *ret, struct proxy_problem *why)
{
    json_error_t error;

    if (!json_is_modest(body.data, body.size)) {
        return proxy_problem_set(
            why, 400, "SerializationException",
            "the request has more values than one of its size may have, or more than %u, or nests "
            "deeper than %u",
            JSON_VALUES_MAX, JSON_DEPTH_MAX);
    }
    ret->request =
        body.size > 0 ? json_loadb(body.data, body.size, JSON_REJECT_DUPLICATES, &error) : json_object();
    if (!json_is_object(ret->request)) {
        return proxy_problem_set(why, 400, "SerializationException",
                                 "the request is no JSON object, or a key stands in it twice");
    }
    if (has_recipient(ret->request)) {
        return proxy_problem_set(
            why, 400, "ValidationException",
            "the request has a Recipient: this endpoint adds its own, and opens the answer; "
            "leave it out, or send the request to KMS itself");
    }
    return true;
}

/* SDKs that speak another protocol have the operation in the path. */
static bool is_at_root(const struct http_request *http)
{
    return strcmp(text_string(&http->target.path), "/") == 0;
}

bool proxy_call_read(const struct http_request *http, struct http_span body, struct proxy_call *ret,
                     struct proxy_problem *why)
{
    ret->request = NULL;
    if (!is_at_root(http)) {
        return proxy_problem_set(why, 404, "UnknownOperationException", "the path is /: " EXPECTED);
    }
    if (read_operation(&http->reader.fields, ret, why) && read_request(body, ret, why)) {
        return true;
    }
    proxy_call_release(ret);
    return false;
}

void proxy_call_release(struct proxy_call *call)
{
    struct kms_answer same = {.body = call->request}; /* which is wiped as it has to be */

    kms_answer_release(&same);
    call->request = NULL;
}
