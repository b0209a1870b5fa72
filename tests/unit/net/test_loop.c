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

/* The one that was first ends first: what they share stays with the other. */
static void whole_life(void *arg)
{
    const struct resolver_options dns = {.servers = "127.0.0.1:9",
                                         .timeout_ms = 1000,
                                         .min_ttl_ms = 1000,
                                         .max_ttl_ms = 1000,
                                         .cache_size = 16,
                                         .resolv_conf = "/dev/null"};
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

static void test_faults(void **state)
{
    (void)state;
    loopback_spare_libuv();
    assert_true(fault_loop("loop", FAULT_MEMORY | FAULT_OPEN | FAULT_OWN, whole_life, NULL) >= 10);
    assert_true(fault_loop("loop, sticky", FAULT_MEMORY | FAULT_STICKY, whole_life, NULL) >= 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_faults)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
