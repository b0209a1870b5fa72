/* Tests of aws/credentials_json.c: answers with keys, and those without. */
#include "aws/credentials_json.h"

#include "fault.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { NOW = 1767225600 }; /* 2026-01-01T00:00:00Z */

#define KEYS "\"AccessKeyId\":\"ID\",\"SecretAccessKey\":\"SECRET\""

static struct error err;

static int parse(const char *text, struct credentials_keys *ret)
{
    err = (struct error)ERROR_INIT;
    return credentials_json_parse(text, strlen(text), NOW, ret, &err);
}

static void check(const char *text, const char *token, time_t expires)
{
    struct credentials_keys keys;
    if (parse(text, &keys) != 0) {
        fail_msg("%s: %s", text, err.text);
    }
    assert_string_equal(keys.access_key_id, "ID");
    assert_string_equal(keys.secret_access_key, "SECRET");
    if (token != NULL) {
        assert_string_equal(keys.session_token, token);
    } else {
        assert_null(keys.session_token);
    }
    assert_int_equal(keys.expires, expires);
    credentials_keys_release(&keys);
}

static void test_keys(void **state)
{
    (void)state;
    check("{\"Code\":\"Success\",\"LastUpdated\":\"2026-01-01T00:00:00Z\",\"Type\":\"AWS-HMAC\"," KEYS
          ",\"Token\":\"T==\",\"Expiration\":\"2026-01-01T06:00:00Z\"}",
          "T==", NOW + 21600);
    check("{" KEYS ",\"Token\":\"T\",\"Expiration\":\"2026-01-01T00:00:01.25Z\",\"RoleArn\":\"x\"}", "T",
          NOW + 1);
    check("{" KEYS "}", NULL, NOW + CREDENTIALS_LIFE_S);
    check("{" KEYS ",\"Token\":null,\"Expiration\":null}", NULL, NOW + CREDENTIALS_LIFE_S);
}

static void refuse(const char *text, int code, const char *word)
{
    struct credentials_keys keys;
    if (parse(text, &keys) != code || strstr(err.text, word) == NULL) {
        fail_msg("%s: %s", text, err.text);
    }
    assert_null(strstr(err.text, "SECRET"));
    assert_null(keys.access_key_id);
}

static void test_refusals(void **state)
{
    (void)state;
    refuse("", -EBADMSG, "no JSON object");
    refuse("[]", -EBADMSG, "no JSON object");
    refuse("{" KEYS, -EBADMSG, "no JSON object");
    refuse("{" KEYS ",\"AccessKeyId\":\"ID\"}", -EBADMSG, "no JSON object");
    refuse("{\"Code\":\"AssumeRoleUnauthorizedAccess\"}", -EBADMSG, "AssumeRoleUnauthorizedAccess");
    refuse("{\"Code\":\"<SECRET>\"}", -EBADMSG, "an error");
    refuse("{\"Code\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"}", -EBADMSG,
           "an error");
    refuse("{}", -EINVAL, "access key ID");
    refuse("{\"AccessKeyId\":\"ID\",\"SecretAccessKey\":7}", -EINVAL, "secret access key");
    refuse("{\"AccessKeyId\":\"I\\nD\",\"SecretAccessKey\":\"SECRET\"}", -EINVAL, "access key ID");
    refuse("{" KEYS ",\"Expiration\":\"tomorrow\"}", -EBADMSG, "Expiration");
    refuse("{" KEYS ",\"Expiration\":\"2026-01-01T00:00:00\"}", -EBADMSG, "Expiration");
    refuse("{" KEYS ",\"Expiration\":\"2026-01-01T00:00:00+02:00\"}", -EBADMSG, "Expiration");
    refuse("{" KEYS ",\"Expiration\":1767225600}", -EBADMSG, "Expiration");
    refuse("{" KEYS ",\"Token\":[\"SECRET\"]}", -EBADMSG, "Token");
    refuse("{" KEYS ",\"Expiration\":\"1960-01-01T00:00:00Z\"}", -EBADMSG, "Expiration");
}

static void parse_once(void *arg)
{
    struct credentials_keys keys;
    (void)arg;
    if (parse("{" KEYS ",\"Token\":\"T\"}", &keys) == 0) {
        assert_string_equal(keys.session_token, "T");
        credentials_keys_release(&keys);
    }
}

static void test_out_of_memory(void **state)
{
    (void)state;
    assert_true(fault_loop("credentials JSON", FAULT_MEMORY, parse_once, NULL) >= 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
