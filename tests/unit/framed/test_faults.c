/*
 * Whole sessions with every call failing once. Whatever fails: the session ends once, nothing is left behind, and what a
 * stream was given is what was sent.
 */
#include "fault.h"
#include "io_bench.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

int __real_epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event);
int __wrap_epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event);

/* Ours alone: libuv gives up when it fails. */
int __wrap_epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event)
{
    if (operation == EPOLL_CTL_ADD && fault_strikes(FAULT_OWN)) {
        errno = ENOMEM;
        return -1;
    }
    return __real_epoll_ctl(epoll, operation, fd, event);
}

static struct io_bench bench;

struct script {
    const char *name;
    void (*pair)(int fds[2]);
    size_t client_says, app_says;
    unsigned streams;
    bool slow_app;    /* takes nothing until all that it has credit for has come */
    bool deaf_client; /* reads nothing until the socket is full */
    unsigned calls;
};

static bool over(void)
{
    return bench.ended > 0 || bench.client.ended || bench.client.heard_end;
}

static void turn(void)
{
    io_bench_turn(&bench);
}

static void until(const struct script *script, bool (*reached)(const struct script *script))
{
    uint64_t limit = loopback_limit();
    while (!over() && !reached(script)) {
        loopback_check(limit, script->name, __FILE__, __LINE__);
        turn();
    }
}

static bool is_ready(const struct script *script)
{
    (void)script;
    return bench.client.ready;
}

/* For want of memory. */
static bool some_were_refused(const struct script *script)
{
    struct session_stats stats;
    session_stats(bench.io.session, &stats);
    return stats.accepted == script->streams && bench.count < script->streams;
}

static bool app_has_what_it_may(const struct script *script)
{
    size_t held = 0;
    if (some_were_refused(script)) {
        return true;
    }
    for (unsigned i = 0; i < bench.count; i++) {
        if (bench.apps[i].closed) {
            return true;
        }
        held += channel_bytes_held(bench.apps[i].stream.channel);
    }
    return bench.count == script->streams && held >= 3000;
}

static void wake_apps(bool take)
{
    for (unsigned i = 0; i < bench.count; i++) {
        struct io_app *app = &bench.apps[i];
        app->take = take;
        if (!app->closed) {
            stream_again(&app->stream.stream, STREAM_READABLE | STREAM_WRITABLE);
        }
    }
}

static bool socket_is_full(const struct script *script)
{
    wake_apps(true);
    return bench.io.full || some_were_refused(script);
}

/* A stream that went wrong is done, too. */
static bool all_done(const struct script *script)
{
    bool done = bench.client.count == script->streams;
    for (unsigned i = 0; i < bench.client.count; i++) {
        const struct framed_stream *stream = &bench.client.streams[i];
        done = done && (stream->ended || stream->reset || stream->refused || stream->failed);
    }
    for (unsigned i = 0; i < bench.count; i++) {
        struct io_app *app = &bench.apps[i];
        bool ready = !app->closed && app->end == 0 && app->to_say == 0;
        if (ready && !channel_sending_over(app->stream.channel)) {
            io_app_close(app, false);
        }
        done = done && app->closed;
    }
    return done;
}

static void talk(const struct script *script)
{
    for (unsigned i = 0; i < script->streams; i++) {
        io_app_init(&bench.apps[i]);
        bench.apps[i].take = !script->slow_app;
        bench.apps[i].to_say = script->app_says;
    }
    until(script, is_ready);
    for (unsigned i = 0; i < script->streams && !over(); i++) {
        struct framed_stream *stream = framed_client_open(&bench.client, "test");
        framed_say(stream, script->client_says);
        framed_finish(stream);
    }
    bench.client.deaf = script->deaf_client;
    if (script->slow_app) {
        until(script, app_has_what_it_may);
    }
    wake_apps(true);
    if (script->deaf_client) {
        until(script, socket_is_full);
        bench.client.deaf = false;
    }
    until(script, all_done);
}

/* An end that is not a reset says that all has arrived. */
static void check(const struct script *script, const struct framed_stream *stream, const struct io_app *app)
{
    if (stream->ended) {
        assert_int_equal(stream->heard, script->app_says);
    }
    if (app->end == 0) {
        assert_int_equal(app->taken, script->client_says);
    }
}

/* The loop keeps a buffer that came back: where that is all it has, none is ever asked for. */
static void forget_spare(void)
{
    free(bench.loopback.loop.spare);
    bench.loopback.loop.spare = NULL;
}

static void remember_spare(void)
{
    fault_spare(true);
    loop_take_back(&bench.loopback.loop, loop_lend(&bench.loopback.loop));
    fault_spare(false);
}

static void whole_session(void *arg)
{
    const struct script *script = arg;
    forget_spare();
    bench.kind.kind = script->pair == pair_of_tcp ? ADDR_TCP : ADDR_UNIX;
    if (io_bench_start(&bench, script->pair, NULL) != 0) {
        framed_client_close(&bench.client);
        remember_spare();
        return;
    }
    talk(script);
    for (unsigned i = 0; i < bench.client.count; i++) {
        check(script, &bench.client.streams[i], &bench.apps[i]);
        framed_release(&bench.client.streams[i]);
    }
    session_drain(bench.client.session, 0);
    uint64_t limit = loopback_limit();
    while (bench.ended == 0) {
        loopback_check(limit, script->name, __FILE__, __LINE__);
        wake_apps(true);
        all_done(script);
        turn();
    }
    for (int i = 0; i < 3; i++) {
        turn();
    }
    assert_int_equal(bench.ended, 1);
    framed_client_close(&bench.client);
    remember_spare();
}

static const struct script scripts[] = {
    {.name = "session memory",
     .pair = pair_of_tcp,
     .client_says = 100000,
     .app_says = 100000,
     .streams = 2,
     .slow_app = true,
     .calls = FAULT_MEMORY},
    {.name = "session socket",
     .pair = pair_of_tcp,
     .client_says = 30000,
     .app_says = 30000,
     .streams = 2,
     .calls = FAULT_READ | FAULT_WRITE | FAULT_SOCKOPT | FAULT_OWN},
    {.name = "session over unix",
     .pair = pair_of_unix,
     .client_says = 3000,
     .app_says = 3000,
     .streams = 3,
     .slow_app = true,
     .calls = FAULT_MEMORY | FAULT_READ | FAULT_WRITE | FAULT_OWN},
    {.name = "session full",
     .pair = pair_of_unix,
     .client_says = 0,
     .app_says = 16384,
     .streams = 60,
     .deaf_client = true,
     .calls = FAULT_MEMORY | FAULT_WRITE},
    {.name = "session without memory",
     .pair = pair_of_tcp,
     .client_says = 30000,
     .app_says = 30000,
     .streams = 2,
     .slow_app = true,
     .calls = FAULT_MEMORY | FAULT_STICKY},
};

static void test_every_call_fails_once(void **state)
{
    (void)state;
    loopback_spare_libuv();
    for (size_t i = 0; i < ARRAY_SIZE(scripts); i++) {
        io_bench_open(&bench);
        assert_true(
            fault_loop(scripts[i].name, scripts[i].calls, whole_session, (void *)(uintptr_t)&scripts[i]) > 0);
        io_bench_close(&bench);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_call_fails_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
