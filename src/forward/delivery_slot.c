/*
 * One record on its way.
 *
 *     slot_start() -> WAITING: spool_take() -> on_ready(): read and judged -> refused: verdict
 *                                                                          -> SENDING: exchange_start()
 *     SENDING: the body goes from the spool into the exchange, a piece at a time, each as far as the exchange takes it;
 *              on_end() -> verdict
 *
 * delivery_ended() is the one way out of SENDING, and frees the slot.
 */
#include "forward/delivery_private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static struct slot *of_exchange(struct exchange *exchange)
{
    return CONTAINER_OF(exchange, struct slot, exchange);
}

static uint64_t wall_ms(void)
{
    struct timespec now = {.tv_sec = 0};
    (void)clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* ---- The body ---- */

/* As much as the exchange takes; on_want() goes on. */
static void give(struct slot *slot)
{
    size_t taken = slot->piece_left > 0 ? exchange_body(&slot->exchange, slot->piece, slot->piece_left) : 0;
    slot->piece += taken;
    slot->piece_left -= taken;
    if (slot->piece_left > 0) {
        return;
    }
    if (!slot->last) {
        slot->reading = true;
        spool_take_read(slot->take);
    } else if (!slot->ended) {
        slot->ended = true;
        exchange_body_end(&slot->exchange);
    }
}

static void on_data(void *arg, int result, const void *data, size_t size, bool last, const struct error *err)
{
    struct slot *slot = arg;
    slot->reading = false;
    if (result != 0) {
        slot->attempt.damaged = result == -EBADMSG;
        slot->attempt.unreadable = true;
        slot->err = *err;
        slot_cut(slot);
        return;
    }
    slot->piece = data;
    slot->piece_left = size;
    slot->last = last;
    give(slot);
}

static void on_want(struct exchange *exchange)
{
    struct slot *slot = of_exchange(exchange);
    if (!slot->reading && !slot->ended) {
        give(slot);
    }
}

/* ---- The answer ---- */

static void on_head(struct exchange *exchange, const struct http_response *response)
{
    struct slot *slot = of_exchange(exchange);
    const struct http_field *after = http_fields_find(&response->reader.fields, "retry-after");
    slot->attempt.status = response->status;
    if (after != NULL) {
        slot->attempt.retry_after_ms = verdict_retry_after(after->value, wall_ms());
    }
}

static size_t on_piece(struct exchange *exchange, const char *data, size_t size)
{
    struct slot *slot = of_exchange(exchange);
    (void)data;
    slot->dropped += size;
    if (slot->dropped > SLOT_ANSWER_MAX) {
        exchange_cancel(exchange); /* the status is known, and nobody wants the rest */
    }
    return size;
}

static void on_end(struct exchange *exchange, const struct exchange_end *end)
{
    struct slot *slot = of_exchange(exchange);
    struct verdict verdict;
    slot->attempt.whole = end->sent; /* what was given may have been thrown away: see exchange_body() */
    slot->attempt.why = end->why;
    slot->attempt.reached = end->reached;
    slot->attempt.code = end->code;
    slot->attempt.detail = slot->err.text[0] != '\0' ? slot->err.text : end->detail;
    verdict_reach(&slot->attempt, &verdict);
    delivery_ended(slot, &verdict);
}

static const struct exchange_ops exchange_ops = {.want = on_want,
                                                 .head = on_head,
                                                 .piece = on_piece,
                                                 .end = on_end};

/* ---- The record ---- */

static enum http_refusal refused(const struct slot *slot)
{
    return slot->request.reader.why != HTTP_REFUSED_NONE ? slot->request.reader.why
                                                         : HTTP_REFUSED_REQUEST_LINE;
}

static bool feed(struct slot *slot, const char *data, size_t size, enum http_event *ret)
{
    struct http_span piece;
    size_t used;
    *ret = http_request_read(&slot->request, data, size, &used, &piece);
    return *ret == HTTP_EVENT_MORE;
}

/* The head as it is kept, but for its last line, and what frames the body as the spool has it. */
static enum http_refusal read_head(struct slot *slot, const struct spool_record *record)
{
    const char *head = record->head;
    size_t size = record->head_size;
    enum http_event event;
    char framing[64] = "\r\n";
    if (!intake_origin_read(head, size, &slot->origin) || size - slot->origin.head_at < 2) {
        return HTTP_REFUSED_REQUEST_LINE;
    }
    if (record->body_size > 0) {
        snprintf(framing, sizeof framing, "content-length: %llu\r\n\r\n",
                 (unsigned long long)record->body_size);
    }
    head += slot->origin.head_at;
    size -= slot->origin.head_at + 2;
    if (feed(slot, head, size, &event)) {
        (void)feed(slot, framing, strlen(framing), &event);
    }
    return event == HTTP_EVENT_HEAD ? HTTP_REFUSED_NONE : refused(slot);
}

/* Whether the upstream is told by the route who asks, and not by the request. */
static bool is_vouched(const struct config_forward *forward)
{
    const struct http_header_rules *headers = &forward->rules.headers;
    bool secret = false;
    for (unsigned i = 0; i < headers->count; i++) {
        secret |= http_template_has_secret(&headers->list[i].value);
    }
    return secret || forward->sign != NULL || forward->cert_file != NULL;
}

static void prepare(struct slot *slot, const struct spool_record *record)
{
    const struct delivery *delivery = slot->of;
    slot->config = config_ref(delivery->config);
    slot->route = delivery->route;
    slot->rules = delivery->route->forward->rules;
    slot->rules.limits.head.fields += SLOT_FIELDS_MORE;
    slot->rules.limits.head.bytes += SLOT_HEAD_MORE + slot->rules.limits.head.fields;
    http_request_init(&slot->request, &slot->rules);
    slot->began_at = loop_now(delivery->set->worker->loop);
    slot->last = record->body_size == 0;
    slot->attempt.vouched = is_vouched(slot->route->forward);
}

static void send_on(struct slot *slot, const struct spool_record *record)
{
    struct forward_worker *worker = slot->of->set->worker;
    const struct exchange_options options = {.config = slot->config,
                                             .route = slot->route,
                                             .request = &slot->request,
                                             .values = &slot->values};
    slot->values = (struct http_values){
        .enclave = strcmp(record->enclave, "-") != 0 ? record->enclave : NULL,
        .cid = slot->origin.cid,
        .route = slot->route->name,
        .request_id = slot->origin.request_id,
        .secrets = &worker->secrets,
    };
    exchange_start(&slot->exchange, worker, &exchange_ops, &options);
    give(slot);
}

static void on_ready(void *arg, int result, const struct error *err)
{
    struct slot *slot = arg;
    const struct spool_record *record = spool_take_record(slot->take);
    struct verdict verdict;
    (void)result; /* takes are told records alone */
    (void)err;
    slot->state = SLOT_SENDING;
    prepare(slot, record);
    delivery_took(slot);
    enum http_refusal why = read_head(slot, record);
    if (why == HTTP_REFUSED_NONE) {
        send_on(slot, record);
        return;
    }
    slot->attempt.why = why;
    verdict_refuse(why, &verdict);
    delivery_ended(slot, &verdict);
}

static const struct spool_take_ops take_ops = {.ready = on_ready, .data = on_data};

/* ---- Life ---- */

int slot_start(struct delivery *delivery, bool probe)
{
    struct slot *slot = calloc(1, sizeof *slot);
    if (slot == NULL) {
        return -ENOMEM;
    }
    slot->of = delivery;
    slot->state = SLOT_WAITING;
    slot->probe = probe;
    int rv = spool_take(delivery->set->spool->port, delivery->name, &take_ops, slot, &slot->take);
    if (rv != 0) {
        free(slot);
        return rv;
    }
    LIST_INSERT_HEAD(&delivery->slots, slot, link);
    delivery->waiting++;
    return 0;
}

void slot_release(struct slot *slot)
{
    const struct spool_outcome outcome = {.verdict = SPOOL_RELEASE};
    slot->of->waiting--;
    LIST_REMOVE(slot, link);
    spool_take_end(slot->take, &outcome);
    free(slot);
}

void slot_cut(struct slot *slot)
{
    if (!slot->attempt.cut) {
        slot->attempt.cut = true;
        exchange_cancel(&slot->exchange);
    }
}
