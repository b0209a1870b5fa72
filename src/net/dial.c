/*
 * Dialing: see dial.h.
 *
 *     dial_start -> [resolve] -> candidates -> attempt 0, 250 ms, attempt 1, ... -> finish -> free
 *
 * Happy path: one attempt's socket turns writable, sock_outcome() says 0, and (hybrid) the greeting is
 * answered; the others are dropped.
 * Failure modes: no memory for the resolver or the first attempt, no transport, or an address that is none, told by the timer
 * at 0 ms since the callback may not come from inside dial_start(); the resolver says no; the guard refuses all; every
 * attempt fails (the last failure is told); the deadline passes.
 *
 * The memory belongs to the timer: whatever ends the dial goes through finish() or dial_cancel(), both
 * of which leave nothing behind but the closing timer, and its close callback frees.
 */
#include "net/dial.h"

#include "net/guard.h"
#include "net/hybrid.h"
#include <errno.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct attempt {
    struct watcher watcher; /* fd -1: not begun, or failed */
    struct dial *dial;
    bool greeting; /* hybrid: connected, and CONNECT is sent */
    struct hybrid_greeting hybrid;
};

struct dial {
    struct loop *loop;
    struct addr to;
    struct dial_options options; /* .to points to our own `to` */
    dial_cb cb;
    void *data;
    uv_timer_t timer; /* the sooner of the next attempt and the deadline; at 0 ms, a failure to tell */
    uint64_t deadline;
    bool connecting; /* the candidates are known */
    bool done;
    struct resolve_request request;
    struct resolved candidates;
    unsigned begun;  /* attempts started */
    unsigned failed; /* of those, over */
    enum reason why; /* of the last failure */
    struct error err;
    struct attempt attempts[RESOLVE_ADDRS_MAX];
};

static void on_timer_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static void leave(struct dial *dial)
{
    dial->done = true;
    resolve_cancel(&dial->request);
    for (unsigned i = 0; i < dial->begun; i++) {
        poller_drop(&dial->loop->poller, &dial->attempts[i].watcher);
    }
    uv_close((uv_handle_t *)&dial->timer, on_timer_closed);
}

void dial_cancel(struct dial *dial)
{
    if (dial != NULL && !dial->done) {
        leave(dial);
    }
}

static void finish_failed(struct dial *dial)
{
    dial->done = true;
    dial->cb(dial->data, dial->why, NULL, &dial->err);
    leave(dial);
}

static void note_useless(struct dial *dial, unsigned index)
{
    if (dial->options.avoid != NULL) {
        avoid_note(dial->options.avoid, &dial->candidates.address[index], loop_now(dial->loop));
    }
}

/* Those that were tried before the `end`th, and have not said anything. */
static void note_silent(struct dial *dial, unsigned end)
{
    for (unsigned i = 0; i < end; i++) {
        if (dial->attempts[i].watcher.fd >= 0) {
            note_useless(dial, i);
        }
    }
}

static void note_winner(struct dial *dial, unsigned index)
{
    note_silent(dial, index);
    if (dial->options.avoid != NULL) {
        avoid_forget(dial->options.avoid, &dial->candidates.address[index]);
    }
}

static void finish_connected(struct attempt *attempt)
{
    struct dial *dial = attempt->dial;
    const struct sockaddr_any *peer = &dial->candidates.address[attempt - dial->attempts];
    struct dialed dialed = {
        .watcher = &attempt->watcher,
        .kind = sock_kind(peer),
        .peer = peer,
        .stale = dial->candidates.stale,
    };
    note_winner(dial, (unsigned)(attempt - dial->attempts));
    dial->done = true;
    dial->cb(dial->data, REASON_NONE, &dialed, NULL);
    leave(dial);
}

static enum reason reason_of_errno(int code)
{
    switch (code) {
    case -ECONNREFUSED:
    case -ECONNRESET:
        return REASON_CONNECT_REFUSED;
    case -ETIMEDOUT:
        return REASON_CONNECT_TIMEOUT;
    case -ENETUNREACH:
    case -EHOSTUNREACH:
    case -ENODEV:
    case -ENOENT:
    case -EADDRNOTAVAIL:
        return REASON_UNREACHABLE;
    case -EMFILE:
    case -ENFILE:
        return REASON_NO_DESCRIPTORS;
    case -ENOMEM:
    case -ENOBUFS:
        return REASON_NO_MEMORY;
    default:
        return REASON_CONNECT_FAILED;
    }
}

static bool is_of_this_side(enum reason why)
{
    return why == REASON_NO_DESCRIPTORS || why == REASON_NO_MEMORY;
}

static void note_failure(struct dial *dial, unsigned index, int code)
{
    char to[ADDR_TEXT_MAX], at[ADDR_TEXT_MAX];
    const struct sockaddr_any *peer = &dial->candidates.address[index];
    addr_format(&dial->to, to);
    sockaddr_format(peer, at);
    dial->why = reason_of_errno(code);
    error_set(&dial->err, code, "cannot connect to %s (%s): %s", to, at,
              sock_connect_words(sock_kind(peer), code));
    if (!is_of_this_side(dial->why)) {
        note_useless(dial, index);
    }
}

static void on_attempt_ready(struct watcher *watcher, uint32_t events);

/* Begins the attempt; a failure at once is noted, and counts as a failed attempt. */
static void attempt_begin(struct dial *dial, unsigned index)
{
    struct attempt *attempt = &dial->attempts[index];
    bool pending;
    attempt->dial = dial;
    attempt->greeting = false;
    attempt->watcher.fd = -1;
    int fd = sock_connect(&dial->candidates.address[index], &dial->options.sock, &pending);
    int rv = fd;
    if (fd >= 0) {
        /* Connected or not, the poller's first report says so. */
        rv = poller_add(&dial->loop->poller, &attempt->watcher, fd, ROOM_REPORTED, on_attempt_ready);
        if (rv != 0) {
            close(fd);
        }
    }
    if (rv < 0) {
        note_failure(dial, index, rv);
        dial->failed++;
    }
}

static void on_timer(uv_timer_t *timer);

static void arm(struct dial *dial)
{
    uint64_t now = loop_now(dial->loop);
    uint64_t wait = dial->deadline > now ? dial->deadline - now : 0;
    if (dial->begun < dial->candidates.count && wait > DIAL_ATTEMPT_DELAY_MS) {
        wait = DIAL_ATTEMPT_DELAY_MS;
    }
    if (dial->failed == dial->candidates.count) {
        wait = 0;
    }
    uv_timer_start(&dial->timer, on_timer, wait, 0);
}

/* Starts attempts until one is under way; with none left and none under way, the timer tells the failure. */
static void advance(struct dial *dial)
{
    do {
        if (dial->begun < dial->candidates.count) {
            attempt_begin(dial, dial->begun++);
        }
    } while (dial->failed == dial->begun && dial->begun < dial->candidates.count);
    arm(dial);
}

static void attempt_failed(struct attempt *attempt, int code)
{
    struct dial *dial = attempt->dial;
    note_failure(dial, (unsigned)(attempt - dial->attempts), code);
    poller_drop(&dial->loop->poller, &attempt->watcher);
    dial->failed++;
    advance(dial);
}

static void on_attempt_ready(struct watcher *watcher, uint32_t events)
{
    struct attempt *attempt = CONTAINER_OF(watcher, struct attempt, watcher);
    struct dial *dial = attempt->dial;
    int rv;
    if (!attempt->greeting) {
        if ((events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) == 0) {
            return;
        }
        /* Writable, and nothing wrong with it, is connected: no need to ask. */
        rv = (events & (EPOLLERR | EPOLLHUP)) != 0 ? sock_outcome(watcher->fd) : 0;
        if (rv == 0 && dial->to.kind != ADDR_HYBRID) {
            finish_connected(attempt);
            return;
        }
        attempt->greeting = true;
        hybrid_greeting_init(&attempt->hybrid, dial->to.port);
    } else {
        rv = 0;
    }
    if (rv == 0) {
        rv = hybrid_greeting_step(&attempt->hybrid, watcher->fd);
    }
    if (rv == 0) {
        finish_connected(attempt);
    } else if (rv != -EAGAIN) {
        attempt_failed(attempt, rv);
    }
}

static void note_timeout(struct dial *dial)
{
    char to[ADDR_TEXT_MAX], from[64] = "";
    note_silent(dial, dial->begun);
    dial->why = REASON_CONNECT_TIMEOUT;
    if (dial->candidates.count > 1) {
        snprintf(from, sizeof from, " from %u of %u addresses tried, of %u", dial->begun - dial->failed,
                 dial->begun, dial->candidates.count);
    }
    error_prefix(&dial->err, "cannot connect to %s: no answer within %llu ms%s%s", addr_format(&dial->to, to),
                 (unsigned long long)dial->options.timeout_ms, from,
                 dial->failed > 0 ? "; the last that failed" : "");
}

static void on_timer(uv_timer_t *timer)
{
    struct dial *dial = timer->data;
    if (dial->why != REASON_NONE && dial->failed == dial->candidates.count) {
        finish_failed(dial);
    } else if (loop_now(dial->loop) >= dial->deadline) {
        note_timeout(dial);
        finish_failed(dial);
    } else {
        advance(dial);
    }
}

static void fail_later(struct dial *dial, enum reason why)
{
    dial->why = why;
    dial->candidates.count = dial->failed = 0;
    uv_timer_start(&dial->timer, on_timer, 0, 0);
}

static bool wanted(const struct dial *dial, const struct sockaddr_any *address, const char **ret_block)
{
    if (dial->options.family != 0 && address->u.base.sa_family != dial->options.family) {
        return false;
    }
    const char *block = dial->options.public_only ? guard_block(&address->u.base) : NULL;
    if (block != NULL) {
        *ret_block = block;
    }
    return block == NULL;
}

static void set_port(struct sockaddr_any *address, uint32_t port)
{
    /* sin_port and sin6_port are at the same place, but the standard does not say so. */
    if (address->u.base.sa_family == AF_INET) {
        ((struct sockaddr_in *)(void *)&address->u.storage)->sin_port = htons((uint16_t)port);
    } else {
        ((struct sockaddr_in6 *)(void *)&address->u.storage)->sin6_port = htons((uint16_t)port);
    }
}

/* Keeps of the answer what may be connected to. */
static void take_answer(struct dial *dial, const struct resolved *answer)
{
    const char *block = NULL;
    dial->candidates.count = 0;
    dial->candidates.stale = answer->stale;
    for (unsigned i = 0; i < answer->count; i++) {
        if (wanted(dial, &answer->address[i], &block)) {
            struct sockaddr_any *kept = &dial->candidates.address[dial->candidates.count++];
            *kept = answer->address[i];
            set_port(kept, dial->to.port);
        }
    }
    if (dial->candidates.count > 0) {
        if (dial->options.avoid != NULL) {
            avoid_sort(dial->options.avoid, dial->candidates.address, dial->candidates.count,
                       loop_now(dial->loop));
        }
        return;
    }
    if (block != NULL) {
        error_set(&dial->err, -EACCES, "%s resolves only to addresses that are not public (%s)",
                  dial->to.host, block);
        fail_later(dial, REASON_DENIED_ADDRESS);
    } else {
        error_set(&dial->err, -ENOENT, "%s has no address of the wanted family", dial->to.host);
        fail_later(dial, REASON_DNS_NOT_FOUND);
    }
}

static void connect_candidates(struct dial *dial)
{
    dial->deadline = loop_now(dial->loop) + dial->options.timeout_ms;
    if (dial->candidates.count > 0) {
        advance(dial);
    }
}

/* The reasons of a limit are told of streams otherwise. */
static const char *why_not_resolved(enum reason why)
{
    return why == REASON_LIMIT_ENCLAVE  ? "too many other names are being looked up for this enclave"
           : why == REASON_LIMIT_DAEMON ? "too many other names are being looked up"
                                        : reason_meaning(why);
}

static void on_resolved(struct resolve_request *request, enum reason why, const struct resolved *answer)
{
    struct dial *dial = request->data;
    if (why != REASON_NONE) {
        error_set(&dial->err, -ENOENT, "cannot resolve %s: %s", dial->to.host, why_not_resolved(why));
        dial->why = why;
        finish_failed(dial);
        return;
    }
    take_answer(dial, answer);
    connect_candidates(dial);
}

static int begin(struct dial *dial)
{
    struct resolved answer;
    if (dial->to.kind == ADDR_TCP && !dial->to.literal) {
        int rv = resolve_start(dial->loop->resolver, dial->to.host, &dial->request, on_resolved, &answer);
        if (rv <= 0) {
            return rv;
        }
        take_answer(dial, &answer);
    } else {
        int rv = addr_to_sockaddr(&dial->to, false, &dial->candidates.address[0]);
        if (rv != 0) {
            return rv;
        }
        dial->candidates.count = 1;
    }
    connect_candidates(dial);
    return 0;
}

struct dial *dial_start(struct loop *loop, const struct dial_options *options, dial_cb cb, void *data)
{
    /* Not zeroed whole: the candidates and attempts are 5 KiB, of which one entry is used as a rule. */
    struct dial *dial = malloc(sizeof *dial);
    if (dial == NULL) {
        return NULL;
    }
    memset(dial, 0, offsetof(struct dial, candidates));
    dial->candidates.count = 0;
    dial->candidates.stale = false;
    dial->begun = dial->failed = 0;
    dial->why = REASON_NONE;
    dial->err.text[0] = '\0';
    dial->loop = loop;
    dial->to = *options->to;
    dial->options = *options;
    dial->options.to = &dial->to;
    dial->options.sock.connect_timeout_ms = options->timeout_ms;
    dial->cb = cb;
    dial->data = data;
    dial->request.data = dial;
    dial->request.asker = options->asker;
    uv_timer_init(&loop->uv, &dial->timer);
    dial->timer.data = dial;
    int rv = begin(dial);
    if (rv != 0) {
        char to[ADDR_TEXT_MAX];
        error_errno(&dial->err, rv, "cannot connect to %s", addr_format(&dial->to, to));
        fail_later(dial, reason_of_errno(rv));
    }
    return dial;
}
