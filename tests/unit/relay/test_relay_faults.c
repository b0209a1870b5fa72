/*
 * Whole relays, from the accepted socket to the end, with every call failing once. Whatever fails: the relay ends once,
 * nothing is left behind, the bytes that arrive are the ones that were sent, and a side that was not given
 * all of them is cut, so that it does not take the stream for complete.
 */
#include "relay/relay.h"

#include "fault.h"
#include "relay_bench.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

int __real_epoll_ctl(int epoll, int command, int fd, struct epoll_event *event);
int __wrap_epoll_ctl(int epoll, int command, int fd, struct epoll_event *event);

/* The poller's own; libuv's must not fail. */
int __wrap_epoll_ctl(int epoll, int command, int fd, struct epoll_event *event)
{
    if ((command == EPOLL_CTL_ADD || (command == EPOLL_CTL_MOD && (event->events & EPOLLIN) != 0)) &&
        fault_strikes(FAULT_OWN)) {
        errno = ENOMEM;
        return -1;
    }
    return __real_epoll_ctl(epoll, command, fd, event);
}

struct script {
    const char *name;
    void (*pair)(int fds[2]);
    size_t client_says, upstream_says;
    bool client_waits;   /* for all of the upstream's bytes, before it reads */
    bool client_aborts;  /* after what it says */
    bool upstream_first; /* finishes first; else the client does */
    bool refused;        /* nobody listens */
    bool cut;            /* relay_end() once both have spoken */
};

static struct relay_bench bench;

static void say(struct peer *peer, size_t size, bool finish)
{
    if (peer->fd < 0 || peer->error != 0) {
        return;
    }
    if (peer->sent < size) {
        peer_say(peer, size - peer->sent);
    }
    fault_spare(true);
    if (peer->sent == size && finish) {
        (void)shutdown(peer->fd, SHUT_WR);
    }
    fault_spare(false);
}

static void take_upstream(void)
{
    fault_spare(true);
    int fd = bench.upstream.fd < 0 ? accept(bench.listener, NULL, NULL) : -1;
    fault_spare(false);
    if (fd >= 0) {
        peer_init(&bench.upstream, fd);
    }
}

static void step(const struct script *script)
{
    bool hold_client = script->client_waits && bench.upstream.fd >= 0 &&
                       bench.upstream.sent < script->upstream_says && !bench.relay.out.blocked;
    take_upstream();
    bool client_done = bench.client.heard >= script->upstream_says;
    bool upstream_done = bench.upstream.fd >= 0 && bench.upstream.heard >= script->client_says;
    say(&bench.client, script->client_says, script->upstream_first ? client_done : true);
    say(&bench.upstream, script->upstream_says, script->upstream_first ? true : upstream_done);
    if (script->client_aborts && bench.client.fd >= 0 && bench.client.sent == script->client_says) {
        peer_reset(&bench.client);
    }
    if (bench.client.fd >= 0 && !hold_client) {
        peer_hear(&bench.client);
    }
    if (bench.upstream.fd >= 0) {
        peer_hear(&bench.upstream);
    }
    if (script->cut && client_done && upstream_done) {
        relay_end(&bench.relay, REASON_SHUTDOWN);
    }
}

static bool told(const struct peer *peer)
{
    return peer->fd < 0 || peer->ended || peer->error != 0;
}

static void hear_the_end(struct peer *peer)
{
    if (peer->fd >= 0) {
        peer_hear(peer);
    }
}

/* An end that is not a reset says that all has arrived. (Unix sockets know no reset.) */
static void check_ends(const struct script *script)
{
    if (bench.why == REASON_SHUTDOWN) {
        return;
    }
    if (bench.opened == 1 && bench.upstream.fd >= 0 && bench.upstream.ended) {
        assert_int_equal(bench.upstream.heard, bench.client.sent);
    }
    if (script->pair == pair_of_tcp && bench.client.fd >= 0 && bench.client.ended) {
        assert_int_equal(bench.opened, 1);
        assert_int_equal(bench.client.heard, bench.upstream.sent);
    }
}

static void whole_relay(void *arg)
{
    const struct script *script = arg;
    relay_bench_lead(&bench, script->refused ? refusing_port() : bench.port);
    relay_bench_start(&bench, script->pair);
    uint64_t limit = loopback_limit();
    while (bench.ended == 0) {
        loopback_check(limit, script->name, __FILE__, __LINE__);
        step(script);
        loopback_turn(&bench.loopback);
    }
    take_upstream();
    while (!told(&bench.client) || !told(&bench.upstream)) {
        loopback_check(limit, script->name, __FILE__, __LINE__);
        loopback_turn(&bench.loopback);
        hear_the_end(&bench.client);
        hear_the_end(&bench.upstream);
    }
    check_ends(script);
    relay_bench_reset(&bench);
    assert_int_equal(bench.ended, 1);
    pipe_pool_release(&bench.loopback.loop.pipes);
    assert_int_equal(bench.loopback.loop.pipes.count, 0);
    take_upstream(); /* what came too late to be seen above */
    peer_close(&bench.upstream);
}

static const struct script scripts[] = {
    {.name = "relay tcp", .pair = pair_of_tcp, .client_says = 1000, .upstream_says = 2000},
    {.name = "relay unix", .pair = pair_of_unix, .client_says = 1000, .upstream_says = 2000},
    {.name = "relay upstream ends first",
     .pair = pair_of_tcp,
     .client_says = 500,
     .upstream_says = 500,
     .upstream_first = true},
    {.name = "relay bulk up", .pair = pair_of_tcp, .client_says = 3 << 20, .upstream_says = 100},
    {.name = "relay bulk down", .pair = pair_of_unix, .client_says = 100, .upstream_says = 3 << 20},
    {.name = "relay slow reader",
     .pair = pair_of_unix,
     .client_says = 100,
     .upstream_says = 1 << 20,
     .client_waits = true},
    {.name = "relay client aborts", .pair = pair_of_tcp, .client_says = 3000, .client_aborts = true},
    {.name = "relay refused", .pair = pair_of_tcp, .client_says = 10, .refused = true},
    {.name = "relay cut", .pair = pair_of_tcp, .client_says = 1000, .upstream_says = 1000, .cut = true},
};

static void test_faults(void **state)
{
    const unsigned calls = FAULT_MEMORY | FAULT_SOCKET | FAULT_CONNECT | FAULT_SOCKOPT | FAULT_PIPE |
                           FAULT_FCNTL | FAULT_READ | FAULT_WRITE | FAULT_OWN;
    unsigned long total = 0;
    char sticky[64];
    (void)state;
    relay_bench_open(&bench);
    for (size_t i = 0; i < ARRAY_SIZE(scripts); i++) {
        void *script = (void *)(uintptr_t)&scripts[i];
        snprintf(sticky, sizeof sticky, "%s, sticky", scripts[i].name);
        total += fault_loop(scripts[i].name, calls, whole_relay, script);
        /* Without socket options no reset can be made. */
        total += fault_loop(sticky, (calls & ~(unsigned)FAULT_SOCKOPT) | FAULT_STICKY, whole_relay, script);
    }
    assert_true(total >= 200);
    relay_bench_close(&bench);
}

/* Small pieces are copied, not spliced; what the sink does not take of one has to be kept. */
static void test_no_memory_for_what_the_sink_did_not_take(void **state)
{
    (void)state;
    relay_bench_open(&bench);
    relay_bench_establish(&bench, pair_of_unix);
    fault_arm(FAULT_MEMORY, 1);
    uint64_t limit = loopback_limit();
    while (bench.ended == 0) {
        peer_say(&bench.upstream, 3000);
        loopback_turn(&bench.loopback);
        loopback_check(limit, "the end", __FILE__, __LINE__);
    }
    assert_int_equal(fault_disarm(), 1);
    relay_bench_finish(&bench, REASON_NO_MEMORY);
    assert_true(bench.moved_out > 0);
    relay_bench_close(&bench);
}

int main(void)
{
    loopback_spare_libuv();
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_faults),
                                       cmocka_unit_test(test_no_memory_for_what_the_sink_did_not_take)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
