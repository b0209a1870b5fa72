/* Files that appear whole: see out_file.h. */
#include "cli/out_file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAMES_TRIED 16

/* A name beside `path` that nobody else thinks of. Owned by the caller. NULL: no memory, or no random number. */
static char *name_beside(const char *path)
{
    uint64_t number;
    char *name = NULL;
    if (getrandom(&number, sizeof number, 0) != (ssize_t)sizeof number ||
        asprintf(&name, "%s.%016jx", path, (uintmax_t)number) < 0) {
        return NULL;
    }
    return name;
}

static int open_nameless(const char *path, mode_t mode)
{
    char folder[PATH_MAX];
    const char *slash = strrchr(path, '/');
    size_t length = slash == NULL ? 0 : (size_t)(slash - path);
    if (slash == NULL || length == 0) {
        snprintf(folder, sizeof folder, "%s", slash == NULL ? "." : "/");
    } else {
        snprintf(folder, sizeof folder, "%.*s", (int)length, path);
    }
    return open(folder, O_TMPFILE | O_WRONLY | O_CLOEXEC, mode);
}

static int open_named(struct out_file *file, const char *path, mode_t mode)
{
    for (int i = 0; i < NAMES_TRIED; i++) {
        file->other_name = name_beside(path);
        if (file->other_name == NULL) {
            errno = ENOMEM;
            return -1;
        }
        int fd = open(file->other_name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
        if (fd >= 0) {
            return fd;
        }
        free(file->other_name);
        file->other_name = NULL;
        if (errno != EEXIST) {
            return -1;
        }
    }
    return -1;
}

static bool is_no_file(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && !S_ISREG(st.st_mode);
}

int out_file_open(struct out_file *file, const char *path, int standard, mode_t mode, struct error *err)
{
    *file = (struct out_file){.path = path, .fd = standard};
    if (path == NULL) {
        return 0;
    }
    if (is_no_file(path)) {
        file->as_it_is = true;
        file->fd = open(path, O_WRONLY | O_NOCTTY | O_CLOEXEC);
    } else {
        file->fd = open_nameless(path, mode);
        if (file->fd < 0 && errno != ENOENT && errno != EACCES) {
            file->fd = open_named(file, path, mode);
        }
    }
    return file->fd >= 0 ? 0 : error_errno(err, -errno, "cannot write %s", path);
}

int out_file_write(struct out_file *file, const void *data, size_t size)
{
    const char *at = data;
    while (size > 0) {
        ssize_t n = write(file->fd, at, size);
        if (n < 0 && errno != EINTR) {
            return -errno;
        }
        if (n > 0) {
            at += n;
            size -= (size_t)n;
        }
    }
    return 0;
}

/* A link cannot take the place of a file, a rename can. */
static int give_name(struct out_file *file)
{
    char self[64];
    if (file->other_name == NULL) {
        snprintf(self, sizeof self, "/proc/self/fd/%d", file->fd);
        if (linkat(AT_FDCWD, self, AT_FDCWD, file->path, AT_SYMLINK_FOLLOW) == 0) {
            return 0;
        }
        char *name = errno == EEXIST ? name_beside(file->path) : NULL;
        if (name == NULL || linkat(AT_FDCWD, self, AT_FDCWD, name, AT_SYMLINK_FOLLOW) != 0) {
            int r = -errno;
            free(name);
            return r;
        }
        file->other_name = name;
    }
    return rename(file->other_name, file->path) == 0 ? 0 : -errno;
}

static void finish(struct out_file *file, bool remove)
{
    if (remove && file->other_name != NULL) {
        (void)unlink(file->other_name);
    }
    free(file->other_name);
    if (file->path != NULL && file->fd >= 0) {
        close(file->fd);
    }
    *file = (struct out_file){.fd = -1};
}

int out_file_commit(struct out_file *file, struct error *err)
{
    const char *path = file->path;
    int r = 0;
    if (path != NULL && !file->as_it_is) {
        r = fsync(file->fd) == 0 ? give_name(file) : -errno;
    }
    finish(file, r != 0);
    return r == 0 ? 0 : error_errno(err, r, "cannot write %s", path);
}

void out_file_abandon(struct out_file *file)
{
    finish(file, true);
}
