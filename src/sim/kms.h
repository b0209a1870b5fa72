/*
 * A KMS of the simulator's: the operations that an enclave and its owners use, in AWS's JSON 1.1 over HTTP, for those who sign their
 * requests, under the policies of its keys.
 *
 * sim_kms_handle() may be called by any number of threads.
 */
#ifndef POSTERN_SIM_KMS_H
#define POSTERN_SIM_KMS_H

#include "sim/attested.h"
#include "sim/chain.h"
#include "sim/clock.h"
#include "sim/cms.h"
#include "sim/fault.h"
#include "sim/http.h"
#include "sim/key.h"
#include "sim/signature.h"

#define SIM_CALLS_KEPT 1000 /* what was asked, for tests to read */

struct sim_kms {
    const char *region, *account, *directory; /* not owned */
    uint8_t root[ATTEST_FINGERPRINT];         /* of the documents that are believed */
    const struct sim_clock *clock;
    struct sim_credentials credentials;
    struct sim_faults faults;
    struct sim_verified verified;
    enum sim_cms_shape shape; /* of envelopes, where no fault says another */

    pthread_mutex_t lock; /* over all below */
    struct sim_keys keys;
    json_t *calls; /* the last ones: {"operation", "principal", "key", "attested", "type"} */
};

/* Region, account, directory, root, clock, credentials and shape are the caller's to set. 0 or a negative errno value. */
int sim_kms_init(struct sim_kms *kms) MUST_CHECK;

/* The credentials, too. */
void sim_kms_release(struct sim_kms *kms);

/* One request: a sim_http_handler whose `arg` is the KMS. */
void sim_kms_handle(void *arg, const struct sim_http_exchange *exchange, struct sim_http_answer *answer);

#endif
