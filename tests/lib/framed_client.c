/* A client of the framed protocol, moved by hand: see framed_client.h. */
#include "framed_client.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* In programs without faults it is not there. */
extern void fault_spare(bool spare) __attribute__((weak));

static void spare(bool on)
{
    if (fault_spare != NULL) {
        fault_spare(on);
    }
}

static uint64_t now_of(const struct framed_client *client)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000 + client->ahead;
}

static void copy_text(char *to, size_t size, struct control_text text)
{
    snprintf(to, size, "%.*s", (int)text.length, text.data != NULL ? text.data : "");
}

static void on_ready(struct session *session, const struct control_hello *peer)
{
    struct framed_client *client = session_user(session);
    client->ready = true;
    copy_text(client->build, sizeof client->build, peer->build);
}

static void on_opened(struct channel *channel)
{
    struct framed_stream *stream = channel_user(channel);
    stream->opened = true;
}

static void on_refused(struct channel *channel, const struct control_refused *refused)
{
    struct framed_stream *stream = channel_user(channel);
    stream->refused = true;
    stream->code = refused->code;
    stream->retryable = refused->retryable;
    copy_text(stream->message, sizeof stream->message, refused->message);
}

static void on_data(struct channel *channel, const uint8_t *bytes, size_t length)
{
    struct framed_stream *stream = channel_user(channel);
    for (size_t i = 0; i < length; i++) {
        if (bytes[i] != stream->wanted++) {
            fail_msg("byte %zu is %u, and should be %u", stream->heard + i, bytes[i],
                     (unsigned char)(stream->wanted - 1));
        }
    }
    stream->heard += length;
    if (stream->deaf) {
        stream->held += length;
    } else {
        channel_consumed(channel, length);
    }
}

static void on_fin(struct channel *channel)
{
    struct framed_stream *stream = channel_user(channel);
    stream->ended = true;
}

static void on_reset(struct channel *channel, uint32_t code)
{
    struct framed_stream *stream = channel_user(channel);
    stream->reset = true;
    stream->code = code;
}

static void on_stopped(struct channel *channel, uint32_t code)
{
    struct framed_stream *stream = channel_user(channel);
    stream->stopped = true;
    stream->code = code;
}

static void on_failed(struct channel *channel, uint32_t code, bool retryable)
{
    struct framed_stream *stream = channel_user(channel);
    stream->failed = true;
    stream->code = code;
    stream->retryable = retryable;
}

static size_t on_fill(struct channel *channel, uint8_t *buffer, size_t size, enum channel_more *more)
{
    struct framed_stream *stream = channel_user(channel);
    if (stream->byte_count > 0) {
        size_t fit = stream->byte_count < size ? stream->byte_count : size;
        memcpy(buffer, stream->bytes, fit);
        stream->bytes += fit;
        stream->byte_count -= fit;
        *more = CHANNEL_MORE;
        return fit;
    }
    size_t n = stream->to_say < size ? stream->to_say : size;
    for (size_t i = 0; i < n; i++) {
        buffer[i] = stream->next++;
    }
    stream->to_say -= n;
    stream->said += n;
    *more = stream->to_say > 0 ? CHANNEL_MORE : stream->finish ? CHANNEL_FIN : CHANNEL_PAUSE;
    return n;
}

static void on_going_away(struct session *session, const struct control_goaway *goaway)
{
    struct framed_client *client = session_user(session);
    (void)goaway;
    client->goaways++;
}

static void on_pong(struct session *session, uint64_t rtt_ms)
{
    struct framed_client *client = session_user(session);
    (void)rtt_ms;
    client->pongs++;
}

static void on_ended(struct session *session, const struct session_end *end)
{
    struct framed_client *client = session_user(session);
    client->ended = true;
    client->end_code = end->code;
    client->end_by_peer = end->by_peer;
    snprintf(client->end_text, sizeof client->end_text, "%s", end->text);
}

static const struct session_events events = {
    .ready = on_ready,
    .opened = on_opened,
    .refused = on_refused,
    .data = on_data,
    .fin = on_fin,
    .reset = on_reset,
    .stopped = on_stopped,
    .failed = on_failed,
    .fill = on_fill,
    .going_away = on_going_away,
    .pong = on_pong,
    .ended = on_ended,
};

void framed_client_init(struct framed_client *client, int fd, const struct session_config *config)
{
    memset(client, 0, sizeof *client);
    client->fd = fd;
    session_config_default(&client->config, SESSION_CLIENT);
    if (config != NULL) {
        client->config = *config;
    }
    spare(true);
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    client->session = session_new(&client->config, &events, client, now_of(client));
    spare(false);
    assert_non_null(client->session);
}

void framed_client_close(struct framed_client *client)
{
    spare(true);
    if (client->session != NULL) {
        session_free(client->session);
        client->session = NULL;
    }
    if (client->fd >= 0) {
        close(client->fd);
        client->fd = -1;
    }
    spare(false);
}

static void read_all(struct framed_client *client)
{
    static unsigned char in[65536];
    ssize_t n = 1;
    while (n > 0) {
        n = recv(client->fd, in, sizeof in, 0);
        if (n > 0) {
            (void)session_receive(client->session, now_of(client), in, (size_t)n);
        }
    }
    if (n < 0 && errno == EAGAIN) {
        return;
    }
    client->heard_end = true;
    client->error = n < 0 ? -errno : 0;
    session_receive_end(client->session, now_of(client));
}

static void write_all(struct framed_client *client)
{
    for (;;) {
        if (client->out_at == client->out_length) {
            client->out_at = client->out_length = 0;
            if (!session_has_output(client->session)) {
                if (session_is_over(client->session)) {
                    (void)shutdown(client->fd, SHUT_WR);
                }
                return;
            }
            client->out_length =
                session_send(client->session, now_of(client), client->out, sizeof client->out);
            if (client->out_length == 0) {
                return;
            }
        }
        ssize_t n =
            send(client->fd, client->out + client->out_at, client->out_length - client->out_at, MSG_NOSIGNAL);
        if (n < 0) {
            return;
        }
        client->out_at += (size_t)n;
    }
}

struct framed_client *framed_client_turn(struct framed_client *client)
{
    if (client->fd < 0) {
        return client;
    }
    spare(true);
    if (!client->deaf && !client->heard_end) {
        read_all(client);
    }
    if (session_next_deadline(client->session) <= now_of(client)) {
        session_tick(client->session, now_of(client));
    }
    if (!client->mute) {
        write_all(client);
    }
    spare(false);
    return client;
}

struct framed_stream *framed_client_open(struct framed_client *client, const char *route)
{
    struct control_open open = {.route = control_text(route)};
    assert_true(client->count < FRAMED_STREAMS);
    struct framed_stream *stream = &client->streams[client->count++];
    memset(stream, 0, sizeof *stream);
    stream->client = client;
    spare(true);
    session_set_now(client->session, now_of(client));
    assert_int_equal(session_open(client->session, &open, stream, &stream->channel), 0);
    spare(false);
    return stream;
}

void framed_say(struct framed_stream *stream, size_t size)
{
    stream->to_say += size;
    channel_ready(stream->channel);
}

void framed_say_bytes(struct framed_stream *stream, const void *bytes, size_t size)
{
    stream->bytes = bytes;
    stream->byte_count = size;
    channel_ready(stream->channel);
}

void framed_finish(struct framed_stream *stream)
{
    stream->finish = true;
    channel_ready(stream->channel);
}

void framed_reset(struct framed_stream *stream, uint32_t code)
{
    session_set_now(stream->client->session, now_of(stream->client));
    channel_reset(stream->channel, code);
}

void framed_stop(struct framed_stream *stream, uint32_t code)
{
    session_set_now(stream->client->session, now_of(stream->client));
    channel_stop(stream->channel, code);
}

void framed_hear(struct framed_stream *stream)
{
    stream->deaf = false;
    session_set_now(stream->client->session, now_of(stream->client));
    channel_consumed(stream->channel, stream->held);
    stream->held = 0;
}

void framed_release(struct framed_stream *stream)
{
    session_set_now(stream->client->session, now_of(stream->client));
    channel_release(stream->channel);
    stream->channel = NULL;
}

void framed_client_write(struct framed_client *client, const void *bytes, size_t length)
{
    spare(true);
    assert_int_equal(send(client->fd, bytes, length, MSG_NOSIGNAL), (ssize_t)length);
    spare(false);
}
