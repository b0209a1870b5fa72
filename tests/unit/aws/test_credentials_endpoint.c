/* Tests of aws/credentials_endpoint.c: where a container's endpoint may be, what is said there, and what a metadata service may say. */
#include "aws/credentials_endpoint.h"

#include "contains.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define RELATIVE "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"
#define FULL     "AWS_CONTAINER_CREDENTIALS_FULL_URI"
#define TOKEN    "AWS_CONTAINER_AUTHORIZATION_TOKEN"

static struct error err;

static int forget(void **state)
{
    static const char *const names[] = {RELATIVE, FULL, TOKEN, TOKEN "_FILE"};
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        assert_int_equal(unsetenv(names[i]), 0);
    }
    err = (struct error)ERROR_INIT;
    return 0;
}

static int find(const char *name, const char *value, struct credentials_url *ret)
{
    static char text[CREDENTIALS_CONTAINER_TEXT];
    assert_int_equal(setenv(name, value, 1), 0);
    return credentials_container_find(text, ret, &err);
}

static void test_where_it_may_be(void **state)
{
    static const char *const hosts[] = {
        "127.0.0.1",     "127.255.255.254", "localhost",      "[::1]",
        "169.254.170.2", "169.254.170.23",  "[fd00:ec2::23]",
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(hosts); i++) {
        char url[128];
        struct credentials_url found;
        snprintf(url, sizeof url, "http://%s/v1/credentials", hosts[i]);
        if (find(FULL, url, &found) != 0) {
            fail_msg("%s: %s", url, err.text);
        }
        assert_string_equal(found.target, "/v1/credentials");
    }
}

static void test_where_it_may_not_be(void **state)
{
    static const struct {
        const char *url;
        int code;
    } samples[] = {
        {"http://169.254.169.254/x", -EACCES}, {"http://128.0.0.1/x", -EACCES},
        {"http://[::2]/x", -EACCES},           {"http://[fd00:ec2::24]/x", -EACCES},
        {"http://127.evil.test/x", -EINVAL},   {"http://evil.test/x", -EINVAL},
        {"https://127.0.0.1/x", -EINVAL},      {"http://127.0.0.1@evil.test/x", -EINVAL},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
        struct credentials_url found;
        if (find(FULL, samples[i].url, &found) != samples[i].code) {
            fail_msg("%s: %s", samples[i].url, err.text);
        }
        assert_contains(err.text, FULL);
    }
}

static void test_a_path_at_ecs(void **state)
{
    static const char *const bad[] = {"v2/x", "@evil.test/x", "/x y"};
    char text[CREDENTIALS_CONTAINER_TEXT], path[2 * CREDENTIALS_TARGET_MAX];
    struct credentials_url found;
    (void)state;
    assert_int_equal(credentials_container_find(text, &found, &err), -ENOENT);
    assert_int_equal(setenv(RELATIVE, "/v2/credentials/1", 1), 0);
    assert_int_equal(credentials_container_find(text, &found, &err), 0);
    assert_string_equal(found.to.host, "169.254.170.2");
    assert_int_equal(found.to.port, 80);
    assert_string_equal(found.target, "/v2/credentials/1");
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        assert_int_equal(find(RELATIVE, bad[i], &found), -EINVAL);
        assert_contains(err.text, "is no path");
    }
    memset(path, 'x', sizeof path - 1);
    path[0] = '/';
    path[sizeof path - 1] = '\0';
    assert_int_equal(find(RELATIVE, path, &found), -EINVAL);
}

static void test_the_token(void **state)
{
    char token[CREDENTIALS_AUTHORIZATION_SIZE], long_one[CREDENTIALS_AUTHORIZATION_SIZE + 1];
    (void)state;
    assert_int_equal(credentials_container_token(token, &err), 0);
    assert_string_equal(token, "");
    assert_int_equal(setenv(TOKEN, "Bearer x", 1), 0);
    assert_int_equal(credentials_container_token(token, &err), 0);
    assert_string_equal(token, "Bearer x");
    memset(long_one, 'x', sizeof long_one - 1);
    long_one[sizeof long_one - 1] = '\0';
    assert_int_equal(setenv(TOKEN, long_one, 1), 0);
    assert_int_equal(credentials_container_token(token, &err), -EINVAL);
    assert_contains(err.text, "too long");
}

static int token_of(const char *data, size_t size, char token[CREDENTIALS_AUTHORIZATION_SIZE])
{
    char path[] = "/tmp/postern-token-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, size), size);
    close(fd);
    assert_int_equal(setenv(TOKEN "_FILE", path, 1), 0);
    int rv = credentials_container_token(token, &err);
    assert_int_equal(unlink(path), 0);
    return rv;
}

static void test_the_tokens_file(void **state)
{
    char token[CREDENTIALS_AUTHORIZATION_SIZE];
    (void)state;
    assert_int_equal(setenv(TOKEN, "another", 1), 0);
    assert_int_equal(token_of("one\n", 4, token), 0);
    assert_string_equal(token, "one");
    assert_int_equal(token_of("two", 3, token), 0);
    assert_string_equal(token, "two");
    assert_int_equal(token_of("", 0, token), -EINVAL);
    assert_int_equal(token_of("\n", 1, token), -EINVAL);
    assert_int_equal(token_of("a\0b", 3, token), -EINVAL);
    /* Never a part of one. */
    static char long_one[2 * CREDENTIALS_AUTHORIZATION_SIZE];
    memset(long_one, 'x', sizeof long_one);
    const size_t max = CREDENTIALS_AUTHORIZATION_SIZE - 2;
    assert_int_equal(token_of(long_one, max, token), 0);
    assert_int_equal(strlen(token), max);
    assert_int_equal(token_of(long_one, max + 1, token), -EINVAL);
    assert_int_equal(token_of(long_one, sizeof long_one, token), -EINVAL);
    assert_contains(err.text, "is longer than 8192 bytes");
    long_one[max] = '\n';
    assert_int_equal(token_of(long_one, max + 1, token), 0);
    assert_int_equal(setenv(TOKEN "_FILE", "/nonexistent", 1), 0);
    assert_int_equal(credentials_container_token(token, &err), -ENOENT);
    assert_contains(err.text, "/nonexistent");
}

static void test_the_metadata_services_token(void **state)
{
    char token[INSTANCE_TOKEN_MAX + 1], long_one[INSTANCE_TOKEN_MAX + 1];
    (void)state;
    assert_int_equal(credentials_instance_token("TOKEN==", 7, token, &err), 0);
    assert_string_equal(token, "TOKEN==");
    memset(long_one, 'x', sizeof long_one);
    assert_int_equal(credentials_instance_token(long_one, sizeof long_one - 1, token, &err), 0);
    assert_int_equal(credentials_instance_token(long_one, sizeof long_one, token, &err), -EBADMSG);
    assert_int_equal(credentials_instance_token("", 0, token, &err), -EBADMSG);
    assert_int_equal(credentials_instance_token("a\r\nx-other: 1", 13, token, &err), -EBADMSG);
    assert_contains(err.text, "token");
}

static void test_the_metadata_services_role(void **state)
{
    static const char *const bad[] = {"", "\r\nrole", "../secret", "a b", "<html>", "r\xc3\xb6le"};
    char role[INSTANCE_ROLE_MAX + 1], long_one[INSTANCE_ROLE_MAX + 2];
    (void)state;
    assert_int_equal(credentials_instance_role("Role+=,.@_-9\r\nanother", role, &err), 0);
    assert_string_equal(role, "Role+=,.@_-9");
    memset(long_one, 'x', sizeof long_one - 1);
    long_one[sizeof long_one - 1] = '\0';
    assert_int_equal(credentials_instance_role(long_one, role, &err), -EBADMSG);
    assert_int_equal(credentials_instance_role(long_one + 1, role, &err), 0);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        assert_int_equal(credentials_instance_role(bad[i], role, &err), -EBADMSG);
    }
}

static void test_what_a_status_says(void **state)
{
    (void)state;
    assert_int_equal(credentials_instance_explain(INSTANCE_TOKEN, 403, &err), -EACCES);
    assert_contains(err.text, "--http-endpoint enabled");
    assert_int_equal(credentials_instance_explain(INSTANCE_ROLE, 404, &err), -ENODATA);
    assert_contains(err.text, "instance profile");
    assert_int_equal(credentials_instance_explain(INSTANCE_TOKEN, 404, &err), -EBADMSG);
    assert_int_equal(credentials_instance_explain(INSTANCE_KEYS, 403, &err), -EBADMSG);
    assert_contains(err.text, "status 403");
}

int main(void)
{
#define T(name) cmocka_unit_test_setup(name, forget)
    const struct CMUnitTest tests[] = {
        T(test_where_it_may_be),
        T(test_where_it_may_not_be),
        T(test_a_path_at_ecs),
        T(test_the_token),
        T(test_the_tokens_file),
        T(test_the_metadata_services_token),
        T(test_the_metadata_services_role),
        T(test_what_a_status_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
