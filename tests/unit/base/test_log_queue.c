/* The queue of lines and its thread, against a descriptor that does as it is told. */
#include "base/log_private.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define RING  (1024U * 1024U)
#define BATCH (64U * 1024U)

/* How long to wait for what must happen; only a failing test ever waits so long. */
#define PATIENCE_S 20

/* The other end of the writes. */
static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool shut;      /* writes block */
    bool is_inside; /* one does */
    int error;      /* writes fail with it, `failures` times; -1: they write nothing, and do not fail */
    unsigned failures;
    int then;    /* after the next write that does not fail, one fails with it */
    size_t most; /* bytes a write takes; 0: all of them */
    unsigned writes;
    size_t largest;
    char *text;
    size_t length;
    size_t capacity;
} sink = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static size_t take(const struct iovec *parts, int count)
{
    size_t room = sink.most > 0 ? sink.most : SIZE_MAX;
    size_t taken = 0;

    for (int i = 0; i < count; i++) {
        size_t length = parts[i].iov_len < room - taken ? parts[i].iov_len : room - taken;

        while (sink.length + length >= sink.capacity) {
            sink.capacity = sink.capacity > 0 ? 2 * sink.capacity : RING;
            sink.text = realloc(sink.text, sink.capacity);
        }
        memcpy(sink.text + sink.length, parts[i].iov_base, length);
        sink.length += length;
        sink.text[sink.length] = '\0'; /* for who scans it as a string */
        taken += length;
    }
    return taken;
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    size_t size = 0;
    ssize_t result;

    (void)fd;
    for (int i = 0; i < count; i++) {
        size += parts[i].iov_len;
    }
    pthread_mutex_lock(&sink.lock);
    sink.is_inside = true;
    pthread_cond_broadcast(&sink.changed);
    while (sink.shut) {
        pthread_cond_wait(&sink.changed, &sink.lock);
    }
    sink.is_inside = false;
    sink.writes++;
    if (size > sink.largest) {
        sink.largest = size;
    }
    if (sink.failures > 0) {
        sink.failures--;
        errno = sink.error;
        result = sink.error == -1 ? 0 : -1;
    } else {
        result = (ssize_t)take(parts, count);
        sink.failures = sink.then != 0;
        sink.error = sink.then;
        sink.then = 0;
    }
    pthread_cond_broadcast(&sink.changed);
    pthread_mutex_unlock(&sink.lock);
    return result;
}

static void set_shut(bool shut)
{
    pthread_mutex_lock(&sink.lock);
    sink.shut = shut;
    pthread_cond_broadcast(&sink.changed);
    pthread_mutex_unlock(&sink.lock);
}

static void set_failing(int error, unsigned times)
{
    pthread_mutex_lock(&sink.lock);
    sink.error = error;
    sink.failures = times;
    pthread_mutex_unlock(&sink.lock);
}

static void set_most(size_t most)
{
    pthread_mutex_lock(&sink.lock);
    sink.most = most;
    pthread_mutex_unlock(&sink.lock);
}

/* Waits until `holds` does, as any change of the sink may make it. */
static void wait_until(bool (*holds)(size_t value), size_t value)
{
    struct timespec until;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += PATIENCE_S;
    pthread_mutex_lock(&sink.lock);
    while (!holds(value)) {
        if (pthread_cond_timedwait(&sink.changed, &sink.lock, &until) == ETIMEDOUT) {
            fail_msg("nothing happened");
        }
    }
    pthread_mutex_unlock(&sink.lock);
}

static bool has_length(size_t length)
{
    return sink.length >= length;
}

static bool is_inside(size_t value)
{
    (void)value;
    return sink.is_inside;
}

static struct log_queue *queue;
static uint64_t dropped_before;

static int setup(void **state)
{
    (void)state;
    free(sink.text);
    sink.text = NULL;
    sink.length = sink.capacity = sink.most = sink.largest = 0;
    sink.failures = sink.writes = 0;
    sink.shut = false;
    log_set(LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    dropped_before = log_dropped();
    return log_queue_start(-1, &queue);
}

static void push(const char *line)
{
    log_queue_push(queue, line, strlen(line));
}

static void stop(void)
{
    assert_true(log_queue_stop(queue, PATIENCE_S * 1000));
}

static uint64_t dropped(void)
{
    return log_dropped() - dropped_before;
}

/* A failing write is over when its lines are counted: only then may a test push lines that are to pass. */
static void wait_dropped(uint64_t lines)
{
    const struct timespec moment = {.tv_nsec = 1000000};

    for (int i = 0; dropped() < lines; i++) {
        if (i == PATIENCE_S * 1000) {
            fail_msg("nothing was dropped");
        }
        nanosleep(&moment, NULL);
    }
}

static void assert_written(const char *expected)
{
    assert_int_equal(sink.length, strlen(expected));
    assert_memory_equal(sink.text, expected, sink.length);
}

/* Has the thread stuck in a write of the line "first", so that what follows stays in the queue. */
static void block(void)
{
    set_shut(true);
    push("first\n");
    wait_until(is_inside, 0);
}

static void test_starts_and_stops(void **state)
{
    (void)state;
    stop();
    assert_int_equal(sink.writes, 0);
    assert_int_equal(dropped(), 0);
}

static void test_writes_in_order(void **state)
{
    (void)state;
    push("one\n");
    push("two\n");
    push("three\n");
    stop();
    assert_written("one\ntwo\nthree\n");
    assert_int_equal(dropped(), 0);
}

static void test_lone_line_goes_at_once(void **state)
{
    (void)state;
    push("one\n");
    wait_until(has_length, 4);
    stop();
}

/* Many times around the ring, in writes that take any number of bytes. */
static void test_wraps(void **state)
{
    char line[64];
    size_t pushed = 0;
    char *at;

    (void)state;
    set_most(7919);
    for (unsigned i = 0; i < 100000; i++) {
        size_t length = (size_t)snprintf(line, sizeof(line), "%u %.*s\n", i, (int)(i % 40),
                                         "........................................");

        log_queue_push(queue, line, length);
        pushed += length;
        if (i % 1000 == 0) {
            wait_until(has_length, pushed > RING / 2 ? pushed - RING / 2 : 0);
        }
    }
    stop();
    assert_int_equal(sink.length, pushed);
    at = sink.text;
    for (unsigned i = 0; i < 100000; i++) {
        size_t length = (size_t)snprintf(line, sizeof(line), "%u %.*s\n", i, (int)(i % 40),
                                         "........................................");

        assert_memory_equal(at, line, length);
        at += length;
    }
    assert_int_equal(dropped(), 0);
}

static void test_gathers_lines(void **state)
{
    size_t length = strlen("first\n");

    (void)state;
    block();
    for (int i = 0; i < 10000; i++) {
        push("a line like another\n");
        length += strlen("a line like another\n");
    }
    set_shut(false);
    stop();
    assert_int_equal(sink.length, length);
    assert_true(sink.largest <= BATCH);
    /* the first, and the fewest that carry the rest */
    assert_int_equal(sink.writes, 1 + (length + BATCH - 1) / BATCH);
}

/* What does not fit is counted exactly, and told where it is missing. */
static void test_full(void **state)
{
    char line[1024];
    unsigned fit = (RING - (unsigned)strlen("first\n")) / sizeof(line);
    char *told;
    unsigned lines, since_start;

    (void)state;
    block();
    memset(line, 'x', sizeof(line));
    line[sizeof(line) - 1] = '\n';
    for (unsigned i = 0; i < fit + 7; i++) {
        log_queue_push(queue, line, sizeof(line));
    }
    assert_int_equal(dropped(), 7);
    set_shut(false);
    wait_until(has_length, 6 + fit * sizeof(line));
    push("last\n");
    stop();
    assert_int_equal(dropped(), 7);
    told = memmem(sink.text, sink.length, "log lines dropped", 17);
    assert_non_null(told);
    assert_int_equal(sscanf(told, "log lines dropped lines=%u since_start=%u", &lines, &since_start), 2);
    assert_int_equal(lines, 7);
    assert_int_equal(since_start, log_dropped());
    assert_int_equal(sink.text[6 + fit * sizeof(line) - 1], '\n');
    assert_true(told > sink.text + 6 + fit * sizeof(line));
    assert_null(memmem(told + 1, sink.length - (size_t)(told + 1 - sink.text), "log lines dropped", 17));
    assert_memory_equal(sink.text + sink.length - 5, "last\n", 5);
}

/* Below the level nothing is told, but the number is there for the metrics. */
static void test_drops_untold(void **state)
{
    char line[1024];

    (void)state;
    log_set(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
    block();
    memset(line, '\n', sizeof(line));
    for (unsigned i = 0; i < RING / sizeof(line) + 1; i++) {
        log_queue_push(queue, line, sizeof(line));
    }
    set_shut(false);
    stop();
    assert_int_equal(dropped(), 2);
    assert_null(memmem(sink.text, sink.length, "dropped", 7));
}

/* A descriptor that fails costs the lines, not the processor: one try for each new line, no more. */
static void test_failing(void **state)
{
    (void)state;
    set_failing(EIO, 1);
    push("lost\n");
    wait_dropped(1);
    push("written\n");
    wait_until(has_length, 8);
    stop();
    assert_int_equal(dropped(), 1);
    assert_int_equal(sink.writes, 3);
    assert_memory_equal(sink.text, "written\n", 8);
    assert_non_null(memmem(sink.text, sink.length, "log lines dropped lines=1 ", 26));
}

static void test_writes_nothing(void **state)
{
    (void)state;
    set_failing(-1, 1);
    push("lost\n");
    wait_dropped(1);
    stop();
    assert_int_equal(dropped(), 1);
    assert_int_equal(sink.writes, 1);
}

static void test_fails_to_the_end(void **state)
{
    (void)state;
    set_failing(EPIPE, 1000);
    for (int i = 0; i < 5; i++) {
        push("lost\n");
    }
    stop();
    assert_int_equal(dropped(), 5);
    assert_true(sink.writes <= 5);
    assert_written("");
}

/* Writes that end within a line are gone on with. */
static void test_torn(void **state)
{
    (void)state;
    set_most(6);
    push("torn apart\n");
    push("and again\n");
    stop();
    assert_written("torn apart\nand again\n");
}

/* A line whose end is lost does not become the beginning of the next. */
static void test_torn_and_failing(void **state)
{
    (void)state;
    set_most(4);
    sink.then = ENOSPC;
    push("torn apart\n");
    wait_until(has_length, 4);
    wait_dropped(1);
    /* still failing: the newline that is owed stays owed, and is not counted as a line */
    set_failing(ENOSPC, 1);
    push("lost too\n");
    wait_dropped(2);
    set_most(0);
    push("whole\n");
    wait_until(has_length, 11);
    stop();
    assert_memory_equal(sink.text, "torn\nwhole\n", 11);
    assert_int_equal(dropped(), 2);
    assert_non_null(memmem(sink.text, sink.length, "log lines dropped lines=2 ", 26));
}

static void test_interrupted(void **state)
{
    (void)state;
    set_failing(EINTR, 3);
    push("one\n");
    wait_until(has_length, 4);
    stop();
    assert_written("one\n");
    assert_int_equal(dropped(), 0);
}

static void test_not_ready(void **state)
{
    struct log_queue *nonblocking;
    int fds[2];

    (void)state;
    stop();
    assert_int_equal(pipe(fds), 0);
    assert_int_equal(log_queue_start(fds[1], &nonblocking), 0);
    set_failing(EAGAIN, 3);
    log_queue_push(nonblocking, "one\n", 4);
    wait_until(has_length, 4);
    assert_true(log_queue_stop(nonblocking, PATIENCE_S * 1000));
    assert_written("one\n");
    close(fds[0]);
    close(fds[1]);
}

/* A stuck reader is left behind, with the thread and what it holds; what it did not take is counted. */
static void test_abandons_a_stuck_reader(void **state)
{
    (void)state;
    block();
    push("second\n");
    push("third\n");
    assert_false(log_queue_stop(queue, 20));
    assert_int_equal(dropped(), 3);
    set_shut(false);
    wait_until(has_length, strlen("first\nsecond\nthird\n"));
}

#define THREADS 4
#define LINES   20000

static void *push_many(void *arg)
{
    unsigned id = *(unsigned *)arg;
    char line[32];

    for (unsigned i = 0; i < LINES; i++) {
        log_queue_push(queue, line, (size_t)snprintf(line, sizeof(line), "%u %u\n", id, i));
    }
    return NULL;
}

/* Each line is there whole, in the order of its thread, or counted. */
static void test_many_threads(void **state)
{
    pthread_t threads[THREADS];
    unsigned ids[THREADS];
    unsigned next[THREADS] = {0};
    uint64_t lines = 0;
    char *at, *end;

    (void)state;
    set_most(9973);
    for (unsigned i = 0; i < THREADS; i++) {
        ids[i] = i;
        assert_int_equal(pthread_create(&threads[i], NULL, push_many, &ids[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    set_most(0);
    stop();
    for (at = sink.text; at < sink.text + sink.length; at = end + 1) {
        unsigned id, number;

        end = memchr(at, '\n', (size_t)(sink.text + sink.length - at));
        assert_non_null(end);
        *end = '\0';
        if (strstr(at, "log lines dropped")) {
            continue;
        }
        assert_int_equal(sscanf(at, "%u %u", &id, &number), 2);
        assert_true(id < THREADS && number >= next[id]);
        next[id] = number + 1;
        lines++;
    }
    assert_int_equal(lines + dropped(), THREADS * LINES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_starts_and_stops, setup),
        cmocka_unit_test_setup(test_writes_in_order, setup),
        cmocka_unit_test_setup(test_lone_line_goes_at_once, setup),
        cmocka_unit_test_setup(test_wraps, setup),
        cmocka_unit_test_setup(test_gathers_lines, setup),
        cmocka_unit_test_setup(test_full, setup),
        cmocka_unit_test_setup(test_drops_untold, setup),
        cmocka_unit_test_setup(test_failing, setup),
        cmocka_unit_test_setup(test_writes_nothing, setup),
        cmocka_unit_test_setup(test_fails_to_the_end, setup),
        cmocka_unit_test_setup(test_torn, setup),
        cmocka_unit_test_setup(test_torn_and_failing, setup),
        cmocka_unit_test_setup(test_interrupted, setup),
        cmocka_unit_test_setup(test_not_ready, setup),
        cmocka_unit_test_setup(test_many_threads, setup),
        cmocka_unit_test_setup(test_abandons_a_stuck_reader, setup),
    };
    int failed = cmocka_run_group_tests_name("log_queue", tests, NULL, NULL);

    free(sink.text);
    return failed;
}
