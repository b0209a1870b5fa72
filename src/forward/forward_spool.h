/*
 * What one worker has of the spool: a port, and the way from the spool's threads into the worker's loop. Intakes and
 * deliveries of the worker go through it.
 *
 *     forward_spool_init()        no spool: intakes are refused, with `why`
 *     forward_spool_attach()      there is one; at most once
 *     forward_spool_close()       after the last intake and delivery ended; the loop closes the handle
 *
 * Lifetimes: the worker embeds it; the spool outlives it. Everything on the worker's thread.
 */
#ifndef POSTERN_FORWARD_FORWARD_SPOOL_H
#define POSTERN_FORWARD_FORWARD_SPOOL_H

#include "base/compiler.h"
#include "base/error.h"
#include "forward/ids.h"
#include "net/loop.h"
#include "spool/spool.h"
#include <sys/queue.h>

struct intake;

struct forward_spool {
    struct loop *loop;
    struct spool_port *port; /* NULL: there is no spool ... */
    struct error why;        /* ... for this reason, for the log */

    /* Private. */
    struct forward_ids keys; /* for requests that come without one */
    uv_async_t wake;
    TAILQ_HEAD(, intake) over; /* that have ended, and are to be told of it from the loop */
};

/* Returns 0 or a negative errno value. forward_spool_close() must follow a success. */
int forward_spool_init(struct forward_spool *spool, struct loop *loop) MUST_CHECK;

/* Returns 0 or a negative errno value: then there is still none. */
int forward_spool_attach(struct forward_spool *spool, struct spool *of, struct error *err) MUST_CHECK;

/* The memory is the caller's again when the loop has closed the handle. */
void forward_spool_close(struct forward_spool *spool);

#endif
