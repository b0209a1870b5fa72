/* SHA-256: what tells a damaged record from a whole one. */
#ifndef POSTERN_SPOOL_DIGEST_H
#define POSTERN_SPOOL_DIGEST_H

#include "base/compiler.h"
#include <stddef.h>
#include <stdint.h>

#define DIGEST_SIZE 32

struct digest; /* of bytes that come in pieces */

/* Before all others, once or more: looks up the algorithm, and keeps it for as long as the process lives. */
int digest_prepare(void) MUST_CHECK;

/* Each returns 0 or -ENOMEM: there is nothing else that can fail in it. */
int digest_begin(struct digest **ret) MUST_CHECK;
int digest_add(struct digest *digest, const void *data, size_t size) MUST_CHECK;
int digest_end(struct digest *digest, uint8_t out[DIGEST_SIZE]) MUST_CHECK;
void digest_free(struct digest *digest); /* NULL is nothing */

int digest_of(const void *data, size_t size, uint8_t out[DIGEST_SIZE]) MUST_CHECK;

/* Bytes with their number in front, so that no two lists of fields look alike. */
int digest_add_field(struct digest *digest, const void *data, size_t size) MUST_CHECK;
int digest_add_number(struct digest *digest, uint64_t number) MUST_CHECK;

#endif
