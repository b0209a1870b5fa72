/* Bytes from a command line: see kms_input.h. */
#include "cli/kms_input.h"

#include "kms/base64.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *name_of(const char *text)
{
    return text[0] == '@' ? text + 1 : "standard input";
}

static int open_input(const char *text)
{
    bool is_file = text[0] == '@' && strcmp(text, "@-") != 0;
    return is_file ? open(text + 1, O_RDONLY | O_CLOEXEC | O_NOCTTY) : STDIN_FILENO;
}

/* Up to `room` bytes. */
static int read_all(int fd, uint8_t *data, size_t room, size_t *ret_size)
{
    *ret_size = 0;
    while (*ret_size < room) {
        ssize_t n = read(fd, data + *ret_size, room - *ret_size);
        if (n == 0) {
            return 0;
        }
        if (n < 0 && errno != EINTR) {
            return -errno;
        }
        *ret_size += n > 0 ? (size_t)n : 0;
    }
    return 0;
}

static int read_file(const char *text, uint8_t *data, size_t room, size_t *ret_size, struct error *err)
{
    int fd = open_input(text);
    int r = fd < 0 ? -errno : read_all(fd, data, room, ret_size);
    if (fd > STDIN_FILENO) {
        close(fd);
    }
    if (r != 0) {
        return error_errno(err, r, "cannot read %s", name_of(text));
    }
    return *ret_size < room ? 0 : error_set(err, -E2BIG, "%s is too large", name_of(text));
}

static size_t without_blanks(char *text, size_t length)
{
    size_t kept = 0;
    for (size_t i = 0; i < length; i++) {
        if (text[i] == '\0' || strchr(" \t\r\n", text[i]) == NULL) {
            text[kept++] = text[i];
        }
    }
    return kept;
}

/* In its own place. */
static int decode(uint8_t *data, size_t *size, struct error *err)
{
    size_t length = without_blanks((char *)data, *size);
    uint8_t *plain = malloc(BASE64_ROOM(length) + 1);
    if (plain == NULL) {
        return error_set(err, -ENOMEM, "out of memory");
    }
    int r = base64_decode((const char *)data, length, plain, size);
    if (r == 0) {
        memcpy(data, plain, *size);
    }
    free(plain);
    return r == 0 ? 0
                  : error_set(err, r,
                              "this is not base64; bytes are read from @FILE, or from - (standard input)");
}

/* As it stands on the command line, or in the file. */
static int take(const char *text, bool is_text, uint8_t *data, size_t room, size_t *ret_size,
                struct error *err)
{
    if (!is_text) {
        return read_file(text, data, room, ret_size, err);
    }
    *ret_size = strlen(text);
    if (*ret_size >= room) {
        error_set(err, -E2BIG, "this is too large");
        return -E2BIG;
    }
    memcpy(data, text, *ret_size);
    return 0;
}

static int read_and_decode(const char *text, bool in_base64, size_t max, uint8_t *data, size_t room,
                           size_t *ret_size, struct error *err)
{
    bool is_text = text[0] != '@' && strcmp(text, "-") != 0;
    int r = take(text, is_text, data, room, ret_size, err);
    if (r == 0 && (is_text || in_base64)) {
        r = decode(data, ret_size, err);
    }
    if (r != 0) {
        return r;
    }
    if (*ret_size == 0 || *ret_size > max) {
        return error_set(err, *ret_size == 0 ? -EINVAL : -E2BIG, "it has %zu bytes: 1 to %zu are expected",
                         *ret_size, max);
    }
    return 0;
}

int kms_input_read(const char *text, bool in_base64, size_t max, uint8_t **ret, size_t *ret_size,
                   struct error *err)
{
    size_t room = 2 * BASE64_LENGTH(max) + 1;
    uint8_t *data = calloc(1, room);
    if (data == NULL) {
        return error_set(err, -ENOMEM, "out of memory");
    }
    int r = read_and_decode(text, in_base64, max, data, room, ret_size, err);
    if (r != 0) {
        free(data);
        return r;
    }
    *ret = data;
    return 0;
}
