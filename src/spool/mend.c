/*
 * Bringing back what was set apart: a disk that failed to read may read again, and a file that was gone be put back.
 *
 * One record: the call that is to retry it is HELD while it is looked at and read to its end, by the same calls that
 * everybody has, on the thread of the port. If it is what was put, the call goes to the writer again. What is read
 * once more when it is delivered is compared once more.
 *
 * All of them: a page is listed, each is retried as one, then the next page. That call is HELD all the time.
 */
#include "spool/call_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* --- One record --- */

static void end_look(struct spool_call *call)
{
    const struct spool_outcome release = {.verdict = SPOOL_RELEASE};

    if (call->look) {
        spool_take_end(call->look, &release);
        call->look = NULL;
    }
}

static void fail_one(struct spool_call *call, int result, const struct error *why)
{
    struct error err = *why;

    /* Whatever it is that keeps it from being read: it is not to be delivered. */
    if (result != -ENOENT && result != -ENOMEM) {
        result = error_set(&err, -EBADMSG,
                           "%s; the record stays set apart: retry it when the disk has it again, or drop it",
                           why->text);
    }
    call->cb.alter(call->arg, result, 0, &err);
    call->op.destroy(&call->op);
}

static void judged(struct spool_call *call, int result, const struct error *err)
{
    struct error why = *err; /* What is told may lie in the look that ends here. */

    end_look(call);
    if (result < 0) {
        fail_one(call, result, &why);
        return;
    }
    call->is_sound = true;
    op_to_writer(&call->op, call->op.class);
}

static void on_data(void *arg, int result, const void *data, size_t size, bool last, const struct error *err)
{
    struct spool_call *call = arg;

    (void)data;
    (void)size;
    if (result < 0 || last) {
        judged(call, result, err);
    } else {
        spool_take_read(call->look);
    }
}

static void on_ready(void *arg, int result, const struct error *err)
{
    struct spool_call *call = arg;

    if (result < 0) {
        judged(call, result, err);
    } else {
        spool_take_read(call->look);
    }
}

static const struct spool_take_ops look_ops = {.ready = on_ready, .data = on_data};

void mend_verify(struct spool_call *call)
{
    struct error err;
    int r;

    call->cancel = end_look;
    r = spool_look(call->op.port, call->query.after, &look_ops, call, &call->look);
    if (r < 0) {
        error_errno(&err, r, "cannot verify record %llu", (unsigned long long)call->query.after);
        fail_one(call, r, &err);
    }
}

/* --- All of them --- */

struct mend {
    struct spool_call call;  /* first */
    struct spool_call *part; /* under way: a list, or a retry; NULL: none */
    uint64_t ids[SPOOL_LIST_MAX];
    size_t count;
    size_t at;
    uint64_t next; /* of the listing */
    uint64_t mended;
};

static void mend_destroy(struct op *op)
{
    struct mend *mend = (struct mend *)op;

    free(mend->call.route);
    free(mend);
}

static void finish(struct mend *mend, int result, const struct error *err)
{
    mend->call.cb.alter(mend->call.arg, result, mend->mended, err);
    mend_destroy(&mend->call.op);
}

static void next_record(struct mend *mend);

/* Those that are damaged indeed stay where they are, and so does what went meanwhile. */
static void on_retried(void *arg, int result, uint64_t count, const struct error *err)
{
    struct mend *mend = arg;

    mend->part = NULL;
    mend->mended += count;
    if (result < 0 && result != -EBADMSG && result != -ENOENT && result != -EBUSY) {
        finish(mend, result, err);
    } else {
        next_record(mend);
    }
}

static void on_list(void *arg, int result, const struct spool_record *records, size_t count, uint64_t next,
                    const struct error *err)
{
    struct mend *mend = arg;

    mend->part = NULL;
    if (result < 0) {
        finish(mend, result, err);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        mend->ids[i] = records[i].id;
    }
    mend->count = count;
    mend->at = 0;
    mend->next = next;
    next_record(mend);
}

static int next_page(struct mend *mend)
{
    const struct spool_query query = {.route = mend->call.route,
                                      .states = 1U << SPOOL_DAMAGED,
                                      .after = mend->next};

    return spool_list(mend->call.op.port, &query, on_list, mend, &mend->part);
}

static void next_record(struct mend *mend)
{
    struct error err = ERROR_INIT;
    int r = 0;

    if (mend->at < mend->count) {
        r = spool_retry_one(mend->call.op.port, mend->ids[mend->at++], on_retried, mend, &mend->part);
    } else if (mend->next > 0) {
        r = next_page(mend);
    } else {
        finish(mend, 0, &err);
    }
    if (r < 0) {
        error_errno(&err, r, "cannot verify the damaged records");
        finish(mend, r, &err);
    }
}

static void cancel(struct spool_call *call)
{
    struct mend *mend = (struct mend *)call;

    if (mend->part) {
        spool_call_cancel(mend->part);
    }
}

int mend_all(struct spool_port *port, const struct spool_query *query, spool_alter_cb cb, void *arg,
             struct spool_call **ret)
{
    struct mend *mend = calloc(1, sizeof(*mend));

    if (!mend) {
        return -ENOMEM;
    }
    op_init(&mend->call.op, port->spool, port, mend_destroy);
    mend->call.cb.alter = cb;
    mend->call.arg = arg;
    mend->call.cancel = cancel;
    mend->call.route = query->route ? strdup(query->route) : NULL;
    mend->next = query->after;
    if ((query->route && !mend->call.route) || next_page(mend) < 0) {
        mend_destroy(&mend->call.op);
        return -ENOMEM;
    }
    *ret = &mend->call;
    return 0;
}
