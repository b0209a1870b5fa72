/*
 * Policy: who may use which route, and what a ClientHello's name leads to. Pure decisions on an immutable
 * configuration; counting and closing are the callers'.
 */
#ifndef POSTERN_CONFIG_POLICY_H
#define POSTERN_CONFIG_POLICY_H

#include "base/compiler.h"
#include "base/reason.h"
#include "config/config.h"

/* The enclave with that CID, or CONFIG_NOBODY. */
int policy_enclave_by_cid(const struct config *config, uint32_t cid);

/* Whether a caller may use the listener: REASON_NONE, REASON_DENIED_ENCLAVE or REASON_DENIED_ROUTE.
 * `enclave` is the caller's id, or CONFIG_NOBODY. */
enum reason policy_listener(const struct config_listener *listener, int enclave);

/* Whether the enclave may open a stream to the route of that name through the framed listener: REASON_NONE with
 * the route's id, or REASON_DENIED_ROUTE, which does not tell a route that is not there from one that is not for
 * this enclave. */
enum reason policy_route(const struct config_listener *listener, int enclave, const char *name, size_t length,
                         int *ret_route);

/* The first entry of the route's list that the server name matches, exact names before wildcards, and
 * longer wildcards before shorter; NULL: not allowed. A final dot does not matter. A name that is an IP
 * address, or not a host name, matches nothing. */
const struct config_sni *policy_sni(const struct config_route *route, const char *name);

/* The first of a connect route's hosts that this host and port match, in the same order; NULL: not allowed. An IP
 * address, without brackets, matches itself alone, in whatever form it is written. */
const struct config_host *policy_host(const struct config_route *route, const char *host, size_t length,
                                      uint16_t port);

#endif
