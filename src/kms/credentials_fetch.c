/*
 * Credentials from endpoints, asked by a thread that waits: the one that a container's environment names, at an address of this
 * machine; and the metadata service of the instance, version 2, at the end of a relay route. See credentials.h.
 *
 * Version 1, which needs no token, is never spoken. Keys and tokens pass in plain text: over vsock, from the parent's instance, whose
 * role they are.
 */
#include "aws/credentials_json.h"
#include "kms/clock.h"
#include "kms/credentials.h"
#include "kms/exchange.h"

#include "base/text.h"
#include "http/syntax.h"
#include <errno.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>

#define FETCH_TIMEOUT_MS 5000u
#define FETCH_BODY_MAX   ((size_t)32 * 1024)

#define METADATA_HOST "169.254.169.254"

struct ask {
    const struct kms_place *to;
    const char *host, *method, *target;
    const char *name, *value; /* a header; NULL: none */
};

static int make_request(const struct ask *ask, struct text *out, struct error *err)
{
    size_t size = ask->name ? strlen(ask->value) : 0;

    if (http_run(ask->value ? ask->value : "", size, HTTP_VALUE) != size) {
        return error_set(err, -EINVAL, "the value for %s has a line break or another control in it",
                         ask->name);
    }
    text_addf(out,
              "%s %s HTTP/1.1\r\nhost: %s\r\naccept: */*\r\nuser-agent: postern\r\nconnection: close\r\n",
              ask->method, ask->target[0] != '\0' ? ask->target : "/", ask->host);
    if (ask->name) {
        text_addf(out, "%s: %s\r\n", ask->name, ask->value);
    }
    text_add(out, strcmp(ask->method, "PUT") == 0 ? "content-length: 0\r\n\r\n" : "\r\n");
    return out->failed ? error_set(err, -ENOMEM, "out of memory") : 0;
}

static int exchange(const struct ask *ask, const struct text *request, uint64_t deadline,
                    struct kms_reply *ret, struct error *err)
{
    uint64_t own = kms_now_ms() + FETCH_TIMEOUT_MS;
    struct kms_wire wire;
    struct kms_trouble trouble = {.status = 0};
    int status = kms_wire_open(&wire, ask->to, own < deadline ? own : deadline);

    if (status == 0) {
        const struct kms_lane lane = kms_wire_lane(&wire);
        status = kms_exchange(&lane, request->data, request->length, FETCH_BODY_MAX, ret, &trouble);
    } else {
        trouble = wire.trouble;
    }
    kms_wire_close(&wire, status == 0);
    return status == 0 ? 0 : error_set(err, status, "%s", trouble.why.text);
}

static int fetch(const struct ask *ask, uint64_t deadline, struct kms_reply *ret, struct error *err)
{
    struct text request = TEXT_SECRET_INIT; /* a token is in it */
    char place[ADDR_TEXT_MAX];

    *ret = (struct kms_reply){.status = 0};
    int status = make_request(ask, &request, err);
    status = status == 0 ? exchange(ask, &request, deadline, ret, err) : status;
    text_release(&request);
    if (status != 0) {
        error_prefix(err, "%s", kms_place_name(ask->to, place));
        kms_reply_release(ret);
    }
    return status;
}

static int read_keys(const struct kms_reply *reply, struct credentials_keys *ret, struct error *err)
{
    return credentials_json_parse(reply->body ? reply->body : "", reply->size,
                                  (time_t)(credentials_now_ms() / 1000), ret, err);
}

/* ---- A container's endpoint ---- */

static int ask_container(const struct credentials_url *url, const char *token, uint64_t deadline,
                         struct credentials_keys *ret, struct error *err)
{
    const struct kms_place to = {.addr = url->to};
    const struct ask ask = {.to = &to,
                            .host = url->authority,
                            .method = "GET",
                            .target = url->target,
                            .name = token[0] != '\0' ? "authorization" : NULL,
                            .value = token};
    struct kms_reply reply;
    int status = fetch(&ask, deadline, &reply, err);

    if (status == 0 && reply.status != 200) {
        status = error_set(err, -EBADMSG, "it answers with status %u; see the agent's own log", reply.status);
    } else if (status == 0) {
        status = read_keys(&reply, ret, err);
    }
    kms_reply_release(&reply);
    return status;
}

int kms_look_container(uint64_t deadline, struct credentials_keys *ret, struct error *err)
{
    char token[CREDENTIALS_AUTHORIZATION_SIZE] = "", text[CREDENTIALS_CONTAINER_TEXT];
    struct credentials_url url;
    int status = credentials_container_find(text, &url, err);

    if (status == -ENOENT) {
        return status;
    }
    status = status == 0 ? credentials_container_token(token, err) : status;
    status = status == 0 ? ask_container(&url, token, deadline, ret, err) : status;
    OPENSSL_cleanse(token, sizeof token);
    if (status != 0) {
        error_prefix(err, "the container's credentials endpoint");
    }
    return status == -ENOENT ? -EIO : status;
}

/* ---- The metadata service ---- */

static int ask_metadata(const struct kms_look *look, enum instance_step step, const char *target,
                        uint64_t deadline, struct kms_reply *ret, struct error *err)
{
    bool first = step == INSTANCE_TOKEN;
    const struct ask ask = {.to = &look->metadata,
                            .host = METADATA_HOST,
                            .method = first ? "PUT" : "GET",
                            .target = target,
                            .name =
                                first ? "x-aws-ec2-metadata-token-ttl-seconds" : "x-aws-ec2-metadata-token",
                            .value = first ? INSTANCE_TOKEN_LIFE_S : look->token};
    int status = fetch(&ask, deadline, ret, err);

    if (status == 0 && ret->status == 401 && !first) {
        kms_reply_release(ret);
        return -EKEYREJECTED; /* the token is not known any more */
    }
    if (status == 0 && ret->status != 200) {
        status = credentials_instance_explain(step, (int)ret->status, err);
        kms_reply_release(ret);
    }
    return status;
}

static int get_token(struct kms_look *look, uint64_t deadline, struct error *err)
{
    struct kms_reply reply;
    int status;

    if (look->token[0] != '\0' && kms_now_ms() < look->token_until) {
        return 0;
    }
    look->token[0] = '\0';
    status = ask_metadata(look, INSTANCE_TOKEN, INSTANCE_TOKEN_PATH, deadline, &reply, err);
    if (status != 0) {
        return status;
    }
    status = credentials_instance_token(reply.body ? reply.body : "", reply.size, look->token, err);
    look->token_until = kms_now_ms() + INSTANCE_TOKEN_USE_FOR_MS;
    kms_reply_release(&reply);
    return status;
}

static int get_role(const struct kms_look *look, uint64_t deadline, char role[INSTANCE_ROLE_MAX + 1],
                    struct error *err)
{
    struct kms_reply reply;
    int status = ask_metadata(look, INSTANCE_ROLE, INSTANCE_ROLES_PATH, deadline, &reply, err);

    if (status == 0) {
        status = credentials_instance_role(reply.body ? reply.body : "", role, err);
        kms_reply_release(&reply);
    }
    return status;
}

static int get_keys(struct kms_look *look, uint64_t deadline, struct credentials_keys *ret, struct error *err)
{
    char role[INSTANCE_ROLE_MAX + 1], target[sizeof INSTANCE_ROLES_PATH + INSTANCE_ROLE_MAX];
    struct kms_reply reply;
    int status = get_token(look, deadline, err);

    status = status == 0 ? get_role(look, deadline, role, err) : status;
    if (status != 0) {
        return status;
    }
    snprintf(target, sizeof target, INSTANCE_ROLES_PATH "%s", role);
    status = ask_metadata(look, INSTANCE_KEYS, target, deadline, &reply, err);
    if (status == 0) {
        status = read_keys(&reply, ret, err);
        kms_reply_release(&reply);
    }
    return status;
}

int kms_look_metadata(struct kms_look *look, uint64_t deadline, struct credentials_keys *ret,
                      struct error *err)
{
    if (!look->has_metadata) {
        return error_set(
            err, -ENOENT,
            "there is no way to the metadata service: no connection to the daemon for its route, "
            "and no metadata address");
    }
    int status = get_keys(look, deadline, ret, err);
    if (status == -EKEYREJECTED) { /* once */
        look->token[0] = '\0';
        status = get_keys(look, deadline, ret, err);
    }
    if (status == -EKEYREJECTED) {
        status = error_set(err, -EBADMSG, "it refuses the token that it has just given (status 401)");
    }
    if (status != 0) {
        error_prefix(err, "the instance metadata service");
    }
    return status == -ENOENT ? -EIO : status;
}
