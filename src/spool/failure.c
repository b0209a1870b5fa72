/* Result codes of SQLite, errno values, and advice. */
#include "spool/failure.h"

#include <errno.h>
#include <sqlite3.h>

static int io_code(int system)
{
    switch (system) {
    case ENOSPC:
    case EDQUOT:
        return -ENOSPC;
    case EROFS:
        return -EROFS;
    default:
        return -EIO;
    }
}

int failure_code(int sqlite_code, int system)
{
    if (sqlite_code == SQLITE_IOERR_NOMEM) {
        return -ENOMEM;
    }
    switch (sqlite_code & 0xff) {
    case SQLITE_OK:
    case SQLITE_ROW:
    case SQLITE_DONE:
        return 0;
    case SQLITE_FULL:
        return -ENOSPC;
    case SQLITE_NOMEM:
        return -ENOMEM;
    case SQLITE_READONLY:
        return -EROFS;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_FORMAT:
        return -EUCLEAN;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return -EBUSY;
    default:
        return io_code(system);
    }
}

/* The words and the advice for a code; the system's own words for those that are not special here. */
static const char *words(int code)
{
    switch (code) {
    case -ENOSPC:
        return "no space left: free some on the file system, or deliver or drop what waits";
    case -EROFS:
        return "the file system is read-only: see what the kernel said of it, and mount it for writing";
    case -EIO:
        return "the disk failed to read, write or sync: see what the kernel said of it";
    case -EUCLEAN:
        return "the database is damaged: keep a copy, and set the spool aside to start an empty one";
    case -EBUSY:
        return "another process has it open: there can be one daemon to a spool";
    default:
        return NULL;
    }
}

int failure_set(struct error *err, int code, const char *what)
{
    const char *text = words(code);

    return text ? error_set(err, code, "%s: %s", what, text) : error_errno(err, code, "%s", what);
}

/* As the VFS has it: of a commit that fails SQLite does not keep it, and goes on telling an older one. */
static int system_error(struct sqlite3 *db)
{
    sqlite3_vfs *vfs = NULL;
    int error = 0;

    if (sqlite3_file_control(db, "main", SQLITE_FCNTL_VFS_POINTER, &vfs) == SQLITE_OK && vfs) {
        error = vfs->xGetLastError(vfs, 0, NULL);
    }
    return error ? error : sqlite3_system_errno(db);
}

int failure_of(struct error *err, struct sqlite3 *db, int sqlite_code, const char *what)
{
    int extended = sqlite3_extended_errcode(db);
    int code;

    /* The handle remembers its last failure only, which need not be this one. */
    if ((extended & 0xff) != (sqlite_code & 0xff)) {
        extended = sqlite_code;
    }
    code = failure_code(extended, system_error(db));
    return failure_set(err, code, what);
}
