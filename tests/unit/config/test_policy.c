/* Policy: who may use a listener, and what a server name leads to. */
#include "config/policy.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct config *make(const char *text)
{
    struct diags diags;
    struct config *config = NULL;
    struct text said = TEXT_INIT;
    diags_init(&diags, "test");
    if (config_parse("test", text, strlen(text), &config, &diags) != 0) {
        diags_format(&diags, &said);
        fail_msg("%s", text_string(&said));
    }
    diags_release(&diags);
    return config;
}

static void test_cid(void **state)
{
    struct config *config =
        make("version: 1\n"
             "enclaves: {c: {cid: 30}, a: {cid: 4}, b: {cid: 4294967294}, here: {cid: local}}\n");
    (void)state;
    assert_int_equal(policy_enclave_by_cid(config, 30), 0);
    assert_int_equal(policy_enclave_by_cid(config, 4), 1);
    assert_int_equal(policy_enclave_by_cid(config, 4294967294u), 2);
    assert_int_equal(policy_enclave_by_cid(config, ADDR_CID_LOCAL), 3);
    assert_int_equal(policy_enclave_by_cid(config, 5), CONFIG_NOBODY);
    assert_int_equal(policy_enclave_by_cid(config, 0), CONFIG_NOBODY);
    assert_int_equal(policy_enclave_by_cid(config, ADDR_CID_PARENT), CONFIG_NOBODY);
    assert_int_equal(policy_enclave_by_cid(config, ADDR_CID_ANY), CONFIG_NOBODY);
    config_unref(config);
    config = make("version: 1\n");
    assert_int_equal(policy_enclave_by_cid(config, 0), CONFIG_NOBODY);
    config_unref(config);
}

static void test_listener(void **state)
{
    struct config *config = make("version: 1\n"
                                 "enclaves: {a: {cid: 16}, b: {cid: 17}, c: {cid: 18}}\n"
                                 "routes: {r: {type: relay, to: \"tcp://a.example.com:443\"}}\n"
                                 "listeners:\n"
                                 "  some: {listen: \"vsock://any:1\", route: r, allow: [c, a]}\n"
                                 "  all: {listen: \"vsock://any:2\", route: r, allow: any}\n");
    const struct config_listener *some = &config->listeners[0];
    const struct config_listener *all = &config->listeners[1];
    (void)state;
    assert_int_equal(policy_listener(some, 0), REASON_NONE);
    assert_int_equal(policy_listener(some, 1), REASON_DENIED_ROUTE);
    assert_int_equal(policy_listener(some, 2), REASON_NONE);
    assert_int_equal(policy_listener(some, CONFIG_NOBODY), REASON_DENIED_ENCLAVE);
    for (int enclave = CONFIG_NOBODY; enclave < 3; enclave++) {
        assert_int_equal(policy_listener(all, enclave), REASON_NONE);
    }
    config_unref(config);
}

static void assert_route(const struct config_listener *listener, int enclave, const char *name, int route)
{
    int found = -5;
    enum reason why = policy_route(listener, enclave, name, strlen(name), &found);
    assert_int_equal(why, route >= 0 ? REASON_NONE : REASON_DENIED_ROUTE);
    assert_int_equal(found, route >= 0 ? route : -5);
}

static void test_route(void **state)
{
    struct config *config =
        make("version: 1\n"
             "enclaves: {a: {cid: 16}, b: {cid: 17}, c: {cid: 18}}\n"
             "routes:\n"
             "  kms: {type: relay, to: \"tcp://a.example.com:443\"}\n"
             "  km: {type: log}\n"
             "  kmss: {type: log}\n"
             "  z: {type: log}\n"
             "listeners:\n"
             "  f: {listen: \"vsock://any:1\", protocol: framed, allow: {c: [z, kms, km], a: [kmss]}}\n"
             "  r: {listen: \"vsock://any:2\", route: kms, allow: [a, c]}\n");
    const struct config_listener *framed = &config->listeners[0];
    char longest[CONFIG_NAME_MAX + 2];
    int found;
    (void)state;
    assert_int_equal(policy_listener(framed, 0), REASON_NONE);
    assert_int_equal(policy_listener(framed, 1), REASON_DENIED_ROUTE);
    assert_int_equal(policy_listener(framed, CONFIG_NOBODY), REASON_DENIED_ENCLAVE);
    assert_route(framed, 2, "kms", 0);
    assert_route(framed, 2, "km", 1);
    assert_route(framed, 2, "z", 3);
    assert_route(framed, 0, "kmss", 2);
    /* What is not there and what is not for this enclave are told in one word. */
    assert_route(framed, 2, "kmss", -1);
    assert_route(framed, 0, "kms", -1);
    assert_route(framed, 1, "kms", -1);
    assert_route(framed, CONFIG_NOBODY, "kms", -1);
    assert_route(framed, 2, "k", -1);
    assert_route(framed, 2, "kmsss", -1);
    assert_route(framed, 2, "KMS", -1);
    assert_route(framed, 2, "", -1);
    assert_route(framed, 2, "zz", -1);
    assert_route(&config->listeners[1], 0, "kms", -1);
    /* Names are not terminated, and may hold or be anything. */
    assert_int_equal(policy_route(framed, 2, "kmsxyz", 3, &found), REASON_NONE);
    assert_int_equal(policy_route(framed, 2, "kms\0", 4, &found), REASON_DENIED_ROUTE);
    assert_int_equal(policy_route(framed, 2, "\0", 1, &found), REASON_DENIED_ROUTE);
    memset(longest, 'z', sizeof longest);
    assert_int_equal(policy_route(framed, 2, longest, CONFIG_NAME_MAX + 1, &found), REASON_DENIED_ROUTE);
    assert_int_equal(policy_route(framed, 2, longest, CONFIG_NAME_MAX, &found), REASON_DENIED_ROUTE);
    config_unref(config);
}

static const char sni_config[] = "version: 1\n"
                                 "routes:\n"
                                 "  r:\n"
                                 "    type: relay\n"
                                 "    to: sni\n"
                                 "    sni:\n"
                                 "    - '*.example.com'\n"
                                 "    - Exact.Example.com\n"
                                 "    - '*.deep.example.com'\n"
                                 "    - exact.deep.example.com\n"
                                 "    - example.org\n"
                                 "    - '*.x_y.net'\n"
                                 "    - '*.com.example'\n"
                                 "    - localhost\n";

static void test_sni(void **state)
{
    static const struct {
        const char *name;
        const char *pattern; /* NULL: refused */
    } cases[] = {
        /* The name itself, in either case, with or without the final dot. */
        {"exact.example.com", "exact.example.com"},
        {"EXACT.example.COM", "exact.example.com"},
        {"exact.example.com.", "exact.example.com"},
        {"example.org", "example.org"},
        {"localhost", "localhost"},
        /* A wildcard: one label or more, never none. */
        {"a.example.com", "*.example.com"},
        {"A.EXAMPLE.COM.", "*.example.com"},
        {"a.b.example.com", "*.example.com"},
        {"a.b.c.d.e.f.g.example.com", "*.example.com"},
        {"a.exact.example.com", "*.example.com"},
        {"example.com", NULL},
        {"example.com.", NULL},
        {"x_y.net", NULL},
        {"a_b.x_y.net", "*.x_y.net"},
        /* The longest wildcard first, the exact name before any. */
        {"a.deep.example.com", "*.deep.example.com"},
        {"a.b.deep.example.com", "*.deep.example.com"},
        {"exact.deep.example.com", "exact.deep.example.com"},
        {"a.exact.deep.example.com", "*.deep.example.com"},
        {"deep.example.com", "*.example.com"},
        /* Whole labels only. */
        {"notexample.com", NULL},
        {"a.notexample.com", NULL},
        {"example.com.evil.net", NULL},
        {"a.example.org", NULL},
        {"example.orgs", NULL},
        {"example.or", NULL},
        {"com.example", NULL},
        {"a.com.example", "*.com.example"},
        /* What is no host name matches nothing, even where the letters fit. */
        {"", NULL},
        {".", NULL},
        {"..", NULL},
        {".example.com", NULL},
        {"a..example.com", NULL},
        {"a.example.com..", NULL},
        {"*.example.com", NULL},
        {"*", NULL},
        {"a b.example.com", NULL},
        {"a/b.example.com", NULL},
        {"a\xc3\xa9.example.com", NULL},
        {"example.com:443", NULL},
        {"10.0.0.1", NULL},
        {"10.0.0.1.", NULL},
        {"[::1]", NULL},
        {"::1", NULL},
        {"0x7f000001", NULL},
    };
    struct config *config = make(sni_config);
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        const struct config_sni *found = policy_sni(&config->routes[0], cases[i].name);
        const char *pattern = found != NULL ? found->pattern : NULL;
        if ((pattern == NULL) != (cases[i].pattern == NULL) ||
            (pattern != NULL && strcmp(pattern, cases[i].pattern) != 0)) {
            fail_msg("\"%s\" matches %s and not %s", cases[i].name, pattern != NULL ? pattern : "nothing",
                     cases[i].pattern != NULL ? cases[i].pattern : "nothing");
        }
    }
    config_unref(config);
}

/* 253 bytes is the longest name; with the final dot it has 254, and one more is too long either way. */
static void test_sni_length(void **state)
{
    char name[300];
    struct config *config = make(sni_config);
    (void)state;
    memset(name, 'a', sizeof name);
    for (size_t i = 60; i < sizeof name; i += 61) {
        name[i] = '.';
    }
    snprintf(name + 241, sizeof name - 241, ".example.com");
    assert_int_equal(strlen(name), 253);
    assert_non_null(policy_sni(&config->routes[0], name));
    snprintf(name + 241, sizeof name - 241, ".example.com.");
    assert_non_null(policy_sni(&config->routes[0], name));
    snprintf(name + 241, sizeof name - 241, "a.example.com");
    assert_null(policy_sni(&config->routes[0], name));
    snprintf(name + 241, sizeof name - 241, "aa.example.com");
    assert_null(policy_sni(&config->routes[0], name));
    config_unref(config);
}

static void test_sni_none(void **state)
{
    struct config_route route = {.name = "r"};
    (void)state;
    assert_null(policy_sni(&route, "a.example.com"));
    assert_null(policy_sni(&route, ""));
}

static void test_sni_map(void **state)
{
    struct config *config = make("version: 1\n"
                                 "enclaves: {payroll: {cid: 16}, fraud: {cid: 17}}\n"
                                 "routes:\n"
                                 "  public:\n"
                                 "    type: relay\n"
                                 "    to:\n"
                                 "      sni:\n"
                                 "        '*.fraud.example.com': vsock://fraud:8443\n"
                                 "        pay.example.com: vsock://payroll:8444\n"
                                 "        '*.example.com': tcp://127.0.0.1:1\n");
    const struct config_route *route = &config->routes[0];
    (void)state;
    assert_int_equal(route->to_kind, CONFIG_TO_SNI_MAP);
    assert_int_equal(policy_sni(route, "pay.example.com")->to.cid, 16);
    assert_int_equal(policy_sni(route, "pay.example.com")->to.port, 8444);
    assert_int_equal(policy_sni(route, "a.fraud.example.com")->to.cid, 17);
    assert_int_equal(policy_sni(route, "a.fraud.example.com")->to.port, 8443);
    assert_false(policy_sni(route, "a.fraud.example.com")->to.cid_by_name);
    assert_int_equal(policy_sni(route, "fraud.example.com")->to.kind, ADDR_TCP);
    assert_null(policy_sni(route, "example.com"));
    config_unref(config);
}

/* Thousands of patterns, each found among all the others, and quickly. */
static void test_sni_many(void **state)
{
    enum { COUNT = 5000 };
    struct text text = TEXT_INIT;
    char name[64];
    (void)state;
    text_add(&text, "version: 1\nroutes:\n  r:\n    type: relay\n    to: sni\n    sni:\n");
    for (unsigned i = 0; i < COUNT; i++) {
        text_addf(&text, "    - '*.h%u.example.com'\n    - h%u.example.com\n", i, i);
    }
    struct config *config = make(text_string(&text));
    assert_int_equal(config->routes[0].sni_count, 2 * COUNT);
    for (unsigned i = 0; i < COUNT; i++) {
        snprintf(name, sizeof name, "h%u.example.com", i);
        assert_string_equal(policy_sni(&config->routes[0], name)->pattern, name);
        snprintf(name, sizeof name, "a.b.h%u.example.com", i);
        assert_string_equal(policy_sni(&config->routes[0], name)->pattern + 2, name + 4);
    }
    assert_null(policy_sni(&config->routes[0], "h5000.example.com"));
    config_unref(config);
    text_release(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cid),        cmocka_unit_test(test_listener), cmocka_unit_test(test_sni),
        cmocka_unit_test(test_sni_length), cmocka_unit_test(test_sni_none), cmocka_unit_test(test_sni_map),
        cmocka_unit_test(test_sni_many),   cmocka_unit_test(test_route),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
