/* Flows: every byte once and in order, the end passed on, nothing held while nothing waits. */
#include "relay/flow.h"

#include "fault.h"
#include "script_stream.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static unsigned char scratch[FLOW_CHUNK_MAX];

struct bench {
    struct script_stream source, sink;
    struct pipe_pool pipes;
    struct flow_tools tools;
    struct flow flow;
};

static void bench_init(struct bench *bench)
{
    script_init(&bench->source);
    script_init(&bench->sink);
    pipe_pool_init(&bench->pipes);
    bench->tools = (struct flow_tools){.scratch = scratch, .pipes = &bench->pipes};
    flow_init(&bench->flow, &bench->source.stream, &bench->sink.stream);
}

static void bench_release(struct bench *bench)
{
    flow_release(&bench->flow, &bench->tools);
    pipe_pool_release(&bench->pipes);
}

static enum flow_result run(struct bench *bench)
{
    return flow_run(&bench->flow, &bench->tools);
}

static void test_few_bytes_pass_and_nothing_is_kept(void **state)
{
    struct bench bench;
    (void)state;
    bench_init(&bench);
    script_reads(&bench.source, 100);
    assert_int_equal(run(&bench), FLOW_WAITING);
    assert_int_equal(bench.sink.written, 100);
    assert_int_equal(bench.flow.bytes, 100);
    assert_null(bench.flow.held);
    assert_false(bench.flow.blocked);
    bench_release(&bench);
}

static void test_a_short_count_is_not_asked_again(void **state)
{
    struct bench bench;
    (void)state;
    bench_init(&bench);
    script_reads(&bench.source, 100);
    script_reads(&bench.source, 50);
    assert_int_equal(run(&bench), FLOW_WAITING);
    assert_int_equal(bench.source.read_next, 1);
    bench_release(&bench);
}

static void test_a_source_that_hung_up_is_read_to_its_end(void **state)
{
    struct bench bench;
    (void)state;
    bench_init(&bench);
    bench.source.stream.hung_up = true;
    script_reads(&bench.source, 100);
    script_reads(&bench.source, 0);
    assert_int_equal(run(&bench), FLOW_FINISHED);
    assert_int_equal(bench.sink.written, 100);
    assert_int_equal(bench.sink.finished, 1);
    assert_true(flow_is_over(&bench.flow));
    bench_release(&bench);
}

static void test_the_end_waits_for_what_is_held(void **state)
{
    struct bench bench;
    (void)state;
    bench_init(&bench);
    bench.source.stream.hung_up = true;
    script_reads(&bench.source, 100);
    script_reads(&bench.source, 0);
    script_writes(&bench.sink, 30);
    assert_int_equal(run(&bench), FLOW_WAITING);
    assert_true(bench.flow.blocked);
    assert_int_equal(bench.sink.finished, 0);
    assert_int_equal(bench.flow.bytes, 30);
    assert_int_equal(run(&bench), FLOW_FINISHED);
    assert_false(bench.flow.blocked);
    assert_int_equal(bench.sink.written, 100);
    assert_int_equal(bench.sink.finished, 1);
    bench_release(&bench);
}

static void test_a_blocked_flow_does_not_read(void **state)
{
    struct bench bench;
    (void)state;
    bench_init(&bench);
    script_reads(&bench.source, 100);
    script_reads(&bench.source, 100);
    script_writes(&bench.sink, -EAGAIN);
    assert_int_equal(run(&bench), FLOW_WAITING);
    assert_int_equal(bench.sink.write_next, 1); /* not asked twice */
    script_writes(&bench.sink, -EAGAIN);
    assert_int_equal(run(&bench), FLOW_WAITING);
    assert_int_equal(bench.source.read_next, 1);
    bench_release(&bench);
}

static void test_held_bytes_are_bounded(void **state)
{
    struct bench bench;
    (void)state;
    bench_init(&bench);
    script_reads(&bench.source, 10 * (ssize_t)FLOW_CHUNK_MAX);
    script_writes(&bench.sink, FLOW_CHUNK_MIN);
    script_writes(&bench.sink, -EAGAIN);
    script_writes(&bench.sink, -EAGAIN);
    assert_int_equal(run(&bench), FLOW_WAITING);
    assert_int_equal(bench.flow.held_length, FLOW_CHUNK_MAX);
    assert_true(bench.flow.blocked);
    /* A slow sink brings the chunks down again. */
    assert_int_equal(bench.flow.chunk, FLOW_CHUNK_MIN);
    bench_release(&bench);
}

static void test_a_turn_ends(void **state)
{
    struct bench bench;
    (void)state;
    bench_init(&bench);
    script_reads(&bench.source, 3 * (ssize_t)FLOW_TURN);
    assert_int_equal(run(&bench), FLOW_TIRED);
    assert_in_range(bench.flow.bytes, FLOW_TURN, FLOW_TURN + FLOW_CHUNK_MAX);
    while (run(&bench) == FLOW_TIRED) {
    }
    assert_int_equal(bench.sink.written, 3 * (size_t)FLOW_TURN);
    bench_release(&bench);
}

static void test_a_failing_source(void **state)
{
    struct bench bench;
    (void)state;
    bench_init(&bench);
    bench.source.stream.hung_up = true;
    script_reads(&bench.source, 100);
    script_reads(&bench.source, -ECONNRESET);
    assert_int_equal(run(&bench), FLOW_SOURCE_FAILED);
    assert_int_equal(bench.sink.written, 100);
    assert_int_equal(bench.sink.finished, 0);
    bench_release(&bench);
}

static void test_a_failing_sink(void **state)
{
    struct bench bench;
    (void)state;
    bench_init(&bench);
    script_reads(&bench.source, 100);
    script_writes(&bench.sink, -EPIPE);
    assert_int_equal(run(&bench), FLOW_SINK_FAILED);
    bench_release(&bench);

    bench_init(&bench);
    script_reads(&bench.source, 100);
    script_writes(&bench.sink, -EAGAIN);
    assert_int_equal(run(&bench), FLOW_WAITING);
    script_writes(&bench.sink, -EPIPE);
    assert_int_equal(run(&bench), FLOW_SINK_FAILED);
    bench_release(&bench);
}

/* The kernel tells of a reset once. When a write was told, reading finds an end that is none. */
static void test_an_end_after_a_failed_write_is_a_failure(void **state)
{
    struct bench bench, back;
    (void)state;
    bench_init(&bench);
    bench_init(&back);
    back.flow.from = bench.flow.to; /* the other direction of the same relay */
    script_reads(&bench.source, 100);
    script_writes(&bench.sink, -ECONNRESET);
    assert_int_equal(run(&bench), FLOW_SINK_FAILED);
    script_reads(&bench.sink, 30);
    script_reads(&bench.sink, 0);
    bench.sink.stream.hung_up = true;
    assert_int_equal(run(&back), FLOW_SOURCE_FAILED);
    assert_int_equal(back.flow.bytes, 30);
    assert_int_equal(back.sink.finished, 0);
    bench_release(&bench);
    bench_release(&back);
}

static void test_an_end_after_a_broken_pipe_is_an_end(void **state)
{
    struct bench bench, back;
    (void)state;
    bench_init(&bench);
    bench_init(&back);
    back.flow.from = bench.flow.to;
    script_reads(&bench.source, 100);
    script_writes(&bench.sink, -EPIPE);
    assert_int_equal(run(&bench), FLOW_SINK_FAILED);
    script_reads(&bench.sink, 0);
    assert_int_equal(run(&back), FLOW_FINISHED);
    bench_release(&bench);
    bench_release(&back);
}

static void test_a_sink_that_cannot_be_finished(void **state)
{
    struct bench bench;
    (void)state;
    bench_init(&bench);
    script_reads(&bench.source, 0);
    bench.sink.finish_result = -EIO;
    assert_int_equal(run(&bench), FLOW_SINK_FAILED);
    assert_false(bench.flow.finished);
    bench_release(&bench);

    bench_init(&bench);
    script_reads(&bench.source, 0);
    bench.sink.finish_result = -ENOTCONN;
    assert_int_equal(run(&bench), FLOW_FINISHED);
    bench_release(&bench);
}

static void test_preloaded_bytes_go_first(void **state)
{
    struct bench bench;
    unsigned char *first = malloc(10);
    (void)state;
    assert_non_null(first);
    for (unsigned char i = 0; i < 10; i++) {
        first[i] = i;
    }
    bench_init(&bench);
    bench.source.next_byte = 10;
    script_reads(&bench.source, 90);
    flow_preload(&bench.flow, first, 10);
    assert_int_equal(run(&bench), FLOW_WAITING);
    assert_int_equal(bench.sink.written, 100);
    bench_release(&bench);
}

/* ---- Splicing, over socket pairs ---- */

struct socket_bench {
    struct bench bench;
    int source[2], sink[2]; /* [0] the flow's end, [1] the peer's */
};

static void sockets_init(struct socket_bench *sockets)
{
    bench_init(&sockets->bench);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, sockets->source), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, sockets->sink), 0);
    sockets->bench.source.stream.splice_fd = sockets->source[0];
    sockets->bench.sink.stream.splice_fd = sockets->sink[0];
    sockets->bench.flow.bulk = true;
}

static void close_if_open(int *fd)
{
    if (*fd >= 0) {
        close(*fd);
    }
    *fd = -1;
}

static void sockets_release(struct socket_bench *sockets)
{
    bench_release(&sockets->bench);
    for (int i = 0; i < 2; i++) {
        close_if_open(&sockets->source[i]);
        close_if_open(&sockets->sink[i]);
    }
}

static size_t fill(int fd, unsigned char *next)
{
    unsigned char block[4096];
    size_t total = 0;
    for (;;) {
        for (size_t i = 0; i < sizeof block; i++) {
            block[i] = (unsigned char)(*next + i);
        }
        ssize_t n = write(fd, block, sizeof block);
        if (n <= 0) {
            return total;
        }
        *next = (unsigned char)(*next + n);
        total += (size_t)n;
    }
}

static size_t empty(int fd, unsigned char *wanted)
{
    unsigned char block[4096];
    size_t total = 0;
    ssize_t n;
    while ((n = read(fd, block, sizeof block)) > 0) {
        for (ssize_t i = 0; i < n; i++) {
            assert_int_equal(block[i], (*wanted)++);
        }
        total += (size_t)n;
    }
    return total;
}

static void test_bulk_is_spliced_byte_for_byte(void **state)
{
    struct socket_bench sockets;
    unsigned char next = 0, wanted = 0;
    size_t sent = 0, received = 0;
    (void)state;
    sockets_init(&sockets);
    for (int i = 0; i < 50; i++) {
        sent += fill(sockets.source[1], &next);
        enum flow_result result = run(&sockets.bench);
        assert_true(result == FLOW_WAITING || result == FLOW_TIRED);
        received += empty(sockets.sink[1], &wanted);
    }
    close_if_open(&sockets.source[1]);
    sockets.bench.source.stream.hung_up = true;
    script_reads(&sockets.bench.source, 0); /* a splice alone does not tell the end */
    while (run(&sockets.bench) != FLOW_FINISHED) {
        received += empty(sockets.sink[1], &wanted);
    }
    received += empty(sockets.sink[1], &wanted);
    assert_int_equal(sent, received);
    assert_int_equal(sockets.bench.flow.bytes, sent);
    assert_null(sockets.bench.flow.pipe);
    sockets_release(&sockets);
}

static void test_a_pipe_is_given_back_when_idle(void **state)
{
    struct socket_bench sockets;
    (void)state;
    sockets_init(&sockets);
    assert_int_equal(write(sockets.source[1], "abc", 3), 3);
    assert_int_equal(run(&sockets.bench), FLOW_WAITING);
    assert_null(sockets.bench.flow.pipe);
    assert_int_equal(sockets.bench.pipes.kept_count, 1);
    assert_false(sockets.bench.flow.bulk); /* three bytes are none */
    sockets_release(&sockets);
}

static void test_a_pipe_with_a_blocked_sink_stays(void **state)
{
    struct socket_bench sockets;
    unsigned char next = 0, wanted = 0, junk = 0;
    (void)state;
    sockets_init(&sockets);
    fill(sockets.sink[0], &junk);
    size_t sent = fill(sockets.source[1], &next);
    assert_int_equal(run(&sockets.bench), FLOW_WAITING);
    assert_true(sockets.bench.flow.blocked);
    assert_non_null(sockets.bench.flow.pipe);
    assert_int_equal(sockets.bench.sink.awaited, 1);
    junk = 0;
    empty(sockets.sink[1], &junk);
    size_t received = 0;
    while (received < sent) {
        assert_int_not_equal(run(&sockets.bench), FLOW_SINK_FAILED);
        received += empty(sockets.sink[1], &wanted);
    }
    assert_int_equal(received, sent);
    sockets_release(&sockets);
}

static void test_a_spliced_sink_that_is_gone(void **state)
{
    struct socket_bench sockets;
    unsigned char next = 0;
    (void)state;
    sockets_init(&sockets);
    fill(sockets.source[1], &next);
    close_if_open(&sockets.sink[1]);
    assert_int_equal(run(&sockets.bench), FLOW_SINK_FAILED);
    /* The pipe is not clean, and must not be lent to another stream. */
    flow_release(&sockets.bench.flow, &sockets.bench.tools);
    assert_int_equal(sockets.bench.pipes.kept_count, 0);
    assert_int_equal(sockets.bench.pipes.count, 0);
    sockets_release(&sockets);
}

static void test_without_pipes_bulk_is_copied(void **state)
{
    struct socket_bench sockets;
    (void)state;
    sockets_init(&sockets);
    sockets.bench.pipes.count = PIPES_MAX;
    script_reads(&sockets.bench.source, 1000);
    assert_int_equal(run(&sockets.bench), FLOW_WAITING);
    assert_int_equal(sockets.bench.sink.written, 1000);
    sockets.bench.pipes.count = 0;
    sockets_release(&sockets);
}

static void test_full_chunks_turn_into_bulk(void **state)
{
    struct bench bench;
    (void)state;
    bench_init(&bench);
    script_reads(&bench.source, FLOW_CHUNK_MIN + FLOW_CHUNK_MAX);
    assert_int_equal(run(&bench), FLOW_WAITING);
    assert_true(bench.flow.bulk);
    bench_release(&bench);
}

/* ---- Faults ---- */

static void blocked_scenario(void *arg)
{
    struct bench bench;
    (void)arg;
    bench_init(&bench);
    script_reads(&bench.source, 100);
    script_writes(&bench.sink, 10);
    script_writes(&bench.sink, -EAGAIN);
    enum flow_result result = run(&bench);
    assert_true(result == FLOW_WAITING || result == FLOW_NO_MEMORY);
    bench_release(&bench);
}

static void test_out_of_memory(void **state)
{
    (void)state;
    assert_true(fault_loop("flow", FAULT_MEMORY, blocked_scenario, NULL) >= 1);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_few_bytes_pass_and_nothing_is_kept),
        cmocka_unit_test(test_a_short_count_is_not_asked_again),
        cmocka_unit_test(test_a_source_that_hung_up_is_read_to_its_end),
        cmocka_unit_test(test_the_end_waits_for_what_is_held),
        cmocka_unit_test(test_a_blocked_flow_does_not_read),
        cmocka_unit_test(test_held_bytes_are_bounded),
        cmocka_unit_test(test_a_turn_ends),
        cmocka_unit_test(test_a_failing_source),
        cmocka_unit_test(test_a_failing_sink),
        cmocka_unit_test(test_an_end_after_a_failed_write_is_a_failure),
        cmocka_unit_test(test_an_end_after_a_broken_pipe_is_an_end),
        cmocka_unit_test(test_a_sink_that_cannot_be_finished),
        cmocka_unit_test(test_preloaded_bytes_go_first),
        cmocka_unit_test(test_bulk_is_spliced_byte_for_byte),
        cmocka_unit_test(test_a_pipe_is_given_back_when_idle),
        cmocka_unit_test(test_a_pipe_with_a_blocked_sink_stays),
        cmocka_unit_test(test_a_spliced_sink_that_is_gone),
        cmocka_unit_test(test_without_pipes_bulk_is_copied),
        cmocka_unit_test(test_full_chunks_turn_into_bulk),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
