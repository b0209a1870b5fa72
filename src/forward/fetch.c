/*
 * One bounded HTTP request: see fetch.h.
 *
 *     fetch_start -> dial -> send -> read -> callback -> free
 *
 * Failure modes: nobody there, or nobody who answers (one deadline for all of it); an answer that is cut off, malformed or
 * too large.
 *
 * The memory belongs to the timer: whatever ends the fetch goes through leave(), which leaves nothing behind but the
 * closing timer, and its close callback frees.
 */
#include "forward/fetch.h"

#include "http/message.h"
#include "http/syntax.h"
#include "net/dial.h"
#include <errno.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

struct fetch {
    struct loop *loop;
    fetch_cb cb;
    void *data;
    uv_timer_t timer;
    struct dial *dial;
    struct watcher watcher;
    struct text request; /* what is to be sent */
    size_t sent;
    struct http_message answer;
    bool done;
    char where[ADDR_TEXT_MAX];
    uint64_t timeout_ms;
};

static void on_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static void leave(struct fetch *fetch)
{
    fetch->done = true;
    dial_cancel(fetch->dial);
    fetch->dial = NULL;
    poller_drop(&fetch->loop->poller, &fetch->watcher);
    text_release(&fetch->request);
    http_message_release(&fetch->answer);
    uv_close((uv_handle_t *)&fetch->timer, on_closed);
}

void fetch_cancel(struct fetch *fetch)
{
    if (fetch != NULL && !fetch->done) {
        leave(fetch);
    }
}

/* Nobody can cancel it from now on: the callback is the end. */
static void finish(struct fetch *fetch, int code, const struct fetched *fetched, const struct error *err)
{
    fetch->done = true;
    fetch->cb(fetch->data, code, fetched, err);
    leave(fetch);
}

static void fail(struct fetch *fetch, int code, const char *why)
{
    struct error err;
    finish(fetch, error_set(&err, code, "http://%s: %s", fetch->where, why), NULL, &err);
}

static void succeed(struct fetch *fetch)
{
    const struct text *body = &fetch->answer.body;
    struct fetched fetched = {.status = fetch->answer.status,
                              .body = text_string(body),
                              .size = body->length};
    finish(fetch, 0, &fetched, NULL);
}

/* ---- The exchange ---- */

static int send_more(struct fetch *fetch)
{
    while (fetch->sent < fetch->request.length) {
        ssize_t n = send(fetch->watcher.fd, fetch->request.data + fetch->sent,
                         fetch->request.length - fetch->sent, MSG_NOSIGNAL);
        if (n < 0) {
            return errno == EAGAIN ? 0 : -errno;
        }
        fetch->sent += (size_t)n;
    }
    return 0;
}

/* 1: the answer is whole; 0: it goes on; or a negative errno value. */
static int read_more(struct fetch *fetch)
{
    char *scratch = (char *)fetch->loop->scratch;
    int rv;
    do {
        ssize_t n = recv(fetch->watcher.fd, scratch, LOOP_SCRATCH_SIZE, 0);
        if (n < 0) {
            return errno == EAGAIN ? 0 : -errno;
        }
        rv = n > 0 ? http_message_feed(&fetch->answer, scratch, (size_t)n)
                   : http_message_finish(&fetch->answer);
        OPENSSL_cleanse(scratch, n > 0 ? (size_t)n : 0);
    } while (rv == 0);
    return rv;
}

static void on_ready(struct watcher *watcher, uint32_t events)
{
    struct fetch *fetch = CONTAINER_OF(watcher, struct fetch, watcher);
    (void)events;
    int rv = send_more(fetch);
    /* Who refused to read the rest may have said why. */
    int answer = read_more(fetch);
    rv = answer != 0 ? answer : rv;
    if (rv == 1) {
        succeed(fetch);
    } else if (rv < 0) {
        fail(fetch, rv, fetch->answer.refused != 0 ? fetch->answer.why : error_words(rv));
    }
}

static int code_of(enum reason why)
{
    switch (why) {
    case REASON_CONNECT_REFUSED:
        return -ECONNREFUSED;
    case REASON_CONNECT_TIMEOUT:
        return -ETIMEDOUT;
    case REASON_NO_MEMORY:
        return -ENOMEM;
    default:
        return -EHOSTUNREACH;
    }
}

static void on_dialed(void *data, enum reason why, const struct dialed *dialed, const struct error *err)
{
    struct fetch *fetch = data;
    fetch->dial = NULL;
    if (why != REASON_NONE) {
        finish(fetch, code_of(why), NULL, err);
        return;
    }
    int rv = poller_move(&fetch->loop->poller, dialed->watcher, &fetch->watcher, ROOM_REPORTED, on_ready);
    if (rv != 0) {
        fail(fetch, rv, error_words(rv));
    }
}

static void on_timer(uv_timer_t *timer)
{
    struct fetch *fetch = timer->data;
    bool connected = fetch->watcher.fd >= 0;
    fail(fetch, -ETIMEDOUT,
         connected ? "it took the request and did not answer in time" : "no answer in time");
}

/* ---- The start ---- */

static bool add_header(struct text *out, const struct fetch_header *header)
{
    size_t size = strlen(header->value);
    text_addf(out, "%s: %s\r\n", header->name, header->value);
    return http_run(header->value, size, HTTP_VALUE) == size && size <= FETCH_HEADER_MAX;
}

static int make_request(struct text *out, const struct fetch_options *options, struct error *err)
{
    const char *target = options->target != NULL ? options->target : options->url->target;
    size_t size = strlen(target);
    if (http_run(target, size, HTTP_TARGET) != size || size > CREDENTIALS_TARGET_MAX) {
        return error_set(err, -EINVAL,
                         "the path is too long, or has characters in it that have no place there");
    }
    text_addf(out,
              "%s %s HTTP/1.1\r\nhost: %s\r\naccept: */*\r\nuser-agent: postern\r\nconnection: close\r\n",
              options->method, size > 0 ? target : "/", options->url->authority);
    for (unsigned i = 0; i < FETCH_HEADERS_MAX && options->headers[i].name != NULL; i++) {
        if (!add_header(out, &options->headers[i])) {
            return error_set(err, -EINVAL,
                             "the value for %s has a line break or another control in it, or is too long",
                             options->headers[i].name);
        }
    }
    /* Some servers wait for a body of a PUT that does not say that it has none. */
    text_add(out, strcmp(options->method, "PUT") == 0 ? "content-length: 0\r\n\r\n" : "\r\n");
    return out->failed ? error_errno(err, -ENOMEM, "asking for credentials") : 0;
}

static struct fetch *make(struct loop *loop, const struct fetch_options *options, fetch_cb cb, void *data,
                          struct error *err)
{
    struct fetch *fetch = calloc(1, sizeof *fetch);
    if (fetch == NULL) {
        error_errno(err, -ENOMEM, "asking for credentials");
        return NULL;
    }
    fetch->loop = loop;
    fetch->cb = cb;
    fetch->data = data;
    fetch->watcher.fd = -1;
    fetch->timeout_ms = options->timeout_ms;
    fetch->request = (struct text)TEXT_SECRET_INIT; /* a token is in it */
    memcpy(fetch->where, options->url->authority, sizeof options->url->authority);
    if (make_request(&fetch->request, options, err) != 0) {
        text_release(&fetch->request);
        free(fetch);
        return NULL;
    }
    http_message_init(&fetch->answer, HTTP_MESSAGE_RESPONSE, FETCH_HEAD_MAX, FETCH_BODY_MAX);
    fetch->answer.body.wiped = true;
    (void)uv_timer_init(&loop->uv, &fetch->timer); /* cannot fail */
    fetch->timer.data = fetch;
    (void)uv_timer_start(&fetch->timer, on_timer, options->timeout_ms, 0);
    return fetch;
}

struct fetch *fetch_start(struct loop *loop, const struct fetch_options *options, fetch_cb cb, void *data,
                          struct error *err)
{
    if (!credentials_url_is_near(&options->url->to)) {
        error_set(
            err, -EACCES,
            "http://%s is not asked for credentials, which would cross a network in plain text; expected "
            "a loopback or link-local address",
            options->url->authority);
        return NULL;
    }
    struct fetch *fetch = make(loop, options, cb, data, err);
    if (fetch == NULL) {
        return NULL;
    }
    const struct dial_options to = {.to = &options->url->to, .timeout_ms = options->timeout_ms};
    fetch->dial = dial_start(loop, &to, on_dialed, fetch);
    if (fetch->dial == NULL) {
        error_errno(err, -ENOMEM, "asking for credentials");
        leave(fetch);
        return NULL;
    }
    return fetch;
}
