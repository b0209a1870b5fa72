/*
 * The rules in force: one configuration, bound to the counters of the things it names. Immutable and
 * shared; each stream holds a reference to the rules it was opened under, so that a reload changes
 * nothing for it. References may be taken and dropped on any thread.
 */
#ifndef POSTERN_DAEMON_RULES_H
#define POSTERN_DAEMON_RULES_H

#include "base/compiler.h"
#include "base/error.h"
#include "config/config.h"
#include "daemon/counters.h"

struct spool;

struct rules {
    struct config *config; /* one reference */
    struct counters *counters;
    struct spool *spool;                  /* outlives all rules; NULL: there is none ... */
    struct error no_spool;                /* ... for this reason, if a route asks for one */
    struct route_counters **routes;       /* by route id */
    struct enclave_counters **enclaves;   /* by enclave id; one more at the end, for nobody */
    struct listener_counters **listeners; /* by listener id */
    uint64_t generation;                  /* each set of rules has a higher one than those before */
    _Atomic unsigned references;
};

/* Takes over a reference to `config`, whatever is returned. Main thread only. NULL: out of memory. */
struct rules *rules_new(struct config *config, struct counters *counters) MUST_CHECK;

struct rules *rules_ref(struct rules *rules);
void rules_unref(struct rules *rules); /* NULL is harmless */

/* The counters of that enclave's id, or of CONFIG_NOBODY. */
struct enclave_counters *rules_enclave(const struct rules *rules, int enclave);

#endif
