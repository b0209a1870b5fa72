/* Every call of a dial made to fail once. */
#include "dial_bench.h"
#include "fault.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

static struct bench fault_bench;

/* A whole dial: a name, three addresses of which the first fails at once and the second a little later. */
static void dial_name(void *arg)
{
    struct bench *bench = &fault_bench;
    struct addr to;
    (void)arg;
    world.connects = 0;
    parse("tcp://name.test:443", &to);
    struct dial_options options = options_of(&to);
    bench->calls = 0;
    if (start_dial(bench, &options) != NULL) {
        if (world.asked != NULL) {
            answer_now();
        }
        WAIT_FOR(&bench->loopback, bench->calls > 0);
    }
    drop_connection(bench);
    settle(bench);
    assert_in_range(bench->calls, 0, 1);
    fault_spare(true);
    for (int fd; (fd = accept(bench->listener, NULL, NULL)) >= 0;) {
        close(fd);
    }
    fault_spare(false);
}

static void test_faults(void **state)
{
    const unsigned calls = FAULT_MEMORY | FAULT_SOCKET | FAULT_CONNECT | FAULT_SOCKOPT | FAULT_OWN;
    (void)state;
    three_addresses(&fault_bench);
    world.leads[0].code = ENETUNREACH;
    world.leads[1].port = refusing_port();
    world.leads[2].port = fault_bench.port;
    for (int later = 0; later <= 1; later++) {
        world.result = !later;
        assert_true(fault_loop("dial", calls, dial_name, NULL) >= 10);
        assert_true(fault_loop("dial, sticky", calls | FAULT_STICKY, dial_name, NULL) >= 10);
    }
    close_bench(&fault_bench);
}

static struct bench hybrid_bench;
static int hybrid_listener;

static void dial_hybrid(void *arg)
{
    struct bench *bench = &hybrid_bench;
    struct addr to;
    int fd = -1;
    (void)arg;
    parse_hybrid(&to);
    struct dial_options options = options_of(&to);
    bench->calls = 0;
    (void)start_dial(bench, &options);
    uint64_t limit = loopback_limit();
    while (bench->dial != NULL && bench->calls == 0) {
        fault_spare(true);
        if (fd < 0) {
            fd = accept(hybrid_listener, NULL, NULL);
            if (fd >= 0) {
                (void)!send(fd, "OK 1\n", 5, MSG_NOSIGNAL); /* it may be gone by then */
            }
        }
        fault_spare(false);
        loopback_check(limit, "the dial's end", __FILE__, __LINE__);
        loopback_turn(&bench->loopback);
    }
    drop_connection(bench);
    settle(bench);
    assert_in_range(bench->calls, 0, 1);
    fault_spare(true);
    for (int left; (left = accept(hybrid_listener, NULL, NULL)) >= 0;) {
        close(left);
    }
    fault_spare(false);
    if (fd >= 0) {
        close(fd);
    }
}

static void test_hybrid_faults(void **state)
{
    /* Without FAULT_READ: libuv's own reading goes by there too. */
    const unsigned calls =
        FAULT_MEMORY | FAULT_SOCKET | FAULT_CONNECT | FAULT_SOCKOPT | FAULT_OWN | FAULT_WRITE;
    (void)state;
    open_bench(&hybrid_bench);
    hybrid_listener = hybrid_listen();
    loopback_turn(&hybrid_bench.loopback);
    assert_true(fault_loop("dial hybrid", calls, dial_hybrid, NULL) >= 4);
    close(hybrid_listener);
    hybrid_unlink();
    close_bench(&hybrid_bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_faults),
        cmocka_unit_test(test_hybrid_faults),
    };
    return cmocka_run_group_tests(tests, hybrid_folder, hybrid_folder_remove);
}
