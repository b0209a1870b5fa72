/* Keys: found by each of their names, with one policy, and kept in a file. */
#include "sim/key.h"

#include "fault.h"
#include "sim/keep.h"
#include <errno.h>
#include <openssl/err.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define POLICY                                                                                               \
    "{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\",\"Principal\":\"*\",\"Action\":\"*\"," \
    "\"Resource\":\"*\"}]}"

static char directory[] = "/tmp/test-sim-key-XXXXXX";
static struct error err;

static struct sim_keys no_keys(void)
{
    return (struct sim_keys){.region = "us-east-1", .account = "111122223333"};
}

static int add(struct sim_keys *keys, const char *id, const char *alias, const char *spec,
               struct sim_key **ret)
{
    return sim_keys_add(keys,
                        &(struct sim_key_wanted){.id = id,
                                                 .alias = alias,
                                                 .policy = POLICY,
                                                 .spec = sim_spec_find(spec),
                                                 .usage = "ENCRYPT_DECRYPT"},
                        1000, ret, &err);
}

static int setup(void **state)
{
    (void)state;
    return mkdtemp(directory) ? 0 : -1;
}

static int teardown(void **state)
{
    char path[64];

    (void)state;
    snprintf(path, sizeof path, "%s/keys.json", directory);
    unlink(path);
    return rmdir(directory);
}

static void test_names(void **state)
{
    (void)state;
    struct sim_keys keys = no_keys();
    struct sim_key *key, *other;

    assert_int_equal(add(&keys, "data", "alias/data", SIM_SPEC_SYMMETRIC, &key), 0);
    assert_int_equal(add(&keys, NULL, NULL, SIM_SPEC_SYMMETRIC, &other), 0);
    assert_int_equal(strlen(other->id), 36);
    assert_string_equal(key->arn, "arn:aws:kms:us-east-1:111122223333:key/data");
    assert_ptr_equal(sim_keys_find(&keys, "data"), key);
    assert_ptr_equal(sim_keys_find(&keys, key->arn), key);
    assert_ptr_equal(sim_keys_find(&keys, "alias/data"), key);
    assert_ptr_equal(sim_keys_find(&keys, "arn:aws:kms:us-east-1:111122223333:alias/data"), key);
    static const char *const none[] = {"",
                                       "dat",
                                       "alias/",
                                       "arn:aws:kms:us-east-1:111122223333:data",
                                       "arn:aws:kms:us-east-1:444455556666:key/data",
                                       "arn:",
                                       "key/data"};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        assert_null(sim_keys_find(&keys, none[i]));
    }
    assert_int_equal(add(&keys, "data", NULL, SIM_SPEC_SYMMETRIC, &other), -EEXIST);
    assert_int_equal(add(&keys, "more", "alias/data", SIM_SPEC_SYMMETRIC, &other), -EEXIST);
    assert_int_equal(add(&keys, "", NULL, SIM_SPEC_SYMMETRIC, &other), -EINVAL);
    assert_int_equal(add(&keys, "a/b", NULL, SIM_SPEC_SYMMETRIC, &other), -EINVAL);
    sim_keys_release(&keys);
}

static void test_specs(void **state)
{
    (void)state;
    static const char *const specs[] = {"RSA_2048", "ECC_NIST_P256", "ECC_NIST_P384", "ECC_NIST_P521",
                                        "ECC_SECG_P256K1"};

    assert_null(sim_spec_find("ROT13"));
    assert_null(sim_spec_generate(sim_spec_find(SIM_SPEC_SYMMETRIC)));
    for (size_t i = 0; i < sizeof specs / sizeof *specs; i++) {
        EVP_PKEY *pair = sim_spec_generate(sim_spec_find(specs[i]));
        assert_non_null(pair);
        EVP_PKEY_free(pair);
    }
}

static void test_policies(void **state)
{
    (void)state;
    struct sim_keys keys = no_keys();
    struct sim_key *key;

    assert_int_equal(add(&keys, "data", NULL, SIM_SPEC_SYMMETRIC, &key), 0);
    assert_int_equal(sim_key_set_policy(key, "{}", 2, &err), -EBADMSG);
    assert_string_equal(key->policy_text, POLICY);
    assert_int_equal(key->policy.count, 1);
    sim_keys_release(&keys);
}

static void test_they_are_kept(void **state)
{
    (void)state;
    struct sim_keys keys = no_keys(), again = no_keys();
    struct sim_key *key, *pair;

    assert_int_equal(sim_keys_load(&again, directory, &err), 0);
    assert_int_equal(again.count, 0);
    assert_int_equal(add(&keys, "data", "alias/data", SIM_SPEC_SYMMETRIC, &key), 0);
    assert_int_equal(add(&keys, "pair", NULL, "ECC_NIST_P256", &pair), 0);
    key->disabled = true;
    assert_int_equal(sim_keys_save(&keys, directory, &err), 0);
    assert_int_equal(sim_keys_load(&again, directory, &err), 0);
    assert_int_equal(again.count, 2);
    assert_memory_equal(again.list[0]->material, key->material, sizeof key->material);
    assert_true(again.list[0]->disabled);
    assert_string_equal(again.list[0]->alias, "alias/data");
    assert_int_equal(EVP_PKEY_eq(again.list[1]->pair, pair->pair), 1);
    assert_string_equal(again.list[1]->spec->name, "ECC_NIST_P256");
    sim_keys_release(&keys);
    sim_keys_release(&again);
}

#define ENTRY(spec, usage, secret, policy)                                                        \
    "[{\"id\": \"a\", \"spec\": \"" spec "\", \"usage\": \"" usage                                \
    "\", \"created\": 1, \"disabled\": false, \"pending_deletion\": false, \"secret\": \"" secret \
    "\", \"policy\": " policy "}]"

static void test_files_that_are_none(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",
        "{}",
        "[1]",
        "[{\"id\": \"a\"}]",
        ENTRY("ROT13", "ENCRYPT_DECRYPT", "AAAA", "\"{}\""),
        ENTRY("SYMMETRIC_DEFAULT", "DANCE", "AAAA", "\"{}\""),
        ENTRY("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT", "AAAA", "\"{}\""),
    };

    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct sim_keys keys = no_keys();
        assert_int_equal(sim_file_write(directory, "keys.json", texts[i], strlen(texts[i]), &err), 0);
        assert_int_equal(sim_keys_load(&keys, directory, &err), -EBADMSG);
        sim_keys_release(&keys);
    }
}

static void test_directories_that_are_none(void **state)
{
    (void)state;
    struct sim_keys keys = no_keys();
    char name[5000];

    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    assert_int_equal(sim_keys_save(&keys, "/proc/none", &err), -ENOENT);
    assert_int_equal(sim_keys_save(&keys, name, &err), -ENAMETOOLONG);
    assert_int_equal(sim_keys_load(&keys, name, &err), -ENAMETOOLONG);
}

static void run(void *arg)
{
    struct sim_keys keys = no_keys(), again = no_keys();
    struct sim_key *key;

    (void)arg;
    if (add(&keys, "data", "alias/data", SIM_SPEC_SYMMETRIC, &key) == 0 &&
        sim_keys_save(&keys, directory, &err) == 0) {
        (void)!sim_keys_load(&again, directory, &err);
    }
    sim_keys_release(&keys);
    sim_keys_release(&again);
    ERR_clear_error();
}

static void test_what_fails(void **state)
{
    (void)state;
    assert_true(fault_loop("keys", FAULT_MEMORY | FAULT_OPEN | FAULT_WRITE, run, NULL) >= 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_specs),
        cmocka_unit_test(test_policies),
        cmocka_unit_test(test_they_are_kept),
        cmocka_unit_test(test_files_that_are_none),
        cmocka_unit_test(test_directories_that_are_none),
        cmocka_unit_test(test_what_fails),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
