/*
 * Tests of forward/credentials.c and the places that it asks: the order, one question for all who wait, renewal before the
 * end, the metadata service's ways to say no, and what is kept when nobody answers.
 */
#include "forward/credentials.h"

#include "base/log.h"
#include "endpoint.h"
#include "fault.h"
#include "loopback.h"
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

/* The time of day, which the tests move on. */
static uint64_t day_ms = UINT64_C(1767225600000);

uint64_t __wrap_credentials_now_ms(void);
uint64_t __wrap_credentials_now_ms(void)
{
    return day_ms;
}

static void pass(unsigned seconds)
{
    day_ms += (uint64_t)seconds * 1000;
}

/* ---- A metadata service, and a container's endpoint ---- */

struct service {
    unsigned tokens;  /* given out; the last one counts */
    unsigned unknown; /* requests with another one */
    unsigned keys;    /* given out */
    int life_s;       /* of the keys */
    int token_status; /* 0: 200 */
    int role_status;  /* 0: 200 */
    const char *role;
    bool silent;
    bool down;          /* 500 to everything */
    const char *wanted; /* what the container's endpoint wants for authorization */
    char answer[1024];
};

static const char *answer_with(struct service *service, int status, const char *body)
{
    snprintf(service->answer, sizeof service->answer, "HTTP/1.1 %d X\r\nContent-Length: %zu\r\n\r\n%s",
             status, strlen(body), body);
    return service->answer;
}

static const char *give_keys(struct service *service)
{
    char body[512], expiration[32];
    time_t expires = (time_t)(day_ms / 1000) + service->life_s;
    struct tm tm;
    strftime(expiration, sizeof expiration, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&expires, &tm));
    snprintf(body, sizeof body,
             "{\"Code\":\"Success\",\"AccessKeyId\":\"ID%u\",\"SecretAccessKey\":\"HUSH\",\"Token\":\"T\","
             "\"Expiration\":\"%s\"}",
             ++service->keys, expiration);
    return answer_with(service, 200, body);
}

static bool has_line(const char *request, const char *line)
{
    char text[256];
    snprintf(text, sizeof text, "\r\n%s\r\n", line);
    return strstr(request, text) != NULL;
}

static const char *give_token(struct service *service, const char *request)
{
    char token[32];
    assert_true(has_line(request, "x-aws-ec2-metadata-token-ttl-seconds: 21600"));
    if (service->token_status != 0) {
        return answer_with(service, service->token_status, "");
    }
    snprintf(token, sizeof token, "TOKEN-%u==", ++service->tokens);
    return answer_with(service, 200, token);
}

static const char *serve(struct endpoint *endpoint, const char *request)
{
    struct service *service = endpoint->data;
    char line[64];
    if (service->silent) {
        return NULL;
    }
    if (service->down) {
        return answer_with(service, 500, "");
    }
    if (strncmp(request, "GET /container", 14) == 0) {
        return has_line(request, service->wanted) ? give_keys(service) : answer_with(service, 403, "");
    }
    if (strncmp(request, "PUT /latest/api/token ", 22) == 0) {
        return give_token(service, request);
    }
    snprintf(line, sizeof line, "x-aws-ec2-metadata-token: TOKEN-%u==", service->tokens);
    if (!has_line(request, line)) {
        service->unknown++;
        return answer_with(service, 401, "");
    }
    if (strncmp(request, "GET /latest/meta-data/iam/security-credentials/ ", 48) == 0) {
        return answer_with(service, service->role_status != 0 ? service->role_status : 200, service->role);
    }
    assert_int_equal(strncmp(request, "GET /latest/meta-data/iam/security-credentials/the-role ", 56), 0);
    return give_keys(service);
}

/* ---- The bench ---- */

struct bench {
    struct loopback loopback;
    struct endpoint endpoint;
    struct service service;
    struct credentials_store store;
    struct config_sign sign;
    struct credentials_source *source;
};

static const char *const variables[] = {"AWS_ACCESS_KEY_ID",
                                        "AWS_SECRET_ACCESS_KEY",
                                        "AWS_SESSION_TOKEN",
                                        "AWS_SHARED_CREDENTIALS_FILE",
                                        "AWS_PROFILE",
                                        "HOME",
                                        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
                                        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
                                        "AWS_CONTAINER_AUTHORIZATION_TOKEN",
                                        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
                                        "AWS_WEB_IDENTITY_TOKEN_FILE",
                                        "AWS_EC2_METADATA_DISABLED",
                                        "AWS_EC2_METADATA_SERVICE_ENDPOINT",
                                        "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE"};

static void set(const char *name, const char *value)
{
    assert_int_equal(setenv(name, value, 1), 0);
}

static void open_bench(struct bench *bench, enum config_credentials kind)
{
    char url[128];
    memset(bench, 0, sizeof *bench);
    for (size_t i = 0; i < ARRAY_SIZE(variables); i++) {
        assert_int_equal(unsetenv(variables[i]), 0);
    }
    loopback_open(&bench->loopback);
    bench->service = (struct service){.life_s = 3600, .role = "the-role"};
    endpoint_open(&bench->endpoint, &bench->loopback, serve, &bench->service);
    credentials_store_init(&bench->store, &bench->loopback.loop);
    bench->sign = (struct config_sign){.credentials = kind};
    bench->source = credentials_source_get(&bench->store, &bench->sign);
    assert_non_null(bench->source);
    set("AWS_EC2_METADATA_SERVICE_ENDPOINT", endpoint_url(&bench->endpoint, "", url));
}

static void close_bench(struct bench *bench)
{
    credentials_source_put(bench->source);
    credentials_store_close(&bench->store);
    endpoint_close(&bench->endpoint);
    loopback_close(&bench->loopback);
}

struct asker {
    struct credentials_waiter waiter;
    unsigned ends;
    char id[32]; /* "": there are none */
    struct error err;
    bool asks_again; /* from within the callback */
    struct credentials_source *source;
};

static void came(void *data, const struct aws_credentials *credentials, const struct error *err)
{
    struct asker *asker = data;
    asker->ends++;
    snprintf(asker->id, sizeof asker->id, "%s", credentials != NULL ? credentials->access_key_id : "");
    asker->err = credentials != NULL ? (struct error)ERROR_INIT : *err;
    if (asker->asks_again) {
        struct aws_credentials now;
        int rv = credentials_ask(asker->source, &asker->waiter, came, asker, &now, &asker->err);
        assert_true(credentials != NULL ? rv == 0 : rv < 0);
    }
}

static int ask(struct bench *bench, struct asker *asker)
{
    struct aws_credentials credentials;
    *asker = (struct asker){.source = bench->source};
    int rv = credentials_ask(bench->source, &asker->waiter, came, asker, &credentials, &asker->err);
    if (rv == 0) {
        snprintf(asker->id, sizeof asker->id, "%s", credentials.access_key_id);
    }
    return rv;
}

/* Asks, and waits if need be. The id, or "" with the reason in `asker->err`. */
static const char *get(struct bench *bench, struct asker *asker)
{
    int rv = ask(bench, asker);
    if (rv == 1) {
        WAIT_FOR(&bench->loopback, asker->ends > 0);
    }
    return asker->id;
}

static void check_refused(struct bench *bench, const char *words)
{
    struct asker asker;
    assert_string_equal(get(bench, &asker), "");
    if (strstr(asker.err.text, words) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", asker.err.text, words);
    }
    assert_null(strstr(asker.err.text, "HUSH"));
    assert_in_range(credentials_retry_after_s(bench->source), 1, 11);
}

/* Asks until the pause after a failure is over. */
static void get_in_the_end(struct bench *bench, const char *id)
{
    struct asker asker;
    WAIT_FOR(&bench->loopback, strcmp(get(bench, &asker), id) == 0);
}

/* ---- The metadata service ---- */

static void test_instance(void **state)
{
    struct bench bench;
    struct asker asker;
    (void)state;
    open_bench(&bench, CONFIG_CREDENTIALS_INSTANCE);
    assert_int_equal(ask(&bench, &asker), 1);
    WAIT_FOR(&bench.loopback, asker.ends == 1);
    assert_string_equal(asker.id, "ID1");
    assert_int_equal(ask(&bench, &asker), 0);
    assert_string_equal(asker.id, "ID1");
    assert_int_equal(bench.endpoint.requests, 3);
    close_bench(&bench);
}

static void test_one_question_for_all(void **state)
{
    struct bench bench;
    struct asker askers[5];
    (void)state;
    open_bench(&bench, CONFIG_CREDENTIALS_INSTANCE);
    for (size_t i = 0; i < ARRAY_SIZE(askers); i++) {
        assert_int_equal(ask(&bench, &askers[i]), 1);
    }
    askers[1].asks_again = true;
    credentials_cancel(&askers[2].waiter);
    credentials_cancel(&askers[2].waiter);
    WAIT_FOR(&bench.loopback, askers[4].ends == 1);
    for (size_t i = 0; i < ARRAY_SIZE(askers); i++) {
        assert_int_equal(askers[i].ends, i == 2 ? 0 : 1);
        assert_string_equal(askers[i].id, i == 2 ? "" : "ID1");
    }
    assert_int_equal(bench.endpoint.requests, 3);
    close_bench(&bench);
}

static void test_routes_share_a_source(void **state)
{
    struct bench bench;
    struct config_sign other = {.credentials = CONFIG_CREDENTIALS_FILE, .profile = "a"};
    (void)state;
    open_bench(&bench, CONFIG_CREDENTIALS_INSTANCE);
    struct credentials_source *same = credentials_source_get(&bench.store, &bench.sign);
    assert_ptr_equal(same, bench.source);
    struct credentials_source *a = credentials_source_get(&bench.store, &other);
    other.profile = "b";
    struct credentials_source *b = credentials_source_get(&bench.store, &other);
    other.credentials_file = "/nowhere";
    struct credentials_source *c = credentials_source_get(&bench.store, &other);
    assert_true(a != b && b != c && a != c && a != same);
    credentials_source_put(a);
    credentials_source_put(b);
    credentials_source_put(c);
    credentials_source_put(same);
    credentials_source_put(NULL);
    close_bench(&bench);
}

/* Keys are renewed some minutes before they end, while requests go on with the old ones. */
static void test_renewal(void **state)
{
    struct bench bench;
    struct asker asker;
    (void)state;
    open_bench(&bench, CONFIG_CREDENTIALS_INSTANCE);
    assert_string_equal(get(&bench, &asker), "ID1");
    pass(3600 - 301);
    assert_int_equal(ask(&bench, &asker), 0);
    loopback_turn(&bench.loopback);
    assert_int_equal(bench.endpoint.requests, 3);
    pass(152);
    assert_int_equal(ask(&bench, &asker), 0);
    assert_string_equal(asker.id, "ID1");
    assert_int_equal(ask(&bench, &asker), 0); /* the question is asked already */
    WAIT_FOR(&bench.loopback, ask(&bench, &asker) == 0 && strcmp(asker.id, "ID2") == 0);
    assert_int_equal(bench.endpoint.requests, 5);
    assert_int_equal(bench.service.tokens, 1);
    close_bench(&bench);
}

/* The first questions come late: who asks then has to wait, and joins one that is under way. */
static void test_keys_that_expired_unused(void **state)
{
    struct bench bench;
    struct asker asker, other;
    (void)state;
    open_bench(&bench, CONFIG_CREDENTIALS_INSTANCE);
    assert_string_equal(get(&bench, &asker), "ID1");
    pass(3599);
    assert_int_equal(ask(&bench, &asker), 0);
    pass(1);
    assert_int_equal(ask(&bench, &asker), 1);
    assert_int_equal(ask(&bench, &other), 1);
    WAIT_FOR(&bench.loopback, other.ends == 1);
    assert_string_equal(asker.id, "ID2");
    assert_int_equal(bench.endpoint.requests, 5);
    close_bench(&bench);
}

static void test_a_token_is_renewed_once(void **state)
{
    struct bench bench;
    struct asker asker;
    (void)state;
    open_bench(&bench, CONFIG_CREDENTIALS_INSTANCE);
    assert_string_equal(get(&bench, &asker), "ID1");
    bench.service.tokens += 5; /* the service was started anew, and knows ours no more */
    pass(3600);
    assert_string_equal(get(&bench, &asker), "ID2");
    assert_int_equal(bench.service.unknown, 1);
    bench.service.role_status = 401;
    pass(3600);
    check_refused(&bench, "status 401");
    close_bench(&bench);
}

static void test_keys_that_come_expired(void **state)
{
    struct bench bench;
    (void)state;
    open_bench(&bench, CONFIG_CREDENTIALS_INSTANCE);
    bench.service.life_s = -1;
    check_refused(&bench, "expired already");
    close_bench(&bench);
}

static void test_old_keys_serve_until_they_expire(void **state)
{
    struct bench bench;
    struct asker asker;
    (void)state;
    open_bench(&bench, CONFIG_CREDENTIALS_INSTANCE);
    assert_string_equal(get(&bench, &asker), "ID1");
    bench.service.down = true;
    pass(3590);
    WAIT_FOR(&bench.loopback, ask(&bench, &asker) == 0 && bench.endpoint.requests == 6); /* two failures */
    assert_string_equal(asker.id, "ID1");
    WAIT_FOR(&bench.loopback, bench.endpoint.lines == NULL);
    pass(10);
    WAIT_FOR(&bench.loopback, strcmp(get(&bench, &asker), "") == 0);
    assert_non_null(strstr(asker.err.text, "status 500"));
    bench.service.down = false;
    get_in_the_end(&bench, "ID2");
    close_bench(&bench);
}

static void test_an_endpoint_that_failed_is_left_in_peace(void **state)
{
    struct bench bench;
    struct asker asker;
    (void)state;
    open_bench(&bench, CONFIG_CREDENTIALS_INSTANCE);
    bench.service.down = true;
    check_refused(&bench, "status 500");
    unsigned before = bench.endpoint.requests;
    assert_int_equal(ask(&bench, &asker), -EAGAIN);
    assert_non_null(strstr(asker.err.text, "status 500"));
    assert_int_equal(bench.endpoint.requests, before);
    bench.service.down = false;
    get_in_the_end(&bench, "ID1");
    close_bench(&bench);
}

static void test_waiters_that_ask_again_meet_the_pause(void **state)
{
    struct bench bench;
    struct asker asker;
    (void)state;
    open_bench(&bench, CONFIG_CREDENTIALS_INSTANCE);
    bench.service.down = true;
    assert_int_equal(ask(&bench, &asker), 1);
    asker.asks_again = true;
    WAIT_FOR(&bench.loopback, asker.ends == 1);
    assert_int_equal(bench.endpoint.requests, 1);
    close_bench(&bench);
}

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
        open_bench(&bench, CONFIG_CREDENTIALS_INSTANCE);
        bench.service.token_status = cases[i].token;
        bench.service.role_status = cases[i].role;
        bench.service.role = cases[i].name;
        check_refused(&bench, cases[i].words);
        close_bench(&bench);
    }
}

static void test_a_hop_too_many(void **state)
{
    struct bench bench;
    (void)state;
    open_bench(&bench, CONFIG_CREDENTIALS_INSTANCE);
    bench.service.silent = true;
    check_refused(&bench, "hop-limit");
    close_bench(&bench);
}

static void test_where_the_service_is(void **state)
{
    struct bench bench;
    char url[64];
    (void)state;
    open_bench(&bench, CONFIG_CREDENTIALS_INSTANCE);
    set("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1/path");
    check_refused(&bench, "has a path");
    set("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://10.1.2.3");
    check_refused(&bench, "plain text");
    set("AWS_EC2_METADATA_SERVICE_ENDPOINT", "ftp://x");
    check_refused(&bench, "is no URL");
    snprintf(url, sizeof url, "http://127.0.0.1:%u", refusing_port());
    set("AWS_EC2_METADATA_SERVICE_ENDPOINT", url);
    check_refused(&bench, "refused");
    set("AWS_EC2_METADATA_DISABLED", "TRUE");
    close_bench(&bench);
}

static void test_disabled(void **state)
{
    struct bench bench;
    (void)state;
    open_bench(&bench, CONFIG_CREDENTIALS_INSTANCE);
    set("AWS_EC2_METADATA_DISABLED", "True");
    check_refused(&bench, "AWS_EC2_METADATA_DISABLED");
    set("AWS_EC2_METADATA_DISABLED", "false");
    get_in_the_end(&bench, "ID1");
    close_bench(&bench);
}

/* ---- Containers ---- */

static void use_container(struct bench *bench, const char *wanted)
{
    char url[128];
    bench->service.wanted = wanted;
    set("AWS_CONTAINER_CREDENTIALS_FULL_URI", endpoint_url(&bench->endpoint, "/container?x=1", url));
}

static void test_container(void **state)
{
    struct bench bench;
    struct asker asker;
    (void)state;
    open_bench(&bench, CONFIG_CREDENTIALS_CONTAINER);
    check_refused(&bench, "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
    use_container(&bench, "authorization: Bearer x");
    set("AWS_CONTAINER_AUTHORIZATION_TOKEN", "Bearer x");
    assert_string_equal(get(&bench, &asker), "ID1");
    close_bench(&bench);
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
    open_bench(&bench, CONFIG_CREDENTIALS_CONTAINER);
    use_container(&bench, "authorization: one");
    set("AWS_CONTAINER_AUTHORIZATION_TOKEN", "another");
    set("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", path);
    check_refused(&bench, "is empty");
    write_token(path, "one\n");
    assert_string_equal(get(&bench, &asker), "ID1");
    bench.service.wanted = "authorization: two";
    write_token(path, "two");
    pass(3600);
    assert_string_equal(get(&bench, &asker), "ID2");
    assert_int_equal(unlink(path), 0);
    pass(3600);
    check_refused(&bench, path);
    close_bench(&bench);
}

static void test_what_a_container_may_not_say(void **state)
{
    struct bench bench;
    char path[] = "/tmp/postern-token-XXXXXX";
    int fd = mkstemp(path);
    (void)state;
    close(fd);
    write_token(path, "HUSH\r\nx-other: 1");
    open_bench(&bench, CONFIG_CREDENTIALS_CONTAINER);
    use_container(&bench, "authorization: one");
    set("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", path);
    check_refused(&bench, "authorization");
    assert_int_equal(unlink(path), 0);
    unsetenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
    check_refused(&bench, "status 403");
    WAIT_FOR(&bench.loopback, credentials_retry_after_s(bench.source) == 1);
    close_bench(&bench);
}

/* Without the file that it names, nobody is asked at 169.254.170.2. */
static void test_a_container_of_ecs(void **state)
{
    struct bench bench;
    (void)state;
    open_bench(&bench, CONFIG_CREDENTIALS_CONTAINER);
    set("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/credentials/1");
    set("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "/nonexistent");
    check_refused(&bench, "/nonexistent");
    close_bench(&bench);
}

static void test_a_container_that_does_not_answer(void **state)
{
    struct bench bench;
    char url[64];
    (void)state;
    open_bench(&bench, CONFIG_CREDENTIALS_CONTAINER);
    snprintf(url, sizeof url, "http://127.0.0.1:%u/x", refusing_port());
    set("AWS_CONTAINER_CREDENTIALS_FULL_URI", url);
    check_refused(&bench, "container's credentials endpoint");
    close_bench(&bench);
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
        open_bench(&bench, CONFIG_CREDENTIALS_CONTAINER);
        set(cases[i].name, cases[i].value);
        check_refused(&bench, cases[i].words);
        close_bench(&bench);
    }
}

/* ---- The chain ---- */

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
    open_bench(&bench, CONFIG_CREDENTIALS_AUTO);
    use_container(&bench, "x-none: 1");
    bench.service.wanted = "accept: */*";
    set("AWS_SHARED_CREDENTIALS_FILE", path);
    assert_string_equal(get(&bench, &asker), "FILE");
    set("AWS_PROFILE", "other");
    write_token(path, "[other]\naws_access_key_id = NEW\naws_secret_access_key = S\n");
    assert_string_equal(get(&bench, &asker), "NEW");
    assert_int_equal(unlink(path), 0);
    assert_string_equal(get(&bench, &asker), "ID1"); /* the container's */
    close_bench(&bench);

    open_bench(&bench, CONFIG_CREDENTIALS_AUTO);
    set("HOME", "/nowhere");
    set("AWS_EC2_METADATA_DISABLED", "true");
    check_refused(&bench, "there are no AWS credentials in the environment, in a file, or at a container's");
    unsetenv("AWS_EC2_METADATA_DISABLED");
    assert_string_equal(get(&bench, &asker), "ID1"); /* the instance's */
    close_bench(&bench);

    open_bench(&bench, CONFIG_CREDENTIALS_AUTO);
    set("AWS_WEB_IDENTITY_TOKEN_FILE", "/token");
    check_refused(&bench, "AWS_WEB_IDENTITY_TOKEN_FILE is set");
    set("AWS_ACCESS_KEY_ID", "ENV");
    check_refused(&bench, "secret access key");
    set("AWS_SECRET_ACCESS_KEY", "S");
    assert_string_equal(get(&bench, &asker), "ENV");
    close_bench(&bench);
}

static void test_source_goes_while_it_asks(void **state)
{
    struct bench bench;
    struct asker asker;
    (void)state;
    open_bench(&bench, CONFIG_CREDENTIALS_INSTANCE);
    assert_int_equal(ask(&bench, &asker), 1);
    credentials_cancel(&asker.waiter);
    credentials_source_put(bench.source);
    bench.source = NULL;
    loopback_turn(&bench.loopback);
    close_bench(&bench);
}

/* ---- Faults ---- */

static void ask_once(void *arg)
{
    struct bench *bench = arg;
    struct asker asker;
    bench->source = credentials_source_get(&bench->store, &bench->sign);
    if (bench->source != NULL) {
        (void)get(bench, &asker);
        assert_true((asker.id[0] == '\0') == (asker.err.text[0] != '\0'));
        credentials_source_put(bench->source);
        bench->source = NULL;
    }
    WAIT_FOR(&bench->loopback, bench->endpoint.lines == NULL);
    loopback_turn(&bench->loopback);
    loopback_turn(&bench->loopback);
}

static void test_failing_calls(void **state)
{
    struct bench bench;
    (void)state;
    open_bench(&bench, CONFIG_CREDENTIALS_INSTANCE);
    credentials_source_put(bench.source);
    bench.source = NULL;
    bench.sign.profile = "some";
    bench.sign.credentials_file = "/nowhere";
    assert_true(fault_loop("credentials", FAULT_MEMORY | FAULT_SOCKET | FAULT_CONNECT, ask_once, &bench) >=
                20);
    close_bench(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_instance),
        cmocka_unit_test(test_one_question_for_all),
        cmocka_unit_test(test_routes_share_a_source),
        cmocka_unit_test(test_renewal),
        cmocka_unit_test(test_keys_that_expired_unused),
        cmocka_unit_test(test_a_token_is_renewed_once),
        cmocka_unit_test(test_keys_that_come_expired),
        cmocka_unit_test(test_old_keys_serve_until_they_expire),
        cmocka_unit_test(test_an_endpoint_that_failed_is_left_in_peace),
        cmocka_unit_test(test_waiters_that_ask_again_meet_the_pause),
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
        cmocka_unit_test(test_source_goes_while_it_asks),
        cmocka_unit_test(test_failing_calls),
    };
    log_set(LOG_LEVEL_ERROR, LOG_FORMAT_JSON);
    credentials_prepare();
    loopback_spare_libuv();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
