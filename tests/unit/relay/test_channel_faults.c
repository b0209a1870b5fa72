/*
 * Relays of a session's streams with every call failing once. Whatever fails: each relay ends once, the session ends once and
 * after them, nothing is left behind, and neither side takes a part for the whole.
 */
#include "channel_bench.h"
#include "fault.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#define STREAMS 2

int __real_epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event);
int __wrap_epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event);

/* Ours alone: libuv gives up when it fails. */
int __wrap_epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event)
{
    if (operation != EPOLL_CTL_DEL && event->data.ptr != NULL && fault_strikes(FAULT_OWN)) {
        errno = ENOMEM;
        return -1;
    }
    return __real_epoll_ctl(epoll, operation, fd, event);
}

struct script {
    const char *name;
    size_t client_says, upstream_says;
    bool slow_upstream; /* reads nothing until the client has said what it may */
    unsigned calls;
};

static struct channel_bench bench;
static struct peer upstreams[STREAMS];

static bool over(void)
{
    return bench.ended > 0 || bench.client.ended || bench.client.heard_end;
}

static bool is_done(const struct framed_stream *stream)
{
    return stream->refused || stream->failed || stream->reset || stream->ended;
}

static void take_upstreams(void)
{
    fault_spare(true);
    for (int i = 0; i < STREAMS; i++) {
        if (upstreams[i].fd < 0) {
            int fd = accept4(bench.listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
            if (fd >= 0) {
                peer_init(&upstreams[i], fd);
            }
        }
    }
    fault_spare(false);
}

static void speak(const struct script *script, struct peer *upstream, bool hears)
{
    if (upstream->fd < 0 || upstream->error != 0) {
        return;
    }
    if (upstream->sent < script->upstream_says) {
        peer_say(upstream, script->upstream_says - upstream->sent);
        if (upstream->sent == script->upstream_says && upstream->error == 0) {
            fault_spare(true);
            (void)shutdown(upstream->fd, SHUT_WR); /* it may have been reset meanwhile */
            fault_spare(false);
        }
    }
    if (hears && upstream->error == 0) {
        peer_hear(upstream);
    }
}

static bool client_may_say_more(void)
{
    for (unsigned i = 0; i < bench.client.count; i++) {
        const struct framed_stream *stream = &bench.client.streams[i];
        if (!is_done(stream) && stream->to_say > 0 && !channel_stalled(stream->channel)) {
            return true;
        }
    }
    return false;
}

static bool all_done(void)
{
    for (unsigned i = 0; i < bench.client.count; i++) {
        if (!is_done(&bench.client.streams[i])) {
            return false;
        }
    }
    return true;
}

static void talk(const struct script *script)
{
    uint64_t limit = loopback_limit();
    bool hears = !script->slow_upstream;
    while (!over() && !all_done()) {
        loopback_check(limit, script->name, __FILE__, __LINE__);
        take_upstreams();
        hears = hears || (bench.count == STREAMS && !client_may_say_more());
        for (int i = 0; i < STREAMS; i++) {
            speak(script, &upstreams[i], hears);
        }
        channel_bench_turn(&bench);
    }
}

static void open_streams(const struct script *script)
{
    uint64_t limit = loopback_limit();
    while (!over() && !bench.client.ready) {
        loopback_check(limit, script->name, __FILE__, __LINE__);
        channel_bench_turn(&bench);
    }
    for (int i = 0; i < STREAMS && !over(); i++) {
        struct framed_stream *stream = framed_client_open(&bench.client, "test");
        framed_say(stream, script->client_says);
        framed_finish(stream);
    }
}

static void part(const struct script *script)
{
    uint64_t limit = loopback_limit();
    session_io_hurry(&bench.io, 1000); /* that the other side closes may be what fails to be told */
    for (unsigned i = 0; i < bench.client.count; i++) {
        if (bench.client.streams[i].ended) {
            assert_int_equal(bench.client.streams[i].heard, script->upstream_says);
        }
        framed_release(&bench.client.streams[i]);
    }
    session_drain(bench.client.session, 0);
    while (bench.ended == 0) {
        loopback_check(limit, script->name, __FILE__, __LINE__);
        take_upstreams();
        for (int i = 0; i < STREAMS; i++) {
            speak(script, &upstreams[i], true);
        }
        channel_bench_turn(&bench);
    }
}

/* An end that is not a reset says that all has arrived; but a destination that was connected to when its relay was never opened
 * hears nothing and an end. */
static void check_upstream(const struct script *script, struct peer *upstream)
{
    bool opened = true;
    for (unsigned i = 0; i < bench.count; i++) {
        opened = opened && bench.relays[i].opened == 1;
    }
    if (upstream->fd >= 0 && upstream->error == 0 && peer_hear(upstream)->ended &&
        (opened || upstream->heard > 0)) {
        assert_int_equal(upstream->heard, script->client_says);
    }
}

static void whole_session(void *arg)
{
    const struct script *script = arg;
    for (int i = 0; i < STREAMS; i++) {
        upstreams[i].fd = -1;
    }
    if (channel_bench_start(&bench, pair_of_unix, NULL)) {
        open_streams(script);
        talk(script);
        part(script);
    }
    take_upstreams(); /* what came too late to be seen above */
    for (int i = 0; i < STREAMS; i++) {
        check_upstream(script, &upstreams[i]);
        peer_close(&upstreams[i]);
    }
    for (unsigned i = 0; i < bench.count; i++) {
        assert_int_equal(bench.relays[i].ended, 1);
    }
    framed_client_close(&bench.client);
    for (int i = 0; i < 3; i++) {
        loopback_turn(&bench.loopback);
    }
}

static const struct script scripts[] = {
    {.name = "channels memory",
     .client_says = 100000,
     .upstream_says = 100000,
     .slow_upstream = true,
     .calls = FAULT_MEMORY},
    {.name = "channels sockets",
     .client_says = 20000,
     .upstream_says = 20000,
     .calls = FAULT_READ | FAULT_WRITE | FAULT_SOCKET | FAULT_CONNECT | FAULT_SOCKOPT | FAULT_OWN},
    {.name = "channels without memory",
     .client_says = 20000,
     .upstream_says = 20000,
     .slow_upstream = true,
     .calls = FAULT_MEMORY | FAULT_STICKY},
};

static void test_every_call_fails_once(void **state)
{
    (void)state;
    loopback_spare_libuv();
    for (size_t i = 0; i < ARRAY_SIZE(scripts); i++) {
        channel_bench_open(&bench);
        assert_true(
            fault_loop(scripts[i].name, scripts[i].calls, whole_session, (void *)(uintptr_t)&scripts[i]) > 0);
        channel_bench_close(&bench);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_call_fails_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
