/*
 * Sealing and opening from where bytes come to where they go, in constant memory: see seal.h. Nothing of a chunk goes on before its
 * tag was checked; but the chunks before one that is refused have gone, so whoever takes them waits for the end.
 */
#ifndef POSTERN_KMS_SEAL_STREAM_H
#define POSTERN_KMS_SEAL_STREAM_H

#include "kms/seal.h"
#include "postern/seal.h"

/* A whole header, malloc()ed. -EBADMSG, -ENOTSUP, -ENOMEM, or what `read` failed with. */
int seal_read_header(const struct postern_seal_io *io, uint8_t **ret, size_t *ret_size,
                     struct error *err) MUST_CHECK;

/* All that is read, in chunks. What the callbacks fail with is passed on as it is. */
int seal_stream(struct seal_cipher *cipher, const struct postern_seal_io *io, struct error *err) MUST_CHECK;
int seal_open_stream(struct seal_cipher *cipher, const struct postern_seal_io *io,
                     struct error *err) MUST_CHECK;

#endif
