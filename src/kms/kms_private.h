/* What a client is made of: for the parts of this folder alone. */
#ifndef POSTERN_KMS_PRIVATE_H
#define POSTERN_KMS_PRIVATE_H

#include "attest/recipient.h"
#include "kms/call.h"
#include "kms/credentials.h"
#include "kms/pool.h"
#include "kms/vouch.h"

/* The recipient of this process, and the document that vouches for it. */
struct kms_attestation {
    char *insecure_nsm; /* owned; NULL: the device */
    bool key_per_call;

    pthread_mutex_t lock; /* of what follows; nothing waits under it */
    pthread_cond_t changed;
    bool asked;                  /* a thread has the NSM, and `nsm` with it */
    struct nsm *nsm;             /* owned; NULL: not open */
    struct recipient *recipient; /* made once */
    json_t *document;            /* base64; NULL: none yet */
    uint64_t made_at;            /* by a clock that goes on while the machine sleeps */

    pthread_mutex_t opening; /* a recipient is one thread's at a time */
};

struct postern_kms {
    pid_t owner; /* the process that made it */
    struct postern *door;
    bool own_door;
    char *region, *host, *route, *metadata_route; /* owned */
    uint32_t timeout_ms;
    struct kms_pool pool;
    struct kms_credentials credentials;
    struct kms_attestation attestation;
};

/* What calls have in common; -EINVAL. The pairs of the context are not looked at. */
int kms_check_call(const struct postern_kms_call *call, struct error *err) MUST_CHECK;

void kms_attestation_init(struct kms_attestation *attestation);
void kms_attestation_close(struct kms_attestation *attestation);

#endif
