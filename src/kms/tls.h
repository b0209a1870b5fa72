/*
 * TLS to KMS, which ends in this process: TLS 1.2 at least, the certificate and the name in it always verified.
 *
 * What connections share (whom to trust, the session to resume) is a struct kms_trust, for any number of threads; a connection is
 * one thread's at a time.
 */
#ifndef POSTERN_KMS_TLS_H
#define POSTERN_KMS_TLS_H

#include "kms/wire.h"
#include <openssl/ssl.h>
#include <pthread.h>

#define KMS_HOST_MAX 253

#define KMS_SESSION_MAX_MS 3600000u /* after which the certificate is looked at again */

struct kms_trust {
    SSL_CTX *context;
    BIO_METHOD *method;
    char host[KMS_HOST_MAX + 1];
    bool is_address;
    char *ca_file; /* NULL: the system's */
    pthread_mutex_t lock;
    SSL_SESSION *session; /* of the last connection; under `lock`, as is: */
    uint64_t verified_at; /* since boot: when the certificate that it rests on was looked at */
};

struct kms_tls {
    struct kms_trust *trust;
    struct kms_wire wire;
    SSL *ssl;
    int verdict;          /* X509_V_... */
    uint64_t verified_at; /* of the session that it would resume */
    struct kms_trouble trouble;
};

/* `ca_file` NULL: those whom the system trusts. 0, -EINVAL: the host is no name, -ENOMEM, -EIO, or why the file cannot be read. */
int kms_trust_open(struct kms_trust *ret, const char *host, const char *ca_file,
                   struct error *err) MUST_CHECK;
void kms_trust_close(struct kms_trust *trust);

/* Connects, and shakes hands. `trust` and what it leads to must outlive the connection. 0, or what `ret->trouble` then says; end it
 * with kms_tls_close() in either case. */
int kms_tls_open(struct kms_tls *ret, struct kms_trust *trust, const struct kms_place *to,
                 uint64_t deadline) MUST_CHECK;

/* `polite`: the other side is told. Not in a child process. */
void kms_tls_close(struct kms_tls *tls, bool polite);

/* Before a connection that was idle is used again: whether nothing came meanwhile, neither bytes that nobody asked for nor an end. */
bool kms_tls_is_quiet(struct kms_tls *tls);

/* How many bytes; 0: the other side is done, and said so; or trouble.status. */
ssize_t kms_tls_read(struct kms_tls *tls, void *buffer, size_t size) MUST_CHECK;
int kms_tls_write(struct kms_tls *tls, const void *data, size_t size) MUST_CHECK;

#endif
