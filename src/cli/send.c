/* postern send: one HTTP request to a route, and its answer. The command line; see send.h. */
#include "cli/send.h"

#include "session/control.h"
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#define LEAST_MS 1000u
#define MOST_MS  (7u * 86400000u)
#define IDLE_MS  300000u

static const struct option options[] = {
    {"method", required_argument, NULL, 'X'},
    {"header", required_argument, NULL, 'H'},
    {"data", required_argument, NULL, 'd'},
    {"include", no_argument, NULL, 'i'},
    {"quiet", no_argument, NULL, 'q'},
    {"timeout", required_argument, NULL, 't'},
    {"idle-timeout", required_argument, NULL, 'I'},
    {NULL, 0, NULL, 0},
};

/* "name: value" is cut in two where it stands. */
static int add_header(struct send *send, char *text)
{
    char *colon = strchr(text, ':');
    size_t count = send->request_options.header_count;
    if (colon == NULL || colon == text) {
        return cli_usage_error(send->cli, "-H \"%s\": `name: value` is expected", text);
    }
    if (count == SEND_HEADERS_MAX) {
        return cli_usage_error(send->cli, "-H: there are more than %d headers", SEND_HEADERS_MAX);
    }
    *colon = '\0';
    send->headers[count] = (struct postern_header){.name = text, .value = colon + 1};
    send->request_options.header_count++;
    return CLI_DONE;
}

static bool read_option(struct send *send, int option, const char **data, int *ret_code)
{
    switch (option) {
    case 'X':
        send->request_options.method = optarg;
        return true;
    case 'H':
        *ret_code = add_header(send, optarg);
        return *ret_code == CLI_DONE;
    case 'd':
        *data = optarg;
        return true;
    case 'i':
        send->include = true;
        return true;
    case 'q':
        send->quiet = true;
        return true;
    case 't':
        return cli_duration(send->cli, "--timeout", optarg, LEAST_MS, MOST_MS, &send->timeout_ms, ret_code);
    default:
        return cli_duration(send->cli, "--idle-timeout", optarg, LEAST_MS, MOST_MS, &send->idle_ms, ret_code);
    }
}

static bool read_options(struct send *send, struct cli *cli, int argc, char **argv, const char **data,
                         int *ret_code)
{
    int option;
    while ((option = cli_next_option(cli, argc, argv, "X:H:d:iqt:", options, ret_code)) >= 0) {
        if (!read_option(send, option, data, ret_code)) {
            return false;
        }
    }
    return option == CLI_OPTIONS_END;
}

static bool read_arguments(struct send *send, int argc, char **argv, int *ret_code)
{
    if (argc < 1 || argc > 2) {
        *ret_code =
            cli_usage_error(send->cli, "one ROUTE is expected, and maybe a PATH, such as `postern send "
                                       "reports /2026/7 --data @report.json`");
        return false;
    }
    send->route = argv[0];
    send->request_options.path = argc > 1 ? argv[1] : NULL;
    if (send->route[0] == '\0' || !control_printable(control_text(send->route)) ||
        control_text(send->route).length > CONTROL_ROUTE_MAX) {
        *ret_code =
            cli_usage_error(send->cli, "\"%s\": a route's name is up to %u printable ASCII characters",
                            send->route, CONTROL_ROUTE_MAX);
        return false;
    }
    return true;
}

/* As if it had not been caught. */
static void end_by(int number)
{
    signal(number, SIG_DFL);
    raise(number);
}

static int run(struct send *send, const char *data)
{
    struct error err = ERROR_INIT;
    int r = send_body_open(&send->body, data, &err);
    if (r != 0) {
        return cli_failed(send->cli, "%s", err.text);
    }
    send->request_options.method = send_method(send);
    send->request_options.body_length = send->body.size;
    send->sent_all = send->body.size == 0;
    if (!send->quiet) {
        progress_init(&send->progress, send->cli->err, cli_now_ms());
    }
    r = send_exchange(send, &err);
    send_body_close(&send->body);
    if (r == -EINVAL) {
        return cli_usage_error(send->cli, "%s", err.text);
    }
    return r == 0 ? send->code : cli_failed(send->cli, "%s", err.text);
}

int cli_send(struct cli *cli, int argc, char **argv)
{
    struct addr to;
    const char *data = NULL;
    int code = CLI_DONE;
    struct send *send = calloc(1, sizeof *send);
    if (send == NULL) {
        return cli_failed(cli, "out of memory");
    }
    send->cli = cli;
    send->idle_ms = IDLE_MS;
    postern_request_options_init(&send->request_options);
    send->request_options.headers = send->headers;
    if (read_options(send, cli, argc, argv, &data, &code) && cli_address(cli, &to, &code) &&
        read_arguments(send, argc - optind, argv + optind, &code)) {
        code = run(send, data);
    }
    int number = send->signal;
    free(send);
    if (number != 0) {
        end_by(number);
    }
    return code;
}
