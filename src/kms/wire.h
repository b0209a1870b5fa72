/*
 * Bytes to somewhere and back, by a thread that waits: a stream of a session with the daemon, or a socket of its own.
 *
 * A wire is one thread's at a time. What fails is noted in it once, and told again each time.
 */
#ifndef POSTERN_KMS_WIRE_H
#define POSTERN_KMS_WIRE_H

#include "base/compiler.h"
#include "base/error.h"
#include "net/addr.h"
#include "postern/postern.h"
#include <stdbool.h>

/* Where a wire leads: to a route of the daemon's, or to an address. */
struct kms_place {
    struct postern *door; /* NULL: to `addr` */
    const char *route;
    struct addr addr;
};

/* Why something on the way failed: `status` is one of kms.h. */
struct kms_trouble {
    int status;
    uint32_t code;  /* the protocol's number, if the daemon said so; else 0 */
    bool retryable; /* the daemon did nothing, and says that the same may succeed later */
    struct error why;
};

struct kms_wire {
    struct postern_stream *stream; /* owned; or: */
    int fd;                        /* owned; -1 */
    uint64_t deadline;             /* of what is being done: set by whoever does */
    bool looking;                  /* reading does not wait: -EAGAIN */
    bool ended;                    /* the other side is done, and all was read */
    uint64_t sent;                 /* bytes that the stream or the socket took */
    struct kms_trouble trouble;    /* status 0: none yet */
};

/* Over a session nothing is waited for: what goes wrong is told by reading. 0, or what `ret->trouble` then says. */
int kms_wire_open(struct kms_wire *ret, const struct kms_place *to, uint64_t deadline) MUST_CHECK;

/* Harmless on one that could not be opened. `polite`: nothing was cut short, and a route's log may say so. */
void kms_wire_close(struct kms_wire *wire, bool polite);

/* How many bytes; 0: the end; or trouble.status; or -EAGAIN, which is no trouble, while `looking`. */
ssize_t kms_wire_read(struct kms_wire *wire, void *buffer, size_t size) MUST_CHECK;

/* All of it is written: 0, or trouble.status. */
int kms_wire_write(struct kms_wire *wire, const void *data, size_t size) MUST_CHECK;

/* "route kms", "vsock://3:8000". */
const char *kms_place_name(const struct kms_place *place, char buffer[ADDR_TEXT_MAX]);

#endif
