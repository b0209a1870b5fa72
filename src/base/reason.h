/*
 * Why a stream ended, or was never opened: one word out of one table.
 *
 * The same word stands in the log line, in the label of the metric, in a REFUSED frame and as the
 * argument of `posternctl explain`. A word is never renamed or removed, and its meaning never changes:
 * alerts and dashboards are written against it. The order of the table is the order of the metrics.
 *
 * Columns: identifier, word, kind, whether trying again may help, what happened, what to do about it.
 */
#ifndef POSTERN_BASE_REASON_H
#define POSTERN_BASE_REASON_H

#include <stdbool.h>

enum reason_kind {
    REASON_KIND_END,      /* the stream was opened and came to an end */
    REASON_KIND_POLICY,   /* the configuration does not let this caller do this */
    REASON_KIND_DNS,      /* the destination's name could not be turned into an address */
    REASON_KIND_CONNECT,  /* the destination could not be reached */
    REASON_KIND_LIMIT,    /* a bound of this daemon was met */
    REASON_KIND_TIME,     /* something took too long */
    REASON_KIND_SHUTDOWN, /* the daemon is going away */
    REASON_KIND_INTERNAL, /* the daemon failed */
};

#define REASON_TABLE(X)                                                                                      \
    X(FINISHED, "finished", END, false, "both sides said they were done, and everything was delivered",      \
      "nothing: this is how a stream should end")                                                            \
    X(CLIENT_RESET, "client_reset", END, true, "the side that opened the stream aborted it",                 \
      "look at the caller: it crashed, was killed, or gave up waiting")                                      \
    X(UPSTREAM_RESET, "upstream_reset", END, true, "the destination aborted the stream after it was open",   \
      "look at the destination: a crash, a restart or a load balancer's own idle timeout")                   \
    X(DENIED_ENCLAVE, "denied_enclave", POLICY, false, "the caller's CID belongs to no configured enclave",  \
      "add it under `enclaves:` if it should be let in; otherwise find out what runs at that CID")           \
    X(DENIED_ROUTE, "denied_route", POLICY, false,                                                           \
      "the enclave is not allowed on this listener or route, or names a route that is not there",            \
      "add the enclave, or the route beside it, to the listener's `allow:` if it should be")                 \
    X(DENIED_SNI, "denied_sni", POLICY, false,                                                               \
      "the ClientHello names a server that the route does not allow",                                        \
      "compare the name in the log with the route's `sni:` list")                                            \
    X(NO_SNI, "no_sni", POLICY, false, "the ClientHello names no server, and the route checks names",        \
      "have the client send the server's name (curl and every SDK do, unless given an IP address)")          \
    X(NOT_TLS, "not_tls", POLICY, false,                                                                     \
      "the first bytes are not a TLS ClientHello, and the route needs one",                                  \
      "have the client speak TLS, or drop `sni:` from the route if it carries something else")               \
    X(BAD_HELLO, "bad_hello", POLICY, false,                                                                 \
      "the ClientHello is malformed, cut short, or larger than any honest one",                              \
      "suspect the client: no TLS library sends this")                                                       \
    X(DENIED_ADDRESS, "denied_address", POLICY, false,                                                       \
      "the name resolved only to private, loopback or link-local addresses",                                 \
      "set `allow_private: true` on the route if the destination really is inside (a VPC endpoint)")         \
    X(DNS_NOT_FOUND, "dns_not_found", DNS, false, "the resolver says that the name has no address",          \
      "check the spelling of the route's `to:`, then `posternctl doctor`")                                   \
    X(DNS_TIMEOUT, "dns_timeout", DNS, true, "the resolver did not answer in time",                          \
      "check the servers that `dns.servers` or /etc/resolv.conf names, then `posternctl doctor`")            \
    X(DNS_FAILED, "dns_failed", DNS, true,                                                                   \
      "the resolver refused the question, or answered with an error or nonsense",                            \
      "check the servers that `dns.servers` or /etc/resolv.conf names, then `posternctl doctor`")            \
    X(CONNECT_REFUSED, "connect_refused", CONNECT, true, "the destination refused the connection",           \
      "see that something listens there, at that port")                                                      \
    X(CONNECT_TIMEOUT, "connect_timeout", CONNECT, true, "the destination did not answer in time",           \
      "check security groups and routes: a dropped packet looks like this")                                  \
    X(UNREACHABLE, "unreachable", CONNECT, true, "there is no way to the destination's network or CID",      \
      "check routes; for a vsock CID, see that the enclave runs")                                            \
    X(CONNECT_FAILED, "connect_failed", CONNECT, true, "connecting failed in another way, told in the log",  \
      "read the log line's `detail`")                                                                        \
    X(LIMIT_ROUTE, "limit_route", LIMIT, true, "the route carries its `max_streams` already",                \
      "raise the route's `max_streams`, or find out who holds them: `posternctl status`")                    \
    X(LIMIT_ENCLAVE, "limit_enclave", LIMIT, true,                                                           \
      "the enclave has its `max_streams` or `max_sessions` open already, or 256 names being looked up",      \
      "raise that of the enclave, or look for a leak in the enclave; if it asks for many names, for why")    \
    X(LIMIT_DAEMON, "limit_daemon", LIMIT, true,                                                             \
      "the daemon carries its `limits.max_streams` or `limits.max_sessions` already, or looks 4,096 names "  \
      "up",                                                                                                  \
      "raise that limit, and LimitNOFILE in the unit with it; look at who asks for many names")              \
    X(NO_DESCRIPTORS, "no_descriptors", LIMIT, true, "the process or the system is out of file descriptors", \
      "raise LimitNOFILE in the unit, or lower `limits.max_streams`")                                        \
    X(NO_MEMORY, "no_memory", LIMIT, true, "the system is out of memory",                                    \
      "find what uses it; the daemon's own share is in `posternctl status`")                                 \
    X(HELLO_TIMEOUT, "hello_timeout", TIME, true,                                                            \
      "no whole ClientHello, or request to the proxy, came within `hello_timeout`",                          \
      "suspect the client: it connected and said nothing, or too little")                                    \
    X(FIRST_BYTE_TIMEOUT, "first_byte_timeout", TIME, true,                                                  \
      "the stream opened and neither side sent a byte within `first_byte_timeout`",                          \
      "if that is normal for this service, raise the route's `first_byte_timeout`")                          \
    X(IDLE_TIMEOUT, "idle_timeout", TIME, true, "no byte passed either way for `idle_timeout`",              \
      "if that is normal for this service, raise the route's `idle_timeout`")                                \
    X(HALF_CLOSED_TIMEOUT, "half_closed_timeout", TIME, true,                                                \
      "one side was done, and the other sent nothing for `half_closed_timeout`",                             \
      "if that is normal for this service, raise the route's `half_closed_timeout`")                         \
    X(DRAINING, "draining", SHUTDOWN, true, "the daemon was told to stop and opens no new streams",          \
      "try again once it is back")                                                                           \
    X(SHUTDOWN, "shutdown", SHUTDOWN, true, "the stream was still open when the drain deadline passed",      \
      "raise `drain_timeout` if streams need longer to finish")                                              \
    X(INTERNAL, "internal", INTERNAL, true, "the daemon failed in a way it did not foresee",                 \
      "report it, with the log line")                                                                        \
    X(BAD_REQUEST, "bad_request", POLICY, false,                                                             \
      "what the client said to the proxy is no request that it takes; the answer, and `detail`, say why",    \
      "look at the client: something is wrong with its CONNECT, the answer's `code` is the word for it")     \
    X(DENIED_HOST, "denied_host", POLICY, false,                                                             \
      "the proxy was asked for a host, or a port, that the route does not allow",                            \
      "compare the host in the log line's `detail` with the route's `hosts:` list")

enum reason {
#define X(id, word, kind, retry, meaning, advice) REASON_##id,
    REASON_TABLE(X)
#undef X
        REASON_COUNT
};

/* "Nothing is wrong so far": not a reason, and never logged. */
#define REASON_NONE REASON_COUNT

const char *reason_word(enum reason reason);
enum reason_kind reason_kind(enum reason reason);
bool reason_retryable(enum reason reason);
const char *reason_meaning(enum reason reason);
const char *reason_advice(enum reason reason);

/* The reason with that word; REASON_COUNT if there is none. */
enum reason reason_find(const char *word);

#endif
