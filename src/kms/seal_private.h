/* What the files of sealing share: see seal.h. */
#ifndef POSTERN_KMS_SEAL_PRIVATE_H
#define POSTERN_KMS_SEAL_PRIVATE_H

#include "kms/seal.h"

#define SEAL_SALT_AT SEAL_START_SIZE

/* What HKDF makes of the data key, in this order. */
struct seal_keys {
    uint8_t header[SEAL_KEY_SIZE]; /* for the header's MAC */
    uint8_t chunks[SEAL_KEY_SIZE]; /* for the chunks' encryption */
};

/* 0 or -EIO. */
int seal_derive(const uint8_t key[SEAL_KEY_SIZE], const uint8_t salt[SEAL_SALT_SIZE],
                struct seal_keys *ret) MUST_CHECK;
void seal_keys_wipe(struct seal_keys *keys);

/* The MAC of a header that ends before it. 0 or -EIO. */
int seal_mac(const struct seal_keys *keys, const uint8_t *header, size_t size,
             uint8_t ret[SEAL_MAC_SIZE]) MUST_CHECK;

#endif
