/* The loop: readiness, timers, tasks, signals, and what is taken away in the middle of a turn. */
#include "cli/loop.h"

#include "fault.h"
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static struct cli_loop loop;
static char seen[256]; /* a letter for each thing that happened */
static size_t seen_count;

static void note(char letter)
{
    seen[seen_count++] = letter;
    seen[seen_count] = '\0';
}

static int setup(void **state)
{
    (void)state;
    struct error err;
    seen_count = 0;
    seen[0] = '\0';
    return cli_loop_init(&loop, &err);
}

static int teardown(void **state)
{
    (void)state;
    cli_loop_release(&loop);
    return 0;
}

struct line {
    struct cli_watch watch;
    int fds[2];
    char letter;
    struct line *other;
    bool stop;
};

static void line_open(struct line *line, char letter)
{
    *line = (struct line){.watch.fd = -1, .letter = letter};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, line->fds), 0);
}

static void line_close(struct line *line)
{
    cli_loop_remove(&loop, &line->watch);
    close(line->fds[0]);
    close(line->fds[1]);
}

static void on_line(struct cli_watch *watch, uint32_t events)
{
    struct line *line = CONTAINER_OF(watch, struct line, watch);
    char byte;
    assert_true((events & EPOLLIN) != 0);
    note(line->letter);
    assert_int_equal(read(watch->fd, &byte, 1), 1);
    if (line->other != NULL) {
        cli_loop_remove(&loop, &line->other->watch);
    }
    if (line->stop) {
        cli_loop_stop(&loop);
    }
}

static void test_reports_what_is_ready(void **state)
{
    (void)state;
    struct line a, b;
    line_open(&a, 'a');
    line_open(&b, 'b');
    b.stop = true;
    assert_int_equal(cli_loop_add(&loop, &a.watch, a.fds[0], EPOLLIN, on_line), 0);
    assert_int_equal(cli_loop_add(&loop, &b.watch, b.fds[0], EPOLLIN, on_line), 0);
    assert_int_equal(write(a.fds[1], "x", 1), 1);
    assert_int_equal(write(b.fds[1], "x", 1), 1);
    assert_int_equal(cli_loop_run(&loop), 0);
    assert_string_equal(seen, "ab");
    line_close(&a);
    line_close(&b);
}

/* Both are fetched in one go, and the first one takes the second away. */
static void test_nothing_is_reported_after_a_removal(void **state)
{
    (void)state;
    struct line a, b;
    line_open(&a, 'a');
    line_open(&b, 'b');
    a.other = &b;
    a.stop = false;
    assert_int_equal(cli_loop_add(&loop, &a.watch, a.fds[0], EPOLLIN, on_line), 0);
    assert_int_equal(cli_loop_add(&loop, &b.watch, b.fds[0], EPOLLIN, on_line), 0);
    assert_int_equal(write(a.fds[1], "xx", 2), 2);
    assert_int_equal(write(b.fds[1], "x", 1), 1);
    struct line end;
    line_open(&end, 'e');
    end.stop = true;
    assert_int_equal(cli_loop_add(&loop, &end.watch, end.fds[0], EPOLLIN, on_line), 0);
    assert_int_equal(write(end.fds[1], "x", 1), 1);
    assert_int_equal(cli_loop_run(&loop), 0);
    assert_string_equal(seen, "ae");
    cli_loop_remove(&loop, &b.watch);
    line_close(&a);
    line_close(&b);
    line_close(&end);
}

static void test_interest_can_be_taken_back(void **state)
{
    (void)state;
    struct line a, end;
    line_open(&a, 'a');
    line_open(&end, 'e');
    end.stop = true;
    assert_int_equal(cli_loop_add(&loop, &a.watch, a.fds[0], EPOLLIN, on_line), 0);
    assert_int_equal(cli_loop_add(&loop, &end.watch, end.fds[0], EPOLLIN, on_line), 0);
    cli_loop_change(&loop, &a.watch, 0);
    assert_int_equal(write(a.fds[1], "x", 1), 1);
    assert_int_equal(write(end.fds[1], "x", 1), 1);
    assert_int_equal(cli_loop_run(&loop), 0);
    assert_string_equal(seen, "e");
    cli_loop_change(&loop, &a.watch, EPOLLIN);
    a.stop = true;
    assert_int_equal(cli_loop_run(&loop), 0);
    assert_string_equal(seen, "ea");
    line_close(&a);
    line_close(&end);
}

static void test_files_cannot_be_watched(void **state)
{
    (void)state;
    struct cli_watch watch = {.fd = -1};
    FILE *file = tmpfile();
    assert_non_null(file);
    assert_int_equal(cli_loop_add(&loop, &watch, fileno(file), EPOLLIN, on_line), -EPERM);
    assert_int_equal(watch.fd, -1);
    assert_int_equal(fclose(file), 0);
}

struct clock {
    struct cli_timer timer;
    char letter;
    struct clock *stops;
    unsigned again;
    bool stop;
};

static void on_due(struct cli_timer *timer)
{
    struct clock *clock = CONTAINER_OF(timer, struct clock, timer);
    note(clock->letter);
    if (clock->stops != NULL) {
        cli_timer_stop(&clock->stops->timer);
    }
    if (clock->again > 0) {
        clock->again--;
        cli_timer_start(&loop, timer, cli_now_ms() + 1, on_due);
    } else if (clock->stop) {
        cli_loop_stop(&loop);
    }
}

static void test_timers(void **state)
{
    (void)state;
    struct clock never = {.letter = 'n'}, again = {.letter = 'a', .again = 3, .stop = true};
    struct clock stopped = {.letter = 's'}, first = {.letter = 'f', .stops = &stopped};
    uint64_t now = cli_now_ms();
    cli_timer_start(&loop, &never.timer, now + 3600000, on_due);
    cli_timer_start(&loop, &stopped.timer, now + 1, on_due);
    cli_timer_start(&loop, &again.timer, now + 2, on_due);
    cli_timer_start(&loop, &first.timer, now, on_due); /* in the list before those it stops */
    assert_int_equal(cli_loop_run(&loop), 0);
    assert_string_equal(seen, "faaaa");
    assert_true(cli_now_ms() >= now + 4);
    cli_timer_stop(&never.timer);
    cli_timer_stop(&never.timer);
}

/* One that is set anew has its new time only. */
static void test_a_timer_can_be_moved(void **state)
{
    (void)state;
    struct clock moved = {.letter = 'm'}, end = {.letter = 'e', .stop = true};
    cli_timer_start(&loop, &moved.timer, cli_now_ms(), on_due);
    cli_timer_start(&loop, &moved.timer, cli_now_ms() + 3600000, on_due);
    cli_timer_start(&loop, &end.timer, cli_now_ms() + 5, on_due);
    assert_int_equal(cli_loop_run(&loop), 0);
    assert_string_equal(seen, "e");
    cli_timer_stop(&moved.timer);
}

struct job {
    struct cli_task task;
    char letter;
    struct job *cancels, *queues;
    unsigned times;
};

static void on_job(struct cli_task *task)
{
    struct job *job = CONTAINER_OF(task, struct job, task);
    note(job->letter);
    if (job->cancels != NULL) {
        cli_task_cancel(&loop, &job->cancels->task);
    }
    if (job->queues != NULL && job->times > 0) {
        job->times--;
        cli_task_queue(&loop, &job->queues->task, on_job);
    } else if (job->queues != NULL) {
        cli_loop_stop(&loop);
    }
}

static void test_tasks(void **state)
{
    (void)state;
    struct job cancelled = {.letter = 'c'}, first = {.letter = '1', .cancels = &cancelled};
    struct job self = {.letter = 's', .times = 2};
    self.queues = &self;
    cli_task_queue(&loop, &first.task, on_job);
    cli_task_queue(&loop, &first.task, on_job); /* once is enough */
    cli_task_queue(&loop, &cancelled.task, on_job);
    cli_task_queue(&loop, &self.task, on_job);
    assert_int_equal(cli_loop_run(&loop), 0);
    assert_string_equal(seen, "1sss");
    cli_task_cancel(&loop, &first.task);
}

static void on_signal(struct cli_loop *of, int signal)
{
    note(signal == SIGTERM ? 'T' : 'I');
    if (seen_count == 2) {
        cli_loop_stop(of);
    }
}

static void test_signals(void **state)
{
    (void)state;
    struct error err;
    sigset_t mask;
    assert_int_equal(cli_loop_signals(&loop, on_signal, &err), 0);
    assert_int_equal(raise(SIGTERM), 0);
    assert_int_equal(raise(SIGINT), 0);
    assert_int_equal(cli_loop_run(&loop), 0);
    assert_int_equal(seen_count, 2);
    assert_non_null(strchr(seen, 'T'));
    assert_non_null(strchr(seen, 'I'));
    cli_loop_release(&loop);
    assert_int_equal(sigprocmask(SIG_BLOCK, NULL, &mask), 0);
    assert_false(sigismember(&mask, SIGTERM));
    assert_int_equal(cli_loop_init(&loop, &err), 0);
}

static void fail_to_begin(void *arg)
{
    (void)arg;
    struct cli_loop one;
    struct error err = ERROR_INIT;
    int r = cli_loop_init(&one, &err);
    if (r == 0) {
        r = cli_loop_signals(&one, on_signal, &err);
    }
    assert_true((r == 0) == (err.text[0] == '\0'));
    cli_loop_release(&one);
}

static void test_failures(void **state)
{
    (void)state;
    assert_true(fault_loop("loop", FAULT_EPOLL, fail_to_begin, NULL) >= 2);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_reports_what_is_ready),
        TEST(test_nothing_is_reported_after_a_removal),
        TEST(test_interest_can_be_taken_back),
        TEST(test_files_cannot_be_watched),
        TEST(test_timers),
        TEST(test_a_timer_can_be_moved),
        TEST(test_tasks),
        TEST(test_signals),
        TEST(test_failures),
    };
    return cmocka_run_group_tests_name("cli/loop", tests, NULL, NULL);
}
