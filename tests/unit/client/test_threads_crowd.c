/* The threaded style, from several threads at once. */
#include "client/clock.h"
#include "threads_bench.h"
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct crowd {
    struct postern_stream *stream;
    size_t bytes;
    unsigned seed;
    atomic_uint done;
    atomic_bool failed;
};

static uint8_t value(unsigned seed, size_t i)
{
    return (uint8_t)(i * 31 + i / 253 + seed);
}

static void *send_pattern(void *arg)
{
    struct crowd *crowd = arg;
    uint8_t chunk[10007];
    size_t sent = 0;

    while (sent < crowd->bytes) {
        size_t size = crowd->bytes - sent < sizeof chunk ? crowd->bytes - sent : sizeof chunk;
        for (size_t i = 0; i < size; i++) {
            chunk[i] = value(crowd->seed, sent + i);
        }
        if (postern_write(crowd->stream, chunk, size, LONG_MS, NULL) != (ssize_t)size) {
            break;
        }
        sent += size;
    }
    if (postern_finish(crowd->stream, NULL) != 0 || sent != crowd->bytes) {
        atomic_store(&crowd->failed, true);
    }
    return NULL;
}

static void *check_pattern(void *arg)
{
    struct crowd *crowd = arg;
    uint8_t chunk[16384];
    size_t heard = 0;
    ssize_t n;

    while ((n = postern_read(crowd->stream, chunk, sizeof chunk, LONG_MS, NULL)) > 0) {
        for (ssize_t i = 0; i < n; i++) {
            if (chunk[i] != value(crowd->seed, heard + (size_t)i)) {
                atomic_store(&crowd->failed, true);
            }
        }
        heard += (size_t)n;
    }
    if (n != 0 || heard != crowd->bytes) {
        atomic_store(&crowd->failed, true);
    }
    return NULL;
}

/* Each stream is written by one thread and read by another, all at the same time. */
static void test_many_streams_at_once(void **state)
{
    enum { CROWD = 12 };
    static struct crowd crowd[CROWD];
    pthread_t writers[CROWD], readers[CROWD];

    (void)state;
    connect_door();
    memset(crowd, 0, sizeof crowd);
    for (unsigned i = 0; i < CROWD; i++) {
        crowd[i].stream = open_route("echo");
        crowd[i].bytes = 300000 + 1000 * i;
        crowd[i].seed = i;
        assert_int_equal(pthread_create(&writers[i], NULL, send_pattern, &crowd[i]), 0);
        assert_int_equal(pthread_create(&readers[i], NULL, check_pattern, &crowd[i]), 0);
    }
    for (unsigned i = 0; i < CROWD; i++) {
        pthread_join(writers[i], NULL);
        pthread_join(readers[i], NULL);
        assert_false(atomic_load(&crowd[i].failed));
        postern_close(crowd[i].stream);
    }
}

static void *open_and_close(void *arg)
{
    struct crowd *crowd = arg;
    char buffer[100];

    for (int i = 0; i < 50; i++) {
        struct postern_stream *stream;
        if (postern_open(door, i % 7 == 0 ? "refuse" : "echo", NULL, &stream, NULL) != 0 ||
            (postern_write(stream, "hello", 5, LONG_MS, NULL) != 5 && i % 7 != 0) ||
            (i % 3 != 0 && postern_read(stream, buffer, sizeof buffer, LONG_MS, NULL) < 1 && i % 7 != 0)) {
            atomic_store(&crowd->failed, true);
        }
        postern_close(stream);
    }
    return NULL;
}

static void test_many_short_streams_at_once(void **state)
{
    enum { CROWD = 8 };
    static struct crowd crowd[CROWD];
    pthread_t threads[CROWD];

    (void)state;
    options.max_streams = CROWD;
    connect_door();
    memset(crowd, 0, sizeof crowd);
    for (int i = 0; i < CROWD; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, open_and_close, &crowd[i]), 0);
    }
    for (int i = 0; i < CROWD; i++) {
        pthread_join(threads[i], NULL);
        assert_false(atomic_load(&crowd[i].failed));
    }
}

struct note {
    unsigned number;
};

static void *look_at_notes(void *arg)
{
    struct crowd *crowd = arg;
    const struct note *note;
    unsigned last = 0;

    do {
        note = postern_user(crowd->stream);
        if (note) {
            if (note->number < last) {
                atomic_store(&crowd->failed, true);
            }
            last = note->number;
        }
    } while (last < crowd->bytes);
    return NULL;
}

/* What the pointer leads to is there as soon as it is; the thread sanitizer sees to it. */
static void test_a_streams_pointer_is_for_all_threads(void **state)
{
    enum { NOTES = 1000 };
    static struct note notes[NOTES];
    struct crowd crowd = {.bytes = NOTES};
    pthread_t reader;

    (void)state;
    connect_door();
    crowd.stream = open_route("echo");
    assert_null(postern_user(crowd.stream));
    assert_int_equal(pthread_create(&reader, NULL, look_at_notes, &crowd), 0);
    for (unsigned i = 0; i < NOTES; i++) {
        notes[i].number = i + 1;
        postern_set_user(crowd.stream, &notes[i]);
    }
    pthread_join(reader, NULL);
    assert_false(atomic_load(&crowd.failed));
    postern_close(crowd.stream);
}

static void *read_bytes(void *arg)
{
    struct crowd *crowd = arg;
    char buffer[1000];
    ssize_t n;

    while ((n = postern_read(crowd->stream, buffer, sizeof buffer, LONG_MS, NULL)) > 0) {
        atomic_fetch_add(&crowd->done, (unsigned)n);
    }
    if (n != 0) {
        atomic_store(&crowd->failed, true);
    }
    return NULL;
}

static void *write_bytes(void *arg)
{
    struct crowd *crowd = arg;
    static const char buffer[70000];

    for (int i = 0; i < 10; i++) {
        if (postern_write(crowd->stream, buffer, sizeof buffer, LONG_MS, NULL) != sizeof buffer) {
            atomic_store(&crowd->failed, true);
        }
    }
    return NULL;
}

/* Three write it and three read it: nothing is lost, whoever gets it. */
static void test_one_stream_shared(void **state)
{
    struct crowd crowd = {.stream = NULL};
    pthread_t writers[3], readers[3];

    (void)state;
    connect_door();
    crowd.stream = open_route("echo");
    for (int i = 0; i < 3; i++) {
        assert_int_equal(pthread_create(&readers[i], NULL, read_bytes, &crowd), 0);
        assert_int_equal(pthread_create(&writers[i], NULL, write_bytes, &crowd), 0);
    }
    for (int i = 0; i < 3; i++) {
        pthread_join(writers[i], NULL);
    }
    assert_int_equal(postern_finish(crowd.stream, &err), 0);
    for (int i = 0; i < 3; i++) {
        pthread_join(readers[i], NULL);
    }
    assert_false(atomic_load(&crowd.failed));
    assert_int_equal(atomic_load(&crowd.done), 3 * 10 * 70000);
    postern_close(crowd.stream);
}

/* postern_finish() while others still write: what they began goes first. */
static void test_the_end_comes_after_what_is_being_written(void **state)
{
    struct crowd crowd = {.bytes = 2000000};
    pthread_t writer, reader;
    char text[32] = "";

    (void)state;
    connect_door();
    crowd.stream = open_route("sink");
    assert_int_equal(pthread_create(&writer, NULL, write_bytes, &crowd), 0);
    pthread_join(writer, NULL);
    assert_int_equal(postern_finish(crowd.stream, &err), 0);
    assert_int_equal(postern_read(crowd.stream, text, sizeof text - 1, LONG_MS, &err), 6);
    assert_string_equal(text, "700000");
    postern_close(crowd.stream);
    crowd.stream = open_route("stall");
    assert_int_equal(pthread_create(&reader, NULL, send_pattern, &crowd), 0);
    wait_for_figure(&server.opens, 2);
    while (postern_write(crowd.stream, "x", 1, 1, NULL) > 0) {
    }
    assert_int_equal(postern_finish(crowd.stream, NULL), 0);
    postern_reset(crowd.stream, 0);
    pthread_join(reader, NULL);
    assert_true(atomic_load(&crowd.failed));
    postern_close(crowd.stream);
}

static void *wait_to_read(void *arg)
{
    struct crowd *crowd = arg;

    atomic_fetch_add(&crowd->done, 1);
    crowd->seed = (unsigned)-postern_read(crowd->stream, &(char){0}, 1, LONG_MS, NULL);
    return NULL;
}

static void *wait_to_write(void *arg)
{
    struct crowd *crowd = arg;
    static const char bytes[1 << 20];
    ssize_t n;

    atomic_fetch_add(&crowd->done, 1);
    while ((n = postern_write(crowd->stream, bytes, sizeof bytes, LONG_MS, NULL)) > 0) {
    }
    crowd->seed = (unsigned)-n;
    return NULL;
}

static void *wait_for_ready(void *arg)
{
    struct crowd *crowd = arg;

    atomic_fetch_add(&crowd->done, 1);
    crowd->seed = (unsigned)-postern_ping(door, LONG_MS, NULL, NULL);
    return NULL;
}

/* Ends the waiting of a reader and a writer of one stream, and returns what they were told. */
static void wake_waiters(void (*end)(struct postern_stream *stream), struct crowd told[2])
{
    struct postern_stream *stream = open_route("stall");
    pthread_t threads[2];

    memset(told, 0, 2 * sizeof told[0]);
    told[0].stream = told[1].stream = stream;
    assert_int_equal(postern_wait_opened(stream, LONG_MS, &err), 0);
    assert_int_equal(pthread_create(&threads[0], NULL, wait_to_read, &told[0]), 0);
    assert_int_equal(pthread_create(&threads[1], NULL, wait_to_write, &told[1]), 0);
    while (atomic_load(&told[0].done) + atomic_load(&told[1].done) < 2) {
        usleep(100);
    }
    usleep(2000); /* most likely they wait by now; it has to hold either way */
    end(stream);
    pthread_join(threads[0], NULL);
    pthread_join(threads[1], NULL);
}

static void end_by_reset(struct postern_stream *stream)
{
    postern_reset(stream, 0);
}

static void end_by_loss(struct postern_stream *stream)
{
    (void)stream;
    server_cut(&server);
}

static void end_by_disconnecting(struct postern_stream *stream)
{
    (void)stream;
    postern_disconnect(door, LONG_MS);
    door = NULL;
}

static void test_wakes_those_who_wait(void **state)
{
    struct crowd told[2];

    (void)state;
    connect_door();
    wake_waiters(end_by_reset, told);
    assert_int_equal(told[0].seed, ESHUTDOWN);
    assert_int_equal(told[1].seed, ESHUTDOWN);
    postern_close(told[0].stream);
    wake_waiters(end_by_loss, told);
    assert_int_equal(told[0].seed, ENOTCONN);
    assert_int_equal(told[1].seed, ENOTCONN);
    postern_close(told[0].stream);
    wake_waiters(end_by_disconnecting, told);
    assert_int_equal(told[0].seed, ESHUTDOWN);
    assert_int_equal(told[1].seed, ESHUTDOWN);
    postern_close(told[0].stream);
}

static void test_two_pings_at_once(void **state)
{
    struct crowd told[2] = {{.bytes = 0}, {.bytes = 0}};
    pthread_t threads[2];

    (void)state;
    connect_door();
    server_set_deaf(&server, true);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, wait_for_ready, &told[i]), 0);
    }
    while (atomic_load(&told[0].done) + atomic_load(&told[1].done) < 2) {
        usleep(100);
    }
    server_set_deaf(&server, false);
    for (int i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(told[i].seed, 0);
    }
}

/* The daemon reads nothing for a while: sockets fill up, and whoever sends leaves the rest to the thread. */
static void test_a_daemon_that_does_not_read(void **state)
{
    static struct crowd crowd[8];
    pthread_t writers[8], readers[8];

    (void)state;
    connect_door();
    memset(crowd, 0, sizeof crowd);
    for (unsigned i = 0; i < 8; i++) {
        crowd[i].stream = open_route("echo");
        crowd[i].bytes = 1000000;
        assert_int_equal(postern_wait_opened(crowd[i].stream, LONG_MS, &err), 0);
    }
    server_set_deaf(&server, true);
    for (unsigned i = 0; i < 8; i++) {
        assert_int_equal(pthread_create(&writers[i], NULL, send_pattern, &crowd[i]), 0);
        assert_int_equal(pthread_create(&readers[i], NULL, check_pattern, &crowd[i]), 0);
    }
    usleep(5000);
    server_set_deaf(&server, false);
    for (unsigned i = 0; i < 8; i++) {
        pthread_join(writers[i], NULL);
        pthread_join(readers[i], NULL);
        assert_false(atomic_load(&crowd[i].failed));
        postern_close(crowd[i].stream);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_many_streams_at_once),        TEST(test_many_short_streams_at_once),
        TEST(test_one_stream_shared),           TEST(test_the_end_comes_after_what_is_being_written),
        TEST(test_wakes_those_who_wait),        TEST(test_two_pings_at_once),
        TEST(test_a_daemon_that_does_not_read), TEST(test_a_streams_pointer_is_for_all_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
