/* What the writer hands out of each route that somebody waits for: the oldest ready record of one enclave, then that of the next, so
 * that the backlog of one, or what its upstream takes from none, is not in the way of another. */
#include "spool/take_private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* After a failure to read. */
#define SERVE_AGAIN_MS 1000U

/* Records of a route that are looked at in a turn: all may turn out to be too old. */
#define SERVE_MOST 256U

bool take_is_leased(struct spool *spool, uint64_t id)
{
    const struct spool_take *take;

    for (struct route *route = route_first(spool); route; route = SLIST_NEXT(route, link)) {
        TAILQ_FOREACH (take, &route->leased, link) {
            if (take->record.shown.id == id) {
                return true;
            }
        }
    }
    return false;
}

void route_expect(struct route *route, struct tally *tally)
{
    if (!tally->has_turn) {
        tally->has_turn = true;
        TAILQ_INSERT_TAIL(&route->turns, tally, turn_link);
    }
}

void route_rewind(struct route *route, struct tally *tally, uint64_t id)
{
    if (tally->cursor >= id) {
        tally->cursor = id - 1;
    }
    route_expect(route, tally);
}

/* Behind all others, if it may have more. */
static void pass_turn(struct route *route, struct tally *tally, bool more)
{
    TAILQ_REMOVE(&route->turns, tally, turn_link);
    tally->has_turn = false;
    if (more) {
        route_expect(route, tally);
    }
}

/* --- Sentences --- */

struct sentence {
    struct op op; /* first */
    enum spool_state state;
    uint64_t id;
    bool carried_out;
    struct route *route;
    char cause[SPOOL_CAUSE_MAX + 1];
};

static void sentence_destroy(struct op *op)
{
    free(op);
}

/* By then it may be gone, leased, or have been judged before. */
static int sentence_apply(struct op *op, struct error *err)
{
    struct sentence *sentence = (struct sentence *)op;
    struct spool *spool = op->spool;
    struct record record;
    enum spool_state before;
    int r = store_peek(spool->store, sentence->id, &record, err);

    sentence->carried_out = false;
    if (r < 0) {
        return r == -ENOENT ? 0 : r;
    }
    before = record.shown.state;
    if (before == sentence->state || take_is_leased(spool, sentence->id) ||
        (sentence->state == SPOOL_DEAD && before != SPOOL_READY)) {
        return 0;
    }
    sentence->carried_out = true;
    sentence->route = route_find(spool, record.tally->route);
    if (sentence->route) {
        sentence->route->changed = true;
    }
    record.shown.state = sentence->state;
    record.shown.cause = sentence->cause;
    record.shown.next_at = 0;
    return store_change(spool->store, &record, before, err);
}

static void sentence_settled(struct op *op)
{
    struct sentence *sentence = (struct sentence *)op;
    struct spool *spool = op->spool;

    pthread_mutex_lock(&spool->lock);
    if (op->result == 0 && sentence->carried_out && sentence->state == SPOOL_DEAD && sentence->route) {
        sentence->route->died++;
    }
    pthread_mutex_unlock(&spool->lock);
    free(sentence);
}

static const struct op_class sentence_class = {.apply = sentence_apply, .settled = sentence_settled};

void take_sentence(struct spool *spool, uint64_t id, enum spool_state state, const char *cause)
{
    struct sentence *sentence = calloc(1, sizeof(*sentence));

    if (!sentence) {
        return;
    }
    op_init(&sentence->op, spool, NULL, sentence_destroy);
    sentence->id = id;
    sentence->state = state;
    memcpy(sentence->cause, cause, strnlen(cause, SPOOL_CAUSE_MAX));
    op_to_writer(&sentence->op, &sentence_class);
}

/* --- Serving --- */

/* The next one that nobody has; 0 in *ret: there is none. */
static int find(struct spool *spool, struct tally *tally, uint64_t *ret, struct error *err)
{
    do {
        int r = store_next(spool->store, tally, tally->cursor, ret, err);

        if (r < 0) {
            return r;
        }
        if (*ret > 0) {
            tally->cursor = *ret;
        }
    } while (*ret > 0 && take_is_leased(spool, *ret));
    return 0;
}

bool route_is_too_old(struct spool *spool, struct route *route, const struct record *record)
{
    uint64_t max_age;

    pthread_mutex_lock(&spool->lock);
    max_age = route->policy.max_age_ms;
    pthread_mutex_unlock(&spool->lock);
    return max_age && spool_now(spool) >= record->since + max_age;
}

/* Loads it, or finds a reason why it is not to be handed out: 0 in *ret_good. */
static int load(struct spool *spool, struct route *route, uint64_t id, struct record *record, bool *ret_good,
                struct error *err)
{
    int r = store_load(spool->store, id, record, err);

    *ret_good = false;
    if (r == -EBADMSG) {
        take_sentence(spool, id, SPOOL_DAMAGED, err->text);
    } else if (r == 0 && route_is_too_old(spool, route, record)) {
        take_sentence(spool, id, SPOOL_DEAD, SPOOL_TOO_OLD);
    } else if (r == 0) {
        *ret_good = true;
    }
    if (!*ret_good) {
        record_release(record);
    }
    return r == -EBADMSG ? 0 : r;
}

/* To the first that waits, if there still is one. */
static bool give(struct spool *spool, struct route *route, struct record *record)
{
    struct spool_take *take;

    pthread_mutex_lock(&spool->lock);
    take = TAILQ_FIRST(&route->waiting);
    if (take) {
        TAILQ_REMOVE(&route->waiting, take, link);
        take->is_waiting = false;
        route->in_flight++;
    }
    pthread_mutex_unlock(&spool->lock);
    if (!take) {
        return false;
    }
    take->record = *record;
    take->is_leased = true;
    take->op.result = 0;
    TAILQ_INSERT_TAIL(&route->leased, take, link);
    op_report(&take->op);
    return true;
}

/* One record, of the enclave whose turn it is. Returns 1 if there may be more to hand out, 0 if not, or an error. */
static int serve_one(struct spool *spool, struct route *route, struct tally *tally, struct error *err)
{
    struct record record;
    bool good;
    uint64_t id;
    int r = find(spool, tally, &id, err);

    if (r < 0) {
        return r;
    }
    if (id == 0) {
        pass_turn(route, tally, false);
        return 1;
    }
    r = load(spool, route, id, &record, &good, err);
    if (r == 0 && !good) {
        return 1;
    }
    if (r == 0 && give(spool, route, &record)) {
        pass_turn(route, tally, true);
        return 1;
    }
    if (r == 0) {
        record_release(&record);
    }
    route_rewind(route, tally, id);
    return r;
}

static bool is_wanted(struct spool *spool, struct route *route)
{
    bool wanted;

    pthread_mutex_lock(&spool->lock);
    wanted = !TAILQ_EMPTY(&route->waiting);
    pthread_mutex_unlock(&spool->lock);
    return wanted;
}

/* 1: there may be more to hand out. */
static int serve_route(struct spool *spool, struct route *route, bool *ret_any, struct error *err)
{
    for (unsigned i = 0; i < SERVE_MOST; i++) {
        struct tally *tally = TAILQ_FIRST(&route->turns);
        int r = tally && is_wanted(spool, route) ? serve_one(spool, route, tally, err) : 0;

        if (r <= 0) {
            return r;
        }
        *ret_any = true;
    }
    return 1;
}

/* While verdicts cannot be carried out nothing is handed out: leases would pile up, and so would what is delivered twice
 * if this process should end. */
bool take_serve(struct spool *spool)
{
    struct error err = ERROR_INIT;
    bool any = false;
    int r = 0;

    if (!STAILQ_EMPTY(&spool->again) || spool_steady(spool) < spool->serve_at) {
        return false;
    }
    spool->serve_at = 0;
    for (struct route *route = route_first(spool); route && r >= 0; route = SLIST_NEXT(route, link)) {
        r = serve_route(spool, route, &any, &err);
        if (r > 0) {
            spool->serve_at = spool_steady(spool);
        }
    }
    if (r < 0) {
        spool->serve_at = spool_steady(spool) + SERVE_AGAIN_MS;
        writer_note(spool, r, &err);
    }
    return any;
}
