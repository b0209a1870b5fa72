/* The configuration of forward and connect routes and of the spool: that every value arrives where it belongs. */
#include "config/config.h"
#include "config/policy.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct config *finish(int r, struct config *config, struct diags *diags)
{
    struct text said = TEXT_INIT;
    if (r != 0) {
        diags_format(diags, &said);
        fail_msg("%s", text_string(&said));
    }
    diags_release(diags);
    return config;
}

static struct config *load(const char *path)
{
    struct diags diags;
    struct config *config = NULL;
    diags_init(&diags, path);
    int r = config_load(path, &config, &diags);
    return finish(r, config, &diags);
}

static struct config *make(const char *text)
{
    struct diags diags;
    struct config *config = NULL;
    diags_init(&diags, "test");
    int r = config_parse("test", text, strlen(text), &config, &diags);
    return finish(r, config, &diags);
}

static int setup(void **state)
{
    *state = load(TEST_DATA "/good/http.yaml");
    return 0;
}

static int teardown(void **state)
{
    config_unref(*state);
    return 0;
}

static const struct config_route *route_named(const struct config *config, const char *name)
{
    for (unsigned i = 0; i < config->route_count; i++) {
        if (strcmp(config->routes[i].name, name) == 0) {
            return &config->routes[i];
        }
    }
    fail_msg("no route %s", name);
    abort();
}

static void assert_addr(const struct addr *addr, const char *text)
{
    char buffer[ADDR_TEXT_MAX];
    assert_string_equal(addr_format(addr, buffer), text);
}

static void test_url(void **state)
{
    static const struct {
        const char *route, *to, *authority, *server_name, *base_path;
        bool tls;
    } cases[] = {
        {"results", "tcp://results.example.com:443", "results.example.com", "results.example.com", "/v1",
         true},
        {"archive", "tcp://bucket.s3.us-east-1.amazonaws.com:443", "bucket.s3.us-east-1.amazonaws.com",
         "bucket.s3.us-east-1.amazonaws.com", "", true},
        {"queue", "tcp://[::1]:9324", "[::1]:9324", "::1", "", false},
        {"plain", "tcp://127.0.0.1:80", "127.0.0.1", "127.0.0.1", "", false},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        const struct config_route *route = route_named(*state, cases[i].route);
        assert_int_equal(route->type, CONFIG_FORWARD);
        assert_int_equal(route->to_kind, CONFIG_TO_ADDRESS);
        assert_addr(&route->to, cases[i].to);
        assert_string_equal(route->forward->authority, cases[i].authority);
        assert_string_equal(route->forward->server_name, cases[i].server_name);
        assert_string_equal(route->forward->base_path, cases[i].base_path);
        assert_int_equal(route->forward->tls, cases[i].tls);
    }
}

static void assert_words(const struct http_words *words, const char *first, const char *second)
{
    assert_int_equal(words->count, 2);
    assert_string_equal(words->list[0], first);
    assert_string_equal(words->list[1], second);
}

static void assert_header(const struct config_forward *forward, const char *name,
                          enum http_header_action action)
{
    struct http_folded folded;
    http_fold(http_span_of(name), &folded);
    assert_int_equal(http_header_rules_find(&forward->rules.headers, &folded), action);
}

static void test_rules(void **state)
{
    const struct config_forward *forward = route_named(*state, "results")->forward;
    struct text methods = TEXT_INIT;
    http_policy_tell_methods(&forward->rules.policy, &methods);
    assert_string_equal(text_string(&methods), "POST, PUT");
    text_release(&methods);
    assert_words(&forward->rules.policy.paths, "/a/", "/bA");
    assert_int_equal(forward->rules.policy.query, HTTP_QUERY_NAMES);
    assert_words(&forward->rules.policy.parameters, "page", "size");
    assert_words(&forward->rules.policy.types, "application/json", "image/*");
    assert_header(forward, "AUTHORIZATION", HTTP_HEADER_SET);
    assert_header(forward, "x-enclave", HTTP_HEADER_SET);
    assert_header(forward, "x-five", HTTP_HEADER_SET);
    assert_header(forward, "via", HTTP_HEADER_ADD);
    assert_header(forward, "x-internal", HTTP_HEADER_REMOVE);
    assert_header(forward, "x-other", HTTP_HEADER_NONE);
    assert_int_equal(route_named(*state, "queue")->forward->rules.policy.query, HTTP_QUERY_NONE);
}

static void test_limits(void **state)
{
    const struct config_route *route = route_named(*state, "results");
    const struct config_forward *forward = route->forward;
    assert_int_equal(forward->rules.limits.head.bytes, 16 * 1024);
    assert_int_equal(forward->rules.limits.head.fields, 50);
    assert_int_equal(forward->rules.limits.head.target, 1024);
    assert_int_equal(forward->rules.limits.body, 1024 * 1024);
    assert_int_equal(forward->head_timeout_ms, 5000);
    assert_int_equal(forward->response_timeout_ms, 30000);
    assert_int_equal(forward->max_idle, 0);
    assert_int_equal(forward->keep_ms, 10000);
    assert_int_equal(route->connect_timeout_ms, 1000);
    assert_int_equal(route->idle_timeout_ms, 60000);
    assert_int_equal(route->family, AF_INET);
    assert_int_equal(route->max_streams, 5);
    assert_true(route->allow_private);
    assert_string_equal(forward->ca_file, "/etc/ca.pem");
    assert_string_equal(forward->cert_file, "/etc/cert.pem");
    assert_string_equal(forward->key_file, "/etc/key.pem");
}

static void test_defaults(void **state)
{
    const struct config_forward *forward = route_named(*state, "plain")->forward;
    assert_int_equal(forward->rules.limits.head.bytes, 32 * 1024);
    assert_int_equal(forward->rules.limits.head.fields, 100);
    assert_int_equal(forward->rules.limits.head.target, 8 * 1024);
    assert_true(forward->rules.limits.body == UINT64_MAX);
    assert_int_equal(forward->rules.limits.interim, 16);
    assert_int_equal(forward->rules.forms, HTTP_FORM_ORIGIN | HTTP_FORM_ABSOLUTE);
    assert_true(forward->rules.policy.methods == 0);
    assert_int_equal(forward->rules.policy.query, HTTP_QUERY_ANY);
    assert_int_equal(forward->rules.headers.count, 0);
    assert_null(forward->ca_file);
    assert_null(forward->cert_file);
    assert_null(forward->key_file);
    assert_null(forward->sign);
    assert_int_equal(forward->delivery, CONFIG_DIRECT);
    assert_int_equal(forward->head_timeout_ms, 10000);
    assert_int_equal(forward->response_timeout_ms, 60000);
    assert_int_equal(forward->max_idle, 16);
    assert_int_equal(forward->keep_ms, 60000);
    assert_int_equal(forward->retry.attempts, 8);
    assert_int_equal(forward->in_flight, 4);
    assert_int_equal(forward->spool_max_bytes, 0);
}

static void test_sign(void **state)
{
    const struct config_sign *archive = route_named(*state, "archive")->forward->sign;
    const struct config_sign *queue = route_named(*state, "queue")->forward->sign;
    assert_string_equal(archive->service, "s3");
    assert_string_equal(archive->region, "us-east-1");
    assert_true(archive->unsigned_payload); /* S3 over TLS */
    assert_int_equal(archive->credentials, CONFIG_CREDENTIALS_FILE);
    assert_string_equal(archive->credentials_file, "/etc/aws");
    assert_string_equal(archive->profile, "payroll");
    assert_int_equal(archive->body_max, 8 * 1024 * 1024);
    assert_string_equal(queue->service, "sqs");
    assert_false(queue->unsigned_payload);
    assert_int_equal(queue->credentials, CONFIG_CREDENTIALS_AUTO);
    assert_null(queue->credentials_file);
    assert_null(queue->profile);
    assert_int_equal(queue->body_max, 1024 * 1024);
}

/* What the signature sets is the route's, not the enclave's. */
static void test_signed_headers(void **state)
{
    static const char *const names[] = {"authorization", "X-Amz-Date", "x-amz-content-sha256",
                                        "x-amz-security-token"};
    const struct config_forward *forward = route_named(*state, "queue")->forward;
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        struct http_folded folded;
        http_fold(http_span_of(names[i]), &folded);
        assert_int_equal(http_header_rules_find(&forward->rules.headers, &folded), HTTP_HEADER_REMOVE);
    }
}

/* There may be a rule already that removes one. */
static void test_signed_headers_removed(void **state)
{
    (void)state;
    struct config *config =
        make("version: 1\nroutes: {r: {type: forward, to: \"https://a.example.com\", "
             "headers: {remove: [authorization]}, sign: {aws: {service: s3, region: r}}}}\n");
    assert_int_equal(config->routes[0].forward->rules.headers.count, 4);
    config_unref(config);
}

/* Nothing vouches for a body over http but the signature. */
static void test_payload(void **state)
{
    static const struct {
        const char *scheme, *service, *payload;
        bool is_unsigned;
    } cases[] = {
        {"https", "s3", "auto", true},
        {"http", "s3", "auto", false},
        {"https", "sqs", "auto", false},
        {"https", "s3", "signed", false},
        {"http", "s3", "signed", false},
        {"https", "sqs", "unsigned", true},
        {"https", "s3express", "auto", true},
        {"https", "s3-outposts", "auto", true},
        {"https", "s3-object-lambda", "auto", true},
        {"http", "s3express", "auto", false},
        {"https", "s3tables", "auto", false},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct text text = TEXT_INIT;
        text_addf(&text,
                  "version: 1\nroutes: {r: {type: forward, to: \"%s://a.example.com\", sign: {aws: "
                  "{service: %s, region: r, payload: %s}}}}\n",
                  cases[i].scheme, cases[i].service, cases[i].payload);
        struct config *config = make(text_string(&text));
        assert_int_equal(config->routes[0].forward->sign->unsigned_payload, cases[i].is_unsigned);
        config_unref(config);
        text_release(&text);
    }
}

static void test_spool(void **state)
{
    const struct config *config = *state;
    const struct config_forward *forward = route_named(*state, "archive")->forward;
    assert_string_equal(config->spool.path, "/srv/spool");
    assert_int_equal(config->spool.max_bytes, 64 * 1024 * 1024);
    assert_int_equal(config->spool.max_enclave_bytes, 1024 * 1024);
    assert_int_equal(forward->delivery, CONFIG_SPOOL);
    assert_int_equal(forward->retry.attempts, 3);
    assert_int_equal(forward->retry.max_age_ms, 3600000);
    assert_int_equal(forward->retry.min_pause_ms, 100);
    assert_int_equal(forward->retry.max_pause_ms, 10000);
    assert_int_equal(forward->in_flight, 2);
    assert_int_equal(forward->spool_max_bytes, 1024 * 1024);
}

static void assert_host(const struct config_host *host, const char *pattern, uint16_t port)
{
    assert_string_equal(host->pattern, pattern);
    assert_int_equal(host->port, port);
}

static void test_hosts(void **state)
{
    const struct config_route *web = route_named(*state, "web");
    assert_int_equal(web->type, CONFIG_CONNECT);
    assert_null(web->forward);
    assert_int_equal(web->host_count, 5); /* sorted */
    assert_host(&web->hosts[0], "*.s3.amazonaws.com", 443);
    assert_host(&web->hosts[1], "192.0.2.1", 8443);
    assert_host(&web->hosts[2], "2001:db8::1", 443);
    assert_host(&web->hosts[3], "api.example.com", 80);
    assert_host(&web->hosts[4], "api.example.com", 443);
    assert_int_equal(web->hello_timeout_ms, 1000);
}

static const struct config_host *ask(const struct config_route *route, const char *host, uint16_t port)
{
    return policy_host(route, host, strlen(host), port);
}

static void test_policy(void **state)
{
    const struct config_route *web = route_named(*state, "web");
    char longest[ADDR_HOST_MAX + 1];
    assert_host(ask(web, "api.example.com", 443), "api.example.com", 443);
    assert_host(ask(web, "API.Example.COM", 80), "api.example.com", 80);
    assert_host(ask(web, "api.example.com.", 80), "api.example.com", 80);
    assert_null(ask(web, "api.example.com", 8080));
    assert_null(ask(web, "example.com", 443));
    assert_null(ask(web, "xapi.example.com", 443));
    assert_host(ask(web, "bucket.s3.amazonaws.com", 443), "*.s3.amazonaws.com", 443);
    assert_host(ask(web, "a.b.s3.amazonaws.com", 443), "*.s3.amazonaws.com", 443);
    assert_null(ask(web, "s3.amazonaws.com", 443));
    assert_null(ask(web, "bucket.s3.amazonaws.com", 80));
    assert_null(ask(web, "*.s3.amazonaws.com", 443));
    assert_host(ask(web, "192.0.2.1", 8443), "192.0.2.1", 8443);
    assert_null(ask(web, "192.0.2.1", 443));
    assert_null(ask(web, "192.0.2.2", 8443));
    assert_host(ask(web, "2001:0db8:0::1", 443), "2001:db8::1", 443);
    assert_null(ask(web, "", 443));
    assert_null(policy_host(web, "api.example.com\0x", 17, 443));
    memset(longest, 'a', sizeof longest);
    assert_null(policy_host(web, longest, sizeof longest, 443));
    assert_null(ask(route_named(*state, "plain"), "api.example.com", 443));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_url),
        cmocka_unit_test(test_rules),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_sign),
        cmocka_unit_test(test_signed_headers),
        cmocka_unit_test(test_signed_headers_removed),
        cmocka_unit_test(test_payload),
        cmocka_unit_test(test_spool),
        cmocka_unit_test(test_hosts),
        cmocka_unit_test(test_policy),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
