/*
 * Admission: whether an accepted connection becomes a stream, by policy first and limits second; on which
 * worker; and the books at its end: counters, and one line in the log.
 */
#ifndef POSTERN_DAEMON_ADMISSION_H
#define POSTERN_DAEMON_ADMISSION_H

#include "daemon/door.h"
#include "daemon/worker.h"

/* A stream as the daemon knows it. One allocation, from admission to the end. */
struct stream_record {
    struct relay relay;
    struct job job; /* the way to another worker */
    struct worker *worker;
    struct rules *rules; /* one reference */
    unsigned listener;
    int enclave; /* id or CONFIG_NOBODY */
    int fd;      /* until the relay takes it over */
    enum addr_kind kind;
    uint32_t cid; /* vsock callers */
    LIST_ENTRY(stream_record) link;
};

/* Decides about a connection that `door` took; `fd` is taken over. */
void admission_decide(struct door *door, int fd, const struct sockaddr_any *peer);

/* A connection that had to be reset before it could be asked who it is, for want of descriptors. */
void admission_shed(struct door *door, int code, unsigned count);

#endif
