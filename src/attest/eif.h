/*
 * Enclave image files, measured: what PCR0, 1, 2 and 8 of an enclave will be that is started from one.
 *
 * An EIF is a header, and sections: a kernel, its command line, ramdisks, maybe a signature and metadata (format versions 1 to
 * 4, aws-nitro-enclaves-image-format). A measurement is SHA-384(48 zero bytes, SHA-384(what is measured)), of
 *
 *     PCR0   kernel, command line and all ramdisks: the whole image
 *     PCR1   kernel, command line and the first ramdisk: what boots
 *     PCR2   the other ramdisks: the application
 *     PCR8   the certificate that the image is signed with, in DER
 *
 * Whether the signature holds is for the hypervisor to say, which does not start the enclave if not.
 */
#ifndef POSTERN_ATTEST_EIF_H
#define POSTERN_ATTEST_EIF_H

#include "base/compiler.h"
#include "base/error.h"
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define EIF_PCR 48

struct eif {
    unsigned version;
    bool arm64; /* else x86_64 */
    unsigned ramdisks;
    uint8_t pcr0[EIF_PCR], pcr1[EIF_PCR], pcr2[EIF_PCR];
    bool has_signature;
    uint8_t pcr8[EIF_PCR]; /* only with a signature */
};

/* Reads `in` to its end, in pieces. 0; -EBADMSG if it is no whole image, -EIO, -ENOMEM. */
int eif_measure(FILE *in, struct eif *ret, struct error *err) MUST_CHECK;

#endif
