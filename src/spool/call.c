/*
 * Operators' questions and changes. Each is an op that goes to the writer, for as many steps as it takes, and then
 * reports. A change of many records is made of transactions of CALL_STEP records, in between which others have
 * their turn.
 */
#include "spool/call_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CALL_STEP SPOOL_LIST_MAX

/* Those that are ready need no retry, and those that are damaged are verified first. */
#define RETRIED_STATES (1U << SPOOL_WAITING | 1U << SPOOL_DEAD)

static struct spool_call *call_of(struct op *op)
{
    return (struct spool_call *)op;
}

static void call_destroy(struct op *op)
{
    struct spool_call *call = call_of(op);

    for (size_t i = 0; i < call->count; i++) {
        record_release(&call->records[i]);
    }
    free(call->records);
    free(call->shown);
    free(call->route);
    free(call);
}

/* A call with defaults filled in; NULL: out of memory. */
static struct spool_call *call_new(struct spool_port *port, const struct spool_query *query, void *arg)
{
    struct spool_call *call = calloc(1, sizeof(*call));

    if (!call) {
        return NULL;
    }
    op_init(&call->op, port->spool, port, call_destroy);
    call->arg = arg;
    call->query = *query;
    call->query.route = NULL;
    if (!query->states) {
        call->query.states = (1U << SPOOL_STATES) - 1;
    }
    if (!query->limit || query->limit > CALL_STEP) {
        call->query.limit = CALL_STEP;
    }
    call->records = calloc(call->query.limit, sizeof(*call->records));
    call->shown = calloc(call->query.limit, sizeof(*call->shown));
    call->route = query->route ? strdup(query->route) : NULL;
    if (call->records && call->shown && (call->route || !query->route)) {
        return call;
    }
    call_destroy(&call->op);
    return NULL;
}

void spool_call_cancel(struct spool_call *call)
{
    if (call->cancel) {
        call->cancel(call);
    }
    if (op_detach(&call->op)) {
        call->op.destroy(&call->op);
    }
}

const char *spool_call_route(const struct spool_call *call)
{
    return call->route;
}

/* --- Finding records --- */

static bool is_asked_for(const struct spool_call *call, const struct record *record)
{
    return !call->route || strcmp(record->shown.route, call->route) == 0;
}

static bool collect_listed(void *arg, const struct record *record)
{
    struct spool_call *call = arg;
    struct record *copy = &call->records[call->count];

    if (!is_asked_for(call, record)) {
        return true;
    }
    *copy = *record;
    if (record_keep(copy, 0) < 0) {
        call->op.result = -ENOMEM;
        return false;
    }
    call->count++;
    return call->count < call->query.limit;
}

/* For changing: without texts, which are the row's. */
static bool collect_changed(void *arg, const struct record *record)
{
    struct spool_call *call = arg;
    struct record *copy = &call->records[call->count];

    if (!is_asked_for(call, record) || take_is_leased(call->op.spool, record->shown.id) ||
        (call->verb == CALL_RETRY && !(1U << record->shown.state & RETRIED_STATES))) {
        return true;
    }
    *copy = *record;
    call->count++;
    return call->count < call->query.limit;
}

/* --- Listing --- */

static void list_settled(struct op *op)
{
    struct spool_call *call = call_of(op);
    int r;

    op->result = 0;
    r = store_scan(op->spool->store, call->query.states, call->query.after, collect_listed, call, &call->next,
                   &op->error);
    if (op->result == -ENOMEM) {
        error_errno(&op->error, -ENOMEM, "cannot list records");
    } else {
        op->result = r;
    }
    op_report(op);
}

static void list_report(struct op *op)
{
    struct spool_call *call = call_of(op);
    size_t count = op->result == 0 ? call->count : 0;

    for (size_t i = 0; i < count; i++) {
        call->shown[i] = call->records[i].shown;
    }
    call->cb.list(call->arg, op->result, call->shown, count, op->result == 0 ? call->next : 0, &op->error);
    call_destroy(op);
}

static const struct op_class list_class = {.settled = list_settled,
                                           .report = list_report,
                                           .abandoned = call_destroy};

int spool_list(struct spool_port *port, const struct spool_query *query, spool_list_cb cb, void *arg,
               struct spool_call **ret)
{
    struct spool_call *call = call_new(port, query, arg);

    if (!call) {
        return -ENOMEM;
    }
    call->cb.list = cb;
    *ret = call;
    op_to_writer(&call->op, &list_class);
    return 0;
}

/* --- Changing --- */

static int change(struct spool_call *call, const struct record *record, struct error *err)
{
    struct spool *spool = call->op.spool;
    struct route *route = route_find(spool, record->tally->route);
    struct record now = *record;

    if (route) {
        route->changed = true;
    }
    if (call->verb == CALL_DROP) {
        return store_remove(spool->store, record, err);
    }
    if (route) {
        route_rewind(route, record->tally, record->shown.id);
    }
    now.shown.state = SPOOL_READY;
    now.shown.attempts = 0;
    now.shown.next_at = 0;
    now.shown.cause = "";
    now.since = spool_now(spool);
    return store_change(spool->store, &now, record->shown.state, err);
}

static int one_apply(struct op *op, struct error *err)
{
    struct spool_call *call = call_of(op);
    struct record *record = &call->records[0];
    uint64_t id = call->query.after;
    int r = store_peek(op->spool->store, id, record, err);

    call->count = 0;
    call->is_suspect = false;
    if (r < 0) {
        return r;
    }
    if (take_is_leased(op->spool, id)) {
        return error_set(err, -EBUSY, "record %llu is being delivered", (unsigned long long)id);
    }
    if (call->verb == CALL_RETRY && record->shown.state == SPOOL_DAMAGED && !call->is_sound) {
        call->is_suspect = true;
        return 0;
    }
    call->count = 1;
    free(call->route);
    call->route = strdup(record->tally->route);
    return change(call, record, err);
}

static int all_apply(struct op *op, struct error *err)
{
    struct spool_call *call = call_of(op);
    int r;

    call->count = 0;
    r = store_scan(op->spool->store, call->query.states, call->query.after, collect_changed, call,
                   &call->next, err);
    for (size_t i = 0; r == 0 && i < call->count; i++) {
        r = change(call, &call->records[i], err);
    }
    return r;
}

/* What was removed is removed: now its files. Then `records` holds nothing that is owned. */
static void finish_step(struct spool_call *call)
{
    for (size_t i = 0; call->op.result == 0 && i < call->count; i++) {
        if (call->verb == CALL_DROP && call->records[i].file > 0) {
            files_discard(call->op.spool, call->records[i].file);
        }
    }
    if (call->op.result == 0) {
        call->total += call->count;
    }
    call->count = 0;
}

static void one_settled(struct op *op)
{
    finish_step(call_of(op));
    op_report(op);
}

static const struct op_class all_class;

static void all_settled(struct op *op)
{
    struct spool_call *call = call_of(op);

    finish_step(call);
    call->query.after = call->next;
    if (op->result == 0 && call->next > 0) {
        op_to_writer(op, &all_class);
    } else {
        op_report(op);
    }
}

static void alter_report(struct op *op)
{
    struct spool_call *call = call_of(op);

    call->cb.alter(call->arg, op->result, call->total, &op->error);
    call_destroy(op);
}

static void one_report(struct op *op)
{
    struct spool_call *call = call_of(op);

    if (op->result == 0 && call->is_suspect) {
        mend_verify(call);
    } else {
        alter_report(op);
    }
}

static const struct op_class one_class = {.apply = one_apply,
                                          .settled = one_settled,
                                          .report = one_report,
                                          .abandoned = call_destroy};
static const struct op_class all_class = {.apply = all_apply,
                                          .settled = all_settled,
                                          .report = alter_report,
                                          .abandoned = call_destroy};

static int alter(struct spool_port *port, const struct spool_query *query, enum call_verb verb,
                 const struct op_class *class, spool_alter_cb cb, void *arg, struct spool_call **ret)
{
    struct spool_call *call = call_new(port, query, arg);

    if (!call) {
        return -ENOMEM;
    }
    call->verb = verb;
    call->cb.alter = cb;
    *ret = call;
    op_to_writer(&call->op, class);
    return 0;
}

static int alter_one(struct spool_port *port, uint64_t id, enum call_verb verb, spool_alter_cb cb, void *arg,
                     struct spool_call **ret)
{
    const struct spool_query query = {.after = id, .limit = 1};

    return alter(port, &query, verb, &one_class, cb, arg, ret);
}

static int alter_all(struct spool_port *port, struct spool_query query, enum call_verb verb,
                     spool_alter_cb cb, void *arg, struct spool_call **ret)
{
    query.limit = CALL_STEP;
    return alter(port, &query, verb, &all_class, cb, arg, ret);
}

int spool_retry_one(struct spool_port *port, uint64_t id, spool_alter_cb cb, void *arg,
                    struct spool_call **ret)
{
    return alter_one(port, id, CALL_RETRY, cb, arg, ret);
}

int spool_retry_all(struct spool_port *port, const struct spool_query *query, spool_alter_cb cb, void *arg,
                    struct spool_call **ret)
{
    if (query->states == 1U << SPOOL_DAMAGED) {
        return mend_all(port, query, cb, arg, ret);
    }
    return alter_all(port, *query, CALL_RETRY, cb, arg, ret);
}

int spool_drop_one(struct spool_port *port, uint64_t id, spool_alter_cb cb, void *arg,
                   struct spool_call **ret)
{
    return alter_one(port, id, CALL_DROP, cb, arg, ret);
}

int spool_drop_all(struct spool_port *port, const struct spool_query *query, spool_alter_cb cb, void *arg,
                   struct spool_call **ret)
{
    return alter_all(port, *query, CALL_DROP, cb, arg, ret);
}
