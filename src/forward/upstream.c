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
#include <stdlib.h>
#include <string.h>

static void on_upstream_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static void upstream_free(struct upstream *upstream)
{
    LIST_REMOVE(upstream, link);
    config_unref(upstream->config);
    uv_close((uv_handle_t *)&upstream->timer, on_upstream_closed);
}

static void on_unused(uv_timer_t *timer)
{
    upstream_free(timer->data);
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
        upstream = calloc(1, sizeof *upstream);
        if (upstream == NULL) {
            return NULL;
        }
        upstream->worker = worker;
        upstream->config = config_ref((struct config *)config); /* its count is all that changes */
        upstream->route = route;
        TAILQ_INIT(&upstream->idle);
        uv_timer_init(&worker->loop->uv, &upstream->timer);
        upstream->timer.data = upstream;
        LIST_INSERT_HEAD(&worker->upstreams, upstream, link);
    }
    upstream->users++;
    uv_timer_stop(&upstream->timer);
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

static void leave_idle(struct upstream_conn *conn)
{
    TAILQ_REMOVE(&conn->upstream->idle, conn, link);
    conn->upstream->idle_count--;
    forward_count(&conn->worker->stats.idle, -1);
}

static void conn_close(struct upstream_conn *conn, bool abort)
{
    dial_cancel(conn->dial);
    if (is_open(conn)) {
        forward_count(&conn->worker->stats.open, -1);
    }
    if (conn->state == CONN_IDLE) {
        leave_idle(conn);
    }
    conn->state = CONN_CLOSED;
    sock_stream_close(&conn->sock, abort);
    uv_close((uv_handle_t *)&conn->timer, on_conn_closed);
    if (conn->upstream != NULL) {
        upstream_put(conn->upstream);
    }
}

/* Bytes that nobody asked for, or the end: either way it can carry no request. */
static void on_sock_ready(struct stream *stream, unsigned events)
{
    struct upstream_conn *conn = CONTAINER_OF(stream, struct upstream_conn, sock.stream);
    if (conn->state == CONN_LEASED) {
        conn->user->ready(conn->data, events);
    } else if ((events & STREAM_READABLE) != 0) {
        conn_close(conn, false);
    }
}

static void on_timer(uv_timer_t *timer)
{
    struct upstream_conn *conn = timer->data;
    conn->wake_at = UINT64_MAX;
    if (conn->state == CONN_LEASED) {
        conn->user->expired(conn->data);
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

static enum http_refusal refusal_of(enum reason why)
{
    switch (why) {
    case REASON_DNS_NOT_FOUND:
    case REASON_DNS_TIMEOUT:
    case REASON_DNS_FAILED:
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

static void fail(struct upstream_conn *conn, enum http_refusal why, const struct error *err)
{
    forward_count(&conn->worker->stats.failed, 1);
    conn->user->opened(conn->data, why, err);
}

static void succeed(struct upstream_conn *conn)
{
    conn->state = CONN_LEASED;
    conn->stream = &conn->sock.stream;
    forward_count(&conn->worker->stats.opened, 1);
    forward_count(&conn->worker->stats.open, 1);
    conn->user->opened(conn->data, HTTP_REFUSED_NONE, NULL);
}

static void on_dialed(void *data, enum reason why, const struct dialed *dialed, const struct error *err)
{
    struct upstream_conn *conn = data;
    conn->dial = NULL;
    if (why != REASON_NONE) {
        fail(conn, refusal_of(why), err);
        return;
    }
    struct sock_kind_options kind = {.kind = dialed->kind};
    int r =
        sock_stream_adopt(&conn->sock, &conn->worker->loop->poller, dialed->watcher, &kind, on_sock_ready);
    if (r != 0) {
        struct error adopt;
        error_errno(&adopt, r, "cannot watch the connection to the upstream");
        fail(conn, HTTP_REFUSED_NO_MEMORY, &adopt);
        return;
    }
    conn->peer = *dialed->peer;
    succeed(conn);
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
        .timeout_ms = wanted->route->connect_timeout_ms,
    };
    conn->worker = wanted->worker;
    conn->upstream = wanted->upstream;
    conn->user = user;
    conn->data = data;
    conn->sock.watcher.fd = -1;
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

/* The one that was used last: it is the least likely to be closed by the upstream just now. */
static struct upstream_conn *take_idle(const struct upstream_wanted *wanted, const struct upstream_user *user,
                                       void *data)
{
    struct upstream_conn *conn =
        wanted->upstream == NULL || wanted->fresh ? NULL : TAILQ_FIRST(&wanted->upstream->idle);
    if (conn == NULL) {
        return NULL;
    }
    leave_idle(conn);
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
        upstream->idle_count < upstream->route->forward->max_idle && !conn->stream->hung_up) {
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
        struct upstream_conn *conn;
        while ((conn = TAILQ_FIRST(&upstream->idle)) != NULL) {
            conn_close(conn, false);
        }
        upstream_free(upstream);
    }
}
