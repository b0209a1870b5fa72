/* Attestation documents, verified: see verify.h. */
#include "attest/verify.h"

#include "attest/es384.h"
#include <errno.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <string.h>

/* 64:1A:03:21:A3:E2:44:EF:E4:56:46:31:95:D6:06:31:7E:D7:CD:CC:3C:17:56:E0:98:93:F3:C6:8F:79:BB:5B */
const uint8_t attest_aws_root[ATTEST_FINGERPRINT] = {0x64, 0x1a, 0x03, 0x21, 0xa3, 0xe2, 0x44, 0xef,
                                                     0xe4, 0x56, 0x46, 0x31, 0x95, 0xd6, 0x06, 0x31,
                                                     0x7e, 0xd7, 0xcd, 0xcc, 0x3c, 0x17, 0x56, 0xe0,
                                                     0x98, 0x93, 0xf3, 0xc6, 0x8f, 0x79, 0xbb, 0x5b};

static int rejected(struct error *err, const char *what)
{
    return error_set(err, -EKEYREJECTED, "the attestation document is not to be believed: %s", what);
}

static int no_memory(struct error *err)
{
    return error_set(err, -ENOMEM, "cannot verify the attestation document: out of memory");
}

/* ---- The chain ---- */

struct chain {
    X509 *leaf, *root;
    STACK_OF(X509) * between;
    X509_STORE *store;
    X509_STORE_CTX *context;
};

static void release_chain(struct chain *chain)
{
    X509_STORE_CTX_free(chain->context);
    X509_STORE_free(chain->store);
    sk_X509_pop_free(chain->between, X509_free);
    X509_free(chain->root);
    X509_free(chain->leaf);
}

/* One certificate, and nothing behind it. NULL: it is none. */
static X509 *read_certificate(const struct attest_bytes *der)
{
    const uint8_t *at = der->data;
    X509 *certificate = d2i_X509(NULL, &at, (long)der->size);

    if (certificate && at != der->data + der->size) {
        X509_free(certificate);
        certificate = NULL;
    }
    return certificate;
}

static int read_between(const struct attest_document *document, struct chain *chain, struct error *err)
{
    chain->between = sk_X509_new_null();
    if (!chain->between) {
        return no_memory(err);
    }
    for (unsigned i = 1; i < document->bundle_count; i++) {
        X509 *certificate = read_certificate(&document->bundle[i]);
        if (!certificate) {
            return rejected(err, "a certificate of its chain is malformed");
        }
        if (!sk_X509_push(chain->between, certificate)) {
            X509_free(certificate);
            return no_memory(err);
        }
    }
    return 0;
}

/* The root stands in the document itself, and is taken only if it is the one that is known. */
static int read_root(const struct attest_document *document, const uint8_t known[ATTEST_FINGERPRINT],
                     struct chain *chain, struct error *err)
{
    uint8_t fingerprint[SHA256_DIGEST_LENGTH];

    SHA256(document->bundle[0].data, document->bundle[0].size, fingerprint);
    if (memcmp(fingerprint, known, sizeof fingerprint) != 0) {
        return rejected(err, "its chain begins at another root than the one that is trusted");
    }
    chain->root = read_certificate(&document->bundle[0]);
    return chain->root ? 0 : rejected(err, "its root certificate is malformed");
}

/* One that may sign, and may not certify. */
static int read_leaf(const struct attest_document *document, struct chain *chain, struct error *err)
{
    chain->leaf = read_certificate(&document->certificate);
    if (!chain->leaf) {
        return rejected(err, "its certificate is malformed");
    }
    uint32_t flags = X509_get_extension_flags(chain->leaf);
    if (flags & EXFLAG_CA || !(flags & EXFLAG_KUSAGE) ||
        !(X509_get_key_usage(chain->leaf) & KU_DIGITAL_SIGNATURE)) {
        return rejected(err, "its certificate is not one for signatures");
    }
    return 0;
}

static int prepare_chain(struct chain *chain, time_t at, struct error *err)
{
    chain->store = X509_STORE_new();
    chain->context = X509_STORE_CTX_new();
    if (!chain->store || !chain->context || !X509_STORE_add_cert(chain->store, chain->root) ||
        !X509_STORE_CTX_init(chain->context, chain->store, chain->leaf, chain->between)) {
        return no_memory(err);
    }
    /* X509_V_FLAG_X509_STRICT asks for key identifiers, which genuine certificates lack. */
    X509_STORE_CTX_set_time(chain->context, 0, at);
    return 0;
}

static int judge_chain(struct chain *chain, struct error *err)
{
    if (X509_verify_cert(chain->context) == 1) {
        return 0;
    }
    int code = X509_STORE_CTX_get_error(chain->context);
    if (code == X509_V_ERR_OUT_OF_MEM) {
        return no_memory(err);
    }
    bool time = code == X509_V_ERR_CERT_HAS_EXPIRED || code == X509_V_ERR_CERT_NOT_YET_VALID;
    return error_set(err, time ? -EKEYEXPIRED : -EKEYREJECTED,
                     "the attestation document is not to be believed: its certificate chain, at depth %d: %s",
                     X509_STORE_CTX_get_error_depth(chain->context), X509_verify_cert_error_string(code));
}

static int verify_chain(const struct attest_document *document, const struct attest_expected *expected,
                        struct chain *chain, struct error *err)
{
    time_t at = expected->at_timestamp ? (time_t)(document->timestamp_ms / 1000) : expected->at;
    int rv = read_root(document, expected->root, chain, err);

    if (rv == 0) {
        rv = read_between(document, chain, err);
    }
    if (rv == 0) {
        rv = read_leaf(document, chain, err);
    }
    if (rv == 0) {
        rv = prepare_chain(chain, at, err);
    }
    return rv == 0 ? judge_chain(chain, err) : rv;
}

/* ---- The signature ---- */

/* The head of a byte string of that size, as deterministic CBOR has it. */
static size_t string_head(size_t size, uint8_t head[3])
{
    if (size < 24) {
        head[0] = (uint8_t)(0x40 | size);
        return 1;
    }
    if (size < 256) {
        head[0] = 0x58;
        head[1] = (uint8_t)size;
        return 2;
    }
    head[0] = 0x59;
    head[1] = (uint8_t)(size >> 8);
    head[2] = (uint8_t)size;
    return 3;
}

/* What was signed: ["Signature1", protected, h'', payload] (RFC 9052, 4.4). */
static int verify_signature(const struct attest_document *document, X509 *leaf, struct error *err)
{
    static const uint8_t begin[] = "\x84\x6aSignature1";
    static const uint8_t nothing[] = {0x40};
    const struct attest_bytes *header = &document->protected_header, *payload = &document->payload;
    uint8_t header_head[3], payload_head[3];
    const struct attest_bytes parts[] = {
        {.data = begin, .size = sizeof begin - 1},
        {.data = header_head, .size = string_head(header->size, header_head)},
        *header,
        {.data = nothing, .size = sizeof nothing},
        {.data = payload_head, .size = string_head(payload->size, payload_head)},
        *payload,
    };
    EVP_PKEY *key = X509_get0_pubkey(leaf);

    if (!key) {
        return rejected(err, "its certificate's key cannot be read");
    }
    int rv = es384_verify(key, parts, ARRAY_SIZE(parts), &document->signature);
    if (rv == -ENOMEM) {
        return no_memory(err);
    }
    return rv == 0
               ? 0
               : rejected(err, "its signature does not hold, or its certificate's key is not one of P-384");
}

/* ---- The contents ---- */

static int unexpected(struct error *err, const char *what)
{
    return error_set(err, -EPERM, "the attestation document is genuine, and not the one that is expected: %s",
                     what);
}

static bool is_same(const struct attest_bytes *is, const struct attest_bytes *wanted)
{
    return !wanted->data ||
           (is->data && is->size == wanted->size && !memcmp(is->data, wanted->data, is->size));
}

static int check_pcrs(const struct attest_document *document, const struct attest_expected *expected,
                      struct error *err)
{
    if (!document->pcrs[0].data) {
        return unexpected(err, "it has no PCR0");
    }
    if (!expected->debug_too && attest_pcr_is_zero(document, 0)) {
        return unexpected(err, "its enclave runs in debug mode, where the parent reads its console");
    }
    for (unsigned i = 0; i < ATTEST_PCRS; i++) {
        if (!is_same(&document->pcrs[i], &expected->pcrs[i])) {
            return error_set(
                err, -EPERM,
                "the attestation document is genuine, and not the one that is expected: PCR%u is "
                "%s",
                i, document->pcrs[i].data ? "another" : "not there");
        }
    }
    return 0;
}

static int check_age(const struct attest_document *document, const struct attest_expected *expected,
                     struct error *err)
{
    uint64_t at = (uint64_t)expected->at * 1000;

    if (expected->max_age_ms > 0 && !expected->at_timestamp && at > document->timestamp_ms &&
        at - document->timestamp_ms > expected->max_age_ms) {
        return unexpected(err, "it is too old");
    }
    return 0;
}

static int check_contents(const struct attest_document *document, const struct attest_expected *expected,
                          struct error *err)
{
    int rv = check_pcrs(document, expected, err);

    if (rv == 0) {
        rv = check_age(document, expected, err);
    }
    if (rv == 0 && !is_same(&document->nonce, &expected->nonce)) {
        rv = unexpected(err, "its nonce is another");
    }
    if (rv == 0 && !is_same(&document->user_data, &expected->user_data)) {
        rv = unexpected(err, "its user data is other");
    }
    if (rv == 0 && !is_same(&document->public_key, &expected->public_key)) {
        rv = unexpected(err, "its public key is another");
    }
    return rv;
}

void attest_expect(struct attest_expected *expected, time_t now)
{
    memset(expected, 0, sizeof *expected);
    memcpy(expected->root, attest_aws_root, sizeof expected->root);
    expected->at = now;
}

int attest_verify(const struct attest_document *document, const struct attest_expected *expected,
                  struct error *err)
{
    struct chain chain = {.leaf = NULL};
    int rv = 0;

    if (document->algorithm == ATTEST_ES384) {
        rv = verify_chain(document, expected, &chain, err);
        if (rv == 0) {
            rv = verify_signature(document, chain.leaf, err);
        }
        release_chain(&chain);
        ERR_clear_error();
    } else if (!expected->unsigned_too) {
        rv = rejected(err, "nobody has signed it");
    }
    return rv == 0 ? check_contents(document, expected, err) : rv;
}
