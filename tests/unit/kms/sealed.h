/* A sealed file in memory, made and opened, for the tests of src/kms/seal*.c. */
#ifndef POSTERN_TESTS_SEALED_H
#define POSTERN_TESTS_SEALED_H

#include "kms/seal_stream.h"
#include <stdbool.h>

extern const uint8_t sealed_key[SEAL_KEY_SIZE];
extern const struct seal_header sealed_header; /* that of docs/sealed.md */

struct sealed_bytes {
    uint8_t *data;
    size_t size;
};

/* What is read and written, in memory. Zeroed but for `in`. */
struct sealed_io {
    struct sealed_bytes in, out;
    size_t at;
    size_t most;      /* at once; 0: all */
    size_t read_max;  /* then reading fails; 0: never */
    size_t write_max; /* then writing fails; 0: never */
    bool reads_too_much;
};

struct postern_seal_io sealed_io(struct sealed_io *io);
void sealed_free(struct sealed_bytes *bytes);

/* `size` bytes that are not all alike. */
struct sealed_bytes sealed_plaintext(size_t size);

/* Header and chunks. Fails the test if it cannot be made. */
struct sealed_bytes sealed_make(const struct seal_header *header, const uint8_t key[SEAL_KEY_SIZE],
                                struct sealed_bytes plaintext);

/* As postern_unseal() does when it has the data key. 0, or what failed; *ret is what was written until then. */
int sealed_open(const uint8_t key[SEAL_KEY_SIZE], struct sealed_bytes sealed, struct sealed_bytes *ret,
                struct error *err);

#endif
