/*
 * A take, from the question to the verdict; and looks, which are takes without a lease.
 *
 * Happy path: spool_take() asks the writer (ask), which puts the take on its route's list of those that wait, and serves
 * it when there is a record (serve.c): leased, and reported. The owner reads the body piece by piece: a small one
 * is there already, a large one comes over the files thread (read). spool_take_end() brings the verdict back: the body
 * is closed (shut), and the writer carries it out (end) and gives the lease back.
 *
 * Ended early: in the writer's queue, or while the files thread reads, the take has lost its port, and goes the rest of the
 * way when that step is done. From the list of those that wait it is taken off first.
 *
 * Failure: a verdict that cannot be carried out is kept, lease and all, and tried again.
 */
#include "spool/take_private.h"

#include "spool/backoff.h"
#include "spool/digest.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PIECE_SIZE (64U * 1024)

#define AGAIN_FIRST_MS 1000U
#define AGAIN_MOST_MS  60000U

static struct spool_take *take_of(struct op *op)
{
    return (struct spool_take *)op;
}

static void take_destroy(struct op *op)
{
    struct spool_take *take = take_of(op);

    record_release(&take->record);
    body_close(take->body);
    digest_free(take->digest);
    free(take->buffer);
    free(take);
}

/* --- The verdict --- */

/* What it comes to: whatever was asked for, a body that was found to be damaged is set apart. */
static bool is_end_written(const struct spool_take *take)
{
    return take->is_leased && (take->is_damaged || take->outcome.verdict != SPOOL_RELEASE);
}

static struct spool_policy policy_of(struct spool_take *take)
{
    struct spool *spool = take->op.spool;
    struct spool_policy policy;

    pthread_mutex_lock(&spool->lock);
    policy = take->route->policy;
    pthread_mutex_unlock(&spool->lock);
    return policy;
}

static bool is_done(const struct spool_take *take)
{
    return take->outcome.verdict == SPOOL_DONE && !take->is_damaged;
}

static void judge_failure(struct spool_take *take)
{
    const struct spool_policy policy = policy_of(take);
    struct spool_record *shown = &take->after.shown;
    uint64_t now = spool_now(take->op.spool);

    shown->attempts += !take->outcome.blameless;
    shown->state = SPOOL_DEAD;
    if (take->outcome.verdict == SPOOL_BURY || (policy.attempts && shown->attempts >= policy.attempts) ||
        (policy.max_age_ms && now >= take->record.since + policy.max_age_ms)) {
        return;
    }
    shown->state = SPOOL_WAITING;
    shown->next_at =
        now + backoff_pause(&policy, shown->attempts, take->outcome.retry_after_ms, spool_random());
}

/* The record as it will be, unless it was delivered. */
static void judge(struct spool_take *take)
{
    take->after = take->record;
    take->after.block = NULL;
    take->after.shown.cause = take->cause;
    if (take->is_damaged) {
        memcpy(take->cause, take->op.error.text, SPOOL_CAUSE_MAX);
        take->after.shown.state = SPOOL_DAMAGED;
    } else if (!is_done(take)) {
        judge_failure(take);
    }
}

static int end_apply(struct op *op, struct error *err)
{
    struct spool_take *take = take_of(op);

    take->route->changed = true;
    if (is_done(take)) {
        return store_remove(op->spool->store, &take->record, err);
    }
    return store_change(op->spool->store, &take->after, take->record.shown.state, err);
}

static void give_back(struct spool_take *take)
{
    struct spool *spool = take->op.spool;
    struct route *route = take->route;

    if (!take->is_leased) {
        return;
    }
    TAILQ_REMOVE(&route->leased, take, link);
    take->is_leased = false;
    pthread_mutex_lock(&spool->lock);
    route->in_flight--;
    pthread_mutex_unlock(&spool->lock);
}

static void count_verdict(struct spool_take *take)
{
    struct spool *spool = take->op.spool;
    struct route *route = take->route;

    pthread_mutex_lock(&spool->lock);
    route->delivered += is_done(take);
    route->retried += take->after.shown.state == SPOOL_WAITING;
    route->died += take->after.shown.state == SPOOL_DEAD;
    pthread_mutex_unlock(&spool->lock);
}

static void keep_for_later(struct spool *spool, struct op *op)
{
    if (STAILQ_EMPTY(&spool->again)) {
        spool->again_pause = spool->again_pause * 2 < AGAIN_MOST_MS ? spool->again_pause * 2 : AGAIN_MOST_MS;
        if (spool->again_pause < AGAIN_FIRST_MS) {
            spool->again_pause = AGAIN_FIRST_MS;
        }
        spool->again_at = spool_steady(spool) + spool->again_pause;
    }
    STAILQ_INSERT_TAIL(&spool->again, op, link);
}

static void end_settled(struct op *op)
{
    struct spool_take *take = take_of(op);
    struct spool *spool = op->spool;

    if (op->result < 0) {
        keep_for_later(spool, op);
        return;
    }
    spool->again_pause = 0;
    count_verdict(take);
    if (is_done(take) && take->record.file > 0) {
        files_discard(spool, take->record.file);
    }
    if (take->after.shown.state == SPOOL_WAITING) {
        chores_due(spool, take->after.shown.next_at);
    }
    give_back(take);
    take_destroy(op);
}

static const struct op_class end_class = {.apply = end_apply, .settled = end_settled};

/* Nothing changes on the disk. */
static void release_settled(struct op *op)
{
    struct spool_take *take = take_of(op);

    if (take->is_leased) {
        route_rewind(take->route, take->record.tally, take->record.shown.id);
    }
    give_back(take);
    take_destroy(op);
}

static const struct op_class release_class = {.settled = release_settled};

static void bring_back(struct op *op)
{
    struct spool_take *take = take_of(op);

    if (is_end_written(take)) {
        judge(take);
        op_to_writer(op, &end_class);
    } else {
        op_to_writer(op, &release_class);
    }
}

/* Not by the owner: closing the last descriptor of a large file that was removed takes its time. */
static void shut_file(struct op *op)
{
    struct spool_take *take = take_of(op);

    body_close(take->body);
    take->body = NULL;
    bring_back(op);
}

static const struct op_class shut_class = {.file = shut_file};

static void finish(struct op *op)
{
    if (take_of(op)->body) {
        op_to_files(op, &shut_class);
    } else {
        bring_back(op);
    }
}

/* --- Reading --- */

static int open_body(struct spool_take *take, struct error *err)
{
    struct spool *spool = take->op.spool;
    int r = 0;

    if (!take->body) {
        r = body_open(&spool->place, spool->vfs, take->record.file, &take->body, err);
    }
    if (r == 0 && !take->buffer) {
        take->buffer = malloc(PIECE_SIZE);
        r = take->buffer ? 0 : -ENOMEM;
    }
    if (r == 0 && !take->digest) {
        r = digest_begin(&take->digest);
    }
    return r;
}

/* Before the last piece is handed out, the whole has been compared. */
static int check_whole(struct spool_take *take, struct error *err)
{
    uint8_t digest[DIGEST_SIZE];
    int r = digest_end(take->digest, digest);

    if (r == 0 && memcmp(digest, take->record.digest, DIGEST_SIZE) != 0) {
        r = error_set(err, -EBADMSG, "record %llu: it is damaged: its body is not what was put",
                      (unsigned long long)take->record.shown.id);
    }
    return r;
}

static int read_piece(struct spool_take *take, struct error *err)
{
    uint64_t left = take->record.shown.body_size - take->offset;
    size_t size = left < PIECE_SIZE ? (size_t)left : PIECE_SIZE;
    int r = open_body(take, err);

    if (r == 0) {
        r = body_read(take->body, take->buffer, size, take->offset, err);
    }
    if (r == 0) {
        r = digest_add(take->digest, take->buffer, size);
    }
    if (r == 0 && size == left) {
        r = check_whole(take, err);
    }
    if (r < 0) {
        return r;
    }
    take->offset += size;
    take->piece = size;
    return 0;
}

static void read_file(struct op *op)
{
    struct spool_take *take = take_of(op);

    op->result = read_piece(take, &op->error);
    if (op->result == -ENOMEM) {
        error_errno(&op->error, -ENOMEM, "cannot read a body");
    }
    if (op->result == -EBADMSG) {
        take->is_damaged = true;
        if (!take->route) {
            take_sentence(op->spool, take->record.shown.id, SPOOL_DAMAGED, op->error.text);
        }
    }
    op_report(op);
}

static void report_data(struct op *op)
{
    struct spool_take *take = take_of(op);
    const char *data = take->record.file > 0 ? take->buffer : take->record.body;

    take->ops->data(take->arg, op->result, data, op->result == 0 ? take->piece : 0,
                    op->result == 0 && take->offset == take->record.shown.body_size, &op->error);
}

static const struct op_class read_class = {.file = read_file, .report = report_data, .abandoned = finish};

void spool_take_read(struct spool_take *take)
{
    if (take->record.file > 0) {
        op_to_files(&take->op, &read_class);
        return;
    }
    take->piece = take->record.shown.body_size;
    take->offset = take->piece;
    take->op.result = 0;
    take->op.class = &read_class;
    op_report(&take->op);
}

const struct spool_record *spool_take_record(const struct spool_take *take)
{
    return &take->record.shown;
}

/* --- The question --- */

static void report_ready(struct op *op)
{
    struct spool_take *take = take_of(op);

    take->is_heard = true;
    take->ops->ready(take->arg, op->result, &op->error);
}

/* Also of a take: it waits until it is given something. */
static void ask_settled(struct op *op)
{
    struct spool_take *take = take_of(op);
    struct spool *spool = op->spool;
    bool is_wanted;

    pthread_mutex_lock(&spool->lock);
    is_wanted = op->port != NULL;
    if (is_wanted) {
        TAILQ_INSERT_TAIL(&take->route->waiting, take, link);
        take->is_waiting = true;
    }
    pthread_mutex_unlock(&spool->lock);
    if (!is_wanted) {
        take_destroy(op);
    }
}

static const struct op_class ask_class = {.settled = ask_settled,
                                          .report = report_ready,
                                          .abandoned = finish};

/* Nothing keeps a record that is looked at from being delivered, and its file from being removed; but not before this, which
 * is in the queue of the files thread already. What cannot be opened is told when it is read. */
static void open_file(struct op *op)
{
    struct spool_take *take = take_of(op);
    struct spool *spool = op->spool;

    if (body_open(&spool->place, spool->vfs, take->record.file, &take->body, NULL) < 0) {
        take->body = NULL;
    }
    op_report(op);
}

static const struct op_class open_class = {.file = open_file, .report = report_ready, .abandoned = finish};

static void look_settled(struct op *op)
{
    struct spool_take *take = take_of(op);

    op->result = store_load(op->spool->store, take->record.shown.id, &take->record, &op->error);
    if (op->result == -EBADMSG) {
        take_sentence(op->spool, take->record.shown.id, SPOOL_DAMAGED, op->error.text);
    }
    if (op->result == 0 && take->record.file > 0) {
        op_to_files(op, &open_class);
    } else {
        op_report(op);
    }
}

static const struct op_class look_class = {.settled = look_settled,
                                           .report = report_ready,
                                           .abandoned = finish};

static struct spool_take *create(struct spool_port *port, const struct spool_take_ops *ops, void *arg)
{
    struct spool_take *take = calloc(1, sizeof(*take));

    if (!take) {
        return NULL;
    }
    op_init(&take->op, port->spool, port, take_destroy);
    take->ops = ops;
    take->arg = arg;
    return take;
}

int spool_take(struct spool_port *port, const char *route, const struct spool_take_ops *ops, void *arg,
               struct spool_take **ret)
{
    struct spool *spool = port->spool;
    struct spool_take *take = create(port, ops, arg);

    if (!take) {
        return -ENOMEM;
    }
    pthread_mutex_lock(&spool->lock);
    take->route = route_get(spool, route);
    pthread_mutex_unlock(&spool->lock);
    if (!take->route) {
        free(take);
        return -ENOMEM;
    }
    *ret = take;
    op_to_writer(&take->op, &ask_class);
    return 0;
}

int spool_look(struct spool_port *port, uint64_t id, const struct spool_take_ops *ops, void *arg,
               struct spool_take **ret)
{
    struct spool_take *take = create(port, ops, arg);

    if (!take) {
        return -ENOMEM;
    }
    take->record.shown.id = id;
    *ret = take;
    op_to_writer(&take->op, &look_class);
    return 0;
}

static void keep_outcome(struct spool_take *take, const struct spool_outcome *outcome)
{
    take->outcome = *outcome;
    /* Nobody can have delivered what he has not heard of. */
    if (!take->is_heard) {
        take->outcome.verdict = SPOOL_RELEASE;
    }
    if (outcome->cause) {
        memcpy(take->cause, outcome->cause, strnlen(outcome->cause, SPOOL_CAUSE_MAX));
    }
}

/* Also from the list of those that wait, in one step: in between the writer could put it there, or give it something. */
static bool detach(struct spool_take *take)
{
    struct spool *spool = take->op.spool;
    bool is_ours;

    pthread_mutex_lock(&spool->lock);
    if (take->is_waiting) {
        TAILQ_REMOVE(&take->route->waiting, take, link);
        take->is_waiting = false;
        take->op.place = OP_HELD;
    }
    is_ours = op_detach_locked(&take->op);
    pthread_mutex_unlock(&spool->lock);
    return is_ours;
}

void spool_take_end(struct spool_take *take, const struct spool_outcome *outcome)
{
    keep_outcome(take, outcome);
    if (detach(take)) {
        finish(&take->op);
    }
}
