/*
 * Attestation documents, made and signed: as a genuine NSM shapes them unless asked otherwise, and with whatever a test wants to
 * be wrong in them.
 */
#ifndef POSTERN_SIM_DOCUMENT_H
#define POSTERN_SIM_DOCUMENT_H

#include "attest/document.h"
#include "base/text.h"
#include <openssl/evp.h>

/* Who signs: the leaf's key, and the certificates that stand in the document. */
struct sim_papers {
    EVP_PKEY *key;
    struct attest_bytes leaf;
    struct attest_bytes bundle[ATTEST_BUNDLE_MAX]; /* the root first */
    unsigned bundle_count;
};

struct sim_document {
    const char *module_id, *digest; /* NULL: left out */
    uint64_t timestamp_ms;          /* 0: left out */
    struct attest_bytes pcrs[ATTEST_PCRS];
    struct attest_bytes public_key, user_data, nonce; /* absent: null */

    /* What genuine ones have, or have not. All false: as most of them are. */
    bool open_map; /* of indefinite length: seen once */
    bool tagged;   /* allowed, and not seen */
    bool nulls_left_out;

    /* What none has. */
    bool no_pcrs, no_certificate, no_bundle;
    unsigned bundle_repeats; /* how many more times the last of the bundle is in it */
    const char *twice;       /* this key once more at the end, with a null */
    bool stranger;           /* a key that nobody knows */
    bool algorithm_none;     /* as QEMU has it: nobody signs */
    int algorithm;           /* 0: -35, ES384 */
    bool header_in_clear;    /* the unprotected header is not empty */
};

/* Appends the document. 0, -ENOMEM or -EIO. */
int sim_document_sign(const struct sim_document *document, const struct sim_papers *papers,
                      struct text *out) MUST_CHECK;

#endif
