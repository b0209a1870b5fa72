/*
 * Any bytes as a sealed file. A header that is taken says the same when it is written again; what follows it is refused, as nobody who
 * lacks the data key can write it; and the same bytes, sealed, open again.
 */
#include "kms/seal_stream.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const uint8_t key[SEAL_KEY_SIZE] = "a data key that the tests have";

struct io {
    const uint8_t *in;
    size_t left;
    uint8_t *out; /* realloc()ed */
    size_t size;
};

static void require(bool holds)
{
    if (!holds) {
        abort();
    }
}

static ssize_t read_in(void *user, void *buffer, size_t size)
{
    struct io *io = user;
    size_t n = io->left < size ? io->left : size;
    if (n > 0) {
        memcpy(buffer, io->in, n);
    }
    io->in += n;
    io->left -= n;
    return (ssize_t)n;
}

static int write_out(void *user, const void *bytes, size_t size)
{
    struct io *io = user;
    io->out = realloc(io->out, io->size + size);
    require(io->out != NULL);
    memcpy(io->out + io->size, bytes, size);
    io->size += size;
    return 0;
}

static int run(const uint8_t *header, size_t header_size, bool sealing, struct io *io)
{
    struct postern_seal_io callbacks = {.read = read_in, .write = write_out, .user = io};
    struct error err = ERROR_INIT;
    struct seal_cipher cipher;
    require(seal_cipher_init(&cipher, key, header, header_size, &err) == 0);
    int r = sealing ? seal_stream(&cipher, &callbacks, &err) : seal_open_stream(&cipher, &callbacks, &err);
    seal_cipher_release(&cipher);
    return r;
}

/* The rest of the input, behind a header that is right. */
static void try_chunks(const uint8_t *header, size_t header_size, const uint8_t *rest, size_t size)
{
    struct io as_sealed = {.in = rest, .left = size};
    require(run(header, header_size, false, &as_sealed) == -EBADMSG && as_sealed.size == 0);
    struct io sealing = {.in = rest, .left = size};
    require(run(header, header_size, true, &sealing) == 0);
    struct io opening = {.in = sealing.out, .left = sealing.size};
    require(run(header, header_size, false, &opening) == 0);
    require(opening.size == size && (size == 0 || memcmp(opening.out, rest, size) == 0));
    free(sealing.out);
    free(opening.out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error err = ERROR_INIT;
    struct io io = {.in = data, .left = size};
    struct postern_seal_io callbacks = {.read = read_in, .user = &io};
    struct seal_header header;
    uint8_t *bytes, *again;
    size_t header_size, again_size;
    if (seal_read_header(&callbacks, &bytes, &header_size, &err) != 0) {
        require(err.text[0] != '\0');
        return 0;
    }
    if (seal_decode(bytes, header_size, &header, &err) == 0) {
        require(seal_encode(&header, key, &again, &again_size, &err) == 0);
        require(again_size == header_size && memcmp(bytes, again, header_size - SEAL_MAC_SIZE) == 0);
        try_chunks(again, again_size, io.in, io.left);
        free(again);
        seal_release(&header);
    }
    free(bytes);
    return 0;
}
