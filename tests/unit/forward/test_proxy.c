/* Whom a proxy leads where: what stands in `hosts`, by the port that a URL means. */
#include "forward/proxy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

/* Sorted. */
static struct config_host hosts[] = {
    {.pattern = "*.wild.test", .port = 8080}, {.pattern = "192.0.2.1", .port = 80},
    {.pattern = "2001:db8::1", .port = 80},   {.pattern = "api.test", .port = 80},
    {.pattern = "tls.test", .port = 443},
};

static const struct config_route route = {.type = CONFIG_CONNECT,
                                          .hosts = hosts,
                                          .host_count = ARRAY_SIZE(hosts)};

static enum http_refusal lead(const char *url, struct exchange_plain **ret)
{
    struct http_target target;
    struct http_span text = {.data = url, .size = strlen(url)};
    assert_int_equal(http_target_read(&target, text, false, HTTP_FORM_ABSOLUTE), HTTP_REFUSED_NONE);
    enum http_refusal why = proxy_lead(&route, &target, ret);
    http_target_release(&target);
    return why;
}

static void test_where_it_leads(void **state)
{
    static const struct {
        const char *url, *host, *authority;
        unsigned port;
    } cases[] = {
        {"http://api.test/a?b", "api.test", "api.test", 80},
        {"HTTP://API.Test:80", "api.test", "API.Test:80", 80},
        {"http://a.b.wild.test:8080/", "a.b.wild.test", "a.b.wild.test:8080", 8080},
        {"http://192.0.2.1/", "192.0.2.1", "192.0.2.1", 80},
        {"http://[2001:DB8:0::1]/", "2001:db8::1", "[2001:DB8:0::1]", 80},
        {"http://tls.test:443/", "tls.test", "tls.test:443", 443},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct exchange_plain *plain;
        assert_int_equal(lead(cases[i].url, &plain), HTTP_REFUSED_NONE);
        assert_int_equal(plain->to.kind, ADDR_TCP);
        assert_string_equal(plain->to.host, cases[i].host);
        assert_int_equal(plain->to.port, cases[i].port);
        assert_string_equal(plain->authority, cases[i].authority);
        free(plain);
    }
}

static void test_where_it_does_not(void **state)
{
    static const struct {
        const char *url;
        enum http_refusal why;
    } cases[] = {
        {"http://tls.test/", HTTP_REFUSED_DENIED_HOST},
        {"http://api.test:8080/", HTTP_REFUSED_DENIED_HOST},
        {"http://wild.test:8080/", HTTP_REFUSED_DENIED_HOST},
        {"http://a.wild.test/", HTTP_REFUSED_DENIED_HOST},
        {"http://evil.test/", HTTP_REFUSED_DENIED_HOST},
        {"http://192.0.2.2/", HTTP_REFUSED_DENIED_HOST},
        {"http://3221225985/", HTTP_REFUSED_DENIED_HOST}, /* 192.0.2.1, to some */
        {"https://tls.test:443/", HTTP_REFUSED_TARGET_FORM},
        {"https://evil.test/", HTTP_REFUSED_TARGET_FORM},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct exchange_plain *plain;
        assert_string_equal(http_refusal_word(lead(cases[i].url, &plain)), http_refusal_word(cases[i].why));
        assert_null(plain);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_where_it_leads),
        cmocka_unit_test(test_where_it_does_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
