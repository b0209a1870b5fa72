/*
 * What KMS encrypts for an enclave: CMS EnvelopedData in the very shape that AWS's servers write it. BER of indefinite length,
 * version 2, one recipient that is named by a subject key identifier of 32 bytes, RSAES-OAEP and MGF1 with SHA-256, AES-256-CBC.
 */
#ifndef POSTERN_SIM_CMS_H
#define POSTERN_SIM_CMS_H

#include "base/compiler.h"
#include "base/text.h"
#include <openssl/evp.h>
#include <stdint.h>

#define SIM_CMS_PIECE 1000 /* bytes of the content in one octet string, of a constructed one */

enum sim_cms_shape {
    SIM_CMS_SCATTERED, /* the content in octet strings, of which one is enough up to SIM_CMS_PIECE */
    SIM_CMS_PRIMITIVE, /* in one piece */
    SIM_CMS_PIECES,    /* in octet strings of 16 bytes: allowed, and hard on readers */
};

struct sim_cms_kind {
    enum sim_cms_shape shape;
    const char *hash; /* of OAEP; NULL: SHA-256, as it has to be */
};

/* Appends the envelope for an RSA key of 2048 bits, whose SubjectPublicKeyInfo is `der`. 0, -ENOMEM, or -EIO. */
int sim_cms_seal(const struct sim_cms_kind *kind, EVP_PKEY *to, const uint8_t *der, size_t der_size,
                 const void *secret, size_t size, struct text *out) MUST_CHECK;

#endif
