/* What the two halves of TLS tell each other: tls.c, a connection, and tls_client.c, what connections share. */
#ifndef POSTERN_NET_TLS_PRIVATE_H
#define POSTERN_NET_TLS_PRIVATE_H

#include "net/tls.h"

/* A connection's state, with the name to be verified, and the session to be resumed if there is one; its app data is `tls`.
 * NULL: out of memory, or no context. */
SSL *tls_client_connection(struct tls_client *client, struct tls_stream *tls) MUST_CHECK;

const char *tls_client_name(const struct tls_client *client);

/* Notes what is wrong with the peer's certificate. */
void tls_note_verdict(struct tls_stream *tls, const char *format, ...) PRINTF_LIKE(2, 3);

#endif
