/*
 * A signer in an enclave: its key is made there, is kept outside only as KMS sealed it, and signs what an authorised requester asks for.
 */
#ifndef SIGNER_H
#define SIGNER_H

#include <openssl/evp.h>
#include <postern/kms.h>
#include <stdbool.h>
#include <stddef.h>

#define LINE_SIZE   1024 /* of a request or an answer, with the end of the line and a zero */
#define DIGEST_SIZE 32   /* SHA-256 */

/* What a request is answered from. Read by all threads, changed by none. */
struct signer {
    EVP_PKEY *key;       /* ours */
    EVP_PKEY *requester; /* whose requests are signed: a public key */
};

/* ---- keep.c: where the key comes from ---- */

/* The kept key, or if none is kept a new one, which is kept before this returns. NULL: neither, and standard error says why. */
EVP_PKEY *key_get(struct postern *door, struct postern_kms *kms, const char *kms_key);

/* ---- answer.c: what is answered ---- */

/* Writes the answer to one line, both without the end of the line. Returns its length, at most LINE_SIZE - 1. */
size_t answer(const struct signer *signer, const char *request, char *reply);

/* ---- serve.c: how requests come in ---- */

/* Serves for ever. Returns only if it cannot begin. */
int serve(const struct signer *signer, const char *address);

#endif
