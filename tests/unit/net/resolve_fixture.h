/*
 * A resolver with a fake DNS server on one loop, and questions whose answers are kept.
 */
#ifndef POSTERN_TESTS_RESOLVE_FIXTURE_H
#define POSTERN_TESTS_RESOLVE_FIXTURE_H

#include "base/compiler.h"
#include "dns_fake.h"
#include "net/resolve.h"
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MINUTE_MS 60000u

/* How often something is tried that is to be done before a short timeout, and comes too late when the machine is busy. */
#define TRIES 100

struct fixture {
    uv_loop_t loop;
    struct dns_fake dns;
    struct resolver_options options;
    struct resolver_stats stats;
    struct resolver *resolver;
    bool closed;
};

struct question {
    struct resolve_request request;
    struct fixture *fixture;
    unsigned calls;
    enum reason why;
    struct resolved answer;
    void (*then)(struct question *question); /* called from inside the callback */
    struct question *other;
};

static inline void on_closed(void *data)
{
    struct fixture *fixture = data;
    assert_false(fixture->closed);
    fixture->closed = true;
}

static inline void open_resolver(struct fixture *fixture)
{
    struct error err = ERROR_INIT;
    fixture->closed = false;
    if (resolver_new(&fixture->loop, &fixture->options, &fixture->stats, &fixture->resolver, &err) != 0) {
        fail_msg("%s", err.text);
    }
}

static inline void wait_closed(struct fixture *fixture)
{
    while (!fixture->closed) {
        uv_run(&fixture->loop, UV_RUN_ONCE);
    }
}

static inline void close_resolver(struct fixture *fixture)
{
    resolver_close(fixture->resolver, on_closed, fixture);
    wait_closed(fixture);
}

/* The same server, another resolver. */
static inline void reopen(struct fixture *fixture)
{
    close_resolver(fixture);
    memset(&fixture->stats, 0, sizeof(fixture->stats));
    fixture->dns.asked = 0;
    open_resolver(fixture);
}

static inline int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    if (fixture == NULL || uv_loop_init(&fixture->loop) != 0) {
        return -1;
    }
    dns_fake_open(&fixture->dns, &fixture->loop);
    fixture->options = (struct resolver_options){
        .servers = fixture->dns.servers,
        .timeout_ms = MINUTE_MS,
        .min_ttl_ms = MINUTE_MS,
        .max_ttl_ms = 60 * MINUTE_MS,
        .stale_ms = 60 * MINUTE_MS,
        .cache_size = 100,
        .resolv_conf = "/dev/null",
    };
    open_resolver(fixture);
    *state = fixture;
    return 0;
}

static inline int tear_down(void **state)
{
    struct fixture *fixture = *state;
    if (fixture->resolver != NULL) {
        close_resolver(fixture);
    }
    dns_fake_close(&fixture->dns);
    assert_int_equal(uv_loop_close(&fixture->loop), 0);
    free(fixture);
    return 0;
}

/* Runs the loop until the timer of `ms` has come: time passes, and nothing is left to chance. */
static inline void on_pass(uv_timer_t *timer)
{
    timer->data = NULL;
}

static inline void pass(struct fixture *fixture, uint64_t ms)
{
    uv_timer_t timer;
    uv_timer_init(&fixture->loop, &timer);
    timer.data = &timer;
    uv_update_time(&fixture->loop);
    uv_timer_start(&timer, on_pass, ms, 0);
    while (timer.data != NULL) {
        uv_run(&fixture->loop, UV_RUN_ONCE);
    }
    uv_close((uv_handle_t *)&timer, NULL);
    uv_run(&fixture->loop, UV_RUN_NOWAIT);
}

static inline void on_resolved(struct resolve_request *request, enum reason why,
                               const struct resolved *answer)
{
    struct question *question = CONTAINER_OF(request, struct question, request);
    assert_ptr_equal(request->data, question);
    question->calls++;
    question->why = why;
    assert_int_equal(why == REASON_NONE, answer != NULL);
    if (answer != NULL) {
        question->answer = *answer;
    }
    if (question->then != NULL) {
        question->then(question);
    }
}

static inline int start(struct fixture *fixture, struct question *question, const char *name)
{
    question->fixture = fixture;
    question->request.data = question;
    uv_update_time(&fixture->loop);
    unsigned calls = question->calls;
    int r = resolve_start(fixture->resolver, name, &question->request, on_resolved, &question->answer);
    assert_int_equal(question->calls, calls); /* never from inside */
    return r;
}

static inline void wait_for(struct question *question, unsigned calls)
{
    while (question->calls < calls) {
        if (uv_run(&question->fixture->loop, UV_RUN_ONCE) == 0 && question->calls < calls) {
            fail_msg("the loop ended without an answer");
        }
    }
}

/* Asks and waits. The result is that of resolve_start(): 1 from the cache. */
static inline int ask(struct fixture *fixture, struct question *question, const char *name)
{
    int r;
    memset(question, 0, sizeof(*question));
    question->why = REASON_NONE;
    r = start(fixture, question, name);
    if (r == 0) {
        wait_for(question, 1);
    }
    return r;
}

static inline void assert_asks(struct fixture *fixture, const char *name, int result, enum reason why)
{
    struct question question;
    assert_int_equal(ask(fixture, &question, name), result);
    assert_string_equal(question.why == REASON_NONE ? "none" : reason_word(question.why),
                        why == REASON_NONE ? "none" : reason_word(why));
}

/* Asks a resolver that has only just enough time. What it does wrong it does wrong every time. */
static inline void ask_in_time(struct fixture *fixture, struct question *question, const char *name)
{
    for (unsigned i = 0; i < TRIES; i++) {
        reopen(fixture);
        if (ask(fixture, question, name) == 0 && question->why == REASON_NONE) {
            return;
        }
    }
    fail_msg("%s is not answered in time", name);
}

#endif
