/* The endpoints that hand out credentials: see credentials_endpoint.h. */
#include "aws/credentials_endpoint.h"

#include "aws/credentials_local.h"
#include "http/syntax.h"
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/*
 *     AWS_CONTAINER_CREDENTIALS_RELATIVE_URI     a path at 169.254.170.2, or else
 *     AWS_CONTAINER_CREDENTIALS_FULL_URI         http://, to a few addresses that no packet leaves the machine for
 *     AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE     what to say there; read each time, as it is replaced now and then; or else
 *     AWS_CONTAINER_AUTHORIZATION_TOKEN
 */
#define ECS_HOST "http://169.254.170.2"
#define TOKEN    "AWS_CONTAINER_AUTHORIZATION_TOKEN"

#define TOKEN_MAX (CREDENTIALS_AUTHORIZATION_SIZE - 2)

/* ---- What to say ---- */

static int read_token_file(const char *path, char token[CREDENTIALS_AUTHORIZATION_SIZE], struct error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    ssize_t size = fd >= 0 ? read(fd, token, CREDENTIALS_AUTHORIZATION_SIZE - 1) : -1;
    int rv = size >= 0 ? 0 : -errno;
    if (fd >= 0) {
        close(fd);
    }
    if (size < 0) {
        return error_errno(err, rv, "cannot read %s_FILE, %s", TOKEN, path);
    }
    /* Its last line may have an end. */
    size -= size > 0 && token[size - 1] == '\n' ? 1 : 0;
    token[size] = '\0';
    if ((size_t)size > TOKEN_MAX) {
        return error_set(err, -EINVAL, "%s_FILE, %s, is longer than %zu bytes", TOKEN, path, TOKEN_MAX);
    }
    bool whole = strlen(token) == (size_t)size && size > 0;
    return whole ? 0 : error_set(err, -EINVAL, "%s_FILE, %s, is empty, or no text", TOKEN, path);
}

int credentials_container_token(char token[CREDENTIALS_AUTHORIZATION_SIZE], struct error *err)
{
    const char *path = credentials_env(TOKEN "_FILE");
    const char *told = credentials_env(TOKEN);
    if (path != NULL) {
        return read_token_file(path, token, err);
    }
    int size = snprintf(token, CREDENTIALS_AUTHORIZATION_SIZE, "%s", told != NULL ? told : "");
    return size <= (int)TOKEN_MAX ? 0 : error_set(err, -EINVAL, "%s is too long", TOKEN);
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

static int find_full(const char *full, struct credentials_url *ret, struct error *err)
{
    int rv = credentials_url_parse(full, ret, err);
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

int credentials_container_find(char text[CREDENTIALS_CONTAINER_TEXT], struct credentials_url *ret,
                               struct error *err)
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
    int length = snprintf(text, CREDENTIALS_CONTAINER_TEXT, ECS_HOST "%s", relative);
    int rv = relative[0] == '/' && length < CREDENTIALS_CONTAINER_TEXT ? credentials_url_parse(text, ret, err)
                                                                       : -EINVAL;
    return rv == 0 ? 0
                   : error_set(err, -EINVAL,
                               "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI is no path; expected /v2/...");
}

/* ---- The metadata service ---- */

int credentials_instance_token(const char *body, size_t size, char ret[INSTANCE_TOKEN_MAX + 1],
                               struct error *err)
{
    bool is_token =
        size > 0 && size <= INSTANCE_TOKEN_MAX && http_run(body, size, HTTP_TOKEN | HTTP_TARGET) == size;
    if (!is_token) {
        return error_set(err, -EBADMSG, "what it gives as a token is none");
    }
    memcpy(ret, body, size);
    ret[size] = '\0';
    return 0;
}

/* The first line. Names of roles have letters, digits and +=,.@_- in them (IAM API Reference). */
int credentials_instance_role(const char *body, char ret[INSTANCE_ROLE_MAX + 1], struct error *err)
{
    size_t size = strcspn(body, "\r\n");
    bool good = size > 0 && size <= INSTANCE_ROLE_MAX;
    for (size_t i = 0; i < size && good; i++) {
        unsigned char c = (unsigned char)body[i];
        good = isalnum(c) || strchr("+=,.@_-", c) != NULL;
    }
    if (!good) {
        return error_set(err, -EBADMSG, "what it gives as the name of a role is none");
    }
    memcpy(ret, body, size);
    ret[size] = '\0';
    return 0;
}

int credentials_instance_explain(enum instance_step step, int status, struct error *err)
{
    if (step == INSTANCE_TOKEN && status == 403) {
        return error_set(err, -EACCES,
                         "it is turned off for this instance (status 403); turn it on with `aws "
                         "ec2 modify-instance-metadata-options --http-endpoint enabled`");
    }
    if (step != INSTANCE_TOKEN && status == 404) {
        return error_set(err, -ENODATA, "the instance has no role (status 404); attach an instance profile");
    }
    return error_set(err, -EBADMSG, "it answers with status %d", status);
}
