/* What all exchanges of one worker share. */
#include "forward/worker.h"

#include "forward/exchange_private.h"
#include "forward/upstream.h"
#include <stdlib.h>
#include <string.h>

/* Those that become due meanwhile wait for the next turn. */
static void on_turn(uv_idle_t *turn)
{
    struct forward_worker *worker = turn->data;
    struct exchange_list *due = &worker->due[worker->next_turn];
    struct exchange *exchange;
    worker->next_turn ^= 1;
    uv_idle_stop(turn);
    while ((exchange = TAILQ_FIRST(due)) != NULL) {
        exchange_no_turn(exchange);
        exchange_turn(exchange);
    }
}

void exchange_soon(struct exchange *exchange)
{
    struct forward_worker *worker = exchange->worker;
    if (exchange->due_on == NULL) {
        exchange->due_on = &worker->due[worker->next_turn];
        TAILQ_INSERT_TAIL(exchange->due_on, exchange, due_link);
        uv_idle_start(&worker->turn, on_turn);
    }
}

void exchange_no_turn(struct exchange *exchange)
{
    if (exchange->due_on != NULL) {
        TAILQ_REMOVE(exchange->due_on, exchange, due_link);
        exchange->due_on = NULL;
    }
    if (TAILQ_EMPTY(&exchange->worker->due[0]) && TAILQ_EMPTY(&exchange->worker->due[1])) {
        uv_idle_stop(&exchange->worker->turn);
    }
}

/* What the enclave may send, and what a route's rules may add. */
#define HEAD_MAX ((size_t)2 * 1024 * 1024)

/* Memory of a larger one is not kept. */
#define SPARE_MAX ((size_t)64 * 1024)

void forward_worker_lend_head(struct forward_worker *worker, struct http_head *ret)
{
    *ret = worker->spare_head;
    http_head_init(&worker->spare_head, HEAD_MAX);
}

void forward_worker_take_head(struct forward_worker *worker, struct http_head *head)
{
    http_head_clear(head);
    if (worker->spare_head.bytes.data == NULL && head->bytes.capacity <= SPARE_MAX &&
        head->line.capacity <= SPARE_MAX) {
        http_head_release(&worker->spare_head);
        worker->spare_head = *head;
        http_head_init(head, HEAD_MAX);
    } else {
        http_head_release(head);
    }
}

void forward_worker_init(struct forward_worker *worker, struct loop *loop, struct body_memory *bodies)
{
    memset(worker, 0, sizeof *worker);
    worker->loop = loop;
    worker->bodies = bodies;
    http_secrets_init(&worker->secrets, getenv("CREDENTIALS_DIRECTORY"));
    http_rules_init(&worker->proxy_rules);
    worker->proxy_rules.forms = HTTP_FORM_ABSOLUTE;
    credentials_store_init(&worker->credentials, loop);
    http_head_init(&worker->spare_head, HEAD_MAX);
    LIST_INIT(&worker->upstreams);
    TAILQ_INIT(&worker->due[0]);
    TAILQ_INIT(&worker->due[1]);
    uv_idle_init(&loop->uv, &worker->turn);
    worker->turn.data = worker;
}

void forward_worker_close(struct forward_worker *worker)
{
    upstream_close_all(worker);
    credentials_store_close(&worker->credentials);
    uv_close((uv_handle_t *)&worker->turn, NULL);
    http_secrets_release(&worker->secrets);
    http_rules_release(&worker->proxy_rules);
    text_release(&worker->spare);
    http_head_release(&worker->spare_head);
}
