/*
 * Certificates, made as they are asked for: those that a software NSM's documents are signed with, that of the simulated KMS,
 * and in tests those that ought not to be.
 */
#ifndef POSTERN_SIM_CERTIFICATE_H
#define POSTERN_SIM_CERTIFICATE_H

#include "base/compiler.h"
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <stdbool.h>
#include <time.h>

struct sim_paper {
    const char *subject; /* "C=US/O=Amazon/CN=aws.nitro-enclaves" */
    EVP_PKEY *key;       /* whose it is */
    X509 *issuer;        /* NULL: itself */
    EVP_PKEY *signer;    /* the issuer's key */
    const char *constraints, *usage, *names,
        *for_;        /* basicConstraints, keyUsage, subjectAltName, extendedKeyUsage; NULL: none */
    bool identifiers; /* of both keys */
    time_t from, to;
};

/* Signed with ECDSA by SHA-384. NULL if it cannot be made. Owned by the caller. */
X509 *sim_certify(const struct sim_paper *paper) MUST_CHECK;

#endif
