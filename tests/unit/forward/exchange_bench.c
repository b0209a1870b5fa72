/* An upstream and an owner by hand: see exchange_bench.h. */
#include "exchange_bench.h"

#include <setjmp.h>
#include <stdarg.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void bench_open(struct bench *bench)
{
    memset(bench, 0, sizeof *bench);
    assert_true(signal(SIGPIPE, SIG_IGN) != SIG_ERR); /* OpenSSL's own writes, of the upstream's side */
    loopback_open(&bench->net);
    assert_int_equal(body_memory_init(&bench->bodies), 0);
    body_memory_set_limit(&bench->bodies, 1024 * 1024);
    forward_worker_init(&bench->worker, &bench->net.loop, &bench->bodies);
    bench->listener = tcp_listener(16, &bench->port);
    bench->config = config_new("test.yaml");
    assert_non_null(bench->config);
    bench->route = config_alloc(bench->config, 1, sizeof *bench->route);
    bench->forward = config_alloc(bench->config, 1, sizeof *bench->forward);
    assert_true(bench->route != NULL && bench->forward != NULL);
    config_route_init(bench->route);
    bench->route->name = "results";
    bench->route->type = CONFIG_FORWARD;
    bench->route->forward = bench->forward;
    bench->route->to = (struct addr){.kind = ADDR_TCP, .literal = true, .port = bench->port};
    strcpy(bench->route->to.host, "127.0.0.1");
    bench->route->connect_timeout_ms = 20000;
    bench->route->idle_timeout_ms = 60000;
    bench->route->first_byte_timeout_ms = 60000;
    bench->forward->authority = "results.test";
    bench->forward->server_name = "results.test";
    bench->forward->base_path = "/v1";
    bench->forward->response_timeout_ms = 60000;
    bench->forward->max_idle = 4;
    bench->forward->keep_ms = 60000;
    http_rules_init(&bench->forward->rules);
}

void bench_close(struct bench *bench)
{
    forward_worker_close(&bench->worker);
    assert_int_equal(body_memory_used(&bench->bodies), 0);
    body_memory_close(&bench->bodies);
    loopback_close(&bench->net);
    http_rules_release(&bench->forward->rules);
    config_unref(bench->config);
    close(bench->listener);
    SSL_CTX_free(bench->tls);
}

/* ---- The upstream ---- */

void far_accept(struct bench *bench, struct far *far)
{
    far_adopt(bench, far, accept_one(&bench->net, bench->listener));
}

void far_adopt(struct bench *bench, struct far *far, int fd)
{
    memset(far, 0, sizeof *far);
    int yes = 1;
    far->fd = fd;
    assert_int_equal(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes), 0);
    assert_int_equal(fcntl(far->fd, F_SETFL, O_NONBLOCK), 0);
    if (bench->tls != NULL) {
        far->ssl = SSL_new(bench->tls);
        assert_non_null(far->ssl);
        assert_int_equal(SSL_set_fd(far->ssl, far->fd), 1);
        SSL_set_accept_state(far->ssl);
    }
}

static void hear_tls(struct far *far)
{
    char buffer[16384];
    for (;;) {
        int n = SSL_read(far->ssl, buffer, sizeof buffer);
        far->shaken |= SSL_is_init_finished(far->ssl);
        if (n > 0) {
            text_add_bytes(&far->heard, buffer, (size_t)n);
            continue;
        }
        int why = SSL_get_error(far->ssl, n);
        far->ended |= why == SSL_ERROR_ZERO_RETURN;
        far->failed |= why == SSL_ERROR_SSL || why == SSL_ERROR_SYSCALL;
        far->cut |= far->failed;
        return;
    }
}

void far_hear(struct far *far)
{
    char buffer[16384];
    ssize_t n;
    if (far->fd < 0 || far->cut || far->ended) {
        return;
    }
    if (far->ssl != NULL) {
        hear_tls(far);
        return;
    }
    while ((n = recv(far->fd, buffer, sizeof buffer, 0)) > 0) {
        text_add_bytes(&far->heard, buffer, (size_t)n);
    }
    far->ended |= n == 0;
    far->cut |= n < 0 && errno != EAGAIN;
}

bool far_heard(struct far *far, const char *text)
{
    far_hear(far);
    return strstr(text_string(&far->heard), text) != NULL;
}

void far_say_bytes(struct bench *bench, struct far *far, const char *data, size_t size)
{
    size_t at = 0;
    uint64_t limit = loopback_limit();
    while (at < size) {
        ssize_t n = far->ssl != NULL ? SSL_write(far->ssl, data + at, (int)(size - at))
                                     : send(far->fd, data + at, size - at, MSG_NOSIGNAL);
        at += n > 0 ? (size_t)n : 0;
        if (n <= 0) {
            loopback_check(limit, "the upstream is heard", __FILE__, __LINE__);
            loopback_turn(&bench->net);
        }
    }
}

void far_say(struct bench *bench, struct far *far, const char *text)
{
    far_say_bytes(bench, far, text, strlen(text));
}

void far_drop(struct far *far)
{
    if (far->fd >= 0) {
        SSL_free(far->ssl);
        far->ssl = NULL;
        close(far->fd);
        far->fd = -1;
    }
}

void far_close(struct far *far)
{
    if (far->ssl != NULL) {
        (void)SSL_shutdown(far->ssl);
    }
    far_drop(far);
}

void far_reset(struct far *far)
{
    struct linger now = {.l_onoff = 1};
    assert_int_equal(setsockopt(far->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now), 0);
    far_drop(far);
}

void far_release(struct far *far)
{
    far_drop(far);
    text_release(&far->heard);
}

/* ---- The owner ---- */

static struct owner *of(struct exchange *exchange)
{
    return CONTAINER_OF(exchange, struct owner, exchange);
}

void owner_give(struct owner *owner)
{
    while (owner->given < owner->body.length) {
        size_t left = owner->body.length - owner->given;
        size_t size = owner->step > 0 && owner->step < left ? owner->step : left;
        size_t n = exchange_body(&owner->exchange, owner->body.data + owner->given, size);
        owner->given += n;
        if (n < size) {
            return;
        }
    }
    if (!owner->open_ended && !owner->body_over) {
        owner->body_over = true;
        exchange_body_end(&owner->exchange);
    }
}

static void on_want(struct exchange *exchange)
{
    of(exchange)->wanted++;
    owner_give(of(exchange));
}

static void on_go_on(struct exchange *exchange)
{
    of(exchange)->went_on++;
    owner_give(of(exchange));
}

static void on_head(struct exchange *exchange, const struct http_response *response)
{
    struct owner *owner = of(exchange);
    owner->heads++;
    owner->status = response->status;
    if (owner->cancels) {
        exchange_cancel(exchange);
    }
}

static size_t on_piece(struct exchange *exchange, const char *data, size_t size)
{
    struct owner *owner = of(exchange);
    size_t taken = size < owner->room ? size : owner->room;
    owner->room -= taken;
    text_add_bytes(&owner->answer, data, taken);
    return taken;
}

static void on_end(struct exchange *exchange, const struct exchange_end *end)
{
    struct owner *owner = of(exchange);
    owner->ends++;
    owner->why = end->why;
    owner->answered = end->answered;
    owner->reached = end->reached;
    owner->sent = end->sent;
    owner->retry_after_s = end->retry_after_s;
    owner->reused = exchange->reused;
    snprintf(owner->detail, sizeof owner->detail, "%s", end->detail != NULL ? end->detail : "");
}

static const struct exchange_ops ops = {
    .want = on_want,
    .go_on = on_go_on,
    .head = on_head,
    .piece = on_piece,
    .end = on_end,
};

void owner_init(struct owner *owner, struct bench *bench, const char *head)
{
    size_t used;
    struct http_span piece;
    memset(owner, 0, sizeof *owner);
    owner->bench = bench;
    owner->room = SIZE_MAX;
    owner->values = (struct http_values){.enclave = "signer",
                                         .cid = 16,
                                         .route = "results",
                                         .request_id = "r1",
                                         .secrets = &bench->worker.secrets};
    http_request_init(&owner->request, &bench->forward->rules);
    if (http_request_read(&owner->request, head, strlen(head), &used, &piece) != HTTP_EVENT_HEAD) {
        fail_msg("%s", http_refusal_word(owner->request.reader.why));
    }
}

void owner_start(struct owner *owner)
{
    struct exchange_options options = {
        .config = owner->bench->config,
        .route = owner->bench->route,
        .request = &owner->request,
        .values = &owner->values,
        .plain = owner->plain.authority != NULL ? &owner->plain : NULL,
    };
    exchange_start(&owner->exchange, &owner->bench->worker, &ops, &options);
    if (!owner->request.expects_continue) {
        owner_give(owner);
    }
}

void owner_release(struct owner *owner)
{
    http_request_release(&owner->request);
    text_release(&owner->body);
    text_release(&owner->answer);
}
