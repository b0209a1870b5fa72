/* A daemon for tests: see far.h. */
#include "far.h"

#include "fault.h"
#include "session/codes.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define MIB       1048576u
#define OUT_SIZE  65536u
#define HELD_SIZE (4u * MIB)

struct far_stream;

struct far_session {
    struct far *far;
    struct session *session;
    struct cli_watch watch;
    struct cli_timer timer;
    struct cli_task task;
    LIST_ENTRY(far_session) link;
    LIST_HEAD(, far_stream) streams;
    uint8_t *out; /* written from out_at to out_end */
    size_t out_at, out_end;
};

struct far_stream {
    struct far *far;
    struct channel *channel;
    LIST_ENTRY(far_stream) link;
    char route[32];
    uint8_t *held;
    size_t length;
    uint64_t to_send, sent;
    unsigned log; /* of far->logged */
    bool all_came;
    char tail[5]; /* the last bytes that came */
};

static const char http_answer[] = "HTTP/1.1 201 Created\r\nContent-Length: 4\r\n\r\nkept";

uint8_t far_pattern(uint64_t at)
{
    return (uint8_t)(at * 31 + at / 253 + at / 65521);
}

static bool is(const struct far_stream *stream, const char *route)
{
    return strcmp(stream->route, route) == 0;
}

static void tell(struct far *far, const char *what, uint32_t code)
{
    size_t length = strlen(far->told);
    snprintf(far->told + length, sizeof far->told - length, "%s(%s) ", what, code_word(code));
}

static void let_go(struct channel *channel)
{
    struct far_stream *stream = channel_user(channel);
    stream->far->live--;
    LIST_REMOVE(stream, link);
    free(stream->held);
    free(stream);
    channel_release(channel);
}

/* ---- log and time ---- */

static const char *const log_names[FAR_LOGS] = {"stdout", "stderr", "postern"};

static void name_log(struct far_stream *stream, const struct control_open *open)
{
    const struct control_meta_entry *name = control_meta_find(open, "name");
    assert_non_null(name);
    for (stream->log = 0; stream->log < FAR_LOGS; stream->log++) {
        if (name->value.length == strlen(log_names[stream->log]) &&
            memcmp(name->value.data, log_names[stream->log], name->value.length) == 0) {
            return;
        }
    }
    fail_msg("a log of another name: %.*s", (int)name->value.length, name->value.data);
}

static void answer_time(struct far_stream *stream)
{
    struct timespec now;
    assert_int_equal(stream->length, 8);
    stream->far->time_asked++;
    if (stream->far->time_silent) {
        stream->length = 0;
        return;
    }
    clock_gettime(CLOCK_REALTIME, &now);
    uint64_t ns =
        (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec + (uint64_t)stream->far->time_ahead;
    for (unsigned i = 0; i < 8; i++) {
        stream->held[8 + i] = (uint8_t)(ns >> (56 - 8 * i));
    }
    stream->held[0] ^= stream->far->time_wrong;
    stream->length = 16;
}

static bool is_denied(const struct far_stream *stream)
{
    return stream->far->deny && (is(stream, "log") || is(stream, "time"));
}

static void on_open(struct channel *channel, const struct control_open *open)
{
    struct far_session *session = session_user(channel_session(channel));
    struct far_stream *stream = calloc(1, sizeof *stream);
    assert_non_null(stream);
    stream->far = session->far;
    stream->channel = channel;
    LIST_INSERT_HEAD(&session->streams, stream, link);
    snprintf(stream->route, sizeof stream->route, "%.*s", (int)open->route.length, open->route.data);
    channel_set_user(channel, stream);
    stream->far->live++;
    stream->far->opened++;
    if (is(stream, "refuse")) {
        channel_refuse(channel, CODE_REASON + REASON_CONNECT_REFUSED, "tcp://10.0.0.1:443", true);
        let_go(channel);
        return;
    }
    if (is_denied(stream)) {
        channel_refuse(channel, CODE_REASON + REASON_DENIED_ROUTE, NULL, false);
        let_go(channel);
        return;
    }
    if (is(stream, "log")) {
        name_log(stream, open);
    }
    stream->to_send = strtoull(stream->route, NULL, 10) * MIB;
    if (!is(stream, "mute")) {
        channel_accept(channel);
        if (stream->to_send > 0) {
            channel_ready(channel);
        }
    }
}

/* Its end is that of the last chunk. */
static void hear_http(struct far_stream *stream, const uint8_t *bytes, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        memmove(stream->tail, stream->tail + 1, sizeof stream->tail - 1);
        stream->tail[sizeof stream->tail - 1] = (char)bytes[i];
    }
    if (memcmp(stream->tail, "0\r\n\r\n", sizeof stream->tail) == 0) {
        stream->all_came = true;
        channel_ready(stream->channel);
    }
}

static void on_data(struct channel *channel, const uint8_t *bytes, size_t length)
{
    struct far_stream *stream = channel_user(channel);
    if (is(stream, "log")) {
        text_add_bytes(&stream->far->logged[stream->log], bytes, length);
        channel_consumed(channel, length);
    } else if (is(stream, "echo") || is(stream, "time")) {
        if (stream->held == NULL) {
            stream->held = malloc(HELD_SIZE);
        }
        assert_true(stream->length + length <= HELD_SIZE);
        memcpy(stream->held + stream->length, bytes, length);
        stream->length += length;
        if (is(stream, "time")) {
            answer_time(stream);
        }
        channel_ready(channel);
    } else if (is(stream, "reset")) {
        channel_reset(channel, CODE_REASON + REASON_UPSTREAM_RESET);
        channel_stop(channel, CODE_REASON + REASON_UPSTREAM_RESET);
    } else if (is(stream, "stop")) {
        channel_stop(channel, CODE_REASON + REASON_UPSTREAM_RESET);
        channel_ready(channel);
    } else if (!is(stream, "deaf")) {
        channel_consumed(channel, length);
    }
    if (is(stream, "http")) {
        hear_http(stream, bytes, length);
    }
}

static void on_fin(struct channel *channel)
{
    struct far_stream *stream = channel_user(channel);
    stream->all_came = true;
    channel_ready(channel);
}

static void on_reset(struct channel *channel, uint32_t code)
{
    struct far_stream *stream = channel_user(channel);
    tell(stream->far, "reset", code);
    channel_reset(channel, CODE_CANCEL);
}

static void on_stopped(struct channel *channel, uint32_t code)
{
    struct far_stream *stream = channel_user(channel);
    tell(stream->far, "stopped", code);
}

static void on_failed(struct channel *channel, uint32_t code, bool retryable)
{
    (void)code;
    (void)retryable;
    let_go(channel);
}

static size_t echo(struct channel *channel, struct far_stream *stream, uint8_t *buffer, size_t size)
{
    size = size < stream->length ? size : stream->length;
    memcpy(buffer, stream->held, size);
    stream->length -= size;
    memmove(stream->held, stream->held + size, stream->length);
    channel_consumed(channel, is(stream, "time") ? size / 2 : size);
    return size;
}

static size_t on_fill(struct channel *channel, uint8_t *buffer, size_t size, enum channel_more *more)
{
    struct far_stream *stream = channel_user(channel);
    size_t length = 0;
    *more = CHANNEL_PAUSE;
    if (is(stream, "stop")) {
        length = (size_t)snprintf((char *)buffer, size, "enough");
        *more = CHANNEL_FIN;
    } else if (is(stream, "http") && stream->all_came) {
        length = (size_t)snprintf((char *)buffer, size, "%s", http_answer);
        *more = CHANNEL_FIN;
    } else if ((is(stream, "echo") || is(stream, "time")) && stream->length > 0) {
        length = echo(channel, stream, buffer, size);
        *more = CHANNEL_MORE;
    } else if (stream->sent < stream->to_send) {
        while (length < size && stream->sent < stream->to_send) {
            buffer[length++] = far_pattern(stream->sent++);
        }
        *more = CHANNEL_MORE;
    } else if (stream->all_came || stream->to_send > 0) {
        *more = CHANNEL_FIN;
    }
    return length;
}

static const struct session_events events = {
    .open = on_open,
    .data = on_data,
    .fin = on_fin,
    .reset = on_reset,
    .stopped = on_stopped,
    .failed = on_failed,
    .fill = on_fill,
};

static void end_session(struct far_session *of)
{
    cli_timer_stop(&of->timer);
    cli_task_cancel(of->far->loop, &of->task);
    int fd = of->watch.fd;
    cli_loop_remove(of->far->loop, &of->watch);
    close(fd);
    LIST_REMOVE(of, link);
    session_receive_end(of->session, cli_now_ms()); /* which lets go of the streams */
    session_free(of->session);
    free(of->out);
    free(of);
}

static void on_due(struct cli_timer *timer);

/* Lets go of streams of which both directions are over. */
static void sweep(struct far_session *of)
{
    struct far_stream *stream, *next;
    for (stream = LIST_FIRST(&of->streams); stream != NULL; stream = next) {
        next = LIST_NEXT(stream, link);
        if (channel_sending_over(stream->channel) && channel_receiving_over(stream->channel)) {
            let_go(stream->channel);
        }
    }
}

static void flush(struct far_session *of)
{
    for (;;) {
        sweep(of);
        if (of->out_at == of->out_end) {
            if (!session_has_output(of->session)) {
                break;
            }
            of->out_at = 0;
            of->out_end = session_send(of->session, cli_now_ms(), of->out, OUT_SIZE);
        }
        ssize_t n = send(of->watch.fd, of->out + of->out_at, of->out_end - of->out_at, MSG_NOSIGNAL);
        if (n < 0) {
            break;
        }
        of->out_at += (size_t)n;
    }
    cli_loop_change(of->far->loop, &of->watch, of->out_at < of->out_end ? EPOLLIN | EPOLLOUT : EPOLLIN);
    uint64_t next = session_next_deadline(of->session);
    if (next == SESSION_NEVER) {
        cli_timer_stop(&of->timer);
    } else {
        cli_timer_start(of->far->loop, &of->timer, next, on_due);
    }
    if (session_is_over(of->session) && of->out_at == of->out_end) {
        end_session(of);
    }
}

static void on_due(struct cli_timer *timer)
{
    struct far_session *of = CONTAINER_OF(timer, struct far_session, timer);
    session_tick(of->session, cli_now_ms());
    flush(of);
}

static void on_ready(struct cli_watch *watch, uint32_t ready)
{
    struct far_session *of = CONTAINER_OF(watch, struct far_session, watch);
    static uint8_t bytes[65536];
    ssize_t n = 0;
    fault_spare(true);
    bool readable = (ready & ~(uint32_t)EPOLLOUT) != 0;
    if (readable) {
        n = recv(watch->fd, bytes, sizeof bytes, 0);
        if (n > 0) {
            session_receive(of->session, cli_now_ms(), bytes, (size_t)n);
        }
    }
    if ((readable && n == 0) || (n < 0 && errno != EAGAIN)) {
        end_session(of);
    } else {
        flush(of);
    }
    fault_spare(false);
}

static void on_connection(struct cli_watch *watch, uint32_t ready)
{
    struct far *far = CONTAINER_OF(watch, struct far, watch);
    struct session_config config;
    (void)ready;
    fault_spare(true);
    int fd = accept4(watch->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    assert_true(fd >= 0);
    far->connections++;
    if (far->hang_up) {
        close(fd);
    } else {
        struct far_session *of = calloc(1, sizeof *of);
        assert_non_null(of);
        of->far = far;
        of->out = malloc(OUT_SIZE);
        session_config_default(&config, SESSION_SERVER);
        config.max_streams = far->max_streams;
        config.max_own_streams = 0;
        config.budget = HELD_SIZE;
        config.max_kind = CONTROL_KIND_HTTP;
        of->session = session_new(&config, &events, of, cli_now_ms());
        assert_non_null(of->session);
        LIST_INSERT_HEAD(&far->sessions, of, link);
        assert_int_equal(cli_loop_add(far->loop, &of->watch, fd, EPOLLIN, on_ready), 0);
        flush(of);
    }
    fault_spare(false);
}

void far_start(struct far *far, struct cli_loop *loop, const char *path)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    memset(far, 0, sizeof *far);
    far->loop = loop;
    far->max_streams = 100;
    LIST_INIT(&far->sessions);
    snprintf(far->path, sizeof far->path, "%s", path);
    snprintf(at.sun_path, sizeof at.sun_path, "%s", path);
    unlink(path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(fd, 100), 0);
    assert_int_equal(cli_loop_add(loop, &far->watch, fd, EPOLLIN, on_connection), 0);
}

void far_cut(struct far *far)
{
    struct far_session *of;
    while ((of = LIST_FIRST(&far->sessions)) != NULL) {
        end_session(of);
    }
}

void far_stop(struct far *far)
{
    far_cut(far);
    for (unsigned i = 0; i < FAR_LOGS; i++) {
        text_release(&far->logged[i]);
    }
    int fd = far->watch.fd;
    cli_loop_remove(far->loop, &far->watch);
    close(fd);
    unlink(far->path);
}

void far_drain(struct far *far)
{
    struct far_session *of, *next;
    for (of = LIST_FIRST(&far->sessions); of != NULL; of = next) {
        struct far_stream *stream;
        next = LIST_NEXT(of, link);
        LIST_FOREACH (stream, &of->streams, link) {
            if (far->end_logs && is(stream, "log")) {
                stream->all_came = true; /* so that the end is sent */
                channel_ready(stream->channel);
            }
        }
        session_drain(of->session, 0);
        flush(of);
    }
}

struct turn {
    struct cli_timer timer;
    struct cli_loop *loop;
};

static void on_turned(struct cli_timer *timer)
{
    cli_loop_stop(CONTAINER_OF(timer, struct turn, timer)->loop);
}

void far_turn(struct cli_loop *loop)
{
    struct turn turn = {.loop = loop};
    cli_timer_start(loop, &turn.timer, cli_now_ms() + 1, on_turned);
    assert_int_equal(cli_loop_run(loop), 0);
    cli_timer_stop(&turn.timer);
}

void far_check(uint64_t limit, const char *condition, const char *file, int line)
{
    if (cli_now_ms() > limit) {
        print_error("%s:%d: still not so: %s\n", file, line, condition);
        fail();
    }
}
