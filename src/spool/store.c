/* Opening the database, and transactions. */
#include "spool/store_private.h"

#include "spool/failure.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define APPLICATION_ID 0x706f7374 /* "post" */
#define VERSION        2

/* Frames of 4 KiB in the log that make a checkpoint worth its two syncs. */
#define TIDY_FRAMES 1000

/* Free pages that are left alone: 4 MiB, or a quarter of the file. */
#define SLACK_LEAST 1024

/* Exclusive: no other process can come in between, and the log's index is kept in memory. FULL: the log is synced at
 * each commit. Fast secure_delete wipes what costs no writing. Nothing temporary ever goes to a file. */
static const char settings[] = "PRAGMA locking_mode = EXCLUSIVE;"
                               "PRAGMA auto_vacuum = INCREMENTAL;"
                               "PRAGMA journal_mode = WAL;"
                               "PRAGMA synchronous = FULL;"
                               "PRAGMA secure_delete = FAST;"
                               "PRAGMA temp_store = MEMORY;"
                               "PRAGMA cache_size = -2048;"
                               "PRAGMA cell_size_check = ON;"
                               "PRAGMA trusted_schema = OFF;";

/* In one transaction, with the version: the tables are there all or none. The body is apart from the record, which is
 * rewritten with each failed attempt. Indexes hold only the states they serve, so that a record that is put and
 * delivered touches one of them. */
static const char schema[] =
    "BEGIN IMMEDIATE;"
    "CREATE TABLE record (id INTEGER PRIMARY KEY AUTOINCREMENT, route TEXT NOT NULL, enclave TEXT NOT NULL,"
    " key TEXT NOT NULL, state INTEGER NOT NULL, attempts INTEGER NOT NULL, next_at INTEGER NOT NULL,"
    " since INTEGER NOT NULL, created_at INTEGER NOT NULL, size INTEGER NOT NULL, file INTEGER NOT NULL,"
    " digest BLOB NOT NULL, sum BLOB NOT NULL, cause TEXT NOT NULL, head BLOB NOT NULL);"
    "CREATE INDEX ready ON record (route, enclave, id) WHERE state = 0;"
    "CREATE INDEX waiting ON record (next_at) WHERE state = 1;"
    "CREATE INDEX waiting_by_route ON record (route, id) WHERE state = 1;"
    "CREATE INDEX dead ON record (id) WHERE state >= 2;"
    "CREATE TABLE body (id INTEGER PRIMARY KEY, data BLOB NOT NULL);"
    "CREATE TABLE garbage (file INTEGER PRIMARY KEY AUTOINCREMENT);"
    "CREATE TABLE tally (route TEXT NOT NULL, enclave TEXT NOT NULL, ready INTEGER NOT NULL,"
    " ready_bytes INTEGER NOT NULL, waiting INTEGER NOT NULL, waiting_bytes INTEGER NOT NULL,"
    " dead INTEGER NOT NULL, dead_bytes INTEGER NOT NULL, damaged INTEGER NOT NULL,"
    " damaged_bytes INTEGER NOT NULL, PRIMARY KEY (route, enclave)) WITHOUT ROWID;"
    "PRAGMA application_id = 1886352244;"
    "PRAGMA user_version = 2;"
    "COMMIT;";

static const char *const statement_sql[STORE_STATEMENT_COUNT] = {
#define X(id, sql) [STORE_##id] = (sql),
    STORE_STATEMENTS(X)
#undef X
};

static bool is_sync(int code)
{
    return code == SQLITE_IOERR_FSYNC || code == SQLITE_IOERR_DIR_FSYNC;
}

int store_fail(struct store *store, int sqlite_code, const char *what, struct error *err)
{
    int code = failure_of(err, store->db, sqlite_code, what);

    store->is_cramped |= code == -ENOSPC;
    store->is_suspect |= is_sync(sqlite_code) || is_sync(sqlite3_extended_errcode(store->db));

    if (err) {
        error_prefix(err, "spool database %s", store->path);
    }
    return code;
}

static int on_commit(void *arg, sqlite3 *db, const char *name, int frames)
{
    struct store *store = arg;

    (void)db;
    (void)name;
    store->frames = frames;
    return SQLITE_OK;
}

static int pragma_number(struct store *store, const char *sql, int64_t *ret, struct error *err)
{
    sqlite3_stmt *statement = NULL;
    int r = sqlite3_prepare_v2(store->db, sql, -1, &statement, NULL);

    if (r == SQLITE_OK) {
        r = sqlite3_step(statement);
    }
    if (r == SQLITE_ROW) {
        *ret = sqlite3_column_int64(statement, 0);
    }
    sqlite3_finalize(statement);
    return r == SQLITE_ROW ? 0 : store_fail(store, r, "cannot read it", err);
}

/* The path as a URI, with psow=0: a torn write may spoil what is beside it in its sector, so that a commit has to fill
 * up its own. NULL: out of memory. */
static char *make_uri(const char *path)
{
    static const char hex[] = "0123456789ABCDEF";
    static const char parameters[] = "?psow=0";
    char *uri = malloc(strlen("file://") + 3 * strlen(path) + sizeof(parameters));
    char *at = uri;

    if (!uri) {
        return NULL;
    }
    at = stpcpy(at, *path == '/' ? "file://" : "file:");
    for (; *path; path++) {
        if (!strchr("%?#", *path)) {
            *at++ = *path;
            continue;
        }
        *at++ = '%';
        *at++ = hex[(unsigned char)*path >> 4];
        *at++ = hex[(unsigned char)*path & 15];
    }
    memcpy(at, parameters, sizeof(parameters));
    return uri;
}

static int open_database(struct store *store, const char *vfs, struct error *err)
{
    char *uri = make_uri(store->path);
    int yes = 1, r = SQLITE_NOMEM;

    errno = 0;
    if (uri) {
        r = sqlite3_open_v2(uri, &store->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_URI | SQLITE_OPEN_NOMUTEX,
                            vfs);
    }
    free(uri);
    if (r != SQLITE_OK) {
        return store->db ? store_fail(store, r, "cannot open it", err)
                         : error_errno(err, -ENOMEM, "spool database");
    }
    sqlite3_extended_result_codes(store->db, 1);
    /* The schema has neither; what somebody else wrote into the file is not to act on records. */
    sqlite3_db_config(store->db, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, NULL);
    sqlite3_db_config(store->db, SQLITE_DBCONFIG_ENABLE_VIEW, 0, NULL);
    /* The log is kept at the end: its blocks are there when the disk is full and something is to be removed. */
    sqlite3_file_control(store->db, "main", SQLITE_FCNTL_PERSIST_WAL, &yes);
    sqlite3_wal_hook(store->db, on_commit, store);
    if (sqlite3_db_readonly(store->db, "main") == 1) {
        return failure_set(err, -EROFS, store->path);
    }
    r = sqlite3_exec(store->db, settings, NULL, NULL, NULL);
    return r == SQLITE_OK ? 0 : store_fail(store, r, "cannot open it", err);
}

static int make_tables(struct store *store, struct error *err)
{
    int64_t tables = 0;
    int r = pragma_number(store, "SELECT count(*) FROM sqlite_schema", &tables, err);

    if (r < 0) {
        return r;
    }
    if (tables > 0) {
        return error_set(err, -EUCLEAN, "spool database %s: it is not a spool's: move it away", store->path);
    }
    r = sqlite3_exec(store->db, schema, NULL, NULL, NULL);
    return r == SQLITE_OK ? 0 : store_fail(store, r, "cannot make its tables", err);
}

/* From version 1, whose ready records were in order by route alone. All or nothing, as above. */
static const char upgrade[] = "BEGIN IMMEDIATE;"
                              "DROP INDEX ready;"
                              "CREATE INDEX ready ON record (route, enclave, id) WHERE state = 0;"
                              "PRAGMA user_version = 2;"
                              "COMMIT;";

static int upgrade_tables(struct store *store, struct error *err)
{
    int r = sqlite3_exec(store->db, upgrade, NULL, NULL, NULL);

    return r == SQLITE_OK ? 0 : store_fail(store, r, "cannot bring its tables up to this version", err);
}

static int check_version(struct store *store, struct error *err)
{
    int64_t version = 0, id = 0, wal = 0;
    int r = pragma_number(store, "PRAGMA user_version", &version, err);

    if (r == 0 && version == 0) {
        r = make_tables(store, err);
        version = VERSION;
    }
    if (r == 0) {
        r = pragma_number(store, "PRAGMA application_id", &id, err);
    }
    if (r == 0) {
        r = pragma_number(store, "SELECT journal_mode = 'wal' FROM pragma_journal_mode", &wal, err);
    }
    if (r < 0) {
        return r;
    }
    if (id == APPLICATION_ID && version > VERSION) {
        return error_set(err, -EUCLEAN,
                         "spool database %s: a newer posternd has written it (version %lld): run that one",
                         store->path, (long long)version);
    }
    if (id != APPLICATION_ID || version < 1) {
        return error_set(err, -EUCLEAN, "spool database %s: it is not one that this version can read (%lld)",
                         store->path, (long long)version);
    }
    if (!wal) {
        return error_set(err, -EIO, "spool database %s: it cannot be had in WAL mode", store->path);
    }
    return version < VERSION ? upgrade_tables(store, err) : 0;
}

static int prepare(struct store *store, struct error *err)
{
    for (int i = 0; i < STORE_STATEMENT_COUNT; i++) {
        int r = sqlite3_prepare_v3(store->db, statement_sql[i], -1, SQLITE_PREPARE_PERSISTENT,
                                   &store->statements[i], NULL);

        if (r != SQLITE_OK) {
            return store_fail(store, r, "cannot use its tables", err);
        }
    }
    return 0;
}

static int load_tallies(struct store *store, struct error *err)
{
    sqlite3_stmt *row = store->statements[STORE_TALLY_LOAD];
    int r;

    while ((r = sqlite3_step(row)) == SQLITE_ROW) {
        const char *route = (const char *)sqlite3_column_text(row, 0);
        const char *enclave = (const char *)sqlite3_column_text(row, 1);
        struct tally *tally = route && enclave ? store_tally(store, route, enclave) : NULL;

        if (!tally) {
            sqlite3_reset(row);
            return error_errno(err, -ENOMEM, "spool database %s", store->path);
        }
        for (int i = 0; i < SPOOL_STATES; i++) {
            tally->counts[i].records = sqlite3_column_int64(row, 2 + 2 * i);
            tally->counts[i].bytes = sqlite3_column_int64(row, 3 + 2 * i);
        }
    }
    sqlite3_reset(row);
    return r == SQLITE_DONE ? 0 : store_fail(store, r, "cannot read its gauges", err);
}

/* The pair of names in the row that the bound statement gives, as its tally; NULL in *ret: it gives none. Nor does what cannot be
 * read: that is told when a record is to be handed out, and until then the spool is of use. */
static int next_pair(struct store *store, enum store_statement which, const struct tally **ret,
                     struct error *err)
{
    sqlite3_stmt *row = store->statements[which];
    const char *route, *enclave;
    int r = sqlite3_step(row);

    *ret = NULL;
    if (r == SQLITE_ROW) {
        route = (const char *)sqlite3_column_text(row, 0);
        enclave = (const char *)sqlite3_column_text(row, 1);
        *ret = route && enclave ? store_tally(store, route, enclave) : NULL;
    }
    sqlite3_reset(row);
    if (r == SQLITE_ROW && !*ret) {
        return error_errno(err, -ENOMEM, "spool database %s", store->path);
    }
    return 0;
}

static int after_pair(struct store *store, const struct tally *last, const struct tally **ret,
                      struct error *err)
{
    int r = 0;

    *ret = NULL;
    if (last) {
        store_bind_text(store->statements[STORE_NEXT_ENCLAVE], 1, last->route);
        store_bind_text(store->statements[STORE_NEXT_ENCLAVE], 2, last->enclave);
        r = next_pair(store, STORE_NEXT_ENCLAVE, ret, err);
    }
    if (r == 0 && !*ret) {
        store_bind_text(store->statements[STORE_NEXT_ROUTE], 1, last ? last->route : "");
        r = next_pair(store, STORE_NEXT_ROUTE, ret, err);
    }
    return r;
}

/* Records are handed out by their tallies, so what has ready ones is to have a tally, though none was saved for it. Takes a look-up
 * or two for each, whatever the number of records. A name with a zero in it, which is damage, would come again and again. */
static int load_pairs(struct store *store, struct error *err)
{
    const struct tally *last, *pair = NULL;
    int r;

    do {
        last = pair;
        r = after_pair(store, last, &pair, err);
    } while (r == 0 && pair && pair != last);
    return r;
}

int store_open(const struct store_options *options, struct store **ret, struct error *err)
{
    struct store *store = calloc(1, sizeof(*store));
    int r = -ENOMEM;

    if (store) {
        store->path = strdup(options->place->database);
    }
    if (!store || !store->path) {
        free(store);
        return error_errno(err, r, "spool database");
    }
    store->tallies = options->tallies;
    store->lock = options->lock;
    store->tidy_at = TIDY_FRAMES;
    store->is_cramped = true; /* for all we know: what is in the log need not stay there */
    r = open_database(store, options->vfs, err);
    if (r == 0) {
        r = check_version(store, err);
    }
    if (r == 0) {
        r = prepare(store, err);
    }
    if (r == 0) {
        r = load_tallies(store, err);
    }
    if (r == 0) {
        r = load_pairs(store, err);
    }
    if (r < 0) {
        store_close(store);
        return r;
    }
    *ret = store;
    return 0;
}

void store_close(struct store *store)
{
    for (int i = 0; i < STORE_STATEMENT_COUNT; i++) {
        sqlite3_finalize(store->statements[i]);
    }
    sqlite3_close(store->db);
    free(store->path);
    free(store);
}

/* --- Statements --- */

int store_run(struct store *store, enum store_statement which, const char *what, struct error *err)
{
    sqlite3_stmt *statement = store->statements[which];
    int r;

    errno = 0;
    do {
        r = sqlite3_step(statement);
    } while (r == SQLITE_ROW);
    if (r != SQLITE_DONE) {
        r = store_fail(store, r, what, err);
    } else {
        r = 0;
    }
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
    return r;
}

int store_number(struct store *store, enum store_statement which, uint64_t *ret, struct error *err)
{
    sqlite3_stmt *statement = store->statements[which];
    int r, result = 0;

    errno = 0;
    r = sqlite3_step(statement);
    if (r == SQLITE_ROW && sqlite3_column_type(statement, 0) == SQLITE_INTEGER) {
        *ret = (uint64_t)sqlite3_column_int64(statement, 0);
    } else if (r != SQLITE_ROW && r != SQLITE_DONE) {
        result = store_fail(store, r, "cannot read it", err);
    }
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
    return result;
}

void store_bind_number(sqlite3_stmt *statement, int index, uint64_t number)
{
    sqlite3_bind_int64(statement, index, (sqlite3_int64)number);
}

void store_bind_text(sqlite3_stmt *statement, int index, const char *text)
{
    sqlite3_bind_text(statement, index, text, -1, SQLITE_STATIC);
}

struct tally *store_tally(struct store *store, const char *route, const char *enclave)
{
    struct tally *tally;

    pthread_mutex_lock(store->lock);
    tally = tallies_get(store->tallies, route, enclave);
    pthread_mutex_unlock(store->lock);
    return tally;
}

/* --- Transactions --- */

/*
 * After a sync that failed, the kernel takes for written what it has dropped, and a later sync that succeeds says nothing about
 * it. SQLite writes anew what the failed commit had written, but not the end of the padding of the commit before, which was
 * still to be synced; without that, whatever follows it in the log would be lost with the power. So nothing is added to such a
 * log: all of it goes into the database first, and the next commit begins a new one.
 */
static int renew_log(struct store *store, struct error *err)
{
    int r;

    errno = 0;
    r = sqlite3_wal_checkpoint_v2(store->db, "main", SQLITE_CHECKPOINT_RESTART, NULL, NULL);
    if (r != SQLITE_OK) {
        return store_fail(store, r, "cannot write to it since a sync failed", err);
    }
    store->is_suspect = false;
    return 0;
}

/* The blocks that the log has are written again from its beginning, so that on a full disk there is still room for
 * removals. If that fails too, they have to wait. */
static void rewind_log(struct store *store)
{
    sqlite3_wal_checkpoint_v2(store->db, "main", SQLITE_CHECKPOINT_RESTART, NULL, NULL);
    store->is_cramped = false;
}

int store_begin(struct store *store, struct error *err)
{
    int r = store->is_suspect ? renew_log(store, err) : 0;

    if (r < 0) {
        return r;
    }
    if (store->is_cramped) {
        rewind_log(store);
    }
    return store_run(store, STORE_BEGIN, "cannot write to it", err);
}

static int save_tally(struct store *store, const struct tally *tally, struct error *err)
{
    sqlite3_stmt *statement = store->statements[STORE_TALLY_SAVE];

    store_bind_text(statement, 1, tally->route);
    store_bind_text(statement, 2, tally->enclave);
    for (int i = 0; i < SPOOL_STATES; i++) {
        sqlite3_bind_int64(statement, 3 + 2 * i, tally->counts[i].records + tally->changes[i].records);
        sqlite3_bind_int64(statement, 4 + 2 * i, tally->counts[i].bytes + tally->changes[i].bytes);
    }
    return store_run(store, STORE_TALLY_SAVE, "cannot write to it", err);
}

int store_commit(struct store *store, struct error *err)
{
    struct tally *tally;

    SLIST_FOREACH (tally, &store->tallies->touched, touched_link) {
        int r = save_tally(store, tally, err);

        if (r < 0) {
            return r;
        }
    }
    return store_run(store, STORE_COMMIT, "cannot write to it", err);
}

void store_rollback(struct store *store)
{
    /* Many failures roll back by themselves. */
    if (!sqlite3_get_autocommit(store->db) && store_run(store, STORE_ROLLBACK, "", NULL) < 0) {
        sqlite3_exec(store->db, "ROLLBACK", NULL, NULL, NULL);
    }
    tallies_forget(store->tallies);
}

int store_tidy(struct store *store, struct error *err)
{
    int r;

    if (store->frames < store->tidy_at) {
        return 0;
    }
    errno = 0;
    r = sqlite3_wal_checkpoint_v2(store->db, "main", SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
    /* What failed is not tried at each commit from now on. */
    store->tidy_at = r == SQLITE_OK ? TIDY_FRAMES : store->frames + TIDY_FRAMES;
    store->frames = 0;
    return r == SQLITE_OK ? 0 : store_fail(store, r, "cannot move the log into it", err);
}

bool store_has_slack(struct store *store)
{
    uint64_t slack = 0, pages = 0;

    return store_number(store, STORE_SLACK, &slack, NULL) == 0 && slack > SLACK_LEAST &&
           store_number(store, STORE_PAGES, &pages, NULL) == 0 && slack > pages / 4;
}

int store_shrink(struct store *store, struct error *err)
{
    return store_run(store, STORE_SHRINK, "cannot shrink it", err);
}
