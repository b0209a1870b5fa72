/*
 * A disk that fails on purpose: an SQLite VFS on top of the real one, which remembers what was synced.
 *
 * Writes go to the real files, so that the process sees them, as it would see them in the kernel's cache; syncs are only
 * noted. lossy_reboot() then makes the files what they would be after the power failed: all that was synced, and of each
 * write since then, by chance, all, nothing, or some sectors, with what shares a sector with it spoilt. Names are the same:
 * a file that was made or removed since its directory was synced is there or not.
 *
 * The nth operation that changes anything (open for writing, write, truncate, sync, delete, sync of a directory) is the one at
 * which the plan strikes. All chance comes from the plan's seed.
 *
 * Link with -Wl,--wrap=fsync: that is how syncs of directories are seen. One thread at a time.
 */
#ifndef POSTERN_TESTS_LOSSY_VFS_H
#define POSTERN_TESTS_LOSSY_VFS_H

#include <stdbool.h>
#include <stdint.h>

#define LOSSY_VFS "lossy"

enum lossy_kind {
    LOSSY_NONE,
    LOSSY_POWER,    /* nothing works any more, and what was not synced is at the mercy of lossy_reboot() */
    LOSSY_KILL,     /* nothing works any more, but what was written was written: kill -9 */
    LOSSY_ONCE,     /* that operation fails: EIO. What a failed sync should have synced may never be */
    LOSSY_ALWAYS,   /* and all that follow */
    LOSSY_FULL,     /* from then on no file grows: ENOSPC */
    LOSSY_READONLY, /* from then on nothing is written: EROFS */
    LOSSY_KINDS
};

struct lossy_plan {
    enum lossy_kind kind;
    unsigned long nth; /* from lossy_arm() on, counted from 1 */
    uint64_t seed;
};

/* Once. */
void lossy_register(void);

/* With LOSSY_NONE everything works again. */
void lossy_arm(const struct lossy_plan *plan);
unsigned long lossy_operations(void); /* since lossy_arm() */
bool lossy_has_struck(void);

/* While nobody has a file open; `bodies` is looked through for files whose making was not seen to succeed. Then
 * everything works again. */
void lossy_reboot(const char *bodies);

/* Everything that is there now counts as synced, and files that are gone are forgotten. */
void lossy_forget(void);

#endif
