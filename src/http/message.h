/*
 * One HTTP/1.1 message, read out of bytes in any split: llhttp in its strict ways, with bounds around it
 * and the doubtful forms that it lets through refused. No socket, no loop, no clock.
 *
 * Refused, on top of what llhttp refuses: a bare CR or LF, a control character, a folded line, a header
 * name that is no token, a request line with more than two blanks, a target that is neither a path nor an
 * http:// URL, versions other than 1.0 and 1.1, Content-Length beside Transfer-Encoding, a transfer coding
 * other than `chunked`, no Host or two, a head or a body past its bound. A message that two parsers could
 * read in two ways is an attack.
 *
 * Lifetimes: the caller embeds the message. Strings that it hands out live until http_message_release().
 * Memory is taken as bytes come, never by what a header announces.
 */
#ifndef POSTERN_HTTP_MESSAGE_H
#define POSTERN_HTTP_MESSAGE_H

#include "base/compiler.h"
#include "base/text.h"
#include <llhttp.h>
#include <stdbool.h>
#include <stddef.h>

#define HTTP_HEADERS_MAX 64

enum http_message_kind { HTTP_MESSAGE_REQUEST, HTTP_MESSAGE_RESPONSE };

struct http_message {
    const char *method; /* requests, once complete: "GET"; never NULL */
    const char *path;   /* "/status", as it was sent: no %-escape is decoded */
    const char *query;  /* what followed '?', or "" */
    int status;         /* responses, once the head is complete */
    struct text body;

    int refused;     /* the status to answer a refused request with; 0 while nothing is wrong */
    const char *why; /* and in words */

    /* Private. */
    llhttp_t parser;
    int code; /* what http_message_feed() returns for `refused` */
    enum http_message_kind kind;
    size_t head_max;
    size_t head_size; /* bytes of the head seen so far */
    size_t line_size; /* bytes of the line being read, the CR of its end included */
    unsigned lines;   /* lines of the head that are over */
    unsigned blanks;  /* in the first line */
    bool in_value;    /* past the colon of a header */
    char last;        /* the byte before, '\0' at the beginning */
    bool head_over;   /* the empty line was seen */
    bool head_done;   /* llhttp says so too */
    bool complete;
    unsigned header_count;
    size_t headers_at; /* where, in `head`, the headers begin */
    struct text head;  /* target '\0', then name '\0' value '\0' for each header */
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

/* The first header of that name, without regard to case; NULL if there is none. */
const char *http_message_header(const struct http_message *message, const char *name);

/* How many headers bear that name. */
unsigned http_message_header_count(const struct http_message *message, const char *name);

#endif
