/* The command line of AWS's tool, up to the call: its words, its exit codes, and that no secret stays on it. */
#include "cli/kmstool.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define ARGUMENTS_MAX 20
#define NOWHERE       "--raw=tcp://127.0.0.1:1"

static char said[4096];
static char arguments[ARGUMENTS_MAX][64];
static int count;

/* Up to NULL; each is copied to where a program has its own. */
static int run(const char *first, ...)
{
    char *argv[ARGUMENTS_MAX + 1] = {arguments[0]};
    FILE *out = tmpfile(), *err = tmpfile();
    va_list args;
    assert_true(out != NULL && err != NULL);
    strcpy(arguments[0], "/app/kmstool_enclave_cli");
    count = 1;
    va_start(args, first);
    for (const char *one = first; one != NULL; one = va_arg(args, const char *)) {
        assert_true(count < ARGUMENTS_MAX && strlen(one) < sizeof arguments[0]);
        strcpy(arguments[count], one);
        argv[count] = arguments[count];
        count++;
    }
    va_end(args);
    int code = kmstool_main(count, argv, out, err);
    assert_int_equal(fseek(out, 0, SEEK_END), 0);
    assert_int_equal(ftell(out), 0);
    rewind(err);
    said[fread(said, 1, sizeof said - 1, err)] = '\0';
    fclose(out);
    fclose(err);
    return code;
}

static void assert_said(int code, int expected, const char *part)
{
    if (strstr(said, part) == NULL) {
        fail_msg("expected \"%s\" in:\n%s", part, said);
    }
    assert_int_equal(code, expected);
}

static void assert_wiped(void)
{
    for (int i = 0; i < count; i++) {
        assert_null(strstr(arguments[i], "SECRET"));
    }
}

static void test_names(void **state)
{
    (void)state;
    assert_true(kmstool_is_name("kmstool_enclave_cli"));
    assert_true(kmstool_is_name("/usr/bin/kmstool_enclave_cli"));
    assert_false(kmstool_is_name("postern"));
    assert_false(kmstool_is_name("/kmstool_enclave_cli/postern"));
}

static void test_commands(void **state)
{
    (void)state;
    assert_said(run(NULL), 1, "usage: kmstool_enclave_cli COMMAND");
    assert_said(run("encrypt", NULL), 1, "usage: kmstool_enclave_cli COMMAND");
    assert_said(run("encrypt", "-s", "SECRET", "-kSECRET", NULL), 1, "genrandom: get random bytes");
    assert_wiped();
    assert_said(run("decrypt", "--help", NULL), 1, "--ciphertext CIPHERTEXT");
    assert_said(run("genkey", "-h", NULL), 1, "--key-spec KEY_SPEC");
    assert_said(run("genrandom", "--help", NULL), 1, "--length NO_OF_BYTES");
}

static void test_what_is_missing(void **state)
{
    (void)state;
    assert_said(run("decrypt", "-s", "SECRET", NULL), 1, "--aws-access-key-id must be set");
    assert_said(run("decrypt", "-t", "SECRET", NULL), 1, "--aws-access-key-id must be set");
    assert_said(run("decrypt", "-k", "SECRET", "-t", "SECRET", NULL), 1,
                "--aws-secret-access-key must be set");
    assert_said(run("decrypt", "-k", "SECRET", "-s", "SECRET", NULL), 1, "--ciphertext must be set");
    assert_wiped();
    assert_said(run("genkey", "-p", "AES-256", NULL), 1, "--key-id must be set");
    assert_said(run("genkey", "-K", "key", NULL), 1, "--key-spec must be set");
    assert_said(run("genkey", "-p", "AES_256", NULL), 1, "Unknown key spec: AES_256");
    assert_said(run("genrandom", NULL), 1, "--length must be set");
    assert_said(run("genrandom", "-l", "0", NULL), 1, "--length must be greater than 0");
    assert_said(run("genrandom", "-l", "1025", NULL), 1, "--length must be smaller or equal to 1024");
    assert_said(run("genrandom", "-l", "ten", NULL), 1, "--length \"ten\": a number");
    assert_said(run("genrandom", "-x", "port", NULL), 1, "--proxy-port \"port\": a number");
    assert_said(run("genrandom", "--frob", NULL), 1, "Unknown option");
    assert_said(run("genrandom", "--timeout", "x", NULL), 1, "--timeout \"x\": a duration");
}

/* In whatever form they stand there, also if something else is wrong. */
static void test_secrets_are_wiped(void **state)
{
    (void)state;
    assert_said(run("decrypt", "--frob", "-kSECRET", "--aws-secret-access-key=SECRET", "--aws-session-token",
                    "SECRET", "-s", "SECRET", NULL),
                1, "Unknown option");
    assert_wiped();
    assert_string_equal(arguments[3], "-kxxxxxx");
    assert_string_equal(arguments[4], "--aws-secret-access-key=xxxxxx");
    assert_said(run("genrandom", "-l", "5", "-k", "SECRET", "-s", "SECRET", "-t", "SECRET", NOWHERE, NULL),
                255, "Could not generate random bytes");
    assert_wiped();
}

static void test_calls_that_fail(void **state)
{
    (void)state;
    assert_said(run("decrypt", "-k", "a", "-s", "b", "-c", "AA?A", NOWHERE, NULL), 255,
                "Ciphertext not a base64 string");
    assert_said(run("decrypt", "-k", "a", "-s", "b", "-c", "AAAA", NOWHERE, NULL), 255,
                "Could not decrypt ciphertext");
    assert_said(run("genkey", "-k", "a", "-s", "b", "-K", "key", "-p", "AES-128", NOWHERE, NULL), 255,
                "Could not generate data key");
    assert_said(run("genkey", "-k", "a", "-s", "b", "-K", "key", "-p", "AES-256", "--raw=nowhere", NULL), 255,
                "nowhere");
}

/* With a software NSM each line says what it is worth, ours as AWS's. */
static void test_insecure(void **state)
{
    (void)state;
    assert_said(
        run("genrandom", "-k", "a", "-s", "b", "-l", "5", NOWHERE, "--insecure-nsm=unix:///nowhere/nsm",
            NULL),
        255,
        "postern: INSECURE: the attestation document comes from a software NSM at unix:///nowhere/nsm\n"
        "postern: INSECURE: ");
    assert_said(255, 255, "\nINSECURE: Could not generate random bytes\n");
    assert_said(run("genrandom", "--insecure-nsm=unix:///nowhere/nsm", "-l", "ten", NULL), 1,
                "INSECURE: --length \"ten\"");
    assert_said(run("genkey", "--insecure-nsm=unix:///nowhere/nsm", "-p", "x", NULL), 1,
                "INSECURE: Unknown key spec");
    assert_said(run("genrandom", "-l", "ten", "--insecure-nsm=unix:///nowhere/nsm", NULL), 1,
                "INSECURE: --length \"ten\"");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),           cmocka_unit_test(test_commands),
        cmocka_unit_test(test_what_is_missing), cmocka_unit_test(test_secrets_are_wiped),
        cmocka_unit_test(test_calls_that_fail), cmocka_unit_test(test_insecure),
    };
    return cmocka_run_group_tests_name("cli/kmstool", tests, NULL, NULL);
}
