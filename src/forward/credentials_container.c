/*
 * AWS keys from the endpoint of a container: ECS's agent, EKS's pod identity agent, and others that speak as they do. ("Container
 * credential provider", AWS SDKs and Tools Reference Guide.)
 *
 *     AWS_CONTAINER_CREDENTIALS_RELATIVE_URI     a path at 169.254.170.2, or else
 *     AWS_CONTAINER_CREDENTIALS_FULL_URI         http://, to a few addresses that no packet leaves the machine for
 *     AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE     what to say there; read each time, as it is replaced now and then; or else
 *     AWS_CONTAINER_AUTHORIZATION_TOKEN
 */
#include "forward/credentials_json.h"
#include "forward/credentials_load.h"
#include "forward/credentials_local.h"
#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define ECS_HOST "http://169.254.170.2"
#define TOKEN    "AWS_CONTAINER_AUTHORIZATION_TOKEN"

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

/* ---- What to say ---- */

/* One byte more than may be: then it is too long. */
#define TOKEN_SIZE (FETCH_HEADER_MAX + 2)

static int read_token_file(const char *path, char token[TOKEN_SIZE], struct error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    ssize_t size = fd >= 0 ? read(fd, token, TOKEN_SIZE - 1) : -1;
    int rv = size >= 0 ? 0 : -errno;
    if (fd >= 0) {
        close(fd);
    }
    if (rv != 0) {
        return error_errno(err, rv, "cannot read %s_FILE, %s", TOKEN, path);
    }
    /* Its last line may have an end. */
    size -= size > 0 && token[size - 1] == '\n' ? 1 : 0;
    token[size] = '\0';
    bool whole = strlen(token) == (size_t)size && size > 0;
    return whole ? 0 : error_set(err, -EINVAL, "%s_FILE, %s, is empty, or no text", TOKEN, path);
}

/* "": nothing. */
static int get_token(char token[TOKEN_SIZE], struct error *err)
{
    const char *path = credentials_env(TOKEN "_FILE");
    const char *told = credentials_env(TOKEN);
    if (path != NULL) {
        return read_token_file(path, token, err);
    }
    int size = snprintf(token, TOKEN_SIZE, "%s", told != NULL ? told : "");
    return size < (int)TOKEN_SIZE ? 0 : error_set(err, -EINVAL, "%s is too long", TOKEN);
}

/* ---- Where ---- */

static bool is_allowed(const struct addr *to)
{
    static const char *const hosts[] = {"169.254.170.2", "169.254.170.23", "fd00:ec2::23", "::1"};
    if (strncmp(to->host, "127.", 4) == 0) {
        return true;
    }
    for (size_t i = 0; i < ARRAY_SIZE(hosts); i++) {
        if (strcmp(to->host, hosts[i]) == 0) {
            return true;
        }
    }
    return false;
}

static int find_full(const char *full, struct fetch_url *ret, struct error *err)
{
    int rv = fetch_url_parse(full, ret, err);
    if (rv == 0 && !is_allowed(&ret->to)) {
        rv = error_set(err, -EACCES,
                       "it leads elsewhere than to 127.0.0.0/8, ::1, 169.254.170.2, "
                       "169.254.170.23 or fd00:ec2::23");
    }
    if (rv != 0) {
        error_prefix(err, "AWS_CONTAINER_CREDENTIALS_FULL_URI");
    }
    return rv;
}

/* `text` is what *ret points into. */
static int find_endpoint(char *text, size_t size, struct fetch_url *ret, struct error *err)
{
    const char *relative = credentials_env("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
    const char *full = credentials_env("AWS_CONTAINER_CREDENTIALS_FULL_URI");
    if (relative == NULL && full == NULL) {
        return error_set(err, -ENOENT,
                         "neither AWS_CONTAINER_CREDENTIALS_RELATIVE_URI nor "
                         "AWS_CONTAINER_CREDENTIALS_FULL_URI is set; ECS and EKS set one of them");
    }
    if (relative == NULL) {
        return find_full(full, ret, err);
    }
    int length = snprintf(text, size, ECS_HOST "%s", relative);
    int rv = relative[0] == '/' && length < (int)size ? fetch_url_parse(text, ret, err) : -EINVAL;
    return rv == 0 ? 0
                   : error_set(err, -EINVAL,
                               "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI is no path; expected /v2/...");
}

int credentials_container_start(struct credentials_load *load, struct error *err)
{
    char token[TOKEN_SIZE] = "", text[FETCH_TARGET_MAX + sizeof ECS_HOST];
    struct fetch_url url;
    int rv = find_endpoint(text, sizeof text, &url, err);
    if (rv != 0) {
        return rv;
    }
    rv = get_token(token, err);
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
    return rv;
}
