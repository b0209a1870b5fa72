/* Memory that stays where it is: see secrecy.h. */
#include "cli/secrecy.h"

#include <stdbool.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>

/* With CAP_IPC_LOCK no limit holds. The kernel is asked by a lock that nobody else may have: in a user namespace a process may seem to have
 * the capability, and the limit holds all the same. */
static bool is_beyond_limits(struct rlimit limit)
{
    const struct rlimit nothing = {.rlim_cur = 0, .rlim_max = limit.rlim_max};
    if (setrlimit(RLIMIT_MEMLOCK, &nothing) != 0) {
        return false;
    }
    bool locked = mlock(&limit, sizeof limit) == 0;
    (void)munlock(&limit, sizeof limit);
    (void)setrlimit(RLIMIT_MEMLOCK, &limit);
    return locked;
}

/*
 * Whether all of the memory may be locked, however much it becomes. Where that has a limit, what comes beyond it would not be
 * had at all: there only the secrets in pages of their own are locked (kms/secret.h), with as much of a limit as there is.
 */
static bool may_lock_all(void)
{
    struct rlimit limit = {.rlim_cur = RLIM_INFINITY, .rlim_max = RLIM_INFINITY};
    if (setrlimit(RLIMIT_MEMLOCK, &limit) == 0) {
        return true;
    }
    if (getrlimit(RLIMIT_MEMLOCK, &limit) != 0) {
        return false;
    }
    limit.rlim_cur = limit.rlim_max;
    return (setrlimit(RLIMIT_MEMLOCK, &limit) == 0 && limit.rlim_max == RLIM_INFINITY) ||
           is_beyond_limits(limit);
}

void secrecy_begin(void)
{
    const struct rlimit none = {.rlim_cur = 0, .rlim_max = 0};
    /* The limit keeps a core from a file, but not from a program that the system hands cores to; the flag does, and keeps
     * debuggers out. A sanitizer looks for leaks as a debugger does. */
    (void)setrlimit(RLIMIT_CORE, &none);
#ifndef POSTERN_SANITIZED
    (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
#endif
    /* Only what is used: stacks and heaps are larger than what ever becomes of them. */
    if (may_lock_all()) {
        (void)mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT);
    }
}
