/* A stream to a `time` route, over a socket; tests/system/test_time.py has it over sessions. */
#include "daemon/time_stream.h"

#include "fault.h"
#include "loopback.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static struct loopback bench;
static struct config_route route;
static struct time_stream stream;
static uint64_t moved_in, moved_out;
static unsigned ended;
static int client = -1;

static void on_moved(struct time_stream *time, uint64_t in, uint64_t out)
{
    assert_ptr_equal(time, &stream);
    moved_in += in;
    moved_out += out;
}

static void on_ended(struct time_stream *time)
{
    assert_ptr_equal(time, &stream);
    ended++;
}

static const struct time_stream_ops ops = {.moved = on_moved, .ended = on_ended};

static void begin(void)
{
    const struct sock_kind_options kind = {.kind = ADDR_UNIX};
    int fds[2];
    pair_of_unix(fds);
    client = fds[0];
    moved_in = moved_out = ended = 0;
    time_stream_start(&stream, &bench.loop, &ops, &route, fds[1], &kind);
    assert_int_equal(ended, 0); /* not from inside */
}

static int setup(void **state)
{
    (void)state;
    loopback_open(&bench);
    config_route_init(&route);
    route.idle_timeout_ms = 60000;
    begin();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    if (client >= 0) {
        close(client);
        client = -1;
    }
    time_stream_end(&stream, REASON_SHUTDOWN);
    time_stream_end(&stream, REASON_SHUTDOWN);
    WAIT_FOR(&bench, ended > 0);
    assert_int_equal(ended, 1);
    loopback_close(&bench);
    return 0;
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void say(const char *bytes, size_t length)
{
    assert_int_equal(send(client, bytes, length, MSG_NOSIGNAL), length);
}

static void hear(uint8_t *bytes, size_t length)
{
    size_t got = 0;
    while (got < length) {
        ssize_t n = recv(client, bytes + got, length - got, MSG_DONTWAIT);
        got += n > 0 ? (size_t)n : 0;
        if (n <= 0) {
            assert_true(n < 0 && errno == EAGAIN);
            loopback_turn(&bench);
        }
    }
}

static void assert_answer(const uint8_t answer[16], const char *ask, uint64_t before)
{
    uint64_t told = 0;
    assert_memory_equal(answer, ask, 8);
    for (unsigned i = 8; i < 16; i++) {
        told = told << 8 | answer[i];
    }
    assert_true(told >= before && told <= now_ns());
}

static void test_a_question_is_answered(void **state)
{
    uint8_t answer[16];
    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        uint64_t before = now_ns();
        say("question", 8);
        hear(answer, 16);
        assert_answer(answer, "question", before);
    }
    assert_int_equal(moved_in, 24);
    assert_int_equal(moved_out, 48);
    assert_int_equal(stream.bytes_in, 24);
    assert_int_equal(stream.bytes_out, 48);
}

/* In pieces, and more than one at once, of which the last is never whole. */
static void test_questions_of_every_size(void **state)
{
    uint8_t answers[48];
    uint64_t before = now_ns();
    (void)state;
    say("one", 3);
    WAIT_FOR(&bench, moved_in == 3);
    say("-----two-----three---", 21);
    hear(answers, 48);
    assert_answer(answers, "one-----", before);
    assert_answer(answers + 16, "two-----", before);
    assert_answer(answers + 32, "three---", before);
    say("four", 4);
    shutdown(client, SHUT_WR);
    WAIT_FOR(&bench, ended == 1);
    assert_int_equal(stream.why, REASON_FINISHED);
    assert_int_equal(recv(client, answers, 1, 0), 0);
}

/* More questions than a turn has, from somebody who does not read the answers: they are not read either. */
static void test_somebody_who_asks_and_does_not_listen(void **state)
{
    static char questions[1 << 20];
    ssize_t sent = 0, n;
    uint8_t answer[16];
    (void)state;
    do {
        n = send(client, questions, sizeof questions, MSG_DONTWAIT | MSG_NOSIGNAL);
        sent += n > 0 ? n : 0;
        uint64_t before = moved_out;
        loopback_pass(&bench, 1);
        if (n < 0 && moved_out == before) {
            break;
        }
    } while (true);
    assert_true(moved_in < (uint64_t)sent);
    assert_true(moved_out > 2 * TIME_STREAM_TURN * TIME_STREAM_ANSWER);
    for (uint64_t i = 0; i < (uint64_t)sent / 8; i++) {
        hear(answer, 16);
        assert_memory_equal(answer, questions, 8);
    }
}

static void test_one_who_says_nothing_is_ended(void **state)
{
    (void)state;
    time_stream_end(&stream, REASON_SHUTDOWN);
    WAIT_FOR(&bench, ended == 1);
    close(client);
    route.idle_timeout_ms = 1;
    begin();
    WAIT_FOR(&bench, ended == 1);
    assert_int_equal(stream.why, REASON_IDLE_TIMEOUT);
}

static void test_one_who_aborts(void **state)
{
    (void)state;
    say("question", 8);
    /* With an answer unread, the close of a unix socket is a reset. */
    WAIT_FOR(&bench, moved_out == 16);
    close(client);
    client = -1;
    WAIT_FOR(&bench, ended == 1);
    assert_int_equal(stream.why, REASON_CLIENT_RESET);
}

static void start_once(void *unused)
{
    (void)unused;
    fault_spare(true);
    const struct sock_kind_options kind = {.kind = ADDR_UNIX};
    int fds[2];
    pair_of_unix(fds);
    ended = 0;
    fault_spare(false);
    time_stream_start(&stream, &bench.loop, &ops, &route, fds[1], &kind);
    close(fds[0]);
    WAIT_FOR(&bench, ended == 1);
}

static void test_faults(void **state)
{
    (void)state;
    time_stream_end(&stream, REASON_SHUTDOWN);
    WAIT_FOR(&bench, ended == 1);
    assert_true(fault_loop("time_stream", FAULT_EPOLL | FAULT_FCNTL, start_once, NULL) >= 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_question_is_answered),
        TEST(test_questions_of_every_size),
        TEST(test_somebody_who_asks_and_does_not_listen),
        TEST(test_one_who_says_nothing_is_ended),
        TEST(test_one_who_aborts),
        TEST(test_faults),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
