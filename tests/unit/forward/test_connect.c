/*
 * Streams to a `connect` route: what is said before the tunnel, which way each thing that can go wrong ends, with relay_end() from
 * outside at each stage, and with every call failing once.
 */
#include "forward/connect_stream.h"

#include "fault.h"
#include "hello_maker.h"
#include "loopback.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NAME   "api.test"
#define TUNNEL "HTTP/1.1 200 Connection established\r\n\r\n"

int __wrap_resolve_start(struct resolver *resolver, const char *name, struct resolve_request *request,
                         resolve_cb cb, struct resolved *ret);

/* Every name is this machine's, at once. */
int __wrap_resolve_start(struct resolver *resolver, const char *name, struct resolve_request *request,
                         resolve_cb cb, struct resolved *ret)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    (void)resolver;
    (void)name;
    (void)request;
    (void)cb;
    memset(ret, 0, sizeof *ret);
    ret->count = 1;
    ret->address[0].length = sizeof at;
    memcpy(&ret->address[0].u, &at, sizeof at);
    return 1;
}

static struct {
    struct loopback loopback;
    struct relay_worker worker;
    struct config config;
    struct config_route route;
    struct config_host hosts[2];
    struct relay relay;
    int client, upstream, listener; /* sockets; -1: none */
    uint16_t port;
    unsigned opened, closed, ended;
    enum reason why;
    struct sock_stream taker; /* of a client that asked for no tunnel */
    unsigned taker_events;
    char left[20000]; /* what that client said */
    size_t left_size;
    char destination[ADDR_TEXT_MAX];
    char heard[8192]; /* by the client */
    size_t heard_size;
    bool client_over;
    char seen[8192]; /* by the upstream */
    size_t seen_size;
    bool upstream_over;
    struct bytes hello;
} bench;

static void on_taken(struct stream *stream, unsigned events)
{
    (void)stream;
    bench.taker_events |= events;
}

static void on_opened(struct relay *relay, uint64_t connect_us)
{
    (void)relay;
    assert_in_range(connect_us, 0, 30000000);
    bench.opened++;
}

static void on_moved(struct relay *relay, uint64_t in, uint64_t out)
{
    (void)relay;
    assert_true(in + out > 0 && bench.opened == 1);
}

/* To a socket of its own. `left` is there to fail. */
static bool on_left(struct relay *relay, const void *data, size_t size)
{
    const struct sock_kind_options kind = {.kind = ADDR_TCP};
    char *left = malloc(size);
    if (left == NULL) {
        return false;
    }
    free(left);
    assert_true(bench.left_size == 0 && size <= sizeof bench.left);
    memcpy(bench.left, data, size);
    bench.left_size = size;
    bench.taker.watcher.fd = -1;
    bench.taker.poller = &bench.loopback.loop.poller;
    if (sock_stream_adopt(&bench.taker, bench.taker.poller, &relay->client.sock.watcher, &kind, on_taken) !=
        0) {
        return false;
    }
    return true;
}

static void on_closing(struct relay *relay)
{
    (void)relay;
    bench.closed++;
}

static void on_ended(struct relay *relay)
{
    char buffer[ADDR_TEXT_MAX];
    const char *destination = relay_destination(relay, buffer);
    bench.ended++;
    bench.why = relay->why;
    snprintf(bench.destination, sizeof bench.destination, "%s", destination != NULL ? destination : "");
}

static const struct relay_ops ops = {
    .opened = on_opened, .moved = on_moved, .closing = on_closing, .left = on_left, .ended = on_ended};

static int by_host(const void *left, const void *right)
{
    return strcmp(((const struct config_host *)left)->pattern, ((const struct config_host *)right)->pattern);
}

static void lead_to(uint16_t port)
{
    bench.hosts[0] = (struct config_host){.pattern = NAME, .port = port};
    bench.hosts[1] = (struct config_host){.pattern = "127.0.0.1", .port = port};
    qsort(bench.hosts, 2, sizeof bench.hosts[0], by_host);
}

static int set_up(void **state)
{
    (void)state;
    signal(SIGPIPE, SIG_IGN);
    memset(&bench, 0, sizeof bench);
    loopback_open(&bench.loopback);
    relay_worker_init(&bench.worker, &bench.loopback.loop);
    config_route_init(&bench.route);
    bench.route.name = "web";
    bench.route.type = CONFIG_CONNECT;
    bench.route.allow_private = true;
    bench.route.hosts = bench.hosts;
    bench.route.host_count = 2;
    bench.config.vsock.write_size = 31 * 1024;
    bench.listener = tcp_listener(10, &bench.port);
    bench.client = bench.upstream = -1;
    lead_to(bench.port);
    make_hello(&bench.hello, NAME);
    return 0;
}

static void turns(int count)
{
    while (count-- > 0) {
        loopback_turn(&bench.loopback);
    }
}

static void drop(int *fd)
{
    if (*fd >= 0) {
        close(*fd);
    }
    *fd = -1;
}

static int tear_down(void **state)
{
    (void)state;
    drop(&bench.client);
    drop(&bench.upstream);
    turns(3);
    close(bench.listener);
    loopback_close(&bench.loopback);
    return 0;
}

static void start(void)
{
    int fds[2];
    bench.opened = bench.closed = bench.ended = 0;
    bench.left_size = 0;
    bench.taker_events = 0;
    bench.heard_size = bench.seen_size = 0;
    bench.client_over = bench.upstream_over = false;
    fault_spare(true);
    pair_of_tcp(fds);
    fault_spare(false);
    bench.client = fds[0];
    uv_update_time(&bench.loopback.loop.uv);
    const struct relay_source source = {.config = &bench.config, .route = &bench.route};
    connect_stream_start(&bench.relay, &bench.worker, &ops, &source, fds[1], ADDR_TCP);
    assert_int_equal(bench.ended, 0); /* not from inside */
}

static void say(const void *data, size_t size)
{
    fault_spare(true);
    (void)send(bench.client, data, size, MSG_NOSIGNAL);
    fault_spare(false);
}

static void ask(const char *host, uint16_t port, const char *more)
{
    char text[512];
    int length = snprintf(text, sizeof text, "CONNECT %s:%u HTTP/1.1\r\nHost: %s:%u\r\n%s\r\n", host, port,
                          host, port, more);
    say(text, (size_t)length);
}

/* What came, up to the end or the cut. */
static void hear(int fd, char *into, size_t *size, bool *over)
{
    if (fd < 0 || *over) {
        return;
    }
    fault_spare(true);
    ssize_t n = recv(fd, into + *size, 8192 - *size, MSG_DONTWAIT);
    fault_spare(false);
    if (n > 0) {
        *size += (size_t)n;
    } else if (n == 0 || errno != EAGAIN) {
        *over = true;
    }
}

static void step(void)
{
    fault_spare(true);
    int fd = bench.upstream < 0 ? accept4(bench.listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC) : -1;
    fault_spare(false);
    bench.upstream = fd >= 0 ? fd : bench.upstream;
    loopback_turn(&bench.loopback);
    hear(bench.client, bench.heard, &bench.heard_size, &bench.client_over);
    hear(bench.upstream, bench.seen, &bench.seen_size, &bench.upstream_over);
}

#define STEP_UNTIL(condition)                                           \
    do {                                                                \
        uint64_t step_limit = loopback_limit();                         \
        while (!(condition)) {                                          \
            loopback_check(step_limit, #condition, __FILE__, __LINE__); \
            step();                                                     \
        }                                                               \
    } while (0)

static void finish(enum reason why)
{
    STEP_UNTIL(bench.ended > 0 && bench.client_over);
    turns(3);
    assert_int_equal(bench.ended, 1);
    assert_int_equal(bench.closed, 1);
    assert_string_equal(reason_word(bench.why), reason_word(why));
    drop(&bench.client);
    drop(&bench.upstream);
    turns(3);
}

static bool heard(const char *text)
{
    return bench.heard_size >= strlen(text) && memcmp(bench.heard, text, strlen(text)) == 0;
}

/* ---- Tunnels ---- */

static void test_a_tunnel(void **state)
{
    char expected[64];
    (void)state;
    start();
    ask(NAME, bench.port, "Proxy-Authorization: Basic c2VjcmV0\r\n");
    STEP_UNTIL(heard(TUNNEL));
    assert_int_equal(bench.relay.state, RELAY_HELLO);
    assert_int_equal(bench.opened, 0);
    say(bench.hello.at, bench.hello.length);
    STEP_UNTIL(bench.seen_size == bench.hello.length);
    assert_memory_equal(bench.seen, bench.hello.at, bench.hello.length);
    assert_int_equal(bench.opened, 1);
    assert_null(bench.relay.talk);
    assert_int_equal(send(bench.upstream, "hello", 5, 0), 5);
    STEP_UNTIL(bench.heard_size == strlen(TUNNEL) + 5);
    shutdown(bench.client, SHUT_WR);
    STEP_UNTIL(bench.upstream_over);
    shutdown(bench.upstream, SHUT_WR);
    finish(REASON_FINISHED);
    snprintf(expected, sizeof expected, "tcp://" NAME ":%u", bench.port);
    assert_string_equal(bench.destination, expected);
}

/* What the upstream has said before the tunnel is open has to come then, though no report tells of it. */
static void test_an_upstream_that_speaks_first(void **state)
{
    (void)state;
    start();
    ask(NAME, bench.port, "");
    STEP_UNTIL(heard(TUNNEL) && bench.upstream >= 0);
    assert_int_equal(send(bench.upstream, "first", 5, 0), 5);
    turns(5);
    step();
    assert_int_equal(bench.heard_size, strlen(TUNNEL));
    say(bench.hello.at, bench.hello.length);
    STEP_UNTIL(bench.heard_size == strlen(TUNNEL) + 5);
    relay_end(&bench.relay, REASON_SHUTDOWN);
    finish(REASON_SHUTDOWN);
}

static void test_an_upstream_that_aborts_before_the_hello(void **state)
{
    (void)state;
    start();
    ask(NAME, bench.port, "");
    STEP_UNTIL(heard(TUNNEL) && bench.upstream >= 0);
    const struct linger cut = {.l_onoff = 1, .l_linger = 0};
    setsockopt(bench.upstream, SOL_SOCKET, SO_LINGER, &cut, sizeof cut);
    drop(&bench.upstream);
    finish(REASON_UPSTREAM_RESET);
}

static void test_the_hello_names_the_host(void **state)
{
    static const struct {
        const char *name; /* in the hello; NULL: other bytes */
        enum reason why;
    } cases[] = {{"evil.test", REASON_DENIED_SNI}, {"x" NAME, REASON_DENIED_SNI}, {NULL, REASON_NOT_TLS}};
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        start();
        ask(NAME, bench.port, "");
        if (cases[i].name != NULL) {
            bench.hello.length = 0;
            make_hello(&bench.hello, cases[i].name);
            say(bench.hello.at, bench.hello.length);
        } else {
            say("GET / HTTP/1.1\r\n", 16);
        }
        finish(cases[i].why);
        assert_int_equal(bench.seen_size, 0);
        assert_int_equal(bench.opened, 0);
    }
}

/* ---- Refusals ---- */

static void test_refusals(void **state)
{
    static const struct {
        const char *request, *status, *code;
        enum reason why;
    } cases[] = {
        {"CONNECT evil.test:443 HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 403 ", "\"denied_host\"",
         REASON_DENIED_HOST},
        {"CONNECT " NAME ":1 HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 403 ", "\"denied_host\"",
         REASON_DENIED_HOST},
        {"CONNECT [::1]:443 HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 403 ", "\"denied_host\"",
         REASON_DENIED_HOST},
        {"CONNECT " NAME ":443 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n", "HTTP/1.1 400 ",
         "\"unexpected_body\"", REASON_BAD_REQUEST},
        {"CONNECT " NAME ":443 HTTP/1.1\nHost: a\n\n", "HTTP/1.1 400 ", "\"bare_lf\"", REASON_BAD_REQUEST},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        start();
        say(cases[i].request, strlen(cases[i].request));
        finish(cases[i].why);
        bench.heard[bench.heard_size] = '\0';
        assert_true(heard(cases[i].status));
        assert_non_null(strstr(bench.heard, cases[i].code));
        assert_int_equal(bench.opened, 0);
    }
}

static void test_nobody_listens(void **state)
{
    uint16_t port = refusing_port();
    (void)state;
    lead_to(port);
    start();
    ask("127.0.0.1", port, "");
    finish(REASON_CONNECT_REFUSED);
    bench.heard[bench.heard_size] = '\0';
    assert_true(heard("HTTP/1.1 502 "));
    assert_non_null(strstr(bench.heard, "\"upstream_refused\""));
    assert_null(strstr(bench.heard, "127.0.0.1"));
}

static void test_a_client_that_leaves(void **state)
{
    (void)state;
    start();
    shutdown(bench.client, SHUT_WR);
    finish(REASON_FINISHED);
    start();
    say("CONNECT ", 8);
    shutdown(bench.client, SHUT_WR);
    finish(REASON_BAD_REQUEST);
    assert_true(heard("HTTP/1.1 400 "));
}

static void test_time(void **state)
{
    (void)state;
    bench.route.hello_timeout_ms = 1;
    start();
    finish(REASON_HELLO_TIMEOUT);
    assert_int_equal(bench.heard_size, 0);
    bench.route.hello_timeout_ms = 20;
    start();
    say("CON", 3);
    finish(REASON_HELLO_TIMEOUT);
    assert_true(bench.heard_size == 0 ||
                heard("HTTP/1.1 408 ")); /* nothing, if the time was up before it was heard */
}

/* ---- Clients that ask for no tunnel ---- */

static void leave(const char *first, const char *second)
{
    char whole[256];
    start();
    say(first, strlen(first));
    if (second[0] != '\0') {
        turns(3);
        assert_int_equal(bench.left_size, 0);
        say(second, strlen(second));
    }
    STEP_UNTIL(bench.ended > 0);
    snprintf(whole, sizeof whole, "%s%s", first, second);
    assert_int_equal(bench.left_size, strlen(whole));
    assert_memory_equal(bench.left, whole, bench.left_size);
    assert_int_equal(bench.closed, 0); /* it is still there, and another's */
    assert_string_equal(reason_word(bench.why), reason_word(REASON_NONE));
    STEP_UNTIL((bench.taker_events & STREAM_WRITABLE) != 0);
    assert_int_equal(bench.heard_size, 0);
    assert_false(bench.client_over);
    assert_int_equal(stream_write(&bench.taker.stream, "taken", 5), 5);
    STEP_UNTIL(heard("taken"));
    stream_close(&bench.taker.stream, false);
    STEP_UNTIL(bench.client_over);
    drop(&bench.client);
    turns(3);
    assert_int_equal(bench.ended, 1);
}

static void test_clients_that_ask_for_no_tunnel(void **state)
{
    (void)state;
    leave("GET http://" NAME "/ HTTP/1.1\r\nHost: " NAME "\r\n\r\n", "");
    leave("\x16\x03\x01", "");
    leave("C", "OPY http://" NAME "/ HTTP/1.1\r\n");
    leave("CONNECT", "\r\n");
    leave("connect x:1 HTTP/1.1\r\n", "");
}

static void ask_for_no_tunnel(void *arg)
{
    uint64_t limit = loopback_limit();
    (void)arg;
    start();
    say("GET ", 4);
    while (bench.ended == 0) {
        loopback_check(limit, "the end", __FILE__, __LINE__);
        step();
    }
    assert_int_equal(bench.closed, bench.why != REASON_NONE);
    fault_spare(true);
    if (bench.why == REASON_NONE) {
        stream_close(&bench.taker.stream, false);
    }
    drop(&bench.client);
    fault_spare(false);
    turns(3);
}

static void test_faults_without_a_tunnel(void **state)
{
    const unsigned calls = FAULT_MEMORY | FAULT_READ | FAULT_EPOLL;
    (void)state;
    assert_true(fault_loop("no tunnel", calls, ask_for_no_tunnel, NULL) >= 4);
}

/* From outside, at each stage. */
static void test_ends(void **state)
{
    (void)state;
    start();
    relay_end(&bench.relay, REASON_SHUTDOWN);
    finish(REASON_SHUTDOWN);
    start();
    ask(NAME, bench.port, "");
    STEP_UNTIL(bench.relay.state == RELAY_DIALING || bench.relay.state == RELAY_HELLO);
    relay_end(&bench.relay, REASON_SHUTDOWN);
    finish(REASON_SHUTDOWN);
    start();
    ask(NAME, bench.port, "");
    STEP_UNTIL(bench.relay.state == RELAY_HELLO);
    relay_end(&bench.relay, REASON_SHUTDOWN);
    finish(REASON_SHUTDOWN);
}

/* ---- Whatever fails ---- */

static void whole_tunnel(void *arg)
{
    uint64_t limit = loopback_limit();
    bool said = false, done = false;
    (void)arg;
    start();
    ask(NAME, bench.port, "");
    while (bench.ended == 0) {
        loopback_check(limit, "the end", __FILE__, __LINE__);
        if (heard(TUNNEL) && !said) {
            said = true;
            say(bench.hello.at, bench.hello.length);
        }
        if (bench.seen_size == bench.hello.length && !done) {
            done = true;
            fault_spare(true);
            shutdown(bench.client, SHUT_WR);
            shutdown(bench.upstream, SHUT_WR);
            fault_spare(false);
        }
        step();
    }
    turns(3);
    assert_int_equal(bench.ended, 1);
    assert_true(bench.seen_size == 0 || memcmp(bench.seen, bench.hello.at, bench.seen_size) == 0);
    fault_spare(true);
    drop(&bench.client);
    drop(&bench.upstream);
    int late = accept(bench.listener, NULL, NULL);
    drop(&late);
    fault_spare(false);
    turns(3);
}

static void test_faults(void **state)
{
    const unsigned calls = FAULT_MEMORY | FAULT_SOCKET | FAULT_CONNECT | FAULT_READ | FAULT_WRITE;
    (void)state;
    assert_true(fault_loop("connect", calls, whole_tunnel, NULL) >= 15);
    assert_true(fault_loop("connect, sticky", calls | FAULT_STICKY, whole_tunnel, NULL) >= 15);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    loopback_spare_libuv();
    const struct CMUnitTest tests[] = {
        TEST(test_a_tunnel),
        TEST(test_an_upstream_that_speaks_first),
        TEST(test_an_upstream_that_aborts_before_the_hello),
        TEST(test_the_hello_names_the_host),
        TEST(test_refusals),
        TEST(test_nobody_listens),
        TEST(test_a_client_that_leaves),
        TEST(test_time),
        TEST(test_ends),
        TEST(test_clients_that_ask_for_no_tunnel),
        TEST(test_faults),
        TEST(test_faults_without_a_tunnel),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
