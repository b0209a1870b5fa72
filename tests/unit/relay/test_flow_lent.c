/* Flows from where the bytes lie, and to where they are to lie: nothing is held on the way. */
#include "relay/flow.h"

#include "script_stream.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>

static unsigned char scratch[FLOW_CHUNK_MAX];
static struct script_stream source, sink;
static struct pipe_pool pipes;
static const struct flow_tools tools = {.scratch = scratch, .pipes = &pipes};
static struct flow flow;

static void begin(bool source_lends, bool sink_lends)
{
    script_init(&source);
    script_init(&sink);
    if (source_lends) {
        script_lends(&source);
    }
    if (sink_lends) {
        script_lends(&sink);
    }
    pipe_pool_init(&pipes);
    flow_init(&flow, &source.stream, &sink.stream);
}

static void check(enum flow_result result, size_t written, bool blocked)
{
    assert_int_equal(flow_run(&flow, &tools), result);
    assert_int_equal(sink.written, written);
    assert_int_equal(flow.bytes, written);
    assert_int_equal(flow.blocked, blocked);
    assert_null(flow.held);
    assert_null(flow.pipe);
}

/* ---- From where they lie ---- */

static void test_what_lies_ready_is_written(void **state)
{
    (void)state;
    begin(true, false);
    script_reads(&source, 100);
    script_reads(&source, 5000);
    check(FLOW_WAITING, 5100, false);
    script_reads(&source, 10);
    script_reads(&source, 0);
    check(FLOW_FINISHED, 5110, false);
    assert_int_equal(sink.finished, 1);
}

static void test_what_the_sink_does_not_take_stays_with_the_source(void **state)
{
    (void)state;
    begin(true, false);
    script_reads(&source, 1000);
    script_reads(&source, 0);
    script_writes(&sink, 300);
    check(FLOW_WAITING, 300, true);
    script_writes(&sink, -EAGAIN);
    check(FLOW_WAITING, 300, true);
    check(FLOW_FINISHED, 1000, false);
}

static void test_a_sink_that_fails(void **state)
{
    (void)state;
    begin(true, false);
    script_reads(&source, 1000);
    script_writes(&sink, -EPIPE);
    check(FLOW_SINK_FAILED, 0, false);
    assert_false(sink.stream.cut);

    begin(true, false);
    script_reads(&source, 1000);
    script_writes(&sink, -ECONNRESET);
    check(FLOW_SINK_FAILED, 0, false);
    assert_true(sink.stream.cut);
}

static void test_a_source_that_fails(void **state)
{
    (void)state;
    begin(true, false);
    script_reads(&source, -ECONNRESET);
    check(FLOW_SOURCE_FAILED, 0, false);
    begin(true, false);
    script_reads(&source, -ENOMEM);
    check(FLOW_NO_MEMORY, 0, false);
}

static void test_others_have_their_turn(void **state)
{
    (void)state;
    begin(true, false);
    script_reads(&source, 2 * FLOW_TURN);
    check(FLOW_TIRED, FLOW_TURN, false);
    check(FLOW_TIRED, 2 * FLOW_TURN, false);
    check(FLOW_WAITING, 2 * FLOW_TURN, false);
}

/* ---- To where they are to lie ---- */

static void test_bytes_are_read_to_where_there_is_room(void **state)
{
    (void)state;
    begin(false, true);
    script_reads(&source, 70000);
    script_writes(&sink, 1000);
    script_writes(&sink, 2000);
    script_writes(&sink, -EAGAIN);
    check(FLOW_WAITING, 3000, true);
    script_writes(&sink, 65536);
    script_writes(&sink, 65536);
    check(FLOW_WAITING, 70000, false); /* a short count: nothing more is there */
    check(FLOW_WAITING, 70000, false);
    script_reads(&source, 0);
    check(FLOW_FINISHED, 70000, false);
    assert_int_equal(sink.finished, 1);
}

static void test_a_source_that_hung_up_is_read_to_its_end(void **state)
{
    (void)state;
    begin(false, true);
    source.stream.hung_up = true;
    script_reads(&source, 100);
    script_reads(&source, 0);
    check(FLOW_FINISHED, 100, false);
}

static void test_a_sink_that_gives_no_room_any_more(void **state)
{
    (void)state;
    begin(false, true);
    script_reads(&source, 100);
    script_writes(&sink, -EPIPE);
    check(FLOW_SINK_FAILED, 0, false);
    assert_int_equal(source.read_next, 0);
}

static void test_a_source_that_fails_when_there_is_room(void **state)
{
    (void)state;
    begin(false, true);
    script_reads(&source, -ECONNRESET);
    check(FLOW_SOURCE_FAILED, 0, false);
    begin(false, true);
    source.stream.cut = true; /* the error was told by a write already */
    script_reads(&source, 0);
    check(FLOW_SOURCE_FAILED, 0, false);
}

static void test_from_lent_to_lent(void **state)
{
    (void)state;
    begin(true, true);
    script_reads(&source, 10000);
    script_reads(&source, 0);
    check(FLOW_FINISHED, 10000, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_lies_ready_is_written),
        cmocka_unit_test(test_what_the_sink_does_not_take_stays_with_the_source),
        cmocka_unit_test(test_a_sink_that_fails),
        cmocka_unit_test(test_a_source_that_fails),
        cmocka_unit_test(test_others_have_their_turn),
        cmocka_unit_test(test_bytes_are_read_to_where_there_is_room),
        cmocka_unit_test(test_a_source_that_hung_up_is_read_to_its_end),
        cmocka_unit_test(test_a_sink_that_gives_no_room_any_more),
        cmocka_unit_test(test_a_source_that_fails_when_there_is_room),
        cmocka_unit_test(test_from_lent_to_lent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
