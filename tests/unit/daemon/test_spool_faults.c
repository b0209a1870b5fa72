/*
 * The daemon's part in the spool, whose every allocation and look at the disk fails once: opened and bounded by the main thread,
 * asked about by operators, given to a worker.
 */
#include "daemon/admin.h"
#include "daemon/spool_keeper.h"
#include "daemon/spool_metrics.h"
#include "daemon/spool_worker.h"
#include "daemon_bench.h"
#include "fake_control.h"
#include "fault.h"
#include "spool_bench.h"
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#define TURNS 100000 /* far more than any answer takes */

/* Nothing here is about power, and there are thousands of these. Every library in the program takes them from here. */
int fsync(int fd)
{
    (void)fd;
    return 0;
}

int fdatasync(int fd)
{
    (void)fd;
    return 0;
}

static struct server server;
static struct config_forward forward;
static struct bench bench; /* a spool that is turned by hand, if a test opens it */

static int set_up(void **state)
{
    (void)state;
    log_set(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
    assert_true(fake_init(&server));
    bench_make(&bench);
    forward = (struct config_forward){.delivery = CONFIG_SPOOL, .spool_max_bytes = 1 << 30};
    server.routes[3] = (struct config_route){.name = "results", .type = CONFIG_FORWARD, .forward = &forward};
    server.config.spool = (struct config_spool){.path = bench.path, .max_bytes = 1 << 30};
    server.view.spool = &server.spool;
    assert_non_null(counters_route(&server.counters, "results"));
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    fake_release(&server);
    bench_remove(&bench);
    return 0;
}

/* ---- Opened, with its threads ---- */

static uv_loop_t loop;

static void open_and_close(void *arg)
{
    struct spool_keeper *keeper = &server.spool;
    (void)arg;
    assert_int_equal(spool_keeper_init(keeper, &loop), 0);
    spool_keeper_open(keeper, &server.config);
    assert_int_equal(keeper->spool == NULL, keeper->why.text[0] != '\0');
    assert_int_equal(keeper->spool == NULL, keeper->port == NULL);
    assert_int_equal(keeper->spool == NULL, keeper->path == NULL);
    spool_keeper_apply(keeper, &server.config);
    if (keeper->spool == NULL) {
        fault_spare(true);
        spool_keeper_open(keeper, &server.config); /* the next reload */
        assert_non_null(keeper->spool);
        assert_string_equal(keeper->why.text, "");
        fault_spare(false);
    }
    spool_keeper_close(keeper);
    assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
}

/* Every so many-th call: of what it takes to open a spool, the tests of the spool have each. */
static void sample(unsigned calls, unsigned stride)
{
    unsigned long hits = 1;
    for (unsigned long nth = 1; hits > 0; nth += stride) {
        fault_arm(calls, nth);
        open_and_close(NULL);
        hits = fault_disarm();
    }
}

static void test_opening(void **state)
{
    (void)state;
    assert_int_equal(uv_loop_init(&loop), 0);
    open_and_close(NULL);
    sample(FAULT_MEMORY, 11);
    sample(FAULT_MEMORY | FAULT_STICKY, 37);
    assert_true(fault_loop("spool keeper, without files", FAULT_OPEN | FAULT_FILE | FAULT_THREAD,
                           open_and_close, NULL) >= 7);
    assert_int_equal(uv_loop_close(&loop), 0);
}

/* Its policies: the last allocations of an opening. */
static void open_spared(void *arg)
{
    struct spool_keeper *keeper = &server.spool;
    (void)arg;
    assert_int_equal(spool_keeper_init(keeper, &loop), 0);
    fault_spare(true);
    spool_keeper_open(keeper, &server.config);
    assert_non_null(keeper->spool);
    fault_spare(false);
    spool_keeper_apply(keeper, &server.config);
    assert_false(spool_keeper_differs(keeper, &server.config));
    spool_keeper_close(keeper);
    assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
}

static void test_bounding(void **state)
{
    (void)state;
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_true(fault_loop("spool keeper, policies", FAULT_MEMORY, open_spared, NULL) >= 1);
    assert_int_equal(uv_loop_close(&loop), 0);
}

/* ---- Asked about ---- */

static struct admin admin;
static struct sockaddr_un address = {.sun_family = AF_UNIX};
static socklen_t address_size = sizeof address;
static char heard[1 << 18];

static int reach(const char *request)
{
    char text[200];
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, address_size), 0);
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    int size = snprintf(text, sizeof text, "%s HTTP/1.1\r\nHost: x\r\n\r\n", request);
    assert_int_equal(send(fd, text, (size_t)size, MSG_NOSIGNAL), size);
    return fd;
}

static void turn(void)
{
    (void)uv_run(&loop, UV_RUN_NOWAIT);
    bench_turn(&bench);
}

/* Until it is answered, or the connection closed: out of memory the server may do that. */
static void ask(void *arg)
{
    static const char line[] = "HTTP/1.1 ";
    ssize_t count;
    size_t size = 0;
    unsigned turns = 0;
    fault_spare(true);
    int fd = reach(arg);
    fault_spare(false);
    do {
        turn();
        fault_spare(true);
        count = recv(fd, heard + size, sizeof heard - 1 - size, 0);
        fault_spare(false);
        size += count > 0 ? (size_t)count : 0;
        assert_true(turns++ < TURNS);
    } while (count > 0 || (count < 0 && errno == EAGAIN));
    heard[size] = '\0';
    assert_true(size == 0 || strncmp(heard, line, sizeof line - 1) == 0);
    close(fd);
    fault_spare(true);
    for (turns = 0; turns < TURNS && !TAILQ_EMPTY(&admin.http.taken); turns++) {
        turn();
    }
    turn(); /* the handles of the last are closed */
    assert_true(TAILQ_EMPTY(&admin.http.taken));
    fault_spare(false);
}

static void open_pages(void)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(sa_family_t)), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &address_size), 0);
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(spool_keeper_init(&server.spool, &loop), 0);
    bench_open(&bench);
    server.spool.spool = bench.spool;
    server.spool.port = bench.port;
    assert_int_equal(admin_start(&admin, &loop, fd, ADMIN_ROLE_ADMIN, &server), 0);
}

static void on_closed(void *data)
{
    ++*(unsigned *)data;
}

static void close_pages(void)
{
    unsigned closed = 0;
    admin_close(&admin, on_closed, &closed);
    bench_turn(&bench);
    spool_keeper_close(&server.spool);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(closed, 1);
    assert_int_equal(uv_loop_close(&loop), 0);
}

static void test_pages(void **state)
{
    static char requests[][48] = {"GET /spool/stats",          "GET /spool/list",
                                  "GET /spool/show?id=2",      "GET /spool/export?id=1",
                                  "GET /spool/export?id=2",    "POST /spool/retry?id=2",
                                  "POST /spool/retry?all=yes", "POST /spool/drop?id=99",
                                  "POST /spool/verify"};
    (void)state;
    open_pages();
    bench_give(&bench, "results", 100000, 1);
    bench_give(&bench, "results", 100, 2);
    bench_give(&bench, "gone", 100, 3);
    for (size_t i = 0; i < ARRAY_SIZE(requests); i++) {
        ask(requests[i]);
        assert_memory_equal(heard, strstr(requests[i], "99") != NULL ? "HTTP/1.1 404" : "HTTP/1.1 200", 12);
        unsigned calls = FAULT_MEMORY | (strstr(requests[i], "export") != NULL ? FAULT_OPEN : 0);
        assert_true(fault_loop(requests[i], calls, ask, requests[i]) >= 2);
    }
    assert_int_equal(bench_stats(&bench, NULL).records[SPOOL_READY], 3);
    close_pages();
}

static void write_metrics(void *arg)
{
    struct text out = TEXT_INIT;
    (void)arg;
    spool_metrics_write(&server.view, &out);
    assert_true(out.failed || strstr(text_string(&out), "\npostern_spool_up 1\n") != NULL);
    text_release(&out);
}

static void test_metrics(void **state)
{
    (void)state;
    bench_open(&bench);
    server.spool.spool = bench.spool;
    bench_give(&bench, "results", 100, 1);
    assert_true(fault_loop("spool metrics", FAULT_MEMORY, write_metrics, NULL) >= 2);
    bench_close(&bench);
}

/* ---- Given to a worker ---- */

/* Nobody listens at port 1. */
static const char yaml[] =
    "version: 1\n"
    "enclaves: {payroll: {cid: 16}}\n"
    "listeners: {l: {listen: \"vsock://any:1\", route: results, allow: [payroll]}}\n"
    "routes: {results: {type: forward, to: \"http://127.0.0.1:1/\", delivery: spool}}\n";

static struct counters counters;
static struct rules *rules;

static uint64_t attempts(void)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < VERDICT_OUTCOMES; i++) {
        sum += counter_get(&rules->routes[0]->deliveries[i]);
    }
    return sum;
}

static void work_until_over(struct worker *worker)
{
    for (unsigned i = 0; i < TURNS && !deliveries_over(&worker->deliveries); i++) {
        (void)uv_run(&worker->loop.uv, UV_RUN_NOWAIT);
        bench_turn(&bench);
    }
    assert_true(deliveries_over(&worker->deliveries));
}

static void be_a_worker(void *arg)
{
    const struct resolver_options dns = {
        .servers = "127.0.0.1:1", .timeout_ms = 1000, .min_ttl_ms = 1, .max_ttl_ms = 1000, .cache_size = 16};
    struct worker_set set = {.counters = &counters};
    struct worker *worker = arg;
    struct error err = ERROR_INIT;
    fault_spare(true);
    memset(worker, 0, sizeof *worker);
    worker->set = &set;
    assert_int_equal(loop_init(&worker->loop, &dns, &err), 0);
    assert_int_equal(body_memory_init(&set.bodies), 0);
    forward_worker_init(&worker->forward, &worker->loop, &set.bodies);
    assert_int_equal(forward_spool_init(&worker->spool, &worker->loop), 0);
    spool_worker_init(worker, 1);
    worker->rules = rules;
    fault_spare(false);
    spool_worker_adopt(worker, rules);
    fault_spare(true);
    spool_worker_adopt(worker, rules); /* a reload: what there was no memory for is there now */
    fault_spare(false);
    for (unsigned i = 0; i < 20; i++) {
        (void)uv_run(&worker->loop.uv, UV_RUN_NOWAIT);
        bench_turn(&bench);
    }
    deliveries_stop(&worker->deliveries);
    work_until_over(worker);
    fault_spare(true);
    assert_int_equal(counter_get(&counters.delivering), 0);
    forward_spool_close(&worker->spool);
    forward_worker_close(&worker->forward);
    body_memory_close(&set.bodies);
    loop_close(&worker->loop);
    bench_now += 600000; /* it waits no longer */
    bench_turn(&bench);
    assert_int_equal(bench_stats(&bench, NULL).records[SPOOL_READY], 1);
    fault_spare(false);
}

static void test_a_worker(void **state)
{
    struct worker *worker = malloc(sizeof *worker);
    (void)state;
    assert_non_null(worker);
    counters_init(&counters);
    bench_open(&bench);
    rules = daemon_rules(&counters, daemon_config("%s", yaml));
    rules->spool = bench.spool;
    static const char head[] = "postern-spool/1 cid=16 request=id-1\r\nPOST /a HTTP/1.1\r\nhost: x\r\n\r\n";
    const struct spool_request request = {
        .route = "results", .enclave = "payroll", .key = "k", .head = head, .head_size = sizeof head - 1};
    struct bench_put put = {.done = false};
    assert_int_equal(spool_put_begin(bench.port, &request, &bench_put_ops, &put, &put.put, &put.error), 0);
    spool_put_commit(put.put);
    bench_turn(&bench);
    assert_true(put.done && put.result == 0);
    assert_true(fault_loop("a worker's deliveries", FAULT_MEMORY, be_a_worker, worker) >= 4);
    be_a_worker(worker);
    assert_true(attempts() > 0);
    rules_unref(rules);
    bench_close(&bench);
    counters_release(&counters);
    free(worker);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_opening), TEST(test_bounding), TEST(test_pages), TEST(test_metrics), TEST(test_a_worker),
    };
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
