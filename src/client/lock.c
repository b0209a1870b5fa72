/* The lock, waiting, and the end of a connection's memory: see postern_private.h. */
#include "client/clock.h"
#include "client/postern_private.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

int postern_enter(struct postern *postern, struct postern_error *err)
{
    if (getpid() != postern->owner) {
        return postern_fail(err, -ECHILD,
                            "the connection belongs to the process that made it: make another after fork()");
    }
    if (postern->threaded) {
        pthread_mutex_lock(&postern->lock);
    }
    return 0;
}

bool postern_enter_to_end(struct postern *postern)
{
    bool ours = getpid() == postern->owner;

    if (!ours) {
        postern->inherited = true;
    }
    if (!postern->threaded) {
        return true;
    }
    if (!ours) {
        return pthread_mutex_trylock(&postern->lock) == 0;
    }
    pthread_mutex_lock(&postern->lock);
    return true;
}

void postern_flush(struct postern *postern)
{
    if (postern->connection && !postern->inherited) {
        connection_flush(postern->connection);
    }
    streams_free_ended(postern);
}

static void unlock(struct postern *postern)
{
    if (postern->threaded) {
        pthread_mutex_unlock(&postern->lock);
    }
}

void postern_leave(struct postern *postern)
{
    postern_flush(postern);
    unlock(postern);
}

void postern_leave_unwritten(struct postern *postern)
{
    if (postern->threaded) {
        postern_flush(postern);
    } else {
        streams_free_ended(postern);
    }
    unlock(postern);
}

void postern_reference(struct postern *postern)
{
    postern->references++;
}

void postern_unreference(struct postern *postern)
{
    bool last = --postern->references == 0;

    postern_leave_unwritten(postern);
    if (last) {
        postern_free(postern);
    }
}

void postern_free(struct postern *postern)
{
    if (postern->threaded) {
        pthread_mutex_destroy(&postern->lock);
    }
    failure_clear(&postern->loss);
    free(postern);
}

struct deadline postern_deadline(const struct postern *postern, int timeout_ms)
{
    struct deadline deadline = {.timeout_ms = postern->threaded ? timeout_ms : 0};

    if (deadline.timeout_ms <= 0) {
        return deadline;
    }
    (void)clock_gettime(CLOCK_MONOTONIC, &deadline.at);
    deadline.at.tv_sec += timeout_ms / 1000;
    deadline.at.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
    if (deadline.at.tv_nsec >= 1000000000) {
        deadline.at.tv_sec++;
        deadline.at.tv_nsec -= 1000000000;
    }
    return deadline;
}

static void waiter_init(struct waiter *waiter, unsigned events)
{
    pthread_condattr_t attributes;

    /* None of these can fail as they are used here. */
    (void)pthread_condattr_init(&attributes);
    (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&waiter->wake, &attributes);
    (void)pthread_condattr_destroy(&attributes);
    waiter->events = events;
}

int postern_wait(struct postern *postern, struct waiters *list, unsigned events, const struct deadline *until)
{
    struct waiter waiter;
    int error;

    if (until->timeout_ms == 0) {
        return -EAGAIN;
    }
    waiter_init(&waiter, events);
    TAILQ_INSERT_TAIL(list, &waiter, entry);
    if (until->timeout_ms < 0) {
        error = pthread_cond_wait(&waiter.wake, &postern->lock);
    } else {
        error = pthread_cond_timedwait(&waiter.wake, &postern->lock, &until->at);
    }
    TAILQ_REMOVE(list, &waiter, entry);
    (void)pthread_cond_destroy(&waiter.wake);
    return error == 0 ? 0 : -ETIMEDOUT;
}

void postern_wake(struct waiters *list, unsigned events)
{
    struct waiter *waiter;

    TAILQ_FOREACH (waiter, list, entry) {
        if (waiter->events & events) {
            (void)pthread_cond_signal(&waiter->wake);
        }
    }
}
