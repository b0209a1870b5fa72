/* The core by itself: what the command line uses, and what the library does not show. AF_VSOCK is played. */
#include "client/clock.h"
#include "client/connection.h"
#include "fault.h"
#include "loopback.h"
#include "resolver.h"
#include "server.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/vm_sockets.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#define LIMIT_MS 20000

static struct server server;
static struct connection *connection;
static struct connection_config config;
static struct error err;

static unsigned readies, downs, refusals, failures, pongs;
static int down_status;
static uint32_t down_code;
static char down_text[512];
static bool again; /* a loss is followed by another try */
static size_t held;
static struct block *kept[4096];
static size_t kept_count, unkept;
static size_t to_send;

static void (*meanwhile)(void);
static unsigned skipped; /* times before that */

/* ---- A vsock that is a unix socket, and what it is told ---- */

int __real_socket(int family, int type, int protocol);
int __wrap_socket(int family, int type, int protocol);
int __real_connect(int fd, const struct sockaddr *to, socklen_t length);
int __wrap_connect(int fd, const struct sockaddr *to, socklen_t length);
ssize_t __real_send(int fd, const void *data, size_t size, int flags);
ssize_t __wrap_send(int fd, const void *data, size_t size, int flags);
int __real_setsockopt(int fd, int level, int name, const void *value, socklen_t size);
int __wrap_setsockopt(int fd, int level, int name, const void *value, socklen_t size);
ssize_t __real_recv(int fd, void *data, size_t size, int flags);
ssize_t __wrap_recv(int fd, void *data, size_t size, int flags);

static struct {
    bool used;
    uint64_t buffer, buffer_max;
    size_t longest_send;
    unsigned interrupted; /* system calls, still to come */
    unsigned choked;      /* sends that find no room, still to come */
    bool predictable;
} played;

int __wrap_socket(int family, int type, int protocol)
{
    if (family != AF_VSOCK)
        return __real_socket(family, type, protocol);
    played.used = true;
    return __real_socket(AF_UNIX, type, 0);
}

int __wrap_connect(int fd, const struct sockaddr *to, socklen_t length)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    const char *name = server.address + strlen("unix://@");

    if (to->sa_family != AF_VSOCK)
        return __real_connect(fd, to, length);
    memcpy(at.sun_path + 1, name, strlen(name));
    return __real_connect(fd, (struct sockaddr *)&at,
                          (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name)));
}

int __wrap_setsockopt(int fd, int level, int name, const void *value, socklen_t size)
{
    if (level != AF_VSOCK)
        return __real_setsockopt(fd, level, name, value, size);
    if (name == SO_VM_SOCKETS_BUFFER_MAX_SIZE)
        memcpy(&played.buffer_max, value, sizeof played.buffer_max);
    if (name == SO_VM_SOCKETS_BUFFER_SIZE && played.buffer_max > 0)
        memcpy(&played.buffer, value, sizeof played.buffer);
    return 0;
}

static bool spared; /* the server's calls */

ssize_t __real_getrandom(void *data, size_t size, unsigned flags);
ssize_t __wrap_getrandom(void *data, size_t size, unsigned flags);

ssize_t __wrap_getrandom(void *data, size_t size, unsigned flags)
{
    if (spared || !played.predictable)
        return __real_getrandom(data, size, flags);
    errno = EAGAIN;
    return -1;
}

ssize_t __wrap_send(int fd, const void *data, size_t size, int flags)
{
    assert_true(flags & MSG_NOSIGNAL);
    if (spared)
        return __real_send(fd, data, size, flags);
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
    played.longest_send = size > played.longest_send ? size : played.longest_send;
    return __real_send(fd, data, size, flags);
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
    if (again)
        connection_connect(of);
}

static void on_pong(struct connection *of, uint64_t microseconds)
{
    (void)of;
    assert_in_range(microseconds, 0, LIMIT_MS * 1000);
    pongs++;
}

static void on_data(struct channel *channel, const uint8_t *bytes, size_t length)
{
    struct block *block = connection_block(connection_of(channel));

    (void)bytes;
    held += length;
    if (block && kept_count < 4096)
        kept[kept_count++] = block;
    else
        unkept += length;
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

static const struct connection_events events = {
    .channel = {.data = on_data, .refused = on_refused, .failed = on_failed, .fill = on_fill},
    .ready = on_ready,
    .down = on_down,
    .pong = on_pong,
};

static int make(const char *address, const struct connection_events *told)
{
    struct addr to;

    assert_int_equal(addr_parse(address, &to, &err), 0);
    return connection_new(&to, &config, told, &server, &connection, &err);
}

static void turn(void)
{
    spared = true;
    server_turn(&server, 0);
    spared = false;
    connection_process(connection, 1);
}

#define TURN_UNTIL(condition)                               \
    do {                                                    \
        uint64_t limit = clock_ms() + LIMIT_MS;             \
        while (!(condition)) {                              \
            if (clock_ms() > limit)                         \
                fail_msg("did not come true: " #condition); \
            turn();                                         \
        }                                                   \
    } while (0)

static void start(void)
{
    assert_int_equal(make(server.address, &events), 0);
    connection_connect(connection);
    TURN_UNTIL(connection_is_ready(connection));
}

static struct channel *open_route(const char *route)
{
    struct control_open open = {.route = control_text(route)};
    struct channel *channel = NULL;

    assert_int_equal(connection_open(connection, &open, NULL, &channel), 0);
    connection_flush(connection);
    return channel;
}

static int setup(void **state)
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

static int teardown(void **state)
{
    (void)state;
    while (kept_count > 0)
        block_release(kept[--kept_count]);
    connection_free(connection);
    spared = true;
    server_stop(&server);
    spared = false;
    return 0;
}

/* ---- */

static void test_refuses_a_bad_configuration(void **state)
{
    (void)state;
    config.connect_timeout = 0;
    assert_int_equal(make(server.address, &events), -EINVAL);
    config.connect_timeout = 1;
    config.backoff_min = 0;
    assert_int_equal(make(server.address, &events), -EINVAL);
    config.backoff_min = 11;
    assert_int_equal(make(server.address, &events), -EINVAL);
    assert_non_null(strstr(err.text, "backoff"));
    config.backoff_min = 1;
    config.session.budget = 1;
    assert_int_equal(make(server.address, &events), -EINVAL);
    config.session.budget = 32u << 20;
    assert_int_equal(make("vsock://any:1", &events), -EINVAL);
    assert_int_equal(make("vsock://parent:1", &events), 0);
    connection_free(NULL);
}

static void test_does_nothing_until_it_is_asked(void **state)
{
    struct control_open open = {.route = control_text("echo")};
    struct channel *channel;

    (void)state;
    assert_int_equal(make(server.address, &events), 0);
    assert_int_equal(connection_timeout(connection), -1);
    assert_false(connection_ping(connection));
    connection_wake(connection); /* nobody waits in another thread */
    for (int i = 0; i < 5; i++)
        turn();
    assert_int_equal(server.accepted, 0);
    assert_int_equal(connection_open(connection, &open, NULL, &channel), -EAGAIN);
    assert_int_equal(connection_timeout(connection), 0);
    TURN_UNTIL(readies == 1);
    connection_connect(connection); /* there is one */
    assert_in_range(connection_timeout(connection), 1, 30000);
    channel_release(open_route("echo"));
}

static void test_readable_when_there_is_something_to_do(void **state)
{
    struct pollfd one;

    (void)state;
    start();
    for (int i = 0; i < 10; i++)
        turn();
    one = (struct pollfd){.fd = connection_fd(connection), .events = POLLIN};
    assert_int_equal(poll(&one, 1, 0), 0);
    server_cut(&server);
    assert_int_equal(poll(&one, 1, LIMIT_MS), 1);
    TURN_UNTIL(downs == 1);
    assert_int_equal(down_status, -ECONNABORTED);
    assert_int_equal(down_code, CODE_LOST);
}

static void test_without_anybody_to_tell(void **state)
{
    struct connection_events none = {.channel = events.channel};

    (void)state;
    assert_int_equal(make(server.address, &none), 0);
    connection_connect(connection);
    TURN_UNTIL(connection_is_ready(connection));
    assert_true(connection_ping(connection));
    for (int i = 0; i < 10; i++)
        turn();
    server_cut(&server);
    TURN_UNTIL(!connection_is_ready(connection));
    server_listen(&server, false);
    connection_connect(connection);
    for (int i = 0; i < 30; i++)
        turn();
    assert_false(connection_is_ready(connection));
}

/* Each failure doubles the wait, up to the most. */
static void test_backs_off(void **state)
{
    uint64_t waited = 0;

    (void)state;
    config.backoff_min = 64;
    config.backoff_max = 256;
    spared = true;
    server_listen(&server, false);
    spared = false;
    assert_int_equal(make(server.address, &events), 0);
    for (unsigned i = 0; i < 40; i++) {
        unsigned before = downs;
        uint64_t most = i == 0 ? 0 : 64u << (i - 1) < 256 && i < 4 ? 64u << (i - 1) : 256;
        int timeout;

        connection_connect(connection);
        timeout = connection_timeout(connection);
        assert_in_range(timeout, most / 2 > 20 ? most / 2 - 20 : 0, most);
        waited += (uint64_t)timeout;
        if (i > 4)
            break;
        TURN_UNTIL(downs == before + 1);
    }
    assert_true(waited > 0);
}

/* A full socket waits for room; what interrupts is tried again. */
static void test_goes_on_where_it_was_stopped(void **state)
{
    struct channel *channel;

    (void)state;
    start();
    channel = open_route("echo");
    to_send = 10000;
    channel_ready(channel);
    played.interrupted = 3;
    connection_flush(connection);
    played.choked = 1;
    to_send += 1000;
    channel_ready(channel);
    connection_flush(connection);
    connection_flush(connection); /* the socket is still full, as far as it knows */
    played.interrupted = 1;
    TURN_UNTIL(held == 11000);
    channel_release(channel);
}

static void test_vsock(void **state)
{
    struct channel *channel;

    (void)state;
    assert_int_equal(make("vsock://parent:7000", &events), 0);
    connection_connect(connection);
    TURN_UNTIL(connection_is_ready(connection));
    assert_true(played.used);
    assert_int_equal(played.buffer, 1 << 20);
    assert_int_equal(played.buffer_max, 1 << 20);
    channel = open_route("sink");
    for (int i = 0; i < 100; i++)
        turn();
    to_send = 1000000;
    channel_ready(channel);
    TURN_UNTIL(to_send == 0);
    assert_in_range(played.longest_send, 16384, 31744);
    channel_release(channel);
}

/* A few bytes that keep a block each: no more blocks than the budget has room for, and then it is copies. */
static void test_blocks_that_are_kept(void **state)
{
    struct channel *channels[40];

    (void)state;
    config.session.max_own_streams = 40;
    config.session.budget = 1u << 20;
    start();
    assert_null(connection_block(connection)); /* nothing is being delivered */
    for (unsigned i = 0; i < 40; i++) {
        channels[i] = open_route("source:10");
        TURN_UNTIL(held == 10 * (i + 1));
    }
    assert_in_range(kept_count, 14, 16);
    assert_int_equal(unkept, 10 * (40 - kept_count));
    for (int i = 0; i < 40; i++)
        channel_release(channels[i]);
}

static void test_without_memory_for_blocks(void **state)
{
    struct channel *channel;

    (void)state;
    start();
    channel = open_route("source:30000");
    fault_arm(FAULT_MEMORY | FAULT_STICKY, 1);
    TURN_UNTIL(held >= 16384);
    fault_disarm();
    assert_int_equal(kept_count, 0);
    assert_int_equal(unkept, held);
    channel_release(channel);
}

static void test_refused_and_failed(void **state)
{
    (void)state;
    start();
    (void)open_route("refuse");
    (void)open_route("silent");
    TURN_UNTIL(refusals == 1);
    again = true;
    server_cut(&server);
    TURN_UNTIL(failures == 1 && readies == 2);
    assert_int_equal(downs, 1);
}

/* A session that has used up all its numbers is replaced; here it is one that was ended from within. */
static void test_a_session_that_opens_no_more(void **state)
{
    struct control_open open = {.route = control_text("echo")};
    struct channel *first, *second;

    (void)state;
    start();
    first = open_route("echo");
    session_drain(channel_session(first), 0);
    assert_int_equal(connection_open(connection, &open, NULL, &second), -EAGAIN);
    TURN_UNTIL(readies == 2);
    second = open_route("echo");
    assert_ptr_not_equal(channel_session(first), channel_session(second));
    assert_int_equal(server_peers(&server), 2);
    channel_release(first);
    TURN_UNTIL(server_peers(&server) == 1);
    assert_int_equal(downs, 0);
    connection_drain(connection, 1000);
    assert_int_equal(connection_open(connection, &open, NULL, &first), -ESHUTDOWN);
    connection_connect(connection);
    assert_false(connection_is_over(connection));
    channel_release(second);
    TURN_UNTIL(connection_is_over(connection));
    assert_int_equal(connection_timeout(connection), -1);
}

/* The daemon reads nothing: the goodbye cannot be sent, and is given up. */
static void test_a_daemon_that_hears_no_goodbye(void **state)
{
    struct channel *channel;

    (void)state;
    start();
    channel = open_route("stall");
    for (int i = 0; i < 10; i++)
        turn();
    server_set_deaf(&server, true);
    played.choked = 1000000;
    to_send = 10;
    channel_ready(channel);
    connection_flush(connection);
    session_abort(channel_session(channel), CODE_CANCEL, "enough");
    TURN_UNTIL(downs == 1);
    connection_drain(connection, 1);
    TURN_UNTIL(connection_is_over(connection));
}

/* ---- Attempts that take a while ---- */

static int take_one(int listener)
{
    int fd;

    TURN_UNTIL((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0);
    return fd;
}

/* The first address does not answer. */
static void test_by_name(void **state)
{
    int listener;

    (void)state;
    resolver.ports[0] = refusing_port();
    listener = tcp_listener(4, &resolver.ports[1]);
    fcntl(listener, F_SETFL, O_NONBLOCK);
    assert_int_equal(make("tcp://parent.example:7000", &events), 0);
    connection_connect(connection);
    server_adopt(&server, take_one(listener));
    TURN_UNTIL(connection_is_ready(connection));
    assert_int_equal(resolver.freed, 1);
    close(listener);
}

static void test_without_a_way_to_wait_for_an_answer(void **state)
{
    struct blackhole hole;
    char text[64];

    (void)state;
    blackhole_open(&hole);
    snprintf(text, sizeof text, "tcp://127.0.0.1:%u", hole.port);
    assert_int_equal(make(text, &events), 0);
    connection_connect(connection);
    fault_arm(FAULT_EPOLL, 1);
    turn();
    fault_disarm();
    assert_int_equal(downs, 1);
    assert_int_equal(down_status, -ENOMEM);
    blackhole_close(&hole);
}

static void test_nobody_answers(void **state)
{
    struct blackhole hole;
    char text[64];

    (void)state;
    blackhole_open(&hole);
    config.connect_timeout = 30;
    snprintf(text, sizeof text, "tcp://127.0.0.1:%u", hole.port);
    assert_int_equal(make(text, &events), 0);
    connection_connect(connection);
    TURN_UNTIL(downs == 1);
    assert_int_equal(down_status, -ETIMEDOUT);
    assert_non_null(strstr(down_text, "no answer within 30 ms"));
    blackhole_close(&hole);
}

static void test_drained_while_nobody_answers(void **state)
{
    struct blackhole hole;
    char text[64];

    (void)state;
    blackhole_open(&hole);
    snprintf(text, sizeof text, "tcp://127.0.0.1:%u", hole.port);
    assert_int_equal(make(text, &events), 0);
    connection_connect(connection);
    turn();
    connection_drain(connection, 0);
    TURN_UNTIL(connection_is_over(connection));
    assert_int_equal(downs, 0);
    blackhole_close(&hole);
}

/* ---- Several threads, played by one: what happens while the lock is let go ---- */

static void unlocked(void *user)
{
    void (*now)(void) = meanwhile;

    assert_ptr_equal(user, &server);
    if (!now || skipped-- > 0)
        return;
    meanwhile = NULL;
    now();
}

static void locked(void *user)
{
    assert_ptr_equal(user, &server);
}

static void start_locked(void)
{
    config.lock = locked;
    config.unlock = unlocked;
    start();
}

static void lose_it(void)
{
    spared = true;
    server_cut(&server);
    spared = false;
    while (downs == 0)
        connection_process(connection, 1);
}

/* The other thread finds the connection lost while this one sends: descriptor and buffer stay until it is done. */
static void test_lost_while_it_is_sent_on(void **state)
{
    struct channel *channel;

    (void)state;
    start_locked();
    channel = open_route("stall");
    for (int i = 0; i < 10; i++)
        turn();
    to_send = 10;
    channel_ready(channel);
    meanwhile = lose_it;
    connection_flush(connection);
    assert_int_equal(downs, 1);
    assert_int_equal(failures, 1);
    connection_connect(connection);
    TURN_UNTIL(connection_is_ready(connection));
}

static struct channel *second;

static void send_more(void)
{
    to_send += 10;
    channel_ready(second);
    connection_flush(connection); /* leaves it to the one who sends */
    assert_int_equal(to_send, 10);
}

static void test_one_sends_for_all(void **state)
{
    struct channel *first;

    (void)state;
    start_locked();
    first = open_route("echo");
    second = open_route("echo");
    for (int i = 0; i < 10; i++)
        turn();
    to_send = 5;
    channel_ready(first);
    meanwhile = send_more;
    connection_flush(connection);
    assert_int_equal(to_send, 0);
    TURN_UNTIL(held == 15);
    channel_release(first);
    channel_release(second);
}

static void give_it_up(void)
{
    connection_drain(connection, 0);
}

static void test_drained_while_it_connects(void **state)
{
    (void)state;
    config.lock = locked;
    config.unlock = unlocked;
    assert_int_equal(make(server.address, &events), 0);
    connection_connect(connection);
    meanwhile = give_it_up;
    skipped = 1; /* first it waits, then it connects */
    connection_process(connection, 0);
    assert_null(meanwhile);
    TURN_UNTIL(connection_is_over(connection));
    assert_int_equal(downs, 0);
}

/* Whether the socket has room again could not be asked for: better lost than stuck. */
static void test_without_a_way_to_wait_for_room(void **state)
{
    struct channel *channel;

    (void)state;
    start();
    channel = open_route("echo");
    for (int i = 0; i < 10; i++)
        turn();
    to_send = 10;
    channel_ready(channel);
    played.choked = 1;
    fault_arm(FAULT_EPOLL, 1);
    connection_flush(connection);
    assert_int_equal(fault_disarm(), 1);
    TURN_UNTIL(downs == 1);
    assert_int_equal(down_code, CODE_LOST);
}

/* It can neither be written nor shut down, and says nothing: it is not waited for. */
static void test_a_socket_that_is_stuck(void **state)
{
    struct channel *channel;

    (void)state;
    start();
    channel = open_route("stall");
    for (int i = 0; i < 10; i++)
        turn();
    to_send = 10;
    channel_ready(channel);
    fault_arm(FAULT_WRITE | FAULT_STICKY, 1);
    connection_flush(connection);
    TURN_UNTIL(downs == 1);
    fault_disarm();
    assert_int_equal(failures, 1);
    assert_int_equal(down_code, CODE_LOST);
}

/* Early in the life of a machine. */
static void test_without_randomness(void **state)
{
    (void)state;
    played.predictable = true;
    start();
    server_cut(&server);
    TURN_UNTIL(downs == 1);
    connection_connect(connection);
    TURN_UNTIL(readies == 2);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_refuses_a_bad_configuration),
        TEST(test_does_nothing_until_it_is_asked),
        TEST(test_readable_when_there_is_something_to_do),
        TEST(test_without_anybody_to_tell),
        TEST(test_backs_off),
        TEST(test_goes_on_where_it_was_stopped),
        TEST(test_vsock),
        TEST(test_blocks_that_are_kept),
        TEST(test_without_memory_for_blocks),
        TEST(test_refused_and_failed),
        TEST(test_a_session_that_opens_no_more),
        TEST(test_a_daemon_that_hears_no_goodbye),
        TEST(test_by_name),
        TEST(test_without_a_way_to_wait_for_an_answer),
        TEST(test_nobody_answers),
        TEST(test_drained_while_nobody_answers),
        TEST(test_lost_while_it_is_sent_on),
        TEST(test_one_sends_for_all),
        TEST(test_drained_while_it_connects),
        TEST(test_without_a_way_to_wait_for_room),
        TEST(test_a_socket_that_is_stuck),
        TEST(test_without_randomness),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
