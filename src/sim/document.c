/* Attestation documents: see document.h. */
#include "sim/document.h"
#include "sim/cbor.h"

#include <errno.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <string.h>

#define ES384    (-35)
#define UNSIGNED 64 /* bytes in the place of a signature, from an NSM that has no key */

static void add_given(struct text *out, const char *name, const struct attest_bytes *value, bool left_out)
{
    if (value->data) {
        sim_cbor_text(out, name);
        sim_cbor_bytes(out, value->data, value->size);
    } else if (!left_out) {
        sim_cbor_text(out, name);
        sim_cbor_null(out);
    }
}

static size_t count_given(const struct sim_document *document)
{
    return document->nulls_left_out ? (size_t)(document->public_key.data != NULL) +
                                          (document->user_data.data != NULL) + (document->nonce.data != NULL)
                                    : 3;
}

static size_t count_entries(const struct sim_document *document)
{
    return (size_t)(document->module_id != NULL) + (document->digest != NULL) +
           (document->timestamp_ms != 0) + !document->no_pcrs + !document->no_certificate +
           !document->no_bundle + count_given(document) + document->stranger + (document->twice != NULL);
}

static void add_pcrs(struct text *out, const struct sim_document *document)
{
    size_t count = 0;

    for (unsigned i = 0; i < ATTEST_PCRS; i++) {
        count += document->pcrs[i].data != NULL;
    }
    sim_cbor_text(out, "pcrs");
    sim_cbor_map(out, count);
    for (unsigned i = 0; i < ATTEST_PCRS; i++) {
        if (document->pcrs[i].data) {
            sim_cbor_uint(out, i);
            sim_cbor_bytes(out, document->pcrs[i].data, document->pcrs[i].size);
        }
    }
}

static void add_bundle(struct text *out, const struct sim_document *document, const struct sim_papers *papers)
{
    const struct attest_bytes *last = &papers->bundle[papers->bundle_count - 1];

    sim_cbor_text(out, "cabundle");
    sim_cbor_array(out, papers->bundle_count + document->bundle_repeats);
    for (unsigned i = 0; i < papers->bundle_count; i++) {
        sim_cbor_bytes(out, papers->bundle[i].data, papers->bundle[i].size);
    }
    for (unsigned i = 0; i < document->bundle_repeats; i++) {
        sim_cbor_bytes(out, last->data, last->size);
    }
}

static void add_head(struct text *out, const struct sim_document *document)
{
    if (document->module_id) {
        sim_cbor_text(out, "module_id");
        sim_cbor_text(out, document->module_id);
    }
    if (document->digest) {
        sim_cbor_text(out, "digest");
        sim_cbor_text(out, document->digest);
    }
    if (document->timestamp_ms) {
        sim_cbor_text(out, "timestamp");
        sim_cbor_ms(out, document->timestamp_ms);
    }
}

static void add_oddities(struct text *out, const struct sim_document *document)
{
    if (document->stranger) {
        sim_cbor_text(out, "model");
        sim_cbor_text(out, "m7i");
    }
    if (document->twice) {
        sim_cbor_text(out, document->twice);
        sim_cbor_null(out);
    }
}

/* In the order that genuine ones have. */
static void add_payload(struct text *out, const struct sim_document *document,
                        const struct sim_papers *papers)
{
    sim_cbor_map(out, document->open_map ? SIM_CBOR_OPEN : count_entries(document));
    add_head(out, document);
    if (!document->no_pcrs) {
        add_pcrs(out, document);
    }
    if (!document->no_certificate) {
        sim_cbor_text(out, "certificate");
        sim_cbor_bytes(out, papers->leaf.data, papers->leaf.size);
    }
    if (!document->no_bundle) {
        add_bundle(out, document, papers);
    }
    add_given(out, "public_key", &document->public_key, document->nulls_left_out);
    add_given(out, "user_data", &document->user_data, document->nulls_left_out);
    add_given(out, "nonce", &document->nonce, document->nulls_left_out);
    add_oddities(out, document);
    if (document->open_map) {
        sim_cbor_end(out);
    }
}

static void add_header(struct text *out, const struct sim_document *document)
{
    int algorithm = document->algorithm_none ? -1 : document->algorithm ? document->algorithm : ES384;

    sim_cbor_map(out, 1);
    sim_cbor_uint(out, 1);
    sim_cbor_negative(out, algorithm);
}

/* ---- The signature ---- */

/* COSE has r and s side by side. */
static bool split(const uint8_t *der, size_t size, uint8_t signature[ATTEST_SIGNATURE])
{
    const int half = ATTEST_SIGNATURE / 2;
    ECDSA_SIG *both = d2i_ECDSA_SIG(NULL, &der, (long)size);
    bool good = both && BN_bn2binpad(ECDSA_SIG_get0_r(both), signature, half) == half &&
                BN_bn2binpad(ECDSA_SIG_get0_s(both), signature + half, half) == half;

    ECDSA_SIG_free(both);
    return good;
}

static int sign(EVP_PKEY *key, const struct text *signed_, uint8_t signature[ATTEST_SIGNATURE])
{
    EVP_MD_CTX *digest = EVP_MD_CTX_new();
    uint8_t der[160];
    size_t size = sizeof der;
    bool good = digest && EVP_DigestSignInit(digest, NULL, EVP_sha384(), NULL, key) == 1 &&
                EVP_DigestSign(digest, der, &size, (const uint8_t *)signed_->data, signed_->length) == 1 &&
                split(der, size, signature);

    EVP_MD_CTX_free(digest);
    ERR_clear_error();
    return good ? 0 : -EIO;
}

/* ["Signature1", protected, h'', payload] (RFC 9052, 4.4) */
static int sign_parts(EVP_PKEY *key, const struct text *header, const struct text *payload,
                      uint8_t signature[ATTEST_SIGNATURE])
{
    struct text all = TEXT_INIT;

    sim_cbor_array(&all, 4);
    sim_cbor_text(&all, "Signature1");
    sim_cbor_bytes(&all, header->data, header->length);
    sim_cbor_bytes(&all, "", 0);
    sim_cbor_bytes(&all, payload->data, payload->length);
    int rv = all.failed ? -ENOMEM : sign(key, &all, signature);
    text_release(&all);
    return rv;
}

static void add_clear_header(struct text *out, bool something)
{
    sim_cbor_map(out, something);
    if (something) {
        sim_cbor_uint(out, 4);
        sim_cbor_uint(out, 1);
    }
}

int sim_document_sign(const struct sim_document *document, const struct sim_papers *papers, struct text *out)
{
    uint8_t signature[ATTEST_SIGNATURE] = {0};
    struct text header = TEXT_INIT, payload = TEXT_INIT;
    int rv = 0;

    add_header(&header, document);
    add_payload(&payload, document, papers);
    if (header.failed || payload.failed) {
        rv = -ENOMEM;
    } else if (!document->algorithm_none) {
        rv = sign_parts(papers->key, &header, &payload, signature);
    }
    if (document->tagged) {
        text_add_char(out, (char)0xd2);
    }
    sim_cbor_array(out, 4);
    sim_cbor_bytes(out, header.data, header.length);
    add_clear_header(out, document->header_in_clear);
    sim_cbor_bytes(out, payload.data, payload.length);
    sim_cbor_bytes(out, signature, document->algorithm_none ? UNSIGNED : sizeof signature);
    text_release(&header);
    text_release(&payload);
    return rv == 0 && out->failed ? -ENOMEM : rv;
}
