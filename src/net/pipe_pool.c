/* Pipes for splice(2): see pipe_pool.h. */
#include "net/pipe_pool.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

void pipe_pool_init(struct pipe_pool *pool)
{
    SLIST_INIT(&pool->kept);
    pool->kept_count = pool->count = 0;
}

static void destroy(struct pipe_pool *pool, struct pipe *pipe)
{
    close(pipe->read_fd);
    close(pipe->write_fd);
    free(pipe);
    pool->count--;
}

void pipe_pool_release(struct pipe_pool *pool)
{
    struct pipe *pipe;
    while ((pipe = SLIST_FIRST(&pool->kept)) != NULL) {
        SLIST_REMOVE_HEAD(&pool->kept, link);
        destroy(pool, pipe);
    }
    pool->kept_count = 0;
}

/* Past the user's soft limit of pipe pages the kernel hands out pipes of one or two pages. */
static size_t grow(int fd)
{
    int size = fcntl(fd, F_SETPIPE_SZ, (int)PIPE_SIZE);
    if (size < 0) {
        size = fcntl(fd, F_GETPIPE_SZ);
    }
    return size > 0 ? (size_t)size : 0;
}

static struct pipe *create(struct pipe_pool *pool)
{
    int fds[2];
    struct pipe *pipe = malloc(sizeof *pipe);
    if (pipe == NULL) {
        return NULL;
    }
    if (pipe2(fds, O_NONBLOCK | O_CLOEXEC) != 0) {
        free(pipe);
        return NULL;
    }
    *pipe = (struct pipe){.read_fd = fds[0], .write_fd = fds[1], .size = grow(fds[1])};
    pool->count++;
    if (pipe->size < PIPE_LEAST) {
        destroy(pool, pipe);
        return NULL;
    }
    return pipe;
}

struct pipe *pipe_pool_get(struct pipe_pool *pool)
{
    struct pipe *pipe = SLIST_FIRST(&pool->kept);
    if (pipe != NULL) {
        SLIST_REMOVE_HEAD(&pool->kept, link);
        pool->kept_count--;
        return pipe;
    }
    return pool->count < PIPES_MAX ? create(pool) : NULL;
}

void pipe_pool_put(struct pipe_pool *pool, struct pipe *pipe)
{
    if (pipe == NULL) {
        return;
    }
    if (pipe->held > 0 || pool->kept_count >= PIPES_KEPT) {
        destroy(pool, pipe);
        return;
    }
    SLIST_INSERT_HEAD(&pool->kept, pipe, link);
    pool->kept_count++;
}
