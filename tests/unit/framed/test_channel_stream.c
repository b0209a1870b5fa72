/* Channels as streams: bytes that came, bytes to be sent, ends and failures, both ways. */
#include "io_bench.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static struct io_bench bench;

static int set_up(void **state)
{
    (void)state;
    io_bench_open(&bench);
    io_bench_establish(&bench, NULL);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    io_bench_end(&bench);
    io_bench_close(&bench);
    return 0;
}

static struct io_app *app(unsigned nth)
{
    return &bench.apps[nth];
}

static struct stream *base(unsigned nth)
{
    return &bench.apps[nth].stream.stream;
}

/* ---- What comes in ---- */

static void test_bytes_are_taken_where_they_lie(void **state)
{
    (void)state;
    struct framed_stream *stream = io_bench_stream(&bench);
    framed_say(stream, 3000);
    TURN_UNTIL(&bench, app(0)->taken == 3000);
    assert_int_equal(app(0)->largest, 3000);
    assert_null(app(0)->stream.kept);
    assert_int_equal(app(0)->end, -EAGAIN);
    framed_finish(stream);
    TURN_UNTIL(&bench, app(0)->end == 0);
    assert_true(base(0)->hung_up);
    assert_false(base(0)->gone);
}

/* Many small frames of one read are one piece for the stream. */
static void test_small_pieces_are_gathered(void **state)
{
    struct framed_stream *streams[3];
    (void)state;
    io_bench_end(&bench);
    bench.kind.kind = ADDR_UNIX; /* what was written is there at once */
    assert_int_equal(io_bench_start(&bench, pair_of_unix, NULL), 0);
    TURN_UNTIL(&bench, bench.ready == 1 && bench.client.ready);
    for (int i = 0; i < 3; i++) {
        streams[i] = io_bench_stream(&bench);
    }
    for (int round = 0; round < 50; round++) {
        for (int i = 0; i < 3; i++) {
            framed_say(streams[i], 20);
            framed_client_turn(&bench.client); /* a write each, a read for all */
        }
    }
    for (unsigned i = 0; i < 3; i++) {
        TURN_UNTIL(&bench, app(i)->taken == 1000);
        assert_in_range(app(i)->largest, 400, 1000);
        assert_int_equal(app(i)->readable, 1);
        assert_null(app(i)->stream.kept);
    }
}

static void test_what_is_not_taken_is_kept_and_bounded_by_credit(void **state)
{
    (void)state;
    app(0)->take = false;
    struct framed_stream *stream = io_bench_stream(&bench);
    framed_say(stream, 1000000);
    framed_finish(stream);
    TURN_UNTIL(&bench, channel_bytes_held(app(0)->stream.channel) == 16384); /* 16 MiB for 512 streams */
    for (int i = 0; i < 10; i++) {
        io_bench_turn(&bench);
    }
    assert_int_equal(stream->said, 16384);
    assert_non_null(app(0)->stream.kept);
    assert_int_equal(bench.io.streams, 1);
    app(0)->take = true;
    stream_again(base(0), STREAM_READABLE);
    TURN_UNTIL(&bench, app(0)->end == 0);
    assert_int_equal(app(0)->taken, 1000000);
    assert_null(app(0)->stream.kept);
}

static void test_a_little_is_taken_at_a_time(void **state)
{
    (void)state;
    app(0)->most = 700;
    struct framed_stream *stream = io_bench_stream(&bench);
    framed_say(stream, 30000);
    framed_finish(stream);
    while (app(0)->taken < 30000) {
        TURN_UNTIL(&bench, app(0)->readable > 0);
        app(0)->readable = 0;
        stream_again(base(0), STREAM_READABLE);
        io_bench_turn(&bench);
    }
    stream_again(base(0), STREAM_READABLE);
    TURN_UNTIL(&bench, app(0)->end == 0);
}

static void test_who_is_muted_is_not_told(void **state)
{
    (void)state;
    app(0)->take = false;
    app(0)->stay_mute = true;
    struct framed_stream *stream = io_bench_stream(&bench);
    framed_say(stream, 5000);
    TURN_UNTIL(&bench, app(0)->readable == 1);
    for (int i = 0; i < 10; i++) {
        framed_say(stream, 500);
        io_bench_turn(&bench);
    }
    framed_finish(stream);
    for (int i = 0; i < 10; i++) {
        io_bench_turn(&bench);
    }
    assert_int_equal(app(0)->readable, 1);
    app(0)->take = true;
    app(0)->stay_mute = false;
    stream_mute(base(0), false);        /* tells what has come meanwhile */
    assert_int_equal(app(0)->taken, 0); /* not from inside */
    TURN_UNTIL(&bench, app(0)->end == 0);
    assert_int_equal(app(0)->taken, 10000);
    stream_mute(base(0), true);
    stream_mute(base(0), false);
    unsigned readable = app(0)->readable;
    TURN_UNTIL(&bench, app(0)->readable > readable); /* the end is told as often as one asks */
}

/* A request to be told again is kept even if the stream is muted, as it is for a socket. */
static void test_who_asks_again_is_told_muted_or_not(void **state)
{
    (void)state;
    app(0)->take = false;
    app(0)->stay_mute = true;
    struct framed_stream *stream = io_bench_stream(&bench);
    framed_say(stream, 5000);
    TURN_UNTIL(&bench, app(0)->readable == 1);
    stream_again(base(0), STREAM_READABLE);
    stream_again(base(0), STREAM_READABLE);
    TURN_UNTIL(&bench, app(0)->readable == 2);
    /* One that waits for its turn, and gets more bytes before that. */
    app(0)->stay_mute = false;
    app(0)->take = true;
    stream_mute(base(0), false);
    framed_say(stream, 6000);
    TURN_UNTIL(&bench, app(0)->taken == 11000);
}

static void read_in_pieces(struct io_app *which, unsigned events)
{
    unsigned char data[300];
    ssize_t n;
    (void)events;
    while ((n = stream_read(&which->stream.stream, data, sizeof data)) > 0) {
        for (ssize_t i = 0; i < n; i++) {
            assert_int_equal(data[i], which->wanted++);
        }
        which->taken += (size_t)n;
    }
    which->end = n;
}

static void test_a_read_copies(void **state)
{
    (void)state;
    app(0)->on_report = read_in_pieces;
    struct framed_stream *stream = io_bench_stream(&bench);
    framed_say(stream, 1000);
    TURN_UNTIL(&bench, app(0)->taken == 1000 && app(0)->end == -EAGAIN);
    framed_say(stream, 100000);
    framed_finish(stream);
    TURN_UNTIL(&bench, app(0)->end == 0);
    assert_int_equal(app(0)->taken, 101000);
}

/* ---- What goes out ---- */

static void test_bytes_are_put_where_they_are_to_lie(void **state)
{
    void *room;
    (void)state;
    struct framed_stream *stream = io_bench_stream(&bench);
    assert_int_equal(stream_reserve(base(0), &room), -EAGAIN); /* not now: it will say when */
    app(0)->to_say = 200000;
    TURN_UNTIL(&bench, stream->heard == 200000);
    assert_int_equal(stream_finish(base(0)), 0);
    assert_int_equal(stream_finish(base(0)), 0); /* no harm */
    TURN_UNTIL(&bench, stream->ended);
    assert_int_equal(stream_finish(base(0)), -ENOTCONN);
}

static void write_all(struct io_app *which, unsigned events)
{
    unsigned char data[300];
    (void)events;
    while (which->to_say > 0) {
        size_t n = which->to_say < sizeof data ? which->to_say : sizeof data;
        for (size_t i = 0; i < n; i++) {
            data[i] = (unsigned char)(which->next + i);
        }
        ssize_t written = stream_write(&which->stream.stream, data, n);
        if (written < 0) {
            which->end = written;
            return;
        }
        which->next = (unsigned char)(which->next + written);
        which->to_say -= (size_t)written;
        which->said += (size_t)written;
    }
}

static void test_a_write_copies(void **state)
{
    (void)state;
    app(0)->on_report = write_all;
    app(0)->to_say = 20000;
    struct framed_stream *stream = io_bench_stream(&bench);
    assert_int_equal(stream_write(base(0), "x", 1), -EAGAIN);
    TURN_UNTIL(&bench, stream->heard == 20000);
}

static void test_without_credit_nothing_is_asked_for(void **state)
{
    void *room;
    (void)state;
    struct framed_stream *stream = io_bench_stream(&bench);
    stream->deaf = true;
    app(0)->to_say = 1000000;
    assert_int_equal(stream_reserve(base(0), &room), -EAGAIN);
    TURN_UNTIL(&bench, stream->heard == 16384);
    for (int i = 0; i < 10; i++) {
        io_bench_turn(&bench);
    }
    assert_int_equal(app(0)->said, 16384);
    assert_true(channel_stalled(app(0)->stream.channel));
    assert_null(bench.io.out);
    framed_hear(stream);
    TURN_UNTIL(&bench, stream->heard == 1000000);
}

static void test_again_for_writing(void **state)
{
    (void)state;
    io_bench_stream(&bench);
    stream_again(base(0), STREAM_WRITABLE);
    TURN_UNTIL(&bench, app(0)->writable == 1);
}

static void ask_again(struct io_app *app, unsigned events)
{
    if ((events & STREAM_WRITABLE) != 0 && app->writable < 6) {
        if (app->to_say > 0) {
            assert_int_equal(stream_write(&app->stream.stream, "\0\1\2\3", 4), 4);
            app->to_say = 0;
        }
        stream_again(&app->stream.stream, STREAM_WRITABLE);
    }
}

/* From within a report that puts bytes into a frame, and from one that puts none. */
static void test_again_for_writing_from_within(void **state)
{
    (void)state;
    struct framed_stream *stream = io_bench_stream(&bench);
    app(0)->on_report = ask_again;
    app(0)->to_say = 4;
    stream_again(base(0), STREAM_WRITABLE);
    TURN_UNTIL(&bench, app(0)->writable >= 3 && stream->heard == 4);
}

/* ---- Ends ---- */

static void test_a_close_after_all_was_said_is_the_end(void **state)
{
    (void)state;
    struct framed_stream *stream = io_bench_stream(&bench);
    app(0)->to_say = 1000;
    stream_again(base(0), STREAM_WRITABLE);
    TURN_UNTIL(&bench, app(0)->said == 1000);
    channel_stream_give_up(&app(0)->stream, REASON_UPSTREAM_RESET); /* for what was not finished */
    io_app_close(app(0), false);
    stream_close(base(0), false); /* harmless */
    TURN_UNTIL(&bench, stream->ended && stream->stopped);
    assert_int_equal(stream->heard, 1000);
    assert_int_equal(stream->code, code_of_reason(REASON_UPSTREAM_RESET));
    assert_false(stream->reset);
}

static void test_an_abort_says_why(void **state)
{
    (void)state;
    struct framed_stream *stream = io_bench_stream(&bench);
    channel_stream_give_up(&app(0)->stream, REASON_IDLE_TIMEOUT);
    io_app_close(app(0), true);
    TURN_UNTIL(&bench, stream->reset && stream->stopped);
    assert_int_equal(stream->code, code_of_reason(REASON_IDLE_TIMEOUT));
    stream = io_bench_stream(&bench);
    io_app_close(app(1), true);
    TURN_UNTIL(&bench, stream->reset);
    assert_int_equal(stream->code, CODE_CANCEL);
}

static void test_a_refusal_says_why(void **state)
{
    (void)state;
    bench.accept = false;
    struct framed_stream *stream = io_bench_stream(&bench);
    channel_stream_refuse(&app(0)->stream, REASON_CONNECT_REFUSED, "nobody\nlistens");
    io_app_close(app(0), true);
    TURN_UNTIL(&bench, stream->refused);
    assert_int_equal(stream->code, code_of_reason(REASON_CONNECT_REFUSED));
    assert_string_equal(stream->message, "nobody?listens");
    assert_true(stream->retryable);

    stream = io_bench_stream(&bench);
    channel_stream_refuse(&app(1)->stream, REASON_DENIED_SNI, NULL);
    io_app_close(app(1), true);
    TURN_UNTIL(&bench, stream->refused);
    assert_string_equal(stream->message, reason_meaning(REASON_DENIED_SNI));
    assert_false(stream->retryable);

    stream = io_bench_stream(&bench); /* closed without an answer */
    io_app_close(app(2), false);
    TURN_UNTIL(&bench, stream->refused);
    assert_int_equal(stream->code, CODE_CANCEL);
}

static void test_a_reset_fails_the_stream(void **state)
{
    void *room;
    const void *data;
    (void)state;
    app(0)->take = app(0)->close_when_failed = false;
    struct framed_stream *stream = io_bench_stream(&bench);
    framed_say(stream, 5000);
    TURN_UNTIL(&bench, app(0)->stream.kept != NULL);
    framed_reset(stream, code_of_reason(REASON_NO_MEMORY));
    TURN_UNTIL(&bench, base(0)->failed);
    assert_true(base(0)->hung_up && base(0)->gone);
    assert_int_equal(app(0)->stream.why, REASON_CLIENT_RESET);
    assert_int_equal(app(0)->stream.code, code_of_reason(REASON_NO_MEMORY));
    assert_null(app(0)->stream.kept); /* dropped */
    assert_int_equal(stream_borrow(base(0), &data), -ECONNRESET);
    assert_int_equal(stream_reserve(base(0), &room), -ECONNRESET);
}

static void test_a_stop_leaves_the_other_direction(void **state)
{
    void *room;
    (void)state;
    struct framed_stream *stream = io_bench_stream(&bench);
    framed_stop(stream, CODE_CANCEL);
    TURN_UNTIL(&bench, base(0)->gone);
    assert_false(base(0)->failed);
    assert_int_equal(app(0)->stream.why, REASON_CLIENT_RESET);
    assert_int_equal(app(0)->stream.code, CODE_CANCEL);
    assert_int_equal(stream_reserve(base(0), &room), -EPIPE);
    assert_int_equal(stream_finish(base(0)), -ENOTCONN);
    framed_say(stream, 100);
    framed_finish(stream);
    TURN_UNTIL(&bench, app(0)->end == 0);
    assert_int_equal(app(0)->taken, 100);
}

static void close_it(struct io_app *which, unsigned events)
{
    (void)events;
    io_app_close(which, true);
    memset(&which->stream, 0xee, sizeof which->stream); /* the memory is the owner's */
}

/* From each kind of report. */
static void test_a_close_from_inside(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 6; i++) {
        app(i)->on_report = close_it;
    }
    framed_say(io_bench_stream(&bench), 100);
    TURN_UNTIL(&bench, app(0)->closed);
    framed_finish(io_bench_stream(&bench));
    TURN_UNTIL(&bench, app(1)->closed);
    framed_reset(io_bench_stream(&bench), CODE_CANCEL);
    TURN_UNTIL(&bench, app(2)->closed);
    framed_stop(io_bench_stream(&bench), CODE_CANCEL);
    TURN_UNTIL(&bench, app(3)->closed);
    io_bench_stream(&bench);
    stream_again(base(4), STREAM_WRITABLE);
    TURN_UNTIL(&bench, app(4)->closed);
    framed_say(io_bench_stream(&bench), 200000); /* large pieces, of which it takes none */
    TURN_UNTIL(&bench, app(5)->closed);
    assert_int_equal(bench.io.streams, 0);
}

/* Another's memory, in which the channel goes on. */
static struct channel_stream adopter;
static unsigned adopter_taken;

static void on_adopter(struct stream *stream, unsigned events)
{
    char bytes[4096];
    ssize_t n;
    (void)events;
    while ((n = stream_read(stream, bytes, sizeof bytes)) > 0) {
        adopter_taken += (unsigned)n;
    }
}

/* Takes a little, and leaves the rest to the other. */
static void take_and_leave(struct io_app *which, unsigned events)
{
    char bytes[10];
    if ((events & STREAM_READABLE) == 0) {
        return;
    }
    assert_int_equal(stream_read(&which->stream.stream, bytes, sizeof bytes), 10);
    channel_stream_adopt(&adopter, &which->stream, on_adopter);
    memset(&which->stream, 0xee, sizeof which->stream);
    which->closed = true;
}

/* From inside a report: of a small piece, or a large one with another behind it. */
static void test_a_channel_that_is_adopted(void **state)
{
    static const unsigned sizes[] = {100, 10, 200000};
    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        adopter_taken = 0;
        app(i)->on_report = take_and_leave;
        struct framed_stream *stream = io_bench_stream(&bench);
        framed_say(stream, sizes[i]);
        framed_finish(stream);
        TURN_UNTIL(&bench, app(i)->closed && adopter_taken == sizes[i] - 10 && adopter.ended);
        assert_int_equal(bench.io.streams, 1);
        stream_close(&adopter.stream, false);
        assert_int_equal(bench.io.streams, 0);
    }
}

/* What was kept goes along. */
static void test_a_channel_that_is_adopted_with_what_is_kept(void **state)
{
    (void)state;
    adopter_taken = 0;
    app(0)->take = false;
    framed_say(io_bench_stream(&bench), 5000);
    TURN_UNTIL(&bench, app(0)->stream.kept != NULL);
    channel_stream_adopt(&adopter, &app(0)->stream, on_adopter);
    app(0)->closed = true;
    assert_null(app(0)->stream.channel);
    TURN_UNTIL(&bench, adopter_taken == 5000);
    stream_close(&adopter.stream, true);
}

static void test_a_stream_that_is_closed_while_it_waits(void **state)
{
    (void)state;
    app(0)->take = false;
    framed_say(io_bench_stream(&bench), 5000);
    TURN_UNTIL(&bench, app(0)->stream.kept != NULL);
    stream_again(base(0), STREAM_READABLE);
    io_app_close(app(0), true);
    for (int i = 0; i < 5; i++) {
        io_bench_turn(&bench);
    }
}

static void test_times_of_the_session(void **state)
{
    (void)state;
    io_bench_end(&bench);
    bench.config.half_closed_timeout = 100;
    bench.config.progress_timeout = 100;
    io_bench_establish(&bench, NULL);
    for (unsigned i = 0; i < 2; i++) {
        memset(app(i), 0, sizeof *app(i));
        app(i)->take = i == 0;
        app(i)->end = 1;
        app(i)->close_when_failed = true;
    }
    struct framed_stream *half = io_bench_stream(&bench);
    struct framed_stream *stuck = io_bench_stream(&bench);
    framed_finish(half);
    framed_say(stuck, 10);
    TURN_UNTIL(&bench, app(0)->closed && app(1)->closed);
    assert_int_equal(app(0)->stream.why, REASON_HALF_CLOSED_TIMEOUT);
    assert_int_equal(app(1)->stream.why, REASON_IDLE_TIMEOUT);
    assert_int_equal(app(1)->stream.code, CODE_NO_PROGRESS);
    TURN_UNTIL(&bench, half->reset && stuck->reset);
}

static void test_sizes(void **state)
{
    (void)state;
    /* An idle stream of a session costs what it costs: see docs/performance.md. */
    assert_in_range(sizeof(struct channel_stream), 1, sizeof(struct sock_stream));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_bytes_are_taken_where_they_lie),
        TEST(test_small_pieces_are_gathered),
        TEST(test_what_is_not_taken_is_kept_and_bounded_by_credit),
        TEST(test_a_little_is_taken_at_a_time),
        TEST(test_who_is_muted_is_not_told),
        TEST(test_who_asks_again_is_told_muted_or_not),
        TEST(test_a_read_copies),
        TEST(test_bytes_are_put_where_they_are_to_lie),
        TEST(test_a_write_copies),
        TEST(test_without_credit_nothing_is_asked_for),
        TEST(test_again_for_writing),
        TEST(test_again_for_writing_from_within),
        TEST(test_a_close_after_all_was_said_is_the_end),
        TEST(test_an_abort_says_why),
        TEST(test_a_refusal_says_why),
        TEST(test_a_reset_fails_the_stream),
        TEST(test_a_stop_leaves_the_other_direction),
        TEST(test_a_close_from_inside),
        TEST(test_a_channel_that_is_adopted),
        TEST(test_a_channel_that_is_adopted_with_what_is_kept),
        TEST(test_a_stream_that_is_closed_while_it_waits),
        TEST(test_times_of_the_session),
        TEST(test_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
