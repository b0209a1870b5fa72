/*
 * Places: how many streams and sessions there are and may be, in the daemon, of an enclave, on a route.
 *
 * Whoever is to come in takes a place of each kind that concerns it, and gives them back at its end. Workers do so at
 * the same time, without a lock. While the daemon drains, whoever leaves it without streams, or without sessions,
 * tells the main thread (worker_set.emptied).
 */
#ifndef POSTERN_DAEMON_PLACES_H
#define POSTERN_DAEMON_PLACES_H

#include "base/compiler.h"
#include "daemon/rules.h"
#include "daemon/worker.h"

/* Each returns REASON_NONE, or the limit that was met: then no place was taken. `enclave` is an id or CONFIG_NOBODY. */
enum reason places_take_stream(struct worker_set *set, const struct rules *rules, unsigned route,
                               int enclave) MUST_CHECK;
enum reason places_take_session(struct worker_set *set, const struct rules *rules, int enclave) MUST_CHECK;

/* Under the rules that they were taken under, or others with the same names. */
void places_give_stream(struct worker_set *set, const struct rules *rules, unsigned route, int enclave);
void places_give_session(struct worker_set *set, const struct rules *rules, int enclave);

#define PLACES_TEXT_MAX 96

/* Which limit was met, for the log: "64 of max_streams 64 are open". NULL if `why` is none of those that are returned above. Another
 * may have ended since: it is told as no less than the limit. */
const char *places_tell_stream(const struct rules *rules, int route, int enclave, enum reason why,
                               char buffer[PLACES_TEXT_MAX]);
const char *places_tell_session(const struct rules *rules, int enclave, enum reason why,
                                char buffer[PLACES_TEXT_MAX]);

#endif
