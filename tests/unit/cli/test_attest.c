/* postern attest with a device, which is played, and whatever that says: what is printed, and what is asked. */
#include "cli/attest_print.h"
#include "cli/cli.h"

#include "fault.h"
#include "maker.h"
#include "run_cli.h"
#include <errno.h>
#include <pty.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* No letter of a name is read as a digit of the escape before it. */
#define JOIN(head, name) head name

/* ---- The device ---- */

static uint8_t answer[NSM_RESPONSE_MAX];
static size_t answer_size;
static uint8_t asked[NSM_REQUEST_MAX];
static size_t asked_size;
static int open_code;

static int ask(void *user UNUSED, const uint8_t *request, size_t size, uint64_t deadline UNUSED,
               uint8_t response[NSM_RESPONSE_MAX], size_t *ret_size, struct error *err UNUSED)
{
    static const char describe[] = JOIN("\x6b", "DescribeNSM"), one[] = JOIN("\xa1\x6b", "DescribePCR");
    static const char described[] =
        JOIN("\xa1\x6b", "DescribeNSM\xa7\x69module_id\x63i-1\x6dversion_major\x01")
            JOIN("\x6dversion_minor\x02\x6dversion_patch\x03\x66",
                 "digest\x66SHA384\x68max_pcrs\x02\x6blocked_pcrs\x80");
    static const char pcr[] = JOIN(JOIN("\xa1\x6b", "DescribePCR\xa2\x64"), "data\x42\x01\xab\x64lock\xf5");

    memcpy(asked, request, size);
    asked_size = size;
    memcpy(response, answer, answer_size);
    *ret_size = answer_size;
    if (answer_size == 0 && size == sizeof describe - 1 && !memcmp(request, describe, size)) {
        memcpy(response, described, sizeof described - 1);
        *ret_size = sizeof described - 1;
    } else if (answer_size == 0 && !memcmp(request, one, sizeof one - 1)) {
        memcpy(response, pcr, sizeof pcr - 1);
        *ret_size = sizeof pcr - 1;
        response[sizeof pcr - 2] = request[size - 1] == 0 ? 0xf5 : 0xf4; /* PCR0 is locked */
    }
    return 0;
}

static void closed(void *user UNUSED)
{
}

int __wrap_nsm_open(const char *path, struct nsm **ret, struct error *err);

int __wrap_nsm_open(const char *path, struct nsm **ret, struct error *err)
{
    const struct nsm_way way = {.ask = ask, .close = closed};

    assert_string_equal(path, "/dev/nsm");
    return open_code < 0 ? error_set(err, open_code, "played") : nsm_open_way(&way, ret);
}

static void answer_with(const void *bytes, size_t size)
{
    memcpy(answer, bytes, size);
    answer_size = size;
}

#define ANSWER(literal) answer_with(literal, sizeof(literal) - 1)

static int setup(void **state UNUSED)
{
    answer_size = asked_size = 0;
    open_code = 0;
    return 0;
}

static struct ran ran;

/* ---- Documents ---- */

static void answer_a_document(void)
{
    static const char head[] = JOIN(JOIN("\xa1\x6b", "Attestation\xa1\x68"), "document\x59");
    struct maker_chain chain;
    struct sim_document making;
    size_t size;

    maker_chain_make(&chain, &(struct maker_kind){.curve = NULL});
    maker_document_init(&making);
    making.nonce = (struct attest_bytes){(const uint8_t *)"\x01\xff", 2};
    making.module_id = "i-\"quoted\\\"";
    uint8_t *document = maker_sign(&making, &chain, &size);
    memcpy(answer, head, sizeof head - 1);
    answer[sizeof head - 1] = (uint8_t)(size >> 8);
    answer[sizeof head] = (uint8_t)size;
    memcpy(answer + sizeof head + 1, document, size);
    answer_size = sizeof head + 1 + size;
    free(document);
    maker_chain_release(&chain);
}

static void assert_contains(const char *part)
{
    if (!strstr(ran.out, part)) {
        fail_msg("expected \"%s\" in:\n%s", part, ran.out);
    }
}

static void test_a_document_as_json(void **state UNUSED)
{
    answer_a_document();
    run_cli(&ran, "attest", "--format", "json", "--nonce", "01fF", NULL);
    assert_int_equal(ran.code, 0);
    assert_string_equal(ran.err, ""); /* nothing is insecure */
    assert_contains("{\"document\": \"hEShATgioFk");
    assert_contains(
        "\"module_id\": \"i-\\\"quoted\\\\\\\"\", \"timestamp\": 1700000000000, \"pcrs\": {\"0\": \"");
    assert_contains("\"user_data\": null, \"nonce\": \"01ff\", \"public_key\": null, \"insecure\": false}\n");
    assert_non_null(memmem(asked, asked_size, "\x65nonce\x42\x01\xff", 9));
}

static void test_what_is_no_document(void **state UNUSED)
{
    ANSWER(JOIN(JOIN("\xa1\x6b", "Attestation\xa1\x68"), "document\x43"
                                                         "abc"));
    run_cli(&ran, "attest", "--format", "json", NULL);
    assert_int_equal(ran.code, 1);
    assert_string_equal(ran.out, "");
    assert_non_null(strstr(ran.err, "postern: the NSM's document: not an attestation document"));
    run_cli(&ran, "attest", NULL); /* as it is, it is the verifier's to judge */
    assert_string_equal(ran.out, "YWJj\n");
    assert_int_equal(ran.code, 0);
    run_cli(&ran, "attest", "--format", "cbor", NULL);
    assert_string_equal(ran.out, "abc");
}

static void assert_base64(const char *bytes, size_t size, const char *expected)
{
    char text[32] = "";
    FILE *out = fmemopen(text, sizeof text, "w");

    attest_print_base64(out, (const uint8_t *)bytes, size);
    fclose(out);
    assert_string_equal(text, expected);
}

/* RFC 4648, 10. */
static void test_base64(void **state UNUSED)
{
    assert_base64("", 0, "");
    assert_base64("f", 1, "Zg==");
    assert_base64("fo", 2, "Zm8=");
    assert_base64("foo", 3, "Zm9v");
    assert_base64("foobar", 6, "Zm9vYmFy");
    assert_base64("\xff\xfe\xfb", 3, "//77");
}

/* ---- PCRs ---- */

static void test_the_module_and_its_pcrs(void **state UNUSED)
{
    run_cli(&ran, "attest", "describe", NULL);
    assert_int_equal(ran.code, 0);
    assert_string_equal(ran.out,
                        "module i-1\nversion 1.2.3\ndigest SHA384\npcr 0 locked 01ab\npcr 1 open 01ab\n");
    run_cli(&ran, "attest", "--format", "json", "describe", NULL);
    assert_string_equal(ran.out,
                        "{\"module_id\": \"i-1\", \"version\": \"1.2.3\", \"digest\": \"SHA384\", \"pcrs\": "
                        "{\"0\": {\"locked\": true, \"value\": \"01ab\"}, \"1\": {\"locked\": false, "
                        "\"value\": \"01ab\"}}, \"insecure\": false}\n");
}

static void test_changes(void **state UNUSED)
{
    ANSWER(JOIN(JOIN("\xa1\x69", "ExtendPCR\xa1\x64"), "data\x42\x01\xab"));
    run_cli(&ran, "attest", "extend", "16", "text", NULL);
    assert_string_equal(ran.out, "01ab\n");
    assert_non_null(memmem(asked, asked_size, "\x44text", 5));
    ANSWER("\x67LockPCR");
    run_cli(&ran, "attest", "lock", "16", NULL);
    assert_int_equal(ran.code, 0);
    assert_string_equal(ran.out, "");
    ANSWER("\x68LockPCRs");
    run_cli(&ran, "attest", "lock-range", "32", NULL);
    assert_int_equal(ran.code, 0);
}

static void test_what_the_device_refuses(void **state UNUSED)
{
    static const char *const words[][3] = {{"describe"},
                                           {"extend", "16", "x"},
                                           {"lock", "16"},
                                           {"lock-range", "1"}};

    ANSWER(JOIN("\xa1\x65", "Error\x6dInternalError"));
    for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
        run_cli(&ran, "attest", words[i][0], words[i][1], words[i][1] ? words[i][2] : NULL, NULL);
        assert_int_equal(ran.code, 1);
        assert_string_equal(ran.out, "");
        assert_non_null(strstr(ran.err, "postern: the NSM refuses "));
    }
}

static void test_no_device(void **state UNUSED)
{
    open_code = -ENOENT;
    run_cli(&ran, "attest", "describe", NULL);
    assert_int_equal(ran.code, 1);
    assert_string_equal(
        ran.err, "postern: there is no /dev/nsm: this is no Nitro Enclave, or its driver is not loaded\n");
    open_code = -EACCES;
    run_cli(&ran, "attest", "lock", "3", NULL);
    assert_string_equal(ran.err, "postern: played\n");
}

/* A software NSM: every line says so, and the hint behind a wrong word, too. */
static void test_insecure(void **state UNUSED)
{
    run_cli(&ran, "attest", "--insecure-nsm", "unix:///nowhere/nsm", "describe", NULL);
    assert_int_equal(ran.code, 1);
    assert_string_equal(ran.err, "postern: INSECURE: this comes from a software NSM at unix:///nowhere/nsm\n"
                                 "postern: INSECURE: the INSECURE software NSM: cannot connect to "
                                 "unix:///nowhere/nsm: No such file or directory; is it running?\n");
    run_cli(&ran, "attest", "--insecure-nsm", "unix:///nowhere/nsm", "lock", NULL);
    assert_int_equal(ran.code, 2);
    assert_string_equal(ran.err,
                        "postern: INSECURE: INDEX is missing\nINSECURE: try `postern attest --help`\n");

    /* Wherever it stands, as long as it is one. */
    run_cli(&ran, "attest", "--nonce", "x", "describe", "--insecure-nsm=unix:///nowhere/nsm", NULL);
    assert_string_equal(ran.err, "postern: INSECURE: --nonce \"x\": hex or @FILE is expected\n"
                                 "INSECURE: try `postern attest --help`\n");
    run_cli(&ran, "attest", "--bogus", "--insecure", "unix:///nowhere/nsm", NULL);
    assert_string_equal(ran.err, "postern: INSECURE: --bogus is no option here\n"
                                 "INSECURE: try `postern attest --help`\n");
    run_cli(&ran, "attest", "--nonce", "--insecure-nsm", "unix:///nowhere/nsm", NULL);
    assert_string_equal(ran.err, "postern: --nonce \"--insecure-nsm\": hex or @FILE is expected\n"
                                 "try `postern attest --help`\n");
}

/* ---- Who asks ---- */

static void test_bytes_are_not_for_a_terminal(void **state UNUSED)
{
    char attest[] = "attest", option[] = "--format", format[] = "cbor", said[256] = "";
    char *words[] = {attest, option, format, NULL};
    int ours, theirs;

    assert_int_equal(openpty(&ours, &theirs, NULL, NULL, NULL), 0);
    FILE *out = fdopen(theirs, "w"), *err = fmemopen(said, sizeof said, "w");
    struct cli cli = {.out = out, .err = err};
    optind = 0; /* glibc: begin afresh */
    assert_int_equal(cli_attest(&cli, 3, words), CLI_USAGE);
    fclose(err);
    fclose(out);
    close(ours);
    assert_non_null(strstr(said, "--format cbor is not for a terminal: redirect it, or take base64"));
}

static void ask_everything(void *argument UNUSED)
{
    run_cli(&ran, "attest", "--nonce", "00", "--user-data", "@/dev/null", NULL);
    run_cli(&ran, "attest", "--insecure-nsm", "unix:///nowhere/nsm", "describe", NULL);
}

static void test_out_of_memory(void **state UNUSED)
{
    answer_a_document();
    assert_true(fault_loop("attest", FAULT_MEMORY, ask_everything, NULL) >= 4);
}

#define TEST(name) cmocka_unit_test_setup(name, setup)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_document_as_json),
        TEST(test_what_is_no_document),
        TEST(test_base64),
        TEST(test_the_module_and_its_pcrs),
        TEST(test_changes),
        TEST(test_what_the_device_refuses),
        TEST(test_no_device),
        TEST(test_insecure),
        TEST(test_bytes_are_not_for_a_terminal),
        TEST(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
