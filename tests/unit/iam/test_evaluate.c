/*
 * What a policy says to a request: one row a rule. A request is by role "app", for kms:Decrypt, with the keys one=a, two=[a, b], gone
 * (absent), yes=true, and PCR0 of its attestation; of all other keys nothing is known.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "iam/evaluate.h"
#include "iam/kms.h"

#define APP "arn:aws:iam::111122223333:role/app"
#define KEY "arn:aws:kms:us-east-1:111122223333:key/1"

#define OF(s)           "{\"Version\":\"2012-10-17\",\"Statement\":[" s "]}"
#define S(effect, rest) "{\"Effect\":\"" effect "\"," rest "}"
#define WHO             "\"Principal\":{\"AWS\":\"" APP "\"}"
#define WHAT            "\"Action\":\"kms:Decrypt\""
#define ANY_KEY         "\"Resource\":\"*\""
#define ALLOW_ALL       S("Allow", WHO "," WHAT "," ANY_KEY)
#define IF(c)           WHO "," WHAT "," ANY_KEY ",\"Condition\":{" c "}"
#define ALLOW_IF(c)     OF(S("Allow", IF(c)))
#define DENY_IF(c)      OF(ALLOW_ALL "," S("Deny", IF(c)))
#define BY(p)           OF(S("Allow", "\"Principal\":" p "," WHAT "," ANY_KEY))
#define DOING(a)        OF(S("Allow", WHO "," a "," ANY_KEY))
#define ON(r)           OF(S("Allow", WHO "," WHAT "," r))

static const struct {
    const char *policy;
    enum iam_decision decision;
} rows[] = {
    /* Effects. */
    {OF(ALLOW_ALL), IAM_ALLOWED},
    {OF(S("Deny", WHO "," WHAT "," ANY_KEY)), IAM_DENIED},
    {OF(ALLOW_ALL "," S("Deny", WHO "," WHAT "," ANY_KEY)), IAM_DENIED},
    {OF(S("Deny", WHO "," WHAT "," ANY_KEY) "," ALLOW_ALL), IAM_DENIED},
    {OF(S("Allow", WHO ",\"Action\":\"kms:Encrypt\"," ANY_KEY)), IAM_NOT_ALLOWED},

    /* Principals. */
    {BY("\"*\""), IAM_ALLOWED},
    {BY("{\"AWS\":\"*\"}"), IAM_ALLOWED},
    {BY("{\"AWS\":\"111122223333\"}"), IAM_ALLOWED},
    {BY("{\"AWS\":[\"444455556666\",\"" APP "\"]}"), IAM_ALLOWED},
    {BY("{\"AWS\":\"444455556666\"}"), IAM_NOT_ALLOWED},
    {BY("{\"Service\":\"ec2.amazonaws.com\"}"), IAM_NOT_ALLOWED},
    {BY("{\"Service\":\"ec2.amazonaws.com\",\"AWS\":\"" APP "\"}"), IAM_ALLOWED},

    /* Actions. */
    {DOING("\"Action\":\"*\""), IAM_ALLOWED},
    {DOING("\"Action\":\"KMS:dec*\""), IAM_ALLOWED},
    {DOING("\"Action\":[\"kms:Encrypt\",\"kms:?ecrypt\"]"), IAM_ALLOWED},
    {DOING("\"Action\":\"kms:Decryp\""), IAM_NOT_ALLOWED},
    {DOING("\"NotAction\":\"kms:Encrypt\""), IAM_ALLOWED},
    {DOING("\"NotAction\":[\"kms:Encrypt\",\"kms:D*\"]"), IAM_NOT_ALLOWED},

    /* Resources. */
    {ON("\"Resource\":\"" KEY "\""), IAM_ALLOWED},
    {ON("\"Resource\":\"arn:aws:kms:*:111122223333:key/?\""), IAM_ALLOWED},
    {ON("\"Resource\":\"arn:aws:kms:us-east-1:111122223333:key/2\""), IAM_NOT_ALLOWED},
    {ON("\"Resource\":\"arn:aws:KMS:us-east-1:111122223333:key/1\""), IAM_NOT_ALLOWED},
    {ON("\"NotResource\":\"" KEY "\""), IAM_NOT_ALLOWED},
    {ON("\"NotResource\":\"arn:aws:kms:us-east-1:111122223333:key/2\""), IAM_ALLOWED},
    {ON("\"Resource\":\"arn:aws:kms:${aws:x}\""), IAM_UNKNOWN},
    {ON("\"NotResource\":\"arn:aws:kms:${aws:x}\""), IAM_UNKNOWN},

    /* StringEquals. */
    {ALLOW_IF("\"StringEquals\":{\"one\":\"a\"}"), IAM_ALLOWED},
    {ALLOW_IF("\"StringEquals\":{\"ONE\":\"a\"}"), IAM_ALLOWED},
    {ALLOW_IF("\"StringEquals\":{\"one\":\"A\"}"), IAM_NOT_ALLOWED},
    {ALLOW_IF("\"StringEquals\":{\"one\":\"*\"}"), IAM_NOT_ALLOWED},
    {ALLOW_IF("\"StringEquals\":{\"one\":[\"b\",\"a\"]}"), IAM_ALLOWED},
    {ALLOW_IF("\"StringEquals\":{\"one\":[\"b\",\"c\"]}"), IAM_NOT_ALLOWED},
    {ALLOW_IF("\"StringEquals\":{\"gone\":\"a\"}"), IAM_NOT_ALLOWED},
    {ALLOW_IF("\"StringEquals\":{\"yes\":true}"), IAM_ALLOWED},
    {ALLOW_IF("\"StringEquals\":{\"yes\":false}"), IAM_NOT_ALLOWED},
    {ALLOW_IF("\"StringEqualsIfExists\":{\"gone\":\"a\"}"), IAM_ALLOWED},
    {ALLOW_IF("\"StringEqualsIfExists\":{\"one\":\"b\"}"), IAM_NOT_ALLOWED},
    {ALLOW_IF("\"StringEqualsIgnoreCase\":{\"one\":\"A\"}"), IAM_ALLOWED},
    {ALLOW_IF("\"StringEqualsIgnoreCase\":{\"gone\":\"A\"}"), IAM_NOT_ALLOWED},
    {ALLOW_IF("\"StringEqualsIgnoreCaseIfExists\":{\"gone\":\"A\"}"), IAM_ALLOWED},

    /* Negated: none of the values, and true for what is absent. */
    {ALLOW_IF("\"StringNotEquals\":{\"one\":\"b\"}"), IAM_ALLOWED},
    {ALLOW_IF("\"StringNotEquals\":{\"one\":\"a\"}"), IAM_NOT_ALLOWED},
    {ALLOW_IF("\"StringNotEquals\":{\"one\":[\"b\",\"a\"]}"), IAM_NOT_ALLOWED},
    {ALLOW_IF("\"StringNotEquals\":{\"one\":[\"b\",\"c\"]}"), IAM_ALLOWED},
    {ALLOW_IF("\"StringNotEquals\":{\"gone\":\"a\"}"), IAM_ALLOWED},
    {ALLOW_IF("\"StringNotEqualsIfExists\":{\"gone\":\"a\"}"), IAM_ALLOWED},
    {ALLOW_IF("\"StringNotEqualsIfExists\":{\"one\":\"a\"}"), IAM_NOT_ALLOWED},
    {ALLOW_IF("\"StringNotEqualsIgnoreCase\":{\"one\":\"A\"}"), IAM_NOT_ALLOWED},
    {ALLOW_IF("\"StringNotEqualsIgnoreCase\":{\"gone\":\"A\"}"), IAM_ALLOWED},

    /* StringLike. */
    {ALLOW_IF("\"StringLike\":{\"one\":\"?\"}"), IAM_ALLOWED},
    {ALLOW_IF("\"StringLike\":{\"one\":\"A*\"}"), IAM_NOT_ALLOWED},
    {ALLOW_IF("\"StringLike\":{\"gone\":\"*\"}"), IAM_NOT_ALLOWED},
    {ALLOW_IF("\"StringLikeIfExists\":{\"gone\":\"b\"}"), IAM_ALLOWED},
    {ALLOW_IF("\"StringNotLike\":{\"one\":\"a*\"}"), IAM_NOT_ALLOWED},
    {ALLOW_IF("\"StringNotLike\":{\"one\":\"b*\"}"), IAM_ALLOWED},
    {ALLOW_IF("\"StringNotLike\":{\"gone\":\"*\"}"), IAM_ALLOWED},

    /* Bool and Null. */
    {ALLOW_IF("\"Bool\":{\"yes\":\"TRUE\"}"), IAM_ALLOWED},
    {ALLOW_IF("\"Bool\":{\"yes\":false}"), IAM_NOT_ALLOWED},
    {ALLOW_IF("\"Bool\":{\"gone\":\"false\"}"), IAM_NOT_ALLOWED},
    {ALLOW_IF("\"BoolIfExists\":{\"gone\":\"true\"}"), IAM_ALLOWED},
    {ALLOW_IF("\"Null\":{\"gone\":\"true\"}"), IAM_ALLOWED},
    {ALLOW_IF("\"Null\":{\"gone\":false}"), IAM_NOT_ALLOWED},
    {ALLOW_IF("\"Null\":{\"one\":\"false\"}"), IAM_ALLOWED},
    {ALLOW_IF("\"Null\":{\"one\":true}"), IAM_NOT_ALLOWED},
    {ALLOW_IF("\"Null\":{\"one\":[true,false]}"), IAM_ALLOWED},

    /* Several values in the request. */
    {ALLOW_IF("\"ForAnyValue:StringEquals\":{\"two\":\"b\"}"), IAM_ALLOWED},
    {ALLOW_IF("\"ForAnyValue:StringEquals\":{\"two\":\"c\"}"), IAM_NOT_ALLOWED},
    {ALLOW_IF("\"ForAnyValue:StringEquals\":{\"gone\":\"b\"}"), IAM_NOT_ALLOWED},
    {ALLOW_IF("\"ForAnyValue:StringEqualsIfExists\":{\"gone\":\"b\"}"), IAM_NOT_ALLOWED},
    {ALLOW_IF("\"ForAnyValue:StringNotEquals\":{\"two\":\"b\"}"), IAM_ALLOWED},
    {ALLOW_IF("\"ForAnyValue:StringNotEquals\":{\"two\":[\"a\",\"b\"]}"), IAM_NOT_ALLOWED},
    {ALLOW_IF("\"ForAnyValue:StringNotEquals\":{\"gone\":\"b\"}"), IAM_NOT_ALLOWED},
    {ALLOW_IF("\"ForAllValues:StringEquals\":{\"two\":[\"a\",\"b\",\"c\"]}"), IAM_ALLOWED},
    {ALLOW_IF("\"ForAllValues:StringEquals\":{\"two\":\"a\"}"), IAM_NOT_ALLOWED},
    {ALLOW_IF("\"ForAllValues:StringEquals\":{\"gone\":\"a\"}"), IAM_ALLOWED},
    {ALLOW_IF("\"ForAllValues:StringNotEquals\":{\"two\":\"b\"}"), IAM_NOT_ALLOWED},
    {ALLOW_IF("\"ForAllValues:StringNotEquals\":{\"two\":\"c\"}"), IAM_ALLOWED},
    {ALLOW_IF("\"StringEquals\":{\"two\":\"a\"}"), IAM_UNKNOWN},

    /* Several keys and operators. */
    {ALLOW_IF("\"StringEquals\":{\"one\":\"a\",\"yes\":\"true\"}"), IAM_ALLOWED},
    {ALLOW_IF("\"StringEquals\":{\"one\":\"a\",\"yes\":\"false\"}"), IAM_NOT_ALLOWED},
    {ALLOW_IF("\"StringEquals\":{\"one\":\"a\"},\"Bool\":{\"yes\":\"true\"}"), IAM_ALLOWED},
    {ALLOW_IF("\"StringEquals\":{\"one\":\"a\"},\"Bool\":{\"yes\":\"false\"}"), IAM_NOT_ALLOWED},

    /* What is not known is not passed over, unless something known outweighs it. */
    {ALLOW_IF("\"StringEquals\":{\"what\":\"a\"}"), IAM_UNKNOWN},
    {ALLOW_IF("\"StringNotEquals\":{\"what\":\"a\"}"), IAM_UNKNOWN},
    {ALLOW_IF("\"StringEqualsIfExists\":{\"what\":\"a\"}"), IAM_UNKNOWN},
    {ALLOW_IF("\"Null\":{\"what\":\"true\"}"), IAM_UNKNOWN},
    {ALLOW_IF("\"IpAddress\":{\"one\":\"a\"}"), IAM_UNKNOWN},
    {ALLOW_IF("\"IpAddressIfExists\":{\"gone\":\"a\"}"), IAM_UNKNOWN},
    {ALLOW_IF("\"StringEquals\":{\"one\":1}"), IAM_UNKNOWN},
    {ALLOW_IF("\"StringEquals\":{\"one\":\"${aws:x}\"}"), IAM_UNKNOWN},
    {ALLOW_IF("\"StringNotEquals\":{\"one\":\"${aws:x}\"}"), IAM_UNKNOWN},
    {ALLOW_IF("\"StringEquals\":{\"one\":[\"${aws:x}\",\"a\"]}"), IAM_ALLOWED},
    {"{\"Statement\":" S("Allow", IF("\"StringEquals\":{\"one\":\"${aws:x}\"}")) "}", IAM_NOT_ALLOWED},
    {ALLOW_IF("\"StringEquals\":{\"what\":\"a\",\"one\":\"b\"}"), IAM_NOT_ALLOWED},
    {ALLOW_IF("\"StringEquals\":{\"what\":\"a\",\"one\":\"a\"}"), IAM_UNKNOWN},
    {ALLOW_IF("\"Whatever\":{\"one\":\"a\"},\"StringEquals\":{\"one\":\"b\"}"), IAM_NOT_ALLOWED},
    {ALLOW_IF("\"ForAllValues:StringEquals\":{\"two\":[\"a\",\"${x}\"]}"), IAM_UNKNOWN},
    {OF(S("Allow", IF("\"Whatever\":{\"one\":\"a\"}")) "," ALLOW_ALL), IAM_ALLOWED},
    {OF(S("Allow", IF("\"Whatever\":{\"one\":\"a\"}")) "," S("Deny", WHO "," WHAT "," ANY_KEY)), IAM_DENIED},
    {OF(S("Deny", IF("\"Whatever\":{\"one\":\"a\"}"))), IAM_NOT_ALLOWED},
    {DENY_IF("\"Whatever\":{\"one\":\"a\"}"), IAM_UNKNOWN},

    /* Deny. */
    {DENY_IF("\"StringNotEquals\":{\"gone\":\"a\"}"), IAM_DENIED},
    {DENY_IF("\"StringNotEquals\":{\"one\":\"a\"}"), IAM_ALLOWED},
    {DENY_IF("\"StringEquals\":{\"gone\":\"a\"}"), IAM_ALLOWED},
    {DENY_IF("\"StringEqualsIfExists\":{\"gone\":\"a\"}"), IAM_DENIED},

    /* Attestation. */
    {ALLOW_IF("\"StringEqualsIgnoreCase\":{\"kms:RecipientAttestation:PCR0\":\"AB\"}"), IAM_ALLOWED},
    {ALLOW_IF("\"StringEqualsIgnoreCase\":{\"kms:recipientattestation:imagesha384\":\"ab\"}"), IAM_ALLOWED},
    {ALLOW_IF("\"StringEqualsIgnoreCase\":{\"kms:RecipientAttestation:PCR1\":\"ab\"}"), IAM_NOT_ALLOWED},
    {ALLOW_IF("\"StringEquals\":{\"kms:CallerAccount\":\"111122223333\",\"aws:PrincipalArn\":\"" APP "\"}"),
     IAM_ALLOWED},
};

static void read_policy(struct iam_policy *policy, const char *text)
{
    struct text mistakes = TEXT_INIT;

    if (iam_policy_read(policy, text, strlen(text), &mistakes) != 0) {
        fail_msg("%s: %s", text, text_string(&mistakes));
    }
    text_release(&mistakes);
}

static void add(struct iam_kms_request *request, const char *name, const char *const *values, size_t count)
{
    request->keys[request->request.key_count++] =
        (struct iam_key){.name = name, .values = values, .count = count};
}

static void make_request(struct iam_kms_request *request)
{
    static const char *const a[] = {"a", "b"}, *const yes[] = {"true"};

    iam_kms_request_init(request, APP, KEY);
    iam_kms_request_attested(request, true);
    iam_kms_request_pcr(request, 0, "ab", false);
    request->request.action = "kms:Decrypt";
    add(request, "one", a, 1);
    add(request, "two", a, 2);
    add(request, "gone", NULL, 0);
    add(request, "yes", yes, 1);
}

static void test_rows(void **state)
{
    (void)state;
    struct iam_kms_request request;
    struct iam_policy policy;
    struct iam_verdict verdict;

    make_request(&request);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        read_policy(&policy, rows[i].policy);
        iam_evaluate(&policy, &request.request, &verdict);
        if (verdict.decision != rows[i].decision ||
            (verdict.decision == IAM_UNKNOWN) != (verdict.why.text[0] != '\0')) {
            fail_msg("%s: %d (%s), not %d", rows[i].policy, verdict.decision, verdict.why.text,
                     rows[i].decision);
        }
        iam_policy_release(&policy);
    }
}

static void evaluate(const char *text, const struct iam_request *request, struct iam_verdict *verdict)
{
    struct iam_policy policy;

    read_policy(&policy, text);
    iam_evaluate(&policy, request, verdict);
    iam_policy_release(&policy);
}

static void test_which_statement(void **state)
{
    (void)state;
    struct iam_kms_request request;
    struct iam_verdict verdict;
    const char *by_account = S("Allow", "\"Principal\":{\"AWS\":\"111122223333\"}," WHAT "," ANY_KEY);
    char text[1024];

    make_request(&request);
    evaluate(BY("{\"AWS\":\"111122223333\"}"), &request.request, &verdict);
    assert_true(verdict.through_account);
    snprintf(text, sizeof text, OF("%s,%s"), by_account, ALLOW_ALL);
    evaluate(text, &request.request, &verdict);
    assert_int_equal(verdict.statement, 1);
    assert_false(verdict.through_account);
    snprintf(text, sizeof text, OF("%s,%s"), ALLOW_ALL, by_account);
    evaluate(text, &request.request, &verdict);
    assert_int_equal(verdict.statement, 0);
    assert_false(verdict.through_account);
    evaluate(OF(ALLOW_ALL "," S("Deny", WHO "," WHAT "," ANY_KEY)), &request.request, &verdict);
    assert_int_equal(verdict.statement, 1);
    evaluate(BY("{\"AWS\":[\"111122223333\",\"" APP "\"]}"), &request.request, &verdict);
    assert_false(verdict.through_account);
}

static void test_what_the_caller_does_not_say(void **state)
{
    (void)state;
    const struct iam_request nobody = {.action = "kms:Decrypt"};
    struct iam_verdict verdict;

    evaluate(OF(ALLOW_ALL), &nobody, &verdict);
    assert_int_equal(verdict.decision, IAM_UNKNOWN);
    assert_string_equal(verdict.why.text, "Principal: who calls is not known");
    evaluate(BY("{\"AWS\":\"*\"}"), &nobody, &verdict);
    assert_int_equal(verdict.decision, IAM_ALLOWED);
    evaluate(BY("{\"Service\":\"ec2.amazonaws.com\"}"), &nobody, &verdict);
    assert_int_equal(verdict.decision, IAM_UNKNOWN);
    evaluate(OF(S("Allow", "\"Principal\":\"*\"," WHAT ",\"Resource\":\"" KEY "\"")), &nobody, &verdict);
    assert_int_equal(verdict.decision, IAM_UNKNOWN);
    assert_string_equal(verdict.why.text, KEY ": which key it is, is not known");
}

/* Without a document all of its keys are absent; with one of which only a part is known, the rest is not known. */
static void test_attestation(void **state)
{
    (void)state;
    const char *pcr3 = ALLOW_IF("\"StringEqualsIgnoreCase\":{\"kms:RecipientAttestation:PCR3\":\"ab\"}");
    const char *not_pcr3 = ALLOW_IF("\"StringNotEquals\":{\"kms:RecipientAttestation:PCR3\":\"ab\"}");
    const char *tpm = ALLOW_IF("\"StringNotEquals\":{\"kms:RecipientAttestation:NitroTPMPCR4\":\"ab\"}");
    struct iam_kms_request request;
    struct iam_verdict verdict;

    iam_kms_request_init(&request, APP, KEY);
    request.request.action = "kms:Decrypt";
    evaluate(pcr3, &request.request, &verdict);
    assert_int_equal(verdict.decision, IAM_NOT_ALLOWED);
    evaluate(not_pcr3, &request.request, &verdict);
    assert_int_equal(verdict.decision, IAM_ALLOWED);
    iam_kms_request_attested(&request, false);
    evaluate(pcr3, &request.request, &verdict);
    assert_int_equal(verdict.decision, IAM_UNKNOWN);
    evaluate(tpm, &request.request, &verdict);
    assert_int_equal(verdict.decision, IAM_ALLOWED);
    iam_kms_request_pcr(&request, 3, "ab", false);
    evaluate(pcr3, &request.request, &verdict);
    assert_int_equal(verdict.decision, IAM_ALLOWED);
}

/* A service is named by its name, and nobody else by that; anybody is a service, too. */
static void test_services(void **state)
{
    (void)state;
    const struct iam_request service = {.principal = "ec2.amazonaws.com", .action = "kms:Decrypt"};
    struct iam_verdict verdict;

    evaluate(BY("{\"Service\":[\"s3.amazonaws.com\",\"ec2.amazonaws.com\"]}"), &service, &verdict);
    assert_int_equal(verdict.decision, IAM_ALLOWED);
    evaluate(BY("{\"Service\":\"s3.amazonaws.com\",\"AWS\":\"" APP "\"}"), &service, &verdict);
    assert_int_equal(verdict.decision, IAM_NOT_ALLOWED);
    evaluate(BY("\"*\""), &service, &verdict);
    assert_int_equal(verdict.decision, IAM_ALLOWED);
}

/* What may have been made to be like a pattern, or unlike it: whether it is. */
static void test_choosable_values(void **state)
{
    (void)state;
    static const struct {
        const char *condition;
        enum iam_decision fixed, choosable;
    } table[] = {
        {"\"StringLike\":{\"kms:RecipientAttestation:PCR0\":\"1a*\"}", IAM_NOT_ALLOWED, IAM_UNKNOWN},
        {"\"StringNotLike\":{\"kms:RecipientAttestation:PCR0\":\"1a*\"}", IAM_ALLOWED, IAM_UNKNOWN},
        {"\"StringLike\":{\"kms:RecipientAttestation:ImageSha384\":\"?b\"}", IAM_NOT_ALLOWED, IAM_UNKNOWN},
        {"\"StringLike\":{\"kms:RecipientAttestation:PCR0\":\"f*\"}", IAM_ALLOWED, IAM_UNKNOWN},
        {"\"StringNotLike\":{\"kms:RecipientAttestation:PCR0\":\"f*\"}", IAM_NOT_ALLOWED, IAM_UNKNOWN},
        {"\"StringLike\":{\"kms:RecipientAttestation:PCR0\":\"?*\"}", IAM_ALLOWED, IAM_ALLOWED},
        {"\"StringNotLike\":{\"kms:RecipientAttestation:PCR0\":\"*\"}", IAM_NOT_ALLOWED, IAM_NOT_ALLOWED},
        {"\"StringLike\":{\"kms:RecipientAttestation:PCR0\":\"1a\"}", IAM_NOT_ALLOWED, IAM_NOT_ALLOWED},
        {"\"StringEquals\":{\"kms:RecipientAttestation:PCR0\":\"1a*\"}", IAM_NOT_ALLOWED, IAM_NOT_ALLOWED},
    };
    struct iam_kms_request request;
    struct iam_verdict verdict;
    char text[512];

    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        snprintf(text, sizeof text, ALLOW_IF("%s"), table[i].condition);
        for (unsigned choosable = 0; choosable <= 1; choosable++) {
            iam_kms_request_init(&request, APP, KEY);
            request.request.action = "kms:Decrypt";
            iam_kms_request_pcr(&request, 0, "ff", choosable);
            evaluate(text, &request.request, &verdict);
            assert_int_equal(verdict.decision, choosable ? table[i].choosable : table[i].fixed);
        }
    }
}

static void test_whose_arn_is_known(void **state)
{
    (void)state;
    static const struct {
        const char *principal;
        enum iam_decision account, arn;
    } table[] = {
        {APP, IAM_ALLOWED, IAM_ALLOWED},
        {"arn:aws:sts::111122223333:assumed-role/app/x", IAM_ALLOWED, IAM_UNKNOWN},
        {"arn:aws:iam::111122223333:root", IAM_ALLOWED, IAM_UNKNOWN},
        {"*", IAM_UNKNOWN, IAM_UNKNOWN},
        {NULL, IAM_UNKNOWN, IAM_UNKNOWN},
    };
    struct iam_kms_request request;
    struct iam_verdict verdict;

    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        iam_kms_request_init(&request, table[i].principal, KEY);
        request.request.action = "kms:Decrypt";
        evaluate(OF(S("Allow",
                      "\"Principal\":\"*\"," WHAT "," ANY_KEY
                      ",\"Condition\":{\"StringEquals\":{\"aws:PrincipalAccount\":\"111122223333\"}}")),
                 &request.request, &verdict);
        assert_int_equal(verdict.decision, table[i].account);
        evaluate(OF(S("Allow", "\"Principal\":\"*\"," WHAT "," ANY_KEY
                               ",\"Condition\":{\"StringLike\":{\"aws:PrincipalArn\":\"*role/app\"}}")),
                 &request.request, &verdict);
        assert_int_equal(verdict.decision, table[i].arn);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_which_statement),
        cmocka_unit_test(test_what_the_caller_does_not_say),
        cmocka_unit_test(test_attestation),
        cmocka_unit_test(test_services),
        cmocka_unit_test(test_choosable_values),
        cmocka_unit_test(test_whose_arn_is_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
