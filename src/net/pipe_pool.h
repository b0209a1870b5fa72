/*
 * Pipes for splice(2), lent to streams while bytes are on their way and taken back when they are
 * through: an idle stream holds none. One pool a worker, used on its thread only. Bounded: at most PIPES_MAX
 * pipes exist, and a stream that gets none copies instead.
 */
#ifndef POSTERN_NET_PIPE_POOL_H
#define POSTERN_NET_PIPE_POOL_H

#include "base/compiler.h"
#include <stddef.h>
#include <sys/queue.h>

#define PIPES_MAX  256               /* lent and kept together */
#define PIPES_KEPT 64                /* of those, kept open unused */
#define PIPE_SIZE  ((size_t)1 << 19) /* asked for. Twice that moved less a second, see docs/performance.md */
#define PIPE_LEAST \
    ((size_t)1 << 16) /* a pipe that came out smaller than this is not worth its system calls */

struct pipe {
    int read_fd, write_fd;
    size_t held; /* bytes inside */
    size_t size; /* the kernel's capacity */
    SLIST_ENTRY(pipe) link;
};

struct pipe_pool {
    SLIST_HEAD(, pipe) kept;
    unsigned kept_count;
    unsigned count; /* lent and kept */
};

void pipe_pool_init(struct pipe_pool *pool);
void pipe_pool_release(struct pipe_pool *pool); /* all lent pipes must be back */

/* An empty pipe; NULL when there is none to be had. */
struct pipe *pipe_pool_get(struct pipe_pool *pool) MUST_CHECK;

/* Takes one back; with bytes still inside it is closed. NULL is harmless. */
void pipe_pool_put(struct pipe_pool *pool, struct pipe *pipe);

#endif
