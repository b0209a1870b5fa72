/* A session on a loop, with a client at the other end of a socket. */
#include "framed/channel_stream.h"
#include "framed_client.h"
#include "loopback.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

static struct loopback loopback;
static struct framed_client client;
static struct session_io io;

/* What its owner heard. */
static struct {
    unsigned ready, pongs, ended;
    struct session_end end;
    char text[256];
} heard;

static struct channel_stream stream;

static void on_ready(struct session_io *which, const struct control_hello *peer)
{
    assert_ptr_equal(which, &io);
    assert_int_equal(peer->role, SESSION_CLIENT);
    heard.ready++;
}

/* Sends back what it gets. */
static void echo(struct stream *base, unsigned events)
{
    const void *data;
    (void)events;
    ssize_t n = stream_borrow(base, &data);
    if (n > 0) {
        ssize_t written = stream_write(base, data, (size_t)n);
        if (written > 0) {
            stream_consumed(base, (size_t)written);
        }
    } else if (n == 0) {
        assert_int_equal(stream_finish(base), 0);
        stream_close(base, false);
    }
}

static void on_open(struct session_io *which, struct channel *channel, const struct control_open *open)
{
    assert_int_equal(open->route.length, 4);
    assert_memory_equal(open->route.data, "echo", 4);
    channel_stream_open(&stream, which, channel, echo);
    channel_stream_accept(&stream);
}

static void on_pong(struct session_io *which, uint64_t rtt_ms)
{
    (void)which;
    (void)rtt_ms;
    heard.pongs++;
}

static void on_ended(struct session_io *which, const struct session_end *end)
{
    assert_ptr_equal(which, &io);
    heard.ended++;
    heard.end = *end;
    strncpy(heard.text, end->text, sizeof heard.text - 1);
}

static const struct session_io_ops ops = {.ready = on_ready,
                                          .open = on_open,
                                          .pong = on_pong,
                                          .ended = on_ended};

static void start(void)
{
    int fds[2];
    struct session_config config;
    struct sock_kind_options kind = {.kind = ADDR_TCP};
    memset(&heard, 0, sizeof heard);
    session_config_default(&config, SESSION_SERVER);
    pair_of_tcp(fds);
    framed_client_init(&client, fds[0], NULL);
    assert_int_equal(session_io_start(&io, &loopback.loop, &ops, &config, fds[1], &kind), 0);
}

#define WAIT(condition) WAIT_FOR(&loopback, (framed_client_turn(&client), (condition)))

static void test_a_stream_there_and_back(void **state)
{
    (void)state;
    loopback_open(&loopback);
    start();
    WAIT(client.ready && client.pongs > 0 && heard.ready == 1 && heard.pongs == 1);
    struct framed_stream *there = framed_client_open(&client, "echo");
    framed_say(there, 1000);
    WAIT(there->opened && there->heard == 1000);
    framed_finish(there);
    WAIT(there->ended);
    framed_release(there);
    session_drain(client.session, 0);
    WAIT(heard.ended == 1 && client.heard_end);
    assert_int_equal(heard.end.code, CODE_NO_ERROR);
    assert_int_equal(client.end_code, CODE_NO_ERROR);
    assert_int_equal(client.error, 0);
    framed_client_close(&client);
    loopback_close(&loopback);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_stream_there_and_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
