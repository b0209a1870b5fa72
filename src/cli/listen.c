/* postern listen: local sockets for unmodified programs. */
#include "base/units.h"
#include "cli/cli.h"
#include "cli/service.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/resource.h>

enum { MAX_STREAMS = 1, MEMORY, WAIT, DRAIN_TIMEOUT, MODE };

static const struct option options[] = {
    {"max-streams", required_argument, NULL, MAX_STREAMS},
    {"memory", required_argument, NULL, MEMORY},
    {"wait", required_argument, NULL, WAIT},
    {"drain-timeout", required_argument, NULL, DRAIN_TIMEOUT},
    {"mode", required_argument, NULL, MODE},
    {NULL, 0, NULL, 0},
};

#define STREAMS_MAX 100000
#define HOUR_MS     3600000u
#define DAY_MS      86400000u
#define DRAIN_MS    30000

/* What the command is doing, for the loop's signals. */
struct listening {
    struct cli_loop loop;
    struct notes notes;
    struct service service;
    uint64_t drain_ms;
    bool draining;
    int code;
};

static bool take_mode(const struct cli *cli, struct service_options *ret, int *ret_code)
{
    char *end;
    unsigned long mode = strtoul(optarg, &end, 8);
    if (optarg[0] < '0' || optarg[0] > '7' || *end != '\0' || mode > 0777) {
        *ret_code =
            cli_usage_error(cli, "--mode \"%s\": octal digits up to 777 are expected, such as 0660", optarg);
        return false;
    }
    ret->unix_mode = (unsigned)mode;
    return true;
}

static bool take_memory(const struct cli *cli, struct service_options *ret, int *ret_code)
{
    if (units_parse_size(optarg, &ret->memory) == 0 && ret->memory >= 1u << 20 &&
        ret->memory <= UINT64_C(1) << 36) {
        return true;
    }
    *ret_code = cli_usage_error(cli, "--memory \"%s\": a size from 1MiB to 64GiB is expected", optarg);
    return false;
}

static bool take_option(const struct cli *cli, int option, struct service_options *ret,
                        uint64_t *ret_drain_ms, int *ret_code)
{
    uint64_t value;
    bool good = true;
    switch (option) {
    case MAX_STREAMS:
        good = cli_number(cli, "--max-streams", optarg, 1, STREAMS_MAX, &value, ret_code);
        ret->streams = good ? (uint32_t)value : 0;
        return good;
    case WAIT:
        good = cli_duration(cli, "--wait", optarg, 0, HOUR_MS, &value, ret_code);
        ret->wait_ms = good ? (uint32_t)value : 0;
        return good;
    case DRAIN_TIMEOUT:
        return cli_duration(cli, "--drain-timeout", optarg, 0, DAY_MS, ret_drain_ms, ret_code);
    case MEMORY:
        return take_memory(cli, ret, ret_code);
    default:
        return take_mode(cli, ret, ret_code);
    }
}

/* The whole command line is looked at before anything is done. Returns the index of the first LOCAL=ROUTE, or -1. */
static int parse(struct cli *cli, int argc, char **argv, struct service_options *ret, uint64_t *ret_drain_ms,
                 int *ret_code)
{
    struct error err = ERROR_INIT;
    struct addr at;
    const char *route;
    int option;
    while ((option = cli_next_option(cli, argc, argv, "", options, ret_code)) > 0) {
        if (!take_option(cli, option, ret, ret_drain_ms, ret_code)) {
            return -1;
        }
    }
    if (option == CLI_OPTIONS_STOP || !cli_address(cli, &ret->to, ret_code)) {
        return -1;
    }
    if (optind >= argc) {
        *ret_code = cli_usage_error(cli, "LOCAL=ROUTE is missing, such as tcp://127.0.0.1:443=kms");
        return -1;
    }
    for (int i = optind; i < argc; i++) {
        if (door_parse(argv[i], &at, &route, &err) != 0) {
            *ret_code = cli_usage_error(cli, "%s", err.text);
            return -1;
        }
    }
    if (ret->memory / SERVICE_MEMORY_MIN < ret->streams) {
        *ret_code = cli_usage_error(cli, "--memory: at least 2 KiB for each of the %u streams are needed",
                                    ret->streams);
        return -1;
    }
    return optind;
}

/* As many descriptors as the system lets us have: the usual 1024 are fewer than the streams. */
static void raise_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static void on_over(struct service *service)
{
    cli_loop_stop(service->loop);
}

/* The first one drains, the second one does not wait for that. */
static void on_signal(struct cli_loop *loop, int signal UNUSED)
{
    struct listening *listening = CONTAINER_OF(loop, struct listening, loop);
    if (listening->draining) {
        listening->code = CLI_FAILED;
        cli_loop_stop(loop);
        return;
    }
    listening->draining = true;
    notes_say(&listening->notes, "letting %u connection%s finish", listening->service.guests,
              units_plural(listening->service.guests));
    /* To the session, 0 would be for ever. */
    service_drain(&listening->service, listening->drain_ms > 0 ? (uint32_t)listening->drain_ms : 1, on_over);
}

static int serve(struct listening *listening, char **doors, size_t count, struct error *err)
{
    int r = cli_loop_signals(&listening->loop, on_signal, err);
    if (r == 0) {
        r = service_listen(&listening->service, doors, count, err);
    }
    if (r != 0) {
        return r;
    }
    service_start(&listening->service);
    r = cli_loop_run(&listening->loop);
    return r == 0 ? 0 : error_errno(err, r, "cannot wait for connections");
}

int cli_listen(struct cli *cli, int argc, char **argv)
{
    struct listening listening = {.drain_ms = DRAIN_MS, .code = CLI_DONE};
    struct service_options service_options;
    struct error err = ERROR_INIT;
    int code = CLI_DONE;
    service_options_default(&service_options);
    int first = parse(cli, argc, argv, &service_options, &listening.drain_ms, &code);
    if (first < 0) {
        return code;
    }
    raise_limit();
    notes_init(&listening.notes, cli->err, cli_prefix(cli));
    int r = cli_loop_init(&listening.loop, &err);
    if (r == 0) {
        r = service_init(&listening.service, &service_options, &listening.loop, &listening.notes, &err);
        if (r == 0) {
            r = serve(&listening, argv + first, (size_t)(argc - first), &err);
        }
        service_release(&listening.service);
    }
    cli_loop_release(&listening.loop);
    return r == 0 ? listening.code : cli_failed(cli, "%s", err.text);
}
