/* Rules for headers: which can be made, and which names they are found by. */
#include "fault.h"
#include "http/header_rules.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static enum http_header_action find(const struct http_header_rules *rules, const char *name)
{
    struct http_folded folded;
    http_fold(http_span_of(name), &folded);
    return http_header_rules_find(rules, &folded);
}

static void rules_are_found_by_folded_names(void **state)
{
    (void)state;
    struct http_header_rules rules;
    http_header_rules_init(&rules);
    assert_int_equal(find(&rules, "a"), HTTP_HEADER_NONE);
    assert_int_equal(http_header_rules_add(&rules, HTTP_HEADER_SET, "X-Enclave", "${enclave}", NULL), 0);
    assert_int_equal(http_header_rules_add(&rules, HTTP_HEADER_ADD, "via", "1.1 postern", NULL), 0);
    assert_int_equal(http_header_rules_add(&rules, HTTP_HEADER_REMOVE, "x-a", NULL, NULL), 0);
    static const char *const same[] = {"x-enclave",  "X-ENCLAVE",  "x_enclave",  "x.enclave",
                                       "x--enclave", "-x-enclave", "x-enclave_", "x!~enclave"};
    for (size_t i = 0; i < ARRAY_SIZE(same); i++) {
        assert_int_equal(find(&rules, same[i]), HTTP_HEADER_SET);
    }
    assert_int_equal(find(&rules, "xenclave"), HTTP_HEADER_NONE);
    assert_int_equal(find(&rules, "x-enclave-b"), HTTP_HEADER_NONE);
    assert_int_equal(find(&rules, "Via"), HTTP_HEADER_ADD);
    assert_int_equal(find(&rules, "x_a"), HTTP_HEADER_REMOVE);
    assert_int_equal(find(NULL, "x_a"), HTTP_HEADER_NONE);
    http_header_rules_release(&rules);
}

static void some_names_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *name, *value, *why;
    } samples[] = {
        {"", "v", "is no name"},
        {"a b", "v", "is no name"},
        {"a:", "v", "is no name"},
        {"a_b", "v", "is no name"},
        {"a--b", "v", "is no name"},
        {"-a", "v", "is no name"},
        {"a-", "v", "is no name"},
        {"a\xc3\xa4", "v", "is no name"},
        {"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "v", "is no name"},
        {"Host", "v", "made anew"},
        {"content-length", "v", "made anew"},
        {"Transfer-Encoding", "v", "made anew"},
        {"Connection", "v", "made anew"},
        {"proxy-authorization", "v", "made anew"},
        {"proxy-x", "v", "made anew"},
        {"upgrade", "v", "made anew"},
        {"expect", "v", "made anew"},
        {"Taken", "v", "has a rule already"},
        {"b", "${x}", "b: ${x} is no variable"},
        {"b", "a\nb", "b: a header's value"},
    };
    struct http_header_rules rules;
    http_header_rules_init(&rules);
    assert_int_equal(http_header_rules_add(&rules, HTTP_HEADER_SET, "taken", "v", NULL), 0);
    for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
        struct error err = ERROR_INIT;
        int r = http_header_rules_add(&rules, HTTP_HEADER_SET, samples[i].name, samples[i].value, &err);
        if (r != -EINVAL || strstr(err.text, samples[i].why) == NULL) {
            fail_msg("%s: %d %s, expected %s", samples[i].name, r, err.text, samples[i].why);
        }
    }
    assert_int_equal(rules.count, 1);
    http_header_rules_release(&rules);
}

static void what_stands_once_is_not_added(void **state)
{
    (void)state;
    static const char *const names[] = {"authorization", "Content-Type", "user-agent"};
    struct http_header_rules rules;
    http_header_rules_init(&rules);
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        struct error err = ERROR_INIT;
        assert_int_equal(http_header_rules_add(&rules, HTTP_HEADER_ADD, names[i], "v", &err), -EINVAL);
        assert_non_null(strstr(err.text, "expected it under `set`"));
        assert_int_equal(http_header_rules_add(&rules, HTTP_HEADER_SET, names[i], "v", &err), 0);
    }
    http_header_rules_release(&rules);
}

static void rules_have_a_bound(void **state)
{
    (void)state;
    struct http_header_rules rules;
    http_header_rules_init(&rules);
    for (unsigned i = 0; i <= HTTP_HEADER_RULES_MAX; i++) {
        char name[16];
        snprintf(name, sizeof name, "x%u", i);
        assert_int_equal(http_header_rules_add(&rules, HTTP_HEADER_REMOVE, name, NULL, NULL),
                         i < HTTP_HEADER_RULES_MAX ? 0 : -EINVAL);
    }
    http_header_rules_release(&rules);
}

static void run(void *arg)
{
    struct http_header_rules rules;
    (void)arg;
    http_header_rules_init(&rules);
    int r = http_header_rules_add(&rules, HTTP_HEADER_SET, "a", "b ${cid}", NULL);
    assert_true(r == 0 || r == -ENOMEM);
    assert_int_equal(find(&rules, "a"), r == 0 ? HTTP_HEADER_SET : HTTP_HEADER_NONE);
    http_header_rules_release(&rules);
}

static void memory_fails(void **state)
{
    (void)state;
    assert_true(fault_loop("http header rules", FAULT_MEMORY, run, NULL) >= 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rules_are_found_by_folded_names),
        cmocka_unit_test(some_names_are_refused),
        cmocka_unit_test(what_stands_once_is_not_added),
        cmocka_unit_test(rules_have_a_bound),
        cmocka_unit_test(memory_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
