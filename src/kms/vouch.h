/*
 * Who vouches for a key of this process's: the Nitro Security Module, or for tests a software NSM at an address, which is INSECURE: what
 * that vouches for, anybody could.
 */
#ifndef POSTERN_KMS_VOUCH_H
#define POSTERN_KMS_VOUCH_H

#include "nsm/nsm.h"

/* `insecure`: the address of a software NSM; NULL: the device. 0; -ENODEV: there is none; -EINVAL: no address; -EIO, -ENOMEM. */
int kms_vouch_open(const char *insecure, struct nsm **ret, struct error *err) MUST_CHECK;

/* An attestation document that names the public key. 0; -ENODEV: there is no software NSM; -ETIMEDOUT; -EIO. */
int kms_vouch(struct nsm *nsm, const uint8_t *public_key, size_t size, uint64_t deadline,
              uint8_t document[NSM_RESPONSE_MAX], size_t *ret_size, struct error *err) MUST_CHECK;

#endif
