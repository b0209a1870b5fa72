/*
 * One connection of the proxy: requests in, answers out, each within its time. See proxy.h.
 *
 * Happy path: idle, until a byte comes; a request, whole; a call; an answer; idle again. It ends when the client says so, or closes, or
 * is idle for too long, or the proxy drains; after a request that was refused, since where the next one would begin is not certain; and
 * when any of its time is over.
 */
#include "client/clock.h"
#include "kms/proxy_answer.h"
#include "kms/proxy_private.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define BODY_STEP 4096u

/* After a refusal: what the client still sends is read and thrown away for so long, or TCP would reset the connection, and the answer
 * would be lost with it. */
#define LINGER_MS  1000
#define LINGER_MAX ((size_t)4 * 1024 * 1024)

void proxy_guest_init(struct proxy_guest *guest, struct kms_proxy *proxy, int fd)
{
    guest->proxy = proxy;
    guest->fd = fd;
    guest->state = PROXY_GUEST_BUSY;
    guest->body = NULL;
    guest->body_size = guest->body_room = guest->held = 0;
    guest->in_at = guest->in_end = 0;
    http_request_init(&guest->request, &proxy->rules);
}

/* ---- Bytes ---- */

static bool wait_for(const struct proxy_guest *guest, short events, uint64_t until)
{
    struct pollfd fd = {.fd = guest->fd, .events = events};
    uint64_t now;

    while ((now = clock_ms()) < until) {
        int r = poll(&fd, 1, until - now > INT32_MAX ? INT32_MAX : (int)(until - now));
        if (r > 0) {
            return true;
        }
        if (r < 0 && errno != EINTR) {
            return false;
        }
    }
    return false;
}

/* False: the client has closed, or it took too long. There is nothing that has not been looked at. */
static bool receive(struct proxy_guest *guest, uint64_t until)
{
    ssize_t n;

    do {
        n = recv(guest->fd, guest->in, sizeof guest->in, 0);
    } while (n < 0 && (errno == EINTR || (errno == EAGAIN && wait_for(guest, POLLIN, until))));
    guest->in_at = 0;
    guest->in_end = n > 0 ? (size_t)n : 0;
    return n > 0;
}

static bool send_all(struct proxy_guest *guest, const void *data, size_t size)
{
    uint64_t until = clock_ms() + guest->proxy->options.request_ms;
    const char *at = data;

    while (size > 0) {
        ssize_t n = send(guest->fd, at, size, MSG_NOSIGNAL);
        if (n > 0) {
            at += n;
            size -= (size_t)n;
        } else if (errno != EINTR && (errno != EAGAIN || !wait_for(guest, POLLOUT, until))) {
            return false;
        }
    }
    return true;
}

/* What was read is a request's, and may be plaintext. */
static void wipe_read(struct proxy_guest *guest)
{
    OPENSSL_cleanse(guest->in, guest->in_at);
}

static void linger(struct proxy_guest *guest)
{
    uint64_t until = clock_ms() + LINGER_MS;
    size_t size = 0;

    (void)shutdown(guest->fd, SHUT_WR);
    while (size < LINGER_MAX && clock_ms() < until && receive(guest, until)) {
        size += guest->in_end;
        guest->in_at = guest->in_end;
        wipe_read(guest);
    }
}

/* ---- The body ---- */

/* Of what all connections may hold together. What is taken for a request is given back when it was answered, by let_go(). */
static bool hold(struct proxy_guest *guest, size_t size)
{
    struct kms_proxy *proxy = guest->proxy;

    pthread_mutex_lock(&proxy->lock);
    bool room = size <= proxy->options.memory - proxy->held;
    if (room) {
        proxy->held += size;
        guest->held += size;
    }
    pthread_mutex_unlock(&proxy->lock);
    return room;
}

static void let_go(struct proxy_guest *guest)
{
    struct kms_proxy *proxy = guest->proxy;

    pthread_mutex_lock(&proxy->lock);
    proxy->held -= guest->held;
    guest->held = 0;
    pthread_mutex_unlock(&proxy->lock);
}

static void drop_body(struct proxy_guest *guest)
{
    OPENSSL_clear_free(guest->body, guest->body_room);
    guest->body = NULL;
    guest->body_size = guest->body_room = 0;
}

/* Memory is taken as bytes come, never by what a header announces. The old piece is wiped. */
static bool grow_body(struct proxy_guest *guest, size_t size)
{
    size_t room = guest->body_room > 0 ? guest->body_room : BODY_STEP;

    while (room < size) {
        room *= 2;
    }
    if (room == guest->body_room) {
        return true;
    }
    if (!hold(guest, room - guest->body_room)) {
        return false;
    }
    char *body = OPENSSL_clear_realloc(guest->body, guest->body_room, room);
    if (!body) {
        return false;
    }
    guest->body = body;
    guest->body_room = room;
    return true;
}

static bool add_to_body(struct proxy_guest *guest, struct http_span piece)
{
    if (!grow_body(guest, guest->body_size + piece.size)) {
        return false;
    }
    memcpy(guest->body + guest->body_size, piece.data, piece.size);
    guest->body_size += piece.size;
    return true;
}

/* ---- Requests ---- */

enum outcome {
    REQUEST_WHOLE,
    REQUEST_REFUSED, /* `why` says what is wrong: to be answered, and then closed */
    REQUEST_GONE,    /* there is nobody to be answered */
};

static void no_memory(struct proxy_problem *why)
{
    (void)proxy_problem_set(why, 503, "no_memory",
                            "there is no memory for the request now: too many large ones at once");
}

/* There is no route here, which the usual words speak of. */
static const char *meaning_of(enum http_refusal refusal)
{
    switch (refusal) {
    case HTTP_REFUSED_DENIED_METHOD:
        return "KMS's calls are POST requests";
    case HTTP_REFUSED_TARGET_FORM:
    case HTTP_REFUSED_DENIED_PATH:
    case HTTP_REFUSED_DENIED_QUERY:
        return "KMS's calls have the path / and no query";
    case HTTP_REFUSED_DENIED_TYPE:
        return "the Content-Type of KMS's calls is application/x-amz-json-1.1";
    case HTTP_REFUSED_HEAD_TIMEOUT:
        return "the request did not come whole in the time for it";
    default:
        return http_refusal_meaning(refusal);
    }
}

static enum outcome refuse(struct proxy_problem *why, enum http_refusal refusal)
{
    (void)proxy_problem_set(why, http_refusal_status(refusal), http_refusal_word(refusal), "%s",
                            meaning_of(refusal));
    return REQUEST_REFUSED;
}

/* The next bytes of it. WHOLE: they were looked at, but there have to be more. */
static enum outcome read_more(struct proxy_guest *guest, enum http_event *ret_event,
                              struct proxy_problem *why)
{
    static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
    struct http_span piece;
    size_t used;

    *ret_event = http_request_read(&guest->request, guest->in + guest->in_at, guest->in_end - guest->in_at,
                                   &used, &piece);
    guest->in_at += used;
    switch (*ret_event) {
    case HTTP_EVENT_HEAD:
        return !guest->request.expects_continue || send_all(guest, go_on, sizeof go_on - 1) ? REQUEST_WHOLE
                                                                                            : REQUEST_GONE;
    case HTTP_EVENT_BODY:
        if (!add_to_body(guest, piece)) {
            no_memory(why);
            return REQUEST_REFUSED;
        }
        return REQUEST_WHOLE;
    case HTTP_EVENT_REFUSED:
        return refuse(why, guest->request.reader.why);
    default:
        return REQUEST_WHOLE;
    }
}

static enum outcome read_request(struct proxy_guest *guest, struct proxy_problem *why)
{
    uint64_t until = clock_ms() + guest->proxy->options.request_ms;
    enum http_event event = HTTP_EVENT_MORE;

    for (;;) {
        enum outcome outcome = read_more(guest, &event, why);
        if (outcome != REQUEST_WHOLE || event == HTTP_EVENT_END) {
            return outcome;
        }
        if (event == HTTP_EVENT_MORE) {
            wipe_read(guest);
            if (!receive(guest, until)) {
                return clock_ms() < until ? REQUEST_GONE : refuse(why, HTTP_REFUSED_HEAD_TIMEOUT);
            }
        }
    }
}

/* ---- Answers ---- */

static bool is_draining(struct kms_proxy *proxy)
{
    pthread_mutex_lock(&proxy->lock);
    bool draining = proxy->draining;
    pthread_mutex_unlock(&proxy->lock);
    return draining;
}

static void note(struct kms_proxy *proxy, const char *operation, const struct error *err)
{
    struct error line = *err;

    if (!proxy->options.note || line.text[0] == '\0') {
        return;
    }
    if (strncmp(line.text, operation, strlen(operation)) != 0) {
        error_prefix(&line, "%s", operation);
    }
    pthread_mutex_lock(&proxy->lock);
    proxy->options.note(proxy->options.data, line.text);
    pthread_mutex_unlock(&proxy->lock);
}

/* Of an answer that is on its way out: the call may have taken a while. */
static bool keeps_alive(struct proxy_guest *guest)
{
    return guest->request.keep_alive && !is_draining(guest->proxy);
}

/* As a tree, if there is memory for that. */
static bool read_call(struct proxy_guest *guest, struct http_span body, struct proxy_call *ret,
                      struct proxy_problem *why)
{
    if (!hold(guest, proxy_call_cost(body))) {
        no_memory(why);
        return false;
    }
    return proxy_call_read(&guest->request, body, ret, why);
}

/* The call of a request that has come whole. What it asks for that cannot be is the answer, and the connection goes on. */
static int make_answer(struct proxy_guest *guest, bool *ret_keep_alive, struct postern_secret *ret)
{
    struct kms_proxy *proxy = guest->proxy;
    struct http_span body = {.data = guest->body, .size = guest->body_size};
    struct proxy_answer answer;
    struct proxy_call call;
    struct error err = ERROR_INIT;

    if (!read_call(guest, body, &call, &answer.problem)) {
        *ret_keep_alive = keeps_alive(guest);
        return proxy_answer_problem(&answer.problem, *ret_keep_alive, false, ret);
    }
    /* The call has it, and may take its time: what was held for the body is for the text that the call sends. */
    drop_body(guest);
    proxy_answer_call(proxy->kms, &call, proxy->options.call_ms, &answer, &err);
    note(proxy, call.operation, &err);
    proxy_call_release(&call);
    *ret_keep_alive = keeps_alive(guest);
    int r = proxy_answer_write(&answer, *ret_keep_alive, ret);
    proxy_answer_release(&answer);
    return r;
}

static bool send_answer(struct proxy_guest *guest, struct postern_secret *answer)
{
    bool sent = send_all(guest, answer->data, answer->length);

    postern_secret_wipe(answer);
    return sent;
}

/* One request, of which something has come. False: the connection is over. */
static bool serve(struct proxy_guest *guest)
{
    struct proxy_problem why;
    struct postern_secret answer;
    enum outcome outcome = read_request(guest, &why);
    bool head_only = http_span_is(guest->request.method_name, "HEAD");

    wipe_read(guest);
    if (outcome == REQUEST_GONE) {
        return false;
    }
    if (outcome == REQUEST_REFUSED) {
        if (proxy_answer_problem(&why, false, head_only, &answer) == 0 && send_answer(guest, &answer)) {
            linger(guest);
        }
        return false;
    }
    bool keep_alive;
    return make_answer(guest, &keep_alive, &answer) == 0 && send_answer(guest, &answer) && keep_alive;
}

/* ---- The connection ---- */

/* False: not while the proxy drains. */
static bool set_state(struct proxy_guest *guest, enum proxy_guest_state state)
{
    struct kms_proxy *proxy = guest->proxy;

    pthread_mutex_lock(&proxy->lock);
    bool idle = state == PROXY_GUEST_IDLE;
    bool may = !idle || !proxy->draining;
    if (may) {
        guest->state = state;
        guest->idle_since = clock_ms();
    }
    if (idle && proxy->crowded) {
        kms_proxy_wake(proxy);
    }
    pthread_mutex_unlock(&proxy->lock);
    return may;
}

static bool await_request(struct proxy_guest *guest)
{
    if (guest->in_at < guest->in_end) {
        return true; /* it came with the one before */
    }
    /* While the proxy drains, what has come already is still served. */
    bool may_wait = set_state(guest, PROXY_GUEST_IDLE);
    bool more = receive(guest, may_wait ? clock_ms() + guest->proxy->options.idle_ms : 0);
    if (more) {
        (void)set_state(guest, PROXY_GUEST_BUSY);
    }
    return more;
}

void proxy_guest_run(struct proxy_guest *guest)
{
    while (await_request(guest) && serve(guest)) {
        drop_body(guest);
        let_go(guest);
        http_request_next(&guest->request);
    }
    drop_body(guest);
    let_go(guest);
    http_request_release(&guest->request);
    OPENSSL_cleanse(guest->in, sizeof guest->in);
}
