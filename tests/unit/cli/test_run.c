/* `postern run` as a whole, without a daemon: what becomes of the app, whatever fails. tests/system/test_run.py has the rest. */
#include "cli/cli.h"

#include "fault.h"
#include "run_cli.h"
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/reboot.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[] = "/tmp/postern-run.XXXXXX";
static char config[64];
static int real_err;

static int setup(void **state)
{
    FILE *file;

    (void)state;
    if (!mkdtemp(folder)) {
        return -1;
    }
    snprintf(config, sizeof config, "%s/run.conf", folder);
    file = fopen(config, "w");
    fprintf(
        file,
        "connect = unix://%s/nobody\nlisten = unix://%s/echo=echo\nlog = logs\nlog_flush = 0\nlog_buffer = "
        "16KiB\ntime = time\nclock = watch\nclock_wait = 0\nnsm = none\nptp = none\nloopback = no\nenv = "
        "POSTERN_TEST=here\n",
        folder, folder);
    /* What init tells goes to the real standard error. */
    real_err = dup(STDERR_FILENO);
    return fclose(file) == 0 && real_err >= 0 ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    close(real_err);
    unlink(config);
    return rmdir(folder);
}

/* ---- The machine's end, as played ---- */

static int rebooted;

int __wrap_reboot(int how);

int __wrap_reboot(int how)
{
    rebooted = how;
    return -1;
}

static void quiet(bool on)
{
    int to = on ? open("/dev/null", O_WRONLY | O_CLOEXEC) : real_err;

    assert_true(to >= 0);
    assert_int_equal(dup2(to, STDERR_FILENO), STDERR_FILENO);
    if (on) {
        close(to);
    }
}

/* A word of the command line, which may be written to, as the kernel's may. */
static char *word(const char *text)
{
    static char words[8][100];
    static unsigned next;
    char *one = words[next++ % 8];

    strcpy(one, text);
    return one;
}

static void test_statuses(void **state)
{
    struct ran ran;

    (void)state;
    quiet(true);
    run_cli(&ran, "run", "--config", config, "--", "sh", "-c", "[ \"$POSTERN_TEST\" = here ] && exit 3",
            NULL);
    assert_int_equal(ran.code, 3);
    run_cli(&ran, "run", "--", "sh", "-c", "kill -9 $$", NULL);
    assert_int_equal(ran.code, 137);
    run_cli(&ran, "run", "--", "postern-no-such-program", NULL);
    assert_int_equal(ran.code, 127);
    quiet(false);
}

static void test_the_end_of_the_machine(void **state)
{
    struct ran ran;

    (void)state;
    quiet(true);
    run_cli(&ran, "run", "--set", word("end=reboot"), "--", "true", NULL);
    assert_int_equal(rebooted, RB_AUTOBOOT);
    run_cli(&ran, "run", "--set", word("end=poweroff"), "--", "true", NULL);
    assert_int_equal(rebooted, RB_POWER_OFF);
    rebooted = 0;
    run_cli(&ran, "run", "--", "true", NULL);
    assert_int_equal(rebooted, 0);
    quiet(false);
}

static void test_usage(void **state)
{
    struct ran ran;

    (void)state;
    run_cli(&ran, "run", NULL);
    assert_int_equal(ran.code, CLI_USAGE);
    assert_non_null(strstr(ran.err, "the program to run is missing"));
    run_cli(&ran, "run", "--set", word("log=a b"), "--set", word("time=\x7f"), "--", "true", NULL);
    assert_int_equal(ran.code, CLI_USAGE);
    assert_non_null(strstr(ran.err, "\": `log`: a route's name is of printable ASCII, without blanks\n"));
    assert_non_null(strstr(ran.err, "\": `time` has a control character"));
    run_cli(&ran, "run", "--set", word("connect=vsock://payroll:7"), "--", "true", NULL);
    assert_int_equal(ran.code, CLI_USAGE);
    assert_non_null(strstr(ran.err, "names an enclave"));
    run_cli(&ran, "run", "--set", word("listen=unix:///tmp/a=b c"), "--", "true", NULL);
    assert_int_equal(ran.code, CLI_USAGE);
    run_cli(&ran, "--connect", "nonsense", "run", "--set", word("connect=unix:///a"), "--", "true", NULL);
    assert_int_equal(ran.code, CLI_USAGE);
    assert_non_null(strstr(ran.err, "\"nonsense\""));
    run_cli(&ran, "run", "--config", "/nowhere/run.conf", "--", "true", NULL);
    assert_int_equal(ran.code, CLI_FAILED);
    assert_non_null(strstr(ran.err, "cannot open /nowhere/run.conf: "));
}

static void test_a_name_that_is_too_long(void **state)
{
    static char line[400] = "log=";
    struct ran ran;

    (void)state;
    memset(line + 4, 'x', 256);
    run_cli(&ran, "run", "--set", line, "--", "true", NULL);
    assert_int_equal(ran.code, CLI_USAGE);
    assert_non_null(strstr(ran.err, "a route's name has at most 255 bytes"));
}

/* Whatever fails: it ends, with the app's status or one that says that there was no app. */
static void whole(void *unused)
{
    char *argv[] = {word("postern"), word("run"), word("--config"),          config, word("--"),
                    word("sh"),      word("-c"),  word("echo line; exit 3"), NULL};
    FILE *out, *err;
    int code;

    (void)unused;
    fault_spare(true);
    out = tmpfile();
    err = tmpfile();
    fault_spare(false);
    assert_true(out && err);
    code = cli_main(8, argv, out, err);
    assert_true(code == 3 || code == CLI_FAILED || code == 126);
    fclose(out);
    fclose(err);
}

static void test_faults(void **state)
{
    (void)state;
    quiet(true);
    int out = dup(STDOUT_FILENO);
    fflush(stdout);
    assert_int_equal(dup2(STDERR_FILENO, STDOUT_FILENO), STDOUT_FILENO);
    unsigned long count =
        fault_loop("run", FAULT_MEMORY | FAULT_PIPE | FAULT_FCNTL | FAULT_SOCKET | FAULT_EPOLL | FAULT_BIND,
                   whole, NULL);
    fflush(stdout);
    dup2(out, STDOUT_FILENO);
    close(out);
    quiet(false);
    assert_true(count >= 15);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_statuses), cmocka_unit_test(test_the_end_of_the_machine),
        cmocka_unit_test(test_usage),    cmocka_unit_test(test_a_name_that_is_too_long),
        cmocka_unit_test(test_faults),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
