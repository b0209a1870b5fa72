/*
 * An exchange's life: see exchange.h.
 *
 * Happy path: start -> head made -> connection -> sent and received -> finish -> end(). Failure modes: the head cannot be
 * made; no connection; the connection fails, or its time is up; the answer is malformed; the owner cancels. All of them go
 * through exchange_fail(), which lets go of everything but the exchange, and end() comes in the loop's next turn.
 */
#include "forward/exchange_private.h"

#include <llhttp.h>
#include <stdlib.h>
#include <string.h>

/* Memory of a larger head is not kept for the next. */
#define SPARE_MAX ((size_t)64 * 1024)

static uint64_t now_of(const struct exchange *exchange)
{
    return loop_now(exchange->worker->loop);
}

static uint64_t stall_ms(const struct exchange *exchange)
{
    return exchange->options.route->idle_timeout_ms;
}

static uint64_t answer_ms(const struct exchange *exchange)
{
    const struct config_route *route = exchange->options.route;
    return route->forward != NULL ? route->forward->response_timeout_ms : route->first_byte_timeout_ms;
}

/* What it waits for from the upstream, and until when. Waiting for the owner has no bound here. */
static uint64_t due(const struct exchange *exchange, enum http_refusal *ret_why)
{
    bool unsent = exchange->out_at < exchange->out.length || exchange->blocked;
    if (unsent && !exchange->broken && !exchange->answered) {
        *ret_why = HTTP_REFUSED_UPSTREAM_STALLED;
        return exchange->progress_at + stall_ms(exchange);
    }
    if (exchange->answered && !exchange->paused) {
        *ret_why = HTTP_REFUSED_UPSTREAM_STALLED;
        uint64_t since =
            exchange->read_at > exchange->progress_at ? exchange->read_at : exchange->progress_at;
        return since + stall_ms(exchange);
    }
    if (!exchange->answered && (exchange->sent || exchange->broken)) {
        *ret_why = HTTP_REFUSED_RESPONSE_TIMEOUT;
        return exchange->progress_at + answer_ms(exchange);
    }
    return UINT64_MAX;
}

void exchange_watch(struct exchange *exchange)
{
    enum http_refusal why;
    if (exchange->state == EXCHANGE_OPEN) {
        uint64_t at = due(exchange, &why);
        if (exchange->expecting && exchange->expect_by < at) {
            at = exchange->expect_by;
        }
        if (at != UINT64_MAX) {
            upstream_conn_wake(exchange->conn, at);
        }
    }
}

static void release(struct exchange *exchange, enum upstream_end end)
{
    exchange_drop_rest(exchange);
    exchange_drop_pipe(exchange);
    if (exchange->conn != NULL) {
        upstream_release(exchange->conn, end);
        exchange->conn = NULL;
    }
}

/* The connection goes first: it may be the last that uses the upstream. */
static void release_all(struct exchange *exchange, enum upstream_end end)
{
    release(exchange, end);
    signing_cancel(&exchange->signing);
    if (exchange->upstream != NULL) {
        upstream_put(exchange->upstream);
        exchange->upstream = NULL;
    }
}

/* The head holds secrets. What is behind it does not, and is not wiped for each request. */
static void give_back_text(struct exchange *exchange)
{
    struct text *spare = &exchange->worker->spare;
    if (exchange->out.data != NULL) {
        size_t size =
            exchange->head_size < exchange->out.capacity ? exchange->head_size : exchange->out.capacity;
        explicit_bzero(exchange->out.data, size);
    }
    exchange->out.wiped = false;
    if (spare->data == NULL && exchange->out.capacity <= SPARE_MAX) {
        *spare = exchange->out;
        text_clear(spare);
    } else {
        text_release(&exchange->out);
    }
    text_init(&exchange->out, 0);
}

static void take_text(struct exchange *exchange)
{
    exchange->out = exchange->worker->spare;
    exchange->out.wiped = true; /* what it leaves as it grows, that is */
    text_init(&exchange->worker->spare, 0);
}

static void end(struct exchange *exchange)
{
    char *detail = exchange->detail, *code = exchange->code;
    struct exchange_end result = {
        .why = exchange->why,
        .detail = detail,
        .answered = exchange->answered,
        .reached = exchange->reached,
        .sent = exchange->sent,
        .retry_after_s = exchange->retry_after_s,
        .code = code,
    };
    struct http_response response = exchange->response;
    exchange_no_turn(exchange);
    exchange_release_head(exchange);
    exchange_release_gathered(exchange);
    give_back_text(exchange);
    text_release(&exchange->refusal);
    exchange->ops->end(exchange, &result); /* who may begin the next in the same memory */
    http_response_release(&response);
    free(detail);
    free(code);
}

void exchange_fail(struct exchange *exchange, enum http_refusal why, const char *detail)
{
    if (exchange->state == EXCHANGE_ENDING) {
        return;
    }
    exchange->detail = detail != NULL ? strdup(detail) : NULL; /* it may be the connection's */
    release_all(exchange, UPSTREAM_CUT);
    exchange->state = EXCHANGE_ENDING;
    exchange->why = why;
    exchange_soon(exchange);
}

void exchange_finish(struct exchange *exchange, enum upstream_end how)
{
    exchange_note_refusal(exchange);
    release_all(exchange, how);
    exchange->state = EXCHANGE_ENDING;
    end(exchange);
}

void exchange_turn(struct exchange *exchange)
{
    if (exchange->state == EXCHANGE_ENDING) {
        end(exchange);
        return;
    }
    if (exchange->state == EXCHANGE_GATHERING && exchange->expecting) {
        exchange_go_on(exchange);
    }
    if (exchange->state == EXCHANGE_OPEN) {
        exchange_send(exchange);
    }
}

void exchange_go_on(struct exchange *exchange)
{
    if (exchange->expecting) {
        exchange->expecting = false;
        exchange->ops->go_on(exchange);
    }
}

static void opened(struct exchange *exchange)
{
    exchange->state = EXCHANGE_OPEN;
    exchange->peer = exchange->conn->peer;
    exchange->reused = exchange->keeping = exchange->conn->reused;
    exchange->progress_at = now_of(exchange);
}

static void on_opened(void *data, enum http_refusal why, const struct error *err)
{
    struct exchange *exchange = data;
    if (why != HTTP_REFUSED_NONE) {
        exchange_fail(exchange, why, err->text);
        return;
    }
    opened(exchange);
    exchange_send(exchange);
}

static void on_ready(void *data, unsigned events)
{
    struct exchange *exchange = data;
    if ((events & STREAM_WRITABLE) != 0 && exchange->blocked) {
        exchange_send(exchange);
    }
    if ((events & STREAM_READABLE) != 0 && exchange->state == EXCHANGE_OPEN) {
        exchange_receive(exchange);
    }
}

static void on_expired(void *data)
{
    struct exchange *exchange = data;
    enum http_refusal why = HTTP_REFUSED_NONE;
    if (exchange->expecting && now_of(exchange) >= exchange->expect_by) {
        exchange_go_on(exchange);
    }
    if (exchange->state == EXCHANGE_OPEN && now_of(exchange) >= due(exchange, &why)) {
        exchange_fail(exchange, why, NULL);
    }
    exchange_watch(exchange);
}

static const struct upstream_user user = {
    .opened = on_opened,
    .ready = on_ready,
    .expired = on_expired,
};

static bool is_idempotent(const struct http_request *request)
{
    switch (request->method) {
    case HTTP_GET:
    case HTTP_HEAD:
    case HTTP_PUT:
    case HTTP_DELETE:
    case HTTP_OPTIONS:
        return true;
    default:
        return false;
    }
}

enum http_refusal exchange_lease(struct exchange *exchange, bool fresh, struct error *err)
{
    const struct exchange_options *options = &exchange->options;
    struct upstream_wanted wanted = {
        .worker = exchange->worker,
        .upstream = exchange->upstream,
        .route = options->route,
        .to = options->plain != NULL ? &options->plain->to : &options->route->to,
        .asker = options->plain != NULL ? options->asker : 0, /* else it is the file's name */
        .fresh = fresh,
    };
    enum http_refusal why = upstream_lease(&wanted, &user, exchange, &exchange->conn, err);
    exchange->state = EXCHANGE_OPENING;
    if (why == HTTP_REFUSED_NONE && exchange->conn->stream != NULL) {
        opened(exchange);
    }
    return why;
}

void exchange_connection_lost(struct exchange *exchange, enum http_refusal why, const char *detail)
{
    struct error err = ERROR_INIT;
    bool untouched = exchange->out_at == 0;
    if (!exchange->reused || !exchange->keeping || !(untouched || is_idempotent(exchange->options.request))) {
        exchange_fail(exchange, why, detail);
        return;
    }
    release(exchange, UPSTREAM_CUT);
    forward_count(&exchange->worker->stats.retried, 1);
    exchange->out_at = exchange->gathered_at = 0;
    exchange->sent = exchange->blocked = exchange->broken = exchange->reached = false;
    why = exchange_lease(exchange, true, &err);
    if (why != HTTP_REFUSED_NONE) {
        exchange_fail(exchange, why, err.text);
    }
}

/* The bounds of a route are for requests; answers have at least the usual ones, and bodies of any size. */
static void set_limits(struct exchange *exchange)
{
    static const struct http_limits usual = HTTP_LIMITS_INIT;
    struct http_limits *limits = &exchange->limits;
    *limits = usual;
    if (exchange->options.route->forward != NULL) {
        const struct http_scan_limits *own = &exchange->options.route->forward->rules.limits.head;
        limits->head.bytes = own->bytes > limits->head.bytes ? own->bytes : limits->head.bytes;
        limits->head.fields = own->fields > limits->head.fields ? own->fields : limits->head.fields;
    }
}

void exchange_start(struct exchange *exchange, struct forward_worker *worker, const struct exchange_ops *ops,
                    const struct exchange_options *options)
{
    const struct http_request *request = options->request;
    memset(exchange, 0, sizeof *exchange);
    exchange->ops = ops;
    exchange->worker = worker;
    exchange->options = *options;
    exchange->expecting = request->expects_continue;
    exchange->expect_by = UINT64_MAX;
    set_limits(exchange);
    http_response_init(&exchange->response, &exchange->limits, request->method == HTTP_HEAD);
    http_body_init(&exchange->body, request->framing);
    take_text(exchange);
    if (options->plain == NULL) {
        exchange->upstream = upstream_get(worker, options->config, options->route);
        if (exchange->upstream == NULL) {
            exchange_fail(exchange, HTTP_REFUSED_NO_MEMORY, NULL);
            return;
        }
    }
    if (exchange->upstream != NULL && exchange->upstream->signing != NULL &&
        signing_needs_body(exchange->upstream->signing) && request->framing.body != HTTP_BODY_NONE) {
        text_init(&exchange->gathered, options->route->forward->sign->body_max);
        exchange->state = EXCHANGE_GATHERING;
        exchange->gathers = true;
        exchange_soon(exchange); /* for go_on() */
    } else {
        exchange_prepare(exchange);
    }
}

void exchange_cancel(struct exchange *exchange)
{
    exchange_fail(exchange, HTTP_REFUSED_REQUEST_CUT, NULL);
}
