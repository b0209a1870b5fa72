/*
 * What the writer does by itself:
 *   wake      makes waiting records ready whose time has come
 *   sweep     finds those that nobody asked for until they were too old
 *   collect   removes the body files that the process before left behind
 *   shrink    gives the space of what was delivered back to the file system
 * Each in bounded steps, in between which others have their turn.
 */
#include "spool/spool_private.h"

#define WAKE_AGAIN_MS  1000U /* after a failure */
#define SWEEP_EVERY_MS 60000U
#define SWEEP_NEXT_MS  1000U /* when there were more than: */
#define SWEEP_MOST     256U  /* records of a route and an enclave at once */
#define COLLECT_MOST   64U

static void keep_op(struct op *op)
{
    (void)op;
}

/* --- Waking --- */

static void on_woken(void *arg, uint64_t id, struct tally *tally)
{
    struct route *route = route_find(arg, tally->route);

    if (!route) {
        return;
    }
    route->changed = true;
    route_rewind(route, tally, id);
}

static int wake_apply(struct op *op, struct error *err)
{
    struct spool *spool = op->spool;
    unsigned count;

    return store_wake(spool->store, spool_now(spool), on_woken, spool, &count, err);
}

static void wake_settled(struct op *op)
{
    struct spool *spool = op->spool;
    struct chores *chores = &spool->chores;

    op->place = OP_HELD;
    chores->wake_at = 0;
    if (op->result < 0 || store_due(spool->store, &chores->due, NULL) < 0) {
        chores->wake_at = spool_steady(spool) + WAKE_AGAIN_MS;
    }
}

static const struct op_class wake_class = {.apply = wake_apply, .settled = wake_settled};

/* Also when it is due so late that the clock must have been set back. */
static bool is_due(const struct spool *spool)
{
    uint64_t due = spool->chores.due;
    uint64_t now = spool_now(spool);

    return due <= now || (due != UINT64_MAX && due > now + SPOOL_DELAY_MAX_MS);
}

void chores_due(struct spool *spool, uint64_t next_at)
{
    if (next_at < spool->chores.due) {
        spool->chores.due = next_at;
    }
}

/* --- Sweeping --- */

static void sweep_tally(struct spool *spool, struct route *route, const struct tally *tally)
{
    uint64_t id = 0;

    for (unsigned i = 0; i < SWEEP_MOST; i++) {
        struct record record;

        if (store_next(spool->store, tally, id, &id, NULL) < 0 || id == 0) {
            return;
        }
        if (take_is_leased(spool, id)) {
            continue;
        }
        if (store_peek(spool->store, id, &record, NULL) < 0 || !route_is_too_old(spool, route, &record)) {
            return;
        }
        take_sentence(spool, id, SPOOL_DEAD, SPOOL_TOO_OLD);
    }
    spool->chores.sweep_at = spool_steady(spool) + SWEEP_NEXT_MS;
}

static void sweep(struct spool *spool)
{
    spool->chores.sweep_at = spool_steady(spool) + SWEEP_EVERY_MS;
    for (struct route *route = route_first(spool); route; route = SLIST_NEXT(route, link)) {
        for (struct tally *tally = NULL; (tally = route_tally(spool, route, tally)) != NULL;) {
            sweep_tally(spool, route, tally);
        }
    }
    spool->chores.shrinking = store_has_slack(spool->store);
}

/* --- Collecting --- */

static void collect_settled(struct op *op)
{
    struct spool *spool = op->spool;
    struct chores *chores = &spool->chores;
    uint64_t files[COLLECT_MOST];
    unsigned count = 0;

    op->place = OP_HELD;
    /* What cannot be listed is for the next start. */
    if (store_garbage_list(spool->store, chores->collected, chores->collect_to, files, COLLECT_MOST, &count,
                           NULL) < 0) {
        count = 0;
    }
    for (unsigned i = 0; i < count; i++) {
        files_discard(spool, files[i]);
    }
    if (count > 0) {
        chores->collected = files[count - 1];
    }
    if (count < COLLECT_MOST) {
        chores->collect_to = 0;
    }
}

static const struct op_class collect_class = {.settled = collect_settled};

/* --- Shrinking --- */

static int shrink_apply(struct op *op, struct error *err)
{
    return store_shrink(op->spool->store, err);
}

static void shrink_settled(struct op *op)
{
    op->place = OP_HELD;
    op->spool->chores.shrinking = op->result == 0 && store_has_slack(op->spool->store);
}

static const struct op_class shrink_class = {.apply = shrink_apply, .settled = shrink_settled};

/* --- All of them --- */

int chores_init(struct spool *spool, struct error *err)
{
    struct chores *chores = &spool->chores;
    int r = store_due(spool->store, &chores->due, err);

    if (r == 0) {
        r = store_garbage_last(spool->store, &chores->collect_to, err);
    }
    op_init(&chores->wake, spool, NULL, keep_op);
    op_init(&chores->collect, spool, NULL, keep_op);
    op_init(&chores->shrink, spool, NULL, keep_op);
    return r;
}

static bool is_quiet(struct spool *spool, const struct queue *queue)
{
    bool quiet;

    pthread_mutex_lock(&spool->lock);
    quiet = queue->count == 0 && !spool->closing;
    pthread_mutex_unlock(&spool->lock);
    return quiet;
}

static void start(struct op *op, const struct op_class *class)
{
    if (op->place == OP_HELD) {
        op_to_writer(op, class);
    }
}

void chores_start(struct spool *spool)
{
    struct chores *chores = &spool->chores;
    uint64_t now = spool_steady(spool);

    if (now >= chores->sweep_at) {
        sweep(spool);
    }
    if (now >= chores->wake_at && is_due(spool)) {
        start(&chores->wake, &wake_class);
    }
    if (chores->collect_to > 0 && is_quiet(spool, &spool->files)) {
        start(&chores->collect, &collect_class);
    }
    if (chores->shrinking && is_quiet(spool, &spool->writer)) {
        start(&chores->shrink, &shrink_class);
    }
}

uint64_t chores_deadline(struct spool *spool)
{
    const struct chores *chores = &spool->chores;
    uint64_t steady = spool_steady(spool);
    uint64_t now = spool_now(spool);
    uint64_t wake = UINT64_MAX;

    if (is_due(spool)) {
        wake = steady;
    } else if (chores->due != UINT64_MAX) {
        wake = steady + (chores->due - now);
    }
    if (wake < chores->wake_at) {
        wake = chores->wake_at;
    }
    if (chores->shrinking || (chores->collect_to > 0 && is_quiet(spool, &spool->files))) {
        return steady;
    }
    return wake < chores->sweep_at ? wake : chores->sweep_at;
}
