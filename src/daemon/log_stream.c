/* Streams to a `log` route: see log_stream.h. */
#include "daemon/log_stream.h"

#include "base/log.h"
#include "net/sock.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- The log's lines ---- */

static bool may_write(struct log_stream *log)
{
    uint32_t rate = log->route->lines_per_second;
    return log_take_token(&log->counters->line_tokens, rate, rate * LOG_STREAM_BURST,
                          loop_now(log->loop) * 1000000);
}

static void tag(const struct log_stream *log, struct log_line *line)
{
    log_str(line, "enclave", log->enclave);
    log_str(line, "route", log->route->name);
    log_str(line, "name", log->name[0] != '\0' ? log->name : NULL);
}

/* What is told has a bound of its own, or streams that come and go would buy a line each. */
static bool may_say(struct log_stream *log)
{
    return log_take_token(&log->counters->say_tokens, 1, LOG_STREAM_SAYS, loop_now(log->loop) * 1000000);
}

static void say_dropped(struct log_stream *log)
{
    struct log_line line;
    if (counter_get(&log->counters->lines_unsaid) == 0 || !may_say(log)) {
        return;
    }
    uint64_t unsaid = atomic_exchange_explicit(&log->counters->lines_unsaid, 0, memory_order_relaxed);
    if (unsaid == 0) {
        return;
    }
    log_begin(&line, LOG_LEVEL_WARN, "enclave log lines dropped");
    tag(log, &line);
    log_u64(&line, "dropped", unsaid);
    log_end(&line);
}

static void on_say_dropped(uv_timer_t *timer)
{
    struct log_stream *log = timer->data;
    say_dropped(log);
    if (counter_get(&log->counters->lines_unsaid) > 0) {
        uv_timer_start(timer, on_say_dropped, LOG_STREAM_SAY_MS, 0);
    }
}

static void drop_line(struct log_stream *log)
{
    log->skipping = true;
    log->dropped++;
    counter_add(&log->counters->lines_dropped, 1);
    counter_add(&log->counters->lines_unsaid, 1);
    if (!log->over && !uv_is_active((uv_handle_t *)&log->timer)) {
        uv_timer_start(&log->timer, on_say_dropped, LOG_STREAM_SAY_MS, 0);
    }
}

/* Writes what fits into one line of the log, and returns how much that was; all of it if the line is dropped. */
static size_t write_piece(struct log_stream *log, const char *data, size_t length, bool continues)
{
    struct log_line line;
    if (!log_wanted(log->route->level)) {
        return length;
    }
    if (!may_write(log)) {
        drop_line(log);
        return length;
    }
    log_begin(&line, log->route->level, "enclave log");
    tag(log, &line);
    uint64_t unsaid = atomic_exchange_explicit(&log->counters->lines_unsaid, 0, memory_order_relaxed);
    if (unsaid > 0) {
        log_u64(&line, "dropped", unsaid);
    }
    size_t taken = log_text(&line, "line", data, length, continues);
    log_end(&line);
    log->lines++;
    counter_add(&log->counters->lines, 1);
    return taken;
}

/* The end of a line, the whole of it as a rule. An empty one says nothing. */
static void end_line(struct log_stream *log, const char *data, size_t length)
{
    if (length > 0 && data[length - 1] == '\r') {
        length--;
    }
    while (length > 0 && !log->skipping) {
        size_t taken = write_piece(log, data, length, false);
        data += taken;
        length -= taken;
    }
    log->skipping = false;
}

/* How many bytes at the end begin a character that has not come whole: it is not to be torn. */
static size_t torn(const char *data, size_t length)
{
    for (size_t back = 1; back <= 3 && back <= length; back++) {
        unsigned char byte = (unsigned char)data[length - back];
        if ((byte & 0xc0u) != 0x80u) {
            size_t size = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc0 ? 2 : 1;
            return size > back ? back : 0;
        }
    }
    return 0;
}

static void let_go(struct log_stream *log)
{
    free(log->held);
    log->held = NULL;
    log->held_length = 0;
}

/* What is held is as much as a line of the log takes: the rest will follow in another. */
static void write_held(struct log_stream *log)
{
    size_t whole = log->held_length - torn(log->held, log->held_length);
    size_t taken = write_piece(log, log->held, whole, true);
    log->held_length -= (uint32_t)taken;
    memmove(log->held, log->held + taken, log->held_length);
}

/* Keeps the beginning of a line. Short of memory, the line is dropped. */
static void hold(struct log_stream *log, const char *data, size_t length)
{
    while (length > 0 && !log->skipping) {
        if (log->held == NULL && (log->held = malloc(LOG_STREAM_HELD)) == NULL) {
            drop_line(log);
            break;
        }
        size_t room = LOG_STREAM_HELD - log->held_length;
        size_t part = length < room ? length : room;
        memcpy(log->held + log->held_length, data, part);
        log->held_length += (uint32_t)part;
        data += part;
        length -= part;
        if (log->held_length == LOG_STREAM_HELD) {
            write_held(log);
        }
    }
    if (log->skipping) {
        let_go(log);
    }
}

static void take(struct log_stream *log, const char *data, size_t length)
{
    while (length > 0) {
        const char *newline = memchr(data, '\n', length);
        size_t part = newline != NULL ? (size_t)(newline - data) : length;
        if (newline == NULL || log->held != NULL) {
            hold(log, data, part);
        }
        if (newline == NULL) {
            return;
        }
        if (log->held != NULL) {
            end_line(log, log->held, log->held_length);
            let_go(log);
        } else {
            end_line(log, data, part);
        }
        data += part + 1;
        length -= part + 1;
    }
}

/* ---- Life ---- */

static void on_closed(uv_handle_t *handle)
{
    struct log_stream *log = handle->data;
    log->ops->ended(log);
}

static void close_stream(struct log_stream *log, enum reason why)
{
    if (log->framed) {
        channel_stream_give_up(&log->channel, why);
    }
    stream_close(&log->stream, why != REASON_FINISHED);
    log->open = false;
}

static void end(struct log_stream *log, enum reason why)
{
    if (log->over) {
        return;
    }
    log->over = true;
    log->why = why;
    if (log->held != NULL) {
        end_line(log, log->held, log->held_length);
        let_go(log);
    }
    say_dropped(log);
    if (log->open) {
        close_stream(log, why);
    }
    uv_close((uv_handle_t *)&log->timer, on_closed);
}

void log_stream_drain(struct log_stream *log)
{
    if (log->over || log->finished) {
        return;
    }
    log->finished = true;
    (void)stream_finish(&log->stream); /* if it fails, its end is near anyway */
}

/* Takes what there is, for a turn. Returns what the last read said: bytes, 0 at the end, or a negative errno value. */
static ssize_t read_some(struct log_stream *log)
{
    size_t bytes = 0;
    ssize_t n = 1;
    while (n > 0 && bytes < LOG_STREAM_TURN) {
        n = stream_read(&log->stream, log->loop->scratch, LOG_STREAM_TURN);
        if (n > 0) {
            take(log, (const char *)log->loop->scratch, (size_t)n);
            bytes += (size_t)n;
        }
    }
    if (bytes > 0) {
        log->bytes += bytes;
        log->ops->moved(log, bytes);
    }
    return n;
}

static void on_ready(struct log_stream *log, unsigned events)
{
    if ((events & STREAM_READABLE) == 0 || log->over) {
        return;
    }
    ssize_t n = read_some(log);
    if (n > 0) {
        stream_again(&log->stream, STREAM_READABLE);
    } else if (n != -EAGAIN) {
        end(log, n == 0 ? REASON_FINISHED : REASON_CLIENT_RESET);
    }
}

static void on_channel_ready(struct stream *stream, unsigned events)
{
    struct log_stream *log = CONTAINER_OF(stream, struct log_stream, stream);
    if (stream->failed) {
        end(log, log->channel.why);
    } else {
        on_ready(log, events);
    }
}

void log_stream_end(struct log_stream *log, enum reason why)
{
    if (!log->over && log->open) {
        (void)read_some(log);
    }
    end(log, why);
}

static void on_sock_ready(struct stream *stream, unsigned events)
{
    on_ready(CONTAINER_OF(stream, struct log_stream, stream), events);
}

static void init(struct log_stream *log, struct loop *loop, const struct log_stream_ops *ops,
                 const struct log_stream_source *source)
{
    memset(log, 0, sizeof *log);
    log->ops = ops;
    log->loop = loop;
    log->route = source->route;
    log->enclave = source->enclave;
    log->counters = source->counters;
    log->started_at = loop_now(loop);
    uv_timer_init(&loop->uv, &log->timer);
    log->timer.data = log;
}

void log_stream_start(struct log_stream *log, struct loop *loop, const struct log_stream_ops *ops,
                      const struct log_stream_source *source, int fd, const struct sock_kind_options *kind)
{
    init(log, loop, ops, source);
    int rv = sock_stream_open(&log->sock, &loop->poller, fd, kind, on_sock_ready);
    if (rv != 0) {
        sock_set_abort(fd);
        close(fd);
        end(log, rv == -ENOMEM ? REASON_NO_MEMORY : REASON_INTERNAL);
        return;
    }
    log->open = true;
}

void log_stream_start_channel(struct log_stream *log, struct loop *loop, const struct log_stream_ops *ops,
                              const struct log_stream_source *source, struct session_io *io,
                              struct channel *channel, const struct control_open *open)
{
    const struct control_meta_entry *name = control_meta_find(open, "name");
    init(log, loop, ops, source);
    if (name != NULL && !name->binary) {
        snprintf(log->name, sizeof log->name, "%.*s", (int)name->value.length, name->value.data);
    }
    log->framed = log->open = true;
    channel_stream_open(&log->channel, io, channel, on_channel_ready);
    channel_stream_accept(&log->channel);
}
