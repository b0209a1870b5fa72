/*
 * Verifying: a page of records is listed, each is looked at and read to its end, then the next page, up to the record that was
 * the last when it began: those who put could be as fast for ever. At last the tallies are counted anew. All by the same
 * calls that everybody has, on the thread of the port; what is damaged is set apart by them.
 *
 * The call itself is HELD while its parts are at work, and WORKING only at its beginning and for the recount, which is done
 * in steps, in between which others have their turn. There is one recount at a time: a second call's steps go on with it, and
 * either call ends it for both. A call that is cancelled leaves it where it is, and the next goes on from there.
 */
#include "spool/call_private.h"

#include <errno.h>
#include <stdlib.h>

struct verify {
    struct spool_call call; /* first */
    struct spool_verdicts verdicts;
    struct spool_call *listing; /* NULL, or under way */
    struct spool_take *look;    /* the same */
    uint64_t ids[SPOOL_LIST_MAX];
    size_t count;
    size_t at;
    uint64_t next; /* of the listing */
    uint64_t last; /* the last to be looked at */
    uint64_t recounts;
};

static void verify_destroy(struct op *op)
{
    free(op);
}

static void finish(struct verify *verify, int result, const struct error *err)
{
    verify->call.cb.verify(verify->call.arg, result, &verify->verdicts, err);
    verify_destroy(&verify->call.op);
}

static void fail(struct verify *verify, int result)
{
    struct error err;

    error_errno(&err, result, "cannot verify the spool");
    finish(verify, result, &err);
}

/* --- The recount --- */

static bool is_recounted(const struct verify *verify)
{
    return verify->recounts != verify->call.op.spool->recounts;
}

static int correct_apply(struct op *op, struct error *err)
{
    struct verify *verify = (struct verify *)op;

    return is_recounted(verify) ? 0 : store_correct(op->spool->store, &verify->verdicts.tally_wrong, err);
}

static void correct_settled(struct op *op)
{
    struct verify *verify = (struct verify *)op;
    struct spool *spool = op->spool;

    if (is_recounted(verify)) {
        verify->verdicts.tally_wrong = spool->was_wrong;
    } else if (op->result == 0) {
        spool->was_wrong = verify->verdicts.tally_wrong;
        spool->recounts++;
    }
    op_report(op);
}

static void recount_report(struct op *op)
{
    finish((struct verify *)op, op->result, &op->error);
}

static const struct op_class correct_class = {.apply = correct_apply,
                                              .settled = correct_settled,
                                              .alone = true,
                                              .report = recount_report,
                                              .abandoned = verify_destroy};

static const struct op_class recount_class;

static void recount_settled(struct op *op)
{
    bool more = false;

    op->result = is_recounted((struct verify *)op) ? 0 : store_recount(op->spool->store, &more, &op->error);
    if (op->result < 0) {
        op_report(op);
    } else {
        op_to_writer(op, more ? &recount_class : &correct_class);
    }
}

static const struct op_class recount_class = {.settled = recount_settled,
                                              .report = recount_report,
                                              .abandoned = verify_destroy};

/* What is known of the tallies from then on is known of what they are now: so what another call ends after that will do. */
static void recount_begin(struct op *op)
{
    struct verify *verify = (struct verify *)op;

    verify->recounts = op->spool->recounts;
    recount_settled(op);
}

static const struct op_class first_recount_class = {.settled = recount_begin,
                                                    .report = recount_report,
                                                    .abandoned = verify_destroy};

/* --- One record after another --- */

static void next_record(struct verify *verify);

static void end_look(struct verify *verify)
{
    const struct spool_outcome release = {.verdict = SPOOL_RELEASE};

    spool_take_end(verify->look, &release);
    verify->look = NULL;
}

/* What was delivered meanwhile is none of our business. */
static void judged(struct verify *verify, int result, const struct error *err)
{
    end_look(verify);
    if (result < 0 && result != -EBADMSG && result != -ENOENT) {
        finish(verify, result, err);
        return;
    }
    verify->verdicts.records += result != -ENOENT;
    verify->verdicts.damaged += result == -EBADMSG;
    next_record(verify);
}

static void on_data(void *arg, int result, const void *data, size_t size, bool last, const struct error *err)
{
    struct verify *verify = arg;

    (void)data;
    verify->verdicts.bytes += size;
    if (result < 0 || last) {
        judged(verify, result, err);
    } else {
        spool_take_read(verify->look);
    }
}

static void on_ready(void *arg, int result, const struct error *err)
{
    struct verify *verify = arg;

    if (result < 0) {
        judged(verify, result, err);
    } else {
        spool_take_read(verify->look);
    }
}

static const struct spool_take_ops look_ops = {.ready = on_ready, .data = on_data};

/* --- One page after another --- */

static void on_list(void *arg, int result, const struct spool_record *records, size_t count, uint64_t next,
                    const struct error *err)
{
    struct verify *verify = arg;

    verify->listing = NULL;
    if (result < 0) {
        finish(verify, result, err);
        return;
    }
    verify->count = 0;
    verify->at = 0;
    for (size_t i = 0; i < count && records[i].id <= verify->last; i++) {
        verify->ids[verify->count++] = records[i].id;
    }
    verify->next = next < verify->last ? next : 0;
    next_record(verify);
}

static int next_page(struct verify *verify)
{
    const struct spool_query query = {.after = verify->next};

    return spool_list(verify->call.op.port, &query, on_list, verify, &verify->listing);
}

static void next_record(struct verify *verify)
{
    int r = 0;

    if (verify->at < verify->count) {
        r = spool_look(verify->call.op.port, verify->ids[verify->at++], &look_ops, verify, &verify->look);
    } else if (verify->next > 0) {
        r = next_page(verify);
    } else {
        op_to_writer(&verify->call.op, &first_recount_class);
    }
    if (r < 0) {
        fail(verify, r);
    }
}

/* --- The beginning --- */

static void begin_settled(struct op *op)
{
    op->result = store_last(op->spool->store, &((struct verify *)op)->last, &op->error);
    op_report(op);
}

static void begin_report(struct op *op)
{
    struct verify *verify = (struct verify *)op;
    int r = op->result;

    if (r < 0) {
        finish(verify, r, &op->error);
        return;
    }
    r = next_page(verify);
    if (r < 0) {
        fail(verify, r);
    }
}

static const struct op_class begin_class = {.settled = begin_settled,
                                            .report = begin_report,
                                            .abandoned = verify_destroy};

static void cancel(struct spool_call *call)
{
    struct verify *verify = (struct verify *)call;

    if (verify->listing) {
        spool_call_cancel(verify->listing);
    }
    if (verify->look) {
        end_look(verify);
    }
}

int spool_verify(struct spool_port *port, spool_verify_cb cb, void *arg, struct spool_call **ret)
{
    struct verify *verify = calloc(1, sizeof(*verify));

    if (!verify) {
        return -ENOMEM;
    }
    op_init(&verify->call.op, port->spool, port, verify_destroy);
    verify->call.cb.verify = cb;
    verify->call.arg = arg;
    verify->call.cancel = cancel;
    *ret = &verify->call;
    op_to_writer(&verify->call.op, &begin_class);
    return 0;
}
