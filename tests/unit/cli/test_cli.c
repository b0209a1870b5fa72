/* The command line: what is understood, and what is said of what is not. */
#include "cli/cli.h"

#include "contains.h"
#include "run_cli.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void assert_usage(const struct ran *ran, const char *part, const char *command)
{
    char hint[100];
    snprintf(hint, sizeof hint, "\ntry `postern %s%s--help`\n", command, command[0] != '\0' ? " " : "");
    assert_int_equal(ran->code, CLI_USAGE);
    assert_string_equal(ran->out, "");
    assert_contains(ran->err, part);
    assert_contains(ran->err, hint);
}

static void test_help(void **state)
{
    (void)state;
    struct ran ran;
    run_cli(&ran, "--help", NULL);
    assert_int_equal(ran.code, CLI_DONE);
    assert_contains(ran.out, "usage: postern [--connect ADDRESS] COMMAND");
    assert_contains(ran.out, "  ping [-c COUNT]");
    assert_contains(ran.out, "  pipe ROUTE\n");
    assert_contains(ran.out, "  send ROUTE [PATH] [-X METHOD]");
    assert_contains(ran.out, "  listen LOCAL=ROUTE...\n");
    assert_contains(ran.out, "  run [--config FILE] [--set KEY=VALUE]... -- PROGRAM [ARGUMENT...]\n");
    assert_contains(ran.out, "$POSTERN_ADDRESS, else vsock://parent:7000");
    assert_string_equal(ran.err, "");
    static const char *const commands[] = {
        "ping", "pipe", "send", "listen", "run",
#ifdef POSTERN_KMS
        "kms",  "seal", "open",
#endif
    };
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
        run_cli(&ran, commands[i], "--help", NULL);
        assert_int_equal(ran.code, CLI_DONE);
        assert_contains(ran.out, "usage: postern [--connect ADDRESS] ");
        assert_contains(ran.out, commands[i]);
    }
}

static void test_version(void **state)
{
    (void)state;
    struct ran ran;
    run_cli(&ran, "--version", NULL);
    assert_int_equal(ran.code, CLI_DONE);
    assert_string_equal(ran.out, "postern " POSTERN_VERSION "\n");
    run_cli(&ran, "ping", "--version", NULL);
    assert_string_equal(ran.out, "postern " POSTERN_VERSION "\n");
}

static void test_commands_that_are_none(void **state)
{
    (void)state;
    struct ran ran;
    run_cli(&ran, NULL);
    assert_usage(&ran, "a command is missing, such as ping", "");
    run_cli(&ran, "lisen", NULL);
    assert_usage(&ran, "there is no command \"lisen\": did you mean listen?", "");
    run_cli(&ran, "frobnicate", NULL);
    assert_usage(&ran, "there is no command \"frobnicate\"\n", "");
}

static void test_options_that_are_none(void **state)
{
    (void)state;
    struct ran ran;
    run_cli(&ran, "--frob", NULL);
    assert_usage(&ran, "--frob is no option here", "");
    run_cli(&ran, "--connect", NULL);
    assert_usage(&ran, "--connect needs a value", "");
    run_cli(&ran, "ping", "-z", NULL);
    assert_usage(&ran, "-z is no option here", "ping");
    run_cli(&ran, "ping", "-c", NULL);
    assert_usage(&ran, "-c needs a value", "ping");
    run_cli(&ran, "ping", "--count", NULL);
    assert_usage(&ran, "--count needs a value", "ping");
    run_cli(&ran, "pipe", "-c", "1", "kms", NULL);
    assert_usage(&ran, "-c is no option here", "pipe");
}

static void test_ping(void **state)
{
    (void)state;
    struct ran ran;
    run_cli(&ran, "ping", "-c", "0", NULL);
    assert_usage(&ran, "--count \"0\": a number from 1 to 4294967295 is expected", "ping");
    run_cli(&ran, "ping", "-i", "5", NULL);
    assert_usage(&ran, "--interval \"5\": a duration from 10ms to 1h is expected, such as 5s", "ping");
    run_cli(&ran, "ping", "-W", "2h", NULL);
    assert_usage(&ran, "--timeout \"2h\": a duration from 10ms to 1h", "ping");
    run_cli(&ran, "ping", "host", NULL);
    assert_usage(&ran, "ping takes no arguments, but got \"host\"", "ping");
}

static void test_pipe(void **state)
{
    (void)state;
    struct ran ran;
    char route[300];
    run_cli(&ran, "pipe", NULL);
    assert_usage(&ran, "one ROUTE is expected", "pipe");
    run_cli(&ran, "pipe", "a", "b", NULL);
    assert_usage(&ran, "one ROUTE is expected", "pipe");
    run_cli(&ran, "pipe", "", NULL);
    assert_usage(&ran, "up to 255 printable ASCII characters", "pipe");
    run_cli(&ran, "pipe", "k\xc3\xa4se", NULL);
    assert_usage(&ran, "up to 255 printable ASCII characters", "pipe");
    snprintf(route, sizeof route, "%0256d", 0);
    run_cli(&ran, "pipe", route, NULL);
    assert_usage(&ran, "up to 255 printable ASCII characters", "pipe");
}

#define DOOR "tcp://127.0.0.1:0=kms"

static void test_listen(void **state)
{
    (void)state;
    static const char *const bad[][3] = {
        {"--max-streams", "0", "--max-streams \"0\": a number from 1 to 100000"},
        {"--max-streams", "100001", "a number from 1 to 100000"},
        {"--wait", "forever", "--wait \"forever\": a duration from 0s to 1h"},
        {"--drain-timeout", "2d", "--drain-timeout \"2d\": a duration from 0"},
        {"--memory", "1MB", "--memory \"1MB\": a size from 1MiB to 64GiB"},
        {"--memory", "512KiB", "a size from 1MiB to 64GiB"},
        {"--memory", "65GiB", "a size from 1MiB to 64GiB"},
        {"--memory", "1MiB", "--memory: at least 2 KiB for each of the 4096 streams"},
        {"--mode", "rw", "--mode \"rw\": octal digits"},
        {"--mode", "8", "octal digits"},
        {"--mode", "60x", "octal digits"},
        {"--mode", "1777", "octal digits"},
        {"--mode", "-1", "octal digits"},
    };
    struct ran ran;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        run_cli(&ran, "listen", bad[i][0], bad[i][1], DOOR, NULL);
        assert_usage(&ran, bad[i][2], "listen");
    }
    run_cli(&ran, "listen", NULL);
    assert_usage(&ran, "LOCAL=ROUTE is missing", "listen");
    run_cli(&ran, "listen", DOOR, "kms", NULL);
    assert_usage(&ran, "\"kms\": LOCAL=ROUTE is expected", "listen");
}

static void test_addresses(void **state)
{
    (void)state;
    struct ran ran;
    run_cli(&ran, "--connect", "parent:7000", "ping", NULL);
    assert_usage(&ran, "--connect, or $POSTERN_ADDRESS: ", "ping");
    run_cli(&ran, "ping", "--connect", "vsock://payroll:7000", NULL); /* after the command, too */
    assert_usage(&ran, "names an enclave: here a CID is a number, parent or local", "ping");
    run_cli(&ran, "--connect", "vsock://any:7000", "pipe", "kms", NULL);
    assert_usage(&ran, "vsock://any:7000", "pipe");
    assert_int_equal(setenv("POSTERN_ADDRESS", "nonsense", 1), 0);
    run_cli(&ran, "ping", NULL);
    assert_usage(&ran, "nonsense", "ping");
    assert_int_equal(setenv("POSTERN_ADDRESS", "", 1), 0); /* as if it was not set */
    run_cli(&ran, "--help", NULL);
    assert_int_equal(ran.code, CLI_DONE);
    assert_int_equal(unsetenv("POSTERN_ADDRESS"), 0);
}

static void test_an_output_that_fails(void **state)
{
    (void)state;
    char name[] = "postern", help[] = "--help";
    char *argv[] = {name, help, NULL};
    char *text;
    size_t size;
    FILE *full = fopen("/dev/full", "w"), *err = open_memstream(&text, &size);
    assert_non_null(full);
    assert_int_equal(cli_main(2, argv, full, err), CLI_FAILED);
    fclose(full);
    fclose(err);
    assert_contains(text, "cannot write the output: No space left on device");
    free(text);
}

static char *read_file(const char *name)
{
    static char text[65536];
    char path[512];
    snprintf(path, sizeof path, "%s/%s", PROJECT_DIR, name);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    assert_int_equal(fclose(file), 0);
    return text;
}

/* Each option of each command, as the help has it, is in the manual, and each command in the guide. */
static void test_the_manual_is_in_step(void **state)
{
    (void)state;
    static const char *const commands[] = {
        "ping", "pipe", "send", "listen", "run",
#ifdef POSTERN_KMS
        "kms",  "seal", "open",
#endif
    };
    char wanted[64];
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
        struct ran ran;
        const char *manual = read_file("docs/man/postern.1");
        snprintf(wanted, sizeof wanted, "\n.It Cm %s", commands[i]);
        assert_contains(manual, wanted);
        run_cli(&ran, commands[i], "--help", NULL);
        for (char *option = strstr(ran.out, " --"); option != NULL; option = strstr(option + 1, " --")) {
            snprintf(wanted, sizeof wanted, "Fl -%.*s", (int)strcspn(option + 3, " ]"), option + 3);
            assert_contains(manual, wanted);
        }
        snprintf(wanted, sizeof wanted, "postern %s ", commands[i]);
        assert_contains(read_file("docs/client.md"), wanted);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_help),
        cmocka_unit_test(test_version),
        cmocka_unit_test(test_commands_that_are_none),
        cmocka_unit_test(test_options_that_are_none),
        cmocka_unit_test(test_ping),
        cmocka_unit_test(test_pipe),
        cmocka_unit_test(test_listen),
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_an_output_that_fails),
        cmocka_unit_test(test_the_manual_is_in_step),
    };
    return cmocka_run_group_tests_name("cli/cli", tests, NULL, NULL);
}
