/* ping, pipe, send and listen from their beginning to their end, against a daemon in another process, whatever call fails. */
#include "cli/cli.h"

#include "contains.h"
#include "far.h"
#include "fault.h"
#include "run_cli.h"
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define CALLS (FAULT_MEMORY | FAULT_SOCKET | FAULT_CONNECT | FAULT_EPOLL | FAULT_OPEN | FAULT_BIND)

static char folder[] = "/tmp/postern-commands-XXXXXX";
static char path[64], address[80];
static pid_t daemon_;

static void be_the_daemon(int told)
{
    struct cli_loop loop;
    struct error err;
    struct far far;
    if (cli_loop_init(&loop, &err) != 0) {
        _exit(1);
    }
    far_start(&far, &loop, path);
    if (write(told, "x", 1) != 1 || cli_loop_run(&loop) != 0) {
        _exit(1);
    }
    _exit(0);
}

static int start_daemon(void **state)
{
    (void)state;
    int fds[2];
    char byte;
    signal(SIGPIPE, SIG_IGN);
    if (mkdtemp(folder) == NULL || pipe(fds) != 0) {
        return -1;
    }
    snprintf(path, sizeof path, "%s/daemon", folder);
    snprintf(address, sizeof address, "unix://%s", path);
    daemon_ = fork();
    if (daemon_ == 0) {
        be_the_daemon(fds[1]);
    }
    close(fds[1]);
    ssize_t n = read(fds[0], &byte, 1);
    close(fds[0]);
    return daemon_ > 0 && n == 1 ? 0 : -1;
}

static int stop_daemon(void **state)
{
    (void)state;
    kill(daemon_, SIGKILL);
    waitpid(daemon_, NULL, 0);
    unlink(path);
    return rmdir(folder);
}

/* Fails with a text that says why, or does all of it. */
static void assert_all_or_said(const struct ran *ran)
{
    assert_true(ran->code == CLI_DONE || ran->code == CLI_FAILED);
    if (ran->code == CLI_FAILED) {
        assert_contains(ran->err, "postern: ");
    } else {
        assert_string_equal(ran->err, "");
    }
}

static void ping(void *arg)
{
    (void)arg;
    struct ran ran;
    run_cli(&ran, "--connect", address, "ping", "-c", "2", "-i", "10ms", NULL);
    assert_all_or_said(&ran);
    if (ran.code == CLI_DONE) {
        assert_contains(ran.out, "2 sent, 2 answered, 0% lost");
    }
}

static void test_ping(void **state)
{
    (void)state;
    ping(NULL);
    assert_true(fault_loop("ping", CALLS, ping, NULL) >= 8);
}

/* Standard input and output, for a while. */
static int replace(int fd, int by)
{
    int before = fcntl(fd, F_DUPFD_CLOEXEC, 100);
    assert_true(before >= 0);
    assert_int_equal(dup2(by, fd), fd);
    close(by);
    return before;
}

static void restore(int fd, int before)
{
    assert_int_equal(dup2(before, fd), fd);
    close(before);
}

/* `ended`: standard input has an end. `option` may be NULL. */
static void run_command(struct ran *ran, const char *command, const char *route, const char *option,
                        const char *value, const char *input, bool ended, char *output, size_t size)
{
    int in[2], out[2];
    fault_spare(true);
    fflush(stdout);
    assert_int_equal(pipe2(in, O_CLOEXEC), 0);
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    assert_int_equal(write(in[1], input, strlen(input)), strlen(input));
    if (ended) {
        close(in[1]);
    }
    int in_before = replace(STDIN_FILENO, in[0]), out_before = replace(STDOUT_FILENO, out[1]);
    fault_spare(false);
    run_cli(ran, "--connect", address, command, route, option, value, NULL);
    fault_spare(true);
    restore(STDIN_FILENO, in_before);
    restore(STDOUT_FILENO, out_before);
    ssize_t n = read(out[0], output, size - 1);
    output[n > 0 ? n : 0] = '\0';
    close(out[0]);
    if (!ended) {
        close(in[1]);
    }
    fault_spare(false);
}

static void run_pipe(struct ran *ran, const char *route, const char *input, bool ended, char *output,
                     size_t size)
{
    run_command(ran, "pipe", route, NULL, NULL, input, ended, output, size);
}

static void echo(void *arg)
{
    (void)arg;
    struct ran ran;
    char output[100];
    run_pipe(&ran, "echo", "there and back", true, output, sizeof output);
    assert_all_or_said(&ran);
    if (ran.code == CLI_DONE) {
        assert_string_equal(output, "there and back");
    }
}

static void test_pipe(void **state)
{
    (void)state;
    echo(NULL);
    assert_true(fault_loop("pipe", CALLS, echo, NULL) >= 8);
}

static void test_pipe_says_why_it_failed(void **state)
{
    (void)state;
    static const char *const ends[][3] = {
        {"refuse", "",
         "route refuse: refused, connect_refused: the destination refused the connection "
         "(tcp://10.0.0.1:443); "},
        {"reset", "", "route reset: the stream was cut: upstream_reset: "},
        {"stop", "enough", "route stop took only a part of standard input: upstream_reset: "},
    };
    struct ran ran;
    char output[100];
    for (size_t i = 0; i < ARRAY_SIZE(ends); i++) {
        run_pipe(&ran, ends[i][0], "hello", false, output, sizeof output);
        assert_int_equal(ran.code, CLI_FAILED);
        assert_string_equal(output, ends[i][1]);
        assert_contains(ran.err, ends[i][2]);
    }
}

static void send_request(void *arg)
{
    (void)arg;
    struct ran ran;
    char output[100];
    run_command(&ran, "send", "http", "--data", "-", "a result", true, output, sizeof output);
    assert_all_or_said(&ran);
    if (ran.code == CLI_DONE) {
        assert_string_equal(output, "kept");
    }
}

static void test_send(void **state)
{
    (void)state;
    send_request(NULL);
    assert_true(fault_loop("send", CALLS, send_request, NULL) >= 12);
}

static void test_send_says_why_it_failed(void **state)
{
    (void)state;
    static const char *const ends[][2] = {
        {"refuse", "route refuse: refused, connect_refused: the destination refused the connection "
                   "(tcp://10.0.0.1:443); "},
        {"reset", "route reset: POST /: the stream was cut: upstream_reset: "},
        {"stop", "route stop: POST /: the answer is no HTTP/1.1 that has one reading: "},
        {"1", "route 1: POST /: the answer is no HTTP/1.1 that has one reading: "},
    };
    struct ran ran;
    char output[100];
    for (size_t i = 0; i < ARRAY_SIZE(ends); i++) {
        run_command(&ran, "send", ends[i][0], "--data", "-", "hello", false, output, sizeof output);
        assert_int_equal(ran.code, CLI_FAILED);
        assert_string_equal(output, "");
        assert_contains(ran.err, ends[i][1]);
    }
}

static void listen_nowhere(void *arg)
{
    (void)arg;
    struct ran ran;
    run_cli(&ran, "--connect", address, "listen", "unix:///nowhere/at/all=echo", NULL);
    assert_int_equal(ran.code, CLI_FAILED);
    assert_contains(ran.err, "postern: ");
}

static void test_listen(void **state)
{
    (void)state;
    listen_nowhere(NULL);
    assert_true(fault_loop("listen", CALLS, listen_nowhere, NULL) >= 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ping),
        cmocka_unit_test(test_pipe),
        cmocka_unit_test(test_pipe_says_why_it_failed),
        cmocka_unit_test(test_send),
        cmocka_unit_test(test_send_says_why_it_failed),
        cmocka_unit_test(test_listen),
    };
    return cmocka_run_group_tests_name("cli/commands", tests, start_daemon, stop_daemon);
}
