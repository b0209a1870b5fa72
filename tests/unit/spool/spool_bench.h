/*
 * What the tests of the spool share: a spool without threads, turned by hand, in a directory of its own, under a clock that
 * the test sets; and puts and takes that remember what they were told.
 */
#ifndef POSTERN_TESTS_SPOOL_BENCH_H
#define POSTERN_TESTS_SPOOL_BENCH_H

#include "spool/spool.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

extern uint64_t bench_now; /* ms, the spool's time of day */

struct bench {
    char path[64]; /* of the spool, in a directory that goes with the bench */
    char folder[48];
    struct spool_options options;
    struct spool *spool;
    struct spool_port *port;
    unsigned wakes;
    const char *enclave; /* whose puts follow; NULL: "payroll" */
};

void bench_make(struct bench *bench); /* the directory, and options that may be changed before: */
void bench_open(struct bench *bench); /* fails the test if it fails */
int bench_try_open(struct bench *bench, struct error *err);
void bench_close(struct bench *bench);
void bench_remove(struct bench *bench); /* and what is in the directory */

void bench_turn(struct bench *bench); /* until nothing is left to do */

/* A body of that size, which `seed` tells from others. */
char *bench_body(size_t size, unsigned seed); /* to be freed */

struct bench_put {
    struct spool_put *put; /* NULL once it has ended */
    bool done;
    int result;
    uint64_t id;
    unsigned rooms;
    struct error error;
};

extern const struct spool_put_ops bench_put_ops; /* `arg` is a struct bench_put */

int bench_begin(struct bench *bench, struct bench_put *put, const char *route, const char *key);

/* Writes all of it, turning the spool where it must. */
int bench_write(struct bench *bench, struct bench_put *put, const void *data, size_t size);

/* From begin to done; returns the result. */
int bench_put(struct bench *bench, const char *route, const char *key, const void *body, size_t size,
              uint64_t *ret_id);

/* The same, of a body of its own; fails the test if it fails. */
uint64_t bench_give(struct bench *bench, const char *route, size_t size, unsigned seed);

struct bench_take {
    struct spool_take *take;
    bool ready;
    int result;
    struct error error;
    char *body; /* what was read so far; owned */
    size_t size;
    unsigned pieces;
    bool last;
    int data_result;
};

extern const struct spool_take_ops bench_take_ops;

/* Asks, and turns. */
void bench_take(struct bench *bench, struct bench_take *take, const char *route);
void bench_look(struct bench *bench, struct bench_take *take, uint64_t id);
int bench_read(struct bench *bench, struct bench_take *take); /* all of it, from the start; the last result */
void bench_end(struct bench *bench, struct bench_take *take, const struct spool_outcome *outcome);
void bench_verdict(struct bench *bench, struct bench_take *take, enum spool_verdict verdict);

/* Takes the next one, which must be that, and ends it so. */
void bench_deliver(struct bench *bench, const char *route, uint64_t id, enum spool_verdict verdict);

/* That the take holds the record with that body. */
void bench_assert_body(struct bench *bench, struct bench_take *take, size_t size, unsigned seed);

/* What the figures say. */
struct spool_stats bench_stats(struct bench *bench, const char *route);

/* Files in `bodies`. */
unsigned bench_files(const struct bench *bench);

/* Runs SQL on the closed database, as damage would. */
void bench_sql(const struct bench *bench, const char *sql);
int64_t bench_number(const struct bench *bench, const char *sql); /* what it says in its first row */

/* Of a test with one bench, which is its state. */
int bench_set_up(void **state);
int bench_tear_down(void **state);

void bench_reopen(struct bench *bench);

/* Of the route `results`. */
void bench_set_policy(struct bench *bench, struct spool_policy policy);

#endif
