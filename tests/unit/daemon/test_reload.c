/* Reloads: put in force whole or not at all, told when they are, and no worker that hangs keeps the others. */
#include "daemon/server_private.h"

#include "loopback.h"
#include "server_bench.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void change_listeners(void)
{
    assert_true(ping(bench.ports[0]));
    write_config("bu", bench.admin_line);
    assert_int_equal(reload("2 listeners (1 opened, 1 closed)"), 0);
    assert_false(ping(bench.ports[0]));
    assert_true(ping(bench.ports[1]));
    write_config("a", bench.admin_line); /* and back */
    assert_int_equal(reload("1 listener (1 opened, 2 closed)"), 0);
    assert_true(ping(bench.ports[0]));
    assert_false(exists("sock"));
    assert_int_equal(counter_get(&bench.server->counters.reloads_ok), 2);
    drain();
}

static void test_a_reload_changes_listeners(void **state)
{
    (void)state;
    write_config("au", bench.admin_line);
    assert_int_equal(run_server(change_listeners), 0);
}

static void refuse_reloads(void)
{
    char line[256];
    write_config("abx", bench.admin_line);
    assert_int_equal(reload("listener x: cannot listen at"), -ENOENT);
    assert_false(ping(bench.ports[1])); /* nothing of it is in force */
    assert_true(ping(bench.ports[0]));
    assert_non_null(strstr(server_view(bench.server)->last_error, "listener x"));
    server_status_line(bench.server, line, sizeof line);
    assert_non_null(strstr(line, "last reload refused: listener x"));
    write_config("a", "admin: {listen: \"unix:///no/such/folder/admin\"}\n");
    assert_int_equal(reload("admin listener: cannot listen at"), -ENOENT);
    assert_true(exists("admin"));
    write_config("a", "nonsense: 1\n");
    assert_int_equal(reload("nonsense"), -EINVAL);
    write_config("a", bench.admin_line);
    assert_int_equal(reload("1 listener (0 opened, 0 closed)"), 0);
    assert_string_equal(server_view(bench.server)->last_error, "");
    assert_int_equal(counter_get(&bench.server->counters.reloads_failed), 3);
    assert_true(ping(bench.ports[0]));
    drain();
    assert_int_equal(reload("draining"), -EBUSY);
}

static void test_a_reload_is_whole_or_nothing(void **state)
{
    (void)state;
    write_config("a", bench.admin_line);
    assert_int_equal(run_server(refuse_reloads), 0);
}

static void move_admin(void)
{
    char more[256];
    assert_true(exists("admin"));
    snprintf(more, sizeof more, "admin: {listen: \"unix://%s/other\"}\ndns: {timeout: 1s}\n", bench.folder);
    write_config("a", more);
    assert_int_equal(reload("; changes to `dns` take effect at the next start"), 0);
    assert_true(exists("other"));
    assert_false(exists("admin"));
    write_config("a", "admin: {listen: none}\ndns: {timeout: 1s, servers: [127.0.0.1]}\n");
    assert_int_equal(reload("take effect at the next start"), 0);
    assert_false(exists("other"));
    write_config("a", "admin: {listen: none}\ndns: {timeout: 1s, servers: [127.0.0.2]}\n");
    assert_int_equal(reload("take effect at the next start"), 0);
    write_config("a", bench.admin_line);
    assert_int_equal(reload(NULL), 0);
    assert_true(exists("admin"));
    drain();
}

static void test_a_reload_moves_the_admin_socket(void **state)
{
    (void)state;
    write_config("a", bench.admin_line);
    assert_int_equal(run_server(move_admin), 0);
    assert_false(exists("admin"));
}

static void reload_nothing(void)
{
    assert_int_equal(reload("there is no configuration file"), -ENOTSUP);
    drain();
}

static void test_there_is_nothing_to_reload(void **state)
{
    (void)state;
    write_config("a", bench.admin_line);
    assert_int_equal(run_config(load_config(), reload_nothing, NULL), 0);
}

static void hang_up_and_terminate(void)
{
    write_config("ab", bench.admin_line);
    raise(SIGHUP);
    raise(SIGTERM);
}

static void test_sighup_reloads(void **state)
{
    (void)state;
    write_config("a", bench.admin_line);
    assert_int_equal(run_server(hang_up_and_terminate), 0);
}

/* ---- Workers that do not listen ---- */

static uv_sem_t let_go;

static void hang(struct worker *worker, struct job *job)
{
    (void)worker;
    (void)job;
    uv_sem_wait(&let_go);
}

static struct job hanging = {.run = hang};

/* Worker 1 does not return from its turn: the listener that is opened there is not, and nor is the main thread kept. */
static void reload_while_a_worker_hangs(void)
{
    bench.server->orders_ms = 50;
    worker_post(&bench.server->workers.workers[1], &hanging);
    write_config("abu", bench.admin_line);
    assert_int_equal(reload("; worker 1 is busy, and until"), 0);
    assert_true(ping(bench.ports[0]));
    uv_sem_post(&let_go);
    assert_true(ping(bench.ports[1])); /* whoever came meanwhile had to wait */
    bench.server->orders_ms = PATIENCE_MS;
    write_config("au", bench.admin_line);
    assert_int_equal(reload("2 listeners (0 opened, 1 closed), 1 route, 1 enclave"), 0);
    assert_false(ping(bench.ports[1]));
    bench.server->orders_ms = 50;
    worker_post(&bench.server->workers.workers[1], &hanging);
    drain();
    uv_sem_post(&let_go);
}

static void test_a_worker_that_hangs_does_not_keep_a_reload(void **state)
{
    (void)state;
    uv_sem_init(&let_go, 0);
    write_config("au", bench.admin_line);
    assert_int_equal(run_server(reload_while_a_worker_hangs), 0);
    uv_sem_destroy(&let_go);
}

int main(void)
{
    loopback_spare_libuv();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_reload_changes_listeners),
        cmocka_unit_test(test_a_reload_is_whole_or_nothing),
        cmocka_unit_test(test_a_reload_moves_the_admin_socket),
        cmocka_unit_test(test_there_is_nothing_to_reload),
        cmocka_unit_test(test_sighup_reloads),
        cmocka_unit_test(test_a_worker_that_hangs_does_not_keep_a_reload),
    };
    return cmocka_run_group_tests(tests, server_bench_open, server_bench_close);
}
