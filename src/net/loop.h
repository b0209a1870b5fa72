/*
 * One event loop with what everything on it shares: the poller, the resolver, and a piece of memory for bytes
 * that are read and written within one call. One thread owns it, and all that it carries.
 */
#ifndef POSTERN_NET_LOOP_H
#define POSTERN_NET_LOOP_H

#include "base/compiler.h"
#include "base/error.h"
#include "net/pipe_pool.h"
#include "net/poller.h"
#include "net/resolve.h"
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#define LOOP_SCRATCH_SIZE ((size_t)64 * 1024)
#define LOOP_BUFFER_SIZE  ((size_t)128 * 1024)

struct loop {
    uv_loop_t uv;
    struct poller poller;
    struct resolver *resolver;
    struct resolver_stats dns; /* of the loop that was first, for all that were made beside it */
    struct pipe_pool pipes;
    unsigned char *scratch; /* LOOP_SCRATCH_SIZE bytes, never held across a return to the loop */
    uint64_t turn_began_ns; /* see loop_turn_began(); 0: none has, since the last one ended */
    uint64_t turn_ended_ns;
    unsigned char
        *spare; /* one kept of the buffers that are lent; NULL: it is lent itself, or was never needed */
};

/* Returns 0 or a negative errno value. */
int loop_init(struct loop *loop, const struct resolver_options *dns, struct error *err) MUST_CHECK;

/* The same for one more loop, which shares with `first` what names resolve to: see resolver_join(). */
int loop_init_beside(struct loop *loop, struct loop *first, struct error *err) MUST_CHECK;

/* Closes what loop_init() made, runs the loop until the last handle is closed, and frees it. Everything
 * else on the loop must have been closed before. On the loop's own thread, outside of uv_run(). */
void loop_close(struct loop *loop);

/* Lends LOOP_BUFFER_SIZE bytes, to be held as long as need be, and takes them back. NULL: out of memory. */
unsigned char *loop_lend(struct loop *loop) MUST_CHECK;
void loop_take_back(struct loop *loop, unsigned char *buffer);

/*
 * For who times the loop's turns. A turn is what happens between two waits for events. libuv calls, in this order: timers, idle
 * handles, prepare handles, then waits, then what the wait brought (the poller's batch, asyncs, the resolver's sockets, in no order
 * of ours), and check handles. No hook comes right after the wait, so loop_turn_began() is for whatever may be the first to run:
 * the first of its calls in a turn counts, or the poller's batch if that was before. The check handle is there for turns that had
 * neither. (UV_METRICS_IDLE_TIME would tell exactly, at the price of a second epoll_wait() a turn.)
 *
 * loop_turn_ended() is for a prepare handle, and returns how long the turn was, in nanoseconds; 0 if none had begun. Of its prepare
 * handles libuv calls first the one that was started last, and poller_again() reports from one that it starts when it is needed: so
 * the handle that times is to be started before anything runs, and is then the last before the wait.
 */
void loop_turn_began(struct loop *loop);
uint64_t loop_turn_ended(struct loop *loop);

/* Milliseconds of a clock that never goes back, as of this turn of the loop. */
static inline uint64_t loop_now(const struct loop *loop)
{
    return uv_now(&loop->uv);
}

#endif
