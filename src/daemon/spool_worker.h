/*
 * A worker's part in the spool: the port it gets with its first rules, its deliveries, and what they tell the log and the
 * counters. Worker's thread, if nothing else is said.
 */
#ifndef POSTERN_DAEMON_SPOOL_WORKER_H
#define POSTERN_DAEMON_SPOOL_WORKER_H

#include "daemon/rules.h"
#include "daemon/worker.h"

/* Before the worker's thread starts. */
void spool_worker_init(struct worker *worker, unsigned workers);

/* Goes by these rules from now on. */
void spool_worker_adopt(struct worker *worker, struct rules *rules);

/* Main thread, with the struct worker_set: see `probe` of spool_keeper.h. A worker that is not told for want of memory probes its routes when it
 * is time. */
int spool_workers_probe(void *workers, const char *route);

#endif
