/*
 * Sealed files (docs/sealed.md): any number of bytes, encrypted in chunks under keys that are derived from a data key. The data key
 * stands in the file's header, as KMS encrypted it. Here is the format alone: bytes in, bytes out, and the data key is given.
 *
 * Whatever is told by a file before its header's MAC was checked (seal_cipher_init()), anybody may have written.
 */
#ifndef POSTERN_KMS_SEAL_H
#define POSTERN_KMS_SEAL_H

#include "base/compiler.h"
#include "base/error.h"
#include "postern/kms.h"
#include <openssl/types.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SEAL_KEY_SIZE   32u /* of the data key */
#define SEAL_SALT_SIZE  32u
#define SEAL_MAC_SIZE   32u
#define SEAL_TAG_SIZE   16u
#define SEAL_CHUNK_SIZE 65536u /* of plaintext; the last one may be shorter */
#define SEAL_CHUNKS_MAX (UINT64_C(1) << 32)

#define SEAL_START_SIZE        12u /* of a file: tells how long its header is */
#define SEAL_HEADER_MAX        20480u
#define SEAL_KEY_ID_MAX        2048u
#define SEAL_DATA_KEY_MAX      6144u
#define SEAL_CONTEXT_MAX       64u   /* pairs */
#define SEAL_CONTEXT_BYTES_MAX 8192u /* of all their names and values */

/* Nothing of it is owned, but what seal_decode() made. */
struct seal_header {
    const char *key_id; /* of the KMS key: printable ASCII */
    const uint8_t *data_key;
    size_t data_key_size;                      /* as KMS encrypted it */
    const struct postern_kms_context *context; /* without control characters; no key is empty */
    size_t context_count;
    uint8_t salt[SEAL_SALT_SIZE]; /* random, of this file alone */
    void *memory;                 /* NULL, or for seal_release() */
};

/* What seal_encode() would refuse of a context, to be told before a data key is asked for. 0, -EINVAL or -E2BIG. */
int seal_check_context(const struct postern_kms_context *context, size_t count, struct error *err) MUST_CHECK;

/* The header's bytes, MAC included, malloc()ed. The context's order does not matter. -EINVAL: it is not what it may be; -E2BIG; -ENOMEM; -EIO. */
int seal_encode(const struct seal_header *header, const uint8_t key[SEAL_KEY_SIZE], uint8_t **ret,
                size_t *ret_size, struct error *err) MUST_CHECK;

/* How long the header is that begins so, from SEAL_START_SIZE to SEAL_HEADER_MAX. -EBADMSG: this is no sealed file; -ENOTSUP: of another version. */
int seal_header_size(const uint8_t start[SEAL_START_SIZE], size_t *ret, struct error *err) MUST_CHECK;

/* A whole header, without a look at its MAC. -EBADMSG, -ENOTSUP, -ENOMEM. */
int seal_decode(const uint8_t *bytes, size_t size, struct seal_header *ret, struct error *err) MUST_CHECK;
void seal_release(struct seal_header *header);

/* One file's chunks, in order, in one direction. The owner embeds it and ends it with seal_cipher_release(), which wipes it. */
struct seal_cipher {
    EVP_CIPHER_CTX *context;
    uint8_t mac[SEAL_MAC_SIZE];
    uint64_t chunks; /* that were taken */
    bool over;
};

/* Checks the header's MAC. -EBADMSG: the header was changed, or it is another data key's; -ENOMEM; -EIO. */
int seal_cipher_init(struct seal_cipher *cipher, const uint8_t key[SEAL_KEY_SIZE], const uint8_t *header,
                     size_t size, struct error *err) MUST_CHECK;
void seal_cipher_release(struct seal_cipher *cipher);

/* Writes `size` and SEAL_TAG_SIZE bytes to `out`. `size` is SEAL_CHUNK_SIZE, but may be less for the last chunk, and 0 if that is the first, too.
 * -EINVAL: it is not; -EFBIG: there are SEAL_CHUNKS_MAX already; -EIO. */
int seal_chunk(struct seal_cipher *cipher, const uint8_t *data, size_t size, bool last, uint8_t *out,
               struct error *err) MUST_CHECK;

/* Writes `size` less SEAL_TAG_SIZE bytes to `out`; if it fails, none that mean anything. -EBADMSG: this is not what was sealed as the next
 * chunk, or as the last one; -EIO. */
int seal_open_chunk(struct seal_cipher *cipher, const uint8_t *sealed, size_t size, bool last, uint8_t *out,
                    struct error *err) MUST_CHECK;

#endif
