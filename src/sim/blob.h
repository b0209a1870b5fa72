/*
 * The ciphertexts of symmetric keys, in a format of the simulator's own: "PSIM", 1, the size of the key's id and the id, a nonce, and
 * AES-256-GCM with its tag. What is authenticated, too, is all before the nonce, and the encryption context.
 */
#ifndef POSTERN_SIM_BLOB_H
#define POSTERN_SIM_BLOB_H

#include "sim/bytes.h"
#include "sim/context.h"

#define SIM_BLOB_KEY 32
#define SIM_BLOB_ID  64 /* with its terminator */

/* Owned by the caller. 0, -ENOMEM or -EIO. */
int sim_blob_seal(const uint8_t key[SIM_BLOB_KEY], const char *key_id, const struct sim_context *context,
                  const void *data, size_t size, struct sim_bytes *ret) MUST_CHECK;

/* Whose it is. False: it is none of ours. */
bool sim_blob_key_id(const struct sim_bytes *blob, char ret[SIM_BLOB_ID]) MUST_CHECK;

/* 0; -EBADMSG: another key, another context, or changed; -ENOMEM. */
int sim_blob_open(const uint8_t key[SIM_BLOB_KEY], const struct sim_context *context,
                  const struct sim_bytes *blob, struct sim_bytes *ret) MUST_CHECK;

#endif
