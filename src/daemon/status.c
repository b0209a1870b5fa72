/* /status, built with jansson. A document that is not whole, for want of memory, is not sent. */
#include "daemon/status.h"
#include "base/log.h"
#include "daemon/figures.h"
#include "daemon/spool_json.h"
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Every put looks here whether one before it failed, so that the callers need not. */
struct builder {
    bool failed;
};

static void put(struct builder *builder, json_t *object, const char *key, json_t *value)
{
    if (json_object_set_new(object, key, value) != 0) {
        builder->failed = true;
    }
}

static void append(struct builder *builder, json_t *array, json_t *value)
{
    if (json_array_append_new(array, value) != 0) {
        builder->failed = true;
    }
}

static void put_u64(struct builder *builder, json_t *object, const char *key, uint64_t value)
{
    put(builder, object, key, json_integer((json_int_t)value));
}

static void put_counter(struct builder *builder, json_t *object, const char *key, const counter *value)
{
    put_u64(builder, object, key, counter_get(value));
}

/* JSON is UTF-8; a file's name need not be. */
static json_t *new_string(const char *string)
{
    json_t *json = json_string(string);
    if (json != NULL) {
        return json;
    }
    char *copy = strdup(string);
    if (copy == NULL) {
        return NULL;
    }
    for (char *c = copy; *c != '\0'; c++) {
        *c = (*c & 0x80) != 0 ? '?' : *c;
    }
    json = json_string(copy);
    free(copy);
    return json;
}

/* An object or array, already in its place; NULL if memory ran out, which put() and append() bear. */
static json_t *put_object(struct builder *builder, json_t *object, const char *key)
{
    json_t *value = json_object();
    put(builder, object, key, value);
    return builder->failed ? NULL : value;
}

static json_t *put_array(struct builder *builder, json_t *object, const char *key)
{
    json_t *value = json_array();
    put(builder, object, key, value);
    return builder->failed ? NULL : value;
}

static json_t *append_object(struct builder *builder, json_t *array)
{
    json_t *value = json_object();
    append(builder, array, value);
    return builder->failed ? NULL : value;
}

static void put_address(struct builder *builder, json_t *object, const char *key, const struct addr *addr)
{
    char text[ADDR_TEXT_MAX];
    put(builder, object, key, addr->kind == ADDR_NONE ? json_null() : new_string(addr_format(addr, text)));
}

const char *status_state_word(enum server_state state)
{
    static const char *const words[] = {"starting", "ready", "draining"};
    return (unsigned)state < ARRAY_SIZE(words) ? words[state] : "unknown";
}

static void put_config(struct builder *builder, json_t *root, const struct server_view *view)
{
    const struct counters *counters = view->counters;
    json_t *config = put_object(builder, root, "config");
    put(builder, config, "file", new_string(view->config->file));
    put_address(builder, config, "admin", &view->config->admin);
    put_address(builder, config, "metrics", &view->config->metrics);
    put_counter(builder, config, "reloads_accepted", &counters->reloads_ok);
    put_counter(builder, config, "reloads_refused", &counters->reloads_failed);
    json_t *last = put_object(builder, config, "last_reload");
    put(builder, last, "accepted", json_boolean(counter_get(&counters->reload_last_ok)));
    put_counter(builder, last, "time_s", &counters->reload_time_s);
    bool refused = view->last_error != NULL && view->last_error[0] != '\0';
    put(builder, last, "error", refused ? new_string(view->last_error) : json_null());
}

static void put_workers(struct builder *builder, json_t *root, const struct server_view *view)
{
    json_t *workers = put_array(builder, root, "workers");
    for (unsigned i = 0; i < view->worker_count; i++) {
        json_t *worker = append_object(builder, workers);
        put_u64(builder, worker, "id", i);
        put_u64(builder, worker, "active", view->workers[i].active);
        put_u64(builder, worker, "sessions", view->workers[i].sessions);
        put_u64(builder, worker, "busy_ms", view->workers[i].busy_ms);
    }
}

/* What the configuration in force says of a name; NULL for one that a reload removed. Counters and
 * configuration are in nearly the same order, so the search goes on from where it last ended. */
#define DEFINE_FIND(kind)                                                                         \
    static const struct config_##kind *find_##kind(const struct config *config, const char *name, \
                                                   unsigned *hint)                                \
    {                                                                                             \
        for (unsigned i = 0; i < config->kind##_count; i++) {                                     \
            unsigned at = (*hint + i) % config->kind##_count;                                     \
            if (strcmp(config->kind##s[at].name, name) == 0) {                                    \
                *hint = at + 1;                                                                   \
                return &config->kind##s[at];                                                      \
            }                                                                                     \
        }                                                                                         \
        return NULL;                                                                              \
    }

DEFINE_FIND(route)
DEFINE_FIND(enclave)
DEFINE_FIND(listener)

/* The routes by enclave, {"payroll": ["kms"]}. */
static void put_permits(struct builder *builder, json_t *object, const struct config *config,
                        const struct config_listener *listener)
{
    json_t *allow = put_object(builder, object, "allow_routes"), *routes = NULL;
    for (unsigned i = 0; i < listener->permit_count; i++) {
        const struct config_permit *permit = &listener->permits[i];
        if (i == 0 || permit->enclave != listener->permits[i - 1].enclave) {
            routes = put_array(builder, allow, config->enclaves[permit->enclave].name);
        }
        append(builder, routes, new_string(permit->name));
    }
}

static void put_allow(struct builder *builder, json_t *object, const struct config *config,
                      const struct config_listener *listener)
{
    if (listener->allow_any) {
        put(builder, object, "allow", json_string("any"));
        return;
    }
    json_t *allow = put_array(builder, object, "allow");
    for (unsigned i = 0; i < config->enclave_count; i++) {
        if (listener->allow[i]) {
            append(builder, allow, new_string(config->enclaves[i].name));
        }
    }
    if (listener->protocol == CONFIG_FRAMED) {
        put_permits(builder, object, config, listener);
    }
}

static void put_listener_config(struct builder *builder, json_t *object, const struct config *config,
                                const struct config_listener *listener)
{
    put(builder, object, "configured", json_boolean(listener != NULL));
    if (listener != NULL) {
        put_address(builder, object, "listen", &listener->listen);
        put(builder, object, "protocol", json_string(listener->protocol == CONFIG_FRAMED ? "framed" : "raw"));
        put(builder, object, "route",
            listener->route != CONFIG_NO_ROUTE ? new_string(config->routes[listener->route].name)
                                               : json_null());
        put_allow(builder, object, config, listener);
    }
}

static void put_listeners(struct builder *builder, json_t *root, const struct server_view *view)
{
    unsigned hint = 0;
    json_t *listeners = put_array(builder, root, "listeners");
    const struct listener_counters *entry = view->counters->listeners;
    for (; entry != NULL; entry = entry->next) {
        json_t *listener = append_object(builder, listeners);
        put(builder, listener, "name", new_string(entry->name));
        put_listener_config(builder, listener, view->config, find_listener(view->config, entry->name, &hint));
        put_counter(builder, listener, "accepted", &entry->accepted);
        put_counter(builder, listener, "refused", &entry->refused);
        put_counter(builder, listener, "accept_errors", &entry->accept_errors);
    }
}

static void put_names(struct builder *builder, json_t *object, const struct config_route *route)
{
    json_t *sni = put_array(builder, object, "sni");
    for (unsigned i = 0; i < route->sni_count; i++) {
        append(builder, sni, new_string(route->sni[i].pattern));
    }
}

static void put_destination(struct builder *builder, json_t *object, const struct config_route *route)
{
    if (route->to_kind == CONFIG_TO_ADDRESS) {
        put_address(builder, object, "to", &route->to);
        return;
    }
    put(builder, object, "to", json_string("sni"));
    if (route->to_kind == CONFIG_TO_SNI) {
        put_u64(builder, object, "port", route->port);
        return;
    }
    json_t *to_by_sni = put_object(builder, object, "to_by_sni");
    for (unsigned i = 0; i < route->sni_count; i++) {
        put_address(builder, to_by_sni, route->sni[i].pattern, &route->sni[i].to);
    }
}

static void put_route_config(struct builder *builder, json_t *object, const struct config_route *route)
{
    put(builder, object, "configured", json_boolean(route != NULL));
    if (route != NULL && route->type == CONFIG_FORWARD) {
        put(builder, object, "type", json_string("forward"));
        put_address(builder, object, "to", &route->to);
        put_names(builder, object, route);
        put_u64(builder, object, "limit", route->max_streams);
    } else if (route != NULL && route->type != CONFIG_RELAY) {
        const char *own = route->type == CONFIG_LOG ? "log" : route->type == CONFIG_TIME ? "time" : "connect";
        put(builder, object, "type", json_string(own));
        put(builder, object, "to", json_string(own));
        put_names(builder, object, route);
        put_u64(builder, object, "limit", route->max_streams);
    } else if (route != NULL) {
        put(builder, object, "type", json_string("relay"));
        put_destination(builder, object, route);
        put_names(builder, object, route);
        put_u64(builder, object, "limit", route->max_streams);
    }
}

/* Only the reasons that occurred: this is read by people. */
static void put_ended(struct builder *builder, json_t *object, const struct route_counters *route)
{
    json_t *ended = put_object(builder, object, "ended");
    for (unsigned reason = 0; reason < REASON_COUNT; reason++) {
        if (counter_get(&route->ended[reason]) > 0) {
            put_counter(builder, ended, reason_word((enum reason)reason), &route->ended[reason]);
        }
    }
}

static void put_histogram(struct builder *builder, json_t *object, const char *key,
                          const struct histogram *histogram)
{
    uint64_t count = counter_get(&histogram->count);
    json_t *times = put_object(builder, object, key);
    put_u64(builder, times, "count", count);
    put_u64(builder, times, "mean_us", count > 0 ? counter_get(&histogram->sum_us) / count : 0);
}

static void put_outcome(struct builder *builder, json_t *object, const char *outcome, const counter *count)
{
    if (counter_get(count) > 0) {
        put_counter(builder, object, outcome, count);
    }
}

/* The same: only the outcomes that occurred. */
static void put_requests(struct builder *builder, json_t *object, const struct request_counters *counters)
{
    static const char *const classes[REQUEST_CLASSES] = {"other", "1xx", "2xx", "3xx", "4xx", "5xx"};
    json_t *requests = put_object(builder, object, "requests");
    json_t *outcomes = put_object(builder, requests, "outcomes");
    for (unsigned i = 0; i < REQUEST_CLASSES; i++) {
        put_outcome(builder, outcomes, classes[i], &counters->answered[i]);
    }
    put_outcome(builder, outcomes, "kept", &counters->kept);
    for (unsigned why = HTTP_REFUSED_NONE + 1; why < HTTP_REFUSED_COUNT; why++) {
        put_outcome(builder, outcomes, http_refusal_word((enum http_refusal)why), &counters->refused[why]);
    }
    put_counter(builder, requests, "body_in", &counters->body_in);
    put_counter(builder, requests, "body_out", &counters->body_out);
    put_histogram(builder, requests, "duration", &counters->duration);
}

static void put_routes(struct builder *builder, json_t *root, const struct server_view *view)
{
    unsigned hint = 0;
    json_t *routes = put_array(builder, root, "routes");
    for (const struct route_counters *entry = view->counters->routes; entry != NULL; entry = entry->next) {
        json_t *route = append_object(builder, routes);
        put(builder, route, "name", new_string(entry->name));
        put_route_config(builder, route, find_route(view->config, entry->name, &hint));
        put_counter(builder, route, "active", &entry->active);
        put_counter(builder, route, "opened", &entry->accepted);
        put_counter(builder, route, "bytes_in", &entry->bytes_in);
        put_counter(builder, route, "bytes_out", &entry->bytes_out);
        put_ended(builder, route, entry);
        put_histogram(builder, route, "connect", &entry->connect);
        if (entry->requests != NULL) {
            put_requests(builder, route, entry->requests);
        }
    }
}

static void put_enclave_config(struct builder *builder, json_t *object, const struct config_enclave *enclave)
{
    put(builder, object, "configured", json_boolean(enclave != NULL));
    if (enclave != NULL) {
        put_u64(builder, object, "cid", enclave->cid);
        put_u64(builder, object, "limit", enclave->max_streams);
        put_u64(builder, object, "sessions_limit", enclave->max_sessions);
    }
}

static void put_enclaves(struct builder *builder, json_t *root, const struct server_view *view)
{
    unsigned hint = 0;
    json_t *enclaves = put_array(builder, root, "enclaves");
    const struct enclave_counters *entry = view->counters->enclaves;
    for (; entry != NULL; entry = entry->next) {
        json_t *enclave = append_object(builder, enclaves);
        put(builder, enclave, "name", new_string(entry->name[0] != '\0' ? entry->name : "-"));
        put_enclave_config(builder, enclave, find_enclave(view->config, entry->name, &hint));
        put_counter(builder, enclave, "active", &entry->active);
        put_counter(builder, enclave, "opened", &entry->accepted);
        put_counter(builder, enclave, "refused", &entry->refused);
        put_counter(builder, enclave, "bytes_in", &entry->bytes_in);
        put_counter(builder, enclave, "bytes_out", &entry->bytes_out);
        put_counter(builder, enclave, "sessions_active", &entry->sessions_active);
        put_counter(builder, enclave, "sessions_opened", &entry->sessions_opened);
        put_counter(builder, enclave, "sessions_refused", &entry->sessions_refused);
        put_counter(builder, enclave, "stream_stalls", &entry->stream_stalls);
        put_counter(builder, enclave, "session_stalls", &entry->session_stalls);
        put_counter(builder, enclave, "log_lines", &entry->lines);
        put_counter(builder, enclave, "log_lines_dropped", &entry->lines_dropped);
    }
}

static void put_dns(struct builder *builder, json_t *root, const struct server_view *view)
{
    struct dns_figures figures;
    figures_of_dns(view, &figures);
    json_t *dns = put_object(builder, root, "dns");
    put_u64(builder, dns, "queries", figures.queries);
    put_u64(builder, dns, "cache_hits", figures.hits);
    put_u64(builder, dns, "stale_answers", figures.stale_served);
    put_u64(builder, dns, "failed", figures.failures);
    put_u64(builder, dns, "timeouts", figures.timeouts);
    put_u64(builder, dns, "not_found", figures.not_found);
    put_u64(builder, dns, "cached_names", figures.cached);
}

static void put_process(struct builder *builder, json_t *root)
{
    struct process_figures view;
    figures_of_process(&view);
    json_t *process = put_object(builder, root, "process");
    put_u64(builder, process, "pid", (uint64_t)getpid());
    put_u64(builder, process, "resident_bytes", view.resident_bytes);
    put_u64(builder, process, "cpu_us", view.cpu_us);
    put_u64(builder, process, "open_fds", view.open_fds);
    put_u64(builder, process, "max_fds", view.max_fds);
    put_u64(builder, process, "log_lines_dropped", log_dropped());
}

static void put_streams(struct builder *builder, json_t *root, const struct server_view *view)
{
    json_t *streams = put_object(builder, root, "streams");
    put_counter(builder, streams, "active", &view->counters->active);
    put_u64(builder, streams, "limit", view->config->max_streams);
}

/* Only the codes that occurred: this is read by people. */
static void put_sessions(struct builder *builder, json_t *root, const struct server_view *view)
{
    const struct counters *counters = view->counters;
    json_t *sessions = put_object(builder, root, "sessions");
    put_counter(builder, sessions, "active", &counters->sessions);
    put_u64(builder, sessions, "limit", view->config->max_sessions);
    json_t *ended = put_object(builder, sessions, "ended");
    for (unsigned i = 0; i < SESSION_CODE_COUNT; i++) {
        if (counter_get(&counters->sessions_ended[i]) > 0) {
            put_counter(builder, ended, session_code_word((enum session_code)i),
                        &counters->sessions_ended[i]);
        }
    }
    json_t *refused = put_object(builder, sessions, "opens_refused");
    for (unsigned i = 0; i < OPEN_REFUSALS; i++) {
        if (counter_get(&counters->opens_refused[i]) > 0) {
            put_counter(builder, refused, open_refusal_word(i), &counters->opens_refused[i]);
        }
    }
    put_histogram(builder, sessions, "round_trip", &counters->round_trip);
}

/* The same as /spool/stats; null while no route asks for a spool. */
static void put_spool(struct builder *builder, json_t *root, const struct server_view *view)
{
    const struct spool_keeper *keeper = view->spool;
    bool wanted = keeper != NULL && (keeper->spool != NULL || keeper->why.text[0] != '\0');
    put(builder, root, "spool", wanted ? spool_json_stats(keeper, view->config) : json_null());
}

static void put_all(struct builder *builder, json_t *root, const struct server_view *view)
{
    bool draining = view->state == SERVER_DRAINING;
    put_u64(builder, root, "schema", STATUS_SCHEMA);
    put(builder, root, "version", json_string(POSTERN_VERSION));
    put(builder, root, "state", json_string(status_state_word(view->state)));
    put_u64(builder, root, "start_time_s", view->counters->start_time_s);
    put_u64(builder, root, "uptime_s", view->uptime_s);
    put(builder, root, "drain_left_ms",
        draining ? json_integer((json_int_t)view->drain_left_ms) : json_null());
    put_config(builder, root, view);
    put_streams(builder, root, view);
    put_sessions(builder, root, view);
    put_routes(builder, root, view);
    put_enclaves(builder, root, view);
    put_listeners(builder, root, view);
    put_workers(builder, root, view);
    put_counter(builder, root, "event_loop_stalls", &view->counters->stalls);
    put_spool(builder, root, view);
    put_dns(builder, root, view);
    put_process(builder, root);
}

int status_write(const struct server_view *view, struct text *out)
{
    struct builder builder = {.failed = false};
    json_t *root = json_object();
    put_all(&builder, root, view);
    char *document = builder.failed ? NULL : json_dumps(root, JSON_INDENT(2));
    json_decref(root);
    if (document == NULL) {
        return -ENOMEM;
    }
    text_addf(out, "%s\n", document);
    free(document);
    return out->failed ? -ENOMEM : 0;
}
