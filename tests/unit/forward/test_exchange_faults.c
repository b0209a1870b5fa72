/* Exchanges whose every allocation and system call fails once: they end, once, and nothing is left behind. */
#include "certificates.h"
#include "exchange_bench.h"
#include "fault.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static struct authority authority;
static struct certified certified;

struct scenario {
    const char *head, *body, *answer;
    bool tls;
    unsigned requests; /* one after the other */
    bool warm;         /* nothing fails in the first, whose connection is not kept */
};

static struct bench bench;
static struct owner owner;
static struct far far;
static bool answered;

/* What the upstream does, of which nothing fails. */
static void serve(const struct scenario *scenario)
{
    if (far.fd < 0) {
        int fd = accept4(bench.listener, NULL, NULL, SOCK_NONBLOCK);
        if (fd >= 0) {
            far_adopt(&bench, &far, fd);
        }
        return;
    }
    far_hear(&far);
    if (far.ended || far.cut) {
        far_release(&far);
        memset(&far, 0, sizeof far);
        far.fd = -1;
        answered = false;
    } else if (!answered && strstr(text_string(&far.heard), scenario->body) != NULL) {
        answered = true;
        far_say(&bench, &far, scenario->answer);
    }
}

static void one_request(const struct scenario *scenario, bool spared)
{
    uint64_t limit = loopback_limit();
    fault_spare(true);
    if (spared) {
        fault_spare(true); /* to the end */
    }
    text_clear(&far.heard);
    answered = false;
    owner_init(&owner, &bench, scenario->head);
    if (owner.request.framing.body != HTTP_BODY_NONE) {
        text_add(&owner.body, scenario->body);
    }
    fault_spare(false);
    owner_start(&owner);
    while (owner.ends == 0) {
        fault_spare(true);
        serve(scenario);
        fault_spare(false);
        loopback_turn(&bench.net);
        loopback_check(limit, "the end", __FILE__, __LINE__);
    }
    assert_int_equal(owner.ends, 1);
    assert_true(owner.why != HTTP_REFUSED_NONE || owner.status == 200);
    fault_spare(true);
    owner_release(&owner);
    fault_spare(false);
    if (spared) {
        fault_spare(false);
    }
}

static void run(void *arg)
{
    const struct scenario *scenario = arg;
    fault_spare(true);
    bench_open(&bench);
    if (scenario->tls) {
        bench.tls = certified_server(&certified);
        bench.forward->tls = true;
        bench.forward->ca_file = authority.ca_file;
        bench.forward->cert_file = certified.cert_file;
        bench.forward->key_file = certified.key_file;
    }
    if (scenario->warm) {
        bench.forward->max_idle = 0;
    }
    memset(&far, 0, sizeof far);
    far.fd = -1;
    fault_spare(false);
    for (unsigned i = 0; i < scenario->requests; i++) {
        one_request(scenario, scenario->warm && i == 0);
    }
    fault_spare(true);
    far_release(&far);
    bench_close(&bench);
    fault_spare(false);
}

#define CALLS \
    (FAULT_SOCKET | FAULT_CONNECT | FAULT_SOCKOPT | FAULT_READ | FAULT_WRITE | FAULT_OPEN | FAULT_FILE)

static void run_scenario(const char *name, struct scenario scenario)
{
    char text[64];
    snprintf(text, sizeof text, "%s, memory", name);
    assert_true(fault_loop(text, FAULT_MEMORY, run, &scenario) >= 5);
    snprintf(text, sizeof text, "%s, calls", name);
    assert_true(fault_loop(text, CALLS, run, &scenario) >= 5);
}

static void test_get(void **state)
{
    (void)state;
    run_scenario("get", (struct scenario){
                            .head = "GET /r HTTP/1.1\r\nHost: postern\r\n\r\n",
                            .body = "\r\n\r\n",
                            .answer = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
                            .requests = 2,
                        });
}

static void test_chunked(void **state)
{
    (void)state;
    run_scenario("chunked",
                 (struct scenario){
                     .head = "POST /r HTTP/1.1\r\nHost: postern\r\nTransfer-Encoding: chunked\r\n\r\n",
                     .body = "data",
                     .answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                               "5\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n",
                     .requests = 2,
                 });
}

#define TLS                                                                                       \
    {                                                                                             \
        .head = "POST /r HTTP/1.1\r\nHost: postern\r\nContent-Length: 4\r\n\r\n", .body = "data", \
        .answer = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", .tls = true                \
    }

/* Of many failures each `step`th: a handshake takes its time, under a sanitizer above all. */
static void sample(struct scenario *scenario, unsigned long step)
{
    unsigned long nth = 1;
    do {
        fault_arm(FAULT_MEMORY, nth);
        run(scenario);
        nth += step;
    } while (fault_disarm() > 0);
    assert_true(nth > 1 + step);
}

/* A connection, its context being there. */
static void test_tls(void **state)
{
    (void)state;
    struct scenario scenario = TLS;
    scenario.warm = true;
    scenario.requests = 2;
#ifdef POSTERN_SANITIZED
    sample(&scenario, 13);
#else
    assert_true(fault_loop("tls, memory", FAULT_MEMORY, run, &scenario) >= 5);
#endif
    assert_true(fault_loop("tls, calls", CALLS, run, &scenario) >= 5);
}

/* A context, of thousands of allocations. */
static void test_tls_context(void **state)
{
    (void)state;
    struct scenario scenario = TLS;
    scenario.requests = 1;
    sample(&scenario, 97);
    assert_true(fault_loop("tls context, calls", CALLS, run, &scenario) >= 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_get),
        cmocka_unit_test(test_chunked),
        cmocka_unit_test(test_tls),
        cmocka_unit_test(test_tls_context),
    };
    loopback_spare_libuv();
    authority_open(&authority);
    authority_certify(&authority, "server", "DNS:results.test", 86400, &certified);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    authority_close(&authority);
    return failed;
}
