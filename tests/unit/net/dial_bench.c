/* The world in which tests dial: see dial_bench.h. */
#include "dial_bench.h"

#include "fault.h"
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
#include <sys/epoll.h>
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

struct world world;

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

void answer_now(void)
{
    struct resolve_request *request = world.asked;
    assert_non_null(request);
    world.asked = NULL;
    world.cb(request, world.why, world.why == REASON_NONE ? &world.answer : NULL);
}

void add_address(const char *text)
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
    } else if (dialed != NULL && poller_move(&bench->loopback.loop.poller, dialed->watcher, &bench->watcher,
                                             ROOM_REPORTED, on_nothing) == 0) {
        bench->fd = bench->watcher.fd;
    }
    bench->dial = NULL;
}

void open_bench(struct bench *bench)
{
    memset(&world, 0, sizeof world);
    memset(bench, 0, sizeof *bench);
    world.why = REASON_NONE;
    bench->fd = bench->watcher.fd = -1;
    loopback_open(&bench->loopback);
    blackhole_open(&bench->hole);
    bench->listener = tcp_listener(100, &bench->port);
}

void drop_connection(struct bench *bench)
{
    if (bench->fd >= 0) {
        poller_remove(&bench->loopback.loop.poller, &bench->watcher);
        close(bench->fd);
    }
    bench->fd = bench->watcher.fd = -1;
}

void close_bench(struct bench *bench)
{
    drop_connection(bench);
    loopback_close(&bench->loopback);
    blackhole_close(&bench->hole);
    close(bench->listener);
}

struct dial_options options_of(const struct addr *to)
{
    return (struct dial_options){.to = to, .timeout_ms = 60000};
}

void parse(const char *text, struct addr *ret)
{
    struct error err = ERROR_INIT;
    if (addr_parse(text, ret, &err) != 0) {
        fail_msg("%s", err.text);
    }
}

struct dial *start_dial(struct bench *bench, const struct dial_options *options)
{
    bench->dial = dial_start(&bench->loopback.loop, options, on_dialed, bench);
    return bench->dial;
}

void begin_with(struct bench *bench, const struct dial_options *options)
{
    bench->calls = 0;
    uv_update_time(&bench->loopback.loop.uv);
    assert_non_null(start_dial(bench, options));
    assert_int_equal(bench->calls, 0); /* never from inside */
}

void begin(struct bench *bench, const char *to)
{
    struct addr addr;
    parse(to, &addr);
    struct dial_options options = options_of(&addr);
    begin_with(bench, &options);
    memset(&addr, 'x', sizeof addr); /* it was copied */
}

void settle(struct bench *bench)
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

void finish(struct bench *bench, enum reason why)
{
    WAIT_FOR(&bench->loopback, bench->calls > 0);
    settle(bench);
    assert_int_equal(bench->calls, 1);
    assert_reason(bench, why);
    assert_int_equal(bench->fd >= 0, why == REASON_NONE);
}

void assert_says(const struct bench *bench, const char *words)
{
    if (strstr(bench->text, words) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", bench->text, words);
    }
}

void three_addresses(struct bench *bench)
{
    open_bench(bench);
    world.result = 1;
    add_address("192.0.2.1");
    add_address("2001:db8::2");
    add_address("192.0.2.3");
}

void cancel(struct bench *bench)
{
    unsigned before = descriptors();
    dial_cancel(bench->dial);
    settle(bench);
    assert_int_equal(bench->calls, 0);
    assert_true(descriptors() <= before);
}

/* ---- hybrid ---- */

static char hybrid_path[] = "/tmp/postern-dial-XXXXXX";

int hybrid_listen(void)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    snprintf(at.sun_path, sizeof at.sun_path, "%s/vm", hybrid_path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(fd, 5), 0);
    return fd;
}

void hybrid_unlink(void)
{
    char path[128];
    snprintf(path, sizeof path, "%s/vm", hybrid_path);
    unlink(path);
}

void parse_hybrid(struct addr *ret)
{
    char text[128];
    snprintf(text, sizeof text, "hybrid://%s/vm:1024", hybrid_path);
    parse(text, ret);
}

int hybrid_folder(void **state)
{
    (void)state;
    loopback_spare_libuv();
    return mkdtemp(hybrid_path) != NULL ? 0 : -1;
}

int hybrid_folder_remove(void **state)
{
    (void)state;
    return rmdir(hybrid_path);
}
