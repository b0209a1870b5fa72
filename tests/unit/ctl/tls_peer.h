/* A TLS server on the loopback, with a certificate of its own making or the test's: what the doctor shakes hands with. */
#ifndef TLS_PEER_H
#define TLS_PEER_H

#include "base/compiler.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

struct tls_peer {
    int listener;
    unsigned port;
    SSL_CTX *context;
    EVP_PKEY *key;
    X509 *certificate;
    uv_thread_t thread;
    char trust[64]; /* a file with its certificate, for $SSL_CERT_FILE */
};

static void tls_peer_check(int right)
{
    if (!right) {
        abort();
    }
}

/* `names` as in "DNS:kms.test, DNS:other.test". */
static void tls_peer_certify(struct tls_peer *peer, const char *names)
{
    X509V3_CTX extension_context;
    peer->key = EVP_EC_gen("P-256");
    peer->certificate = X509_new();
    X509 *certificate = peer->certificate;
    tls_peer_check(peer->key != NULL && certificate != NULL);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
    X509_set_version(certificate, 2);
    X509_gmtime_adj(X509_getm_notBefore(certificate), -3600);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_ASC,
                               (const unsigned char *)"posternctl test", -1, -1, 0);
    X509_set_issuer_name(certificate, X509_get_subject_name(certificate));
    X509_set_pubkey(certificate, peer->key);
    X509V3_set_ctx(&extension_context, certificate, certificate, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &extension_context, NID_subject_alt_name, names);
    tls_peer_check(extension != NULL && X509_add_ext(certificate, extension, -1) == 1);
    X509_EXTENSION_free(extension);
    tls_peer_check(X509_sign(certificate, peer->key, EVP_sha256()) > 0);
}

static void tls_peer_write_trust(struct tls_peer *peer)
{
    snprintf(peer->trust, sizeof peer->trust, "/tmp/posternctl-trust-XXXXXX");
    int fd = mkstemp(peer->trust);
    FILE *file = fd >= 0 ? fdopen(fd, "w") : NULL;
    tls_peer_check(file != NULL && PEM_write_X509(file, peer->certificate) == 1 && fclose(file) == 0);
}

static void tls_peer_run(void *data)
{
    struct tls_peer *peer = data;
    for (;;) {
        int fd = accept(peer->listener, NULL, NULL);
        if (fd < 0) {
            return; /* shut down */
        }
        SSL *ssl = SSL_new(peer->context);
        char byte;
        if (SSL_set_fd(ssl, fd) == 1) {
            SSL_accept(ssl);
        }
        while (recv(fd, &byte, 1, 0) > 0) { /* the doctor hears us out, and is the one to close */
        }
        SSL_free(ssl);
        close(fd);
    }
}

/* With the test's context, which goes with the peer. */
static void tls_peer_serve(struct tls_peer *peer, SSL_CTX *context)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    peer->context = context;
    peer->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    tls_peer_check(bind(peer->listener, (struct sockaddr *)&address, size) == 0 &&
                   listen(peer->listener, 8) == 0 &&
                   getsockname(peer->listener, (struct sockaddr *)&address, &size) == 0);
    peer->port = ntohs(address.sin_port);
    tls_peer_check(uv_thread_create(&peer->thread, tls_peer_run, peer) == 0);
}

UNUSED static void tls_peer_start(struct tls_peer *peer, const char *names)
{
    tls_peer_certify(peer, names);
    tls_peer_write_trust(peer);
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    tls_peer_check(SSL_CTX_use_certificate(context, peer->certificate) == 1 &&
                   SSL_CTX_use_PrivateKey(context, peer->key) == 1);
    tls_peer_serve(peer, context);
}

static void tls_peer_stop(struct tls_peer *peer)
{
    shutdown(peer->listener, SHUT_RDWR);
    uv_thread_join(&peer->thread);
    close(peer->listener);
    SSL_CTX_free(peer->context);
    X509_free(peer->certificate);
    EVP_PKEY_free(peer->key);
    unlink(peer->trust);
}

#endif
