/* posternctl spool: what its parts share. */
#ifndef POSTERN_CTL_SPOOL_H
#define POSTERN_CTL_SPOOL_H

#include "base/compiler.h"
#include "base/error.h"
#include "ctl/ctl.h"
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct spool_args {
    const char *route; /* NULL: all */
    const char *state; /* NULL: all */
    const char *path;  /* of the spool's directory; NULL: the configuration's */
    bool all;
    uint64_t limit;
};

/* All of what the operator may wait for is done within this time. */
#define SPOOL_ASK_MS (60U * 60 * 1000)

/* How the answers are shown. */
int spool_show_list(const struct ctl *ctl, const json_t *records);
void spool_show_record(const struct ctl *ctl, const json_t *record);
int spool_show_stats(const struct ctl *ctl, json_t *stats);

/* Tells what the daemon says in the place of an answer, with what to do where that leaves it open. Returns an exit code. */
struct client_answer;
int spool_refused(const struct ctl *ctl, const struct client_answer *answer);

/* Writes the request of a record to `file`, which must not exist yet; "-": to standard output. Returns an exit code. */
int spool_export(const struct ctl *ctl, const char *id, const char *file);

/* Moves a spool that cannot be opened out of the way. Returns an exit code. */
int spool_put_aside(const struct ctl *ctl, const char *path);

#endif
