/* Attestation documents for tests: see maker.h. */
#include "maker.h"

#include "sim/certificate.h"

#include <openssl/ec.h>
#include <openssl/sha.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define HOUR 3600L

/* ---- Certificates ---- */

/* In DER. */
static int certify(const struct sim_paper *paper, uint8_t **ret, X509 **ret_paper)
{
    struct sim_paper dated = *paper;

    dated.from += MAKER_NOW;
    dated.to += MAKER_NOW;
    *ret_paper = sim_certify(&dated);
    assert_non_null(*ret_paper);
    *ret = NULL;
    int size = i2d_X509(*ret_paper, ret);
    assert_true(size > 0);
    return size;
}

void maker_chain_make(struct maker_chain *chain, const struct maker_kind *kind)
{
    bool own_time = kind->leaf_from != 0 || kind->leaf_to != 0;
    X509 *root, *between, *leaf;

    chain->root_key = EVP_EC_gen("P-384");
    chain->between_key = EVP_EC_gen("P-384");
    chain->leaf_key = EVP_EC_gen(kind->curve ? kind->curve : "P-384");
    assert_true(chain->root_key && chain->between_key && chain->leaf_key);
    chain->root_size = certify(&(struct sim_paper){.subject = "CN=root",
                                                   .key = chain->root_key,
                                                   .signer = chain->root_key,
                                                   .constraints = "critical,CA:TRUE",
                                                   .usage = "critical,keyCertSign,cRLSign",
                                                   .from = -12 * HOUR,
                                                   .to = 12 * HOUR},
                               &chain->root, &root);
    chain->between_size =
        certify(&(struct sim_paper){.subject = "CN=between",
                                    .issuer = root,
                                    .key = chain->between_key,
                                    .signer = chain->root_key,
                                    .constraints = kind->between_is_no_ca ? "critical,CA:FALSE"
                                                                          : "critical,CA:TRUE,pathlen:0",
                                    .usage = "critical,keyCertSign",
                                    .from = -12 * HOUR,
                                    .to = 12 * HOUR},
                &chain->between, &between);
    chain->leaf_size =
        certify(&(struct sim_paper){.subject = "CN=leaf",
                                    .issuer = between,
                                    .key = chain->leaf_key,
                                    .signer = chain->between_key,
                                    .constraints =
                                        kind->leaf_is_ca ? "critical,CA:TRUE" : "critical,CA:FALSE",
                                    .usage = kind->leaf_without_usage   ? NULL
                                             : kind->leaf_signs_nothing ? "keyAgreement"
                                                                        : "digitalSignature,nonRepudiation",
                                    .from = own_time ? kind->leaf_from : -HOUR,
                                    .to = own_time ? kind->leaf_to : HOUR},
                &chain->leaf, &leaf);
    X509_free(root);
    X509_free(between);
    X509_free(leaf);
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

void maker_document_init(struct sim_document *document)
{
    memset(document, 0, sizeof *document);
    document->module_id = "i-0123-enc4567";
    document->digest = "SHA384";
    document->timestamp_ms = MAKER_NOW * UINT64_C(1000);
    for (unsigned i = 0; i < 16; i++) {
        document->pcrs[i] = (struct attest_bytes){i == 0 ? pcr0 : pcr_of_zero, 48};
    }
}

uint8_t *maker_sign(const struct sim_document *document, const struct maker_chain *chain, size_t *ret_size)
{
    struct text out = TEXT_INIT;
    struct sim_papers papers = {.key = chain->leaf_key,
                                .leaf = {chain->leaf, (size_t)chain->leaf_size},
                                .bundle = {{chain->root, (size_t)chain->root_size},
                                           {chain->between, (size_t)chain->between_size}},
                                .bundle_count = 2};

    assert_int_equal(sim_document_sign(document, &papers, &out), 0);
    *ret_size = out.length;
    return (uint8_t *)out.data;
}
