/*
 * Sessions as the daemon knows them: a connection to a framed listener, whose caller opens streams to the routes that
 * the listener gives its enclave.
 *
 * A session is admitted like a stream: who it is, whether it may come in, whether there is a place. Then each stream that it opens
 * is judged for itself, by the newest rules of the listener: a reload that takes a route away from the enclave
 * takes effect with the next stream, while those that are open go on. A session whose listener is gone (its name, or that
 * it is framed), or whose caller is not let in there any more, or counts as another enclave now, says GOAWAY: it opens
 * no more streams, and ends with the last of them.
 *
 * All streams of a session run on the session's worker, which is the one with the fewest sessions when it begins.
 */
#ifndef POSTERN_DAEMON_SESSIONS_H
#define POSTERN_DAEMON_SESSIONS_H

#include "daemon/caller.h"
#include "daemon/door.h"
#include "daemon/worker.h"

/* Decides about a caller of a framed listener: `why` is what policy said. `fd` is taken over. */
void session_decide(struct door *door, const struct caller *caller, enum reason why, int fd,
                    const struct sockaddr_any *peer);

/* Worker's thread, all of its sessions: */

/* They are judged by these rules from now on, and so are those that arrive later under older ones. */
void sessions_adopt(struct worker *worker, struct rules *rules);

/* GOAWAY: open streams may finish until the deadline. */
void sessions_drain(struct worker *worker, uint64_t deadline_ms);

/* Ends them now. Their memory goes later, from the loop, as soon as the callers have taken note, which is waited for
 * only for a moment. */
void sessions_end(struct worker *worker);

#endif
