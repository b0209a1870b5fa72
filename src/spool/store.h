/*
 * The database: records, bodies of the small, names of body files that may be removed, and the tallies. Synchronous, for
 * one thread; tallies are added under the lock that the owner gave.
 *
 * Changes are made between store_begin() and store_commit(), of which the latter syncs. After a failure of any of them,
 * store_rollback(): everything since store_begin() is undone.
 */
#ifndef POSTERN_SPOOL_STORE_H
#define POSTERN_SPOOL_STORE_H

#include "base/compiler.h"
#include "base/error.h"
#include "spool/digest.h"
#include "spool/place.h"
#include "spool/spool.h"
#include "spool/tally.h"
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct store;

/* A record with all that the database knows of it. */
struct record {
    struct spool_record shown;
    struct tally *tally;
    uint64_t since; /* what its age counts from: when it was put, or brought back to life */
    uint64_t file;  /* that holds the body; 0: `body` does */
    const void *body;
    uint8_t digest[DIGEST_SIZE]; /* of the body */
    uint8_t sum[DIGEST_SIZE];    /* of what never changes, `digest` included */
    char *block;                 /* owned: where the texts and bytes are; NULL if they are another's */
};

void record_release(struct record *record);

/* Moves what its pointers lead to, of the body so much, into a block of its own. 0 or -ENOMEM. */
int record_keep(struct record *record, size_t body_size) MUST_CHECK;

/* The sum over all that never changes. 0 or -ENOMEM. */
int record_sum(const struct record *record, uint8_t out[DIGEST_SIZE]) MUST_CHECK;

struct store_options {
    const struct place *place;
    const char *vfs;
    struct tallies *tallies; /* those on the disk are added */
    pthread_mutex_t *lock;   /* held to add to them */
};

int store_open(const struct store_options *options, struct store **ret, struct error *err) MUST_CHECK;
void store_close(struct store *store);

int store_begin(struct store *store, struct error *err) MUST_CHECK;
int store_commit(struct store *store, struct error *err) MUST_CHECK; /* the tallies are to be folded */
void store_rollback(struct store *store);                            /* the tallies are forgotten */

/* After a commit: moves the log into the database if it has grown. */
int store_tidy(struct store *store, struct error *err) MUST_CHECK;

/* Gives some of the file's free space back, if there is much: within a transaction. *ret_more: there is more. */
bool store_has_slack(struct store *store);
int store_shrink(struct store *store, struct error *err) MUST_CHECK;

/* --- Records --- */

/* Sets `shown.id`. The file, if it has one, is garbage no more. */
int store_insert(struct store *store, struct record *record, struct error *err) MUST_CHECK;

/* The first ready record of the tally's route and enclave with an id greater than `after`; 0 in *ret if there is none. */
int store_next(struct store *store, const struct tally *tally, uint64_t after, uint64_t *ret,
               struct error *err) MUST_CHECK;

/* -ENOENT: there is none. -EBADMSG: it is damaged. In any case `ret` is to be released. */
int store_load(struct store *store, uint64_t id, struct record *ret, struct error *err) MUST_CHECK;

/* The same without key, cause, head and body, and unchecked: enough to change or to remove it. */
int store_peek(struct store *store, uint64_t id, struct record *ret, struct error *err) MUST_CHECK;

/* Writes state, attempts, next_at, since and cause of `now`, whose state on the disk is `before`. */
int store_change(struct store *store, const struct record *now, enum spool_state before,
                 struct error *err) MUST_CHECK;

/* With its body; a body file becomes garbage. */
int store_remove(struct store *store, const struct record *record, struct error *err) MUST_CHECK;

/* --- Many of them --- */

/* Calls `each` for the records after an id, in order, until it returns false or STORE_SCAN_MAX were looked at.
 * Only the states of `states` are looked at. The record is good until `each` returns. Its *ret_last is the last that was
 * looked at, or 0 if there are no more. */
#define STORE_SCAN_MAX 10000
typedef bool (*store_each)(void *arg, const struct record *record);
int store_scan(struct store *store, unsigned states, uint64_t after, store_each each, void *arg,
               uint64_t *ret_last, struct error *err) MUST_CHECK;

/* Makes waiting records ready whose time has come, or lies further ahead than any pause can be: the clock was set
 * back. At most STORE_WAKE_MAX; `each` is told id and tally. Within a transaction. */
#define STORE_WAKE_MAX 256
int store_wake(struct store *store, uint64_t now_ms,
               void (*each)(void *arg, uint64_t id, struct tally *tally), void *arg, unsigned *ret_count,
               struct error *err) MUST_CHECK;

/* When the first waiting record is due; UINT64_MAX if none waits. */
int store_due(struct store *store, uint64_t *ret, struct error *err) MUST_CHECK;

/* When the oldest ready record of the tally's route and enclave, or the oldest waiting one of the route, was put; if there is none
 * *ret is left alone. */
int store_oldest_ready(struct store *store, const struct tally *tally, uint64_t *ret,
                       struct error *err) MUST_CHECK;
int store_oldest_waiting(struct store *store, const char *route, uint64_t *ret, struct error *err) MUST_CHECK;

/* Counts some more of the records anew, outside of transactions; what is changed in between is seen to. */
#define STORE_RECOUNT_MAX 1024
int store_recount(struct store *store, bool *ret_more, struct error *err) MUST_CHECK;

/* The end of it, alone in a transaction: *ret_wrong: the tallies were not right, and are changed. */
int store_correct(struct store *store, bool *ret_wrong, struct error *err) MUST_CHECK;

/* The last record that there is, or 0. */
int store_last(struct store *store, uint64_t *ret, struct error *err) MUST_CHECK;

/* --- Garbage: body files that no record names --- */

int store_garbage_make(struct store *store, uint64_t *ret_file,
                       struct error *err) MUST_CHECK; /* a new name */
int store_garbage_forget(struct store *store, uint64_t file, struct error *err) MUST_CHECK;

/* Says once more that a file is garbage. The transaction writes, whatever was there: it takes the place of one that
 * failed in the log, which a process that died now would find there, and take for good. */
int store_garbage_renew(struct store *store, uint64_t file, struct error *err) MUST_CHECK;

int store_garbage_last(struct store *store, uint64_t *ret, struct error *err) MUST_CHECK;

/* Up to `most` names in order, after one and up to another. */
int store_garbage_list(struct store *store, uint64_t after, uint64_t last, uint64_t *files, unsigned most,
                       unsigned *ret_count, struct error *err) MUST_CHECK;

#endif
