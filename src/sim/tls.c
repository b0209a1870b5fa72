/* The simulated KMS's TLS: see tls.h. */
#include "sim/tls.h"
#include "sim/certificate.h"
#include "sim/keep.h"

#include <errno.h>
#include <openssl/err.h>
#include <stdio.h>
#include <string.h>

#define DAY  (24 * 3600L)
#define NAME "tls-ca"

static X509 *make_ca(EVP_PKEY *key, time_t now)
{
    return key ? sim_certify(&(struct sim_paper){.subject = "O=Postern/CN=postern-sim, for tests alone",
                                                 .key = key,
                                                 .signer = key,
                                                 .constraints = "critical,CA:TRUE,pathlen:0",
                                                 .usage = "critical,keyCertSign,cRLSign",
                                                 .identifiers = true,
                                                 .from = now - DAY,
                                                 .to = now + 3650 * DAY})
               : NULL;
}

static int open_ca(const char *directory, time_t now, EVP_PKEY **ret_key, X509 **ret_paper, struct error *err)
{
    int rv = sim_keep_load(directory, NAME, ret_key, ret_paper, err);

    if (rv != -ENOENT) {
        return rv;
    }
    *ret_key = EVP_EC_gen("P-256");
    *ret_paper = make_ca(*ret_key, now);
    rv = *ret_paper ? sim_keep_save(directory, NAME, *ret_key, *ret_paper, err)
                    : error_set(err, -EIO, "cannot make a CA: the cryptographic library failed");
    if (rv != 0) {
        EVP_PKEY_free(*ret_key);
        X509_free(*ret_paper);
    }
    return rv;
}

static X509 *make_server(const char *host, EVP_PKEY *key, EVP_PKEY *ca_key, X509 *ca, time_t now)
{
    char names[512];

    snprintf(names, sizeof names, "DNS:%s,DNS:localhost,IP:127.0.0.1,IP:::1", host);
    return sim_certify(&(struct sim_paper){.subject = "CN=postern-sim",
                                           .key = key,
                                           .issuer = ca,
                                           .signer = ca_key,
                                           .constraints = "critical,CA:FALSE",
                                           .usage = "critical,digitalSignature",
                                           .for_ = "serverAuth",
                                           .names = names,
                                           .identifiers = true,
                                           .from = now - DAY,
                                           .to = now + 90 * DAY});
}

/* KMS speaks HTTP/1.1 to those who ask. */
static int choose_protocol(SSL *tls, const unsigned char **out, unsigned char *out_size,
                           const unsigned char *in, unsigned int in_size, void *arg)
{
    static const unsigned char spoken[] = "\x08http/1.1";

    (void)tls;
    (void)arg;
    return SSL_select_next_proto((unsigned char **)out, out_size, spoken, sizeof spoken - 1, in, in_size) ==
                   OPENSSL_NPN_NEGOTIATED
               ? SSL_TLSEXT_ERR_OK
               : SSL_TLSEXT_ERR_NOACK;
}

static SSL_CTX *make_context(EVP_PKEY *key, X509 *paper)
{
    SSL_CTX *context = paper ? SSL_CTX_new(TLS_server_method()) : NULL;

    if (context && SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) == 1 &&
        SSL_CTX_use_certificate(context, paper) == 1 && SSL_CTX_use_PrivateKey(context, key) == 1) {
        SSL_CTX_set_alpn_select_cb(context, choose_protocol, NULL);
        SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
        return context;
    }
    SSL_CTX_free(context);
    return NULL;
}

SSL_CTX *sim_tls_open(const char *directory, const char *host, time_t now, struct error *err)
{
    EVP_PKEY *ca_key = NULL, *key = EVP_EC_gen("P-256");
    X509 *ca = NULL, *paper;
    SSL_CTX *context = NULL;

    if (open_ca(directory, now, &ca_key, &ca, err) == 0) {
        paper = key ? make_server(host, key, ca_key, ca, now) : NULL;
        context = make_context(key, paper);
        if (!context) {
            error_set(err, -EIO, "cannot make a certificate for %s: the cryptographic library failed", host);
        }
        X509_free(paper);
        X509_free(ca);
        EVP_PKEY_free(ca_key);
    }
    EVP_PKEY_free(key);
    ERR_clear_error();
    return context;
}
