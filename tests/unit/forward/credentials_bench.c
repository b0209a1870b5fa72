/* The bench for tests of credentials; see the header. */
#include "credentials_bench.h"

#include "contains.h"
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* The time of day, which the tests move on. */
static uint64_t day_ms = UINT64_C(1767225600000);

uint64_t __wrap_credentials_now_ms(void);
uint64_t __wrap_credentials_now_ms(void)
{
    return day_ms;
}

void bench_pass(unsigned seconds)
{
    day_ms += (uint64_t)seconds * 1000;
}

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

void bench_set(const char *name, const char *value)
{
    assert_int_equal(setenv(name, value, 1), 0);
}

void bench_open(struct bench *bench, enum config_credentials kind)
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
    bench_set("AWS_EC2_METADATA_SERVICE_ENDPOINT", endpoint_url(&bench->endpoint, "", url));
}

void bench_close(struct bench *bench)
{
    credentials_source_put(bench->source);
    credentials_store_close(&bench->store);
    endpoint_close(&bench->endpoint);
    loopback_close(&bench->loopback);
}

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

int bench_ask(struct bench *bench, struct asker *asker)
{
    struct aws_credentials credentials;
    *asker = (struct asker){.source = bench->source};
    int rv = credentials_ask(bench->source, &asker->waiter, came, asker, &credentials, &asker->err);
    if (rv == 0) {
        snprintf(asker->id, sizeof asker->id, "%s", credentials.access_key_id);
    }
    return rv;
}

const char *bench_get(struct bench *bench, struct asker *asker)
{
    int rv = bench_ask(bench, asker);
    if (rv == 1) {
        WAIT_FOR(&bench->loopback, asker->ends > 0);
    }
    return asker->id;
}

void assert_refused(struct bench *bench, const char *words)
{
    struct asker asker;
    assert_string_equal(bench_get(bench, &asker), "");
    assert_contains(asker.err.text, words);
    assert_null(strstr(asker.err.text, "HUSH"));
    assert_in_range(credentials_retry_after_s(bench->source), 1, 11);
}

void bench_get_in_the_end(struct bench *bench, const char *id)
{
    struct asker asker;
    WAIT_FOR(&bench->loopback, strcmp(bench_get(bench, &asker), id) == 0);
}
