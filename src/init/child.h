/*
 * The app, and every other process that ends up as a child of init's: orphans of the app's, which nobody else would reap.
 */
#ifndef POSTERN_INIT_CHILD_H
#define POSTERN_INIT_CHILD_H

#include "base/error.h"
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define CHILD_NOT_FOUND 127 /* the exit statuses that shells use */
#define CHILD_NOT_RUN   126

struct child_options {
    char *const *argv;       /* argv[0] is looked up in PATH */
    const char *chdir;       /* NULL: stays */
    int out, err;            /* become its standard output and error; -1: as they are */
    const sigset_t *signals; /* its blocked signals: those that init was started with */
};

struct child {
    pid_t pid;  /* 0: not started, or over */
    int status; /* once it is over: its exit status, or 128 + the signal that ended it */
    int signal; /* that signal; 0: it exited */
};

/* Starts it in a session of its own, so that a terminal's signals reach it through init alone, and once. 0; or a negative
 * errno value, with child->status as a shell would have it. */
int child_start(struct child *child, const struct child_options *options, struct error *err) MUST_CHECK;

/* Reaps whoever has ended. True: the app is among them. `*ret_orphans` is increased by the others. */
bool child_reap(struct child *child, uint64_t *ret_orphans);

/* Whether there is none left, after child_reap(). For process 1, whose children all are in the end. */
bool child_none_left(void);

/* What is left when the app has ended: asks all processes to end, or makes them. For process 1 alone. */
void child_end_others(bool make);

/* SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH: what is passed on to the app. */
void child_signals(sigset_t *set);

/* "exited with status 3", "was ended by signal 9 (KILL)" */
const char *child_words(const struct child *child, char buffer[64]);

#endif
