/* Where credentials are looked for, in which order, and what each place may say. */
#include "base/log.h"
#include "credentials_bench.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void test_what_the_service_says(void **state)
{
    static const struct {
        int token, role;
        const char *name, *words;
    } cases[] = {
        {403, 0, "the-role", "turned off"},  {503, 0, "the-role", "status 503"},
        {0, 404, "the-role", "has no role"}, {0, 500, "the-role", "status 500"},
        {0, 0, "", "name of a role"},        {0, 0, "../../secret", "name of a role"},
        {0, 0, "<html>", "name of a role"},
    };
    struct bench bench;
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        bench_open(&bench, CONFIG_CREDENTIALS_INSTANCE);
        bench.service.token_status = cases[i].token;
        bench.service.role_status = cases[i].role;
        bench.service.role = cases[i].name;
        assert_refused(&bench, cases[i].words);
        bench_close(&bench);
    }
}

static void test_a_hop_too_many(void **state)
{
    struct bench bench;
    (void)state;
    bench_open(&bench, CONFIG_CREDENTIALS_INSTANCE);
    bench.service.silent = true;
    assert_refused(&bench, "hop-limit");
    bench_close(&bench);
}

static void test_where_the_service_is(void **state)
{
    struct bench bench;
    char url[64];
    (void)state;
    bench_open(&bench, CONFIG_CREDENTIALS_INSTANCE);
    bench_set("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1/path");
    assert_refused(&bench, "has a path");
    bench_set("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://10.1.2.3");
    assert_refused(&bench, "plain text");
    bench_set("AWS_EC2_METADATA_SERVICE_ENDPOINT", "ftp://x");
    assert_refused(&bench, "is no URL");
    snprintf(url, sizeof url, "http://127.0.0.1:%u", refusing_port());
    bench_set("AWS_EC2_METADATA_SERVICE_ENDPOINT", url);
    assert_refused(&bench, "refused");
    bench_set("AWS_EC2_METADATA_DISABLED", "TRUE");
    bench_close(&bench);
}

static void test_disabled(void **state)
{
    struct bench bench;
    (void)state;
    bench_open(&bench, CONFIG_CREDENTIALS_INSTANCE);
    bench_set("AWS_EC2_METADATA_DISABLED", "True");
    assert_refused(&bench, "AWS_EC2_METADATA_DISABLED");
    bench_set("AWS_EC2_METADATA_DISABLED", "false");
    bench_get_in_the_end(&bench, "ID1");
    bench_close(&bench);
}

static void use_container(struct bench *bench, const char *wanted)
{
    char url[128];
    bench->service.wanted = wanted;
    bench_set("AWS_CONTAINER_CREDENTIALS_FULL_URI", endpoint_url(&bench->endpoint, "/container?x=1", url));
}

static void test_container(void **state)
{
    struct bench bench;
    struct asker asker;
    (void)state;
    bench_open(&bench, CONFIG_CREDENTIALS_CONTAINER);
    assert_refused(&bench, "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
    use_container(&bench, "authorization: Bearer x");
    bench_set("AWS_CONTAINER_AUTHORIZATION_TOKEN", "Bearer x");
    assert_string_equal(bench_get(&bench, &asker), "ID1");
    bench_close(&bench);
}

static void write_token(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static void test_token_file(void **state)
{
    struct bench bench;
    struct asker asker;
    char path[] = "/tmp/postern-token-XXXXXX";
    int fd = mkstemp(path);
    (void)state;
    assert_true(fd >= 0);
    close(fd);
    bench_open(&bench, CONFIG_CREDENTIALS_CONTAINER);
    use_container(&bench, "authorization: one");
    bench_set("AWS_CONTAINER_AUTHORIZATION_TOKEN", "another");
    bench_set("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", path);
    assert_refused(&bench, "is empty");
    write_token(path, "one\n");
    assert_string_equal(bench_get(&bench, &asker), "ID1");
    bench.service.wanted = "authorization: two";
    write_token(path, "two");
    bench_pass(3600);
    assert_string_equal(bench_get(&bench, &asker), "ID2");
    assert_int_equal(unlink(path), 0);
    bench_pass(3600);
    assert_refused(&bench, path);
    bench_close(&bench);
}

static void test_what_a_container_may_not_say(void **state)
{
    struct bench bench;
    char path[] = "/tmp/postern-token-XXXXXX";
    int fd = mkstemp(path);
    (void)state;
    close(fd);
    write_token(path, "HUSH\r\nx-other: 1");
    bench_open(&bench, CONFIG_CREDENTIALS_CONTAINER);
    use_container(&bench, "authorization: one");
    bench_set("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", path);
    assert_refused(&bench, "authorization");
    assert_int_equal(unlink(path), 0);
    unsetenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
    assert_refused(&bench, "status 403");
    WAIT_FOR(&bench.loopback, credentials_retry_after_s(bench.source) == 1);
    bench_close(&bench);
}

/* Without the file that it names, nobody is asked at 169.254.170.2. */
static void test_a_container_of_ecs(void **state)
{
    struct bench bench;
    (void)state;
    bench_open(&bench, CONFIG_CREDENTIALS_CONTAINER);
    bench_set("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/credentials/1");
    bench_set("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "/nonexistent");
    assert_refused(&bench, "/nonexistent");
    bench_close(&bench);
}

static void test_a_container_that_does_not_answer(void **state)
{
    struct bench bench;
    char url[64];
    (void)state;
    bench_open(&bench, CONFIG_CREDENTIALS_CONTAINER);
    snprintf(url, sizeof url, "http://127.0.0.1:%u/x", refusing_port());
    bench_set("AWS_CONTAINER_CREDENTIALS_FULL_URI", url);
    assert_refused(&bench, "container's credentials endpoint");
    bench_close(&bench);
}

static void test_where_a_container_may_lead(void **state)
{
    static const struct {
        const char *name, *value, *words;
    } cases[] = {
        {"AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://169.254.169.254/x", "leads elsewhere"},
        {"AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://10.0.0.1/x", "leads elsewhere"},
        {"AWS_CONTAINER_CREDENTIALS_FULL_URI", "https://127.0.0.1/x", "is no URL"},
        {"AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "/nonexistent", "RELATIVE_URI"},
        {"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "x", "is no path"},
        {"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "@10.0.0.1/x", "is no path"},
        {"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/x y", "is no path"},
    };
    struct bench bench;
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        bench_open(&bench, CONFIG_CREDENTIALS_CONTAINER);
        bench_set(cases[i].name, cases[i].value);
        assert_refused(&bench, cases[i].words);
        bench_close(&bench);
    }
}

static void test_order(void **state)
{
    struct bench bench;
    struct asker asker;
    char path[] = "/tmp/postern-keys-XXXXXX";
    int fd = mkstemp(path);
    (void)state;
    close(fd);
    write_token(path, "[default]\naws_access_key_id = FILE\naws_secret_access_key = S\n"
                      "[other]\naws_access_key_id = OTHER\naws_secret_access_key = S\n");
    bench_open(&bench, CONFIG_CREDENTIALS_AUTO);
    use_container(&bench, "x-none: 1");
    bench.service.wanted = "accept: */*";
    bench_set("AWS_SHARED_CREDENTIALS_FILE", path);
    assert_string_equal(bench_get(&bench, &asker), "FILE");
    bench_set("AWS_PROFILE", "other");
    write_token(path, "[other]\naws_access_key_id = NEW\naws_secret_access_key = S\n");
    assert_string_equal(bench_get(&bench, &asker), "NEW");
    assert_int_equal(unlink(path), 0);
    assert_refused(&bench, "for those of AWS_SHARED_CREDENTIALS_FILE and AWS_PROFILE: credentials file ");
    unsetenv("AWS_SHARED_CREDENTIALS_FILE");
    assert_refused(&bench, "for those of AWS_PROFILE: ");
    unsetenv("AWS_PROFILE");
    assert_string_equal(bench_get(&bench, &asker), "ID1"); /* the container's */
    bench_close(&bench);

    bench_open(&bench, CONFIG_CREDENTIALS_AUTO);
    bench_set("HOME", "/nowhere");
    bench_set("AWS_EC2_METADATA_DISABLED", "true");
    assert_refused(&bench, "there are no AWS credentials in the environment, in a file, or at a container's");
    unsetenv("AWS_EC2_METADATA_DISABLED");
    assert_string_equal(bench_get(&bench, &asker), "ID1"); /* the instance's */
    bench_close(&bench);

    bench_open(&bench, CONFIG_CREDENTIALS_AUTO);
    bench_set("AWS_WEB_IDENTITY_TOKEN_FILE", "/token");
    assert_refused(&bench, "AWS_WEB_IDENTITY_TOKEN_FILE is set");
    bench_set("AWS_ACCESS_KEY_ID", "ENV");
    assert_refused(&bench, "secret access key");
    bench_set("AWS_SECRET_ACCESS_KEY", "S");
    assert_string_equal(bench_get(&bench, &asker), "ENV");
    bench_close(&bench);
}

/* What a route names is set up, whether it is there or not. */
static void name_in_route(struct bench *bench, const char *file, const char *profile)
{
    credentials_source_put(bench->source);
    bench->sign.credentials_file = file;
    bench->sign.profile = profile;
    bench->source = credentials_source_get(&bench->store, &bench->sign);
    assert_non_null(bench->source);
}

/* The instance has a role, which is not the one that was meant. */
static void test_what_is_set_up_is_not_passed_over(void **state)
{
    struct bench bench;
    struct asker asker;
    char path[] = "/tmp/postern-keys-XXXXXX";
    int fd = mkstemp(path);
    (void)state;
    assert_true(fd >= 0);
    close(fd);
    write_token(path, "[default]\naws_access_key_id = FILE\naws_secret_access_key = S\n");
    bench_open(&bench, CONFIG_CREDENTIALS_AUTO);
    use_container(&bench, "authorization: one");
    bench_set("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "/nonexistent");
    assert_refused(&bench, "/nonexistent");
    bench_close(&bench);

    bench_open(&bench, CONFIG_CREDENTIALS_AUTO);
    name_in_route(&bench, "/nonexistent/keys", NULL);
    assert_refused(&bench, "/nonexistent/keys");
    name_in_route(&bench, path, "other");
    assert_refused(&bench, "there is no profile [other] in it");
    bench_set("AWS_PROFILE", "of the environment");
    name_in_route(&bench, path, NULL);
    assert_refused(&bench, "for those of AWS_PROFILE: ");
    unsetenv("AWS_PROFILE");
    name_in_route(&bench, NULL, "other");
    assert_refused(&bench, "neither AWS_SHARED_CREDENTIALS_FILE nor HOME is set");
    name_in_route(&bench, path, NULL);
    assert_string_equal(bench_get(&bench, &asker), "FILE");
    assert_int_equal(unlink(path), 0);
    assert_refused(&bench, path);
    bench_close(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_the_service_says),
        cmocka_unit_test(test_a_hop_too_many),
        cmocka_unit_test(test_where_the_service_is),
        cmocka_unit_test(test_disabled),
        cmocka_unit_test(test_container),
        cmocka_unit_test(test_token_file),
        cmocka_unit_test(test_what_a_container_may_not_say),
        cmocka_unit_test(test_a_container_of_ecs),
        cmocka_unit_test(test_a_container_that_does_not_answer),
        cmocka_unit_test(test_where_a_container_may_lead),
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_what_is_set_up_is_not_passed_over),
    };
    log_set(LOG_LEVEL_ERROR, LOG_FORMAT_JSON);
    credentials_prepare();
    loopback_spare_libuv();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
