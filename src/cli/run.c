/*
 * postern run: an enclave's init. From the command line to the app, and from its end to the machine's.
 *
 * What is made is released in release(), in the opposite order; each of the parts knows whether it was made. The app's exit
 * status is ours, but where the machine ends with us, and nobody is left to be told.
 */
#include "cli/run.h"

#include "init/machine.h"
#include "nsm/nsm.h"
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#define ROUTE_MAX    255
#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

enum { CONFIG = 1, SET };

static const struct option options[] = {
    {"config", required_argument, NULL, CONFIG},
    {"set", required_argument, NULL, SET},
    {NULL, 0, NULL, 0},
};

/* ---- What is told ---- */

/* A pipe that is ready takes a line as short as ours whole, so that init never waits for whoever reads it. */
static bool takes_a_line(int fd)
{
    struct pollfd wanted = {.fd = fd, .events = POLLOUT};

    return poll(&wanted, 1, 0) > 0 && (wanted.revents & POLLOUT) != 0;
}

/* In one piece, so that lines of the app's do not come between. What standard error does not take is lost. */
static void on_console(void *user UNUSED, const char *text)
{
    char line[TELL_MAX + 16];
    int length = snprintf(line, sizeof line, "postern: %s\n", text);

    if (takes_a_line(STDERR_FILENO)) {
        ssize_t ignored = write(STDERR_FILENO, line, (size_t)length);

        (void)ignored;
    }
}

static void on_told(void *user, const char *text)
{
    struct run *run = user;

    on_console(NULL, text);
    if (run->has_log) {
        run_log_own(&run->log, text);
    }
}

/* What the listeners note comes as whole lines, since the stream has a buffer of lines, and with the name that is told
 * anyway. */
static ssize_t on_note(void *cookie, const char *text, size_t length)
{
    static const char name[] = "postern: ";
    struct run *run = cookie;
    size_t begin = length >= sizeof name - 1 && !memcmp(text, name, sizeof name - 1) ? sizeof name - 1 : 0;
    size_t end = length > begin && text[length - 1] == '\n' ? length - 1 : length;

    tell(&run->told, "%.*s", (int)(end - begin), text + begin);
    return (ssize_t)length;
}

/* ---- Settings ---- */

static int check_route(const char *name, struct error *err)
{
    size_t length = strlen(name);

    if (length > ROUTE_MAX) {
        return error_set(err, -EINVAL, "a route's name has at most %d bytes", ROUTE_MAX);
    }
    for (size_t i = 0; i < length; i++) {
        if (name[i] <= 0x20 || name[i] == 0x7f) {
            return error_set(err, -EINVAL, "a route's name is of printable ASCII, without blanks");
        }
    }
    return 0;
}

static int check_address(const char *text, struct addr *ret, struct error *err)
{
    int code = addr_parse(text, ret, err);

    if (code == 0 && ret->cid_by_name) {
        code = error_set(err, -EINVAL, "%s names an enclave: here a CID is a number, parent or local", text);
    }
    return code;
}

static int check(const char *key, const char *value, struct error *err)
{
    struct addr at;
    const char *route;

    if (!strcmp(key, "connect")) {
        return check_address(value, &at, err);
    }
    if (!strcmp(key, "listen")) {
        int code = door_parse(value, &at, &route, err);

        return code < 0 ? code : check_route(route, err);
    }
    return !strcmp(key, "log") || !strcmp(key, "time") ? check_route(value, err) : 0;
}

/* Tells all mistakes; true if there are none. */
static bool no_mistakes(const struct cli *cli, struct diags *diags)
{
    struct text text = TEXT_INIT;
    bool none = diags->total == 0;

    diags_format(diags, &text);
    fputs(text_string(&text), cli->err);
    text_release(&text);
    return none;
}

static bool read_config(const struct cli *cli, struct settings *settings, const char *path)
{
    struct diags diags;
    struct error err = ERROR_INIT;
    bool good;
    int code;

    diags_init(&diags, path);
    code = settings_read(settings, path, &diags, &err);
    good = no_mistakes(cli, &diags);
    diags_release(&diags);
    if (code < 0 && code != -EINVAL) {
        cli_failed(cli, "%s", err.text);
    }
    return good && code == 0;
}

/* As it was given: settings_set() cuts it to pieces. */
static bool read_set(const struct cli *cli, struct settings *settings, char *set, unsigned number)
{
    struct diags diags;
    struct text shown = TEXT_INIT;
    bool good;

    text_add_shown(&shown, set, strlen(set));
    diags_init(&diags, "--set");
    settings_set(settings, set, number, &diags);
    good = diags.total == 0;
    for (size_t i = 0; i < diags.count; i++) {
        fprintf(cli->err, "postern: --set \"%s\": %s\n", text_string(&shown), diags.list[i].message);
    }
    diags_release(&diags);
    text_release(&shown);
    return good;
}

static bool read_sets(const struct cli *cli, struct settings *settings, char **sets, unsigned count)
{
    bool good = true;

    settings_again(settings);
    for (unsigned i = 0; i < count; i++) {
        good = read_set(cli, settings, sets[i], i + 1) && good;
    }
    if (!good) {
        fputs("try `postern run --help`\n", cli->err);
    }
    return good;
}

/* The command line, the file, and what came by --set on top of it. Returns whether to go on; else *ret_code is set. */
static bool read_all(struct cli *cli, int argc, char **argv, struct run *run, int *ret_code)
{
    const char *config = NULL;
    char *sets[SETTINGS_LIST_MAX];
    unsigned count = 0;
    int option;

    while ((option = cli_next_option(cli, argc, argv, "+", options, ret_code)) > 0) {
        if (option == CONFIG) {
            config = optarg;
        } else if (count == ARRAY_SIZE(sets)) {
            *ret_code = cli_usage_error(cli, "--set may be given %zu times", ARRAY_SIZE(sets));
            return false;
        } else {
            sets[count++] = optarg;
        }
    }
    if (option == CLI_OPTIONS_STOP) {
        return false;
    }
    if (optind >= argc) {
        *ret_code = cli_usage_error(cli, "the program to run is missing");
        return false;
    }
    run->argv = argv + optind;
    if (config && !read_config(cli, &run->settings, config)) {
        *ret_code = CLI_FAILED;
        return false;
    }
    *ret_code = CLI_USAGE;
    return read_sets(cli, &run->settings, sets, count);
}

/* What the settings say comes before the environment, and what the command line says before both. */
static bool find_daemon(struct cli *cli, struct run *run, int *ret_code)
{
    if (run->settings.connect && !cli->address_given) {
        cli->address = run->settings.connect;
    }
    return cli_address(cli, &run->to, ret_code);
}

/* ---- The parts ---- */

static int make_wire(struct run *run, struct error *err)
{
    static const struct run_wire_times times = RUN_WIRE_TIMES;
    int code;

    if (!run->settings.log && !run->settings.time) {
        return 0;
    }
    code = run_wire_init(&run->wire, &run->loop, &run->to, &times, &run->console, err);
    if (code < 0) {
        return code;
    }
    run->has_wire = true;
    if (run->settings.log) {
        code = run_log_init(&run->log, &run->wire, run->settings.log, run->settings.log_buffer, &run->console,
                            err);
        run->has_log = code == 0;
    }
    return code;
}

static int make_service(struct run *run, struct error *err)
{
    cookie_io_functions_t notes = {.write = on_note};
    struct service_options how;
    int code;

    if (run->settings.listen.count == 0) {
        return 0;
    }
    run->notes_out = fopencookie(run, "w", notes);
    if (!run->notes_out || setvbuf(run->notes_out, NULL, _IOLBF, TELL_MAX) != 0) {
        return error_set(err, -ENOMEM, "out of memory");
    }
    notes_init(&run->notes, run->notes_out, "postern: ");
    service_options_default(&how);
    how.to = run->to;
    run->serves = true; /* to be released, whatever service_init() says */
    code = service_init(&run->service, &how, &run->loop, &run->notes, err);
    if (code == 0) {
        code = service_listen(&run->service, (char *const *)run->settings.listen.items,
                              run->settings.listen.count, err);
    }
    if (code == 0) {
        service_start(&run->service);
    }
    return code;
}

static int make(struct run *run, struct error *err)
{
    int code = cli_loop_init(&run->loop, err);

    code = code < 0 ? code : run_watch_signals(run, err);
    code = code < 0 ? code : make_wire(run, err);
    return code < 0 ? code : make_service(run, err);
}

static void release(struct run *run)
{
    cli_timer_stop(&run->patience);
    cli_task_cancel(&run->loop, &run->start);
    run_clock_stop(&run->clock);
    if (run->serves) {
        service_release(&run->service);
    }
    run->has_log = false; /* nothing more is told to it */
    run_log_release(&run->log);
    run_wire_release(&run->wire);
    run_unwatch_signals(run);
    cli_loop_release(&run->loop);
    if (run->notes_out) {
        fclose(run->notes_out);
    }
}

/* ---- From beginning to end ---- */

static void set_environment(const struct run *run)
{
    setenv("PATH", DEFAULT_PATH, 0);
    for (size_t i = 0; i < run->settings.env.count; i++) {
        putenv((char *)
                   run->settings.env.items[i]); /* the text is the settings', which outlive the app's start */
    }
}

/* An enclave's clock is ours to set. Any other machine's has somebody who does. */
static void choose_clock(struct run *run)
{
    bool enclave = run->place.machine || run->place.nsm;

    if (run->settings.clock == SETTINGS_CLOCK_AUTO) {
        run->settings.clock = enclave ? SETTINGS_CLOCK_SET : SETTINGS_CLOCK_WATCH;
    }
}

/* Returns the app's status, or why there was no app. */
static int run_all(struct run *run)
{
    struct error err = ERROR_INIT;
    int code;

    run->child.status = CLI_FAILED;
    if (run_boot(&run->settings, &run->place, &run->told) < 0) {
        return CLI_FAILED;
    }
    /* Orphans are ours to reap, whoever we are. */
    if (!run->place.first && prctl(PR_SET_CHILD_SUBREAPER, 1) < 0) {
        tell(&run->told, "orphans of the app's will not be reaped: %m");
    }
    set_environment(run);
    choose_clock(run);
    run_clock_init(&run->clock, &run->settings, run->place.nsm, &run->told);
    code = make(run, &err);
    if (code == 0) {
        run_begin(run);
        code = cli_loop_run(&run->loop);
        if (code < 0) {
            error_errno(&err, code, "cannot wait for what happens");
        }
    }
    if (code < 0) {
        tell(&run->console, "%s", err.text);
    }
    release(run);
    return run->child.status;
}

/* Where the machine is ours it is ended as nitro-cli's own init does it: the enclave is gone then. */
static void end_machine(const struct run *run)
{
    uint32_t end = run->settings.end;
    struct error err = ERROR_INIT;

    if (end == SETTINGS_END_AUTO) {
        end = run->place.machine ? SETTINGS_END_REBOOT : SETTINGS_END_EXIT;
    }
    if (end != SETTINGS_END_EXIT) {
        machine_end(end == SETTINGS_END_POWEROFF, &err);
        tell(&run->console, "%s", err.text);
    }
}

int cli_run_app(struct cli *cli, int argc, char **argv)
{
    struct run *run = calloc(1, sizeof *run); /* its buffers are more than a stack should hold */
    int code;

    if (!run) {
        return cli_failed(cli, "out of memory");
    }
    run->console = (struct tell){.line = on_console};
    run->told = (struct tell){.line = on_told, .user = run};
    run->signals.fd = -1;
    run_keep_signals(run);
    settings_init(&run->settings, check);
    if (read_all(cli, argc, argv, run, &code) && find_daemon(cli, run, &code)) {
        signal(SIGPIPE, SIG_IGN);
        code = run_all(run);
        nsm_close(run->place.nsm);
        end_machine(run);
    }
    settings_release(&run->settings);
    free(run);
    return code;
}
