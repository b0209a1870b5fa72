/* A session on a loop: see io_bench.h. */
#include "io_bench.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static struct io_bench *of(struct session_io *io)
{
    return CONTAINER_OF(io, struct io_bench, io);
}

static size_t take_piped(struct io_app *app, size_t left)
{
    unsigned char bytes[4096];
    size_t before = app->taken;
    struct pipe *pipe;
    while (left > 0 && (pipe = stream_piped(&app->stream.stream)) != NULL) {
        ssize_t n = read(pipe->read_fd, bytes, left < sizeof bytes ? left : sizeof bytes);
        assert_in_range(n, 1, pipe->held);
        for (ssize_t i = 0; i < n; i++) {
            assert_int_equal(bytes[i], app->wanted++);
        }
        stream_consumed(&app->stream.stream, (size_t)n);
        app->taken += (size_t)n;
        app->piped += (size_t)n;
        left -= (size_t)n;
    }
    return app->taken - before;
}

static void take(struct io_app *app)
{
    size_t left = app->most > 0 ? app->most : SIZE_MAX;
    const void *data;
    left -= take_piped(app, left);
    while (left > 0 && (app->end = stream_borrow(&app->stream.stream, &data)) > 0) {
        size_t n = (size_t)app->end < left ? (size_t)app->end : left;
        app->largest = (size_t)app->end > app->largest ? (size_t)app->end : app->largest;
        for (size_t i = 0; i < n; i++) {
            assert_int_equal(((const unsigned char *)data)[i], app->wanted++);
        }
        stream_consumed(&app->stream.stream, n);
        app->taken += n;
        left -= n;
    }
}

static void say(struct io_app *app)
{
    void *room;
    while (app->to_say > 0) {
        ssize_t size = stream_reserve(&app->stream.stream, &room);
        if (size < 0) {
            return;
        }
        size_t n = app->to_say < (size_t)size ? app->to_say : (size_t)size;
        for (size_t i = 0; i < n; i++) {
            ((unsigned char *)room)[i] = app->next++;
        }
        stream_commit(&app->stream.stream, n);
        app->to_say -= n;
        app->said += n;
    }
}

static void on_report(struct stream *stream, unsigned events)
{
    struct io_app *app = CONTAINER_OF(stream, struct io_app, stream.stream);
    assert_false(app->closed);
    app->reports++;
    app->readable += (events & STREAM_READABLE) != 0;
    app->writable += (events & STREAM_WRITABLE) != 0;
    if (app->on_report != NULL) {
        app->on_report(app, events);
        return;
    }
    if (app->stay_mute) {
        stream_mute(stream, true);
    }
    if (app->take) {
        take(app);
    }
    if (app->say) {
        say(app);
    }
    if (stream->failed && app->close_when_failed) {
        io_app_close(app, true);
    }
}

void io_app_close(struct io_app *app, bool abort)
{
    app->closed = true;
    stream_close(&app->stream.stream, abort);
}

void io_app_init(struct io_app *app)
{
    memset(app, 0, sizeof *app);
    app->take = app->say = app->close_when_failed = true;
    app->end = 1;
}

static void on_ready(struct session_io *io, const struct control_hello *peer)
{
    assert_int_equal(peer->role, SESSION_CLIENT);
    of(io)->ready++;
}

static void on_open(struct session_io *io, struct channel *channel, const struct control_open *open)
{
    struct io_bench *bench = of(io);
    (void)open;
    bench->opened_in_turn++;
    if (bench->opened_in_turn > bench->opened_most) {
        bench->opened_most = bench->opened_in_turn;
    }
    if (bench->refuse) {
        channel_refuse(channel, code_of_reason(REASON_DENIED_ROUTE), "no", false);
        channel_release(channel);
        return;
    }
    struct io_app *app = &bench->apps[bench->count++];
    channel_stream_open(&app->stream, io, channel, on_report);
    app->stream.splices = app->splices;
    if (bench->accept) {
        channel_stream_accept(&app->stream);
    }
    assert_int_equal(app->reports, 0); /* not from inside */
}

static void on_pong(struct session_io *io, uint64_t rtt_ms)
{
    (void)rtt_ms;
    of(io)->pongs++;
}

static void on_ended(struct session_io *io, const struct session_end *end)
{
    struct io_bench *bench = of(io);
    bench->ended++;
    bench->end = *end;
    snprintf(bench->end_text, sizeof bench->end_text, "%s", end->text);
    for (unsigned i = 0; i < bench->count; i++) {
        assert_true(bench->apps[i].closed);
    }
}

static const struct session_io_ops ops = {.ready = on_ready,
                                          .open = on_open,
                                          .pong = on_pong,
                                          .ended = on_ended};

void io_bench_open(struct io_bench *bench)
{
    signal(SIGPIPE, SIG_IGN);
    memset(bench, 0, sizeof *bench);
    loopback_open(&bench->loopback);
    session_config_default(&bench->config, SESSION_SERVER);
    bench->kind = (struct sock_kind_options){.kind = ADDR_TCP};
    bench->client.fd = -1;
    for (unsigned i = 0; i < IO_APPS; i++) {
        io_app_init(&bench->apps[i]);
    }
    bench->accept = true;
}

void io_bench_close(struct io_bench *bench)
{
    framed_client_close(&bench->client);
    loopback_close(&bench->loopback);
}

int io_bench_start(struct io_bench *bench, void (*pair)(int fds[2]), const struct session_config *client)
{
    int fds[2];
    bench->ready = bench->pongs = bench->ended = bench->count = 0;
    pair(fds);
    framed_client_init(&bench->client, fds[0], client);
    uv_update_time(&bench->loopback.loop.uv);
    int rv = session_io_start(&bench->io, &bench->loopback.loop, &ops, &bench->config, fds[1], &bench->kind);
    assert_int_equal(bench->ready + bench->ended, 0); /* not from inside */
    return rv;
}

void io_bench_establish(struct io_bench *bench, const struct session_config *client)
{
    assert_int_equal(io_bench_start(bench, pair_of_tcp, client), 0);
    TURN_UNTIL(bench, bench->ready == 1 && bench->client.ready);
}

void io_bench_turn(struct io_bench *bench)
{
    bench->opened_in_turn = 0;
    framed_client_turn(&bench->client);
    loopback_turn(&bench->loopback);
}

struct framed_stream *io_bench_stream(struct io_bench *bench)
{
    unsigned before = bench->count;
    struct framed_stream *stream = framed_client_open(&bench->client, "test");
    TURN_UNTIL(bench, bench->count > before);
    return stream;
}

void io_bench_end(struct io_bench *bench)
{
    for (unsigned i = 0; i < bench->count; i++) {
        if (!bench->apps[i].closed) {
            io_app_close(&bench->apps[i], true);
        }
    }
    for (unsigned i = 0; i < bench->client.count; i++) {
        if (bench->client.fd >= 0 && bench->client.streams[i].channel != NULL) {
            framed_release(&bench->client.streams[i]);
        }
    }
    session_io_drain(&bench->io, 0);
    TURN_UNTIL(bench, bench->ended > 0);
    for (int i = 0; i < 3; i++) {
        io_bench_turn(bench);
    }
    assert_int_equal(bench->ended, 1);
    framed_client_close(&bench->client);
}
