/* ECDSA as COSE has it: see es384.h. */
#include "attest/es384.h"

#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <string.h>

#define SCALAR 48 /* bytes of r, and of s */

static bool is_p384(EVP_PKEY *key)
{
    char name[32];

    return EVP_PKEY_get_utf8_string_param(key, OSSL_PKEY_PARAM_GROUP_NAME, name, sizeof name, NULL) == 1 &&
           strcmp(name, "secp384r1") == 0;
}

/* COSE has r and s side by side, OpenSSL wants them in DER. Returns its size; 0: out of memory. */
static size_t der_signature(const struct attest_bytes *signature, uint8_t **ret)
{
    ECDSA_SIG *both = ECDSA_SIG_new();
    BIGNUM *r = BN_bin2bn(signature->data, SCALAR, NULL);
    BIGNUM *s = BN_bin2bn(signature->data + SCALAR, SCALAR, NULL);
    int size = 0;

    *ret = NULL;
    if (both && r && s && ECDSA_SIG_set0(both, r, s)) {
        r = s = NULL;
        size = i2d_ECDSA_SIG(both, ret);
    }
    BN_free(r);
    BN_free(s);
    ECDSA_SIG_free(both);
    return size > 0 ? (size_t)size : 0;
}

static bool add_parts(EVP_MD_CTX *digest, const struct attest_bytes *parts, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (EVP_DigestVerifyUpdate(digest, parts[i].data, parts[i].size) != 1) {
            return false;
        }
    }
    return true;
}

int es384_verify(EVP_PKEY *key, const struct attest_bytes *parts, size_t count,
                 const struct attest_bytes *signature)
{
    uint8_t *der = NULL;

    if (!is_p384(key) || signature->size != ATTEST_SIGNATURE) {
        return -EKEYREJECTED;
    }
    size_t size = der_signature(signature, &der);
    EVP_MD_CTX *digest = EVP_MD_CTX_new();
    int rv = -ENOMEM;
    if (size > 0 && digest && EVP_DigestVerifyInit(digest, NULL, EVP_sha384(), NULL, key) == 1 &&
        add_parts(digest, parts, count)) {
        rv = EVP_DigestVerifyFinal(digest, der, size) == 1 ? 0 : -EKEYREJECTED;
    }
    EVP_MD_CTX_free(digest);
    OPENSSL_free(der);
    return rv;
}
