/* The daemon's life: start, drain, end, and the watchdog meanwhile. */
#include "daemon/server.h"

#include "fault.h"
#include "loopback.h"
#include "server_bench.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- Its life ---- */

static void serve_and_terminate(void)
{
    assert_true(ping(bench.ports[0]));
    assert_true(exists("sock"));
    assert_true(exists("admin"));
    const struct server_view *view = server_view(bench.server);
    assert_int_equal(view->state, SERVER_READY);
    assert_int_equal(view->worker_count, 2);
    assert_string_equal(view->last_error, "");
    assert_int_equal(view->drain_left_ms, 0);
    raise(SIGTERM);
}

static void test_it_serves_and_stops_on_sigterm(void **state)
{
    (void)state;
    write_config("au", bench.admin_line);
    assert_int_equal(run_server(serve_and_terminate), 0);
    assert_false(exists("sock"));
    assert_false(exists("admin"));
    assert_false(ping(bench.ports[0]));
}

static void interrupt(void)
{
    raise(SIGINT);
}

static void test_sigint_stops_it_too(void **state)
{
    (void)state;
    write_config("a", bench.admin_line);
    assert_int_equal(run_server(interrupt), 0);
}

static void test_without_callbacks_the_log_tells(void **state)
{
    (void)state;
    write_config("x", bench.admin_line);
    struct server_options options = {.config = load_config(), .config_file = bench.file};
    dup2(bench.null_fd, STDERR_FILENO);
    int code = server_run(&options);
    dup2(bench.stderr_fd, STDERR_FILENO);
    assert_int_equal(code, 1);
}

static void test_what_cannot_be_bound_stops_the_start(void **state)
{
    (void)state;
    write_config("aux", bench.admin_line);
    assert_int_equal(run_server(NULL), 1);
    assert_non_null(strstr(bench.failure, "listener x: cannot listen at unix://"));
    assert_false(exists("sock"));
    write_config("a", "admin: {listen: \"unix:///no/such/folder/admin\"}\n");
    assert_int_equal(run_server(NULL), 1);
    assert_non_null(strstr(bench.failure, "admin listener: cannot listen at"));
}

/* ---- The drain ---- */

static int held;

static void hold_a_stream(void)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                             .sin_port = htons(bench.ports[0])};
    held = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(held, (struct sockaddr *)&to, sizeof to), 0);
    while (counter_get(&bench.server->counters.active) == 0) {
        sleep_ms(1);
    }
}

static void assert_draining(uint64_t most_ms)
{
    assert_int_equal(server_view(bench.server)->state, SERVER_DRAINING);
    assert_in_range(server_view(bench.server)->drain_left_ms, 1, most_ms);
    assert_false(ping(bench.ports[0])); /* refused, with a reset */
}

static void hold_and_drain(void)
{
    hold_a_stream();
    server_drain(bench.server, 150);
    server_drain(bench.server, 3600000); /* it drains already */
    assert_draining(150);
}

static void test_the_deadline_ends_what_is_left(void **state)
{
    char data;
    (void)state;
    write_config("a", bench.admin_line);
    assert_int_equal(run_server(hold_and_drain), 0);
    assert_true(recv(held, &data, 1, 0) < 0);
    assert_int_equal(errno, ECONNRESET);
    close(held);
}

static void hold_and_drain_without_memory(void)
{
    hold_a_stream();
    fault_arm(FAULT_MEMORY | FAULT_STICKY, 1);
    server_drain(bench.server, 150);
    (void)fault_disarm();
    assert_draining(150);
}

static void test_a_drain_needs_no_memory(void **state)
{
    (void)state;
    write_config("a", bench.admin_line);
    assert_int_equal(run_server(hold_and_drain_without_memory), 0);
    close(held);
}

static void hold_drain_and_let_go(void)
{
    char data[5];
    hold_a_stream();
    server_drain(bench.server, 3600000);
    assert_draining(3600000);
    assert_int_equal(send(held, "ping", 4, MSG_NOSIGNAL), 4);
    assert_int_equal(recv(held, data, sizeof data, MSG_WAITALL), 4);
    close(held);
}

static void test_the_last_stream_ends_the_drain(void **state)
{
    (void)state;
    write_config("a", bench.admin_line);
    assert_int_equal(run_server(hold_drain_and_let_go), 0);
}

static void terminate_twice(void)
{
    atomic_fetch_add(&bench.server->counters.active, 1); /* as if a stream stayed */
    raise(SIGTERM);
    raise(SIGTERM);
}

/* A process forked by one of several threads may not start threads of its own under ThreadSanitizer. There
 * tests/system/test_shutdown.py sends the two signals to a daemon that was bench.started properly. */
#if defined(__SANITIZE_THREAD__)
#define THREADS_ARE_WATCHED true
#elif defined(__has_feature)
#define THREADS_ARE_WATCHED __has_feature(thread_sanitizer)
#else
#define THREADS_ARE_WATCHED false
#endif

static void test_a_second_signal_exits_at_once(void **state)
{
    int status;
    (void)state;
    if (THREADS_ARE_WATCHED) {
        skip();
    }
    write_config("a", bench.admin_line);
    pid_t child = fork();
    if (child == 0) {
        /* The upstream's thread is not in this process, and nothing here needs it. */
        run_server(terminate_twice);
        _exit(42);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 1);
    unlink(bench.file);
    char path[128];
    snprintf(path, sizeof path, "%s/admin", bench.folder);
    unlink(path);
}

/* ---- The watchdog ---- */

#define WATCHDOG_US 100000
#define WATCHDOG_MS (WATCHDOG_US / 1000)
#define TOLD_AT_MOST \
    5 /* while a worker hangs: a tick is a quarter of the interval, and half of it is no hang yet */

static int manager;

static unsigned count_told(const char *word)
{
    char message[512];
    unsigned count = 0;
    ssize_t n;
    while ((n = recv(manager, message, sizeof message - 1, 0)) > 0) {
        message[n] = '\0';
        count += strstr(message, word) != NULL;
    }
    return count;
}

static uv_sem_t let_go;
static _Atomic bool hanging;

static void hang(struct worker *worker, struct job *job)
{
    (void)worker;
    (void)job;
    atomic_store(&hanging, true);
    uv_sem_wait(&let_go);
}

/* Looks every few milliseconds, and goes on when it has seen enough, however long that takes. */
static struct {
    uv_timer_t timer;
    struct job hang;
    unsigned told, told_while_hung, told_after;
    unsigned looks; /* since the worker hangs */
} look;

static void on_look(uv_timer_t *timer)
{
    unsigned told = count_told("WATCHDOG=1");
    if (look.told < 3) { /* all is well */
        look.told += told;
        if (look.told >= 3) {
            worker_post(&bench.server->workers.workers[1], &look.hang);
        }
    } else if (!atomic_load(&hanging)) {
        return;
    } else if (look.looks < 10 * WATCHDOG_MS / 4) { /* it hangs, for ten intervals */
        look.looks++;
        look.told_while_hung += told;
        if (look.looks == 10 * WATCHDOG_MS / 4) {
            uv_sem_post(&let_go);
        }
    } else {
        look.told_after += told;
        if (look.told_after >= 3) {
            uv_close((uv_handle_t *)timer, NULL);
            drain();
        }
    }
}

static void be_watched(void)
{
    look.hang.run = hang;
    uv_timer_init(&bench.server->loop, &look.timer);
    uv_timer_start(&look.timer, on_look, 4, 4);
}

static void test_the_watchdog_hears_as_long_as_all_workers_turn(void **state)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    char text[64];
    (void)state;
    int size = snprintf(at.sun_path + 1, sizeof at.sun_path - 1, "postern-watchdog-%d", (int)getpid());
    manager = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(manager, (struct sockaddr *)&at,
                          (socklen_t)(sizeof at.sun_family + 1 + (size_t)size)),
                     0);
    assert_int_equal(uv_sem_init(&let_go, 0), 0);
    snprintf(text, sizeof text, "@%s", at.sun_path + 1);
    setenv("NOTIFY_SOCKET", text, 1);
    snprintf(text, sizeof text, "%d", WATCHDOG_US);
    setenv("WATCHDOG_USEC", text, 1);
    write_config("a", bench.admin_line);
    assert_int_equal(run_server(be_watched), 0);
    unsetenv("NOTIFY_SOCKET");
    unsetenv("WATCHDOG_USEC");
    assert_int_equal(count_told("STOPPING=1"), 1);
    assert_in_range(look.told_while_hung, 0, TOLD_AT_MOST);
    close(manager);
    uv_sem_destroy(&let_go);
}

int main(void)
{
    loopback_spare_libuv();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_it_serves_and_stops_on_sigterm),
        cmocka_unit_test(test_sigint_stops_it_too),
        cmocka_unit_test(test_without_callbacks_the_log_tells),
        cmocka_unit_test(test_what_cannot_be_bound_stops_the_start),
        cmocka_unit_test(test_the_deadline_ends_what_is_left),
        cmocka_unit_test(test_a_drain_needs_no_memory),
        cmocka_unit_test(test_the_last_stream_ends_the_drain),
        cmocka_unit_test(test_a_second_signal_exits_at_once),
        cmocka_unit_test(test_the_watchdog_hears_as_long_as_all_workers_turn),
    };
    return cmocka_run_group_tests(tests, server_bench_open, server_bench_close);
}
