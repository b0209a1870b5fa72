/*
 * TLS to KMS: see tls.h.
 *
 * OpenSSL reads and writes by a BIO of ours, over the wire, which waits up to its deadline; so no call comes back half done, and
 * whatever fails does for good. Looking whether a connection is quiet is the one thing that does not wait.
 */
#include "kms/tls.h"

#include "kms/clock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

/* ---- The BIO ---- */

static int bio_read(BIO *bio, char *buffer, int size)
{
    struct kms_wire *wire = BIO_get_data(bio);
    ssize_t n = kms_wire_read(wire, buffer, (size_t)size);

    BIO_clear_retry_flags(bio);
    if (n == -EAGAIN) {
        BIO_set_retry_read(bio);
    }
    return n >= 0 ? (int)n : -1;
}

static int bio_write(BIO *bio, const char *data, int size)
{
    struct kms_wire *wire = BIO_get_data(bio);

    BIO_clear_retry_flags(bio);
    return kms_wire_write(wire, data, (size_t)size) == 0 ? size : -1;
}

static long bio_control(BIO *bio, int what, long number, void *pointer)
{
    const struct kms_wire *wire = BIO_get_data(bio);

    (void)number, (void)pointer;
    switch (what) {
    case BIO_CTRL_FLUSH:
        return 1;
    case BIO_CTRL_EOF:
        return wire->ended;
    default:
        return 0;
    }
}

static BIO_METHOD *make_method(void)
{
    int index = BIO_get_new_index();
    BIO_METHOD *method = index > 0 ? BIO_meth_new(index | BIO_TYPE_SOURCE_SINK, "postern wire") : NULL;

    if (method) {
        BIO_meth_set_read(method, bio_read);
        BIO_meth_set_write(method, bio_write);
        BIO_meth_set_ctrl(method, bio_control);
    }
    return method;
}

/* ---- Whom to trust ---- */

static void keep_session(struct kms_trust *trust, SSL_SESSION *session, uint64_t verified_at)
{
    pthread_mutex_lock(&trust->lock);
    SSL_SESSION *old = trust->session;
    trust->session = session;
    trust->verified_at = verified_at;
    pthread_mutex_unlock(&trust->lock);
    SSL_SESSION_free(old);
}

/* TLS 1.3 has tickets come at any time after the handshake. What is kept is a copy: OpenSSL lets the original be resumed no more
 * when its connection ends without a word, as kept connections do. */
static int on_session(SSL *ssl, SSL_SESSION *session)
{
    struct kms_tls *tls = SSL_get_app_data(ssl);
    SSL_SESSION *copy = SSL_SESSION_dup(session);

    if (copy) {
        keep_session(tls->trust, copy,
                     SSL_session_reused(ssl) ? tls->verified_at : kms_clock_ms(CLOCK_BOOTTIME));
    }
    return 0;
}

/* Looks on: the verdict is OpenSSL's, and stands. */
static int on_verified(int good, X509_STORE_CTX *store)
{
    SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    struct kms_tls *tls = SSL_get_app_data(ssl);

    if (!good && tls->verdict == X509_V_OK) {
        tls->verdict = X509_STORE_CTX_get_error(store);
    }
    return good;
}

static int load_trusted(SSL_CTX *context, const char *ca_file, struct error *err)
{
    if (!ca_file) {
        return SSL_CTX_set_default_verify_paths(context) == 1
                   ? 0
                   : error_set(err, -EIO, "cannot find the system's trusted certificates");
    }
    errno = 0;
    if (SSL_CTX_load_verify_file(context, ca_file) == 1) {
        return 0;
    }
    int status = errno == ENOENT || errno == EACCES ? -errno : -EINVAL;
    return status == -EINVAL
               ? error_set(err, status, "CA file %s: there is no certificate in it that can be read", ca_file)
               : error_errno(err, status, "CA file %s", ca_file);
}

static SSL_CTX *make_context(void)
{
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());

    if (!context || SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) != 1) {
        SSL_CTX_free(context);
        return NULL;
    }
    SSL_CTX_set_options(context, SSL_OP_CLEANSE_PLAINTEXT); /* what was read is not left in its buffer */
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, on_verified);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(context, on_session);
    /* An answer's head and body come in records of their own, but mostly in one read. */
    SSL_CTX_set_read_ahead(context, 1);
    return context;
}

static bool is_address(const char *host)
{
    struct in6_addr address;

    return inet_pton(AF_INET, host, &address) == 1 || inet_pton(AF_INET6, host, &address) == 1;
}

int kms_trust_open(struct kms_trust *ret, const char *host, const char *ca_file, struct error *err)
{
    *ret = (struct kms_trust){.is_address = is_address(host), .lock = PTHREAD_MUTEX_INITIALIZER};
    if (!ret->is_address && !addr_is_hostname(host)) {
        return error_set(err, -EINVAL, "the host of KMS is no name, and no address");
    }
    memcpy(ret->host, host, strlen(host) + 1); /* what passed is no longer */
    ret->ca_file = ca_file ? strdup(ca_file) : NULL;
    ret->method = make_method();
    ret->context = make_context();
    if (!ret->method || !ret->context || (ca_file && !ret->ca_file)) {
        kms_trust_close(ret);
        ERR_clear_error();
        return error_set(err, -ENOMEM, "cannot set TLS up: out of memory");
    }
    int status = load_trusted(ret->context, ca_file, err);
    if (status != 0) {
        kms_trust_close(ret);
    }
    ERR_clear_error();
    return status;
}

void kms_trust_close(struct kms_trust *trust)
{
    SSL_SESSION_free(trust->session);
    SSL_CTX_free(trust->context);
    BIO_meth_free(trust->method);
    free(trust->ca_file);
    *trust = (struct kms_trust){.session = NULL};
}

/* ---- A connection ---- */

static int fail(struct kms_tls *tls, int status)
{
    tls->trouble.status = status;
    ERR_clear_error();
    return status;
}

static int fail_verified(struct kms_tls *tls)
{
    const struct kms_trust *trust = tls->trust;
    bool of_time =
        tls->verdict == X509_V_ERR_CERT_HAS_EXPIRED || tls->verdict == X509_V_ERR_CERT_NOT_YET_VALID;
    bool of_name =
        tls->verdict == X509_V_ERR_HOSTNAME_MISMATCH || tls->verdict == X509_V_ERR_IP_ADDRESS_MISMATCH;
    const char *advice = of_time   ? "see that the enclave's clock is right"
                         : of_name ? "see where the way leads"
                                   : "see that the issuer is among the trusted, or set a CA file";

    error_set(&tls->trouble.why, -EKEYREJECTED, "who answers is not %s: %s (trusted are %s); %s", trust->host,
              X509_verify_cert_error_string(tls->verdict),
              trust->ca_file ? trust->ca_file : "the system's CAs", advice);
    return fail(tls, -EKEYREJECTED);
}

static bool is_out_of_memory(unsigned long code)
{
    return ERR_GET_REASON(code) == ERR_R_MALLOC_FAILURE;
}

/* Whichever layer has failed. */
static int fail_ssl(struct kms_tls *tls, const char *what)
{
    unsigned long code = ERR_peek_error();
    const char *words = code != 0 ? ERR_reason_error_string(code) : NULL;

    if (tls->verdict != X509_V_OK) {
        return fail_verified(tls);
    }
    if (tls->wire.trouble.status != 0) {
        tls->trouble = tls->wire.trouble;
        return fail(tls, tls->wire.trouble.status);
    }
    if (tls->wire.ended) {
        error_set(&tls->trouble.why, -ENOTCONN, "%s: the connection was cut off", what);
        return fail(tls, -ENOTCONN);
    }
    int status = is_out_of_memory(code) ? -ENOMEM : -EPROTO;
    error_set(&tls->trouble.why, status, "%s: TLS failed: %s", what, words ? words : "no reason is told");
    return fail(tls, status);
}

static bool expect_host(SSL *ssl, const struct kms_trust *trust)
{
    X509_VERIFY_PARAM *param = SSL_get0_param(ssl);

    X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    if (trust->is_address) {
        return X509_VERIFY_PARAM_set1_ip_asc(param, trust->host) == 1;
    }
    return X509_VERIFY_PARAM_set1_host(param, trust->host, 0) == 1 &&
           SSL_set_tlsext_host_name(ssl, trust->host) == 1;
}

/* Each resumption brings a new ticket: without an end to it, KMS's certificate would be looked at once in the life of the process. */
static bool is_fresh(const struct kms_trust *trust)
{
    return trust->session && kms_clock_ms(CLOCK_BOOTTIME) - trust->verified_at < KMS_SESSION_MAX_MS;
}

static bool resume(struct kms_tls *tls)
{
    struct kms_trust *trust = tls->trust;

    pthread_mutex_lock(&trust->lock);
    SSL_SESSION *copy = is_fresh(trust) ? SSL_SESSION_dup(trust->session) : NULL;
    tls->verified_at = trust->verified_at;
    pthread_mutex_unlock(&trust->lock);
    bool good = !copy || SSL_set_session(tls->ssl, copy) == 1;
    SSL_SESSION_free(copy);
    return good;
}

static bool prepare(struct kms_tls *tls)
{
    BIO *bio = BIO_new(tls->trust->method);

    if (!bio) {
        return false;
    }
    BIO_set_data(bio, &tls->wire);
    BIO_set_init(bio, 1);
    tls->ssl = SSL_new(tls->trust->context);
    if (!tls->ssl) {
        BIO_free(bio);
        return false;
    }
    SSL_set_bio(tls->ssl, bio, bio);
    return SSL_set_app_data(tls->ssl, tls) == 1 && expect_host(tls->ssl, tls->trust) && resume(tls);
}

int kms_tls_open(struct kms_tls *ret, struct kms_trust *trust, const struct kms_place *to, uint64_t deadline)
{
    *ret = (struct kms_tls){.trust = trust};
    if (kms_wire_open(&ret->wire, to, deadline) != 0) {
        ret->trouble = ret->wire.trouble;
        return ret->trouble.status;
    }
    ERR_clear_error();
    if (!prepare(ret)) {
        error_set(&ret->trouble.why, -ENOMEM, "cannot begin with TLS: out of memory");
        return fail(ret, -ENOMEM);
    }
    if (SSL_connect(ret->ssl) != 1) {
        keep_session(trust, NULL, 0); /* it may be why */
        return fail_ssl(ret, "the TLS handshake");
    }
    return 0;
}

void kms_tls_close(struct kms_tls *tls, bool polite)
{
    polite = polite && tls->ssl && tls->trouble.status == 0;
    if (polite) {
        tls->wire.deadline = 0;
        (void)SSL_shutdown(tls->ssl); /* as far as it goes without waiting */
        ERR_clear_error();
    }
    SSL_free(tls->ssl);
    kms_wire_close(&tls->wire, polite);
    tls->ssl = NULL;
}

/* Tickets and the like are dealt with on the way. Half a record is not quiet: its other half would come in time for an answer. */
bool kms_tls_is_quiet(struct kms_tls *tls)
{
    char byte;
    size_t n = 0;

    if (tls->trouble.status != 0) {
        return false;
    }
    ERR_clear_error();
    tls->wire.looking = true;
    int r = SSL_peek_ex(tls->ssl, &byte, 1, &n);
    tls->wire.looking = false;
    bool quiet =
        r != 1 && SSL_get_error(tls->ssl, r) == SSL_ERROR_WANT_READ && SSL_has_pending(tls->ssl) == 0;
    ERR_clear_error();
    return quiet;
}

ssize_t kms_tls_read(struct kms_tls *tls, void *buffer, size_t size)
{
    size_t n = 0;

    if (tls->trouble.status != 0) {
        return tls->trouble.status;
    }
    ERR_clear_error();
    if (SSL_read_ex(tls->ssl, buffer, size, &n) == 1) {
        return (ssize_t)n;
    }
    return SSL_get_error(tls->ssl, 0) == SSL_ERROR_ZERO_RETURN ? 0 : fail_ssl(tls, "reading the answer");
}

int kms_tls_write(struct kms_tls *tls, const void *data, size_t size)
{
    size_t n = 0;

    if (tls->trouble.status != 0) {
        return tls->trouble.status;
    }
    ERR_clear_error();
    return SSL_write_ex(tls->ssl, data, size, &n) == 1 ? 0 : fail_ssl(tls, "sending the request");
}
