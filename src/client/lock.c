/* The lock, and the end of a connection's memory: see postern_private.h. */
#include "client/postern_private.h"

#include <errno.h>
#include <stdlib.h>

int postern_check_process(const struct postern *postern, struct postern_error *err)
{
    return owner_is_caller(&postern->owner)
               ? 0
               : postern_fail(
                     err, -ECHILD,
                     "the connection belongs to the process that made it: make another after fork()");
}

int postern_enter(struct postern *postern, struct postern_error *err)
{
    int status = postern_check_process(postern, err);

    if (status == 0 && postern->threaded) {
        pthread_mutex_lock(&postern->lock);
    }
    return status;
}

bool postern_enter_to_end(struct postern *postern)
{
    bool ours = owner_is_caller(&postern->owner);

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
        postern_appoint_reader(postern);
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
    owner_release(&postern->owner);
    free(postern);
}
