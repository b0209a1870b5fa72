/*
 * What is seen as the daemon sees it: the environment of its process, and what its user may read.
 *
 * Both are read from /proc, which shows the environment to root and to the daemon's own user. While no daemon answers, its
 * environment is not known, and its user is the one that the host's unit names.
 */
#ifndef POSTERN_CTL_DOCTOR_PROCESS_H
#define POSTERN_CTL_DOCTOR_PROCESS_H

#include "base/compiler.h"
#include <stdbool.h>
#include <sys/types.h>

#define DOCTOR_GROUPS_MAX 64

struct doctor_process {
    char *block;        /* owned: what the strings of `environment` are in; may hold secrets */
    char **environment; /* owned; NULL: not to be seen */
    bool running;       /* that of a process; else of one to be started */
    bool has_user;      /* the rest is known */
    uid_t uid;
    gid_t groups[DOCTOR_GROUPS_MAX];
    unsigned group_count;
};

/* `pid` 0: none runs. */
void doctor_process_look(const char *proc, int pid, const char *user, struct doctor_process *ret);
void doctor_process_release(struct doctor_process *process);

/* Has getenv() find what the daemon's would, or nothing at all if that is not to be seen; returns what to leave with. No thread
 * may be running. */
char **doctor_environment_enter(const struct doctor_process *process) MUST_CHECK;
void doctor_environment_leave(char **before);

/* Whether the daemon's user may read the file, by the modes of it and of the directories above; true if that cannot be told
 * (no such file, an access control list). */
bool doctor_may_read(const struct doctor_process *process, const char *path);

#endif
