/* A worker's part in the spool: see spool_worker.h. */
#include "daemon/spool_worker.h"

#include "base/log.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* What is delivered or fails is told so often, a worker and second. What is given up for good, and what a route turns to, is told as often
 * beside that: it is not to go under in the others, and an enclave whose requests nobody takes makes as much of it as it likes. */
#define LOG_PER_SECOND 100
#define LOG_BURST      200

/* ---- The books ---- */

/* NULL: a reload has taken the route away meanwhile, and nothing is counted of it any more. */
static struct route_counters *counters_of(const struct worker *worker, const struct config_route *route)
{
    const struct rules *rules = worker->rules;
    for (unsigned i = 0; i < rules->config->route_count; i++) {
        if (strcmp(rules->routes[i]->name, route->name) == 0) {
            return rules->routes[i];
        }
    }
    return NULL;
}

static void count(const struct worker *worker, const struct delivery_report *report)
{
    struct route_counters *counters = counters_of(worker, report->route);
    if (counters != NULL) {
        counter_add(&counters->deliveries[report->verdict->outcome], 1);
    }
}

static const char *words(enum verdict_outcome outcome)
{
    static const char *const events[VERDICT_OUTCOMES] = {
        [VERDICT_DONE] = "record delivered",     [VERDICT_RETRY] = "delivery failed",
        [VERDICT_UNREACHED] = "delivery failed", [VERDICT_BURIED] = "record given up",
        [VERDICT_DAMAGED] = "record damaged",    [VERDICT_RELEASED] = "delivery broken off",
    };
    return events[outcome];
}

static void begin_line(struct worker *worker, enum verdict_outcome outcome, struct log_line *line)
{
    if (outcome == VERDICT_BURIED || outcome == VERDICT_DAMAGED) {
        log_begin_limited(line, &worker->log_given_up, LOG_LEVEL_ERROR, words(outcome));
    } else {
        log_begin_limited(line, &worker->log_deliveries,
                          outcome == VERDICT_DONE ? LOG_LEVEL_INFO : LOG_LEVEL_WARN, words(outcome));
    }
}

static void log_upstream(const struct exchange *exchange, struct log_line *line)
{
    char address[ADDR_TEXT_MAX];
    if (exchange != NULL && exchange->peer.length > 0) {
        log_str(line, "address", sockaddr_format(&exchange->peer, address));
        log_str(line, "connection", exchange->reused ? "kept" : "new");
    }
}

static void log_attempt(struct worker *worker, const struct delivery_report *report)
{
    const struct spool_record *record = report->record;
    struct log_line line;
    begin_line(worker, report->verdict->outcome, &line);
    if (!line.wanted) {
        return;
    }
    log_str(&line, "route", report->route->name);
    log_str(&line, "enclave", record->enclave);
    log_u64(&line, "record", record->id);
    log_str(&line, "request_id", report->request_id[0] != '\0' ? report->request_id : NULL);
    log_u64(&line, "attempt", record->attempts + 1);
    if (report->status > 0) {
        log_u64(&line, "status", report->status);
    }
    log_u64(&line, "body", record->body_size);
    log_ms(&line, "duration", report->duration_ms);
    log_upstream(report->exchange, &line);
    log_str(&line, "detail", report->verdict->cause[0] != '\0' ? report->verdict->cause : NULL);
    log_end(&line);
}

static void on_attempted(void *data, const struct delivery_report *report)
{
    struct worker *worker = data;
    count(worker, report);
    log_attempt(worker, report);
}

static void on_turned(void *data, const struct config_route *route, bool up, const char *cause)
{
    struct worker *worker = data;
    struct log_line line;
    struct route_counters *counters = counters_of(worker, route);
    if (counters != NULL) {
        counter_set(&counters->held, !up);
    }
    log_begin_limited(&line, &worker->log_given_up, up ? LOG_LEVEL_INFO : LOG_LEVEL_WARN,
                      up ? "deliveries go on" : "deliveries held");
    log_str(&line, "route", route->name);
    log_str(&line, "detail", up ? NULL : cause);
    log_end(&line);
}

/* A drain waits for what is on its way, as for streams. */
static void on_busy(void *data, bool busy)
{
    struct worker *worker = data;
    counter *delivering = &worker->set->counters->delivering;
    if (busy) {
        atomic_fetch_add(delivering, 1);
    } else if (atomic_fetch_sub(delivering, 1) == 1 && atomic_load(&worker->set->draining)) {
        worker->set->emptied(worker->set->data);
    }
}

static const struct delivery_ops delivery_ops = {.attempted = on_attempted,
                                                 .turned = on_turned,
                                                 .busy = on_busy};

/* ---- Life ---- */

void spool_worker_init(struct worker *worker, unsigned workers)
{
    worker->log_deliveries = (struct log_limit)LOG_LIMIT_INIT(LOG_PER_SECOND, LOG_BURST);
    worker->log_given_up = (struct log_limit)LOG_LIMIT_INIT(LOG_PER_SECOND, LOG_BURST);
    deliveries_init(&worker->deliveries, &worker->forward, &worker->spool, &delivery_ops, worker);
    worker->deliveries.index = worker->index;
    worker->deliveries.count = workers;
}

static void attach(struct worker *worker, const struct rules *rules)
{
    struct error err = ERROR_INIT;
    if (rules->spool == NULL) {
        worker->spool.why = rules->no_spool;
    } else if (worker->spool.port == NULL && forward_spool_attach(&worker->spool, rules->spool, &err) != 0) {
        log_event(LOG_LEVEL_ERROR, "out of memory", "%s; `posternctl reload` tries again", err.text);
    }
}

/* Those that were held are tried at once (forward/delivery.c). */
static void hold_none(const struct worker *worker, const struct rules *rules)
{
    for (unsigned i = 0; i < rules->config->route_count; i++) {
        if (deliveries_owns(rules->routes[i]->name, worker->index, worker->deliveries.count)) {
            counter_set(&rules->routes[i]->held, 0);
        }
    }
}

void spool_worker_adopt(struct worker *worker, struct rules *rules)
{
    attach(worker, rules);
    hold_none(worker, rules);
    if (deliveries_adopt(&worker->deliveries, rules->config) != 0) {
        log_event(LOG_LEVEL_ERROR, "out of memory",
                  "a route's records are not delivered; `posternctl reload` tries again");
    }
}

/* ---- Operators ---- */

struct probe_job {
    struct job job;
    char route[CONFIG_NAME_MAX + 1]; /* "": all */
};

static void run_probe(struct worker *worker, struct job *job)
{
    struct probe_job *order = CONTAINER_OF(job, struct probe_job, job);
    deliveries_probe(&worker->deliveries, order->route[0] != '\0' ? order->route : NULL);
    free(order);
}

int spool_workers_probe(void *workers, const char *route)
{
    struct worker_set *set = workers;
    int rv = 0;
    for (unsigned i = 0; i < set->count; i++) {
        if (route != NULL && !deliveries_owns(route, i, set->count)) {
            continue;
        }
        struct probe_job *order = calloc(1, sizeof *order);
        if (order == NULL) {
            rv = -ENOMEM;
            continue;
        }
        order->job.run = run_probe;
        memcpy(order->route, route != NULL ? route : "", route != NULL ? strnlen(route, CONFIG_NAME_MAX) : 0);
        worker_post(&set->workers[i], &order->job);
    }
    return rv;
}
