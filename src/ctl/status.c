/* posternctl status: a page to read. --json gives the daemon's own document. */
#include "base/units.h"
#include "ctl/shown.h"
#include "ctl/view.h"
#include <inttypes.h>
#include <string.h>
#include <time.h>

/* A line for each mistake. */
static void print_indented(const struct ctl *ctl, const char *lines)
{
    while (*lines != '\0') {
        size_t length = strcspn(lines, "\n");
        fprintf(ctl->out, "         %.*s\n", (int)length, lines);
        lines += length + (lines[length] == '\n');
    }
}

static void print_reload(const struct ctl *ctl, const json_t *status)
{
    char when[32] = "never";
    struct tm tm;
    time_t seconds = (time_t)view_u64(status, "config/last_reload/time_s");
    if (seconds > 0 && localtime_r(&seconds, &tm) != NULL) {
        strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S", &tm);
    }
    bool accepted = json_is_true(view_at(status, "config/last_reload/accepted"));
    fprintf(ctl->out, "config   %s, last read %s, %s\n", view_text(status, "config/file"), when,
            accepted ? "accepted" : "REFUSED, the one before is in force:");
    if (!accepted) {
        print_indented(ctl, view_text(status, "config/last_reload/error"));
    }
}

static void print_state(const struct ctl *ctl, const json_t *status)
{
    char duration[UNITS_TEXT_MAX];
    fprintf(ctl->out, "posternd %s, %s", view_text(status, "version"), view_text(status, "state"));
    if (strcmp(view_text(status, "state"), "draining") == 0) {
        fprintf(ctl->out, " (at most %s more)",
                units_human_duration(view_u64(status, "drain_left_ms"), duration));
    }
    fprintf(ctl->out, ", up %s, pid %" PRIu64 "\n",
            units_human_duration(view_u64(status, "uptime_s") * 1000, duration),
            view_u64(status, "process/pid"));
}

static void print_resources(const struct ctl *ctl, const json_t *status)
{
    char memory[UNITS_TEXT_MAX], round_trip[UNITS_TEXT_MAX];
    size_t workers = json_array_size(view_at(status, "workers"));
    uint64_t pings = view_u64(status, "sessions/round_trip/count");
    fprintf(ctl->out, "streams  %" PRIu64 " open, at most %" PRIu64 "; %zu worker%s\n",
            view_u64(status, "streams/active"), view_u64(status, "streams/limit"), workers,
            units_plural(workers));
    fprintf(ctl->out,
            "sessions %" PRIu64 " open, at most %" PRIu64 "; round trip %s over %" PRIu64 " PING%s\n",
            view_u64(status, "sessions/active"), view_u64(status, "sessions/limit"),
            units_human_duration(view_u64(status, "sessions/round_trip/mean_us") / 1000, round_trip), pings,
            units_plural(pings));
    fprintf(ctl->out, "memory   %s resident; %" PRIu64 " of %" PRIu64 " file descriptors\n",
            units_human_size(view_u64(status, "process/resident_bytes"), memory),
            view_u64(status, "process/open_fds"), view_u64(status, "process/max_fds"));
    fprintf(ctl->out,
            "dns      %" PRIu64 " queries, %" PRIu64 " from the cache, %" PRIu64 " past their time, %" PRIu64
            " failed\n",
            view_u64(status, "dns/queries"), view_u64(status, "dns/cache_hits"),
            view_u64(status, "dns/stale_answers"),
            view_u64(status, "dns/failed") + view_u64(status, "dns/timeouts") +
                view_u64(status, "dns/not_found"));
}

/* What the log lacks is nowhere in it until its reader is back. */
static void print_log(const struct ctl *ctl, uint64_t dropped)
{
    if (dropped > 0) {
        fprintf(ctl->out, "log      %" PRIu64 " line%s dropped: its reader is too slow\n", dropped,
                units_plural(dropped));
    }
}

/* Whose deliveries wait for their upstream. */
static void print_held(const struct ctl *ctl, const json_t *routes)
{
    const char *before = "; HELD: ";
    size_t i;
    json_t *route;
    json_array_foreach(routes, i, route)
    {
        if (json_is_true(json_object_get(route, "held"))) {
            fprintf(ctl->out, "%s%s", before, view_text(route, "route"));
            before = ", ";
        }
    }
}

/* One line, and only where there is a spool. */
static void print_spool(const struct ctl *ctl, const json_t *spool)
{
    char held[UNITS_TEXT_MAX], most[UNITS_TEXT_MAX], age[UNITS_TEXT_MAX];
    if (!json_is_object(spool)) {
        return;
    }
    if (!json_is_true(view_at(spool, "open"))) {
        fprintf(ctl->out, "spool    NOT OPEN: %s\n", view_text(spool, "error"));
        return;
    }
    fprintf(ctl->out,
            "spool    %" PRIu64 " ready, %" PRIu64 " waiting, %" PRIu64 " dead, %" PRIu64
            " damaged; oldest %s; %s of %s%s%s",
            view_u64(spool, "records/ready"), view_u64(spool, "records/waiting"),
            view_u64(spool, "records/dead"), view_u64(spool, "records/damaged"),
            units_human_duration(view_u64(spool, "oldest_age_s") * 1000, age),
            units_human_size(view_sum(view_at(spool, "bytes")), held),
            units_human_size(view_u64(spool, "max_bytes"), most),
            json_is_true(view_at(spool, "health/good")) ? "" : "; FAILING: ",
            view_text(spool, "health/error"));
    print_held(ctl, view_at(spool, "routes"));
    fputc('\n', ctl->out);
}

static const char *number(uint64_t value, char buffer[VIEW_CELL_MAX])
{
    snprintf(buffer, VIEW_CELL_MAX, "%" PRIu64, value);
    return buffer;
}

static const char *name_of(const json_t *entry, char buffer[VIEW_CELL_MAX + 32])
{
    const json_t *configured = json_object_get(entry, "configured");
    bool removed = json_is_false(configured) && strcmp(view_text(entry, "name"), "-") != 0;
    snprintf(buffer, VIEW_CELL_MAX + 32, "%s%s", view_text(entry, "name"), removed ? " (removed)" : "");
    return buffer;
}

static int print_routes(const struct ctl *ctl, const json_t *routes)
{
    static const struct view_column columns[] = {{"ROUTE", false}, {"TO", false}, {"ACTIVE", true},
                                                 {"OPENED", true}, {"IN", true},  {"OUT", true}};
    struct view_table table;
    size_t i;
    json_t *route;
    view_table_init(&table, columns, ARRAY_SIZE(columns));
    json_array_foreach(routes, i, route)
    {
        char name[VIEW_CELL_MAX + 32], active[VIEW_CELL_MAX], opened[VIEW_CELL_MAX];
        char in[UNITS_TEXT_MAX], out[UNITS_TEXT_MAX];
        const char *cells[] = {
            name_of(route, name),
            view_text(route, "to"),
            view_of_limit(view_u64(route, "active"), view_u64(route, "limit"), active),
            number(view_u64(route, "opened"), opened),
            units_human_size(view_u64(route, "bytes_in"), in),
            units_human_size(view_u64(route, "bytes_out"), out),
        };
        view_table_add(&table, cells);
    }
    int r = view_table_print(&table, ctl->out);
    view_table_release(&table);
    return r;
}

/* Of the routes that forward requests, if there are any. */
static int print_requests(const struct ctl *ctl, const json_t *routes)
{
    static const struct view_column columns[] = {{"ROUTE", false}, {"REQUESTS", true},  {"2XX", true},
                                                 {"KEPT", true},   {"BODIES IN", true}, {"OUT", true},
                                                 {"MEAN", true}};
    struct view_table table;
    size_t i, rows = 0;
    json_t *route;
    int r = 0;
    view_table_init(&table, columns, ARRAY_SIZE(columns));
    json_array_foreach(routes, i, route)
    {
        const json_t *requests = json_object_get(route, "requests");
        char name[VIEW_CELL_MAX + 32], all[VIEW_CELL_MAX], good[VIEW_CELL_MAX], kept[VIEW_CELL_MAX];
        char in[UNITS_TEXT_MAX], out[UNITS_TEXT_MAX], mean[UNITS_TEXT_MAX];
        const char *cells[] = {
            name_of(route, name),
            number(view_sum(view_at(requests, "outcomes")), all),
            number(view_u64(requests, "outcomes/2xx"), good),
            number(view_u64(requests, "outcomes/kept"), kept),
            units_human_size(view_u64(requests, "body_in"), in),
            units_human_size(view_u64(requests, "body_out"), out),
            units_human_duration(view_u64(requests, "duration/mean_us") / 1000, mean),
        };
        if (json_is_object(requests)) {
            view_table_add(&table, cells);
            rows++;
        }
    }
    if (rows > 0) {
        fputc('\n', ctl->out);
        r = view_table_print(&table, ctl->out);
    }
    view_table_release(&table);
    return r;
}

static int print_enclaves(const struct ctl *ctl, const json_t *enclaves)
{
    static const struct view_column columns[] = {{"ENCLAVE", false}, {"CID", true},    {"SESSIONS", true},
                                                 {"ACTIVE", true},   {"OPENED", true}, {"REFUSED", true},
                                                 {"IN", true},       {"OUT", true}};
    struct view_table table;
    size_t i;
    json_t *enclave;
    view_table_init(&table, columns, ARRAY_SIZE(columns));
    json_array_foreach(enclaves, i, enclave)
    {
        char name[VIEW_CELL_MAX + 32], cid[VIEW_CELL_MAX], active[VIEW_CELL_MAX], opened[VIEW_CELL_MAX];
        char sessions[VIEW_CELL_MAX], refused[VIEW_CELL_MAX], in[UNITS_TEXT_MAX], out[UNITS_TEXT_MAX];
        const char *cells[] = {
            name_of(enclave, name),
            json_object_get(enclave, "cid") != NULL ? number(view_u64(enclave, "cid"), cid) : "-",
            view_of_limit(view_u64(enclave, "sessions_active"), view_u64(enclave, "sessions_limit"),
                          sessions),
            view_of_limit(view_u64(enclave, "active"), view_u64(enclave, "limit"), active),
            number(view_u64(enclave, "opened"), opened),
            number(view_u64(enclave, "refused"), refused),
            units_human_size(view_u64(enclave, "bytes_in"), in),
            units_human_size(view_u64(enclave, "bytes_out"), out),
        };
        view_table_add(&table, cells);
    }
    int r = view_table_print(&table, ctl->out);
    view_table_release(&table);
    return r;
}

static int print_listeners(const struct ctl *ctl, const json_t *listeners)
{
    static const struct view_column columns[] = {{"LISTENER", false}, {"LISTEN", false}, {"ROUTE", false},
                                                 {"ACCEPTED", true},  {"REFUSED", true}, {"ERRORS", true}};
    struct view_table table;
    size_t i;
    json_t *listener;
    view_table_init(&table, columns, ARRAY_SIZE(columns));
    json_array_foreach(listeners, i, listener)
    {
        char name[VIEW_CELL_MAX + 32], accepted[VIEW_CELL_MAX], refused[VIEW_CELL_MAX], errors[VIEW_CELL_MAX];
        const char *cells[] = {
            name_of(listener, name),
            view_text(listener, "listen"),
            strcmp(view_text(listener, "protocol"), "framed") == 0 ? "(framed)"
                                                                   : view_text(listener, "route"),
            number(view_u64(listener, "accepted"), accepted),
            number(view_u64(listener, "refused"), refused),
            number(view_u64(listener, "accept_errors"), errors),
        };
        view_table_add(&table, cells);
    }
    int r = view_table_print(&table, ctl->out);
    view_table_release(&table);
    return r;
}

/* A row for each of the words but those two that are nothing to look at. Returns how many. */
static size_t add_ends(struct view_table *table, const char *what, const json_t *counts, const char *good,
                       const char *other)
{
    size_t rows = 0;
    json_t *count;
    const char *word;
    json_object_foreach((json_t *)counts, word, count)
    {
        char times[VIEW_CELL_MAX];
        const char *cells[] = {what, word, number(view_u64(count, ""), times)};
        if (strcmp(word, good) != 0 && strcmp(word, other) != 0) {
            view_table_add(table, cells);
            rows++;
        }
    }
    return rows;
}

/* Sessions that did not simply end, and streams that they did not get, if there were any. */
static int print_sessions(const struct ctl *ctl, const json_t *status)
{
    static const struct view_column columns[] = {{"SESSIONS", false}, {"CODE", false}, {"TIMES", true}};
    struct view_table table;
    int r = 0;
    view_table_init(&table, columns, ARRAY_SIZE(columns));
    size_t rows = add_ends(&table, "ended", view_at(status, "sessions/ended"), "no_error", "");
    rows += add_ends(&table, "open refused", view_at(status, "sessions/opens_refused"), "", "");
    if (rows > 0) {
        fputc('\n', ctl->out);
        r = view_table_print(&table, ctl->out);
    }
    view_table_release(&table);
    return r;
}

/* Streams that did not simply finish, if there were any. */
static int print_ends(const struct ctl *ctl, const json_t *routes)
{
    static const struct view_column columns[] = {{"ROUTE", false}, {"ENDED", false}, {"STREAMS", true}};
    struct view_table table;
    size_t i, rows = 0;
    json_t *route;
    int r = 0;
    view_table_init(&table, columns, ARRAY_SIZE(columns));
    json_array_foreach(routes, i, route)
    {
        rows += add_ends(&table, view_text(route, "name"), json_object_get(route, "ended"), "finished", "");
    }
    if (rows > 0) {
        fputc('\n', ctl->out);
        r = view_table_print(&table, ctl->out);
        fputs("\n`posternctl explain CODE` tells what such an end means.\n", ctl->out);
    }
    view_table_release(&table);
    return r;
}

/* Requests that were neither simply answered nor kept, if there were any. */
static int print_outcomes(const struct ctl *ctl, const json_t *routes)
{
    static const struct view_column columns[] = {{"ROUTE", false}, {"OUTCOME", false}, {"REQUESTS", true}};
    struct view_table table;
    size_t i, rows = 0;
    json_t *route;
    int r = 0;
    view_table_init(&table, columns, ARRAY_SIZE(columns));
    json_array_foreach(routes, i, route)
    {
        rows +=
            add_ends(&table, view_text(route, "name"), view_at(route, "requests/outcomes"), "2xx", "kept");
    }
    if (rows > 0) {
        fputc('\n', ctl->out);
        r = view_table_print(&table, ctl->out);
    }
    view_table_release(&table);
    return r;
}

static int print_page(const struct ctl *ctl, const json_t *status)
{
    int failed = 0;
    print_state(ctl, status);
    print_reload(ctl, status);
    print_resources(ctl, status);
    print_log(ctl, view_u64(status, "process/log_lines_dropped"));
    print_spool(ctl, view_at(status, "spool"));
    fputc('\n', ctl->out);
    failed |= print_routes(ctl, view_at(status, "routes"));
    failed |= print_requests(ctl, view_at(status, "routes"));
    fputc('\n', ctl->out);
    failed |= print_enclaves(ctl, view_at(status, "enclaves"));
    fputc('\n', ctl->out);
    failed |= print_listeners(ctl, view_at(status, "listeners"));
    failed |= print_sessions(ctl, status);
    failed |= print_outcomes(ctl, view_at(status, "routes"));
    failed |= print_ends(ctl, view_at(status, "routes"));
    return failed == 0 ? CTL_DONE : ctl_failed(ctl, "out of memory");
}

int ctl_status(struct ctl *ctl, int argc, char **argv)
{
    struct error err = ERROR_INIT;
    json_t *status;
    int code;
    if (ctl_no_arguments(ctl, argc, argv, &code) != 0) {
        return code;
    }
    if (view_fetch(ctl, &status, &err) != 0) {
        return ctl_failed(ctl, err.text);
    }
    if (ctl->json) {
        return ctl_print_json(ctl, status);
    }
    code = shown_make(status) == 0 ? print_page(ctl, status) : ctl_failed(ctl, "out of memory");
    json_decref(status);
    return code;
}
