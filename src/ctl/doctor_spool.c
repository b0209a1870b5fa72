/*
 * The doctor's look at the spool: its directory, room for it, who has it open, and how its daemon finds it.
 *
 * The database is not opened as one opens databases: that would make files beside it, or keep a daemon out that starts just
 * then. Who has it locked is asked of the kernel, and of a database that nobody has, its schema is read as it lies there. That
 * is the same before and after what a crash left to be done, unlike the rest, which `posternctl spool verify` reads.
 */
#include "base/units.h"
#include "ctl/doctor.h"
#include "ctl/doctor_process.h"
#include "ctl/view.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <limits.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define DATABASE "spool.db"

/* The bytes of the file that SQLite locks ("File Locking And Concurrency", PENDING_BYTE). */
#define LOCKED_FROM 0x40000000
#define LOCKED_SIZE 512

static bool is_wanted(const struct config *config)
{
    for (unsigned i = 0; i < config->route_count; i++) {
        const struct config_forward *forward = config->routes[i].forward;
        if (forward != NULL && forward->delivery == CONFIG_SPOOL) {
            return true;
        }
    }
    return false;
}

/* What we may not see, the daemon may. */
static void tell_unread(struct doctor *doctor, const char *path, const char *what, int code)
{
    if (code == -EACCES || code == -EPERM) {
        doctor_tell(doctor, FINDING_SKIPPED, "spool", path, "%s: %s", what, error_words(code));
        doctor_next_root(doctor, "");
    } else {
        doctor_tell(doctor, FINDING_FAIL, "spool", path, "%s: %s", what, error_words(code));
        doctor_next(doctor, "namei -l %s   # then move away what is there, or correct `spool.path`", path);
    }
}

/* ---- The directory ---- */

static void check_absent(struct doctor *doctor, const char *path)
{
    char above[PATH_MAX];
    struct stat status;
    snprintf(above, sizeof above, "%s", path);
    const char *parent = dirname(above);
    if (stat(parent, &status) == 0 && !doctor->process->running) {
        doctor_tell(doctor, FINDING_OK, "spool", path, "will be made when the daemon starts");
        return;
    }
    doctor_tell(doctor, FINDING_FAIL, "spool", path,
                doctor->process->running ? "is not there, though the daemon runs"
                                         : "is not there, nor is the directory that it would be made in");
    doctor_next(doctor, "sudo install -d -o %s -g %s -m 0700 %s && posternctl reload", doctor->host->user,
                doctor->host->user, path);
}

/* Returns whether it is one that the daemon can use, as far as it can be told from outside. */
static bool check_directory(struct doctor *doctor, const char *path)
{
    const struct doctor_process *process = doctor->process;
    struct stat status;
    if (lstat(path, &status) != 0) {
        if (errno == ENOENT) {
            check_absent(doctor, path);
        } else {
            tell_unread(doctor, path, "the directory", -errno);
        }
    } else if (!S_ISDIR(status.st_mode)) {
        doctor_tell(doctor, FINDING_FAIL, "spool", path, "is no directory");
        doctor_next(doctor, "ls -ld %s   # then move it away, or correct `spool.path`", path);
    } else if (process->has_user && status.st_uid != process->uid) {
        doctor_tell(doctor, FINDING_FAIL, "spool", path, "belongs to user %u, and the daemon is user %u",
                    (unsigned)status.st_uid, (unsigned)process->uid);
        doctor_next(doctor, "sudo chown -R %u %s && posternctl reload", (unsigned)process->uid, path);
    } else if ((status.st_mode & 077) != 0) {
        doctor_tell(doctor, FINDING_FAIL, "spool", path, "others can get at it (mode %04o)",
                    (unsigned)status.st_mode & 07777);
        doctor_next(doctor, "sudo chmod -R go= %s && posternctl reload", path);
    } else {
        return true;
    }
    return false;
}

/* ---- Room ---- */

/* What files of the directory take; 0 if it cannot be read. */
static uint64_t size_of(const char *path)
{
    uint64_t size = 0;
    DIR *directory = opendir(path);
    const struct dirent *entry;
    while (directory != NULL && (entry = readdir(directory)) != NULL) {
        struct stat status;
        if (fstatat(dirfd(directory), entry->d_name, &status, AT_SYMLINK_NOFOLLOW) == 0 &&
            S_ISREG(status.st_mode)) {
            size += (uint64_t)status.st_size;
        }
    }
    if (directory != NULL) {
        closedir(directory);
    }
    return size;
}

static uint64_t size_of_spool(const char *path)
{
    char bodies[PATH_MAX];
    snprintf(bodies, sizeof bodies, "%s/bodies", path);
    return size_of(path) + size_of(bodies);
}

static void check_room(struct doctor *doctor, const char *path, uint64_t max_bytes)
{
    char room[UNITS_TEXT_MAX], held[UNITS_TEXT_MAX], most[UNITS_TEXT_MAX];
    struct statvfs disk;
    if (statvfs(path, &disk) != 0) {
        doctor_tell(doctor, FINDING_SKIPPED, "spool", path, "room: %s", error_words(-errno));
        return;
    }
    uint64_t available = (uint64_t)disk.f_bavail * disk.f_frsize, size = size_of_spool(path);
    units_human_size(available, room);
    units_human_size(size, held);
    units_human_size(max_bytes, most);
    if ((disk.f_flag & ST_RDONLY) != 0) {
        doctor_tell(doctor, FINDING_FAIL, "spool", path, "the file system is read-only");
        doctor_next(doctor, "findmnt -T %s; dmesg | tail   # see why, then mount it for writing", path);
    } else if (available + size < max_bytes) {
        doctor_tell(doctor, FINDING_WARN, "spool", path,
                    "takes %s and may grow to %s (`spool.max_size`), but %s are free", held, most, room);
        doctor_next(doctor, "df -h %s   # then make room, or lower max_size in %s", path,
                    doctor->config->file);
    } else {
        doctor_tell(doctor, FINDING_OK, "spool", path, "takes %s, may grow to %s, and %s are free", held,
                    most, room);
    }
}

/* ---- The database ---- */

static void tell_damaged(struct doctor *doctor, const char *path, const char *words)
{
    char options[DOCTOR_OPTIONS_MAX];
    doctor_tell(doctor, FINDING_FAIL, "spool", path, "the database is damaged: %s", words);
    doctor_next(
        doctor,
        "sudo cp -a %s %s.kept && sudo -u %s posternctl spool set-aside --path %s && posternctl%s reload",
        path, path, doctor->host->user, path, doctor_options(doctor, options));
}

/* The schema of the database that nobody has open, without a lock and without its log. */
static int read_schema(const char *file, char *words, size_t size)
{
    char uri[3 * PATH_MAX + 64];
    sqlite3 *db = NULL;
    size_t at = (size_t)snprintf(uri, sizeof uri, "file:");
    for (const char *c = file; *c != '\0' && at + 4 < sizeof uri; c++) {
        at += (size_t)snprintf(uri + at, sizeof uri - at, strchr("?#%", *c) != NULL ? "%%%02x" : "%c", *c);
    }
    snprintf(uri + at, sizeof uri - at, "?immutable=1");
    int r = sqlite3_open_v2(uri, &db, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI, NULL);
    if (r == SQLITE_OK) {
        r = sqlite3_exec(db, "SELECT count(*) FROM sqlite_schema", NULL, NULL, NULL);
    }
    snprintf(words, size, "%s", db != NULL ? sqlite3_errmsg(db) : sqlite3_errstr(r));
    sqlite3_close(db);
    return r;
}

static void check_schema(struct doctor *doctor, const char *path, const char *file)
{
    char words[256];
    switch (read_schema(file, words, sizeof words)) {
    case SQLITE_OK:
        doctor_tell(doctor, FINDING_OK, "spool", path, "the database can be read, and nobody has it open");
        break;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_FORMAT:
        tell_damaged(doctor, path, words);
        break;
    default:
        doctor_tell(doctor, FINDING_FAIL, "spool", path, "the database cannot be read: %s", words);
        doctor_next(doctor, "dmesg | tail; ls -l %s", path);
        break;
    }
}

/* 0: nobody; -1: somebody who is not to be seen from here. */
static pid_t holder_of(int fd)
{
    struct flock lock = {.l_type = F_WRLCK,
                         .l_whence = SEEK_SET,
                         .l_start = LOCKED_FROM,
                         .l_len = LOCKED_SIZE};
    if (fcntl(fd, F_GETLK, &lock) != 0 || lock.l_type == F_UNLCK) {
        return 0;
    }
    return lock.l_pid > 0 ? lock.l_pid : -1;
}

/* What the daemon that answers thinks of its spool is told by check_daemon(). */
static void tell_held(struct doctor *doctor, const char *path, pid_t holder)
{
    int daemon = doctor_daemon_pid(doctor);
    if (daemon > 0 && (holder == daemon || holder < 0)) {
        doctor_tell(doctor, FINDING_OK, "spool", path, "the daemon has it open");
    } else if (doctor->config->admin.kind == ADDR_NONE && !doctor->ctl->socket_given) {
        doctor_tell(doctor, FINDING_SKIPPED, "spool", path,
                    "somebody has it open, most likely the daemon, which cannot be asked");
    } else if (holder < 0) {
        doctor_tell(doctor, FINDING_FAIL, "spool", path,
                    "a process of another container has it open, and no daemon answers");
        doctor_next(doctor, "sudo fuser -v %s/" DATABASE, path);
    } else {
        doctor_tell(doctor, FINDING_FAIL, "spool", path, "process %d has it open, and %s", (int)holder,
                    daemon > 0 ? "the daemon that answers is another" : "no daemon answers");
        doctor_next(doctor, "ps -fp %d   # then stop it", (int)holder);
    }
}

static void check_database(struct doctor *doctor, const char *path)
{
    char file[PATH_MAX];
    snprintf(file, sizeof file, "%s/" DATABASE, path);
    int fd = open(file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0 && errno == ENOENT) {
        doctor_tell(doctor, FINDING_OK, "spool", path, "there is no database yet");
    } else if (fd < 0) {
        tell_unread(doctor, path, DATABASE, -errno);
    } else {
        pid_t holder = holder_of(fd);
        if (holder != 0) {
            tell_held(doctor, path, holder);
        } else {
            check_schema(doctor, path, file);
        }
    }
    if (fd >= 0) {
        close(fd);
    }
}

/* ---- What the daemon says of it ---- */

static void check_records(struct doctor *doctor, const json_t *spool, const char *path)
{
    uint64_t dead = view_u64(spool, "records/dead"), damaged = view_u64(spool, "records/damaged");
    uint64_t max_bytes = view_u64(spool, "max_bytes"), bytes = 0;
    char held[UNITS_TEXT_MAX], most[UNITS_TEXT_MAX];
    static const char *const states[] = {"bytes/ready", "bytes/waiting", "bytes/dead", "bytes/damaged"};
    for (size_t i = 0; i < ARRAY_SIZE(states); i++) {
        bytes += view_u64(spool, states[i]);
    }
    if (dead > 0) {
        doctor_tell(doctor, FINDING_WARN, "spool", path, "%" PRIu64 " record%s given up", dead,
                    units_plural(dead));
        doctor_next(doctor, "posternctl spool list --state dead   # then spool retry or spool drop");
    }
    if (damaged > 0) {
        doctor_tell(doctor, FINDING_WARN, "spool", path, "%" PRIu64 " damaged record%s", damaged,
                    units_plural(damaged));
        doctor_next(doctor, "posternctl spool list --state damaged   # what does the disk have (dmesg)? then "
                            "spool retry or drop");
    }
    if (max_bytes > 0 && bytes >= max_bytes / 10 * 9) {
        doctor_tell(doctor, FINDING_WARN, "spool", path, "holds %s of at most %s",
                    units_human_size(bytes, held), units_human_size(max_bytes, most));
        doctor_next(doctor, "posternctl spool stats   # whose are they, and why are they not delivered?");
    }
}

static void check_held(struct doctor *doctor, const json_t *spool)
{
    size_t i;
    json_t *route;
    json_array_foreach(view_at(spool, "routes"), i, route)
    {
        if (json_is_true(view_at(route, "held"))) {
            doctor_tell(
                doctor, FINDING_FAIL, "spool", view_text(route, "route"),
                "its deliveries are held: its upstream is down or refuses them, and is tried now and then");
            doctor_next(doctor,
                        "posternctl spool list --route %s   # CAUSE says why; spool retry tries it at once",
                        view_text(route, "route"));
        }
    }
}

static void check_daemon(struct doctor *doctor, const char *path)
{
    const json_t *spool = view_at(doctor->status, "spool");
    if (!json_is_object(spool)) {
        return; /* an older daemon; or it has yet to read the file, which doctor_daemon.c tells */
    }
    bool open = json_is_true(view_at(spool, "open"));
    if (open && json_is_true(view_at(spool, "health/good"))) {
        doctor_tell(doctor, FINDING_OK, "spool", path, "the daemon keeps requests in it");
    } else {
        doctor_tell(doctor, FINDING_FAIL, "spool", path, "the daemon cannot use it: %s",
                    view_text(spool, open ? "health/error" : "error"));
        doctor_next(doctor, open ? "posternctl spool stats; dmesg | tail"
                                 : "posternctl reload   # tries again, once that is put right");
    }
    if (open) {
        check_held(doctor, spool);
        check_records(doctor, spool, path);
    }
}

void doctor_check_spool(struct doctor *doctor)
{
    const struct config *config = doctor->config;
    if (config == NULL || !is_wanted(config)) {
        return;
    }
    const char *path = config->spool.path;
    if (check_directory(doctor, path)) {
        check_room(doctor, path, config->spool.max_bytes);
        check_database(doctor, path);
    }
    check_daemon(doctor, path);
}
