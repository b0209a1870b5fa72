/*
 * The admin and the metrics listener: what may be asked over HTTP, and what is answered.
 *
 *     path      methods    on                what
 *     /metrics  GET        both              the counters, for Prometheus
 *     /healthz  GET        both              200 while the event loops turn, else 503
 *     /readyz   GET        both              200 while new streams are opened; 503 when starting or draining
 *     /status   GET        the admin socket  all of it, as JSON
 *     /reload   POST       the admin socket  200 and what changed, or 422 and the mistakes
 *     /drain    POST       the admin socket  202; ?deadline=30s instead of drain_timeout
 *     /spool/... both       the admin socket  see spool_admin.h
 *
 * Any other path is 404, any other method 405. Who may ask is settled by the socket's file mode; a request
 * that a browser makes on behalf of a page (it carries Origin) changes nothing.
 */
#ifndef POSTERN_DAEMON_ADMIN_H
#define POSTERN_DAEMON_ADMIN_H

#include "base/compiler.h"
#include "daemon/control.h"
#include "http/server.h"

enum admin_role { ADMIN_ROLE_ADMIN, ADMIN_ROLE_METRICS };

/* A worker whose loop is in one turn for as long as this is hung, and /healthz says so. */
#define ADMIN_HUNG_MS 5000

struct admin {
    struct http_server http;
    struct server *server;
    enum admin_role role;
};

/* Answers on `fd`, a bound stream socket, which is the admin's from here on, whatever is returned: 0 or a
 * negative errno value. admin_close() must follow in both cases; its callback gives the memory back. */
int admin_start(struct admin *admin, uv_loop_t *loop, int fd, enum admin_role role,
                struct server *server) MUST_CHECK;
void admin_close(struct admin *admin, void (*cb)(void *data), void *data);

/* The answer to one request, without any socket. */
void admin_answer(struct server *server, enum admin_role role, const struct http_message *request,
                  struct http_answer *response);

#endif
