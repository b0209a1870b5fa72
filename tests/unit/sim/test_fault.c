/* What is to go wrong: read, used up, and forgotten. */
#include "sim/fault.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static struct sim_faults faults;
static struct error err;

static int add(const char *text)
{
    json_error_t why;
    json_t *object = json_loads(text, 0, &why);

    assert_non_null(object);
    int rv = sim_faults_add(&faults, object, &err);
    json_decref(object);
    return rv;
}

static int setup(void **state)
{
    (void)state;
    return sim_faults_init(&faults);
}

static int teardown(void **state)
{
    (void)state;
    sim_faults_release(&faults);
    return 0;
}

static void test_they_are_used_up(void **state)
{
    (void)state;
    assert_int_equal(add("{\"fault\": \"throttle\", \"operation\": \"Decrypt\", \"count\": 2}"), 0);
    assert_int_equal(add("{\"fault\": \"close\"}"), 0);
    assert_int_equal(sim_faults_take(&faults, "Encrypt").kind, SIM_FAULT_CLOSE);
    assert_int_equal(sim_faults_take(&faults, "Encrypt").kind, SIM_FAULT_NONE);
    struct sim_fault fault = sim_faults_take(&faults, "Decrypt");
    assert_int_equal(fault.kind, SIM_FAULT_ERROR);
    assert_string_equal(fault.name, "ThrottlingException");
    assert_int_equal(sim_faults_take(&faults, "Decrypt").kind, SIM_FAULT_ERROR);
    assert_int_equal(sim_faults_take(&faults, "Decrypt").kind, SIM_FAULT_NONE);
}

static void test_they_are_forgotten(void **state)
{
    (void)state;
    assert_int_equal(add("{\"fault\": \"slow\", \"delay_ms\": 5, \"count\": 100}"), 0);
    assert_int_equal(sim_faults_take(&faults, "Decrypt").delay_ms, 5);
    sim_faults_clear(&faults);
    assert_int_equal(sim_faults_take(&faults, "Decrypt").kind, SIM_FAULT_NONE);
}

static void test_there_is_an_end_of_them(void **state)
{
    (void)state;
    for (unsigned i = 0; i < SIM_FAULTS_MAX; i++) {
        assert_int_equal(add("{\"fault\": \"half\"}"), 0);
    }
    assert_int_equal(add("{\"fault\": \"half\"}"), -ENOSPC);
}

static void test_what_is_none(void **state)
{
    (void)state;
    static const char *const texts[] = {"{}",
                                        "[]",
                                        "{\"fault\": \"sunshine\"}",
                                        "{\"fault\": \"error\"}",
                                        "{\"fault\": \"slow\", \"count\": 0}",
                                        "{\"fault\": \"slow\", \"delay_ms\": -1}",
                                        "{\"fault\": \"slow\", \"delay_ms\": 99999999}",
                                        "{\"fault\": \"slow\", \"status\": 600}",
                                        "{\"fault\": \"slow\", \"status\": -1}",
                                        "{\"fault\": \"slow\", \"more\": 1}",
                                        "{\"fault\": 1}"};

    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        assert_int_equal(add(texts[i]), -EINVAL);
        assert_memory_equal(err.text, "a fault: ", 9);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_they_are_used_up, setup, teardown),
        cmocka_unit_test_setup_teardown(test_they_are_forgotten, setup, teardown),
        cmocka_unit_test_setup_teardown(test_there_is_an_end_of_them, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_is_none, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
