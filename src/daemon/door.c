/* Doors, and the jobs that open, change and close them: see door.h. */
#include "daemon/door.h"

#include "daemon/admission.h"
#include "daemon/sessions.h"
#include "daemon/spool_worker.h"
#include "daemon/streams.h"
#include <stdlib.h>

static struct door *of(struct listener *listener)
{
    return CONTAINER_OF(listener, struct door, listener);
}

static void on_accepted(struct listener *listener, int fd, const struct sockaddr_any *peer)
{
    admission_decide(of(listener), fd, peer);
}

static void on_failed(struct listener *listener, int code, unsigned shed)
{
    admission_shed(of(listener), code, shed);
}

static void on_closed(struct listener *listener)
{
    struct door *door = of(listener);
    rules_unref(door->rules);
    free(door);
}

static const struct listener_ops door_ops = {.accepted = on_accepted,
                                             .failed = on_failed,
                                             .closed = on_closed};

struct door_job {
    struct job job;
    struct door *door;   /* opening: the memory of the new door; owned until the job runs */
    struct rules *rules; /* one reference, or NULL */
    unsigned id;
    int fd;
    bool inherited;
};

static void discard(struct door_job *order)
{
    free(order->door);
    rules_unref(order->rules);
    free(order);
}

void door_job_discard(struct job *job)
{
    if (job != NULL) {
        discard(CONTAINER_OF(job, struct door_job, job));
    }
}

static struct door *door_at(struct worker *worker, int fd)
{
    struct door *door;
    LIST_FOREACH (door, &worker->doors, link) {
        if (door->listener.fd == fd) {
            return door;
        }
    }
    return NULL;
}

static void close_door(struct door *door)
{
    LIST_REMOVE(door, link);
    listener_close(&door->listener);
}

void door_close_all(struct worker *worker)
{
    struct door *door;
    while ((door = LIST_FIRST(&worker->doors)) != NULL) {
        close_door(door);
    }
}

static void run_open(struct worker *worker, struct job *job)
{
    struct door_job *order = CONTAINER_OF(job, struct door_job, job);
    struct door *door = order->door;
    order->door = NULL;
    door->worker = worker;
    door->rules = rules_ref(order->rules);
    door->id = order->id;
    door->inherited = order->inherited;
    door->draining = false;
    LIST_INSERT_HEAD(&worker->doors, door, link);
    listener_start(&door->listener, &worker->loop, order->fd, &door_ops);
    worker_done(worker);
    discard(order);
}

static void run_change(struct worker *worker, struct job *job)
{
    struct door_job *order = CONTAINER_OF(job, struct door_job, job);
    struct door *door = door_at(worker, order->fd);
    if (door != NULL) {
        rules_unref(door->rules);
        door->rules = rules_ref(order->rules);
        door->id = order->id;
    }
    worker_done(worker);
    discard(order);
}

static void run_adopt(struct worker *worker, struct job *job)
{
    struct door_job *order = CONTAINER_OF(job, struct door_job, job);
    sessions_adopt(worker, order->rules);
    spool_worker_adopt(worker, order->rules);
    worker_done(worker);
    discard(order);
}

static void run_close(struct worker *worker, struct job *job)
{
    struct door_job *order = CONTAINER_OF(job, struct door_job, job);
    struct door *door = door_at(worker, order->fd);
    if (door != NULL) {
        close_door(door);
    }
    worker_done(worker);
    discard(order);
}

static void run_drain(struct worker *worker, struct job *job)
{
    struct door *door, *next;
    (void)job;
    for (door = LIST_FIRST(&worker->doors); door != NULL; door = next) {
        next = LIST_NEXT(door, link);
        door->draining = true;
        if (door->inherited) {
            close_door(door);
        }
    }
    worker->draining = true;
    worker->drain_by = loop_now(&worker->loop) + worker->drain_ms;
    streams_drain(worker);
    deliveries_drain(&worker->deliveries);
    sessions_drain(worker, worker->drain_ms);
    worker_done(worker);
}

void door_order_drain(struct worker *worker, uint64_t deadline_ms)
{
    worker->drain.run = run_drain;
    worker->drain_ms = deadline_ms;
    worker_order(worker, &worker->drain);
}

static struct door_job *make(void (*run)(struct worker *, struct job *), int fd, struct rules *rules,
                             unsigned id)
{
    struct door_job *order = calloc(1, sizeof *order);
    if (order != NULL) {
        order->job.run = run;
        order->fd = fd;
        order->rules = rules != NULL ? rules_ref(rules) : NULL;
        order->id = id;
    }
    return order;
}

static struct job *job_of(struct door_job *order)
{
    return order != NULL ? &order->job : NULL;
}

struct job *door_job_open(int fd, bool inherited, struct rules *rules, unsigned id)
{
    struct door_job *order = make(run_open, fd, rules, id);
    if (order == NULL) {
        return NULL;
    }
    order->inherited = inherited;
    order->door = malloc(sizeof *order->door);
    if (order->door == NULL) {
        discard(order);
        return NULL;
    }
    return &order->job;
}

struct job *door_job_change(int fd, struct rules *rules, unsigned id)
{
    return job_of(make(run_change, fd, rules, id));
}

struct job *door_job_adopt(struct rules *rules)
{
    return job_of(make(run_adopt, -1, rules, 0));
}

struct job *door_job_close(int fd)
{
    return job_of(make(run_close, fd, NULL, 0));
}
