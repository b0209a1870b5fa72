/* Streams: see streams.h. */
#include "daemon/streams.h"

#include "daemon/places.h"
#include "daemon/requests.h"
#include "forward/connect_stream.h"
#include <stdlib.h>
#include <string.h>

static const struct config_route *route_config(const struct stream_record *record)
{
    return &record->rules->config->routes[record->route];
}

static struct route_counters *route_of(const struct stream_record *record)
{
    return record->rules->routes[record->route];
}

static struct enclave_counters *enclave_of(const struct stream_record *record)
{
    return rules_enclave(record->rules, record->caller.enclave);
}

static void note_route(struct stream_record *record)
{
    atomic_store_explicit(&record->worker->route, route_of(record)->name, memory_order_relaxed);
}

/* ---- The books ---- */

static void note_moved(struct stream_record *record, uint64_t in, uint64_t out)
{
    note_route(record);
    counter_add(&route_of(record)->bytes_in, in);
    counter_add(&route_of(record)->bytes_out, out);
    counter_add(&enclave_of(record)->bytes_in, in);
    counter_add(&enclave_of(record)->bytes_out, out);
}

static void log_session(struct log_line *line, uint64_t session)
{
    if (session != 0) {
        log_u64(line, "session", session);
    }
}

void stream_log_whose(const struct stream_record *record, struct log_line *line)
{
    caller_log(&record->caller, record->rules, line);
    log_str(line, "listener", record->rules->config->listeners[record->listener].name);
    log_session(line, record->session);
    log_str(line, "route", route_config(record)->name);
}

static void begin_ended_line(struct stream_record *record, enum reason why, struct log_line *line)
{
    bool ended = reason_kind(why) == REASON_KIND_END || reason_kind(why) == REASON_KIND_TIME;
    log_begin_limited(line, &record->worker->log_ended, ended ? LOG_LEVEL_INFO : LOG_LEVEL_WARN,
                      "stream ended");
    log_str(line, "reason", reason_word(why));
    stream_log_whose(record, line);
}

static void end_ended_line(struct stream_record *record, uint64_t started_at, const char *detail,
                           struct log_line *line)
{
    log_ms(line, "duration", loop_now(&record->worker->loop) - started_at);
    log_str(line, "detail", detail);
    log_end(line);
}

static void log_relay_ended(struct stream_record *record)
{
    const struct relay *relay = &record->relay;
    char destination[ADDR_TEXT_MAX], address[ADDR_TEXT_MAX];
    struct log_line line;
    begin_ended_line(record, relay->why, &line);
    if (!line.wanted) {
        return;
    }
    log_str(&line, "destination", relay_destination(relay, destination));
    log_str(&line, "address", relay_upstream_address(relay, address));
    log_str(&line, "sni", relay->server_name);
    log_u64(&line, "bytes_in", relay->in.bytes);
    log_u64(&line, "bytes_out", relay->out.bytes);
    end_ended_line(record, relay->started_at, relay->detail, &line);
}

static void log_log_ended(struct stream_record *record)
{
    const struct log_stream *log = &record->log;
    struct log_line line;
    begin_ended_line(record, log->why, &line);
    if (!line.wanted) {
        return;
    }
    log_str(&line, "name", log->name[0] != '\0' ? log->name : NULL);
    log_u64(&line, "bytes_in", log->bytes);
    log_u64(&line, "lines", log->lines);
    log_u64(&line, "dropped", log->dropped);
    end_ended_line(record, log->started_at, NULL, &line);
}

static void log_time_ended(struct stream_record *record)
{
    const struct time_stream *time = &record->time;
    struct log_line line;
    begin_ended_line(record, time->why, &line);
    if (!line.wanted) {
        return;
    }
    log_u64(&line, "bytes_in", time->bytes_in);
    log_u64(&line, "bytes_out", time->bytes_out);
    end_ended_line(record, time->started_at, NULL, &line);
}

static void log_forward_ended(struct stream_record *record)
{
    const struct forward_stream *forward = &record->forward;
    struct log_line line;
    begin_ended_line(record, forward->why, &line);
    if (!line.wanted) {
        return;
    }
    log_u64(&line, "requests", forward->requests);
    log_u64(&line, "bytes_in", forward->bytes_in);
    log_u64(&line, "bytes_out", forward->bytes_out);
    end_ended_line(record, forward->started_at, NULL, &line);
}

/* The books at the end of what was admitted. */
static void settle(struct stream_record *record, enum reason why)
{
    counter_add(&route_of(record)->ended[why], 1);
    if (record->session != 0 && !record->opened) {
        counter_add(&record->rules->counters->opens_refused[why], 1);
    }
    counter_sub(&record->worker->active, 1);
    places_give_stream(record->worker->set, record->rules, record->route, record->caller.enclave);
}

static void drop(struct stream_record *record)
{
    LIST_REMOVE(record, link);
    rules_unref(record->rules);
    free(record);
}

/* ---- What they tell ---- */

static struct stream_record *of_relay(struct relay *relay)
{
    return CONTAINER_OF(relay, struct stream_record, relay);
}

static struct stream_record *of_log(struct log_stream *log)
{
    return CONTAINER_OF(log, struct stream_record, log);
}

static void on_relay_opened(struct relay *relay, uint64_t connect_us)
{
    struct stream_record *record = of_relay(relay);
    record->opened = true;
    note_route(record);
    histogram_add(&route_of(record)->connect, connect_us);
}

static void on_relay_moved(struct relay *relay, uint64_t in, uint64_t out)
{
    note_moved(of_relay(relay), in, out);
}

static void on_relay_closing(struct relay *relay)
{
    log_relay_ended(of_relay(relay));
    settle(of_relay(relay), relay->why);
}

static void on_relay_ended(struct relay *relay)
{
    drop(of_relay(relay));
}

static void on_log_moved(struct log_stream *log, uint64_t bytes)
{
    note_moved(of_log(log), bytes, 0);
}

static void on_log_ended(struct log_stream *log)
{
    log_log_ended(of_log(log));
    settle(of_log(log), log->why);
    drop(of_log(log));
}

static const struct log_stream_ops log_ops = {.moved = on_log_moved, .ended = on_log_ended};

static struct stream_record *of_time(struct time_stream *time)
{
    return CONTAINER_OF(time, struct stream_record, time);
}

static void on_time_moved(struct time_stream *time, uint64_t in, uint64_t out)
{
    note_moved(of_time(time), in, out);
}

static void on_time_ended(struct time_stream *time)
{
    log_time_ended(of_time(time));
    settle(of_time(time), time->why);
    drop(of_time(time));
}

static const struct time_stream_ops time_ops = {.moved = on_time_moved, .ended = on_time_ended};

static struct stream_record *of_forward(struct forward_stream *forward)
{
    return CONTAINER_OF(forward, struct stream_record, forward);
}

static void on_forward_moved(struct forward_stream *forward, uint64_t in, uint64_t out)
{
    note_moved(of_forward(forward), in, out);
}

static void on_forward_told(struct forward_stream *forward, const struct forward_told *told)
{
    struct stream_record *record = of_forward(forward);
    request_count(route_of(record)->requests, told);
    request_log(record, told);
}

static void on_forward_ended(struct forward_stream *forward)
{
    log_forward_ended(of_forward(forward));
    settle(of_forward(forward), forward->why);
    drop(of_forward(forward));
}

static const struct forward_stream_ops forward_ops = {.moved = on_forward_moved,
                                                      .told = on_forward_told,
                                                      .ended = on_forward_ended};

static void end(struct stream_record *record, enum reason why)
{
    switch (record->type) {
    case CONFIG_RELAY:
    case CONFIG_CONNECT:
        relay_end(&record->relay, why);
        break;
    case CONFIG_LOG:
        log_stream_end(&record->log, why);
        break;
    case CONFIG_TIME:
        time_stream_end(&record->time, why);
        break;
    case CONFIG_FORWARD:
        forward_stream_end(&record->forward, why);
        break;
    }
}

void streams_end(struct worker *worker)
{
    struct stream_record *record;
    LIST_FOREACH (record, &worker->streams, link) {
        end(record, REASON_SHUTDOWN);
    }
}

/* A relay comes to its end by itself. */
static void drain(struct stream_record *record)
{
    if (record->type == CONFIG_LOG) {
        log_stream_drain(&record->log);
    } else if (record->type == CONFIG_TIME) {
        time_stream_end(&record->time, REASON_DRAINING);
    } else if (record->type == CONFIG_FORWARD) {
        forward_stream_drain(&record->forward);
    }
}

void streams_drain(struct worker *worker)
{
    struct stream_record *record;
    LIST_FOREACH (record, &worker->streams, link) {
        drain(record);
    }
}

/* ---- Beginning ---- */

static size_t size_of(enum config_type type)
{
    static const size_t sizes[] = {
        [CONFIG_RELAY] = sizeof(struct relay),      [CONFIG_LOG] = sizeof(struct log_stream),
        [CONFIG_TIME] = sizeof(struct time_stream), [CONFIG_FORWARD] = sizeof(struct forward_stream),
        [CONFIG_CONNECT] = sizeof(struct relay),
    };
    return offsetof(struct stream_record, relay) + sizes[type];
}

enum reason stream_admit(struct worker *worker, const struct stream_request *request,
                         struct stream_record **ret)
{
    unsigned route = (unsigned)request->route;
    int enclave = request->caller->enclave;
    enum reason why = places_take_stream(worker->set, request->rules, route, enclave);
    if (why != REASON_NONE) {
        return why;
    }
    enum config_type type = request->rules->config->routes[route].type;
    struct stream_record *record = malloc(size_of(type));
    if (record == NULL) {
        places_give_stream(worker->set, request->rules, route, enclave);
        return REASON_NO_MEMORY;
    }
    record->worker = worker;
    record->rules = rules_ref(request->rules);
    record->listener = request->listener;
    record->route = route;
    record->type = type;
    record->caller = *request->caller;
    record->session = request->session;
    record->opened = false;
    counter_add(&worker->active, 1);
    counter_add(&route_of(record)->accepted, 1);
    counter_add(&enclave_of(record)->accepted, 1);
    *ret = record;
    return REASON_NONE;
}

static struct log_stream_source log_source(const struct stream_record *record)
{
    return (struct log_stream_source){
        .route = route_config(record),
        .enclave = caller_enclave_name(&record->caller, record->rules),
        .counters = enclave_of(record),
    };
}

/* Who chooses the names that are looked up for the stream, by a number that outlives a reload: an enclave's CID. Those that have none
 * are one. */
static uint32_t asker_of(const struct stream_record *record)
{
    const struct caller *caller = &record->caller;
    uint32_t cid = caller->kind == ADDR_VSOCK ? caller->cid : 0;
    if (caller->enclave != CONFIG_NOBODY) {
        cid = record->rules->config->enclaves[caller->enclave].cid;
    }
    return cid != 0 ? cid : UINT32_MAX;
}

static struct forward_source forward_source(const struct stream_record *record)
{
    struct worker *worker = record->worker;
    const struct config *config = record->rules->config;
    int enclave = record->caller.enclave;
    return (struct forward_source){
        .worker = &worker->forward,
        .spool = &worker->spool,
        .ids = &worker->request_ids,
        .config = config,
        .route = route_config(record),
        .enclave = caller_enclave_name(&record->caller, record->rules),
        .cid = record->caller.kind == ADDR_VSOCK ? record->caller.cid
               : enclave != CONFIG_NOBODY        ? config->enclaves[enclave].cid
                                                 : 0,
        .asker = asker_of(record),
    };
}

static struct relay_source relay_source(const struct stream_record *record)
{
    return (struct relay_source){
        .config = record->rules->config,
        .route = route_config(record),
        .asker = asker_of(record),
    };
}

/* It arrived while, or after, the others were told. */
static void catch_up(struct stream_record *record)
{
    if (record->worker->stopping) {
        end(record, REASON_SHUTDOWN);
    } else if (record->worker->draining) {
        drain(record);
    }
}

static struct sock_kind_options kind_of(const struct stream_record *record)
{
    return (struct sock_kind_options){.kind = record->caller.kind,
                                      .vsock_write_max = (size_t)record->rules->config->vsock.write_size};
}

/* ---- Requests instead of a tunnel ---- */

/* As the one that was admitted, whose place it takes. */
static struct stream_record *successor(const struct stream_record *record)
{
    struct stream_record *ret = malloc(size_of(CONFIG_FORWARD));
    if (ret != NULL) {
        memcpy(ret, record, offsetof(struct stream_record, relay));
        ret->rules = rules_ref(record->rules);
        ret->type = CONFIG_FORWARD;
    }
    return ret;
}

static bool on_relay_left(struct relay *relay, const void *data, size_t size)
{
    struct stream_record *record = of_relay(relay);
    struct stream_record *next = successor(record);
    if (next == NULL) {
        return false;
    }
    struct forward_source source = forward_source(next);
    struct forward_heard heard = {
        .sock = relay->framed ? NULL : &relay->client.sock,
        .channel = &relay->client.channel,
        .kind = kind_of(record),
        .data = data,
        .size = size,
    };
    if (forward_stream_take(&next->forward, &source, &forward_ops, &heard) != 0) {
        rules_unref(next->rules);
        free(next);
        return false;
    }
    LIST_INSERT_HEAD(&next->worker->streams, next, link);
    catch_up(next);
    return true;
}

static const struct relay_ops relay_ops = {.opened = on_relay_opened,
                                           .moved = on_relay_moved,
                                           .closing = on_relay_closing,
                                           .left = on_relay_left,
                                           .ended = on_relay_ended};

static void start_socket(struct stream_record *record)
{
    struct worker *worker = record->worker;
    struct log_stream_source source = log_source(record);
    struct forward_source forward = forward_source(record);
    struct relay_source relay = relay_source(record);
    struct sock_kind_options kind = kind_of(record);
    switch (source.route->type) {
    case CONFIG_RELAY:
        relay_start(&record->relay, &worker->relays, &relay_ops, &relay, record->fd, kind.kind);
        break;
    case CONFIG_LOG:
        log_stream_start(&record->log, &worker->loop, &log_ops, &source, record->fd, &kind);
        break;
    case CONFIG_TIME:
        time_stream_start(&record->time, &worker->loop, &time_ops, source.route, record->fd, &kind);
        break;
    case CONFIG_FORWARD:
        forward_stream_start(&record->forward, &forward, &forward_ops, record->fd, &kind);
        break;
    case CONFIG_CONNECT:
        connect_stream_start(&record->relay, &worker->relays, &relay_ops, &relay, record->fd, kind.kind);
        break;
    }
}

static void begin_socket(struct stream_record *record)
{
    LIST_INSERT_HEAD(&record->worker->streams, record, link);
    note_route(record);
    start_socket(record);
    catch_up(record);
}

static void on_arrival(struct worker *worker, struct job *job)
{
    (void)worker;
    begin_socket(CONTAINER_OF(job, struct stream_record, job));
}

void stream_begin_socket(struct stream_record *record, struct worker *here, int fd)
{
    record->fd = fd;
    if (record->worker == here) {
        begin_socket(record);
    } else {
        record->job.run = on_arrival;
        worker_post(record->worker, &record->job);
    }
}

void stream_begin_channel(struct stream_record *record, struct session_io *io, struct channel *channel,
                          const struct control_open *open)
{
    struct worker *worker = record->worker;
    LIST_INSERT_HEAD(&worker->streams, record, link);
    note_route(record);
    struct log_stream_source source = log_source(record);
    struct forward_source forward = forward_source(record);
    struct relay_source relay = relay_source(record);
    switch (source.route->type) {
    case CONFIG_RELAY:
        relay_start_channel(&record->relay, &worker->relays, &relay_ops, &relay, io, channel);
        break;
    case CONFIG_LOG:
        record->opened = true;
        log_stream_start_channel(&record->log, &worker->loop, &log_ops, &source, io, channel, open);
        break;
    case CONFIG_TIME:
        record->opened = true;
        time_stream_start_channel(&record->time, &worker->loop, &time_ops, source.route, io, channel);
        break;
    case CONFIG_FORWARD:
        record->opened = true;
        forward_stream_start_channel(&record->forward, &forward, &forward_ops, io, channel);
        break;
    case CONFIG_CONNECT:
        record->opened = true;
        connect_stream_start_channel(&record->relay, &worker->relays, &relay_ops, &relay, io, channel);
        break;
    }
}

/* ---- Refusing ---- */

static void log_refused(struct worker *worker, const struct stream_request *request, const char *why,
                        const char *peer, const struct control_text *asked, const char *detail)
{
    const struct config *config = request->rules->config;
    char name[CONTROL_ROUTE_MAX + 1] = "";
    struct log_line line;
    log_begin_limited(&line, &worker->log_refused, LOG_LEVEL_WARN, "stream refused");
    if (!line.wanted) {
        return;
    }
    if (asked != NULL) {
        memcpy(name, asked->data, asked->length);
        name[asked->length] = '\0';
    }
    log_str(&line, "reason", why);
    caller_log(request->caller, request->rules, &line);
    log_str(&line, "peer", peer);
    log_str(&line, "listener", config->listeners[request->listener].name);
    log_session(&line, request->session);
    log_str(&line, "route", request->route >= 0 ? config->routes[request->route].name : name);
    log_str(&line, "detail", detail);
    log_end(&line);
}

void stream_refused(struct worker *worker, const struct stream_request *request, enum reason why,
                    const char *peer, const struct control_text *asked)
{
    if (request->route != CONFIG_NO_ROUTE) {
        counter_add(&request->rules->routes[request->route]->ended[why], 1);
    }
    if (request->session != 0) {
        counter_add(&request->rules->counters->opens_refused[why], 1);
    }
    counter_add(&rules_enclave(request->rules, request->caller->enclave)->refused, 1);
    char limit[PLACES_TEXT_MAX];
    const char *detail =
        places_tell_stream(request->rules, request->route, request->caller->enclave, why, limit);
    log_refused(worker, request, reason_word(why), peer, asked, detail);
}

void stream_refused_for_kind(struct worker *worker, const struct stream_request *request)
{
    counter_add(&request->rules->counters->opens_refused[OPEN_UNSUPPORTED], 1);
    log_refused(worker, request, code_word(CODE_UNSUPPORTED), NULL, NULL, NULL);
}
