/* Chunks from a reader to a writer: see seal_stream.h. */
#include "kms/seal_stream.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

#define SEALED_SIZE (SEAL_CHUNK_SIZE + SEAL_TAG_SIZE)

/* Whether a chunk is the last shows when the next one is read, so there are two. */
struct pieces {
    uint8_t first[SEALED_SIZE], second[SEALED_SIZE], out[SEALED_SIZE];
};

typedef int (*pass_chunk)(struct seal_cipher *cipher, const uint8_t *in, size_t size, bool last, uint8_t *out,
                          struct error *err);

/* As much as there is, up to `size`. */
static int fill(const struct postern_seal_io *io, uint8_t *data, size_t size, size_t *ret_size,
                struct error *err)
{
    *ret_size = 0;
    while (*ret_size < size) {
        ssize_t n = io->read(io->user, data + *ret_size, size - *ret_size);
        if (n < 0) {
            return error_errno(err, (int)n, "cannot read");
        }
        if ((size_t)n > size - *ret_size) {
            return error_set(err, -EINVAL, "cannot read: more came than was asked for");
        }
        if (n == 0) {
            return 0;
        }
        *ret_size += (size_t)n;
    }
    return 0;
}

static int write_out(const struct postern_seal_io *io, const uint8_t *data, size_t size, struct error *err)
{
    int r = size == 0 ? 0 : io->write(io->user, data, size);
    return r == 0 ? 0 : error_errno(err, r < 0 ? r : -EIO, "cannot write");
}

static int run(struct seal_cipher *cipher, const struct postern_seal_io *io, struct pieces *pieces,
               pass_chunk pass, size_t in_size, size_t out_size, struct error *err)
{
    uint8_t *now = pieces->first, *next = pieces->second;
    size_t size, next_size = 0;
    bool last = false;
    int r = fill(io, now, in_size, &size, err);
    while (r == 0 && !last) {
        r = size < in_size ? 0 : fill(io, next, in_size, &next_size, err);
        last = size < in_size || next_size == 0;
        if (r == 0) {
            r = pass(cipher, now, size, last, pieces->out, err);
        }
        if (r == 0) {
            r = write_out(io, pieces->out, size + out_size - in_size, err);
        }
        uint8_t *read = next;
        next = now;
        now = read;
        size = next_size;
    }
    return r;
}

static int run_in_memory(struct seal_cipher *cipher, const struct postern_seal_io *io, pass_chunk pass,
                         size_t in_size, size_t out_size, struct error *err)
{
    struct pieces *pieces = malloc(sizeof *pieces);
    if (pieces == NULL) {
        return error_set(err, -ENOMEM, "out of memory");
    }
    int r = run(cipher, io, pieces, pass, in_size, out_size, err);
    OPENSSL_cleanse(pieces, sizeof *pieces);
    free(pieces);
    return r;
}

int seal_stream(struct seal_cipher *cipher, const struct postern_seal_io *io, struct error *err)
{
    return run_in_memory(cipher, io, seal_chunk, SEAL_CHUNK_SIZE, SEALED_SIZE, err);
}

int seal_open_stream(struct seal_cipher *cipher, const struct postern_seal_io *io, struct error *err)
{
    return run_in_memory(cipher, io, seal_open_chunk, SEALED_SIZE, SEAL_CHUNK_SIZE, err);
}

int seal_read_header(const struct postern_seal_io *io, uint8_t **ret, size_t *ret_size, struct error *err)
{
    uint8_t start[SEAL_START_SIZE];
    size_t size, have;
    int r = fill(io, start, sizeof start, &have, err);
    if (r == 0 && have < sizeof start) {
        r = error_set(err, -EBADMSG, "this is no sealed file: it has %zu bytes", have);
    }
    if (r == 0) {
        r = seal_header_size(start, &size, err);
    }
    if (r != 0) {
        return r;
    }
    uint8_t *bytes = malloc(size);
    if (bytes == NULL) {
        return error_set(err, -ENOMEM, "cannot read the sealed file's header: out of memory");
    }
    memcpy(bytes, start, sizeof start);
    r = fill(io, bytes + sizeof start, size - sizeof start, &have, err);
    if (r == 0 && have < size - sizeof start) {
        r = error_set(err, -EBADMSG, "the sealed file's header is cut off");
    }
    if (r != 0) {
        free(bytes);
        return r;
    }
    *ret = bytes;
    *ret_size = size;
    return 0;
}
