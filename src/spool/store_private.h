/* Between the parts of the store: store.c opens it and makes transactions, store_records.c knows one record at a time,
 * store_many.c many. */
#ifndef POSTERN_SPOOL_STORE_PRIVATE_H
#define POSTERN_SPOOL_STORE_PRIVATE_H

#include "spool/store.h"
#include <sqlite3.h>

/* As store_read() expects them. The length of the head does not read the head. */
#define STORE_COLUMNS                                                                                        \
    "id, route, enclave, key, state, attempts, next_at, since, created_at, size, file, digest, sum, cause, " \
    "length(head)"

#define STORE_WEIGHT "size + length(head) + 512"
_Static_assert(SPOOL_RECORD_COST == 512, "STORE_WEIGHT says it too");

/* Every statement there is. */
#define STORE_STATEMENTS(X)                                                                                  \
    X(BEGIN, "BEGIN IMMEDIATE")                                                                              \
    X(COMMIT, "COMMIT")                                                                                      \
    X(ROLLBACK, "ROLLBACK")                                                                                  \
    X(INSERT, "INSERT INTO record (route, enclave, key, state, attempts, next_at, since, created_at, size, " \
              "file, digest, sum, cause, head) VALUES (?, ?, ?, 0, 0, 0, ?, ?, ?, ?, ?, ?, '', ?)")          \
    X(INSERT_BODY, "INSERT INTO body (id, data) VALUES (?, ?)")                                              \
    X(NEXT,                                                                                                  \
      "SELECT id FROM record WHERE route = ? AND enclave = ? AND state = 0 AND id > ? ORDER BY id LIMIT 1")  \
    X(LOAD, "SELECT " STORE_COLUMNS ", head, (SELECT data FROM body WHERE body.id = record.id) FROM record " \
            "WHERE id = ?")                                                                                  \
    X(PEEK, "SELECT " STORE_COLUMNS " FROM record WHERE id = ?")                                             \
    X(CHANGE, "UPDATE record SET state = ?, attempts = ?, next_at = ?, since = ?, cause = ? WHERE id = ?")   \
    X(REMOVE, "DELETE FROM record WHERE id = ?")                                                             \
    X(REMOVE_BODY, "DELETE FROM body WHERE id = ?")                                                          \
    X(SCAN, "SELECT " STORE_COLUMNS " FROM record WHERE id > ? ORDER BY id")                                 \
    X(SCAN_DEAD,                                                                                             \
      "SELECT " STORE_COLUMNS " FROM record INDEXED BY dead WHERE state >= 2 AND id > ? ORDER BY id")        \
    X(WAKE, "UPDATE record SET state = 0, next_at = 0 WHERE id IN (SELECT id FROM record WHERE state = 1 "   \
            "AND (next_at <= ? OR next_at > ?) LIMIT ?) RETURNING id, route, enclave, " STORE_WEIGHT)        \
    X(DUE, "SELECT min(next_at) FROM record WHERE state = 1")                                                \
    X(OLDEST_READY,                                                                                          \
      "SELECT created_at FROM record WHERE route = ? AND enclave = ? AND state = 0 ORDER BY id LIMIT 1")     \
    X(OLDEST_WAITING, "SELECT created_at FROM record WHERE route = ? AND state = 1 ORDER BY id LIMIT 1")     \
    X(RECOUNT, "SELECT id, route, enclave, state, " STORE_WEIGHT " FROM record WHERE id > ? ORDER BY id")    \
    X(LAST, "SELECT max(id) FROM record")                                                                    \
    X(TALLY_LOAD, "SELECT route, enclave, ready, ready_bytes, waiting, waiting_bytes, dead, dead_bytes, "    \
                  "damaged, damaged_bytes FROM tally")                                                       \
    X(NEXT_ENCLAVE, "SELECT route, enclave FROM record WHERE route = ? AND enclave > ? AND state = 0 ORDER " \
                    "BY enclave LIMIT 1")                                                                    \
    X(NEXT_ROUTE,                                                                                            \
      "SELECT route, enclave FROM record WHERE route > ? AND state = 0 ORDER BY route, enclave LIMIT 1")     \
    X(TALLY_SAVE, "INSERT OR REPLACE INTO tally (route, enclave, ready, ready_bytes, waiting, "              \
                  "waiting_bytes, dead, dead_bytes, damaged, damaged_bytes) "                                \
                  "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")                                                   \
    X(GARBAGE_MAKE, "INSERT INTO garbage DEFAULT VALUES")                                                    \
    X(GARBAGE_ADD, "INSERT OR IGNORE INTO garbage (file) VALUES (?)")                                        \
    X(GARBAGE_FORGET, "DELETE FROM garbage WHERE file = ?")                                                  \
    X(GARBAGE_LAST, "SELECT max(file) FROM garbage")                                                         \
    X(GARBAGE_LIST, "SELECT file FROM garbage WHERE file > ? AND file <= ? ORDER BY file LIMIT ?")           \
    X(SLACK, "PRAGMA freelist_count")                                                                        \
    X(PAGES, "PRAGMA page_count")                                                                            \
    X(SHRINK, "PRAGMA incremental_vacuum(256)")

enum store_statement {
#define X(id, sql) STORE_##id,
    STORE_STATEMENTS(X)
#undef X
        STORE_STATEMENT_COUNT
};

struct store {
    sqlite3 *db;
    char *path;
    struct tallies *tallies;
    pthread_mutex_t *lock;
    sqlite3_stmt *statements[STORE_STATEMENT_COUNT];
    bool is_suspect; /* a sync of the log failed */
    bool is_cramped; /* the disk was full */
    int frames;      /* in the log, as of the last commit */
    int tidy_at;     /* so many make it worth moving them */
};

/* Sets the text and returns the code for what SQLite said. */
int store_fail(struct store *store, int sqlite_code, const char *what, struct error *err) MUST_CHECK;

/* Runs a bound statement that returns no row, and resets it. */
int store_run(struct store *store, enum store_statement which, const char *what,
              struct error *err) MUST_CHECK;

/* Runs a bound statement that returns one number, and resets it; SQL's NULL and no row leave *ret alone. */
int store_number(struct store *store, enum store_statement which, uint64_t *ret,
                 struct error *err) MUST_CHECK;

void store_bind_number(sqlite3_stmt *statement, int index, uint64_t number);
void store_bind_text(sqlite3_stmt *statement, int index, const char *text); /* must live until the reset */

/* Under the lock. NULL: out of memory. */
struct tally *store_tally(struct store *store, const char *route, const char *enclave);

enum spool_state store_state(int64_t state); /* one that does not exist is damage */

/* What STORE_COLUMNS says, with pointers into the row. -EBADMSG if it cannot be a record. */
int store_read(struct store *store, sqlite3_stmt *row, struct record *ret, struct error *err) MUST_CHECK;

#endif
