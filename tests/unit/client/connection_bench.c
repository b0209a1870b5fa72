/* The core by itself, in tests: see connection_bench.h. */
#include "connection_bench.h"

#include "played_resolver.h"
#include <errno.h>
#include <linux/vm_sockets.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>

struct server server;
struct connection *connection;
struct connection_config config;
struct error err;

unsigned readies, downs, refusals, failures, pongs;
int down_status;
uint32_t down_code;
char down_text[512];
bool again;
size_t held;
static struct block *kept[4096];
size_t kept_count, unkept;
size_t to_send;

void (*meanwhile)(void);
unsigned skipped;

/* ---- A vsock that is a unix socket, and what it is told ---- */

int __real_socket(int family, int type, int protocol);
int __wrap_socket(int family, int type, int protocol);
int __real_connect(int fd, const struct sockaddr *to, socklen_t length);
int __wrap_connect(int fd, const struct sockaddr *to, socklen_t length);
ssize_t __real_sendmsg(int fd, const struct msghdr *message, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags);
int __real_setsockopt(int fd, int level, int name, const void *value, socklen_t size);
int __wrap_setsockopt(int fd, int level, int name, const void *value, socklen_t size);
ssize_t __real_recv(int fd, void *data, size_t size, int flags);
ssize_t __wrap_recv(int fd, void *data, size_t size, int flags);

struct played played;

int __wrap_socket(int family, int type, int protocol)
{
    if (family != AF_VSOCK) {
        return __real_socket(family, type, protocol);
    }
    played.used = true;
    return __real_socket(AF_UNIX, type, 0);
}

int __wrap_connect(int fd, const struct sockaddr *to, socklen_t length)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    const char *name = server.address + strlen("unix://@");

    if (to->sa_family != AF_VSOCK) {
        return __real_connect(fd, to, length);
    }
    memcpy(at.sun_path + 1, name, strlen(name));
    return __real_connect(fd, (struct sockaddr *)&at,
                          (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name)));
}

int __wrap_setsockopt(int fd, int level, int name, const void *value, socklen_t size)
{
    if (level != AF_VSOCK) {
        return __real_setsockopt(fd, level, name, value, size);
    }
    if (name == SO_VM_SOCKETS_BUFFER_MAX_SIZE) {
        memcpy(&played.buffer_max, value, sizeof played.buffer_max);
    }
    if (name == SO_VM_SOCKETS_BUFFER_SIZE && played.buffer_max > 0) {
        memcpy(&played.buffer, value, sizeof played.buffer);
    }
    return 0;
}

bool spared;

ssize_t __real_getrandom(void *data, size_t size, unsigned flags);
ssize_t __wrap_getrandom(void *data, size_t size, unsigned flags);

ssize_t __wrap_getrandom(void *data, size_t size, unsigned flags)
{
    if (spared || !played.predictable) {
        return __real_getrandom(data, size, flags);
    }
    errno = EAGAIN;
    return -1;
}

ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags)
{
    size_t size = 0;

    assert_true(flags & MSG_NOSIGNAL);
    if (spared) {
        return __real_sendmsg(fd, message, flags);
    }
    if (played.interrupted > 0) {
        played.interrupted--;
        errno = EINTR;
        return -1;
    }
    if (played.choked > 0) {
        played.choked--;
        errno = EAGAIN;
        return -1;
    }
    for (size_t i = 0; i < message->msg_iovlen; i++) {
        size += message->msg_iov[i].iov_len;
    }
    played.longest_send = size > played.longest_send ? size : played.longest_send;
    return __real_sendmsg(fd, message, flags);
}

ssize_t __wrap_recv(int fd, void *data, size_t size, int flags)
{
    if (!spared && played.interrupted > 0) {
        played.interrupted--;
        errno = EINTR;
        return -1;
    }
    return __real_recv(fd, data, size, flags);
}

/* ---- An application ---- */

static void on_ready(struct connection *of)
{
    assert_ptr_equal(of, connection);
    assert_ptr_equal(connection_user(of), &server);
    readies++;
}

static void on_down(struct connection *of, const struct connection_loss *loss)
{
    downs++;
    down_status = loss->status;
    down_code = loss->code;
    snprintf(down_text, sizeof down_text, "%s", loss->message);
    if (again) {
        connection_connect(of);
    }
}

static void on_pong(struct connection *of, uint64_t microseconds)
{
    (void)of;
    assert_in_range(microseconds, 0, LIMIT_MS * 1000);
    pongs++;
}

static void on_data(struct channel *channel, const uint8_t *bytes, size_t length)
{
    struct block *block = connection_block(connection);

    (void)channel;
    (void)bytes;
    held += length;
    if (block && kept_count < 4096) {
        kept[kept_count++] = block;
    } else {
        unkept += length;
    }
}

static void on_refused(struct channel *channel, const struct control_refused *refused)
{
    (void)refused;
    refusals++;
    channel_release(channel);
}

static void on_failed(struct channel *channel, uint32_t code, bool retryable)
{
    (void)code;
    (void)retryable;
    failures++;
    channel_release(channel);
}

static size_t on_fill(struct channel *channel, uint8_t *buffer, size_t size, enum channel_more *more)
{
    size_t n = to_send < size ? to_send : size;

    (void)channel;
    memset(buffer, 'x', n);
    to_send -= n;
    *more = to_send > 0 ? CHANNEL_MORE : CHANNEL_PAUSE;
    return n;
}

const struct connection_events events = {
    .channel = {.data = on_data, .refused = on_refused, .failed = on_failed, .fill = on_fill},
    .ready = on_ready,
    .down = on_down,
    .pong = on_pong,
};

int make(const char *address, const struct connection_events *told)
{
    struct addr to;

    assert_int_equal(addr_parse(address, &to, &err), 0);
    return connection_new(&to, &config, told, &server, &connection, &err);
}

void turn(void)
{
    spared = true;
    server_turn(&server, 0);
    spared = false;
    connection_process(connection, 1);
}

void start(void)
{
    assert_int_equal(make(server.address, &events), 0);
    connection_connect(connection);
    TURN_UNTIL(connection_is_ready(connection));
}

struct channel *open_route(const char *route)
{
    struct control_open open = {.route = control_text(route)};
    struct channel *channel = NULL;

    assert_int_equal(connection_open(connection, &open, NULL, &channel), 0);
    connection_flush(connection);
    return channel;
}

int setup(void **state)
{
    (void)state;
    server_start(&server);
    connection_config_default(&config);
    config.backoff_min = 1;
    config.backoff_max = 10;
    connection = NULL;
    readies = downs = refusals = failures = pongs = 0;
    again = false;
    held = kept_count = unkept = to_send = 0;
    memset(&played, 0, sizeof played);
    memset(&resolver, 0, sizeof resolver);
    meanwhile = NULL;
    skipped = 0;
    return 0;
}

int teardown(void **state)
{
    (void)state;
    while (kept_count > 0) {
        block_release(kept[--kept_count]);
    }
    connection_free(connection);
    spared = true;
    server_stop(&server);
    spared = false;
    return 0;
}
