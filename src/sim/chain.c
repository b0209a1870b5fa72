/* The simulator's root of trust: see chain.h. */
#include "sim/chain.h"
#include "sim/certificate.h"
#include "sim/keep.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <string.h>

#define DAY  (24 * 3600L)
#define YEAR (365 * DAY)

#define ROOT_SUBJECT     "C=US/O=Amazon/OU=AWS/CN=aws.nitro-enclaves"
#define INSTANCE_SUBJECT "C=US/ST=Washington/L=Seattle/O=Amazon/OU=AWS"

enum { ROOT, REGION, ZONE, INSTANCE };

static int failed(struct error *err, const char *what)
{
    ERR_clear_error();
    return error_set(err, -EIO, "cannot make %s: the cryptographic library failed", what);
}

static bool set_root(struct sim_chain *chain, EVP_PKEY *key, X509 *paper)
{
    chain->keys[ROOT] = key;
    chain->papers[ROOT] = paper;
    chain->der_size[ROOT] = i2d_X509(paper, &chain->der[ROOT]);
    if (chain->der_size[ROOT] <= 0) {
        return false;
    }
    SHA256(chain->der[ROOT], (size_t)chain->der_size[ROOT], chain->fingerprint);
    return true;
}

static X509 *make_root(EVP_PKEY *key, time_t now)
{
    return key ? sim_certify(&(struct sim_paper){.subject = ROOT_SUBJECT,
                                                 .key = key,
                                                 .signer = key,
                                                 .constraints = "critical,CA:TRUE",
                                                 .usage = "critical,digitalSignature,keyCertSign,cRLSign",
                                                 .identifiers = true,
                                                 .from = now - YEAR,
                                                 .to = now + 30 * YEAR})
               : NULL;
}

static int open_root(struct sim_chain *chain, const char *directory, time_t now, struct error *err)
{
    EVP_PKEY *key = NULL;
    X509 *paper = NULL;
    int rv = directory ? sim_keep_load(directory, "attestation-root", &key, &paper, err) : -ENOENT;

    if (rv == -ENOENT) {
        key = EVP_EC_gen("P-384");
        paper = make_root(key, now);
        rv = !paper      ? failed(err, "the attestation root")
             : directory ? sim_keep_save(directory, "attestation-root", key, paper, err)
                         : 0;
    }
    if (rv == 0 && set_root(chain, key, paper)) {
        return 0;
    }
    if (!chain->keys[ROOT]) {
        EVP_PKEY_free(key);
        X509_free(paper);
    }
    return rv != 0 ? rv : failed(err, "the attestation root");
}

/* One more below what there is. */
static bool add(struct sim_chain *chain, unsigned at, const char *subject, const char *constraints,
                time_t from, time_t to)
{
    chain->keys[at] = EVP_EC_gen("P-384");
    if (!chain->keys[at]) {
        return false;
    }
    chain->papers[at] = sim_certify(
        &(struct sim_paper){.subject = subject,
                            .key = chain->keys[at],
                            .issuer = chain->papers[at - 1],
                            .signer = chain->keys[at - 1],
                            .constraints = constraints,
                            .usage = at == INSTANCE ? "critical,keyCertSign"
                                                    : "critical,digitalSignature,keyCertSign,cRLSign",
                            .identifiers = at != INSTANCE,
                            .from = from,
                            .to = to});
    chain->der_size[at] = chain->papers[at] ? i2d_X509(chain->papers[at], &chain->der[at]) : 0;
    return chain->der_size[at] > 0;
}

static bool add_all(struct sim_chain *chain, time_t now)
{
    char region[128], zone[128], instance[192];
    unsigned char id[16];

    if (RAND_bytes(id, sizeof id) != 1) {
        return false;
    }
    snprintf(region, sizeof region, "C=US/O=Amazon/OU=AWS/CN=%02x%02x%02x%02x.%s.aws.nitro-enclaves", id[0],
             id[1], id[2], id[3], chain->region);
    snprintf(zone, sizeof zone,
             "CN=%02x%02x%02x%02x.zonal.%s.aws.nitro-enclaves/OU=AWS/O=Amazon/C=US/ST=WA/L=Seattle", id[4],
             id[5], id[6], id[7], chain->region);
    snprintf(instance, sizeof instance, INSTANCE_SUBJECT "/CN=%s.%s.aws.nitro-enclaves", chain->instance_id,
             chain->region);
    return add(chain, REGION, region, "critical,CA:TRUE,pathlen:2", now - 3 * DAY, now + 17 * DAY) &&
           add(chain, ZONE, zone, "critical,CA:TRUE,pathlen:1", now - DAY, now + 5 * DAY) &&
           add(chain, INSTANCE, instance, "critical,CA:TRUE,pathlen:0", now - DAY / 2, now + DAY / 2);
}

int sim_chain_open(struct sim_chain *chain, const char *directory, const char *region,
                   const char *instance_id, time_t now, struct error *err)
{
    memset(chain, 0, sizeof *chain);
    snprintf(chain->region, sizeof chain->region, "%s", region);
    snprintf(chain->instance_id, sizeof chain->instance_id, "%s", instance_id);
    int rv = open_root(chain, directory, now, err);
    if (rv == 0 && !add_all(chain, now)) {
        rv = failed(err, "the attestation chain");
    }
    if (rv != 0) {
        sim_chain_close(chain);
    }
    return rv;
}

void sim_chain_close(struct sim_chain *chain)
{
    for (unsigned i = 0; i < SIM_CHAIN_DEPTH; i++) {
        EVP_PKEY_free(chain->keys[i]);
        X509_free(chain->papers[i]);
        OPENSSL_free(chain->der[i]);
    }
    memset(chain, 0, sizeof *chain);
}

int sim_chain_leaf(const struct sim_chain *chain, const char *module_id, time_t now, struct sim_leaf *ret)
{
    char subject[192];
    EVP_PKEY *key = EVP_EC_gen("P-384");

    *ret = (struct sim_leaf){.key = key, .to = now + SIM_LEAF_LIFETIME};
    snprintf(subject, sizeof subject, INSTANCE_SUBJECT "/CN=%s.%s.aws", module_id, chain->region);
    X509 *paper = key ? sim_certify(&(struct sim_paper){.subject = subject,
                                                        .key = key,
                                                        .issuer = chain->papers[INSTANCE],
                                                        .signer = chain->keys[INSTANCE],
                                                        .constraints = "critical,CA:FALSE",
                                                        .usage = "digitalSignature,nonRepudiation",
                                                        .from = now - 3,
                                                        .to = ret->to})
                      : NULL;
    ret->der_size = paper ? i2d_X509(paper, &ret->der) : 0;
    X509_free(paper);
    if (ret->der_size > 0) {
        return 0;
    }
    sim_leaf_release(ret);
    ERR_clear_error();
    return -EIO;
}

void sim_leaf_release(struct sim_leaf *leaf)
{
    EVP_PKEY_free(leaf->key);
    OPENSSL_free(leaf->der);
    *leaf = (struct sim_leaf){.key = NULL};
}

void sim_chain_papers(const struct sim_chain *chain, const struct sim_leaf *leaf, struct sim_papers *ret)
{
    *ret = (struct sim_papers){.key = leaf->key,
                               .leaf = {leaf->der, (size_t)leaf->der_size},
                               .bundle_count = SIM_CHAIN_DEPTH};
    for (unsigned i = 0; i < SIM_CHAIN_DEPTH; i++) {
        ret->bundle[i] = (struct attest_bytes){chain->der[i], (size_t)chain->der_size[i]};
    }
}
