/* Many records at once, in bounded steps. */
#include "spool/store_private.h"

#include "spool/failure.h"
#include <errno.h>

#define DEAD_STATES (1U << SPOOL_DEAD | 1U << SPOOL_DAMAGED)

static int scan_row(struct store *store, sqlite3_stmt *row, unsigned states, store_each each, void *arg,
                    struct error *err)
{
    struct record record;
    int r = store_read(store, row, &record, err);

    if (r == -ENOMEM) {
        return r;
    }
    return !(states & 1U << record.shown.state) || each(arg, &record) ? 1 : 0;
}

int store_scan(struct store *store, unsigned states, uint64_t after, store_each each, void *arg,
               uint64_t *ret_last, struct error *err)
{
    sqlite3_stmt *row = store->statements[states & ~DEAD_STATES ? STORE_SCAN : STORE_SCAN_DEAD];
    int r = SQLITE_ROW, on = 1;

    *ret_last = 0;
    store_bind_number(row, 1, after);
    for (unsigned i = 0; on > 0; i++) {
        if (i == STORE_SCAN_MAX) {
            break;
        }
        r = sqlite3_step(row);
        if (r != SQLITE_ROW) {
            break;
        }
        on = scan_row(store, row, states, each, arg, err);
        *ret_last = (uint64_t)sqlite3_column_int64(row, 0);
    }
    if (r == SQLITE_DONE) {
        *ret_last = 0;
    } else if (r != SQLITE_ROW) {
        on = store_fail(store, r, "cannot read records", err);
    }
    sqlite3_reset(row);
    return on < 0 ? on : 0;
}

static int woken(struct store *store, sqlite3_stmt *row,
                 void (*each)(void *arg, uint64_t id, struct tally *tally), void *arg, struct error *err)
{
    const char *route = (const char *)sqlite3_column_text(row, 1);
    const char *enclave = (const char *)sqlite3_column_text(row, 2);
    uint64_t id = (uint64_t)sqlite3_column_int64(row, 0);
    int64_t weight = sqlite3_column_int64(row, 3);
    struct tally *tally = route && enclave ? store_tally(store, route, enclave) : NULL;

    if (!tally) {
        return error_errno(err, -ENOMEM, "spool");
    }
    tallies_change(store->tallies, tally, id, SPOOL_WAITING, -1, -weight);
    tallies_change(store->tallies, tally, id, SPOOL_READY, 1, weight);
    each(arg, id, tally);
    return 0;
}

int store_wake(struct store *store, uint64_t now_ms,
               void (*each)(void *arg, uint64_t id, struct tally *tally), void *arg, unsigned *ret_count,
               struct error *err)
{
    sqlite3_stmt *row = store->statements[STORE_WAKE];
    int r, result = 0;

    *ret_count = 0;
    store_bind_number(row, 1, now_ms);
    store_bind_number(row, 2, now_ms + SPOOL_DELAY_MAX_MS);
    sqlite3_bind_int(row, 3, STORE_WAKE_MAX);
    while (result == 0 && (r = sqlite3_step(row)) != SQLITE_DONE) {
        result = r == SQLITE_ROW ? woken(store, row, each, arg, err)
                                 : store_fail(store, r, "cannot wake records", err);
        ++*ret_count;
    }
    sqlite3_reset(row);
    return result;
}

int store_due(struct store *store, uint64_t *ret, struct error *err)
{
    *ret = UINT64_MAX;
    return store_number(store, STORE_DUE, ret, err);
}

int store_oldest_ready(struct store *store, const struct tally *tally, uint64_t *ret, struct error *err)
{
    store_bind_text(store->statements[STORE_OLDEST_READY], 1, tally->route);
    store_bind_text(store->statements[STORE_OLDEST_READY], 2, tally->enclave);
    return store_number(store, STORE_OLDEST_READY, ret, err);
}

int store_oldest_waiting(struct store *store, const char *route, uint64_t *ret, struct error *err)
{
    store_bind_text(store->statements[STORE_OLDEST_WAITING], 1, route);
    return store_number(store, STORE_OLDEST_WAITING, ret, err);
}

int store_last(struct store *store, uint64_t *ret, struct error *err)
{
    *ret = 0;
    return store_number(store, STORE_LAST, ret, err);
}

/* --- Recounting --- */

static int find_row(struct store *store, sqlite3_stmt *row, struct error *err)
{
    const char *route = (const char *)sqlite3_column_text(row, 1);
    const char *enclave = (const char *)sqlite3_column_text(row, 2);
    struct tally *tally = route && enclave ? store_tally(store, route, enclave) : NULL;

    if (!tally) {
        return error_errno(err, -ENOMEM, "spool");
    }
    tallies_find(store->tallies, tally, (uint64_t)sqlite3_column_int64(row, 0),
                 store_state(sqlite3_column_int64(row, 3)), sqlite3_column_int64(row, 4));
    return 0;
}

int store_recount(struct store *store, bool *ret_more, struct error *err)
{
    sqlite3_stmt *row = store->statements[STORE_RECOUNT];
    int r = SQLITE_ROW, result = 0;

    errno = 0;
    store_bind_number(row, 1, store->tallies->found_to);
    for (unsigned i = 0; result == 0 && i < STORE_RECOUNT_MAX && (r = sqlite3_step(row)) == SQLITE_ROW; i++) {
        result = find_row(store, row, err);
    }
    if (r != SQLITE_ROW && r != SQLITE_DONE) {
        result = store_fail(store, r, "cannot count the records", err);
    }
    sqlite3_reset(row);
    *ret_more = r == SQLITE_ROW;
    return result;
}

int store_correct(struct store *store, bool *ret_wrong, struct error *err)
{
    bool more = true;

    while (more) {
        int r = store_recount(store, &more, err);

        if (r < 0) {
            return r;
        }
    }
    pthread_mutex_lock(store->lock);
    *ret_wrong = tallies_correct(store->tallies);
    pthread_mutex_unlock(store->lock);
    return 0;
}

/* --- Garbage --- */

int store_garbage_make(struct store *store, uint64_t *ret_file, struct error *err)
{
    int r = store_run(store, STORE_GARBAGE_MAKE, "cannot name a body", err);

    if (r == 0) {
        *ret_file = (uint64_t)sqlite3_last_insert_rowid(store->db);
    }
    return r;
}

int store_garbage_forget(struct store *store, uint64_t file, struct error *err)
{
    store_bind_number(store->statements[STORE_GARBAGE_FORGET], 1, file);
    return store_run(store, STORE_GARBAGE_FORGET, "cannot forget a name", err);
}

int store_garbage_renew(struct store *store, uint64_t file, struct error *err)
{
    int r = store_garbage_forget(store, file, err);

    if (r < 0) {
        return r;
    }
    store_bind_number(store->statements[STORE_GARBAGE_ADD], 1, file);
    return store_run(store, STORE_GARBAGE_ADD, "cannot name a body", err);
}

int store_garbage_last(struct store *store, uint64_t *ret, struct error *err)
{
    *ret = 0;
    return store_number(store, STORE_GARBAGE_LAST, ret, err);
}

int store_garbage_list(struct store *store, uint64_t after, uint64_t last, uint64_t *files, unsigned most,
                       unsigned *ret_count, struct error *err)
{
    sqlite3_stmt *row = store->statements[STORE_GARBAGE_LIST];
    int r;

    *ret_count = 0;
    store_bind_number(row, 1, after);
    store_bind_number(row, 2, last);
    store_bind_number(row, 3, most);
    while ((r = sqlite3_step(row)) == SQLITE_ROW) {
        files[(*ret_count)++] = (uint64_t)sqlite3_column_int64(row, 0);
    }
    sqlite3_reset(row);
    return r == SQLITE_DONE ? 0 : store_fail(store, r, "cannot list bodies", err);
}
