/*
 * Attestation documents for tests: a chain of certificates made at run time, and documents that its leaf signs, with whatever a
 * test wants to be wrong in them. libcbor writes what is well-formed; what is not, a test makes by changing bytes.
 */
#ifndef POSTERN_TESTS_ATTEST_MAKER_H
#define POSTERN_TESTS_ATTEST_MAKER_H

#include "attest/verify.h"
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

/* What stands in a document. */
struct maker_document {
    const char *module_id, *digest; /* NULL: left out */
    uint64_t timestamp_ms;          /* 0: left out */
    struct attest_bytes pcrs[ATTEST_PCRS];
    bool no_pcrs, no_certificate, no_bundle;
    unsigned bundle_repeats; /* how many more times the certificate in between is in the bundle */
    struct attest_bytes public_key, user_data, nonce; /* absent: null */
    bool nulls_left_out;
    bool open_map;     /* of indefinite length */
    const char *twice; /* this key once more at the end, with a null */
    bool stranger;     /* a key that nobody knows */
    bool tagged;
    bool algorithm_none;  /* as QEMU has it */
    int algorithm;        /* 0: -35 */
    bool header_in_clear; /* the unprotected header is not empty */
};

/* One that is right, signed by nobody yet. */
void maker_document_init(struct maker_document *document);

/* Signs it. The bytes are owned by the caller (free()). */
uint8_t *maker_sign(const struct maker_document *document, const struct maker_chain *chain, size_t *ret_size);

#endif
