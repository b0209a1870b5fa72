/* Sealed files: the vectors of docs/sealed.md, and what cannot be opened: every change that a file may suffer. */
#include "sealed.h"

#include "document.h"
#include "fault.h"
#include "kms/seal_private.h"
#include <errno.h>
#include <openssl/evp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SEALED_CHUNK (SEAL_CHUNK_SIZE + SEAL_TAG_SIZE)

static struct error err;

/* ---- The vectors ---- */

static void assert_vector(const char *name, const uint8_t *bytes, size_t size)
{
    const struct vector *vector = document_vector(name);
    assert_int_equal(vector->length, size);
    assert_memory_equal(vector->bytes, bytes, size);
}

static void test_vector_keys(void **state)
{
    struct seal_keys keys;
    (void)state;
    assert_vector("key", sealed_key, sizeof sealed_key);
    assert_int_equal(seal_derive(sealed_key, sealed_header.salt, &keys), 0);
    assert_vector("derived", (const uint8_t *)&keys, sizeof keys);
}

static void assert_file(const char *text, size_t size, const char *chunk)
{
    struct sealed_bytes plaintext = {.data = (uint8_t *)(uintptr_t)text, .size = size};
    struct sealed_bytes file = sealed_make(&sealed_header, sealed_key, plaintext), opened;
    size_t header = document_vector("header")->length;
    assert_vector("header", file.data, header);
    assert_vector(chunk, file.data + header, file.size - header);
    assert_int_equal(sealed_open(sealed_key, file, &opened, &err), 0);
    assert_int_equal(opened.size, size);
    assert_memory_equal(opened.data != NULL ? opened.data : (const uint8_t *)"", text, size);
    sealed_free(&opened);
    sealed_free(&file);
}

static void test_vector_files(void **state)
{
    (void)state;
    assert_file("hello", 5, "chunk-hello");
    assert_file("", 0, "chunk-empty");
}

static void test_vector_two_chunks(void **state)
{
    struct sealed_bytes plaintext = {.data = calloc(1, SEAL_CHUNK_SIZE + 1), .size = SEAL_CHUNK_SIZE + 1};
    (void)state;
    plaintext.data[SEAL_CHUNK_SIZE] = '!';
    struct sealed_bytes file = sealed_make(&sealed_header, sealed_key, plaintext);
    const uint8_t *second = file.data + document_vector("header")->length + SEALED_CHUNK;
    assert_vector("chunk-first-tag", second - SEAL_TAG_SIZE, SEAL_TAG_SIZE);
    assert_vector("chunk-second", second, SEAL_TAG_SIZE + 1);
    sealed_free(&file);
    sealed_free(&plaintext);
}

static void test_vector_least_header(void **state)
{
    struct seal_header header = sealed_header;
    const struct vector *vector = document_vector("header-least");
    uint8_t *bytes;
    size_t size;
    (void)state;
    header.key_id = "k";
    header.data_key_size = 1;
    header.context_count = 0;
    assert_int_equal(seal_encode(&header, sealed_key, &bytes, &size, &err), 0);
    assert_vector("header-least", bytes, size);
    free(bytes);
    assert_int_equal(seal_decode(vector->bytes, vector->length, &header, &err), 0);
    assert_string_equal(header.key_id, "k");
    assert_int_equal(header.context_count, 0);
    seal_release(&header);
}

/* ---- Round trips ---- */

static void round_trip(size_t size, size_t most)
{
    struct sealed_bytes plaintext = sealed_plaintext(size);
    struct sealed_bytes file = sealed_make(&sealed_header, sealed_key, plaintext);
    size_t header = document_vector("header")->length,
           chunks = size == 0 ? 1 : (size - 1) / SEAL_CHUNK_SIZE + 1;
    struct sealed_io io = {.in = {.data = file.data + header, .size = file.size - header}, .most = most};
    struct postern_seal_io callbacks = sealed_io(&io);
    struct seal_cipher cipher;
    assert_int_equal(file.size, header + size + chunks * SEAL_TAG_SIZE);
    assert_int_equal(seal_cipher_init(&cipher, sealed_key, file.data, header, &err), 0);
    assert_int_equal(seal_open_stream(&cipher, &callbacks, &err), 0);
    seal_cipher_release(&cipher);
    assert_int_equal(io.out.size, size);
    if (size > 0) {
        assert_memory_equal(io.out.data, plaintext.data, size);
    }
    sealed_free(&io.out);
    sealed_free(&file);
    sealed_free(&plaintext);
}

static void test_sizes(void **state)
{
    static const size_t sizes[] = {0, 1, 15, 65535, 65536, 65537, 131071, 131072, 131073, 400000};
    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        round_trip(sizes[i], 0);
        round_trip(sizes[i], 4093);
    }
}

/* ---- Changes ---- */

/* What was written before the end is the beginning of what was sealed, in whole chunks, and never all of it as a success. */
static void assert_refused(struct sealed_bytes file, struct sealed_bytes plaintext)
{
    struct sealed_bytes opened;
    struct error why = ERROR_INIT;
    int r = sealed_open(sealed_key, file, &opened, &why);
    assert_true(r == -EBADMSG || r == -ENOTSUP);
    assert_string_not_equal(why.text, "");
    assert_true(opened.size <= plaintext.size);
    if (opened.size > 0) {
        assert_memory_equal(opened.data, plaintext.data, opened.size);
    }
    sealed_free(&opened);
}

static void flip_all(size_t size, size_t step)
{
    struct sealed_bytes plaintext = sealed_plaintext(size);
    struct sealed_bytes file = sealed_make(&sealed_header, sealed_key, plaintext);
    size_t header = document_vector("header")->length;
    for (size_t at = 0; at < file.size; at += at < header ? 1 : step) {
        for (unsigned bit = 0; bit < 8; bit++) {
            file.data[at] ^= (uint8_t)(1u << bit);
            assert_refused(file, plaintext);
            file.data[at] ^= (uint8_t)(1u << bit);
        }
    }
    sealed_free(&file);
    sealed_free(&plaintext);
}

static void test_every_bit(void **state)
{
    (void)state;
    flip_all(0, 1);
    flip_all(5, 1);
    flip_all(200, 1);
}

static void test_bits_of_chunks(void **state)
{
    (void)state;
    flip_all(2 * SEAL_CHUNK_SIZE + 100, 1021);
}

static void test_cut_anywhere(void **state)
{
    struct sealed_bytes plaintext = sealed_plaintext(100);
    struct sealed_bytes file = sealed_make(&sealed_header, sealed_key, plaintext), cut = file;
    (void)state;
    for (cut.size = 0; cut.size < file.size; cut.size++) {
        assert_refused(cut, plaintext);
    }
    sealed_free(&file);
    sealed_free(&plaintext);
}

static void test_cut_at_chunks(void **state)
{
    static const int around[] = {-17, -16, -15, -1, 0, 1, 15, 16, 17};
    struct sealed_bytes plaintext = sealed_plaintext(3 * SEAL_CHUNK_SIZE);
    struct sealed_bytes file = sealed_make(&sealed_header, sealed_key, plaintext), cut = file;
    size_t header = document_vector("header")->length;
    (void)state;
    for (size_t chunk = 0; chunk <= 3; chunk++) {
        for (size_t i = 0; i < sizeof around / sizeof around[0]; i++) {
            cut.size = header + chunk * SEALED_CHUNK + (size_t)around[i];
            if (cut.size < file.size) {
                assert_refused(cut, plaintext);
            }
        }
    }
    sealed_free(&file);
    sealed_free(&plaintext);
}

/* A file of the header of `of` and those of its chunks (and of `other`'s, from 10 on) that are named, up to -1. */
static struct sealed_bytes put_together(struct sealed_bytes of, struct sealed_bytes other, const int *chunks)
{
    size_t header = document_vector("header")->length;
    struct sealed_bytes ret = {.data = malloc(of.size * 4), .size = header};
    assert_non_null(ret.data);
    memcpy(ret.data, of.data, header);
    for (; *chunks >= 0; chunks++) {
        struct sealed_bytes from = *chunks >= 10 ? other : of;
        size_t at = header + (size_t)(*chunks % 10) * SEALED_CHUNK;
        size_t size = from.size - at < SEALED_CHUNK ? from.size - at : SEALED_CHUNK;
        memcpy(ret.data + ret.size, from.data + at, size);
        ret.size += size;
    }
    return ret;
}

static void test_chunks_elsewhere(void **state)
{
    static const int orders[][6] = {
        {1, 0, 2, -1},    {0, 2, 1, -1},     {0, 0, 1, 2, -1}, {0, 1, 1, 2, -1}, {1, 2, -1},
        {0, 2, -1},       {2, -1},           {0, 1, 2, 2, -1}, {0, 1, 2, 0, -1}, {10, 1, 2, -1},
        {0, 11, 2, -1},   {0, 1, 12, -1},    {0, 1, -1},       {0, -1},          {-1},
        {10, 11, 12, -1}, {0, 1, 2, 12, -1}, {2, 0, 1, -1},
    };
    static const int right[] = {0, 1, 2, -1};
    struct seal_header second = sealed_header;
    struct sealed_bytes plaintext = sealed_plaintext(2 * SEAL_CHUNK_SIZE + 100), opened;
    (void)state;
    second.salt[0] ^= 1; /* the same data key, and as long a header */
    struct sealed_bytes file = sealed_make(&sealed_header, sealed_key, plaintext);
    struct sealed_bytes other = sealed_make(&second, sealed_key, plaintext);
    for (size_t i = 0; i < sizeof orders / sizeof orders[0]; i++) {
        struct sealed_bytes made = put_together(file, other, orders[i]);
        assert_refused(made, plaintext);
        sealed_free(&made);
    }
    struct sealed_bytes made = put_together(file, other, right);
    assert_int_equal(sealed_open(sealed_key, made, &opened, &err), 0);
    sealed_free(&opened);
    sealed_free(&made);
    sealed_free(&file);
    sealed_free(&other);
    sealed_free(&plaintext);
}

static void test_appended(void **state)
{
    static const size_t sizes[] = {0, 5, SEAL_CHUNK_SIZE};
    static const size_t more[] = {1, 15, 16, 17, SEALED_CHUNK};
    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct sealed_bytes plaintext = sealed_plaintext(sizes[i]);
        struct sealed_bytes file = sealed_make(&sealed_header, sealed_key, plaintext), longer;
        for (size_t k = 0; k < sizeof more / sizeof more[0]; k++) {
            longer =
                (struct sealed_bytes){.data = calloc(1, file.size + more[k]), .size = file.size + more[k]};
            memcpy(longer.data, file.data, file.size);
            assert_refused(longer, plaintext);
            sealed_free(&longer);
        }
        sealed_free(&file);
        sealed_free(&plaintext);
    }
}

/* An empty last chunk after a full one would be a second way to write the same plaintext. */
static void test_empty_last_chunk(void **state)
{
    uint8_t *chunk = calloc(1, SEALED_CHUNK);
    const struct vector *header = document_vector("header");
    struct seal_cipher cipher;
    uint8_t tag[SEAL_TAG_SIZE];
    (void)state;
    assert_int_equal(seal_cipher_init(&cipher, sealed_key, header->bytes, header->length, &err), 0);
    assert_int_equal(seal_chunk(&cipher, chunk, SEAL_CHUNK_SIZE, false, chunk, &err), 0);
    assert_int_equal(seal_chunk(&cipher, chunk, 0, true, tag, &err), -EINVAL);
    assert_int_equal(seal_chunk(&cipher, chunk, 5, false, chunk, &err), -EINVAL);
    assert_int_equal(seal_chunk(&cipher, chunk, SEALED_CHUNK, true, chunk, &err), -EINVAL);
    assert_int_equal(seal_open_chunk(&cipher, tag, SEAL_TAG_SIZE, true, chunk, &err), -EBADMSG);
    assert_int_equal(seal_chunk(&cipher, chunk, 5, true, chunk, &err), 0);
    assert_int_equal(seal_chunk(&cipher, chunk, 5, true, chunk, &err), -EINVAL);
    assert_int_equal(seal_open_chunk(&cipher, chunk, 21, true, chunk, &err), -EBADMSG);
    seal_cipher_release(&cipher);
    free(chunk);
}

static void test_too_many_chunks(void **state)
{
    const struct vector *header = document_vector("header");
    struct seal_cipher cipher;
    uint8_t chunk[21] = {0};
    (void)state;
    assert_int_equal(seal_cipher_init(&cipher, sealed_key, header->bytes, header->length, &err), 0);
    cipher.chunks = SEAL_CHUNKS_MAX;
    assert_int_equal(seal_chunk(&cipher, chunk, 5, true, chunk, &err), -EFBIG);
    assert_int_equal(seal_open_chunk(&cipher, chunk, sizeof chunk, true, chunk, &err), -EBADMSG);
    cipher.chunks--;
    assert_int_equal(seal_chunk(&cipher, chunk, 5, true, chunk, &err), 0);
    seal_cipher_release(&cipher);
}

static void test_refused_chunk_leaves_nothing(void **state)
{
    const struct vector *header = document_vector("header"), *chunk = document_vector("chunk-hello");
    struct seal_cipher cipher;
    uint8_t sealed[21], out[5] = "?????";
    (void)state;
    memcpy(sealed, chunk->bytes, sizeof sealed);
    sealed[20] ^= 1;
    assert_int_equal(seal_cipher_init(&cipher, sealed_key, header->bytes, header->length, &err), 0);
    assert_int_equal(seal_open_chunk(&cipher, sealed, sizeof sealed, true, out, &err), -EBADMSG);
    assert_memory_equal(out, "\0\0\0\0\0", 5);
    seal_cipher_release(&cipher);
}

static void test_other_key(void **state)
{
    struct sealed_bytes plaintext = sealed_plaintext(5), opened;
    struct sealed_bytes file = sealed_make(&sealed_header, sealed_key, plaintext);
    uint8_t key[SEAL_KEY_SIZE];
    (void)state;
    memcpy(key, sealed_key, sizeof key);
    key[31] ^= 1;
    assert_int_equal(sealed_open(key, file, &opened, &err), -EBADMSG);
    assert_null(opened.data);
    sealed_free(&file);
    sealed_free(&plaintext);
}

/* ---- Reading and writing ---- */

static void stream_with(struct sealed_io *io, bool sealing, int expected)
{
    const struct vector *header = document_vector("header");
    struct postern_seal_io callbacks = sealed_io(io);
    struct seal_cipher cipher;
    assert_int_equal(seal_cipher_init(&cipher, sealed_key, header->bytes, header->length, &err), 0);
    int r = sealing ? seal_stream(&cipher, &callbacks, &err) : seal_open_stream(&cipher, &callbacks, &err);
    assert_int_equal(r, expected);
    seal_cipher_release(&cipher);
    sealed_free(&io->out);
}

static void test_failing_io(void **state)
{
    struct sealed_bytes plaintext = sealed_plaintext(200000);
    (void)state;
    stream_with(&(struct sealed_io){.in = plaintext, .read_max = 1}, true, -EIO);
    stream_with(&(struct sealed_io){.in = plaintext, .read_max = 70000}, true, -EIO);
    stream_with(&(struct sealed_io){.in = plaintext, .write_max = 1}, true, -ENOSPC);
    stream_with(&(struct sealed_io){.in = plaintext, .write_max = 140000}, true, -ENOSPC);
    stream_with(&(struct sealed_io){.in = plaintext, .reads_too_much = true}, true, -EINVAL);
    stream_with(&(struct sealed_io){.in = plaintext, .read_max = 1}, false, -EIO);
    sealed_free(&plaintext);
}

static void test_failing_header(void **state)
{
    const struct vector *header = document_vector("header");
    struct sealed_bytes in = {.data = malloc(header->length), .size = header->length};
    struct sealed_io io = {.in = in, .read_max = 5};
    struct postern_seal_io callbacks = sealed_io(&io);
    uint8_t *bytes;
    size_t size;
    (void)state;
    memcpy(in.data, header->bytes, in.size);
    assert_int_equal(seal_read_header(&callbacks, &bytes, &size, &err), -EIO);
    io = (struct sealed_io){.in = in, .read_max = 50};
    assert_int_equal(seal_read_header(&callbacks, &bytes, &size, &err), -EIO);
    io = (struct sealed_io){.in = {.data = in.data, .size = 50}};
    assert_int_equal(seal_read_header(&callbacks, &bytes, &size, &err), -EBADMSG);
    sealed_free(&in);
}

/* OpenSSL, when it fails in the middle of a chunk. */
int __real_EVP_CipherUpdate(EVP_CIPHER_CTX *cipher, unsigned char *out, int *out_size,
                            const unsigned char *in, int size);
int __wrap_EVP_CipherUpdate(EVP_CIPHER_CTX *cipher, unsigned char *out, int *out_size,
                            const unsigned char *in, int size);

int __wrap_EVP_CipherUpdate(EVP_CIPHER_CTX *cipher, unsigned char *out, int *out_size,
                            const unsigned char *in, int size)
{
    return fault_strikes(FAULT_OWN) ? 0 : __real_EVP_CipherUpdate(cipher, out, out_size, in, size);
}

static void test_failing_library(void **state)
{
    const struct vector *header = document_vector("header"), *chunk = document_vector("chunk-hello");
    struct seal_cipher cipher;
    uint8_t out[21];
    (void)state;
    assert_int_equal(seal_cipher_init(&cipher, sealed_key, header->bytes, header->length, &err), 0);
    for (unsigned call = 1; call <= 2; call++) {
        fault_arm(FAULT_OWN, call);
        assert_int_equal(seal_chunk(&cipher, (const uint8_t *)"hello", 5, true, out, &err), -EIO);
        assert_int_equal(fault_disarm(), 1);
        memset(out, '?', sizeof out);
        fault_arm(FAULT_OWN, call);
        assert_int_equal(seal_open_chunk(&cipher, chunk->bytes, chunk->length, true, out, &err), -EIO);
        assert_int_equal(fault_disarm(), 1);
        assert_memory_equal(out, "\0\0\0\0\0", 5);
    }
    assert_int_equal(seal_open_chunk(&cipher, chunk->bytes, chunk->length, true, out, &err), 0);
    assert_memory_equal(out, "hello", 5);
    seal_cipher_release(&cipher);
}

static void both_ways(void *arg)
{
    struct sealed_bytes *plaintext = arg, opened = {.data = NULL};
    struct sealed_io io = {.in = *plaintext};
    struct postern_seal_io callbacks = sealed_io(&io);
    struct seal_cipher cipher;
    uint8_t *bytes;
    size_t size;
    int r = seal_encode(&sealed_header, sealed_key, &bytes, &size, &err);
    if (r != 0) {
        assert_true(r == -ENOMEM || r == -EIO || r == -EINVAL);
        return;
    }
    r = seal_cipher_init(&cipher, sealed_key, bytes, size, &err);
    if (r == 0) {
        r = callbacks.write(&io, bytes, size);
    }
    if (r == 0) {
        r = seal_stream(&cipher, &callbacks, &err);
    }
    if (r == 0) {
        r = sealed_open(sealed_key, io.out, &opened, &err);
    }
    assert_true(r == 0 || r == -ENOMEM || r == -EIO || r == -EBADMSG);
    if (r == 0) {
        assert_int_equal(opened.size, plaintext->size);
    }
    seal_cipher_release(&cipher);
    sealed_free(&opened);
    sealed_free(&io.out);
    free(bytes);
}

static void test_out_of_memory(void **state)
{
    struct sealed_bytes plaintext = sealed_plaintext(70000);
    (void)state;
    assert_true(fault_loop("seal", FAULT_MEMORY, both_ways, &plaintext) >= 10);
    sealed_free(&plaintext);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vector_keys),
        cmocka_unit_test(test_vector_files),
        cmocka_unit_test(test_vector_two_chunks),
        cmocka_unit_test(test_vector_least_header),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_every_bit),
        cmocka_unit_test(test_bits_of_chunks),
        cmocka_unit_test(test_cut_anywhere),
        cmocka_unit_test(test_cut_at_chunks),
        cmocka_unit_test(test_chunks_elsewhere),
        cmocka_unit_test(test_appended),
        cmocka_unit_test(test_empty_last_chunk),
        cmocka_unit_test(test_too_many_chunks),
        cmocka_unit_test(test_refused_chunk_leaves_nothing),
        cmocka_unit_test(test_other_key),
        cmocka_unit_test(test_failing_io),
        cmocka_unit_test(test_failing_header),
        cmocka_unit_test(test_failing_library),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
