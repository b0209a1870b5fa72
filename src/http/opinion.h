/*
 * The second opinion on a head: llhttp reads what the scan let through, and must read the same request or status
 * line, the same fields and the same framing as we do. Where two parsers differ there is room for smuggling, so
 * a head that they do not agree on is refused.
 */
#ifndef POSTERN_HTTP_OPINION_H
#define POSTERN_HTTP_OPINION_H

#include "base/compiler.h"
#include "http/reader.h"

/* For a head that was read and judged to be framed like `framing`. *ret_method is llhttp's number of the
 * request's method (HTTP_GET, ...). */
enum http_refusal http_second_opinion(const struct http_reader *reader, struct http_framing framing,
                                      unsigned *ret_method) MUST_CHECK;

#endif
