/* Every allocation and system call of posternctl's commands made to fail once: they fail in words,
 * and leak nothing. */
#include "ctl/client.h"
#include "ctl/doctor.h"
#include "fake_daemon.h"
#include "fault.h"
#include <jansson.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include <cmocka.h>

#define CALLS \
    (FAULT_MEMORY | FAULT_OPEN | FAULT_SOCKET | FAULT_CONNECT | FAULT_SOCKOPT | FAULT_READ | FAULT_WRITE)

static FILE *nowhere;

struct command {
    char words[8][64];
};

static void run(void *data)
{
    struct command *command = data;
    char *argv[10];
    int argc = 0;
    while (argc < 8 && command->words[argc][0] != '\0') {
        argv[argc] = command->words[argc];
        argc++;
    }
    argv[argc] = NULL;
    int code = ctl_main(argc, argv, nowhere, nowhere);
    assert_in_range(code, CTL_DONE, CTL_FAILED);
}

/* jansson (2.14) does not survive want of memory while it reads a document: it runs on, into an assert()
 * of its own or into freed memory. So where a status is read, its memory is of this kind, and all other
 * memory fails. */
static char arena[8 * 1024 * 1024];
static size_t arena_used;

static void *arena_malloc(size_t size)
{
    size_t at = arena_used;
    arena_used += (size + 15) / 16 * 16;
    return arena_used <= sizeof arena ? arena + at : NULL;
}

static void arena_free(void *pointer)
{
    (void)pointer;
}

static void run_reader(void *data)
{
    arena_used = 0;
    run(data);
}

static void commands_that_read_the_status(void **state)
{
    (void)state;
    static struct command commands[] = {
        {{"posternctl", "status"}},
        {{"posternctl", "status", "--json"}},
        {{"posternctl", "top", "--once", "--interval", "10ms"}},
        {{"posternctl", "top", "--json", "--once", "--interval", "10ms"}},
    };
    json_malloc_t old_malloc;
    json_free_t old_free;
    json_get_alloc_funcs(&old_malloc, &old_free);
    json_set_alloc_funcs(arena_malloc, arena_free);
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
        assert_true(fault_loop(commands[i].words[1], CALLS, run_reader, &commands[i]) >= 5);
    }
    json_set_alloc_funcs(old_malloc, old_free);
}

static void commands_that_do_not(void **state)
{
    (void)state;
    static struct command commands[] = {
        {{"posternctl", "reload"}},
        {{"posternctl", "reload", "--json"}},
        {{"posternctl", "drain", "--json", "--deadline", "1s"}},
        {{"posternctl", "explain", "--json"}},
        {{"posternctl", "explain", "--json", "denied_sni"}},
    };
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
        assert_true(fault_loop(commands[i].words[1], CALLS, run, &commands[i]) >= 5);
    }
}

/* In a process of its own, where nothing fails and whose memory is not counted. */
static pid_t start_daemon(void)
{
    static struct fake_daemon daemon;
    int fd = fake_socket(daemon.address, sizeof daemon.address);
    setenv("POSTERN_ADMIN", daemon.address, 1);
    pid_t child = fork();
    if (child != 0) {
        close(fd);
        return child;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    fake_daemon_init(&daemon);
    if (uv_loop_init(&daemon.loop) != 0 ||
        admin_start(&daemon.admin, &daemon.loop, fd, ADMIN_ROLE_ADMIN, &daemon.server) != 0) {
        abort();
    }
    uv_run(&daemon.loop, UV_RUN_DEFAULT);
    _exit(1);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(commands_that_read_the_status),
        cmocka_unit_test(commands_that_do_not),
    };
    nowhere = fopen("/dev/null", "we");
    pid_t daemon = start_daemon();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    kill(daemon, SIGKILL);
    waitpid(daemon, NULL, 0);
    fclose(nowhere);
    return failed;
}
