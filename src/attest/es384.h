/*
 * Signatures as COSE has them for ES384: ECDSA on P-384 with SHA-384, r and s side by side (RFC 9053, 2.1).
 */
#ifndef POSTERN_ATTEST_ES384_H
#define POSTERN_ATTEST_ES384_H

#include "attest/document.h"
#include <openssl/evp.h>

/* Whether `signature` holds for that key and the message, which is the parts put together. 0; -EKEYREJECTED: it does not, or the
 * key is not one of P-384; -ENOMEM. */
int es384_verify(EVP_PKEY *key, const struct attest_bytes *parts, size_t count,
                 const struct attest_bytes *signature) MUST_CHECK;

#endif
