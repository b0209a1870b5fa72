/*
 * Who reads a threaded connection's socket, and how functions wait.
 *
 * At most one thread at a time is the reader (`reading`): it waits for the socket, takes what comes, and puts it where it is
 * waited for. It is one of two:
 *
 * - A function that waits for something to come becomes the reader if nobody is, so that its answer comes without a
 *   switch of threads. It reads for all, until what it waits for is there or its time is over. A function that finds a reader
 *   there *follows*: it sleeps until it is woken. So does one that waits for room alone: it has bytes to send, and what
 *   comes for others is not to wait meanwhile.
 * - The keeper, the library's own thread, reads when something comes, or is due, while no function reads. It alone
 *   connects: to look up a name may take longer than a caller has time. So while there is no session, functions follow.
 *
 * postern_appoint_reader() is called by whoever lets go of the lock while nobody reads, and keeps the rule that nothing which
 * comes goes unheard: then one of the followers has been woken, who will read, or the guard is on, which wakes the
 * keeper (connection.h). One who was woken to read, but whose time is over or whose answer is there, leaves instead,
 * and in leaving appoints the next.
 *
 * What somebody else waits for is told by postern_wake(): to a follower by its condition, to the reader by having it come
 * back from the kernel, if it is another thread. Nobody needs to tell the reader what it has just read itself.
 */
#include "client/clock.h"
#include "client/postern_private.h"

#include <errno.h>
#include <signal.h>

/* ---- The reader ---- */

typedef void read_function(struct connection *connection, int wait_ms);

static void read_for_all(struct postern *postern, read_function *read, int wait_ms)
{
    postern->reading = true;
    read(postern->connection, wait_ms);
    streams_expire(postern, clock_ms());
    postern_flush(postern);
    postern->reading = false;
    if (connection_is_over(postern->connection)) {
        postern_wake(postern, &postern->waiters, POSTERN_CHANGED);
    }
}

void postern_turn(struct postern *postern)
{
    read_for_all(postern, connection_process, 0);
}

static bool may_functions_read(const struct postern *postern)
{
    return connection_is_ready(postern->connection) && !postern->stopping;
}

static bool wants_room_alone(unsigned events)
{
    return events == POSTERN_WRITABLE;
}

static struct waiter *next_reader(const struct postern *postern)
{
    struct waiter *waiter;

    if (!may_functions_read(postern)) {
        return NULL;
    }
    TAILQ_FOREACH (waiter, &postern->followers, in_followers) {
        if (!wants_room_alone(waiter->events)) {
            return waiter;
        }
    }
    return NULL;
}

/* In a child process there is nobody. */
void postern_appoint_reader(struct postern *postern)
{
    struct waiter *next;

    if (postern->reading || !postern->connection || postern->inherited) {
        return;
    }
    next = next_reader(postern);
    connection_guard(postern->connection, next == NULL);
    if (next) {
        (void)pthread_cond_signal(&next->wake);
    }
    if (postern->stopping) {
        connection_wake(postern->connection);
    }
}

/* ---- Functions that wait ---- */

struct deadline postern_deadline(const struct postern *postern, int timeout_ms)
{
    struct deadline deadline = {.timeout_ms = postern->threaded ? timeout_ms : 0};

    if (deadline.timeout_ms > 0) {
        deadline.at = clock_us() + (uint64_t)timeout_ms * 1000;
    }
    return deadline;
}

/* Rounded up, so as not to come back too early again and again. */
static int left_ms(const struct deadline *until)
{
    uint64_t now;

    if (until->timeout_ms < 0) {
        return -1;
    }
    now = clock_us();
    return until->at > now ? (int)((until->at - now + 999) / 1000) : 0;
}

static int read_and_wait(struct postern *postern, struct waiter *waiter, const struct deadline *until)
{
    waiter->reads = true;
    connection_guard(postern->connection, false);
    read_for_all(postern, connection_read, left_ms(until));
    waiter->reads = false;
    return left_ms(until) == 0 ? -ETIMEDOUT : 0;
}

static int follow(struct postern *postern, struct waiter *waiter, const struct deadline *until)
{
    const struct timespec at = {.tv_sec = (time_t)(until->at / 1000000),
                                .tv_nsec = (long)(until->at % 1000000) * 1000};
    int error;

    postern_appoint_reader(postern);
    TAILQ_INSERT_TAIL(&postern->followers, waiter, in_followers);
    if (until->timeout_ms < 0) {
        error = pthread_cond_wait(&waiter->wake, &postern->lock);
    } else {
        error = pthread_cond_timedwait(&waiter->wake, &postern->lock, &at);
    }
    TAILQ_REMOVE(&postern->followers, waiter, in_followers);
    return error == 0 ? 0 : -ETIMEDOUT;
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
    waiter->reads = false;
}

int postern_wait(struct postern *postern, struct waiters *list, unsigned events, const struct deadline *until)
{
    struct waiter waiter;
    int status;

    if (until->timeout_ms == 0) {
        return -EAGAIN;
    }
    waiter_init(&waiter, events);
    TAILQ_INSERT_TAIL(list, &waiter, entry);
    if (postern->reading || !may_functions_read(postern) || wants_room_alone(events)) {
        status = follow(postern, &waiter, until);
    } else {
        status = read_and_wait(postern, &waiter, until);
    }
    TAILQ_REMOVE(list, &waiter, entry);
    (void)pthread_cond_destroy(&waiter.wake);
    return status;
}

/* In a child process nobody waits, whatever the lists say. */
void postern_wake(struct postern *postern, struct waiters *list, unsigned events)
{
    struct waiter *waiter;

    if (postern->inherited) {
        return;
    }
    TAILQ_FOREACH (waiter, list, entry) {
        if (!(waiter->events & events)) {
            continue;
        }
        if (waiter->reads) {
            connection_wake(postern->connection);
        } else {
            (void)pthread_cond_signal(&waiter->wake);
        }
    }
}

/* ---- The keeper ---- */

static void *keep(void *arg)
{
    struct postern *postern = arg;

    pthread_mutex_lock(&postern->lock);
    while (!postern->stopping) {
        connection_watch(postern->connection);
        if (!postern->reading && !postern->stopping) {
            postern_turn(postern);
        }
        postern_appoint_reader(postern);
    }
    pthread_mutex_unlock(&postern->lock);
    return NULL;
}

/* No signal of the program's is to be handled on a thread that it does not know of. */
int postern_start_keeper(struct postern *postern, struct postern_error *err)
{
    sigset_t all, before;
    int error;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    error = pthread_create(&postern->keeper, NULL, keep, postern);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error == 0 ? 0 : postern_fail(err, -error, "cannot connect: no thread could be made");
}

void postern_stop_keeper(struct postern *postern)
{
    const struct deadline forever = {.timeout_ms = -1};
    int status = 0;

    postern->stopping = true;
    postern_appoint_reader(postern);
    pthread_mutex_unlock(&postern->lock);
    pthread_join(postern->keeper, NULL);
    pthread_mutex_lock(&postern->lock);
    while (postern->away > 0 && status == 0) {
        status = postern_wait(postern, &postern->waiters, POSTERN_CHANGED, &forever);
    }
}

/* ---- System calls of the connection's, without the lock ---- */

void postern_unlock_meanwhile(void *user)
{
    struct postern *postern = user;

    postern->away++;
    pthread_mutex_unlock(&postern->lock);
}

void postern_lock_again(void *user)
{
    struct postern *postern = user;

    pthread_mutex_lock(&postern->lock);
    if (--postern->away == 0 && postern->stopping) {
        postern_wake(postern, &postern->waiters, POSTERN_CHANGED);
    }
}
