/*
 * Certificates of a test's own making, in files of a directory of its own, and TLS servers with them.
 */
#ifndef POSTERN_TESTS_CERTIFICATES_H
#define POSTERN_TESTS_CERTIFICATES_H

#include <openssl/ssl.h>

struct authority {
    char directory[64];
    EVP_PKEY *key;
    X509 *certificate;
    char ca_file[96]; /* its certificate */
};

void authority_open(struct authority *authority);
void authority_close(struct authority *authority); /* removes the directory with what it made there */

struct certified {
    char cert_file[96], key_file[96];
};

/* `names` as in "DNS:results.test, IP:127.0.0.1"; valid from yesterday until `seconds` from now. */
void authority_certify(struct authority *authority, const char *stem, const char *names, long seconds,
                       struct certified *ret);

/* A server's context with that certificate. */
SSL_CTX *certified_server(const struct certified *certified);

#endif
