/* Rules: bound to their counters, shared, and gone with the last who held them. */
#include "daemon/rules.h"

#include "daemon_bench.h"
#include "fault.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static const char yaml[] = "version: 1\n"
                           "enclaves: {a: {cid: 16}, b: {cid: 17}}\n"
                           "listeners: {l: {listen: \"vsock://any:1\", route: %s, allow: [a]}}\n"
                           "routes: {%s: {type: relay, to: \"vsock://a:1\"}, other: {type: relay, to: "
                           "\"vsock://b:1\"}}\n";

static void test_counters_live_longer_than_rules(void **state)
{
    struct counters counters;
    (void)state;
    counters_init(&counters);
    struct rules *first = daemon_rules(&counters, daemon_config(yaml, "one", "one"));
    counter_add(&first->routes[0]->accepted, 7);
    struct rules *second = daemon_rules(&counters, daemon_config(yaml, "two", "two"));
    assert_ptr_not_equal(first->routes[0], second->routes[0]);
    assert_ptr_equal(first->routes[1], second->routes[1]);
    assert_ptr_equal(first->enclaves[0], second->enclaves[0]);
    assert_ptr_equal(rules_enclave(first, 1), first->enclaves[1]);
    assert_ptr_equal(rules_enclave(first, CONFIG_NOBODY), rules_enclave(second, CONFIG_NOBODY));
    assert_string_equal(rules_enclave(first, CONFIG_NOBODY)->name, "");
    rules_unref(rules_ref(first));
    rules_unref(first);
    struct rules *third = daemon_rules(&counters, daemon_config(yaml, "one", "one"));
    assert_int_equal(counter_get(&third->routes[0]->accepted), 7); /* it goes on counting */
    rules_unref(second);
    rules_unref(third);
    rules_unref(NULL);
    counters_release(&counters);
}

static struct config *config;

static void make(void *arg)
{
    struct counters counters;
    (void)arg;
    counters_init(&counters);
    rules_unref(
        rules_new(config_ref(config), &counters)); /* the reference is taken over, whatever is returned */
    counters_release(&counters);
}

static void test_faults(void **state)
{
    (void)state;
    config = daemon_config(yaml, "one", "one");
    assert_int_equal(fault_loop("rules", FAULT_MEMORY, make, NULL), 4 + 2 + 3 + 1);
    config_unref(config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counters_live_longer_than_rules),
        cmocka_unit_test(test_faults),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
