/*
 * Attestation documents for tests: a chain of certificates made at run time, and documents that its leaf signs, with whatever a
 * test wants to be wrong in them (sim/document.h). What is not well-formed a test makes by changing bytes.
 */
#ifndef POSTERN_TESTS_ATTEST_MAKER_H
#define POSTERN_TESTS_ATTEST_MAKER_H

#include "attest/verify.h"
#include "sim/document.h"
#include <openssl/evp.h>
#include <openssl/x509.h>

#define MAKER_NOW 1700000000 /* the chain is valid for a day around it */

struct maker_chain {
    EVP_PKEY *root_key, *between_key, *leaf_key;
    uint8_t *root, *between, *leaf; /* DER; owned, by OpenSSL */
    int root_size, between_size, leaf_size;
    uint8_t fingerprint[ATTEST_FINGERPRINT];
};

/* How a chain is to be. */
struct maker_kind {
    const char *curve; /* of the leaf; NULL: P-384 */
    bool leaf_is_ca, leaf_signs_nothing, leaf_without_usage;
    bool between_is_no_ca;
    long leaf_from, leaf_to; /* seconds from MAKER_NOW; both 0: an hour around it */
};

void maker_chain_make(struct maker_chain *chain, const struct maker_kind *kind);
void maker_chain_release(struct maker_chain *chain);

/* One that is right, signed by nobody yet. */
void maker_document_init(struct sim_document *document);

/* Signs it. The bytes are owned by the caller (free()). */
uint8_t *maker_sign(const struct sim_document *document, const struct maker_chain *chain, size_t *ret_size);

#endif
