/*
 * Makes ClientHellos, right and wrong ones, byte by byte, for the tests of the reader and its judge.
 */
#ifndef POSTERN_TESTS_HELLO_MAKER_H
#define POSTERN_TESTS_HELLO_MAKER_H

#include <stdbool.h>
#include <stddef.h>

#define BYTES_MAX 1000000 /* 128 KiB in records of one byte, with room */

struct bytes {
    size_t length;
    unsigned char at[BYTES_MAX];
};

struct extension {
    unsigned type;
    size_t length;
    const void *body; /* NULL: zeros */
};

/* The parts of a hello that tests vary; a zeroed spec is a plain TLS 1.3 hello without extensions. */
struct spec {
    unsigned version; /* legacy_version; 0: 0x0303 */
    size_t session_id;
    size_t ciphers;     /* bytes of the list, GREASE first; 0: the usual; SPEC_EMPTY: none */
    size_t compression; /* methods, the null one last; 0: just that; SPEC_EMPTY: none */
    bool no_null_compression;
    bool no_extensions; /* the block is left out, length and all */
    const struct extension *extensions;
    size_t count;
};

#define SPEC_EMPTY ((size_t)-1)

void put(struct bytes *out, const void *data, size_t length); /* data NULL: zeros */
void put_number(struct bytes *out, unsigned long value, unsigned width);

/* A vector's length field: opened before its content, filled in after. */
size_t vector_open(struct bytes *out, unsigned width);
void vector_close(struct bytes *out, size_t mark, unsigned width);

/* Appends the handshake message, header included. */
void make_message(struct bytes *out, const struct spec *spec);

/* Appends `message` in records of at most `size` bytes. */
void make_records(struct bytes *out, const void *message, size_t length, size_t size);

/* The body of a server_name extension with one entry. Returns its length; `body` has room for it (5 more). */
size_t make_server_name(unsigned char *body, const void *name, size_t length);

/* A whole hello for that name (NULL: none) in one record, with the extensions TLS 1.3 needs. */
void make_hello(struct bytes *out, const char *name);

/* The extensions a TLS 1.3 client cannot do without: at [0]..[3], X25519 alone. Returns 4. */
size_t usual_extensions(struct extension *extensions);

#endif
