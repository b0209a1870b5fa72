/*
 * Requests, a line each:
 *
 *     key               ok PUBLIC-KEY                  SubjectPublicKeyInfo, DER, in base64
 *     sign DIGEST BY    ok SIGNATURE                   ECDSA, DER, in base64
 *     attest            ok DOCUMENT                    says that this public key is of an enclave of these measurements; in base64
 *     anything else     error WORDS
 *
 * DIGEST is a SHA-256 in lower-case hex, and BY the requester's signature, in base64, of `postern-example-signer sign DIGEST`. The
 * parent carries the requests, and could make some of its own; those it cannot sign. One that it repeats is answered with a signature of what
 * was signed before.
 */
#include "signer.h"

#include <openssl/x509.h>
#include <stdio.h>
#include <string.h>

#define SIGNATURE_MAX 384 /* of a requester: RSA of 3072 bits, any elliptic curve, Ed25519 */
#define PREFIX        "postern-example-signer sign "

static size_t say(char *reply, const char *text)
{
    return (size_t)snprintf(reply, REPLY_SIZE, "%s", text);
}

static size_t say_bytes(char *reply, const unsigned char *bytes, size_t length)
{
    if (4 * ((length + 2) / 3) + sizeof "ok " > REPLY_SIZE) {
        return say(reply, "error the answer is too long");
    }
    memcpy(reply, "ok ", 3);
    return 3 + (size_t)EVP_EncodeBlock((unsigned char *)reply + 3, bytes, (int)length);
}

static size_t tell_key(const struct signer *signer, char *reply)
{
    unsigned char *der = NULL;
    int length = i2d_PUBKEY(signer->key, &der);

    if (length <= 0) {
        return say(reply, "error the key cannot be told");
    }
    size_t size = say_bytes(reply, der, (size_t)length);
    OPENSSL_free(der);
    return size;
}

static bool parse_digest(const char *hex, unsigned char digest[DIGEST_SIZE])
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < DIGEST_SIZE; i++) {
        const char *high = memchr(digits, hex[2 * i], 16), *low = memchr(digits, hex[2 * i + 1], 16);
        if (!high || !low) {
            return false;
        }
        digest[i] = (unsigned char)((high - digits) << 4 | (low - digits));
    }
    return true;
}

/* Base64 of one spelling: whole groups, with padding. Returns the length, 0 if it is none or too long. */
static size_t parse_base64(const char *text, unsigned char *bytes, size_t size)
{
    size_t length = strlen(text);

    if (length == 0 || length % 4 != 0 || length / 4 * 3 > size ||
        strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=") != length) {
        return 0;
    }
    int n = EVP_DecodeBlock(bytes, (const unsigned char *)text, (int)length);
    size_t padding = (size_t)(text[length - 1] == '=') + (size_t)(text[length - 2] == '=');
    return n < 0 ? 0 : (size_t)n - padding;
}

static bool is_authorised(EVP_PKEY *requester, const char *digest, const char *by)
{
    unsigned char signature[SIGNATURE_MAX];
    char text[sizeof PREFIX + 2 * DIGEST_SIZE];
    size_t length = parse_base64(by, signature, sizeof signature);
    int size = snprintf(text, sizeof text, PREFIX "%.*s", 2 * DIGEST_SIZE, digest);
    EVP_MD_CTX *context = EVP_MD_CTX_new();

    bool good = length > 0 && context && EVP_DigestVerifyInit(context, NULL, NULL, NULL, requester) == 1 &&
                EVP_DigestVerify(context, signature, length, (unsigned char *)text, (size_t)size) == 1;
    EVP_MD_CTX_free(context);
    return good;
}

static bool sign(EVP_PKEY *key, const unsigned char digest[DIGEST_SIZE], unsigned char *signature,
                 size_t *length)
{
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new(key, NULL);

    bool good = context && EVP_PKEY_sign_init(context) == 1 &&
                EVP_PKEY_CTX_set_signature_md(context, EVP_sha256()) == 1 &&
                EVP_PKEY_sign(context, signature, length, digest, DIGEST_SIZE) == 1;
    EVP_PKEY_CTX_free(context);
    return good;
}

static size_t answer_sign(const struct signer *signer, const char *arguments, char *reply)
{
    unsigned char digest[DIGEST_SIZE], signature[256];
    size_t length = sizeof signature;

    if (strlen(arguments) < 2 * DIGEST_SIZE + 2 || arguments[2 * DIGEST_SIZE] != ' ' ||
        !parse_digest(arguments, digest)) {
        return say(reply, "error a SHA-256 in hex and the requester's signature are expected");
    }
    if (!is_authorised(signer->requester, arguments, arguments + 2 * DIGEST_SIZE + 1)) {
        return say(reply, "error the requester did not sign this");
    }
    if (!sign(signer->key, digest, signature, &length)) {
        return say(reply, "error signing failed");
    }
    return say_bytes(reply, signature, length);
}

size_t answer(const struct signer *signer, const char *request, char *reply)
{
    if (strcmp(request, "key") == 0) {
        return tell_key(signer, reply);
    }
    if (strcmp(request, "attest") == 0) {
        return (size_t)snprintf(reply, REPLY_SIZE, "ok %s", signer->document);
    }
    if (strncmp(request, "sign ", 5) == 0) {
        return answer_sign(signer, request + 5, reply);
    }
    return say(reply, "error no such request");
}
