/* Three sources of lines, each with a stream: see run_log.h. */
#include "cli/run_log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define TURN      65536u     /* read of one pipe before others have their turn */
#define CHUNK_MAX 4096u      /* a pipe that is ready takes as much without waiting */
#define LAST_MAX  (1u << 20) /* of what is in a pipe when the app is over */

static const char *const names[RUN_LOG_SOURCES] = {"stdout", "stderr", "postern"};
static const int consoles[RUN_LOG_SOURCES] = {STDOUT_FILENO, STDERR_FILENO, -1};

static struct run_source *of(struct run_stream *stream)
{
    return CONTAINER_OF(stream, struct run_source, stream);
}

/* ---- The console ---- */

static bool takes(int fd)
{
    struct pollfd one = {.fd = fd, .events = POLLOUT};

    return poll(&one, 1, 0) == 1 && (one.revents & (POLLERR | POLLNVAL)) == 0;
}

/* Writes what it takes without waiting. Init's own lines were there before. */
static void spill(struct run_source *source)
{
    const char *next;
    size_t length;

    while ((next = lines_next(&source->lines, &length))) {
        ssize_t written = (ssize_t)length;

        if (source->console >= 0) {
            if (!takes(source->console)) {
                return;
            }
            written = write(source->console, next, length < CHUNK_MAX ? length : CHUNK_MAX);
        }
        if (written <= 0) {
            return;
        }
        lines_sent(&source->lines, (size_t)written);
    }
}

/* ---- Out ---- */

static void on_all_done(struct cli_task *task)
{
    struct run_log *log = CONTAINER_OF(task, struct run_log, tell_done);

    log->done(log);
}

static void look_for_the_end(struct run_log *log)
{
    for (size_t i = 0; i < RUN_LOG_SOURCES; i++) {
        const struct run_source *source = &log->sources[i];

        if (source->stream.open || !lines_empty(&source->lines)) {
            return;
        }
    }
    cli_task_queue(log->loop, &log->tell_done, on_all_done);
}

/* There are lines, or it is time for the last of them. */
static void move(struct run_source *source)
{
    if (source->refused) {
        spill(source);
    }
    if (source->stream.open || !lines_empty(&source->lines)) {
        run_stream_wake(&source->stream);
    }
    if (source->log->ending) {
        look_for_the_end(source->log);
    }
}

static ssize_t read_lines(struct run_stream *stream, void *buffer, size_t size)
{
    struct run_source *source = of(stream);
    bool between = source->lines.out_at == source->lines.out_length;
    const char *next;
    size_t length;

    if (source->hung_up && between) {
        return 0;
    }
    next = lines_next(&source->lines, &length);
    if (!next) {
        return source->log->ending ? 0 : -EAGAIN;
    }
    length = length < size ? length : size;
    memcpy(buffer, next, length);
    lines_sent(&source->lines, length);
    return (ssize_t)length;
}

/* A log does not answer. */
static ssize_t write_nothing(struct run_stream *stream UNUSED, const void *bytes UNUSED, size_t size)
{
    return (ssize_t)size;
}

static void on_hang_up(struct run_stream *stream)
{
    of(stream)->hung_up = true;
}

static void on_opened(struct run_stream *stream)
{
    struct run_source *source = of(stream);

    source->refused = false;
    source->trouble[0] = '\0';
}

static void tell_trouble(struct run_source *source, const char *why)
{
    if (strcmp(source->trouble, why) != 0) {
        snprintf(source->trouble, sizeof source->trouble, "%s", why);
        tell(source->log->told, "route %s: the stream for %s has ended: %s", source->stream.route,
             source->stream.name, why);
    }
}

static void on_over(struct run_stream *stream, const char *why)
{
    struct run_source *source = of(stream);

    source->hung_up = false;
    source->refused = stream->tunnel.end == TUNNEL_REFUSED && !stream->tunnel.retryable;
    if (why) {
        tell_trouble(source, why);
    }
    stream->wanted = !lines_empty(&source->lines);
    move(source);
}

static const struct run_stream_ops stream_ops = {
    .read = read_lines, .write = write_nothing, .finish = on_hang_up, .opened = on_opened, .over = on_over};

/* ---- In ---- */

static void close_end(int *end)
{
    if (*end >= 0) {
        close(*end);
        *end = -1;
    }
}

static void stop_reading(struct run_source *source)
{
    cli_loop_remove(source->log->loop, &source->watch);
    close_end(&source->read_end);
    lines_end(&source->lines);
}

/* At most `most` bytes. */
static void take_in(struct run_source *source, size_t most)
{
    ssize_t got = 1;

    while (source->read_end >= 0 && most > 0 && got > 0) {
        got = lines_read(&source->lines, source->read_end, most);
        if (got > 0) {
            most -= (size_t)got;
        } else if (got != -EAGAIN) {
            stop_reading(source);
        }
    }
}

static void on_readable(struct cli_watch *watch, uint32_t events UNUSED)
{
    struct run_source *source = CONTAINER_OF(watch, struct run_source, watch);

    take_in(source, TURN);
    move(source);
}

/* ---- Life ---- */

static int make_pipe(struct run_source *source, struct error *err)
{
    int ends[2], code;

    if (pipe2(ends, O_CLOEXEC) < 0) {
        return error_errno(err, -errno, "cannot make a pipe for the app's output");
    }
    source->read_end = ends[0];
    source->write_end = ends[1];
    if (fcntl(ends[0], F_SETFL, O_NONBLOCK) < 0) {
        return error_errno(err, -errno, "cannot read the app's output without waiting");
    }
    code = cli_loop_add(source->log->loop, &source->watch, ends[0], EPOLLIN, on_readable);
    return code < 0 ? error_errno(err, code, "cannot watch the app's output") : 0;
}

int run_log_init(struct run_log *log, struct run_wire *wire, const char *route, size_t size,
                 const struct tell *told, struct error *err)
{
    int code = 0;

    memset(log, 0, sizeof *log);
    log->loop = wire->loop;
    log->told = told;
    for (size_t i = 0; i < RUN_LOG_SOURCES; i++) {
        struct run_source *source = &log->sources[i];

        source->log = log;
        source->watch.fd = source->read_end = source->write_end = -1;
        source->console = consoles[i];
        run_stream_init(&source->stream, wire, &stream_ops, route, names[i]);
    }
    for (size_t i = 0; code == 0 && i < RUN_LOG_SOURCES; i++) {
        code = lines_init(&log->sources[i].lines, i == RUN_LOG_OWN ? RUN_LOG_OWN_SIZE : size);
        if (code < 0) {
            error_set(err, code, "out of memory for %zu bytes of the app's output", size);
        } else if (i != RUN_LOG_OWN) {
            code = make_pipe(&log->sources[i], err);
        }
    }
    return code;
}

void run_log_release(struct run_log *log)
{
    if (!log->loop) {
        return;
    }
    cli_task_cancel(log->loop, &log->tell_done);
    for (size_t i = 0; i < RUN_LOG_SOURCES; i++) {
        struct run_source *source = &log->sources[i];

        cli_loop_remove(log->loop, &source->watch);
        close_end(&source->read_end);
        close_end(&source->write_end);
        if (source->lines.ring) {
            lines_end(&source->lines);
            spill(source);
        }
        lines_release(&source->lines);
    }
}

int run_log_fd(const struct run_log *log, unsigned source)
{
    return log->sources[source].write_end;
}

void run_log_given(struct run_log *log)
{
    close_end(&log->sources[RUN_LOG_OUT].write_end);
    close_end(&log->sources[RUN_LOG_ERR].write_end);
}

void run_log_own(struct run_log *log, const char *text)
{
    struct run_source *source = &log->sources[RUN_LOG_OWN];

    lines_put_line(&source->lines, text);
    move(source);
}

void run_log_end(struct run_log *log, void (*done)(struct run_log *log))
{
    log->ending = true;
    log->done = done;
    for (size_t i = 0; i < RUN_LOG_SOURCES; i++) {
        struct run_source *source = &log->sources[i];

        /* Some process may hold the pipe open, and go on writing: what is there now is all that counts. */
        take_in(source, LAST_MAX);
        if (source->read_end >= 0) {
            stop_reading(source);
        }
        lines_end(&source->lines);
        move(source);
    }
}
