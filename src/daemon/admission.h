/*
 * Admission: whether an accepted connection becomes a stream, or a session, by policy first and limits second, and on
 * which worker. What becomes of it is in streams.h and sessions.h.
 */
#ifndef POSTERN_DAEMON_ADMISSION_H
#define POSTERN_DAEMON_ADMISSION_H

#include "daemon/door.h"

/* Decides about a connection that `door` took; `fd` is taken over. */
void admission_decide(struct door *door, int fd, const struct sockaddr_any *peer);

/* A connection that had to be reset before it could be asked who it is, for want of descriptors. */
void admission_shed(struct door *door, int code, unsigned count);

#endif
