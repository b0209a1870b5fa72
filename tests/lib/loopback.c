/* A loop turned by hand, and the other ends of sockets: see loopback.h. */
#include "loopback.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Long enough for a machine that is busy with other things, under a sanitizer. */
#define LIMIT_MS 60000

/* In programs without faults it is not there. */
extern void fault_spare(bool spare) __attribute__((weak));

static void spare(bool on)
{
    if (fault_spare != NULL) {
        fault_spare(on);
    }
}

/* ---- The loop ---- */

static void *realloc_spared(void *old, size_t size)
{
    spare(true);
    void *memory = realloc(old, size);
    spare(false);
    return memory;
}

void loopback_spare_libuv(void)
{
    assert_int_equal(uv_replace_allocator(malloc, realloc_spared, calloc, free), 0);
}

static void on_tick(uv_timer_t *timer)
{
    (void)timer;
}

void loopback_open(struct loopback *bench)
{
    struct error err = ERROR_INIT;
    struct resolver_options dns = {
        .servers = "127.0.0.1:9",
        .timeout_ms = 1000,
        .min_ttl_ms = 1000,
        .max_ttl_ms = 1000,
        .cache_size = 16,
        .resolv_conf = "/dev/null",
    };
    if (loop_init(&bench->loop, &dns, &err) != 0) {
        fail_msg("%s", err.text);
    }
    assert_int_equal(uv_timer_init(&bench->loop.uv, &bench->tick), 0);
    uv_timer_start(&bench->tick, on_tick, 1, 1);
}

static void count_open(uv_handle_t *handle, void *data)
{
    *(unsigned *)data += !uv_is_closing(handle) && uv_is_active(handle);
}

void loopback_close(struct loopback *bench)
{
    unsigned open = 0;
    uv_close((uv_handle_t *)&bench->tick, NULL);
    for (int i = 0; i < 3; i++) {
        (void)uv_run(&bench->loop.uv, UV_RUN_NOWAIT);
    }
    uv_walk(&bench->loop.uv, count_open, &open);
    assert_in_range(open, 0, 3); /* the poller's, and the resolver's two */
    loop_close(&bench->loop);
}

void loopback_turn(struct loopback *bench)
{
    (void)uv_run(&bench->loop.uv, UV_RUN_ONCE);
}

static uint64_t now_ms(void)
{
    return uv_hrtime() / 1000000;
}

void loopback_pass(struct loopback *bench, unsigned ms)
{
    uint64_t end = now_ms() + ms;
    while (now_ms() < end) {
        loopback_turn(bench);
    }
}

uint64_t loopback_limit(void)
{
    return now_ms() + LIMIT_MS;
}

void loopback_check(uint64_t limit, const char *condition, const char *file, int line)
{
    if (now_ms() > limit) {
        fail_msg("%s:%d: waited in vain for: %s", file, line, condition);
    }
}

/* ---- Peers ---- */

void peer_init(struct peer *peer, int fd)
{
    memset(peer, 0, sizeof *peer);
    peer->fd = fd;
    spare(true);
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    spare(false);
}

static void check_pattern(struct peer *peer, const unsigned char *data, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (data[i] != peer->wanted++) {
            fail_msg("byte %zu is %u, and should be %u", peer->heard + i, data[i],
                     (unsigned char)(peer->wanted - 1));
        }
    }
}

const struct peer *peer_hear(struct peer *peer)
{
    static unsigned char data[65536];
    ssize_t n = 1;
    spare(true);
    while (n > 0 && !peer->ended && peer->error == 0) {
        n = recv(peer->fd, data, sizeof data, 0);
        if (n > 0) {
            check_pattern(peer, data, (size_t)n);
            peer->heard += (size_t)n;
        } else if (n == 0) {
            peer->ended = true;
        } else if (errno != EAGAIN) {
            peer->error = -errno;
        }
    }
    spare(false);
    return peer;
}

size_t peer_say(struct peer *peer, size_t size)
{
    unsigned char data[4096];
    size_t done = 0;
    spare(true);
    while (done < size) {
        size_t piece = size - done < sizeof data ? size - done : sizeof data;
        for (size_t i = 0; i < piece; i++) {
            data[i] = (unsigned char)(peer->next + i);
        }
        ssize_t n = send(peer->fd, data, piece, MSG_NOSIGNAL);
        if (n < 0) {
            /* Told once: a read after it would find an end. */
            peer->error = errno == ECONNRESET ? -ECONNRESET : peer->error;
            break;
        }
        peer->next = (unsigned char)(peer->next + n);
        done += (size_t)n;
    }
    peer->sent += done;
    spare(false);
    return done;
}

size_t peer_fill(struct peer *peer)
{
    size_t total = 0, n;
    while ((n = peer_say(peer, 65536)) > 0) {
        total += n;
    }
    return total;
}

void peer_finish(struct peer *peer)
{
    spare(true);
    assert_int_equal(shutdown(peer->fd, SHUT_WR), 0);
    spare(false);
}

void peer_close(struct peer *peer)
{
    if (peer->fd >= 0) {
        close(peer->fd);
    }
    peer->fd = -1;
}

void peer_reset(struct peer *peer)
{
    struct linger cut = {.l_onoff = 1, .l_linger = 0};
    spare(true);
    assert_int_equal(setsockopt(peer->fd, SOL_SOCKET, SO_LINGER, &cut, sizeof cut), 0);
    spare(false);
    peer_close(peer);
}

/* ---- Sockets ---- */

void pair_of_unix(int fds[2])
{
    spare(true);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    spare(false);
}

int tcp_listener(int backlog, uint16_t *ret_port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    spare(true);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    if (backlog >= 0) {
        assert_int_equal(listen(fd, backlog), 0);
    }
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &size), 0);
    spare(false);
    *ret_port = ntohs(at.sin_port);
    return fd;
}

static int connect_to(uint16_t port, int flags)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                             .sin_port = htons(port)};
    spare(true);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
    assert_true(fd >= 0);
    int rv = connect(fd, (struct sockaddr *)&to, sizeof to);
    assert_true(rv == 0 || errno == EINPROGRESS);
    spare(false);
    return fd;
}

int tcp_connect(uint16_t port)
{
    int fd = connect_to(port, 0);
    spare(true);
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    spare(false);
    return fd;
}

void pair_of_tcp(int fds[2])
{
    uint16_t port;
    int listener = tcp_listener(1, &port);
    fds[0] = tcp_connect(port);
    spare(true);
    fds[1] = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    spare(false);
    assert_true(fds[1] >= 0);
    close(listener);
}

/* The accept queue of a backlog of 0 holds one connection; the SYNs after it are dropped. */
void blackhole_open(struct blackhole *hole)
{
    hole->listener = tcp_listener(0, &hole->port);
    for (size_t i = 0; i < 4; i++) {
        hole->filler[i] = connect_to(hole->port, SOCK_NONBLOCK);
    }
    struct pollfd queue = {.fd = hole->listener, .events = POLLIN};
    assert_int_equal(poll(&queue, 1, -1),
                     1); /* there is room for one, and it is there: nobody is heard any more */
}

void blackhole_close(struct blackhole *hole)
{
    close(hole->listener);
    for (size_t i = 0; i < 4; i++) {
        close(hole->filler[i]);
    }
}

uint16_t refusing_port(void)
{
    static int held = -1; /* bound, not listening, and kept so that nobody else gets the port */
    static uint16_t port;
    if (held < 0) {
        held = tcp_listener(-1, &port);
    }
    return port;
}

int accept_one(struct loopback *bench, int listener)
{
    int fd = -1;
    uint64_t limit = loopback_limit();
    while (fd < 0) {
        spare(true);
        fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        spare(false);
        if (fd < 0) {
            loopback_check(limit, "a connection", __FILE__, __LINE__);
            loopback_turn(bench);
        }
    }
    return fd;
}

unsigned descriptors(void)
{
    unsigned count = 0;
    DIR *dir = opendir("/proc/self/fd");
    assert_non_null(dir);
    while (readdir(dir) != NULL) {
        count++;
    }
    closedir(dir);
    return count;
}
