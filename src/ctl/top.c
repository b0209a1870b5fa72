/* posternctl top: what streams do now, from the difference between two looks at the status. */
#include "ctl/top.h"
#include "base/units.h"
#include "ctl/dial.h"
#include "ctl/shown.h"
#include "ctl/view.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

uint64_t top_rate(uint64_t before, uint64_t after, uint64_t elapsed_ms)
{
    if (after <= before || elapsed_ms == 0) {
        return 0;
    }
    return (uint64_t)((double)(after - before) * 1000.0 / (double)elapsed_ms + 0.5);
}

/* The entry of the same name; NULL if it is new. The lists are in the same order, so it is mostly at
 * `hint`. */
static const json_t *entry_before(const json_t *list, const char *name, size_t hint)
{
    size_t count = json_array_size(list);
    for (size_t i = 0; i < count; i++) {
        const json_t *entry = json_array_get(list, (hint + i) % count);
        if (strcmp(view_text(entry, "name"), name) == 0) {
            return entry;
        }
    }
    return NULL;
}

static json_int_t rate_of(const json_t *before, const json_t *after, const char *member, uint64_t elapsed_ms)
{
    return (json_int_t)top_rate(view_u64(before, member), view_u64(after, member), elapsed_ms);
}

static uint64_t requests_of(const json_t *entry)
{
    return view_sum(view_at(entry, "requests/outcomes"));
}

/* Of a new entry, all of it is new. */
static json_int_t request_rate(const json_t *before, const json_t *after, uint64_t elapsed_ms)
{
    return (json_int_t)top_rate(requests_of(before), requests_of(after), elapsed_ms);
}

static json_t *rates_of_list(const json_t *before, const json_t *after, uint64_t elapsed_ms)
{
    size_t i;
    json_t *entry, *rates = json_array();
    json_array_foreach(after, i, entry)
    {
        const char *name = view_text(entry, "name");
        const json_t *old = entry_before(before, name, i);
        json_t *rate =
            json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "name", name, "active",
                      (json_int_t)view_u64(entry, "active"), "limit", (json_int_t)view_u64(entry, "limit"),
                      "sessions", (json_int_t)view_u64(entry, "sessions_active"), "streams_per_s",
                      rate_of(old, entry, "opened", elapsed_ms), "requests_per_s",
                      request_rate(old, entry, elapsed_ms), "bytes_in_per_s",
                      rate_of(old, entry, "bytes_in", elapsed_ms), "bytes_out_per_s",
                      rate_of(old, entry, "bytes_out", elapsed_ms));
        if (json_array_append_new(rates, rate) != 0) {
            json_decref(rates);
            return NULL;
        }
    }
    return rates;
}

/* null where there is no spool. */
static json_t *rates_of_spool(const json_t *before, const json_t *after, uint64_t elapsed_ms)
{
    if (!json_is_true(view_at(after, "open"))) {
        return json_null();
    }
    uint64_t depth = view_u64(after, "records/ready") + view_u64(after, "records/waiting");
    return json_pack("{s:I, s:I, s:I, s:I}", "records", (json_int_t)depth, "oldest_age_s",
                     (json_int_t)view_u64(after, "oldest_age_s"), "accepted_per_s",
                     rate_of(before, after, "accepted", elapsed_ms), "delivered_per_s",
                     rate_of(before, after, "delivered", elapsed_ms));
}

json_t *top_rates(const json_t *before, const json_t *after, uint64_t elapsed_ms)
{
    return json_pack("{s:I, s:o, s:o, s:o}", "elapsed_ms", (json_int_t)elapsed_ms, "routes",
                     rates_of_list(view_at(before, "routes"), view_at(after, "routes"), elapsed_ms),
                     "enclaves",
                     rates_of_list(view_at(before, "enclaves"), view_at(after, "enclaves"), elapsed_ms),
                     "spool", rates_of_spool(view_at(before, "spool"), view_at(after, "spool"), elapsed_ms));
}

static const char *per_second(const json_t *rate, const char *member, char buffer[VIEW_CELL_MAX])
{
    char size[UNITS_TEXT_MAX];
    snprintf(buffer, VIEW_CELL_MAX, "%s/s", units_human_size(view_u64(rate, member), size));
    return buffer;
}

/* The last column is of enclaves their sessions, of routes the requests that they forward. */
static int print_list(const char *title, const json_t *rates, bool sessions, FILE *out)
{
    struct view_column columns[] = {{title, false},    {"ACTIVE", true},
                                    {"STREAMS", true}, {"IN", true},
                                    {"OUT", true},     {sessions ? "SESSIONS" : "REQUESTS", true}};
    struct view_table table;
    size_t i;
    json_t *rate;
    view_table_init(&table, columns, ARRAY_SIZE(columns));
    json_array_foreach(rates, i, rate)
    {
        char active[VIEW_CELL_MAX], streams[VIEW_CELL_MAX], in[VIEW_CELL_MAX], sent[VIEW_CELL_MAX];
        char held[VIEW_CELL_MAX];
        snprintf(held, sizeof held, "%" PRIu64 "%s", view_u64(rate, sessions ? "sessions" : "requests_per_s"),
                 sessions ? "" : "/s");
        snprintf(streams, sizeof streams, "%" PRIu64 "/s", view_u64(rate, "streams_per_s"));
        const char *cells[] = {
            view_text(rate, "name"),
            view_of_limit(view_u64(rate, "active"), view_u64(rate, "limit"), active),
            streams,
            per_second(rate, "bytes_in_per_s", in),
            per_second(rate, "bytes_out_per_s", sent),
            held,
        };
        view_table_add(&table, cells);
    }
    int r = view_table_print(&table, out);
    view_table_release(&table);
    return r;
}

static void print_spool(const json_t *rates, FILE *out)
{
    char age[UNITS_TEXT_MAX];
    if (json_is_object(rates)) {
        fprintf(out,
                "spool %" PRIu64 " to be delivered, oldest %s   %" PRIu64 "/s kept   %" PRIu64
                "/s delivered\n",
                view_u64(rates, "records"), units_human_duration(view_u64(rates, "oldest_age_s") * 1000, age),
                view_u64(rates, "accepted_per_s"), view_u64(rates, "delivered_per_s"));
    }
}

/* 0 or -ENOMEM. */
static int write_page(const json_t *status, const json_t *rates, FILE *out)
{
    char memory[UNITS_TEXT_MAX];
    fprintf(out,
            "posternd %s, %s   streams %" PRIu64 "/%" PRIu64 "   sessions %" PRIu64
            "   memory %s   descriptors %" PRIu64 "/%" PRIu64 "\n",
            view_text(status, "version"), view_text(status, "state"), view_u64(status, "streams/active"),
            view_u64(status, "streams/limit"), view_u64(status, "sessions/active"),
            units_human_size(view_u64(status, "process/resident_bytes"), memory),
            view_u64(status, "process/open_fds"), view_u64(status, "process/max_fds"));
    print_spool(view_at(rates, "spool"), out);
    fputc('\n', out);
    int r = print_list("ROUTE", view_at(rates, "routes"), false, out);
    fputc('\n', out);
    int s = print_list("ENCLAVE", view_at(rates, "enclaves"), true, out);
    return r != 0 ? r : s;
}

/* Written over the page before without clearing it first, so that it does not flicker. */
static void print_over(const char *page, FILE *out)
{
    fputs("\033[H", out);
    for (const char *c = page; *c != '\0'; c++) {
        fputs(*c == '\n' ? "\033[K\n" : (const char[]){*c, '\0'}, out);
    }
    fputs("\033[J", out);
}

static int show_page(const struct ctl *ctl, const json_t *status, const json_t *rates, bool screen)
{
    char *page = NULL;
    size_t size = 0;
    FILE *memory = open_memstream(&page, &size);
    if (memory == NULL) {
        return -ENOMEM;
    }
    int r = write_page(status, rates, memory);
    bool whole = ferror(memory) == 0;
    if (fclose(memory) != 0 || !whole || page == NULL) {
        r = -ENOMEM;
    }
    if (r == 0 && screen) {
        print_over(page, ctl->out);
    } else if (r == 0) {
        fputs(page, ctl->out);
    }
    free(page);
    return r;
}

static int show(const struct ctl *ctl, const json_t *before, json_t *after, uint64_t elapsed_ms, bool screen)
{
    json_t *rates = top_rates(before, after, elapsed_ms);
    if (ctl->json) {
        return ctl_print_json(ctl, rates);
    }
    int r = rates != NULL ? shown_make(after) : -ENOMEM;
    r = r == 0 ? show_page(ctl, after, rates, screen) : r;
    json_decref(rates);
    return r == 0 ? CTL_DONE : ctl_failed(ctl, "out of memory");
}

static void sleep_ms(uint64_t ms)
{
    struct timespec left = {.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000};
    while (nanosleep(&left, &left) != 0 && errno == EINTR) {
    }
}

/* Goes on until it is interrupted, the daemon is gone, or nobody reads any more. */
static int watch(const struct ctl *ctl, uint64_t interval_ms, bool once)
{
    struct error err = ERROR_INIT;
    json_t *before = NULL, *after = NULL;
    bool screen = !once && isatty(fileno(ctl->out)) == 1;
    int code = view_fetch(ctl, &before, &err) == 0 ? CTL_DONE : ctl_failed(ctl, err.text);
    uint64_t taken = dial_now_ms();
    bool more = code == CTL_DONE;
    while (more) {
        sleep_ms(interval_ms);
        if (view_fetch(ctl, &after, &err) != 0) {
            code = ctl_failed(ctl, err.text);
            break;
        }
        uint64_t now = dial_now_ms();
        code = show(ctl, before, after, now - taken, screen);
        json_decref(before);
        before = after;
        taken = now;
        more = code == CTL_DONE && !once;
        if (more && fflush(ctl->out) != 0) { /* later nobody would know why */
            error_errno(&err, -errno, "cannot write the output");
            code = ctl_failed(ctl, err.text);
            clearerr(ctl->out); /* that is told */
            more = false;
        }
    }
    json_decref(before);
    return code;
}

int ctl_top(struct ctl *ctl, int argc, char **argv)
{
    static const struct option options[] = {{"once", no_argument, NULL, 'o'},
                                            {"interval", required_argument, NULL, 'i'},
                                            {NULL, 0, NULL, 0}};
    uint64_t interval_ms = 1000;
    bool once = false;
    int code, option;
    while ((option = ctl_next_option(ctl, argc, argv, options, &code)) > 0) {
        if (option == 'o') {
            once = true;
        } else if (units_parse_duration(optarg, &interval_ms) != 0 || interval_ms < 10 ||
                   interval_ms > 3600000) {
            return ctl_usage_error(ctl, "--interval is \"%s\", and should be a duration from 10ms to 1h",
                                   optarg);
        }
    }
    if (option == CTL_OPTIONS_STOP) {
        return code;
    }
    if (optind < argc) {
        return ctl_usage_error(ctl, "top takes no arguments, but got \"%s\"", argv[optind]);
    }
    return watch(ctl, interval_ms, once);
}
