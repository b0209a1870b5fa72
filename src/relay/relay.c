/*
 * A relay's life: see relay.h.
 *
 * Happy path: start -> (hello whole, name allowed) -> dialed -> both flows finish -> end -> timer closed
 * -> ended(). Failure modes: refused by name; the dial fails; a timeout; the client aborts while opening;
 * a side fails while open. All of them go through end(), which leaves nothing but the closing timer;
 * ended() comes from its close callback, when no other callback can come.
 *
 * When a side fails while open, what it had sent before is still delivered to the other side, which is then
 * cut rather than closed, so that it does not take the stream for complete.
 */
#include "relay/relay.h"

#include "net/sock.h"
#include "relay/opening.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DISCARD_READS 64

static struct relay *of_client(struct stream *stream)
{
    return CONTAINER_OF(stream, struct relay, client.stream);
}

static struct relay *of_upstream(struct stream *stream)
{
    return CONTAINER_OF(stream, struct relay, upstream.stream);
}

void relay_worker_init(struct relay_worker *worker, struct loop *loop)
{
    worker->loop = loop;
    worker->tools = (struct flow_tools){.scratch = loop->scratch, .pipes = &loop->pipes};
}

/* The owner may free the relay in ended(). */
static void on_timer_closed(uv_handle_t *handle)
{
    struct relay *relay = handle->data;
    char *detail = relay->detail;
    char *server_name = relay->server_name;
    char *asked = relay->asked;
    relay->ops->ended(relay);
    free(detail);
    free(server_name);
    free(asked);
}

/* Bytes that nobody is going to read, up to a bound: a socket that is closed with some unread is reset by
 * the kernel, and what is still on its way to the peer is lost. */
static void discard_unread(struct relay *relay, const struct flow *from)
{
    for (unsigned i = 0; i < DISCARD_READS && !from->ended; i++) {
        if (stream_read(from->from, relay->worker->tools.scratch, FLOW_CHUNK_MAX) <= 0) {
            return;
        }
    }
}

/* A side that was not given all that was meant for it must not take the stream for complete. */
static void close_sock(struct relay *relay, struct sock_stream *side, const struct flow *from, bool abort)
{
    if (!abort) {
        discard_unread(relay, from);
    }
    sock_stream_close(side, abort);
}

/* Each direction is told by itself; nothing that a peer sent unread can spoil it. A peer that is refused hears the
 * reason: the detail has addresses of the parent's network in it, and is for the log. */
static void close_channel(struct relay *relay)
{
    if (!relay->accepted) {
        channel_stream_refuse(&relay->client.channel, relay->why, NULL);
    }
    channel_stream_give_up(&relay->client.channel, relay->why);
    stream_close(&relay->client.stream, !relay->out.finished);
}

/* Whoever spoke with the client has nothing more to do here. */
static void dismiss(struct relay *relay)
{
    struct relay_talk *talk = relay->talk;
    relay->talk = NULL;
    if (talk != NULL) {
        talk->ops->over(talk);
    }
}

static void end(struct relay *relay, enum reason why, const char *detail)
{
    if (relay->state == RELAY_ENDED) {
        return;
    }
    bool told = !relay->framed && relay->opening != NULL && opening_send_alert(relay->opening, why);
    relay->state = RELAY_ENDED;
    relay->why = why;
    relay->detail = detail != NULL ? strdup(detail) : NULL;
    dismiss(relay); /* to whom `detail` may belong */
    opening_free(relay->opening);
    relay->opening = NULL;
    flow_release(&relay->in, &relay->worker->tools);
    flow_release(&relay->out, &relay->worker->tools);
    if (relay->ops->closing != NULL) {
        relay->ops->closing(relay);
    }
    if (relay->framed) {
        close_channel(relay);
    } else {
        close_sock(relay, &relay->client.sock, &relay->in, !relay->out.finished && !told);
    }
    close_sock(relay, &relay->upstream, &relay->out, !relay->in.finished);
    uv_close((uv_handle_t *)&relay->timer, on_timer_closed);
}

void relay_end(struct relay *relay, enum reason why)
{
    end(relay, why, NULL);
}

/* When the state's time is up, and the reason to give then. */
static uint64_t due(const struct relay *relay, enum reason *ret_why)
{
    const struct config_route *route = relay->route;
    if (relay->state == RELAY_HELLO || relay->state == RELAY_TALKING) {
        *ret_why = REASON_HELLO_TIMEOUT;
        return relay->moved_at + route->hello_timeout_ms;
    }
    if (relay->state == RELAY_HALF_CLOSED) {
        *ret_why = REASON_HALF_CLOSED_TIMEOUT;
        return relay->moved_at + route->half_closed_timeout_ms;
    }
    if (relay->in.bytes == 0 && relay->out.bytes == 0) {
        *ret_why = REASON_FIRST_BYTE_TIMEOUT;
        return relay->moved_at + route->first_byte_timeout_ms;
    }
    *ret_why = REASON_IDLE_TIMEOUT;
    return relay->moved_at + route->idle_timeout_ms;
}

static void arm(struct relay *relay);

/* Bytes that pass only note the time: the timer finds out when it fires, and waits for the rest. */
static void on_timer(uv_timer_t *timer)
{
    struct relay *relay = timer->data;
    enum reason why;
    if (loop_now(relay->worker->loop) < due(relay, &why)) {
        arm(relay);
    } else if (relay->state == RELAY_TALKING) {
        relay->moved_at = loop_now(relay->worker->loop);
        arm(relay);
        relay->talk->ops->late(relay->talk);
    } else {
        end(relay, why, NULL);
    }
}

static void arm(struct relay *relay)
{
    enum reason why;
    uint64_t now = loop_now(relay->worker->loop);
    uint64_t at = due(relay, &why);
    uv_timer_start(&relay->timer, on_timer, at > now ? at - now : 0, 0);
}

static void enter(struct relay *relay, enum relay_state state)
{
    relay->state = state;
    relay->moved_at = loop_now(relay->worker->loop);
    arm(relay);
}

static void report_moved(struct relay *relay)
{
    uint64_t in = relay->in.bytes - relay->moved_in;
    uint64_t out = relay->out.bytes - relay->moved_out;
    if (in == 0 && out == 0) {
        return;
    }
    bool first = relay->moved_in == 0 && relay->moved_out == 0;
    relay->moved_in += in;
    relay->moved_out += out;
    relay->moved_at = loop_now(relay->worker->loop);
    relay->ops->moved(relay, in, out);
    if (first && relay->state != RELAY_ENDED &&
        relay->route->idle_timeout_ms < relay->route->first_byte_timeout_ms) {
        arm(relay);
    }
}

static enum reason reset_by(const struct relay *relay, const struct stream *side)
{
    return side == &relay->client.stream ? REASON_CLIENT_RESET : REASON_UPSTREAM_RESET;
}

/* The flow's sink takes no more. What its peer had sent before may still be read, by the other flow. */
static void break_flow(struct relay *relay, struct flow *flow)
{
    flow->broken = true;
    if (relay->why == REASON_NONE) {
        relay->why = reset_by(relay, flow->to);
    }
}

static void run(struct relay *relay, struct flow *flow)
{
    if (relay->state == RELAY_ENDED || flow_is_over(flow)) {
        return;
    }
    flow->last = flow == &relay->in ? relay->out.finished : relay->in.finished;
    switch (flow_run(flow, &relay->worker->tools)) {
    case FLOW_WAITING:
        if (!flow->blocked && flow->from->cut) {
            /* A write to it failed and a read does not: short of memory, perhaps, but bytes are lost. */
            report_moved(relay);
            end(relay, reset_by(relay, flow->from), NULL);
        } else if (!flow->blocked) {
            stream_mute(flow->from, false);
        }
        break;
    case FLOW_TIRED:
        stream_again(flow->from, STREAM_READABLE);
        break;
    case FLOW_FINISHED:
        enter(relay, RELAY_HALF_CLOSED);
        break;
    case FLOW_SINK_FAILED:
        break_flow(relay, flow);
        break;
    case FLOW_SOURCE_FAILED:
        report_moved(relay);
        end(relay, reset_by(relay, flow->from), NULL);
        break;
    case FLOW_NO_MEMORY:
        report_moved(relay);
        end(relay, REASON_NO_MEMORY, NULL);
        break;
    }
}

/* `from` a peer that is gone nothing more comes once its flow is over, and `to` it nothing more can go:
 * if nothing was waiting to go, it simply closed both ways at once. */
static void settle_gone(struct relay *relay, const struct stream *peer, const struct flow *from,
                        struct flow *to)
{
    if (!peer->gone || !flow_is_over(from) || flow_is_over(to)) {
        return;
    }
    if (peer->failed || to->blocked || to->pipe != NULL) {
        break_flow(relay, to);
    } else {
        to->finished = true;
    }
}

static void settle(struct relay *relay)
{
    report_moved(relay);
    if (relay->state == RELAY_ENDED) {
        return; /* by the owner */
    }
    settle_gone(relay, &relay->client.stream, &relay->in, &relay->out);
    settle_gone(relay, &relay->upstream.stream, &relay->out, &relay->in);
    if (flow_is_over(&relay->in) && flow_is_over(&relay->out)) {
        end(relay, relay->why != REASON_NONE ? relay->why : REASON_FINISHED, NULL);
    }
}

/* `from` carries what the ready stream sends, `to` what it is sent. */
static void carry(struct relay *relay, unsigned events, struct flow *from, struct flow *to)
{
    /* A vsock peer that has closed both ways is reported as one that sends no more, and never as writable again:
     * only a write finds out. */
    if (to->blocked && ((events & STREAM_WRITABLE) != 0 || to->to->hung_up)) {
        run(relay, to);
    }
    if ((events & STREAM_READABLE) != 0) {
        if (from->blocked) {
            stream_mute(from->from, true);
        } else {
            run(relay, from);
        }
    }
    /* A sink that failed may have been the source of the other flow: hear it out now, no report will come. */
    if (from->broken || to->broken) {
        run(relay, from);
        run(relay, to);
    }
    if (relay->state != RELAY_ENDED) {
        settle(relay);
    }
}

static void on_upstream_ready(struct stream *stream, unsigned events)
{
    struct relay *relay = of_upstream(stream);
    if (relay->opening == NULL) {
        carry(relay, events, &relay->out, &relay->in);
    } else if (stream->failed) {
        end(relay, REASON_UPSTREAM_RESET, NULL); /* a tunnel's, before the client has named it */
    }
}

static struct sock_kind_options kind_options(const struct relay *relay, enum addr_kind kind)
{
    return (struct sock_kind_options){.kind = kind,
                                      .vsock_write_max = (size_t)relay->config->vsock.write_size};
}

static void note_upstream(struct relay *relay, const struct sockaddr_any *peer)
{
    if (sock_kind(peer) == ADDR_TCP) {
        memcpy(&relay->upstream_ip, &peer->u, peer->length);
    }
}

static void accept_channel(struct relay *relay)
{
    if (relay->framed && !relay->accepted) {
        channel_stream_accept(&relay->client.channel);
    }
    relay->accepted = true;
}

/* The hello's bytes go first; the opening and all that it held is gone afterwards. */
static void become_open(struct relay *relay)
{
    struct opening *opening = relay->opening;
    uint64_t connect_us = opening->connect_us;
    bool tunnel = relay->talk != NULL;
    if (opening->length > 0) {
        flow_preload(&relay->in, opening->bytes, (uint32_t)opening->length);
        opening->bytes = NULL;
    }
    opening_free(opening);
    relay->opening = NULL;
    dismiss(relay);
    if (relay->framed) {
        relay->client.channel.splices = relay->upstream.stream.splice_fd >= 0;
    }
    accept_channel(relay);
    enter(relay, RELAY_OPEN);
    relay->ops->opened(relay, connect_us);
    if (relay->state == RELAY_OPEN) {
        /* What the client has sent by now was reported before there was anywhere to put it. */
        carry(relay, STREAM_READABLE, &relay->in, &relay->out);
    }
    if (tunnel && relay->state != RELAY_ENDED) {
        carry(relay, STREAM_READABLE, &relay->out, &relay->in); /* the same of the destination */
    }
}

static void on_dial_failed(struct relay *relay, enum reason why, const char *detail)
{
    if (relay->talk != NULL) {
        enter(relay, RELAY_TALKING);
        relay->talk->ops->dialed(relay->talk, why, detail);
    } else {
        end(relay, why, detail);
    }
}

static void on_dialed(void *data, enum reason why, const struct dialed *dialed, const struct error *err)
{
    struct relay *relay = data;
    relay->opening->dial = NULL;
    relay->opening->connect_us = (uv_hrtime() - relay->opening->dial_began_ns) / 1000;
    if (why != REASON_NONE) {
        on_dial_failed(relay, why, err->text);
        return;
    }
    struct sock_kind_options kind = kind_options(relay, dialed->kind);
    note_upstream(relay, dialed->peer);
    int rv = sock_stream_adopt(&relay->upstream, &relay->worker->loop->poller, dialed->watcher, &kind,
                               on_upstream_ready);
    if (rv != 0) {
        on_dial_failed(relay, rv == -ENOMEM ? REASON_NO_MEMORY : REASON_INTERNAL, error_words(rv));
    } else if (relay->talk != NULL) {
        enter(relay, RELAY_TALKING);
        relay->talk->ops->dialed(relay->talk, REASON_NONE, NULL);
    } else {
        become_open(relay);
    }
}

static void start_dialing(struct relay *relay)
{
    relay->state = RELAY_DIALING;
    uv_timer_stop(&relay->timer); /* the dial has its own deadline */
    enum reason why = opening_dial(relay->opening, on_dialed);
    if (why != REASON_NONE) {
        end(relay, why, NULL);
    }
}

/* Of the hello, so far. A tunnel is connected by now. */
static void judge_hello(struct relay *relay, enum reason why, bool whole)
{
    if (why != REASON_NONE) {
        end(relay, why, NULL);
    } else if (whole && relay->talk != NULL) {
        become_open(relay);
    } else if (whole) {
        start_dialing(relay);
    }
}

static void read_hello(struct relay *relay)
{
    bool whole;
    enum reason why = opening_read_hello(relay->opening, &whole);
    judge_hello(relay, why, whole);
}

void relay_tunnel_dial(struct relay *relay, const struct addr *to)
{
    char text[ADDR_TEXT_MAX];
    relay->opening->asked = *to;
    relay->asked = strdup(addr_format(to, text)); /* NULL: the log line lacks it */
    start_dialing(relay);
}

void relay_tunnel_open(struct relay *relay, const void *data, size_t size)
{
    bool whole = false;
    enum reason why = REASON_NONE;
    enter(relay, RELAY_HELLO);
    if (size > 0) {
        why = opening_take_hello(relay->opening, data, size, &whole);
    }
    if (why == REASON_NONE && !whole) {
        why = opening_read_hello(relay->opening, &whole);
    }
    judge_hello(relay, why, whole);
}

/* What was said has to arrive, so the end of it is no abort. */
void relay_tunnel_part(struct relay *relay, enum reason why, const char *detail)
{
    relay->out.finished = stream_finish(&relay->client.stream) == 0;
    end(relay, why, detail);
}

void relay_tunnel_leave(struct relay *relay, const void *data, size_t size)
{
    if (!relay->ops->left(relay, data, size)) {
        end(relay, REASON_NO_MEMORY, NULL);
        return;
    }
    relay->state = RELAY_ENDED;
    dismiss(relay);
    opening_free(relay->opening);
    relay->opening = NULL;
    uv_close((uv_handle_t *)&relay->timer, on_timer_closed);
}

static void on_client_ready(struct stream *stream, unsigned events)
{
    struct relay *relay = of_client(stream);
    switch (relay->state) {
    case RELAY_TALKING:
        relay->talk->ops->ready(relay->talk, events);
        break;
    case RELAY_HELLO:
        read_hello(relay);
        break;
    case RELAY_DIALING:
        if (stream->failed) {
            end(relay, REASON_CLIENT_RESET, NULL);
        }
        break;
    case RELAY_OPEN:
    case RELAY_HALF_CLOSED:
        carry(relay, events, &relay->in, &relay->out);
        break;
    case RELAY_ENDED:
        break;
    }
}

/* The peer gave the stream up, or its session is lost. */
static void channel_failed(struct relay *relay)
{
    char detail[64];
    const struct channel_stream *channel = &relay->client.channel;
    snprintf(detail, sizeof detail, "the client's side ended it: %s", code_word(channel->code));
    report_moved(relay);
    end(relay, channel->why, detail);
}

static void on_channel_ready(struct stream *stream, unsigned events)
{
    struct relay *relay = of_client(stream);
    bool opened = relay->state == RELAY_OPEN || relay->state == RELAY_HALF_CLOSED;
    if (stream->failed || (stream->gone && !opened)) {
        channel_failed(relay);
        return;
    }
    if (stream->gone && !flow_is_over(&relay->out)) {
        break_flow(relay, &relay->out);
    }
    on_client_ready(stream, events);
}

static void init(struct relay *relay, struct relay_worker *worker, const struct relay_ops *ops,
                 const struct relay_source *source)
{
    memset(relay, 0, sizeof *relay);
    relay->worker = worker;
    relay->ops = ops;
    relay->config = source->config;
    relay->route = source->route;
    relay->asker = source->asker;
    relay->why = REASON_NONE;
    relay->started_at = relay->moved_at = loop_now(worker->loop);
    relay->upstream.watcher.fd = -1;
    relay->upstream.poller = &worker->loop->poller;
    flow_init(&relay->in, &relay->client.stream, &relay->upstream.stream);
    flow_init(&relay->out, &relay->upstream.stream, &relay->client.stream);
    uv_timer_init(&worker->loop->uv, &relay->timer);
    relay->timer.data = relay;
}

static void begin(struct relay *relay)
{
    if (relay->talk != NULL) {
        relay->state = RELAY_TALKING;
        arm(relay);
    } else if (relay->route->sni_count > 0) {
        relay->state = RELAY_HELLO;
        arm(relay);
    } else {
        start_dialing(relay);
    }
}

void relay_start(struct relay *relay, struct relay_worker *worker, const struct relay_ops *ops,
                 const struct relay_source *source, int fd, enum addr_kind kind)
{
    relay_start_tunnel(relay, worker, ops, source, fd, kind, NULL);
}

void relay_start_tunnel(struct relay *relay, struct relay_worker *worker, const struct relay_ops *ops,
                        const struct relay_source *source, int fd, enum addr_kind kind,
                        struct relay_talk *talk)
{
    init(relay, worker, ops, source);
    relay->talk = talk;
    struct sock_kind_options options = kind_options(relay, kind);
    relay->client.sock.watcher.fd = -1;
    relay->client.sock.poller = &worker->loop->poller;
    relay->opening = opening_new(relay);
    int rv = relay->opening != NULL
                 ? sock_stream_open(&relay->client.sock, &worker->loop->poller, fd, &options, on_client_ready)
                 : -ENOMEM;
    if (rv == 0) {
        begin(relay);
        return;
    }
    sock_set_abort(fd);
    close(fd);
    end(relay, rv == -ENOMEM ? REASON_NO_MEMORY : REASON_INTERNAL, error_words(rv));
}

void relay_start_channel(struct relay *relay, struct relay_worker *worker, const struct relay_ops *ops,
                         const struct relay_source *source, struct session_io *io, struct channel *channel)
{
    relay_start_tunnel_channel(relay, worker, ops, source, io, channel, NULL);
}

void relay_start_tunnel_channel(struct relay *relay, struct relay_worker *worker, const struct relay_ops *ops,
                                const struct relay_source *source, struct session_io *io,
                                struct channel *channel, struct relay_talk *talk)
{
    init(relay, worker, ops, source);
    relay->framed = true;
    relay->talk = talk;
    channel_stream_open(&relay->client.channel, io, channel, on_channel_ready);
    if (talk != NULL) {
        accept_channel(relay);
    }
    relay->opening = opening_new(relay);
    if (relay->opening != NULL) {
        begin(relay);
    } else {
        end(relay, REASON_NO_MEMORY, error_words(-ENOMEM));
    }
}
