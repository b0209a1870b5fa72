/*
 * Between the parts of the spool.
 *
 *     spool.c    opening, closing, ports, queues
 *     writer.c   the writer's turn: one transaction for all that waits, then what can be handed out
 *     files.c    the files thread's turn: body files
 *     put.c      from the first byte to the commit
 *     take.c     from the question to the verdict, serve.c what the writer hands out
 *     chores.c   what the writer does by itself: waking, aging, collecting, shrinking
 *     call.c     operators' questions and changes, verify.c the longest of them, mend.c those of what is damaged
 *     stats.c    figures
 *
 * Everything that is under way is an `op`: a put, a take, a call or a chore, which has it as its first member. It is in
 * one of three hands at a time: its owner's (HELD), the spool's (WORKING: in a queue, or at work in a thread), or a
 * port's (REPORTED). Its class says what each hand does with it, and is changed as it goes from step to step. When
 * the owner ends an op that is in the spool's hands, its port is taken away; the spool notices when its step is
 * done, and calls abandoned() where it would have reported.
 */
#ifndef POSTERN_SPOOL_SPOOL_PRIVATE_H
#define POSTERN_SPOOL_SPOOL_PRIVATE_H

#include "spool/body.h"
#include "spool/place.h"
#include "spool/spool.h"
#include "spool/store.h"
#include "spool/tally.h"
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

struct op;

struct op_class {
    /* On the writer. `apply` is within a transaction, and may be called again if that was rolled back; `settled` is after
     * it, with the result, or right away if there is no `apply`. */
    int (*apply)(struct op *op, struct error *err);
    void (*settled)(struct op *op);
    bool alone; /* in its transaction */

    void (*file)(struct op *op); /* on the files thread */

    void (*report)(struct op *op);    /* on the port's thread */
    void (*abandoned)(struct op *op); /* instead, on any */
};

enum op_place { OP_HELD, OP_WORKING, OP_REPORTED };

struct op {
    STAILQ_ENTRY(op) link; /* of the queue, the port, or the group it is in */
    const struct op_class *class;
    struct spool *spool;
    struct spool_port *port; /* under the lock; NULL: nobody waits for it */
    enum op_place place;     /* under the lock */
    void (*destroy)(struct op *op);
    uint64_t file; /* the body file it is about, or 0 */
    int result;
    struct error error;
};

STAILQ_HEAD(op_list, op);

struct queue {
    struct op_list list;
    size_t count;
    size_t wake_at; /* so many wake the thread; SIZE_MAX while it is not waiting */
    bool busy;      /* the thread works on what it took */
    pthread_cond_t wake;
};

struct spool_port {
    struct spool *spool;
    void (*wake)(void *arg);
    void *arg;
    struct op_list reported; /* under the lock */
    bool awake;              /* under the lock: `wake` was called, and the thread has not come yet */
};

TAILQ_HEAD(take_list, spool_take);

struct route {
    char *name;
    SLIST_ENTRY(route) link;

    /* Under the lock. */
    struct spool_policy policy;
    struct take_list waiting; /* for a record */
    uint64_t in_flight;
    uint64_t oldest_at;
    uint64_t accepted, refused, failed, delivered, retried, died;
    struct spool_stats figures; /* while they are gathered of all routes */

    /* The writer's. */
    struct take_list leased;
    struct tally_turns turns; /* of the enclaves that may have ready records: the next one first */
    bool changed;             /* its oldest record may be another */
};

SLIST_HEAD(route_list, route);

/* What the writer does by itself. */
struct chores {
    struct op wake;      /* waiting records that are due */
    struct op collect;   /* garbage of the process before */
    struct op shrink;    /* free space */
    uint64_t due;        /* when the first waiting record is, by the time of day */
    uint64_t wake_at;    /* by the steady clock: not before; after a failure */
    uint64_t sweep_at;   /* when to look for records that are too old */
    uint64_t collected;  /* up to this file */
    uint64_t collect_to; /* 0: done */
    bool shrinking;
};

struct spool {
    struct spool_options options;
    struct place place;
    struct sqlite3_vfs *vfs;
    struct store *store; /* the writer's */
    pthread_mutex_t lock;

    /* Under the lock. The lists grow at their heads, and nothing is ever taken from them. */
    struct tallies tallies;
    struct route_list routes;
    struct queue writer;
    struct queue files;
    bool closing;
    struct spool_health health;

    /* The writer's. */
    struct chores chores;
    struct op_list again; /* verdicts that could not be carried out */
    uint64_t again_at;
    uint64_t again_pause;
    uint64_t serve_at;  /* after a failure to read */
    uint64_t recounts;  /* that came to their end */
    bool was_wrong;     /* what the last of them found */
    size_t last_group;  /* ops in the last transaction */
    uint64_t last_sync; /* how long its commit took, ns */

    struct op_list removed; /* the files thread's: removals that are not synced */

    pthread_t threads[2];
    unsigned thread_count;
};

/* --- spool.c --- */

uint64_t spool_now(const struct spool *spool);    /* the time of day, ms */
uint64_t spool_steady(const struct spool *spool); /* a clock that nobody sets, ms */
uint64_t spool_random(void);

/* A new op is HELD. */
void op_init(struct op *op, struct spool *spool, struct spool_port *port, void (*destroy)(struct op *op));

/* Puts it into the spool's hands, for its next step. */
void op_to_writer(struct op *op, const struct op_class *class);
void op_to_files(struct op *op, const struct op_class *class);

/* Puts it into the port's hands, or has it abandoned. */
void op_report(struct op *op);

/* The owner lets go of it. True: it was HELD or REPORTED, and is the caller's to clean up; false: abandoned() will. */
bool op_detach(struct op *op) MUST_CHECK;
bool op_detach_locked(struct op *op) MUST_CHECK; /* by who has the lock already */

/* The route of that name, made if there is none; NULL: out of memory. Under the lock. */
struct route *route_get(struct spool *spool, const char *name);

/* For the writer, who may look at the list without the lock from here on: it grows at its head only. */
struct route *route_first(struct spool *spool);
struct route *route_find(struct spool *spool, const char *name); /* NULL: there is none */

/* The tallies of a route, of an enclave each, one after another; for the writer, as above. NULL: there is no more. */
struct tally *route_tally(struct spool *spool, const struct route *route, struct tally *after);

/* --- writer.c, files.c: each does what there is to do, and says whether there was anything --- */

bool writer_turn(struct spool *spool);
uint64_t writer_deadline(struct spool *spool); /* by the steady clock: when there will be something */
void writer_note(struct spool *spool, int result, const struct error *err);
void writer_note_oldest(struct spool *spool);
bool files_turn(struct spool *spool);

/* Removes a body file that is garbage, and then forgets its name. */
void files_discard(struct spool *spool, uint64_t file);
void files_discard_op(
    struct op *op); /* on the files thread: the same with an op at hand, which is then destroyed */

/* --- take.c, for the writer --- */

struct spool_take;
bool take_serve(struct spool *spool);
bool take_is_leased(struct spool *spool, uint64_t id);

/* A verdict on a record that nobody holds: what is too old becomes dead, what is damaged is set apart. Out of
 * memory: it will be found again. */
void take_sentence(struct spool *spool, uint64_t id, enum spool_state state, const char *cause);

/* Why a record was found dead. */
#define SPOOL_TOO_OLD "it is older than `max_age`"
bool route_is_too_old(struct spool *spool, struct route *route, const struct record *record);

/* Something of the tally became ready: behind all others, or that record; it is to be found. */
void route_expect(struct route *route, struct tally *tally);
void route_rewind(struct route *route, struct tally *tally, uint64_t id);

/* --- chores.c --- */

int chores_init(struct spool *spool, struct error *err) MUST_CHECK;
void chores_start(struct spool *spool);                 /* queues those that are due */
void chores_due(struct spool *spool, uint64_t next_at); /* a record waits until then */
uint64_t chores_deadline(struct spool *spool);

#endif
