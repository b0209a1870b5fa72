/* What the variables of templates are worth. */
#include "http/values.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Longer than any file system's clock ticks. */
#define SETTLED_AFTER_S 2

void http_secrets_init(struct http_secrets *secrets, const char *directory)
{
    *secrets = (struct http_secrets){.directory = directory};
}

void http_secrets_release(struct http_secrets *secrets)
{
    for (unsigned i = 0; i < secrets->count; i++) {
        free(secrets->list[i].path);
        text_release(&secrets->list[i].value);
    }
    free(secrets->list);
    http_secrets_init(secrets, secrets->directory);
}

/* The entry for `path`, made if there is none. NULL: out of memory. */
static struct http_secret *find_secret(struct http_secrets *secrets, const char *path)
{
    for (unsigned i = 0; i < secrets->count; i++) {
        if (strcmp(secrets->list[i].path, path) == 0) {
            return &secrets->list[i];
        }
    }
    struct http_secret *list = reallocarray(secrets->list, secrets->count + 1, sizeof *list);
    if (list == NULL) {
        return NULL;
    }
    secrets->list = list;
    struct http_secret *secret = &list[secrets->count];
    *secret = (struct http_secret){.path = strdup(path)};
    if (secret->path == NULL) {
        return NULL;
    }
    secret->value = (struct text){.limit = HTTP_SECRET_MAX, .wiped = true};
    secrets->count++;
    return secret;
}

static bool same_time(struct timespec a, struct timespec b)
{
    return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

static bool same_file(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
           same_time(a->st_mtim, b->st_mtim) && same_time(a->st_ctim, b->st_ctim);
}

/* To the end of the file, or one byte past what it may have. */
static int read_whole(int fd, struct text *out)
{
    char buffer[4096];
    int r = 1;
    while (r > 0) {
        ssize_t count = read(fd, buffer, sizeof buffer);
        if (count <= 0) {
            r = count == 0 ? 0 : -errno;
        } else if ((size_t)count > HTTP_SECRET_MAX - out->length) {
            r = -EFBIG;
        } else {
            text_add_bytes(out, buffer, (size_t)count);
            r = out->failed ? -ENOMEM : 1;
        }
    }
    explicit_bzero(buffer, sizeof buffer);
    return r;
}

static int read_open_file(struct http_secret *secret, int fd)
{
    struct timespec now;
    text_clear(&secret->value);
    secret->settled = false;
    if (fstat(fd, &secret->stat) != 0) {
        return -errno;
    }
    if (!S_ISREG(secret->stat.st_mode)) {
        return -EINVAL;
    }
    clock_gettime(CLOCK_REALTIME, &now);
    int r = read_whole(fd, &secret->value);
    secret->settled = r == 0 && now.tv_sec - secret->stat.st_ctim.tv_sec > SETTLED_AFTER_S;
    return r;
}

static int read_file(struct http_secret *secret)
{
    /* Without O_NONBLOCK a FIFO would keep us waiting. */
    int fd = open(secret->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        return -errno;
    }
    int r = read_open_file(secret, fd);
    close(fd);
    return r;
}

static int refresh(struct http_secret *secret)
{
    struct stat now;
    if (secret->settled && stat(secret->path, &now) == 0 && same_file(&secret->stat, &now)) {
        return 0;
    }
    return read_file(secret);
}

static int get_file(struct http_secrets *secrets, const char *path, struct text *out, struct error *err)
{
    struct http_secret *secret = find_secret(secrets, path);
    int r = secret != NULL ? refresh(secret) : -ENOMEM;
    if (r == -EFBIG) {
        return error_set(err, r, "%s is larger than %d bytes; expected a file with the value alone", path,
                         HTTP_SECRET_MAX);
    }
    if (r == -EINVAL) {
        return error_set(err, r, "%s is no regular file", path);
    }
    if (r != 0) {
        return error_errno(err, r, "cannot read %s", path);
    }
    text_add_bytes(out, text_string(&secret->value), secret->value.length);
    return 0;
}

static int get_credential(struct http_secrets *secrets, const char *name, struct text *out, struct error *err)
{
    char path[PATH_MAX];
    if (secrets->directory == NULL) {
        return error_set(err, -ENOENT,
                         "no credentials were handed over; add `LoadCredential=%s:PATH` to the unit", name);
    }
    int length = snprintf(path, sizeof path, "%s/%s", secrets->directory, name);
    if (length >= (int)sizeof path) {
        return error_set(err, -ENAMETOOLONG, "the path of the credential is too long");
    }
    return get_file(secrets, path, out, err);
}

static int get_environment(const char *name, struct text *out, struct error *err)
{
    const char *value = getenv(name); /* nobody changes the environment while threads run */
    if (value == NULL) {
        return error_set(err, -ENOENT,
                         "it is not set; set it in the unit, by `Environment=` or `EnvironmentFile=`");
    }
    text_add(out, value);
    return 0;
}

int http_values_get(void *data, enum http_variable kind, const char *name, struct text *out,
                    struct error *err)
{
    const struct http_values *values = data;
    switch (kind) {
    case HTTP_VARIABLE_ENCLAVE:
        text_add(out, values->enclave != NULL ? values->enclave : "none");
        return 0;
    case HTTP_VARIABLE_CID:
        text_addf(out, "%u", values->cid);
        return 0;
    case HTTP_VARIABLE_ROUTE:
        text_add(out, values->route);
        return 0;
    case HTTP_VARIABLE_REQUEST_ID:
        text_add(out, values->request_id);
        return 0;
    case HTTP_VARIABLE_ENV:
        return get_environment(name, out, err);
    case HTTP_VARIABLE_FILE:
        return get_file(values->secrets, name, out, err);
    default:
        return get_credential(values->secrets, name, out, err);
    }
}
