/* What the parts of TLS tell each other: tls.c, a connection; tls_client.c, what connections to one peer share; and tls_system.c,
 * what all of these share. */
#ifndef POSTERN_NET_TLS_PRIVATE_H
#define POSTERN_NET_TLS_PRIVATE_H

#include "net/tls.h"
#include <sys/stat.h>

/* A connection's state, with the name to be verified, and the session to be resumed if there is one; its app data is `tls`.
 * NULL: out of memory, or no context. */
SSL *tls_client_connection(struct tls_client *client, struct tls_stream *tls) MUST_CHECK;

const char *tls_client_name(const struct tls_client *client);

/* Notes what is wrong with the peer's certificate. */
void tls_note_verdict(struct tls_stream *tls, const char *format, ...) PRINTF_LIKE(2, 3);

/* The file's state, all zero if there is none. False: it changed so lately that it may change again without its times telling. */
bool tls_look_at_file(const char *path, struct stat *ret);
bool tls_same_file(const struct stat *a, const struct stat *b);

/* Returns -EINVAL, with OpenSSL's words for the first thing that went wrong. */
int tls_file_error(const char *path, const char *what, struct error *err);

/* Has the context trust the system's CAs as they are now. From any thread. 0: tls_system_leave() has to follow. */
int tls_system_use(SSL_CTX *context, struct error *err) MUST_CHECK;
void tls_system_leave(void);

/* The file that they are in, if they are in one. */
const char *tls_system_file(void);

#endif
