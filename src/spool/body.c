/* Body files. */
#include "spool/body.h"

#include "spool/failure.h"
#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct body {
    sqlite3_file *file; /* behind this struct, as large as the VFS wants it */
    char *path;         /* behind that; a VFS may go on using it */
};

static int fail(struct error *err, int sqlite_code, const char *path, const char *what)
{
    int code = failure_code(sqlite_code, errno);

    failure_set(err, code, what);
    error_prefix(err, "body %s", path);
    return code;
}

/* SQLite wants the path of a main database, journal or log to be followed by its parameters: none here. */
static struct body *allocate(const struct place *place, sqlite3_vfs *vfs, uint64_t file)
{
    size_t head = (sizeof(struct body) + 15) / 16 * 16;
    size_t size = ((size_t)vfs->szOsFile + 15) / 16 * 16;
    size_t path = strlen(place->path) + PLACE_BODY_MAX;
    char *memory = calloc(1, head + size + path + 4);
    struct body *body = (struct body *)(void *)memory;

    if (!body) {
        return NULL;
    }
    body->file = (sqlite3_file *)(void *)(memory + head);
    body->path = memory + head + size;
    place_body_path(place, file, body->path, path);
    return body;
}

/* An empty file counts as none, here as for SQLite: no body in a file is empty. */
static bool is_gone(sqlite3_vfs *vfs, const char *path)
{
    int there = 1;

    return vfs->xAccess(vfs, path, SQLITE_ACCESS_EXISTS, &there) == SQLITE_OK && !there;
}

static int open_file(const struct place *place, sqlite3_vfs *vfs, uint64_t file, int flags, struct body **ret,
                     struct error *err)
{
    struct body *body = allocate(place, vfs, file);
    int r;

    if (!body) {
        return error_errno(err, -ENOMEM, "body %llu", (unsigned long long)file);
    }
    r = vfs->xOpen(vfs, body->path, body->file, flags | SQLITE_OPEN_SUPER_JOURNAL, NULL);
    if (r == SQLITE_OK) {
        *ret = body;
        return 0;
    }
    r = is_gone(vfs, body->path) ? error_set(err, -EBADMSG, "body %s: the file is gone", body->path)
                                 : fail(err, r, body->path, "cannot open it");
    free(body);
    return r;
}

/* The file is made here, not by the VFS, which would let others read it. */
int body_create(const struct place *place, sqlite3_vfs *vfs, uint64_t file, struct body **ret,
                struct error *err)
{
    char *path = malloc(strlen(place->path) + PLACE_BODY_MAX);
    int fd, r;

    if (!path) {
        return error_errno(err, -ENOMEM, "body %llu", (unsigned long long)file);
    }
    place_body_path(place, file, path, strlen(place->path) + PLACE_BODY_MAX);
    fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) {
        r = failure_set(err, -errno, "cannot make it");
        error_prefix(err, "body %s", path);
        free(path);
        return r;
    }
    close(fd);
    free(path);
    return open_file(place, vfs, file, SQLITE_OPEN_READWRITE, ret, err);
}

int body_open(const struct place *place, sqlite3_vfs *vfs, uint64_t file, struct body **ret,
              struct error *err)
{
    return open_file(place, vfs, file, SQLITE_OPEN_READONLY, ret, err);
}

int body_write(struct body *body, const void *data, size_t size, uint64_t at, struct error *err)
{
    int r = body->file->pMethods->xWrite(body->file, data, (int)size, (sqlite3_int64)at);

    return r == SQLITE_OK ? 0 : fail(err, r, body->path, "cannot write to it");
}

int body_read(struct body *body, void *data, size_t size, uint64_t at, struct error *err)
{
    int r = body->file->pMethods->xRead(body->file, data, (int)size, (sqlite3_int64)at);

    if (r == SQLITE_IOERR_SHORT_READ) {
        return error_set(err, -EBADMSG, "body %s: the file is too short", body->path);
    }
    return r == SQLITE_OK ? 0 : fail(err, r, body->path, "cannot read it");
}

int body_sync(struct body *body, struct error *err)
{
    int r = body->file->pMethods->xSync(body->file, SQLITE_SYNC_NORMAL | SQLITE_SYNC_DATAONLY);

    return r == SQLITE_OK ? 0 : fail(err, r, body->path, "cannot sync it");
}

void body_close(struct body *body)
{
    if (!body) {
        return;
    }
    body->file->pMethods->xClose(body->file);
    free(body);
}

int body_remove(const struct place *place, sqlite3_vfs *vfs, uint64_t file, struct error *err)
{
    char *path = malloc(strlen(place->path) + PLACE_BODY_MAX);
    int r;

    if (!path) {
        return error_errno(err, -ENOMEM, "body %llu", (unsigned long long)file);
    }
    place_body_path(place, file, path, strlen(place->path) + PLACE_BODY_MAX);
    r = vfs->xDelete(vfs, path, 0);
    if (r == SQLITE_OK || r == SQLITE_IOERR_DELETE_NOENT) {
        r = 0;
    } else {
        r = fail(err, r, path, "cannot remove it");
    }
    free(path);
    return r;
}

int body_sync_names(const struct place *place, struct error *err)
{
    if (fsync(place->bodies) == 0) {
        return 0;
    }
    failure_set(err, -errno, "cannot sync the directory of bodies");
    return -EIO;
}
