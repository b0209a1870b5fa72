/* The configuration: what may stand in it. What follows from it: tests/system/test_sim.py. */
#include "sim/config.h"

#include "fault.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct error err;

static int parse(const char *text, struct sim_config *ret)
{
    return sim_config_parse(text, strlen(text), ret, &err);
}

#define WHOLE                                                                                         \
    "{\"directory\": \"/d\", \"instance_id\": \"i-1\", \"now\": 5, \"control\": {\"listen\": "        \
    "\"unix:///c\"},"                                                                                 \
    "\"metadata\": {\"listen\": \"unix:///m\", \"access_key_id\": \"A\"},"                            \
    "\"kms\": {\"listen\": \"unix:///k\", \"region\": \"eu-west-1\", \"account\": \"444455556666\", " \
    "\"host\": \"h\", \"cms\": "                                                                      \
    "\"primitive\", \"credentials\": [{\"access_key_id\": \"A\", \"secret_access_key\": \"S\", "      \
    "\"session_token\": \"T\","                                                                       \
    "\"principal\": \"arn:aws:iam::111122223333:role/app\", \"expires\": 7, \"account_allows\": "     \
    "[\"kms:Decrypt\"]}],"                                                                            \
    "\"keys\": [{\"id\": \"data\"}]},"                                                                \
    "\"nsm\": [{\"listen\": \"unix:///n\", \"debug\": true, \"shape\": \"tagged\", \"role_arn\": \"r\"}]}"

static void test_all_that_there_is(void **state)
{
    (void)state;
    struct sim_config config;
    struct sim_credentials credentials;

    assert_int_equal(parse(WHOLE, &config), 0);
    assert_string_equal(config.region, "eu-west-1");
    assert_string_equal(config.instance_id, "i-1");
    assert_string_equal(config.metadata_key, "A");
    assert_int_equal(config.now, 5);
    assert_int_equal(config.nsm_count, 1);
    assert_true(config.nsms[0].debug);
    assert_int_equal(sim_config_credentials(&config, &credentials, &err), 0);
    assert_int_equal(credentials.count, 1);
    assert_int_equal(credentials.list[0].expires, 7);
    assert_string_equal(credentials.list[0].actions[0], "kms:Decrypt");
    assert_null(credentials.list[0].actions[1]);
    struct sim_kms kms = {.credentials = credentials};
    assert_int_equal(sim_kms_init(&kms), 0);
    sim_kms_release(&kms);
    sim_config_release(&config);
}

static void test_what_is_not_said(void **state)
{
    (void)state;
    struct sim_config config;

    assert_int_equal(parse("{\"directory\": \"/d\"}", &config), 0);
    assert_string_equal(config.region, "us-east-1");
    assert_string_equal(config.account, "111122223333");
    assert_null(config.kms_listen);
    assert_null(config.control);
    assert_int_equal(config.nsm_count, 0);
    sim_config_release(&config);
}

static void test_what_is_wrong(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",
        "[]",
        "{}",
        "{\"directory\": 1}",
        "{\"directory\": \"/d\", \"directory\": \"/e\"}",
        "{\"directory\": \"/d\", \"kms\": {}}",
        "{\"directory\": \"/d\", \"nsm\": [{}]}",
        "{\"directory\": \"/d\", \"nsm\": [{\"listen\": \"x\", \"pcrs\": 1}]}",
        ("{\"directory\": \"/d\", \"kms\": {\"listen\": \"x\", \"region\": "
         "\"0123456789012345678901234567890\"}}"),
        "{\"directory\": \"/d\", \"kms\": {\"listen\": \"x\", \"account\": \"11112222333a\"}}"};
    struct sim_config config;

    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        err.text[0] = '\0';
        assert_int_equal(parse(texts[i], &config), -EINVAL);
        assert_true(err.text[0] != '\0');
    }
}

static void run(void *arg)
{
    struct sim_config config;
    struct sim_kms kms = {.region = "us-east-1", .account = "111122223333"};

    (void)arg;
    if (parse(WHOLE, &config) != 0) {
        return;
    }
    if (sim_kms_init(&kms) == 0) {
        (void)!sim_config_credentials(&config, &kms.credentials, &err);
        sim_kms_release(&kms);
    }
    sim_config_release(&config);
}

static void test_out_of_memory(void **state)
{
    (void)state;
    assert_true(fault_loop("config", FAULT_MEMORY, run, NULL) >= 30);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_that_there_is),
        cmocka_unit_test(test_what_is_not_said),
        cmocka_unit_test(test_what_is_wrong),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
