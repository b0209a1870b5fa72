/* The pollable style: what postern_next() tells, and when it is worth asking. */
#include "pollable.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

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
    TURN_A_WHILE();
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
    for (int i = 0; i < 20; i++) {
        turn();
    }
    assert_ptr_equal(postern_next(door, &events), stream);
    assert_int_equal(events, POSTERN_WRITABLE);
    /* One that is closed has none. */
    closed = open_route("refuse");
    assert_int_equal(postern_wait_opened(closed, 0, NULL), -EAGAIN);
    TURN_A_WHILE();
    postern_close(closed);
    assert_null(postern_next(door, &events));
    /* Nor one that is closed and lingers. */
    assert_int_equal(postern_write(stream, bytes, sizeof bytes, 0, NULL) > 0, true);
    while (postern_read(stream, bytes, sizeof bytes, 0, NULL) > 0) {
    }
    postern_finish(stream, NULL);
    TURN_A_WHILE();
    postern_close(stream);
    assert_null(postern_next(door, &events));
}

/* Nothing becomes readable for what the program's own call brought about. */
static void test_news_of_the_programs_own_making(void **state)
{
    struct postern_stream *stream;
    unsigned events;

    (void)state;
    server_listen(&server, false);
    options.backoff_min_ms = options.backoff_max_ms = 10000;
    start_door();
    stream = open_route("echo");
    assert_int_equal(postern_wait_opened(stream, 0, NULL), -EAGAIN);
    TURN_UNTIL(postern_timeout(door) > 1000);
    assert_int_equal(postern_drain(door, 0, &err), 0);
    assert_int_equal(postern_timeout(door), 0);
    assert_ptr_equal(postern_next(door, &events), stream);
    assert_int_equal(events, POSTERN_OPENED);
    assert_int_not_equal(postern_timeout(door), 0);
    postern_close(stream);
}

/* A program may well do without postern_next(), and must not turn on the spot for that. */
static void test_news_that_nobody_asks_for(void **state)
{
    struct postern_stream *stream;

    (void)state;
    connect_door();
    stream = open_route("echo");
    assert_int_equal(postern_read(stream, &(char){0}, 1, 0, NULL), -EAGAIN);
    postern_reset(stream, 0);
    assert_int_equal(postern_timeout(door), 0);
    postern_process(door);
    assert_int_not_equal(postern_timeout(door), 0);
    postern_close(stream);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_news),
        TEST(test_news_of_room_to_write),
        TEST(test_news_of_the_programs_own_making),
        TEST(test_news_that_nobody_asks_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
