/* Making and checking the directory, and moving its contents aside. */
#include "spool/place.h"

#include "spool/failure.h"
#include "spool/spool.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define DATABASE "spool.db"
#define BODIES   "bodies"

/* Bodies of requests are secrets: nobody but the daemon's user may read them, or put others in their place. */
static int check_private(const struct stat *st, const char *path, const char *name, struct error *err)
{
    if (st->st_uid != geteuid()) {
        return error_set(err, -EPERM,
                         "spool %s%s: it belongs to user %u and this process is user %u: chown it", path,
                         name, (unsigned)st->st_uid, (unsigned)geteuid());
    }
    if (st->st_mode & 077) {
        return error_set(err, -EPERM, "spool %s%s: others can get at it (mode %04o): chmod go= it", path,
                         name, (unsigned)st->st_mode & 07777);
    }
    return 0;
}

static int fail(struct error *err, int code, const char *path, const char *name)
{
    failure_set(err, code, "cannot use it");
    error_prefix(err, "spool %s%s", path, name);
    return code;
}

/* Opens the directory `name` in `at`, which is made if it is not there. `shown` is for messages. */
static int open_directory(int at, const char *name, const char *path, const char *shown, struct error *err)
{
    struct stat st;
    int fd, r;

    if (mkdirat(at, name, 0700) != 0 && errno != EEXIST) {
        return fail(err, -errno, path, shown);
    }
    fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        return fail(err, -errno, path, shown);
    }
    r = fstat(fd, &st) != 0 ? fail(err, -errno, path, shown) : check_private(&st, path, shown, err);
    if (r < 0) {
        close(fd);
        return r;
    }
    return fd;
}

/* The database is made here, with its mode from the start; SQLite takes an empty file for a new database. One that
 * is there is not opened: closing a descriptor of it would drop the locks of whoever in this process has it open. */
static int check_file(const struct place *place, const char *name, const char *shown, struct error *err)
{
    struct stat st;

    if (fstatat(place->directory, name, &st, AT_SYMLINK_NOFOLLOW) != 0) {
        return errno == ENOENT ? -ENOENT : fail(err, -errno, place->path, shown);
    }
    if (!S_ISREG(st.st_mode) || st.st_nlink != 1) {
        return error_set(err, -EPERM, "spool %s%s: it is not a plain file with one name: move it away",
                         place->path, shown);
    }
    return check_private(&st, place->path, shown, err);
}

static int make_file(const struct place *place, const char *name, const char *shown, struct error *err)
{
    int fd = openat(place->directory, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);

    if (fd < 0) {
        return fail(err, -errno, place->path, shown);
    }
    close(fd);
    return 0;
}

static int open_files(struct place *place, struct error *err)
{
    int r = check_file(place, DATABASE, "/" DATABASE, err);

    if (r == -ENOENT) {
        r = make_file(place, DATABASE, "/" DATABASE, err);
    }
    if (r == 0) {
        r = check_file(place, DATABASE "-wal", "/" DATABASE "-wal", err);
    }
    return r == -ENOENT ? 0 : r;
}

/* Always, and not only when something was made: the process that made it may not have come so far. */
int place_sync(const struct place *place, struct error *err)
{
    int parent = openat(place->directory, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int r = 0;

    if (parent < 0) {
        return fail(err, -errno, place->path, "/..");
    }
    if (fsync(place->bodies) != 0 || fsync(place->directory) != 0 || fsync(parent) != 0) {
        r = fail(err, -errno, place->path, "");
    }
    close(parent);
    return r;
}

int place_open(struct place *place, const char *path, struct error *err)
{
    int r = -ENOMEM;

    *place = (struct place){.path = strdup(path), .directory = -1, .bodies = -1};
    if (!place->path || asprintf(&place->database, "%s/%s", path, DATABASE) < 0) {
        place->database = NULL;
        error_errno(err, r, "spool %s", path);
        goto failed;
    }
    r = open_directory(AT_FDCWD, path, path, "", err);
    if (r < 0) {
        goto failed;
    }
    place->directory = r;
    r = open_directory(place->directory, BODIES, path, "/" BODIES, err);
    if (r < 0) {
        goto failed;
    }
    place->bodies = r;
    r = open_files(place, err);
    if (r == 0) {
        r = place_sync(place, err);
    }
    if (r == 0) {
        return 0;
    }
failed:
    place_close(place);
    return r;
}

void place_close(struct place *place)
{
    if (place->bodies >= 0) {
        close(place->bodies);
    }
    if (place->directory >= 0) {
        close(place->directory);
    }
    free(place->database);
    free(place->path);
    *place = (struct place){.directory = -1, .bodies = -1};
}

void place_body_path(const struct place *place, uint64_t file, char *buffer, size_t size)
{
    snprintf(buffer, size, "%s/" BODIES "/%016" PRIx64, place->path, file);
}

/* --- Setting aside --- */

/* A directory that was not there before, named after the time. */
static int make_aside(int directory, char *ret_name, size_t size)
{
    time_t now = time(NULL);
    struct tm utc;

    gmtime_r(&now, &utc);
    for (int i = 0; i < 100; i++) {
        size_t length = strftime(ret_name, size, "set-aside-%Y%m%dT%H%M%SZ", &utc);

        if (length == 0) {
            return -ENAMETOOLONG;
        }
        if (i > 0) {
            snprintf(ret_name + length, size - length, "-%d", i);
        }
        if (mkdirat(directory, ret_name, 0700) == 0) {
            return 0;
        }
        if (errno != EEXIST) {
            return -errno;
        }
    }
    return -EEXIST;
}

static int move_all(int directory, int aside)
{
    static const char *const names[] = {DATABASE "-wal", DATABASE "-journal", DATABASE, BODIES};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (renameat(directory, names[i], aside, names[i]) != 0 && errno != ENOENT) {
            return -errno;
        }
    }
    return fsync(aside) != 0 || fsync(directory) != 0 ? -errno : 0;
}

int spool_set_aside(const char *path, char *ret_name, size_t size, struct error *err)
{
    int directory = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    int aside = -1;
    int r = directory < 0 ? -errno : make_aside(directory, ret_name, size);

    if (r == 0) {
        aside = openat(directory, ret_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        r = aside < 0 ? -errno : move_all(directory, aside);
    }
    if (aside >= 0) {
        close(aside);
    }
    if (directory >= 0) {
        close(directory);
    }
    return r < 0 ? error_errno(err, r, "spool %s: cannot set it aside", path) : 0;
}
