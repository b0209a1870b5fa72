/* postern kms, seal and open, up to the call: what is understood of the command line, of input, and what becomes of output. */
#include "cli/cli.h"
#include "cli/kms_input.h"
#include "cli/kms_output.h"

#include "run_cli.h"
#include <errno.h>
#include <fcntl.h>
#include <pty.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static struct error err;

static void assert_contains(const char *text, const char *part)
{
    if (strstr(text, part) == NULL) {
        fail_msg("expected \"%s\" in:\n%s", part, text);
    }
}

static void assert_wrong(const struct ran *ran, int code, const char *part)
{
    assert_contains(ran->err, part);
    assert_int_equal(ran->code, code);
    assert_string_equal(ran->out, "");
}

static void test_wrong_words(void **state)
{
    static const char *const wrong[][6] = {
        {"an operation is missing", NULL},
        {"there is no operation \"decript\": did you mean decrypt?", "decript"},
        {"there is no operation \"frobnicate\"\n", "frobnicate"},
        {"decrypt needs one ciphertext", "decrypt"},
        {"decrypt needs one ciphertext", "decrypt", "a", "b"},
        {"--key-spec is not for decrypt", "decrypt", "AAAA", "--key-spec", "AES_256"},
        {"--bytes is not for decrypt", "decrypt", "AAAA", "--bytes", "5"},
        {"generate-data-key needs --key-id", "generate-data-key"},
        {"generate-data-key-pair needs --key-pair-spec", "generate-data-key-pair", "--key-id", "k"},
        {"generate-random needs --bytes", "generate-random"},
        {"generate-random takes options alone", "generate-random", "32", "--bytes", "32"},
        {"--bytes \"1025\": a number from 1 to 1024", "generate-random", "--bytes", "1025"},
        {"--bytes \"0\": a number from 1 to 1024", "generate-random", "--bytes", "0"},
        {"derive-shared-secret needs --public-key", "derive-shared-secret", "--key-id", "k"},
        {"--format \"xml\": raw, base64 or json", "decrypt", "AAAA", "--format", "xml"},
        {"--input-format \"json\": raw or base64", "decrypt", "AAAA", "--input-format", "json"},
        {"--context \"abc\": `key=value` is expected", "decrypt", "AAAA", "--context", "abc"},
        {"--context \"=abc\": `key=value` is expected", "decrypt", "AAAA", "--context", "=abc"},
        {"--credentials \"given\": auto, environment", "decrypt", "AAAA", "--credentials", "given"},
        {"--timeout \"1ms\": a duration from 100ms to 10m", "decrypt", "AAAA", "--timeout", "1ms"},
        {"--insecure-nsm env: $POSTERN_INSECURE_NSM is not set", "decrypt", "AAAA", "--insecure-nsm", "env"},
        {"--show is no option here", NULL},
    };
    struct ran ran;
    (void)state;
    unsetenv("POSTERN_INSECURE_NSM");
    for (size_t i = 0; i + 1 < ARRAY_SIZE(wrong); i++) {
        run_cli(&ran, "kms", wrong[i][1], wrong[i][2], wrong[i][3], wrong[i][4], wrong[i][5], NULL);
        assert_wrong(&ran, CLI_USAGE, wrong[i][0]);
    }
    run_cli(&ran, "seal", "--show", NULL);
    assert_wrong(&ran, CLI_USAGE, wrong[ARRAY_SIZE(wrong) - 1][0]);
}

static void test_wrong_together(void **state)
{
    char one[] = "a=1", other[] = "a=2"; /* are cut in two */
    struct ran ran;
    (void)state;
    run_cli(&ran, "kms", "generate-data-key", "--key-id", "k", "--format", "raw", NULL);
    assert_wrong(&ran, CLI_USAGE, "--ciphertext-output FILE says where its encrypted copy goes");
    run_cli(&ran, "kms", "generate-data-key-pair", "--key-id", "k", "--key-pair-spec", "RSA_2048", "--format",
            "raw", NULL);
    assert_wrong(&ran, CLI_USAGE, "--public-output FILE where the public key does");
    run_cli(&ran, "kms", "decrypt", "AAAA", "--context", one, "--context", other, NULL);
    assert_wrong(&ran, CLI_USAGE, "--context: a is there twice");
    run_cli(&ran, "kms", "decrypt", "AAAA", "--raw", "tcp://127.0.0.1:1", "--route", "kms", NULL);
    assert_wrong(&ran, CLI_USAGE, "--raw leads to KMS by itself");
    run_cli(&ran, "--connect", "nowhere", "kms", "decrypt", "AAAA", NULL);
    assert_wrong(&ran, CLI_USAGE, "--connect, or $POSTERN_ADDRESS");
    run_cli(&ran, "kms", "decrypt", "A?", NULL);
    assert_wrong(&ran, CLI_FAILED, "the ciphertext: this is not base64");
    run_cli(&ran, "kms", "decrypt", "@/nowhere", NULL);
    assert_wrong(&ran, CLI_FAILED, "cannot read /nowhere: No such file");
    run_cli(&ran, "kms", "decrypt", "AAAA", "--output", "/nowhere/out", NULL);
    assert_wrong(&ran, CLI_FAILED, "cannot write /nowhere/out: No such file");
}

static void test_too_many(void **state)
{
    struct ran ran;
    (void)state;
    run_cli(&ran, "kms", "decrypt", "AAAA", "--grant-token", "1", "--grant-token", "2", "--grant-token", "3",
            "--grant-token", "4", "--grant-token", "5", "--grant-token", "6", "--grant-token", "7",
            "--grant-token", "8", "--grant-token", "9", "--grant-token", "10", "--grant-token", "11", NULL);
    assert_wrong(&ran, CLI_USAGE, "--grant-token: there are more than 10");
}

static void test_sealing(void **state)
{
    struct ran ran;
    (void)state;
    run_cli(&ran, "seal", NULL);
    assert_wrong(&ran, CLI_USAGE, "--key is missing");
    run_cli(&ran, "seal", "--key", "k", "a", "b", "c", NULL);
    assert_wrong(&ran, CLI_USAGE, "at most two files");
    run_cli(&ran, "seal", "--key", "k", "/nowhere/in", NULL);
    assert_wrong(&ran, CLI_FAILED, "cannot read /nowhere/in: No such file");
    run_cli(&ran, "seal", "--key", "k", "/tmp", NULL);
    assert_wrong(&ran, CLI_FAILED, "cannot read /tmp: it is a directory");
    run_cli(&ran, "seal", "--key", "k", "/dev/null", "/nowhere/out", NULL);
    assert_wrong(&ran, CLI_FAILED, "cannot write /nowhere/out");
    run_cli(&ran, "seal", "--key", "k", "--context", "k", NULL);
    assert_wrong(&ran, CLI_USAGE, "`key=value` is expected");
    run_cli(&ran, "open", "--describe", "/dev/null", NULL);
    assert_wrong(&ran, CLI_FAILED, "/dev/null: cannot read what is sealed: this is no sealed file");
    run_cli(&ran, "open", "--describe", "a", "b", NULL);
    assert_wrong(&ran, CLI_USAGE, "one file is expected");
    run_cli(&ran, "open", "--describe", "/nowhere", NULL);
    assert_wrong(&ran, CLI_FAILED, "cannot read /nowhere");
}

static void test_describe(void **state)
{
    struct ran ran;
    (void)state;
    run_cli(&ran, "open", "--describe", CORPUS "/hello", NULL);
    assert_int_equal(ran.code, CLI_DONE);
    assert_string_equal(
        ran.out,
        "{\n  \"KeyId\": \"arn:aws:kms:us-east-1:111122223333:key/1234abcd\",\n  \"EncryptionContext\": {\n"
        "    \"purpose\": \"L\xc3\xb6hne\",\n    \"tenant\": \"payroll\"\n  }\n}\n");
    run_cli(&ran, "open", "--describe", CORPUS "/least", NULL);
    assert_string_equal(ran.out, "{\n  \"KeyId\": \"k\",\n  \"EncryptionContext\": {}\n}\n");
    run_cli(&ran, "open", "--describe", CORPUS "/cut", NULL);
    assert_wrong(&ran, CLI_FAILED, "the sealed file's header is cut off");
    run_cli(&ran, "open", "--describe", CORPUS "/unsorted", NULL);
    assert_wrong(&ran, CLI_FAILED, "the sealed file's header is broken");
    run_cli(&ran, "open", "--describe", CORPUS "/version", NULL);
    assert_wrong(&ran, CLI_FAILED, "version 2.0");
}

/* ---- Input ---- */

static int read_input(const char *text, bool in_base64, size_t max, const char *expected)
{
    uint8_t *data;
    size_t size;
    int r = kms_input_read(text, in_base64, max, &data, &size, &err);
    if (r == 0) {
        assert_int_equal(size, strlen(expected));
        assert_memory_equal(data, expected, size);
        free(data);
    }
    return r;
}

static void test_input(void **state)
{
    char path[] = "/tmp/kms_input.XXXXXX", text[64];
    (void)state;
    int fd = mkstemp(path);
    assert_int_equal(write(fd, "Zm9v\nYmFy\n", 10), 10);
    close(fd);
    snprintf(text, sizeof text, "@%s", path);
    assert_int_equal(read_input("Zm9vYmFy", false, 6, "foobar"), 0);
    assert_int_equal(read_input(text, true, 6, "foobar"), 0);
    assert_int_equal(read_input(text, false, 10, "Zm9v\nYmFy\n"), 0);
    assert_int_equal(read_input(text, true, 5, ""), -E2BIG);
    assert_int_equal(read_input(text, false, 9, ""), -E2BIG);
    assert_int_equal(read_input(text, false, 2, ""), -E2BIG);
    assert_int_equal(read_input("Zm9vYmFyZm9vYmFyZm9vYmFy", false, 2, ""), -E2BIG);
    assert_int_equal(read_input("", false, 6, ""), -EINVAL);
    assert_int_equal(read_input("@/dev/null", false, 6, ""), -EINVAL);
    assert_int_equal(read_input("@/tmp", false, 6, ""), -EISDIR);
    assert_int_equal(read_input("@/nowhere", false, 6, ""), -ENOENT);
    unlink(path);
}

/* ---- Output ---- */

static void test_terminal(void **state)
{
    struct cli cli = {.out = NULL, .err = tmpfile()};
    struct kms_output output;
    int terminal, other;
    (void)state;
    assert_int_equal(openpty(&other, &terminal, NULL, NULL, NULL), 0);
    cli.out = fdopen(terminal, "w");
    assert_int_equal(kms_output_open(&output, &cli, NULL, false), CLI_USAGE);
    assert_int_equal(kms_output_open(&output, &cli, NULL, true), CLI_DONE);
    kms_output_bytes(&output, KMS_FORMAT_RAW, "secret", 6);
    assert_int_equal(kms_output_close(&output, &cli), CLI_DONE);
    char text[8] = "";
    assert_int_equal(read(other, text, sizeof text), 6);
    assert_string_equal(text, "secret");
    fclose(cli.out);
    fclose(cli.err);
    close(other);
}

static void test_formats(void **state)
{
    struct cli cli = {.out = tmpfile(), .err = tmpfile()};
    struct kms_output output;
    char text[4096], expected[4096];
    uint8_t bytes[1000] = {0};
    (void)state;
    assert_int_equal(kms_output_open(&output, &cli, NULL, false), CLI_DONE);
    kms_output_text(&output, "KeyId", "a\"b");
    kms_output_member(&output, "Plaintext", "foo", 3);
    assert_int_equal(kms_output_close(&output, &cli), CLI_DONE);
    assert_int_equal(kms_output_open(&output, &cli, NULL, false), CLI_DONE);
    kms_output_bytes(&output, KMS_FORMAT_BASE64, bytes, sizeof bytes);
    assert_int_equal(kms_output_close(&output, &cli), CLI_DONE);
    rewind(cli.out);
    text[fread(text, 1, sizeof text - 1, cli.out)] = '\0';
    int length =
        snprintf(expected, sizeof expected, "{\n  \"KeyId\": \"a\\\"b\",\n  \"Plaintext\": \"Zm9v\"\n}\n");
    memset(expected + length, 'A', 1334);
    strcpy(expected + length + 1334, "==\n");
    assert_string_equal(text, expected);
    fclose(cli.out);
    fclose(cli.err);
}

static void test_output_fails(void **state)
{
    struct cli cli = {.out = fopen("/dev/full", "w"), .err = tmpfile()};
    struct kms_output output;
    (void)state;
    assert_int_equal(kms_output_open(&output, &cli, NULL, false), CLI_DONE);
    kms_output_member(&output, "Plaintext", "foo", 3);
    assert_int_equal(kms_output_close(&output, &cli), CLI_FAILED);
    assert_int_equal(kms_output_file(&cli, "/dev/full", KMS_FORMAT_RAW, "foo", 3), CLI_FAILED);
    assert_int_equal(kms_output_file(&cli, "/nowhere/out", KMS_FORMAT_RAW, "foo", 3), CLI_FAILED);
    assert_int_equal(kms_output_file(&cli, NULL, KMS_FORMAT_RAW, "foo", 3), CLI_DONE);
    fclose(cli.out);
    fclose(cli.err);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wrong_words),  cmocka_unit_test(test_wrong_together),
        cmocka_unit_test(test_too_many),     cmocka_unit_test(test_sealing),
        cmocka_unit_test(test_describe),     cmocka_unit_test(test_input),
        cmocka_unit_test(test_terminal),     cmocka_unit_test(test_formats),
        cmocka_unit_test(test_output_fails),
    };
    return cmocka_run_group_tests_name("cli/kms", tests, NULL, NULL);
}
