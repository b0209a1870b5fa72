/* A loop begins and ends whole, whatever fails in between. */
#include "net/loop.h"

#include "fault.h"
#include "loopback.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int __real_uv_loop_init(uv_loop_t *loop);
int __wrap_uv_loop_init(uv_loop_t *loop);
int __real_uv_poll_start(uv_poll_t *handle, int events, uv_poll_cb cb);
int __wrap_uv_poll_start(uv_poll_t *handle, int events, uv_poll_cb cb);

/* libuv 1.44 leaks a descriptor when eventfd() fails in it, so it fails here as a whole. */
int __wrap_uv_loop_init(uv_loop_t *loop)
{
    return fault_strikes(FAULT_OWN) ? UV_EMFILE : __real_uv_loop_init(loop);
}

int __wrap_uv_poll_start(uv_poll_t *handle, int events, uv_poll_cb cb)
{
    return fault_strikes(FAULT_OWN) ? UV_EEXIST : __real_uv_poll_start(handle, events, cb);
}

static int open_beside(struct loop *beside, struct loop *first)
{
    struct error err = ERROR_INIT;
    int rv = loop_init_beside(beside, first, &err);
    if (rv != 0) {
        assert_true(rv < 0);
        assert_non_null(strstr(err.text, "cannot"));
    }
    return rv;
}

static const struct resolver_options dns = {.servers = "127.0.0.1:9",
                                            .timeout_ms = 1000,
                                            .min_ttl_ms = 1000,
                                            .max_ttl_ms = 1000,
                                            .cache_size = 16,
                                            .resolv_conf = "/dev/null"};

/* The one that was first ends first: what they share stays with the other. */
static void whole_life(void *arg)
{
    struct loop loop, beside;
    struct error err = ERROR_INIT;
    (void)arg;
    int rv = loop_init(&loop, &dns, &err);
    if (rv != 0) {
        assert_true(rv < 0);
        assert_non_null(strstr(err.text, "cannot"));
        return;
    }
    loop.scratch[LOOP_SCRATCH_SIZE - 1] = 1;
    assert_true(loop_now(&loop) > 0);
    rv = open_beside(&beside, &loop);
    loop_close(&loop);
    if (rv == 0) {
        loop_close(&beside);
    }
}

/* ---- Turns ---- */

#define REPORT_MS 20

struct timed {
    struct loop loop;
    struct watcher watcher;
    uv_prepare_t ends;
    uv_check_t begins;
    unsigned reports;
    uint64_t longest_ns;
};

static void on_report(struct watcher *watcher, uint32_t events)
{
    struct timed *timed = CONTAINER_OF(watcher, struct timed, watcher);
    (void)events;
    usleep(REPORT_MS * 1000);
    if (++timed->reports == 1) {
        poller_again(&timed->loop.poller, watcher, EPOLLOUT);
    }
}

static void on_begins(uv_check_t *check)
{
    loop_turn_began(&((struct timed *)check->data)->loop);
}

static void on_ends(uv_prepare_t *prepare)
{
    struct timed *timed = prepare->data;
    uint64_t took_ns = loop_turn_ended(&timed->loop);
    timed->longest_ns = took_ns > timed->longest_ns ? took_ns : timed->longest_ns;
}

static void time_turns(struct timed *timed)
{
    struct error err = ERROR_INIT;
    assert_int_equal(loop_init(&timed->loop, &dns, &err), 0);
    uv_check_init(&timed->loop.uv, &timed->begins);
    uv_check_start(&timed->begins, on_begins);
    uv_prepare_init(&timed->loop.uv, &timed->ends);
    uv_prepare_start(&timed->ends, on_ends);
    timed->begins.data = timed->ends.data = timed;
    assert_int_equal(loop_turn_ended(&timed->loop), 0); /* none has begun */
}

/* It has what the poller reports first, and what it was asked to report again before the next wait. */
static void test_a_turn_has_all_between_two_waits(void **state)
{
    struct timed timed = {.reports = 0};
    int fds[2];
    (void)state;
    time_turns(&timed);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    assert_int_equal(poller_add(&timed.loop.poller, &timed.watcher, fds[0], ROOM_REPORTED, on_report), 0);
    while (timed.reports < 2) {
        (void)uv_run(&timed.loop.uv, UV_RUN_ONCE);
    }
    assert_true(timed.longest_ns >= (uint64_t)2 * REPORT_MS * 1000000);
    poller_drop(&timed.loop.poller, &timed.watcher);
    close(fds[1]);
    uv_close((uv_handle_t *)&timed.begins, NULL);
    uv_close((uv_handle_t *)&timed.ends, NULL);
    loop_close(&timed.loop);
}

static void test_faults(void **state)
{
    (void)state;
    loopback_spare_libuv();
    assert_true(fault_loop("loop", FAULT_MEMORY | FAULT_OPEN | FAULT_OWN, whole_life, NULL) >= 10);
    assert_true(fault_loop("loop, sticky", FAULT_MEMORY | FAULT_STICKY, whole_life, NULL) >= 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_a_turn_has_all_between_two_waits),
                                       cmocka_unit_test(test_faults)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
