/* The log as the rest of the house sees it. */
#include "base/log.h"

#include "fault.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

/* Where the lines of a test go: a file in memory, for those that need no pipe. */
static int output;

static int setup(void **state)
{
    (void)state;
    unsetenv("JOURNAL_STREAM");
    output = memfd_create("log", MFD_CLOEXEC);
    return output < 0;
}

static int teardown(void **state)
{
    (void)state;
    log_close();
    return close(output);
}

static const char *written(void)
{
    static char text[8192];
    ssize_t length = pread(output, text, sizeof(text) - 1, 0);

    assert_true(length >= 0);
    text[length] = '\0';
    return text;
}

static void assert_opens(int fd, enum log_level level, enum log_format format)
{
    assert_int_equal(log_open(fd, level, format), 0);
}

/* Whether `line` is a stamp between `before` and `after`, with digits where `#` is. */
static bool matches(const char *line, const char *pattern)
{
    for (; *pattern; line++, pattern++) {
        if (*pattern == '#' ? *line < '0' || *line > '9' : *line != *pattern) {
            return false;
        }
    }
    return *line == '\0';
}

/* First of all, while standard error is what nobody has looked at yet. */
static void test_before_open(void **state)
{
    int saved = dup(STDERR_FILENO);

    (void)state;
    assert_int_equal(dup2(output, STDERR_FILENO), STDERR_FILENO);
    errno = EXDEV;
    log_event(LOG_LEVEL_ERROR, "early", "%d", 1);
    assert_int_equal(errno, EXDEV);
    log_event(LOG_LEVEL_DEBUG, "not wanted", "%d", 2);
    dup2(saved, STDERR_FILENO);
    close(saved);
    assert_true(matches(written(), "{\"ts\":\"####-##-##T##:##:##.###Z\",\"level\":\"error\","
                                   "\"event\":\"early\",\"detail\":\"1\"}\n"));
}

static void test_json_unless_a_terminal(void **state)
{
    (void)state;
    assert_opens(output, LOG_LEVEL_INFO, LOG_FORMAT_AUTO);
    log_event(LOG_LEVEL_INFO, "one", "%d", 1);
    log_close();
    assert_true(matches(written(), "{\"ts\":\"####-##-##T##:##:##.###Z\",\"level\":\"info\","
                                   "\"event\":\"one\",\"detail\":\"1\"}\n"));
}

static void test_text_on_a_terminal(void **state)
{
    int master = posix_openpt(O_RDWR | O_NOCTTY);
    char text[256] = "";
    int terminal;

    (void)state;
    if (master < 0 || grantpt(master) < 0 || unlockpt(master) < 0) {
        skip();
    }
    terminal = open(ptsname(master), O_RDWR | O_NOCTTY);
    assert_true(terminal >= 0);
    assert_opens(terminal, LOG_LEVEL_INFO, LOG_FORMAT_AUTO);
    log_event(LOG_LEVEL_INFO, "one", "%d", 1);
    log_close();
    assert_true(read(master, text, sizeof(text) - 1) > 0);
    assert_true(matches(text, "####-##-##T##:##:##.###Z info  one detail=1\r\n"));
    close(terminal);
    close(master);
}

static void test_settings_change_at_any_time(void **state)
{
    (void)state;
    assert_opens(output, LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    assert_true(log_wanted(LOG_LEVEL_INFO));
    assert_false(log_wanted(LOG_LEVEL_DEBUG));
    log_event(LOG_LEVEL_DEBUG, "no", "%d", 1);
    log_set(LOG_LEVEL_DEBUG, LOG_FORMAT_JSON);
    assert_true(log_wanted(LOG_LEVEL_DEBUG));
    log_event(LOG_LEVEL_DEBUG, "yes", "%d", 2);
    log_set(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
    assert_true(log_wanted(LOG_LEVEL_ERROR));
    log_event(LOG_LEVEL_WARN, "no", "%d", 3);
    log_event(LOG_LEVEL_ERROR, "yes", "%d", 4);
    log_close();
    assert_true(matches(written(), "{\"ts\":\"####-##-##T##:##:##.###Z\",\"level\":\"debug\","
                                   "\"event\":\"yes\",\"detail\":\"2\"}\n"
                                   "####-##-##T##:##:##.###Z error yes detail=4\n"));
}

static void test_opens_once(void **state)
{
    (void)state;
    assert_opens(output, LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    assert_int_equal(log_open(output, LOG_LEVEL_INFO, LOG_FORMAT_TEXT), -EALREADY);
    log_close();
    log_close();
    assert_opens(output, LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
}

static void test_after_close(void **state)
{
    (void)state;
    assert_opens(output, LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    log_event(LOG_LEVEL_INFO, "before", "%d", 1);
    log_close();
    errno = EXDEV;
    log_event(LOG_LEVEL_INFO, "after", "%d", 2);
    assert_int_equal(errno, EXDEV);
    assert_true(matches(written(), "####-##-##T##:##:##.###Z info  before detail=1\n"
                                   "####-##-##T##:##:##.###Z info  after detail=2\n"));
}

static void name_journal(int fd, const char *suffix)
{
    struct stat st;
    char name[64];

    assert_int_equal(fstat(fd, &st), 0);
    snprintf(name, sizeof(name), "%ju:%ju%s", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino, suffix);
    setenv("JOURNAL_STREAM", name, 1);
}

static void log_each_level(int fd)
{
    assert_opens(fd, LOG_LEVEL_DEBUG, LOG_FORMAT_TEXT);
    for (int level = LOG_LEVEL_ERROR; level <= LOG_LEVEL_DEBUG; level++) {
        log_event((enum log_level)level, "event", "%d", level);
    }
    log_set(LOG_LEVEL_DEBUG, LOG_FORMAT_AUTO);
    log_event(LOG_LEVEL_INFO, "event", "%s", "a\n<0>forged");
    log_close();
}

static void test_priorities_for_the_journal(void **state)
{
    char text[1024] = "";
    int fds[2];

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    name_journal(fds[0], "");
    log_each_level(fds[0]);
    assert_true(read(fds[1], text, sizeof(text) - 1) > 0);
    assert_true(matches(text, "<3>####-##-##T##:##:##.###Z error event detail=0\n"
                              "<4>####-##-##T##:##:##.###Z warn  event detail=1\n"
                              "<6>####-##-##T##:##:##.###Z info  event detail=2\n"
                              "<7>####-##-##T##:##:##.###Z debug event detail=3\n"
                              "<6>{\"ts\":\"####-##-##T##:##:##.###Z\",\"level\":\"info\","
                              "\"event\":\"event\",\"detail\":\"a\\n<0>forged\"}\n"));
    close(fds[0]);
    close(fds[1]);
}

/* The variable is inherited by processes whose standard error went elsewhere since. */
static void test_not_the_journal(void **state)
{
    int other = memfd_create("other", MFD_CLOEXEC);

    (void)state;
    name_journal(other, "");
    log_each_level(output);
    name_journal(output, "0");
    log_each_level(output);
    setenv("JOURNAL_STREAM", "", 1);
    log_each_level(output);
    setenv("JOURNAL_STREAM", "9", 1);
    log_each_level(output);
    assert_null(strstr(written(), "\n<"));
    assert_true(written()[0] != '<');
    close(other);
}

static uint64_t elapsed_ms(const struct timespec *since)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)((now.tv_sec - since->tv_sec) * 1000 + (now.tv_nsec - since->tv_nsec) / 1000000);
}

/* The reader is gone, and SIGPIPE at its default would end the process. */
static void test_no_reader(void **state)
{
    uint64_t dropped = log_dropped();
    struct sigaction action;
    int fds[2];

    (void)state;
    assert_int_equal(sigaction(SIGPIPE, NULL, &action), 0);
    assert_true(action.sa_handler == SIG_DFL);
    assert_int_equal(pipe(fds), 0);
    close(fds[0]);
    assert_opens(fds[1], LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    log_event(LOG_LEVEL_INFO, "queued", "%d", 1);
    log_close();
    assert_int_equal(log_dropped(), dropped + 1);
    log_event(LOG_LEVEL_INFO, "direct", "%d", 2);
    assert_int_equal(log_dropped(), dropped + 2);
    close(fds[1]);
    log_event(LOG_LEVEL_INFO, "no descriptor at all", "%d", 3);
    assert_int_equal(log_dropped(), dropped + 3);
}

/* A SIGPIPE that is somebody else's is still pending afterwards, and ours is not. */
static void test_sigpipe_of_others(void **state)
{
    sigset_t sigpipe, before, pending;
    int fds[2];

    (void)state;
    assert_int_equal(pipe(fds), 0);
    close(fds[0]);
    assert_opens(fds[1], LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    log_close();
    sigemptyset(&sigpipe);
    sigaddset(&sigpipe, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &sigpipe, &before);
    log_event(LOG_LEVEL_INFO, "direct", "%d", 1);
    sigpending(&pending);
    assert_false(sigismember(&pending, SIGPIPE));
    raise(SIGPIPE);
    log_event(LOG_LEVEL_INFO, "direct", "%d", 1);
    sigpending(&pending);
    assert_true(sigismember(&pending, SIGPIPE));
    assert_int_equal(sigwaitinfo(&sigpipe, NULL), SIGPIPE);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    close(fds[1]);
}

static void fill(int fd)
{
    char page[4096] = "";

    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    while (write(fd, page, sizeof(page)) > 0) {
        continue;
    }
    assert_int_equal(fcntl(fd, F_SETFL, 0), 0);
}

/* A line that is written directly waits for a moment, and then goes without. */
static void test_stuck_reader_of_direct_lines(void **state)
{
    uint64_t dropped = log_dropped();
    int fds[2];

    (void)state;
    assert_int_equal(pipe(fds), 0);
    assert_opens(fds[1], LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    log_close();
    fill(fds[1]);
    log_event(LOG_LEVEL_INFO, "direct", "%d", 1);
    assert_int_equal(log_dropped(), dropped + 1);
    close(fds[0]);
    close(fds[1]);
}

/* Closing waits for a second; what comes after that does not wait again. */
static void test_stuck_reader_at_the_end(void **state)
{
    uint64_t dropped = log_dropped();
    struct timespec begin;
    char page[4096];
    ssize_t length;
    int fds[2];

    (void)state;
    assert_int_equal(pipe(fds), 0);
    fill(fds[1]);
    assert_opens(fds[1], LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    log_event(LOG_LEVEL_INFO, "queued", "%d", 1);
    clock_gettime(CLOCK_MONOTONIC, &begin);
    log_close();
    assert_in_range(elapsed_ms(&begin), 950, 60000);
    assert_int_equal(log_dropped(), dropped + 1);
    clock_gettime(CLOCK_MONOTONIC, &begin);
    for (int i = 0; i < 100; i++) {
        log_event(LOG_LEVEL_INFO, "direct", "%d", i);
    }
    assert_true(elapsed_ms(&begin) < 60000); /* of a hundred seconds */
    assert_int_equal(log_dropped(), dropped + 101);

    /* lets the thread that was left behind go */
    do {
        length = read(fds[0], page, sizeof(page));
    } while (length == (ssize_t)sizeof(page));
    assert_true(length > 0);
    assert_non_null(memmem(page, (size_t)length, "queued", 6));
    close(fds[0]);
    close(fds[1]);
}

static void open_and_log(void *arg)
{
    int r = log_open(output, LOG_LEVEL_INFO, LOG_FORMAT_AUTO);

    (void)arg;
    if (r < 0) {
        assert_true(r == -ENOMEM || r == -EAGAIN);
    }
    log_event(LOG_LEVEL_INFO, "event", "%s", "detail");
    log_close();
}

static void test_open_fails(void **state)
{
    const unsigned calls = FAULT_MEMORY | FAULT_THREAD;

    (void)state;
    setenv("JOURNAL_STREAM", "1:1", 1);
    assert_true(fault_loop("log_open", calls, open_and_log, NULL) >= 3);
    assert_true(fault_loop("log_open, from there on", calls | FAULT_STICKY, open_and_log, NULL) >= 3);
    /* what cannot be looked at is not the journal */
    assert_int_equal(fault_loop("log_open, file", FAULT_FILE, open_and_log, NULL), 1);
}

static void log_directly(void *arg)
{
    uint64_t before = log_dropped();
    unsigned long failed;

    (void)arg;
    log_event(LOG_LEVEL_INFO, "event", "%s", "detail");
    failed = log_dropped() - before;
    assert_true(failed <= 1);
}

static void test_write_fails(void **state)
{
    uint64_t before = log_dropped();

    (void)state;
    assert_opens(output, LOG_LEVEL_INFO, LOG_FORMAT_AUTO);
    log_close();
    assert_int_equal(fault_loop("log, directly", FAULT_WRITE | FAULT_MEMORY, log_directly, NULL), 1);
    assert_int_equal(fault_loop("log, by the thread", FAULT_WRITE | FAULT_EVERY_THREAD, open_and_log, NULL),
                     1);
    assert_int_equal(log_dropped(), before + 2);
}

/* From its beginning to its end, a line costs no memory but its own. */
static void test_lines_allocate_nothing(void **state)
{
    struct log_line line;

    (void)state;
    assert_opens(output, LOG_LEVEL_INFO, LOG_FORMAT_AUTO);
    fault_arm(FAULT_MEMORY | FAULT_STICKY, 1);
    log_begin(&line, LOG_LEVEL_INFO, "stream ended");
    log_str(&line, "route", "kms\n");
    log_u64(&line, "bytes_in", 1);
    log_ms(&line, "took", 1500);
    log_end(&line);
    log_event(LOG_LEVEL_INFO, "event", "%d %s", 1, "two");
    assert_int_equal(fault_disarm(), 0);
    log_close();
    assert_non_null(strstr(written(), "two"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_before_open, setup, teardown),
        cmocka_unit_test_setup_teardown(test_json_unless_a_terminal, setup, teardown),
        cmocka_unit_test_setup_teardown(test_text_on_a_terminal, setup, teardown),
        cmocka_unit_test_setup_teardown(test_settings_change_at_any_time, setup, teardown),
        cmocka_unit_test_setup_teardown(test_opens_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_after_close, setup, teardown),
        cmocka_unit_test_setup_teardown(test_priorities_for_the_journal, setup, teardown),
        cmocka_unit_test_setup_teardown(test_not_the_journal, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_reader, setup, teardown),
        cmocka_unit_test_setup_teardown(test_sigpipe_of_others, setup, teardown),
        cmocka_unit_test_setup_teardown(test_stuck_reader_of_direct_lines, setup, teardown),
        cmocka_unit_test_setup_teardown(test_stuck_reader_at_the_end, setup, teardown),
        cmocka_unit_test_setup_teardown(test_open_fails, setup, teardown),
        cmocka_unit_test_setup_teardown(test_write_fails, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lines_allocate_nothing, setup, teardown),
    };

    return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
