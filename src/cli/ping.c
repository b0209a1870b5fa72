/* postern ping: round trips through a session, as ping(8) has them. */
#include "cli/cli.h"
#include "cli/link.h"
#include "cli/why.h"
#include <errno.h>

#define HOUR_MS    3600000u
#define LEAST_MS   10
#define GOODBYE_MS 1000

static const struct option options[] = {
    {"count", required_argument, NULL, 'c'},
    {"interval", required_argument, NULL, 'i'},
    {"timeout", required_argument, NULL, 'W'},
    {NULL, 0, NULL, 0},
};

struct ping {
    const struct cli *cli;
    struct addr to;
    uint64_t count; /* 0: until interrupted */
    uint64_t interval_ms, timeout_ms;
    struct cli_loop loop;
    struct cli_link link;
    struct cli_timer timer; /* of the next one, or of the patience for an answer */
    uint64_t begun_ms, sent_ms;
    uint64_t sent, answered;
    uint64_t least_us, most_us;
    uint64_t sum_us;
    bool over;
    int code;
};

static double ms(uint64_t us)
{
    return (double)us / 1000;
}

static void say_statistics(const struct ping *ping)
{
    FILE *out = ping->cli->out;
    char address[ADDR_TEXT_MAX];
    fprintf(out, "\n--- %s ---\n%ju sent, %ju answered, %ju%% lost, %ju ms\n",
            addr_format(&ping->to, address), (uintmax_t)ping->sent, (uintmax_t)ping->answered,
            (uintmax_t)((ping->sent - ping->answered) * 100 / ping->sent),
            (uintmax_t)(cli_now_ms() - ping->begun_ms));
    if (ping->answered > 0) {
        fprintf(out, "round trip min/avg/max = %.3f/%.3f/%.3f ms\n", ms(ping->least_us),
                ms(ping->sum_us / ping->answered), ms(ping->most_us));
    }
}

static void on_link_over(struct cli_link *link)
{
    cli_loop_stop(link->loop);
}

static void finish(struct ping *ping, int code)
{
    if (ping->over) {
        return;
    }
    ping->over = true;
    ping->code = code;
    cli_timer_stop(&ping->timer);
    if (ping->sent > 0) {
        say_statistics(ping);
    }
    cli_link_drain(&ping->link, GOODBYE_MS, on_link_over);
}

static void on_no_answer(struct cli_timer *timer)
{
    struct ping *ping = CONTAINER_OF(timer, struct ping, timer);
    char address[ADDR_TEXT_MAX];
    cli_say(
        ping->cli,
        "no answer from %s within %ju ms: see that the daemon, or the machine, is not overloaded or stopped",
        addr_format(&ping->to, address), (uintmax_t)ping->timeout_ms);
    finish(ping, CLI_FAILED);
}

static void send_one(struct ping *ping)
{
    if (!connection_ping(ping->link.connection)) {
        return; /* the session has gone just now, and `down` will say so */
    }
    ping->sent++;
    ping->sent_ms = cli_now_ms();
    cli_timer_start(&ping->loop, &ping->timer, ping->sent_ms + ping->timeout_ms, on_no_answer);
    cli_link_touch(&ping->link);
}

static void on_next(struct cli_timer *timer)
{
    send_one(CONTAINER_OF(timer, struct ping, timer));
}

static void on_pong(struct connection *connection, uint64_t us)
{
    struct ping *ping = connection_user(connection);
    char address[ADDR_TEXT_MAX];
    if (ping->over) {
        return;
    }
    ping->answered++;
    ping->least_us = ping->answered == 1 || us < ping->least_us ? us : ping->least_us;
    ping->most_us = us > ping->most_us ? us : ping->most_us;
    ping->sum_us += us;
    fprintf(ping->cli->out, "answer from %s: seq=%ju time=%.3f ms\n", addr_format(&ping->to, address),
            (uintmax_t)ping->answered, ms(us));
    if (fflush(ping->cli->out) != 0) {
        cli_say(ping->cli, "cannot write the output: %m");
        finish(ping, CLI_FAILED);
    } else if (ping->answered == ping->count) {
        finish(ping, CLI_DONE);
    } else {
        cli_timer_start(&ping->loop, &ping->timer, ping->sent_ms + ping->interval_ms, on_next);
    }
}

/* Also for what the streams of a session would be told: it may be told again after a limit. */
static void on_ready(struct connection *connection)
{
    struct ping *ping = connection_user(connection);
    if (ping->sent == 0 && !ping->over) {
        ping->begun_ms = cli_now_ms();
        send_one(ping);
    }
}

static void on_down(struct connection *connection, const struct connection_loss *loss)
{
    struct ping *ping = connection_user(connection);
    if (!ping->over) {
        cli_say(ping->cli, "%s", loss->message);
        finish(ping, CLI_FAILED);
    }
}

static void on_signal(struct cli_loop *loop, int signal UNUSED)
{
    struct ping *ping = CONTAINER_OF(loop, struct ping, loop);
    if (ping->over) {
        cli_loop_stop(loop);
    }
    finish(ping, ping->answered > 0 ? CLI_DONE : CLI_FAILED);
}

static int run(struct ping *ping, struct error *err)
{
    struct connection_config config;
    struct connection_events events = {.ready = on_ready, .down = on_down, .pong = on_pong};
    connection_config_default(&config);
    config.session.max_streams = 0;
    config.session.build = "postern " POSTERN_VERSION;
    config.session.ping_interval = HOUR_MS; /* the session's own would take the place of one of ours */
    config.connect_timeout = (uint32_t)ping->timeout_ms;
    int r = cli_link_init(&ping->link, &ping->loop, &ping->to, &config, &events, ping, err);
    if (r == 0) {
        r = cli_loop_signals(&ping->loop, on_signal, err);
    }
    if (r != 0) {
        return r;
    }
    connection_connect(ping->link.connection);
    cli_link_touch(&ping->link);
    r = cli_loop_run(&ping->loop);
    return r == 0 ? 0 : error_errno(err, r, "cannot wait for an answer");
}

static bool parse(struct cli *cli, int argc, char **argv, struct ping *ret, int *ret_code)
{
    int option;
    while ((option = cli_next_option(cli, argc, argv, "c:i:W:", options, ret_code)) > 0) {
        bool good =
            option == 'c'
                ? cli_number(cli, "--count", optarg, 1, UINT32_MAX, &ret->count, ret_code)
                : cli_duration(cli, option == 'i' ? "--interval" : "--timeout", optarg, LEAST_MS, HOUR_MS,
                               option == 'i' ? &ret->interval_ms : &ret->timeout_ms, ret_code);
        if (!good) {
            return false;
        }
    }
    if (option == CLI_OPTIONS_STOP) {
        return false;
    }
    if (optind < argc) {
        *ret_code = cli_usage_error(cli, "ping takes no arguments, but got \"%s\"", argv[optind]);
        return false;
    }
    return cli_address(cli, &ret->to, ret_code);
}

int cli_ping(struct cli *cli, int argc, char **argv)
{
    struct ping ping = {.cli = cli, .interval_ms = 1000, .timeout_ms = 10000, .code = CLI_DONE};
    struct error err = ERROR_INIT;
    int code = CLI_DONE;
    if (!parse(cli, argc, argv, &ping, &code)) {
        return code;
    }
    int r = cli_loop_init(&ping.loop, &err);
    if (r == 0) {
        r = run(&ping, &err);
    }
    cli_link_release(&ping.link);
    cli_loop_release(&ping.loop);
    return r == 0 ? ping.code : cli_failed(cli, "%s", err.text);
}
