/* The disk that fails on purpose. */
#include "lossy_vfs.h"

#include <dirent.h>
#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <unistd.h>

#define SECTOR     512
#define SECTOR_BIG 4096 /* what xSectorSize tells, and what a torn write may spoil */

/* One write or truncation since the last sync. */
struct change {
    STAILQ_ENTRY(change) link;
    bool truncates;
    sqlite3_int64 at;
    size_t size;
    char data[];
};

/* What is known of a path. */
struct disk_file {
    SLIST_ENTRY(disk_file) link;
    char *path;
    char *synced; /* its content as of the last sync */
    size_t synced_size;
    size_t capacity;
    STAILQ_HEAD(, change) changes;
    bool name_is_synced; /* it will be there */
    bool is_removed;     /* and the directory was not synced since */
};

struct lossy_file {
    sqlite3_file base;
    struct disk_file *file;
    sqlite3_file *real; /* behind this struct */
};

static sqlite3_vfs vfs;
static sqlite3_vfs *real_vfs;
static SLIST_HEAD(, disk_file) files = SLIST_HEAD_INITIALIZER(files);
static struct lossy_plan plan;
static unsigned long operations;
static bool struck;
static int last_error;
static uint64_t chance_state = 1;

static uint64_t chance(void)
{
    chance_state ^= chance_state << 13;
    chance_state ^= chance_state >> 7;
    chance_state ^= chance_state << 17;
    return chance_state;
}

static void *allocated(void *memory)
{
    if (!memory) {
        abort();
    }
    return memory;
}

/* --- Files as the disk knows them --- */

static void forget_changes(struct disk_file *file)
{
    while (!STAILQ_EMPTY(&file->changes)) {
        struct change *change = STAILQ_FIRST(&file->changes);

        STAILQ_REMOVE_HEAD(&file->changes, link);
        free(change);
    }
}

static void read_whole(struct disk_file *file)
{
    FILE *stream = fopen(file->path, "rb");
    long size;

    free(file->synced);
    file->synced = NULL;
    file->synced_size = 0;
    file->capacity = 0;
    if (!stream) {
        return;
    }
    fseek(stream, 0, SEEK_END);
    size = ftell(stream);
    rewind(stream);
    file->capacity = (size_t)size + 1;
    file->synced = allocated(malloc(file->capacity));
    file->synced_size = fread(file->synced, 1, (size_t)size, stream);
    fclose(stream);
}

static struct disk_file *find_file(const char *path)
{
    struct disk_file *file;

    SLIST_FOREACH (file, &files, link) {
        if (strcmp(file->path, path) == 0) {
            return file;
        }
    }
    return NULL;
}

/* One that is not known yet is either new, and empty, or was there before all this. */
static struct disk_file *know_file(const char *path)
{
    struct disk_file *file = find_file(path);

    if (file) {
        file->is_removed = false;
        return file;
    }
    file = allocated(calloc(1, sizeof(*file)));
    file->path = allocated(strdup(path));
    STAILQ_INIT(&file->changes);
    read_whole(file);
    file->name_is_synced = file->synced_size > 0;
    SLIST_INSERT_HEAD(&files, file, link);
    return file;
}

static void forget_file(struct disk_file *file)
{
    SLIST_REMOVE(&files, file, disk_file, link);
    forget_changes(file);
    free(file->synced);
    free(file->path);
    free(file);
}

static void apply(struct disk_file *file, sqlite3_int64 at, const char *data, size_t size)
{
    size_t end = (size_t)at + size;

    if (end > file->capacity) {
        file->capacity = 2 * end;
        file->synced = allocated(realloc(file->synced, file->capacity));
    }
    if (end > file->synced_size) {
        memset(file->synced + file->synced_size, 0, end - file->synced_size);
        file->synced_size = end;
    }
    if (size > 0) {
        memcpy(file->synced + at, data, size);
    }
}

static void apply_all(struct disk_file *file, const struct change *change)
{
    if (!change->truncates) {
        apply(file, change->at, change->data, change->size);
    } else if ((size_t)change->at < file->synced_size) {
        file->synced_size = (size_t)change->at;
    }
}

static void note(struct disk_file *file, bool truncates, sqlite3_int64 at, const void *data, size_t size)
{
    struct change *change = allocated(malloc(sizeof(*change) + size));

    *change = (struct change){.truncates = truncates, .at = at, .size = size};
    if (size > 0) {
        memcpy(change->data, data, size);
    }
    STAILQ_INSERT_TAIL(&file->changes, change, link);
}

static void sync_file(struct disk_file *file)
{
    const struct change *change;

    STAILQ_FOREACH (change, &file->changes, link) {
        apply_all(file, change);
    }
    forget_changes(file);
}

/* What shares a sector with a write that was torn may be spoilt: SQLite was told so (no SQLITE_IOCAP_POWERSAFE_OVERWRITE). */
static void spoil_edges(struct disk_file *file, const struct change *change)
{
    size_t start = (size_t)change->at / SECTOR_BIG * SECTOR_BIG;
    size_t end = ((size_t)change->at + change->size + SECTOR_BIG - 1) / SECTOR_BIG * SECTOR_BIG;

    for (size_t i = start; i < end && i < file->synced_size; i++) {
        if (i < (size_t)change->at || i >= (size_t)change->at + change->size) {
            file->synced[i] = (char)chance();
        }
    }
}

static void tear(struct disk_file *file, const struct change *change)
{
    for (size_t done = 0; done < change->size;) {
        size_t left = SECTOR - (size_t)(change->at + (sqlite3_int64)done) % SECTOR;
        size_t n = left < change->size - done ? left : change->size - done;

        if (chance() % 2) {
            apply(file, change->at + (sqlite3_int64)done, change->data + done, n);
        }
        done += n;
    }
    if (chance() % 4 == 0) {
        spoil_edges(file, change);
    }
}

static void lose(struct disk_file *file)
{
    const struct change *change;

    STAILQ_FOREACH (change, &file->changes, link) {
        unsigned fate = (unsigned)(chance() % 4);

        if (fate < 2 && !change->truncates && change->size > 0) {
            tear(file, change);
        } else if (fate == 2) {
            apply_all(file, change);
        }
    }
    forget_changes(file);
}

/* Of a directory. */
static void sync_names(void)
{
    struct disk_file *file, *next;

    for (file = SLIST_FIRST(&files); file; file = next) {
        next = SLIST_NEXT(file, link);
        file->name_is_synced = true;
        if (file->is_removed) {
            forget_file(file);
        }
    }
}

/* --- When to fail --- */

static int fail(int code, int error)
{
    last_error = error;
    errno = error;
    return code;
}

/* Counts an operation: SQLITE_OK if it is to be done. `grows`: it makes a file larger. */
static int operate(int code, bool grows)
{
    bool now = ++operations == plan.nth;

    if (plan.kind == LOSSY_NONE || operations < plan.nth) {
        return SQLITE_OK;
    }
    if (plan.kind == LOSSY_ONCE && !now) {
        return SQLITE_OK;
    }
    if (plan.kind == LOSSY_FULL && !grows) {
        return SQLITE_OK;
    }
    struck = true;
    if (plan.kind == LOSSY_FULL) {
        return fail(code == SQLITE_IOERR_WRITE ? SQLITE_FULL : code, ENOSPC);
    }
    return fail(code, plan.kind == LOSSY_READONLY ? EROFS : EIO);
}

static bool is_dead(void)
{
    return struck && (plan.kind == LOSSY_POWER || plan.kind == LOSSY_KILL);
}

/* --- Methods of files --- */

static struct lossy_file *lossy_of(sqlite3_file *file)
{
    return (struct lossy_file *)(void *)file;
}

static int lossy_close(sqlite3_file *file)
{
    return lossy_of(file)->real->pMethods->xClose(lossy_of(file)->real);
}

static int lossy_read(sqlite3_file *file, void *data, int size, sqlite3_int64 at)
{
    sqlite3_file *real = lossy_of(file)->real;

    if (is_dead()) {
        return fail(SQLITE_IOERR_READ, EIO);
    }
    return real->pMethods->xRead(real, data, size, at);
}

/* The operation at which all ends is half done. */
static int write_part(struct lossy_file *file, const void *data, int size, sqlite3_int64 at, int code)
{
    sqlite3_file *real = file->real;

    if (operations != plan.nth || (plan.kind != LOSSY_POWER && plan.kind != LOSSY_KILL)) {
        return code;
    }
    size = (int)(chance() % (unsigned)(size + 1));
    if (size > 0) {
        note(file->file, false, at, data, (size_t)size);
        real->pMethods->xWrite(real, data, size, at);
    }
    return code;
}

static int lossy_write(sqlite3_file *base, const void *data, int size, sqlite3_int64 at)
{
    struct lossy_file *file = lossy_of(base);
    sqlite3_int64 old = 0;
    int r;

    file->real->pMethods->xFileSize(file->real, &old);
    r = operate(SQLITE_IOERR_WRITE, at + size > old);
    if (r != SQLITE_OK) {
        return write_part(file, data, size, at, r);
    }
    note(file->file, false, at, data, (size_t)size);
    return file->real->pMethods->xWrite(file->real, data, size, at);
}

static int lossy_truncate(sqlite3_file *base, sqlite3_int64 size)
{
    struct lossy_file *file = lossy_of(base);
    int r = operate(SQLITE_IOERR_TRUNCATE, false);

    if (r != SQLITE_OK) {
        return r;
    }
    note(file->file, true, size, NULL, 0);
    return file->real->pMethods->xTruncate(file->real, size);
}

static int lossy_sync(sqlite3_file *base, int flags)
{
    struct lossy_file *file = lossy_of(base);
    int r = operate(SQLITE_IOERR_FSYNC, false);

    (void)flags;
    if (r != SQLITE_OK) {
        if (!is_dead()) {
            lose(file->file); /* the kernel takes the pages for clean all the same, and never writes them */
        }
        return r;
    }
    sync_file(file->file);
    /* With the first sync of a log or a journal SQLite's own VFS syncs the directory too. */
    if (!file->file->name_is_synced && strstr(file->file->path, "spool.db-")) {
        sync_names();
    }
    return SQLITE_OK;
}

static int lossy_size(sqlite3_file *file, sqlite3_int64 *size)
{
    return lossy_of(file)->real->pMethods->xFileSize(lossy_of(file)->real, size);
}

static int lossy_lock(sqlite3_file *file, int level)
{
    return lossy_of(file)->real->pMethods->xLock(lossy_of(file)->real, level);
}

static int lossy_unlock(sqlite3_file *file, int level)
{
    return lossy_of(file)->real->pMethods->xUnlock(lossy_of(file)->real, level);
}

static int lossy_check_lock(sqlite3_file *file, int *ret)
{
    return lossy_of(file)->real->pMethods->xCheckReservedLock(lossy_of(file)->real, ret);
}

static int lossy_control(sqlite3_file *file, int what, void *arg)
{
    return lossy_of(file)->real->pMethods->xFileControl(lossy_of(file)->real, what, arg);
}

static int lossy_sector(sqlite3_file *file)
{
    (void)file;
    return SECTOR_BIG;
}

static int lossy_characteristics(sqlite3_file *file)
{
    sqlite3_file *real = lossy_of(file)->real;

    return real->pMethods->xDeviceCharacteristics(real);
}

static const sqlite3_io_methods methods = {
    .iVersion = 1,
    .xClose = lossy_close,
    .xRead = lossy_read,
    .xWrite = lossy_write,
    .xTruncate = lossy_truncate,
    .xSync = lossy_sync,
    .xFileSize = lossy_size,
    .xLock = lossy_lock,
    .xUnlock = lossy_unlock,
    .xCheckReservedLock = lossy_check_lock,
    .xFileControl = lossy_control,
    .xSectorSize = lossy_sector,
    .xDeviceCharacteristics = lossy_characteristics,
};

/* --- Methods of the VFS --- */

static int lossy_open(sqlite3_vfs *self, const char *path, sqlite3_file *base, int flags, int *ret_flags)
{
    struct lossy_file *file = lossy_of(base);
    int r;

    (void)self;
    base->pMethods = NULL;
    r = flags & SQLITE_OPEN_READWRITE ? operate(SQLITE_CANTOPEN, false) : SQLITE_OK;
    if (r != SQLITE_OK || is_dead()) {
        return r != SQLITE_OK ? r : fail(SQLITE_CANTOPEN, EIO);
    }
    file->real = (sqlite3_file *)(void *)(file + 1);
    file->file = know_file(path);
    r = real_vfs->xOpen(real_vfs, path, file->real, flags, ret_flags);
    if (r == SQLITE_OK) {
        base->pMethods = &methods;
    }
    return r;
}

static int lossy_delete(sqlite3_vfs *self, const char *path, int sync)
{
    struct disk_file *file;
    int r = operate(SQLITE_IOERR_DELETE, false);

    (void)self;
    if (r != SQLITE_OK) {
        return r;
    }
    file = find_file(path);
    r = real_vfs->xDelete(real_vfs, path, 0);
    if (r == SQLITE_OK && file) {
        file->is_removed = true;
        if (sync) {
            forget_file(file);
        }
    }
    return r;
}

static int lossy_access(sqlite3_vfs *self, const char *path, int flags, int *ret)
{
    (void)self;
    return real_vfs->xAccess(real_vfs, path, flags, ret);
}

static int lossy_last_error(sqlite3_vfs *self, int size, char *text)
{
    (void)self;
    (void)size;
    (void)text;
    return last_error;
}

void lossy_register(void)
{
    real_vfs = sqlite3_vfs_find(NULL);
    vfs = *real_vfs;
    vfs.pNext = NULL;
    vfs.iVersion = 1;
    vfs.zName = LOSSY_VFS;
    vfs.szOsFile = (int)sizeof(struct lossy_file) + real_vfs->szOsFile;
    vfs.xOpen = lossy_open;
    vfs.xDelete = lossy_delete;
    vfs.xAccess = lossy_access;
    vfs.xGetLastError = lossy_last_error;
    if (sqlite3_vfs_register(&vfs, 0) != SQLITE_OK) {
        abort();
    }
}

/* --- Directories --- */

int __wrap_fsync(int fd);
int __wrap_fsync(int fd)
{
    (void)fd;
    if (operate(SQLITE_IOERR_FSYNC, false) != SQLITE_OK) {
        return -1;
    }
    sync_names();
    return 0;
}

/* --- The test's side --- */

void lossy_arm(const struct lossy_plan *wanted)
{
    plan = *wanted;
    operations = 0;
    struck = false;
    last_error = 0;
    chance_state = wanted->seed * 2862933555777941757ULL + 3037000493ULL;
    if (chance_state == 0) {
        chance_state = 1;
    }
}

unsigned long lossy_operations(void)
{
    return operations;
}

bool lossy_has_struck(void)
{
    return struck;
}

static void write_back(const struct disk_file *file)
{
    FILE *stream = fopen(file->path, "wb");

    if (!stream) {
        abort();
    }
    if (file->synced_size > 0 && fwrite(file->synced, file->synced_size, 1, stream) != 1) {
        abort();
    }
    if (fclose(stream) != 0) {
        abort();
    }
}

static void remove_unknown(const char *bodies)
{
    DIR *directory = opendir(bodies);
    struct dirent *entry;
    char path[512];

    while (directory && (entry = readdir(directory)) != NULL) {
        snprintf(path, sizeof(path), "%s/%s", bodies, entry->d_name);
        if (entry->d_name[0] != '.' && !find_file(path)) {
            unlink(path);
        }
    }
    if (directory) {
        closedir(directory);
    }
}

static void lose_power(const char *bodies)
{
    struct disk_file *file, *next;

    remove_unknown(bodies);
    for (file = SLIST_FIRST(&files); file; file = next) {
        bool is_there;

        next = SLIST_NEXT(file, link);
        is_there =
            file->name_is_synced ? !file->is_removed || chance() % 2 : !file->is_removed && chance() % 2;
        lose(file);
        if (is_there) {
            write_back(file);
        } else {
            unlink(file->path);
        }
    }
}

void lossy_forget(void)
{
    while (!SLIST_EMPTY(&files)) {
        forget_file(SLIST_FIRST(&files));
    }
}

void lossy_reboot(const char *bodies)
{
    const struct lossy_plan nothing = {.kind = LOSSY_NONE};

    if (plan.kind != LOSSY_KILL) {
        lose_power(bodies);
    }
    lossy_forget();
    lossy_arm(&nothing);
}
