/* A daemon for the client's tests: see server.h. */
#include "client/clock.h"
#include "fault.h"
#include "server_private.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static void wake(struct server *server)
{
    uint64_t one = 1;

    MUST(write(server->wake, &one, sizeof one) == sizeof one);
}

static struct sockaddr_un socket_address(const struct server *server, socklen_t *length)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    const char *name = server->address + strlen("unix://@");

    memcpy(to.sun_path + 1, name, strlen(name));
    *length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name));
    return to;
}

static void open_listener(struct server *server)
{
    socklen_t length;
    struct sockaddr_un at = socket_address(server, &length);

    server->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    MUST(server->listener >= 0);
    MUST(bind(server->listener, (struct sockaddr *)&at, length) == 0);
    MUST(listen(server->listener, 64) == 0);
}

static void drop(struct server_peer *peer)
{
    /* Streams that are left tell so, and give their memory back. */
    if (peer->session && !session_is_over(peer->session)) {
        session_receive_end(peer->session, clock_ms());
    }
    server_free_tasks(peer, true);
    session_free(peer->session);
    close(peer->fd);
    peer->fd = -1;
    peer->session = NULL;
    peer->closing = false;
    peer->out_at = peer->out_end = 0;
}

static void adopt(struct server *server, int fd)
{
    server->accepted++;
    if (server->rude) {
        close(fd);
        return;
    }
    for (int i = 0; i < SERVER_PEERS; i++) {
        struct server_peer *peer = &server->peers[i];
        if (peer->fd >= 0) {
            continue;
        }
        peer->fd = fd;
        peer->session = session_new(&server->config, &server_events, peer, clock_ms());
        MUST(peer->session);
        return;
    }
    MUST(false);
}

static void take(struct server *server)
{
    int fd = accept4(server->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    if (fd >= 0) {
        adopt(server, fd);
    }
}

void server_adopt(struct server *server, int fd)
{
    pthread_mutex_lock(&server->lock);
    MUST(fcntl(fd, F_SETFL, O_NONBLOCK) == 0);
    adopt(server, fd);
    pthread_mutex_unlock(&server->lock);
    wake(server);
}

#ifdef COVERAGE
extern void __gcov_dump(void);
#endif

void server_leave(bool good)
{
#ifdef COVERAGE
    __gcov_dump();
#endif
    _exit(good ? 0 : 1);
}

static void hear(struct server_peer *peer)
{
    static _Thread_local uint8_t buffer[65536];
    ssize_t n = recv(peer->fd, buffer, sizeof buffer, 0);

    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (n > 0) {
        (void)session_receive(peer->session, clock_ms(), buffer, (size_t)n);
    } else {
        drop(peer);
    }
}

/* False: the socket takes no more for now. */
static bool send_out(struct server_peer *peer)
{
    ssize_t n = send(peer->fd, peer->out + peer->out_at, peer->out_end - peer->out_at, MSG_NOSIGNAL);

    if (n >= 0) {
        peer->out_at += (size_t)n;
    } else if (errno != EAGAIN) {
        drop(peer);
    }
    return n >= 0;
}

static void speak(struct server_peer *peer)
{
    while (peer->fd >= 0 && (peer->out_at < peer->out_end || session_has_output(peer->session))) {
        if (peer->out_at == peer->out_end) {
            peer->out_at = 0;
            peer->out_end = session_send(peer->session, clock_ms(), peer->out, sizeof peer->out);
        } else if (!send_out(peer)) {
            return;
        }
    }
    if (peer->fd >= 0 && session_is_over(peer->session) && !peer->closing) {
        peer->closing = true;
        (void)shutdown(peer->fd, SHUT_WR);
    }
}

static bool has_out(const struct server_peer *peer)
{
    return peer->fd >= 0 && peer->out_at < peer->out_end;
}

static int next_timeout(const struct server *server, int wait_ms)
{
    uint64_t now = clock_ms();

    for (int i = 0; i < SERVER_PEERS; i++) {
        uint64_t next =
            server->peers[i].session ? session_next_deadline(server->peers[i].session) : SESSION_NEVER;
        int left = next <= now ? 0 : next - now < 1000 ? (int)(next - now) : 1000;
        if (next != SESSION_NEVER && (wait_ms < 0 || left < wait_ms)) {
            wait_ms = left;
        }
    }
    return wait_ms;
}

void server_turn(struct server *server, int wait_ms)
{
    struct pollfd fds[SERVER_PEERS + 2];
    uint64_t times;

    fault_spare(true);
    pthread_mutex_lock(&server->lock);
    wait_ms = next_timeout(server, wait_ms);
    for (int i = 0; i < SERVER_PEERS; i++) {
        fds[i] = (struct pollfd){.fd = server->deaf ? -1 : server->peers[i].fd,
                                 .events = POLLIN | (has_out(&server->peers[i]) ? POLLOUT : 0)};
    }
    fds[SERVER_PEERS] = (struct pollfd){.fd = server->listener, .events = POLLIN};
    fds[SERVER_PEERS + 1] = (struct pollfd){.fd = server->wake, .events = POLLIN};
    pthread_mutex_unlock(&server->lock);
    (void)poll(fds, SERVER_PEERS + 2, wait_ms);
    pthread_mutex_lock(&server->lock);
    if (fds[SERVER_PEERS + 1].revents) {
        MUST(read(server->wake, &times, sizeof times) == sizeof times);
    }
    for (int i = 0; i < SERVER_PEERS; i++) {
        struct server_peer *peer = &server->peers[i];
        if (peer->fd >= 0 && fds[i].fd == peer->fd && fds[i].revents & ~POLLOUT) {
            hear(peer);
        }
    }
    if (fds[SERVER_PEERS].revents && server->listener >= 0) {
        take(server);
    }
    for (int i = 0; i < SERVER_PEERS; i++) {
        struct server_peer *peer = &server->peers[i];
        if (peer->fd < 0 || server->deaf) {
            continue;
        }
        session_tick(peer->session, clock_ms());
        server_free_tasks(peer, false);
        speak(peer);
    }
    pthread_mutex_unlock(&server->lock);
    fault_spare(false);
}

static void *run(void *arg)
{
    struct server *server = arg;

    while (!atomic_load(&server->stopping)) {
        server_turn(server, -1);
    }
    return NULL;
}

void server_start(struct server *server)
{
    uint64_t random;

    fault_spare(true);
    memset(server, 0, sizeof *server);
    MUST(getrandom(&random, sizeof random, 0) == sizeof random);
    snprintf(server->address, sizeof server->address, "unix://@postern-test-%016llx",
             (unsigned long long)random);
    session_config_default(&server->config, SESSION_SERVER);
    server->config.max_streams = 2048;
    server->config.max_own_streams = 0;
    server->config.budget = 32u << 20;
    server->config.max_kind = CONTROL_KIND_HTTP;
    for (int i = 0; i < SERVER_PEERS; i++) {
        server->peers[i].server = server;
        server->peers[i].fd = -1;
    }
    server->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    MUST(server->wake >= 0);
    pthread_mutex_init(&server->lock, NULL);
    open_listener(server);
    fault_spare(false);
}

void server_run(struct server *server)
{
    server->threaded = true;
    MUST(pthread_create(&server->thread, NULL, run, server) == 0);
}

void server_stop(struct server *server)
{
    fault_spare(true);
    atomic_store(&server->stopping, true);
    wake(server);
    if (server->threaded) {
        pthread_join(server->thread, NULL);
    }
    server_cut(server);
    server_listen(server, false);
    close(server->wake);
    pthread_mutex_destroy(&server->lock);
    fault_spare(false);
}

void server_listen(struct server *server, bool listening)
{
    pthread_mutex_lock(&server->lock);
    if (listening && server->listener < 0) {
        open_listener(server);
    } else if (!listening && server->listener >= 0) {
        close(server->listener);
        server->listener = -1;
    }
    pthread_mutex_unlock(&server->lock);
    wake(server);
}

static void each(struct server *server, void (*visit)(struct server_peer *peer, const void *arg),
                 const void *arg)
{
    pthread_mutex_lock(&server->lock);
    for (int i = 0; i < SERVER_PEERS; i++) {
        if (server->peers[i].fd >= 0) {
            visit(&server->peers[i], arg);
        }
    }
    pthread_mutex_unlock(&server->lock);
    wake(server);
}

static void cut_one(struct server_peer *peer, const void *arg)
{
    (void)arg;
    drop(peer);
}

void server_cut(struct server *server)
{
    each(server, cut_one, NULL);
}

static void drain_one(struct server_peer *peer, const void *arg)
{
    session_drain(peer->session, *(const uint32_t *)arg);
}

void server_drain(struct server *server, uint32_t deadline_ms)
{
    each(server, drain_one, &deadline_ms);
}

static void ping_one(struct server_peer *peer, const void *arg)
{
    (void)arg;
    (void)session_ping(peer->session); /* one that is under way will do */
}

void server_ping(struct server *server)
{
    each(server, ping_one, NULL);
}

struct ending {
    enum code code;
    const char *text;
};

static void abort_one(struct server_peer *peer, const void *arg)
{
    const struct ending *ending = arg;

    session_abort(peer->session, ending->code, ending->text);
}

void server_abort(struct server *server, enum code code, const char *text)
{
    each(server, abort_one, &(struct ending){code, text});
}

void server_set_deaf(struct server *server, bool deaf)
{
    pthread_mutex_lock(&server->lock);
    server->deaf = deaf;
    pthread_mutex_unlock(&server->lock);
    wake(server);
}

unsigned server_peers(struct server *server)
{
    unsigned count = 0;

    pthread_mutex_lock(&server->lock);
    for (int i = 0; i < SERVER_PEERS; i++) {
        count += server->peers[i].fd >= 0;
    }
    pthread_mutex_unlock(&server->lock);
    return count;
}

unsigned server_figure(struct server *server, const unsigned *figure)
{
    unsigned value;

    pthread_mutex_lock(&server->lock);
    value = *figure;
    pthread_mutex_unlock(&server->lock);
    return value;
}
