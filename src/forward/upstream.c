/*
 * Connections to upstreams: see upstream.h.
 *
 * Happy path: lease -> dialed -> opened() -> [ready() ...] -> release -> idle -> lease ... -> closed -> the timer's handle is
 * closed -> freed. Failure modes: the dial fails; its time is up; the user releases it at any point; while it is idle the
 * upstream closes it, sends something, or its time is up. All of them go through conn_close(), after which nothing
 * comes but the closing of the timer.
 */
#include "forward/upstream.h"

#include "net/sock.h"
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

/* How often names and files are looked at, at most. */
#define LOOK_MS 1000

static void on_upstream_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static void upstream_free(struct upstream *upstream)
{
    LIST_REMOVE(upstream, link);
    resolve_cancel(&upstream->request);
    signing_free(upstream->signing);
    tls_client_free(upstream->tls);
    config_unref(upstream->config);
    uv_close((uv_handle_t *)&upstream->timer, on_upstream_closed);
}

static void on_unused(uv_timer_t *timer)
{
    upstream_free(timer->data);
}

static bool make_parts(struct upstream *upstream)
{
    const struct config_forward *forward = upstream->route->forward;
    if (forward->tls) {
        struct tls_options options = {
            .server_name = forward->server_name,
            .ca_file = forward->ca_file,
            .cert_file = forward->cert_file,
            .key_file = forward->key_file,
        };
        upstream->tls = tls_client_new(&options);
    }
    if (forward->sign != NULL) {
        upstream->signing = signing_new(&upstream->worker->credentials, forward->sign);
    }
    return (upstream->tls != NULL) == forward->tls && (upstream->signing != NULL) == (forward->sign != NULL);
}

static struct upstream *upstream_new(struct forward_worker *worker, const struct config *config,
                                     const struct config_route *route)
{
    struct upstream *upstream = calloc(1, sizeof *upstream);
    if (upstream == NULL) {
        return NULL;
    }
    upstream->worker = worker;
    upstream->route = route;
    upstream->request.data = upstream;
    TAILQ_INIT(&upstream->idle);
    if (!make_parts(upstream)) {
        signing_free(upstream->signing);
        tls_client_free(upstream->tls);
        free(upstream);
        return NULL;
    }
    upstream->config = config_ref((struct config *)config); /* its count is all that changes */
    uv_timer_init(&worker->loop->uv, &upstream->timer);
    upstream->timer.data = upstream;
    LIST_INSERT_HEAD(&worker->upstreams, upstream, link);
    return upstream;
}

struct upstream *upstream_get(struct forward_worker *worker, const struct config *config,
                              const struct config_route *route)
{
    struct upstream *upstream;
    LIST_FOREACH (upstream, &worker->upstreams, link) {
        if (upstream->route == route) {
            break;
        }
    }
    if (upstream == NULL) {
        upstream = upstream_new(worker, config, route);
    }
    if (upstream != NULL && upstream->users++ == 0) {
        uv_timer_stop(&upstream->timer);
    }
    return upstream;
}

void upstream_put(struct upstream *upstream)
{
    if (--upstream->users == 0) {
        uv_timer_start(&upstream->timer, on_unused, upstream->route->forward->keep_ms, 0);
    }
}

static void on_conn_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static bool is_open(const struct upstream_conn *conn)
{
    return conn->state == CONN_LEASED || conn->state == CONN_IDLE;
}

static void leave_idle(struct upstream *upstream, struct upstream_conn *conn)
{
    TAILQ_REMOVE(&upstream->idle, conn, link);
    upstream->idle_count--;
    forward_count(&conn->worker->stats.idle, -1);
}

static void conn_close(struct upstream_conn *conn, bool abort)
{
    dial_cancel(conn->dial);
    if (is_open(conn)) {
        forward_count(&conn->worker->stats.open, -1);
    }
    if (conn->state == CONN_IDLE && conn->upstream != NULL) {
        leave_idle(conn->upstream, conn);
    }
    conn->state = CONN_CLOSED;
    if (conn->secure) {
        stream_close(&conn->tls.stream, abort);
    } else {
        sock_stream_close(&conn->sock, abort);
    }
    uv_close((uv_handle_t *)&conn->timer, on_conn_closed);
    if (conn->upstream != NULL) {
        upstream_put(conn->upstream);
    }
}

/* An idle one that has anything to say, or ends, can carry no request. TLS may have something of its own to say. */
static void on_ready(struct upstream_conn *conn, unsigned events)
{
    char byte;
    if (conn->state == CONN_LEASED) {
        conn->user->ready(conn->data, events);
    } else if ((events & STREAM_READABLE) != 0 && stream_read(conn->stream, &byte, 1) != -EAGAIN) {
        conn_close(conn, false);
    }
}

static void on_sock_ready(struct stream *stream, unsigned events)
{
    on_ready(CONTAINER_OF(stream, struct upstream_conn, sock.stream), events);
}

static void on_tls_ready(struct stream *stream, unsigned events)
{
    on_ready(CONTAINER_OF(stream, struct upstream_conn, tls.stream), events);
}

const char *upstream_conn_error(const struct upstream_conn *conn)
{
    return conn->secure ? tls_stream_error(&conn->tls) : NULL;
}

static void fail(struct upstream_conn *conn, enum http_refusal why, const struct error *err)
{
    forward_count(&conn->worker->stats.failed, 1);
    conn->user->opened(conn->data, why, err);
}

static void note_useless(struct upstream_conn *conn)
{
    avoid_note(&conn->upstream->avoid, &conn->peer, loop_now(conn->worker->loop));
}

static void fail_greeting(struct upstream_conn *conn)
{
    struct error err;
    note_useless(conn);
    error_set(&err, 0, "the TLS handshake with %s was not over within %llu ms",
              conn->upstream->route->forward->server_name,
              (unsigned long long)conn->upstream->route->connect_timeout_ms);
    fail(conn, HTTP_REFUSED_UPSTREAM_TIMEOUT, &err);
}

static void on_timer(uv_timer_t *timer)
{
    struct upstream_conn *conn = timer->data;
    conn->wake_at = UINT64_MAX;
    if (conn->state == CONN_LEASED) {
        conn->user->expired(conn->data);
        return;
    }
    if (conn->state == CONN_GREETING) {
        fail_greeting(conn);
        return;
    }
    uint64_t until = conn->idle_since + conn->upstream->route->forward->keep_ms;
    if (loop_now(conn->worker->loop) >= until) {
        conn_close(conn, false);
    } else {
        upstream_conn_wake(conn, until);
    }
}

/* A timer that is set for an earlier time is left alone: it finds out that it is too early, and most requests are over long
 * before. */
void upstream_conn_wake(struct upstream_conn *conn, uint64_t at)
{
    uint64_t now = loop_now(conn->worker->loop);
    if (at >= conn->wake_at) {
        return;
    }
    conn->wake_at = at;
    uv_timer_start(&conn->timer, on_timer, at > now ? at - now : 0, 0);
}

enum http_refusal upstream_refusal_of(enum reason why)
{
    switch (why) {
    case REASON_DNS_NOT_FOUND:
    case REASON_DNS_TIMEOUT:
    case REASON_DNS_FAILED:
    case REASON_LIMIT_ENCLAVE: /* of names being looked up: dial.h has no others */
    case REASON_LIMIT_DAEMON:
        return HTTP_REFUSED_UPSTREAM_DNS;
    case REASON_DENIED_ADDRESS:
        return HTTP_REFUSED_DENIED_ADDRESS;
    case REASON_CONNECT_REFUSED:
        return HTTP_REFUSED_UPSTREAM_REFUSED;
    case REASON_CONNECT_TIMEOUT:
        return HTTP_REFUSED_UPSTREAM_TIMEOUT;
    case REASON_NO_DESCRIPTORS:
        return HTTP_REFUSED_NO_DESCRIPTORS;
    case REASON_NO_MEMORY:
        return HTTP_REFUSED_NO_MEMORY;
    default:
        return HTTP_REFUSED_UPSTREAM_UNREACHABLE;
    }
}

static void succeed(struct upstream_conn *conn)
{
    conn->state = CONN_LEASED;
    conn->stream = conn->secure ? &conn->tls.stream : &conn->sock.stream;
    forward_count(&conn->worker->stats.opened, 1);
    forward_count(&conn->worker->stats.open, 1);
    conn->user->opened(conn->data, HTTP_REFUSED_NONE, NULL);
}

static void on_shaken(struct tls_stream *tls, int code, const struct error *err)
{
    struct upstream_conn *conn = CONTAINER_OF(tls, struct upstream_conn, tls);
    if (code != 0) {
        note_useless(conn);
        fail(conn, code == -ENOMEM ? HTTP_REFUSED_NO_MEMORY : HTTP_REFUSED_UPSTREAM_TLS, err);
        return;
    }
    forward_count(&conn->worker->stats.resumed, tls->resumed);
    succeed(conn);
}

/* The socket of the dial becomes the connection's. */
static int adopt(struct upstream_conn *conn, const struct dialed *dialed)
{
    struct poller *poller = &conn->worker->loop->poller;
    struct sock_kind_options kind = {.kind = dialed->kind};
    if (conn->upstream == NULL || conn->upstream->tls == NULL) {
        return sock_stream_adopt(&conn->sock, poller, dialed->watcher, &kind, on_sock_ready);
    }
    int r = tls_stream_adopt(&conn->tls, conn->upstream->tls, poller, dialed->watcher, &kind, on_tls_ready,
                             on_shaken);
    conn->secure = r == 0;
    return r;
}

static void on_dialed(void *data, enum reason why, const struct dialed *dialed, const struct error *err)
{
    struct upstream_conn *conn = data;
    conn->dial = NULL;
    if (why != REASON_NONE) {
        fail(conn, upstream_refusal_of(why), err);
        return;
    }
    int r = adopt(conn, dialed);
    if (r != 0) {
        struct error own;
        error_errno(&own, r, "cannot use the connection to the upstream");
        fail(conn, r == -ENOMEM ? HTTP_REFUSED_NO_MEMORY : HTTP_REFUSED_UPSTREAM_UNREACHABLE, &own);
        return;
    }
    conn->peer = *dialed->peer;
    if (conn->secure) {
        conn->state = CONN_GREETING;
        upstream_conn_wake(conn, conn->give_up_at);
    } else {
        succeed(conn);
    }
}

static struct upstream_conn *conn_new(const struct upstream_wanted *wanted, const struct upstream_user *user,
                                      void *data)
{
    struct upstream_conn *conn = calloc(1, sizeof *conn);
    if (conn == NULL) {
        return NULL;
    }
    struct dial_options options = {
        .to = wanted->to,
        .public_only = !wanted->route->allow_private,
        .family = wanted->route->family,
        .asker = wanted->asker,
        .timeout_ms = wanted->route->connect_timeout_ms,
        .avoid = wanted->upstream != NULL ? &wanted->upstream->avoid : NULL,
    };
    conn->worker = wanted->worker;
    conn->upstream = wanted->upstream;
    conn->user = user;
    conn->data = data;
    conn->sock.watcher.fd = -1;
    conn->sock.poller = &conn->worker->loop->poller;
    conn->give_up_at = loop_now(conn->worker->loop) + options.timeout_ms;
    conn->wake_at = UINT64_MAX;
    conn->dial = dial_start(conn->worker->loop, &options, on_dialed, conn);
    if (conn->dial == NULL) {
        free(conn);
        return NULL;
    }
    uv_timer_init(&conn->worker->loop->uv, &conn->timer);
    conn->timer.data = conn;
    if (conn->upstream != NULL) {
        conn->upstream->users++;
    }
    return conn;
}

/* ---- Whether what is kept is still what would be made now ---- */

static void close_idle(struct upstream *upstream)
{
    struct upstream_conn *conn;
    while ((conn = TAILQ_FIRST(&upstream->idle)) != NULL) {
        conn_close(conn, false);
    }
}

static bool same_ip(const struct sockaddr_any *a, const struct sockaddr_any *b)
{
    const struct sockaddr_in6 *six = (const void *)&a->u, *other_six = (const void *)&b->u;
    const struct sockaddr_in *four = (const void *)&a->u, *other_four = (const void *)&b->u;
    if (a->u.base.sa_family != b->u.base.sa_family) {
        return false;
    }
    return a->u.base.sa_family == AF_INET6
               ? memcmp(&six->sin6_addr, &other_six->sin6_addr, sizeof six->sin6_addr) == 0
               : four->sin_addr.s_addr == other_four->sin_addr.s_addr;
}

static bool leads_there(const struct upstream *upstream, const struct upstream_conn *conn)
{
    for (unsigned i = 0; i < upstream->addresses.count; i++) {
        if (same_ip(&upstream->addresses.address[i], &conn->peer)) {
            return true;
        }
    }
    return !upstream->knows_addresses;
}

static void take_addresses(struct upstream *upstream, const struct resolved *answer)
{
    upstream->addresses = *answer;
    upstream->knows_addresses = true;
    struct upstream_conn *conn, *next;
    for (conn = TAILQ_FIRST(&upstream->idle); conn != NULL; conn = next) {
        next = TAILQ_NEXT(conn, link);
        if (!leads_there(upstream, conn)) {
            conn_close(conn, false);
        }
    }
}

/* A name that cannot be looked up now leads where it did. */
static void on_resolved(struct resolve_request *request, enum reason why, const struct resolved *answer)
{
    struct upstream *upstream = request->data;
    upstream->asking = false;
    if (why == REASON_NONE && !answer->stale) {
        take_addresses(upstream, answer);
    }
}

static void look_at_name(struct upstream *upstream)
{
    const struct addr *to = &upstream->route->to;
    struct resolved answer;
    if (to->kind != ADDR_TCP || to->literal || upstream->asking) {
        return;
    }
    if (upstream->idle_count == 0) {
        upstream->knows_addresses = false; /* what is made now leads to the present ones */
        return;
    }
    int r =
        resolve_start(upstream->worker->loop->resolver, to->host, &upstream->request, on_resolved, &answer);
    upstream->asking = r == 0;
    if (r == 1) {
        take_addresses(upstream, &answer);
    }
}

static int look(struct upstream *upstream, struct error *err)
{
    uint64_t now = loop_now(upstream->worker->loop);
    if (upstream->looked_at != 0 && now - upstream->looked_at < LOOK_MS) {
        return 0;
    }
    int r = upstream->tls != NULL ? tls_client_refresh(upstream->tls, err) : 0;
    if (r < 0) {
        return r;
    }
    if (r == 1) {
        close_idle(upstream);
    }
    upstream->looked_at = now;
    look_at_name(upstream);
    return 0;
}

/* ---- Leases ---- */

static bool is_silent(const struct upstream_conn *conn)
{
    return conn->secure ? tls_stream_silent(&conn->tls) : sock_stream_silent(&conn->sock);
}

/* The one that was used last: it is the least likely to be closed by the upstream just now. Its end may have come and not been
 * reported yet, in this turn of the loop; or an answer that nobody asked for, which would be taken for the one to this request. */
static struct upstream_conn *first_idle(const struct upstream_wanted *wanted)
{
    struct upstream_conn *conn = NULL;
    if (wanted->upstream == NULL || wanted->fresh) {
        return NULL;
    }
    while ((conn = TAILQ_FIRST(&wanted->upstream->idle)) != NULL && !is_silent(conn)) {
        conn_close(conn, false);
    }
    return conn;
}

static struct upstream_conn *take_idle(const struct upstream_wanted *wanted, const struct upstream_user *user,
                                       void *data)
{
    struct upstream_conn *conn = first_idle(wanted);
    if (conn == NULL) {
        return NULL;
    }
    leave_idle(wanted->upstream, conn);
    conn->state = CONN_LEASED;
    conn->reused = true;
    conn->user = user;
    conn->data = data;
    forward_count(&conn->worker->stats.reused, 1);
    return conn;
}

enum http_refusal upstream_lease(const struct upstream_wanted *wanted, const struct upstream_user *user,
                                 void *data, struct upstream_conn **ret, struct error *err)
{
    int r = wanted->upstream != NULL ? look(wanted->upstream, err) : 0;
    if (r < 0) {
        return r == -ENOMEM ? HTTP_REFUSED_NO_MEMORY : HTTP_REFUSED_TLS_FILES;
    }
    *ret = take_idle(wanted, user, data);
    if (*ret == NULL) {
        *ret = conn_new(wanted, user, data);
    }
    if (*ret == NULL) {
        error_set(err, 0, "cannot connect to the upstream: out of memory");
        return HTTP_REFUSED_NO_MEMORY;
    }
    return HTTP_REFUSED_NONE;
}

static void keep(struct upstream_conn *conn)
{
    struct upstream *upstream = conn->upstream;
    conn->state = CONN_IDLE;
    conn->idle_since = loop_now(conn->worker->loop);
    TAILQ_INSERT_HEAD(&upstream->idle, conn, link);
    upstream->idle_count++;
    forward_count(&conn->worker->stats.idle, 1);
    upstream_conn_wake(conn, conn->idle_since + upstream->route->forward->keep_ms);
}

void upstream_release(struct upstream_conn *conn, enum upstream_end end)
{
    struct upstream *upstream = conn->upstream;
    if (end == UPSTREAM_KEEP && upstream != NULL &&
        upstream->idle_count < upstream->route->forward->max_idle && !conn->stream->hung_up &&
        leads_there(upstream, conn)) {
        keep(conn);
    } else {
        conn_close(conn, end == UPSTREAM_CUT);
    }
}

void upstream_close_all(struct forward_worker *worker)
{
    struct upstream *upstream, *next;
    for (upstream = LIST_FIRST(&worker->upstreams); upstream != NULL; upstream = next) {
        next = LIST_NEXT(upstream, link);
        close_idle(upstream);
        upstream_free(upstream);
    }
}
