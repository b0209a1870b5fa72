/* posternctl spool: what waits to be delivered, and what is to become of it. */
#include "ctl/spool.h"

#include "base/text.h"
#include "base/units.h"
#include "ctl/client.h"
#include "ctl/view.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define LIMIT_DEFAULT 1000

int spool_refused(const struct ctl *ctl, const struct client_answer *answer)
{
    const char *said = text_string(&answer->body);
    struct error err = ERROR_INIT;
    if (answer->status != 404) {
        return ctl_failed(ctl, said);
    }
    if (strstr(said, "no such page") != NULL) {
        return ctl_failed(ctl, "this daemon knows nothing of a spool: is it an older one?");
    }
    error_set(&err, 0, "%.*s: `posternctl spool list` shows those that are kept", (int)strcspn(said, "\n"),
              said);
    return ctl_failed(ctl, err.text);
}

/* Asks the daemon. Returns 0 with a reference in *ret, or CTL_FAILED after telling why. */
static int ask_daemon(const struct ctl *ctl, const char *method, const char *target, json_t **ret)
{
    struct client_answer answer;
    struct error err = ERROR_INIT;
    json_error_t mistake;
    int code = CTL_FAILED;
    *ret = NULL;
    client_time_ms = SPOOL_ASK_MS;
    if (client_ask(ctl->socket, method, target, &answer, &err) != 0) {
        code = ctl_failed(ctl, err.text);
    } else if (answer.status != 200) {
        code = spool_refused(ctl, &answer);
    } else {
        *ret = json_loadb(text_string(&answer.body), answer.body.length, 0, &mistake);
        code =
            *ret != NULL ? CTL_DONE : ctl_failed(ctl, "the daemon's answer is not JSON, or memory ran out");
    }
    text_release(&answer.body);
    return code;
}

/* Fetches, and shows by `show`, or as it is under --json. */
static int fetch(const struct ctl *ctl, const char *target, int (*show)(const struct ctl *, json_t *))
{
    json_t *answer;
    int code = ask_daemon(ctl, "GET", target, &answer);
    if (code != CTL_DONE) {
        return code;
    }
    if (ctl->json) {
        return ctl_print_json(ctl, answer);
    }
    code = show(ctl, answer);
    json_decref(answer);
    return code;
}

static bool is_number(const char *text)
{
    size_t length = strlen(text);
    return length > 0 && length < 20 && strspn(text, "0123456789") == length && text[0] != '0';
}

static bool is_word(const char *text)
{
    return strlen(text) <= 255 && strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789_-") == strlen(text) &&
           text[0] != '\0';
}

static bool is_state(const char *text)
{
    static const char *const states[] = {"ready", "waiting", "dead", "damaged"};
    bool found = false;
    for (size_t i = 0; i < sizeof states / sizeof *states; i++) {
        found = found || strcmp(text, states[i]) == 0;
    }
    return found;
}

/* ---- Routes ---- */

static int tell_no_route(const struct ctl *ctl, const char *name, const json_t *routes)
{
    struct text names = TEXT_INIT;
    size_t i;
    json_t *route;
    json_array_foreach(routes, i, route)
    {
        /* What could not be given here either was forged on the disk, and may do things to a terminal. */
        if (is_word(view_text(route, "route"))) {
            text_addf(&names, "%s%s", names.length > 0 ? ", " : "", view_text(route, "route"));
        }
    }
    int code = ctl_usage_error(ctl, "--route is \"%s\", but of the spool are only: %s", name,
                               names.length > 0 ? text_string(&names) : "none");
    text_release(&names);
    return code;
}

/* A mistyped name would be nothing but a route without records. Those that the configuration has no more are known, too. */
static int check_route(const struct ctl *ctl, const char *name)
{
    json_t *stats, *route;
    size_t i;
    int code = name != NULL ? ask_daemon(ctl, "GET", "/spool/stats", &stats) : CTL_DONE;
    if (name == NULL || code != CTL_DONE) {
        return code;
    }
    const json_t *routes = json_object_get(stats, "routes");
    bool known = !json_is_array(routes); /* the spool is not open, which is told by what is asked next */
    json_array_foreach(routes, i, route)
    {
        known = known || strcmp(view_text(route, "route"), name) == 0;
    }
    code = known ? CTL_DONE : tell_no_route(ctl, name, routes);
    json_decref(stats);
    return code;
}

/* ---- Lists ---- */

static void list_target(const struct spool_args *args, uint64_t after, struct text *out)
{
    text_addf(out, "/spool/list?after=%" PRIu64, after);
    if (args->route != NULL) {
        text_addf(out, "&route=%s", args->route);
    }
    if (args->state != NULL) {
        text_addf(out, "&state=%s", args->state);
    }
}

/* One page more. Returns 0 or an exit code. */
static int add_page(const struct ctl *ctl, const struct spool_args *args, json_t *records, uint64_t *after)
{
    struct text target = TEXT_INIT;
    json_t *page;
    list_target(args, *after, &target);
    int code = ask_daemon(ctl, "GET", text_string(&target), &page);
    text_release(&target);
    if (code != CTL_DONE) {
        return code;
    }
    *after = (uint64_t)json_integer_value(json_object_get(page, "next"));
    if (json_array_extend(records, json_object_get(page, "records")) != 0) {
        code = ctl_failed(ctl, "out of memory");
    }
    json_decref(page);
    return code;
}

static void tell_nothing(const struct ctl *ctl, const struct spool_args *args)
{
    bool both = args->route != NULL && args->state != NULL;
    if (args->route == NULL && args->state == NULL) {
        fputs("nothing is kept\n", ctl->err);
        return;
    }
    fprintf(ctl->err, "nothing of what is kept is %s%s%s%s\n", args->route != NULL ? "of route " : "",
            args->route != NULL ? args->route : "", both ? " and " : "",
            args->state != NULL ? args->state : "");
}

static int show_list(const struct ctl *ctl, const struct spool_args *args, const json_t *records, bool more)
{
    int code = CTL_DONE;
    if (json_array_size(records) > 0) {
        code = spool_show_list(ctl, records);
    } else {
        tell_nothing(ctl, args);
    }
    if (more) {
        fprintf(ctl->err, "there are more; --limit NUMBER shows more of them\n");
    }
    return code;
}

static int list(const struct ctl *ctl, const struct spool_args *args)
{
    json_t *records = json_array();
    uint64_t after = 0;
    int code = CTL_DONE;
    do {
        code = add_page(ctl, args, records, &after);
    } while (code == CTL_DONE && after != 0 && json_array_size(records) < args->limit);
    while (json_array_size(records) > args->limit) {
        (void)json_array_remove(records, json_array_size(records) - 1);
        after = 1;
    }
    if (code == CTL_DONE && ctl->json) {
        return ctl_print_json(ctl, json_pack("{s:o, s:b}", "records", records, "more", after != 0));
    }
    if (code == CTL_DONE) {
        code = show_list(ctl, args, records, after != 0);
    }
    json_decref(records);
    return code;
}

/* ---- One record, or many ---- */

static int show_record(const struct ctl *ctl, json_t *record)
{
    spool_show_record(ctl, record);
    return CTL_DONE;
}

static int show(const struct ctl *ctl, const char *id)
{
    char target[64];
    snprintf(target, sizeof target, "/spool/show?id=%s", id);
    return fetch(ctl, target, show_record);
}

static int tell_changed(const struct ctl *ctl, const char *command, json_t *answer)
{
    if (ctl->json) {
        return ctl_print_json(ctl, answer);
    }
    uint64_t changed = view_u64(answer, "changed");
    fprintf(ctl->out, "%" PRIu64 " record%s %s\n", changed, units_plural(changed),
            strcmp(command, "drop") == 0 ? "removed" : "ready to be delivered");
    json_decref(answer);
    return CTL_DONE;
}

static int alter_all(const struct ctl *ctl, const char *command, const struct spool_args *args)
{
    struct text target = TEXT_INIT;
    json_t *answer;
    text_addf(&target, "/spool/%s?all=yes", command);
    if (args->route != NULL) {
        text_addf(&target, "&route=%s", args->route);
    }
    if (args->state != NULL) {
        text_addf(&target, "&state=%s", args->state);
    }
    int code = ask_daemon(ctl, "POST", text_string(&target), &answer);
    text_release(&target);
    return code == CTL_DONE ? tell_changed(ctl, command, answer) : code;
}

static int alter_one(const struct ctl *ctl, const char *command, const char *id)
{
    char target[64];
    json_t *answer;
    snprintf(target, sizeof target, "/spool/%s?id=%s", command, id);
    int code = ask_daemon(ctl, "POST", target, &answer);
    return code == CTL_DONE ? tell_changed(ctl, command, answer) : code;
}

static int verify(const struct ctl *ctl)
{
    char size[UNITS_TEXT_MAX];
    json_t *answer;
    int code = ask_daemon(ctl, "POST", "/spool/verify", &answer);
    if (code != CTL_DONE) {
        return code;
    }
    json_int_t damaged = json_integer_value(json_object_get(answer, "damaged"));
    bool mended = json_is_true(json_object_get(answer, "gauges_mended"));
    if (ctl->json) {
        code = ctl_print_json(ctl, answer);
    } else {
        fprintf(ctl->out, "%" JSON_INTEGER_FORMAT " records, %s: %" JSON_INTEGER_FORMAT " damaged%s\n",
                json_integer_value(json_object_get(answer, "records")),
                units_human_size((uint64_t)json_integer_value(json_object_get(answer, "bytes")), size),
                damaged, mended ? "; the gauges were wrong, and are right now" : "");
        json_decref(answer);
    }
    return damaged > 0 ? CTL_FAILED : code;
}

/* ---- The command line ---- */

static bool wants_id(const char *command, const struct spool_args *args)
{
    return strcmp(command, "show") == 0 || strcmp(command, "export") == 0 ||
           ((strcmp(command, "retry") == 0 || strcmp(command, "drop") == 0) && !args->all);
}

static int run_plain(struct ctl *ctl, const char *command, const struct spool_args *args)
{
    if (strcmp(command, "list") == 0 || args->all) {
        int code = check_route(ctl, args->route);
        return code != CTL_DONE ? code : args->all ? alter_all(ctl, command, args) : list(ctl, args);
    }
    if (strcmp(command, "stats") == 0) {
        return fetch(ctl, "/spool/stats", spool_show_stats);
    }
    if (strcmp(command, "verify") == 0) {
        return verify(ctl);
    }
    if (strcmp(command, "set-aside") == 0) {
        return spool_put_aside(ctl, args->path);
    }
    return ctl_usage_error(ctl, "spool has no command \"%s\"", command);
}

static int run_one(struct ctl *ctl, const char *command, const char *id, const char *file)
{
    if (strcmp(command, "show") == 0) {
        return show(ctl, id);
    }
    return strcmp(command, "export") == 0 ? spool_export(ctl, id, file) : alter_one(ctl, command, id);
}

static int take_option(struct ctl *ctl, int option, struct spool_args *args)
{
    switch (option) {
    case 'r':
        args->route = optarg;
        return is_word(optarg) ? 0
                               : ctl_usage_error(ctl, "--route is \"%s\", which is no route's name", optarg);
    case 's':
        args->state = optarg;
        return is_state(optarg)
                   ? 0
                   : ctl_usage_error(ctl, "--state is \"%s\", and should be ready, waiting, dead or damaged",
                                     optarg);
    case 'l':
        args->limit = is_number(optarg) ? strtoull(optarg, NULL, 10) : 0;
        return args->limit > 0
                   ? 0
                   : ctl_usage_error(ctl, "--limit is \"%s\", and should be a number from 1 on", optarg);
    case 'p':
        args->path = optarg;
        return 0;
    default:
        args->all = true;
        return 0;
    }
}

static bool is_alteration(const char *command)
{
    return strcmp(command, "retry") == 0 || strcmp(command, "drop") == 0;
}

static int check_words(struct ctl *ctl, const struct spool_args *args, int count, int most, char **words)
{
    const char *command = words[0];
    if (count < most && is_alteration(command)) {
        return ctl_usage_error(ctl, "spool %s: say which record by its id, or --all", command);
    }
    if (count < most) {
        return ctl_usage_error(ctl, "spool %s needs %s", command, most == 3 ? "an id and a file" : "an id");
    }
    if (count > most) {
        return ctl_usage_error(ctl, "spool %s does not take \"%s\"", command, words[most]);
    }
    if (args->all && !is_alteration(command)) {
        return ctl_usage_error(ctl, "--all is for retry and drop");
    }
    if (args->route == NULL && args->state == NULL) {
        return CTL_DONE;
    }
    if (!is_alteration(command) && strcmp(command, "list") != 0) {
        return ctl_usage_error(ctl, "--route and --state are for list, retry and drop");
    }
    return most == 1 ? CTL_DONE
                     : ctl_usage_error(ctl, "an id names one record: --route and --state go with --all");
}

static int run(struct ctl *ctl, const struct spool_args *args, int count, char **words)
{
    const char *command = words[0];
    int most = strcmp(command, "export") == 0 ? 3 : wants_id(command, args) ? 2 : 1;
    int code = check_words(ctl, args, count, most, words);
    if (code != CTL_DONE || most == 1) {
        return code != CTL_DONE ? code : run_plain(ctl, command, args);
    }
    if (!is_number(words[1])) {
        return ctl_usage_error(ctl, "\"%s\" is no record's id, which is a number", words[1]);
    }
    return run_one(ctl, command, words[1], most == 3 ? words[2] : NULL);
}

int ctl_spool(struct ctl *ctl, int argc, char **argv)
{
    static const struct option options[] = {{"route", required_argument, NULL, 'r'},
                                            {"state", required_argument, NULL, 's'},
                                            {"limit", required_argument, NULL, 'l'},
                                            {"path", required_argument, NULL, 'p'},
                                            {"all", no_argument, NULL, 'a'},
                                            {NULL, 0, NULL, 0}};
    struct spool_args args = {.limit = LIMIT_DEFAULT};
    int code, option;
    while ((option = ctl_next_option(ctl, argc, argv, options, &code)) > 0) {
        code = take_option(ctl, option, &args);
        if (code != 0) {
            return code;
        }
    }
    if (option == CTL_OPTIONS_STOP) {
        return code;
    }
    if (optind >= argc) {
        return ctl_usage_error(
            ctl, "say what of the spool: list, show, retry, drop, verify, export, stats or set-aside");
    }
    return run(ctl, &args, argc - optind, argv + optind);
}
