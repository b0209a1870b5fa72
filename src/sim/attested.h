/* The Recipient of a request: an attestation document, believed only under the simulator's own root, now, and for five minutes. */
#ifndef POSTERN_SIM_ATTESTED_H
#define POSTERN_SIM_ATTESTED_H

#include "attest/verify.h"
#include "sim/bytes.h"
#include "sim/cms.h"
#include "sim/kms_error.h"
#include "sim/nsm.h"
#include <jansson.h>
#include <pthread.h>

#define SIM_DOCUMENT_AGE_MS (5 * 60 * 1000)
#define SIM_PCR_HEX         (2 * ATTEST_PCR_MAX + 1)

#define SIM_VERIFIED 64

/*
 * Documents whose chain and signature were found to hold a moment ago, by their hash: verifying one takes six signatures of P-384, and
 * an enclave sends the same one with many calls. How old it is, is looked at each time.
 */
struct sim_verified {
    pthread_mutex_t lock;
    struct {
        uint8_t hash[32];
        time_t at; /* 0: none is here */
    } list[SIM_VERIFIED];
    unsigned next; /* to be overwritten */
};

struct sim_attested {
    bool present; /* there is a Recipient */
    struct sim_bytes document;
    struct attest_document parsed;       /* points into it */
    EVP_PKEY *key;                       /* to encrypt for */
    char pcrs[ATTEST_PCRS][SIM_PCR_HEX]; /* in hexadecimal; "": not in the document */
};

/* From the request's Recipient, which may be missing. 0, with sim_attested_release() to follow; or -EACCES. `verified` is of documents
 * under the same root. */
int sim_attested_read(const json_t *recipient, const uint8_t root[ATTEST_FINGERPRINT], time_t now,
                      struct sim_verified *verified, struct sim_attested *ret,
                      struct sim_kms_error *error) MUST_CHECK;
void sim_attested_release(struct sim_attested *attested);

#endif
