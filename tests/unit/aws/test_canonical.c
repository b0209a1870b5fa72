/* Tests of aws/canonical.c: paths, queries and headers, each in the one spelling that is signed. */
#include "aws/canonical.h"

#include "fault.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const struct aws_header host = {"Host", "h"};

static struct aws_request get(const char *target)
{
    return (struct aws_request){
        .method = "GET", .target = target, .headers = &host, .header_count = 1, .payload_hash = "x"};
}

static int canonical(const struct aws_request *request, bool as_is, char *ret, size_t size)
{
    struct text out = TEXT_INIT, names = TEXT_INIT;
    struct error err = ERROR_INIT;
    int rv = aws_canonical(request, as_is, &out, &names, &err);
    assert_int_equal(rv == 0, err.text[0] == '\0');
    snprintf(ret, size, "%s", text_string(&out));
    text_release(&out);
    text_release(&names);
    return rv;
}

/* The canonical path and query of `target`, each on its line. */
static void assert_target(const char *target, bool as_is, const char *expected)
{
    char text[4096], wanted[4096];
    struct aws_request request = get(target);
    assert_int_equal(canonical(&request, as_is, text, sizeof text), 0);
    snprintf(wanted, sizeof wanted, "GET\n%s\nhost:h\n\nhost\nx", expected);
    assert_string_equal(text, wanted);
}

static void test_paths(void **state)
{
    static const char *const cases[][3] = {
        /* on the wire, for most services, for S3 */
        {"/", "/\n", "/\n"},
        {"/a/b", "/a/b\n", "/a/b\n"},
        {"/a/b/", "/a/b/\n", "/a/b/\n"},
        {"//", "/\n", "//\n"},
        {"//a///b", "/a/b\n", "//a///b\n"},
        {"/.", "/\n", "/.\n"},
        {"/./", "/\n", "/./\n"},
        {"/..", "/\n", "/..\n"},
        {"/../../a", "/a\n", "/../../a\n"},
        {"/a/..", "/\n", "/a/..\n"},
        {"/a/../", "/\n", "/a/../\n"},
        {"/a/b/..", "/a/\n", "/a/b/..\n"},
        {"/a/./b/../c", "/a/c\n", "/a/./b/../c\n"},
        {"/a/.", "/a/\n", "/a/.\n"},
        {"/...", "/...\n", "/...\n"},
        {"/.a/..b", "/.a/..b\n", "/.a/..b\n"},
        {"/a b", "/a%20b\n", "/a%20b\n"},
        {"/a%20b", "/a%2520b\n", "/a%20b\n"},
        {"/a%2fb", "/a%252fb\n", "/a/b\n"},
        {"/%e1%88%b4", "/%25e1%2588%25b4\n", "/%E1%88%B4\n"},
        {"/-._~", "/-._~\n", "/-._~\n"},
        {"/a+b=(c)", "/a%2Bb%3D%28c%29\n", "/a%2Bb%3D%28c%29\n"},
        {"/%", "/%25\n", "/%25\n"},
        {"/%4", "/%254\n", "/%254\n"},
        {"/%zz%4z", "/%25zz%254z\n", "/%25zz%254z\n"},
        {"/%00", "/%2500\n", "/%00\n"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        assert_target(cases[i][0], false, cases[i][1]);
        assert_target(cases[i][0], true, cases[i][2]);
    }
}

static void test_queries(void **state)
{
    static const char *const cases[][2] = {
        {"/?", "/\n"},
        {"/?a", "/\na="},
        {"/?a=", "/\na="},
        {"/?a=1", "/\na=1"},
        {"/?b=1&a=2", "/\na=2&b=1"},
        {"/?a=2&a=1&a", "/\na=&a=1&a=2"},
        {"/?a-b=1&a=2&ab=3", "/\na=2&a-b=1&ab=3"},
        {"/?B=1&a=2&A=3", "/\nA=3&B=1&a=2"},
        {"/?a=b=c", "/\na=b%3Dc"},
        {"/?&&a=1&", "/\na=1"},
        {"/?a=%2f%2F+/?", "/\na=%2F%2F%2B%2F%3F"},
        {"/?%61=%62", "/\na=b"},
        {"/?a=%zz%", "/\na=%25zz%25"},
        {"/?=v", "/\n=v"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        assert_target(cases[i][0], false, cases[i][1]);
        assert_target(cases[i][0], true, cases[i][1]);
    }
}

/* Names of services as signatures have them: of those with `disableDoubleEncoding` in the SDKs' endpoint rules. */
static void test_services_like_s3(void **state)
{
    static const char *const like[] = {"s3", "s3express", "s3-outposts", "s3-object-lambda"};
    static const char *const unlike[] = {"", "s", "S3", "s3tables", "s3vectors", "s3-control", "sqs"};
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(like); i++) {
        assert_true(aws_is_s3(like[i]));
    }
    for (size_t i = 0; i < ARRAY_SIZE(unlike); i++) {
        assert_false(aws_is_s3(unlike[i]));
    }
}

static void assert_headers(const struct aws_header *headers, size_t count, const char *expected)
{
    char text[4096], wanted[4096];
    struct aws_request request = get("/");
    request.headers = headers;
    request.header_count = count;
    assert_int_equal(canonical(&request, false, text, sizeof text), 0);
    snprintf(wanted, sizeof wanted, "GET\n/\n\n%s\nx", expected);
    assert_string_equal(text, wanted);
}

static void test_headers(void **state)
{
    static const struct aws_header headers[] = {
        {"Zebra", " \t striped \t  animal\t"},
        {"host", "h"},
        {"ALPHA", "2"},
        {"alpha", "1"},
        {"a-b", ""},
        {"User-Agent", "any"},
        {"TE", "trailers"},
        {"Connection", "close"},
        {"a", "\"x  y\""},
    };
    (void)state;
    assert_headers(headers, ARRAY_SIZE(headers),
                   "a:\"x y\"\na-b:\nalpha:2,1\nhost:h\nzebra:striped animal\n\na;a-b;alpha;host;zebra");
    assert_headers(NULL, 0, "\n");
}

static void test_refused(void **state)
{
    static const struct aws_header bad[] = {
        {"a", "b\r\nc: d"}, {"a", "b\nc"}, {"a", "\r"},  {"a\n", "b"}, {"a:b", "c"},
        {"a\r", ""},        {"", "b"},     {"a;b", "c"}, {"a b", "c"},
    };
    char text[4096];
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct aws_request request = get("/");
        request.headers = &bad[i];
        assert_int_equal(canonical(&request, false, text, sizeof text), -EINVAL);
    }
    static const char *const targets[] = {"", "a", "*", "http://h/", "?a"};
    for (size_t i = 0; i < ARRAY_SIZE(targets); i++) {
        struct aws_request request = get(targets[i]);
        assert_int_equal(canonical(&request, false, text, sizeof text), -EINVAL);
    }
}

static void test_bounds(void **state)
{
    static struct aws_header headers[AWS_HEADERS_MAX + 1];
    static char target[3 * AWS_PARAMETERS_MAX + 8], text[64 * 1024];
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(headers); i++) {
        headers[i] = (struct aws_header){"a", "b"};
    }
    struct aws_request request = get("/");
    request.headers = headers;
    request.header_count = AWS_HEADERS_MAX;
    assert_int_equal(canonical(&request, false, text, sizeof text), 0);
    request.header_count = AWS_HEADERS_MAX + 1;
    assert_int_equal(canonical(&request, false, text, sizeof text), -E2BIG);

    strcpy(target, "/?");
    for (size_t i = 0; i < AWS_PARAMETERS_MAX; i++) {
        strcat(target, "a&");
    }
    request = get(target);
    assert_int_equal(canonical(&request, false, text, sizeof text), 0);
    strcat(target, "a");
    assert_int_equal(canonical(&request, false, text, sizeof text), -E2BIG);
}

static void once(void *arg)
{
    struct aws_request request = get("/a/b?c=d&e=%20");
    struct text out = TEXT_INIT, names = TEXT_INIT;
    struct error err = ERROR_INIT;
    (void)arg;
    int rv = aws_canonical(&request, false, &out, &names, &err);
    assert_true(rv == 0 || rv == -ENOMEM);
    if (rv == 0) {
        assert_string_equal(out.data, "GET\n/a/b\nc=d&e=%20\nhost:h\n\nhost\nx");
    }
    text_release(&out);
    text_release(&names);
}

static void test_out_of_memory(void **state)
{
    (void)state;
    assert_true(fault_loop("canonical", FAULT_MEMORY, once, NULL) >= 3);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_paths),
        cmocka_unit_test(test_queries),
        cmocka_unit_test(test_services_like_s3),
        cmocka_unit_test(test_headers),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
