/* What a route lets requests ask for. */
#include "fault.h"
#include "http/policy.h"
#include <errno.h>
#include <llhttp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static enum http_refusal ask(const struct http_policy *policy, unsigned method, const char *path,
                             const char *type)
{
    struct http_target target;
    struct http_span span = http_span_of(type != NULL ? type : "");
    struct http_asked asked = {.method = method, .target = &target, .type = type != NULL ? &span : NULL};
    enum http_refusal why = http_target_read(&target, http_span_of(path), false, HTTP_FORM_ORIGIN);
    assert_int_equal(why, HTTP_REFUSED_NONE);
    why = http_policy_judge(policy, &asked);
    http_target_release(&target);
    return why;
}

static void an_empty_policy_allows_all(void **state)
{
    (void)state;
    struct http_policy policy;
    http_policy_init(&policy);
    assert_int_equal(ask(&policy, HTTP_DELETE, "/a?b", "x/y"), HTTP_REFUSED_NONE);
    http_policy_release(&policy);
}

static void methods(void **state)
{
    (void)state;
    struct http_policy policy;
    struct text text = TEXT_INIT;
    http_policy_init(&policy);
    assert_int_equal(http_policy_add_method(&policy, "PUT", NULL), 0);
    assert_int_equal(http_policy_add_method(&policy, "POST", NULL), 0);
    assert_int_equal(http_policy_add_method(&policy, "SOURCE", NULL), 0);
    assert_int_equal(ask(&policy, HTTP_PUT, "/", NULL), HTTP_REFUSED_NONE);
    assert_int_equal(ask(&policy, HTTP_GET, "/", NULL), HTTP_REFUSED_DENIED_METHOD);
    assert_int_equal(ask(&policy, HTTP_DELETE, "/", NULL), HTTP_REFUSED_DENIED_METHOD);
    assert_int_equal(ask(&policy, 64, "/", NULL), HTTP_REFUSED_DENIED_METHOD);
    http_policy_tell_methods(&policy, &text);
    assert_string_equal(text_string(&text), "POST, PUT, SOURCE");
    text_release(&text);
    static const char *const bad[] = {"", "put", "PUT ", "FROBNICATE", "CONNECT", "TRACE", "PRI", "ANNOUNCE"};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct error err = ERROR_INIT;
        assert_int_equal(http_policy_add_method(&policy, bad[i], &err), -EINVAL);
        assert_true(err.text[0] != '\0');
    }
    http_policy_release(&policy);
}

static void paths(void **state)
{
    (void)state;
    struct http_policy policy;
    http_policy_init(&policy);
    assert_int_equal(http_policy_add_path(&policy, "/up%6coad", NULL), 0);
    assert_int_equal(http_policy_add_path(&policy, "/dir/", NULL), 0);
    static const struct {
        const char *path;
        bool allowed;
    } samples[] = {
        {"/upload", true},   {"/upload/", true}, {"/upload/a", true}, {"/u%70load", true},
        {"/uploads", false}, {"/uploa", false},  {"/", false},        {"/dir", false},
        {"/dir/", true},     {"/dir/a", true},   {"/UPLOAD", false},  {"/x/upload", false},
        {"/upload?x", true},
    };
    for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
        assert_int_equal(ask(&policy, HTTP_GET, samples[i].path, NULL),
                         samples[i].allowed ? HTTP_REFUSED_NONE : HTTP_REFUSED_DENIED_PATH);
    }
    static const char *const bad[] = {"", "a", "/a/../b", "//", "/a%2fb", "/a b", "/%", "/a?b", "/\xc3\xa4"};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        assert_int_equal(http_policy_add_path(&policy, bad[i], NULL), -EINVAL);
    }
    http_policy_release(&policy);
}

static void queries(void **state)
{
    (void)state;
    struct http_policy policy;
    http_policy_init(&policy);
    policy.query = HTTP_QUERY_NONE;
    assert_int_equal(ask(&policy, HTTP_GET, "/a", NULL), HTTP_REFUSED_NONE);
    assert_int_equal(ask(&policy, HTTP_GET, "/a?", NULL), HTTP_REFUSED_DENIED_QUERY);
    assert_int_equal(ask(&policy, HTTP_GET, "/a?b=c", NULL), HTTP_REFUSED_DENIED_QUERY);
    assert_int_equal(http_policy_add_parameter(&policy, "part", NULL), 0);
    assert_int_equal(http_policy_add_parameter(&policy, "id", NULL), 0);
    static const struct {
        const char *path;
        bool allowed;
    } samples[] = {
        {"/a", true},
        {"/a?part=1", true},
        {"/a?id", true},
        {"/a?part=1&id=x=y%20", true},
        {"/a?", false},
        {"/a?part=1&", false},
        {"/a?&part", false},
        {"/a?part=1&other=2", false},
        {"/a?%70art=1", false},
        {"/a?Part=1", false},
        {"/a?part=1;other", false},
        {"/a?part=1;id=2", false},
        {"/a?=1", false},
        {"/a?part&id?other", false},
    };
    for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
        assert_int_equal(ask(&policy, HTTP_GET, samples[i].path, NULL),
                         samples[i].allowed ? HTTP_REFUSED_NONE : HTTP_REFUSED_DENIED_QUERY);
    }
    assert_int_equal(http_policy_add_parameter(&policy, "", NULL), -EINVAL);
    assert_int_equal(http_policy_add_parameter(&policy, "a=b", NULL), -EINVAL);
    http_policy_release(&policy);
}

static void types(void **state)
{
    (void)state;
    struct http_policy policy;
    http_policy_init(&policy);
    assert_int_equal(http_policy_add_type(&policy, "application/json", NULL), 0);
    assert_int_equal(http_policy_add_type(&policy, "image/*", NULL), 0);
    static const struct {
        const char *type;
        bool allowed;
    } samples[] = {
        {NULL, true},
        {"application/json", true},
        {"Application/JSON ; charset=utf-8", true},
        {"image/png", true},
        {"IMAGE/x;y=z", true},
        {"image/", false},
        {"image", false},
        {"imagex/png", false},
        {"application/jsonx", false},
        {"", false},
        {"text/plain", false},
        {"text/plain;application/json", false},
        /* There are those who take the last of several types, and those who look no further than for a blank. */
        {"image/png, text/html", false},
        {"image/png,text/html", false},
        {"image/png text/html", false},
        {"image/png/html", false},
        {"application/json; a=b, text/html", false},
        {"application/json; a=\"b\", text/html", false},
        {"application/json; a=\"b, text/html", false},
        {"application/json; a=\"b\\\", text/html", false},
        {"application/json; a=\"b, \\\" c\"", true},
        {"image/mp4; codecs=\"a, b\";", true},
    };
    for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
        assert_int_equal(ask(&policy, HTTP_POST, "/", samples[i].type),
                         samples[i].allowed ? HTTP_REFUSED_NONE : HTTP_REFUSED_DENIED_TYPE);
    }
    static const char *const bad[] = {"", "a", "/", "a/", "/b", "a/b/c", "a b/c", "a/b;c"};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        assert_int_equal(http_policy_add_type(&policy, bad[i], NULL), -EINVAL);
    }
    http_policy_release(&policy);
}

static void run(void *arg)
{
    struct http_policy policy;
    (void)arg;
    http_policy_init(&policy);
    int r = http_policy_add_path(&policy, "/a", NULL);
    assert_true(r == 0 || r == -ENOMEM);
    r = http_policy_add_type(&policy, "a/b", NULL);
    assert_true(r == 0 || r == -ENOMEM);
    http_policy_release(&policy);
}

static void memory_fails(void **state)
{
    (void)state;
    assert_true(fault_loop("http policy", FAULT_MEMORY, run, NULL) >= 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_policy_allows_all),
        cmocka_unit_test(methods),
        cmocka_unit_test(paths),
        cmocka_unit_test(queries),
        cmocka_unit_test(types),
        cmocka_unit_test(memory_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
