/* Certificates made by tests: see certificates.h. */
#include "certificates.h"

#include <dirent.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void check(int right)
{
    if (!right) {
        abort();
    }
}

static X509 *new_certificate(const char *name, long seconds, EVP_PKEY *key)
{
    static long serial = 1;
    X509 *certificate = X509_new();
    check(certificate != NULL && key != NULL);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), serial++);
    X509_set_version(certificate, 2);
    X509_gmtime_adj(X509_getm_notBefore(certificate), -86400);
    X509_gmtime_adj(X509_getm_notAfter(certificate), seconds);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_ASC,
                               (const unsigned char *)name, -1, -1, 0);
    X509_set_pubkey(certificate, key);
    return certificate;
}

static void extend(X509 *certificate, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX context;
    X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    check(extension != NULL && X509_add_ext(certificate, extension, -1) == 1);
    X509_EXTENSION_free(extension);
}

static void write_certificate(const char *path, X509 *certificate)
{
    FILE *file = fopen(path, "w");
    check(file != NULL && PEM_write_X509(file, certificate) == 1 && fclose(file) == 0);
}

void authority_open(struct authority *authority)
{
    strcpy(authority->directory, "/tmp/postern-tls-XXXXXX");
    check(mkdtemp(authority->directory) != NULL);
    authority->key = EVP_EC_gen("P-256");
    authority->certificate = new_certificate("test CA", 86400, authority->key);
    X509 *certificate = authority->certificate;
    X509_set_issuer_name(certificate, X509_get_subject_name(certificate));
    extend(certificate, certificate, NID_basic_constraints, "critical,CA:TRUE");
    extend(certificate, certificate, NID_key_usage, "critical,keyCertSign,cRLSign");
    check(X509_sign(certificate, authority->key, EVP_sha256()) > 0);
    snprintf(authority->ca_file, sizeof authority->ca_file, "%s/ca.pem", authority->directory);
    write_certificate(authority->ca_file, certificate);
}

void authority_close(struct authority *authority)
{
    DIR *directory = opendir(authority->directory);
    struct dirent *entry;
    while (directory != NULL && (entry = readdir(directory)) != NULL) {
        (void)unlinkat(dirfd(directory), entry->d_name, 0);
    }
    closedir(directory);
    (void)rmdir(authority->directory);
    EVP_PKEY_free(authority->key);
    X509_free(authority->certificate);
}

void authority_certify(struct authority *authority, const char *stem, const char *names, long seconds,
                       struct certified *ret)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = new_certificate(stem, seconds, key);
    X509_set_issuer_name(certificate, X509_get_subject_name(authority->certificate));
    extend(certificate, authority->certificate, NID_subject_alt_name, names);
    check(X509_sign(certificate, authority->key, EVP_sha256()) > 0);
    snprintf(ret->cert_file, sizeof ret->cert_file, "%s/%s.pem", authority->directory, stem);
    snprintf(ret->key_file, sizeof ret->key_file, "%s/%s.key", authority->directory, stem);
    write_certificate(ret->cert_file, certificate);
    FILE *file = fopen(ret->key_file, "w");
    check(file != NULL && PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL) == 1 &&
          fclose(file) == 0);
    X509_free(certificate);
    EVP_PKEY_free(key);
}

SSL_CTX *certified_server(const struct certified *certified)
{
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    check(context != NULL);
    check(SSL_CTX_use_certificate_chain_file(context, certified->cert_file) == 1);
    check(SSL_CTX_use_PrivateKey_file(context, certified->key_file, SSL_FILETYPE_PEM) == 1);
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_session_id_context(context, (const unsigned char *)"test", 4);
    return context;
}
