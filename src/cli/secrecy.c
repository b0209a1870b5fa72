/* Memory that stays where it is: see secrecy.h. */
#include "cli/secrecy.h"

#include <linux/capability.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

static bool has_ipc_lock(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
    memset(data, 0, sizeof data);
    return syscall(SYS_capget, &header, data) == 0 && (data[0].effective & 1u << CAP_IPC_LOCK) != 0;
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
    return (setrlimit(RLIMIT_MEMLOCK, &limit) == 0 && limit.rlim_max == RLIM_INFINITY) || has_ipc_lock();
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
