/*
 * Workers on their threads: connections handed over, rules changed and doors closed while they arrive, and a stop in the
 * middle of it all. Every caller is answered or refused, every stream ends once, and the books balance. Run
 * under ThreadSanitizer this is the test of the hand-over.
 */
#include "daemon/worker.h"

#include "daemon/admission.h"
#include "daemon/door.h"
#include "daemon/spool_worker.h"
#include "daemon_bench.h"
#include "fault.h"
#include "loopback.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define CLIENTS 4

static const char yaml[] = "version: 1\n"
                           "admin: {listen: none}\n"
                           "metrics: {listen: none}\n"
                           "limits: {max_streams: %u}\n"
                           "listeners:\n"
                           "  in: {listen: \"tcp://127.0.0.1:0\", route: out, allow: any}\n"
                           "routes:\n"
                           "  out: {type: relay, to: \"tcp://127.0.0.1:%u\"}\n";

struct bench {
    struct counters counters;
    struct worker_set set;
    struct rules *rules;
    struct upstream upstream;
    int fd; /* the door's; on worker 0 */
    uint16_t port;
    _Atomic unsigned emptied;
    /* Clients: */
    uv_thread_t clients[CLIENTS];
    unsigned each; /* pings a client; 0: until told to stop */
    _Atomic bool enough;
    _Atomic unsigned answered, failed;
};

static struct bench bench;

static void on_emptied(void *data)
{
    struct bench *self = data;
    atomic_fetch_add(&self->emptied, 1);
}

static void start(unsigned workers)
{
    struct error err = ERROR_INIT;
    memset(&bench, 0, sizeof bench);
    counters_init(&bench.counters);
    upstream_start(&bench.upstream);
    bench.set.counters = &bench.counters;
    bench.set.emptied = on_emptied;
    bench.set.data = &bench;
    bench.rules = daemon_rules(&bench.counters, daemon_config(yaml, 1000u, bench.upstream.port));
    if (worker_set_start(&bench.set, workers, bench.rules->config, &err) != 0) {
        fail_msg("%s", err.text);
    }
    bench.fd = door_socket(&bench.port);
    struct job *job = door_job_open(bench.fd, false, bench.rules, 0);
    assert_non_null(job);
    worker_order(&bench.set.workers[0], job);
}

static void release(void)
{
    struct route_counters *route = bench.rules->routes[0];
    worker_set_stop(&bench.set);
    worker_set_stop(&bench.set); /* harmless */
    assert_no_streams(&bench.counters);
    assert_true(ended_of(route) >= counter_get(&route->accepted));
    assert_int_equal(ended_of(route), counter_get(&bench.rules->listeners[0]->accepted));
    upstream_stop(&bench.upstream);
    assert_int_equal(bench.rules->references, 1); /* no stream and no door holds one */
    rules_unref(bench.rules);
    counters_release(&bench.counters);
}

static void run_client(void *data)
{
    struct bench *self = data;
    for (unsigned i = 0; (self->each == 0 || i < self->each) && !atomic_load(&self->enough); i++) {
        atomic_fetch_add(ping(self->port) ? &self->answered : &self->failed, 1);
    }
}

static void clients_start(unsigned each)
{
    bench.each = each;
    for (unsigned i = 0; i < CLIENTS; i++) {
        assert_int_equal(uv_thread_create(&bench.clients[i], run_client, &bench), 0);
    }
}

static void clients_join(void)
{
    for (unsigned i = 0; i < CLIENTS; i++) {
        uv_thread_join(&bench.clients[i]);
    }
}

static void sleep_ms(unsigned ms)
{
    usleep(ms * 1000);
}

static void await_some(atomic_uint *count)
{
    for (unsigned i = 0; i < 30000 && atomic_load(count) == 0; i++) {
        sleep_ms(1);
    }
    assert_true(atomic_load(count) > 0);
}

/* The counters of a stream's end come a moment after its bytes. */
static void wait_until_empty(void)
{
    for (unsigned i = 0; i < 30000 && counter_get(&bench.counters.active) > 0; i++) {
        sleep_ms(1);
    }
    assert_int_equal(counter_get(&bench.counters.active), 0);
}

static void test_many_short_connections(void **state)
{
    (void)state;
    for (unsigned workers = 1; workers <= 4; workers++) {
        start(workers);
        clients_start(100);
        clients_join();
        wait_until_empty();
        assert_int_equal(bench.answered, CLIENTS * 100);
        assert_int_equal(bench.failed, 0);
        struct route_counters *route = bench.rules->routes[0];
        assert_int_equal(counter_get(&route->accepted), CLIENTS * 100);
        assert_int_equal(counter_get(&route->bytes_in), CLIENTS * 400);
        assert_int_equal(counter_get(&route->bytes_out), CLIENTS * 400);
        assert_int_equal(counter_get(&route->connect.count), CLIENTS * 100);
        release();
    }
}

static int connect_client(void)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                             .sin_port = htons(bench.port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    return fd;
}

static void await_active(unsigned count)
{
    for (unsigned i = 0; i < 30000 && counter_get(&bench.counters.active) != count; i++) {
        sleep_ms(1);
    }
    assert_int_equal(counter_get(&bench.counters.active), count);
}

/* The door is worker 0's; what it takes goes to whoever has the least. */
static void test_streams_are_spread(void **state)
{
    enum { COUNT = 40 };
    int clients[COUNT];
    (void)state;
    start(4);
    for (unsigned i = 0; i < COUNT; i++) {
        clients[i] = connect_client();
        await_active(i + 1);
    }
    for (unsigned i = 0; i < 4; i++) {
        assert_in_range(counter_get(&bench.set.workers[i].active), COUNT / 4 - 3, COUNT / 4 + 3);
    }
    release(); /* with all of them open */
    for (unsigned i = 0; i < COUNT; i++) {
        char data;
        assert_true(recv(clients[i], &data, 1, 0) <= 0);
        close(clients[i]);
    }
}

static void test_a_stop_while_connections_arrive(void **state)
{
    (void)state;
    for (unsigned workers = 2; workers <= 4; workers++) {
        start(workers);
        clients_start(0);
        await_some(&bench.answered);
        worker_set_stop(&bench.set); /* clients go on, and are refused by nobody's being there */
        atomic_store(&bench.enough, true);
        clients_join();
        release();
    }
}

static void test_other_rules_while_connections_arrive(void **state)
{
    (void)state;
    start(3);
    clients_start(0);
    await_some(&bench.answered);
    for (unsigned i = 0; i < 100; i++) {
        struct rules *rules =
            daemon_rules(&bench.counters, daemon_config(yaml, 1000 + i, bench.upstream.port));
        struct job *job = door_job_change(bench.fd, rules, 0);
        assert_non_null(job);
        worker_order(&bench.set.workers[0], job);
        rules_unref(rules); /* streams and the door keep it as long as they need it */
        sleep_ms(1);
    }
    atomic_store(&bench.enough, true);
    clients_join();
    assert_int_equal(bench.failed, 0);
    wait_until_empty();
    release();
}

static void test_doors_open_and_close_while_connections_arrive(void **state)
{
    (void)state;
    start(4);
    clients_start(0);
    for (unsigned i = 0; i < 50; i++) {
        struct worker *worker = &bench.set.workers[i % 4];
        uint16_t port;
        int fd = door_socket(&port);
        struct job *open = door_job_open(fd, i % 2 == 0, bench.rules, 0), *close = door_job_close(fd);
        assert_non_null(open);
        assert_non_null(close);
        worker_order(worker, open);
        assert_true(ping(port));
        worker_order(worker, close);
    }
    atomic_store(&bench.enough, true);
    clients_join();
    assert_int_equal(bench.failed, 0);
    wait_until_empty();
    for (unsigned i = 0; i < 4; i++) {
        assert_true(worker_await(&bench.set.workers[i], 60000));
    }
    release();
}

static void test_changing_or_closing_a_door_that_is_gone(void **state)
{
    (void)state;
    start(2);
    struct job *change = door_job_change(9999, bench.rules, 0), *close = door_job_close(9999);
    assert_non_null(change);
    assert_non_null(close);
    worker_order(&bench.set.workers[1], change);
    worker_order(&bench.set.workers[1], close);
    assert_true(ping(bench.port));
    door_job_discard(NULL);
    door_job_discard(door_job_open(-1, false, bench.rules, 0)); /* not posted after all */
    release();
}

static void test_a_drain_while_connections_arrive(void **state)
{
    (void)state;
    start(3);
    int held = connect_client();
    await_active(1);
    clients_start(0);
    await_some(&bench.answered);
    for (unsigned i = 0; i < 3; i++) {
        door_order_drain(&bench.set.workers[i], 1000);
    }
    atomic_store(&bench.set.draining, true);
    await_some(&bench.failed); /* refused, and told so */
    atomic_store(&bench.enough, true);
    clients_join();
    assert_true(counter_get(&bench.rules->routes[0]->ended[REASON_DRAINING]) > 0);
    await_active(1);
    assert_int_equal(bench.emptied, 0);
    assert_int_equal(send(held, "ping", 4, MSG_NOSIGNAL), 4); /* the one that is open may finish */
    char data[5];
    assert_int_equal(recv(held, data, sizeof data, MSG_WAITALL), 4);
    close(held);
    wait_until_empty();
    for (unsigned i = 0; i < 30000 && bench.emptied == 0; i++) {
        sleep_ms(1);
    }
    assert_true(bench.emptied > 0);
    release();
}

/* Its worker is out of descriptors for a moment: the caller is reset, and that is counted. The call that fails may also be
 * the one that finds nobody waiting, or the upstream's: then it is tried again. */
static void test_a_caller_shed_by_a_door(void **state)
{
    (void)state;
    start(2);
    struct listener_counters *listener = bench.rules->listeners[0];
    for (unsigned i = 0; i < 1000 && counter_get(&listener->refused) == 0; i++) {
        fault_arm(FAULT_ACCEPT | FAULT_EVERY_THREAD, 1);
        (void)ping(bench.port);
        fault_disarm();
    }
    /* A worker whose call failed sheds all who wait by then, though another had served the caller that it was for. */
    bool served = false;
    for (unsigned i = 0; i < 1000 && !served; i++) {
        served = ping(bench.port);
    }
    assert_true(served);
    wait_until_empty();
    worker_set_stop(&bench.set); /* and has counted all that it did */
    uint64_t refused = counter_get(&listener->refused);
    assert_true(refused >= 1 && counter_get(&listener->accept_errors) >= 1);
    assert_int_equal(counter_get(&bench.rules->routes[0]->ended[REASON_NO_DESCRIPTORS]), refused);
    counter_add(&listener->accepted,
                refused); /* they were not, and their end was told: so that the books balance */
    release();
}

/* A socket of systemd's outlives the process: its callers wait for the next one. */
static void test_a_drain_closes_what_was_inherited(void **state)
{
    uint16_t port;
    (void)state;
    start(2);
    int fd = door_socket(&port), kept = dup(fd);
    struct job *open = door_job_open(fd, true, bench.rules, 0);
    assert_non_null(open);
    worker_order(&bench.set.workers[1], open);
    assert_true(ping(port));
    door_order_drain(&bench.set.workers[1], 1000);
    wait_until_empty();
    worker_set_stop(&bench.set);
    bench.port = port;
    int client = connect_client(); /* waits in the backlog */
    close(client);
    close(kept);
    release();
}

/* The others are told all the same. */
static void test_a_probe_that_a_worker_cannot_be_told_of(void **state)
{
    (void)state;
    start(2);
    fault_arm(FAULT_MEMORY, 1);
    assert_int_equal(spool_workers_probe(&bench.set, NULL), -ENOMEM);
    assert_int_equal(fault_disarm(), 1);
    assert_int_equal(spool_workers_probe(&bench.set, NULL), 0);
    release();
}

static uv_sem_t let_go;
static atomic_uint hanging;

static void hang(struct worker *worker, struct job *job)
{
    (void)worker;
    (void)job;
    atomic_fetch_add(&hanging, 1);
    uv_sem_wait(&let_go);
}

/* By the watchdog while it hangs, and as a stall when it is over. The machine may make other turns as long. */
static void test_a_worker_that_hangs_is_seen(void **state)
{
    struct job job = {.run = hang};
    (void)state;
    start(2);
    struct worker *worker = &bench.set.workers[1];
    assert_int_equal(uv_sem_init(&let_go, 0), 0);
    atomic_store(&hanging, 0);
    worker_post(worker, &job);
    await_some(&hanging);
    for (unsigned i = 0; i < 30000 && worker_busy_ms(worker) < WORKER_STALL_MS + 1; i++) {
        sleep_ms(1);
    }
    assert_true(worker_busy_ms(worker) > WORKER_STALL_MS);
    uv_sem_post(&let_go);
    for (unsigned i = 0;
         i < 30000 && (worker_busy_ms(worker) > 0 || counter_get(&bench.counters.stalls) == 0); i++) {
        sleep_ms(1);
    }
    assert_true(counter_get(&bench.counters.stalls) > 0);
    uv_sem_destroy(&let_go);
    release();
}

static _Atomic uint64_t stalls_before;

static void stall(struct worker *worker, struct job *job)
{
    (void)job;
    atomic_store(&stalls_before, counter_get(&worker->set->counters->stalls));
    sleep_ms(WORKER_STALL_MS + 20);
}

/* The next turn has both: a job that takes too long, and after that what a client said, which begins no turn. */
static void test_a_stall_before_the_poller_is_seen(void **state)
{
    struct job first = {.run = hang}, second = {.run = stall};
    (void)state;
    start(1);
    int held = connect_client();
    await_active(1);
    assert_int_equal(uv_sem_init(&let_go, 0), 0);
    atomic_store(&hanging, 0);
    atomic_store(&stalls_before, UINT64_MAX);
    worker_post(&bench.set.workers[0], &first);
    await_some(&hanging);
    worker_post(&bench.set.workers[0], &second);
    assert_int_equal(send(held, "ping", 4, MSG_NOSIGNAL), 4);
    uv_sem_post(&let_go);
    char data[5];
    assert_int_equal(recv(held, data, sizeof data, MSG_WAITALL), 4);
    close(held);
    wait_until_empty();
    assert_true(counter_get(&bench.counters.stalls) > atomic_load(&stalls_before));
    uv_sem_destroy(&let_go);
    release();
}

/* ---- A stop that overtakes its own wake-up ---- */

int __real_uv_async_send(uv_async_t *async);
int __wrap_uv_async_send(uv_async_t *async);

static unsigned send_delay_ms; /* of the main thread, which alone sends while it is set */

int __wrap_uv_async_send(uv_async_t *async)
{
    if (send_delay_ms > 0) {
        sleep_ms(send_delay_ms);
    }
    return __real_uv_async_send(async);
}

static void be_busy(struct worker *worker, struct job *job)
{
    (void)worker;
    (void)job;
    sleep_ms(30);
}

/* The worker is awake already when the stop is queued: it must not be gone before whoever queued it has woken it. */
static void test_a_stop_that_is_seen_before_its_wake_up(void **state)
{
    struct job busy = {.run = be_busy}, next = {.run = be_busy};
    (void)state;
    start(1);
    worker_post(&bench.set.workers[0], &busy);
    sleep_ms(10);
    worker_post(&bench.set.workers[0], &next); /* the wake-up that the stop profits from */
    send_delay_ms = 150;
    worker_set_stop(&bench.set);
    send_delay_ms = 0;
    release();
}

/* ---- Faults ---- */

static struct config *fault_config;

static void start_and_stop(void *arg)
{
    struct error err = ERROR_INIT;
    struct counters counters = {.active = 0};
    struct worker_set set = {.counters = &counters, .emptied = on_emptied};
    (void)arg;
    int rv = worker_set_start(&set, 2, fault_config, &err);
    if (rv != 0) {
        assert_true(rv < 0);
        assert_non_null(strstr(err.text, "cannot start"));
        assert_int_equal(set.count, 0);
    }
    worker_set_stop(&set);
}

static void test_faults(void **state)
{
    (void)state;
    fault_config = daemon_config(yaml, 10u, 1u);
    assert_true(fault_loop("worker set", FAULT_MEMORY | FAULT_OPEN | FAULT_THREAD | FAULT_OWN, start_and_stop,
                           NULL) >= 40);
    assert_true(fault_loop("worker set, sticky", FAULT_MEMORY | FAULT_OPEN | FAULT_THREAD | FAULT_STICKY,
                           start_and_stop, NULL) >= 40);
    config_unref(fault_config);
}

int __real_uv_loop_init(uv_loop_t *loop);
int __wrap_uv_loop_init(uv_loop_t *loop);
int __real_uv_async_init(uv_loop_t *loop, uv_async_t *async, uv_async_cb cb);
int __wrap_uv_async_init(uv_loop_t *loop, uv_async_t *async, uv_async_cb cb);
int __real_uv_mutex_init(uv_mutex_t *mutex);
int __wrap_uv_mutex_init(uv_mutex_t *mutex);

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

static int open_log(void **state)
{
    (void)state;
    daemon_log_open();
    return 0;
}

static int close_log(void **state)
{
    (void)state;
    daemon_log_close();
    return 0;
}

int main(void)
{
    loopback_spare_libuv();
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_many_short_connections),
        cmocka_unit_test(test_streams_are_spread),
        cmocka_unit_test(test_a_stop_while_connections_arrive),
        cmocka_unit_test(test_other_rules_while_connections_arrive),
        cmocka_unit_test(test_doors_open_and_close_while_connections_arrive),
        cmocka_unit_test(test_changing_or_closing_a_door_that_is_gone),
        cmocka_unit_test(test_a_drain_while_connections_arrive),
        cmocka_unit_test(test_a_caller_shed_by_a_door),
        cmocka_unit_test(test_a_drain_closes_what_was_inherited),
        cmocka_unit_test(test_a_probe_that_a_worker_cannot_be_told_of),
        cmocka_unit_test(test_a_worker_that_hangs_is_seen),
        cmocka_unit_test(test_a_stall_before_the_poller_is_seen),
        cmocka_unit_test(test_a_stop_that_is_seen_before_its_wake_up),
        cmocka_unit_test(test_faults),
    };
    return cmocka_run_group_tests(tests, open_log, close_log);
}
