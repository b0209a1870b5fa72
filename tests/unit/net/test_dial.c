/*
 * Dialing: every way in which it can end, in which order addresses are tried, and who hears of it how often.
 *
 * Names are played: resolve_start() is wrapped, and so is connect(), which takes each address to a port of
 * 127.0.0.1 or to an errno value, as the test says. So any address can be dialed, and nothing leaves the machine.
 */
#include "net/dial.h"

#include "fault.h"
#include "loopback.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <errno.h>
#include <linux/vm_sockets.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

int __real_connect(int fd, const struct sockaddr *address, socklen_t size);
int __wrap_connect(int fd, const struct sockaddr *address, socklen_t size);
int __real_socket(int family, int type, int protocol);
int __wrap_socket(int family, int type, int protocol);
int __real_epoll_ctl(int epoll, int command, int fd, struct epoll_event *event);
int __wrap_epoll_ctl(int epoll, int command, int fd, struct epoll_event *event);
int __wrap_resolve_start(struct resolver *resolver, const char *name, struct resolve_request *request,
                         resolve_cb cb, struct resolved *ret);
void __wrap_resolve_cancel(struct resolve_request *request);

/* ---- The world as it is played ---- */

/* Where the nth connect() to an IP address leads. */
struct lead {
    uint16_t port; /* of 127.0.0.1 */
    int code;      /* or this errno value at once */
};

static struct {
    struct lead leads[RESOLVE_ADDRS_MAX];
    unsigned connects;
    char connected[RESOLVE_ADDRS_MAX][64]; /* the addresses, in their order */
    uint64_t at_ms[RESOLVE_ADDRS_MAX];
    /* The resolver: */
    struct resolved answer;
    enum reason why;
    int result; /* of resolve_start(): 1 at once, 0 later, or an error */
    struct resolve_request *asked;
    resolve_cb cb;
    unsigned cancelled;
} world;

int __wrap_socket(int family, int type, int protocol)
{
    return __real_socket(family == AF_VSOCK || family == AF_INET6 ? AF_INET : family, type, protocol);
}

/* The test's own connections to 127.0.0.1 are to a high port; what is dialed goes to 443 and the like. */
static bool is_own(const struct sockaddr *address)
{
    struct sockaddr_in in;
    memcpy(&in, address, sizeof in);
    return in.sin_family == AF_UNIX || (in.sin_family == AF_INET && ntohs(in.sin_port) > 10000);
}

int __wrap_connect(int fd, const struct sockaddr *address, socklen_t size)
{
    struct sockaddr_any any = {.length = size};
    char text[ADDR_TEXT_MAX];
    if (is_own(address)) {
        return __real_connect(fd, address, size);
    }
    memcpy(&any.u, address, size);
    assert_in_range(world.connects, 0, RESOLVE_ADDRS_MAX - 1);
    const struct lead *lead = &world.leads[world.connects];
    snprintf(world.connected[world.connects], sizeof world.connected[0], "%s", sockaddr_format(&any, text));
    world.at_ms[world.connects] = uv_hrtime() / 1000000;
    world.connects++;
    if (lead->code != 0) {
        errno = lead->code;
        return -1;
    }
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                             .sin_port = htons(lead->port)};
    return __real_connect(fd, (struct sockaddr *)&to, sizeof to);
}

int __wrap_epoll_ctl(int epoll, int command, int fd, struct epoll_event *event)
{
    if (fault_strikes(FAULT_OWN)) {
        errno = ENOMEM;
        return -1;
    }
    return __real_epoll_ctl(epoll, command, fd, event);
}

int __wrap_resolve_start(struct resolver *resolver, const char *name, struct resolve_request *request,
                         resolve_cb cb, struct resolved *ret)
{
    (void)resolver;
    assert_string_equal(name, "name.test");
    if (fault_strikes(FAULT_OWN)) {
        return -ENOMEM;
    }
    if (world.result == 1) {
        *ret = world.answer;
    } else if (world.result == 0) {
        world.asked = request;
        world.cb = cb;
    }
    return world.result;
}

void __wrap_resolve_cancel(struct resolve_request *request)
{
    if (world.asked == request) {
        world.asked = NULL;
        world.cancelled++;
    }
}

static void answer_now(void)
{
    struct resolve_request *request = world.asked;
    assert_non_null(request);
    world.asked = NULL;
    world.cb(request, world.why, world.why == REASON_NONE ? &world.answer : NULL);
}

static void add_address(const char *text)
{
    struct sockaddr_any *at = &world.answer.address[world.answer.count++];
    struct in_addr four;
    struct in6_addr six;
    memset(at, 0, sizeof *at);
    if (inet_pton(AF_INET, text, &four) == 1) {
        struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr = four};
        at->length = sizeof in;
        memcpy(&at->u, &in, sizeof in);
    } else {
        assert_int_equal(inet_pton(AF_INET6, text, &six), 1);
        struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_addr = six};
        at->length = sizeof in6;
        memcpy(&at->u, &in6, sizeof in6);
    }
}

/* ---- The bench ---- */

enum then { THEN_NOTHING, THEN_CANCEL, THEN_REMOVE };

struct bench {
    struct loopback loopback;
    struct dial *dial;
    unsigned calls;
    enum reason why;
    char text[ERROR_TEXT_MAX];
    char peer[ADDR_TEXT_MAX];
    enum addr_kind kind;
    bool stale;
    struct watcher watcher; /* the connected socket, once it is ours */
    int fd;
    enum then then;
    struct blackhole hole;
    int listener;
    uint16_t port;
};

static void on_nothing(struct watcher *watcher, uint32_t events)
{
    (void)watcher;
    (void)events;
}

static void on_dialed(void *data, enum reason why, const struct dialed *dialed, const struct error *err)
{
    struct bench *bench = data;
    bench->calls++;
    bench->why = why;
    assert_int_equal(why == REASON_NONE, dialed != NULL);
    assert_int_equal(why == REASON_NONE, err == NULL);
    if (err != NULL) {
        snprintf(bench->text, sizeof bench->text, "%s", err->text);
    } else {
        sockaddr_format(dialed->peer, bench->peer);
        bench->kind = dialed->kind;
        bench->stale = dialed->stale;
    }
    if (bench->then == THEN_CANCEL) {
        dial_cancel(bench->dial); /* harmless, and what is not taken over is closed */
    } else if (dialed != NULL && bench->then == THEN_REMOVE) {
        bench->fd = dialed->watcher->fd;
        poller_remove(&bench->loopback.loop.poller, dialed->watcher);
    } else if (dialed != NULL &&
               poller_move(&bench->loopback.loop.poller, dialed->watcher, &bench->watcher, on_nothing) == 0) {
        bench->fd = bench->watcher.fd;
    }
    bench->dial = NULL;
}

static void open_bench(struct bench *bench)
{
    memset(&world, 0, sizeof world);
    memset(bench, 0, sizeof *bench);
    world.why = REASON_NONE;
    bench->fd = bench->watcher.fd = -1;
    loopback_open(&bench->loopback);
    blackhole_open(&bench->hole);
    bench->listener = tcp_listener(100, &bench->port);
}

static void drop_connection(struct bench *bench)
{
    if (bench->fd >= 0) {
        poller_remove(&bench->loopback.loop.poller, &bench->watcher);
        close(bench->fd);
    }
    bench->fd = bench->watcher.fd = -1;
}

static void close_bench(struct bench *bench)
{
    drop_connection(bench);
    loopback_close(&bench->loopback);
    blackhole_close(&bench->hole);
    close(bench->listener);
}

static struct dial_options options_of(const struct addr *to)
{
    return (struct dial_options){.to = to, .timeout_ms = 5000};
}

static void parse(const char *text, struct addr *ret)
{
    struct error err = ERROR_INIT;
    if (addr_parse(text, ret, &err) != 0) {
        fail_msg("%s", err.text);
    }
}

static void begin_with(struct bench *bench, const struct dial_options *options)
{
    bench->calls = 0;
    uv_update_time(&bench->loopback.loop.uv);
    bench->dial = dial_start(&bench->loopback.loop, options, on_dialed, bench);
    assert_non_null(bench->dial);
    assert_int_equal(bench->calls, 0); /* never from inside */
}

static void begin(struct bench *bench, const char *to)
{
    struct addr addr;
    parse(to, &addr);
    struct dial_options options = options_of(&addr);
    begin_with(bench, &options);
    memset(&addr, 'x', sizeof addr); /* it was copied */
}

static void settle(struct bench *bench)
{
    for (int i = 0; i < 5; i++) {
        loopback_turn(&bench->loopback);
    }
}

static void assert_reason(const struct bench *bench, enum reason why)
{
    assert_string_equal(bench->why == REASON_NONE ? "none" : reason_word(bench->why),
                        why == REASON_NONE ? "none" : reason_word(why));
}

/* Waits for the end, and then for nothing more to come. */
static void finish(struct bench *bench, enum reason why)
{
    WAIT_FOR(&bench->loopback, bench->calls > 0);
    settle(bench);
    assert_int_equal(bench->calls, 1);
    assert_reason(bench, why);
    assert_int_equal(bench->fd >= 0, why == REASON_NONE);
}

static void assert_says(const struct bench *bench, const char *words)
{
    if (strstr(bench->text, words) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", bench->text, words);
    }
}

/* ---- One address ---- */

static void test_a_literal_address(void **state)
{
    struct bench bench;
    (void)state;
    open_bench(&bench);
    world.leads[0].port = bench.port;
    begin(&bench, "tcp://192.0.2.7:443");
    finish(&bench, REASON_NONE);
    assert_string_equal(world.connected[0], "192.0.2.7:443");
    assert_string_equal(bench.peer, "192.0.2.7:443");
    assert_int_equal(bench.kind, ADDR_TCP);
    assert_false(bench.stale);
    close_bench(&bench);
}

static void test_a_watcher_that_is_removed_leaves_the_descriptor(void **state)
{
    struct bench bench;
    (void)state;
    open_bench(&bench);
    bench.then = THEN_REMOVE;
    world.leads[0].port = bench.port;
    begin(&bench, "tcp://192.0.2.7:443");
    finish(&bench, REASON_NONE);
    assert_int_equal(write(bench.fd, "x", 1), 1);
    close_bench(&bench);
}

static void test_a_unix_socket(void **state)
{
    struct bench bench;
    char name[64];
    (void)state;
    open_bench(&bench);
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    int size = snprintf(at.sun_path + 1, sizeof at.sun_path - 1, "postern-dial-%d", (int)getpid());
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&at,
                          (socklen_t)(sizeof at.sun_family + 1 + (size_t)size)),
                     0);
    assert_int_equal(listen(listener, 5), 0);
    snprintf(name, sizeof name, "unix://@%s", at.sun_path + 1);
    begin(&bench, name);
    finish(&bench, REASON_NONE);
    assert_int_equal(bench.kind, ADDR_UNIX);
    close(listener);
    drop_connection(&bench);
    begin(&bench, name);
    finish(&bench, REASON_CONNECT_REFUSED);
    begin(&bench, "unix:///no/such/socket");
    finish(&bench, REASON_UNREACHABLE);
    assert_says(&bench, "cannot connect to unix:///no/such/socket");
    assert_says(&bench, "No such file or directory");
    close_bench(&bench);
}

static void test_every_errno_has_its_reason(void **state)
{
    static const struct {
        int code;
        enum reason why;
    } cases[] = {
        {ECONNREFUSED, REASON_CONNECT_REFUSED},
        {ECONNRESET, REASON_CONNECT_REFUSED},
        {ETIMEDOUT, REASON_CONNECT_TIMEOUT},
        {ENETUNREACH, REASON_UNREACHABLE},
        {EHOSTUNREACH, REASON_UNREACHABLE},
        {ENODEV, REASON_UNREACHABLE},
        {ENOENT, REASON_UNREACHABLE},
        {EADDRNOTAVAIL, REASON_UNREACHABLE},
        {EMFILE, REASON_NO_DESCRIPTORS},
        {ENFILE, REASON_NO_DESCRIPTORS},
        {ENOMEM, REASON_NO_MEMORY},
        {ENOBUFS, REASON_NO_MEMORY},
        {EACCES, REASON_CONNECT_FAILED},
        {EPROTO, REASON_CONNECT_FAILED},
    };
    struct bench bench;
    (void)state;
    open_bench(&bench);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        world.connects = 0;
        world.leads[0].code = cases[i].code;
        begin(&bench, "tcp://192.0.2.1:80");
        finish(&bench, cases[i].why);
        assert_says(&bench, "cannot connect to tcp://192.0.2.1:80 (192.0.2.1:80): ");
        assert_says(&bench, error_words(-cases[i].code));
    }
    close_bench(&bench);
}

static void test_a_refusal_that_comes_later(void **state)
{
    struct bench bench;
    (void)state;
    open_bench(&bench);
    world.leads[0].port = refusing_port();
    begin(&bench, "tcp://192.0.2.1:80");
    finish(&bench, REASON_CONNECT_REFUSED);
    close_bench(&bench);
}

static void test_a_vsock_refusal_is_told_in_its_words(void **state)
{
    struct bench bench;
    (void)state;
    open_bench(&bench);
    world.leads[0].code = ECONNRESET;
    begin(&bench, "vsock://16:5000");
    finish(&bench, REASON_CONNECT_REFUSED);
    assert_says(&bench, "cannot connect to vsock://16:5000 (vsock 16:5000): nothing listens at that port");
    world.connects = 0;
    world.leads[0].code = world.leads[1].code = ENODEV;
    begin(&bench, "vsock://16:5000");
    finish(&bench, REASON_UNREACHABLE);
    assert_int_equal(world.connects, 2); /* once more, through the parent */
    close_bench(&bench);
}

static void test_an_address_that_is_none(void **state)
{
    struct addr to = {.kind = ADDR_VSOCK, .cid_by_name = true, .port = 1, .host = "payroll"};
    struct dial_options options = options_of(&to);
    struct bench bench;
    (void)state;
    open_bench(&bench);
    assert_null(dial_start(&bench.loopback.loop, &options, on_dialed, &bench));
    settle(&bench);
    assert_int_equal(bench.calls, 0);
    close_bench(&bench);
}

static void test_a_timeout(void **state)
{
    struct bench bench;
    struct addr to;
    (void)state;
    open_bench(&bench);
    world.leads[0].port = bench.hole.port;
    parse("tcp://192.0.2.1:80", &to);
    struct dial_options options = options_of(&to);
    options.timeout_ms = 60;
    uint64_t began = uv_hrtime();
    begin_with(&bench, &options);
    finish(&bench, REASON_CONNECT_TIMEOUT);
    assert_true(uv_hrtime() - began >= 55 * 1000000u);
    assert_says(&bench, "cannot connect to tcp://192.0.2.1:80: no answer within 60 ms");
    close_bench(&bench);
}

/* ---- Names ---- */

static void test_an_answer_out_of_the_cache(void **state)
{
    struct bench bench;
    (void)state;
    open_bench(&bench);
    world.result = 1;
    world.answer.stale = true;
    add_address("203.0.113.9");
    world.leads[0].port = bench.port;
    begin(&bench, "tcp://name.test:8443");
    finish(&bench, REASON_NONE);
    assert_string_equal(bench.peer, "203.0.113.9:8443");
    assert_true(bench.stale);
    close_bench(&bench);
}

static void test_an_answer_that_comes_later(void **state)
{
    struct bench bench;
    (void)state;
    open_bench(&bench);
    add_address("2001:db8::1");
    world.leads[0].port = bench.port;
    begin(&bench, "tcp://name.test:443");
    settle(&bench);
    assert_int_equal(world.connects, 0);
    answer_now();
    finish(&bench, REASON_NONE);
    assert_string_equal(bench.peer, "[2001:db8::1]:443");
    close_bench(&bench);
}

static void test_no_answer(void **state)
{
    static const enum reason reasons[] = {REASON_DNS_NOT_FOUND, REASON_DNS_TIMEOUT, REASON_DNS_FAILED};
    struct bench bench;
    (void)state;
    open_bench(&bench);
    for (size_t i = 0; i < ARRAY_SIZE(reasons); i++) {
        world.why = reasons[i];
        begin(&bench, "tcp://name.test:443");
        answer_now();
        finish(&bench, reasons[i]);
        assert_says(&bench, "cannot resolve name.test: ");
        assert_says(&bench, reason_meaning(reasons[i]));
    }
    assert_int_equal(world.connects, 0);
    close_bench(&bench);
}

static void test_the_resolver_lacks_memory(void **state)
{
    struct bench bench;
    struct addr to;
    (void)state;
    open_bench(&bench);
    parse("tcp://name.test:443", &to);
    struct dial_options options = options_of(&to);
    world.result = -ENOMEM;
    assert_null(dial_start(&bench.loopback.loop, &options, on_dialed, &bench));
    settle(&bench);
    assert_int_equal(bench.calls, 0);
    close_bench(&bench);
}

static void dial_guarded(struct bench *bench, bool public_only, int family)
{
    struct addr to;
    parse("tcp://name.test:443", &to);
    struct dial_options options = options_of(&to);
    options.public_only = public_only;
    options.family = family;
    world.connects = 0;
    begin_with(bench, &options);
}

static void test_the_guard(void **state)
{
    struct bench bench;
    (void)state;
    open_bench(&bench);
    world.result = 1;
    add_address("127.0.0.1");
    add_address("169.254.169.254");
    add_address("::ffff:10.0.0.1");
    dial_guarded(&bench, true, 0);
    finish(&bench, REASON_DENIED_ADDRESS);
    assert_int_equal(world.connects, 0);
    assert_says(&bench, "name.test resolves only to addresses that are not public (");
    /* One that passes is enough, and it alone is tried. */
    add_address("8.8.8.8");
    world.leads[0].port = bench.port;
    dial_guarded(&bench, true, 0);
    finish(&bench, REASON_NONE);
    assert_int_equal(world.connects, 1);
    assert_string_equal(bench.peer, "8.8.8.8:443");
    drop_connection(&bench);
    dial_guarded(&bench, false, 0); /* allow_private */
    finish(&bench, REASON_NONE);
    assert_string_equal(bench.peer, "127.0.0.1:443");
    close_bench(&bench);
}

/* The same when the answer comes later. */
static void test_the_guard_after_a_query(void **state)
{
    struct bench bench;
    (void)state;
    open_bench(&bench);
    add_address("10.0.0.1");
    dial_guarded(&bench, true, 0);
    answer_now();
    assert_int_equal(bench.calls, 0);
    finish(&bench, REASON_DENIED_ADDRESS);
    close_bench(&bench);
}

static void test_one_family_only(void **state)
{
    struct bench bench;
    (void)state;
    open_bench(&bench);
    world.result = 1;
    add_address("2001:db8::1");
    world.leads[0].port = world.leads[1].port = bench.port;
    dial_guarded(&bench, false, AF_INET);
    finish(&bench, REASON_DNS_NOT_FOUND);
    assert_says(&bench, "name.test has no address of the wanted family");
    add_address("192.0.2.1");
    dial_guarded(&bench, false, AF_INET);
    finish(&bench, REASON_NONE);
    assert_string_equal(bench.peer, "192.0.2.1:443");
    drop_connection(&bench);
    dial_guarded(&bench, false, AF_INET6);
    finish(&bench, REASON_NONE);
    assert_string_equal(bench.peer, "[2001:db8::1]:443");
    close_bench(&bench);
}

/* ---- Several addresses ---- */

static void three_addresses(struct bench *bench)
{
    open_bench(bench);
    world.result = 1;
    add_address("192.0.2.1");
    add_address("2001:db8::2");
    add_address("192.0.2.3");
}

static void test_the_next_address_follows_a_failure_at_once(void **state)
{
    struct bench bench;
    (void)state;
    three_addresses(&bench);
    world.leads[0].code = ENETUNREACH;
    world.leads[1].port = refusing_port();
    world.leads[2].port = bench.port;
    uint64_t began = uv_hrtime();
    begin(&bench, "tcp://name.test:443");
    finish(&bench, REASON_NONE);
    assert_true(uv_hrtime() - began < DIAL_ATTEMPT_DELAY_MS * 900000u);
    assert_string_equal(world.connected[0], "192.0.2.1:443");
    assert_string_equal(world.connected[1], "[2001:db8::2]:443");
    assert_string_equal(world.connected[2], "192.0.2.3:443");
    assert_string_equal(bench.peer, "192.0.2.3:443");
    close_bench(&bench);
}

static void test_all_fail_and_the_last_is_told(void **state)
{
    struct bench bench;
    (void)state;
    three_addresses(&bench);
    world.leads[0].port = world.leads[1].port = refusing_port();
    world.leads[2].code = EHOSTUNREACH;
    begin(&bench, "tcp://name.test:443");
    finish(&bench, REASON_UNREACHABLE);
    assert_int_equal(world.connects, 3);
    assert_says(&bench, "cannot connect to tcp://name.test:443 (192.0.2.3:443): ");
    close_bench(&bench);
}

/* RFC 8305: one that does not answer holds up the next for 250 ms, and goes on trying beside it. */
static void test_a_silent_address_is_overtaken(void **state)
{
    struct bench bench;
    (void)state;
    three_addresses(&bench);
    world.leads[0].port = bench.hole.port;
    world.leads[1].port = bench.port;
    begin(&bench, "tcp://name.test:443");
    finish(&bench, REASON_NONE);
    assert_int_equal(world.connects, 2);
    assert_in_range(world.at_ms[1] - world.at_ms[0], DIAL_ATTEMPT_DELAY_MS - 10, DIAL_ATTEMPT_DELAY_MS + 200);
    assert_string_equal(bench.peer, "[2001:db8::2]:443");
    close_bench(&bench);
}

static void test_an_address_that_fails_late_does_not_end_the_race(void **state)
{
    struct bench bench;
    struct addr to;
    (void)state;
    three_addresses(&bench);
    world.leads[0].port = bench.hole.port;
    world.leads[1].port = refusing_port();
    world.leads[2].port = bench.hole.port;
    parse("tcp://name.test:443", &to);
    struct dial_options options = options_of(&to);
    options.timeout_ms = 400;
    begin_with(&bench, &options);
    finish(&bench, REASON_CONNECT_TIMEOUT);
    assert_int_equal(world.connects, 3);
    assert_in_range(world.at_ms[2] - world.at_ms[1], 0, 200); /* right after the refusal */
    assert_says(&bench, "2 of 3");
    close_bench(&bench);
}

/* ---- Cancelling ---- */

static void cancel(struct bench *bench)
{
    unsigned before = descriptors();
    dial_cancel(bench->dial);
    settle(bench);
    assert_int_equal(bench->calls, 0);
    assert_true(descriptors() <= before);
}

static void test_cancelling_while_the_name_is_asked(void **state)
{
    struct bench bench;
    (void)state;
    open_bench(&bench);
    dial_cancel(NULL);
    begin(&bench, "tcp://name.test:443");
    cancel(&bench);
    assert_int_equal(world.cancelled, 1);
    close_bench(&bench);
}

static void test_cancelling_while_connecting(void **state)
{
    struct bench bench;
    (void)state;
    three_addresses(&bench);
    world.leads[0].port = world.leads[1].port = bench.hole.port;
    begin(&bench, "tcp://name.test:443");
    loopback_pass(&bench.loopback, DIAL_ATTEMPT_DELAY_MS + 20);
    assert_int_equal(world.connects, 2);
    unsigned before = descriptors();
    cancel(&bench);
    assert_int_equal(descriptors(), before - 2);
    close_bench(&bench);
}

static void test_cancelling_before_a_failure_is_told(void **state)
{
    struct bench bench;
    (void)state;
    open_bench(&bench);
    world.leads[0].code = ENETUNREACH;
    begin(&bench, "tcp://192.0.2.1:80");
    cancel(&bench);
    close_bench(&bench);
}

static void test_cancelling_before_success_is_told(void **state)
{
    struct bench bench;
    (void)state;
    open_bench(&bench);
    world.leads[0].port = bench.port;
    begin(&bench, "tcp://192.0.2.1:80");
    cancel(&bench);
    close_bench(&bench);
}

static void test_cancelling_inside_of_the_callback(void **state)
{
    struct bench bench;
    (void)state;
    open_bench(&bench);
    bench.then = THEN_CANCEL;
    world.leads[0].port = bench.port;
    unsigned before = descriptors();
    begin(&bench, "tcp://192.0.2.1:80");
    WAIT_FOR(&bench.loopback, bench.calls > 0);
    settle(&bench);
    assert_int_equal(bench.calls, 1);
    assert_int_equal(descriptors(), before); /* nobody took it over, so it is closed */
    world.connects = 0;
    world.leads[0].code = EACCES;
    begin(&bench, "tcp://192.0.2.1:80");
    finish(&bench, REASON_CONNECT_FAILED);
    close_bench(&bench);
}

/* ---- hybrid ---- */

static char hybrid_path[] = "/tmp/postern-dial-XXXXXX";

static int hybrid_listen(void)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    snprintf(at.sun_path, sizeof at.sun_path, "%s/vm", hybrid_path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(fd, 5), 0);
    return fd;
}

static void hybrid_unlink(void)
{
    char path[128];
    snprintf(path, sizeof path, "%s/vm", hybrid_path);
    unlink(path);
}

static void begin_hybrid(struct bench *bench, uint64_t timeout_ms)
{
    char text[128];
    struct addr to;
    snprintf(text, sizeof text, "hybrid://%s/vm:1024", hybrid_path);
    parse(text, &to);
    struct dial_options options = options_of(&to);
    options.timeout_ms = timeout_ms;
    begin_with(bench, &options);
}

/* Reads the request, and answers in pieces, each after a turn of the loop. NULL: closes without a word. */
static int play_backend(struct bench *bench, int listener, const char *const *pieces)
{
    char request[64] = "";
    int fd = accept_one(&bench->loopback, listener);
    WAIT_FOR(&bench->loopback, read(fd, request, sizeof request - 1) > 0);
    assert_string_equal(request, "CONNECT 1024\n");
    for (; pieces != NULL && *pieces != NULL; pieces++) {
        assert_int_equal(bench->calls, 0);
        assert_int_equal(write(fd, *pieces, strlen(*pieces)), strlen(*pieces));
        settle(bench);
    }
    return fd;
}

static void test_hybrid(void **state)
{
    static const char *const whole[] = {"OK 1073741824\nhello", NULL};
    static const char *const parts[] = {"O", "K 10", "24", "\n", NULL};
    struct bench bench;
    char data[16] = "";
    (void)state;
    open_bench(&bench);
    int listener = hybrid_listen();
    begin_hybrid(&bench, 5000);
    int fd = play_backend(&bench, listener, whole);
    finish(&bench, REASON_NONE);
    assert_int_equal(bench.kind, ADDR_UNIX);
    assert_int_equal(read(bench.fd, data, sizeof data), 5);
    assert_string_equal(data, "hello"); /* the guest's first bytes are the stream's */
    close(fd);
    drop_connection(&bench);
    begin_hybrid(&bench, 5000);
    fd = play_backend(&bench, listener, parts);
    finish(&bench, REASON_NONE);
    close(fd);
    close(listener);
    hybrid_unlink();
    close_bench(&bench);
}

static void test_hybrid_failures(void **state)
{
    static const char *const garbage[] = {"220 mail.example.com ESMTP\r\n", NULL};
    static const char *const silence[] = {"OK 10", NULL};
    struct bench bench;
    (void)state;
    open_bench(&bench);
    int listener = hybrid_listen();
    begin_hybrid(&bench, 5000);
    close(play_backend(&bench, listener, NULL));
    finish(&bench, REASON_CONNECT_REFUSED);
    begin_hybrid(&bench, 5000);
    int fd = play_backend(&bench, listener, garbage);
    finish(&bench, REASON_CONNECT_FAILED);
    close(fd);
    begin_hybrid(&bench, 100);
    fd = play_backend(&bench, listener, silence);
    finish(&bench, REASON_CONNECT_TIMEOUT);
    close(fd);
    begin_hybrid(&bench, 5000);
    fd = play_backend(&bench, listener, silence);
    cancel(&bench);
    close(fd);
    close(listener);
    hybrid_unlink();
    begin_hybrid(&bench, 5000);
    finish(&bench, REASON_UNREACHABLE);
    close_bench(&bench);
}

/* ---- Faults ---- */

static struct bench fault_bench;

/* A whole dial: a name, three addresses of which the first fails at once and the second a little later. */
static void dial_name(void *arg)
{
    struct bench *bench = &fault_bench;
    struct addr to;
    (void)arg;
    world.connects = 0;
    parse("tcp://name.test:443", &to);
    struct dial_options options = options_of(&to);
    bench->calls = 0;
    bench->dial = dial_start(&bench->loopback.loop, &options, on_dialed, bench);
    if (bench->dial != NULL) {
        if (world.asked != NULL) {
            answer_now();
        }
        WAIT_FOR(&bench->loopback, bench->calls > 0);
    }
    drop_connection(bench);
    settle(bench);
    assert_in_range(bench->calls, 0, 1);
    fault_spare(true);
    for (int fd; (fd = accept(bench->listener, NULL, NULL)) >= 0;) {
        close(fd);
    }
    fault_spare(false);
}

static void test_faults(void **state)
{
    const unsigned calls = FAULT_MEMORY | FAULT_SOCKET | FAULT_CONNECT | FAULT_SOCKOPT | FAULT_OWN;
    (void)state;
    three_addresses(&fault_bench);
    world.leads[0].code = ENETUNREACH;
    world.leads[1].port = refusing_port();
    world.leads[2].port = fault_bench.port;
    for (int later = 0; later <= 1; later++) {
        world.result = !later;
        assert_true(fault_loop("dial", calls, dial_name, NULL) >= 10);
        assert_true(fault_loop("dial, sticky", calls | FAULT_STICKY, dial_name, NULL) >= 10);
    }
    close_bench(&fault_bench);
}

static struct bench hybrid_bench;
static int hybrid_listener;

static void dial_hybrid(void *arg)
{
    struct bench *bench = &hybrid_bench;
    struct addr to;
    char text[128];
    int fd = -1;
    (void)arg;
    snprintf(text, sizeof text, "hybrid://%s/vm:1024", hybrid_path);
    parse(text, &to);
    struct dial_options options = options_of(&to);
    bench->calls = 0;
    bench->dial = dial_start(&bench->loopback.loop, &options, on_dialed, bench);
    uint64_t limit = loopback_limit();
    while (bench->dial != NULL && bench->calls == 0) {
        fault_spare(true);
        if (fd < 0) {
            fd = accept(hybrid_listener, NULL, NULL);
            if (fd >= 0) {
                (void)!send(fd, "OK 1\n", 5, MSG_NOSIGNAL); /* it may be gone by then */
            }
        }
        fault_spare(false);
        loopback_check(limit, "the dial's end", __FILE__, __LINE__);
        loopback_turn(&bench->loopback);
    }
    drop_connection(bench);
    settle(bench);
    assert_in_range(bench->calls, 0, 1);
    fault_spare(true);
    for (int left; (left = accept(hybrid_listener, NULL, NULL)) >= 0;) {
        close(left);
    }
    fault_spare(false);
    if (fd >= 0) {
        close(fd);
    }
}

static void test_hybrid_faults(void **state)
{
    /* Without FAULT_READ: libuv's own reading goes by there too. */
    const unsigned calls =
        FAULT_MEMORY | FAULT_SOCKET | FAULT_CONNECT | FAULT_SOCKOPT | FAULT_OWN | FAULT_WRITE;
    (void)state;
    open_bench(&hybrid_bench);
    hybrid_listener = hybrid_listen();
    loopback_turn(&hybrid_bench.loopback);
    assert_true(fault_loop("dial hybrid", calls, dial_hybrid, NULL) >= 4);
    close(hybrid_listener);
    hybrid_unlink();
    close_bench(&hybrid_bench);
}

static int make_folder(void **state)
{
    (void)state;
    loopback_spare_libuv();
    return mkdtemp(hybrid_path) != NULL ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    return rmdir(hybrid_path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_literal_address),
        cmocka_unit_test(test_a_watcher_that_is_removed_leaves_the_descriptor),
        cmocka_unit_test(test_a_unix_socket),
        cmocka_unit_test(test_every_errno_has_its_reason),
        cmocka_unit_test(test_a_refusal_that_comes_later),
        cmocka_unit_test(test_a_vsock_refusal_is_told_in_its_words),
        cmocka_unit_test(test_an_address_that_is_none),
        cmocka_unit_test(test_a_timeout),
        cmocka_unit_test(test_an_answer_out_of_the_cache),
        cmocka_unit_test(test_an_answer_that_comes_later),
        cmocka_unit_test(test_no_answer),
        cmocka_unit_test(test_the_resolver_lacks_memory),
        cmocka_unit_test(test_the_guard),
        cmocka_unit_test(test_the_guard_after_a_query),
        cmocka_unit_test(test_one_family_only),
        cmocka_unit_test(test_the_next_address_follows_a_failure_at_once),
        cmocka_unit_test(test_all_fail_and_the_last_is_told),
        cmocka_unit_test(test_a_silent_address_is_overtaken),
        cmocka_unit_test(test_an_address_that_fails_late_does_not_end_the_race),
        cmocka_unit_test(test_cancelling_while_the_name_is_asked),
        cmocka_unit_test(test_cancelling_while_connecting),
        cmocka_unit_test(test_cancelling_before_a_failure_is_told),
        cmocka_unit_test(test_cancelling_before_success_is_told),
        cmocka_unit_test(test_cancelling_inside_of_the_callback),
        cmocka_unit_test(test_hybrid),
        cmocka_unit_test(test_hybrid_failures),
        cmocka_unit_test(test_faults),
        cmocka_unit_test(test_hybrid_faults),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
