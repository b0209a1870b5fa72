/* The app's output on its way to a daemon, through good days and bad ones. */
#include "cli/run_log.h"

#include "fault.h"
#include "run_bench.h"
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static struct run_bench bench;
static struct run_log logs;
static int out; /* what the app has as its standard output */
static bool done;

static void make_log(void)
{
    struct error err = ERROR_INIT;

    assert_int_equal(run_log_init(&logs, &bench.wire, "log", LINES_SIZE_MIN, &bench.tell, &err), 0);
    out = fcntl(run_log_fd(&logs, RUN_LOG_OUT), F_DUPFD_CLOEXEC, 3);
    assert_true(out >= 0);
    run_log_given(&logs);
    assert_int_equal(run_log_fd(&logs, RUN_LOG_ERR), -1);
}

static int setup(void **state)
{
    (void)state;
    done = false;
    run_bench_start(&bench);
    make_log();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    if (out >= 0) {
        close(out);
    }
    run_log_release(&logs);
    run_bench_stop(&bench);
    return 0;
}

static void on_done(struct run_log *log UNUSED)
{
    done = true;
}

static void say(const char *text)
{
    assert_int_equal(write(out, text, strlen(text)), strlen(text));
}

static const char *logged(unsigned name)
{
    return text_string(&bench.far.logged[name]);
}

static bool has(unsigned name, const char *text)
{
    return strstr(logged(name), text) != NULL;
}

static void test_lines_arrive_under_their_names(void **state)
{
    (void)state;
    say("one\ntwo\nthr");
    run_log_own(&logs, "started");
    WAIT_FOR(&bench.loop, has(FAR_STDOUT, "two\n") && has(FAR_POSTERN, "started\n"));
    say("ee\n");
    WAIT_FOR(&bench.loop, has(FAR_STDOUT, "three\n"));
    assert_string_equal(logged(FAR_STDOUT), "one\ntwo\nthree\n");
    assert_string_equal(logged(FAR_STDERR), "");
    assert_int_equal(bench.far.live, 2); /* one that has nothing to say has no stream */
}

static void test_the_end_sends_the_last_and_ends_the_streams(void **state)
{
    (void)state;
    say("one\n");
    WAIT_FOR(&bench.loop, has(FAR_STDOUT, "one\n"));
    /* In the pipe, and without a newline; some process has it open still. */
    say("two\nlast words");
    run_log_end(&logs, on_done);
    WAIT_FOR(&bench.loop, done);
    assert_string_equal(logged(FAR_STDOUT), "one\ntwo\nlast words\n");
    assert_int_equal(bench.far.live, 0);
    assert_string_equal(bench.far.told, "");
}

static void test_the_end_of_one_who_said_nothing(void **state)
{
    (void)state;
    close(out);
    out = -1;
    WAIT_FOR(&bench.loop, logs.sources[RUN_LOG_OUT].read_end < 0);
    run_log_end(&logs, on_done);
    WAIT_FOR(&bench.loop, done);
    assert_int_equal(bench.far.opened, 0);
}

static void test_lines_wait_for_a_daemon(void **state)
{
    (void)state;
    run_bench_stop_far(&bench);
    say("early\n");
    WAIT_FOR(&bench.loop, run_bench_told(&bench, "there is no session with the daemon: "));
    run_bench_start_far(&bench);
    WAIT_FOR(&bench.loop, has(FAR_STDOUT, "early\n"));
    assert_true(run_bench_told(&bench, "there is a session with the daemon"));
}

/* The ring holds less than is said: the oldest go, with a word, and the app is not held up. */
static void test_a_flood_while_nobody_takes_it(void **state)
{
    char line[128], last[16];
    unsigned said = 0;
    size_t written = 0;

    (void)state;
    run_bench_stop_far(&bench);
    while (written < 4 * LINES_SIZE_MIN) {
        int length = snprintf(line, sizeof line, "%07u %090d\n", said++, 0);

        assert_int_equal(write(out, line, (size_t)length), length);
        written += (size_t)length;
        far_turn(&bench.loop);
    }
    run_bench_start_far(&bench);
    snprintf(last, sizeof last, "%07u ", said - 1);
    WAIT_FOR(&bench.loop, has(FAR_STDOUT, last));
    assert_true(logs.sources[RUN_LOG_OUT].lines.dropped > 0);
    assert_true(has(FAR_STDOUT, "postern: "));
    assert_true(has(FAR_STDOUT, " dropped here\n"));
}

static void test_a_session_that_breaks_is_followed_by_another(void **state)
{
    (void)state;
    say("one\n");
    WAIT_FOR(&bench.loop, has(FAR_STDOUT, "one\n"));
    far_cut(&bench.far);
    say("two\n");
    WAIT_FOR(&bench.loop, has(FAR_STDOUT, "two\n"));
    assert_true(run_bench_told(&bench, "the stream for stdout has ended: "));
}

/* A daemon that drains says that it will go, hears the line out, and the next session takes the rest. */
static void test_a_daemon_that_goes(void **state)
{
    (void)state;
    say("one\n");
    WAIT_FOR(&bench.loop, has(FAR_STDOUT, "one\n"));
    bench.far.end_logs = true;
    far_drain(&bench.far);
    WAIT_FOR(&bench.loop, LIST_EMPTY(&bench.far.sessions) || bench.far.connections > 1);
    bench.far.end_logs = false;
    say("two\n");
    WAIT_FOR(&bench.loop, has(FAR_STDOUT, "two\n"));
    assert_string_equal(logged(FAR_STDOUT), "one\ntwo\n");
    assert_string_equal(bench.far.told, "");
}

/* ---- When it is refused ---- */

static int real_out = -1, console = -1;
static char console_path[] = "/tmp/postern-console.XXXXXX";

static void replace_console(void)
{
    fflush(stdout);
    real_out = dup(STDOUT_FILENO);
    strcpy(console_path + sizeof console_path - 7, "XXXXXX");
    console = mkstemp(console_path);
    assert_true(real_out >= 0 && console >= 0);
    assert_int_equal(dup2(console, STDOUT_FILENO), STDOUT_FILENO);
}

static void give_console_back(char *text, size_t size)
{
    ssize_t got = pread(console, text, size - 1, 0);

    text[got > 0 ? got : 0] = '\0';
    assert_int_equal(dup2(real_out, STDOUT_FILENO), STDOUT_FILENO);
    close(real_out);
    close(console);
    unlink(console_path);
}

static void test_refused_lines_go_to_the_console(void **state)
{
    char text[1000];
    struct stat there;

    (void)state;
    bench.far.deny = true;
    replace_console();
    say("one\n");
    WAIT_FOR(&bench.loop, fstat(console, &there) == 0 && there.st_size == 4);
    say("two\n");
    WAIT_FOR(&bench.loop, fstat(console, &there) == 0 && there.st_size == 8);
    give_console_back(text, sizeof text);
    assert_string_equal(text, "one\ntwo\n");
    assert_true(run_bench_told(&bench, "route log: the stream for stdout has ended: denied_route"));
    assert_string_equal(logged(FAR_STDOUT), "");
}

static void test_what_could_not_be_sent_goes_to_the_console(void **state)
{
    char text[1000];

    (void)state;
    run_bench_stop_far(&bench);
    say("one\ntwo");
    run_log_end(&logs, on_done);
    assert_false(done);
    replace_console();
    run_log_release(&logs);
    give_console_back(text, sizeof text);
    memset(&logs, 0, sizeof logs);
    assert_string_equal(text, "one\ntwo\n");
}

/* Nobody reads the console: nothing waits for that. */
static void test_a_console_that_takes_nothing(void **state)
{
    static char line[4096];
    int ends[2];

    (void)state;
    run_bench_stop_far(&bench);
    assert_int_equal(pipe2(ends, O_NONBLOCK | O_CLOEXEC), 0);
    memset(line, 'x', sizeof line - 1);
    while (write(ends[1], line, sizeof line - 1) > 0) {
    }
    fflush(stdout);
    real_out = dup(STDOUT_FILENO);
    assert_int_equal(dup2(ends[1], STDOUT_FILENO), STDOUT_FILENO);
    say("one\n");
    run_log_end(&logs, on_done);
    run_log_release(&logs);
    assert_int_equal(dup2(real_out, STDOUT_FILENO), STDOUT_FILENO);
    memset(&logs, 0, sizeof logs);
    close(real_out);
    close(ends[0]);
    close(ends[1]);
}

/* ---- Failures ---- */

static void one_line(void *unused UNUSED)
{
    struct error err = ERROR_INIT;

    done = false;
    if (run_bench_wire(&bench) < 0) {
        return;
    }
    if (run_log_init(&logs, &bench.wire, "log", LINES_SIZE_MIN, &bench.tell, &err) == 0) {
        int fd = run_log_fd(&logs, RUN_LOG_OUT);

        fault_spare(true);
        assert_int_equal(write(fd, "line\n", 5), 5);
        fault_spare(false);
        WAIT_FOR(&bench.loop, has(FAR_STDOUT, "line\n"));
        run_log_given(&logs);
        run_log_end(&logs, on_done);
        WAIT_FOR(&bench.loop, done);
    } else {
        assert_true(err.text[0] != '\0');
    }
    run_log_release(&logs);
    run_wire_release(&bench.wire);
    bench.wire_made = false;
    WAIT_FOR(&bench.loop, LIST_EMPTY(&bench.far.sessions));
    text_release(&bench.far.logged[FAR_STDOUT]);
    text_release(&bench.told);
}

static void test_faults(void **state)
{
    (void)state;
    close(out);
    out = -1;
    run_log_release(&logs);
    run_wire_release(&bench.wire);
    bench.wire_made = false;
    assert_true(
        fault_loop("run_log", FAULT_MEMORY | FAULT_PIPE | FAULT_FCNTL | FAULT_SOCKET, one_line, NULL) >= 5);
    memset(&logs, 0, sizeof logs);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_lines_arrive_under_their_names),
        TEST(test_the_end_sends_the_last_and_ends_the_streams),
        TEST(test_the_end_of_one_who_said_nothing),
        TEST(test_lines_wait_for_a_daemon),
        TEST(test_a_flood_while_nobody_takes_it),
        TEST(test_a_session_that_breaks_is_followed_by_another),
        TEST(test_a_daemon_that_goes),
        TEST(test_refused_lines_go_to_the_console),
        TEST(test_what_could_not_be_sent_goes_to_the_console),
        TEST(test_a_console_that_takes_nothing),
        TEST(test_faults),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
