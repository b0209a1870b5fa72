/* Ciphertexts: bound to their key and their context, and opened only whole and unchanged. */
#include "sim/blob.h"

#include "fault.h"
#include <errno.h>
#include <openssl/err.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const uint8_t key[SIM_BLOB_KEY] = {1}, other[SIM_BLOB_KEY] = {2};
static const struct sim_context none;
static const struct sim_context tenant = {.names = {"tenant"}, .values = {"a"}, .count = 1};

static struct sim_bytes sealed(const struct sim_context *context)
{
    struct sim_bytes blob;

    assert_int_equal(sim_blob_seal(key, "the-key", context, "secret", 6, &blob), 0);
    return blob;
}

static void assert_refused(const uint8_t with[SIM_BLOB_KEY], const struct sim_context *context,
                           const struct sim_bytes *blob)
{
    struct sim_bytes plain;

    assert_int_equal(sim_blob_open(with, context, blob, &plain), -EBADMSG);
}

static void test_there_and_back(void **state)
{
    (void)state;
    struct sim_bytes blob = sealed(&tenant), plain;
    char id[SIM_BLOB_ID];

    assert_true(sim_blob_key_id(&blob, id));
    assert_string_equal(id, "the-key");
    assert_int_equal(sim_blob_open(key, &tenant, &blob, &plain), 0);
    assert_int_equal(plain.size, 6);
    assert_memory_equal(plain.data, "secret", 6);
    sim_bytes_release(&plain);
    assert_refused(other, &tenant, &blob);
    assert_refused(key, &none, &blob);
    sim_bytes_release(&blob);
}

/* Moving a byte from a name to its value, or to the next pair, is another context. */
static void test_contexts_are_told_apart(void **state)
{
    (void)state;
    static const struct sim_context contexts[] = {
        {.names = {"tenan"}, .values = {"ta"}, .count = 1},
        {.names = {"tenanta"}, .values = {""}, .count = 1},
        {.names = {"tenant", ""}, .values = {"a", ""}, .count = 2},
        {.names = {"tenant"}, .values = {"A"}, .count = 1},
        {.count = 0},
    };
    struct sim_bytes blob = sealed(&tenant);

    for (size_t i = 0; i < sizeof contexts / sizeof *contexts; i++) {
        assert_refused(key, &contexts[i], &blob);
    }
    sim_bytes_release(&blob);
}

static void test_every_change_and_truncation(void **state)
{
    (void)state;
    struct sim_bytes blob = sealed(&none);
    size_t whole = blob.size;

    for (size_t i = 0; i < 8 * whole; i++) {
        blob.data[i / 8] ^= (uint8_t)(1u << i % 8);
        assert_refused(key, &none, &blob);
        blob.data[i / 8] ^= (uint8_t)(1u << i % 8);
    }
    for (blob.size = 0; blob.size < whole; blob.size++) {
        assert_refused(key, &none, &blob);
    }
    sim_bytes_release(&blob);
}

static void test_names_of_keys(void **state)
{
    (void)state;
    char id[SIM_BLOB_ID];
    uint8_t data[200] = "PSIM\x01";
    struct sim_bytes blob = {data, sizeof data};

    data[5] = 0;
    assert_false(sim_blob_key_id(&blob, id));
    data[5] = SIM_BLOB_ID;
    assert_false(sim_blob_key_id(&blob, id));
    data[5] = SIM_BLOB_ID - 1;
    assert_true(sim_blob_key_id(&blob, id));
    data[4] = 2;
    assert_false(sim_blob_key_id(&blob, id));
}

static void test_contexts_out_of_requests(void **state)
{
    (void)state;
    struct sim_context context;
    struct sim_kms_error error = {.type = NULL};
    json_t *object = json_pack("{s:s, s:s}", "b", "2", "a", "1"), *wrong = json_pack("{s:i}", "a", 1);

    assert_int_equal(sim_context_read(object, &context, &error), 0);
    assert_int_equal(context.count, 2);
    assert_string_equal(context.names[0], "a");
    assert_string_equal(context.values[1], "2");
    assert_int_equal(sim_context_read(NULL, &context, &error), 0);
    assert_int_equal(context.count, 0);
    assert_int_equal(sim_context_read(json_null(), &context, &error), 0);
    assert_int_equal(sim_context_read(wrong, &context, &error), -EACCES);
    assert_string_equal(error.type, "SerializationException");
    assert_int_equal(sim_context_read(json_true(), &context, &error), -EACCES);
    assert_string_equal(error.type, "ValidationException");
    json_decref(object);
    json_decref(wrong);
}

static void run(void *arg)
{
    struct sim_bytes blob, plain;

    (void)arg;
    if (sim_blob_seal(key, "the-key", &tenant, "secret", 6, &blob) == 0) {
        if (sim_blob_open(key, &tenant, &blob, &plain) == 0) {
            sim_bytes_release(&plain);
        }
        sim_bytes_release(&blob);
    }
    ERR_clear_error();
}

static void test_out_of_memory(void **state)
{
    (void)state;
    assert_true(fault_loop("blob", FAULT_MEMORY, run, NULL) >= 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_there_and_back),
        cmocka_unit_test(test_contexts_are_told_apart),
        cmocka_unit_test(test_every_change_and_truncation),
        cmocka_unit_test(test_names_of_keys),
        cmocka_unit_test(test_contexts_out_of_requests),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
