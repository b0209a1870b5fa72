/*
 * Admission: see admission.h. The order matters: who may not come in must not be able to use up the
 * limits of those who may.
 */
#include "daemon/admission.h"

#include "config/policy.h"
#include "net/sock.h"
#include <stdlib.h>
#include <unistd.h>

struct caller {
    int fd;
    const struct sockaddr_any *peer;
    enum addr_kind kind;
    uint32_t cid;
    int enclave;
};

static const struct config_listener *door_listener(const struct door *door)
{
    return &door->rules->config->listeners[door->id];
}

/* The kernel vouches for a CID. Other families carry none: `peer` of the listener says whom they count as. */
static void identify(const struct door *door, int fd, const struct sockaddr_any *peer, struct caller *ret)
{
    ret->fd = fd;
    ret->peer = peer;
    ret->kind = sock_kind(peer);
    ret->cid = 0;
    if (ret->kind == ADDR_VSOCK) {
        ret->cid = sock_peer_cid(peer);
        ret->enclave = policy_enclave_by_cid(door->rules->config, ret->cid);
    } else {
        ret->enclave = door_listener(door)->peer;
    }
}

/* Adds one to the gauge unless that would pass `most`. */
static bool take_place(counter *active, uint64_t most)
{
    if (atomic_fetch_add_explicit(active, 1, memory_order_relaxed) < most) {
        return true;
    }
    counter_sub(active, 1);
    return false;
}

/* Whoever takes the last place of the daemon away while it drains says so, even if no stream ever had it. */
static void leave_daemon(struct worker_set *set, const struct rules *rules)
{
    bool last = atomic_fetch_sub_explicit(&rules->counters->active, 1, memory_order_seq_cst) == 1;
    if (last && atomic_load(&set->draining)) {
        set->emptied(set->data);
    }
}

static enum reason take_places(struct worker_set *set, const struct rules *rules, unsigned route, int enclave)
{
    const struct config *config = rules->config;
    if (atomic_fetch_add_explicit(&rules->counters->active, 1, memory_order_relaxed) >= config->max_streams) {
        leave_daemon(set, rules);
        return REASON_LIMIT_DAEMON;
    }
    uint64_t enclave_most = enclave != CONFIG_NOBODY ? config->enclaves[enclave].max_streams : UINT64_MAX;
    if (!take_place(&rules_enclave(rules, enclave)->active, enclave_most)) {
        leave_daemon(set, rules);
        return REASON_LIMIT_ENCLAVE;
    }
    if (!take_place(&rules->routes[route]->active, config->routes[route].max_streams)) {
        counter_sub(&rules_enclave(rules, enclave)->active, 1);
        leave_daemon(set, rules);
        return REASON_LIMIT_ROUTE;
    }
    return REASON_NONE;
}

static const char *enclave_name(const struct rules *rules, int enclave)
{
    return enclave != CONFIG_NOBODY ? rules->config->enclaves[enclave].name : NULL;
}

static void log_refused(struct door *door, const struct caller *caller, enum reason why)
{
    struct log_line line;
    const struct config_listener *listener = door_listener(door);
    char peer[ADDR_TEXT_MAX];
    log_begin_limited(&line, &door->worker->log_refused, LOG_LEVEL_WARN, "stream refused");
    if (!line.wanted) {
        return;
    }
    log_str(&line, "reason", reason_word(why));
    log_str(&line, "enclave", enclave_name(door->rules, caller->enclave));
    log_str(&line, "peer", sockaddr_format(caller->peer, peer));
    log_str(&line, "listener", listener->name);
    log_str(&line, "route", door->rules->config->routes[listener->route].name);
    log_end(&line);
}

static void refuse(struct door *door, const struct caller *caller, enum reason why)
{
    int route = door_listener(door)->route;
    counter_add(&door->rules->listeners[door->id]->refused, 1);
    counter_add(&door->rules->routes[route]->ended[why], 1);
    counter_add(&rules_enclave(door->rules, caller->enclave)->refused, 1);
    log_refused(door, caller, why);
    sock_set_abort(caller->fd);
    close(caller->fd);
}

void admission_shed(struct door *door, int code, unsigned count)
{
    struct log_line line;
    int route = door_listener(door)->route;
    counter_add(&door->rules->listeners[door->id]->accept_errors, 1);
    counter_add(&door->rules->listeners[door->id]->refused, count);
    counter_add(&door->rules->routes[route]->ended[REASON_NO_DESCRIPTORS], count);
    log_begin_limited(&line, &door->worker->log_refused, LOG_LEVEL_ERROR, "accept failed");
    log_str(&line, "reason", count > 0 ? reason_word(REASON_NO_DESCRIPTORS) : NULL);
    log_str(&line, "listener", door_listener(door)->name);
    log_str(&line, "detail", error_words(code));
    log_u64(&line, "reset", count);
    log_end(&line);
}

static void give_places_back(struct worker_set *set, const struct rules *rules, unsigned route, int enclave)
{
    counter_sub(&rules->routes[route]->active, 1);
    counter_sub(&rules_enclave(rules, enclave)->active, 1);
    leave_daemon(set, rules);
}

static void log_ended(struct stream_record *record)
{
    const struct relay *relay = &record->relay;
    bool ended = reason_kind(relay->why) == REASON_KIND_END || reason_kind(relay->why) == REASON_KIND_TIME;
    struct log_line line;
    char destination[ADDR_TEXT_MAX], address[ADDR_TEXT_MAX];
    log_begin_limited(&line, &record->worker->log_ended, ended ? LOG_LEVEL_INFO : LOG_LEVEL_WARN,
                      "stream ended");
    if (!line.wanted) {
        return;
    }
    log_str(&line, "reason", reason_word(relay->why));
    log_str(&line, "enclave", enclave_name(record->rules, record->enclave));
    if (record->kind == ADDR_VSOCK) {
        log_u64(&line, "cid", record->cid);
    }
    log_str(&line, "listener", record->rules->config->listeners[record->listener].name);
    log_str(&line, "route", relay->route->name);
    log_str(&line, "destination", relay_destination(relay, destination));
    log_str(&line, "address", relay_upstream_address(relay, address));
    log_str(&line, "sni", relay->server_name);
    log_u64(&line, "bytes_in", relay->in.bytes);
    log_u64(&line, "bytes_out", relay->out.bytes);
    log_ms(&line, "duration", loop_now(&record->worker->loop) - relay->started_at);
    log_str(&line, "detail", relay->detail);
    log_end(&line);
}

static struct stream_record *of(struct relay *relay)
{
    return CONTAINER_OF(relay, struct stream_record, relay);
}

static struct route_counters *route_of(const struct stream_record *record)
{
    return record->rules->routes[record->rules->config->listeners[record->listener].route];
}

static void note_route(struct stream_record *record)
{
    atomic_store_explicit(&record->worker->route, route_of(record)->name, memory_order_relaxed);
}

static void on_opened(struct relay *relay, uint64_t connect_us)
{
    note_route(of(relay));
    counters_connect_latency(route_of(of(relay)), connect_us);
}

static void on_moved(struct relay *relay, uint64_t in, uint64_t out)
{
    struct stream_record *record = of(relay);
    struct enclave_counters *enclave = rules_enclave(record->rules, record->enclave);
    note_route(record);
    counter_add(&route_of(record)->bytes_in, in);
    counter_add(&route_of(record)->bytes_out, out);
    counter_add(&enclave->bytes_in, in);
    counter_add(&enclave->bytes_out, out);
}

static void on_ended(struct relay *relay)
{
    struct stream_record *record = of(relay);
    const struct config_listener *listener = &record->rules->config->listeners[record->listener];
    log_ended(record);
    LIST_REMOVE(record, link);
    counter_add(&route_of(record)->ended[relay->why], 1);
    counter_sub(&record->worker->active, 1);
    give_places_back(record->worker->set, record->rules, (unsigned)listener->route, record->enclave);
    rules_unref(record->rules);
    free(record);
}

static const struct relay_ops relay_ops = {.opened = on_opened, .moved = on_moved, .ended = on_ended};

static void begin(struct stream_record *record)
{
    struct worker *worker = record->worker;
    const struct config *config = record->rules->config;
    LIST_INSERT_HEAD(&worker->streams, record, link);
    note_route(record);
    relay_start(&record->relay, &worker->relays, &relay_ops, config,
                &config->routes[config->listeners[record->listener].route], record->fd, record->kind);
    if (worker->stopping) {
        relay_end(&record->relay, REASON_SHUTDOWN);
    }
}

static void on_arrival(struct worker *worker, struct job *job)
{
    (void)worker;
    begin(CONTAINER_OF(job, struct stream_record, job));
}

/* Handing over costs a wake-up, so a tie, or a difference of one, stays here. */
static struct worker *least_loaded(struct worker *here)
{
    struct worker *best = here;
    uint64_t least = counter_get(&here->active);
    for (unsigned i = 0; i < here->set->count; i++) {
        uint64_t active = counter_get(&here->set->workers[i].active);
        if (active + 1 < least) {
            least = active;
            best = &here->set->workers[i];
        }
    }
    return best;
}

static void admit(struct door *door, const struct caller *caller, struct stream_record *record)
{
    struct worker *worker = least_loaded(door->worker);
    record->worker = worker;
    record->rules = rules_ref(door->rules);
    record->listener = door->id;
    record->enclave = caller->enclave;
    record->fd = caller->fd;
    record->kind = caller->kind;
    record->cid = caller->cid;
    counter_add(&worker->active, 1);
    counter_add(&route_of(record)->accepted, 1);
    counter_add(&rules_enclave(door->rules, caller->enclave)->accepted, 1);
    if (worker == door->worker) {
        begin(record);
    } else {
        record->job.run = on_arrival;
        worker_post(worker, &record->job);
    }
}

void admission_decide(struct door *door, int fd, const struct sockaddr_any *peer)
{
    struct caller caller;
    const struct config_listener *listener = door_listener(door);
    counter_add(&door->rules->listeners[door->id]->accepted, 1);
    identify(door, fd, peer, &caller);
    enum reason why = policy_listener(listener, caller.enclave);
    if (why == REASON_NONE && door->draining) {
        why = REASON_DRAINING;
    }
    if (why == REASON_NONE) {
        why = take_places(door->worker->set, door->rules, (unsigned)listener->route, caller.enclave);
    }
    if (why != REASON_NONE) {
        refuse(door, &caller, why);
        return;
    }
    struct stream_record *record = malloc(sizeof *record);
    if (record == NULL) {
        give_places_back(door->worker->set, door->rules, (unsigned)listener->route, caller.enclave);
        refuse(door, &caller, REASON_NO_MEMORY);
        return;
    }
    admit(door, &caller, record);
}
