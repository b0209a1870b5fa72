/*
 * The one who may read what KMS answers: an RSA key that is made in the enclave and never leaves it. An attestation document
 * names its public half, and KMS encrypts for that what it would else have sent in the clear (`CiphertextForRecipient`: CMS
 * EnvelopedData, RFC 5652, with RSAES-OAEP by SHA-256 and AES-256-CBC).
 *
 * AES-CBC is not authenticated: that an answer is KMS's own is up to the TLS connection it came through, which has to end in the
 * enclave.
 *
 * A recipient may be used by one thread at a time.
 */
#ifndef POSTERN_ATTEST_RECIPIENT_H
#define POSTERN_ATTEST_RECIPIENT_H

#include "base/compiler.h"
#include "base/error.h"
#include <stddef.h>
#include <stdint.h>

#define RECIPIENT_KEY_BITS 2048u
#define RECIPIENT_KEY_MAX  512u   /* of the public key in DER */
#define RECIPIENT_CMS_MAX  16384u /* a private key of a data key pair is the most that KMS sends */

struct recipient;

/* Makes a key, which takes some 100 ms of the processor's. Returns 0, or -ENOMEM or -EIO. */
int recipient_new(struct recipient **ret, struct error *err) MUST_CHECK;

/* Wipes the key. NULL is harmless. */
void recipient_free(struct recipient *recipient);

/* The SubjectPublicKeyInfo in DER, for the attestation document. Lives as long as the recipient. */
const uint8_t *recipient_public_key(const struct recipient *recipient, size_t *ret_size);

/* What was found inside. Owned by the caller, who ends it with recipient_wipe(). */
struct recipient_secret {
    uint8_t *data;
    size_t size;
};

/*
 * Opens a CiphertextForRecipient. 0; -EBADMSG if it is not one that KMS makes, or not for this recipient: which of its
 * steps failed is told nobody; -ENOMEM.
 */
int recipient_open(struct recipient *recipient, const uint8_t *cms, size_t size, struct recipient_secret *ret,
                   struct error *err) MUST_CHECK;

void recipient_wipe(struct recipient_secret *secret);

#endif
