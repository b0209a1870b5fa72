/*
 * The daemon whole, in this process: server_run() with everything real but the service manager. What is to be done to it
 * is done from inside of started(), on its main thread, while the workers run on theirs.
 */
#include "daemon/server.h"

#include "daemon/server_private.h"
#include "daemon_bench.h"
#include "fault.h"
#include "loopback.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- What fails on purpose, and what tells the test where the server is ---- */

int __real_uv_loop_init(uv_loop_t *loop);
int __wrap_uv_loop_init(uv_loop_t *loop);
int __real_uv_async_init(uv_loop_t *loop, uv_async_t *async, uv_async_cb cb);
int __wrap_uv_async_init(uv_loop_t *loop, uv_async_t *async, uv_async_cb cb);
int __real_uv_mutex_init(uv_mutex_t *mutex);
int __wrap_uv_mutex_init(uv_mutex_t *mutex);
int __real_uv_signal_start(uv_signal_t *handle, uv_signal_cb cb, int number);
int __wrap_uv_signal_start(uv_signal_t *handle, uv_signal_cb cb, int number);
int __real_worker_set_start(struct worker_set *set, unsigned count, const struct config *config,
                            struct error *err);
int __wrap_worker_set_start(struct worker_set *set, unsigned count, const struct config *config,
                            struct error *err);

/* libuv 1.44 leaks a descriptor when eventfd() fails in uv_loop_init(), so it fails here as a whole. */
int __wrap_uv_loop_init(uv_loop_t *loop)
{
    return fault_strikes(FAULT_OWN) ? UV_EMFILE : __real_uv_loop_init(loop);
}

int __wrap_uv_async_init(uv_loop_t *loop, uv_async_t *async, uv_async_cb cb)
{
    return fault_strikes(FAULT_OWN) ? UV_EMFILE : __real_uv_async_init(loop, async, cb);
}

int __wrap_uv_mutex_init(uv_mutex_t *mutex)
{
    return fault_strikes(FAULT_OWN) ? UV_ENOMEM : __real_uv_mutex_init(mutex);
}

int __wrap_uv_signal_start(uv_signal_t *handle, uv_signal_cb cb, int number)
{
    return fault_strikes(FAULT_OWN) ? UV_EINVAL : __real_uv_signal_start(handle, cb, number);
}

static struct server *server;

int __wrap_worker_set_start(struct worker_set *set, unsigned count, const struct config *config,
                            struct error *err)
{
    server = set->data;
    return __real_worker_set_start(set, count, config, err);
}

/* ---- The bench ---- */

static char folder[] = "/tmp/postern-server-XXXXXX";
static char file[64];
static struct upstream upstream;
static uint16_t ports[3]; /* for listeners; free when they were looked for */
static int null_fd, stderr_fd;

static unsigned started, failed;
static char failure[ERROR_TEXT_MAX];
static void (*inside)(void); /* what a test does once the daemon is ready */

static void on_started(void)
{
    started++;
    if (inside != NULL) {
        inside();
    }
}

static void on_start_failed(const char *text)
{
    failed++;
    snprintf(failure, sizeof failure, "%s", text);
}

/* The rest of a configuration: listeners "abc" are at ports[0..2], 'u' at a unix socket, 'x' nowhere. */
static void write_config(const char *names, const char *more)
{
    FILE *out = fopen(file, "we");
    assert_non_null(out);
    fprintf(out, "version: 1\nworkers: 2\nlog: {level: info}\nmetrics: {listen: none}\n%s", more);
    fprintf(out, "enclaves: {payroll: {cid: 16}}\nlisteners:\n");
    for (const char *name = names; *name != '\0'; name++) {
        if (*name == 'u' || *name == 'x') {
            fprintf(out, "  %c: {listen: \"unix://%s/%s\", route: r, allow: any}\n", *name, folder,
                    *name == 'u' ? "sock" : "missing/sock");
        } else {
            fprintf(out, "  %c: {listen: \"tcp://127.0.0.1:%u\", route: r, allow: any}\n", *name,
                    ports[*name - 'a']);
        }
    }
    fprintf(out, "routes:\n  r: {type: relay, to: \"tcp://127.0.0.1:%u\"}\n", upstream.port);
    fclose(out);
}

static char admin_line[128];

static struct config *load(void)
{
    struct config *config = NULL;
    struct diags diags;
    diags_init(&diags, file);
    if (config_load(file, &config, &diags) != 0) {
        struct text said = TEXT_INIT;
        diags_format(&diags, &said);
        fail_msg("%s", text_string(&said));
    }
    diags_release(&diags);
    return config;
}

/* What the daemon logs is not for the test's output. */
static int run_config(struct config *config, void (*then)(void), const char *config_file)
{
    struct server_options options = {.config = config,
                                     .config_file = config_file,
                                     .started = on_started,
                                     .start_failed = on_start_failed};
    started = failed = 0;
    inside = then;
    failure[0] = '\0';
    dup2(null_fd, STDERR_FILENO);
    int code = server_run(&options);
    dup2(stderr_fd, STDERR_FILENO);
    server = NULL;
    assert_int_equal(started + failed, 1); /* one of them, once */
    assert_int_equal(code, started == 1 ? 0 : 1);
    return code;
}

static int run_server(void (*then)(void))
{
    return run_config(load(), then, file);
}

static int reload(const char *words)
{
    struct text verdict = TEXT_INIT;
    int rv = server_reload(server, &verdict);
    if (words != NULL && strstr(text_string(&verdict), words) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", text_string(&verdict), words);
    }
    text_release(&verdict);
    return rv;
}

static void drain(void)
{
    server_drain(server, 0);
}

static bool exists(const char *name)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return access(path, F_OK) == 0;
}

static void sleep_ms(unsigned ms)
{
    usleep(ms * 1000);
}

/* ---- Its life ---- */

static void serve_and_terminate(void)
{
    assert_true(ping(ports[0]));
    assert_true(exists("sock"));
    assert_true(exists("admin"));
    const struct server_view *view = server_view(server);
    assert_int_equal(view->state, SERVER_READY);
    assert_int_equal(view->worker_count, 2);
    assert_string_equal(view->last_error, "");
    assert_int_equal(view->drain_left_ms, 0);
    raise(SIGTERM);
}

static void test_it_serves_and_stops_on_sigterm(void **state)
{
    (void)state;
    write_config("au", admin_line);
    assert_int_equal(run_server(serve_and_terminate), 0);
    assert_false(exists("sock"));
    assert_false(exists("admin"));
    assert_false(ping(ports[0]));
}

static void interrupt(void)
{
    raise(SIGINT);
}

static void test_sigint_stops_it_too(void **state)
{
    (void)state;
    write_config("a", admin_line);
    assert_int_equal(run_server(interrupt), 0);
}

static void test_without_callbacks_the_log_tells(void **state)
{
    (void)state;
    write_config("x", admin_line);
    struct server_options options = {.config = load(), .config_file = file};
    dup2(null_fd, STDERR_FILENO);
    int code = server_run(&options);
    dup2(stderr_fd, STDERR_FILENO);
    assert_int_equal(code, 1);
}

static void test_what_cannot_be_bound_stops_the_start(void **state)
{
    (void)state;
    write_config("aux", admin_line);
    assert_int_equal(run_server(NULL), 1);
    assert_non_null(strstr(failure, "listener x: cannot listen at unix://"));
    assert_false(exists("sock"));
    write_config("a", "admin: {listen: \"unix:///no/such/folder/admin\"}\n");
    assert_int_equal(run_server(NULL), 1);
    assert_non_null(strstr(failure, "admin listener: cannot listen at"));
}

/* ---- Reloads ---- */

static void change_listeners(void)
{
    assert_true(ping(ports[0]));
    write_config("bu", admin_line);
    assert_int_equal(reload("2 listeners (1 opened, 1 closed)"), 0);
    assert_false(ping(ports[0]));
    assert_true(ping(ports[1]));
    write_config("a", admin_line); /* and back */
    assert_int_equal(reload("1 listeners (1 opened, 2 closed)"), 0);
    assert_true(ping(ports[0]));
    assert_false(exists("sock"));
    assert_int_equal(counter_get(&server->counters.reloads_ok), 2);
    drain();
}

static void test_a_reload_changes_listeners(void **state)
{
    (void)state;
    write_config("au", admin_line);
    assert_int_equal(run_server(change_listeners), 0);
}

static void refuse_reloads(void)
{
    char line[256];
    write_config("abx", admin_line);
    assert_int_equal(reload("listener x: cannot listen at"), -ENOENT);
    assert_false(ping(ports[1])); /* nothing of it is in force */
    assert_true(ping(ports[0]));
    assert_non_null(strstr(server_view(server)->last_error, "listener x"));
    server_status_line(server, line, sizeof line);
    assert_non_null(strstr(line, "last reload refused: listener x"));
    write_config("a", "admin: {listen: \"unix:///no/such/folder/admin\"}\n");
    assert_int_equal(reload("admin listener: cannot listen at"), -ENOENT);
    assert_true(exists("admin"));
    write_config("a", "nonsense: 1\n");
    assert_int_equal(reload("nonsense"), -EINVAL);
    write_config("a", admin_line);
    assert_int_equal(reload("1 listeners (0 opened, 0 closed)"), 0);
    assert_string_equal(server_view(server)->last_error, "");
    assert_int_equal(counter_get(&server->counters.reloads_failed), 3);
    assert_true(ping(ports[0]));
    drain();
    assert_int_equal(reload("draining"), -EBUSY);
}

static void test_a_reload_is_whole_or_nothing(void **state)
{
    (void)state;
    write_config("a", admin_line);
    assert_int_equal(run_server(refuse_reloads), 0);
}

static void move_admin(void)
{
    char more[256];
    assert_true(exists("admin"));
    snprintf(more, sizeof more, "admin: {listen: \"unix://%s/other\"}\ndns: {timeout: 1s}\n", folder);
    write_config("a", more);
    assert_int_equal(reload("take effect at the next start"), 0);
    assert_true(exists("other"));
    assert_false(exists("admin"));
    write_config("a", "admin: {listen: none}\ndns: {timeout: 1s, servers: [127.0.0.1]}\n");
    assert_int_equal(reload("take effect at the next start"), 0);
    assert_false(exists("other"));
    write_config("a", "admin: {listen: none}\ndns: {timeout: 1s, servers: [127.0.0.2]}\n");
    assert_int_equal(reload("take effect at the next start"), 0);
    write_config("a", admin_line);
    assert_int_equal(reload(NULL), 0);
    assert_true(exists("admin"));
    drain();
}

static void test_a_reload_moves_the_admin_socket(void **state)
{
    (void)state;
    write_config("a", admin_line);
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
    write_config("a", admin_line);
    assert_int_equal(run_config(load(), reload_nothing, NULL), 0);
}

static void hang_up_and_terminate(void)
{
    write_config("ab", admin_line);
    raise(SIGHUP);
    raise(SIGTERM);
}

static void test_sighup_reloads(void **state)
{
    (void)state;
    write_config("a", admin_line);
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
    server->orders_ms = 50;
    worker_post(&server->workers.workers[1], &hanging);
    write_config("abu", admin_line);
    assert_int_equal(reload("(1 opened, 0 closed), 1 routes, 1 enclaves; worker 1 is busy, and until"), 0);
    assert_true(ping(ports[0]));
    uv_sem_post(&let_go);
    assert_true(ping(ports[1])); /* whoever came meanwhile had to wait */
    server->orders_ms = PATIENCE_MS;
    write_config("au", admin_line);
    assert_int_equal(reload("2 listeners (0 opened, 1 closed), 1 routes, 1 enclaves"), 0);
    assert_false(ping(ports[1]));
    server->orders_ms = 50;
    worker_post(&server->workers.workers[1], &hanging);
    drain();
    uv_sem_post(&let_go);
}

static void test_a_worker_that_hangs_does_not_keep_a_reload(void **state)
{
    (void)state;
    uv_sem_init(&let_go, 0);
    write_config("au", admin_line);
    assert_int_equal(run_server(reload_while_a_worker_hangs), 0);
    uv_sem_destroy(&let_go);
}

/* ---- The drain ---- */

static int held;

static void hold_and_drain(void)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                             .sin_port = htons(ports[0])};
    held = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(held, (struct sockaddr *)&to, sizeof to), 0);
    while (counter_get(&server->counters.active) == 0) {
        sleep_ms(1);
    }
    server_drain(server, 150);
    server_drain(server, 1); /* it drains already */
    assert_int_equal(server_view(server)->state, SERVER_DRAINING);
    assert_in_range(server_view(server)->drain_left_ms, 1, 150);
    assert_false(ping(ports[0])); /* refused, with a reset */
}

static void test_the_deadline_ends_what_is_left(void **state)
{
    char data;
    (void)state;
    write_config("a", admin_line);
    assert_int_equal(run_server(hold_and_drain), 0);
    assert_true(recv(held, &data, 1, 0) < 0);
    assert_int_equal(errno, ECONNRESET);
    close(held);
}

static void hold_drain_and_let_go(void)
{
    char data[5];
    hold_and_drain();
    assert_int_equal(send(held, "ping", 4, MSG_NOSIGNAL), 4);
    assert_int_equal(recv(held, data, sizeof data, MSG_WAITALL), 4);
}

static void test_the_last_stream_ends_the_drain(void **state)
{
    (void)state;
    write_config("a", admin_line);
    uint64_t began = uv_hrtime();
    assert_int_equal(run_server(hold_drain_and_let_go), 0);
    close(held);
    assert_true(uv_hrtime() - began < 5000000000u);
}

static void terminate_twice(void)
{
    atomic_fetch_add(&server->counters.active, 1); /* as if a stream stayed */
    server_drain(server, 60000);
    raise(SIGTERM);
}

/* A process forked by one of several threads may not start threads of its own under ThreadSanitizer. There
 * tests/system/test_shutdown.py sends the two signals to a daemon that was started properly. */
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
    write_config("a", admin_line);
    pid_t child = fork();
    if (child == 0) {
        /* The upstream's thread is not in this process, and nothing here needs it. */
        run_server(terminate_twice);
        _exit(42);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 1);
    unlink(file);
    char path[128];
    snprintf(path, sizeof path, "%s/admin", folder);
    unlink(path);
}

/* ---- The watchdog ---- */

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

static void hang_for_a_while(struct worker *worker, struct job *job)
{
    (void)worker;
    sleep_ms(400);
    free(job);
}

static uv_timer_t stopper;
static unsigned told_before, told_while_hung;

static void on_hang_over(uv_timer_t *timer)
{
    told_while_hung = count_told("WATCHDOG=1");
    uv_close((uv_handle_t *)timer, NULL);
    drain();
}

static void on_hang(uv_timer_t *timer)
{
    struct job *job = calloc(1, sizeof *job);
    assert_non_null(job);
    told_before = count_told("WATCHDOG=1");
    job->run = hang_for_a_while;
    worker_post(&server->workers.workers[1], job);
    uv_timer_start(timer, on_hang_over, 380, 0);
}

static void be_watched(void)
{
    uv_timer_init(&server->loop, &stopper);
    uv_timer_start(&stopper, on_hang, 200, 0);
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
    snprintf(text, sizeof text, "@%s", at.sun_path + 1);
    setenv("NOTIFY_SOCKET", text, 1);
    setenv("WATCHDOG_USEC", "100000", 1);
    write_config("a", admin_line);
    assert_int_equal(run_server(be_watched), 0);
    unsetenv("NOTIFY_SOCKET");
    unsetenv("WATCHDOG_USEC");
    unsigned stopping = count_told("STOPPING=1");
    close(manager);
    assert_int_equal(stopping, 1);
    assert_true(told_before >= 3);          /* every 26 ms */
    assert_in_range(told_while_hung, 0, 5); /* the first ping is out before it hangs, and 50 ms are no hang */
}

/* ---- Faults ---- */

static struct config *fault_config;

static void terminate(void)
{
    raise(SIGTERM);
}

static void start_and_stop(void *arg)
{
    (void)arg;
    run_config(config_ref(fault_config), terminate, file);
    fault_spare(true); /* where removing a file failed */
    char path[128];
    snprintf(path, sizeof path, "%s/sock", folder);
    unlink(path);
    snprintf(path, sizeof path, "%s/admin", folder);
    unlink(path);
    fault_spare(false);
}

/* One that fails leaves what is in force as it was; one that does not, takes the new listener. */
static void reload_and_terminate(void)
{
    int rv = reload(NULL);
    fault_spare(true);
    assert_true(ping(ports[0]));
    assert_int_equal(counter_get(rv == 0 ? &server->counters.reloads_ok : &server->counters.reloads_failed),
                     1);
    assert_int_equal(server_view(server)->config->listener_count, rv == 0 ? 3 : 2);
    if (rv == 0) {
        assert_true(ping(ports[1]));
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
    run_config(config_ref(fault_config), arm_and_reload, file);
    char path[128];
    snprintf(path, sizeof path, "%s/sock", folder);
    unlink(path);
    snprintf(path, sizeof path, "%s/admin", folder);
    unlink(path);
    fault_spare(false);
}

static const unsigned server_calls = FAULT_MEMORY | FAULT_OPEN | FAULT_SOCKET | FAULT_BIND | FAULT_SOCKOPT |
                                     FAULT_FILE | FAULT_FCNTL | FAULT_THREAD | FAULT_OWN;

static void test_faults_at_the_start_and_the_end(void **state)
{
    (void)state;
    write_config("au", admin_line);
    fault_config = load();
    assert_true(fault_loop("server start and stop", server_calls, start_and_stop, NULL) >= 100);
    assert_true(fault_loop("server start and stop, sticky", server_calls | FAULT_STICKY, start_and_stop,
                           NULL) >= 100);
    config_unref(fault_config);
}

static void test_faults_in_a_reload(void **state)
{
    (void)state;
    write_config("au", admin_line);
    fault_config = load();
    write_config("abu", admin_line);
    assert_true(fault_loop("server reload", server_calls, start_reload_and_stop, NULL) >= 200);
    assert_true(
        fault_loop("server reload, sticky", server_calls | FAULT_STICKY, start_reload_and_stop, NULL) >= 200);
    config_unref(fault_config);
}

/* ---- */

static int set_up(void **state)
{
    struct rlimit limit;
    (void)state;
    if (mkdtemp(folder) == NULL || getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        return -1;
    }
    snprintf(file, sizeof file, "%s/postern.yaml", folder);
    snprintf(admin_line, sizeof admin_line, "admin: {listen: \"unix://%s/admin\"}\n", folder);
    upstream_start(&upstream);
    for (size_t i = 0; i < ARRAY_SIZE(ports); i++) {
        close(door_socket(&ports[i]));
    }
    null_fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
    stderr_fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 10);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    upstream_stop(&upstream);
    close(null_fd);
    close(stderr_fd);
    unlink(file);
    return rmdir(folder);
}

int main(void)
{
    loopback_spare_libuv();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_it_serves_and_stops_on_sigterm),
        cmocka_unit_test(test_sigint_stops_it_too),
        cmocka_unit_test(test_without_callbacks_the_log_tells),
        cmocka_unit_test(test_what_cannot_be_bound_stops_the_start),
        cmocka_unit_test(test_a_reload_changes_listeners),
        cmocka_unit_test(test_a_reload_is_whole_or_nothing),
        cmocka_unit_test(test_a_reload_moves_the_admin_socket),
        cmocka_unit_test(test_there_is_nothing_to_reload),
        cmocka_unit_test(test_sighup_reloads),
        cmocka_unit_test(test_a_worker_that_hangs_does_not_keep_a_reload),
        cmocka_unit_test(test_the_deadline_ends_what_is_left),
        cmocka_unit_test(test_the_last_stream_ends_the_drain),
        cmocka_unit_test(test_a_second_signal_exits_at_once),
        cmocka_unit_test(test_the_watchdog_hears_as_long_as_all_workers_turn),
        cmocka_unit_test(test_faults_at_the_start_and_the_end),
        cmocka_unit_test(test_faults_in_a_reload),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
