/*
 * The daemon's life: see server.h.
 *
 *     start: descriptors, log, signals -> workers -> sockets, doors, admin (server_apply) -> READY
 *     run:   the main loop; SIGHUP reloads, SIGTERM and SIGINT drain, a second one of those exits at once
 *     end:   the drain is over, or its deadline passed -> workers stopped -> handles closed
 */
#include "daemon/server.h"

#include "base/log.h"
#include "base/units.h"
#include "daemon/door.h"
#include "daemon/server_private.h"
#include "daemon/spool_worker.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

/* For how long sessions without streams are waited for at the end. */
#define GOODBYE_MS 1000

/* For how long workers are waited for: no turn of a loop takes that long, however busy the machine, unless it hangs. */
#define ORDERS_MS 10000

/* ---- What the admin socket may ask ---- */

const struct server_view *server_view(struct server *server)
{
    struct server_view *view = &server->view;
    uint64_t due = uv_timer_get_due_in(&server->deadline);
    view->state = server->state;
    view->config = server->rules->config;
    view->counters = &server->counters;
    view->workers = server->worker_views;
    view->worker_count = server->workers.count;
    view->uptime_s = (uv_hrtime() - server->began_ns) / 1000000000;
    view->drain_left_ms = server->state == SERVER_DRAINING ? due : 0;
    view->body_memory = server->workers.workers != NULL ? body_memory_used(&server->workers.bodies) : 0;
    view->last_error = server->last_error;
    view->spool = &server->spool;
    for (unsigned i = 0; i < server->workers.count; i++) {
        struct worker *worker = &server->workers.workers[i];
        server->worker_views[i] = (struct worker_view){
            .active = (unsigned)counter_get(&worker->active),
            .sessions = (unsigned)counter_get(&worker->sessions_active),
            .busy_ms = worker_busy_ms(worker),
            .dns = &worker->loop.dns,
            .upstreams = &worker->forward.stats,
        };
    }
    return view;
}

struct spool_keeper *server_spool(struct server *server)
{
    return &server->spool;
}

void server_status_line(const struct server *server, char *buffer, size_t size)
{
    const struct config *config = server->rules->config;
    unsigned long long streams = counter_get(&server->counters.active);
    unsigned long long sessions = counter_get(&server->counters.sessions);
    snprintf(buffer, size, "%s: %u listener%s, %u route%s, %llu stream%s, %llu session%s%s%s",
             server->state == SERVER_DRAINING ? "draining" : "ready", config->listener_count,
             units_plural(config->listener_count), config->route_count, units_plural(config->route_count),
             streams, units_plural(streams), sessions, units_plural(sessions),
             server->last_error[0] != '\0' ? "; last reload refused: " : "", server->last_error);
}

static void on_deadline(uv_timer_t *timer)
{
    struct server *server = timer->data;
    unsigned long long streams = counter_get(&server->counters.active);
    unsigned long long sessions = counter_get(&server->counters.sessions);
    log_event(streams > 0 ? LOG_LEVEL_WARN : LOG_LEVEL_INFO, "drain deadline passed",
              "ending %llu stream%s and %llu session%s", streams, units_plural(streams), sessions,
              units_plural(sessions));
    uv_stop(&server->loop);
}

/* A drain that goes on may end sooner, and not later: enclaves were told when. */
static void hasten_drain(struct server *server, uint64_t wait)
{
    uv_update_time(&server->loop);
    if (uv_timer_get_due_in(&server->deadline) > wait) {
        unsigned long long streams = counter_get(&server->counters.active);
        log_event(LOG_LEVEL_INFO, "draining", "%llu stream%s may finish within %llu ms", streams,
                  units_plural(streams), (unsigned long long)wait);
        uv_timer_start(&server->deadline, on_deadline, wait, 0);
    }
}

void server_drain(struct server *server, uint64_t deadline_ms)
{
    char status[256];
    struct text late = TEXT_INIT;
    uint64_t wait = deadline_ms > 0 ? deadline_ms : server->rules->config->drain_timeout_ms;
    if (server->state == SERVER_DRAINING) {
        hasten_drain(server, deadline_ms > 0 ? deadline_ms : UINT64_MAX);
        return;
    }
    server->state = SERVER_DRAINING;
    /* Before it is told: whoever reads that a drain began is not to find a door open. */
    for (unsigned i = 0; i < server->workers.count; i++) {
        door_order_drain(&server->workers.workers[i], wait);
    }
    bool done = server_await_orders(server, &late);
    server_status_line(server, status, sizeof status);
    notify_stopping(status);
    unsigned long long streams = counter_get(&server->counters.active);
    log_event(done ? LOG_LEVEL_INFO : LOG_LEVEL_WARN, "draining", "%llu stream%s may finish within %llu ms%s",
              streams, units_plural(streams), (unsigned long long)wait, text_string(&late));
    text_release(&late);
    /* Set first, asked second: a stream that ends in between is seen by one or the other. */
    atomic_store(&server->workers.draining, true);
    if (atomic_load(&server->counters.active) == 0) {
        uv_async_send(&server->emptied);
    }
    uv_update_time(&server->loop); /* the time from here on, however long the workers took */
    uv_timer_start(&server->deadline, on_deadline, wait, 0);
}

/* ---- Signals and watchdog ---- */

static void on_hangup(uv_signal_t *handle, int number)
{
    struct text verdict = TEXT_INIT;
    (void)number;
    (void)server_reload(handle->data, &verdict);
    text_release(&verdict);
}

static void on_terminate(uv_signal_t *handle, int number)
{
    struct server *server = handle->data;
    bool again = server->terminated;
    server->terminated = true;
    if (again) {
        log_event(LOG_LEVEL_WARN, "exiting", "signal %d while draining: streams are cut", number);
        log_close();
        _exit(1);
    } else if (server->state == SERVER_DRAINING) {
        /* An operator's drain may have hours; who sends a signal (systemd, a host that shuts down) has `drain_timeout`. */
        hasten_drain(server, server->rules->config->drain_timeout_ms);
    } else {
        server_drain(server, 0);
    }
}

/* Sessions without a stream only have to say goodbye, which takes a round trip. */
static void on_emptied(uv_async_t *handle)
{
    struct server *server = handle->data;
    if (server->state != SERVER_DRAINING || atomic_load(&server->counters.active) > 0 ||
        atomic_load(&server->counters.delivering) > 0) {
        return;
    }
    if (atomic_load(&server->counters.sessions) == 0) {
        uv_stop(&server->loop);
    } else if (uv_timer_get_due_in(&server->deadline) > GOODBYE_MS) {
        uv_timer_start(&server->deadline, on_deadline, GOODBYE_MS, 0);
    }
}

/* On a worker's thread. */
static void tell_emptied(void *data)
{
    struct server *server = data;
    uv_async_send(&server->emptied);
}

/* systemd hears from us only while every worker's loop turns: one that hangs gets the daemon restarted. */
void server_tell_watchdog(struct server *server)
{
    bool alive = true;
    if (server->watchdog_ms == 0) {
        return;
    }
    for (unsigned i = 0; i < server->workers.count; i++) {
        struct worker *worker = &server->workers.workers[i];
        uint64_t busy = worker_busy_ms(worker);
        if (busy >= server->watchdog_ms / 2) {
            const char *route = atomic_load_explicit(&worker->route, memory_order_relaxed);
            alive = false;
            log_event(LOG_LEVEL_ERROR, "event loop hangs",
                      "worker %u, for %llu ms, last at work for route %s", i, (unsigned long long)busy,
                      route != NULL ? route : "none");
        }
    }
    if (alive) {
        notify_watchdog();
    }
}

static void on_watchdog(uv_timer_t *timer)
{
    server_tell_watchdog(timer->data);
}

static void start_watchdog(struct server *server)
{
    server->watchdog_ms = notify_watchdog_interval();
    if (server->watchdog_ms > 0) {
        uint64_t tick = server->watchdog_ms / 4 + 1;
        uv_timer_start(&server->watchdog, on_watchdog, 0, tick);
    }
}

/* ---- Start and end ---- */

/* libuv and the log must not find a relayed socket under a standard descriptor's number. */
static void hold_standard_descriptors(void)
{
    int fd;
    do {
        fd = open("/dev/null", O_RDWR);
    } while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd > STDERR_FILENO) {
        close(fd);
    }
}

static void raise_descriptor_limit(const struct config *config)
{
    struct rlimit limit;
    uint64_t wanted = config_descriptors(config->max_streams, config->max_sessions);
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        return;
    }
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_max != RLIM_INFINITY && limit.rlim_max < wanted) {
        log_event(LOG_LEVEL_WARN, "few descriptors",
                  "limits of %u streams and %u sessions need %llu descriptors, and the limit is %llu: raise "
                  "LimitNOFILE",
                  config->max_streams, config->max_sessions, (unsigned long long)wanted,
                  (unsigned long long)limit.rlim_max);
    }
}

static int start_handles(struct server *server)
{
    uv_loop_t *loop = &server->loop;
    int rv = uv_loop_init(loop);
    if (rv != 0) {
        return rv;
    }
    rv = uv_async_init(loop, &server->emptied, on_emptied);
    if (rv != 0) {
        uv_loop_close(loop);
        return rv;
    }
    rv = spool_keeper_init(&server->spool, loop);
    if (rv != 0) {
        uv_close((uv_handle_t *)&server->emptied, NULL);
        (void)uv_run(loop, UV_RUN_DEFAULT);
        uv_loop_close(loop);
        return rv;
    }
    server->spool.counters = &server->counters;
    server->spool.probe = spool_workers_probe;
    server->spool.data = &server->workers;
    uv_timer_init(loop, &server->deadline);
    uv_timer_init(loop, &server->watchdog);
    uv_signal_init(loop, &server->hangup);
    uv_signal_init(loop, &server->terminate);
    uv_signal_init(loop, &server->interrupt);
    server->emptied.data = server->deadline.data = server->watchdog.data = server;
    server->hangup.data = server->terminate.data = server->interrupt.data = server;
    return 0;
}

static int start_signals(struct server *server, struct error *err)
{
    signal(SIGPIPE, SIG_IGN);
    int rv = uv_signal_start(&server->hangup, on_hangup, SIGHUP);
    if (rv == 0) {
        rv = uv_signal_start(&server->terminate, on_terminate, SIGTERM);
    }
    if (rv == 0) {
        rv = uv_signal_start(&server->interrupt, on_terminate, SIGINT);
    }
    return rv == 0 ? 0 : error_errno(err, rv, "cannot watch for SIGHUP, SIGTERM and SIGINT");
}

static void close_handles(struct server *server)
{
    server_close_admin(server->admin); /* which ends what operators ask of the spool */
    server_close_admin(server->metrics);
    spool_keeper_close(&server->spool);
    uv_close((uv_handle_t *)&server->emptied, NULL);
    uv_close((uv_handle_t *)&server->deadline, NULL);
    uv_close((uv_handle_t *)&server->watchdog, NULL);
    uv_close((uv_handle_t *)&server->hangup, NULL);
    uv_close((uv_handle_t *)&server->terminate, NULL);
    uv_close((uv_handle_t *)&server->interrupt, NULL);
    (void)uv_run(&server->loop, UV_RUN_DEFAULT);
    (void)uv_loop_close(&server->loop);
}

static int start_workers(struct server *server, const struct config *config, struct error *err)
{
    unsigned count = config->workers > 0 ? config->workers : uv_available_parallelism();
    server->worker_views = calloc(count, sizeof *server->worker_views);
    if (server->worker_views == NULL) {
        return error_errno(err, -ENOMEM, "cannot start %u worker%s", count, units_plural(count));
    }
    server->workers.counters = &server->counters;
    server->workers.emptied = tell_emptied;
    server->workers.data = server;
    return worker_set_start(&server->workers, count, config, err);
}

static void warn_unclaimed(const struct server *server)
{
    const char *name = activation_unclaimed(&server->activation);
    if (name != NULL) {
        log_event(LOG_LEVEL_WARN, "socket not used",
                  "systemd handed over a socket named %s, and no listener has that name: "
                  "FileDescriptorName= must be a listener's",
                  name);
    }
}

static void warn_nothing_to_do(const struct config *config)
{
    if (config->listener_count == 0) {
        log_event(LOG_LEVEL_WARN, "no listeners",
                  "nobody can connect: put listeners and routes into %s, then `posternctl reload`",
                  config->file);
    }
}

static int start(struct server *server, struct error *err)
{
    struct text verdict = TEXT_INIT;
    struct config *config = server->options->config;
    int rv = activation_take_over(&server->activation);
    if (rv != 0) {
        error_errno(err, rv, "cannot take over systemd's sockets");
    } else {
        rv = start_signals(server, err);
    }
    if (rv == 0) {
        rv = start_workers(server, config, err);
    }
    if (rv != 0) {
        config_unref(config);
        return rv;
    }
    server->began = config_ref(config);
    rv = server_apply(server, config, &verdict, err);
    if (rv == 0) {
        log_event(LOG_LEVEL_INFO, "started", "posternd %s, %u worker%s: %s", POSTERN_VERSION,
                  server->workers.count, units_plural(server->workers.count), text_string(&verdict));
        warn_unclaimed(server);
        warn_nothing_to_do(config);
    }
    text_release(&verdict);
    return rv;
}

static void become_ready(struct server *server)
{
    char status[256];
    server->state = SERVER_READY;
    counter_set(&server->counters.reload_last_ok, 1);
    counter_set(&server->counters.reload_time_s, (uint64_t)time(NULL));
    server_status_line(server, status, sizeof status);
    notify_ready(status);
    start_watchdog(server);
    if (server->options->started != NULL) {
        server->options->started();
    }
}

static void tell_start_failed(const struct server_options *options, const char *text)
{
    if (options->start_failed != NULL) {
        options->start_failed(text);
    } else {
        log_event(LOG_LEVEL_ERROR, "start failed", "%s", text);
    }
}

static void release(struct server *server)
{
    worker_set_stop(&server->workers);
    for (unsigned i = 0; i < server->sockets.count; i++) {
        bound_socket_unlink(&server->sockets.sockets[i]);
    }
    socket_set_release(&server->sockets);
    close_handles(server);
    rules_unref(server->rules);
    config_unref(server->began);
    free(server->worker_views);
    counters_release(&server->counters);
}

/* NULL: `err` says why. */
static struct server *server_new(const struct server_options *options, struct error *err)
{
    struct server *server = calloc(1, sizeof *server);
    if (server == NULL) {
        error_errno(err, -ENOMEM, "cannot make the main loop");
        return NULL;
    }
    server->options = options;
    server->state = SERVER_STARTING;
    server->began_ns = uv_hrtime();
    server->orders_ms = ORDERS_MS;
    counters_init(&server->counters);
    int rv = start_handles(server);
    if (rv != 0) {
        counters_release(&server->counters);
        free(server);
        error_errno(err, rv, "cannot make the main loop");
        return NULL;
    }
    return server;
}

int server_run(const struct server_options *options)
{
    struct error err = ERROR_INIT;
    hold_standard_descriptors();
    if (log_open(STDERR_FILENO, options->config->log_level, options->config->log_format) != 0) {
        fprintf(stderr, "posternd: cannot start the log's thread\n");
    }
    raise_descriptor_limit(options->config);
    struct server *server = server_new(options, &err);
    if (server == NULL) {
        config_unref(options->config);
        tell_start_failed(options, err.text);
        log_close();
        return 1;
    }
    int rv = start(server, &err);
    if (rv == 0) {
        become_ready(server);
        (void)uv_run(&server->loop, UV_RUN_DEFAULT);
        unsigned long long streams = counter_get(&server->counters.active);
        log_event(LOG_LEVEL_INFO, "stopped", "%llu stream%s still open", streams, units_plural(streams));
    } else {
        tell_start_failed(options, err.text);
    }
    release(server);
    free(server);
    log_close();
    return rv == 0 ? 0 : 1;
}
