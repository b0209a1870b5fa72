/* The daemon's parts without the daemon: see daemon_bench.h. */
#include "daemon_bench.h"

#include "base/log.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Connections that the upstream holds at once, and its listener. */
#define UPSTREAM_MAX 256

struct config *daemon_config(const char *format, ...)
{
    char text[8192];
    struct config *config = NULL;
    struct diags diags;
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    assert_in_range(length, 1, sizeof text - 1);
    diags_init(&diags, "test.yaml");
    if (config_parse("test.yaml", text, (size_t)length, &config, &diags) != 0) {
        struct text said = TEXT_INIT;
        diags_format(&diags, &said);
        fail_msg("%s", text_string(&said));
    }
    diags_release(&diags);
    return config;
}

struct rules *daemon_rules(struct counters *counters, struct config *config)
{
    struct rules *rules = rules_new(config, counters);
    assert_non_null(rules);
    return rules;
}

static int log_fd = -1;

void daemon_log_open(void)
{
    log_fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
    assert_true(log_fd >= 0);
    assert_int_equal(log_open(log_fd, LOG_LEVEL_DEBUG, LOG_FORMAT_JSON), 0);
}

void daemon_log_close(void)
{
    log_close();
    close(log_fd);
}

int door_socket(uint16_t *ret_port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(fd, 1000), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &size), 0);
    *ret_port = ntohs(at.sin_port);
    return fd;
}

uint16_t quiet_port(void)
{
    static unsigned next;
    for (unsigned tries = 0; tries < 20000; tries++) {
        unsigned port = 10000 + ((unsigned)getpid() * 31 + next++) % 20000;
        struct sockaddr_in at = {.sin_family = AF_INET,
                                 .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                                 .sin_port = htons((uint16_t)port)};
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        int rv = bind(fd, (struct sockaddr *)&at, sizeof at);
        close(fd);
        if (rv == 0) {
            return (uint16_t)port;
        }
    }
    fail_msg("no port is free");
    return 0;
}

/* ---- Upstream ---- */

/* Whether it is done with the connection. */
static bool answer(struct upstream *upstream, int fd)
{
    char data[4];
    ssize_t n = recv(fd, data, sizeof data, MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN) {
        return false;
    }
    if (n == sizeof data && memcmp(data, "ping", 4) == 0 && send(fd, "pong", 4, MSG_NOSIGNAL) == 4) {
        atomic_fetch_add(&upstream->answered, 1);
    }
    return true;
}

static void serve(void *data)
{
    struct upstream *upstream = data;
    struct pollfd wait[UPSTREAM_MAX] = {{.fd = upstream->listener, .events = POLLIN}};
    nfds_t count = 1;
    while (!atomic_load(&upstream->stop)) {
        wait[0].events = count < UPSTREAM_MAX ? POLLIN : 0;
        (void)poll(wait, count, 10);
        for (nfds_t i = 1; i < count; i++) {
            if (wait[i].revents != 0 && answer(upstream, wait[i].fd)) {
                close(wait[i].fd);
                wait[i--] = wait[--count];
            }
        }
        int fd = (wait[0].revents & POLLIN) != 0 ? accept4(upstream->listener, NULL, NULL, SOCK_CLOEXEC) : -1;
        if (fd >= 0) {
            wait[count++] = (struct pollfd){.fd = fd, .events = POLLIN};
        }
    }
    while (count > 1) {
        close(wait[--count].fd);
    }
}

void upstream_start(struct upstream *upstream)
{
    memset(upstream, 0, sizeof *upstream);
    upstream->listener = door_socket(&upstream->port);
    assert_int_equal(uv_thread_create(&upstream->thread, serve, upstream), 0);
}

void upstream_stop(struct upstream *upstream)
{
    atomic_store(&upstream->stop, true);
    uv_thread_join(&upstream->thread);
    close(upstream->listener);
}

/* ---- Clients ---- */

static bool exchange(int fd)
{
    char data[5];
    if (send(fd, "ping", 4, MSG_NOSIGNAL) != 4) {
        return false;
    }
    return recv(fd, data, sizeof data, MSG_WAITALL) == 4 && memcmp(data, "pong", 4) == 0;
}

bool ping(uint16_t port)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                             .sin_port = htons(port)};
    struct timeval limit = {.tv_sec = PATIENCE_MS / 1000};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    bool answered = connect(fd, (struct sockaddr *)&to, sizeof to) == 0 && exchange(fd);
    close(fd);
    return answered;
}

/* ---- Counters ---- */

uint64_t ended_of(const struct route_counters *route)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < REASON_COUNT; i++) {
        sum += counter_get(&route->ended[i]);
    }
    return sum;
}

void assert_no_streams(const struct counters *counters)
{
    assert_int_equal(counter_get(&counters->active), 0);
    assert_int_equal(counter_get(&counters->sessions), 0);
    for (const struct route_counters *route = counters->routes; route != NULL; route = route->next) {
        assert_int_equal(counter_get(&route->active), 0);
    }
    for (const struct enclave_counters *enclave = counters->enclaves; enclave != NULL;
         enclave = enclave->next) {
        assert_int_equal(counter_get(&enclave->active), 0);
        assert_int_equal(counter_get(&enclave->sessions_active), 0);
    }
}
