/* A sealed file in memory: see sealed.h. */
#include "sealed.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

const uint8_t sealed_key[SEAL_KEY_SIZE] = {0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15,
                                           16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31};

static const uint8_t data_key[] = {1, 2, 3, 0, 0xaa, 0xbb, 0xcc, 0xdd};
static const struct postern_kms_context context[] = {{"tenant", "payroll"}, {"purpose", "L\xc3\xb6hne"}};

const struct seal_header sealed_header = {
    .key_id = "arn:aws:kms:us-east-1:111122223333:key/1234abcd",
    .data_key = data_key,
    .data_key_size = sizeof data_key,
    .context = context,
    .context_count = 2,
    .salt = {0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x8b, 0x8c, 0x8d, 0x8e, 0x8f,
             0x90, 0x91, 0x92, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9a, 0x9b, 0x9c, 0x9d, 0x9e, 0x9f},
};

static ssize_t read_memory(void *user, void *buffer, size_t size)
{
    struct sealed_io *io = user;
    size_t left = io->in.size - io->at;
    size_t most = io->most > 0 && io->most < size ? io->most : size;
    size_t n = left < most ? left : most;
    if (io->reads_too_much) {
        return (ssize_t)size + 1;
    }
    if (io->read_max > 0 && io->at + n > io->read_max) {
        return -EIO;
    }
    if (n > 0) {
        memcpy(buffer, io->in.data + io->at, n);
    }
    io->at += n;
    return (ssize_t)n;
}

static int write_memory(void *user, const void *data, size_t size)
{
    struct sealed_io *io = user;
    assert_true(size > 0);
    if (io->write_max > 0 && io->out.size + size > io->write_max) {
        return -ENOSPC;
    }
    uint8_t *grown = realloc(io->out.data, io->out.size + size);
    if (grown == NULL) {
        return -ENOMEM;
    }
    memcpy(grown + io->out.size, data, size);
    io->out.data = grown;
    io->out.size += size;
    return 0;
}

struct postern_seal_io sealed_io(struct sealed_io *io)
{
    return (struct postern_seal_io){.read = read_memory, .write = write_memory, .user = io};
}

void sealed_free(struct sealed_bytes *bytes)
{
    free(bytes->data);
    *bytes = (struct sealed_bytes){.data = NULL};
}

struct sealed_bytes sealed_plaintext(size_t size)
{
    struct sealed_bytes bytes = {.data = malloc(size + 1), .size = size};
    assert_non_null(bytes.data);
    for (size_t i = 0; i < size; i++) {
        bytes.data[i] = (uint8_t)(i * 7 + i / 251);
    }
    return bytes;
}

struct sealed_bytes sealed_make(const struct seal_header *header, const uint8_t key[SEAL_KEY_SIZE],
                                struct sealed_bytes plaintext)
{
    struct sealed_io io = {.in = plaintext};
    struct postern_seal_io callbacks = sealed_io(&io);
    struct seal_cipher cipher;
    struct error err = ERROR_INIT;
    uint8_t *bytes;
    size_t size;
    assert_int_equal(seal_encode(header, key, &bytes, &size, &err), 0);
    assert_int_equal(seal_cipher_init(&cipher, key, bytes, size, &err), 0);
    assert_int_equal(write_memory(&io, bytes, size), 0);
    assert_int_equal(seal_stream(&cipher, &callbacks, &err), 0);
    seal_cipher_release(&cipher);
    free(bytes);
    return io.out;
}

static int open_header(const uint8_t key[SEAL_KEY_SIZE], const struct postern_seal_io *io,
                       struct seal_cipher *cipher, struct error *err)
{
    struct seal_header header;
    uint8_t *bytes;
    size_t size;
    int r = seal_read_header(io, &bytes, &size, err);
    if (r != 0) {
        return r;
    }
    r = seal_decode(bytes, size, &header, err);
    if (r == 0) {
        seal_release(&header);
        r = seal_cipher_init(cipher, key, bytes, size, err);
    }
    free(bytes);
    return r;
}

int sealed_open(const uint8_t key[SEAL_KEY_SIZE], struct sealed_bytes sealed, struct sealed_bytes *ret,
                struct error *err)
{
    struct sealed_io io = {.in = sealed};
    struct postern_seal_io callbacks = sealed_io(&io);
    struct seal_cipher cipher;
    int r = open_header(key, &callbacks, &cipher, err);
    if (r == 0) {
        r = seal_open_stream(&cipher, &callbacks, err);
        seal_cipher_release(&cipher);
    }
    *ret = io.out;
    return r;
}
