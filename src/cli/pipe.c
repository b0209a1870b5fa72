/*
 * postern pipe: one stream as standard input and output.
 *
 * Happy path: connected -> opened -> both ends said -> the session is ended -> exit 0. Everything else ends in finish() too, with
 * a text: no session, a refusal, a reset, a loss, an error of standard input or output. A signal is not caught: the
 * connection breaks off, and the daemon cuts the stream.
 */
#include "cli/cli.h"
#include "cli/link.h"
#include "cli/stdio_end.h"
#include "cli/tunnel.h"
#include "cli/why.h"
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define GOODBYE_MS 5000
#define MEMORY     (16u << 20) /* the most that is held for a reader that is slow */

struct pipe {
    const struct cli *cli;
    const char *route;
    struct cli_loop loop;
    struct cli_link link;
    struct tunnel tunnel;
    struct stdio_end in, out;
    struct cli_watch in_watch, out_watch;
    struct cli_task leave;
    int code;
};

static struct pipe *of(struct tunnel *tunnel)
{
    return CONTAINER_OF(tunnel, struct pipe, tunnel);
}

/* ---- The two ends ---- */

static ssize_t read_input(struct tunnel *tunnel, void *buffer, size_t size)
{
    struct pipe *pipe = of(tunnel);
    ssize_t n = stdio_end_read(&pipe->in, buffer, size);
    if (n < 0 && n != -EAGAIN) {
        cli_say(pipe->cli, "cannot read standard input: %s", error_words((int)n));
    }
    return n;
}

static ssize_t write_output(struct tunnel *tunnel, const void *bytes, size_t size)
{
    struct pipe *pipe = of(tunnel);
    ssize_t n = stdio_end_write(&pipe->out, bytes, size);
    if (n < 0 && n != -EAGAIN) {
        cli_say(pipe->cli, "cannot write to standard output: %s", error_words((int)n));
        tunnel_fail(tunnel,
                    (int)n); /* nobody waits for the answer: what is still to be sent is not, either */
    }
    return n;
}

static void finish_output(struct tunnel *tunnel)
{
    struct pipe *pipe = of(tunnel);
    cli_loop_remove(&pipe->loop, &pipe->out_watch);
    stdio_end_close(&pipe->out, true);
}

static void on_input(struct cli_watch *watch, uint32_t events UNUSED)
{
    struct pipe *pipe = CONTAINER_OF(watch, struct pipe, in_watch);
    tunnel_readable(&pipe->tunnel);
    cli_link_touch(&pipe->link);
}

static void on_output(struct cli_watch *watch, uint32_t events)
{
    struct pipe *pipe = CONTAINER_OF(watch, struct pipe, out_watch);
    if (pipe->tunnel.end == TUNNEL_RUNS && (events & EPOLLERR) != 0 && pipe->out.kind != STDIO_SOCKET) {
        cli_say(pipe->cli, "cannot write to standard output: nobody reads it any more");
        tunnel_fail(&pipe->tunnel, -EPIPE);
    } else {
        tunnel_writable(&pipe->tunnel);
    }
    cli_link_touch(&pipe->link);
}

/* What cannot be watched is always ready, and never says -EAGAIN. */
static int watch_end(struct pipe *pipe, struct cli_watch *watch, const struct stdio_end *end, uint32_t events,
                     void (*ready)(struct cli_watch *, uint32_t))
{
    int r = cli_loop_add(&pipe->loop, watch, end->fd, events | EPOLLET, ready);
    return r == -EPERM ? 0 : r;
}

/* ---- The stream ---- */

static void on_link_over(struct cli_link *link)
{
    cli_loop_stop(link->loop);
}

/* Out of the session's own turn: the stream may be released only here. */
static void on_leave(struct cli_task *task)
{
    struct pipe *pipe = CONTAINER_OF(task, struct pipe, leave);
    cli_loop_remove(&pipe->loop, &pipe->in_watch);
    cli_loop_remove(&pipe->loop, &pipe->out_watch);
    tunnel_release(&pipe->tunnel);
    cli_link_drain(&pipe->link, GOODBYE_MS, on_link_over);
}

static void finish(struct pipe *pipe, int code)
{
    pipe->code = code;
    cli_task_queue(&pipe->loop, &pipe->leave, on_leave);
}

static int say_end(const struct pipe *pipe)
{
    const struct tunnel *tunnel = &pipe->tunnel;
    char text[ERROR_TEXT_MAX];
    switch (tunnel->end) {
    case TUNNEL_FINISHED:
        if (!tunnel->stopped) {
            return CLI_DONE;
        }
        return cli_failed(pipe->cli, "route %s took only a part of standard input: %s", pipe->route,
                          why_format(tunnel->stop_code, NULL, text));
    case TUNNEL_CUT:
    case TUNNEL_LOST:
        return cli_failed(pipe->cli, "route %s: the stream was cut: %s", pipe->route,
                          why_format(tunnel->code, NULL, text));
    case TUNNEL_LOCAL_FAILED:
        if (tunnel->status == -ENOMEM) {
            return cli_failed(pipe->cli, "route %s: out of memory", pipe->route);
        }
        return CLI_FAILED; /* it was said where it happened */
    default:
        return CLI_FAILED;
    }
}

static void on_over(struct tunnel *tunnel)
{
    struct pipe *pipe = of(tunnel);
    finish(pipe, say_end(pipe));
}

static void on_refused(struct tunnel *tunnel, const struct control_refused *refused)
{
    const struct pipe *pipe = of(tunnel);
    char said[CONTROL_MESSAGE_MAX + 1];
    char text[ERROR_TEXT_MAX];
    snprintf(said, sizeof said, "%.*s", (int)refused->message.length,
             refused->message.data != NULL ? refused->message.data : "");
    cli_say(pipe->cli, "route %s: refused, %s", pipe->route, why_format(refused->code, said, text));
}

static const struct tunnel_ops tunnel_ops = {
    .read = read_input,
    .write = write_output,
    .finish = finish_output,
    .over = on_over,
    .refused = on_refused,
};

/* ---- The session ---- */

static int open_stream(struct pipe *pipe)
{
    struct control_open open = {.route = control_text(pipe->route)};
    struct channel *channel;
    int r = connection_open(pipe->link.connection, &open, &pipe->tunnel, &channel);
    if (r == 0) {
        tunnel_open(&pipe->tunnel, channel);
    }
    return r;
}

static void on_ready(struct connection *connection)
{
    struct pipe *pipe = connection_user(connection);
    if (pipe->tunnel.channel != NULL || pipe->tunnel.end != TUNNEL_RUNS) {
        return;
    }
    int r = open_stream(pipe);
    if (r != 0) {
        cli_say(pipe->cli, "route %s: cannot open a stream: %s", pipe->route,
                r == -EAGAIN ? "the daemon allows none" : error_words(r));
        tunnel_fail(&pipe->tunnel, r);
    }
}

/* Of a stream that there was, its own end has told already; but which rule was broken, and by whom, this alone knows. */
static void on_down(struct connection *connection, const struct connection_loss *loss)
{
    struct pipe *pipe = connection_user(connection);
    const struct tunnel *tunnel = &pipe->tunnel;
    if (tunnel->channel == NULL && tunnel->end == TUNNEL_RUNS) {
        cli_say(pipe->cli, "%s", loss->message);
        tunnel_fail(&pipe->tunnel, loss->status);
    } else if (tunnel->end == TUNNEL_LOST && tunnel->code == loss->code && loss->code != CODE_LOST) {
        cli_say(pipe->cli, "%s", loss->message);
    }
}

static int connect_link(struct pipe *pipe, const struct addr *to, struct error *err)
{
    struct connection_config config;
    struct connection_events events = {.channel = tunnel_events, .ready = on_ready, .down = on_down};
    connection_config_default(&config);
    config.session.max_streams = 0;
    config.session.max_own_streams = 1;
    config.session.budget = MEMORY;
    config.session.half_closed_timeout = 0; /* the daemon's route knows better what its service may take */
    config.session.build = "postern " POSTERN_VERSION;
    return cli_link_init(&pipe->link, &pipe->loop, to, &config, &events, pipe, err);
}

static int carry(struct pipe *pipe, const struct addr *to, struct error *err)
{
    int r = connect_link(pipe, to, err);
    if (r != 0) {
        return r;
    }
    r = watch_end(pipe, &pipe->in_watch, &pipe->in, EPOLLIN | EPOLLRDHUP, on_input);
    if (r == 0) {
        r = watch_end(pipe, &pipe->out_watch, &pipe->out, EPOLLOUT, on_output);
    }
    if (r != 0) {
        return error_errno(err, r, "cannot watch standard input and output");
    }
    connection_connect(pipe->link.connection);
    cli_link_touch(&pipe->link);
    r = cli_loop_run(&pipe->loop);
    return r == 0 ? 0 : error_errno(err, r, "cannot wait for the session");
}

static int run(struct pipe *pipe, const struct addr *to)
{
    struct error err = ERROR_INIT;
    pipe->in_watch.fd = pipe->out_watch.fd = -1;
    tunnel_init(&pipe->tunnel, &tunnel_ops);
    int r = cli_loop_init(&pipe->loop, &err);
    if (r == 0) {
        stdio_end_open(&pipe->in, STDIN_FILENO, false);
        stdio_end_open(&pipe->out, STDOUT_FILENO, true);
        r = carry(pipe, to, &err);
        tunnel_release(&pipe->tunnel);
        cli_link_release(&pipe->link);
        stdio_end_close(&pipe->in, false);
        stdio_end_close(&pipe->out, true);
    }
    cli_loop_release(&pipe->loop);
    return r == 0 ? pipe->code : cli_failed(pipe->cli, "%s", err.text);
}

int cli_pipe(struct cli *cli, int argc, char **argv)
{
    struct pipe pipe = {.cli = cli, .code = CLI_DONE};
    struct addr to;
    int code = CLI_DONE;
    if (cli_next_option(cli, argc, argv, "", NULL, &code) == CLI_OPTIONS_STOP ||
        !cli_address(cli, &to, &code)) {
        return code;
    }
    if (argc - optind != 1) {
        return cli_usage_error(cli, "one ROUTE is expected, such as `postern pipe kms`");
    }
    pipe.route = argv[optind];
    if (pipe.route[0] == '\0' || !control_printable(control_text(pipe.route)) ||
        control_text(pipe.route).length > CONTROL_ROUTE_MAX) {
        return cli_usage_error(cli, "\"%s\": a route's name is up to %u printable ASCII characters",
                               pipe.route, CONTROL_ROUTE_MAX);
    }
    return run(&pipe, &to);
}
