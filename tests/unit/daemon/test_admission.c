/*
 * Admission: who becomes a stream, who is refused and why, and that the books balance.
 */
#include "fault.h"
#include "one_worker.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <signal.h>
#include <unistd.h>

static const char yaml[] =
    "version: 1\n"
    "admin: {listen: none}\n"
    "metrics: {listen: none}\n"
    "limits: {max_streams: 3}\n"
    "enclaves:\n"
    "  payroll: {cid: 16, max_streams: 2}\n"
    "  fraud: {cid: 17}\n"
    "listeners:\n"
    "  vsock: {listen: \"vsock://any:8000\", route: out, allow: [payroll]}\n"
    "  dev: {listen: \"unix://@dev\", route: narrow, allow: [payroll], peer: payroll}\n"
    "  all: {listen: \"tcp://127.0.0.1:0\", route: out, allow: any}\n"
    "  none: {listen: \"vsock://any:8001\", route: out, allow: [fraud]}\n"
    "routes:\n"
    "  out: {type: relay, to: \"tcp://127.0.0.1:%u\"}\n"
    "  narrow: {type: relay, to: \"tcp://127.0.0.1:%u\", max_streams: 1}\n";

enum { VSOCK, DEV, ALL, NONE };

static int set_up(void **state)
{
    (void)state;
    one_worker_open(yaml);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    one_worker_close();
    return 0;
}

/* A caller at a listener; the other end is the client. */
static void call(unsigned listener, const struct sockaddr_any *from, struct peer *client)
{
    peer_init(client, call_at(listener, from));
}

static void assert_refused(unsigned listener, const struct sockaddr_any *from, unsigned route,
                           enum reason why)
{
    struct listener_counters *counters = bench.rules->listeners[listener];
    uint64_t before = ended_for(route, why), refused = counter_get(&counters->refused);
    uint64_t active = counter_get(&bench.counters.active);
    unsigned had = streams_open();
    struct peer client;
    call(listener, from, &client);
    assert_int_equal(ended_for(route, why), before + 1);
    assert_int_equal(counter_get(&counters->refused), refused + 1);
    assert_int_equal(counter_get(&bench.counters.active), active); /* no place is lost by it */
    assert_int_equal(streams_open(), had);
    assert_int_equal(peer_hear(&client)->error, -ECONNRESET);
    peer_close(&client);
}

static void test_who_may_come_in(void **state)
{
    struct sockaddr_any payroll = from_vsock(16), fraud = from_vsock(17), stranger = from_vsock(99);
    struct sockaddr_any tcp = from_tcp(), local = from_unix();
    struct peer client[3];
    (void)state;
    assert_refused(VSOCK, &stranger, 0, REASON_DENIED_ENCLAVE);
    assert_refused(VSOCK, &fraud, 0, REASON_DENIED_ROUTE);
    assert_refused(NONE, &tcp, 0, REASON_DENIED_ENCLAVE);
    assert_int_equal(counter_get(&bench.rules->enclaves[1]->refused), 1);
    assert_int_equal(counter_get(&rules_enclave(bench.rules, CONFIG_NOBODY)->refused), 2);
    call(VSOCK, &payroll, &client[0]);
    call(DEV, &local, &client[1]); /* counts as payroll */
    call(ALL, &tcp, &client[2]);
    assert_int_equal(streams_open(), 3);
    assert_int_equal(counter_get(&bench.rules->enclaves[0]->active), 2);
    assert_int_equal(counter_get(&rules_enclave(bench.rules, CONFIG_NOBODY)->active), 1);
    for (int i = 0; i < 3; i++) {
        peer_close(&client[i]);
    }
}

static void test_limits(void **state)
{
    struct sockaddr_any payroll = from_vsock(16), tcp = from_tcp(), local = from_unix();
    struct peer client[4];
    (void)state;
    call(DEV, &local, &client[0]);
    assert_refused(DEV, &local, 1, REASON_LIMIT_ROUTE);
    call(VSOCK, &payroll, &client[1]);
    assert_refused(VSOCK, &payroll, 0, REASON_LIMIT_ENCLAVE);
    call(ALL, &tcp, &client[2]);
    assert_refused(ALL, &tcp, 0, REASON_LIMIT_DAEMON);
    /* Who may not come in is told that, and not that it is full. */
    struct sockaddr_any stranger = from_vsock(99);
    assert_refused(VSOCK, &stranger, 0, REASON_DENIED_ENCLAVE);
    /* A place that is given back can be had again. */
    peer_reset(&client[2]);
    AWAIT(streams_open() == 2);
    call(ALL, &tcp, &client[2]);
    assert_int_equal(streams_open(), 3);
    for (int i = 0; i < 3; i++) {
        peer_close(&client[i]);
    }
}

static void test_draining(void **state)
{
    struct sockaddr_any tcp = from_tcp(), stranger = from_vsock(99);
    (void)state;
    bench.door.draining = true;
    assert_refused(ALL, &tcp, 0, REASON_DRAINING);
    assert_refused(VSOCK, &stranger, 0, REASON_DENIED_ENCLAVE);
}

static void test_a_stream_and_its_books(void **state)
{
    struct sockaddr_any payroll = from_vsock(16);
    struct peer client, upstream;
    (void)state;
    call(VSOCK, &payroll, &client);
    int fd;
    AWAIT((fd = accept(bench.listener, NULL, NULL)) >= 0);
    peer_init(&upstream, fd);
    peer_say(&client, 100);
    AWAIT(peer_hear(&upstream)->heard == 100);
    peer_say(&upstream, 300);
    peer_finish(&upstream);
    AWAIT(peer_hear(&client)->ended);
    peer_finish(&client);
    AWAIT(streams_open() == 0);
    struct route_counters *route = bench.rules->routes[0];
    assert_int_equal(counter_get(&route->accepted), 1);
    assert_int_equal(counter_get(&route->ended[REASON_FINISHED]), 1);
    assert_int_equal(counter_get(&route->bytes_in), 100);
    assert_int_equal(counter_get(&route->bytes_out), 300);
    assert_int_equal(counter_get(&route->connect.count), 1);
    assert_int_equal(counter_get(&bench.rules->enclaves[0]->bytes_in), 100);
    assert_int_equal(counter_get(&bench.rules->enclaves[0]->bytes_out), 300);
    assert_string_equal(bench.worker.route, "out");
    assert_int_equal(bench.emptied, 0); /* nobody asked */
    peer_close(&client);
    peer_close(&upstream);
}

static void test_the_last_one_out_tells(void **state)
{
    struct sockaddr_any tcp = from_tcp();
    struct peer client[2];
    (void)state;
    call(ALL, &tcp, &client[0]);
    call(ALL, &tcp, &client[1]);
    atomic_store(&bench.set.draining, true);
    peer_reset(&client[0]);
    AWAIT(streams_open() == 1);
    assert_int_equal(bench.emptied, 0);
    peer_reset(&client[1]);
    AWAIT(streams_open() == 0);
    assert_int_equal(bench.emptied, 1);
}

/* A caller who is over a limit was counted for a moment. If the last stream ended in that moment, it is this caller that
 * leaves the daemon empty. */
static void test_a_refused_caller_may_be_the_last_one_out(void **state)
{
    struct sockaddr_any payroll = from_vsock(16);
    (void)state;
    atomic_store(&bench.set.draining, true);
    counter_set(&bench.rules->enclaves[0]->active, 2);
    assert_refused(VSOCK, &payroll, 0, REASON_LIMIT_ENCLAVE);
    assert_int_equal(bench.emptied, 1);
    counter_set(&bench.rules->enclaves[0]->active, 0);
}

static void test_callers_shed_for_want_of_descriptors(void **state)
{
    (void)state;
    bench.door.id = ALL;
    admission_shed(&bench.door, -EMFILE, 5);
    admission_shed(&bench.door, -ENOBUFS, 0);
    assert_int_equal(counter_get(&bench.rules->listeners[ALL]->accept_errors), 2);
    assert_int_equal(counter_get(&bench.rules->listeners[ALL]->refused), 5);
    assert_int_equal(ended_for(0, REASON_NO_DESCRIPTORS), 5);
}

static void test_a_worker_that_stops_ends_what_arrives(void **state)
{
    struct sockaddr_any tcp = from_tcp();
    struct peer client;
    (void)state;
    bench.worker.stopping = true;
    call(ALL, &tcp, &client);
    AWAIT(streams_open() == 0);
    assert_int_equal(ended_for(0, REASON_SHUTDOWN), 1);
    assert_int_equal(peer_hear(&client)->error, -ECONNRESET);
    peer_close(&client);
}

/* The log's lines are not made when nobody wants them. */
static void test_a_quiet_log(void **state)
{
    struct sockaddr_any tcp = from_tcp(), stranger = from_vsock(99);
    struct peer client;
    (void)state;
    log_set(LOG_LEVEL_ERROR, LOG_FORMAT_JSON);
    call(ALL, &tcp, &client);
    peer_reset(&client);
    AWAIT(streams_open() == 0);
    assert_refused(VSOCK, &stranger, 0, REASON_DENIED_ENCLAVE);
    log_set(LOG_LEVEL_DEBUG, LOG_FORMAT_JSON);
}

/* ---- Faults ---- */

static void whole_stream(void *arg)
{
    struct sockaddr_any payroll = from_vsock(16);
    struct peer client, upstream = {.fd = -1};
    uint64_t limit = loopback_limit();
    (void)arg;
    call(VSOCK, &payroll, &client);
    while (streams_open() > 0) {
        fault_spare(true);
        int fd = upstream.fd < 0 ? accept(bench.listener, NULL, NULL) : -1;
        if (fd >= 0) {
            peer_init(&upstream, fd);
            peer_say(&upstream, 300);
            peer_finish(&upstream);
        }
        if (client.sent == 0) {
            peer_say(&client, 100);
            (void)shutdown(client.fd, SHUT_WR);
        }
        fault_spare(false);
        one_worker_turn();
        loopback_check(limit, "the stream's end", __FILE__, __LINE__);
    }
    one_worker_turn(); /* what closes, closes */
    one_worker_turn();
    peer_close(&client);
    peer_close(&upstream);
    fault_spare(true);
    for (int fd; (fd = accept(bench.listener, NULL, NULL)) >= 0;) {
        close(fd);
    }
    fault_spare(false);
    assert_no_streams(&bench.counters);
}

static void test_faults(void **state)
{
    const unsigned calls =
        FAULT_MEMORY | FAULT_SOCKET | FAULT_CONNECT | FAULT_SOCKOPT | FAULT_READ | FAULT_WRITE | FAULT_PIPE;
    (void)state;
    log_set(LOG_LEVEL_DEBUG, LOG_FORMAT_JSON);
    assert_true(fault_loop("admission", calls, whole_stream, NULL) >= 10);
    assert_true(fault_loop("admission, sticky", calls | FAULT_STICKY, whole_stream, NULL) >= 10);
    struct listener_counters *listener = bench.rules->listeners[VSOCK];
    assert_int_equal(ended_of(bench.rules->routes[0]), counter_get(&listener->accepted));
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

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    loopback_spare_libuv();
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        TEST(test_who_may_come_in),
        TEST(test_limits),
        TEST(test_draining),
        TEST(test_a_stream_and_its_books),
        TEST(test_the_last_one_out_tells),
        TEST(test_a_refused_caller_may_be_the_last_one_out),
        TEST(test_callers_shed_for_want_of_descriptors),
        TEST(test_a_worker_that_stops_ends_what_arrives),
        TEST(test_a_quiet_log),
        TEST(test_faults),
    };
    return cmocka_run_group_tests(tests, open_log, close_log);
}
