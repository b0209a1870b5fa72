/* The routes of a worker that deliver: see delivery.h. */
#include "forward/delivery_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* After memory ran out. */
#define AGAIN_MS 1000

/* An upstream that comes up again is found within this time, whatever records wait for. */
#define PROBE_MOST_MS 30000

static void fill(struct delivery *delivery);

/* FNV-1a. */
bool deliveries_owns(const char *route, unsigned index, unsigned count)
{
    uint32_t hash = 2166136261U;
    for (const char *c = route; *c != '\0'; c++) {
        hash = (hash ^ (unsigned char)*c) * 16777619U;
    }
    return hash % count == index;
}

/* ---- One route ---- */

static void on_timer_closed(uv_handle_t *handle)
{
    struct delivery *delivery = handle->data;
    LIST_REMOVE(delivery, link);
    config_unref(delivery->config);
    free(delivery);
}

/* A route that is none any more goes with its last record. */
static void maybe_close(struct delivery *delivery)
{
    if (delivery->config == NULL && LIST_EMPTY(&delivery->slots) && !delivery->closing) {
        delivery->closing = true;
        uv_close((uv_handle_t *)&delivery->timer, on_timer_closed);
    }
}

static void release_waiting(struct delivery *delivery, unsigned keep)
{
    struct slot *slot = LIST_FIRST(&delivery->slots), *next;
    for (; slot != NULL && delivery->waiting > keep; slot = next) {
        next = LIST_NEXT(slot, link);
        if (slot->state == SLOT_WAITING) {
            slot_release(slot);
        }
    }
}

static void on_timer(uv_timer_t *timer)
{
    fill(timer->data);
}

static void pause_takes(struct delivery *delivery, uint64_t ms)
{
    struct loop *loop = delivery->set->worker->loop;
    release_waiting(delivery, 0);
    uv_update_time(&loop->uv); /* the time from here on */
    (void)uv_timer_start(&delivery->timer, on_timer, ms, 0);
}

/* How many may be taken at once now. */
static unsigned allowed(const struct delivery *delivery)
{
    if (delivery->config == NULL || delivery->set->draining || delivery->set->spool->port == NULL) {
        return 0;
    }
    return throttle_holds(&delivery->throttle) ? 1 : delivery->route->forward->in_flight;
}

/* Asks for as many records as there may be; one that waits for a record costs nothing but its memory. */
static void fill(struct delivery *delivery)
{
    unsigned most = allowed(delivery);
    bool probe = throttle_holds(&delivery->throttle);
    if (most == 0 || delivery->waiting + delivery->sending > most) {
        release_waiting(delivery, most > delivery->sending ? most - delivery->sending : 0);
    }
    if (uv_is_active((uv_handle_t *)&delivery->timer)) {
        return;
    }
    while (delivery->waiting + delivery->sending < most) {
        if (slot_start(delivery, probe) != 0) {
            pause_takes(delivery, AGAIN_MS);
            return;
        }
    }
}

/* ---- What slots tell ---- */

static void count_sending(struct deliveries *set, int change)
{
    unsigned before = set->sending;
    set->sending = (unsigned)((int)set->sending + change);
    if (before == 0 || set->sending == 0) {
        set->ops->busy(set->data, set->sending > 0);
    }
}

void delivery_took(struct slot *slot)
{
    slot->of->waiting--;
    slot->of->sending++;
    count_sending(slot->of->set, 1);
}

static void report(const struct slot *slot, const struct verdict *verdict)
{
    struct deliveries *set = slot->of->set;
    const struct delivery_report told = {
        .config = slot->config,
        .route = slot->route,
        .record = spool_take_record(slot->take),
        .request_id = slot->origin.request_id,
        .verdict = verdict,
        .exchange = slot->exchange.ops != NULL ? &slot->exchange : NULL,
        .status = slot->attempt.status,
        .why = slot->attempt.why,
        .duration_ms = loop_now(set->worker->loop) - slot->began_at,
    };
    set->ops->attempted(set->data, &told);
}

static void note_up(struct delivery *delivery)
{
    bool held = throttle_holds(&delivery->throttle);
    throttle_up(&delivery->throttle);
    if (held) {
        uv_timer_stop(&delivery->timer);
        delivery->set->ops->turned(delivery->set->data, delivery->route, true, "");
    }
}

static void note_down(struct delivery *delivery, const struct slot *slot, const struct verdict *verdict)
{
    bool held = throttle_holds(&delivery->throttle);
    bool plain = verdict->outcome == VERDICT_UNREACHED || verdict_asks_for_time(&slot->attempt);
    uint64_t pause = throttle_down(&delivery->throttle, plain, slot->probe, verdict->spool.retry_after_ms);
    if (pause > 0) {
        pause_takes(delivery, pause);
    }
    if (!held && throttle_holds(&delivery->throttle)) {
        delivery->set->ops->turned(delivery->set->data, delivery->route, false, verdict->cause);
    }
}

static void note_outcome(struct delivery *delivery, const struct slot *slot, const struct verdict *verdict)
{
    if (delivery->config == NULL) {
        return;
    }
    switch (verdict->outcome) {
    case VERDICT_DONE:
        note_up(delivery);
        break;
    case VERDICT_BURIED:
        if (slot->attempt.status != 0) {
            note_up(delivery);
        }
        break;
    case VERDICT_RETRY:
    case VERDICT_UNREACHED:
        note_down(delivery, slot, verdict);
        break;
    default:
        break;
    }
}

static void free_slot(struct slot *slot)
{
    http_request_release(&slot->request);
    config_unref(slot->config);
    free(slot);
}

void delivery_ended(struct slot *slot, const struct verdict *verdict)
{
    struct delivery *delivery = slot->of;
    report(slot, verdict);
    spool_take_end(slot->take, &verdict->spool);
    LIST_REMOVE(slot, link);
    delivery->sending--;
    note_outcome(delivery, slot, verdict);
    free_slot(slot);
    count_sending(delivery->set, -1);
    fill(delivery);
    maybe_close(delivery);
}

/* ---- All of them ---- */

void deliveries_init(struct deliveries *deliveries, struct forward_worker *worker,
                     struct forward_spool *spool, const struct delivery_ops *ops, void *data)
{
    *deliveries = (struct deliveries){.worker = worker, .spool = spool, .ops = ops, .data = data, .count = 1};
    LIST_INIT(&deliveries->list);
}

static struct delivery *find(struct deliveries *set, const char *name)
{
    struct delivery *delivery;
    LIST_FOREACH (delivery, &set->list, link) {
        if (!delivery->closing && strcmp(delivery->name, name) == 0) {
            return delivery;
        }
    }
    return NULL;
}

static struct delivery *make(struct deliveries *set, const char *name)
{
    struct delivery *delivery = calloc(1, sizeof *delivery);
    if (delivery == NULL) {
        return NULL;
    }
    delivery->set = set;
    memcpy(delivery->name, name, strnlen(name, CONFIG_NAME_MAX));
    LIST_INIT(&delivery->slots);
    (void)uv_timer_init(&set->worker->loop->uv, &delivery->timer);
    delivery->timer.data = delivery;
    LIST_INSERT_HEAD(&set->list, delivery, link);
    return delivery;
}

static bool delivers(const struct config_route *route)
{
    return route->type == CONFIG_FORWARD && route->forward->delivery == CONFIG_SPOOL;
}

static const struct config_route *find_route(const struct config *config, const char *name)
{
    for (unsigned i = 0; i < config->route_count; i++) {
        if (delivers(&config->routes[i]) && strcmp(config->routes[i].name, name) == 0) {
            return &config->routes[i];
        }
    }
    return NULL;
}

/* A reload may have mended what kept the upstream from being reached: it is tried at once. */
static void set_rules(struct delivery *delivery, struct config *config, const struct config_route *route)
{
    const struct config_retry *retry = &route->forward->retry;
    config_unref(delivery->config);
    delivery->config = config_ref(config);
    delivery->route = route;
    uint64_t most_ms = retry->max_pause_ms < PROBE_MOST_MS ? retry->max_pause_ms : PROBE_MOST_MS;
    throttle_init(&delivery->throttle, retry->min_pause_ms, most_ms);
    uv_timer_stop(&delivery->timer);
    fill(delivery);
}

static void retire(struct delivery *delivery)
{
    config_unref(delivery->config);
    delivery->config = NULL;
    delivery->route = NULL;
    release_waiting(delivery, 0);
    maybe_close(delivery);
}

static void retire_missing(struct deliveries *set, const struct config *config)
{
    struct delivery *delivery = LIST_FIRST(&set->list), *next;
    for (; delivery != NULL; delivery = next) {
        next = LIST_NEXT(delivery, link);
        if (!delivery->closing && find_route(config, delivery->name) == NULL) {
            retire(delivery);
        }
    }
}

int deliveries_adopt(struct deliveries *set, struct config *config)
{
    int rv = 0;
    if (set->draining) {
        return 0;
    }
    retire_missing(set, config);
    for (unsigned i = 0; i < config->route_count; i++) {
        const struct config_route *route = &config->routes[i];
        if (!delivers(route) || !deliveries_owns(route->name, set->index, set->count)) {
            continue;
        }
        struct delivery *delivery = find(set, route->name);
        delivery = delivery != NULL ? delivery : make(set, route->name);
        if (delivery == NULL) {
            rv = -ENOMEM;
        } else {
            set_rules(delivery, config, route);
        }
    }
    return rv;
}

void deliveries_probe(struct deliveries *set, const char *route)
{
    struct delivery *delivery;
    LIST_FOREACH (delivery, &set->list, link) {
        bool named = route == NULL || strcmp(route, delivery->name) == 0;
        if (named && !delivery->closing && throttle_holds(&delivery->throttle)) {
            throttle_again(&delivery->throttle);
            uv_timer_stop(&delivery->timer);
            fill(delivery);
        }
    }
}

void deliveries_drain(struct deliveries *set)
{
    struct delivery *delivery;
    set->draining = true;
    LIST_FOREACH (delivery, &set->list, link) {
        release_waiting(delivery, 0);
    }
}

static void cut_all(struct delivery *delivery)
{
    struct slot *slot;
    LIST_FOREACH (slot, &delivery->slots, link) {
        slot_cut(slot);
    }
}

void deliveries_stop(struct deliveries *set)
{
    struct delivery *delivery, *next;
    deliveries_drain(set);
    for (delivery = LIST_FIRST(&set->list); delivery != NULL; delivery = next) {
        next = LIST_NEXT(delivery, link);
        if (!delivery->closing) {
            retire(delivery);
            cut_all(delivery);
        }
    }
}

bool deliveries_over(const struct deliveries *set)
{
    return LIST_EMPTY(&set->list);
}
