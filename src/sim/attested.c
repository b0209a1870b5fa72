/* Recipients: see attested.h. */
#include "sim/attested.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/sha.h>
#include <openssl/x509.h>
#include <string.h>

#define ALGORITHM    "RSAES_OAEP_SHA_256"
#define DOCUMENT_MAX 262144u
#define KEY_BITS     2048

#define INVALID "ValidationException"

static int read_document(const json_t *recipient, struct sim_bytes *ret, struct sim_kms_error *error)
{
    const json_t *algorithm = json_object_get(recipient, "KeyEncryptionAlgorithm");
    const json_t *document = json_object_get(recipient, "AttestationDocument");

    if (!json_is_object(recipient) || !json_is_string(document)) {
        return sim_kms_refuse(error, INVALID, "Recipient needs an AttestationDocument");
    }
    if (!json_is_string(algorithm) || strcmp(json_string_value(algorithm), ALGORITHM) != 0) {
        return sim_kms_refuse(error, INVALID, "Recipient's KeyEncryptionAlgorithm has to be %s", ALGORITHM);
    }
    if (sim_base64_decode(json_string_value(document), json_string_length(document), ret) != 0) {
        return sim_kms_refuse(error, "SerializationException", "AttestationDocument is not base64");
    }
    if (ret->size < 1 || ret->size > DOCUMENT_MAX) {
        return sim_kms_refuse(error, INVALID, "AttestationDocument has to have 1 to %u bytes", DOCUMENT_MAX);
    }
    return 0;
}

/* ---- What was verified before ---- */

static bool is_known(struct sim_verified *verified, const uint8_t hash[SHA256_DIGEST_LENGTH], time_t now)
{
    bool known = false;

    pthread_mutex_lock(&verified->lock);
    for (unsigned i = 0; i < SIM_VERIFIED; i++) {
        known = known || (verified->list[i].at != 0 && now >= verified->list[i].at &&
                          now - verified->list[i].at < SIM_DOCUMENT_AGE_MS / 1000 &&
                          !memcmp(verified->list[i].hash, hash, SHA256_DIGEST_LENGTH));
    }
    pthread_mutex_unlock(&verified->lock);
    return known;
}

static void remember(struct sim_verified *verified, const uint8_t hash[SHA256_DIGEST_LENGTH], time_t now)
{
    pthread_mutex_lock(&verified->lock);
    memcpy(verified->list[verified->next].hash, hash, SHA256_DIGEST_LENGTH);
    verified->list[verified->next].at = now;
    verified->next = (verified->next + 1) % SIM_VERIFIED;
    pthread_mutex_unlock(&verified->lock);
}

/* ---- The document ---- */

static bool is_fresh(const struct attest_document *document, time_t now)
{
    uint64_t at = (uint64_t)now * 1000;

    return at <= document->timestamp_ms || at - document->timestamp_ms <= SIM_DOCUMENT_AGE_MS;
}

static int invalid(struct sim_kms_error *error, const char *why)
{
    return sim_kms_refuse(error, INVALID, "The attestation document is not valid: %s", why);
}

/* Debug enclaves, too: it is up to the policy to name other measurements than zeros. */
static int verify(struct sim_attested *attested, const uint8_t root[ATTEST_FINGERPRINT], time_t now,
                  struct sim_verified *verified, struct sim_kms_error *error)
{
    uint8_t hash[SHA256_DIGEST_LENGTH];
    struct attest_expected expected;
    struct error why;

    if (attest_parse(attested->document.data, attested->document.size, &attested->parsed, &why) != 0) {
        return invalid(error, why.text);
    }
    if (!is_fresh(&attested->parsed, now)) {
        return invalid(error, "it is too old");
    }
    SHA256(attested->document.data, attested->document.size, hash);
    if (is_known(verified, hash, now)) {
        return 0;
    }
    attest_expect(&expected, now);
    memcpy(expected.root, root, sizeof expected.root);
    expected.debug_too = true;
    if (attest_verify(&attested->parsed, &expected, &why) != 0) {
        return invalid(error, why.text);
    }
    remember(verified, hash, now);
    return 0;
}

static int read_key(struct sim_attested *attested, struct sim_kms_error *error)
{
    const struct attest_bytes *der = &attested->parsed.public_key;
    const uint8_t *at = der->data;

    attested->key = der->data ? d2i_PUBKEY(NULL, &at, (long)der->size) : NULL;
    ERR_clear_error();
    if (!attested->key || at != der->data + der->size ||
        EVP_PKEY_get_base_id(attested->key) != EVP_PKEY_RSA || EVP_PKEY_get_bits(attested->key) != KEY_BITS) {
        return sim_kms_refuse(error, INVALID,
                              "The attestation document has no public key that is an RSA key of %d bits",
                              KEY_BITS);
    }
    return 0;
}

int sim_attested_read(const json_t *recipient, const uint8_t root[ATTEST_FINGERPRINT], time_t now,
                      struct sim_verified *verified, struct sim_attested *ret, struct sim_kms_error *error)
{
    memset(ret, 0, sizeof *ret);
    if (!recipient || json_is_null(recipient)) {
        return 0;
    }
    ret->present = true;
    int rv = read_document(recipient, &ret->document, error);
    if (rv == 0) {
        rv = verify(ret, root, now, verified, error);
    }
    if (rv == 0) {
        rv = read_key(ret, error);
    }
    for (unsigned i = 0; rv == 0 && i < ATTEST_PCRS; i++) {
        if (ret->parsed.pcrs[i].data) {
            sim_hex(ret->parsed.pcrs[i].data, ret->parsed.pcrs[i].size, ret->pcrs[i]);
        }
    }
    if (rv != 0) {
        sim_attested_release(ret);
    }
    return rv;
}

void sim_attested_release(struct sim_attested *attested)
{
    EVP_PKEY_free(attested->key);
    sim_bytes_release(&attested->document);
    memset(attested, 0, sizeof *attested);
}
