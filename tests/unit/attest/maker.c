/* Attestation documents for tests: see maker.h. */
#include "maker.h"

#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/sha.h>
#include <openssl/x509v3.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cbor.h>
#include <cmocka.h>

#define HOUR 3600L

/* ---- Certificates ---- */

struct paper {
    const char *name, *issuer;
    EVP_PKEY *key, *signer;
    const char *constraints, *usage; /* NULL: none */
    long from, to;
};

static void add_name(X509_NAME *name, const char *text)
{
    assert_int_equal(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)text, -1, -1,
                                                0),
                     1);
}

static void add_extension(X509 *certificate, int nid, const char *value)
{
    if (value) {
        X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, nid, value);
        assert_non_null(extension);
        assert_int_equal(X509_add_ext(certificate, extension, -1), 1);
        X509_EXTENSION_free(extension);
    }
}

static int certify(const struct paper *paper, uint8_t **ret)
{
    static long serial = 1;
    X509 *certificate = X509_new();

    assert_non_null(certificate);
    X509_set_version(certificate, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), serial++);
    ASN1_TIME_set(X509_getm_notBefore(certificate), MAKER_NOW + paper->from);
    ASN1_TIME_set(X509_getm_notAfter(certificate), MAKER_NOW + paper->to);
    add_name(X509_get_subject_name(certificate), paper->name);
    add_name(X509_get_issuer_name(certificate), paper->issuer);
    X509_set_pubkey(certificate, paper->key);
    add_extension(certificate, NID_basic_constraints, paper->constraints);
    add_extension(certificate, NID_key_usage, paper->usage);
    assert_true(X509_sign(certificate, paper->signer, EVP_sha384()) > 0);
    *ret = NULL;
    int size = i2d_X509(certificate, ret);
    assert_true(size > 0);
    X509_free(certificate);
    return size;
}

void maker_chain_make(struct maker_chain *chain, const struct maker_kind *kind)
{
    bool own_time = kind->leaf_from != 0 || kind->leaf_to != 0;

    chain->root_key = EVP_EC_gen("P-384");
    chain->between_key = EVP_EC_gen("P-384");
    chain->leaf_key = EVP_EC_gen(kind->curve ? kind->curve : "P-384");
    assert_true(chain->root_key && chain->between_key && chain->leaf_key);
    chain->root_size = certify(&(struct paper){.name = "root",
                                               .issuer = "root",
                                               .key = chain->root_key,
                                               .signer = chain->root_key,
                                               .constraints = "critical,CA:TRUE",
                                               .usage = "critical,keyCertSign,cRLSign",
                                               .from = -12 * HOUR,
                                               .to = 12 * HOUR},
                               &chain->root);
    chain->between_size =
        certify(&(struct paper){.name = "between",
                                .issuer = "root",
                                .key = chain->between_key,
                                .signer = chain->root_key,
                                .constraints = kind->between_is_no_ca ? "critical,CA:FALSE"
                                                                      : "critical,CA:TRUE,pathlen:0",
                                .usage = "critical,keyCertSign",
                                .from = -12 * HOUR,
                                .to = 12 * HOUR},
                &chain->between);
    chain->leaf_size =
        certify(&(struct paper){.name = "leaf",
                                .issuer = "between",
                                .key = chain->leaf_key,
                                .signer = chain->between_key,
                                .constraints = kind->leaf_is_ca ? "critical,CA:TRUE" : "critical,CA:FALSE",
                                .usage = kind->leaf_without_usage   ? NULL
                                         : kind->leaf_signs_nothing ? "keyAgreement"
                                                                    : "digitalSignature,nonRepudiation",
                                .from = own_time ? kind->leaf_from : -HOUR,
                                .to = own_time ? kind->leaf_to : HOUR},
                &chain->leaf);
    SHA256(chain->root, (size_t)chain->root_size, chain->fingerprint);
}

void maker_chain_release(struct maker_chain *chain)
{
    EVP_PKEY_free(chain->root_key);
    EVP_PKEY_free(chain->between_key);
    EVP_PKEY_free(chain->leaf_key);
    OPENSSL_free(chain->root);
    OPENSSL_free(chain->between);
    OPENSSL_free(chain->leaf);
}

/* ---- Documents ---- */

static const uint8_t pcr_of_zero[48];
static const uint8_t pcr0[48] = {1, 2, 3};

void maker_document_init(struct maker_document *document)
{
    memset(document, 0, sizeof *document);
    document->module_id = "i-0123-enc4567";
    document->digest = "SHA384";
    document->timestamp_ms = MAKER_NOW * UINT64_C(1000);
    for (unsigned i = 0; i < 16; i++) {
        document->pcrs[i] = (struct attest_bytes){i == 0 ? pcr0 : pcr_of_zero, 48};
    }
}

static void add(cbor_item_t *map, cbor_item_t *key, cbor_item_t *value)
{
    assert_true(cbor_map_add(map, (struct cbor_pair){.key = cbor_move(key), .value = cbor_move(value)}));
}

static void add_named(cbor_item_t *map, const char *name, cbor_item_t *value)
{
    add(map, cbor_build_string(name), value);
}

static cbor_item_t *bytes_of(const void *data, size_t size)
{
    return cbor_build_bytestring(data, size);
}

static void add_given(cbor_item_t *map, const char *name, const struct attest_bytes *value, bool left_out)
{
    if (value->data) {
        add_named(map, name, bytes_of(value->data, value->size));
    } else if (!left_out) {
        add_named(map, name, cbor_new_null());
    }
}

static cbor_item_t *pcrs_of(const struct maker_document *document)
{
    cbor_item_t *map = cbor_new_indefinite_map();

    for (unsigned i = 0; i < ATTEST_PCRS; i++) {
        if (document->pcrs[i].data) {
            add(map, cbor_build_uint8((uint8_t)i), bytes_of(document->pcrs[i].data, document->pcrs[i].size));
        }
    }
    return map;
}

static cbor_item_t *bundle_of(const struct maker_document *document, const struct maker_chain *chain)
{
    cbor_item_t *bundle = cbor_new_indefinite_array();

    assert_true(cbor_array_push(bundle, cbor_move(bytes_of(chain->root, (size_t)chain->root_size))));
    for (unsigned i = 0; i <= document->bundle_repeats; i++) {
        assert_true(
            cbor_array_push(bundle, cbor_move(bytes_of(chain->between, (size_t)chain->between_size))));
    }
    return bundle;
}

static size_t payload_of(const struct maker_document *document, const struct maker_chain *chain,
                         uint8_t **ret)
{
    cbor_item_t *map = document->open_map ? cbor_new_indefinite_map() : cbor_new_definite_map(16);
    size_t room = 0;

    if (document->module_id) {
        add_named(map, "module_id", cbor_build_string(document->module_id));
    }
    if (document->digest) {
        add_named(map, "digest", cbor_build_string(document->digest));
    }
    if (document->timestamp_ms) {
        add_named(map, "timestamp", cbor_build_uint64(document->timestamp_ms));
    }
    if (!document->no_pcrs) {
        add_named(map, "pcrs", pcrs_of(document));
    }
    if (!document->no_certificate) {
        add_named(map, "certificate", bytes_of(chain->leaf, (size_t)chain->leaf_size));
    }
    if (!document->no_bundle) {
        add_named(map, "cabundle", bundle_of(document, chain));
    }
    add_given(map, "public_key", &document->public_key, document->nulls_left_out);
    add_given(map, "user_data", &document->user_data, document->nulls_left_out);
    add_given(map, "nonce", &document->nonce, document->nulls_left_out);
    if (document->stranger) {
        add_named(map, "model", cbor_build_string("m7i"));
    }
    if (document->twice) {
        add_named(map, document->twice, cbor_new_null());
    }
    size_t size = cbor_serialize_alloc(map, ret, &room);
    assert_true(size > 0);
    cbor_decref(&map);
    return size;
}

static size_t header_of(const struct maker_document *document, uint8_t header[8])
{
    cbor_item_t *map = cbor_new_definite_map(1);
    int algorithm = document->algorithm_none ? -1 : document->algorithm ? document->algorithm : -35;
    cbor_item_t *value = cbor_build_uint8((uint8_t)(-1 - algorithm));

    cbor_mark_negint(value);
    add(map, cbor_build_uint8(1), value);
    size_t size = cbor_serialize(map, header, 8);
    cbor_decref(&map);
    return size;
}

/* The bytes of ["Signature1", header, h'', payload]. */
static size_t signed_of(const uint8_t *header, size_t header_size, const uint8_t *payload,
                        size_t payload_size, uint8_t **ret)
{
    cbor_item_t *all = cbor_new_definite_array(4);
    size_t room = 0;

    assert_true(cbor_array_push(all, cbor_move(cbor_build_string("Signature1"))));
    assert_true(cbor_array_push(all, cbor_move(bytes_of(header, header_size))));
    assert_true(cbor_array_push(all, cbor_move(bytes_of("", 0))));
    assert_true(cbor_array_push(all, cbor_move(bytes_of(payload, payload_size))));
    size_t size = cbor_serialize_alloc(all, ret, &room);
    cbor_decref(&all);
    return size;
}

static void sign(EVP_PKEY *key, const uint8_t *data, size_t size, uint8_t signature[ATTEST_SIGNATURE])
{
    EVP_MD_CTX *digest = EVP_MD_CTX_new();
    uint8_t der[128];
    size_t der_size = sizeof der;
    const uint8_t *at = der;

    assert_int_equal(EVP_DigestSignInit(digest, NULL, EVP_sha384(), NULL, key), 1);
    assert_int_equal(EVP_DigestSign(digest, der, &der_size, data, size), 1);
    ECDSA_SIG *both = d2i_ECDSA_SIG(NULL, &at, (long)der_size);
    assert_non_null(both);
    assert_int_equal(BN_bn2binpad(ECDSA_SIG_get0_r(both), signature, 48), 48);
    assert_int_equal(BN_bn2binpad(ECDSA_SIG_get0_s(both), signature + 48, 48), 48);
    ECDSA_SIG_free(both);
    EVP_MD_CTX_free(digest);
}

uint8_t *maker_sign(const struct maker_document *document, const struct maker_chain *chain, size_t *ret_size)
{
    uint8_t header[8], signature[ATTEST_SIGNATURE] = {0}, *payload, *tbs, *whole = NULL;
    size_t header_size = header_of(document, header);
    size_t payload_size = payload_of(document, chain, &payload);
    size_t tbs_size = signed_of(header, header_size, payload, payload_size, &tbs), room = 0;
    cbor_item_t *all = cbor_new_definite_array(4);
    cbor_item_t *clear = cbor_new_definite_map(1);

    if (!document->algorithm_none) {
        sign(chain->leaf_key, tbs, tbs_size, signature);
    }
    if (document->header_in_clear) {
        add(clear, cbor_build_uint8(4), cbor_build_uint8(1));
    }
    assert_true(cbor_array_push(all, cbor_move(bytes_of(header, header_size))));
    assert_true(cbor_array_push(all, cbor_move(clear)));
    assert_true(cbor_array_push(all, cbor_move(bytes_of(payload, payload_size))));
    assert_true(cbor_array_push(all, cbor_move(bytes_of(signature, document->algorithm_none ? 64 : 96))));
    size_t size = cbor_serialize_alloc(all, &whole, &room);
    assert_true(size > 0);
    cbor_decref(&all);
    free(payload);
    free(tbs);

    uint8_t *bytes = malloc(size + 1);
    assert_non_null(bytes);
    bytes[0] = 0xd2;
    memcpy(bytes + document->tagged, whole, size);
    free(whole);
    *ret_size = size + document->tagged;
    return bytes;
}
