/*
 * The writer's turn: everything that waits goes into one transaction and shares its sync.
 *
 * If anything in it fails, all of it is undone, and each op is tried alone: so an op fails for its own reasons only,
 * and none is settled before it is durable.
 */
#include "spool/spool_private.h"

#include <errno.h>
#include <time.h>

/* A transaction is kept in memory until it is committed. */
#define GROUP_MAX 256

void writer_note(struct spool *spool, int result, const struct error *err)
{
    pthread_mutex_lock(&spool->lock);
    spool->health.result = result;
    if (result < 0) {
        spool->health.error = *err;
    } else {
        spool->health.error.text[0] = '\0';
    }
    pthread_mutex_unlock(&spool->lock);
}

static void note_commit(struct spool *spool, size_t count)
{
    pthread_mutex_lock(&spool->lock);
    tallies_fold(&spool->tallies);
    spool->health.commits++;
    spool->health.settled += count;
    pthread_mutex_unlock(&spool->lock);
    spool->last_group = count;
    writer_note(spool, 0, NULL);
}

static uint64_t now_ns(void)
{
    struct timespec at;

    clock_gettime(CLOCK_MONOTONIC, &at);
    return (uint64_t)at.tv_sec * 1000000000U + (uint64_t)at.tv_nsec;
}

static int commit(struct spool *spool, size_t count, struct error *err)
{
    uint64_t start = now_ns();
    int r = store_commit(spool->store, err);

    if (r < 0) {
        return r;
    }
    spool->last_sync = now_ns() - start;
    note_commit(spool, count);
    return 0;
}

/* One transaction of `count` ops, beginning with `op`. */
static int transact(struct spool *spool, struct op *op, size_t count, struct error *err)
{
    int r = store_begin(spool->store, err);
    size_t n = count;

    for (; r == 0 && n > 0; n--, op = STAILQ_NEXT(op, link)) {
        r = op->class->apply(op, err);
    }
    if (r == 0) {
        r = commit(spool, count, err);
    }
    if (r < 0) {
        store_rollback(spool->store);
    }
    return r;
}

static void transact_alone(struct spool *spool, struct op *op)
{
    op->error.text[0] = '\0';
    op->result = transact(spool, op, 1, &op->error);
    /* What is said of one record says nothing about the disk. */
    if (op->result < 0 && op->result != -ENOENT && op->result != -EBUSY && op->result != -EBADMSG) {
        writer_note(spool, op->result, &op->error);
    }
}

static void transact_group(struct spool *spool, struct op_list *group, size_t count)
{
    struct op *op;

    if (count > 1 && transact(spool, STAILQ_FIRST(group), count, NULL) == 0) {
        STAILQ_FOREACH (op, group, link) {
            op->result = 0;
        }
        return;
    }
    STAILQ_FOREACH (op, group, link) {
        transact_alone(spool, op);
    }
}

static void settle(struct op_list *group)
{
    while (!STAILQ_EMPTY(group)) {
        struct op *op = STAILQ_FIRST(group);

        STAILQ_REMOVE_HEAD(group, link);
        op->class->settled(op);
    }
}

/* Takes what waits, as far as it goes into one transaction, and settles what needs none. */
static size_t collect(struct spool *spool, struct op_list *group, struct op_list *others, bool *ret_any)
{
    struct queue *queue = &spool->writer;
    struct op *op;
    size_t count = 0;

    pthread_mutex_lock(&spool->lock);
    while (count < GROUP_MAX && (op = STAILQ_FIRST(&queue->list)) != NULL) {
        if (op->class->alone && count > 0) {
            break;
        }
        STAILQ_REMOVE_HEAD(&queue->list, link);
        queue->count--;
        *ret_any = true;
        if (op->class->apply) {
            STAILQ_INSERT_TAIL(group, op, link);
            count++;
        } else {
            STAILQ_INSERT_TAIL(others, op, link);
        }
        if (op->class->alone) {
            break;
        }
    }
    pthread_mutex_unlock(&spool->lock);
    return count;
}

/* 0: the route has none that is to be delivered. */
static int find_oldest(struct spool *spool, const struct route *route, uint64_t *ret)
{
    uint64_t oldest = UINT64_MAX;
    int r = store_oldest_waiting(spool->store, route->name, &oldest, NULL);

    for (struct tally *tally = NULL; r == 0 && (tally = route_tally(spool, route, tally)) != NULL;) {
        uint64_t at = UINT64_MAX;

        r = store_oldest_ready(spool->store, tally, &at, NULL);
        oldest = at < oldest ? at : oldest;
    }
    *ret = oldest != UINT64_MAX ? oldest : 0;
    return r;
}

void writer_note_oldest(struct spool *spool)
{
    for (struct route *route = route_first(spool); route; route = SLIST_NEXT(route, link)) {
        uint64_t oldest;

        if (!route->changed || find_oldest(spool, route, &oldest) < 0) {
            continue;
        }
        route->changed = false;
        pthread_mutex_lock(&spool->lock);
        route->oldest_at = oldest;
        pthread_mutex_unlock(&spool->lock);
    }
}

static void tidy(struct spool *spool)
{
    struct error err = ERROR_INIT;
    int r = store_tidy(spool->store, &err);

    if (r < 0) {
        writer_note(spool, r, &err);
    }
}

/* Verdicts that could not be carried out, again. */
static void start_again(struct spool *spool)
{
    if (spool_steady(spool) < spool->again_at) {
        return;
    }
    while (!STAILQ_EMPTY(&spool->again)) {
        struct op *op = STAILQ_FIRST(&spool->again);

        STAILQ_REMOVE_HEAD(&spool->again, link);
        op_to_writer(op, op->class);
    }
}

uint64_t writer_deadline(struct spool *spool)
{
    uint64_t deadline = chores_deadline(spool);
    uint64_t more = STAILQ_EMPTY(&spool->again) ? spool->serve_at : spool->again_at;

    return more > 0 && more < deadline ? more : deadline;
}

bool writer_turn(struct spool *spool)
{
    struct op_list group = STAILQ_HEAD_INITIALIZER(group);
    struct op_list others = STAILQ_HEAD_INITIALIZER(others);
    bool any = false;
    size_t count;

    start_again(spool);
    chores_start(spool);
    count = collect(spool, &group, &others, &any);
    if (count > 0) {
        transact_group(spool, &group, count);
    }
    /* Before anyone is told: who asks then, hears of it. */
    writer_note_oldest(spool);
    settle(&group);
    settle(&others);
    any |= take_serve(spool);
    if (count > 0) {
        tidy(spool);
    }
    return any;
}
