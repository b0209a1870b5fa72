/* AWS's error codes: see error_code.h. */
#include "aws/error_code.h"

#include "base/compiler.h"
#include <ctype.h>
#include <jansson.h>
#include <string.h>

/* ---- Where it is ---- */

static bool is_of_word(char c)
{
    return isalnum((unsigned char)c) || c == '.' || c == '-' || c == '_';
}

/* Without the name of its space before a '#', and the address behind a ':'. */
static void take_word(const char *text, size_t size, char ret[AWS_ERROR_CODE_MAX + 1])
{
    const char *hash = size > 0 ? memchr(text, '#', size) : NULL;
    if (hash != NULL) {
        size -= (size_t)(hash + 1 - text);
        text = hash + 1;
    }
    size_t length = 0;
    while (length < size && is_of_word(text[length])) {
        length++;
    }
    bool whole = length == size || text[length] == ':';
    length = whole && length <= AWS_ERROR_CODE_MAX ? length : 0;
    memcpy(ret, text, length);
    ret[length] = '\0';
}

static void read_json(const char *body, size_t size, char ret[AWS_ERROR_CODE_MAX + 1])
{
    static const char *const names[] = {"__type", "code", "Code"};
    json_t *object = json_loadb(body, size, 0, NULL);
    for (size_t i = 0; ret[0] == '\0' && i < ARRAY_SIZE(names); i++) {
        const json_t *value = json_object_get(object, names[i]);
        if (json_is_string(value)) {
            take_word(json_string_value(value), json_string_length(value), ret);
        }
    }
    json_decref(object);
}

/* The first <Code> is the error's, in all three of the forms that there are. */
static void read_xml(const char *body, size_t size, char ret[AWS_ERROR_CODE_MAX + 1])
{
    static const char open[] = "<Code>", close[] = "</Code>";
    const char *at = memmem(body, size, open, sizeof open - 1);
    if (at == NULL) {
        return;
    }
    at += sizeof open - 1;
    const char *end = memmem(at, (size_t)(body + size - at), close, sizeof close - 1);
    if (end != NULL) {
        take_word(at, (size_t)(end - at), ret);
    }
}

void aws_error_code_read(struct http_span type, const char *body, size_t size,
                         char ret[AWS_ERROR_CODE_MAX + 1])
{
    ret[0] = '\0';
    if (type.size > 0) {
        take_word(type.data, type.size, ret);
    }
    if (ret[0] != '\0' || size == 0) {
        return;
    }
    if (body[0] == '<') {
        read_xml(body, size, ret);
    } else {
        read_json(body, size, ret);
    }
}

/* ---- What it says ---- */

/* Those that AWS's SDKs try again ("Retry behavior", AWS SDKs and Tools Reference Guide: throttling and transient errors), but for those
 * that have this in their name, as have services' own for a key's limits (KMSThrottlingException, KmsThrottled). */
static const char throttled[] = "Throttl";
static const char *const passing[] = {
    "BandwidthLimitExceeded",   "LimitExceededException",
    "PriorRequestNotComplete",  "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",     "RequestTimeout",
    "RequestTimeoutException",  "SlowDown",
    "TooManyRequestsException", "TransactionInProgressException",
};

/* Those of the signature ("Common Error Types" of each service; "Error Responses", Amazon S3). */
static const char *const of_caller[] = {
    "AccessDenied",
    "AccessDeniedException",
    "AuthFailure",
    "AuthorizationError",
    "ExpiredToken",
    "ExpiredTokenException",
    "IncompleteSignature",
    "IncompleteSignatureException",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "InvalidToken",
    "MissingAuthenticationToken",
    "MissingAuthenticationTokenException",
    "NotAuthorized",
    "OptInRequired",
    "RequestExpired",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
    "UnrecognizedClientException",
};

static bool is_among(const char *code, const char *const *codes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(code, codes[i]) == 0) {
            return true;
        }
    }
    return false;
}

enum aws_error_kind aws_error_kind(const char *code)
{
    if (strstr(code, throttled) != NULL || is_among(code, passing, ARRAY_SIZE(passing))) {
        return AWS_ERROR_PASSING;
    }
    return is_among(code, of_caller, ARRAY_SIZE(of_caller)) ? AWS_ERROR_CALLER : AWS_ERROR_OTHER;
}
