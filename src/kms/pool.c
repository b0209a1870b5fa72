/*
 * Connections to KMS: see pool.h.
 *
 * Under the lock nothing waits but for a place: connecting and closing are done outside. A connection belongs to the pool while it is
 * idle, and to who took it otherwise; `count` has both, and those that are being made.
 */
#include "kms/pool.h"

#include "kms/clock.h"
#include <errno.h>
#include <stdlib.h>

/* Less than what services have for their own idle timeout. */
#define IDLE_MAX_MS 45000u

int kms_pool_open(struct kms_pool *ret, const struct kms_place *to, const char *region, const char *host,
                  const char *ca_file, unsigned max, struct error *err)
{
    *ret = (struct kms_pool){.to = *to,
                             .region = region,
                             .max = max,
                             .lock = PTHREAD_MUTEX_INITIALIZER,
                             .returned = PTHREAD_COND_INITIALIZER};
    LIST_INIT(&ret->idle);
    return kms_trust_open(&ret->trust, host, ca_file, err);
}

static void end(struct kms_connection *connection, bool polite)
{
    kms_tls_close(&connection->tls, polite);
    aws_signer_release(&connection->signer);
    free(connection);
}

static void end_all(struct kms_connections *list, bool polite)
{
    struct kms_connection *connection;

    while ((connection = LIST_FIRST(list))) {
        LIST_REMOVE(connection, link);
        end(connection, polite);
    }
}

void kms_pool_close(struct kms_pool *pool, bool polite)
{
    end_all(&pool->idle, polite);
    kms_trust_close(&pool->trust);
}

static void move(struct kms_pool *pool, struct kms_connection *connection, struct kms_connections *to)
{
    LIST_REMOVE(connection, link);
    LIST_INSERT_HEAD(to, connection, link);
    pool->count--;
}

/* Takes out what is too old, or all of it. Under the lock; the caller ends them. */
static void weed(struct kms_pool *pool, bool all, struct kms_connections *ret)
{
    uint64_t now = kms_now_ms();
    struct kms_connection *connection = LIST_FIRST(&pool->idle), *next;

    for (; connection; connection = next) {
        next = LIST_NEXT(connection, link);
        if (all || now - connection->idle_since >= IDLE_MAX_MS) {
            move(pool, connection, ret);
        }
    }
}

/* Waits until there is a connection, which it takes, or a place for one. Under the lock. */
static bool wait_for_place(struct kms_pool *pool, uint64_t deadline, struct kms_connection **ret)
{
    const struct timespec until = kms_timespec(deadline);

    while (LIST_EMPTY(&pool->idle) && pool->count == pool->max) {
        if (pthread_cond_clockwait(&pool->returned, &pool->lock, CLOCK_MONOTONIC, &until) == ETIMEDOUT) {
            return false;
        }
    }
    *ret = LIST_FIRST(&pool->idle);
    if (*ret) {
        LIST_REMOVE(*ret, link);
    } else {
        pool->count++;
    }
    return true;
}

static void give_place(struct kms_pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    pool->count--;
    pthread_cond_signal(&pool->returned);
    pthread_mutex_unlock(&pool->lock);
}

/* That connection, or another that is idle, if it is quiet. NULL: there is none, and its place is the caller's. */
static struct kms_connection *find_quiet(struct kms_pool *pool, struct kms_connection *connection,
                                         uint64_t deadline)
{
    while (connection) {
        connection->tls.wire.deadline = deadline;
        if (kms_tls_is_quiet(&connection->tls)) {
            return connection;
        }
        end(connection, true);
        pthread_mutex_lock(&pool->lock);
        connection = LIST_FIRST(&pool->idle);
        if (connection) { /* with a place of its own: one is too many */
            LIST_REMOVE(connection, link);
            pool->count--;
            pthread_cond_signal(&pool->returned);
        }
        pthread_mutex_unlock(&pool->lock);
    }
    return NULL;
}

static int make(struct kms_pool *pool, uint64_t deadline, struct kms_connection **ret,
                struct kms_trouble *ret_trouble)
{
    struct kms_connection *connection = calloc(1, sizeof *connection);

    if (!connection) {
        ret_trouble->status = -ENOMEM;
        return error_set(&ret_trouble->why, -ENOMEM, "cannot connect: out of memory");
    }
    aws_signer_init(&connection->signer, pool->region, "kms");
    if (kms_tls_open(&connection->tls, &pool->trust, &pool->to, deadline) != 0) {
        *ret_trouble = connection->tls.trouble;
        end(connection, false);
        return ret_trouble->status;
    }
    *ret = connection;
    return 0;
}

int kms_pool_take(struct kms_pool *pool, bool fresh, uint64_t deadline, struct kms_connection **ret,
                  struct kms_trouble *ret_trouble)
{
    struct kms_connections old = LIST_HEAD_INITIALIZER(old);

    *ret = NULL;
    pthread_mutex_lock(&pool->lock);
    weed(pool, fresh, &old);
    bool good = wait_for_place(pool, deadline, ret);
    pthread_mutex_unlock(&pool->lock);
    end_all(&old, true);
    if (!good) {
        ret_trouble->status = -ETIMEDOUT;
        return error_set(&ret_trouble->why, -ETIMEDOUT,
                         "all %u connections are in use, and none came free in time", pool->max);
    }
    if (*ret && fresh) { /* it came back meanwhile, and its place is what is wanted */
        end(*ret, true);
        *ret = NULL;
    }
    *ret = find_quiet(pool, *ret, deadline);
    if (*ret) {
        return 0;
    }
    int status = make(pool, deadline, ret, ret_trouble);
    if (status != 0) {
        give_place(pool);
    }
    return status;
}

void kms_pool_give(struct kms_pool *pool, struct kms_connection *connection, bool keep)
{
    if (!keep) {
        end(connection, true);
        give_place(pool);
        return;
    }
    connection->kept = true;
    connection->idle_since = kms_now_ms();
    pthread_mutex_lock(&pool->lock);
    LIST_INSERT_HEAD(&pool->idle, connection, link);
    pthread_cond_signal(&pool->returned);
    pthread_mutex_unlock(&pool->lock);
}
