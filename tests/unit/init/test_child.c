/* Starting, reaping, ending: with real processes. */
#include "init/child.h"

#include "fault.h"
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static sigset_t mask_before;

/* As in init: SIGCHLD is blocked, and waited for. */
static int block_children(void **state)
{
    sigset_t children;

    (void)state;
    sigemptyset(&children);
    sigaddset(&children, SIGCHLD);
    return sigprocmask(SIG_BLOCK, &children, &mask_before);
}

/* Nothing writes to the words, whatever execvp() says. */
static struct child_options options(const char *const *argv)
{
    return (struct child_options){.argv = (char *const *)argv, .out = -1, .err = -1, .signals = &mask_before};
}

/* Waits for SIGCHLD and reaps until the app is over. */
static uint64_t wait_for(struct child *child)
{
    uint64_t orphans = 0;
    sigset_t children;
    int signal;

    sigemptyset(&children);
    sigaddset(&children, SIGCHLD);
    while (!child_reap(child, &orphans)) {
        assert_int_equal(sigwait(&children, &signal), 0);
    }
    assert_int_equal(child->pid, 0);
    return orphans;
}

static void start_shell(struct child *child, const char *script)
{
    const char *argv[] = {"sh", "-c", script, NULL};
    struct child_options how = options(argv);
    struct error err = ERROR_INIT;

    if (child_start(child, &how, &err) != 0) {
        fail_msg("%s", err.text);
    }
    assert_true(child->pid > 0);
}

static void test_exit_statuses(void **state)
{
    static const struct {
        const char *script, *words;
        int status;
    } cases[] = {
        {"exit 0", "exited with status 0", 0},
        {"exit 3", "exited with status 3", 3},
        {"exit 200", "exited with status 200", 200},
        {"kill -9 $$", "was ended by signal 9 (KILL)", 137},
        {"kill -TERM $$", "was ended by signal 15 (TERM)", 143},
        {"kill -40 $$", "was ended by signal 40 (?)", 168},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct child child;
        char words[64];

        start_shell(&child, cases[i].script);
        assert_int_equal(wait_for(&child), 0);
        assert_int_equal(child.status, cases[i].status);
        assert_string_equal(child_words(&child, words), cases[i].words);
    }
}

static void check_not_started(const struct child_options *how, int code, int status, const char *text)
{
    struct child child = {.pid = 5, .signal = 5};
    struct error err = ERROR_INIT;

    assert_int_equal(child_start(&child, how, &err), code);
    assert_int_equal(child.status, status);
    assert_int_equal(child.pid, 0);
    assert_int_equal(child.signal, 0);
    assert_non_null(strstr(err.text, text));
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* nobody is left behind */
}

static void test_programs_that_cannot_be_started(void **state)
{
    const char *missing[] = {"postern-no-such-program", NULL}, *folder[] = {"/", NULL},
               *shell[] = {"sh", NULL};
    struct child_options how = options(missing);

    (void)state;
    check_not_started(&how, -ENOENT, CHILD_NOT_FOUND, "cannot start postern-no-such-program: ");
    how = options(folder);
    check_not_started(&how, -EACCES, CHILD_NOT_RUN, "cannot start /: ");
    how = options(shell);
    how.chdir = "/no/such/folder";
    check_not_started(&how, -ENOENT, CHILD_NOT_FOUND, "cannot go to /no/such/folder to start the app: ");
    how.chdir = NULL;
    how.out = 1000;
    check_not_started(&how, -EBADF, CHILD_NOT_RUN, "cannot start sh: ");
    fault_arm(FAULT_PIPE, 1);
    how.out = -1;
    check_not_started(&how, -EMFILE, CHILD_NOT_RUN, "cannot start sh: no pipe: ");
    fault_disarm();
}

/* A mask that init blocks, an ignored SIGPIPE, the output, the folder, and a session of its own. */
static void test_what_the_app_is_given(void **state)
{
    const char *argv[] = {
        "sh", "-c",
        "pwd; grep -E 'SigBlk|SigIgn' /proc/self/status | tr -d '\\n\\t'; echo; echo problem >&2; "
        "[ \"$(cut -d' ' -f6 /proc/$$/stat)\" = $$ ] && echo own session",
        NULL};
    struct child_options how = options(argv);
    struct child child;
    struct error err = ERROR_INIT;
    char got[1000];
    int ends[2];
    size_t length = 0;
    ssize_t more;

    (void)state;
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    how.out = how.err = ends[1];
    how.chdir = "/usr";
    signal(SIGPIPE, SIG_IGN);
    assert_int_equal(child_start(&child, &how, &err), 0);
    signal(SIGPIPE, SIG_DFL);
    close(ends[1]);
    while ((more = read(ends[0], got + length, sizeof got - 1 - length)) > 0) {
        length += (size_t)more;
    }
    got[length] = '\0';
    close(ends[0]);
    wait_for(&child);
    assert_string_equal(got, "/usr\nSigBlk:0000000000000000SigIgn:0000000000000000\nproblem\nown session\n");
}

/* A process whose parent ends becomes a child of this one's, and is reaped. */
static void test_orphans_are_reaped(void **state)
{
    struct child child;
    uint64_t orphans;
    sigset_t children;
    int signal;

    (void)state;
    assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
    /* The orphan ends when the app has, of whose output it waits for the end. */
    start_shell(&child, "(read line; exit 5) <&- & exit 4");
    orphans = wait_for(&child);
    assert_int_equal(child.status, 4);
    sigemptyset(&children);
    sigaddset(&children, SIGCHLD);
    while (orphans == 0) {
        assert_int_equal(sigwait(&children, &signal), 0);
        assert_false(child_reap(&child, &orphans));
    }
    assert_int_equal(orphans, 1);
    assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 0), 0);
}

static void test_signals(void **state)
{
    sigset_t set;

    (void)state;
    child_signals(&set);
    assert_true(sigismember(&set, SIGTERM) && sigismember(&set, SIGINT) && sigismember(&set, SIGHUP));
    assert_true(sigismember(&set, SIGUSR1) && sigismember(&set, SIGUSR2) && sigismember(&set, SIGQUIT));
    assert_false(sigismember(&set, SIGCHLD) || sigismember(&set, SIGKILL));
}

/* ---- Ending all: kill(-1) must not reach beyond this test, so it is played ---- */

static pid_t only_child;
static int killed[8];
static unsigned kills;

int __wrap_kill(pid_t pid, int signal);
int __real_kill(pid_t pid, int signal);

int __wrap_kill(pid_t pid, int signal)
{
    if (pid != -1) {
        return __real_kill(pid, signal);
    }
    assert_true(kills < ARRAY_SIZE(killed));
    killed[kills++] = signal;
    return only_child > 0 ? __real_kill(only_child, signal) : 0;
}

/* Starts a shell and waits until its script says that it runs. */
static void start_other(const char *script)
{
    const char *argv[] = {"sh", "-c", script, NULL};
    struct child_options how = options(argv);
    struct child child;
    int ends[2];
    char byte;

    kills = 0;
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    how.out = ends[1];
    assert_int_equal(child_start(&child, &how, NULL), 0);
    only_child = child.pid;
    assert_int_equal(read(ends[0], &byte, 1), 1);
    close(ends[0]);
    close(ends[1]);
}

/* Reaps until no child is left. */
static void wait_for_none(void)
{
    struct child none = {.pid = 0};
    uint64_t reaped = 0;
    sigset_t children;
    int signal;

    sigemptyset(&children);
    sigaddset(&children, SIGCHLD);
    while (!child_none_left()) {
        assert_int_equal(sigwait(&children, &signal), 0);
        assert_false(child_reap(&none, &reaped));
    }
    assert_int_equal(reaped, 1);
}

static void test_others_are_asked_to_end(void **state)
{
    (void)state;
    assert_true(child_none_left());
    start_other("echo; exec sleep 1000");
    assert_false(child_none_left());
    child_end_others(false);
    wait_for_none();
    assert_int_equal(kills, 2);
    assert_int_equal(killed[0], SIGTERM);
    assert_int_equal(killed[1], SIGCONT);
}

static void test_others_are_made_to_end(void **state)
{
    (void)state;
    start_other("trap '' TERM; echo; exec sleep 1000");
    child_end_others(false);
    child_end_others(true);
    wait_for_none();
    assert_int_equal(kills, 3);
    assert_int_equal(killed[2], SIGKILL);
}

static void start_true(void *unused)
{
    const char *argv[] = {"true", NULL};
    struct child_options how = options(argv);
    struct child child;

    (void)unused;
    if (child_start(&child, &how, NULL) == 0) {
        wait_for(&child);
        assert_int_equal(child.status, 0);
    }
}

static void test_faults(void **state)
{
    (void)state;
    assert_true(fault_loop("child", FAULT_PIPE, start_true, NULL) >= 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exit_statuses),
        cmocka_unit_test(test_programs_that_cannot_be_started),
        cmocka_unit_test(test_what_the_app_is_given),
        cmocka_unit_test(test_orphans_are_reaped),
        cmocka_unit_test(test_signals),
        cmocka_unit_test(test_others_are_asked_to_end),
        cmocka_unit_test(test_others_are_made_to_end),
        cmocka_unit_test(test_faults),
    };
    return cmocka_run_group_tests(tests, block_children, NULL);
}
