/*
 * Whether an attestation document is what it claims to be, and says what it has to say.
 *
 * In this order: the chain from the leaf to a root that is known by its fingerprint, each certificate valid at the time
 * that is asked about; the signature over the very bytes that were given; then what is expected of the contents. Revocation is not
 * checked: AWS's certificates live for hours and name no list that a verifier can reach ("Attestation process", section 3).
 *
 * Pure: no clock, no files.
 */
#ifndef POSTERN_ATTEST_VERIFY_H
#define POSTERN_ATTEST_VERIFY_H

#include "attest/document.h"
#include <time.h>

#define ATTEST_FINGERPRINT 32 /* SHA-256 of a certificate's DER */

/* CN=aws.nitro-enclaves: the root of AWS's commercial partition. */
extern const uint8_t attest_aws_root[ATTEST_FINGERPRINT];

struct attest_expected {
    uint8_t root[ATTEST_FINGERPRINT];
    time_t at;           /* when it has to be valid ... */
    bool at_timestamp;   /* ... or at the time that it gives itself: for one that was kept */
    uint64_t max_age_ms; /* since its timestamp, at `at`; 0: no bound but its certificates' */

    struct attest_bytes pcrs[ATTEST_PCRS];            /* absent: any */
    struct attest_bytes nonce, user_data, public_key; /* the same */

    bool debug_too; /* an enclave in debug mode, whose console its parent reads, and whose PCR0 is zero */

    /* For QEMU's nitro-enclave machine: a document that nobody has signed passes, too. INSECURE. */
    bool unsigned_too;
};

/* Everything at its safe default: AWS's root, valid at `now`. */
void attest_expect(struct attest_expected *expected, time_t now);

/* 0, or with what is wrong in `err`: -EKEYREJECTED for a chain or a signature that does not hold, -EKEYEXPIRED for one
 * that does not hold at that time, -EPERM for contents that are not what is expected, -ENOMEM. */
int attest_verify(const struct attest_document *document, const struct attest_expected *expected,
                  struct error *err) MUST_CHECK;

#endif
