/*
 * The upstreams of a worker, and the connections to them: made when a request needs one, kept when it is through, closed when
 * they are too many, too old, or the upstream says anything that nobody asked for.
 *
 * A kept connection leads where the name leads now: while an upstream is used, its name is looked up again whenever what is
 * known of it has expired, and connections to addresses that are not among the new ones carry no further request. The same goes
 * for those that were made with other TLS files than are there now. Both are looked at once a second at most.
 *
 * An upstream belongs to a route of a configuration, to which it holds a reference. It goes when nothing of it has been in use
 * for the route's `keep`, and an old configuration with it.
 *
 * Lifetimes: upstream_lease() gives a connection, which is the user's until upstream_release(). One that was kept is open at once
 * (conn->stream is set); for a new one opened() comes later, once. After that ready() and expired() come, none of them from
 * inside a function of this header, until upstream_release(), which may be called from inside any of them.
 */
#ifndef POSTERN_FORWARD_UPSTREAM_H
#define POSTERN_FORWARD_UPSTREAM_H

#include "base/compiler.h"
#include "base/error.h"
#include "config/config.h"
#include "forward/signing.h"
#include "forward/worker.h"
#include "http/refusal.h"
#include "net/dial.h"
#include "net/stream.h"
#include "net/tls.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <uv.h>

struct upstream_conn;

struct upstream_user {
    /* HTTP_REFUSED_NONE, and conn->stream is set; else why it cannot be had, and in words: upstream_release() follows. */
    void (*opened)(void *data, enum http_refusal why, const struct error *err);
    void (*ready)(void *data, unsigned events); /* as of struct stream */
    void (*expired)(void *data);                /* the time of upstream_conn_wake() has come */
};

enum upstream_conn_state { CONN_DIALING, CONN_GREETING, CONN_LEASED, CONN_IDLE, CONN_CLOSED };

struct upstream_conn {
    struct stream *stream;    /* NULL until it is open */
    struct sockaddr_any peer; /* the same */
    bool reused;              /* it carried a request before */

    /* Private. */
    struct upstream *upstream; /* NULL: of a plain address, and not kept */
    struct forward_worker *worker;
    const struct upstream_user *user;
    void *data;
    enum upstream_conn_state state;
    struct dial *dial;
    struct sock_stream sock; /* while `secure` is false */
    struct tls_stream tls;
    bool secure;
    uint64_t give_up_at; /* loop time at which the connection has to be open */
    uv_timer_t timer;
    uint64_t wake_at; /* loop time for which the timer is set; UINT64_MAX: it is not */
    uint64_t idle_since;
    TAILQ_ENTRY(upstream_conn) link; /* of the upstream's idle ones */
};

struct upstream {
    struct forward_worker *worker;
    struct config *config; /* a reference */
    const struct config_route *route;
    TAILQ_HEAD(, upstream_conn) idle; /* the one that was used last in front */
    unsigned idle_count;
    unsigned users;          /* exchanges and connections */
    struct signing *signing; /* NULL: the route does not sign */

    /* Private. */
    struct tls_client *tls; /* NULL: plain */
    struct avoid avoid;     /* addresses that were of no use lately */
    uint64_t looked_at;     /* loop time of the last look at names and files; 0: none yet */
    struct resolve_request request;
    bool asking;
    bool knows_addresses;
    struct resolved addresses;
    uv_timer_t timer;
    LIST_ENTRY(upstream) link;
};

/* The word for an enclave, of how dialing ended. */
enum http_refusal upstream_refusal_of(enum reason why);

/* The route's upstream, made if there is none; NULL: out of memory. upstream_put() must follow. */
struct upstream *upstream_get(struct forward_worker *worker, const struct config *config,
                              const struct config_route *route) MUST_CHECK;
void upstream_put(struct upstream *upstream);

struct upstream_wanted {
    struct forward_worker *worker;
    struct upstream *upstream; /* NULL: plain, to `to` under `route` */
    const struct config_route *route;
    const struct addr *to;
    uint32_t asker; /* of struct resolve_request */
    bool fresh;     /* none that was kept */
};

/* HTTP_REFUSED_NONE and a connection, or why there can be none. */
enum http_refusal upstream_lease(const struct upstream_wanted *wanted, const struct upstream_user *user,
                                 void *data, struct upstream_conn **ret, struct error *err) MUST_CHECK;

enum upstream_end {
    UPSTREAM_KEEP,  /* nothing of a request or an answer is under way on it, nor is any byte unread */
    UPSTREAM_CLOSE, /* the same, but it carries no further request */
    UPSTREAM_CUT,   /* the upstream is not to take what it has for whole */
};

/* Gives it back. */
void upstream_release(struct upstream_conn *conn, enum upstream_end end);

/* What TLS has to say of why it failed; NULL: nothing. */
const char *upstream_conn_error(const struct upstream_conn *conn);

/* expired() is to come at the loop time `at`, or earlier, for who waits to look again. */
void upstream_conn_wake(struct upstream_conn *conn, uint64_t at);

/* When the worker ends: nothing is leased any more. */
void upstream_close_all(struct forward_worker *worker);

#endif
