/* What a stream to the log makes of lines: however they are cut, long ones, too many, and what would forge one. */
#include "base/log.h"
#include "log_stream_bench.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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

/* Streams that come and go do not buy a line each: what is not told then is left for the next. */
static void test_drops_of_many_streams(void **state)
{
    unsigned told = 0;
    long long said = 0;
    (void)state;
    route.lines_per_second = 1;
    for (unsigned i = 0; i < 200; i++) {
        ended = 0;
        int fd = start();
        send_text(fd, "a\nb\nc\nd\ne\nf\ng\nh\n");
        finish(fd);
    }
    read_back();
    for (unsigned i = 0; i < count; i++) {
        told += strcmp(field(i, "event"), "enclave log lines dropped") == 0;
        said += number(i, "dropped");
    }
    assert_true(told >= 1 && told < 100);
    assert_int_equal((uint64_t)said + counter_get(&counters.lines_unsaid),
                     counter_get(&counters.lines_dropped));
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
        TEST(test_drops_of_many_streams),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
