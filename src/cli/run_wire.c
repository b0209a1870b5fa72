/* A session and streams that come back: see run_wire.h. */
#include "cli/run_wire.h"

#include "cli/why.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define BUDGET      (64u << 10) /* what comes in are answers of the clock's, and nothing else */
#define STREAMS_MAX 8u

static struct run_stream *of(struct tunnel *tunnel)
{
    return CONTAINER_OF(tunnel, struct run_stream, tunnel);
}

/* ---- A stream ---- */

static ssize_t on_read(struct tunnel *tunnel, void *buffer, size_t size)
{
    struct run_stream *stream = of(tunnel);

    return stream->opened ? stream->ops->read(stream, buffer, size) : -EAGAIN;
}

static ssize_t on_write(struct tunnel *tunnel, const void *bytes, size_t size)
{
    struct run_stream *stream = of(tunnel);
    ssize_t taken = stream->ops->write(stream, bytes, size);

    /* What came is not what was expected: there is no use in saying more, either. */
    if (taken < 0 && taken != -EAGAIN) {
        tunnel_fail(tunnel, (int)taken);
    }
    return taken;
}

static void on_finish(struct tunnel *tunnel)
{
    struct run_stream *stream = of(tunnel);

    if (stream->ops->finish) {
        stream->ops->finish(stream);
        tunnel_readable(tunnel);
    }
}

static void on_refused(struct tunnel *tunnel, const struct control_refused *refused)
{
    struct run_stream *stream = of(tunnel);

    snprintf(stream->words, sizeof stream->words, "%.*s", (int)refused->message.length,
             refused->message.data ? refused->message.data : "");
}

static void on_opened(struct channel *channel)
{
    struct run_stream *stream = of(channel_user(channel));

    stream->opened = true;
    if (stream->ops->opened) {
        stream->ops->opened(stream);
    }
    tunnel_readable(&stream->tunnel);
}

/* Why it is over, in words; NULL: it was finished. */
static const char *why_over(const struct run_stream *stream, char text[ERROR_TEXT_MAX])
{
    const struct tunnel *tunnel = &stream->tunnel;

    switch (tunnel->end) {
    case TUNNEL_FINISHED:
        return tunnel->stopped ? why_format(tunnel->stop_code, NULL, text) : NULL;
    case TUNNEL_LOCAL_FAILED:
        return error_words(tunnel->status);
    default:
        return why_format(tunnel->code, stream->words, text);
    }
}

static void look_again(struct cli_timer *timer);

static void schedule(struct run_wire *wire)
{
    uint64_t at = CLI_NEVER;
    struct run_stream *stream;

    LIST_FOREACH (stream, &wire->streams, link) {
        if (stream->wanted && !stream->open && stream->not_before < at) {
            at = stream->not_before;
        }
    }
    if (at == CLI_NEVER) {
        cli_timer_stop(&wire->again);
    } else {
        cli_timer_start(wire->loop, &wire->again, at, look_again);
    }
}

static void on_leave(struct cli_task *task)
{
    struct run_stream *stream = CONTAINER_OF(task, struct run_stream, leave);
    const struct tunnel *tunnel = &stream->tunnel;
    const struct run_wire_times *times = &stream->wire->times;
    bool for_long = tunnel->end == TUNNEL_REFUSED && !tunnel->retryable;
    char text[ERROR_TEXT_MAX];
    const char *why = why_over(stream, text);

    tunnel_release(&stream->tunnel);
    stream->open = stream->opened = false;
    stream->not_before = cli_now_ms() + (for_long ? times->refused_ms : times->again_ms);
    stream->ops->over(stream, why);
    cli_link_touch(&stream->wire->link);
    schedule(stream->wire);
}

static void on_over(struct tunnel *tunnel)
{
    struct run_stream *stream = of(tunnel);

    cli_task_queue(stream->wire->loop, &stream->leave, on_leave);
}

static const struct tunnel_ops tunnel_ops = {
    .read = on_read, .write = on_write, .finish = on_finish, .over = on_over, .refused = on_refused};

static int open_channel(struct run_stream *stream)
{
    struct channel *channel;
    struct control_open open = {.route = control_text(stream->route)};
    int code;

    if (stream->name) {
        open.meta[0].key = control_text("name");
        open.meta[0].value = control_text(stream->name);
        open.meta_count = 1;
    }
    tunnel_init(&stream->tunnel, &tunnel_ops);
    code = connection_open(stream->wire->link.connection, &open, &stream->tunnel, &channel);
    if (code == 0) {
        stream->words[0] = '\0';
        stream->open = true;
        tunnel_open(&stream->tunnel, channel);
        cli_link_touch(&stream->wire->link);
    }
    return code;
}

/* -EAGAIN: `ready` will tell. What else fails may be better later. */
static void try_open(struct run_stream *stream)
{
    uint64_t now = cli_now_ms();
    int code;

    if (!stream->wanted || stream->open || stream->not_before > now) {
        return;
    }
    code = open_channel(stream);
    if (code < 0) {
        stream->not_before = code == -EAGAIN ? CLI_NEVER : now + stream->wire->times.again_ms;
    }
}

static void stop_waiting(struct run_wire *wire)
{
    struct run_stream *stream;

    LIST_FOREACH (stream, &wire->streams, link) {
        stream->not_before = stream->not_before == CLI_NEVER ? 0 : stream->not_before;
    }
}

static void open_all(struct run_wire *wire)
{
    struct run_stream *stream;

    LIST_FOREACH (stream, &wire->streams, link) {
        try_open(stream);
    }
    schedule(wire);
}

static void look_again(struct cli_timer *timer)
{
    open_all(CONTAINER_OF(timer, struct run_wire, again));
}

void run_stream_init(struct run_stream *stream, struct run_wire *wire, const struct run_stream_ops *ops,
                     const char *route, const char *name)
{
    memset(stream, 0, sizeof *stream);
    stream->wire = wire;
    stream->ops = ops;
    stream->route = route;
    stream->name = name;
    LIST_INSERT_HEAD(&wire->streams, stream, link);
}

void run_stream_wake(struct run_stream *stream)
{
    stream->wanted = true;
    if (stream->open) {
        tunnel_readable(&stream->tunnel);
        cli_link_touch(&stream->wire->link);
    } else {
        try_open(stream);
        schedule(stream->wire);
    }
}

void run_stream_fail(struct run_stream *stream, int status)
{
    tunnel_fail(&stream->tunnel, status);
    cli_link_touch(&stream->wire->link);
}

/* ---- The session ---- */

static void on_ready(struct connection *connection)
{
    struct run_wire *wire = connection_user(connection);

    if (!wire->was_up) {
        tell(wire->told, "there is a session with the daemon");
    }
    wire->was_up = true;
    wire->trouble[0] = '\0';
    stop_waiting(wire);
    open_all(wire);
}

/* Told when it is news. The connection waits between tries by itself. */
static void on_down(struct connection *connection, const struct connection_loss *loss)
{
    struct run_wire *wire = connection_user(connection);

    if (strcmp(wire->trouble, loss->message) != 0) {
        snprintf(wire->trouble, sizeof wire->trouble, "%s", loss->message);
        tell(wire->told, "there is no session with the daemon: %s", loss->message);
    }
    wire->was_up = false;
    connection_connect(connection);
}

int run_wire_init(struct run_wire *wire, struct cli_loop *loop, const struct addr *to,
                  const struct run_wire_times *times, const struct tell *told, struct error *err)
{
    struct connection_events events = {.channel = tunnel_events, .ready = on_ready, .down = on_down};
    struct connection_config config;
    int code;

    memset(wire, 0, sizeof *wire);
    wire->loop = loop;
    wire->times = *times;
    wire->told = told;
    LIST_INIT(&wire->streams);
    events.channel.opened = on_opened;
    connection_config_default(&config);
    config.backoff_min = times->redial_min_ms;
    config.backoff_max = times->redial_max_ms;
    config.session.max_streams = 0;
    config.session.max_own_streams = STREAMS_MAX;
    config.session.budget = BUDGET;
    config.session.half_closed_timeout = 0; /* a log says nothing, for as long as it lives */
    config.session.build = "postern " POSTERN_VERSION " run";
    code = cli_link_init(&wire->link, loop, to, &config, &events, wire, err);
    if (code == 0) {
        connection_connect(wire->link.connection);
        cli_link_touch(&wire->link);
    }
    return code;
}

void run_wire_drain(struct run_wire *wire, uint32_t ms, void (*over)(struct cli_link *link))
{
    wire->leaving = true;
    cli_link_drain(&wire->link, ms, over);
}

void run_wire_release(struct run_wire *wire)
{
    struct run_stream *stream;

    if (!wire->link.connection) {
        return;
    }
    LIST_FOREACH (stream, &wire->streams, link) {
        cli_task_cancel(wire->loop, &stream->leave);
        tunnel_release(&stream->tunnel);
        stream->open = stream->wanted = false;
    }
    cli_timer_stop(&wire->again);
    cli_link_release(&wire->link);
}
