/* /metrics: the counters in Prometheus's text format. docs/operations.md lists the names. */
#include "daemon/metrics.h"
#include "base/log.h"
#include "daemon/figures.h"
#include "daemon/spool_metrics.h"
#include <inttypes.h>

/* A family whose value is one counter of each entry of a list. */
struct metric {
    const char *name;
    const char *type;
    const char *help;
    size_t at; /* of the counter in the entry */
};

/* A list of counters: the name comes first in each of its entries. */
struct list {
    const char *label;
    const void *first;
    size_t next_at;
};

#define COUNTER(kind, member, metric_name, words)                               \
    {                                                                           \
        metric_name, "counter", words, offsetof(struct kind##_counters, member) \
    }
#define GAUGE(kind, member, metric_name, words)                               \
    {                                                                         \
        metric_name, "gauge", words, offsetof(struct kind##_counters, member) \
    }

static const struct metric route_metrics[] = {
    GAUGE(route, active, "postern_streams_active", "Streams open now, opening ones included."),
    COUNTER(route, accepted, "postern_streams_opened_total", "Streams that passed policy and limits."),
};

static const struct metric enclave_metrics[] = {
    GAUGE(enclave, active, "postern_enclave_streams_active", "Streams that the enclave has open now."),
    COUNTER(enclave, accepted, "postern_enclave_streams_opened_total",
            "Streams of the enclave that passed policy and limits."),
    COUNTER(enclave, refused, "postern_enclave_streams_refused_total",
            "Streams of the enclave that policy or a limit refused."),
    GAUGE(enclave, sessions_active, "postern_enclave_sessions_active",
          "Sessions that the enclave has open now."),
    COUNTER(enclave, sessions_opened, "postern_enclave_sessions_opened_total",
            "Sessions of the enclave that passed policy and limits."),
    COUNTER(enclave, sessions_refused, "postern_enclave_sessions_refused_total",
            "Sessions of the enclave that policy or a limit refused."),
    COUNTER(enclave, lines, "postern_enclave_log_lines_total",
            "Lines that the enclave sent to log routes, and that were handed to the daemon's log."),
    COUNTER(enclave, lines_dropped, "postern_enclave_log_lines_dropped_total",
            "Lines that the enclave sent to log routes, and that were more than lines_per_second."),
};

static const struct metric listener_metrics[] = {
    COUNTER(listener, accepted, "postern_listener_accepted_total", "Connections taken from the kernel."),
    COUNTER(listener, refused, "postern_listener_refused_total",
            "Connections that policy or a limit closed at once."),
    COUNTER(listener, denied, "postern_listener_denied_total",
            "Of those, the ones that policy does not allow there: strangers."),
    COUNTER(listener, accept_errors, "postern_listener_accept_errors_total",
            "Times that accepting a connection failed, for want of file descriptors or memory."),
};

static void add_family(struct text *out, const char *name, const char *type, const char *help)
{
    text_addf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void add_label(struct text *out, const char *label, const char *value)
{
    text_addf(out, "%s=\"", label);
    for (; *value != '\0'; value++) {
        if (*value == '\n') {
            text_add(out, "\\n");
            continue;
        }
        if (*value == '"' || *value == '\\') {
            text_add_char(out, '\\');
        }
        text_add_char(out, *value);
    }
    text_add_char(out, '"');
}

/* `name{label="value"`, left open for more labels. */
static void open_series(struct text *out, const char *name, const char *label, const char *value)
{
    text_addf(out, "%s{", name);
    /* Prometheus takes an empty label for none; "-" can be no configured name. */
    add_label(out, label, value[0] != '\0' ? value : "-");
}

static void add_labelled(struct text *out, const char *name, const char *label, const char *value,
                         uint64_t number)
{
    open_series(out, name, label, value);
    text_addf(out, "} %" PRIu64 "\n", number);
}

static void add_single(struct text *out, const char *name, const char *type, const char *help,
                       uint64_t number)
{
    add_family(out, name, type, help);
    text_addf(out, "%s %" PRIu64 "\n", name, number);
}

/* Values that Prometheus wants in seconds and we keep in integers of a smaller unit. */
static void add_seconds(struct text *out, uint64_t microseconds)
{
    text_addf(out, " %" PRIu64 ".%06" PRIu64 "\n", microseconds / 1000000, microseconds % 1000000);
}

static const void *next_entry(const struct list *list, const void *entry)
{
    return *(const void *const *)(const void *)((const char *)entry + list->next_at);
}

static void add_list(struct text *out, const struct list *list, const struct metric *metrics, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct metric *metric = &metrics[i];
        add_family(out, metric->name, metric->type, metric->help);
        for (const void *entry = list->first; entry != NULL; entry = next_entry(list, entry)) {
            const counter *value = (const void *)((const char *)entry + metric->at);
            add_labelled(out, metric->name, list->label, *(const char *const *)entry, counter_get(value));
        }
    }
}

static void add_ended(struct text *out, const struct counters *counters)
{
    const char *name = "postern_streams_ended_total";
    add_family(out, name, "counter", "Streams that ended, or were never opened, by reason.");
    for (const struct route_counters *route = counters->routes; route != NULL; route = route->next) {
        for (unsigned reason = 0; reason < REASON_COUNT; reason++) {
            open_series(out, name, "route", route->name);
            text_addf(out, ",reason=\"%s\"} %" PRIu64 "\n", reason_word((enum reason)reason),
                      counter_get(&route->ended[reason]));
        }
    }
}

static void add_bytes(struct text *out, const char *name, const char *label, const char *value,
                      const counter *in, const counter *sent)
{
    open_series(out, name, label, value);
    text_addf(out, ",direction=\"in\"} %" PRIu64 "\n", counter_get(in));
    open_series(out, name, label, value);
    text_addf(out, ",direction=\"out\"} %" PRIu64 "\n", counter_get(sent));
}

static void add_route_bytes(struct text *out, const struct counters *counters)
{
    const char *name = "postern_stream_bytes_total";
    add_family(out, name, "counter", "Bytes relayed: in from the caller, out to the caller.");
    for (const struct route_counters *route = counters->routes; route != NULL; route = route->next) {
        add_bytes(out, name, "route", route->name, &route->bytes_in, &route->bytes_out);
    }
}

static void add_enclave_bytes(struct text *out, const struct counters *counters)
{
    const char *name = "postern_enclave_bytes_total";
    add_family(out, name, "counter", "Bytes relayed: in from the enclave, out to the enclave.");
    for (const struct enclave_counters *enclave = counters->enclaves; enclave != NULL;
         enclave = enclave->next) {
        add_bytes(out, name, "enclave", enclave->name, &enclave->bytes_in, &enclave->bytes_out);
    }
}

/* The count is the buckets' own sum: workers add while this reads, and a histogram must not
 * contradict itself. */
static void add_histogram(struct text *out, const char *name, const char *route,
                          const struct histogram *histogram)
{
    struct text labels = TEXT_INIT; /* of the route, if there is one, and what divides it from more */
    const char *more = route != NULL ? "," : "";
    uint64_t count = 0;
    if (route != NULL) {
        add_label(&labels, "route", route);
    }
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        count += counter_get(&histogram->bucket[i]);
        text_addf(out, "%s_bucket{%s%sle=\"%g\"} %" PRIu64 "\n", name, text_string(&labels), more,
                  histogram_bucket_ms[i] / 1000.0, count);
    }
    count += counter_get(&histogram->bucket[HISTOGRAM_BUCKETS]);
    text_addf(out, "%s_bucket{%s%sle=\"+Inf\"} %" PRIu64 "\n", name, text_string(&labels), more, count);
    text_addf(out, route != NULL ? "%s_sum{%s}" : "%s_sum%s", name, text_string(&labels));
    add_seconds(out, counter_get(&histogram->sum_us));
    text_addf(out, route != NULL ? "%s_count{%s} %" PRIu64 "\n" : "%s_count%s %" PRIu64 "\n", name,
              text_string(&labels), count);
    out->failed = out->failed || labels.failed;
    text_release(&labels);
}

static void add_connect(struct text *out, const struct counters *counters)
{
    const char *name = "postern_connect_duration_seconds";
    add_family(out, name, "histogram",
               "Time from the decision to connect to a connected destination, name resolution included.");
    for (const struct route_counters *route = counters->routes; route != NULL; route = route->next) {
        add_histogram(out, name, route->name, &route->connect);
    }
}

static void add_outcome(struct text *out, const struct route_counters *route, const char *outcome,
                        const counter *count)
{
    open_series(out, "postern_requests_total", "route", route->name);
    text_addf(out, ",outcome=\"%s\"} %" PRIu64 "\n", outcome, counter_get(count));
}

static void add_outcomes(struct text *out, const struct route_counters *route)
{
    static const char *const classes[REQUEST_CLASSES] = {"other", "1xx", "2xx", "3xx", "4xx", "5xx"};
    for (unsigned i = 2; i <= REQUEST_CLASSES; i++) {
        add_outcome(out, route, classes[i % REQUEST_CLASSES],
                    &route->requests->answered[i % REQUEST_CLASSES]);
    }
    add_outcome(out, route, "kept", &route->requests->kept);
    for (unsigned why = HTTP_REFUSED_NONE + 1; why < HTTP_REFUSED_COUNT; why++) {
        add_outcome(out, route, http_refusal_word((enum http_refusal)why), &route->requests->refused[why]);
    }
}

/* Of routes that forward requests alone. */
static void add_requests(struct text *out, const struct counters *counters)
{
    const char *bodies = "postern_request_body_bytes_total", *times = "postern_request_duration_seconds";
    const struct route_counters *route;
    add_family(out, "postern_requests_total", "counter",
               "Requests to routes that forward them: by the class of the status that the upstream answered "
               "with, kept in the spool, or why not.");
    for (route = counters->routes; route != NULL; route = route->next) {
        if (route->requests != NULL) {
            add_outcomes(out, route);
        }
    }
    add_family(out, bodies, "counter", "Bytes of bodies: in of requests, out of their answers.");
    for (route = counters->routes; route != NULL; route = route->next) {
        if (route->requests != NULL) {
            add_bytes(out, bodies, "route", route->name, &route->requests->body_in,
                      &route->requests->body_out);
        }
    }
    add_family(out, times, "histogram", "From a request's whole head to the end of its answer.");
    for (route = counters->routes; route != NULL; route = route->next) {
        if (route->requests != NULL) {
            add_histogram(out, times, route->name, &route->requests->duration);
        }
    }
}

static void add_upstreams(struct text *out, const struct server_view *view)
{
    struct upstream_figures figures;
    figures_of_upstreams(view, &figures);
    add_single(out, "postern_upstream_connections_opened_total", "counter",
               "Connections to the upstreams of forward routes that came to be usable.", figures.opened);
    add_single(out, "postern_upstream_connections_failed_total", "counter", "Those that did not.",
               figures.failed);
    add_single(out, "postern_upstream_connections_open", "gauge",
               "Connections to upstreams now, in use or kept.", figures.open);
    add_single(out, "postern_upstream_connections_idle", "gauge", "Of those, kept for the next request.",
               figures.idle);
    add_single(out, "postern_upstream_reused_total", "counter",
               "Requests that found a connection to their upstream waiting.", figures.reused);
    add_single(out, "postern_upstream_retried_total", "counter",
               "Requests sent again because the connection that waited was dead.", figures.retried);
    add_single(out, "postern_upstream_tls_resumed_total", "counter",
               "TLS handshakes with upstreams that were short, thanks to an earlier one.", figures.resumed);
}

static void add_routes(struct text *out, const struct server_view *view)
{
    const struct counters *counters = view->counters;
    struct list list = {"route", counters->routes, offsetof(struct route_counters, next)};
    add_list(out, &list, route_metrics, ARRAY_SIZE(route_metrics));
    add_ended(out, counters);
    add_route_bytes(out, counters);
    add_connect(out, counters);
    add_requests(out, counters);
    add_family(out, "postern_streams_limit", "gauge", "The route's max_streams.");
    for (unsigned i = 0; i < view->config->route_count; i++) {
        const struct config_route *route = &view->config->routes[i];
        add_labelled(out, "postern_streams_limit", "route", route->name, route->max_streams);
    }
}

/* Why a sender had to wait: `stream`, for credit of its own; `session`, for that of all together. */
static void add_stalls(struct text *out, const struct counters *counters)
{
    const char *name = "postern_enclave_credit_stalls_total";
    add_family(out, name, "counter",
               "Times that sending to the enclave had to wait for credit of the stream, or of the session.");
    for (const struct enclave_counters *enclave = counters->enclaves; enclave != NULL;
         enclave = enclave->next) {
        open_series(out, name, "enclave", enclave->name);
        text_addf(out, ",of=\"stream\"} %" PRIu64 "\n", counter_get(&enclave->stream_stalls));
        open_series(out, name, "enclave", enclave->name);
        text_addf(out, ",of=\"session\"} %" PRIu64 "\n", counter_get(&enclave->session_stalls));
    }
}

static void add_sessions(struct text *out, const struct server_view *view)
{
    const struct counters *counters = view->counters;
    const char *ended = "postern_sessions_ended_total", *refused = "postern_opens_refused_total";
    add_single(out, "postern_sessions_active", "gauge", "Sessions open now in the whole daemon.",
               counter_get(&counters->sessions));
    add_single(out, "postern_sessions_limit", "gauge", "limits.max_sessions.", view->config->max_sessions);
    add_family(out, ended, "counter", "Sessions that ended, by code.");
    for (unsigned i = 0; i < SESSION_CODE_COUNT; i++) {
        add_labelled(out, ended, "code", session_code_word((enum session_code)i),
                     counter_get(&counters->sessions_ended[i]));
    }
    add_family(out, refused, "counter", "Streams that a session asked for and did not get, by code.");
    for (unsigned i = 0; i < OPEN_REFUSALS; i++) {
        add_labelled(out, refused, "code", open_refusal_word(i), counter_get(&counters->opens_refused[i]));
    }
    add_family(out, "postern_session_round_trip_seconds", "histogram", "Round trips of sessions, by PING.");
    add_histogram(out, "postern_session_round_trip_seconds", NULL, &counters->round_trip);
}

static void add_enclaves(struct text *out, const struct server_view *view)
{
    const struct counters *counters = view->counters;
    struct list list = {"enclave", counters->enclaves, offsetof(struct enclave_counters, next)};
    add_list(out, &list, enclave_metrics, ARRAY_SIZE(enclave_metrics));
    add_enclave_bytes(out, counters);
    add_family(out, "postern_enclave_streams_limit", "gauge", "The enclave's max_streams.");
    for (unsigned i = 0; i < view->config->enclave_count; i++) {
        const struct config_enclave *enclave = &view->config->enclaves[i];
        add_labelled(out, "postern_enclave_streams_limit", "enclave", enclave->name, enclave->max_streams);
    }
    add_family(out, "postern_enclave_sessions_limit", "gauge", "The enclave's max_sessions.");
    for (unsigned i = 0; i < view->config->enclave_count; i++) {
        const struct config_enclave *enclave = &view->config->enclaves[i];
        add_labelled(out, "postern_enclave_sessions_limit", "enclave", enclave->name, enclave->max_sessions);
    }
    add_stalls(out, counters);
}

static void add_listeners(struct text *out, const struct counters *counters)
{
    struct list list = {"listener", counters->listeners, offsetof(struct listener_counters, next)};
    add_list(out, &list, listener_metrics, ARRAY_SIZE(listener_metrics));
}

static void add_workers(struct text *out, const struct server_view *view)
{
    char id[16];
    add_family(out, "postern_worker_streams_active", "gauge", "Streams that the worker carries now.");
    for (unsigned i = 0; i < view->worker_count; i++) {
        snprintf(id, sizeof id, "%u", i);
        add_labelled(out, "postern_worker_streams_active", "worker", id, view->workers[i].active);
    }
    add_family(out, "postern_worker_sessions_active", "gauge", "Sessions that the worker carries now.");
    for (unsigned i = 0; i < view->worker_count; i++) {
        snprintf(id, sizeof id, "%u", i);
        add_labelled(out, "postern_worker_sessions_active", "worker", id, view->workers[i].sessions);
    }
    add_family(out, "postern_worker_busy_seconds", "gauge",
               "How long the worker's event loop has been in its present turn; 0 while it waits.");
    for (unsigned i = 0; i < view->worker_count; i++) {
        snprintf(id, sizeof id, "%u", i);
        open_series(out, "postern_worker_busy_seconds", "worker", id);
        text_add_char(out, '}');
        add_seconds(out, view->workers[i].busy_ms * 1000);
    }
}

static void add_dns(struct text *out, const struct server_view *view)
{
    const char *failures = "postern_dns_failures_total";
    struct dns_figures dns;
    figures_of_dns(view, &dns);
    add_single(out, "postern_dns_queries_total", "counter", "Questions sent to the resolver.", dns.queries);
    add_single(out, "postern_dns_cache_hits_total", "counter",
               "Names answered from the cache, within their TTL.", dns.hits);
    add_single(out, "postern_dns_stale_answers_total", "counter",
               "Names answered from the cache past their TTL, because the resolver failed.",
               dns.stale_served);
    add_family(out, failures, "counter", "Questions that brought no address, by what came instead.");
    add_labelled(out, failures, "kind", "failed", dns.failures);
    add_labelled(out, failures, "kind", "timeout", dns.timeouts);
    add_labelled(out, failures, "kind", "not_found", dns.not_found);
    add_single(out, "postern_dns_cached_names", "gauge", "Names in the caches now.", dns.cached);
}

static void add_state(struct text *out, const struct server_view *view)
{
    static const char *const states[] = {"starting", "ready", "draining"};
    add_family(out, "postern_state", "gauge", "1 for the state that the daemon is in.");
    for (unsigned i = 0; i < ARRAY_SIZE(states); i++) {
        add_labelled(out, "postern_state", "state", states[i], i == (unsigned)view->state);
    }
}

static void add_daemon(struct text *out, const struct server_view *view)
{
    const struct counters *counters = view->counters;
    add_family(out, "postern_build_info", "gauge", "1; the label says what was built.");
    add_labelled(out, "postern_build_info", "version", POSTERN_VERSION, 1);
    add_state(out, view);
    add_single(out, "postern_daemon_streams_active", "gauge", "Streams open now in the whole daemon.",
               counter_get(&counters->active));
    add_single(out, "postern_daemon_streams_limit", "gauge", "limits.max_streams.",
               view->config->max_streams);
    add_single(out, "postern_body_memory_bytes", "gauge", "Memory of bodies that are gathered to be signed.",
               view->body_memory);
    add_single(out, "postern_body_memory_limit_bytes", "gauge", "limits.body_memory.",
               view->config->body_memory);
    add_family(out, "postern_config_reloads_total", "counter", "Reloads of the configuration, by result.");
    add_labelled(out, "postern_config_reloads_total", "result", "accepted",
                 counter_get(&counters->reloads_ok));
    add_labelled(out, "postern_config_reloads_total", "result", "refused",
                 counter_get(&counters->reloads_failed));
    add_single(out, "postern_config_last_reload_successful", "gauge",
               "1 if the last reload, or the start, was accepted.", counter_get(&counters->reload_last_ok));
    add_single(out, "postern_config_last_reload_timestamp_seconds", "gauge",
               "When the last reload, or the start, was tried.", counter_get(&counters->reload_time_s));
    add_single(out, "postern_event_loop_stalls_total", "counter",
               "Times that an event loop was in one turn for 100 ms or more.",
               counter_get(&counters->stalls));
    add_single(out, "postern_log_lines_dropped_total", "counter",
               "Log lines dropped because their reader did not keep up.", log_dropped());
}

static void add_process(struct text *out, const struct server_view *view)
{
    struct process_figures process;
    figures_of_process(&process);
    add_family(out, "process_cpu_seconds_total", "counter", "User and system CPU time.");
    text_add(out, "process_cpu_seconds_total");
    add_seconds(out, process.cpu_us);
    add_single(out, "process_resident_memory_bytes", "gauge", "Resident memory.", process.resident_bytes);
    add_single(out, "process_virtual_memory_bytes", "gauge", "Virtual memory.", process.virtual_bytes);
    add_single(out, "process_open_fds", "gauge", "File descriptors open now.", process.open_fds);
    add_single(out, "process_max_fds", "gauge", "File descriptors that may be open.", process.max_fds);
    add_single(out, "process_start_time_seconds", "gauge", "When the process started, in Unix time.",
               view->counters->start_time_s);
}

void metrics_write(const struct server_view *view, struct text *out)
{
    add_daemon(out, view);
    add_routes(out, view);
    add_enclaves(out, view);
    add_sessions(out, view);
    add_listeners(out, view->counters);
    add_workers(out, view);
    add_dns(out, view);
    add_upstreams(out, view);
    spool_metrics_write(view, out);
    add_process(out, view);
}
