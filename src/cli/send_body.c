/* Where the body of postern send comes from: see send.h. */
#include "cli/send.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Of a file what is left of it. Some, of /proc for one, have more than they say, and a pipe does not say. */
static uint64_t size_of(int fd)
{
    struct stat st;
    char byte;
    off_t at = lseek(fd, 0, SEEK_CUR);
    if (at < 0 || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        return POSTERN_BODY_UNKNOWN;
    }
    if (st.st_size > at) {
        return (uint64_t)(st.st_size - at);
    }
    return pread(fd, &byte, 1, at) == 0 ? 0 : POSTERN_BODY_UNKNOWN;
}

static int open_file(struct send_body *body, const char *path, struct error *err)
{
    struct stat st;
    body->fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (body->fd < 0) {
        return error_errno(err, -errno, "--data: cannot open %s", path);
    }
    if (fstat(body->fd, &st) == 0 && S_ISDIR(st.st_mode)) {
        close(body->fd);
        return error_set(err, -EISDIR, "--data: %s is a directory: a file is expected", path);
    }
    return 0;
}

int send_body_open(struct send_body *body, const char *data, struct error *err)
{
    *body = (struct send_body){.kind = SEND_NOTHING, .fd = -1};
    if (data == NULL) {
        return 0;
    }
    if (data[0] != '@' && strcmp(data, "-") != 0) {
        body->kind = SEND_TEXT;
        body->text = data;
        body->size = body->left = strlen(data);
        return 0;
    }
    bool is_stdin = strcmp(data, "-") == 0 || strcmp(data, "@-") == 0;
    body->name = is_stdin ? "standard input" : data + 1;
    body->fd = STDIN_FILENO;
    int r = is_stdin ? 0 : open_file(body, data + 1, err);
    if (r != 0) {
        body->fd = -1;
        return r;
    }
    body->kind = SEND_FILE;
    body->size = body->left = size_of(body->fd);
    stdio_end_open(&body->end, body->fd, false);
    return 0;
}

void send_body_close(struct send_body *body)
{
    if (body->kind != SEND_FILE) {
        return;
    }
    if (body->end.fd != body->fd) {
        close(body->end.fd);
    }
    if (body->fd != STDIN_FILENO) {
        close(body->fd);
    }
    body->kind = SEND_NOTHING;
}

static ssize_t read_text(struct send_body *body, void *buffer, size_t size)
{
    memcpy(buffer, body->text, size);
    body->text += size;
    return (ssize_t)size;
}

ssize_t send_body_read(struct send_body *body, void *buffer, size_t size)
{
    size_t most = body->left < size ? (size_t)body->left : size;
    if (most == 0) {
        return 0;
    }
    ssize_t n =
        body->kind == SEND_TEXT ? read_text(body, buffer, most) : stdio_end_read(&body->end, buffer, most);
    if (n > 0 && body->left != POSTERN_BODY_UNKNOWN) {
        body->left -= (uint64_t)n;
    }
    return n;
}
