/*
 * How many records there are, of which size: by route, enclave and state.
 *
 * A tally is what the last transaction left on the disk, plus the changes of the one that is being made. The writer notes
 * changes as it makes them, saves the tallies it touched in the same transaction, and folds the changes in when that is
 * committed, or forgets them. What is folded is read by others too: under the spool's lock, as is `incoming`.
 *
 * A recount goes through the records in the order of their ids, a piece at a time, and what is changed in between of those that
 * it has come past is counted with them. So in the end, and not before, `found` is what there is.
 */
#ifndef POSTERN_SPOOL_TALLY_H
#define POSTERN_SPOOL_TALLY_H

#include "base/compiler.h"
#include "spool/spool.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

/* Signed: a damaged row may be missed where it never was counted. */
struct tally_count {
    int64_t records;
    int64_t bytes;
};

struct route;

struct tally {
    char *route; /* both owned */
    char *enclave;
    struct tally_count counts[SPOOL_STATES];
    struct tally_count changes[SPOOL_STATES]; /* the writer's */
    struct tally_count found[SPOOL_STATES];   /* the writer's, as are the next: by the recount under way */
    struct tally_count found_changes[SPOOL_STATES];
    bool touched;      /* on the list of those with changes */
    uint64_t incoming; /* bytes of puts that are not committed */
    uint64_t hash;     /* of both names */
    struct route
        *owner; /* under the lock, for whoever has routes: that of its name, once it was looked for */

    /* The writer's, to hand records out: those that are ready up to the cursor are leased, or sentenced; there may be some behind
     * it while the tally waits for its turn on its route. */
    uint64_t cursor;
    bool has_turn;
    TAILQ_ENTRY(tally) turn_link;

    SLIST_ENTRY(tally) link;
    SLIST_ENTRY(tally) bucket_link;
    SLIST_ENTRY(tally) touched_link;
};

SLIST_HEAD(tally_list, tally);
TAILQ_HEAD(tally_turns, tally);

struct tallies {
    struct tally_list all;      /* grows at its head only, under the lock */
    struct tally_list touched;  /* the writer's */
    struct tally_list *buckets; /* under the lock, by hash; owned: a power of two of them, or none */
    size_t bucket_count;
    size_t count;
    uint64_t found_to; /* the writer's: the last record that the recount has come past; 0: there is none */
};

void tallies_init(struct tallies *tallies);
void tallies_release(struct tallies *tallies);

/* The one of that route and enclave, made if there is none; NULL: out of memory. */
struct tally *tallies_get(struct tallies *tallies, const char *route, const char *enclave);

/* Of the record `id`, so many of it (1, -1). */
void tallies_change(struct tallies *tallies, struct tally *tally, uint64_t id, enum spool_state state,
                    int64_t records, int64_t bytes);
void tallies_fold(struct tallies *tallies);
void tallies_forget(struct tallies *tallies);

/* The recount has come to that record, which is next. */
void tallies_find(struct tallies *tallies, struct tally *tally, uint64_t id, enum spool_state state,
                  int64_t bytes);

/* The recount has come to the end, with no change in this transaction: the changes become what brings the tallies to what was found.
 * True: they were wrong. Under the lock. */
bool tallies_correct(struct tallies *tallies);

/* What is counted against a bound: of all routes or enclaves where the name is NULL. */
uint64_t tallies_used(const struct tallies *tallies, const char *route, const char *enclave);

#endif
