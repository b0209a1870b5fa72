/* A table of mounts and one of links, gone through in their order. */
#include "init/mounts.h"
#include "base/error.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

struct wanted {
    const char *target, *type, *options;
    unsigned long flags;
    mode_t mode;     /* of the directory, if it has to be made */
    bool only_empty; /* what an image has put there stays to be seen */
};

/* A parent before what lies in it. */
static const struct wanted mounts[] = {
    {"/dev", "devtmpfs", "mode=0755", MS_NOSUID | MS_NOEXEC, 0755, false},
    {"/proc", "proc", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC, 0555, false},
    {"/sys", "sysfs", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC, 0555, false},
    {"/dev/shm", "tmpfs", "mode=1777", MS_NOSUID | MS_NODEV | MS_NOEXEC, 01777, false},
    {"/dev/pts", "devpts", "mode=0620,ptmxmode=0666", MS_NOSUID | MS_NOEXEC, 0755, false},
    {"/run", "tmpfs", "mode=0755", MS_NOSUID | MS_NODEV, 0755, true},
    {"/tmp", "tmpfs", "mode=1777", MS_NOSUID | MS_NODEV, 01777, true},
    {"/sys/fs/cgroup", "cgroup2", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC, 0755, false},
};

static const struct {
    const char *path, *target;
} links[] = {
    {"/dev/fd", "/proc/self/fd"},
    {"/dev/stdin", "/proc/self/fd/0"},
    {"/dev/stdout", "/proc/self/fd/1"},
    {"/dev/stderr", "/proc/self/fd/2"},
};

/* Whether something is mounted there: another device than that of the directory above it. */
static bool is_mounted(const char *path)
{
    char above[PATH_MAX];
    struct stat here, there;

    snprintf(above, sizeof above, "%s/..", path);
    return stat(path, &here) == 0 && stat(above, &there) == 0 && here.st_dev != there.st_dev;
}

/* One that cannot be read counts as empty: mounting over it loses nothing that could be had. */
static bool is_empty(const char *path)
{
    DIR *folder = opendir(path);
    struct dirent *entry;
    bool empty = true;

    while (empty && folder && (entry = readdir(folder))) {
        empty = !strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..");
    }
    if (folder) {
        closedir(folder);
    }
    return empty;
}

static int mount_one(const char *root, const struct wanted *wanted, struct error *err)
{
    char path[PATH_MAX];

    snprintf(path, sizeof path, "%s%s", root, wanted->target);
    if (mkdir(path, wanted->mode) < 0 && errno != EEXIST) {
        return error_errno(err, -errno, "cannot make the directory %s to mount a %s there", path,
                           wanted->type);
    }
    if (is_mounted(path) || (wanted->only_empty && !is_empty(path))) {
        return 0;
    }
    /* EBUSY: it is there, and looks like the directory above it, as after a bind mount. */
    if (mount(wanted->type, path, wanted->type, wanted->flags, wanted->options) < 0 && errno != EBUSY) {
        return error_errno(err, -errno, "cannot mount a %s at %s", wanted->type, path);
    }
    return 0;
}

static int link_one(const char *root, const char *name, const char *target, struct error *err)
{
    char path[PATH_MAX];

    snprintf(path, sizeof path, "%s%s", root, name);
    if (symlink(target, path) < 0 && errno != EEXIST) {
        return error_errno(err, -errno, "cannot link %s to %s", path, target);
    }
    return 0;
}

unsigned mounts_make(const char *root, const struct tell *told)
{
    struct error err = ERROR_INIT;
    unsigned failed = 0;

    for (size_t i = 0; i < ARRAY_SIZE(mounts); i++) {
        if (mount_one(root, &mounts[i], &err) < 0) {
            tell(told, "%s", err.text);
            failed++;
        }
    }
    for (size_t i = 0; i < ARRAY_SIZE(links); i++) {
        if (link_one(root, links[i].path, links[i].target, &err) < 0) {
            tell(told, "%s", err.text);
            failed++;
        }
    }
    return failed;
}
