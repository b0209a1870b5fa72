/*
 * Names to addresses, on the loop, with c-ares.
 *
 * One resolver belongs to one loop and is used on its thread only. It keeps the system's settings:
 * /etc/resolv.conf with its search domains, re-read when it changes, and /etc/hosts. `servers` takes the
 * place of resolv.conf's servers, and of nothing else.
 *
 * Resolvers of several loops may share what they know (resolver_join()): there is one cache, and of all of
 * them one asks for a name at a time, the one whose caller needed it first. The others' callers wait for
 * what it brings, each on its own loop. All that is said below then holds for them together.
 *
 * The cache: an answer is kept for its TTL, held between `min_ttl` and `max_ttl`; a name that does not exist
 * for `min_ttl`. Concurrent questions for one name become one query. When an answer is past its TTL and
 * the resolver fails or times out, the old answer is served (marked stale) for up to `stale`, and the
 * question asked again no more often than each `min_ttl`. The cache holds at most `cache_size` names, the
 * one used longest ago going first; an answer at most RESOLVE_ADDRS_MAX addresses.
 *
 * Bounds: a caller may choose names freely (a ClientHello's, under a wildcard), and go away before the answer. So at most
 * RESOLVE_QUERIES_MAX queries are under way at once, and RESOLVE_SHARE_MAX of one asker's, each from when it is begun until c-ares is
 * done with it. A question that would need one more is told the old answer if there is one that may be served, or that the
 * limit is met. A loop that hangs leaves the questions hanging that it asked, until the daemon's watchdog has seen it.
 */
#ifndef POSTERN_NET_RESOLVE_H
#define POSTERN_NET_RESOLVE_H

#include "base/compiler.h"
#include "base/error.h"
#include "base/reason.h"
#include "net/addr.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <uv.h>

#define RESOLVE_ADDRS_MAX   16
#define RESOLVE_QUERIES_MAX 4096
#define RESOLVE_SHARE_MAX   256

struct resolver; /* opaque */

struct resolver_options {
    const char *servers; /* "127.0.0.1:5353,[::1]:53"; NULL: the system's. Copied. */
    uint64_t timeout_ms; /* for a whole question, retries included */
    uint64_t min_ttl_ms;
    uint64_t max_ttl_ms;
    uint64_t stale_ms;
    unsigned cache_size;
    const char *resolv_conf; /* NULL: /etc/resolv.conf. Copied. Tests give their own. */
};

/* What a name resolved to. The ports are 0; the order is that of RFC 8305 section 4: families alternate,
 * the first family being the one the system's sorting (RFC 6724) put first. */
struct resolved {
    unsigned count; /* at least 1 in a successful answer */
    bool stale;
    struct sockaddr_any address[RESOLVE_ADDRS_MAX];
};

struct resolve_request;
struct cache_entry;

/* `why` is REASON_NONE and `answer` set, or why there is none and `answer` NULL: a DNS reason, REASON_LIMIT_ENCLAVE if the asker has
 * its share of queries under way, REASON_LIMIT_DAEMON if all have. `answer` is the resolver's and
 * valid during the call only. The request is the caller's again. */
typedef void (*resolve_cb)(struct resolve_request *request, enum reason why, const struct resolved *answer);

/* Embedded by the caller, zeroed before its first use; all fields private but `data` and `asker`. */
struct resolve_request {
    void *data;
    uint32_t asker; /* who chose the name, by a number of the caller's; 0: the configuration */
    resolve_cb cb;
    struct resolver *resolver; /* NULL when idle */
    LIST_ENTRY(resolve_request) own_link;
    struct cache_entry *entry; /* where it waits, or whose content it is to be told */
    bool ready;                /* the latter */
    enum reason refused;       /* why there is no query; REASON_NONE: there is, or none is needed */
    TAILQ_ENTRY(resolve_request) link;
};

/* Counted since the start, for the metrics. Read from other threads: each is atomic, relaxed. */
struct resolver_stats {
    _Atomic uint64_t queries;      /* begun, whether a server or /etc/hosts has the answer */
    _Atomic uint64_t hits;         /* questions answered from the cache, in time */
    _Atomic uint64_t stale_served; /* questions answered from the cache, past the TTL */
    _Atomic uint64_t failures;     /* queries that ended in an error, or in nonsense */
    _Atomic uint64_t timeouts;     /* queries that brought nothing in time */
    _Atomic uint64_t not_found;    /* queries answered with "no such name" or "no address" */
    _Atomic uint64_t cached;       /* names in the cache now */
};

/* Returns 0, or a negative errno value: then handles may be left that close when the loop runs. `stats` is
 * not owned and outlives the resolver, and those that join it. */
int resolver_new(uv_loop_t *loop, const struct resolver_options *options, struct resolver_stats *stats,
                 struct resolver **ret, struct error *err) MUST_CHECK;

/* Makes a resolver for another loop, which shares the settings, the cache, the queries and the counters of
 * `other`. From any thread, as long as `other` is not closed; what they share lives until the last of them
 * is. Returns as resolver_new(). */
int resolver_join(uv_loop_t *loop, struct resolver *other, struct resolver **ret,
                  struct error *err) MUST_CHECK;

/* Ends every question without calling back (the requests are idle after), and closes the handles; `cb` (may
 * be NULL) is called from the loop once the memory is gone. May be called from inside a resolve_cb. Callers of
 * other resolvers that wait for a query of this one are told REASON_DNS_FAILED. */
void resolver_close(struct resolver *resolver, void (*cb)(void *data), void *data);

/* Asks for `name` (a valid host name). Returns 1 and fills *ret when the cache has a fresh answer: `cb` is
 * then not called. Returns 0 when `cb` will be called later, exactly once, never from inside this call,
 * unless resolve_cancel() comes first. Returns -ENOMEM, or -EINVAL when `name` is no host name (an IP address
 * is none); `cb` is then not called. */
int resolve_start(struct resolver *resolver, const char *name, struct resolve_request *request, resolve_cb cb,
                  struct resolved *ret) MUST_CHECK;

/* The callback will not be called. Harmless on an idle (zeroed) request. The query goes on for the cache. */
void resolve_cancel(struct resolve_request *request);

#endif
