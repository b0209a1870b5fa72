/* A relay over loopback: see relay_bench.h. */
#include "relay_bench.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static struct relay_bench *of(struct relay *relay)
{
    return CONTAINER_OF(relay, struct relay_bench, relay);
}

static void on_opened(struct relay *relay, uint64_t connect_us)
{
    struct relay_bench *bench = of(relay);
    bench->opened++;
    assert_in_range(connect_us, 0, 30000000);
    assert_int_equal(bench->ended, 0);
    if (bench->end_in_opened) {
        relay_end(relay, REASON_SHUTDOWN);
        assert_int_equal(bench->ended, 0); /* not from inside */
    }
}

static void on_moved(struct relay *relay, uint64_t in, uint64_t out)
{
    struct relay_bench *bench = of(relay);
    assert_int_equal(bench->opened, 1);
    assert_int_equal(bench->ended, 0);
    assert_true(in + out > 0);
    bench->moved++;
    bench->moved_in += in;
    bench->moved_out += out;
    if (bench->end_in_moved) {
        relay_end(relay, REASON_SHUTDOWN);
        assert_int_equal(bench->ended, 0);
    }
}

static void on_ended(struct relay *relay)
{
    struct relay_bench *bench = of(relay);
    char buffer[ADDR_TEXT_MAX];
    const char *destination = relay_destination(relay, buffer);
    bench->ended++;
    snprintf(bench->destination, sizeof bench->destination, "%s", destination != NULL ? destination : "");
    bench->why = relay->why;
    snprintf(bench->detail, sizeof bench->detail, "%s", relay->detail != NULL ? relay->detail : "");
    snprintf(bench->server_name, sizeof bench->server_name, "%s",
             relay->server_name != NULL ? relay->server_name : "");
    /* All that was delivered was told. */
    assert_int_equal(bench->moved_in, relay->in.bytes);
    assert_int_equal(bench->moved_out, relay->out.bytes);
}

static const struct relay_ops ops = {.opened = on_opened, .moved = on_moved, .ended = on_ended};

void relay_bench_lead(struct relay_bench *bench, uint16_t port)
{
    char text[64];
    struct error err;
    snprintf(text, sizeof text, "tcp://127.0.0.1:%u", port);
    assert_int_equal(addr_parse(text, &bench->route.to, &err), 0);
}

void relay_bench_open(struct relay_bench *bench)
{
    signal(SIGPIPE, SIG_IGN); /* as in the daemon: splice() knows no other way */
    memset(bench, 0, sizeof *bench);
    loopback_open(&bench->loopback);
    relay_worker_init(&bench->worker, &bench->loopback.loop);
    config_route_init(&bench->route);
    bench->route.name = "test";
    bench->route.to_kind = CONFIG_TO_ADDRESS;
    bench->config.vsock.write_size = 31 * 1024;
    bench->listener = tcp_listener(10, &bench->port);
    relay_bench_lead(bench, bench->port);
    bench->client.fd = bench->upstream.fd = -1;
}

static void turn_a_little(struct relay_bench *bench)
{
    for (int i = 0; i < 3; i++) {
        loopback_turn(&bench->loopback);
    }
}

void relay_bench_reset(struct relay_bench *bench)
{
    peer_close(&bench->client);
    peer_close(&bench->upstream);
    turn_a_little(bench);
    bench->end_in_opened = bench->end_in_moved = false;
}

void relay_bench_close(struct relay_bench *bench)
{
    relay_bench_reset(bench);
    close(bench->listener);
    const struct pipe_pool *pipes = &bench->loopback.loop.pipes;
    assert_int_equal(pipes->count, pipes->kept_count); /* all that were lent had come back */
    loopback_close(&bench->loopback);
}

void relay_bench_start(struct relay_bench *bench, void (*pair)(int fds[2]))
{
    int fds[2];
    bench->opened = bench->moved = bench->ended = 0;
    bench->moved_in = bench->moved_out = 0;
    bench->why = REASON_NONE;
    pair(fds);
    peer_init(&bench->client, fds[0]);
    uv_update_time(&bench->loopback.loop.uv);
    const struct relay_source source = {.config = &bench->config, .route = &bench->route};
    relay_start(&bench->relay, &bench->worker, &ops, &source, fds[1],
                pair == pair_of_tcp ? ADDR_TCP : ADDR_UNIX);
    assert_int_equal(bench->opened + bench->ended, 0); /* not from inside */
}

void relay_bench_accept(struct relay_bench *bench)
{
    peer_init(&bench->upstream, accept_one(&bench->loopback, bench->listener));
}

void relay_bench_establish(struct relay_bench *bench, void (*pair)(int fds[2]))
{
    relay_bench_start(bench, pair);
    relay_bench_accept(bench);
    WAIT_FOR(&bench->loopback, bench->opened == 1);
}

void relay_bench_finish(struct relay_bench *bench, enum reason why)
{
    WAIT_FOR(&bench->loopback, bench->ended > 0);
    turn_a_little(bench);
    assert_int_equal(bench->ended, 1);
    assert_string_equal(bench->why == REASON_NONE ? "none" : reason_word(bench->why), reason_word(why));
    assert_int_equal(bench->relay.client.sock.watcher.fd, -1);
    assert_int_equal(bench->relay.upstream.watcher.fd, -1);
}
