/*
 * A root of trust of the simulator's own, in the place of AWS's: the root, and under it a region, a zone, an instance, and for each
 * enclave a leaf that signs its documents; subjects, extensions and lifetimes as genuine ones have them. The root is kept in the
 * simulator's directory, so that what trusts it goes on doing so; the rest is made anew each time.
 */
#ifndef POSTERN_SIM_CHAIN_H
#define POSTERN_SIM_CHAIN_H

#include "attest/verify.h"
#include "sim/document.h"
#include <openssl/x509.h>

#define SIM_CHAIN_DEPTH   4 /* root, region, zone, instance */
#define SIM_LEAF_LIFETIME (3 * 3600)

struct sim_chain {
    EVP_PKEY *keys[SIM_CHAIN_DEPTH];
    X509 *papers[SIM_CHAIN_DEPTH];
    uint8_t *der[SIM_CHAIN_DEPTH]; /* owned, by OpenSSL */
    int der_size[SIM_CHAIN_DEPTH];
    uint8_t fingerprint[ATTEST_FINGERPRINT];
    char instance_id[32], region[32];
};

/* Reads the root from `directory`, or makes it and writes attestation-root.pem and attestation-root.key there (NULL: it is
 * kept nowhere); and the rest, valid at `now`. `instance_id` is that of the parent: "i-0123456789abcdef0". */
int sim_chain_open(struct sim_chain *chain, const char *directory, const char *region,
                   const char *instance_id, time_t now, struct error *err) MUST_CHECK;
void sim_chain_close(struct sim_chain *chain);

/* What an enclave signs with. */
struct sim_leaf {
    EVP_PKEY *key;
    uint8_t *der; /* owned, by OpenSSL */
    int der_size;
    time_t to;
};

/* One for `module_id`, for three hours from `now`. 0 or -EIO. */
int sim_chain_leaf(const struct sim_chain *chain, const char *module_id, time_t now,
                   struct sim_leaf *ret) MUST_CHECK;
void sim_leaf_release(struct sim_leaf *leaf);

/* Both together. They point into the two. */
void sim_chain_papers(const struct sim_chain *chain, const struct sim_leaf *leaf, struct sim_papers *ret);

#endif
