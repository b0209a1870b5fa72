/*
 * What the admin socket may ask of the daemon. server.c implements it; admin.c, status.c and metrics.c
 * see no more of the daemon than this. Main thread only.
 */
#ifndef POSTERN_DAEMON_CONTROL_H
#define POSTERN_DAEMON_CONTROL_H

#include "base/text.h"
#include "config/config.h"
#include "daemon/counters.h"
#include "forward/worker.h"
#include "net/resolve.h"
#include <stdint.h>

enum server_state { SERVER_STARTING, SERVER_READY, SERVER_DRAINING };

struct worker_view {
    unsigned active; /* streams the worker carries */
    unsigned sessions;
    uint64_t busy_ms; /* how long its loop has been in one turn; 0 while it waits */
    const struct resolver_stats *dns;
    const struct forward_stats *upstreams;
};

struct server_view {
    enum server_state state;
    const struct config *config; /* the one in force */
    const struct counters *counters;
    const struct worker_view *workers;
    unsigned worker_count;
    uint64_t uptime_s;
    uint64_t drain_left_ms; /* while draining */
    uint64_t body_memory;   /* bytes of bodies that wait to be signed, or to be taken by their upstreams */
    const struct spool_keeper *spool;
    const char *last_error; /* what the last refused reload said; "" if the last was accepted */
};

struct server; /* opaque */
struct spool_keeper;

/* What it has of the spool. */
struct spool_keeper *server_spool(struct server *server);

/* A picture of now, valid until the next call into the server. */
const struct server_view *server_view(struct server *server);

/* Reads the file again and puts it in force, or leaves everything as it was. Returns 0 or a negative errno
 * value, and in `verdict` the mistakes, or a line that says what changed. Complete when it returns. */
int server_reload(struct server *server, struct text *verdict);

/* Stops accepting, lets streams finish for `deadline_ms` (0: the configured drain_timeout), then exits. While that goes on already, an
 * earlier deadline counts, and a later one does not. */
void server_drain(struct server *server, uint64_t deadline_ms);

#endif
