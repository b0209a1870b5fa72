/*
 * How an exchange begins: the head is made, signed if the route says so, and put in front of what is sent.
 *
 * A body that has to be hashed was gathered before, and goes out with its length.
 */
#include "forward/exchange_private.h"

#include <errno.h>

void exchange_release_head(struct exchange *exchange)
{
    forward_worker_take_head(exchange->worker, &exchange->head);
}

void exchange_release_gathered(struct exchange *exchange)
{
    text_release(&exchange->gathered);
    exchange->gathered_at = 0;
    body_memory_give(exchange->worker->bodies, &exchange->grant);
}

/* A copy but for the framing, of which nothing is owned. */
static void describe_gathered(const struct exchange *exchange, struct http_request *ret)
{
    size_t size = exchange->gathered.length;
    *ret = *exchange->options.request;
    ret->expects_continue = false;
    ret->framing = (struct http_framing){
        .body = size > 0 ? HTTP_BODY_LENGTH : HTTP_BODY_NONE,
        .length = size,
    };
}

static enum http_refusal make_head(struct exchange *exchange, struct error *err)
{
    const struct exchange_options *options = &exchange->options;
    const struct exchange_plain *plain = options->plain;
    struct http_provider provider = {.get = http_values_get, .data = (void *)options->values};
    struct http_upstream upstream = {
        .authority = plain != NULL ? plain->authority : options->route->forward->authority,
        .base_path = plain != NULL ? "" : options->route->forward->base_path,
        .expect = true,
        .provider = &provider,
    };
    struct http_request gathered;
    if (exchange->gathers) {
        describe_gathered(exchange, &gathered);
    }
    forward_worker_lend_head(exchange->worker, &exchange->head);
    return http_request_rewrite(exchange->gathers ? &gathered : options->request, &upstream, &exchange->head,
                                err);
}

/* The head goes out with the first bytes of the body, if there are to be any and they do not keep us waiting. A client that was to
 * wait may have sent some, which were not taken before there were credentials. */
static void send_first(struct exchange *exchange)
{
    bool waits = exchange->expecting && !exchange->wants;
    if (exchange->body_over || exchange->body.framing.body == HTTP_BODY_NONE || waits) {
        exchange_flush(exchange);
    } else {
        exchange_soon(exchange);
    }
}

static enum http_refusal write_head(struct exchange *exchange)
{
    http_head_write(&exchange->head, &exchange->out);
    exchange->head_size = exchange->out.length;
    if (exchange->gathered.length <= EXCHANGE_HOLD_MAX) {
        text_add_bytes(&exchange->out, text_string(&exchange->gathered), exchange->gathered.length);
        exchange_release_gathered(exchange);
    }
    if (exchange->body_over && !exchange->gathers) {
        http_body_end(&exchange->body, &exchange->options.request->reader.trailers, &exchange->out);
    }
    exchange_release_head(exchange);
    return exchange->out.failed ? HTTP_REFUSED_NO_MEMORY : HTTP_REFUSED_NONE;
}

static void fail(struct exchange *exchange, enum http_refusal why, const struct error *err)
{
    exchange_fail(exchange, why, err->text[0] != '\0' ? err->text : NULL);
}

/* The head is complete. */
static void go(struct exchange *exchange)
{
    struct error err = ERROR_INIT;
    enum http_refusal why = write_head(exchange);
    if (why == HTTP_REFUSED_NONE) {
        why = exchange_lease(exchange, false, &err);
    }
    if (why != HTTP_REFUSED_NONE) {
        fail(exchange, why, &err);
    } else if (exchange->state == EXCHANGE_OPEN) {
        send_first(exchange);
    }
}

static void fail_signing(struct exchange *exchange, int code, const struct error *err)
{
    if (code == -ENOMEM) {
        fail(exchange, HTTP_REFUSED_NO_MEMORY, err);
        return;
    }
    if (code == -E2BIG) {
        fail(exchange, HTTP_REFUSED_UNSIGNABLE, err);
        return;
    }
    exchange->retry_after_s = signing_retry_after_s(exchange->upstream->signing);
    fail(exchange, HTTP_REFUSED_CREDENTIALS, err);
}

static void on_signed(void *data, int code, const struct error *err)
{
    struct exchange *exchange = data;
    if (code != 0) {
        fail_signing(exchange, code, err);
    } else {
        go(exchange);
    }
}

static void sign(struct exchange *exchange)
{
    struct error err = ERROR_INIT;
    exchange->state = EXCHANGE_SIGNING;
    int r = signing_start(exchange->upstream->signing, &exchange->signing, &exchange->head,
                          exchange->gathered.data, exchange->gathered.length, on_signed, exchange, &err);
    if (r < 0) {
        fail_signing(exchange, r, &err);
    } else if (r == 0) {
        go(exchange);
    }
}

void exchange_prepare(struct exchange *exchange)
{
    struct error err = ERROR_INIT;
    enum http_refusal why = make_head(exchange, &err);
    if (why != HTTP_REFUSED_NONE) {
        fail(exchange, why, &err);
    } else if (exchange->upstream != NULL && exchange->upstream->signing != NULL) {
        sign(exchange);
    } else {
        go(exchange);
    }
}
