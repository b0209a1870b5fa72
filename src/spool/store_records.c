/* One record at a time. */
#include "spool/store_private.h"

#include "spool/failure.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

void record_release(struct record *record)
{
    free(record->block);
    record->block = NULL;
}

/* What it counts against bounds and in tallies. */
static uint64_t record_weight(const struct record *record)
{
    return record->shown.body_size + record->shown.head_size + SPOOL_RECORD_COST;
}

int record_sum(const struct record *record, uint8_t out[DIGEST_SIZE])
{
    const struct spool_record *shown = &record->shown;
    struct digest *digest;
    int r = digest_begin(&digest);

    if (r < 0) {
        return r;
    }
    r = digest_add_field(digest, shown->route, strlen(shown->route));
    if (r == 0) {
        r = digest_add_field(digest, shown->enclave, strlen(shown->enclave));
    }
    if (r == 0) {
        r = digest_add_field(digest, shown->key, strlen(shown->key));
    }
    if (r == 0) {
        r = digest_add_field(digest, shown->head, shown->head_size);
    }
    if (r == 0) {
        r = digest_add_number(digest, shown->created_at);
    }
    if (r == 0) {
        r = digest_add_number(digest, shown->body_size);
    }
    if (r == 0) {
        r = digest_add_number(digest, record->file);
    }
    if (r == 0) {
        r = digest_add(digest, record->digest, DIGEST_SIZE);
    }
    if (r == 0) {
        r = digest_end(digest, out);
    }
    digest_free(digest);
    return r;
}

enum spool_state store_state(int64_t state)
{
    return state >= 0 && state < SPOOL_STATES ? (enum spool_state)state : SPOOL_DAMAGED;
}

/* --- Putting --- */

static int insert_body(struct store *store, const struct record *record, struct error *err)
{
    sqlite3_stmt *statement = store->statements[STORE_INSERT_BODY];

    store_bind_number(statement, 1, record->shown.id);
    /* NULL data would be SQL's NULL, and not an empty blob. */
    sqlite3_bind_blob64(statement, 2, record->body ? record->body : "", record->shown.body_size,
                        SQLITE_STATIC);
    return store_run(store, STORE_INSERT_BODY, "cannot keep a body", err);
}

int store_insert(struct store *store, struct record *record, struct error *err)
{
    sqlite3_stmt *statement = store->statements[STORE_INSERT];
    const struct spool_record *shown = &record->shown;
    int r;

    store_bind_text(statement, 1, shown->route);
    store_bind_text(statement, 2, shown->enclave);
    store_bind_text(statement, 3, shown->key);
    store_bind_number(statement, 4, record->since);
    store_bind_number(statement, 5, shown->created_at);
    store_bind_number(statement, 6, shown->body_size);
    store_bind_number(statement, 7, record->file);
    sqlite3_bind_blob(statement, 8, record->digest, DIGEST_SIZE, SQLITE_STATIC);
    sqlite3_bind_blob(statement, 9, record->sum, DIGEST_SIZE, SQLITE_STATIC);
    sqlite3_bind_blob64(statement, 10, shown->head ? shown->head : "", shown->head_size, SQLITE_STATIC);
    r = store_run(store, STORE_INSERT, "cannot keep a record", err);
    if (r < 0) {
        return r;
    }
    record->shown.id = (uint64_t)sqlite3_last_insert_rowid(store->db);
    r = record->file > 0 ? store_garbage_forget(store, record->file, err) : insert_body(store, record, err);
    if (r == 0) {
        tallies_change(store->tallies, record->tally, record->shown.id, SPOOL_READY, 1,
                       (int64_t)record_weight(record));
    }
    return r;
}

/* --- Reading --- */

int store_next(struct store *store, const struct tally *tally, uint64_t after, uint64_t *ret,
               struct error *err)
{
    sqlite3_stmt *statement = store->statements[STORE_NEXT];

    *ret = 0;
    store_bind_text(statement, 1, tally->route);
    store_bind_text(statement, 2, tally->enclave);
    store_bind_number(statement, 3, after);
    return store_number(store, STORE_NEXT, ret, err);
}

static bool read_sum(sqlite3_stmt *row, int column, uint8_t out[DIGEST_SIZE])
{
    const void *data = sqlite3_column_blob(row, column);

    if (!data || sqlite3_column_bytes(row, column) != DIGEST_SIZE) {
        return false;
    }
    memcpy(out, data, DIGEST_SIZE);
    return true;
}

static uint64_t read_number(sqlite3_stmt *row, int column)
{
    sqlite3_int64 number = sqlite3_column_int64(row, column);

    return number > 0 ? (uint64_t)number : 0;
}

/* A text that is not there only damage can bring about. */
static bool fill_in(const char **text)
{
    bool there = *text != NULL;

    if (!there) {
        *text = "";
    }
    return there;
}

int store_read(struct store *store, sqlite3_stmt *row, struct record *ret, struct error *err)
{
    uint64_t id = read_number(row, 0);
    bool whole;

    *ret = (struct record){
        .shown = {.id = id,
                  .route = (const char *)sqlite3_column_text(row, 1),
                  .enclave = (const char *)sqlite3_column_text(row, 2),
                  .key = (const char *)sqlite3_column_text(row, 3),
                  .state = store_state(sqlite3_column_int64(row, 4)),
                  .attempts = (uint32_t)read_number(row, 5),
                  .next_at = read_number(row, 6),
                  .created_at = read_number(row, 8),
                  .body_size = read_number(row, 9),
                  .cause = (const char *)sqlite3_column_text(row, 13),
                  .head_size = (size_t)read_number(row, 14)},
        .since = read_number(row, 7),
        .file = read_number(row, 10),
    };
    whole = read_sum(row, 11, ret->digest) && read_sum(row, 12, ret->sum);
    if (sqlite3_errcode(store->db) == SQLITE_NOMEM) {
        return error_errno(err, -ENOMEM, "record %llu", (unsigned long long)id);
    }
    whole &= fill_in(&ret->shown.route);
    whole &= fill_in(&ret->shown.enclave);
    whole &= fill_in(&ret->shown.key);
    whole &= fill_in(&ret->shown.cause);
    ret->tally = store_tally(store, ret->shown.route, ret->shown.enclave);
    if (!ret->tally) {
        return error_errno(err, -ENOMEM, "record %llu", (unsigned long long)id);
    }
    return whole ? 0
                 : error_set(err, -EBADMSG, "record %llu: it is damaged: fields are missing",
                             (unsigned long long)id);
}

struct span {
    const void **at; /* where the pointer is, which will lead into the block */
    size_t size;
};

int record_keep(struct record *record, size_t body_size)
{
    struct spool_record *shown = &record->shown;
    const struct span spans[] = {
        {(const void **)&shown->route, strlen(shown->route) + 1},
        {(const void **)&shown->enclave, strlen(shown->enclave) + 1},
        {(const void **)&shown->key, strlen(shown->key) + 1},
        {(const void **)&shown->cause, strlen(shown->cause) + 1},
        {&shown->head, shown->head ? shown->head_size : 0},
        {&record->body, body_size},
    };
    size_t total = 1;
    char *at;

    for (size_t i = 0; i < ARRAY_SIZE(spans); i++) {
        total += spans[i].size;
    }
    record->block = malloc(total);
    if (!record->block) {
        return -ENOMEM;
    }
    at = record->block;
    for (size_t i = 0; i < ARRAY_SIZE(spans); i++) {
        if (spans[i].size == 0) {
            continue;
        }
        memcpy(at, *spans[i].at, spans[i].size);
        *spans[i].at = at;
        at += spans[i].size;
    }
    return 0;
}

static int check(const struct record *record, size_t body_size, struct error *err)
{
    unsigned long long id = record->shown.id;
    uint8_t sum[DIGEST_SIZE];

    if (record_sum(record, sum) < 0) {
        return error_errno(err, -ENOMEM, "record %llu", id);
    }
    if (memcmp(sum, record->sum, DIGEST_SIZE) != 0) {
        return error_set(err, -EBADMSG, "record %llu: it is damaged: its sum is wrong", id);
    }
    if (record->file > 0) {
        return 0;
    }
    if (digest_of(record->body, body_size, sum) < 0) {
        return error_errno(err, -ENOMEM, "record %llu", id);
    }
    if (body_size != record->shown.body_size || memcmp(sum, record->digest, DIGEST_SIZE) != 0) {
        return error_set(err, -EBADMSG, "record %llu: it is damaged: its body is not what was put", id);
    }
    return 0;
}

static int load_row(struct store *store, sqlite3_stmt *row, struct record *ret, struct error *err)
{
    size_t body_size;
    int r = store_read(store, row, ret, err);

    if (r < 0) {
        return r;
    }
    ret->shown.head = sqlite3_column_blob(row, 15);
    ret->body = sqlite3_column_blob(row, 16);
    body_size = (size_t)sqlite3_column_bytes(row, 16);
    if (sqlite3_errcode(store->db) == SQLITE_NOMEM || record_keep(ret, body_size) < 0) {
        return error_errno(err, -ENOMEM, "record %llu", (unsigned long long)ret->shown.id);
    }
    return check(ret, body_size, err);
}

/* The texts of a row that is left are no one's any more, unless they were kept. */
static void forget_texts(struct record *record)
{
    struct spool_record *shown = &record->shown;

    if (record->block) {
        return;
    }
    shown->route = record->tally ? record->tally->route : "";
    shown->enclave = record->tally ? record->tally->enclave : "";
    shown->key = "";
    shown->cause = "";
    shown->head = NULL;
    record->body = NULL;
}

int store_load(struct store *store, uint64_t id, struct record *ret, struct error *err)
{
    sqlite3_stmt *row = store->statements[STORE_LOAD];
    int r;

    *ret = (struct record){.shown = {.id = id}};
    store_bind_number(row, 1, id);
    errno = 0;
    r = sqlite3_step(row);
    if (r == SQLITE_ROW) {
        r = load_row(store, row, ret, err);
    } else if (r == SQLITE_DONE) {
        r = error_set(err, -ENOENT, "there is no record %llu", (unsigned long long)id);
    } else {
        r = store_fail(store, r, "cannot read a record", err);
    }
    /* SQLite takes for damage also what the disk fails to read. */
    if (r == -EUCLEAN) {
        r = error_set(
            err, -EBADMSG,
            "record %llu: it is damaged: the database cannot read it: see what the kernel said of the "
            "disk",
            (unsigned long long)id);
    }
    forget_texts(ret);
    sqlite3_reset(row);
    return r;
}

int store_peek(struct store *store, uint64_t id, struct record *ret, struct error *err)
{
    sqlite3_stmt *row = store->statements[STORE_PEEK];
    int r;

    store_bind_number(row, 1, id);
    errno = 0;
    r = sqlite3_step(row);
    if (r == SQLITE_ROW) {
        r = store_read(store, row, ret, err);
        forget_texts(ret);
        r = r == -EBADMSG ? 0 : r;
    } else if (r == SQLITE_DONE) {
        r = error_set(err, -ENOENT, "there is no record %llu", (unsigned long long)id);
    } else {
        r = store_fail(store, r, "cannot read a record", err);
    }
    sqlite3_reset(row);
    return r;
}

/* --- Changing --- */

int store_change(struct store *store, const struct record *now, enum spool_state before, struct error *err)
{
    sqlite3_stmt *statement = store->statements[STORE_CHANGE];
    const struct spool_record *shown = &now->shown;
    int64_t weight = (int64_t)record_weight(now);
    int r;

    sqlite3_bind_int(statement, 1, (int)shown->state);
    store_bind_number(statement, 2, shown->attempts);
    store_bind_number(statement, 3, shown->next_at);
    store_bind_number(statement, 4, now->since);
    store_bind_text(statement, 5, shown->cause);
    store_bind_number(statement, 6, shown->id);
    r = store_run(store, STORE_CHANGE, "cannot change a record", err);
    if (r < 0) {
        return r;
    }
    tallies_change(store->tallies, now->tally, shown->id, before, -1, -weight);
    tallies_change(store->tallies, now->tally, shown->id, shown->state, 1, weight);
    return 0;
}

int store_remove(struct store *store, const struct record *record, struct error *err)
{
    int r;

    store_bind_number(store->statements[STORE_REMOVE], 1, record->shown.id);
    r = store_run(store, STORE_REMOVE, "cannot remove a record", err);
    if (r < 0) {
        return r;
    }
    if (record->file > 0) {
        store_bind_number(store->statements[STORE_GARBAGE_ADD], 1, record->file);
        r = store_run(store, STORE_GARBAGE_ADD, "cannot remove a body", err);
    } else {
        store_bind_number(store->statements[STORE_REMOVE_BODY], 1, record->shown.id);
        r = store_run(store, STORE_REMOVE_BODY, "cannot remove a body", err);
    }
    if (r == 0) {
        tallies_change(store->tallies, record->tally, record->shown.id, record->shown.state, -1,
                       -(int64_t)record_weight(record));
    }
    return r;
}
