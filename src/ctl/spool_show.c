/* How the spool is shown to people. */
#include "base/units.h"
#include "ctl/shown.h"
#include "ctl/spool.h"
#include "ctl/view.h"
#include <inttypes.h>
#include <string.h>
#include <time.h>

static const char *age_of(uint64_t ms, char buffer[UNITS_TEXT_MAX])
{
    uint64_t now = (uint64_t)time(NULL) * 1000;
    return units_human_duration(ms < now ? (now - ms) / 1000 * 1000 : 0, buffer);
}

static const char *due_in(uint64_t ms, char buffer[UNITS_TEXT_MAX])
{
    uint64_t now = (uint64_t)time(NULL) * 1000;
    if (ms == 0) {
        return "-";
    }
    return units_human_duration(ms > now ? (ms - now) / 1000 * 1000 : 0, buffer);
}

static const char *number(uint64_t value, char buffer[VIEW_CELL_MAX])
{
    snprintf(buffer, VIEW_CELL_MAX, "%" PRIu64, value);
    return buffer;
}

static void add_record(struct view_table *table, const json_t *record)
{
    char id[VIEW_CELL_MAX], attempts[VIEW_CELL_MAX], size[UNITS_TEXT_MAX], age[UNITS_TEXT_MAX],
        due[UNITS_TEXT_MAX];
    const char *cells[] = {
        number(view_u64(record, "id"), id),
        view_text(record, "route"),
        view_text(record, "enclave"),
        view_text(record, "state"),
        units_human_size(view_u64(record, "body_size"), size),
        age_of(view_u64(record, "created_at"), age),
        number(view_u64(record, "attempts"), attempts),
        due_in(view_u64(record, "next_at"), due),
        view_text(record, "cause"),
    };
    view_table_add(table, cells);
}

int spool_show_list(const struct ctl *ctl, const json_t *records)
{
    static const struct view_column columns[] = {{"ID", true},       {"ROUTE", false},  {"ENCLAVE", false},
                                                 {"STATE", false},   {"BODY", true},    {"AGE", true},
                                                 {"ATTEMPTS", true}, {"NEXT IN", true}, {"CAUSE", false}};
    struct view_table table;
    size_t i;
    json_t *record;
    view_table_init(&table, columns, ARRAY_SIZE(columns));
    json_array_foreach(records, i, record)
    {
        add_record(&table, record);
    }
    int r = view_table_print(&table, ctl->out);
    view_table_release(&table);
    return r == 0 ? CTL_DONE : ctl_failed(ctl, "out of memory");
}

/* A record that was forged on the disk may hold anything. */
static void print_member(const struct ctl *ctl, const json_t *record, const char *name)
{
    const char *text = view_text(record, name);
    shown_put(ctl->out, text, strlen(text));
}

static void print_field(const struct ctl *ctl, const char *label, const json_t *record, const char *name)
{
    fprintf(ctl->out, "%-10s", label);
    print_member(ctl, record, name);
    fputc('\n', ctl->out);
}

static void print_head(const struct ctl *ctl, const char *head)
{
    const char *end;
    for (; (end = strstr(head, "\r\n")) != NULL; head = end + 2) {
        shown_put(ctl->out, head, (size_t)(end - head));
        fputs("\r\n", ctl->out);
    }
    shown_put(ctl->out, head, strlen(head));
}

void spool_show_record(const struct ctl *ctl, const json_t *record)
{
    char size[UNITS_TEXT_MAX], age[UNITS_TEXT_MAX], due[UNITS_TEXT_MAX];
    fprintf(ctl->out, "record    %" PRIu64 ", ", view_u64(record, "id"));
    print_member(ctl, record, "state");
    fputc('\n', ctl->out);
    print_field(ctl, "route", record, "route");
    fputs("enclave   ", ctl->out);
    print_member(ctl, record, "enclave");
    fprintf(ctl->out, " (CID %" PRIu64 "), request ", view_u64(record, "cid"));
    print_member(ctl, record, "request_id");
    fputc('\n', ctl->out);
    print_field(ctl, "key", record, "key");
    fprintf(ctl->out, "age       %s\n", age_of(view_u64(record, "created_at"), age));
    fprintf(ctl->out, "attempts  %" PRIu64 "; the next one in %s\n", view_u64(record, "attempts"),
            due_in(view_u64(record, "next_at"), due));
    print_field(ctl, "cause", record, "cause");
    fprintf(ctl->out, "body      %s\n\n", units_human_size(view_u64(record, "body_size"), size));
    print_head(ctl, view_text(record, "head"));
}

/* ---- Figures ---- */

static const char *const states[] = {"ready", "waiting", "dead", "damaged"};

static int print_routes(const struct ctl *ctl, const json_t *routes)
{
    static const struct view_column columns[] = {{"ROUTE", false},  {"READY", true},   {"WAITING", true},
                                                 {"DEAD", true},    {"DAMAGED", true}, {"IN FLIGHT", true},
                                                 {"SIZE", true},    {"OLDEST", true},  {"ACCEPTED", true},
                                                 {"REFUSED", true}, {"FAILED", true},  {"DELIVERED", true}};
    struct view_table table;
    size_t i;
    json_t *route;
    view_table_init(&table, columns, ARRAY_SIZE(columns));
    json_array_foreach(routes, i, route)
    {
        char name[VIEW_CELL_MAX + 300], cells_of[9][VIEW_CELL_MAX], size[UNITS_TEXT_MAX], age[UNITS_TEXT_MAX];
        const char *cells[ARRAY_SIZE(columns)] = {name};
        uint64_t bytes = 0;
        bool configured = json_is_true(json_object_get(route, "configured"));
        bool held = json_is_true(json_object_get(route, "held"));
        snprintf(name, sizeof name, "%s%s", view_text(route, "route"),
                 !configured ? " (no route)"
                 : held      ? " (held)"
                             : "");
        for (unsigned state = 0; state < ARRAY_SIZE(states); state++) {
            cells[1 + state] =
                number(view_u64(json_object_get(route, "records"), states[state]), cells_of[state]);
            bytes += view_u64(json_object_get(route, "bytes"), states[state]);
        }
        cells[5] = number(view_u64(route, "in_flight"), cells_of[4]);
        cells[6] = units_human_size(bytes, size);
        cells[7] = units_human_duration(view_u64(route, "oldest_age_s") * 1000, age);
        cells[8] = number(view_u64(route, "accepted"), cells_of[5]);
        cells[9] = number(view_u64(route, "refused"), cells_of[6]);
        cells[10] = number(view_u64(route, "failed"), cells_of[7]);
        cells[11] = number(view_u64(route, "delivered"), cells_of[8]);
        view_table_add(&table, cells);
    }
    int r = view_table_print(&table, ctl->out);
    view_table_release(&table);
    return r == 0 ? CTL_DONE : ctl_failed(ctl, "out of memory");
}

/* While an upstream is down its records are ready, and still nothing goes out. */
static void tell_held(const struct ctl *ctl, const json_t *routes)
{
    size_t i;
    json_t *route;
    json_array_foreach(routes, i, route)
    {
        if (json_is_true(json_object_get(route, "held"))) {
            fprintf(ctl->out,
                    "held      %s: its upstream is down or refuses them, and is tried with one record now "
                    "and then; what does not reach it is no attempt\n",
                    view_text(route, "route"));
        }
    }
}

int spool_show_stats(const struct ctl *ctl, json_t *stats)
{
    char most[UNITS_TEXT_MAX], size[UNITS_TEXT_MAX];
    uint64_t bytes = 0;
    if (shown_make(stats) != 0) {
        return ctl_failed(ctl, "out of memory");
    }
    if (!json_is_true(json_object_get(stats, "open"))) {
        const char *error = view_text(stats, "error");
        fprintf(ctl->out, "spool     not open: %s\n",
                error[0] != '\0' ? error : "no route of the configuration has `delivery: spool`");
        return error[0] != '\0' ? CTL_FAILED : CTL_DONE;
    }
    for (unsigned state = 0; state < ARRAY_SIZE(states); state++) {
        bytes += view_u64(json_object_get(stats, "bytes"), states[state]);
    }
    fprintf(ctl->out, "spool     %s, %s of at most %s\n", view_text(stats, "path"),
            units_human_size(bytes, size), units_human_size(view_u64(stats, "max_bytes"), most));
    bool good = json_is_true(view_at(stats, "health/good"));
    const json_t *routes = json_object_get(stats, "routes");
    fprintf(ctl->out, "health    %s\n", good ? "good" : view_text(stats, "health/error"));
    tell_held(ctl, routes);
    fputc('\n', ctl->out);
    return print_routes(ctl, routes);
}
