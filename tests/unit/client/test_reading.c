/*
 * Who reads the socket: a function that waits, or the library's own thread, and how one takes over from the other. Looks at the
 * library's own books to know who does, and never goes by time.
 */
#include "client/clock.h"
#include "client/connection_private.h"
#include "client/postern_private.h"
#include "threads_bench.h"
#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* A thread that waits for bytes of a stream. */
struct caller {
    struct postern_stream *stream;
    int timeout_ms;
    pthread_t thread;
    ssize_t result;
    atomic_bool done;
    char bytes[16];
};

static void *call(void *arg)
{
    struct caller *caller = arg;

    caller->result =
        postern_read(caller->stream, caller->bytes, sizeof caller->bytes, caller->timeout_ms, NULL);
    atomic_store(&caller->done, true);
    return NULL;
}

typedef bool condition(const struct caller *caller);

static bool holds(condition *wanted, const struct caller *caller)
{
    bool result;

    pthread_mutex_lock(&door->lock);
    result = wanted(caller);
    pthread_mutex_unlock(&door->lock);
    return result;
}

static void wait_until(condition *wanted, const struct caller *caller)
{
    uint64_t limit = clock_ms() + LONG_MS;

    while (!holds(wanted, caller)) {
        if (clock_ms() > limit) {
            fail_msg("it does not come to be so");
        }
        usleep(500);
    }
}

static bool reads(const struct caller *caller)
{
    const struct waiter *waiter = TAILQ_FIRST(&caller->stream->waiters);

    return door->reading && !door->connection->guarded && waiter && waiter->reads;
}

static bool follows(const struct caller *caller)
{
    const struct waiter *waiter = TAILQ_FIRST(&caller->stream->waiters);

    return waiter && !waiter->reads;
}

static bool nobody_reads(const struct caller *caller)
{
    (void)caller;
    return !door->reading && TAILQ_EMPTY(&door->followers) && door->connection->guarded;
}

static bool has_bytes(const struct caller *caller)
{
    return !STAILQ_EMPTY(&caller->stream->pieces);
}

/* With a stream that is open. */
static void begin(struct caller *caller, struct postern_stream *stream, int timeout_ms)
{
    *caller = (struct caller){.stream = stream, .timeout_ms = timeout_ms};
    assert_int_equal(postern_wait_opened(stream, LONG_MS, &err), 0);
    assert_int_equal(pthread_create(&caller->thread, NULL, call, caller), 0);
}

static void start_caller(struct caller *caller, const char *route, int timeout_ms, condition *then)
{
    begin(caller, open_route(route), timeout_ms);
    wait_until(then, caller);
}

static void say(const struct caller *caller, const char *text)
{
    assert_int_equal(postern_write(caller->stream, text, strlen(text), LONG_MS, &err), strlen(text));
}

static void join(struct caller *caller, ssize_t result)
{
    pthread_join(caller->thread, NULL);
    assert_int_equal(caller->result, result);
}

static void join_told(struct caller *caller, const char *text)
{
    join(caller, (ssize_t)strlen(text));
    assert_memory_equal(caller->bytes, text, strlen(text));
    postern_close(caller->stream);
}

static void test_who_waits_reads_itself(void **state)
{
    struct caller one;

    (void)state;
    connect_door();
    start_caller(&one, "echo", LONG_MS, reads);
    say(&one, "hello");
    join_told(&one, "hello");
    wait_until(nobody_reads, NULL);
}

/* What comes for the second is handed to it by the first, which goes on reading. */
static void test_one_reads_for_two(void **state)
{
    struct caller first, second;

    (void)state;
    connect_door();
    start_caller(&first, "echo", -1, reads);
    start_caller(&second, "echo", LONG_MS, follows);
    say(&second, "two");
    join_told(&second, "two");
    assert_true(holds(reads, &first));
    say(&first, "one");
    join_told(&first, "one");
    wait_until(nobody_reads, NULL);
}

static void test_who_leaves_hands_over(void **state)
{
    struct caller callers[4];

    (void)state;
    connect_door();
    start_caller(&callers[0], "echo", LONG_MS, reads);
    for (int i = 1; i < 4; i++) {
        start_caller(&callers[i], "echo", LONG_MS, follows);
    }
    for (int i = 0; i < 4; i++) {
        wait_until(reads, &callers[i]);
        say(&callers[i], "hello");
        join_told(&callers[i], "hello");
    }
    wait_until(nobody_reads, NULL);
}

static bool keeper_reads(const struct caller *caller)
{
    return follows(caller) && !door->reading && door->connection->guarded;
}

static void *fill_up(void *arg)
{
    struct caller *caller = arg;
    static const char bytes[1 << 20];

    while ((caller->result = postern_write(caller->stream, bytes, sizeof bytes, LONG_MS, NULL)) > 0) {
    }
    return NULL;
}

/* Who waits for room leaves the reading to others, also when it is the only one left. */
static void test_who_waits_for_room_follows(void **state)
{
    struct caller writer = {.stream = NULL}, reader;

    (void)state;
    connect_door();
    writer.stream = open_route("stall");
    assert_int_equal(postern_wait_opened(writer.stream, LONG_MS, &err), 0);
    assert_int_equal(pthread_create(&writer.thread, NULL, fill_up, &writer), 0);
    wait_until(keeper_reads, &writer);
    start_caller(&reader, "echo", LONG_MS, reads);
    say(&reader, "hello");
    join_told(&reader, "hello");
    wait_until(keeper_reads, &writer);
    postern_reset(writer.stream, 0);
    join(&writer, -ESHUTDOWN);
    postern_close(writer.stream);
}

static void test_a_follower_out_of_time(void **state)
{
    struct caller reader, follower;

    (void)state;
    connect_door();
    start_caller(&reader, "echo", LONG_MS, reads);
    begin(&follower, open_route("echo"), 20);
    join(&follower, -ETIMEDOUT);
    assert_true(holds(reads, &reader));
    say(&reader, "hello");
    join_told(&reader, "hello");
    postern_close(follower.stream);
}

/* Most likely the first reads until its time is over; it has to hold either way. */
static void test_a_reader_out_of_time(void **state)
{
    struct caller reader, follower;
    struct postern_stream *second;

    (void)state;
    connect_door();
    second = open_route("echo");
    assert_int_equal(postern_wait_opened(second, LONG_MS, &err), 0);
    begin(&reader, open_route("echo"), 50);
    begin(&follower, second, LONG_MS);
    join(&reader, -ETIMEDOUT);
    wait_until(reads, &follower);
    say(&follower, "hello");
    join_told(&follower, "hello");
    postern_close(reader.stream);
}

/* Bytes that others get all the time do not keep the reader beyond its time. */
static void test_a_reader_out_of_time_while_bytes_come(void **state)
{
    struct postern_stream *source;
    struct caller reader;
    char buffer[4096];

    (void)state;
    connect_door();
    source = open_route("source:100000000000");
    begin(&reader, open_route("echo"), 20);
    while (!atomic_load(&reader.done)) {
        assert_true(postern_read(source, buffer, sizeof buffer, LONG_MS, &err) > 0);
    }
    join(&reader, -ETIMEDOUT);
    postern_close(source);
    postern_close(reader.stream);
}

static void test_the_readers_stream_is_reset(void **state)
{
    struct caller reader, follower;

    (void)state;
    connect_door();
    start_caller(&reader, "echo", -1, reads);
    start_caller(&follower, "echo", LONG_MS, follows);
    postern_reset(reader.stream, 0);
    join(&reader, -ESHUTDOWN);
    wait_until(reads, &follower);
    say(&follower, "hello");
    join_told(&follower, "hello");
    postern_close(reader.stream);
}

static void disconnect_while_read(int timeout_ms)
{
    struct caller reader, follower;

    connect_door();
    start_caller(&reader, "echo", -1, reads);
    start_caller(&follower, "echo", -1, follows);
    postern_disconnect(door, timeout_ms);
    door = NULL;
    join(&reader, -ESHUTDOWN);
    join(&follower, -ESHUTDOWN);
    postern_close(reader.stream);
    postern_close(follower.stream);
}

static void test_disconnecting_while_one_reads(void **state)
{
    (void)state;
    disconnect_while_read(LONG_MS);
}

static void test_cutting_while_one_reads(void **state)
{
    (void)state;
    disconnect_while_read(0);
}

/* Threads that are in a system call of the connection's when it is cut. */
static void *write_on_and_on(void *arg)
{
    struct caller *caller = arg;

    while ((caller->result = postern_write(caller->stream, "hello", 5, LONG_MS, NULL)) > 0) {
    }
    return NULL;
}

static void test_cutting_while_some_write(void **state)
{
    struct caller writers[4];

    (void)state;
    for (int round = 0; round < 10; round++) {
        if (round == 0) {
            connect_door();
        } else {
            assert_int_equal(postern_connect(server.address, &options, &door, &err), 0);
        }
        for (int i = 0; i < 4; i++) {
            writers[i] = (struct caller){.stream = open_route("sink")};
            assert_int_equal(postern_wait_opened(writers[i].stream, LONG_MS, &err), 0);
            assert_int_equal(pthread_create(&writers[i].thread, NULL, write_on_and_on, &writers[i]), 0);
        }
        postern_disconnect(door, 0);
        door = NULL;
        for (int i = 0; i < 4; i++) {
            join(&writers[i], -ESHUTDOWN);
            postern_close(writers[i].stream);
        }
    }
}

/* ---- While no function waits ---- */

static void test_pings_are_answered_with_nobody_in_a_call(void **state)
{
    struct caller one;

    (void)state;
    server.config.ping_interval = 3600000; /* no other pings than these and a session's first */
    connect_door();
    wait_for_figure(&server.pongs, 1);
    server_ping(&server);
    wait_for_figure(&server.pongs, 2);
    start_caller(&one, "echo", LONG_MS, reads);
    server_ping(&server);
    wait_for_figure(&server.pongs, 3);
    say(&one, "hello");
    join_told(&one, "hello");
    server_ping(&server);
    wait_for_figure(&server.pongs, 4);
}

static void test_bytes_are_taken_with_nobody_in_a_call(void **state)
{
    struct caller one;

    (void)state;
    connect_door();
    start_caller(&one, "echo", LONG_MS, reads);
    say(&one, "hello");
    join(&one, 5);
    say(&one, "again");
    wait_until(has_bytes, &one);
    assert_int_equal(postern_read(one.stream, one.bytes, sizeof one.bytes, 0, &err), 5);
    postern_close(one.stream);
}

/* The answer to OPEN, which nobody waits for, does not come, and that is noticed in its time. */
static void test_time_is_kept_with_nobody_in_a_call(void **state)
{
    struct postern_open_options open;
    struct caller one, silent = {.stream = NULL};
    uint64_t limit = clock_ms() + LONG_MS;

    (void)state;
    connect_door();
    start_caller(&one, "echo", LONG_MS, reads);
    postern_open_options_init(&open);
    open.timeout_ms = 50;
    assert_int_equal(postern_open(door, "silent", &open, &silent.stream, &err), 0);
    say(&one, "hello");
    join_told(&one, "hello");
    while (postern_read(silent.stream, silent.bytes, 1, 0, &err) == -EAGAIN && clock_ms() < limit) {
        usleep(500);
    }
    assert_int_equal(err.status, -ECONNREFUSED);
    postern_close(silent.stream);
}

/* ---- Losses ---- */

/* Reader and follower are told, and the keeper connects again: names may take their time. */
static void test_lost_while_one_reads(void **state)
{
    struct caller reader, follower, next;

    (void)state;
    connect_door();
    start_caller(&reader, "echo", -1, reads);
    start_caller(&follower, "echo", -1, follows);
    server_cut(&server);
    join(&reader, -ENOTCONN);
    join(&follower, -ENOTCONN);
    start_caller(&next, "echo", LONG_MS, reads);
    say(&next, "hello");
    join_told(&next, "hello");
    assert_int_equal(server_figure(&server, &server.accepted), 2);
    postern_close(reader.stream);
    postern_close(follower.stream);
}

/* A ping's function reads, too, until the connection is lost under it; then it is the keeper's to make another. */
static void *wait_for_pong(void *arg)
{
    struct caller *caller = arg;

    caller->result = postern_ping(door, LONG_MS, NULL, NULL);
    return NULL;
}

static bool is_pinged(const struct caller *caller)
{
    const struct waiter *waiter = TAILQ_FIRST(&door->waiters);

    (void)caller;
    return waiter && waiter->reads;
}

static void test_lost_while_a_ping_is_waited_for(void **state)
{
    struct caller one = {.stream = NULL};

    (void)state;
    connect_door();
    server_set_deaf(&server, true);
    assert_int_equal(pthread_create(&one.thread, NULL, wait_for_pong, &one), 0);
    wait_until(is_pinged, &one);
    server_cut(&server);
    join(&one, -ENOTCONN);
    server_set_deaf(&server, false);
    assert_int_equal(postern_wait_ready(door, LONG_MS, &err), 0);
}

/* The daemon goes away: the streams of the old session go on, and are the keeper's to read until there is another. */
static void test_the_daemon_goes_away_while_one_reads(void **state)
{
    struct caller reader, next;

    (void)state;
    connect_door();
    start_caller(&reader, "echo", -1, reads);
    server_drain(&server, 0);
    wait_until(follows, &reader);
    say(&reader, "hello");
    join_told(&reader, "hello");
    start_caller(&next, "echo", LONG_MS, reads);
    say(&next, "again");
    join_told(&next, "again");
}

/* ---- fork() ---- */

static void test_forked_while_one_reads(void **state)
{
    struct caller reader, follower;
    int status;
    pid_t child;

    (void)state;
    connect_door();
    start_caller(&reader, "echo", LONG_MS, reads);
    start_caller(&follower, "echo", LONG_MS, follows);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        bool good = postern_read(reader.stream, &(char){0}, 1, -1, NULL) == -ECHILD;
        postern_close(reader.stream);
        postern_disconnect(door, -1);
        server_leave(good);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_true(holds(reads, &reader));
    say(&reader, "one");
    join_told(&reader, "one");
    say(&follower, "two");
    join_told(&follower, "two");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_who_waits_reads_itself),
        TEST(test_one_reads_for_two),
        TEST(test_who_leaves_hands_over),
        TEST(test_who_waits_for_room_follows),
        TEST(test_a_follower_out_of_time),
        TEST(test_a_reader_out_of_time),
        TEST(test_a_reader_out_of_time_while_bytes_come),
        TEST(test_the_readers_stream_is_reset),
        TEST(test_disconnecting_while_one_reads),
        TEST(test_cutting_while_one_reads),
        TEST(test_cutting_while_some_write),
        TEST(test_pings_are_answered_with_nobody_in_a_call),
        TEST(test_bytes_are_taken_with_nobody_in_a_call),
        TEST(test_time_is_kept_with_nobody_in_a_call),
        TEST(test_lost_while_one_reads),
        TEST(test_lost_while_a_ping_is_waited_for),
        TEST(test_the_daemon_goes_away_while_one_reads),
        TEST(test_forked_while_one_reads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
