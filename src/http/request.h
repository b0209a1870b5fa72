/*
 * Requests from an enclave, judged: what is not certain to be read in one way only is refused with a word
 * (refusal.h), and the connection is to be closed after the answer. What passes is written anew by
 * http_request_rewrite() and never copied, so that what we judged is what the upstream reads.
 *
 *     http_request_read() -> HEAD     judged against the route: the fields below are valid; rewrite, connect
 *                         -> BODY     a piece, to go out by http_body_prefix() and as it lies
 *                         -> END      http_body_end(); when the answer is out and keep_alive says so:
 *                                     http_request_next(), and on with the bytes that were not read (pipelining)
 *                         -> REFUSED  request->reader.why; http_refusal_answer() has the answer. After HEAD, the
 *                                     upstream's connection must be cut: it has half a request
 *
 * Stricter than RFC 9112 asks, and why: a GET, HEAD or OPTIONS with a body (servers differ in whether they read it), names
 * that differ from known ones in punctuation, doubled headers, leading zeros in Content-Length, more codings than
 * `chunked`, bytes that are not ASCII. TRACE never passes: its answer would show what the parent adds.
 *
 * Lifetimes: the caller embeds the request; rules outlive it. Fields and spans live until http_request_next() or _release().
 */
#ifndef POSTERN_HTTP_REQUEST_H
#define POSTERN_HTTP_REQUEST_H

#include "base/compiler.h"
#include "base/error.h"
#include "http/head.h"
#include "http/header_rules.h"
#include "http/hop.h"
#include "http/policy.h"
#include "http/reader.h"
#include "http/target.h"
#include <stdbool.h>

/* Of a route; immutable, shared by its requests. */
struct http_rules {
    struct http_limits limits;
    unsigned forms; /* of targets: enum http_form */
    struct http_policy policy;
    struct http_header_rules headers;
};

void http_rules_init(struct http_rules *rules);
void http_rules_release(struct http_rules *rules);

struct http_request {
    struct http_reader reader;
    const struct http_rules *rules;

    /* From HEAD on. */
    unsigned method;              /* llhttp's number */
    struct http_span method_name; /* of a whole head that was refused, too: the answer to HEAD has no body */
    struct http_target target;
    struct http_span host;       /* the Host header; an HTTP/1.0 request may have none */
    struct http_framing framing; /* of the body */
    bool keep_alive;             /* the client may send another request; a HTTP/1.0 client may not */
    bool expects_continue;       /* it waits for a 100 before it sends the body */
    bool chunked_answer;         /* it understands the chunked coding: HTTP/1.1 */
};

void http_request_init(struct http_request *request, const struct http_rules *rules);
void http_request_release(struct http_request *request);
void http_request_next(struct http_request *request);

enum http_event http_request_read(struct http_request *request, const char *data, size_t size,
                                  size_t *ret_used, struct http_span *ret_piece) MUST_CHECK;

/* The client will send no more: MORE when it has sent whole requests only. */
enum http_event http_request_finish(struct http_request *request) MUST_CHECK;

/* Where a request goes. */
struct http_upstream {
    const char *authority; /* for the Host header: "results.example.com", "[::1]:8080" */
    const char *base_path; /* in front of the request's path: "/v1"; "": nothing */
    bool expect;           /* let the upstream say whether it wants the body: `Expect: 100-continue` */
    const struct http_provider *provider;
};

/* The head as it goes to the upstream, into `head`, which is initialized: the request line, Host, what crosses of
 * the enclave's headers in their order, the route's own, and the framing. The path is the judged one behind the
 * base path. Returns HTTP_REFUSED_NONE, or HEADER_VALUE with the reason in `err` (which holds no secret), or
 * NO_MEMORY. */
enum http_refusal http_request_rewrite(const struct http_request *request,
                                       const struct http_upstream *upstream, struct http_head *head,
                                       struct error *err) MUST_CHECK;

#endif
