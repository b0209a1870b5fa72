/* A worker's port to the spool: see forward_spool.h. */
#include "forward/forward_spool.h"

#include "forward/intake_private.h"
#include <assert.h>

/* The spool's threads fill the port, and end intakes that failed at once wait in `over`: both are told from here. */
static void on_wake(uv_async_t *wake)
{
    struct forward_spool *spool = wake->data;
    if (spool->port != NULL) {
        spool_port_run(spool->port);
    }
    intake_run(spool);
}

/* On a thread of the spool. */
static void wake_up(void *arg)
{
    struct forward_spool *spool = arg;
    (void)uv_async_send(&spool->wake);
}

int forward_spool_init(struct forward_spool *spool, struct loop *loop)
{
    spool->loop = loop;
    spool->port = NULL;
    TAILQ_INIT(&spool->over);
    error_set(&spool->why, 0, "no route of the parent was to use the spool when it started");
    spool->wake.data = spool;
    int rv = forward_ids_init(&spool->keys);
    return rv != 0 ? rv : uv_async_init(&loop->uv, &spool->wake, on_wake);
}

int forward_spool_attach(struct forward_spool *spool, struct spool *of, struct error *err)
{
    int rv = spool_port_open(of, wake_up, spool, &spool->port);
    if (rv == 0) {
        return 0;
    }
    spool->port = NULL;
    error_set(&spool->why, 0, "the parent ran out of memory");
    return error_errno(err, rv, "cannot open a port to the spool");
}

void forward_spool_close(struct forward_spool *spool)
{
    assert(TAILQ_EMPTY(&spool->over));
    if (spool->port != NULL) {
        spool_port_close(spool->port);
        spool->port = NULL;
    }
    uv_close((uv_handle_t *)&spool->wake, NULL);
}
