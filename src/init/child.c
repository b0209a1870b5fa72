/*
 * Starting: fork, exec, and a pipe that exec closes. What goes wrong between the two is told through the pipe, so that
 * "no such program" is known before anything else is said about the app.
 */
#include "init/child.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const int passed_on[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH};

void child_signals(sigset_t *set)
{
    sigemptyset(set);
    for (size_t i = 0; i < ARRAY_SIZE(passed_on); i++) {
        sigaddset(set, passed_on[i]);
    }
}

/* What failed on the way to exec. */
struct failure {
    int code;      /* errno */
    bool at_chdir; /* else at exec */
};

static _Noreturn void fail(int report, bool at_chdir)
{
    struct failure failure = {.code = errno, .at_chdir = at_chdir};
    ssize_t ignored = write(report, &failure, sizeof failure); /* less than PIPE_BUF: whole, or not at all */

    (void)ignored;
    _exit(CHILD_NOT_FOUND);
}

static _Noreturn void become(const struct child_options *options, int report)
{
    setsid();
    if ((options->out >= 0 && dup2(options->out, STDOUT_FILENO) < 0) ||
        (options->err >= 0 && dup2(options->err, STDERR_FILENO) < 0)) {
        fail(report, false);
    }
    if (options->chdir && chdir(options->chdir) < 0) {
        fail(report, true);
    }
    signal(SIGPIPE, SIG_DFL); /* ignored by init; a handler would not have survived exec, but this does */
    sigprocmask(SIG_SETMASK, options->signals, NULL);
    execvp(options->argv[0], options->argv);
    fail(report, false);
}

/* Waits for exec or for what kept it from happening. */
static int heard(int report, const struct child_options *options, struct child *child, struct error *err)
{
    struct failure failure;
    ssize_t got;

    do {
        got = read(report, &failure, sizeof failure);
    } while (got < 0 && errno == EINTR);
    if (got != (ssize_t)sizeof failure) {
        return 0;
    }
    waitpid(child->pid, NULL, 0);
    child->pid = 0;
    child->status = failure.code == ENOENT ? CHILD_NOT_FOUND : CHILD_NOT_RUN;
    return failure.at_chdir
               ? error_errno(err, -failure.code, "cannot go to %s to start the app", options->chdir)
               : error_errno(err, -failure.code, "cannot start %s", options->argv[0]);
}

int child_start(struct child *child, const struct child_options *options, struct error *err)
{
    int report[2], code;

    *child = (struct child){.status = CHILD_NOT_RUN};
    if (pipe2(report, O_CLOEXEC) < 0) {
        return error_errno(err, -errno, "cannot start %s: no pipe", options->argv[0]);
    }
    child->pid = fork();
    if (child->pid == 0) {
        become(options, report[1]);
    }
    code = -errno;
    close(report[1]);
    if (child->pid < 0) {
        child->pid = 0;
        code = error_errno(err, code, "cannot start %s: no process", options->argv[0]);
    } else {
        code = heard(report[0], options, child, err);
    }
    close(report[0]);
    return code;
}

bool child_reap(struct child *child, uint64_t *ret_orphans)
{
    bool over = false;
    int status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (pid == child->pid) {
            child->signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
            child->status = child->signal ? 128 + child->signal : WEXITSTATUS(status);
            child->pid = 0;
            over = true;
        } else {
            ++*ret_orphans;
        }
    }
    return over;
}

bool child_none_left(void)
{
    siginfo_t info;

    return waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) < 0 && errno == ECHILD;
}

void child_end_others(bool make)
{
    if (make) {
        kill(-1, SIGKILL);
    } else {
        kill(-1, SIGTERM);
        kill(-1, SIGCONT); /* one that is stopped would not hear it */
    }
}

const char *child_words(const struct child *child, char buffer[64])
{
    if (child->signal) {
        const char *name = sigabbrev_np(child->signal);

        snprintf(buffer, 64, "was ended by signal %d (%s)", child->signal, name ? name : "?");
    } else {
        snprintf(buffer, 64, "exited with status %d", child->status);
    }
    return buffer;
}
