/* Files of unix sockets: see sock_file.h. They are opened without being followed, looked at, and changed by that descriptor. */
#include "net/sock_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static bool is_it(const struct stat *st, const struct sock_file *file)
{
    return S_ISSOCK(st->st_mode) &&
           (file == NULL || (st->st_dev == file->device && st->st_ino == file->number));
}

struct sock_file sock_file_at(const char *path)
{
    struct stat st;
    if (lstat(path, &st) != 0 || !S_ISSOCK(st.st_mode)) {
        return (struct sock_file){.number = 0};
    }
    return (struct sock_file){.device = st.st_dev, .number = st.st_ino};
}

/* A descriptor that only stands for the file, or a negative errno value. */
static int open_it(const char *path, const struct sock_file *file)
{
    struct stat st;
    int fd = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    int rv = fstat(fd, &st) != 0 ? -errno : is_it(&st, file) ? 0 : -ENOENT;
    if (rv != 0) {
        close(fd);
        return rv;
    }
    return fd;
}

/* fchmod() takes no such descriptor, but its name in /proc is no link that leads anywhere else. */
int sock_file_set_mode(const char *path, const struct sock_file *file, mode_t mode)
{
    char self[64];
    int fd = open_it(path, file);
    if (fd < 0) {
        return fd;
    }
    snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
    int rv = chmod(self, mode) == 0 ? 0 : -errno;
    close(fd);
    if (rv == -ENOENT) { /* no /proc, as in an enclave that has not mounted it */
        rv = chmod(path, mode) == 0 ? 0 : -errno;
    }
    return rv;
}

int sock_file_set_group(const char *path, const struct sock_file *file, gid_t group)
{
    int fd = open_it(path, file);
    if (fd < 0) {
        return fd;
    }
    int rv = fchownat(fd, "", (uid_t)-1, group, AT_EMPTY_PATH) == 0 ? 0 : -errno;
    close(fd);
    return rv;
}

void sock_file_remove(const char *path, const struct sock_file *file)
{
    const struct sock_file there = sock_file_at(path);
    if (there.number != 0 && there.number == file->number && there.device == file->device) {
        (void)unlink(path);
    }
}
