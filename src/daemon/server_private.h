/* The server's insides, shared by server.c (its life) and reload.c (changing the rules). Main thread only. */
#ifndef POSTERN_DAEMON_SERVER_PRIVATE_H
#define POSTERN_DAEMON_SERVER_PRIVATE_H

#include "base/error.h"
#include "daemon/admin.h"
#include "daemon/control.h"
#include "daemon/notify.h"
#include "daemon/rules.h"
#include "daemon/server.h"
#include "daemon/sockets.h"
#include "daemon/spool_keeper.h"
#include "daemon/worker.h"
#include <uv.h>

/* An admin or metrics listener: on its own, since a reload may replace it while it answers. */
struct admin_listener {
    struct admin admin;
    struct bound_socket socket;
};

struct server {
    const struct server_options *options;
    uv_loop_t loop;
    uv_signal_t hangup, terminate, interrupt;
    uv_async_t emptied;  /* the last stream, or the last session, ended while draining */
    uv_timer_t deadline; /* of the drain */
    uv_timer_t watchdog;
    uint64_t watchdog_ms; /* 0: nobody watches */
    uint64_t orders_ms;   /* see server_await_orders() */
    enum server_state state;
    bool terminated;   /* by a signal: the next one ends it at once */
    uint64_t began_ns; /* of a clock that nobody sets */
    struct activation activation;
    struct counters counters;
    struct spool_keeper spool;
    struct rules *rules;
    struct config *began; /* what it was started with; some of that no reload changes. NULL: not started */
    struct socket_set sockets;
    struct worker_set workers;
    struct admin_listener *admin, *metrics; /* NULL: not wanted */
    struct server_view view;
    struct worker_view *worker_views;
    char last_error[ERROR_TEXT_MAX];
};

/* Puts `config` in force, at the start or in the place of another: sockets, doors, admin listeners, log.
 * Takes the reference over. All or nothing. Returns 0 or a negative errno value. */
int server_apply(struct server *server, struct config *config, struct text *verdict,
                 struct error *err) MUST_CHECK;

/* Waits until the workers have done what a start, a reload or a drain told them to: it is a matter of their turns. One
 * that does not return from a turn must not take the main thread along, so after `orders_ms` it is left alone with its
 * orders, and `late` says so. Returns whether all is done. */
bool server_await_orders(struct server *server, struct text *late);

/* Tells the service manager that the daemon is alive, if it is. Now and then. */
void server_tell_watchdog(struct server *server);

/* Closes an admin listener; its memory goes when the loop has closed it. NULL is harmless. */
void server_close_admin(struct admin_listener *listener);

/* The line for `systemctl status`. */
void server_status_line(const struct server *server, char *buffer, size_t size);

#endif
