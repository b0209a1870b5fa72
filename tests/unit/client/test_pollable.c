/* The pollable style: streams, from their opening to their end, and the news of them. */
#include "client/postern_private.h"
#include "pollable.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

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
    for (size_t i = 0; i < size; i++) {
        bytes[i] = (uint8_t)(i * 7 + i / 256);
    }
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
    for (int i = 0; i < 4; i++) {
        streams[i] = open_route("source:3145728");
    }
    for (int i = 0; i < 300; i++) {
        turn();
    }
    for (int i = 0; i < 4; i++) {
        assert_int_equal(read_all(streams[i], (char *)in, size + 1), size);
        for (size_t j = 0; j < size; j++) {
            if (in[j] != (uint8_t)j) {
                fail_msg("byte %zu is %u", j, in[j]);
            }
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
        if (i % 10 == 0) {
            turn();
        }
    }
    postern_finish(stream, NULL);
    for (int i = 0; i < 50; i++) {
        turn();
    }
    assert_int_equal(read_all(stream, in, sizeof in), 3000);
    for (int i = 0; i < 3000; i++) {
        assert_int_equal(in[i], (char)i);
    }
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

/* Beginnings and ends wait for bytes to go with, or for the next turn, which is wanted at once. */
static void test_what_goes_out_together(void **state)
{
    struct postern_stream *stream;
    char text[10] = "";

    (void)state;
    connect_door();
    TURN_UNTIL(postern_timeout(door) != 0);
    stream = open_route("sink");
    assert_int_equal(postern_timeout(door), 0);
    assert_int_equal(postern_write(stream, "x", 1, 0, &err), 1);
    assert_int_not_equal(postern_timeout(door), 0);
    assert_int_equal(postern_finish(stream, &err), 0);
    assert_int_equal(postern_timeout(door), 0);
    postern_process(door);
    assert_int_not_equal(postern_timeout(door), 0);
    assert_int_equal(read_all(stream, text, sizeof text), 1);
    assert_string_equal(text, "1");
    postern_close(stream);
}

static void test_after_the_end_nothing_is_written(void **state)
{
    struct postern_stream *stream;

    (void)state;
    connect_door();
    stream = open_route("echo");
    assert_int_equal(postern_write(stream, "", 0, 0, &err), 0);
    assert_int_equal(postern_write(stream, NULL, 0, 0, &err), 0);
    assert_int_equal(postern_write(stream, NULL, 1, 0, &err), -EINVAL);
    assert_int_equal(postern_read(stream, NULL, 1, 0, &err), -EINVAL);
    assert_string_equal(err.message, "a length is given without bytes: the pointer is NULL");
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
    for (int i = 0; i < 5; i++) {
        turn();
    }
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
    TURN_A_WHILE();
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
    for (int i = 0; i < 4; i++) {
        streams[i] = open_route("echo");
    }
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

/* One that was closed has its place for as long as the other side has not said its end. */
static void test_waits_for_what_was_closed(void **state)
{
    struct postern_stream *closed, *stream;

    (void)state;
    options.max_streams = 1;
    options.open_timeout_ms = 50;
    connect_door();
    closed = open_route("stall");
    TURN_UNTIL(postern_wait_opened(closed, 0, NULL) == 0);
    assert_int_equal(postern_finish(closed, &err), 0);
    postern_close(closed);
    stream = open_route("echo");
    TURN_UNTIL(postern_wait_opened(stream, 0, &err) != -EAGAIN);
    assert_int_equal(err.status, -ECONNREFUSED);
    assert_string_equal(err.word, "open_timeout");
    assert_true(err.retryable);
    assert_non_null(strstr(err.message, "the session had no place for another stream"));
    postern_close(stream);
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
    assert_non_null(strstr(err.message, "`meta` is NULL"));
    open.size = 0;
    assert_int_equal(postern_open(door, "echo", &open, &stream, &err), -EINVAL);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
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
        TEST(test_what_goes_out_together),
        TEST(test_after_the_end_nothing_is_written),
        TEST(test_gives_a_stream_up),
        TEST(test_closing_unfinished_is_a_reset),
        TEST(test_closing_finished_sends_the_rest),
        TEST(test_closed_and_then_reset_or_refused_or_stopped),
        TEST(test_no_more_than_max_streams),
        TEST(test_waits_for_the_daemons_limit),
        TEST(test_waits_for_what_was_closed),
        TEST(test_meta),
        TEST(test_refuses_what_cannot_be_sent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
