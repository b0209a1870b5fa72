/*
 * Real TLS clients, for the hellos they send: OpenSSL's, with settings as different as it has.
 */
#ifndef POSTERN_TESTS_CLIENTS_H
#define POSTERN_TESTS_CLIENTS_H

#include "hello_maker.h"
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct client {
    int min, max; /* versions; 0: any */
    const char *groups, *ciphers;
    uint64_t options;
    bool alpn, resume, status;
};

extern const struct client clients[];
extern const size_t client_count;

/* The caller frees it. */
SSL_CTX *client_context(const struct client *client);

/* A session to resume, from a handshake with a server of its own. The caller frees it. */
SSL_SESSION *client_session(SSL_CTX *ctx);

/* The first bytes such a client sends, for that name and session (either may be NULL). */
void client_hello(SSL_CTX *ctx, SSL_SESSION *session, const char *name, struct bytes *out);

#endif
