/* Relays of a session's streams: see channel_bench.h. */
#include "channel_bench.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static struct channel_bench *bench_of(const struct relay *relay)
{
    return CONTAINER_OF(relay->worker, struct channel_bench, worker);
}

static struct channel_relay *of(struct relay *relay)
{
    return CONTAINER_OF(relay, struct channel_relay, relay);
}

static void on_opened(struct relay *relay, uint64_t connect_us)
{
    (void)connect_us;
    of(relay)->opened++;
    assert_int_equal(of(relay)->ended, 0);
    if (bench_of(relay)->end_in_opened) {
        relay_end(relay, REASON_SHUTDOWN);
    }
}

static void on_moved(struct relay *relay, uint64_t in, uint64_t out)
{
    struct channel_bench *bench = bench_of(relay);
    assert_int_equal(of(relay)->opened, 1);
    assert_int_equal(of(relay)->ended, 0);
    assert_true(in + out > 0);
    of(relay)->moved_in += in;
    of(relay)->moved_out += out;
    if (bench->end_in_moved) {
        relay_end(relay, REASON_SHUTDOWN);
    }
    if (bench->end_session_in_moved) {
        session_io_end(&bench->io, CODE_INTERNAL, "enough");
    }
}

static void on_ended(struct relay *relay)
{
    struct channel_relay *channel = of(relay);
    assert_int_equal(bench_of(relay)->ended, 0); /* the session outlives it */
    channel->ended++;
    channel->why = relay->why;
    snprintf(channel->detail, sizeof channel->detail, "%s", relay->detail != NULL ? relay->detail : "");
    assert_int_equal(channel->moved_in, relay->in.bytes);
    assert_int_equal(channel->moved_out, relay->out.bytes);
    assert_null(relay->client.channel.channel);
    assert_int_equal(relay->upstream.watcher.fd, -1);
    bench_of(relay)->live--;
}

static const struct relay_ops relay_ops = {.opened = on_opened, .moved = on_moved, .ended = on_ended};

static struct channel_bench *bench_of_io(struct session_io *io)
{
    return CONTAINER_OF(io, struct channel_bench, io);
}

static void on_ready(struct session_io *io, const struct control_hello *peer)
{
    (void)peer;
    bench_of_io(io)->ready++;
}

static void on_open(struct session_io *io, struct channel *channel, const struct control_open *open)
{
    struct channel_bench *bench = bench_of_io(io);
    if (open->route.length != 4 || memcmp(open->route.data, "test", 4) != 0) {
        channel_refuse(channel, code_of_reason(REASON_DENIED_ROUTE), NULL, false);
        channel_release(channel);
        return;
    }
    assert_true(bench->count < CHANNEL_RELAYS);
    struct channel_relay *relay = &bench->relays[bench->count++];
    memset(relay, 0, sizeof *relay);
    relay->why = REASON_NONE;
    bench->live++;
    const struct relay_source source = {.config = &bench->config, .route = &bench->route};
    relay_start_channel(&relay->relay, &bench->worker, &relay_ops, &source, io, channel);
    assert_int_equal(relay->opened + relay->ended, 0); /* not from inside */
}

static void on_session_ended(struct session_io *io, const struct session_end *end)
{
    struct channel_bench *bench = bench_of_io(io);
    assert_int_equal(bench->live, 0);
    bench->ended++;
    bench->end = *end;
}

static const struct session_io_ops io_ops = {.ready = on_ready, .open = on_open, .ended = on_session_ended};

void channel_bench_lead(struct channel_bench *bench, uint16_t port)
{
    char text[64];
    struct error err;
    snprintf(text, sizeof text, "tcp://127.0.0.1:%u", port);
    assert_int_equal(addr_parse(text, &bench->route.to, &err), 0);
}

void channel_bench_open(struct channel_bench *bench)
{
    signal(SIGPIPE, SIG_IGN);
    memset(bench, 0, sizeof *bench);
    loopback_open(&bench->loopback);
    relay_worker_init(&bench->worker, &bench->loopback.loop);
    config_route_init(&bench->route);
    bench->route.name = "test";
    bench->route.to_kind = CONFIG_TO_ADDRESS;
    bench->config.vsock.write_size = 31 * 1024;
    bench->listener = tcp_listener(512, &bench->port);
    channel_bench_lead(bench, bench->port);
    session_config_default(&bench->session_config, SESSION_SERVER);
    bench->client.fd = -1;
}

void channel_bench_close(struct channel_bench *bench)
{
    framed_client_close(&bench->client);
    close(bench->listener);
    loopback_close(&bench->loopback);
}

bool channel_bench_start(struct channel_bench *bench, void (*pair)(int fds[2]),
                         const struct session_config *config)
{
    int fds[2];
    struct sock_kind_options kind = {.kind = pair == pair_of_tcp ? ADDR_TCP : ADDR_UNIX};
    bench->ready = bench->ended = bench->count = bench->live = 0;
    pair(fds);
    framed_client_init(&bench->client, fds[0], config);
    uv_update_time(&bench->loopback.loop.uv);
    int rv =
        session_io_start(&bench->io, &bench->loopback.loop, &io_ops, &bench->session_config, fds[1], &kind);
    assert_int_equal(bench->ready + bench->ended, 0);
    return rv == 0;
}

void channel_bench_turn(struct channel_bench *bench)
{
    framed_client_turn(&bench->client);
    loopback_turn(&bench->loopback);
}

struct framed_stream *channel_bench_establish(struct channel_bench *bench, struct peer *ret_upstream)
{
    TURN_UNTIL(bench, bench->client.ready);
    struct framed_stream *stream = framed_client_open(&bench->client, "test");
    framed_client_turn(&bench->client);
    peer_init(ret_upstream, accept_one(&bench->loopback, bench->listener));
    TURN_UNTIL(bench, stream->opened);
    return stream;
}

void channel_bench_finish(struct channel_bench *bench, unsigned nth, enum reason why)
{
    const struct channel_relay *relay = &bench->relays[nth];
    TURN_UNTIL(bench, bench->count > nth && relay->ended > 0);
    for (int i = 0; i < 3; i++) {
        channel_bench_turn(bench);
    }
    assert_int_equal(relay->ended, 1);
    assert_string_equal(relay->why == REASON_NONE ? "none" : reason_word(relay->why), reason_word(why));
}

void channel_bench_end(struct channel_bench *bench)
{
    for (unsigned i = 0; i < bench->client.count; i++) {
        if (bench->client.streams[i].channel != NULL) {
            framed_release(&bench->client.streams[i]);
        }
    }
    session_drain(bench->client.session, 0);
    TURN_UNTIL(bench, bench->ended > 0);
    assert_int_equal(bench->ended, 1);
    framed_client_close(&bench->client);
}
