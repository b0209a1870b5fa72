/*
 * Where the client of a `connect` route may be led: by CONNECT (connect_stream.h), and by requests in absolute form, which a
 * forward stream reads (forward_stream.h). One judgement for both.
 */
#ifndef POSTERN_FORWARD_PROXY_H
#define POSTERN_FORWARD_PROXY_H

#include "base/compiler.h"
#include "config/config.h"
#include "forward/exchange.h"
#include "http/refusal.h"
#include "http/target.h"
#include "net/addr.h"

/* Holds the host of a target, and its port (80 where a URL gives none), against the route's `hosts`. */
enum http_refusal proxy_judge(const struct config_route *route, const struct http_target *target,
                              struct addr *ret) MUST_CHECK;

/* The same for a request in absolute form: only http, since what is asked of https is that nobody in between reads it. *ret is for
 * free(). */
enum http_refusal proxy_lead(const struct config_route *route, const struct http_target *target,
                             struct exchange_plain **ret) MUST_CHECK;

#endif
