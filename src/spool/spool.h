/*
 * The durable queue behind `delivery: spool`: what was accepted is kept on the disk until it was delivered,
 * whatever happens in between.
 *
 * A record is a request that an enclave handed over: its route, the enclave, an idempotency key, a head (bytes that
 * the spool does not look into: method, target and headers) and a body of any size. It gets an id, which grows and is
 * never used twice. A record is in one of four states:
 *
 *     ready      to be delivered now: oldest first of its enclave; enclaves take turns on a route
 *     waiting    to be delivered again, not before a given time
 *     dead       given up after too many attempts, at too great an age, or because nobody could ever take it
 *     damaged    what is on the disk is not what was written; never delivered, unless a retry finds it whole again
 *
 * Nothing leaves the spool but by SPOOL_DONE, and by an operator's drop.
 *
 * PROMISES. They hold over kill -9 at any instant and over loss of power, with writes since the last sync lost,
 * reordered or torn.
 *   - A put that was told 0 is on the disk, and stays until its delivery was.
 *   - A put that was told an error, or nothing, is there whole or not at all.
 *   - A record that is handed out again, after a failure or a restart, has the same key, head and body. Who delivers
 *     it sends the key along; twice the same key may come, never the same record under two keys.
 *   - The last byte of a body is not handed out before the whole of it was found to be what was put.
 *   - The numbers of spool_stats() are kept in the same transactions as the records.
 *   - Opening takes time and memory that do not grow with the number of records; so does everything else here.
 *
 * ON THE DISK, in a directory that is its user's alone (0700, files 0600): `spool.db`, an SQLite database in WAL mode,
 * synced at every commit, which holds the records and the bodies of up to SPOOL_INLINE_MAX; `spool.db-wal`; and
 * `bodies/`, with a file for each larger body. A body file is named in the database before it is made, and until its
 * record is committed as garbage: what a crash leaves behind is collected at the next start, without a look at
 * the directory. One process at a time has the spool open.
 *
 * THREADS. A spool has two: the writer, which alone touches the database, and the files thread, for body files. All
 * commits that wait when the writer comes around share one sync. Every function here may be called from any thread
 * and does not wait for the disk, but for spool_open(), spool_close() and spool_set_aside(), which do.
 *
 * PORTS. What takes time is reported to a port: a queue that belongs to one thread (of a loop, say), which the spool
 * fills and for which it calls `wake`. The thread then calls spool_port_run(), and gets its callbacks from there,
 * never from inside of the call that started something, and never on another thread. A put, a take or a call
 * belongs to the thread of its port.
 *
 * OWNERSHIP. Puts, takes and calls are made and freed by the spool. Each has one function that ends it (told at each);
 * from then on it is gone for the caller, no callback comes any more, and what still has to be done for it is done
 * behind the scenes. What the caller passes in is copied.
 *
 * ERRORS. Negative errno values, with a text that says what to do. They mean the same everywhere:
 *   -ENOSPC   full: the bound of the spool, of the route or of the enclave, or the disk itself
 *   -EROFS    the file system is read-only
 *   -EIO      reading, writing or syncing failed
 *   -EUCLEAN  the database is damaged. Nothing is repaired or thrown away by itself: spool_set_aside() is for the
 *             operator to ask for
 *   -EBADMSG  one record is damaged; it is set apart, and the others go on
 *   -EBUSY    another process has the spool open; or the record is being delivered
 *   -ENOENT   there is no such record
 *   -EMSGSIZE a name, a key or a head that is too long
 *   -ENOMEM   out of memory
 * A failed sync fails every put that waited for it. A removal that fails is tried again until it succeeds, while the
 * record stays leased: it is not delivered twice by a process that knows better.
 */
#ifndef POSTERN_SPOOL_SPOOL_H
#define POSTERN_SPOOL_SPOOL_H

#include "base/compiler.h"
#include "base/error.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bodies up to this size are kept in the database, and in memory while they come in. */
#define SPOOL_INLINE_MAX (64U * 1024U)
#define SPOOL_HEAD_MAX   (128U * 1024U)
#define SPOOL_NAME_MAX   255 /* of a route, an enclave, a key */
#define SPOOL_CAUSE_MAX  255 /* of the text why an attempt failed; a longer one is cut */

/* What a record counts beside its head and its body, against bounds and in gauges. */
#define SPOOL_RECORD_COST 512U

/* Nothing waits longer than this for its next attempt, whatever Retry-After asked for. It is also what a clock
 * that was set back can do at worst. */
#define SPOOL_DELAY_MAX_MS (24ULL * 60 * 60 * 1000)

enum spool_state { SPOOL_READY, SPOOL_WAITING, SPOOL_DEAD, SPOOL_DAMAGED, SPOOL_STATES };

const char *spool_state_word(enum spool_state state);

/* --- The spool ------------------------------------------------------------------------------------------ */

struct spool;

struct spool_options {
    const char *path;           /* the directory; made (0700) if its parent exists. Copied */
    uint64_t max_bytes;         /* of all records, dead ones too; 0: no bound but the disk's */
    uint64_t max_enclave_bytes; /* of one enclave's: nobody fills the spool for everybody; 0: none */

    /* For tests, and for tools that work on a spool whose daemon is not running. */
    bool manual;              /* no threads: spool_turn() does the work */
    const char *vfs;          /* the SQLite VFS that all files go through; NULL: the default */
    uint64_t (*now_ms)(void); /* the time of day; NULL: the system's */
};

int spool_open(const struct spool_options *options, struct spool **ret, struct error *err) MUST_CHECK;

/* Does what is still to be done, and closes. All puts, takes, calls and ports must have been ended. */
void spool_close(struct spool *spool);

/* The bounds of the options, from now on. What is kept already stays. */
void spool_set_bounds(struct spool *spool, uint64_t max_bytes, uint64_t max_enclave_bytes);

/* Manual spools only: does what there is to do, and says whether there was anything. */
bool spool_turn(struct spool *spool);

/* Moves the database and the bodies of the closed spool in `path` into a new directory beside them, whose name is
 * returned: for an operator, when a database is damaged beyond opening. Nothing is deleted. */
int spool_set_aside(const char *path, char *ret_name, size_t size, struct error *err) MUST_CHECK;

/* How records of a route are treated. A route without a policy has none of the bounds, and the pauses below. */
struct spool_policy {
    uint32_t attempts;       /* then it is dead; 0: no bound */
    uint64_t max_age_ms;     /* then it is dead; 0: no bound */
    uint64_t max_bytes;      /* of the route's records, dead ones too; 0: no bound but the spool's */
    uint64_t first_pause_ms; /* after the first failed attempt, then doubled each time (0: 1 s) ... */
    uint64_t most_pause_ms;  /* ... up to this (0: 5 min); of each pause, up to half is taken off by chance */
};

/* May be called again: a reload does. */
int spool_set_policy(struct spool *spool, const char *route, const struct spool_policy *policy) MUST_CHECK;

/* --- Ports ---------------------------------------------------------------------------------------------- */

struct spool_port;

/* `wake` is called on a thread of the spool, with its lock held: it must do no more than to wake the port's own
 * thread (uv_async_send(), a write to an eventfd), which then calls spool_port_run(). It is called once for
 * any number of reports that come before that. */
int spool_port_open(struct spool *spool, void (*wake)(void *arg), void *arg,
                    struct spool_port **ret) MUST_CHECK;
void spool_port_run(struct spool_port *port);

/* After all puts, takes and calls of the port were ended. `wake` is not called any more when this returns. */
void spool_port_close(struct spool_port *port);

/* --- Putting -------------------------------------------------------------------------------------------- */

struct spool_put;

struct spool_request {
    const char *route;
    const char *enclave;
    const char *key; /* NULL: one is made (a random UUID) */
    const void *head;
    size_t head_size;
    uint64_t expected; /* size of the body if it is known: too much is refused at once; else 0 */
};

struct spool_put_ops {
    /* spool_put_write() took less than it was given, and would now take more. */
    void (*room)(void *arg);

    /* The answer to spool_put_commit(), or news of a failure before it. With 0 the record is durable. The put has
     * ended when this is called: no call of it may follow. */
    void (*done)(void *arg, int result, uint64_t id, const struct error *err);
};

/* -ENOSPC comes from here if the request cannot have room. */
int spool_put_begin(struct spool_port *port, const struct spool_request *request,
                    const struct spool_put_ops *ops, void *arg, struct spool_put **ret,
                    struct error *err) MUST_CHECK;

/* Takes up to `size` bytes and returns how many, or -ENOSPC or another error: then the put is to be aborted. */
int64_t spool_put_write(struct spool_put *put, const void *data, size_t size, struct error *err) MUST_CHECK;

void spool_put_commit(struct spool_put *put);

/* Ends the put instead, before done(). Nothing is left of it; only if it was committed already, the
 * record may have been kept. */
void spool_put_abort(struct spool_put *put);

/* --- Taking --------------------------------------------------------------------------------------------- */

struct spool_take;

/* A record as it is handed out. Belongs to the take. */
struct spool_record {
    uint64_t id;
    const char *route;
    const char *enclave;
    const char *key;
    const void *head;
    size_t head_size;
    uint64_t body_size;
    enum spool_state state;
    uint32_t attempts;   /* that failed so far */
    uint64_t created_at; /* ms since 1970 */
    uint64_t next_at;    /* waiting: when it is due */
    const char *cause;   /* of the last failed attempt; "" */
};

struct spool_take_ops {
    /* A record is there (result 0). Only a look may be told an error: -ENOENT, -EBADMSG, -EIO. */
    void (*ready)(void *arg, int result, const struct error *err);

    /* The answer to spool_take_read(): bytes that are good until the next one, `last` with the end of the body.
     * -EBADMSG: the body is damaged, and what was read of it must not be taken for a whole. */
    void (*data)(void *arg, int result, const void *data, size_t size, bool last, const struct error *err);
};

/* Asks for the next record of a route, the oldest of the next enclave that is ready and not being delivered; ready() is called when there
 * is one, however long that takes. Several may be asked for at once, and each record is leased to one of them,
 * in memory only. Meant for in flight numbers of hundreds. */
int spool_take(struct spool_port *port, const char *route, const struct spool_take_ops *ops, void *arg,
               struct spool_take **ret) MUST_CHECK;

/* Looks at a record of any state without leasing it: to show it, to export it, to verify it. It is ended with
 * SPOOL_RELEASE. If the record goes meanwhile, its body can still be read. One that turns out to be damaged is set
 * apart. */
int spool_look(struct spool_port *port, uint64_t id, const struct spool_take_ops *ops, void *arg,
               struct spool_take **ret) MUST_CHECK;

/* After ready(). */
const struct spool_record *spool_take_record(const struct spool_take *take);

/* Asks for the next piece of the body, one at a time; after the last one not again. */
void spool_take_read(struct spool_take *take);

enum spool_verdict {
    SPOOL_DONE,    /* delivered: the record is removed */
    SPOOL_RETRY,   /* failed: again after a pause, or dead, as the route's policy has it */
    SPOOL_BURY,    /* can never succeed: dead */
    SPOOL_RELEASE, /* not tried: as if it had never been taken. Also ends a take that waits for a record */
};

struct spool_outcome {
    enum spool_verdict verdict;
    const char *cause;       /* why it failed, for people */
    uint64_t retry_after_ms; /* RETRY: not before that, if the other side said so */
    bool blameless;          /* RETRY: the destination was not reached at all; no attempt is counted */
};

/* Ends the take, at any time. What the body was found to be is stronger than the verdict: a damaged record
 * is set apart. */
void spool_take_end(struct spool_take *take, const struct spool_outcome *outcome);

/* --- Operators ------------------------------------------------------------------------------------------ */

struct spool_call;

/* Records by route and by state; in the order of ids, each question answered in bounded time. */
struct spool_query {
    const char *route; /* NULL: all */
    unsigned states;   /* 1 << enum spool_state, or'ed; 0: all */
    uint64_t after;    /* ids greater than this */
    size_t limit;      /* at most, SPOOL_LIST_MAX if 0 or greater */
};

#define SPOOL_LIST_MAX 256

/* Heads and bodies are not among what is listed (`head` is NULL). `next` is the `after` of the question that
 * goes on, 0 at the end; an answer in the middle may be empty. */
typedef void (*spool_list_cb)(void *arg, int result, const struct spool_record *records, size_t count,
                              uint64_t next, const struct error *err);
int spool_list(struct spool_port *port, const struct spool_query *query, spool_list_cb cb, void *arg,
               struct spool_call **ret) MUST_CHECK;

/* `count` records were changed, also when it went wrong in the middle. */
typedef void (*spool_alter_cb)(void *arg, int result, uint64_t count, const struct error *err);

/* Makes waiting and dead records ready at once, with their attempts and their age counted anew. For one record (-EBUSY
 * if it is being delivered), or for all that the query names (`limit` is not looked at), leaving out those that are
 * being delivered.
 * One that is damaged is read to its end first, and is made ready if it is what was put after all: a disk that failed to read it
 * may read again. If not, it stays as it is (-EBADMSG, with why). Of many, that is done if the query names damaged ones
 * alone; else these are left out. */
int spool_retry_one(struct spool_port *port, uint64_t id, spool_alter_cb cb, void *arg,
                    struct spool_call **ret) MUST_CHECK;
int spool_retry_all(struct spool_port *port, const struct spool_query *query, spool_alter_cb cb, void *arg,
                    struct spool_call **ret) MUST_CHECK;

/* In the callback of a change that went well: the route that it was of. NULL: any; or, of one record, memory ran out. */
const char *spool_call_route(const struct spool_call *call);

/* Removes records for good, of any state, but none that is being delivered. */
int spool_drop_one(struct spool_port *port, uint64_t id, spool_alter_cb cb, void *arg,
                   struct spool_call **ret) MUST_CHECK;
int spool_drop_all(struct spool_port *port, const struct spool_query *query, spool_alter_cb cb, void *arg,
                   struct spool_call **ret) MUST_CHECK;

struct spool_verdicts {
    uint64_t records; /* looked at, each with its whole body */
    uint64_t bytes;
    uint64_t damaged; /* among them, those found now too: they have been set apart */
    bool tally_wrong; /* the gauges were not what is on the disk; they are now */
};

/* Reads all that was there when it began and compares it with its sums, with records being put and taken meanwhile, who wait
 * for a piece of it at most. Takes as long as reading the spool takes. */
typedef void (*spool_verify_cb)(void *arg, int result, const struct spool_verdicts *verdicts,
                                const struct error *err);
int spool_verify(struct spool_port *port, spool_verify_cb cb, void *arg, struct spool_call **ret) MUST_CHECK;

/* Ends a call before its callback came; what it had begun to change may be changed. After the callback the call has
 * ended by itself. */
void spool_call_cancel(struct spool_call *call);

/* --- Figures -------------------------------------------------------------------------------------------- */

struct spool_stats {
    uint64_t records[SPOOL_STATES]; /* on the disk; those in flight are among them */
    uint64_t bytes[SPOOL_STATES];   /* with heads and SPOOL_RECORD_COST */
    uint64_t in_flight;
    uint64_t incoming_bytes; /* of puts that are not committed; counted against the bounds */
    uint64_t
        oldest_at; /* when the oldest that is ready or waiting was put, ms since 1970; 0: there is none */

    /* Since the spool was opened. */
    uint64_t accepted;
    uint64_t refused; /* -ENOSPC by a bound */
    uint64_t failed;  /* puts told another error, a full disk among them */
    uint64_t delivered;
    uint64_t retried;
    uint64_t died;
};

/* Of a route, or of the whole spool (NULL). A route that is not known has nothing in it. */
void spool_stats(struct spool *spool, const char *route, struct spool_stats *ret);

/* Of each route that is known, by a policy or by records; and of each enclave in each. `each` is called with the
 * spool's lock held, and must not call the spool. For enclaves only records[], bytes[] and incoming_bytes are set. */
typedef void (*spool_each_cb)(void *arg, const char *route, const char *enclave,
                              const struct spool_stats *stats);
void spool_each_route(struct spool *spool, spool_each_cb each, void *arg); /* `enclave` is NULL */
void spool_each_enclave(struct spool *spool, spool_each_cb each, void *arg);

struct spool_health {
    int result;         /* of the last transaction: 0, or why nothing can be put or removed now */
    struct error error; /* in words */
    uint64_t commits;   /* transactions, each with one sync */
    uint64_t settled;   /* puts, removals and changes in them */
};

void spool_health(struct spool *spool, struct spool_health *ret);

#endif
