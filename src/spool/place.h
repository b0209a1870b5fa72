/*
 * The directory of a spool: who owns it, who can read it, what is in it.
 *
 *     PATH/             0700
 *     PATH/spool.db     0600, with spool.db-wal beside it, which SQLite gives the same mode
 *     PATH/bodies/      0700, a file for each large body, by its number in hexadecimal
 */
#ifndef POSTERN_SPOOL_PLACE_H
#define POSTERN_SPOOL_PLACE_H

#include "base/compiler.h"
#include "base/error.h"
#include <stddef.h>
#include <stdint.h>

struct place {
    char *path; /* owned */
    char *database;
    int directory; /* descriptors */
    int bodies;
};

/* Makes what is not there, refuses what is another user's or open to others, and syncs the directories. */
int place_open(struct place *place, const char *path, struct error *err) MUST_CHECK;
void place_close(struct place *place);

/* Syncs the directories, and the one they are in: names that were made or removed. */
int place_sync(const struct place *place, struct error *err) MUST_CHECK;

/* PATH/bodies/FILE, in a buffer of PLACE_BODY_MAX beyond the path's length. */
#define PLACE_BODY_MAX 32
void place_body_path(const struct place *place, uint64_t file, char *buffer, size_t size);

#endif
