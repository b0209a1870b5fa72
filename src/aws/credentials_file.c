/* The shared credentials file: see credentials_file.h. */
#include "aws/credentials_file.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

/* Longer than any file system's clock ticks. */
#define SETTLED_AFTER_S 2

/* ---- Its lines ---- */

struct parse {
    const char *profile;
    unsigned line;
    bool inside;      /* in the profile */
    bool found;       /* it is there */
    bool has_setting; /* since the last [section] */
    size_t indent;    /* of that setting */
    const char *id, *secret, *token;
    const char *unfollowed; /* a setting that has keys come from elsewhere */
};

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

static char *trim(char *text)
{
    while (is_blank(*text)) {
        text++;
    }
    size_t size = strlen(text);
    while (size > 0 && is_blank(text[size - 1])) {
        size--;
    }
    text[size] = '\0';
    return text;
}

/* What follows a blank and # or ; is a comment: no key has blanks in it. */
static void cut_comment(char *text)
{
    for (; *text != '\0'; text++) {
        if (is_blank(text[0]) && (text[1] == '#' || text[1] == ';')) {
            *text = '\0';
            return;
        }
    }
}

static int read_section(struct parse *parse, char *text, struct error *err)
{
    char *end = strchr(text, ']');
    if (end == NULL) {
        return error_set(err, -EINVAL, "line %u: a [profile] without its closing bracket", parse->line);
    }
    *end = '\0';
    parse->inside = strcmp(trim(text + 1), parse->profile) == 0;
    parse->found |= parse->inside;
    parse->has_setting = false;
    return 0;
}

static bool leads_elsewhere(const char *name)
{
    static const char *const names[] = {"role_arn", "credential_process", "sso_session", "sso_start_url",
                                        "web_identity_token_file"};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        if (strcasecmp(name, names[i]) == 0) {
            return true;
        }
    }
    return false;
}

static int read_setting(struct parse *parse, char *text, struct error *err)
{
    char *equals = strchr(text, '=');
    if (equals == NULL) {
        return error_set(err, -EINVAL, "line %u: expected `name = value`", parse->line);
    }
    *equals = '\0';
    cut_comment(equals + 1);
    const char *name = trim(text);
    const char *value = trim(equals + 1);
    if (strcasecmp(name, "aws_access_key_id") == 0) {
        parse->id = value;
    } else if (strcasecmp(name, "aws_secret_access_key") == 0) {
        parse->secret = value;
    } else if (strcasecmp(name, "aws_session_token") == 0) {
        parse->token = value;
    } else if (leads_elsewhere(name)) {
        parse->unfollowed = name;
    }
    return 0;
}

static int read_line(struct parse *parse, char *line, struct error *err)
{
    size_t indent = strspn(line, " \t");
    char *text = trim(line);
    parse->line++;
    if (text[0] == '\0' || text[0] == '#' || text[0] == ';') {
        return 0;
    }
    if (parse->has_setting && indent > parse->indent) {
        return 0;
    }
    if (text[0] == '[') {
        return read_section(parse, text, err);
    }
    parse->has_setting = true;
    parse->indent = indent;
    return parse->inside ? read_setting(parse, text, err) : 0;
}

static int take_keys(const struct parse *parse, struct credentials_keys *ret, struct error *err)
{
    if (!parse->found) {
        return error_set(err, -ENOENT, "there is no profile [%s] in it", parse->profile);
    }
    if (parse->id == NULL && parse->secret == NULL) {
        return parse->unfollowed == NULL
                   ? error_set(err, -ENOENT, "profile [%s] has no aws_access_key_id", parse->profile)
                   : error_set(err, -EINVAL, "profile [%s] has %s, which is not followed; expected keys",
                               parse->profile, parse->unfollowed);
    }
    int rv = credentials_keys_set(ret, parse->id, parse->secret, parse->token, err);
    if (rv != 0) {
        error_prefix(err, "profile [%s]", parse->profile);
    }
    return rv;
}

int credentials_file_parse(char *data, size_t size, const char *profile, struct credentials_keys *ret,
                           struct error *err)
{
    struct parse parse = {.profile = profile};
    int rv = 0;
    *ret = (struct credentials_keys){.expires = 0};
    if (memchr(data, '\0', size) != NULL) {
        return error_set(err, -EINVAL, "there is a NUL byte in it");
    }
    data[size] = '\0';
    for (char *line = data; line != NULL && rv == 0;) {
        char *next = strchr(line, '\n');
        if (next != NULL) {
            *next++ = '\0';
        }
        rv = read_line(&parse, line, err);
        line = next;
    }
    return rv == 0 ? take_keys(&parse, ret, err) : rv;
}

/* ---- The file ---- */

static bool same_time(struct timespec a, struct timespec b)
{
    return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

static bool same_file(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
           same_time(a->st_mtim, b->st_mtim) && same_time(a->st_ctim, b->st_ctim);
}

bool credentials_file_changed(const char *path, const struct credentials_stamp *stamp)
{
    struct stat now;
    return !stamp->settled || stat(path, &now) != 0 || !same_file(&stamp->stat, &now);
}

/* How many bytes, at most `size`; or a negative errno value. */
static ssize_t read_whole(int fd, char *data, size_t size)
{
    size_t length = 0;
    for (;;) {
        ssize_t count = read(fd, data + length, size - length);
        if (count <= 0) {
            return count == 0 ? (ssize_t)length : -errno;
        }
        length += (size_t)count;
        if (length == size) {
            return -EFBIG;
        }
    }
}

static int stamp_file(int fd, struct credentials_stamp *stamp)
{
    struct timespec now;
    if (fstat(fd, &stamp->stat) != 0) {
        return -errno;
    }
    clock_gettime(CLOCK_REALTIME, &now);
    stamp->settled = now.tv_sec - stamp->stat.st_ctim.tv_sec > SETTLED_AFTER_S;
    return S_ISREG(stamp->stat.st_mode) ? 0 : -EINVAL;
}

/* One byte more than a file may have, and one for the end of the string. */
#define BUFFER_SIZE (CREDENTIALS_FILE_MAX + 2)

static int read_open_file(int fd, const char *profile, struct credentials_keys *ret,
                          struct credentials_stamp *stamp, struct error *err)
{
    int rv = stamp_file(fd, stamp);
    if (rv != 0) {
        return rv == -EINVAL ? error_set(err, rv, "it is no regular file")
                             : error_errno(err, rv, "cannot look at it");
    }
    char *data = malloc(BUFFER_SIZE);
    if (data == NULL) {
        return error_errno(err, -ENOMEM, "cannot read it");
    }
    ssize_t size = read_whole(fd, data, CREDENTIALS_FILE_MAX + 1);
    if (size >= 0) {
        rv = credentials_file_parse(data, (size_t)size, profile, ret, err);
    } else {
        rv = error_errno(err, (int)size, "cannot read it (%zu bytes at most)", CREDENTIALS_FILE_MAX);
    }
    OPENSSL_cleanse(data, BUFFER_SIZE);
    free(data);
    return rv;
}

int credentials_file_read(const char *path, const char *profile, struct credentials_keys *ret,
                          struct credentials_stamp *stamp, struct error *err)
{
    int rv;
    /* Without O_NONBLOCK a FIFO would keep us waiting. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd >= 0) {
        rv = read_open_file(fd, profile, ret, stamp, err);
        close(fd);
    } else {
        rv = errno == ENOTDIR ? -ENOENT : -errno;
        error_errno(err, rv, "cannot open it");
    }
    if (rv != 0) {
        error_prefix(err, "credentials file %s", path);
    }
    return rv;
}
