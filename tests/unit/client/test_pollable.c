/* The pollable style: everything in one thread, turned by hand together with its server. */
#include "client/clock.h"
#include "client/postern_private.h"
#include "server.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define LIMIT_MS 20000

static struct server server;
static struct postern *door;
static struct postern_options options;
static struct postern_error err;

/* What there is to be done on both sides; at most a millisecond of waiting. */
static void turn(void)
{
    struct pollfd one = {.fd = postern_fd(door), .events = POLLIN};
    int timeout = postern_timeout(door);

    server_turn(&server, 0);
    (void)poll(&one, 1, timeout < 0 || timeout > 1 ? 1 : timeout);
    postern_process(door);
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

static void start_door(void)
{
    assert_int_equal(postern_start(server.address, &options, &door, &err), 0);
}

static void connect_door(void)
{
    start_door();
    TURN_UNTIL(postern_wait_ready(door, -1, NULL) == 0);
}

static int setup(void **state)
{
    (void)state;
    server_start(&server);
    postern_options_init(&options);
    options.backoff_min_ms = 1;
    options.backoff_max_ms = 20;
    door = NULL;
    memset(&err, 0, sizeof err);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    postern_disconnect(door, 0);
    server_stop(&server);
    return 0;
}

static struct postern_stream *open_route(const char *route)
{
    struct postern_stream *stream = NULL;

    assert_int_equal(postern_open(door, route, NULL, &stream, &err), 0);
    return stream;
}

static void send_all(struct postern_stream *stream, const void *data, size_t size)
{
    const char *at = data;
    uint64_t limit = clock_ms() + LIMIT_MS;

    while (size > 0) {
        if (clock_ms() > limit)
            fail_msg("could not send %zu bytes", size);
        ssize_t n = postern_write(stream, at, size, 0, &err);
        if (n == -EAGAIN) {
            turn();
            continue;
        }
        if (n < 0)
            fail_msg("writing: %s", err.message);
        at += n;
        size -= (size_t)n;
    }
}

/* What the function says when it no longer says -EAGAIN. */
static ssize_t read_some(struct postern_stream *stream, void *buffer, size_t size)
{
    ssize_t n;

    TURN_UNTIL((n = postern_read(stream, buffer, size, 0, &err)) != -EAGAIN);
    return n;
}

static size_t read_all(struct postern_stream *stream, char *buffer, size_t size)
{
    size_t have = 0;
    ssize_t n;

    while ((n = read_some(stream, buffer + have, size - have)) > 0)
        have += (size_t)n;
    if (n < 0)
        fail_msg("reading: %s", err.message);
    return have;
}

/* ---- Connecting ---- */

static void test_connects(void **state)
{
    (void)state;
    start_door();
    assert_int_equal(postern_wait_ready(door, 1000, &err), -EAGAIN);
    assert_true(err.retryable);
    TURN_UNTIL(postern_wait_ready(door, 0, NULL) == 0);
    TURN_UNTIL(server.build[0] != '\0');
    assert_string_equal(server.build, "libpostern 0.1.0");
    assert_int_equal(server.accepted, 1);
}

static void test_tells_its_own_build(void **state)
{
    (void)state;
    options.build = "payroll 7";
    connect_door();
    TURN_UNTIL(server.build[0] != '\0');
    assert_string_equal(server.build, "payroll 7");
}

static void test_nobody_listens(void **state)
{
    (void)state;
    server_listen(&server, false);
    start_door();
    TURN_UNTIL(postern_wait_ready(door, 0, &err) == -ENOTCONN);
    assert_non_null(strstr(err.message, "cannot connect to unix://@postern-test-"));
    assert_non_null(strstr(err.message, "posternd"));
    assert_int_equal(err.code, 0);
    assert_string_equal(err.word, "");
    assert_true(err.retryable);
}

/* Asking again is trying again. */
static void test_connects_when_somebody_listens(void **state)
{
    (void)state;
    server_listen(&server, false);
    start_door();
    TURN_UNTIL(postern_wait_ready(door, 0, NULL) == -ENOTCONN);
    server_listen(&server, true);
    TURN_UNTIL(postern_wait_ready(door, 0, NULL) == 0);
}

static void test_does_not_wait_for_the_greeting_for_ever(void **state)
{
    (void)state;
    options.connect_timeout_ms = 30;
    server.deaf = true;
    start_door();
    TURN_UNTIL(postern_wait_ready(door, 0, &err) == -ENOTCONN);
    assert_string_equal(err.word, "timeout");
    assert_non_null(strstr(err.message, "H-6"));
}

static void test_a_server_that_hangs_up(void **state)
{
    (void)state;
    server.rude = true;
    start_door();
    TURN_UNTIL(postern_wait_ready(door, 0, &err) == -ENOTCONN);
    assert_int_equal(err.code, 0x24);
    assert_string_equal(err.word, "lost");
}

static void test_refuses_bad_options(void **state)
{
    struct newer {
        struct postern_options known;
        uint32_t unknown;
    } newer;
    char longest[66];

    (void)state;
    options.flags = 2;
    assert_int_equal(postern_start(server.address, &options, &door, &err), -EINVAL);
    options.flags = 0;
    memset(longest, 'x', 65);
    longest[65] = '\0';
    options.build = longest;
    assert_int_equal(postern_start(server.address, &options, &door, &err), -EINVAL);
    options.build = "a\nb";
    assert_int_equal(postern_start(server.address, &options, &door, &err), -EINVAL);
    options.build = NULL;
    options.memory = 1000;
    assert_int_equal(postern_start(server.address, &options, &door, &err), -EINVAL);
    assert_non_null(strstr(err.message, "2 KiB"));
    options.memory = 0;
    options.backoff_min_ms = 100;
    assert_int_equal(postern_start(server.address, &options, &door, &err), -EINVAL);
    options.size = 4;
    assert_int_equal(postern_start(server.address, &options, &door, &err), -EINVAL);
    memset(&newer, 0, sizeof newer);
    postern_options_init(&newer.known);
    newer.known.size = sizeof newer;
    newer.unknown = 1;
    assert_int_equal(postern_start(server.address, &newer.known, &door, NULL), -EINVAL);
    newer.unknown = 0;
    assert_int_equal(postern_start(server.address, &newer.known, &door, &err), 0);
}

static void test_refuses_bad_addresses(void **state)
{
    (void)state;
    assert_int_equal(postern_start("tcp://[::1]", NULL, &door, &err), -EINVAL);
    assert_non_null(strstr(err.message, "port"));
    assert_int_equal(err.status, -EINVAL);
    assert_false(err.retryable);
    assert_int_equal(postern_start("vsock://payroll:7000", NULL, &door, &err), -EINVAL);
    assert_int_equal(postern_start("vsock://any:7000", NULL, &door, &err), -EINVAL);
    assert_non_null(strstr(err.message, "`parent`"));
}

static void test_takes_the_address_from_the_environment(void **state)
{
    (void)state;
    setenv("POSTERN_ADDRESS", server.address, 1);
    assert_int_equal(postern_start(NULL, &options, &door, &err), 0);
    unsetenv("POSTERN_ADDRESS");
    TURN_UNTIL(postern_wait_ready(door, 0, NULL) == 0);
}

static void test_where_it_leads_without_an_address(void **state)
{
    struct addr to;

    (void)state;
    unsetenv("POSTERN_ADDRESS");
    assert_int_equal(postern_read_address(NULL, &to, &err), 0);
    assert_int_equal(to.kind, ADDR_VSOCK);
    assert_int_equal(to.cid, 3);
    assert_int_equal(to.port, 7000);
    assert_int_equal(postern_read_address("", &to, &err), 0);
    assert_int_equal(to.cid, 3);
}

/* ---- Streams ---- */

static void test_echo(void **state)
{
    char buffer[100];
    struct postern_stream *stream;

    (void)state;
    connect_door();
    stream = open_route("echo");
    assert_int_equal(postern_wait_opened(stream, 0, &err), -EAGAIN);
    assert_int_equal(postern_write(stream, "hello", 5, 0, &err), 5);
    TURN_UNTIL(postern_wait_opened(stream, 0, NULL) == 0);
    assert_int_equal(read_some(stream, buffer, 2), 2);
    assert_int_equal(read_some(stream, buffer + 2, sizeof buffer - 2), 3);
    assert_memory_equal(buffer, "hello", 5);
    assert_int_equal(postern_read(stream, buffer, 1, 0, NULL), -EAGAIN);
    assert_int_equal(postern_finish(stream, &err), 0);
    assert_int_equal(read_some(stream, buffer, sizeof buffer), 0);
    assert_int_equal(read_some(stream, buffer, sizeof buffer), 0);
    postern_close(stream);
    TURN_UNTIL(server.finished == 1);
    assert_int_equal(server.reset, 0);
}

static void fill(uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)(i * 7 + i / 256);
}

/* More than all windows and buffers together hold, so that both directions have to wait for each other. */
static void test_megabytes_both_ways(void **state)
{
    const size_t size = 12u << 20;
    uint8_t *out = malloc(size), *in = malloc(size);
    size_t sent = 0, heard = 0;
    struct postern_stream *stream;

    (void)state;
    connect_door();
    fill(out, size);
    stream = open_route("echo");
    while (heard < size) {
        ssize_t n = sent < size ? postern_write(stream, out + sent, size - sent, 0, NULL) : 0;
        sent += n > 0 ? (size_t)n : 0;
        n = postern_read(stream, in + heard, size - heard, 0, NULL);
        heard += n > 0 ? (size_t)n : 0;
        turn();
    }
    assert_int_equal(sent, size);
    assert_memory_equal(in, out, size);
    postern_close(stream);
    free(out);
    free(in);
}

/* What is not read is kept, in blocks or copied, and comes in order. */
static void test_keeps_what_is_not_read(void **state)
{
    const size_t size = 3u << 20;
    uint8_t *in = malloc(size);
    struct postern_stream *streams[4];

    (void)state;
    options.max_streams = 4;
    options.memory = 16u << 20;
    connect_door();
    for (int i = 0; i < 4; i++)
        streams[i] = open_route("source:3145728");
    for (int i = 0; i < 300; i++)
        turn();
    for (int i = 0; i < 4; i++) {
        assert_int_equal(read_all(streams[i], (char *)in, size + 1), size);
        for (size_t j = 0; j < size; j++) {
            if (in[j] != (uint8_t)j)
                fail_msg("byte %zu is %u", j, in[j]);
        }
        postern_close(streams[i]);
    }
    free(in);
}

static void test_small_pieces(void **state)
{
    struct postern_stream *stream;
    char in[3001];

    (void)state;
    connect_door();
    stream = open_route("echo");
    for (int i = 0; i < 3000; i++) {
        char one = (char)i;
        send_all(stream, &one, 1);
        if (i % 10 == 0)
            turn();
    }
    postern_finish(stream, NULL);
    for (int i = 0; i < 50; i++)
        turn();
    assert_int_equal(read_all(stream, in, sizeof in), 3000);
    for (int i = 0; i < 3000; i++)
        assert_int_equal(in[i], (char)i);
    postern_close(stream);
}

static void test_refused(void **state)
{
    struct postern_stream *stream;
    char byte;

    (void)state;
    connect_door();
    stream = open_route("refuse");
    TURN_UNTIL(postern_wait_opened(stream, 0, &err) != -EAGAIN);
    assert_int_equal(err.status, -ECONNREFUSED);
    assert_int_equal(err.code, 0x10d);
    assert_string_equal(err.word, "connect_refused");
    assert_true(err.retryable);
    assert_string_equal(err.message, "the stream was refused: connect_refused: nobody listens");
    memset(&err, 0, sizeof err);
    assert_int_equal(postern_read(stream, &byte, 1, 0, &err), -ECONNREFUSED);
    assert_int_equal(err.code, 0x10d);
    assert_int_equal(postern_write(stream, &byte, 1, 0, &err), -ECONNREFUSED);
    assert_int_equal(postern_finish(stream, &err), -ECONNREFUSED);
    postern_close(stream);
}

/* The table of reasons has something to say where the daemon has not. */
static void test_refused_without_a_message(void **state)
{
    struct postern_stream *stream;

    (void)state;
    connect_door();
    stream = open_route("refuse-mute");
    TURN_UNTIL(postern_wait_opened(stream, 0, &err) != -EAGAIN);
    assert_string_equal(err.word, "denied_route");
    assert_false(err.retryable);
    assert_non_null(strstr(err.message, "denied_route: the enclave is not allowed"));
    postern_close(stream);
}

static void test_reset_by_the_other_side(void **state)
{
    struct postern_stream *stream;
    char buffer[10];

    (void)state;
    connect_door();
    stream = open_route("reset");
    assert_int_equal(read_some(stream, buffer, sizeof buffer), 3);
    assert_int_equal(read_some(stream, buffer, sizeof buffer), -ECONNRESET);
    assert_string_equal(err.word, "upstream_reset");
    assert_int_equal(postern_wait_opened(stream, 0, &err), 0);
    assert_int_equal(postern_write(stream, "x", 1, 0, &err), 1);
    postern_close(stream);
    TURN_UNTIL(server.reset == 1);
}

static void test_stopped_by_the_other_side(void **state)
{
    struct postern_stream *stream;

    (void)state;
    connect_door();
    stream = open_route("stop");
    TURN_UNTIL(postern_write(stream, "x", 1, 0, &err) == -EPIPE);
    assert_int_equal(err.code, 0x20);
    assert_string_equal(err.message, "the other side takes no more: cancel");
    assert_int_equal(postern_finish(stream, &err), -EPIPE);
    assert_int_equal(postern_read(stream, &(char){0}, 1, 0, &err), -EAGAIN);
    postern_close(stream);
}

static void test_no_answer(void **state)
{
    struct postern_open_options open;
    struct postern_stream *stream;

    (void)state;
    connect_door();
    postern_open_options_init(&open);
    open.timeout_ms = 20;
    assert_int_equal(postern_open(door, "silent", &open, &stream, &err), 0);
    TURN_UNTIL(postern_wait_opened(stream, 0, &err) != -EAGAIN);
    assert_int_equal(err.status, -ECONNREFUSED);
    assert_string_equal(err.word, "open_timeout");
    assert_false(err.retryable);
    postern_close(stream);
}

/* The other side takes nothing for too long. */
static void test_no_progress(void **state)
{
    static char bytes[100000];
    struct postern_stream *stream;

    (void)state;
    options.progress_timeout_ms = 30;
    connect_door();
    stream = open_route("stall");
    TURN_UNTIL(postern_write(stream, bytes, sizeof bytes, 0, &err) != -EAGAIN &&
               postern_write(stream, bytes, sizeof bytes, 0, &err) < 0 && err.status != -EAGAIN);
    assert_int_equal(err.status, -ECONNRESET);
    assert_string_equal(err.word, "no_progress");
    postern_close(stream);
}

static void test_no_daemon(void **state)
{
    struct postern_stream *stream, *patient;

    (void)state;
    server_listen(&server, false);
    options.open_timeout_ms = 50;
    start_door();
    stream = open_route("echo");
    assert_int_equal(postern_write(stream, "x", 1, 0, &err), -EAGAIN);
    TURN_UNTIL(postern_wait_opened(stream, 0, &err) != -EAGAIN);
    assert_int_equal(err.status, -ENOTCONN);
    assert_non_null(strstr(err.message, "cannot connect to unix://@postern-test-"));
    postern_close(stream);
    /* And one that is closed before there is any. */
    patient = open_route("echo");
    postern_close(patient);
}

/* No try came to an end in the time that the stream had. */
static void test_no_greeting(void **state)
{
    struct postern_stream *stream;

    (void)state;
    server.deaf = true;
    options.open_timeout_ms = 20;
    start_door();
    stream = open_route("echo");
    TURN_UNTIL(postern_wait_opened(stream, 0, &err) != -EAGAIN);
    assert_int_equal(err.status, -ECONNREFUSED);
    assert_string_equal(err.word, "open_timeout");
    assert_true(err.retryable);
    postern_close(stream);
}

static void test_opens_when_the_daemon_comes(void **state)
{
    struct postern_stream *stream;
    char byte;

    (void)state;
    server_listen(&server, false);
    start_door();
    stream = open_route("peek");
    postern_set_user(stream, &byte);
    assert_int_equal(postern_write(stream, "x", 1, 0, NULL), -EAGAIN);
    TURN_UNTIL(postern_wait_ready(door, 0, NULL) == -ENOTCONN);
    server_listen(&server, true);
    send_all(stream, "y", 1);
    assert_int_equal(read_some(stream, &byte, 1), 1);
    assert_int_equal(byte, 'y');
    assert_ptr_equal(postern_user(stream), &byte);
    postern_close(stream);
}

static void test_finished_before_it_was_opened(void **state)
{
    struct postern_stream *stream;
    char text[10] = "";

    (void)state;
    start_door();
    stream = open_route("sink");
    assert_int_equal(postern_finish(stream, &err), 0);
    assert_int_equal(postern_finish(stream, &err), -ESHUTDOWN);
    assert_int_equal(read_all(stream, text, sizeof text), 1);
    assert_string_equal(text, "0");
    postern_close(stream);
}

static void test_after_the_end_nothing_is_written(void **state)
{
    struct postern_stream *stream;

    (void)state;
    connect_door();
    stream = open_route("echo");
    assert_int_equal(postern_write(stream, "", 0, 0, &err), 0);
    assert_int_equal(postern_finish(stream, &err), 0);
    assert_int_equal(postern_write(stream, "x", 1, 0, &err), -ESHUTDOWN);
    assert_non_null(strstr(err.message, "postern_finish()"));
    assert_int_equal(postern_write(stream, "x", 0, 0, &err), -ESHUTDOWN);
    assert_int_equal(postern_read(stream, &err, 0, 0, &err), -EINVAL);
    postern_close(stream);
}

static void test_gives_a_stream_up(void **state)
{
    struct postern_stream *stream;
    char byte;

    (void)state;
    connect_door();
    stream = open_route("source:100000");
    TURN_UNTIL(postern_read(stream, &byte, 1, 0, NULL) == 1);
    postern_reset(stream, 0);
    assert_int_equal(postern_read(stream, &byte, 1, 0, &err), -ESHUTDOWN);
    assert_string_equal(err.word, "cancel");
    assert_int_equal(postern_write(stream, &byte, 1, 0, &err), -ESHUTDOWN);
    postern_reset(stream, 0x102);
    postern_close(stream);
    stream = open_route("echo");
    postern_reset(stream, 0x102);
    assert_int_equal(postern_wait_opened(stream, 0, &err), -ESHUTDOWN);
    assert_string_equal(err.word, "upstream_reset");
    postern_close(stream);
    TURN_UNTIL(server.reset == 2);
}

static void test_closing_unfinished_is_a_reset(void **state)
{
    struct postern_stream *stream;

    (void)state;
    connect_door();
    stream = open_route("echo");
    send_all(stream, "x", 1);
    postern_close(stream);
    TURN_UNTIL(server.reset == 1);
    assert_int_equal(server.finished, 0);
}

/* Its handle is gone, and still all of it comes back and is taken away. */
static void test_closing_finished_sends_the_rest(void **state)
{
    static char bytes[12000]; /* as much as comes back before any of it is read */
    struct postern_stream *stream, *other;

    (void)state;
    connect_door();
    stream = open_route("echo");
    send_all(stream, bytes, sizeof bytes);
    postern_finish(stream, NULL);
    postern_close(stream);
    TURN_UNTIL(server.finished == 1);
    /* When the answer is here before. */
    other = open_route("sink");
    postern_finish(other, NULL);
    TURN_UNTIL(server.finished == 2);
    for (int i = 0; i < 5; i++)
        turn();
    postern_close(other);
    assert_int_equal(server.reset, 0);
}

static void test_closed_and_then_reset_or_refused_or_stopped(void **state)
{
    static const char *const routes[] = {"reset", "refuse", "stop", "silent"};

    (void)state;
    connect_door();
    for (int i = 0; i < 4; i++) {
        struct postern_stream *stream = open_route(routes[i]);
        postern_finish(stream, NULL);
        postern_close(stream);
    }
    TURN_UNTIL(server.opens == 4);
    for (int i = 0; i < 10; i++)
        turn();
    server_cut(&server);
    TURN_UNTIL(postern_wait_ready(door, 0, NULL) != 0);
}

static void test_no_more_than_max_streams(void **state)
{
    struct postern_stream *a, *b, *c;

    (void)state;
    options.max_streams = 2;
    connect_door();
    a = open_route("echo");
    b = open_route("echo");
    assert_int_equal(postern_open(door, "echo", NULL, &c, &err), -EMFILE);
    postern_close(a);
    c = open_route("echo");
    TURN_UNTIL(postern_wait_opened(c, 0, NULL) == 0);
    postern_close(b);
    postern_close(c);
}

/* The daemon allows fewer: the rest wait for their turn. */
static void test_waits_for_the_daemons_limit(void **state)
{
    struct postern_stream *streams[4];

    (void)state;
    server.config.max_streams = 2;
    connect_door();
    for (int i = 0; i < 4; i++)
        streams[i] = open_route("echo");
    TURN_UNTIL(postern_wait_opened(streams[1], 0, NULL) == 0);
    assert_int_equal(postern_wait_opened(streams[2], 0, NULL), -EAGAIN);
    postern_close(streams[0]);
    TURN_UNTIL(postern_wait_opened(streams[2], 0, NULL) == 0);
    assert_int_equal(postern_wait_opened(streams[3], 0, NULL), -EAGAIN);
    postern_close(streams[1]);
    TURN_UNTIL(postern_wait_opened(streams[3], 0, NULL) == 0);
    postern_close(streams[2]);
    postern_close(streams[3]);
}

static void test_meta(void **state)
{
    const struct postern_meta meta[] = {{.key = "name", .value = "app"},
                                        {.key = "pid", .value = "17"},
                                        {.key = "raw", .value = "ab", .length = 2}};
    struct postern_open_options open;
    struct postern_stream *stream;
    char text[100] = "";

    (void)state;
    connect_door();
    postern_open_options_init(&open);
    open.meta = meta;
    open.meta_count = 3;
    open.timeout_ms = 5000;
    assert_int_equal(postern_open(door, "meta", &open, &stream, &err), 0);
    read_all(stream, text, sizeof text - 1);
    assert_string_equal(text, "pid=17\nraw=ab!\nname=app\ntimeout=5000\n");
    postern_close(stream);
}

static void test_refuses_what_cannot_be_sent(void **state)
{
    static char longest[1100];
    struct postern_meta meta[17] = {{.key = "a", .value = "x"}, {.key = "a", .value = "y"}};
    struct postern_open_options open;
    struct postern_stream *stream;

    (void)state;
    connect_door();
    memset(longest, 'x', sizeof longest - 1);
    assert_int_equal(postern_open(door, "", NULL, &stream, &err), -EINVAL);
    assert_int_equal(postern_open(door, "a\nb", NULL, &stream, &err), -EINVAL);
    assert_int_equal(postern_open(door, longest, NULL, &stream, &err), -EINVAL);
    assert_non_null(strstr(err.message, "1 to 255 bytes"));
    postern_open_options_init(&open);
    open.meta = meta;
    open.meta_count = 2;
    assert_int_equal(postern_open(door, "echo", &open, &stream, &err), -EINVAL);
    open.meta_count = 17;
    assert_int_equal(postern_open(door, "echo", &open, &stream, &err), -EINVAL);
    open.meta_count = 1;
    meta[0].value = longest;
    assert_int_equal(postern_open(door, "echo", &open, &stream, &err), -EINVAL);
    meta[0].value = NULL;
    assert_int_equal(postern_open(door, "echo", &open, &stream, &err), -EINVAL);
    open.meta = NULL;
    assert_int_equal(postern_open(door, "echo", &open, &stream, &err), -EINVAL);
    open.size = 0;
    assert_int_equal(postern_open(door, "echo", &open, &stream, &err), -EINVAL);
}

/* ---- News ---- */

static void test_news(void **state)
{
    struct postern_stream *quiet, *stream;
    unsigned events = 0;
    char byte;

    (void)state;
    connect_door();
    quiet = open_route("echo");
    stream = open_route("source:5");
    assert_null(postern_next(door, &events));
    assert_int_equal(postern_read(stream, &byte, 1, 0, NULL), -EAGAIN);
    assert_int_equal(postern_wait_opened(stream, 0, NULL), -EAGAIN);
    TURN_UNTIL(postern_wait_opened(quiet, 0, NULL) == 0);
    /* `quiet` said -EAGAIN before, and has news, too. */
    for (int i = 0; i < 10; i++)
        turn();
    for (int i = 0; i < 2; i++) {
        struct postern_stream *next = postern_next(door, &events);
        assert_true(next == stream || next == quiet);
        assert_int_equal(events, next == stream ? POSTERN_READABLE | POSTERN_OPENED : POSTERN_OPENED);
    }
    assert_null(postern_next(door, &events));
    postern_close(stream);
    postern_close(quiet);
}

static void test_news_of_room_to_write(void **state)
{
    static char bytes[100000];
    struct postern_stream *stream = NULL, *closed;
    unsigned events;
    ssize_t n;

    (void)state;
    connect_door();
    stream = open_route("echo");
    while ((n = postern_write(stream, bytes, sizeof bytes, 0, NULL)) > 0) {
    }
    assert_int_equal(n, -EAGAIN);
    assert_null(postern_next(door, &events));
    for (int i = 0; i < 20; i++)
        turn();
    assert_ptr_equal(postern_next(door, &events), stream);
    assert_int_equal(events, POSTERN_WRITABLE);
    /* One that is closed has none. */
    closed = open_route("refuse");
    assert_int_equal(postern_wait_opened(closed, 0, NULL), -EAGAIN);
    for (int i = 0; i < 10; i++)
        turn();
    postern_close(closed);
    assert_null(postern_next(door, &events));
    /* Nor one that is closed and lingers. */
    assert_int_equal(postern_write(stream, bytes, sizeof bytes, 0, NULL) > 0, true);
    while (postern_read(stream, bytes, sizeof bytes, 0, NULL) > 0) {
    }
    postern_finish(stream, NULL);
    for (int i = 0; i < 10; i++)
        turn();
    postern_close(stream);
    assert_null(postern_next(door, &events));
}

/* ---- Losing the connection ---- */

static void test_comes_back_after_a_loss(void **state)
{
    struct postern_stream *old, *new;
    char buffer[10];

    (void)state;
    connect_door();
    old = open_route("echo");
    send_all(old, "kept", 4);
    for (int i = 0; i < 10; i++)
        turn();
    server_cut(&server);
    TURN_UNTIL(postern_write(old, "x", 1, 0, &err) == -ENOTCONN);
    assert_int_equal(err.code, 0x24);
    /* What came before is not lost. */
    assert_int_equal(postern_read(old, buffer, sizeof buffer, 0, &err), 4);
    assert_int_equal(postern_read(old, buffer, sizeof buffer, 0, &err), -ENOTCONN);
    assert_string_equal(err.message, "the connection to the daemon was lost: lost");
    assert_int_equal(server.accepted, 1);
    new = open_route("echo");
    send_all(new, "hello", 5);
    assert_int_equal(read_some(new, buffer, sizeof buffer), 5);
    assert_int_equal(server.accepted, 2);
    postern_close(old);
    postern_close(new);
}

/* Its streams were over, and were told of nothing. */
static void test_is_lost_after_its_streams(void **state)
{
    struct postern_stream *read, *unread;
    char buffer[10];

    (void)state;
    connect_door();
    read = open_route("sink");
    unread = open_route("sink");
    postern_finish(read, NULL);
    postern_finish(unread, NULL);
    assert_int_equal(read_all(read, buffer, sizeof buffer), 1);
    TURN_UNTIL(server.finished == 2);
    for (int i = 0; i < 10; i++)
        turn();
    server_cut(&server);
    TURN_UNTIL(postern_wait_ready(door, 0, NULL) != 0);
    TURN_UNTIL(postern_wait_ready(door, 0, NULL) == 0);
    assert_int_equal(read_all(unread, buffer, sizeof buffer), 1);
    postern_close(read);
    postern_close(unread);
}

/* A stream that has nothing to do any more does not hold a drain up, though it was not closed. */
static void test_drains_past_what_is_over(void **state)
{
    struct postern_stream *stream, *answered;
    char buffer[10];

    (void)state;
    connect_door();
    stream = open_route("sink");
    answered = open_route("source:1");
    postern_finish(stream, NULL);
    assert_int_equal(read_all(stream, buffer, sizeof buffer), 1);
    assert_int_equal(read_all(answered, buffer, sizeof buffer), 1);
    postern_finish(answered, NULL);
    assert_int_equal(postern_drain(door, 0, &err), 0);
    TURN_UNTIL(postern_wait_ready(door, 0, &err) == -ESHUTDOWN);
    assert_int_equal(postern_read(stream, buffer, 1, 0, &err), 0);
    postern_close(stream);
    postern_close(answered);
}

static void test_is_told_why_it_was_lost(void **state)
{
    struct postern_stream *stream;

    (void)state;
    connect_door();
    stream = open_route("echo");
    TURN_UNTIL(postern_wait_opened(stream, 0, NULL) == 0);
    server_abort(&server, CODE_CALM, "too much of everything");
    TURN_UNTIL(postern_wait_ready(door, 0, &err) == -ENOTCONN);
    assert_string_equal(err.word, "calm");
    assert_non_null(strstr(err.message, "the session was ended by unix://@postern-test-"));
    assert_non_null(strstr(err.message, "too much of everything"));
    assert_int_equal(postern_read(stream, &(char){0}, 1, 0, &err), -ENOTCONN);
    postern_close(stream);
}

static void test_goes_elsewhere_when_the_daemon_drains(void **state)
{
    struct postern_stream *old, *new;
    char buffer[10];

    (void)state;
    connect_door();
    old = open_route("echo");
    send_all(old, "a", 1);
    assert_int_equal(read_some(old, buffer, 1), 1);
    server_drain(&server, 0);
    TURN_UNTIL(postern_wait_ready(door, 0, &err) != 0);
    assert_int_equal(err.code, 0x0b);
    new = open_route("echo");
    send_all(new, "b", 1);
    assert_int_equal(read_some(new, buffer, 1), 1);
    assert_int_equal(server.accepted, 2);
    send_all(old, "c", 1);
    assert_int_equal(read_some(old, buffer, 1), 1);
    assert_int_equal(buffer[0], 'c');
    assert_int_equal(server_peers(&server), 2);
    postern_finish(old, NULL);
    assert_int_equal(read_some(old, buffer, 1), 0);
    postern_close(old);
    TURN_UNTIL(server_peers(&server) == 1);
    assert_int_equal(server.lost, 0);
    postern_close(new);
}

/* A daemon that does so over and over does not get any number of connections. */
static void test_drained_sessions_are_bounded(void **state)
{
    struct postern_stream *streams[12];

    (void)state;
    connect_door();
    for (int i = 0; i < 12; i++) {
        streams[i] = open_route("echo");
        TURN_UNTIL(postern_wait_opened(streams[i], 0, NULL) == 0);
        server_drain(&server, 0);
        TURN_UNTIL(postern_wait_ready(door, 0, NULL) == -ENOTCONN);
        assert_in_range(server_peers(&server), 1, 8);
    }
    assert_int_equal(postern_read(streams[0], &(char){0}, 1, 0, &err), -ENOTCONN);
    assert_int_equal(postern_read(streams[11], &(char){0}, 1, 0, &err), -EAGAIN);
    for (int i = 0; i < 12; i++)
        postern_close(streams[i]);
}

static void test_drains(void **state)
{
    struct postern_stream *stream, *late, *queued;

    (void)state;
    server.config.max_streams = 1;
    connect_door();
    stream = open_route("echo");
    queued = open_route("echo");
    TURN_UNTIL(postern_wait_opened(stream, 0, NULL) == 0);
    assert_int_equal(postern_drain(door, 0, &err), 0);
    assert_int_equal(postern_wait_opened(queued, 0, &err), -ESHUTDOWN);
    late = open_route("echo");
    TURN_UNTIL(postern_wait_opened(late, 0, &err) != -EAGAIN);
    assert_int_equal(err.status, -ESHUTDOWN);
    send_all(stream, "x", 1);
    assert_int_equal(read_some(stream, &(char){0}, 1), 1);
    assert_int_equal(postern_wait_ready(door, 0, &err), -EAGAIN);
    postern_finish(stream, NULL);
    assert_int_equal(read_some(stream, &(char){0}, 1), 0);
    postern_close(stream);
    TURN_UNTIL(postern_wait_ready(door, 0, &err) == -ESHUTDOWN);
    TURN_UNTIL(server_peers(&server) == 0);
    assert_int_equal(server.lost, 0);
    postern_close(late);
    postern_close(queued);
}

static void test_drains_before_it_is_connected(void **state)
{
    (void)state;
    server.deaf = true;
    start_door();
    assert_int_equal(postern_drain(door, 0, &err), 0);
    TURN_UNTIL(postern_wait_ready(door, 0, &err) == -ESHUTDOWN);
}

static void test_disconnecting_gives_streams_up(void **state)
{
    struct postern_stream *open, *queued, *lingering;

    (void)state;
    connect_door();
    open = open_route("source:100000");
    lingering = open_route("silent");
    postern_finish(lingering, NULL);
    postern_close(lingering);
    TURN_UNTIL(postern_wait_opened(open, 0, NULL) == 0);
    for (int i = 0; i < 10; i++)
        turn();
    server_cut(&server);
    TURN_UNTIL(postern_wait_ready(door, 0, NULL) != 0);
    queued = open_route("echo");
    postern_disconnect(door, 1000);
    door = NULL;
    assert_int_equal(postern_wait_opened(queued, 0, &err), -ESHUTDOWN);
    assert_int_equal(postern_read(queued, &(char){0}, 1, 0, &err), -ESHUTDOWN);
    assert_int_equal(postern_read(open, &(char){0}, 1, 0, &err), -ENOTCONN);
    postern_close(open);
    postern_close(queued);
    postern_disconnect(NULL, 0);
    postern_close(NULL);
}

/* ---- Pings ---- */

static void test_ping(void **state)
{
    uint32_t us = 0;

    (void)state;
    start_door();
    assert_int_equal(postern_ping(door, 0, &us, &err), -ENOTCONN);
    TURN_UNTIL(postern_wait_ready(door, 0, NULL) == 0);
    assert_int_equal(postern_ping(door, 0, &us, &err), -EAGAIN);
    TURN_UNTIL(postern_ping(door, 0, &us, NULL) == 0);
    assert_in_range(us, 1, LIMIT_MS * 1000);
    TURN_UNTIL(postern_ping(door, 0, NULL, NULL) == 0);
    assert_int_equal(postern_ping(door, 0, &us, &err), -EAGAIN);
    server_cut(&server);
    TURN_UNTIL(postern_ping(door, 0, &us, &err) == -ENOTCONN);
    assert_int_equal(postern_ping(door, 0, &us, &err), -ENOTCONN);
    assert_string_equal(err.word, "lost");
}

static void test_a_daemon_that_hangs_is_lost(void **state)
{
    uint32_t us;

    (void)state;
    options.pong_timeout_ms = 30;
    connect_door();
    TURN_UNTIL(postern_ping(door, 0, &us, NULL) == 0);
    server_set_deaf(&server, true);
    assert_int_equal(postern_ping(door, 0, &us, NULL), -EAGAIN);
    TURN_UNTIL(postern_wait_ready(door, 0, &err) == -ENOTCONN);
    assert_string_equal(err.word, "timeout");
    assert_non_null(strstr(err.message, "K-3"));
}

/* ---- Processes ---- */

static void in_the_child(struct postern_stream *stream)
{
    struct postern_stream *other;
    unsigned events;
    bool good = postern_read(stream, &(char){0}, 1, 0, &err) == -ECHILD && err.status == -ECHILD &&
                postern_write(stream, "x", 1, 0, NULL) == -ECHILD &&
                postern_finish(stream, NULL) == -ECHILD && postern_wait_opened(stream, 0, NULL) == -ECHILD &&
                postern_open(door, "echo", NULL, &other, NULL) == -ECHILD &&
                postern_wait_ready(door, 0, NULL) == -ECHILD &&
                postern_ping(door, 0, NULL, NULL) == -ECHILD && postern_drain(door, 0, NULL) == -ECHILD &&
                postern_timeout(door) == -1 && !postern_next(door, &events);

    postern_process(door);
    postern_reset(stream, 0);
    postern_disconnect(door, 1000);
    postern_close(stream);
    server_leave(good);
}

static void test_a_child_leaves_it_alone(void **state)
{
    struct postern_stream *stream;
    int status;
    pid_t child;

    (void)state;
    connect_door();
    stream = open_route("echo");
    send_all(stream, "x", 1);
    child = fork();
    assert_true(child >= 0);
    if (child == 0)
        in_the_child(stream);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(read_some(stream, &(char){0}, 1), 1);
    send_all(stream, "y", 1);
    assert_int_equal(read_some(stream, &(char){0}, 1), 1);
    postern_close(stream);
}

static void test_versions(void **state)
{
    char version[32];

    (void)state;
    snprintf(version, sizeof version, "%d.%d.%d", POSTERN_VERSION_MAJOR, POSTERN_VERSION_MINOR,
             POSTERN_VERSION_PATCH);
    assert_string_equal(postern_version(), version);
    assert_string_equal(postern_version(), POSTERN_VERSION);
    assert_int_equal(sizeof(struct postern_error), 512);
    assert_string_equal(postern_code_word(0x20), "cancel");
    assert_string_equal(postern_code_word(0x4711), "unknown");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_connects),
        TEST(test_tells_its_own_build),
        TEST(test_nobody_listens),
        TEST(test_connects_when_somebody_listens),
        TEST(test_does_not_wait_for_the_greeting_for_ever),
        TEST(test_a_server_that_hangs_up),
        TEST(test_refuses_bad_options),
        TEST(test_refuses_bad_addresses),
        TEST(test_takes_the_address_from_the_environment),
        TEST(test_where_it_leads_without_an_address),
        TEST(test_echo),
        TEST(test_megabytes_both_ways),
        TEST(test_keeps_what_is_not_read),
        TEST(test_small_pieces),
        TEST(test_refused),
        TEST(test_refused_without_a_message),
        TEST(test_reset_by_the_other_side),
        TEST(test_stopped_by_the_other_side),
        TEST(test_no_answer),
        TEST(test_no_progress),
        TEST(test_no_daemon),
        TEST(test_no_greeting),
        TEST(test_opens_when_the_daemon_comes),
        TEST(test_finished_before_it_was_opened),
        TEST(test_after_the_end_nothing_is_written),
        TEST(test_gives_a_stream_up),
        TEST(test_closing_unfinished_is_a_reset),
        TEST(test_closing_finished_sends_the_rest),
        TEST(test_closed_and_then_reset_or_refused_or_stopped),
        TEST(test_no_more_than_max_streams),
        TEST(test_waits_for_the_daemons_limit),
        TEST(test_meta),
        TEST(test_refuses_what_cannot_be_sent),
        TEST(test_news),
        TEST(test_news_of_room_to_write),
        TEST(test_comes_back_after_a_loss),
        TEST(test_is_lost_after_its_streams),
        TEST(test_drains_past_what_is_over),
        TEST(test_is_told_why_it_was_lost),
        TEST(test_goes_elsewhere_when_the_daemon_drains),
        TEST(test_drained_sessions_are_bounded),
        TEST(test_drains),
        TEST(test_drains_before_it_is_connected),
        TEST(test_disconnecting_gives_streams_up),
        TEST(test_ping),
        TEST(test_a_daemon_that_hangs_is_lost),
        TEST(test_a_child_leaves_it_alone),
        cmocka_unit_test(test_versions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
