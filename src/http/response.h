/*
 * Responses of an upstream, judged: it is not trusted either. An answer whose end is not certain, or that could be read
 * as two, is not passed on; a body where there can be none, interim answers without end, another protocol that
 * nobody asked for end the exchange. What passes is written anew by http_response_rewrite().
 *
 *     http_response_read() -> HEAD     status < 200: an interim answer, more will follow; pass 100 on to a client
 *                                      that waits for it. Else the answer: rewrite, send
 *                          -> BODY     a piece
 *                          -> END      whole. The connection may be used again if keep_alive says so, the request is
 *                                      out too, and no byte was left unread
 *                          -> REFUSED  response->why has the word for the enclave, reader.why what exactly is wrong.
 *                                      After HEAD the connection to the enclave must be cut: it has half an answer
 *
 * Lifetimes: as in request.h.
 */
#ifndef POSTERN_HTTP_RESPONSE_H
#define POSTERN_HTTP_RESPONSE_H

#include "base/compiler.h"
#include "http/head.h"
#include "http/reader.h"
#include <stdbool.h>

struct http_response {
    struct http_reader reader;
    enum http_refusal why;

    /* From HEAD on. */
    unsigned status;
    struct http_framing framing; /* of the body as it comes */
    bool told_length;            /* an answer to HEAD: there was a Content-Length */
    uint64_t length;
    bool keep_alive;

    /* Private. */
    bool head_only; /* the request was HEAD */
    unsigned interim;
};

void http_response_init(struct http_response *response, const struct http_limits *limits, bool head_only);
void http_response_release(struct http_response *response);

enum http_event http_response_read(struct http_response *response, const char *data, size_t size,
                                   size_t *ret_used, struct http_span *ret_piece) MUST_CHECK;

/* The upstream has closed, `clean` if its transport says that nothing was cut off: TLS can tell. END if that ends the
 * answer, else REFUSED. */
enum http_event http_response_finish(struct http_response *response, bool clean) MUST_CHECK;

/* Whether a byte of an answer has come: if none has, the request may be sent again on another connection. */
bool http_response_begun(const struct http_response *response);

/* What the client is like that gets the answer. */
struct http_client {
    bool chunked;    /* it understands the chunked coding */
    bool keep_alive; /* the connection stays open after the answer */
    const char *id;  /* its request's, told as x-request-id in the place of the upstream's own; NULL: none */
};

/* The head as the enclave gets it, into `head`, which is initialized; *ret_framing is how the body has to go out.
 * HTTP_BODY_UNTIL_END, which is for clients of HTTP/1.0, closes the connection whatever `client` says. Returns
 * HTTP_REFUSED_NONE or HTTP_REFUSED_NO_MEMORY. */
enum http_refusal http_response_rewrite(const struct http_response *response,
                                        const struct http_client *client, struct http_head *head,
                                        struct http_framing *ret_framing) MUST_CHECK;

#endif
