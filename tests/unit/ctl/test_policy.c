/* posternctl policy: the statements it writes, and what it tells of policies. The rules of evaluation are tested with src/iam. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "fault.h"
#include "json_arena.h"
#include "run_ctl.h"

#define TIMES16(x) x x x x x x x x x x x x x x x x
#define TIMES48(x) TIMES16(x) TIMES16(x) TIMES16(x)
#define PCR0       TIMES48("1a")
#define PCR1       TIMES48("2b")
#define PCR2       TIMES48("3C")
#define PCR8       TIMES48("4d")
#define ZERO       TIMES48("00")

#define ROLE    "arn:aws:iam::111122223333:role/app"
#define ACCOUNT "arn:aws:iam::111122223333:root"

/* SHA-384(48 zero bytes, ROLE) and the same of the instance's id, by another program. */
#define OF_ROLE \
    "5dd4689905a6339d3ce40a74cf9cd575c0112d51e43aaa64bbeb28da09d49c07cc6755e1ab5e294c8ec9075b9fb1bd5d"
#define INSTANCE "i-0123456789abcdef0"
#define OF_INSTANCE \
    "d6432900ac1c343cb40286898792c55e962aef0cc35c4910c0c286145b51af19e782cb21cc31a042671d7dfbd398251c"

#define MEASURED(pcrs) "{\"Measurements\":{\"HashAlgorithm\":\"Sha384 { ... }\"," pcrs "}}"
#define SIGNED                                                                                \
    "Start building the Enclave Image...\n" MEASURED("\"PCR0\":\"" PCR0 "\",\"PCR1\":\"" PCR1 \
                                                     "\",\"PCR2\":\"" PCR2 "\",\"PCR8\":\"" PCR8 "\"")
#define UNSIGNED MEASURED("\"PCR0\":\"" PCR0 "\",\"PCR1\":\"" PCR1 "\",\"PCR2\":\"" PCR2 "\"")
#define DEBUG    MEASURED("\"PCR0\":\"" ZERO "\",\"PCR1\":\"" ZERO "\",\"PCR2\":\"" ZERO "\"")

static char measured[] = "/tmp/measured-XXXXXX", written[] = "/tmp/policy-XXXXXX";

static void write_file(const char *path, const char *text)
{
    FILE *out = fopen(path, "w");

    assert_non_null(out);
    assert_true(fputs(text, out) >= 0);
    assert_int_equal(fclose(out), 0);
}

static int setup_group(void **state)
{
    (void)state;
    int one = mkstemp(measured), two = mkstemp(written);

    return one < 0 || two < 0 || close(one) != 0 || close(two) != 0;
}

static int teardown_group(void **state)
{
    (void)state;
    return unlink(measured) | unlink(written);
}

/* ---- policy kms ---- */

#define STATEMENT(actions, conditions)                                                              \
    "{\"Version\":\"2012-10-17\",\"Statement\":[{\"Sid\":\"AttestedEnclave\",\"Effect\":\"Allow\"," \
    "\"Principal\":{\"AWS\":\"" ROLE "\"},\"Action\":[" actions                                     \
    "],\"Resource\":\"*\",\"Condition\":{\"StringEqualsIgnoreCase\":{" conditions "}}}]}"
#define ALL_FIVE                                                                                        \
    "\"kms:Decrypt\",\"kms:GenerateDataKey\",\"kms:GenerateDataKeyPair\",\"kms:GenerateRandom\",\"kms:" \
    "DeriveSharedSecret\""
#define IS(pcr, value) "\"kms:RecipientAttestation:PCR" pcr "\":\"" value "\""

static void assert_same_json(const char *a, const char *b)
{
    json_t *one = json_loads(a, 0, NULL), *two = json_loads(b, 0, NULL);

    assert_non_null(one);
    assert_non_null(two);
    if (!json_equal(one, two)) {
        fail_msg("%s\nis not\n%s", a, b);
    }
    json_decref(one);
    json_decref(two);
}

static void test_statements(void **state)
{
    (void)state;
    struct ran ran;

    write_file(measured, SIGNED);
    run_ctl(&ran, "policy", "kms", "--measurements", measured, "--principal", ROLE, NULL);
    assert_int_equal(ran.code, 0);
    assert_same_json(ran.out, STATEMENT(ALL_FIVE, IS("0", PCR0)));
    assert_non_null(strstr(ran.err, "note: to be added to a key policy"));
    ran_release(&ran);
    run_ctl(&ran, "policy", "kms", "--json", "--measurements", measured, "--role-arn", ROLE, "--instance-id",
            INSTANCE, "--pcr", "0,1,2,8", "--action", "decrypt,kms:GenerateDataKey", NULL);
    assert_int_equal(ran.code, 0);
    assert_same_json(ran.out, STATEMENT("\"kms:Decrypt\",\"kms:GenerateDataKey\"",
                                        IS("0", PCR0) "," IS("1", PCR1) "," IS("2", TIMES48("3c")) "," IS(
                                            "3", OF_ROLE) "," IS("4", OF_INSTANCE) "," IS("8", PCR8)));
    assert_string_equal(ran.err, "");
    ran_release(&ran);
    run_ctl(&ran, "policy", "kms", "--measurements", measured, "--principal", ROLE, "--pcr", "8", NULL);
    assert_int_equal(ran.code, 0);
    assert_same_json(ran.out, STATEMENT(ALL_FIVE, IS("8", PCR8)));
    assert_non_null(strstr(ran.err, "note: any image that is signed with that certificate"));
    ran_release(&ran);
    write_file(measured, DEBUG);
    run_ctl(&ran, "policy", "kms", "--measurements", measured, "--principal", ROLE, "--allow-debug", NULL);
    assert_int_equal(ran.code, 0);
    assert_same_json(ran.out, STATEMENT(ALL_FIVE, IS("0", ZERO)));
    ran_release(&ran);
}

/* Of what the measurements say, and which are wanted. */
static void test_refused_measurements(void **state)
{
    (void)state;
    static const struct {
        const char *file, *pcrs, *says;
    } table[] = {
        {DEBUG, "0", "PCR0 is zero, as in a debug enclave"},
        {DEBUG, "8", "PCR0 is zero, as in a debug enclave"},
        {MEASURED("\"PCR0\":\"" PCR0 "\",\"PCR8\":\"" ZERO "\""), "8", "PCR8 is zero"},
        {UNSIGNED, "8", "PCR8 is not known: the image is not signed"},
        {UNSIGNED, "0,3", "PCR3 is not known: say --role-arn"},
        {UNSIGNED, "0,4", "PCR4 is not known: say --instance-id"},
        {UNSIGNED, "0,5", "PCR5 is not known: the measurements do not have it"},
        {UNSIGNED, "1", "--pcr wants 0, or 1 and 2, or 8 among the measurements"},
        {UNSIGNED, "2", "--pcr wants 0, or 1 and 2, or 8 among the measurements"},
        {"", "0", "it is no JSON"},
        {"{", "0", "it is no JSON"},
        {"{}", "0", "there are no Measurements in it"},
        {"{\"Measurements\":[]}", "0", "there are no Measurements in it"},
        {MEASURED("\"PCR1\":\"" PCR1 "\""), "0", "there is no PCR0"},
        {MEASURED("\"PCR0\":\"1a\""), "0", "PCR0 is not 48 bytes of hex"},
        {MEASURED("\"PCR0\":1"), "0", "PCR0 is not 48 bytes of hex"},
        {MEASURED("\"PCR0\":\"" TIMES48("xy") "\""), "0", "PCR0 is not 48 bytes of hex"},
    };
    struct ran ran;

    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        write_file(measured, table[i].file);
        run_ctl(&ran, "policy", "kms", "--measurements", measured, "--principal", ROLE, "--pcr",
                table[i].pcrs, NULL);
        if (ran.code != 1 || !strstr(ran.err, table[i].says) || ran.out[0] != '\0') {
            fail_msg("%s: %d, %s%s", table[i].says, ran.code, ran.out, ran.err);
        }
        ran_release(&ran);
    }
    run_ctl(&ran, "policy", "kms", "--measurements", "/nonexistent", "--principal", ROLE, "--json", NULL);
    assert_int_equal(ran.code, 1);
    assert_non_null(strstr(ran.out, "{\n  \"error\": \"cannot read /nonexistent: "));
    ran_release(&ran);
    run_ctl(&ran, "policy", "kms", "--measurements", "/", "--principal", ROLE, NULL);
    assert_int_equal(ran.code, 1);
    assert_non_null(strstr(ran.err, "cannot read /: "));
    ran_release(&ran);
    run_ctl(&ran, "policy", "kms", "--measurements", "/dev/zero", "--principal", ROLE, NULL);
    assert_int_equal(ran.code, 1);
    assert_non_null(strstr(ran.err, "/dev/zero is too large"));
    ran_release(&ran);
}

static void test_usage(void **state)
{
    (void)state;
    static const struct {
        const char *arguments[7], *says;
    } table[] = {
        {{NULL}, "policy wants `kms"},
        {{"what"}, "policy wants `kms"},
        {{"kms", "file"}, "policy wants `kms"},
        {{"explain"}, "policy wants `kms"},
        {{"kms"}, "policy kms wants --measurements FILE"},
        {{"kms", "--measurements", "x"}, "policy kms wants --principal ARN"},
        {{"kms", "--measurements", "x", "--principal", "me"}, "--principal wants"},
        {{"kms", "--measurements", "x", "--role-arn", "111122223333"}, "--role-arn wants"},
        {{"kms", "--measurements", "x", "--role-arn", "x:role/y"}, "--role-arn wants"},
        {{"kms", "--measurements", "x", "--instance-id", "0123"}, "--instance-id wants"},
        {{"explain", "x", "--principal", "AROAEXAMPLEEXAMPLE"}, "--principal wants"},
        {{"kms", "--measurements", "x", "--instance-id", "i-"}, "--instance-id wants"},
        {{"kms", "--measurements", "x", "--instance-id", "i-xyz"}, "--instance-id wants"},
        {{"kms", "--measurements", "x", "--principal", ROLE, "--pcr", "0,32"}, "--pcr wants numbers"},
        {{"kms", "--measurements", "x", "--principal", ROLE, "--pcr", "0,"}, "--pcr wants numbers"},
        {{"kms", "--measurements", "x", "--principal", ROLE, "--action", "kms:Encrypt"},
         "--action wants some of"},
        {{"kms", "--measurements", "x", "--principal", ROLE, "--action", "kms:*"}, "--action wants some of"},
        {{"explain", "x", "--pcr", "0"}, "explain takes no"},
        {{"explain", "x", "--allow-debug"}, "explain takes no"},
        {{"explain", "x", "--what"}, "--what is no option here"},
    };
    struct ran ran;

    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        const char *const *a = table[i].arguments;
        run_ctl(&ran, "policy", a[0], a[1], a[2], a[3], a[4], a[5], a[6], NULL);
        if (ran.code != 2 || !strstr(ran.err, table[i].says)) {
            fail_msg("%s: %d, %s", table[i].says, ran.code, ran.err);
        }
        ran_release(&ran);
    }
}

/* ---- policy explain ---- */

#define OF(s) "{\"Version\":\"2012-10-17\",\"Statement\":[" s "]}"
#define BY(effect, who, what, rest)                                                     \
    "{\"Effect\":\"" effect "\",\"Principal\":{\"AWS\":\"" who "\"},\"Action\":\"" what \
    "\",\"Resource\":\"*\"" rest "}"
#define IF(operator, pcr, value) \
    ",\"Condition\":{\"" operator"\":{\"kms:RecipientAttestation:" pcr "\":\"" value "\"}}"
#define ALLOW_IF(operator, pcr, value) OF(BY("Allow", ROLE, "kms:Decrypt", IF(operator, pcr, value)))
#define DENY_IF(operator, pcr, value) \
    OF(BY("Allow", ROLE, "kms:Decrypt", "") "," BY("Deny", "*", "kms:*", IF(operator, pcr, value)))

static const struct {
    const char *policy;
    int code;
    const char *decrypt; /* the line of the table, or another part of what is shown */
    const char *warning; /* NULL: there is none */
} rows[] = {
    {ALLOW_IF("StringEqualsIgnoreCase", "PCR0", PCR0), 0, "refused      allowed      refused      refused",
     NULL},
    {ALLOW_IF("StringEqualsIgnoreCase", "ImageSha384", PCR0), 0,
     "refused      allowed      refused      refused", NULL},
    {ALLOW_IF("StringEquals", "PCR8", PCR8), 0, "refused      allowed      refused      refused", NULL},
    {ALLOW_IF("StringEqualsIgnoreCase", "PCR0", PCR1), 1, "refused      refused      refused      refused",
     NULL},
    /* Only the kernel, or only the application, is none of it. */
    {ALLOW_IF("StringEqualsIgnoreCase", "PCR1", PCR1), 1, "refused      allowed      allowed      refused",
     NULL},
    {ALLOW_IF("StringEqualsIgnoreCase", "PCR2", PCR2), 1, "refused      allowed      allowed      refused",
     NULL},
    {ALLOW_IF("StringEqualsIgnoreCase", "PCR3", OF_ROLE), 1, "refused      unknown      unknown      unknown",
     NULL},
    /* Another image may have another kernel and another application, and it may be signed by nobody. */
    {OF(BY("Allow", ROLE, "kms:Decrypt",
           ",\"Condition\":{\"ForAnyValue:StringNotEquals\":{" IS("1", PCR1) "," IS("2",
                                                                                    TIMES48("3c")) "}}")),
     1, "refused      refused      allowed      allowed",
     "PCR1: a negated operator allows every other image\n"},
    {OF(BY("Allow", ROLE, "kms:Decrypt",
           ",\"Condition\":{\"StringEquals\":{" IS("1", PCR1) "," IS("8", ZERO) "}}")),
     1, "refused      refused      allowed      refused", "PCR8 is compared with zero"},
    {OF(BY("Allow", ROLE, "kms:Decrypt", "")), 1, "allowed      allowed      allowed      allowed",
     "Statement[0]: Allow without a condition on an attestation"},
    {OF(BY("Allow", ACCOUNT, "kms:*", "")), 1, "by account   by account   by account   by account",
     "Statement[0]: Allow without a condition on an attestation"},
    {OF(BY("Allow", "*", "kms:Decrypt", "")), 1, "* (anybody with an account at AWS)",
     "Statement[0]: Allow without a condition on an attestation"},
    {ALLOW_IF("StringEqualsIfExists", "PCR0", PCR0), 1, "allowed      allowed      refused      refused",
     "Allow with StringEqualsIfExists on kms:RecipientAttestation:PCR0: IfExists holds"},
    {ALLOW_IF("StringNotEquals", "PCR0", ZERO), 1, "allowed      allowed      allowed      refused",
     "Allow with StringNotEquals on kms:RecipientAttestation:PCR0: a negated operator"},
    {ALLOW_IF("StringNotLikeIfExists", "PCR0", "0*"), 1, "allowed      allowed      allowed      refused",
     "Allow with StringNotLikeIfExists on kms:RecipientAttestation:PCR0: a negated operator"},
    {ALLOW_IF("ForAllValues:StringEquals", "PCR0", PCR0), 1, "allowed      allowed      refused      refused",
     "Allow with ForAllValues:StringEquals on kms:RecipientAttestation:PCR0: ForAllValues holds"},
    {ALLOW_IF("ForAnyValue:StringEquals", "PCR0", PCR0), 0, "refused      allowed      refused      refused",
     NULL},
    {ALLOW_IF("Null", "PCR0", "false"), 1, "refused      allowed      allowed      allowed",
     "Allow with Null on kms:RecipientAttestation:PCR0: it looks whether"},
    /* An image of that beginning takes some 256 attempts at building one. */
    {ALLOW_IF("StringLike", "PCR0", "1a*"), 1, "refused      allowed      unknown      refused",
     "StringLike on kms:RecipientAttestation:PCR0 has wildcards"},
    {ALLOW_IF("StringLike", "ImageSha384", "1a?*"), 1,
     "unknown: kms:RecipientAttestation:ImageSha384: an image can be made", "has wildcards"},
    {DENY_IF("StringNotLike", "PCR0", "1a*"), 1, "refused      allowed      unknown      refused",
     "Statement[0]: Allow without"},
    /* And one that is unlike a pattern takes none at all. */
    {OF(BY("Allow", ROLE, "kms:Decrypt",
           ",\"Condition\":{\"StringNotLike\":{\"kms:RecipientAttestation:PCR0\":[\"f*\",\"0*\"]},"
           "\"Null\":{\"kms:RecipientAttestation:PCR0\":\"false\"}}")),
     1, "refused      allowed      unknown      refused", "StringNotLike on kms:RecipientAttestation:PCR0"},
    {ALLOW_IF("StringLike", "PCR0", PCR0), 0, "refused      allowed      refused      refused", NULL},
    {ALLOW_IF("StringLike", "PCR0", "*"), 1, "refused      allowed      allowed      allowed",
     "StringLike on kms:RecipientAttestation:PCR0 has wildcards"},
    {ALLOW_IF("StringEquals", "PCR2", TIMES48("3C")), 1, "refused      refused      refused      refused",
     "StringEquals on kms:RecipientAttestation:PCR2 has a value in upper case"},
    {ALLOW_IF("StringEquals", "PCR0", ZERO), 1, "refused      refused      refused      allowed",
     "kms:RecipientAttestation:PCR0 is compared with zero"},
    {OF(BY("Allow", ROLE, "kms:Decrypt",
           ",\"Condition\":{\"StringEquals\":{\"kms:RecipientAttestation:PCR0\":[true,\"\"]}}")),
     1, "refused      refused      refused      refused", NULL},
    /* An instance with a TPM attests, too, and is no enclave. */
    {ALLOW_IF("StringEquals", "NitroTPMPCR4", "x"), 1, "unknown      refused      refused      refused",
     NULL},
    {OF(BY("Allow", ROLE, "kms:Decrypt", IF("StringEquals", "PCR0", PCR0)) "," BY(
         "Allow", ROLE, "kms:*", IF("StringLike", "NitroTPMPCR4", "*"))),
     1, "unknown: kms:RecipientAttestation:NitroTPMPCR4: what", "has wildcards"},
    {OF(BY("Allow", ROLE, "kms:Decrypt", IF("Null", "NitroTPMPCR4", "false"))), 1,
     "unknown      refused      refused      refused", "NitroTPMPCR4: it looks whether"},
    {OF(BY("Allow", ROLE, "kms:Decrypt",
           ",\"Condition\":{\"StringEquals\":{\"kms:RecipientAttestation:NitroTPMPCR4\":\"x\"," IS(
               "0", PCR0) "}}")),
     1, "refused      refused      refused      refused", NULL},
    {ALLOW_IF("StringEquals", "PCR99", "x"), 1, "refused      unknown      unknown      unknown", NULL},
    {ALLOW_IF("StringEquals", "PCR", "x"), 1, "refused      unknown      unknown      unknown", NULL},
    {ALLOW_IF("ForAnyValue:StringEqualsIfExists", "PCR0", PCR0), 0,
     "refused      allowed      refused      refused", NULL},
    {ALLOW_IF("BinaryEquals", "PCR0", "x"), 1, "unknown      unknown      unknown      unknown",
     "BinaryEquals is not understood"},
    {DENY_IF("StringNotEqualsIgnoreCase", "PCR0", PCR0), 0, "refused      allowed      refused      refused",
     "Statement[0]: Allow without"},
    {DENY_IF("StringNotEqualsIgnoreCaseIfExists", "PCR0", PCR0), 0,
     "refused      allowed      refused      refused", "Statement[0]: Allow without"},
    {DENY_IF("StringEqualsIfExists", "PCR0", PCR1), 1, "refused      allowed      allowed      allowed",
     "Deny with StringEqualsIfExists on kms:RecipientAttestation:PCR0: it denies the image it names, and "
     "whoever"},
    {DENY_IF("StringEquals", "PCR0", ZERO), 1, "allowed      allowed      allowed      refused",
     "Deny with StringEquals on kms:RecipientAttestation:PCR0: it denies the image it names alone"},
    {DENY_IF("ForAllValues:StringEquals", "PCR0", PCR1), 1, "refused      allowed      allowed      allowed",
     "Deny with ForAllValues:StringEquals on kms:RecipientAttestation:PCR0: it denies the image it names, "
     "and "
     "whoever"},
    {DENY_IF("ForAnyValue:StringNotEquals", "PCR0", PCR0), 1,
     "allowed      allowed      refused      refused",
     "Deny with ForAnyValue:StringNotEquals on kms:RecipientAttestation:PCR0: ForAnyValue does not hold"},
    {DENY_IF("Null", "PCR0", "true"), 1, "refused      allowed      allowed      allowed",
     "Statement[0]: Allow without"},
    {OF("{\"Effect\":\"Allow\",\"Principal\":\"*\",\"NotAction\":\"kms:Encrypt\",\"Resource\":\"*\"" IF(
         "StringEquals", "PCR0", PCR0) "}"),
     0, "refused      allowed      refused      refused", "Allow with NotAction"},
    /* A service, or who is of another kind, is somebody, too, and sends no attestation. */
    {OF("{\"Effect\":\"Allow\",\"Principal\":{\"AWS\":\"" ROLE "\",\"Service\":\"lambda.amazonaws.com\"},"
        "\"Action\":\"kms:Decrypt\",\"Resource\":\"*\"" IF("StringEquals", "PCR0", PCR0) "}"),
     0, "Service lambda.amazonaws.com\n", NULL},
    {OF(BY("Allow", ROLE, "kms:Decrypt",
           IF("StringEquals", "PCR0", PCR0)) ",{\"Effect\":\"Allow\","
                                             "\"Principal\":{\"Service\":\"lambda.amazonaws.com\"},"
                                             "\"Action\":\"kms:*\",\"Resource\":\"*\"}"),
     1, "allowed      refused      refused      refused", "lambda.amazonaws.com may kms:PutKeyPolicy"},
    {OF("{\"Effect\":\"Allow\",\"Principal\":{\"Federated\":[\"x\",\"y\"]},\"Action\":\"kms:Decrypt\","
        "\"Resource\":\"*\",\"Condition\":{\"StringEquals\":{\"aws:SourceAccount\":\"111122223333\"}}}"),
     1, "unknown      refused      refused      refused", "Statement[0]: Allow without"},
    /* Ways around. */
    {OF(BY("Allow", ROLE, "kms:PutKeyPolicy", "") "," BY("Allow", ROLE, "kms:Decrypt",
                                                         IF("StringEquals", "PCR0", PCR0))),
     0, "only the attested enclave gets in",
     "may kms:PutKeyPolicy: it can write a key policy that lets it in"},
    {OF(BY("Allow", ROLE, "kms:Re*", "") "," BY("Allow", ROLE, "kms:Decrypt",
                                                IF("StringEquals", "PCR0", PCR0))),
     0, "only the attested enclave gets in", "may kms:ReEncryptFrom: it can have a ciphertext"},
    {OF(BY("Allow", ROLE, "kms:CreateGrant",
           ",\"Condition\":{\"Bool\":{\"kms:GrantIsForAWSResource\":\"true\"}}") "," BY("Allow", ROLE,
                                                                                        "kms:Decrypt",
                                                                                        IF("StringEquals",
                                                                                           "PCR0", PCR0))),
     0, "only the attested enclave gets in", "warning: " ROLE " perhaps may kms:CreateGrant"},
    /* What is not known. */
    {OF(BY("Allow", ROLE, "kms:Decrypt", ",\"Condition\":{\"StringEquals\":{\"kms:ViaService\":\"x\"}}")), 1,
     "unknown: kms:ViaService: what the request has there is not known", "Statement[0]: Allow without"},
    {OF("{\"Effect\":\"Allow\",\"Principal\":{\"AWS\":\"AROAEXAMPLEEXAMPLE\"},\"Action\":\"kms:*\","
        "\"Resource\":\"*\"" IF("StringEquals", "PCR0", PCR0) "}"),
     1, "the attested enclave does not get in", NULL},
};

static void test_rows(void **state)
{
    (void)state;
    struct ran ran;

    write_file(measured, SIGNED);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        write_file(written, rows[i].policy);
        run_ctl(&ran, "policy", "explain", written, "--measurements", measured, NULL);
        if (ran.code != rows[i].code || !strstr(ran.out, rows[i].decrypt) ||
            !strstr(ran.out, rows[i].warning ? rows[i].warning : "") ||
            (rows[i].warning == NULL) != (strstr(ran.out, "warning: ") == NULL)) {
            fail_msg("%s: %d, %s%s", rows[i].policy, ran.code, ran.out, ran.err);
        }
        ran_release(&ran);
    }
}

/* A debug enclave has zeros for what is measured of its image, and its role and its instance all the same. */
static void test_debug_enclaves(void **state)
{
    (void)state;
    static const struct {
        const char *conditions, *decrypt;
        bool told; /* the role */
    } table[] = {
        {IS("0", ZERO) "," IS("3", OF_ROLE), "refused      refused      refused      allowed", true},
        {IS("0", ZERO) "," IS("3", OF_ROLE), "refused      refused      refused      unknown", false},
        {IS("0", ZERO) "," IS("3", ZERO), "refused      refused      refused      allowed", true},
        {IS("0", PCR0) "," IS("3", OF_ROLE), "refused      allowed      refused      refused", true},
        {IS("0", ZERO) "," IS("16", PCR8), "refused      refused      refused      unknown", true},
    };
    struct ran ran;

    write_file(measured, SIGNED);
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        char policy[2048];
        snprintf(policy, sizeof policy,
                 OF(BY("Allow", ROLE, "kms:Decrypt", ",\"Condition\":{\"StringEquals\":{%s}}")),
                 table[i].conditions);
        write_file(written, policy);
        run_ctl(&ran, "policy", "explain", written, "--measurements", measured,
                table[i].told ? "--role-arn" : NULL, ROLE, NULL);
        if (!strstr(ran.out, table[i].decrypt)) {
            fail_msg("%s: %s%s", policy, ran.out, ran.err);
        }
        ran_release(&ran);
    }
}

static void test_what_kms_writes(void **state)
{
    (void)state;
    struct ran ran;

    write_file(measured, UNSIGNED);
    run_ctl(&ran, "policy", "kms", "--measurements", measured, "--role-arn", ROLE, "--instance-id", INSTANCE,
            "--pcr", "1,2", NULL);
    write_file(written, ran.out);
    ran_release(&ran);
    run_ctl(&ran, "policy", "explain", written, "--measurements", measured, "--role-arn", ROLE,
            "--instance-id", INSTANCE, NULL);
    assert_int_equal(ran.code, 0);
    assert_non_null(strstr(ran.out, "only the attested enclave gets in\n"));
    ran_release(&ran);
    assert_non_null(freopen(written, "r", stdin));
    run_ctl(&ran, "policy", "explain", "-", NULL);
    assert_int_equal(ran.code, 0);
    assert_non_null(strstr(ran.out, "refused      -            refused      refused\n"));
    assert_non_null(strstr(ran.out, "nobody gets in without an attestation of an image it names\n"));
    ran_release(&ran);
    run_ctl(&ran, "policy", "explain", written, "--measurements", measured, "--role-arn", ROLE,
            "--instance-id", INSTANCE, "--principal", "arn:aws:iam::444455556666:role/app", NULL);
    assert_int_equal(ran.code, 1);
    assert_non_null(strstr(ran.out, "the attested enclave does not get in, or may not\n"));
    ran_release(&ran);
}

static void test_json(void **state)
{
    (void)state;
    struct ran ran;
    const char *principal, *unattested, *warning;
    int only_attested, statement;
    json_t *attested;

    write_file(written, OF(BY("Allow", ACCOUNT, "kms:Decrypt", "")));
    run_ctl(&ran, "policy", "explain", written, "--json", NULL);
    assert_int_equal(ran.code, 1);
    json_t *root = json_loads(ran.out, 0, NULL);
    assert_int_equal(json_unpack(root, "{s:b, s:[{s:s, s:{s:{s:s}, s:{s:o}}}], s:[{s:i, s:s}]}",
                                 "only_attested", &only_attested, "principals", "principal", &principal,
                                 "callers", "unattested", "Decrypt", &unattested, "attested", "Decrypt",
                                 &attested, "warnings", "statement", &statement, "text", &warning),
                     0);
    assert_false(only_attested);
    assert_string_equal(principal, ACCOUNT);
    assert_string_equal(unattested, "by_account");
    assert_true(json_is_null(attested));
    assert_int_equal(statement, 0);
    json_decref(root);
    ran_release(&ran);
}

/* A name that is cut within a character is told all the same. */
static void test_cut_names(void **state)
{
    (void)state;
    struct ran ran;
    const char *first, *second;

    write_file(written, ALLOW_IF("x" TIMES16("\u00e9\u00e9\u00e9"), "PCR0", PCR0));
    run_ctl(&ran, "policy", "explain", written, "--json", NULL);
    assert_int_equal(ran.code, 1);
    json_t *root = json_loads(ran.out, 0, NULL);
    assert_int_equal(json_unpack(root, "{s:[{s:s}, {s:s}]}", "warnings", "text", &first, "text", &second), 0);
    assert_non_null(strstr(first, "? is not understood"));
    assert_non_null(strstr(second, "Allow without a condition"));
    json_decref(root);
    ran_release(&ran);
}

static void test_mistakes(void **state)
{
    (void)state;
    struct ran ran;
    char wanted[200];

    write_file(written, "{\"Statement\":[{}]}");
    run_ctl(&ran, "policy", "explain", written, NULL);
    assert_int_equal(ran.code, 1);
    snprintf(wanted, sizeof wanted,
             "posternctl: %s: Statement[0].Effect: Allow or Deny is expected\n%s: ", written, written);
    assert_non_null(strstr(ran.err, wanted));
    ran_release(&ran);
    run_ctl(&ran, "policy", "explain", written, "--json", NULL);
    assert_int_equal(ran.code, 1);
    assert_null(strstr(ran.out, "\\n\"\n"));
    ran_release(&ran);
    run_ctl(&ran, "policy", "explain", "/", NULL);
    assert_int_equal(ran.code, 1);
    assert_non_null(strstr(ran.err, "cannot read /: Is a directory"));
    ran_release(&ran);
    run_ctl(&ran, "policy", "explain", "/nonexistent", NULL);
    assert_int_equal(ran.code, 1);
    assert_non_null(strstr(ran.err, "cannot read /nonexistent: "));
    ran_release(&ran);
    run_ctl(&ran, "policy", "explain", written, "--measurements", "/nonexistent", NULL);
    assert_int_equal(ran.code, 1);
    ran_release(&ran);
}

/* More principals, and more warnings, than there is room for. What comes from the policy does not reach the terminal as it is. */
static void test_bounds(void **state)
{
    (void)state;
    struct ran ran;
    FILE *out = fopen(written, "w");

    assert_non_null(out);
    fputs("{\"Statement\":{\"Effect\":\"Allow\",\"Action\":\"kms:Decrypt\",\"Resource\":\"*\",\"Principal\":{"
          "\"AWS\":[",
          out);
    for (unsigned i = 0; i < 65; i++) {
        fprintf(out, "%s\"1111222233%02u\"", i > 0 ? "," : "", i);
    }
    fputs("]}}}", out);
    assert_int_equal(fclose(out), 0);
    run_ctl(&ran, "policy", "explain", written, NULL);
    assert_int_equal(ran.code, 1);
    assert_non_null(strstr(ran.err, "it names more than 64 principals: say --principal"));
    ran_release(&ran);

    out = fopen(written, "w");
    assert_non_null(out);
    fputs("{\"Statement\":[", out);
    for (unsigned i = 0; i < 70; i++) {
        fprintf(out, "%s" BY("Allow", ROLE "\\u001b", "kms:Decrypt", ",\"Sid\":\"\\u001b\""),
                i > 0 ? "," : "");
    }
    fputs("]}", out);
    assert_int_equal(fclose(out), 0);
    run_ctl(&ran, "policy", "explain", written, NULL);
    assert_int_equal(ran.code, 1);
    assert_non_null(strstr(ran.out, "warning: Statement[63] (\\u001b): Allow without"));
    assert_null(strstr(ran.out, "Statement[64]"));
    assert_non_null(strstr(ran.out, "warning: and more\n"));
    assert_null(strchr(ran.out, '\033'));
    ran_release(&ran);
}

static void explain_once(void *arg)
{
    FILE *nowhere = arg;
    json_arena_clear();
    char *argv[] = {(char[]){"posternctl"}, (char[]){"policy"},
                    (char[]){"explain"},    written,
                    (char[]){"--json"},     NULL};

    (void)ctl_main(5, argv, nowhere, nowhere);
    argv[4] = NULL;
    (void)ctl_main(4, argv, nowhere, nowhere);
}

static void kms_to(void *arg)
{
    FILE *nowhere = arg;
    json_arena_clear();
    char *argv[] = {(char[]){"posternctl"},
                    (char[]){"policy"},
                    (char[]){"kms"},
                    (char[]){"--measurements"},
                    measured,
                    (char[]){"--role-arn"},
                    (char[]){ROLE},
                    NULL};

    (void)ctl_main(7, argv, nowhere, nowhere);
}

static void test_out_of_memory(void **state)
{
    (void)state;
    FILE *nowhere = fopen("/dev/null", "w");

    assert_non_null(nowhere);
    write_file(measured, SIGNED);
    write_file(written, DENY_IF("StringEquals", "PCR0", ZERO));
    struct json_arena_before before = json_arena_use();
    assert_true(fault_loop("policy kms", FAULT_MEMORY, kms_to, nowhere) >= 5);
    assert_true(fault_loop("policy explain", FAULT_MEMORY, explain_once, nowhere) >= 5);
    assert_true(fault_loop("policy files", FAULT_OPEN, kms_to, nowhere) >= 1);
    json_arena_leave(before);
    fclose(nowhere);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_statements),     cmocka_unit_test(test_refused_measurements),
        cmocka_unit_test(test_usage),          cmocka_unit_test(test_rows),
        cmocka_unit_test(test_debug_enclaves), cmocka_unit_test(test_what_kms_writes),
        cmocka_unit_test(test_json),           cmocka_unit_test(test_cut_names),
        cmocka_unit_test(test_mistakes),       cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, setup_group, teardown_group);
}
