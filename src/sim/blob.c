/* Ciphertexts: see blob.h. */
#include "sim/blob.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>

#define MAGIC      "PSIM\x01"
#define MAGIC_SIZE 5
#define NONCE      12
#define TAG        16

/* Of the part before the nonce. 0: it is none of ours. */
static size_t head_size(const struct sim_bytes *blob)
{
    if (blob->size < MAGIC_SIZE + 1 || memcmp(blob->data, MAGIC, MAGIC_SIZE) != 0) {
        return 0;
    }
    size_t id = blob->data[MAGIC_SIZE];
    size_t head = MAGIC_SIZE + 1 + id;
    return id > 0 && id < SIM_BLOB_ID && blob->size > head + NONCE + TAG ? head : 0;
}

bool sim_blob_key_id(const struct sim_bytes *blob, char ret[SIM_BLOB_ID])
{
    size_t head = head_size(blob);

    if (head == 0) {
        return false;
    }
    memcpy(ret, blob->data + MAGIC_SIZE + 1, head - MAGIC_SIZE - 1);
    ret[head - MAGIC_SIZE - 1] = '\0';
    return true;
}

/* The cipher, with key, nonce and what is authenticated beside the data. */
static EVP_CIPHER_CTX *begin(bool seal, const uint8_t key[SIM_BLOB_KEY], const uint8_t *nonce,
                             const struct text *bound)
{
    EVP_CIPHER_CTX *cipher = EVP_CIPHER_CTX_new();
    int n;

    if (cipher && EVP_CipherInit_ex(cipher, EVP_aes_256_gcm(), NULL, key, nonce, seal) == 1 &&
        EVP_CipherUpdate(cipher, NULL, &n, (const uint8_t *)text_string(bound), (int)bound->length) == 1) {
        return cipher;
    }
    EVP_CIPHER_CTX_free(cipher);
    return NULL;
}

static int bind(struct text *bound, const uint8_t *head, size_t size, const struct sim_context *context)
{
    text_add_bytes(bound, head, size);
    sim_context_add(context, bound);
    return bound->failed ? -ENOMEM : 0;
}

static void write_head(uint8_t *blob, const char *key_id)
{
    for (const char *magic = MAGIC; *magic != '\0'; magic++) {
        *blob++ = (uint8_t)*magic;
    }
    *blob++ = (uint8_t)strlen(key_id);
    for (; *key_id != '\0'; key_id++) {
        *blob++ = (uint8_t)*key_id;
    }
}

int sim_blob_seal(const uint8_t key[SIM_BLOB_KEY], const char *key_id, const struct sim_context *context,
                  const void *data, size_t size, struct sim_bytes *ret)
{
    struct text bound = TEXT_INIT;
    size_t head = MAGIC_SIZE + 1 + strlen(key_id);
    uint8_t *blob = malloc(head + NONCE + size + TAG);
    int n, rest, rv = blob ? 0 : -ENOMEM;

    if (rv == 0) {
        write_head(blob, key_id);
        rv = bind(&bound, blob, head, context);
    }
    if (rv == 0 && RAND_bytes(blob + head, NONCE) != 1) {
        rv = -EIO;
    }
    if (rv == 0) {
        EVP_CIPHER_CTX *cipher = begin(true, key, blob + head, &bound);
        uint8_t *out = blob + head + NONCE;
        rv = cipher && EVP_CipherUpdate(cipher, out, &n, data, (int)size) == 1 &&
                     EVP_CipherFinal_ex(cipher, out + n, &rest) == 1 &&
                     EVP_CIPHER_CTX_ctrl(cipher, EVP_CTRL_AEAD_GET_TAG, TAG, out + size) == 1
                 ? 0
                 : -EIO;
        EVP_CIPHER_CTX_free(cipher);
    }
    text_release(&bound);
    if (rv != 0) {
        free(blob);
        return rv;
    }
    *ret = (struct sim_bytes){blob, head + NONCE + size + TAG};
    return 0;
}

int sim_blob_open(const uint8_t key[SIM_BLOB_KEY], const struct sim_context *context,
                  const struct sim_bytes *blob, struct sim_bytes *ret)
{
    struct text bound = TEXT_INIT;
    size_t head = head_size(blob), size = head > 0 ? blob->size - head - NONCE - TAG : 0;
    uint8_t *data = head > 0 ? malloc(size) : NULL;
    int n, rest, rv = head == 0 ? -EBADMSG : data ? bind(&bound, blob->data, head, context) : -ENOMEM;

    if (rv == 0) {
        EVP_CIPHER_CTX *cipher = begin(false, key, blob->data + head, &bound);
        const uint8_t *in = blob->data + head + NONCE;
        rv = cipher && EVP_CipherUpdate(cipher, data, &n, in, (int)size) == 1 &&
                     EVP_CIPHER_CTX_ctrl(cipher, EVP_CTRL_AEAD_SET_TAG, TAG, (void *)(in + size)) == 1 &&
                     EVP_CipherFinal_ex(cipher, data + n, &rest) == 1
                 ? 0
                 : -EBADMSG;
        EVP_CIPHER_CTX_free(cipher);
    }
    ERR_clear_error();
    text_release(&bound);
    if (rv != 0) {
        free(data);
        return rv;
    }
    *ret = (struct sim_bytes){data, size};
    return 0;
}
