/* Every allocation and system call of posternctl's commands made to fail once: they fail in words,
 * and leak nothing. */
#include "ctl/client.h"
#include "ctl/doctor.h"
#include "fake_daemon.h"
#include "fault.h"
#include "json_arena.h"
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

static void run_reader(void *data)
{
    json_arena_clear();
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
    struct json_arena_before before = json_arena_use();
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
        assert_true(fault_loop(commands[i].words[1], CALLS, run_reader, &commands[i]) >= 5);
    }
    json_arena_leave(before);
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
