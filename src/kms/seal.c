/* The chunks of a sealed file, and the keys they are encrypted under: see seal.h. */
#include "kms/seal.h"

#include "kms/seal_private.h"
#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <string.h>

#define NONCE_SIZE 12
#define LAST_CHUNK 1

static int fail_crypto(struct error *err)
{
    ERR_clear_error();
    return error_set(err, -EIO, "the cryptographic library failed");
}

/* ---- Keys ---- */

int seal_derive(const uint8_t key[SEAL_KEY_SIZE], const uint8_t salt[SEAL_SALT_SIZE], struct seal_keys *ret)
{
    static char hash[] = "SHA256", info[] = "postern sealed file 1";
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, hash, 0),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, (void *)key, SEAL_KEY_SIZE),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT, (void *)salt, SEAL_SALT_SIZE),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, info, sizeof info - 1),
        OSSL_PARAM_construct_end(),
    };
    EVP_KDF *kdf = EVP_KDF_fetch(NULL, OSSL_KDF_NAME_HKDF, NULL);
    EVP_KDF_CTX *context = kdf != NULL ? EVP_KDF_CTX_new(kdf) : NULL;
    bool good = context != NULL && EVP_KDF_derive(context, (uint8_t *)ret, sizeof *ret, params) == 1;
    EVP_KDF_CTX_free(context);
    EVP_KDF_free(kdf);
    if (!good) {
        seal_keys_wipe(ret);
    }
    return good ? 0 : fail_crypto(NULL);
}

void seal_keys_wipe(struct seal_keys *keys)
{
    OPENSSL_cleanse(keys, sizeof *keys);
}

int seal_mac(const struct seal_keys *keys, const uint8_t *header, size_t size, uint8_t ret[SEAL_MAC_SIZE])
{
    unsigned length = 0;
    bool good = HMAC(EVP_sha256(), keys->header, SEAL_KEY_SIZE, header, size, ret, &length) != NULL;
    return good && length == SEAL_MAC_SIZE ? 0 : fail_crypto(NULL);
}

/* ---- Chunks ---- */

static int check_mac(struct seal_cipher *cipher, const struct seal_keys *keys, const uint8_t *header,
                     size_t size, struct error *err)
{
    size_t covered = size - SEAL_MAC_SIZE;
    if (seal_mac(keys, header, covered, cipher->mac) != 0) {
        return fail_crypto(err);
    }
    if (CRYPTO_memcmp(cipher->mac, header + covered, SEAL_MAC_SIZE) != 0) {
        return error_set(err, -EBADMSG,
                         "the header was changed since the file was sealed, or its data key is another");
    }
    return 0;
}

/* The cipher gets its key once, and a nonce with each chunk. */
static int start(struct seal_cipher *cipher, const struct seal_keys *keys, struct error *err)
{
    cipher->context = EVP_CIPHER_CTX_new();
    if (cipher->context == NULL ||
        EVP_CipherInit_ex(cipher->context, EVP_aes_256_gcm(), NULL, keys->chunks, NULL, 1) != 1) {
        return fail_crypto(err);
    }
    return 0;
}

int seal_cipher_init(struct seal_cipher *cipher, const uint8_t key[SEAL_KEY_SIZE], const uint8_t *header,
                     size_t size, struct error *err)
{
    struct seal_keys keys;
    *cipher = (struct seal_cipher){.context = NULL};
    if (size < SEAL_SALT_AT + SEAL_SALT_SIZE + SEAL_MAC_SIZE) {
        return error_set(err, -EBADMSG, "the header is cut off");
    }
    int r = seal_derive(key, header + SEAL_SALT_AT, &keys) != 0 ? fail_crypto(err)
                                                                : check_mac(cipher, &keys, header, size, err);
    if (r == 0) {
        r = start(cipher, &keys, err);
    }
    seal_keys_wipe(&keys);
    if (r != 0) {
        seal_cipher_release(cipher);
    }
    return r;
}

void seal_cipher_release(struct seal_cipher *cipher)
{
    EVP_CIPHER_CTX_free(cipher->context); /* wipes what was in it */
    OPENSSL_cleanse(cipher, sizeof *cipher);
}

/* Which chunk it is, and whether none follows. */
static void make_nonce(const struct seal_cipher *cipher, bool last, uint8_t ret[NONCE_SIZE])
{
    memset(ret, 0, NONCE_SIZE);
    for (unsigned i = 0; i < 8; i++) {
        ret[3 + i] = (uint8_t)(cipher->chunks >> (56 - 8 * i));
    }
    ret[NONCE_SIZE - 1] = last ? LAST_CHUNK : 0;
}

static bool begin_chunk(struct seal_cipher *cipher, bool last, bool sealing)
{
    uint8_t nonce[NONCE_SIZE];
    int length;
    make_nonce(cipher, last, nonce);
    return EVP_CipherInit_ex(cipher->context, NULL, NULL, NULL, nonce, sealing) == 1 &&
           EVP_CipherUpdate(cipher->context, NULL, &length, cipher->mac, SEAL_MAC_SIZE) == 1;
}

/* OpenSSL takes an update without bytes for the end. */
static bool pass(struct seal_cipher *cipher, const uint8_t *in, size_t size, uint8_t *out)
{
    int length = 0;
    return size == 0 ||
           (EVP_CipherUpdate(cipher->context, out, &length, in, (int)size) == 1 && length == (int)size);
}

/* There is one way to cut a plaintext into chunks. */
static bool has_right_size(const struct seal_cipher *cipher, size_t size, bool last)
{
    if (!last) {
        return size == SEAL_CHUNK_SIZE;
    }
    return size <= SEAL_CHUNK_SIZE && (size > 0 || cipher->chunks == 0);
}

static void end_chunk(struct seal_cipher *cipher, bool last)
{
    cipher->chunks++;
    cipher->over = last;
}

int seal_chunk(struct seal_cipher *cipher, const uint8_t *data, size_t size, bool last, uint8_t *out,
               struct error *err)
{
    uint8_t rest[SEAL_TAG_SIZE];
    int length = 0;
    if (cipher->over || !has_right_size(cipher, size, last)) {
        return error_set(err, -EINVAL, "cannot seal %zu bytes as chunk %ju", size, (uintmax_t)cipher->chunks);
    }
    if (cipher->chunks == SEAL_CHUNKS_MAX) {
        return error_set(err, -EFBIG, "cannot seal more than 256 TiB in one file: cut it in pieces");
    }
    if (!begin_chunk(cipher, last, true) || !pass(cipher, data, size, out) ||
        EVP_CipherFinal_ex(cipher->context, rest, &length) != 1 || length != 0 ||
        EVP_CIPHER_CTX_ctrl(cipher->context, EVP_CTRL_AEAD_GET_TAG, SEAL_TAG_SIZE, out + size) != 1) {
        return fail_crypto(err);
    }
    end_chunk(cipher, last);
    return 0;
}

static int refuse(const struct seal_cipher *cipher, struct error *err)
{
    ERR_clear_error();
    return error_set(err, -EBADMSG,
                     "the file is not as it was sealed: chunk %ju was changed, is not in its place, or what "
                     "follows it was "
                     "cut off or added",
                     (uintmax_t)cipher->chunks);
}

int seal_open_chunk(struct seal_cipher *cipher, const uint8_t *sealed, size_t size, bool last, uint8_t *out,
                    struct error *err)
{
    uint8_t rest[SEAL_TAG_SIZE], tag[SEAL_TAG_SIZE];
    int length = 0;
    if (cipher->over || size < SEAL_TAG_SIZE || !has_right_size(cipher, size - SEAL_TAG_SIZE, last) ||
        cipher->chunks == SEAL_CHUNKS_MAX) {
        return refuse(cipher, err);
    }
    size -= SEAL_TAG_SIZE;
    memcpy(tag, sealed + size, SEAL_TAG_SIZE);
    if (!begin_chunk(cipher, last, false) || !pass(cipher, sealed, size, out) ||
        EVP_CIPHER_CTX_ctrl(cipher->context, EVP_CTRL_AEAD_SET_TAG, SEAL_TAG_SIZE, tag) != 1) {
        OPENSSL_cleanse(out, size);
        return fail_crypto(err);
    }
    if (EVP_CipherFinal_ex(cipher->context, rest, &length) != 1 || length != 0) {
        OPENSSL_cleanse(out, size);
        return refuse(cipher, err);
    }
    end_chunk(cipher, last);
    return 0;
}
