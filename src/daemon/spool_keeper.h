/*
 * The daemon's spool, as the main thread keeps it: opened when the first configuration asks for it, its bounds and policies set
 * by each, closed last. What workers do with it is in forward/.
 *
 * A spool that cannot be opened does not keep the daemon from its other routes: it is said in the log, in the status and in
 * the metrics, requests for it are refused with `spool_unavailable`, and each reload tries again.
 *
 * Lifetimes: the server embeds it. spool_keeper_close() comes after the workers have stopped and the admin listeners are
 * closed; the loop closes its handle. Main thread only.
 */
#ifndef POSTERN_DAEMON_SPOOL_KEEPER_H
#define POSTERN_DAEMON_SPOOL_KEEPER_H

#include "base/compiler.h"
#include "base/error.h"
#include "config/config.h"
#include "daemon/counters.h"
#include "spool/spool.h"
#include <stdbool.h>
#include <uv.h>

struct spool_keeper {
    struct spool *spool;             /* NULL: there is none ... */
    struct error why;                /* ... for this reason; "": no route asks for one */
    struct spool_port *port;         /* of the main thread, for what operators ask */
    char *path;                      /* owned; of the open spool, else NULL */
    const struct counters *counters; /* the server's to set; NULL: none are kept */

    /* The server's to set: has whoever delivers for the route (NULL: for any) probe its upstream at once, if that is held. NULL: nobody
     * delivers. Returns 0, or a negative errno value if some were not told. */
    int (*probe)(void *data, const char *route);
    void *data;

    uv_async_t wake;
};

/* Returns 0 or a negative errno value. */
int spool_keeper_init(struct spool_keeper *keeper, uv_loop_t *loop) MUST_CHECK;
void spool_keeper_close(struct spool_keeper *keeper);

/* Opens the spool if a route of `config` needs it and it is not open. A failure is told in the log and in `why`. */
void spool_keeper_open(struct spool_keeper *keeper, const struct config *config);

/* Sets its bounds and the policies of its routes, and tells of records whose route is none any more. When `config` is in force. */
void spool_keeper_apply(struct spool_keeper *keeper, const struct config *config);

/* Whether the open spool is another one than `config` says: that takes a restart. */
bool spool_keeper_differs(const struct spool_keeper *keeper, const struct config *config);

/* The route of that name if it spools; else NULL. */
const struct config_route *spool_route(const struct config *config, const char *name);

#endif
