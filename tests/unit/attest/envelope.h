/*
 * CiphertextForRecipient as AWS's servers write it, put together byte by byte, and with any part of it replaced: for tests of what opens
 * it.
 */
#ifndef POSTERN_TESTS_ENVELOPE_H
#define POSTERN_TESTS_ENVELOPE_H

#include "attest/recipient.h"
#include <openssl/evp.h>
#include <stdbool.h>

struct bytes {
    uint8_t data[16384];
    size_t size;
};

void bytes_add(struct bytes *out, const void *data, size_t size);
void bytes_add_tlv(struct bytes *out, uint8_t tag, const void *data, size_t size);

/* `data` NULL: as AWS writes it. */
struct part {
    const void *data;
    size_t size;
};

#define PART(literal)                                  \
    {                                                  \
        .data = (literal), .size = sizeof(literal) - 1 \
    }

#define OAEP_SHA256                                                                                        \
    "\x30\x3c\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x07\x30\x2f\xa0\x0f\x30\x0d\x06\x09\x60\x86\x48\x01" \
    "\x65\x03\x04\x02\x01\x05\x00\xa1\x1c\x30\x1a\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x08\x30\x0d\x06" \
    "\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00"

struct envelope {
    /* What is done. */
    struct part plain;       /* "the secret" */
    struct part key;         /* of the content: 32 bytes made at random */
    const char *hash, *mgf;  /* of OAEP, for the key: SHA256 */
    const char *cipher;      /* of the content: AES-256-CBC */
    struct part wrapped_key; /* the key, encrypted; 256 bytes */
    struct part ciphertext;  /* the content, encrypted */
    struct part iv;          /* 16 bytes made at random */

    /* What is written: whole elements in BER, or nothing if they are empty. */
    struct part type;              /* of the whole */
    struct part version;           /* 2 */
    struct part originator;        /* none */
    struct part recipients;        /* a SET of one, or of: */
    unsigned copies;               /* 0: 1 */
    struct part recipient_version; /* 2 */
    struct part name;              /* a SubjectKeyIdentifier of 32 bytes */
    struct part algorithm;         /* of the key's encryption */
    struct part content_type;      /* data */
    struct part content_algorithm;
    struct part content;    /* in pieces of 24 bytes, within an element of indefinite length, or: */
    bool primitive;         /* in one */
    size_t piece;           /* 0: 24 */
    struct part attributes; /* none */
    struct part end;        /* of the three that begin it: three times two zeros */
};

/* For whoever has that key. */
void envelope_make(struct bytes *out, const struct envelope *envelope, EVP_PKEY *to);

/* The public key of a recipient, to be freed. */
EVP_PKEY *envelope_key_of(const struct recipient *recipient);

#endif
