/*
 * One HTTP/1.1 message, whole: a request to the daemon itself or its answer, read as the forwarder reads (request.h,
 * response.h) and kept, head and body, within bounds. No socket, no loop, no clock.
 *
 * Lifetimes: the caller embeds the message, and does not move it. Strings that it hands out live until
 * http_message_release(). Memory is taken as bytes come, never by what a header announces.
 */
#ifndef POSTERN_HTTP_MESSAGE_H
#define POSTERN_HTTP_MESSAGE_H

#include "base/compiler.h"
#include "base/text.h"
#include "http/request.h"
#include "http/response.h"
#include <stdbool.h>
#include <stddef.h>

#define HTTP_HEADERS_MAX 64

enum http_message_kind { HTTP_MESSAGE_REQUEST, HTTP_MESSAGE_RESPONSE };

struct http_message {
    const char *method; /* requests, once the head is complete: "GET"; never NULL */
    const char *path;   /* "/status", in its judged form (target.h) */
    const char *query;  /* what followed '?', or "" */
    int status;         /* responses, once the head is complete */
    struct text body;

    int refused;     /* the status to answer a refused request with; 0 while nothing is wrong */
    const char *why; /* and in words */

    /* Private. */
    enum http_message_kind kind;
    bool complete;
    struct text query_text;
    struct http_rules rules;
    union {
        struct http_request request;
        struct http_response response;
    };
};

void http_message_init(struct http_message *message, enum http_message_kind kind, size_t head_max,
                       size_t body_max);
void http_message_release(struct http_message *message);

/* Reads `size` bytes. Returns 1 when the message is complete (what follows it is not looked at), 0 when more
 * is needed, or a negative errno value: -EBADMSG, -EMSGSIZE or -ENOMEM, with `refused` and `why` set. Not to
 * be called again after anything but 0. */
int http_message_feed(struct http_message *message, const char *data, size_t size) MUST_CHECK;

/* The peer has closed. Returns 1 if that completes the message (a response without a length), else
 * -EBADMSG. */
int http_message_finish(struct http_message *message) MUST_CHECK;

/* The value of the first header of that name, without regard to case; NULL if there is none. */
const struct http_span *http_message_header(const struct http_message *message, const char *name);

#endif
