/*
 * Streams to the log: what becomes of lines however they are cut, of long ones, of too many, of ends. The log's lines are
 * read back from a file.
 */
#include "daemon/log_stream.h"

#include "base/log.h"
#include "fault.h"
#include "framed_client.h"
#include "loopback.h"
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LINES_MAX 4000

static struct loopback loopback;
static struct config_route route;
static struct enclave_counters counters;
static struct log_stream stream;
static unsigned ended;
static uint64_t moved;
static FILE *file;
static json_t *lines[LINES_MAX]; /* what the log was told, once read_back() was called */
static unsigned count;

static void on_moved(struct log_stream *which, uint64_t bytes)
{
    assert_ptr_equal(which, &stream);
    assert_true(bytes > 0);
    moved += bytes;
}

static void on_ended(struct log_stream *which)
{
    assert_ptr_equal(which, &stream);
    ended++;
}

static const struct log_stream_ops ops = {.moved = on_moved, .ended = on_ended};

static int set_up(void **state)
{
    (void)state;
    route = (struct config_route){.name = "logs",
                                  .type = CONFIG_LOG,
                                  .level = LOG_LEVEL_INFO,
                                  .lines_per_second = 1000};
    memset(&counters, 0, sizeof counters);
    ended = count = 0;
    moved = 0;
    file = tmpfile();
    assert_non_null(file);
    assert_int_equal(log_open(fileno(file), LOG_LEVEL_DEBUG, LOG_FORMAT_JSON), 0);
    loopback_open(&loopback);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    loopback_close(&loopback);
    log_close();
    for (unsigned i = 0; i < count; i++) {
        json_decref(lines[i]);
    }
    fclose(file);
    return 0;
}

/* Every line of the log is one object, whatever was sent. */
static void read_back(void)
{
    static char text[LOG_LINE_MAX + 2];
    log_close();
    rewind(file);
    while (fgets(text, sizeof text, file) != NULL) {
        json_error_t error;
        assert_true(count < LINES_MAX);
        lines[count] = json_loads(text, JSON_ALLOW_NUL, &error);
        if (lines[count] == NULL) {
            fail_msg("%s in %s", error.text, text);
        }
        count++;
    }
}

static const char *field(unsigned line, const char *name)
{
    assert_true(line < count);
    return json_string_value(json_object_get(lines[line], name));
}

static long long number(unsigned line, const char *name)
{
    return json_integer_value(json_object_get(lines[line], name));
}

static bool continues(unsigned line)
{
    return json_is_true(json_object_get(lines[line], "continues"));
}

static struct log_stream_source source(const char *enclave)
{
    return (struct log_stream_source){.route = &route, .enclave = enclave, .counters = &counters};
}

/* Returns the other end of the socket. */
static int start(void)
{
    int fds[2];
    struct log_stream_source from = source("payroll");
    struct sock_kind_options kind = {.kind = ADDR_TCP};
    pair_of_tcp(fds);
    log_stream_start(&stream, &loopback.loop, &ops, &from, fds[1], &kind);
    return fds[0];
}

static void send_all(int fd, const char *data, size_t length)
{
    while (length > 0) {
        ssize_t n = send(fd, data, length, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n > 0) {
            data += n;
            length -= (size_t)n;
        }
        loopback_turn(&loopback);
    }
}

static void send_text(int fd, const char *text)
{
    send_all(fd, text, strlen(text));
}

static void finish(int fd)
{
    close(fd);
    WAIT_FOR(&loopback, ended == 1);
    assert_int_equal(stream.why, REASON_FINISHED);
}

static void test_lines(void **state)
{
    (void)state;
    int fd = start();
    send_text(fd, "one\ntwo\r\n\n\r\nth");
    WAIT_FOR(&loopback, moved == 14);
    assert_non_null(stream.held);
    send_text(fd, "ree\nfour");
    finish(fd);
    assert_int_equal(moved, 22);
    assert_int_equal(stream.bytes, 22);
    assert_int_equal(stream.lines, 4);
    assert_int_equal(counter_get(&counters.lines), 4);
    read_back();
    assert_int_equal(count, 4); /* an empty line says nothing */
    assert_string_equal(field(0, "event"), "enclave log");
    assert_string_equal(field(0, "level"), "info");
    assert_string_equal(field(0, "enclave"), "payroll");
    assert_string_equal(field(0, "route"), "logs");
    assert_null(field(0, "name"));
    assert_string_equal(field(0, "line"), "one");
    assert_string_equal(field(1, "line"), "two");
    assert_string_equal(field(2, "line"), "three");
    assert_string_equal(field(3, "line"), "four"); /* not ended by a newline, but by the end */
    assert_false(continues(2));
}

/* An idle stream holds nothing. */
static void test_memory_is_given_back(void **state)
{
    (void)state;
    int fd = start();
    send_text(fd, "ha");
    WAIT_FOR(&loopback, stream.held != NULL);
    send_text(fd, "lf\n");
    WAIT_FOR(&loopback, stream.held == NULL);
    finish(fd);
}

static void test_nobodys_lines_and_levels(void **state)
{
    int fds[2];
    struct log_stream_source from = source(NULL);
    struct sock_kind_options kind = {.kind = ADDR_UNIX};
    (void)state;
    route.level = LOG_LEVEL_ERROR;
    pair_of_unix(fds);
    log_stream_start(&stream, &loopback.loop, &ops, &from, fds[1], &kind);
    send_text(fds[0], "a\n");
    WAIT_FOR(&loopback, stream.lines == 1);
    log_set(LOG_LEVEL_ERROR, LOG_FORMAT_JSON);
    route.level = LOG_LEVEL_WARN;
    send_text(fds[0], "below the level\n");
    finish(fds[0]);
    assert_int_equal(stream.lines, 1);
    read_back();
    assert_int_equal(count, 1);
    assert_string_equal(field(0, "level"), "error");
    assert_null(field(0, "enclave"));
}

static void test_nothing_forges_a_line(void **state)
{
    static const char hostile[] = "a\"b\\c\x01\x1b[31m\0\xff{\"event\":\"stream ended\"}\r\xe2\x80\xae\x7f\n";
    (void)state;
    int fd = start();
    send_all(fd, hostile, sizeof hostile - 1);
    finish(fd);
    read_back();
    assert_int_equal(count, 1);
    assert_string_equal(field(0, "event"), "enclave log");
}

/* Continued in as many lines as it takes, and none of its bytes is lost. */
static void assert_whole(const char *text, size_t length)
{
    size_t at = 0;
    for (unsigned i = 0; i < count; i++) {
        const char *piece = field(i, "line");
        size_t size = strlen(piece);
        assert_true(at + size <= length);
        assert_memory_equal(piece, text + at, size);
        at += size;
        assert_int_equal(continues(i), at < length);
    }
    assert_int_equal(at, length);
}

static void long_line(size_t length, size_t piece, const char *unit)
{
    char *text = malloc(length + 8);
    assert_non_null(text);
    size_t size = 0;
    while (size + strlen(unit) <= length) {
        memcpy(text + size, unit, strlen(unit));
        size += strlen(unit);
    }
    int fd = start();
    for (size_t at = 0; at < size; at += piece) {
        uint64_t before = moved;
        size_t part = size - at < piece ? size - at : piece;
        send_all(fd, text + at, part);
        WAIT_FOR(&loopback, moved == before + part);
    }
    send_text(fd, "\n");
    finish(fd);
    read_back();
    assert_true(count > 1);
    assert_whole(text, size);
    free(text);
}

static void test_a_long_line_at_once(void **state)
{
    (void)state;
    long_line(50000, 50000, "0123456789abcdef");
}

static void test_a_long_line_in_parts(void **state)
{
    (void)state;
    long_line(5000, 7, "0123456789abcdef");
}

/* Characters of several bytes are not torn, wherever the cut falls. */
static void test_a_long_line_of_wide_characters(void **state)
{
    (void)state;
    long_line(5000, 100,
              "\xc3\xa4"
              "x\xe2\x82\xac\xf0\x9f\x9a\xaa");
}

/* What is cut off in the middle of a character, or never was one, is shown as such. */
static void test_halves_of_characters(void **state)
{
    static char text[LOG_STREAM_HELD + 1];
    (void)state;
    memset(text, 0x80, sizeof text);
    text[LOG_STREAM_HELD] = '\n';
    int fd = start();
    send_all(fd, text, LOG_STREAM_HELD);
    WAIT_FOR(&loopback, moved == LOG_STREAM_HELD);
    send_text(fd, "\n\xf0\x9f");
    finish(fd);
    read_back();
    assert_true(count >= 2);
    assert_string_equal(field(count - 1, "line"), "\xef\xbf\xbd\xef\xbf\xbd");
}

static void test_too_many_lines(void **state)
{
    unsigned written = 0;
    (void)state;
    route.lines_per_second = 2;
    int fd = start();
    for (unsigned i = 0; i < 40; i++) {
        send_text(fd, "line\n");
    }
    finish(fd);
    written = (unsigned)stream.lines;
    assert_in_range(written, 2 * LOG_STREAM_BURST, 39);
    assert_int_equal(stream.dropped, 40 - written);
    assert_int_equal(counter_get(&counters.lines_dropped), 40 - written);
    assert_int_equal(counter_get(&counters.lines_unsaid), 0);
    read_back();
    long long said = 0;
    for (unsigned i = 0; i < count; i++) {
        said += number(i, "dropped");
    }
    assert_int_equal(said, 40 - written); /* by later lines, or at the end */
}

/* All of the enclave's streams together. */
static void test_the_rate_is_the_enclaves(void **state)
{
    (void)state;
    route.lines_per_second = 1;
    int fd = start();
    for (unsigned i = 0; i < LOG_STREAM_BURST; i++) {
        send_text(fd, "line\n");
    }
    finish(fd);
    unsigned written = (unsigned)stream.lines;
    assert_int_equal(written, LOG_STREAM_BURST);
    ended = 0;
    fd = start();
    send_text(fd, "another\n");
    finish(fd);
    assert_int_equal(stream.lines + stream.dropped, 1);
    assert_int_equal(counter_get(&counters.lines_dropped), stream.dropped);
}

/* The beginning of a long line was written, its rest is dropped, and it counts as one. */
static void test_the_rest_of_a_line_is_dropped(void **state)
{
    static char text[100000];
    (void)state;
    route.lines_per_second = 1;
    memset(text, 'x', sizeof text);
    int fd = start();
    send_all(fd, text, sizeof text);
    send_text(fd, "\n");
    WAIT_FOR(&loopback, moved == sizeof text + 1);
    assert_null(stream.held);
    assert_true(stream.lines >= LOG_STREAM_BURST && stream.dropped >= 1);
    finish(fd);
}

/* Said a second later, though no other line comes. */
static void test_dropped_lines_are_told(void **state)
{
    (void)state;
    route.lines_per_second = 1;
    int fd = start();
    for (unsigned i = 0; i < 20; i++) {
        send_text(fd, "x\n");
    }
    WAIT_FOR(&loopback, stream.bytes == 40 && counter_get(&counters.lines_unsaid) == 0);
    uint64_t dropped = stream.dropped;
    assert_false(stream.over);
    finish(fd);
    read_back();
    bool told = false;
    for (unsigned i = 0; i < count; i++) {
        told |= strcmp(field(i, "event"), "enclave log lines dropped") == 0 &&
                strcmp(field(i, "level"), "warn") == 0;
    }
    assert_true(told);
    assert_true(dropped > 0);
}

static void test_a_drain_asks_for_the_end(void **state)
{
    char byte;
    (void)state;
    int fd = start();
    send_text(fd, "one\n");
    log_stream_drain(&stream);
    log_stream_drain(&stream);
    ssize_t n = -1;
    WAIT_FOR(&loopback, (n = recv(fd, &byte, 1, MSG_DONTWAIT)) == 0);
    send_text(fd, "two\nthree");
    finish(fd);
    log_stream_drain(&stream);
    read_back();
    assert_int_equal(count, 3);
}

static void test_ends(void **state)
{
    struct peer peer;
    (void)state;
    int fd = start();
    send_text(fd, "one\ntwo");
    WAIT_FOR(&loopback, moved == 7);
    peer_init(&peer, fd);
    peer_reset(&peer);
    WAIT_FOR(&loopback, ended == 1);
    assert_int_equal(stream.why, REASON_CLIENT_RESET);
    fd = start();
    /* What lies there unread is still written. */
    assert_int_equal(send(fd, "three\nfour", 10, 0), 10);
    log_stream_end(&stream, REASON_SHUTDOWN);
    log_stream_end(&stream, REASON_INTERNAL);
    WAIT_FOR(&loopback, ended == 2);
    assert_int_equal(stream.why, REASON_SHUTDOWN);
    close(fd);
    read_back();
    assert_int_equal(count, 4);
    assert_string_equal(field(1, "line"), "two");
    assert_string_equal(field(3, "line"), "four");
}

/* A caller that sends as fast as it can leaves the others their turn. */
static void test_a_turn_ends(void **state)
{
    static char text[300000];
    int fds[2];
    struct log_stream_source from = source("payroll");
    struct sock_kind_options kind = {.kind = ADDR_UNIX};
    int size = 1 << 20;
    (void)state;
    memset(text, '\n', sizeof text);
    pair_of_unix(fds);
    assert_int_equal(setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof size), 0);
    ssize_t sent = send(fds[0], text, sizeof text, MSG_DONTWAIT);
    assert_true(sent > 2 * (ssize_t)LOG_STREAM_TURN);
    log_stream_start(&stream, &loopback.loop, &ops, &from, fds[1], &kind);
    uint64_t before = 0;
    while (moved < (uint64_t)sent) {
        loopback_turn(&loopback);
        assert_true(moved - before <= 2 * LOG_STREAM_TURN);
        before = moved;
    }
    finish(fds[0]);
}

/* ---- Streams of sessions ---- */

static struct session_io io;
static struct framed_client client;
static const char *opened_with; /* the meta `name` */
static bool binary;
static unsigned sessions_ended;

static void on_open(struct session_io *which, struct channel *channel, const struct control_open *open)
{
    struct log_stream_source from = source("payroll");
    log_stream_start_channel(&stream, &loopback.loop, &ops, &from, which, channel, open);
}

static void on_session_ended(struct session_io *which, const struct session_end *end)
{
    (void)which;
    (void)end;
    sessions_ended++;
}

static const struct session_io_ops session_ops = {.open = on_open, .ended = on_session_ended};

static void start_session(void)
{
    int fds[2];
    struct session_config config;
    struct sock_kind_options kind = {.kind = ADDR_TCP};
    session_config_default(&config, SESSION_SERVER);
    sessions_ended = 0;
    pair_of_tcp(fds);
    framed_client_init(&client, fds[0], NULL);
    assert_int_equal(session_io_start(&io, &loopback.loop, &session_ops, &config, fds[1], &kind), 0);
}

#define MEET(condition) WAIT_FOR(&loopback, (framed_client_turn(&client), (condition)))

static struct framed_stream *open_named(void)
{
    struct control_open open = {.route = control_text("logs"), .meta_count = opened_with != NULL};
    struct framed_stream *one = &client.streams[client.count++];
    open.meta[0] = (struct control_meta_entry){control_text("name"), control_text(opened_with), binary};
    memset(one, 0, sizeof *one);
    one->client = &client;
    assert_int_equal(session_open(client.session, &open, one, &one->channel), 0);
    return one;
}

static void end_session(void)
{
    session_drain(client.session, 0);
    MEET(sessions_ended == 1);
    framed_client_close(&client);
}

static void test_a_stream_of_a_session(void **state)
{
    (void)state;
    opened_with = "stderr";
    binary = false;
    start_session();
    MEET(client.ready);
    struct framed_stream *one = open_named();
    one->next = 'a';
    framed_say(one, 26);
    MEET(one->opened && moved == 26);
    log_stream_drain(&stream);
    MEET(one->ended);
    framed_finish(one);
    MEET(ended == 1);
    assert_int_equal(stream.why, REASON_FINISHED);
    framed_release(one);
    end_session();
    read_back();
    assert_int_equal(count, 1);
    assert_string_equal(field(0, "name"), "stderr");
    assert_string_equal(field(0, "line"), "abcdefghijklmnopqrstuvwxyz");
}

static void test_names_that_are_none(void **state)
{
    static const char *const names[] = {NULL, "0123456789012345678901234567890123456789", "bytes"};
    (void)state;
    start_session();
    MEET(client.ready);
    for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
        opened_with = names[i];
        binary = i == 2;
        struct framed_stream *one = open_named();
        framed_finish(one);
        MEET(ended == i + 1 && one->ended);
        assert_string_equal(stream.name, i == 1 ? "01234567890123456789012345678901" : "");
        framed_release(one);
    }
    end_session();
}

static void test_a_stream_that_is_given_up(void **state)
{
    (void)state;
    opened_with = NULL;
    start_session();
    MEET(client.ready);
    struct framed_stream *one = open_named();
    one->next = 'a';
    framed_say(one, 5);
    MEET(moved == 5);
    framed_reset(one, CODE_CANCEL);
    MEET(ended == 1);
    assert_int_equal(stream.why, REASON_CLIENT_RESET);
    framed_release(one);
    one = open_named();
    MEET(one->opened);
    log_stream_end(&stream, REASON_SHUTDOWN);
    MEET(ended == 2 && one->reset);
    assert_int_equal(one->code, code_of_reason(REASON_SHUTDOWN));
    framed_release(one);
    one = open_named();
    MEET(one->opened);
    framed_client_close(&client); /* the session is lost */
    WAIT_FOR(&loopback, ended == 3 && sessions_ended == 1);
    assert_int_equal(stream.why, REASON_CLIENT_RESET);
    read_back();
    assert_string_equal(field(0, "line"), "abcde");
}

/* ---- Faults ---- */

static void lines_in_parts(void *arg)
{
    (void)arg;
    ended = 0;
    fault_spare(true);
    int fds[2];
    struct log_stream_source from = source("payroll");
    struct sock_kind_options kind = {.kind = ADDR_TCP};
    pair_of_tcp(fds);
    fault_spare(false);
    log_stream_start(&stream, &loopback.loop, &ops, &from, fds[1], &kind);
    for (unsigned i = 0; i < 5 && ended == 0; i++) {
        fault_spare(true);
        (void)send(fds[0], "half\nanother ", 13, MSG_NOSIGNAL | MSG_DONTWAIT);
        fault_spare(false);
        loopback_turn(&loopback);
        loopback_turn(&loopback);
    }
    close(fds[0]);
    WAIT_FOR(&loopback, ended == 1);
}

static void test_faults(void **state)
{
    (void)state;
    assert_true(fault_loop("log stream", FAULT_MEMORY | FAULT_READ | FAULT_EPOLL, lines_in_parts, NULL) >= 5);
    assert_true(counter_get(&counters.lines_dropped) >= 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    loopback_spare_libuv();
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        TEST(test_lines),
        TEST(test_memory_is_given_back),
        TEST(test_nobodys_lines_and_levels),
        TEST(test_nothing_forges_a_line),
        TEST(test_a_long_line_at_once),
        TEST(test_a_long_line_in_parts),
        TEST(test_a_long_line_of_wide_characters),
        TEST(test_halves_of_characters),
        TEST(test_too_many_lines),
        TEST(test_the_rate_is_the_enclaves),
        TEST(test_the_rest_of_a_line_is_dropped),
        TEST(test_dropped_lines_are_told),
        TEST(test_a_drain_asks_for_the_end),
        TEST(test_ends),
        TEST(test_a_turn_ends),
        TEST(test_a_stream_of_a_session),
        TEST(test_names_that_are_none),
        TEST(test_a_stream_that_is_given_up),
        TEST(test_faults),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
