/* One worker by hand: see one_worker.h. */
#include "one_worker.h"

#include "daemon/sessions.h"
#include "daemon/streams.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <linux/vm_sockets.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

struct one_worker bench;

static void on_emptied(void *data)
{
    ++((struct one_worker *)data)->emptied;
}

void one_worker_turn(void)
{
    (void)uv_run(&bench.worker.loop.uv, UV_RUN_NOWAIT);
    usleep(200);
}

static void on_wake(uv_async_t *wake)
{
    (void)wake;
}

void one_worker_open(const char *format)
{
    struct resolver_options dns = {.servers = "127.0.0.1:9",
                                   .timeout_ms = 1000,
                                   .min_ttl_ms = 1000,
                                   .max_ttl_ms = 1000,
                                   .cache_size = 16,
                                   .resolv_conf = "/dev/null"};
    struct error err;
    memset(&bench, 0, sizeof bench);
    counters_init(&bench.counters);
    bench.listener = tcp_listener(20, &bench.port);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    bench.rules =
        daemon_rules(&bench.counters, daemon_config(format, bench.port, bench.port, bench.port, bench.port));
#pragma GCC diagnostic pop
    bench.set.workers = &bench.worker;
    bench.set.count = 1;
    bench.set.counters = &bench.counters;
    bench.set.emptied = on_emptied;
    bench.set.data = &bench;
    bench.worker.set = &bench.set;
    bench.worker.log_ended = bench.worker.log_refused = (struct log_limit)LOG_LIMIT_INIT(1000, 1000);
    LIST_INIT(&bench.worker.doors);
    LIST_INIT(&bench.worker.streams);
    LIST_INIT(&bench.worker.sessions);
    STAILQ_INIT(&bench.worker.jobs);
    assert_int_equal(uv_mutex_init(&bench.worker.lock), 0);
    assert_int_equal(loop_init(&bench.worker.loop, &dns, &err), 0);
    assert_int_equal(uv_async_init(&bench.worker.loop.uv, &bench.worker.wake, on_wake), 0);
    relay_worker_init(&bench.worker.relays, &bench.worker.loop);
    bench.door.worker = &bench.worker;
    bench.door.rules = bench.rules;
}

void one_worker_close(void)
{
    streams_end(&bench.worker);
    sessions_end(&bench.worker);
    AWAIT(LIST_EMPTY(&bench.worker.streams) && LIST_EMPTY(&bench.worker.sessions));
    assert_no_streams(&bench.counters);
    assert_int_equal(counter_get(&bench.worker.active), 0);
    assert_int_equal(counter_get(&bench.worker.sessions_active), 0);
    rules_unref(bench.worker.rules);
    uv_close((uv_handle_t *)&bench.worker.wake, NULL);
    uv_mutex_destroy(&bench.worker.lock);
    loop_close(&bench.worker.loop);
    assert_int_equal(bench.rules->references, 1);
    rules_unref(bench.rules);
    counters_release(&bench.counters);
    close(bench.listener);
}

struct sockaddr_any from_vsock(uint32_t cid)
{
    struct sockaddr_vm vm = {.svm_family = AF_VSOCK, .svm_cid = cid, .svm_port = 1024};
    struct sockaddr_any peer = {.length = sizeof vm};
    memcpy(&peer.u, &vm, sizeof vm);
    return peer;
}

struct sockaddr_any from_tcp(void)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_any peer = {.length = sizeof in};
    memcpy(&peer.u, &in, sizeof in);
    return peer;
}

struct sockaddr_any from_unix(void)
{
    struct sockaddr_any peer = {.length = sizeof(sa_family_t)};
    peer.u.base.sa_family = AF_UNIX;
    return peer;
}

int call_at(unsigned listener, const struct sockaddr_any *from)
{
    int fds[2];
    pair_of_tcp(fds);
    bench.door.id = listener;
    uv_update_time(&bench.worker.loop.uv);
    admission_decide(&bench.door, fds[1], from);
    return fds[0];
}

unsigned streams_open(void)
{
    struct stream_record *record;
    unsigned count = 0;
    LIST_FOREACH (record, &bench.worker.streams, link) {
        count++;
    }
    return count;
}

uint64_t ended_for(unsigned route, enum reason why)
{
    return counter_get(&bench.rules->routes[route]->ended[why]);
}
