/*
 * KMS for unmodified SDKs inside an enclave: a local endpoint that takes their requests, adds the Recipient and the enclave's own
 * signature, and gives back ordinary answers.
 *
 * Threads: one accepts, and each connection has one of its own with a small stack, since a call waits for KMS. All is bounded: the
 * connections, the bytes of a request and of all together, and the time of everything. When all connections are taken, the one that has
 * been idle for the longest gives way to the newcomer; where none is idle, newcomers wait to be accepted.
 *
 * Plaintext lies in memory for secrets, is wiped when it was sent, and is in no note.
 */
#ifndef POSTERN_KMS_PROXY_H
#define POSTERN_KMS_PROXY_H

#include "base/compiler.h"
#include "base/error.h"
#include "postern/kms.h"
#include <stddef.h>
#include <stdint.h>

#define KMS_PROXY_CONNECTIONS     256u
#define KMS_PROXY_CONNECTIONS_MAX 4096u

struct kms_proxy_options {
    unsigned connections; /* at once */
    uint64_t idle_ms;     /* a kept connection without a request */
    uint64_t request_ms;  /* from a request's first byte to its last, and for an answer to be taken */
    uint64_t drain_ms;    /* requests under way when it is to end */
    uint32_t call_ms;     /* a call; 0: the client's own time */
    size_t head;          /* bytes of a request's head */
    size_t body;          /* bytes of a request's body */
    size_t memory;        /* bytes of all connections' requests together, each until it is answered */

    /* Tells why a call failed: never secrets. From any thread, one at a time. May be NULL. */
    void (*note)(void *data, const char *text);
    void *data;
};

/* Everything at its default. */
void kms_proxy_options_init(struct kms_proxy_options *options);

/*
 * Serves those who connect to `listener` (non-blocking; stays the caller's) until something can be read from `stop_fd`: then nobody is
 * let in any more, idle connections are closed, and requests under way are answered. 0 when that is done. -ETIMEDOUT: not within
 * `drain_ms`, or `stop_fd` had more to read; then threads are still waiting for KMS, and the process has to end without freeing `kms`.
 * Or another negative errno value: it could not begin. To be called with the signals blocked that end the program.
 */
int kms_proxy_serve(struct postern_kms *kms, int listener, int stop_fd,
                    const struct kms_proxy_options *options, struct error *err) MUST_CHECK;

#endif
