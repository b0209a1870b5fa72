/* Every call of a start, a reload and an end made to fail once. */
#include "fault.h"
#include "loopback.h"
#include "server_bench.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>
#include <string.h>

static struct config *fault_config;

static void terminate(void)
{
    raise(SIGTERM);
}

static void start_and_stop(void *arg)
{
    (void)arg;
    run_config(config_ref(fault_config), terminate, bench.file);
    fault_spare(true); /* where removing a bench.file bench.failed */
    remove_sockets();
    fault_spare(false);
}

/* One that fails leaves what is in force as it was; one that does not, takes the new listener. */
static void reload_and_terminate(void)
{
    int rv = reload(NULL);
    fault_spare(true);
    assert_true(ping(bench.ports[0]));
    assert_int_equal(counter_get(rv == 0 ? &bench.server->counters.reloads_ok
                                         : &bench.server->counters.reloads_failed),
                     1);
    assert_int_equal(server_view(bench.server)->config->listener_count, rv == 0 ? 3 : 2);
    if (rv == 0) {
        assert_true(ping(bench.ports[1]));
    }
    fault_spare(false);
    raise(SIGTERM);
}

/* Starts without failures; the reload alone has them. */
static void arm_and_reload(void)
{
    fault_spare(false);
    reload_and_terminate();
    fault_spare(true);
}

static void start_reload_and_stop(void *arg)
{
    (void)arg;
    fault_spare(true);
    run_config(config_ref(fault_config), arm_and_reload, bench.file);
    remove_sockets();
    fault_spare(false);
}

static const unsigned server_calls = FAULT_MEMORY | FAULT_OPEN | FAULT_SOCKET | FAULT_BIND | FAULT_SOCKOPT |
                                     FAULT_FILE | FAULT_FCNTL | FAULT_THREAD | FAULT_OWN;

static void test_faults_at_the_start_and_the_end(void **state)
{
    (void)state;
    write_config("au", bench.admin_line);
    fault_config = load_config();
    assert_true(fault_loop("server start and stop", server_calls, start_and_stop, NULL) >= 100);
    assert_true(fault_loop("server start and stop, sticky", server_calls | FAULT_STICKY, start_and_stop,
                           NULL) >= 100);
    config_unref(fault_config);
}

/* What happened, in the system's words, and to what. */
static void test_a_start_that_fails_says_at_what(void **state)
{
    bool loop = false, signals = false;
    (void)state;
    write_config("a", bench.admin_line);
    fault_config = load_config();
    unsigned long hits = 1;
    for (unsigned long nth = 1; hits > 0; nth++) {
        fault_arm(FAULT_OWN, nth);
        start_and_stop(NULL);
        hits = fault_disarm();
        loop = loop || strstr(bench.failure, "cannot make the main loop: Too many open files") != NULL;
        signals =
            signals || strstr(bench.failure, "cannot watch for SIGHUP, SIGTERM and SIGINT: Invalid") != NULL;
    }
    assert_true(loop && signals);
    config_unref(fault_config);
}

static void test_faults_in_a_reload(void **state)
{
    (void)state;
    write_config("au", bench.admin_line);
    fault_config = load_config();
    write_config("abu", bench.admin_line);
    assert_true(fault_loop("server reload", server_calls, start_reload_and_stop, NULL) >= 200);
    assert_true(
        fault_loop("server reload, sticky", server_calls | FAULT_STICKY, start_reload_and_stop, NULL) >= 200);
    config_unref(fault_config);
}

int main(void)
{
    loopback_spare_libuv();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_faults_at_the_start_and_the_end),
        cmocka_unit_test(test_a_start_that_fails_says_at_what),
        cmocka_unit_test(test_faults_in_a_reload),
    };
    return cmocka_run_group_tests(tests, server_bench_open, server_bench_close);
}
