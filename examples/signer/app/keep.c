/*
 * The key's life. KMS makes it and seals it under a KMS key (GenerateDataKeyPair), and tells it to this enclave alone, as the attestation asks
 * for. What is sealed goes to the parent's store by the route `keys`. The next start fetches it there and has KMS open it (Decrypt):
 * for an enclave of the same measurements, by the key's policy.
 *
 * A new key is made only if the store says that it has none. If it fails in another way, so does the start: clients that know the old
 * key's public half are not to find another one because of an outage.
 */
#include "signer.h"

#include <errno.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <string.h>

#define ROUTE       "keys"
#define PATH        "/signer.key"
#define SEALED_MAX  6144 /* KMS opens no more */
#define PATIENCE_MS 30000

/* Sealed with the key, and asked for when it is opened: what was sealed for something else is not taken for this. */
static const struct postern_kms_context purpose[] = {{"purpose", "postern-example-signer"}};

static int fail(const char *what, const struct postern_error *err)
{
    fprintf(stderr, "signer: %s: %s\n", what, err->message);
    return -1;
}

/* The answer's body. Returns its length, or -1. */
static ssize_t read_body(struct postern_request *request, unsigned char *body, size_t size,
                         struct postern_error *err)
{
    size_t have = 0;
    ssize_t n;

    while ((n = postern_request_read(request, body + have, size - have, PATIENCE_MS, err)) > 0) {
        have += (size_t)n;
        if (have == size) {
            fprintf(stderr, "signer: what is kept as the key is too long for one\n");
            return -1;
        }
    }
    return n < 0 ? fail("reading the kept key", err) : (ssize_t)have;
}

/* The kept key as it is sealed. Returns its length; 0: none is kept; -1: that is not known. */
static ssize_t fetch(struct postern *door, unsigned char *sealed, size_t size)
{
    struct postern_request_options options;
    struct postern_request *request;
    struct postern_error err;
    ssize_t length;

    postern_request_options_init(&options);
    options.path = PATH;
    if (postern_request(door, ROUTE, &options, &request, &err) < 0) {
        return fail("asking for the kept key", &err);
    }
    int status = postern_request_status(request, PATIENCE_MS, &err);
    if (status == 200) {
        length = read_body(request, sealed, size, &err);
        if (length == 0) {
            fprintf(stderr, "signer: what is kept as the key is empty\n");
            length = -1;
        }
    } else if (status == 404) {
        length = 0;
    } else if (status < 0) {
        length = fail("asking for the kept key", &err);
    } else {
        fprintf(stderr, "signer: asking for the kept key: the store answers %d\n", status);
        length = -1;
    }
    postern_request_close(request);
    return length;
}

static int keep(struct postern *door, const void *sealed, size_t length)
{
    /* Two enclaves that start at once: the second one is refused, and finds the first one's key at its next start. */
    static const struct postern_header headers[] = {{"if-none-match", "*"},
                                                    {"content-type", "application/octet-stream"}};
    struct postern_request_options options;
    struct postern_request *request;
    struct postern_error err;

    postern_request_options_init(&options);
    options.method = "PUT";
    options.path = PATH;
    options.headers = headers;
    options.header_count = sizeof headers / sizeof headers[0];
    options.body_length = length;
    if (postern_request(door, ROUTE, &options, &request, &err) < 0) {
        return fail("keeping the key", &err);
    }
    /* Whatever goes wrong with the body, the answer tells it. */
    (void)postern_request_write(request, sealed, length, PATIENCE_MS, &err);
    (void)postern_request_finish(request, &err);
    int status = postern_request_status(request, PATIENCE_MS, &err);
    postern_request_close(request);
    if (status < 0) {
        return fail("keeping the key", &err);
    }
    if (status != 200 && status != 201 && status != 204) {
        fprintf(stderr, "signer: keeping the key: the store answers %d\n", status);
        return -1;
    }
    return 0;
}

/* Of PKCS #8. */
static EVP_PKEY *parse(const struct postern_secret *secret)
{
    const unsigned char *at = secret->data;
    EVP_PKEY *key = d2i_AutoPrivateKey(NULL, &at, (long)secret->length);

    if (!key || !EVP_PKEY_is_a(key, "EC")) {
        fprintf(stderr, "signer: what KMS gave is no key of an elliptic curve\n");
        EVP_PKEY_free(key);
        return NULL;
    }
    return key;
}

static EVP_PKEY *open_kept(struct postern_kms *kms, const char *kms_key, const unsigned char *sealed,
                           size_t length)
{
    struct postern_kms_decrypt_request request;
    struct postern_secret secret;
    struct postern_error err;

    postern_kms_decrypt_request_init(&request);
    request.ciphertext = sealed;
    request.ciphertext_length = length;
    request.key_id = kms_key;
    request.call.context = purpose;
    request.call.context_count = 1;
    if (postern_kms_decrypt(kms, &request, &secret, &err) < 0) {
        fail("opening the kept key", &err);
        return NULL;
    }
    EVP_PKEY *key = parse(&secret);
    postern_secret_wipe(&secret);
    return key;
}

/* Used only once it is kept: else what it signed could not be signed again after a restart. */
static EVP_PKEY *make(struct postern *door, struct postern_kms *kms, const char *kms_key)
{
    struct postern_kms_data_key_pair_request request;
    struct postern_kms_data_key_pair pair;
    struct postern_error err;
    EVP_PKEY *key = NULL;

    postern_kms_data_key_pair_request_init(&request);
    request.key_id = kms_key;
    request.key_pair_spec = "ECC_NIST_P256";
    request.call.context = purpose;
    request.call.context_count = 1;
    if (postern_kms_generate_data_key_pair(kms, &request, &pair, &err) < 0) {
        fail("making a key", &err);
        return NULL;
    }
    if (keep(door, pair.private_key_ciphertext, pair.private_key_ciphertext_length) == 0) {
        key = parse(&pair.private_key);
    }
    postern_kms_data_key_pair_release(&pair);
    return key;
}

EVP_PKEY *key_get(struct postern *door, struct postern_kms *kms, const char *kms_key)
{
    unsigned char sealed[SEALED_MAX + 1];
    ssize_t length = fetch(door, sealed, sizeof sealed);
    EVP_PKEY *key = NULL;

    if (length >= 0) {
        key = length > 0 ? open_kept(kms, kms_key, sealed, (size_t)length) : make(door, kms, kms_key);
    }
    if (key) {
        printf("signer: the key was %s\n", length > 0 ? "opened" : "made");
    }
    return key;
}
