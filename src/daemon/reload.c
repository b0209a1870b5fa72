/*
 * Putting a configuration in force, at the start and by a reload, in two phases.
 *
 * Prepare: rules, sockets, admin listeners and jobs are made; each step can fail, and then what is new is
 * dropped and nothing has changed. Commit: the jobs are posted, and the old goes; nothing here can fail.
 * Streams that are open keep the rules they were opened under; what sessions open from now on is judged by the new.
 */
#include "base/log.h"
#include "base/units.h"
#include "config/changes.h"
#include "daemon/door.h"
#include "daemon/server_private.h"
#include <assert.h>
#include <errno.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define ADMIN_GROUP "postern"
#define ADMIN_MODE  0660

struct plan {
    struct rules *rules;
    struct socket_set sockets;
    struct admin_listener *admin, *metrics; /* the present ones, where the address stays */
    struct planned_job {
        struct worker *worker;
        struct job *job;
    } * jobs;
    unsigned job_count;
    unsigned opened, closed;
};

static void on_admin_closed(void *data)
{
    free(data);
}

void server_close_admin(struct admin_listener *listener)
{
    if (listener != NULL) {
        bound_socket_unlink(&listener->socket);
        admin_close(&listener->admin, on_admin_closed, listener);
    }
}

/* Started by root, the admin socket is still for the group's members; as a service it is that
 * group's anyway. */
static void give_to_group(const struct bound_socket *socket)
{
    if (geteuid() != 0 || socket->inherited || socket->at.kind != ADDR_UNIX) {
        return;
    }
    const struct group *group = getgrnam(ADMIN_GROUP);
    int rv = group != NULL ? bound_socket_set_group(socket, group->gr_gid) : 0;
    if (rv != 0) {
        log_event(LOG_LEVEL_WARN, "admin socket", "cannot give %s to the group %s: %s", socket->at.host,
                  ADMIN_GROUP, error_words(rv));
    }
}

/* Leaves `present` in *ret when its address is still the wanted one; else opens another. */
static int plan_admin(struct server *server, const struct config *config, enum admin_role role,
                      struct admin_listener *present, struct admin_listener **ret, struct error *err)
{
    const struct addr *at = role == ADMIN_ROLE_ADMIN ? &config->admin : &config->metrics;
    const char *name = role == ADMIN_ROLE_ADMIN ? "admin" : "metrics";
    *ret = NULL;
    if (at->kind == ADDR_NONE) {
        return 0;
    }
    if (present != NULL && addr_equal(&present->socket.at, at)) {
        *ret = present;
        return 0;
    }
    struct admin_listener *listener = calloc(1, sizeof *listener);
    if (listener == NULL) {
        return error_errno(err, -ENOMEM, "%s listener", name);
    }
    int rv = bound_socket_open(&listener->socket, name, at, ADMIN_MODE, config, &server->activation, err);
    if (rv != 0) {
        error_prefix(err, "%s listener", name);
        free(listener);
        return rv;
    }
    give_to_group(&listener->socket);
    *ret = listener;
    rv = admin_start(&listener->admin, &server->loop, listener->socket.fd, role, server);
    return rv == 0 ? 0 : error_errno(err, rv, "cannot start the %s listener", name);
}

static int plan_job(struct plan *plan, struct worker *worker, struct job *job)
{
    if (job == NULL) {
        return -ENOMEM;
    }
    plan->jobs[plan->job_count++] = (struct planned_job){.worker = worker, .job = job};
    return 0;
}

static int plan_doors(struct server *server, struct plan *plan)
{
    struct worker_set *workers = &server->workers;
    int rv = 0;
    assert(workers->count > 0);
    plan->jobs = calloc(workers->count + plan->sockets.count + server->sockets.count, sizeof *plan->jobs);
    if (plan->jobs == NULL) {
        return -ENOMEM;
    }
    for (unsigned i = 0; i < workers->count && rv == 0; i++) {
        rv = plan_job(plan, &workers->workers[i], door_job_adopt(plan->rules));
    }
    for (unsigned i = 0; i < plan->sockets.count && rv == 0; i++) {
        struct bound_socket *socket = &plan->sockets.sockets[i];
        if (!socket->kept) {
            socket->worker = i % workers->count;
            plan->opened++;
        }
        rv = plan_job(plan, &workers->workers[socket->worker],
                      socket->kept ? door_job_change(socket->fd, plan->rules, i)
                                   : door_job_open(socket->fd, socket->inherited, plan->rules, i));
    }
    for (unsigned i = 0; i < server->sockets.count && rv == 0; i++) {
        const struct bound_socket *socket = &server->sockets.sockets[i];
        if (socket_set_find(&plan->sockets, socket->fd) == NULL) {
            plan->closed++;
            rv = plan_job(plan, &workers->workers[socket->worker], door_job_close(socket->fd));
        }
    }
    return rv;
}

static void abandon(struct server *server, struct plan *plan)
{
    for (unsigned i = 0; i < plan->job_count; i++) {
        door_job_discard(plan->jobs[i].job);
    }
    free(plan->jobs);
    socket_set_abandon(&plan->sockets);
    if (plan->admin != server->admin) {
        server_close_admin(plan->admin);
    }
    if (plan->metrics != server->metrics) {
        server_close_admin(plan->metrics);
    }
    rules_unref(plan->rules);
}

/* Meanwhile the main thread is not in its loop, whose timer tells the watchdog at other times. */
static bool await_worker(struct server *server, struct worker *worker, uint64_t until_ms)
{
    const uint64_t tick_ms = server->watchdog_ms > 0 ? server->watchdog_ms / 4 + 1 : server->orders_ms;
    for (;;) {
        uint64_t now_ms = uv_hrtime() / 1000000;
        uint64_t left_ms = until_ms > now_ms ? until_ms - now_ms : 0;
        if (worker_await(worker, left_ms < tick_ms ? left_ms : tick_ms)) {
            return true;
        }
        if (left_ms == 0) {
            return false;
        }
        server_tell_watchdog(server);
    }
}

bool server_await_orders(struct server *server, struct text *late)
{
    uint64_t until_ms = uv_hrtime() / 1000000 + server->orders_ms;
    bool done = true;
    for (unsigned i = 0; i < server->workers.count; i++) {
        if (!await_worker(server, &server->workers.workers[i], until_ms)) {
            done = false;
            text_addf(late, "; worker %u is busy, and until it has heard of it all goes on there as before",
                      i);
        }
    }
    return done;
}

static int prepare(struct server *server, struct config *config, struct plan *plan, struct error *err)
{
    int rv = socket_set_prepare(&plan->sockets, &server->sockets, config, &server->activation, err);
    if (rv == 0) {
        rv = plan_admin(server, config, ADMIN_ROLE_ADMIN, server->admin, &plan->admin, err);
    }
    if (rv == 0) {
        rv = plan_admin(server, config, ADMIN_ROLE_METRICS, server->metrics, &plan->metrics, err);
    }
    if (rv == 0 && plan_doors(server, plan) != 0) {
        rv = error_errno(err, -ENOMEM, "cannot put the configuration in force");
    }
    return rv;
}

static void unlink_closed(const struct server *server, const struct plan *plan)
{
    for (unsigned i = 0; i < server->sockets.count; i++) {
        if (socket_set_find(&plan->sockets, server->sockets.sockets[i].fd) == NULL) {
            bound_socket_unlink(&server->sockets.sockets[i]);
        }
    }
}

/* The sockets that stay keep their files, whose permissions may have changed in the configuration, and what their
 * connections inherit. */
static void adapt_kept(const struct plan *plan)
{
    for (unsigned i = 0; i < plan->sockets.count; i++) {
        const struct config_listener *listener = &plan->rules->config->listeners[i];
        const struct bound_socket *socket = &plan->sockets.sockets[i];
        if (!socket->kept) {
            continue;
        }
        bound_socket_tune(socket, plan->rules->config);
        int rv = bound_socket_set_mode(socket, listener->mode);
        if (rv != 0) {
            log_event(LOG_LEVEL_WARN, "mode not set",
                      "listener %s: cannot set the permissions of its socket: %s", listener->name,
                      error_words(rv));
        }
    }
}

static void commit(struct server *server, struct plan *plan)
{
    for (unsigned i = 0; i < plan->job_count; i++) {
        worker_order(plan->jobs[i].worker, plan->jobs[i].job);
    }
    free(plan->jobs);
    unlink_closed(server, plan);
    adapt_kept(plan);
    socket_set_release(&server->sockets);
    server->sockets = plan->sockets;
    if (server->admin != plan->admin) {
        server_close_admin(server->admin);
        server->admin = plan->admin;
    }
    if (server->metrics != plan->metrics) {
        server_close_admin(server->metrics);
        server->metrics = plan->metrics;
    }
    rules_unref(server->rules);
    server->rules = plan->rules;
    log_set(plan->rules->config->log_level, plan->rules->config->log_format);
}

static bool same_dns(const struct config_dns *a, const struct config_dns *b)
{
    bool same_servers = a->servers == NULL || b->servers == NULL ? a->servers == b->servers
                                                                 : strcmp(a->servers, b->servers) == 0;
    return same_servers && a->timeout_ms == b->timeout_ms && a->min_ttl_ms == b->min_ttl_ms &&
           a->max_ttl_ms == b->max_ttl_ms && a->stale_ms == b->stale_ms && a->cache_size == b->cache_size;
}

/* Names what is in force as it was at the start, and not as the configuration has it. */
static void tell_restart(const struct server *server, const struct config *config, struct text *verdict)
{
    const struct {
        const char *key;
        bool differs;
    } keys[] = {{"workers", server->began->workers != config->workers},
                {"dns", !same_dns(&server->began->dns, &config->dns)},
                {"spool.path", spool_keeper_differs(&server->spool, config)}};
    unsigned told = 0;
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        if (keys[i].differs) {
            text_addf(verdict, "%s`%s`", told++ == 0 ? "; changes to " : ", ", keys[i].key);
        }
    }
    text_add(verdict, told > 0 ? " take effect at the next start" : "");
}

static void warn_in_vain(const struct config *config)
{
    struct text notes = TEXT_INIT;
    config_notes(config, &notes);
    for (const char *line = text_string(&notes); *line != '\0'; line += strcspn(line, "\n") + 1) {
        log_event(LOG_LEVEL_WARN, "said in vain", "%.*s", (int)strcspn(line, "\n"), line);
    }
    text_release(&notes);
}

int server_apply(struct server *server, struct config *config, struct text *verdict, struct error *err)
{
    struct plan plan = {.rules = NULL};
    struct text changes = TEXT_INIT;
    plan.rules = rules_new(config, &server->counters);
    if (plan.rules == NULL) {
        return error_errno(err, -ENOMEM, "cannot put the configuration in force");
    }
    int rv = prepare(server, config, &plan, err);
    if (rv != 0) {
        abandon(server, &plan);
        return rv;
    }
    /* Not a part of the plan: that it fails is not a reason to refuse the rest. */
    spool_keeper_open(&server->spool, config);
    plan.rules->spool = server->spool.spool;
    plan.rules->no_spool = server->spool.why;
    spool_keeper_apply(&server->spool, config);
    if (server->rules != NULL) { /* commit() may free what they were */
        changes_tell(server->rules->config, config, &changes);
    }
    commit(server, &plan);
    body_memory_set_limit(&server->workers.bodies, config->body_memory);
    text_addf(verdict, "%u listener%s (%u opened, %u closed), %u route%s, %u enclave%s",
              config->listener_count, units_plural(config->listener_count), plan.opened, plan.closed,
              config->route_count, units_plural(config->route_count), config->enclave_count,
              units_plural(config->enclave_count));
    text_add(verdict, text_string(&changes));
    text_release(&changes);
    tell_restart(server, config, verdict);
    warn_in_vain(config);
    /* Whoever is told goes by it: nothing is to follow the old rules from then on. */
    (void)server_await_orders(server, verdict);
    return 0;
}

/* How long the text is without the newline of its last line. */
static size_t line_ends(const char *text)
{
    size_t length = strlen(text);
    return length > 0 && text[length - 1] == '\n' ? length - 1 : length;
}

static void note_verdict(struct server *server, bool accepted, const char *text)
{
    counter_add(accepted ? &server->counters.reloads_ok : &server->counters.reloads_failed, 1);
    counter_set(&server->counters.reload_last_ok, accepted);
    counter_set(&server->counters.reload_time_s, (uint64_t)time(NULL));
    int length = (int)line_ends(text);
    snprintf(server->last_error, sizeof server->last_error, "%.*s", accepted ? 0 : length, text);
    log_event(accepted ? LOG_LEVEL_INFO : LOG_LEVEL_ERROR, accepted ? "reloaded" : "reload refused", "%.*s",
              length, text);
}

static int reload_file(struct server *server, const char *file, struct text *verdict)
{
    struct config *config;
    struct diags diags;
    struct error err = ERROR_INIT;
    diags_init(&diags, file);
    int rv = config_load(file, &config, &diags);
    if (rv != 0) {
        diags_format(&diags, verdict);
    } else {
        rv = server_apply(server, config, verdict, &err);
        if (rv != 0) {
            text_add(verdict, err.text);
        }
    }
    diags_release(&diags);
    return rv;
}

int server_reload(struct server *server, struct text *verdict)
{
    char status[256];
    int rv;
    if (server->options->config_file == NULL) {
        text_add(verdict, "there is no configuration file to read again: restart to change the command line");
        return -ENOTSUP;
    }
    if (server->state != SERVER_READY) {
        text_add(verdict, "the daemon is draining: nothing is reloaded any more");
        return -EBUSY;
    }
    notify_reloading();
    rv = reload_file(server, server->options->config_file, verdict);
    note_verdict(server, rv == 0, text_string(verdict));
    server_status_line(server, status, sizeof status);
    notify_ready(status);
    return rv;
}
