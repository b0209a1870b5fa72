/* What becomes of a process that handles secrets. Each case is a process of its own, since there is no way back. */
#include "cli/secrecy.h"

#include "base/compiler.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define LARGE ((size_t)64 * 1024 * 1024)

/* In kB, out of /proc/self/status; -1: it has none. */
static long status_of(const char *name)
{
    char line[256];
    long value = -1;
    FILE *file = fopen("/proc/self/status", "re");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, name, strlen(name)) == 0 && line[strlen(name)] == ':') {
            value = strtol(line + strlen(name) + 1, NULL, 10);
        }
    }
    if (file != NULL) {
        fclose(file);
    }
    return value;
}

/* The exit status of a child that is `what`. Nothing of the parent's ends with it. */
static int in_a_child(int (*what)(void))
{
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        _exit(what());
    }
    assert_true(pid > 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

/* Whether this machine lets us; a sanitizer's process has too much memory, and locks nothing. */
static int everything_can_be_locked(void)
{
    const struct rlimit unlimited = {.rlim_cur = RLIM_INFINITY, .rlim_max = RLIM_INFINITY};
    (void)setrlimit(RLIMIT_MEMLOCK, &unlimited); /* or a capability makes up for the limit */
    return mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) == 0 && status_of("VmLck") > 0 &&
           mmap(NULL, LARGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED;
}

static int leaves_no_core(void)
{
    struct rlimit limit = {.rlim_cur = 1, .rlim_max = 1};
    secrecy_begin();
    if (getrlimit(RLIMIT_CORE, &limit) != 0 || limit.rlim_cur != 0 || limit.rlim_max != 0) {
        return 1;
    }
#ifndef POSTERN_SANITIZED
    if (prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) != 0) {
        return 2;
    }
#endif
    return 0;
}

static void test_no_core(void **state UNUSED)
{
    assert_int_equal(in_a_child(leaves_no_core), 0);
}

/* What there is and what comes later, but no page more than was used. */
static int locks_what_is_used(void)
{
    secrecy_begin();
    long locked = status_of("VmLck"), resident = status_of("VmRSS");
    char *block = mmap(NULL, LARGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (locked <= 0 || block == MAP_FAILED) {
        return 1;
    }
    block[0] = 1;
    if (status_of("VmLck") < locked + (long)(LARGE / 1024)) {
        return 2;
    }
    return status_of("VmRSS") < resident + (long)(LARGE / 1024 / 4) ? 0 : 3;
}

static void test_memory_is_locked(void **state UNUSED)
{
    if (!in_a_child(everything_can_be_locked)) {
        skip();
    }
    assert_int_equal(in_a_child(locks_what_is_used), 0);
}

/* Who may lock a little would be refused memory, were all of it locked. */
static int has_memory_beyond_the_limit(void)
{
    const struct rlimit limit = {.rlim_cur = 16 * 1024, .rlim_max = 64 * 1024};
    struct rlimit now;
    if (setrlimit(RLIMIT_MEMLOCK, &limit) != 0 || (geteuid() == 0 && setuid(65534) != 0)) {
        return 1;
    }
    secrecy_begin();
    if (getrlimit(RLIMIT_MEMLOCK, &now) != 0 || now.rlim_cur != limit.rlim_max) {
        return 2;
    }
    void *block = mmap(NULL, LARGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return block != MAP_FAILED && status_of("VmLck") == 0 ? 0 : 3;
}

static void test_a_limit(void **state UNUSED)
{
    assert_int_equal(in_a_child(has_memory_beyond_the_limit), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_core),
        cmocka_unit_test(test_memory_is_locked),
        cmocka_unit_test(test_a_limit),
    };
    return cmocka_run_group_tests_name("cli/secrecy", tests, NULL, NULL);
}
