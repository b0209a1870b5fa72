/* Clients that differ in whatever a hello shows: versions, groups, ciphers, options, a session to resume. */
#include "clients.h"

#include "base/compiler.h"
#include "judge.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// clang-format off
#include <cmocka.h>
// clang-format on

void client_hello(SSL_CTX *ctx, SSL_SESSION *session, const char *name, struct bytes *out)
{
    SSL *ssl = SSL_new(ctx);
    BIO *written = BIO_new(BIO_s_mem());
    char *data;
    assert_non_null(ssl);
    SSL_set_bio(ssl, BIO_new(BIO_s_mem()), written);
    if (session != NULL) {
        assert_int_equal(SSL_set_session(ssl, session), 1);
    }
    if (name != NULL) {
        assert_int_equal(SSL_set_tlsext_host_name(ssl, name), 1);
    }
    SSL_connect(ssl);
    long length = BIO_get_mem_data(written, &data);
    assert_true(length > 0);
    out->length = 0;
    put(out, data, (size_t)length);
    SSL_free(ssl);
}

static int keep_session(SSL *ssl, SSL_SESSION *session)
{
    SSL_SESSION **kept = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
    SSL_SESSION_free(*kept);
    *kept = session;
    return 1;
}

/* Moves what one side wrote to the other. */
static void carry(SSL *from, SSL *to)
{
    char *data;
    BIO *written = SSL_get_wbio(from);
    long length = BIO_get_mem_data(written, &data);
    BIO_write(SSL_get_rbio(to), data, (int)length);
    assert_int_equal(BIO_reset(written), 1);
}

SSL_SESSION *client_session(SSL_CTX *client_ctx)
{
    SSL_SESSION *session = NULL;
    SSL_CTX *server_ctx = judge_server();
    SSL *client = SSL_new(client_ctx), *server = SSL_new(server_ctx);
    char byte;
    SSL_CTX_set_app_data(client_ctx, &session);
    SSL_CTX_set_session_cache_mode(client_ctx, SSL_SESS_CACHE_CLIENT);
    SSL_CTX_sess_set_new_cb(client_ctx, keep_session);
    SSL_set_bio(client, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
    SSL_set_bio(server, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
    SSL_set_tlsext_host_name(client, "first.example");
    for (int turn = 0; turn < 4; turn++) {
        SSL_connect(client);
        carry(client, server);
        SSL_accept(server);
        carry(server, client);
    }
    SSL_read(client, &byte, 1);
    assert_non_null(session);
    SSL_shutdown(client);
    SSL_free(client);
    SSL_free(server);
    SSL_CTX_free(server_ctx);
    return session;
}

const struct client clients[] = {
    {0, 0, NULL, NULL, 0, false, false, false},
    {0, 0, "X25519", NULL, 0, true, false, true},
    {0, 0, "P-521:P-384:P-256:X25519:X448:ffdhe2048", NULL, 0, true, false, false},
    {TLS1_VERSION, TLS1_VERSION, NULL, "ALL", 0, false, false, false},
    {TLS1_1_VERSION, TLS1_1_VERSION, NULL, "ALL", SSL_OP_NO_TICKET, true, false, false},
    {TLS1_2_VERSION, TLS1_2_VERSION, "P-256", NULL, SSL_OP_TLSEXT_PADDING, true, false, true},
    {TLS1_2_VERSION, TLS1_2_VERSION, NULL, "ECDHE-RSA-AES128-GCM-SHA256", SSL_OP_NO_ENCRYPT_THEN_MAC, false,
     true, false},
    {TLS1_3_VERSION, TLS1_3_VERSION, "X25519", NULL, SSL_OP_TLSEXT_PADDING, true, false, true},
    {TLS1_3_VERSION, TLS1_3_VERSION, "ffdhe8192", NULL, SSL_OP_NO_TICKET, false, false, false},
    {TLS1_3_VERSION, TLS1_3_VERSION, "P-256", NULL, SSL_OP_ALLOW_NO_DHE_KEX, true, true, true},
    {0, 0, NULL, "ALL:COMPLEMENTOFALL", SSL_OP_TLSEXT_PADDING | SSL_OP_CRYPTOPRO_TLSEXT_BUG, true, true,
     false},
    {0, 0, NULL, NULL, SSL_OP_NO_EXTENDED_MASTER_SECRET, true, true, false},
};

const size_t client_count = ARRAY_SIZE(clients);

SSL_CTX *client_context(const struct client *client)
{
    static const unsigned char alpn[] = "\x02h2\x08http/1.1";
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    assert_non_null(ctx);
    SSL_CTX_set_security_level(ctx, 0);
    assert_int_equal(SSL_CTX_set_min_proto_version(ctx, client->min), 1);
    assert_int_equal(SSL_CTX_set_max_proto_version(ctx, client->max), 1);
    SSL_CTX_set_options(ctx, client->options);
    if (client->groups != NULL) {
        assert_int_equal(SSL_CTX_set1_groups_list(ctx, client->groups), 1);
    }
    if (client->ciphers != NULL && !client->resume) {
        assert_int_equal(SSL_CTX_set_cipher_list(ctx, client->ciphers), 1);
    }
    if (client->alpn) {
        assert_int_equal(SSL_CTX_set_alpn_protos(ctx, alpn, sizeof alpn - 1), 0);
    }
    if (client->status) {
        SSL_CTX_set_tlsext_status_type(ctx, TLSEXT_STATUSTYPE_ocsp);
    }
    return ctx;
}
