/* Recipients: see attested.h. */
#include "sim/attested.h"

#include <errno.h>
#include <openssl/err.h>
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

/* Debug enclaves, too: it is up to the policy to name other measurements than zeros. */
static int verify(struct sim_attested *attested, const uint8_t root[ATTEST_FINGERPRINT], time_t now,
                  struct sim_kms_error *error)
{
    struct attest_expected expected;
    struct error why;

    attest_expect(&expected, now);
    memcpy(expected.root, root, sizeof expected.root);
    expected.max_age_ms = SIM_DOCUMENT_AGE_MS;
    expected.debug_too = true;
    if (attest_parse(attested->document.data, attested->document.size, &attested->parsed, &why) != 0 ||
        attest_verify(&attested->parsed, &expected, &why) != 0) {
        return sim_kms_refuse(error, INVALID, "The attestation document is not valid: %s", why.text);
    }
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
                      struct sim_attested *ret, struct sim_kms_error *error)
{
    memset(ret, 0, sizeof *ret);
    if (!recipient || json_is_null(recipient)) {
        return 0;
    }
    ret->present = true;
    int rv = read_document(recipient, &ret->document, error);
    if (rv == 0) {
        rv = verify(ret, root, now, error);
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
