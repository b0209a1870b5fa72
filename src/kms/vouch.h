/*
 * Who vouches for a key of this process's: the Nitro Security Module, or for tests a software NSM at an address, which is INSECURE: what
 * that vouches for, anybody could.
 *
 * One request at a time.
 */
#ifndef POSTERN_KMS_VOUCH_H
#define POSTERN_KMS_VOUCH_H

#include "kms/wire.h"
#include "nsm/nsm.h"

struct kms_voucher {
    bool open;
    bool insecure;
    int fd;               /* the device */
    struct kms_wire wire; /* or the software NSM */
};

/* `insecure`: the address of a software NSM; NULL: the device. 0; -ENODEV: there is none; -EINVAL: no address; -EIO, -ENOMEM. */
int kms_vouch_open(struct kms_voucher *ret, const char *insecure, struct error *err) MUST_CHECK;
void kms_vouch_close(struct kms_voucher *voucher); /* harmless on one that is not open */

/* An attestation document that names the public key. 0, -EIO, -ENOMEM; after a failure the voucher is to be closed. */
int kms_vouch(struct kms_voucher *voucher, const uint8_t *public_key, size_t size,
              uint8_t document[NSM_RESPONSE_MAX], size_t *ret_size, struct error *err) MUST_CHECK;

#endif
