/* Key policies, read: what is taken, what is refused and where, and what a name of an operator or a principal means. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "fault.h"
#include "iam/operator.h"
#include "iam/policy.h"
#include "iam/principal.h"
#include "json_arena.h"

#define WHO     "\"Principal\":{\"AWS\":\"111122223333\"},"
#define WHAT    "\"Action\":\"kms:Decrypt\","
#define WHERE   "\"Resource\":\"*\""
#define ALLOW   "\"Effect\":\"Allow\","
#define OF(s)   "{\"Version\":\"2012-10-17\",\"Statement\":[" s "]}"
#define WITH(c) OF("{" ALLOW WHO WHAT WHERE ",\"Condition\":" c "}")

static const struct {
    const char *policy;
    const char *mistake; /* the beginning of a line; NULL: there is none */
} rows[] = {
    {OF("{" ALLOW WHO WHAT WHERE "}"), NULL},
    {"{\"Id\":\"x\",\"Statement\":{" ALLOW WHO WHAT WHERE "}}", NULL},
    {"{\"Version\":\"2008-10-17\",\"Statement\":{" ALLOW WHO WHAT WHERE "}}", NULL},
    {OF("{\"Sid\":\"a\",\"Effect\":\"Deny\",\"Principal\":\"*\",\"NotAction\":[\"kms:*\",\"*\"],"
        "\"NotResource\":\"arn:aws:kms:x\"}"),
     NULL},
    {OF("{" ALLOW
        "\"Principal\":{\"Service\":\"a.amazonaws.com\",\"Federated\":[\"x\"],\"CanonicalUser\":\"y\"}," WHAT
            WHERE "}"),
     NULL},
    {WITH("{\"StringEquals\":{\"a\":[\"b\",true,1]},\"Bool\":{\"c\":[\"TRUE\",false]},\"Null\":{\"d\":"
          "\"false\"}}"),
     NULL},
    {WITH("{}"), NULL},
    {WITH("{\"Whatever\":{\"a\":\"b\"}}"), NULL}, /* the evaluation calls it unknown */

    {"", "the document: it is no JSON"},
    {"{", "the document: it is no JSON"},
    {"{} {}", "the document: it is no JSON"},
    {"[]", "the document: an object"},
    {"1", "the document: an object"},
    {"{\"Statement\":1,\"Statement\":2}", "the document: it is no JSON: line 1"},
    {"{}", "Statement: 1 to"},
    {"{\"Statement\":[]}", "Statement: 1 to"},
    {"{\"Statement\":1}", "Statement[0]: an object"},
    {"{\"Statment\":[]}", "Statment: there is no such element; did you mean Statement"},
    {"{\"Version\":\"2020-01-01\",\"Statement\":[]}", "Version: "},
    {"{\"Version\":1,\"Statement\":[]}", "Version: "},
    {OF("{" ALLOW WHO WHAT WHERE "},{" WHO WHAT WHERE "}"), "Statement[1].Effect: Allow or Deny"},
    {OF("{\"Effect\":\"allow\"," WHO WHAT WHERE "}"), "Statement[0].Effect: Allow or Deny"},
    {OF("{\"Sid\":1," ALLOW WHO WHAT WHERE "}"), "Statement[0].Sid: "},
    {OF("{\"Foo\\u001b\":1," ALLOW WHO WHAT WHERE "}"),
     "Statement[0].Foo\\u001b: there is no such element\n"},
    {OF("{" ALLOW WHAT WHERE "}"), "Statement[0]: Principal is missing"},
    {OF("{" ALLOW "\"NotPrincipal\":{\"AWS\":\"*\"}," WHAT WHERE "}"),
     "Statement[0].NotPrincipal: it is not understood"},
    {OF("{" ALLOW "\"Principal\":\"x\"," WHAT WHERE "}"), "Statement[0].Principal: * or an object"},
    {OF("{" ALLOW "\"Principal\":{}," WHAT WHERE "}"), "Statement[0].Principal: * or an object"},
    {OF("{" ALLOW "\"Principal\":{\"aws\":\"*\"}," WHAT WHERE "}"),
     "Statement[0].Principal: there is no kind"},
    {OF("{" ALLOW "\"Principal\":{\"Service\":1}," WHAT WHERE "}"), "Statement[0].Principal: a name"},
    {OF("{" ALLOW "\"Principal\":{\"AWS\":[]}," WHAT WHERE "}"), "Statement[0].Principal.AWS: it is empty"},
    {OF("{" ALLOW "\"Principal\":{\"AWS\":1}," WHAT WHERE "}"), "Statement[0].Principal.AWS: *, an account"},
    {OF("{" ALLOW "\"Principal\":{\"AWS\":\"arn:aws:iam::111122223333:role/*\"}," WHAT WHERE "}"),
     "Statement[0].Principal.AWS: *, an account"},
    {OF("{" ALLOW WHO WHERE "}"), "Statement[0]: Action or NotAction is missing"},
    {OF("{" ALLOW WHO WHAT "\"NotAction\":\"*\"," WHERE "}"), "Statement[0]: Action and NotAction exclude"},
    {OF("{" ALLOW WHO "\"Action\":[1]," WHERE "}"), "Statement[0].Action: an action"},
    {OF("{" ALLOW WHO "\"NotAction\":\"Decrypt\"," WHERE "}"), "Statement[0].NotAction: an action"},
    {OF("{" ALLOW WHO "\"Action\":\"kms:Decrypt\"}"), "Statement[0]: Resource or NotResource is missing"},
    {OF("{" ALLOW WHO WHAT "\"Resource\":\"key\"}"), "Statement[0].Resource: * (this key)"},
    {OF("{" ALLOW WHO WHAT "\"Resource\":{}}"), "Statement[0].Resource: * (this key)"},
    {WITH("[]"), "Statement[0].Condition: an object"},
    {WITH("{\"StringEquals\":1}"), "Statement[0].Condition.StringEquals: an object"},
    {WITH("{\"StringEquals\":{\"a\":[]}}"), "Statement[0].Condition.StringEquals.a: it is empty"},
    {WITH("{\"StringEquals\":{\"a\":{}}}"), "Statement[0].Condition.StringEquals.a: texts"},
    {WITH("{\"StringEquals\":{\"a\":null}}"), "Statement[0].Condition.StringEquals.a: texts"},
    {WITH("{\"Bool\":{\"a\":\"yes\"}}"), "Statement[0].Condition.Bool.a: true or false"},
    {WITH("{\"Null\":{\"a\":1}}"), "Statement[0].Condition.Null.a: true or false"},
};

static bool has_line(const char *text, const char *beginning)
{
    for (const char *line = text; line != NULL && *line != '\0'; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, beginning, strlen(beginning)) == 0) {
            return true;
        }
    }
    return false;
}

static void test_rows(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct iam_policy policy;
        struct text mistakes = TEXT_INIT;
        int rv = iam_policy_read(&policy, rows[i].policy, strlen(rows[i].policy), &mistakes);
        if (rv != (rows[i].mistake ? -EBADMSG : 0) ||
            (rows[i].mistake && !has_line(text_string(&mistakes), rows[i].mistake))) {
            fail_msg("%s: %d, %s", rows[i].policy, rv, text_string(&mistakes));
        }
        if (rv == 0) {
            iam_policy_release(&policy);
        }
        text_release(&mistakes);
    }
}

static void test_what_was_read(void **state)
{
    (void)state;
    const char *document = OF("{" ALLOW WHO WHAT WHERE "},{\"Sid\":\"no\",\"Effect\":\"Deny\"," WHO
                              "\"NotAction\":[\"a:b\",\"c:d\"]," WHERE "}");
    struct iam_policy policy;
    struct text mistakes = TEXT_INIT;

    assert_int_equal(iam_policy_read(&policy, document, strlen(document), &mistakes), 0);
    assert_int_equal(policy.count, 2);
    assert_true(policy.variables);
    assert_false(policy.statements[0].deny);
    assert_null(policy.statements[0].sid);
    assert_null(policy.statements[0].condition);
    assert_true(policy.statements[1].deny);
    assert_true(policy.statements[1].not_action);
    assert_false(policy.statements[1].not_resource);
    assert_string_equal(policy.statements[1].sid, "no");
    assert_int_equal(iam_list_size(policy.statements[0].actions), 1);
    assert_int_equal(iam_list_size(policy.statements[1].actions), 2);
    iam_policy_release(&policy);
}

static void test_bounds(void **state)
{
    (void)state;
    struct iam_policy policy;
    struct text text = TEXT_INIT, mistakes = TEXT_INIT;

    for (size_t i = 0; i <= IAM_POLICY_MAX; i++) {
        text_add_char(&text, ' ');
    }
    assert_int_equal(iam_policy_read(&policy, text_string(&text), text.length, &mistakes), -EBADMSG);
    assert_true(has_line(text_string(&mistakes), "the document: it is larger than 65536 bytes"));
    text_clear(&text);
    text_clear(&mistakes);
    text_add(&text, "{\"Statement\":[1");
    for (size_t i = 1; i < IAM_STATEMENTS_MAX; i++) {
        text_add(&text, ",1");
    }
    text_add(&text, "]}");
    assert_int_equal(iam_policy_read(&policy, text_string(&text), text.length, &mistakes), -EBADMSG);
    assert_true(has_line(text_string(&mistakes), "Statement[49]: an object"));
    assert_false(has_line(text_string(&mistakes), "Statement[50]: an object"));
    assert_true(has_line(text_string(&mistakes), "and 150 more"));
    text_clear(&mistakes);
    text.length -= 2;
    text_add(&text, ",1]}");
    assert_int_equal(iam_policy_read(&policy, text_string(&text), text.length, &mistakes), -EBADMSG);
    assert_true(has_line(text_string(&mistakes), "Statement: 1 to 200"));
    text_release(&text);
    text_release(&mistakes);
}

static void *no_malloc(size_t size)
{
    (void)size;
    return NULL;
}

static void read_once(void *arg)
{
    const char *document = arg;
    json_arena_clear();
    struct iam_policy policy;
    struct text mistakes = TEXT_INIT;
    int rv = iam_policy_read(&policy, document, strlen(document), &mistakes);

    if (rv == 0) {
        iam_policy_release(&policy);
    }
    text_release(&mistakes);
}

static void test_out_of_memory(void **state)
{
    (void)state;
    char good[] = WITH("{\"StringEquals\":{\"a\":[\"b\",\"c\"]}}"), bad[] = "{\"Statement\":[1]}";

    struct iam_policy policy;
    struct text mistakes = TEXT_INIT;

    struct json_arena_before before = json_arena_use();
    assert_true(fault_loop("a policy", FAULT_MEMORY, read_once, good) == 0);
    assert_true(fault_loop("a policy with a mistake", FAULT_MEMORY, read_once, bad) >= 1);
    json_set_alloc_funcs(no_malloc, json_arena_free);
    assert_int_equal(iam_policy_read(&policy, good, strlen(good), &mistakes), -ENOMEM);
    json_arena_leave(before);
    text_release(&mistakes);
}

/* ---- Operators ---- */

static void test_operators(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        struct iam_operator op;
    } table[] = {
        {"StringEquals", {IAM_COMPARE_EQUAL, IAM_SET_NONE, false, false, false}},
        {"stringequals", {IAM_COMPARE_EQUAL, IAM_SET_NONE, false, false, false}},
        {"StringNotEqualsIfExists", {IAM_COMPARE_EQUAL, IAM_SET_NONE, true, false, true}},
        {"StringEqualsIgnoreCase", {IAM_COMPARE_EQUAL, IAM_SET_NONE, false, true, false}},
        {"ForAllValues:StringNotEqualsIgnoreCaseIfExists",
         {IAM_COMPARE_EQUAL, IAM_SET_ALL, true, true, true}},
        {"ForAnyValue:StringLike", {IAM_COMPARE_LIKE, IAM_SET_ANY, false, false, false}},
        {"StringNotLike", {IAM_COMPARE_LIKE, IAM_SET_NONE, true, false, false}},
        {"BoolIfExists", {IAM_COMPARE_BOOL, IAM_SET_NONE, false, true, true}},
        {"Null", {IAM_COMPARE_NULL, IAM_SET_NONE, false, true, false}},
    };
    static const char *const not_known[] = {
        "",     "IfExists",         "NullIfExists",  "ForAnyValue:Null",          "NumericEquals",
        "Like", "ForAllValues:Foo", "StringEquals ", "ForSomeValues:StringEquals"};

    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        struct iam_operator op = iam_operator_read(table[i].name);
        assert_int_equal(op.compare, table[i].op.compare);
        assert_int_equal(op.set, table[i].op.set);
        assert_int_equal(op.negated, table[i].op.negated);
        assert_int_equal(op.any_case, table[i].op.any_case);
        assert_int_equal(op.if_exists, table[i].op.if_exists);
    }
    for (size_t i = 0; i < ARRAY_SIZE(not_known); i++) {
        assert_int_equal(iam_operator_read(not_known[i]).compare, IAM_COMPARE_UNKNOWN);
    }
}

static void test_wildcards(void **state)
{
    (void)state;
    assert_true(iam_wildcard("", "", false));
    assert_true(iam_wildcard("*", "", false));
    assert_true(iam_wildcard("**", "abc", false));
    assert_true(iam_wildcard("a?c", "abc", false));
    assert_true(iam_wildcard("a?!", "a\xc3\xa9!", false));
    assert_true(iam_wildcard("*?", "\xf0\x9f\x98\x80", false));
    assert_false(iam_wildcard("??", "\xc3\xa9", false));
    assert_false(iam_wildcard("*??", "\xc3\xa9", false));
    assert_true(iam_wildcard("a*b*c", "aXbbYc", false));
    assert_true(iam_wildcard("*ab", "aab", false));
    assert_true(iam_wildcard("KMS:decr*", "kms:Decrypt", true));
    assert_false(iam_wildcard("KMS:decr*", "kms:Decrypt", false));
    assert_false(iam_wildcard("a?", "a", false));
    assert_false(iam_wildcard("?", "", false));
    assert_false(iam_wildcard("abc", "abcd", false));
    assert_false(iam_wildcard("abcd", "abc", false));
    assert_false(iam_wildcard("a*c", "abd", false));
    assert_false(iam_wildcard("", "a", false));
}

/* ---- Principals ---- */

#define ACCOUNT "arn:aws:iam::111122223333:"
#define SESSION "arn:aws:sts::111122223333:assumed-role/"

static void test_valid_principals(void **state)
{
    (void)state;
    static const char *const good[] = {"*",
                                       "111122223333",
                                       ACCOUNT "root",
                                       ACCOUNT "user/a",
                                       ACCOUNT "role/path/a",
                                       SESSION "a/b",
                                       "arn:aws-cn:sts::111122223333:federated-user/x",
                                       "AROAEXAMPLE1"};
    static const char *const bad[] = {"",
                                      "11112222333",
                                      "11112222333a",
                                      "arn:aws:iam::111122223333",
                                      ACCOUNT,
                                      ACCOUNT "role/",
                                      ACCOUNT "group/x",
                                      ACCOUNT "role/a*",
                                      "arn:aws:iam::1:root",
                                      "arn:aws:iam:us-east-1:111122223333:root",
                                      "arn::iam::111122223333:root",
                                      "urn:aws:iam::111122223333:root",
                                      "arn:aws:sts::111122223333:root",
                                      "arn:aws:s3::111122223333:root",
                                      "AROA-"};

    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        assert_true(iam_principal_valid(good[i]));
    }
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        assert_false(iam_principal_valid(bad[i]));
    }
}

static void test_meant_principals(void **state)
{
    (void)state;
    static const struct {
        const char *named, *caller;
        enum iam_named means;
    } table[] = {
        {"*", "*", IAM_NAMED},
        {"*", ACCOUNT "role/a", IAM_NAMED},
        {ACCOUNT "role/a", "*", IAM_NAMED_NOT},
        {"111122223333", "*", IAM_NAMED_NOT},
        {"111122223333", ACCOUNT "role/a", IAM_NAMED_BY_ACCOUNT},
        {"111122223333", SESSION "a/b", IAM_NAMED_BY_ACCOUNT},
        {ACCOUNT "root", "111122223333", IAM_NAMED_BY_ACCOUNT},
        {ACCOUNT "root", "arn:aws:iam::444455556666:role/a", IAM_NAMED_NOT},
        {ACCOUNT "role/a", ACCOUNT "role/a", IAM_NAMED},
        {ACCOUNT "role/a", ACCOUNT "root", IAM_NAMED_NOT},
        {ACCOUNT "role/a", ACCOUNT "role/A", IAM_NAMED_NOT},
        {ACCOUNT "role/a", SESSION "a/b", IAM_NAMED},
        {ACCOUNT "role/some/path/a", SESSION "a/b", IAM_NAMED},
        {ACCOUNT "role/a", SESSION "ab/b", IAM_NAMED_NOT},
        {ACCOUNT "user/a", SESSION "a/b", IAM_NAMED_NOT},
        {ACCOUNT "role/a", "arn:aws:sts::444455556666:assumed-role/a/b", IAM_NAMED_NOT},
        {ACCOUNT "role/a", "arn:aws-cn:sts::111122223333:assumed-role/a/b", IAM_NAMED_NOT},
        {ACCOUNT "role/a", "arn:aws:sts::111122223333:federated-user/a", IAM_NAMED_NOT},
        {SESSION "a/b", SESSION "a/b", IAM_NAMED},
        {SESSION "a/b", SESSION "a/c", IAM_NAMED_NOT},
        {"AROAEXAMPLE1", ACCOUNT "role/a", IAM_NAMED_NOT},
    };
    char account[IAM_ACCOUNT_DIGITS + 1];

    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        if (iam_principal_means(table[i].named, table[i].caller) != table[i].means) {
            fail_msg("%s, %s", table[i].named, table[i].caller);
        }
    }
    assert_false(iam_principal_account("*", account));
    assert_true(iam_principal_account(SESSION "a/b", account));
    assert_string_equal(account, "111122223333");
    assert_true(iam_principal_is_account("111122223333"));
    assert_true(iam_principal_is_account(ACCOUNT "root"));
    assert_false(iam_principal_is_account(ACCOUNT "role/root"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_what_was_read),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_operators),
        cmocka_unit_test(test_wildcards),
        cmocka_unit_test(test_valid_principals),
        cmocka_unit_test(test_meant_principals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
