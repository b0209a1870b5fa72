/*
 * AWS keys of an instance's role, from the instance metadata service, version 2. ("Use IMDSv2", EC2 User Guide.)
 *
 *     PUT /latest/api/token                                      -> a token, for up to six hours
 *     GET /latest/meta-data/iam/security-credentials/            -> the role's name
 *     GET /latest/meta-data/iam/security-credentials/ROLE        -> keys
 *
 * Version 1, which needs no token, is never spoken: it is what a request that was smuggled past somebody could ask. A token that
 * the service no longer knows (401) is replaced once in a look.
 */
#include "aws/credentials_json.h"
#include "aws/credentials_local.h"
#include "forward/credentials_load.h"
#include <ctype.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#define ENDPOINT   "http://169.254.169.254"
#define ENDPOINT_6 "http://[fd00:ec2::254]"

static void came(void *data, int code, const struct fetched *fetched, const struct error *err);

/* ---- Asking ---- */

static int ask(struct credentials_load *load, const char *method, const char *target,
               const struct fetch_header *header, struct error *err)
{
    struct fetch_options options = {.method = method,
                                    .url = &load->instance.url,
                                    .target = target,
                                    .headers = {*header},
                                    .timeout_ms = CREDENTIALS_FETCH_TIMEOUT_MS};
    load->fetch = fetch_start(load->loop, &options, came, load, err);
    return load->fetch != NULL ? 1 : -EINVAL;
}

static int ask_for(struct credentials_load *load, enum instance_step step, struct error *err)
{
    struct credentials_instance *instance = &load->instance;
    const struct fetch_header life = {"x-aws-ec2-metadata-token-ttl-seconds", INSTANCE_TOKEN_LIFE_S};
    const struct fetch_header token = {"x-aws-ec2-metadata-token", instance->token};
    char path[sizeof INSTANCE_ROLES_PATH + INSTANCE_ROLE_MAX];
    instance->step = step;
    switch (step) {
    case INSTANCE_TOKEN:
        return ask(load, "PUT", INSTANCE_TOKEN_PATH, &life, err);
    case INSTANCE_ROLE:
        return ask(load, "GET", INSTANCE_ROLES_PATH, &token, err);
    default:
        snprintf(path, sizeof path, INSTANCE_ROLES_PATH "%s", instance->role);
        return ask(load, "GET", path, &token, err);
    }
}

/* ---- Answers ---- */

static int take_token(struct credentials_load *load, const struct fetched *fetched, struct error *err)
{
    struct credentials_instance *instance = &load->instance;
    int rv = credentials_instance_token(fetched->body, fetched->size, instance->token, err);
    if (rv != 0) {
        return rv;
    }
    instance->token_until = loop_now(load->loop) + INSTANCE_TOKEN_USE_FOR_MS;
    return ask_for(load, INSTANCE_ROLE, err);
}

static int take_role(struct credentials_load *load, const struct fetched *fetched, struct error *err)
{
    int rv = credentials_instance_role(fetched->body, load->instance.role, err);
    return rv == 0 ? ask_for(load, INSTANCE_KEYS, err) : rv;
}

/* Returns 1 when the look goes on, 0 when it has ended with keys, or a negative errno value. */
static int take_answer(struct credentials_load *load, const struct fetched *fetched, struct error *err)
{
    struct credentials_keys keys;
    switch (load->instance.step) {
    case INSTANCE_TOKEN:
        return take_token(load, fetched, err);
    case INSTANCE_ROLE:
        return take_role(load, fetched, err);
    default:
        if (credentials_json_parse(fetched->body, fetched->size, (time_t)(credentials_now_ms() / 1000), &keys,
                                   err) != 0) {
            return -EBADMSG;
        }
        credentials_load_end(load, CONFIG_CREDENTIALS_INSTANCE, &keys);
        return 0;
    }
}

static int take_status(struct credentials_load *load, const struct fetched *fetched, struct error *err)
{
    struct credentials_instance *instance = &load->instance;
    if (fetched->status == 200) {
        return take_answer(load, fetched, err);
    }
    if (fetched->status == 401 && instance->step != INSTANCE_TOKEN && !instance->renewed) {
        instance->renewed = true;
        instance->token[0] = '\0';
        return ask_for(load, INSTANCE_TOKEN, err);
    }
    return credentials_instance_explain(instance->step, fetched->status, err);
}

static void explain_silence(enum instance_step step, int code, struct error *err)
{
    if (step == INSTANCE_TOKEN && code == -ETIMEDOUT) {
        error_set(err, code,
                  "%.200s; from within a container the answer has one hop more to go: allow it with `aws ec2 "
                  "modify-instance-metadata-options --http-put-response-hop-limit 2`",
                  err->text);
    }
}

static void came(void *data, int code, const struct fetched *fetched, const struct error *err)
{
    struct credentials_load *load = data;
    struct error own = ERROR_INIT;
    int rv;
    load->fetch = NULL;
    if (fetched != NULL) {
        rv = take_status(load, fetched, &own);
    } else {
        own = *err;
        rv = code;
        explain_silence(load->instance.step, code, &own);
    }
    if (rv < 0) {
        error_prefix(&own, "the instance metadata service");
        credentials_load_fail(load, &own);
    }
}

/* ---- The start ---- */

static int find_endpoint(struct credentials_url *ret, struct error *err)
{
    const char *told = credentials_env("AWS_EC2_METADATA_SERVICE_ENDPOINT");
    const char *mode = credentials_env("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE");
    bool ipv6 = mode != NULL && strcasecmp(mode, "ipv6") == 0;
    int rv = credentials_url_parse(told != NULL ? told : ipv6 ? ENDPOINT_6 : ENDPOINT, ret, err);
    if (rv == 0 && ret->target[0] != '\0' && strcmp(ret->target, "/") != 0) {
        rv = error_set(err, -EINVAL, "it has a path; expected http://ADDRESS[:PORT]");
    }
    if (rv != 0) {
        error_prefix(err, "AWS_EC2_METADATA_SERVICE_ENDPOINT");
    }
    ret->target = "";
    return rv;
}

int credentials_instance_start(struct credentials_load *load, struct error *err)
{
    struct credentials_instance *instance = &load->instance;
    const char *disabled = credentials_env("AWS_EC2_METADATA_DISABLED");
    if (disabled != NULL && strcasecmp(disabled, "true") == 0) {
        return error_set(
            err, -ENOENT,
            "the instance metadata service is not to be asked: AWS_EC2_METADATA_DISABLED is set");
    }
    int rv = find_endpoint(&instance->url, err);
    if (rv == 0) {
        bool has_token = instance->token[0] != '\0' && loop_now(load->loop) < instance->token_until;
        instance->renewed = false;
        rv = ask_for(load, has_token ? INSTANCE_ROLE : INSTANCE_TOKEN, err);
    }
    if (rv < 0) {
        error_prefix(err, "the instance metadata service");
    }
    return rv;
}
