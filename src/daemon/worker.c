/* A worker's thread, loop and jobs: see worker.h. */
#include "daemon/worker.h"

#include "base/units.h"
#include "daemon/door.h"
#include "daemon/sessions.h"
#include "daemon/spool_worker.h"
#include "daemon/streams.h"
#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* What the log may be made to say by callers, a worker and second. */
#define LOG_PER_SECOND 1000
#define LOG_BURST      2000

/* ---- Jobs ---- */

/* Woken under the lock: a worker that is awake already sees the job at once, and when that is the stop, its loop
 * would be gone before it is woken. */
void worker_post(struct worker *worker, struct job *job)
{
    uv_mutex_lock(&worker->lock);
    STAILQ_INSERT_TAIL(&worker->jobs, job, link);
    uv_async_send(&worker->wake);
    uv_mutex_unlock(&worker->lock);
}

void worker_order(struct worker *worker, struct job *job)
{
    uv_mutex_lock(&worker->lock);
    worker->orders++;
    uv_mutex_unlock(&worker->lock);
    worker_post(worker, job);
}

void worker_done(struct worker *worker)
{
    uv_mutex_lock(&worker->lock);
    assert(worker->orders > 0);
    if (--worker->orders == 0) {
        uv_cond_signal(&worker->idle);
    }
    uv_mutex_unlock(&worker->lock);
}

bool worker_await(struct worker *worker, uint64_t ms)
{
    uint64_t until = uv_hrtime() + ms * 1000000, now;
    uv_mutex_lock(&worker->lock);
    while (worker->orders > 0 && (now = uv_hrtime()) < until) {
        (void)uv_cond_timedwait(&worker->idle, &worker->lock, until - now);
    }
    bool done = worker->orders == 0;
    uv_mutex_unlock(&worker->lock);
    return done;
}

/* Sends coalesce: whatever is queued by now is done now. */
static void on_wake(uv_async_t *wake)
{
    struct worker *worker = wake->data;
    STAILQ_HEAD(, job) jobs = STAILQ_HEAD_INITIALIZER(jobs);
    loop_turn_began(&worker->loop);
    counter_set(&worker->pong, counter_get(&worker->ping));
    uv_mutex_lock(&worker->lock);
    STAILQ_CONCAT(&jobs, &worker->jobs);
    uv_mutex_unlock(&worker->lock);
    struct job *job;
    while ((job = STAILQ_FIRST(&jobs)) != NULL) {
        STAILQ_REMOVE_HEAD(&jobs, link);
        job->run(worker, job);
    }
}

uint64_t worker_busy_ms(struct worker *worker)
{
    uint64_t now = uv_hrtime() / 1000000;
    uint64_t ping = counter_get(&worker->ping);
    if (counter_get(&worker->pong) != ping) {
        return now - counter_get(&worker->pinged_at_ms);
    }
    counter_set(&worker->pinged_at_ms, now);
    counter_set(&worker->ping, ping + 1);
    uv_async_send(&worker->wake);
    return 0;
}

/* ---- Stalls ---- */

static void report_stall(struct worker *worker, uint64_t busy_ms)
{
    struct log_line line;
    counter_add(&worker->set->counters->stalls, 1);
    log_begin(&line, LOG_LEVEL_WARN, "event loop stalled");
    log_u64(&line, "worker", worker->index);
    log_ms(&line, "busy", busy_ms);
    log_str(&line, "route", atomic_load_explicit(&worker->route, memory_order_relaxed));
    log_end(&line);
}

static void on_turn_begins(uv_check_t *check)
{
    struct worker *worker = check->data;
    loop_turn_began(&worker->loop);
}

static void on_turn_ends(uv_prepare_t *prepare)
{
    struct worker *worker = prepare->data;
    uint64_t busy_ms = loop_turn_ended(&worker->loop) / 1000000;
    if (busy_ms >= WORKER_STALL_MS) {
        report_stall(worker, busy_ms);
    }
}

/* ---- Life ---- */

static void run_stop(struct worker *worker, struct job *job)
{
    (void)job;
    worker->stopping = true;
    door_close_all(worker);
    streams_end(worker);
    sessions_end(worker);
    deliveries_stop(&worker->deliveries);
    uv_close((uv_handle_t *)&worker->turn_begins, NULL);
    uv_close((uv_handle_t *)&worker->turn_ends, NULL);
    uv_stop(&worker->loop.uv);
}

static void turn_until_empty(struct worker *worker)
{
    /* Once without waiting, for the jobs that came and the doors that are closing. */
    (void)uv_run(&worker->loop.uv, UV_RUN_NOWAIT);
    while (!LIST_EMPTY(&worker->streams) || !LIST_EMPTY(&worker->sessions) ||
           !deliveries_over(&worker->deliveries)) {
        (void)uv_run(&worker->loop.uv, UV_RUN_ONCE);
    }
}

/* Past the barrier no worker has a door, so none posts any more; what was posted before is seen to. */
static void finish(struct worker *worker)
{
    turn_until_empty(worker);
    uv_barrier_wait(&worker->set->stopped);
    on_wake(&worker->wake);
    turn_until_empty(worker);
    uv_close((uv_handle_t *)&worker->wake, NULL);
    forward_worker_close(&worker->forward);
    forward_spool_close(&worker->spool);
    rules_unref(worker->rules);
    loop_close(&worker->loop);
}

static void run(void *data)
{
    struct worker *worker = data;
    (void)uv_run(&worker->loop.uv, UV_RUN_DEFAULT);
    finish(worker);
}

static struct resolver_options dns_options(const struct config *config)
{
    return (struct resolver_options){
        .servers = config->dns.servers,
        .timeout_ms = config->dns.timeout_ms,
        .min_ttl_ms = config->dns.min_ttl_ms,
        .max_ttl_ms = config->dns.max_ttl_ms,
        .stale_ms = config->dns.stale_ms,
        .cache_size = config->dns.cache_size,
    };
}

static void init(struct worker *worker, struct worker_set *set, unsigned index)
{
    memset(worker, 0, sizeof *worker);
    worker->set = set;
    worker->index = index;
    worker->stop.run = run_stop;
    worker->log_ended = worker->log_refused = (struct log_limit)LOG_LIMIT_INIT(LOG_PER_SECOND, LOG_BURST);
    LIST_INIT(&worker->doors);
    LIST_INIT(&worker->streams);
    LIST_INIT(&worker->sessions);
    STAILQ_INIT(&worker->jobs);
}

static int start_thread(struct worker *worker)
{
    int rv = uv_mutex_init(&worker->lock);
    if (rv != 0) {
        return rv;
    }
    rv = uv_cond_init(&worker->idle);
    if (rv != 0) {
        goto err_lock;
    }
    rv = uv_thread_create(&worker->thread, run, worker);
    if (rv == 0) {
        return 0;
    }
    uv_cond_destroy(&worker->idle);
err_lock:
    uv_mutex_destroy(&worker->lock);
    return rv;
}

static int start(struct worker *worker, struct worker_set *set, unsigned count, const struct config *config,
                 struct error *err)
{
    struct resolver_options dns = dns_options(config);
    const unsigned index = set->count;
    init(worker, set, index);
    /* The daemon asks for a name once, whichever worker needs it. */
    int rv = index == 0 ? loop_init(&worker->loop, &dns, err)
                        : loop_init_beside(&worker->loop, &set->workers[0].loop, err);
    if (rv != 0) {
        return rv;
    }
    relay_worker_init(&worker->relays, &worker->loop);
    rv = forward_ids_init(&worker->request_ids);
    if (rv != 0) {
        goto err_loop;
    }
    rv = forward_spool_init(&worker->spool, &worker->loop);
    if (rv != 0) {
        goto err_loop;
    }
    forward_worker_init(&worker->forward, &worker->loop, &set->bodies);
    spool_worker_init(worker, count);
    rv = uv_async_init(&worker->loop.uv, &worker->wake, on_wake);
    if (rv != 0) {
        goto err_forward;
    }
    uv_check_init(&worker->loop.uv, &worker->turn_begins);
    uv_check_start(&worker->turn_begins, on_turn_begins);
    uv_prepare_init(&worker->loop.uv, &worker->turn_ends);
    uv_prepare_start(&worker->turn_ends, on_turn_ends); /* before all others: see loop_turn_ended() */
    worker->wake.data = worker->turn_begins.data = worker->turn_ends.data = worker;
    rv = start_thread(worker);
    if (rv == 0) {
        return 0;
    }
    uv_close((uv_handle_t *)&worker->turn_begins, NULL);
    uv_close((uv_handle_t *)&worker->turn_ends, NULL);
    uv_close((uv_handle_t *)&worker->wake, NULL);
err_forward:
    forward_worker_close(&worker->forward);
    forward_spool_close(&worker->spool);
err_loop:
    loop_close(&worker->loop);
    return error_errno(err, rv, "cannot start worker %u", index);
}

int worker_set_start(struct worker_set *set, unsigned count, const struct config *config, struct error *err)
{
    int rv = 0;
    set->count = 0;
    atomic_init(&set->draining, false);
    counter_set(&set->session_number, 0);
    set->workers = calloc(count, sizeof *set->workers);
    if (set->workers == NULL) {
        return error_errno(err, -ENOMEM, "cannot start %u worker%s", count, units_plural(count));
    }
    rv = body_memory_init(&set->bodies);
    if (rv != 0) {
        free(set->workers);
        set->workers = NULL;
        return error_errno(err, rv, "cannot start %u worker%s", count, units_plural(count));
    }
    body_memory_set_limit(&set->bodies, config->body_memory);
    while (rv == 0 && set->count < count) {
        rv = start(&set->workers[set->count], set, count, config, err);
        set->count += rv == 0 ? 1 : 0;
    }
    if (rv != 0) {
        worker_set_stop(set);
    }
    return rv;
}

void worker_set_stop(struct worker_set *set)
{
    if (set->count > 0 && uv_barrier_init(&set->stopped, set->count) != 0) {
        abort(); /* it takes no resource but a count, which is not 0 */
    }
    for (unsigned i = 0; i < set->count; i++) {
        worker_post(&set->workers[i], &set->workers[i].stop);
    }
    for (unsigned i = 0; i < set->count; i++) {
        uv_thread_join(&set->workers[i].thread);
        uv_cond_destroy(&set->workers[i].idle);
        uv_mutex_destroy(&set->workers[i].lock);
    }
    if (set->count > 0) {
        uv_barrier_destroy(&set->stopped);
    }
    set->count = 0;
    if (set->workers != NULL) {
        body_memory_close(&set->bodies);
    }
    free(set->workers);
    set->workers = NULL;
}
