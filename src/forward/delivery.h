/*
 * Deliveries: what is in the spool goes to the upstreams of its routes.
 *
 * Each route with `delivery: spool` belongs to one worker, by its name. There it takes records, oldest first, up to
 * `in_flight` at once, and sends each by an exchange: judged anew by the newest rules, with the route's headers as they are
 * now. verdict.h has what becomes of a record, throttle.h how hard a route tries while its upstream is down.
 *
 *     deliveries_init() -> deliveries_adopt() at the start and by each reload -> deliveries_drain(): no record is
 *     taken any more -> deliveries_stop(): those in flight are cut off -> deliveries_over()
 *
 * A record that a route's end, a drain or a stop finds not yet sent goes back as if it had never been taken. A route that a
 * reload removes leaves its records in the spool.
 *
 * Lifetimes: the worker embeds `struct deliveries`. A delivery (one route) lives until it was told to end, its last record
 * is through and its timer is closed. Each record that is on its way holds the configuration it is sent under.
 */
#ifndef POSTERN_FORWARD_DELIVERY_H
#define POSTERN_FORWARD_DELIVERY_H

#include "base/compiler.h"
#include "config/config.h"
#include "forward/exchange.h"
#include "forward/forward_spool.h"
#include "forward/verdict.h"
#include "forward/worker.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

/* One attempt, when it is over. What it points to is good during the call. */
struct delivery_report {
    const struct config *config; /* it was sent under */
    const struct config_route *route;
    const struct spool_record *record; /* as it was taken */
    const char *request_id;            /* that the enclave's request had; "" */
    const struct verdict *verdict;
    const struct exchange *exchange; /* NULL: it did not come to that */
    unsigned status;                 /* of the answer; 0: none */
    enum http_refusal why;           /* no answer, or none that is whole; NONE */
    uint64_t duration_ms;
};

struct delivery_ops {
    void (*attempted)(void *data, const struct delivery_report *report);

    /* A route finds its upstream down, or up again. */
    void (*turned)(void *data, const struct config_route *route, bool up, const char *cause);

    /* How many records are on their way on this worker: it was 0 and is not, or the other way round. */
    void (*busy)(void *data, bool busy);
};

struct delivery;

struct deliveries {
    struct forward_worker *worker;
    struct forward_spool *spool;
    const struct delivery_ops *ops;
    void *data;
    unsigned index, count; /* of the worker, and how many there are */
    bool draining;
    unsigned sending;
    LIST_HEAD(, delivery) list;
};

void deliveries_init(struct deliveries *deliveries, struct forward_worker *worker,
                     struct forward_spool *spool, const struct delivery_ops *ops, void *data);

/* Goes by the routes of `config` from now on. Without memory for a route, that route waits for the next reload; returns
 * -ENOMEM then. */
int deliveries_adopt(struct deliveries *set, struct config *config);

/* The operator's word that the upstream of that route (NULL: of any) may be up again: a route that is held is probed at once. */
void deliveries_probe(struct deliveries *set, const char *route);

void deliveries_drain(struct deliveries *set);
void deliveries_stop(struct deliveries *set);

/* Nothing is left: the loop may end. */
bool deliveries_over(const struct deliveries *set);

/* Whether that worker of `count` has the route. */
bool deliveries_owns(const char *route, unsigned index, unsigned count);

#endif
