/*
 * A signer in an enclave: its key is made there, is kept outside only as KMS sealed it, and signs what an authorised requester asks for.
 */
#ifndef SIGNER_H
#define SIGNER_H

#include <openssl/evp.h>
#include <postern/kms.h>
#include <stdbool.h>
#include <stddef.h>

#define LINE_SIZE  1024  /* of a request, with the end of the line */
#define REPLY_SIZE 20480 /* of an answer, with a zero */
#define DOCUMENT_SIZE \
    16400 /* an attestation document in base64, with a zero: the NSM's have at most 12288 bytes */
#define DIGEST_SIZE 32 /* SHA-256 */

/* What a request is answered from. Read by all threads, changed by none. */
struct signer {
    EVP_PKEY *key;       /* ours */
    EVP_PKEY *requester; /* whose requests are signed: a public key */
    char document[DOCUMENT_SIZE];
};

/* ---- keep.c: where the key comes from ---- */

/* The kept key, or if none is kept a new one, which is kept before this returns. NULL: neither, and standard error says why. */
EVP_PKEY *key_get(struct postern *door, struct postern_kms *kms, const char *kms_key);

/* ---- vouch.c: whose key it is ---- */

/* An attestation document, in base64, whose user data is the SHA-256 of the public key (SubjectPublicKeyInfo, DER). 0, or -1, and standard
 * error says why. */
int vouch(EVP_PKEY *key, const char *insecure_nsm, char document[DOCUMENT_SIZE]);

/* ---- answer.c: what is answered ---- */

/* Writes the answer to one line, both without the end of the line. Returns its length, less than REPLY_SIZE. */
size_t answer(const struct signer *signer, const char *request, char *reply);

/* ---- serve.c: how requests come in ---- */

/* Serves for ever. Returns only if it cannot begin. */
int serve(const struct signer *signer, const char *address);

#endif
