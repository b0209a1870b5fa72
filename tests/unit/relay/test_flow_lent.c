/* Flows from where the bytes lie, and to where they are to lie: nothing is held on the way. */
#include "relay/flow.h"

#include "script_stream.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

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

/* ---- From a pipe ---- */

static struct pipe *begin_piped(size_t bytes, int sockets[2])
{
    unsigned char data[4096];
    memset(data, 'p', sizeof data);
    begin(true, false);
    struct pipe *pipe = source.pipe = pipe_pool_get(&pipes);
    assert_non_null(pipe);
    assert_int_equal(write(pipe->write_fd, data, bytes), bytes);
    pipe->held = bytes;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, sockets), 0);
    sink.stream.splice_fd = sockets[0];
    return pipe;
}

static void end_piped(struct pipe *pipe, const int sockets[2])
{
    pipe_pool_put(&pipes, pipe);
    pipe_pool_release(&pipes);
    close(sockets[0]);
    close(sockets[1]);
}

/* What is in it comes first, and never through this process. */
static void test_a_pipe_is_emptied_into_the_sink(void **state)
{
    unsigned char got[4096];
    int sockets[2];
    (void)state;
    struct pipe *pipe = begin_piped(3000, sockets);
    script_reads(&source, 100);
    assert_int_equal(flow_run(&flow, &tools), FLOW_WAITING);
    assert_int_equal(read(sockets[1], got, sizeof got), 3000);
    assert_int_equal(got[2999], 'p');
    assert_int_equal(flow.bytes, 3100);
    assert_int_equal(sink.written, 100);
    assert_false(flow.blocked);
    assert_null(flow.pipe);
    end_piped(pipe, sockets);
}

static void test_a_full_sink_leaves_the_rest_in_the_pipe(void **state)
{
    static unsigned char filler[4096];
    unsigned char got[4096];
    int sockets[2];
    (void)state;
    struct pipe *pipe = begin_piped(3000, sockets);
    while (write(sockets[0], filler, sizeof filler) > 0) {
    }
    assert_int_equal(flow_run(&flow, &tools), FLOW_WAITING);
    assert_true(flow.blocked);
    assert_int_equal(pipe->held, 3000);
    while (read(sockets[1], got, sizeof got) > 0) {
    }
    assert_int_equal(flow_run(&flow, &tools), FLOW_WAITING);
    assert_false(flow.blocked);
    assert_int_equal(flow.bytes, 3000);
    end_piped(pipe, sockets);
}

static void test_a_sink_that_fails_before_a_pipe(void **state)
{
    int sockets[2];
    (void)state;
    struct pipe *pipe = begin_piped(3000, sockets);
    close(sockets[1]);
    sockets[1] = -1;
    signal(SIGPIPE, SIG_IGN);
    assert_int_equal(flow_run(&flow, &tools), FLOW_SINK_FAILED);
    assert_int_equal(pipe->held, 3000);
    end_piped(pipe, sockets);
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
        cmocka_unit_test(test_a_pipe_is_emptied_into_the_sink),
        cmocka_unit_test(test_a_full_sink_leaves_the_rest_in_the_pipe),
        cmocka_unit_test(test_a_sink_that_fails_before_a_pipe),
        cmocka_unit_test(test_bytes_are_read_to_where_there_is_room),
        cmocka_unit_test(test_a_source_that_hung_up_is_read_to_its_end),
        cmocka_unit_test(test_a_sink_that_gives_no_room_any_more),
        cmocka_unit_test(test_a_source_that_fails_when_there_is_room),
        cmocka_unit_test(test_from_lent_to_lent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
