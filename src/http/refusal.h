/*
 * Why a request was not forwarded, or its answer not passed on: one word out of one table.
 *
 * The same word stands in the body that the enclave gets (application/problem+json), in the log line and in the
 * label of the metric. A word is never renamed or removed. After any of these the connection to the enclave
 * is closed: where one message ends and the next begins is no longer certain, or not worth knowing.
 *
 * A stream carries many requests, and ends for a reason of its own, out of the table of base/reason.h. A word that stands in both says
 * the same of either, and `posternctl explain` tells both.
 *
 * Columns: identifier, word, status, what is wrong, what to do about it.
 */
#ifndef POSTERN_HTTP_REFUSAL_H
#define POSTERN_HTTP_REFUSAL_H

#include "base/text.h"

#include <stdbool.h>

#define HTTP_REFUSAL_TABLE(X)                                                                               \
    /* Form: the request has one reading only, or none at all. */                                           \
    X(REQUEST_LINE, "bad_request_line", 400,                                                                \
      "the request line is not a method, a target and HTTP/1.1 with one space between them",                \
      "have the client speak HTTP/1.1 in plain text here; TLS and HTTP/2 are not spoken to this listener")  \
    X(VERSION, "bad_version", 505, "the version is neither HTTP/1.1 nor HTTP/1.0",                          \
      "have the client speak HTTP/1.1")                                                                     \
    X(BARE_CR, "bare_cr", 400, "a CR is not followed by LF",                                                \
      "suspect the client: no HTTP library sends this")                                                     \
    X(BARE_LF, "bare_lf", 400, "a line ends without CR",                                                    \
      "end each line of the head with CR LF; hand-written requests often lack the CR")                      \
    X(FOLDED, "folded_header", 400, "a header goes on in the next line",                                    \
      "write each header in one line: folding is obsolete (RFC 9112, 5.2)")                                 \
    X(HEADER_NAME, "bad_header_name", 400,                                                                  \
      "a header line has no name, no colon, or a character in its name that has no place there",            \
      "see that no blank stands before the colon")                                                          \
    X(CONTROL, "control_byte", 400, "a control character stands in the head",                               \
      "suspect the client, or a value that was put into a header unencoded")                                \
    X(NON_ASCII, "non_ascii", 400, "a byte that is not ASCII stands in the head",                           \
      "encode it: %-escapes in the target, base64 or RFC 8187 in a header")                                 \
    X(CONFUSABLE, "confusable_header", 400,                                                                 \
      "a header differs by its punctuation alone from one that counts, as Content_Length does",             \
      "rename the header: some servers read both names as one")                                             \
    X(DOUBLED, "doubled_header", 400, "a header stands twice that may stand only once", "send it once")     \
    X(HOST, "bad_host", 400, "the Host header is missing, or is not a host name with or without a port",    \
      "send one Host header")                                                                               \
    X(TARGET, "bad_target", 400, "the target has a character or a %-escape that has no place there",        \
      "%-encode the path and the query, and leave out the fragment")                                        \
    X(TARGET_FORM, "bad_target_form", 400, "the target is not of the form that this route takes",           \
      "send the path alone, as to the origin server; or to a `connect` route, a proxy, CONNECT for https "  \
      "and the whole URL for http")                                                                         \
    X(PATH, "ambiguous_path", 400,                                                                          \
      "the path has dot segments, empty segments, or escapes that servers read in different ways",          \
      "send the plain path; encode no slash, dot, percent sign or control character in it")                 \
    X(BOTH_LENGTHS, "both_lengths", 400, "both Content-Length and Transfer-Encoding are there",             \
      "send one of them; suspect an attempt at smuggling")                                                  \
    X(CONTENT_LENGTH, "bad_content_length", 400, "Content-Length is not a plain decimal number",            \
      "send digits alone, without sign or leading zeros")                                                   \
    X(TRANSFER_ENCODING, "bad_transfer_encoding", 400,                                                      \
      "Transfer-Encoding is other than `chunked`, or the version is HTTP/1.0",                              \
      "send `Transfer-Encoding: chunked`, and compress by Content-Encoding")                                \
    X(CHUNK, "bad_chunk", 400, "the body's chunks are malformed",                                           \
      "suspect the client: no HTTP library sends this")                                                     \
    X(TRAILER, "bad_trailer", 400,                                                                          \
      "a trailer has a name that counts only in the head, or that the route sets", "send it as a header")   \
    X(CONNECTION, "bad_connection", 400,                                                                    \
      "Connection is no list of names, or names a header that must reach the upstream",                     \
      "send `Connection: close`, `keep-alive`, or none")                                                    \
    X(BODY, "unexpected_body", 400, "a GET, HEAD or OPTIONS request announces a body",                      \
      "send it by POST or PUT")                                                                             \
    X(DISAGREEMENT, "parsers_disagree", 400, "two parsers read the head in different ways",                 \
      "report it, with the request: neither of them should have let it through")                            \
    X(EXPECT, "bad_expect", 417, "Expect asks for something other than 100-continue", "leave it out")       \
    X(UPGRADE, "upgrade", 501, "the request asks for another protocol",                                     \
      "send it without Upgrade; `curl --http1.1` does")                                                     \
    X(REQUEST_CUT, "request_cut_off", 400, "the client closed the connection before its request was whole", \
      "look at the client: it crashed, was killed, or gave up")                                             \
    X(HEAD_TIMEOUT, "head_timeout", 408,                                                                    \
      "the head did not come whole within the route's `head_timeout`, or `hello_timeout` of a proxy",       \
      "suspect the client: it began a request and did not go on")                                           \
    X(BODY_TIMEOUT, "body_timeout", 408, "no byte of the body came for the route's `idle_timeout`",         \
      "look at the client; if it is slow for a reason, raise the route's `idle_timeout`")                   \
    X(METHOD, "unknown_method", 501, "the method is unknown, or one that is never forwarded",               \
      "use another method; TRACE would show the enclave what the parent has added")                         \
    /* Bounds. */                                                                                           \
    X(HEAD_SIZE, "head_too_large", 431, "the head, or the trailers, are over the bound in bytes",           \
      "send less, or raise the route's bound")                                                              \
    X(FIELDS, "too_many_headers", 431, "there are more headers, or trailers, than the bound",               \
      "send fewer, or raise the route's bound")                                                             \
    X(TARGET_SIZE, "target_too_long", 414, "the target is over the bound in bytes",                         \
      "send the data in the body, or raise the route's bound")                                              \
    X(BODY_SIZE, "body_too_large", 413, "the body is over the bound in bytes",                              \
      "send less, or raise the route's bound")                                                              \
    X(UNSIGNABLE, "unsignable", 400,                                                                        \
      "the request has more headers, or more parameters in its query, than can be signed for AWS",          \
      "send at most 256 parameters, and 128 headers with those that the route adds")                        \
    X(NO_MEMORY, "no_memory", 503, "the system is out of memory", "try again later")                        \
    X(BODY_MEMORY, "body_memory", 503,                                                                      \
      "bodies that are gathered to be signed take all the memory they may, or the enclave's share of it",   \
      "try again later; send fewer at once, or raise `limits.body_memory`")                                 \
    /* Policy: what the route allows. */                                                                    \
    X(DENIED_METHOD, "denied_method", 405, "the route does not allow the method",                           \
      "add it to the route's `methods:` if it should be allowed")                                           \
    X(DENIED_PATH, "denied_path", 403, "the route does not allow the path",                                 \
      "add its beginning to the route's `paths:` if it should be allowed")                                  \
    X(DENIED_QUERY, "denied_query", 403, "the route does not allow the query",                              \
      "add its parameters to the route's `query:` if they should be allowed")                               \
    X(DENIED_OVERRIDE, "denied_override", 403,                                                              \
      "a header names another method, path or query than the request's, which the route restricts",         \
      "leave it out, or have the route's `headers:` remove it; no server may be told so what to do")        \
    X(DENIED_TYPE, "denied_content_type", 415, "the route does not allow the body's Content-Type",          \
      "add it to the route's `content_types:` if it should be allowed")                                     \
    X(DENIED_HOST, "denied_host", 403, "the proxy does not lead to this host, or not to this port",         \
      "add it to the route's `hosts:` if it should")                                                        \
    X(HEADER_VALUE, "header_unavailable", 500, "a value that the route adds to requests is not to be had",  \
      "read the log line: it names the variable, file or credential")                                       \
    /* The spool, for routes with `delivery: spool`. */                                                     \
    X(SPOOL_FULL, "spool_full", 507,                                                                        \
      "the spool is full: its bound, the route's or the enclave's is reached, or the disk is",              \
      "try again later; see why nothing leaves it: `posternctl spool stats`")                               \
    X(SPOOL_UNAVAILABLE, "spool_unavailable", 503, "the spool cannot keep anything now",                    \
      "try again later; the parent's log, and `posternctl spool stats` there, say why")                     \
    X(CREDENTIALS, "credentials_unavailable", 503,                                                          \
      "the credentials that requests of this route are signed with are not to be had now",                  \
      "try again later; the parent's log says why, in the line `credentials unavailable`")                  \
    /* The upstream's answer. */                                                                            \
    X(RESPONSE_HEAD, "bad_response_head", 502, "the head of the upstream's answer is malformed",            \
      "read the log line's `detail`; look at the upstream")                                                 \
    X(RESPONSE_SIZE, "response_too_large", 502, "the upstream's answer, or its head, is over a bound",      \
      "look at the upstream, or raise the route's bound")                                                   \
    X(RESPONSE_FRAMING, "bad_response_framing", 502, "where the upstream's answer ends is not certain",     \
      "read the log line's `detail`; look at the upstream")                                                 \
    X(RESPONSE_INTERIM, "too_many_interim", 502, "the upstream sends interim answers without end",          \
      "look at the upstream")                                                                               \
    X(RESPONSE_UPGRADE, "response_upgrade", 502,                                                            \
      "the upstream changes the protocol, which nobody asked for", "look at the upstream")                  \
    X(RESPONSE_CUT, "response_cut_off", 502,                                                                \
      "the upstream closed the connection before its answer was whole",                                     \
      "look at the upstream: a crash, a restart or an idle timeout of its own")                             \
    /* The way to the upstream. */                                                                          \
    X(UPSTREAM_DNS, "upstream_dns", 502, "the upstream's name could not be turned into an address",         \
      "read the log line's `detail`, then `posternctl doctor`")                                             \
    X(DENIED_ADDRESS, "denied_address", 403,                                                                \
      "the upstream's name leads only to private, loopback or link-local addresses",                        \
      "set `allow_private: true` on the route if the upstream really is inside")                            \
    X(UPSTREAM_REFUSED, "upstream_refused", 502, "the upstream refused the connection",                     \
      "see that something listens there, at that port")                                                     \
    X(UPSTREAM_UNREACHABLE, "upstream_unreachable", 502, "there is no way to the upstream",                 \
      "read the log line's `detail`; check routes and security groups")                                     \
    X(UPSTREAM_TIMEOUT, "upstream_timeout", 504,                                                            \
      "the upstream was not connected within `connect_timeout`, TLS included",                              \
      "check security groups and routes: a dropped packet looks like this")                                 \
    X(UPSTREAM_TLS, "upstream_tls", 502,                                                                    \
      "the upstream did not prove who it is, or TLS failed in another way",                                 \
      "read the log line's `detail`: it says which certificate, and what is wrong")                         \
    X(TLS_FILES, "tls_unavailable", 500, "the route's CA, certificate or key cannot be used",               \
      "read the log line: it names the file")                                                               \
    X(NO_DESCRIPTORS, "no_descriptors", 503, "the process or the system is out of file descriptors",        \
      "raise LimitNOFILE in the unit")                                                                      \
    X(UPSTREAM_RESET, "upstream_reset", 502, "the upstream closed the connection without an answer",        \
      "look at the upstream: a crash, a restart or a limit of its own")                                     \
    X(UPSTREAM_STALLED, "upstream_stalled", 504,                                                            \
      "the upstream neither took nor sent a byte for `idle_timeout`",                                       \
      "look at the upstream, or raise the route's `idle_timeout`")                                          \
    X(RESPONSE_TIMEOUT, "response_timeout", 504, "the upstream did not answer within `response_timeout`",   \
      "look at the upstream, or raise the route's `response_timeout`")

enum http_refusal {
    HTTP_REFUSED_NONE, /* "nothing is wrong so far": has no word */
#define X(id, word, status, meaning, advice) HTTP_REFUSED_##id,
    HTTP_REFUSAL_TABLE(X)
#undef X
        HTTP_REFUSED_COUNT
};

const char *http_refusal_word(enum http_refusal refusal);
unsigned http_refusal_status(enum http_refusal refusal);
const char *http_refusal_meaning(enum http_refusal refusal);
const char *http_refusal_advice(enum http_refusal refusal);

/* The refusal with that word; HTTP_REFUSED_NONE if there is none. */
enum http_refusal http_refusal_find(const char *word);

/* What the enclave is told beside the word. Any may be NULL. */
struct http_refusal_note {
    const char *detail;     /* instead of the meaning: what exactly, in words that hold no secret */
    const char *request_id; /* the same as in the log */
    const char *allow;      /* the methods of a 405, "POST, PUT" */
    const char *date;       /* as the Date header has it */
    bool head_only;         /* the request was HEAD: the body is announced and left out */
    unsigned retry_after_s; /* when to try again; 0: not said */
};

/* The whole answer to an enclave: status line, headers (`Connection: close` among them) and body. Out of
 * memory sets out->failed. */
void http_refusal_answer(enum http_refusal refusal, const struct http_refusal_note *note, struct text *out);

#endif
