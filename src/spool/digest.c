/* SHA-256 by OpenSSL. `struct digest` is its EVP_MD_CTX by another name. */
#include "spool/digest.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <pthread.h>

/* Looking it up takes longer than hashing a small record. */
static EVP_MD *sha256;

/* What OpenSSL said. Its thread's list of errors is left empty: whoever uses TLS on this thread looks into it. */
static int outcome(int said)
{
    if (said == 1) {
        return 0;
    }
    ERR_clear_error();
    return -ENOMEM;
}

int digest_prepare(void)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

    pthread_mutex_lock(&lock);
    if (!sha256) {
        sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    }
    pthread_mutex_unlock(&lock);
    return outcome(sha256 != NULL);
}

static EVP_MD_CTX *context_of(struct digest *digest)
{
    return (EVP_MD_CTX *)digest;
}

int digest_begin(struct digest **ret)
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();

    if (!context || EVP_DigestInit_ex(context, sha256, NULL) != 1) {
        EVP_MD_CTX_free(context);
        return outcome(0);
    }
    *ret = (struct digest *)context;
    return 0;
}

int digest_add(struct digest *digest, const void *data, size_t size)
{
    return outcome(EVP_DigestUpdate(context_of(digest), data, size));
}

int digest_end(struct digest *digest, uint8_t out[DIGEST_SIZE])
{
    return outcome(EVP_DigestFinal_ex(context_of(digest), out, NULL));
}

void digest_free(struct digest *digest)
{
    EVP_MD_CTX_free(context_of(digest));
}

int digest_of(const void *data, size_t size, uint8_t out[DIGEST_SIZE])
{
    return outcome(EVP_Digest(data, size, out, NULL, sha256, NULL));
}

int digest_add_number(struct digest *digest, uint64_t number)
{
    uint8_t bytes[8];

    for (int i = 0; i < 8; i++) {
        bytes[i] = (uint8_t)(number >> (56 - 8 * i));
    }
    return digest_add(digest, bytes, sizeof(bytes));
}

int digest_add_field(struct digest *digest, const void *data, size_t size)
{
    int r = digest_add_number(digest, size);

    return r < 0 ? r : digest_add(digest, data, size);
}
