/*
 * AWS keys from the endpoint of a container: ECS's agent, EKS's pod identity agent, and others that speak as they do. ("Container
 * credential provider", AWS SDKs and Tools Reference Guide.)
 */
#include "aws/credentials_endpoint.h"
#include "aws/credentials_json.h"
#include "forward/credentials_load.h"
#include <errno.h>
#include <openssl/crypto.h>
#include <time.h>

static void came(void *data, int code, const struct fetched *fetched, const struct error *err)
{
    struct credentials_load *load = data;
    struct credentials_keys keys;
    struct error own = ERROR_INIT;
    load->fetch = NULL;
    if (fetched == NULL) {
        error_set(&own, code, "%s", err->text);
    } else if (fetched->status != 200) {
        error_set(&own, -EBADMSG, "it answers with status %d; see the agent's own log", fetched->status);
    } else if (credentials_json_parse(fetched->body, fetched->size, (time_t)(credentials_now_ms() / 1000),
                                      &keys, &own) == 0) {
        credentials_load_end(load, CONFIG_CREDENTIALS_CONTAINER, &keys);
        return;
    }
    error_prefix(&own, "the container's credentials endpoint");
    credentials_load_fail(load, &own);
}

int credentials_container_start(struct credentials_load *load, struct error *err)
{
    char token[CREDENTIALS_AUTHORIZATION_SIZE] = "", text[CREDENTIALS_CONTAINER_TEXT];
    struct credentials_url url;
    int rv = credentials_container_find(text, &url, err);
    if (rv != 0) {
        return rv;
    }
    rv = credentials_container_token(token, err);
    if (rv == 0) {
        struct fetch_options options = {.method = "GET",
                                        .url = &url,
                                        .timeout_ms = CREDENTIALS_FETCH_TIMEOUT_MS};
        if (token[0] != '\0') {
            options.headers[0] = (struct fetch_header){"authorization", token};
        }
        load->fetch = fetch_start(load->loop, &options, came, load, err);
        rv = load->fetch != NULL ? 1 : -EINVAL;
    }
    OPENSSL_cleanse(token, sizeof token);
    if (rv < 0) {
        error_prefix(err, "the container's credentials endpoint");
    }
    return rv == -ENOENT ? -EIO : rv; /* it is set up: its token's file is what is not there */
}
