/* One event loop and what is shared on it: see loop.h. */
#include "net/loop.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* One of `dns` and `first` is NULL. */
static int init(struct loop *loop, const struct resolver_options *dns, struct loop *first, struct error *err)
{
    int rv;
    memset(loop, 0, sizeof *loop);
    pipe_pool_init(&loop->pipes);
    loop->scratch = malloc(LOOP_SCRATCH_SIZE);
    if (loop->scratch == NULL) {
        return error_errno(err, -ENOMEM, "cannot start an event loop");
    }
    rv = uv_loop_init(&loop->uv);
    if (rv != 0) {
        error_errno(err, rv, "cannot start an event loop");
        goto err_scratch;
    }
    rv = poller_init(&loop->poller, &loop->uv);
    if (rv != 0) {
        error_errno(err, rv, "cannot start an event loop's poller");
        goto err_loop;
    }
    rv = first != NULL ? resolver_join(&loop->uv, first->resolver, &loop->resolver, err)
                       : resolver_new(&loop->uv, dns, &loop->dns, &loop->resolver, err);
    if (rv != 0) {
        goto err_poller;
    }
    return 0;

err_poller:
    poller_close(&loop->poller, NULL, NULL);
err_loop:
    (void)uv_run(&loop->uv, UV_RUN_DEFAULT);
    (void)uv_loop_close(&loop->uv);
err_scratch:
    free(loop->scratch);
    return rv;
}

int loop_init(struct loop *loop, const struct resolver_options *dns, struct error *err)
{
    return init(loop, dns, NULL, err);
}

int loop_init_beside(struct loop *loop, struct loop *first, struct error *err)
{
    return init(loop, NULL, first, err);
}

void loop_close(struct loop *loop)
{
    resolver_close(loop->resolver, NULL, NULL);
    poller_close(&loop->poller, NULL, NULL);
    (void)uv_run(&loop->uv, UV_RUN_DEFAULT);
    (void)uv_loop_close(&loop->uv);
    pipe_pool_release(&loop->pipes);
    free(loop->scratch);
    free(loop->spare);
}

void loop_turn_began(struct loop *loop)
{
    if (loop->turn_began_ns == 0) {
        uint64_t fetched_ns = poller_fetched_ns(&loop->poller);
        loop->turn_began_ns = fetched_ns > loop->turn_ended_ns ? fetched_ns : uv_hrtime();
    }
}

uint64_t loop_turn_ended(struct loop *loop)
{
    loop->turn_ended_ns = uv_hrtime();
    uint64_t took_ns = loop->turn_began_ns != 0 ? loop->turn_ended_ns - loop->turn_began_ns : 0;
    loop->turn_began_ns = 0;
    return took_ns;
}

unsigned char *loop_lend(struct loop *loop)
{
    unsigned char *buffer = loop->spare;
    loop->spare = NULL;
    return buffer != NULL ? buffer : malloc(LOOP_BUFFER_SIZE);
}

void loop_take_back(struct loop *loop, unsigned char *buffer)
{
    if (loop->spare == NULL) {
        loop->spare = buffer;
    } else {
        free(buffer);
    }
}
