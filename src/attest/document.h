/*
 * An attestation document, taken apart: a COSE_Sign1 (RFC 9052) whose payload a Nitro Security Module has filled in ("Attestation
 * process", AWS Nitro Enclaves NSM API). That it could be taken apart says nothing about who made it: see verify.h.
 *
 * What genuine documents differ in is taken either way: the tag, maps of definite or indefinite length, an absent field or one
 * that is null, keys in any order. What none of them has is refused: bytes behind the document, a key that is there twice,
 * strings in pieces, another algorithm.
 *
 * Nothing is allocated: all parts lie in the bytes that were given, which must outlive the document.
 */
#ifndef POSTERN_ATTEST_DOCUMENT_H
#define POSTERN_ATTEST_DOCUMENT_H

#include "base/compiler.h"
#include "base/error.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ATTEST_DOCUMENT_MAX 20480u /* of the whole; genuine ones stay below 8 KiB */
#define ATTEST_PAYLOAD_MAX  16384u
#define ATTEST_FIELD_MAX    1024u /* of a certificate, and of each thing that the enclave has put in */
#define ATTEST_PCRS         32u
#define ATTEST_PCR_MAX      64u
#define ATTEST_BUNDLE_MAX   16u /* certificates from the root to the leaf's issuer; genuine ones have 4 */
#define ATTEST_SIGNATURE    96u

struct attest_bytes {
    const uint8_t *data; /* NULL: absent */
    size_t size;
};

enum attest_algorithm {
    ATTEST_ES384,
    ATTEST_UNSIGNED, /* what QEMU's nitro-enclave machine makes: to be believed by nobody */
};

struct attest_document {
    enum attest_algorithm algorithm;
    struct attest_bytes protected_header, payload, signature; /* of the COSE_Sign1 */
    struct attest_bytes module_id;                            /* visible ASCII */
    uint64_t timestamp_ms;                                    /* since 1970, UTC; more than 0 */
    struct attest_bytes pcrs[ATTEST_PCRS];
    struct attest_bytes certificate;               /* DER: of the key that signed */
    struct attest_bytes bundle[ATTEST_BUNDLE_MAX]; /* DER: the root first */
    unsigned bundle_count;
    struct attest_bytes public_key, user_data, nonce; /* what the enclave has put in */
};

/* 0; -EBADMSG with what is wrong in `err`. */
int attest_parse(const uint8_t *bytes, size_t size, struct attest_document *ret,
                 struct error *err) MUST_CHECK;

/* Whether the value of that PCR is there and nothing but zeros: a debug enclave has PCR0 so. */
bool attest_pcr_is_zero(const struct attest_document *document, unsigned index);

#endif
