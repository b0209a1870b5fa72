/* Certificates: see certificate.h. */
#include "sim/certificate.h"

#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <string.h>

#define NAME_MAX_SIZE 128

/* One "KEY=value" of a subject. */
static bool add_entry(X509_NAME *name, const char *entry, size_t size)
{
    char text[NAME_MAX_SIZE];
    char *value;

    if (size >= sizeof text) {
        return false;
    }
    memcpy(text, entry, size);
    text[size] = '\0';
    value = strchr(text, '=');
    if (!value) {
        return false;
    }
    *value++ = '\0';
    return X509_NAME_add_entry_by_txt(name, text, MBSTRING_ASC, (const unsigned char *)value, -1, -1, 0) == 1;
}

static bool add_name(X509_NAME *name, const char *text)
{
    bool good = true;

    while (good && *text != '\0') {
        size_t size = strcspn(text, "/");
        good = add_entry(name, text, size);
        text += size + (text[size] == '/');
    }
    return good;
}

static bool add_extension(X509 *certificate, X509V3_CTX *context, int nid, const char *value)
{
    if (!value) {
        return true;
    }
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, context, nid, value);
    bool good = extension && X509_add_ext(certificate, extension, -1) == 1;
    X509_EXTENSION_free(extension);
    return good;
}

static bool add_extensions(X509 *certificate, const struct sim_paper *paper)
{
    X509V3_CTX context;

    X509V3_set_ctx(&context, paper->issuer ? paper->issuer : certificate, certificate, NULL, NULL, 0);
    return add_extension(certificate, &context, NID_basic_constraints, paper->constraints) &&
           (!paper->identifiers || !paper->issuer ||
            add_extension(certificate, &context, NID_authority_key_identifier, "keyid")) &&
           add_extension(certificate, &context, NID_subject_key_identifier,
                         paper->identifiers ? "hash" : NULL) &&
           add_extension(certificate, &context, NID_key_usage, paper->usage) &&
           add_extension(certificate, &context, NID_ext_key_usage, paper->for_) &&
           add_extension(certificate, &context, NID_subject_alt_name, paper->names);
}

/* 127 bits at random, as the genuine ones have. */
static bool set_serial(X509 *certificate)
{
    unsigned char bytes[16];

    if (RAND_bytes(bytes, sizeof bytes) != 1) {
        return false;
    }
    bytes[0] &= 0x7f;
    BIGNUM *number = BN_bin2bn(bytes, sizeof bytes, NULL);
    bool good = number && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate));
    BN_free(number);
    return good;
}

static bool fill_in(X509 *certificate, const struct sim_paper *paper)
{
    const X509 *issuer = paper->issuer ? paper->issuer : certificate;

    return X509_set_version(certificate, X509_VERSION_3) && set_serial(certificate) &&
           ASN1_TIME_set(X509_getm_notBefore(certificate), paper->from) &&
           ASN1_TIME_set(X509_getm_notAfter(certificate), paper->to) &&
           add_name(X509_get_subject_name(certificate), paper->subject) &&
           X509_set_issuer_name(certificate, X509_get_subject_name(issuer)) &&
           X509_set_pubkey(certificate, paper->key) && add_extensions(certificate, paper);
}

X509 *sim_certify(const struct sim_paper *paper)
{
    X509 *certificate = X509_new();

    if (certificate && fill_in(certificate, paper) &&
        X509_sign(certificate, paper->signer, EVP_sha384()) > 0) {
        return certificate;
    }
    X509_free(certificate);
    return NULL;
}
