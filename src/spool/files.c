/*
 * The files thread: what ops have to do with body files, one after another.
 *
 * Removing one takes three steps, so that none can be left behind: the file goes, its directory is synced (once for many),
 * and then the database forgets the name.
 */
#include "spool/spool_private.h"

#include <stdlib.h>

/* Removals that share a sync, at most. */
#define REMOVED_MAX 64

static int forget_apply(struct op *op, struct error *err)
{
    return store_garbage_forget(op->spool->store, op->file, err);
}

/* If it failed, the next start will see to it. */
static void forget_settled(struct op *op)
{
    op->destroy(op);
}

static const struct op_class forget_class = {.apply = forget_apply, .settled = forget_settled};

static void sync_removed(struct spool *spool)
{
    int r = body_sync_names(&spool->place, NULL);

    while (!STAILQ_EMPTY(&spool->removed)) {
        struct op *op = STAILQ_FIRST(&spool->removed);

        STAILQ_REMOVE_HEAD(&spool->removed, link);
        if (r == 0) {
            op_to_writer(op, &forget_class);
        } else {
            op->destroy(op);
        }
    }
}

void files_discard_op(struct op *op)
{
    struct spool *spool = op->spool;

    if (body_remove(&spool->place, spool->vfs, op->file, NULL) < 0) {
        op->destroy(op);
    } else {
        STAILQ_INSERT_TAIL(&spool->removed, op, link);
    }
}

static const struct op_class discard_class = {.file = files_discard_op};

static void destroy_discard(struct op *op)
{
    free(op);
}

/* Out of memory: the next start will see to it. */
void files_discard(struct spool *spool, uint64_t file)
{
    struct op *op = malloc(sizeof(*op));

    if (!op) {
        return;
    }
    op_init(op, spool, NULL, destroy_discard);
    op->file = file;
    op_to_files(op, &discard_class);
}

static struct op *next(struct spool *spool)
{
    struct op *op;

    pthread_mutex_lock(&spool->lock);
    op = STAILQ_FIRST(&spool->files.list);
    if (op) {
        STAILQ_REMOVE_HEAD(&spool->files.list, link);
        spool->files.count--;
    }
    pthread_mutex_unlock(&spool->lock);
    return op;
}

bool files_turn(struct spool *spool)
{
    struct op *op;
    bool any = false;
    unsigned removed = 0;

    while (removed < REMOVED_MAX && (op = next(spool)) != NULL) {
        op->class->file(op);
        any = true;
        removed += !STAILQ_EMPTY(&spool->removed);
    }
    if (!STAILQ_EMPTY(&spool->removed)) {
        sync_removed(spool);
    }
    return any;
}
