/*
 * The life of a forward stream: see forward_stream.h.
 *
 * Happy path: WAITING -> a head is judged (forward_request.c) -> RUNNING, until the exchange has ended -> ANSWERED, until all is
 * written -> WAITING. Failure modes: a refusal and a broken answer, by forward_refuse() and forward_finish(); a client that is
 * gone, by forward_lose(): whatever noticed that goes on with its own, and forward_settle() or the exchange's end does the rest.
 * All of them go through forward_end(), which leaves nothing but the closing timer, and an exchange that was cancelled: ended()
 * comes when both are through.
 */
#include "forward/forward_private.h"

#include "net/sock.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- The end ---- */

static void on_closed(uv_handle_t *handle)
{
    struct forward_stream *forward = handle->data;
    forward->ops->ended(forward);
}

static void close_stream(struct forward_stream *forward, enum reason why, bool cut)
{
    if (forward->framed) {
        channel_stream_give_up(&forward->channel, why);
    }
    stream_close(&forward->stream, cut);
    forward->open = false;
}

static void release(struct forward_stream *forward)
{
    forward_let_go(forward);
    text_release(&forward->out);
    http_request_release(&forward->request);
    free(forward->plain);
    uv_close((uv_handle_t *)&forward->timer, on_closed);
}

void forward_end(struct forward_stream *forward, enum reason why, bool cut)
{
    if (forward->state == FORWARD_OVER) {
        return;
    }
    forward->state = FORWARD_OVER;
    forward->why = why;
    uv_timer_stop(&forward->timer);
    if (forward->open) {
        close_stream(forward, why, cut);
    }
    if (!forward->running) {
        release(forward);
    }
}

/* For what noticed in the middle of something that there is nobody to go on for. */
void forward_settle(struct forward_stream *forward)
{
    static const struct forward_told none;
    if (!forward->lost || forward->running || forward->state == FORWARD_OVER) {
        return;
    }
    if (forward->state == FORWARD_RUNNING) {
        forward_finish(forward, &none);
    } else {
        forward_end(forward, forward->lost_why, true);
    }
}

void forward_lose(struct forward_stream *forward, enum reason why)
{
    if (!forward->lost) {
        forward->lost = true;
        forward->lost_why = why;
        forward_cancel(forward);
    }
}

/* ---- Time ---- */

/* Whether it is the client's turn to send or to take something. */
static bool is_clients_turn(const struct forward_stream *forward)
{
    return forward->state != FORWARD_RUNNING || forward->stuck || forward_pending(forward) > 0 ||
           (forward->wants && !forward->body_over);
}

static uint64_t due(const struct forward_stream *forward)
{
    if (forward->state == FORWARD_WAITING && forward->head_by != 0) {
        return forward->head_by;
    }
    if (forward->state == FORWARD_PARTING) {
        return forward->parted_at + FORWARD_PART_MS;
    }
    uint64_t since = is_clients_turn(forward) ? forward->moved_at : loop_now(forward->loop);
    return since + forward->from.route->idle_timeout_ms;
}

static void run_out(struct forward_stream *forward)
{
    bool unread = forward->stuck || forward_pending(forward) > 0;
    if (forward->state == FORWARD_WAITING && forward->head_by != 0) {
        forward_refuse(forward, HTTP_REFUSED_HEAD_TIMEOUT, NULL);
    } else if (forward->state == FORWARD_RUNNING && !unread) {
        forward_refuse(forward, HTTP_REFUSED_BODY_TIMEOUT, NULL);
    } else if (forward->state == FORWARD_RUNNING) {
        forward_lose(forward, REASON_IDLE_TIMEOUT);
    } else if (forward->state == FORWARD_PARTING) {
        forward_end(forward, REASON_FINISHED, false);
    } else {
        forward_end(forward, REASON_IDLE_TIMEOUT, unread);
    }
    forward_settle(forward);
}

static void set_timer(struct forward_stream *forward, uint64_t at);

/* What passes only notes the time: the timer finds out when it fires, and waits for the rest. */
static void on_timer(uv_timer_t *timer)
{
    struct forward_stream *forward = timer->data;
    if (loop_now(forward->loop) >= due(forward)) {
        run_out(forward);
    }
    if (forward->state != FORWARD_OVER) {
        set_timer(forward, due(forward));
    }
}

static void set_timer(struct forward_stream *forward, uint64_t at)
{
    uint64_t now = loop_now(forward->loop);
    forward->timer_at = at;
    uv_timer_start(&forward->timer, on_timer, at > now ? at - now : 1, 0);
}

void forward_arm(struct forward_stream *forward)
{
    uint64_t at = due(forward);
    if (at < forward->timer_at) {
        set_timer(forward, at);
    }
}

void forward_note_moved(struct forward_stream *forward, uint64_t in, uint64_t out)
{
    forward->moved_at = loop_now(forward->loop);
    forward->bytes_in += in;
    forward->bytes_out += out;
    forward->ops->moved(forward, in, out);
}

/* ---- Requests, one after the other ---- */

static void begin_next(struct forward_stream *forward)
{
    http_request_next(&forward->request);
    free(forward->plain);
    forward->plain = NULL;
    forward->state = FORWARD_WAITING;
    forward->head_by = 0;
    forward->spooled = forward->cancelled = forward->wants = forward->body_over = forward->answered = false;
    forward->stuck = false;
    forward->refused = HTTP_REFUSED_NONE;
    forward->response = NULL;
    forward->status = 0;
    forward->body_in = forward->body_out = forward->begun_ns = 0;
    forward_ids_next(forward->from.ids, forward->id);
}

/* The last answer was written. What goes out must be known to the stream before its end is: so that comes by the next
 * report. */
static void part(struct forward_stream *forward)
{
    forward->state = FORWARD_PARTING;
    forward->parted_at = loop_now(forward->loop);
    forward_let_go(forward);
    text_release(&forward->out);
    stream_again(&forward->stream, STREAM_WRITABLE);
    forward_arm(forward);
}

/* Once all of the answer is written. */
static void go_on(struct forward_stream *forward)
{
    text_release(&forward->out);
    if (forward->last || forward->draining) {
        part(forward);
        return;
    }
    begin_next(forward);
    forward_pump(forward);
}

static void try_to_go_on(struct forward_stream *forward)
{
    if (forward_flush(forward)) {
        go_on(forward);
    }
}

static void tell(struct forward_stream *forward, const struct forward_told *end)
{
    const struct text *path = &forward->request.target.path;
    struct forward_told told = *end;
    told.id = forward->id;
    told.method = forward->request.method_name;
    told.path = (struct http_span){.data = text_string(path), .size = path->length};
    if (forward_is_proxy(forward)) {
        told.host = forward->request.target.authority;
    }
    told.status = forward->status;
    told.body_in = forward->body_in;
    told.body_out = forward->body_out;
    told.duration_us = forward->begun_ns > 0 ? (uv_hrtime() - forward->begun_ns) / 1000 : 0;
    forward->requests++;
    forward->ops->told(forward, &told);
}

/* What became of it, in the end: the client that is gone counts before what stopped its exchange. */
static enum http_refusal verdict(const struct forward_stream *forward, const struct forward_told *end)
{
    if (forward->refused != HTTP_REFUSED_NONE) {
        return forward->refused;
    }
    if (forward->lost) {
        return forward->lost_why == REASON_NO_MEMORY ? HTTP_REFUSED_NO_MEMORY : HTTP_REFUSED_REQUEST_CUT;
    }
    return end->why;
}

void forward_finish(struct forward_stream *forward, const struct forward_told *end)
{
    struct forward_told told = *end;
    told.why = verdict(forward, end);
    told.detail = told.why == end->why ? end->detail : NULL;
    told.cut = forward->answered && told.why != HTTP_REFUSED_NONE && forward->response != NULL;
    if (told.why != HTTP_REFUSED_NONE && !forward->answered && !forward->lost) {
        forward_answer_refusal(forward, told.why,
                               told.retry_after_s); /* the detail is for the parent's log */
    }
    forward->last |= !forward->body_over;
    tell(forward, &told);
    if (forward->state == FORWARD_OVER) {
        release(forward); /* it was ended from outside, and waited for the exchange */
    } else if (forward->lost) {
        forward_end(forward, forward->lost_why, true);
    } else if (told.cut) {
        forward_end(forward, REASON_UPSTREAM_RESET, true);
    } else {
        forward->state = FORWARD_ANSWERED;
        try_to_go_on(forward);
    }
}

void forward_refuse(struct forward_stream *forward, enum http_refusal why, const char *detail)
{
    struct forward_told told = {.why = why, .detail = detail};
    bool ran = forward->running;
    if (ran) {
        forward->refused = why;
        forward_cancel(forward);
    }
    if (!forward->running) {
        forward_finish(forward, &told);
    }
}

/* ---- Reports ---- */

static void hear_out(struct forward_stream *forward, unsigned events)
{
    if ((events & STREAM_WRITABLE) != 0 && !forward->framed) {
        (void)stream_finish(&forward->stream); /* if it fails, the end is near anyway */
    }
    if (forward->framed || forward->heard || !forward_discard(forward)) {
        forward_end(forward, REASON_FINISHED, false);
    }
}

static void write_on(struct forward_stream *forward)
{
    if (forward->state == FORWARD_ANSWERED) {
        try_to_go_on(forward);
    } else if (forward->state == FORWARD_RUNNING) {
        (void)forward_flush(forward);
        forward_go_on(forward);
    }
}

static void on_ready(struct forward_stream *forward, unsigned events)
{
    if ((events & STREAM_READABLE) != 0) {
        forward->readable = true;
    }
    if (forward->state == FORWARD_PARTING) {
        hear_out(forward, events);
        return;
    }
    /* A vsock peer that has closed both ways is never reported as writable again: only a write finds out. */
    if ((events & STREAM_WRITABLE) != 0 || forward->stream.hung_up) {
        write_on(forward);
    }
    if (forward->state != FORWARD_OVER && (events & STREAM_READABLE) != 0) {
        forward_pump(forward);
    }
    forward_settle(forward);
}

static bool is_under_way(const struct forward_stream *forward)
{
    return forward->state == FORWARD_RUNNING || forward->state == FORWARD_ANSWERED;
}

/* A peer that takes no more has nobody to answer; a closed pair of unix sockets says so at once. What it sent before is of
 * no use then: its answers could not be told. */
static void on_sock_ready(struct stream *stream, unsigned events)
{
    struct forward_stream *forward = CONTAINER_OF(stream, struct forward_stream, stream);
    if (stream->failed || (stream->gone && is_under_way(forward))) {
        forward_lose(forward, REASON_CLIENT_RESET);
        forward_settle(forward);
    } else {
        on_ready(forward, events);
    }
}

static void on_channel_ready(struct stream *stream, unsigned events)
{
    struct forward_stream *forward = CONTAINER_OF(stream, struct forward_stream, stream);
    if (stream->failed || (stream->gone && is_under_way(forward))) {
        forward_lose(forward, forward->channel.why);
        forward_settle(forward);
    } else if (stream->gone) {
        forward_end(forward, REASON_FINISHED, false);
    } else {
        on_ready(forward, events);
    }
}

/* ---- The beginning ---- */

static void init(struct forward_stream *forward, const struct forward_source *from,
                 const struct forward_stream_ops *ops)
{
    memset(forward, 0, sizeof *forward);
    forward->ops = ops;
    forward->from = *from;
    forward->loop = from->worker->loop;
    forward->started_at = forward->moved_at = loop_now(forward->loop);
    forward->values = (struct http_values){.enclave = from->enclave,
                                           .cid = from->cid,
                                           .route = from->route->name,
                                           .request_id = forward->id,
                                           .secrets = &from->worker->secrets};
    http_request_init(&forward->request,
                      forward_is_proxy(forward) ? &from->worker->proxy_rules : &from->route->forward->rules);
    uv_timer_init(&forward->loop->uv, &forward->timer);
    forward->timer.data = forward;
    begin_next(forward);
    set_timer(forward, due(forward));
}

void forward_stream_start(struct forward_stream *forward, const struct forward_source *from,
                          const struct forward_stream_ops *ops, int fd, const struct sock_kind_options *kind)
{
    init(forward, from, ops);
    int rv = sock_stream_open(&forward->sock, &forward->loop->poller, fd, kind, on_sock_ready);
    if (rv != 0) {
        sock_set_abort(fd);
        close(fd);
        forward_end(forward, rv == -ENOMEM ? REASON_NO_MEMORY : REASON_INTERNAL, true);
        return;
    }
    forward->open = true;
}

static int take_sock(struct forward_stream *forward, const struct forward_heard *heard)
{
    return sock_stream_adopt(&forward->sock, &forward->loop->poller, &heard->sock->watcher, &heard->kind,
                             on_sock_ready);
}

int forward_stream_take(struct forward_stream *forward, const struct forward_source *from,
                        const struct forward_stream_ops *ops, const struct forward_heard *heard)
{
    char *held = malloc(heard->size);
    if (held == NULL) {
        return -ENOMEM;
    }
    init(forward, from, ops);
    forward->held = memcpy(held, heard->data, heard->size);
    forward->in = (struct http_span){.data = held, .size = heard->size};
    forward->framed = heard->sock == NULL;
    forward_note_moved(forward, heard->size, 0);
    if (forward->framed) {
        channel_stream_adopt(&forward->channel, heard->channel, on_channel_ready);
    } else if (take_sock(forward, heard) != 0) {
        sock_stream_close(heard->sock, true);
        forward_end(forward, REASON_INTERNAL, true);
        return 0;
    }
    forward->open = true;
    stream_again(&forward->stream, STREAM_READABLE);
    return 0;
}

void forward_stream_start_channel(struct forward_stream *forward, const struct forward_source *from,
                                  const struct forward_stream_ops *ops, struct session_io *io,
                                  struct channel *channel)
{
    init(forward, from, ops);
    forward->framed = forward->open = true;
    channel_stream_open(&forward->channel, io, channel, on_channel_ready);
    channel_stream_accept(&forward->channel);
}

/* ---- From outside ---- */

void forward_stream_drain(struct forward_stream *forward)
{
    forward->draining = true;
    if (forward->state == FORWARD_WAITING && !forward_begun(forward)) {
        forward_end(forward, REASON_DRAINING, false);
    }
}

void forward_stream_end(struct forward_stream *forward, enum reason why)
{
    forward_lose(forward, why);
    forward_settle(forward);
    forward_end(forward, why, true);
}
