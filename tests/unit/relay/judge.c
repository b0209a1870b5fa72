/* How the judge asks OpenSSL: a server on memory, stopped as soon as it knows the name. */
#include "judge.h"

#include "hello_maker.h"
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>

static void need(bool good)
{
    if (!good) {
        ERR_print_errors_fp(stderr);
        abort();
    }
}

static void sign_itself(X509 *certificate, EVP_PKEY *key)
{
    need(X509_set_version(certificate, X509_VERSION_3) == 1);
    need(ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1) == 1);
    need(X509_gmtime_adj(X509_getm_notBefore(certificate), 0) != NULL);
    need(X509_gmtime_adj(X509_getm_notAfter(certificate), 3600) != NULL);
    need(X509_set_pubkey(certificate, key) == 1);
    need(X509_sign(certificate, key, EVP_sha256()) > 0);
}

SSL_CTX *judge_server(void)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = X509_new();
    need(ctx != NULL && key != NULL && certificate != NULL);
    sign_itself(certificate, key);
    SSL_CTX_set_security_level(ctx, 0);
    need(SSL_CTX_set_min_proto_version(ctx, TLS1_VERSION) == 1);
    need(SSL_CTX_set_cipher_list(ctx, "ALL:COMPLEMENTOFALL") == 1);
    need(SSL_CTX_use_certificate(ctx, certificate) == 1);
    need(SSL_CTX_use_PrivateKey(ctx, key) == 1);
    X509_free(certificate);
    EVP_PKEY_free(key);
    return ctx;
}

static int on_client_hello(SSL *ssl, int *alert, void *data)
{
    struct judge *judge = data;
    const unsigned char *body;
    size_t length;
    (void)alert;
    judge->formed = true;
    if (SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_server_name, &body, &length) == 1) {
        judge->extension = malloc(length + 1);
        need(judge->extension != NULL);
        memcpy(judge->extension, body, length);
        judge->extension_length = length;
    }
    return SSL_CLIENT_HELLO_SUCCESS;
}

/* The name is known: the handshake is ended here, before it costs a signature. */
static int on_server_name(SSL *ssl, int *alert, void *data)
{
    struct judge *judge = data;
    const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    (void)alert;
    judge->judged = true;
    judge->verdict->kind = name != NULL ? VERDICT_NAME : VERDICT_NO_NAME;
    if (name != NULL) {
        strcpy(judge->verdict->name, name);
    }
    return SSL_TLSEXT_ERR_ALERT_FATAL;
}

void judge_init(struct judge *judge)
{
    *judge = (struct judge){.ctx = judge_server()};
    SSL_CTX_set_client_hello_cb(judge->ctx, on_client_hello, judge);
    SSL_CTX_set_tlsext_servername_callback(judge->ctx, on_server_name);
    SSL_CTX_set_tlsext_servername_arg(judge->ctx, judge);
}

void judge_release(struct judge *judge)
{
    SSL_CTX_free(judge->ctx);
}

static void feed(struct judge *judge, const unsigned char *data, size_t length)
{
    SSL *ssl = SSL_new(judge->ctx);
    BIO *in = BIO_new_mem_buf(data, (int)length);
    BIO *out = BIO_new(BIO_s_null());
    need(ssl != NULL && in != NULL && out != NULL);
    BIO_set_mem_eof_return(in, -1);
    SSL_set_bio(ssl, in, out);
    judge->formed = judge->judged = false;
    int result = SSL_accept(ssl);
    if (!judge->judged) {
        bool waits = SSL_get_error(ssl, result) == SSL_ERROR_WANT_READ;
        judge->verdict->kind = waits ? VERDICT_MORE : VERDICT_REFUSED;
    }
    ERR_clear_error();
    SSL_free(ssl);
}

/* The name's extension, as it came, in a hello with nothing else to object to. */
static void feed_moved(struct judge *judge)
{
    static struct bytes message, wire; /* too large for the stack; tests have one thread */
    struct extension extensions[5];
    struct spec spec = {.extensions = extensions, .count = usual_extensions(extensions)};
    unsigned char *body = judge->extension;
    if (body != NULL) {
        extensions[spec.count++] = (struct extension){0, judge->extension_length, body};
    }
    message.length = wire.length = 0;
    make_message(&message, &spec);
    make_records(&wire, message.at, message.length, 16384);
    judge->extension = NULL;
    feed(judge, wire.at, wire.length);
    free(body);
}

void judge_read(struct judge *judge, const unsigned char *data, size_t length, struct verdict *ret)
{
    ret->name[0] = '\0';
    judge->verdict = ret;
    judge->extension = NULL;
    feed(judge, data, length);
    ret->taken = judge->judged;
    if (ret->kind == VERDICT_REFUSED && judge->formed) {
        feed_moved(judge);
    }
    free(judge->extension);
}
