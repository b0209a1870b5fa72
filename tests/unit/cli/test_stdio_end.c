/* Standard input and output of every kind, none of which is waited for, and none of which is changed for others. */
#include "cli/stdio_end.h"

#include "fault.h"
#include <errno.h>
#include <fcntl.h>
#include <pty.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static char bytes[65536];

static bool is_nonblocking(int fd)
{
    return (fcntl(fd, F_GETFL) & O_NONBLOCK) != 0;
}

/* Fills it up, and returns how much it took. */
static size_t fill(struct stdio_end *end)
{
    size_t total = 0;
    ssize_t n;
    while ((n = stdio_end_write(end, bytes, sizeof bytes)) > 0) {
        total += (size_t)n;
    }
    assert_int_equal(n, -EAGAIN);
    return total;
}

static void read_some(struct stdio_end *end, const char *wanted)
{
    char got[100];
    ssize_t n = stdio_end_read(end, got, sizeof got);
    assert_int_equal(n, strlen(wanted));
    assert_memory_equal(got, wanted, (size_t)n);
}

static bool is_the_null_device(int fd)
{
    char name[64], target[64];
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(name, target, sizeof target - 1);
    return n > 0 && (target[n] = '\0', strcmp(target, "/dev/null") == 0);
}

static void pipe_both_ways(enum stdio_kind wanted)
{
    int fds[2];
    char drained[65536];
    struct stdio_end in, out;
    assert_int_equal(pipe(fds), 0);
    stdio_end_open(&in, fds[0], false);
    stdio_end_open(&out, fds[1], true);
    if (wanted == STDIO_ASKED) { /* as where there is no /proc */
        close(in.fd);
        close(out.fd);
        in = (struct stdio_end){.kind = STDIO_ASKED, .inherited = fds[0], .fd = fds[0]};
        out = (struct stdio_end){.kind = STDIO_ASKED, .inherited = fds[1], .fd = fds[1]};
    }
    assert_int_equal(in.kind, wanted);
    assert_int_equal(out.kind, wanted);
    assert_int_equal(stdio_end_read(&in, drained, sizeof drained), -EAGAIN);
    assert_int_equal(stdio_end_write(&out, "hello", 5), 5);
    read_some(&in, "hello");
    size_t total = fill(&out);
    assert_true(total >= 4096);
    assert_false(is_nonblocking(fds[0]));
    assert_false(is_nonblocking(fds[1]));
    while (total > 0) {
        ssize_t n = stdio_end_read(&in, drained, sizeof drained);
        assert_true(n > 0);
        total -= (size_t)n;
    }
    stdio_end_close(&out, true);
    stdio_end_close(&out, true);
    assert_true(is_the_null_device(fds[1]));
    assert_int_equal(stdio_end_read(&in, drained, sizeof drained), 0); /* the end has come */
    stdio_end_close(&in, false);
    close(fds[0]);
    close(fds[1]);
}

static void test_pipes(void **state)
{
    (void)state;
    pipe_both_ways(STDIO_OWN);
}

static void test_pipes_without_proc(void **state)
{
    (void)state;
    pipe_both_ways(STDIO_ASKED);
}

static void test_a_pipe_that_nobody_reads(void **state)
{
    (void)state;
    int fds[2];
    struct stdio_end out;
    assert_int_equal(pipe(fds), 0);
    stdio_end_open(&out, fds[1], true);
    close(fds[0]);
    assert_int_equal(stdio_end_write(&out, "x", 1), -EPIPE);
    stdio_end_close(&out, true);
    close(fds[1]);
}

static void test_one_socket_for_both(void **state)
{
    (void)state;
    int fds[2];
    char byte;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    int second = dup(fds[0]);
    struct stdio_end in, out;
    stdio_end_open(&in, fds[0], false);
    stdio_end_open(&out, second, true);
    assert_int_equal(in.kind, STDIO_SOCKET);
    assert_int_equal(stdio_end_read(&in, &byte, 1), -EAGAIN);
    assert_int_equal(stdio_end_write(&out, "y", 1), 1);
    assert_true(fill(&out) > 0);
    assert_false(is_nonblocking(fds[0]));
    stdio_end_close(&out, true);
    char drained[65536];
    while (recv(fds[1], drained, sizeof drained, 0) > 0) {
    }
    assert_int_equal(write(fds[1], "still", 5), 5); /* the other direction is open */
    read_some(&in, "still");
    stdio_end_close(&in, false);
    close(fds[0]);
    close(fds[1]);
    close(second);
}

static void test_files(void **state)
{
    (void)state;
    FILE *file = tmpfile();
    struct stdio_end out, in;
    assert_non_null(file);
    int fd = fileno(file);
    stdio_end_open(&out, dup(fd), true);
    assert_int_equal(out.kind, STDIO_FILE);
    assert_int_equal(stdio_end_write(&out, bytes, sizeof bytes), sizeof bytes);
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    stdio_end_open(&in, dup(fd), false);
    assert_int_equal(stdio_end_read(&in, bytes, sizeof bytes), sizeof bytes);
    assert_int_equal(stdio_end_read(&in, bytes, sizeof bytes), 0);
    int numbers[2] = {in.inherited, out.inherited};
    stdio_end_close(&in, false);
    stdio_end_close(&out, true);
    close(numbers[0]);
    close(numbers[1]);
    assert_int_equal(fclose(file), 0);
}

static void test_the_null_device(void **state)
{
    (void)state;
    int fd = open("/dev/null", O_RDWR);
    struct stdio_end in;
    stdio_end_open(&in, fd, false);
    assert_int_equal(stdio_end_read(&in, bytes, sizeof bytes), 0);
    assert_int_equal(stdio_end_write(&in, bytes, 10), 10);
    stdio_end_close(&in, false);
    close(fd);
}

static void test_a_terminal(void **state)
{
    (void)state;
    int master, slave;
    assert_int_equal(openpty(&master, &slave, NULL, NULL, NULL), 0);
    struct stdio_end in;
    char got[100];
    stdio_end_open(&in, slave, false);
    assert_int_equal(in.kind, STDIO_OWN);
    assert_int_equal(stdio_end_read(&in, got, sizeof got), -EAGAIN);
    assert_int_equal(write(master, "line\n", 5), 5);
    read_some(&in, "line\n");
    assert_int_equal(write(master, "\x04", 1), 1);
    assert_int_equal(stdio_end_read(&in, got, sizeof got), 0); /* ^D */
    assert_false(is_nonblocking(slave));
    stdio_end_close(&in, false);
    close(slave);
    close(master);
}

static void test_one_that_is_not_open(void **state)
{
    (void)state;
    struct stdio_end end;
    int fd = dup(0);
    close(fd);
    stdio_end_open(&end, fd, false);
    assert_int_equal(end.kind, STDIO_ASKED);
    assert_int_equal(stdio_end_read(&end, bytes, 1), -EBADF);
    assert_int_equal(stdio_end_write(&end, bytes, 1), -EBADF);
    stdio_end_close(&end, true);
    close(fd);
}

static void use_a_pipe(void *arg)
{
    (void)arg;
    int fds[2];
    struct stdio_end out;
    fault_spare(true);
    assert_int_equal(pipe(fds), 0);
    fault_spare(false);
    stdio_end_open(&out, fds[1], true);
    assert_int_equal(stdio_end_write(&out, "x", 1), 1);
    stdio_end_close(&out, true);
    close(fds[0]);
    close(fds[1]);
}

static void test_failures(void **state)
{
    (void)state;
    assert_true(fault_loop("stdio_end", FAULT_OPEN, use_a_pipe, NULL) >= 2);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pipes),
        cmocka_unit_test(test_pipes_without_proc),
        cmocka_unit_test(test_a_pipe_that_nobody_reads),
        cmocka_unit_test(test_one_socket_for_both),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_the_null_device),
        cmocka_unit_test(test_a_terminal),
        cmocka_unit_test(test_one_that_is_not_open),
        cmocka_unit_test(test_failures),
    };
    return cmocka_run_group_tests_name("cli/stdio_end", tests, NULL, NULL);
}
