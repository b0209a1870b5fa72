/*
 * The judge of scorecard R2: what OpenSSL makes of a ClientHello, as a server that is fed the same bytes.
 *
 * OpenSSL parses a hello in two steps: the message's form, after which it calls client_hello_cb, and then
 * what the extensions say, after which it calls the servername callback. A hello that fails in between for
 * a reason which is not the name's (no cipher in common, a key share that is no point) is judged by its
 * server_name extension moved into a hello that is otherwise good.
 */
#ifndef POSTERN_TESTS_JUDGE_H
#define POSTERN_TESTS_JUDGE_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>

enum verdict_kind {
    VERDICT_MORE,    /* OpenSSL waits for more bytes */
    VERDICT_REFUSED, /* it fails the handshake over the form of the hello or of its server_name */
    VERDICT_NAME,
    VERDICT_NO_NAME,
};

struct verdict {
    enum verdict_kind kind;
    bool taken;       /* false: it reads the name, but fails the handshake over something else */
    char name[65536]; /* as it was sent */
};

struct judge {
    SSL_CTX *ctx;
    struct verdict *verdict;  /* of the hello being judged */
    bool formed, judged;      /* how far OpenSSL got */
    unsigned char *extension; /* server_name's body; NULL without one */
    size_t extension_length;
};

void judge_init(struct judge *judge);
void judge_release(struct judge *judge);
void judge_read(struct judge *judge, const unsigned char *data, size_t length, struct verdict *ret);

/* A server's context with a certificate made on the spot. The caller frees it. */
SSL_CTX *judge_server(void);

#endif
