/*
 * What comes from the client: bytes into requests, and bodies on to who takes them.
 *
 * `in` is what was read and not yet dealt with. Within a turn it lies in the loop's scratch memory, which others use as soon as they
 * are called; so it is held, in memory of its own, before that and when the turn is over.
 */
#include "forward/forward_private.h"

#include "forward/proxy.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TURN       1048576u /* bytes read before other streams have their turn */
#define TURN_STEPS 8192u    /* and what is done with them: a chunk of one byte costs as much as a large one */

/* ---- Bytes ---- */

void forward_let_go(struct forward_stream *forward)
{
    free(forward->held);
    forward->held = NULL;
    forward->in = (struct http_span){.data = NULL};
    forward->piece = 0;
}

/* False: out of memory. */
static bool hold(struct forward_stream *forward)
{
    struct http_span in = forward->in;
    if (in.size == 0 || forward->held != NULL) {
        return true;
    }
    forward->held = malloc(in.size);
    if (forward->held == NULL) {
        forward_let_go(forward);
        return false;
    }
    forward->in.data = memcpy(forward->held, in.data, in.size);
    return true;
}

static void advance(struct forward_stream *forward, size_t size)
{
    forward->in.data += size;
    forward->in.size -= size;
    if (forward->in.size == 0) {
        forward_let_go(forward);
    }
}

/* Returns what the stream said. */
static ssize_t read_some(struct forward_stream *forward)
{
    struct stream *stream = &forward->stream;
    ssize_t n = stream_read(stream, forward->loop->scratch, FORWARD_READ);
    forward->bulk = n == FORWARD_READ;
    if (n > 0) {
        forward->readable = n == FORWARD_READ || stream->patchy || stream->hung_up || forward->framed;
        forward_note_moved(forward, (uint64_t)n, 0);
    } else {
        forward->readable = false;
        forward->heard |= n == 0;
    }
    return n;
}

bool forward_begun(const struct forward_stream *forward)
{
    return forward->in.size > 0 || http_reader_begun(&forward->request.reader);
}

/* The client sends no more. Whole requests before that are answered. */
static void hear_end(struct forward_stream *forward)
{
    if (forward->state == FORWARD_RUNNING || forward_begun(forward)) {
        forward_refuse(forward, HTTP_REFUSED_REQUEST_CUT, NULL);
    } else {
        forward_end(forward, REASON_FINISHED, false);
    }
}

/* Gets more bytes, where there are none left. False: there are none to be had now. */
static bool fetch(struct forward_stream *forward)
{
    if (!forward->heard) {
        ssize_t n = forward->readable ? read_some(forward) : -EAGAIN;
        if (n > 0) {
            forward->in = (struct http_span){.data = (const char *)forward->loop->scratch, .size = (size_t)n};
            return true;
        }
        if (n == -EAGAIN) {
            return false;
        }
        if (n < 0) {
            forward_lose(forward, REASON_CLIENT_RESET);
            return false;
        }
    }
    hear_end(forward);
    return false;
}

bool forward_discard(struct forward_stream *forward)
{
    size_t bytes = 0;
    ssize_t n = 1;
    while (n > 0 && bytes < FORWARD_PART_TURN && forward->readable) {
        n = read_some(forward);
        bytes += n > 0 ? (size_t)n : 0;
    }
    if (n > 0 && forward->readable) {
        stream_again(&forward->stream, STREAM_READABLE);
    }
    return n > 0 || n == -EAGAIN;
}

/* ---- Who takes the request ---- */

static struct forward_stream *of_exchange(struct exchange *exchange)
{
    return CONTAINER_OF(exchange, struct forward_stream, exchange);
}

static void go_on_with_body(struct forward_stream *forward)
{
    forward->wants = true;
    forward->moved_at = loop_now(forward->loop); /* from now on it is the client that is waited for */
    forward_pump(forward);
}

static void on_want(struct exchange *exchange)
{
    go_on_with_body(of_exchange(exchange));
}

static void on_go_on(struct exchange *exchange)
{
    forward_answer_continue(of_exchange(exchange));
}

static void on_head(struct exchange *exchange, const struct http_response *response)
{
    forward_answer_head(of_exchange(exchange), response);
}

static size_t on_piece(struct exchange *exchange, const char *data, size_t size)
{
    return forward_answer_piece(of_exchange(exchange), data, size);
}

static void on_end(struct exchange *exchange, const struct exchange_end *end)
{
    struct forward_stream *forward = of_exchange(exchange);
    struct forward_told told = {.why = end->why,
                                .detail = end->detail,
                                .retry_after_s = end->retry_after_s,
                                .reached = end->reached,
                                .code = end->code,
                                .exchange = exchange};
    forward->running = false;
    if (end->why == HTTP_REFUSED_NONE && !forward->lost && forward->refused == HTTP_REFUSED_NONE) {
        forward_answer_end(forward);
    }
    forward_finish(forward, &told);
}

static const struct exchange_ops exchange_ops = {
    .want = on_want, .go_on = on_go_on, .head = on_head, .piece = on_piece, .end = on_end};

static struct forward_stream *of_intake(struct intake *intake)
{
    return CONTAINER_OF(intake, struct forward_stream, intake);
}

static void on_intake_want(struct intake *intake)
{
    go_on_with_body(of_intake(intake));
}

static void on_intake_go_on(struct intake *intake)
{
    forward_answer_continue(of_intake(intake));
}

static void on_intake_end(struct intake *intake, const struct intake_end *end)
{
    struct forward_stream *forward = of_intake(intake);
    struct forward_told told = {.why = end->why,
                                .detail = end->detail,
                                .kept = end->why == HTTP_REFUSED_NONE,
                                .kept_id = end->id};
    forward->running = false;
    if (!forward->lost && forward->refused == HTTP_REFUSED_NONE) {
        forward_answer_kept(forward, end);
    }
    forward_finish(forward, &told);
}

static const struct intake_ops intake_ops = {.want = on_intake_want,
                                             .go_on = on_intake_go_on,
                                             .end = on_intake_end};

static bool is_spooled(const struct forward_stream *forward)
{
    return !forward_is_proxy(forward) && forward->from.route->forward->delivery == CONFIG_SPOOL;
}

static void start(struct forward_stream *forward)
{
    const struct forward_source *from = &forward->from;
    forward->running = forward->wants = true;
    forward->spooled = is_spooled(forward);
    if (forward->spooled) {
        intake_start(&forward->intake, from->spool, &intake_ops, from->route, &forward->request,
                     &forward->values);
        return;
    }
    struct exchange_options options = {.config = from->config,
                                       .route = from->route,
                                       .request = &forward->request,
                                       .values = &forward->values,
                                       .plain = forward->plain,
                                       .asker = from->asker};
    exchange_start(&forward->exchange, from->worker, &exchange_ops, &options);
}

static size_t give(struct forward_stream *forward, const char *data, size_t size)
{
    return forward->spooled ? intake_body(&forward->intake, data, size)
                            : exchange_body(&forward->exchange, data, size);
}

static void give_end(struct forward_stream *forward)
{
    forward->body_over = true;
    if (forward->spooled) {
        intake_body_end(&forward->intake);
    } else {
        exchange_body_end(&forward->exchange);
    }
}

/* The intake's end is not told after this; the exchange's is. */
void forward_cancel(struct forward_stream *forward)
{
    if (!forward->running || forward->cancelled) {
        return;
    }
    forward->cancelled = true;
    if (forward->spooled) {
        intake_cancel(&forward->intake);
        forward->running = false;
    } else {
        exchange_cancel(&forward->exchange);
    }
}

/* ---- Requests ---- */

/* Of a proxy. False: it was refused. */
static bool may_lead(struct forward_stream *forward)
{
    char detail[ADDR_TEXT_MAX];
    const struct http_target *target = &forward->request.target;
    enum http_refusal why = proxy_lead(forward->from.route, target, &forward->plain);
    if (why == HTTP_REFUSED_NONE) {
        return true;
    }
    snprintf(detail, sizeof detail, "asked for %s%.*s", target->secure ? "https://" : "",
             (int)target->authority.size, target->authority.data);
    forward_refuse(forward, why, detail);
    return false;
}

static void begin_request(struct forward_stream *forward)
{
    forward->state = FORWARD_RUNNING;
    forward->head_by = 0;
    forward->begun_ns = uv_hrtime();
    if (forward_is_proxy(forward) && !may_lead(forward)) {
        return;
    }
    if (!is_spooled(forward) || hold(forward)) { /* an exchange leaves the scratch memory alone */
        start(forward);
    } else {
        forward_lose(forward, REASON_NO_MEMORY);
    }
}

/* Gives what is there of the body. False: it is not taken for now. */
static bool give_piece(struct forward_stream *forward)
{
    size_t taken = give(forward, forward->in.data, forward->piece);
    forward->wants = taken == forward->piece;
    forward->piece -= taken;
    forward->body_in += taken;
    advance(forward, taken);
    return forward->wants;
}

/* Has the exchange take what it can of a long body from the client's socket itself. `moved` bytes came in this turn already. True:
 * some was taken, or nothing more is wanted. */
static bool splice_some(struct forward_stream *forward, uint64_t moved)
{
    const struct stream *stream = &forward->stream;
    uint64_t left = http_reader_left(&forward->request.reader);
    if (!forward->bulk || !forward->readable || forward->state != FORWARD_RUNNING || forward->spooled ||
        forward->in.size > 0 || stream->splice_fd < 0 || stream->urgent || left <= FORWARD_READ) {
        return false;
    }
    uint64_t most = left - 1 < TURN ? left - 1 : TURN;
    ssize_t n = exchange_body_splice(&forward->exchange, stream->splice_fd, (size_t)most);
    if (n == 0) {
        forward->wants = false;
    } else if (n > 0) {
        http_reader_skip(&forward->request.reader, (uint64_t)n);
        forward->body_in += (uint64_t)n;
        forward_note_moved(forward, (uint64_t)n, 0);
    } else if (n == -EAGAIN) {
        forward->readable = false;
        forward->bulk = moved >= FORWARD_READ;
    } else {
        forward->bulk = false; /* a read tells why */
    }
    return n >= 0;
}

/* Looks at what is there. False: more would be needed. */
static bool look(struct forward_stream *forward)
{
    struct http_span piece;
    size_t used;
    enum http_event event =
        http_request_read(&forward->request, forward->in.data, forward->in.size, &used, &piece);
    if (event == HTTP_EVENT_BODY) {
        forward->piece = piece.size; /* at the end of what was used */
        used -= piece.size;
    }
    if (used > 0) {
        advance(forward, used);
    }
    switch (event) {
    case HTTP_EVENT_HEAD:
        begin_request(forward);
        return true;
    case HTTP_EVENT_END:
        give_end(forward);
        return true;
    case HTTP_EVENT_REFUSED:
        forward_refuse(forward, forward->request.reader.why, NULL);
        return true;
    default:
        return event == HTTP_EVENT_BODY;
    }
}

/* Whether what the client sends is looked at now. */
static bool is_wanted(const struct forward_stream *forward)
{
    if (forward->lost || forward->refused != HTTP_REFUSED_NONE) {
        return false;
    }
    return forward->state == FORWARD_WAITING ||
           (forward->state == FORWARD_RUNNING && forward->running && forward->wants && !forward->body_over);
}

static void note_head(struct forward_stream *forward)
{
    const struct config_route *route = forward->from.route;
    if (forward->state == FORWARD_WAITING && forward->head_by == 0 && forward_begun(forward)) {
        forward->head_by =
            loop_now(forward->loop) +
            (forward_is_proxy(forward) ? route->hello_timeout_ms : route->forward->head_timeout_ms);
        forward_arm(forward);
    }
}

void forward_pump(struct forward_stream *forward)
{
    uint64_t before = forward->bytes_in;
    unsigned steps = 0;
    while (is_wanted(forward)) {
        bool more = forward->piece > 0
                        ? give_piece(forward)
                        : splice_some(forward, forward->bytes_in - before) || look(forward) || fetch(forward);
        if (!more) {
            break;
        }
        if (forward->bytes_in - before >= TURN || ++steps == TURN_STEPS) {
            stream_again(&forward->stream, STREAM_READABLE);
            break;
        }
    }
    if (forward->state != FORWARD_OVER && !hold(forward)) {
        forward_lose(forward, REASON_NO_MEMORY);
    }
    note_head(forward);
    forward_settle(forward);
}
