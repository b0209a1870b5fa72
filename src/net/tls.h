/*
 * TLS as a client, on a connected socket: a stream (stream.h) on top of a stream.
 *
 * Who the peer is, is always verified: against a CA of one's own or the system's, and against the name it is to have. There is no
 * way to turn that off. TLS 1.2 and 1.3 alone, no renegotiation, ALPN `http/1.1`.
 *
 * A struct tls_client has what connections to one peer share: the files, read when they are first needed and again when they
 * change, and the last session, so that the next handshake is a short one. Sessions are offered for an hour after a whole
 * handshake, those that grew out of others included, so that the peer's certificate is looked at again.
 *
 * How a stream ends: a read of 0 says that the peer closed it by close_notify; when the socket ends without, somebody may
 * have cut something off, and the read is -ECONNRESET. tls_stream_error() has the reason of any failure in words.
 *
 * Readiness is as in stream.h. What the socket does not take of a record is kept, one record at most; the stream is then not
 * writable until it is gone. An idle stream holds no buffer.
 *
 * Lifetimes: the owner embeds the stream. tls_stream_adopt() takes the socket; then `shaken` comes once, never from inside,
 * unless the stream is closed before; if it failed, closing is all that is left. The client outlives its streams. One
 * thread has them all.
 */
#ifndef POSTERN_NET_TLS_H
#define POSTERN_NET_TLS_H

#include "base/compiler.h"
#include "base/error.h"
#include "net/stream.h"
#include <openssl/types.h>
#include <stdbool.h>
#include <stddef.h>
#include <time.h>

struct tls_options {
    const char *server_name; /* a host name or an IP address, which the peer's certificate must name */
    const char *ca_file;     /* PEM; NULL: the system's */
    const char *cert_file;   /* PEM, the chain of a certificate for ourselves; NULL: none */
    const char *key_file;    /* PEM; NULL with cert_file */
};

struct tls_client; /* opaque */

/* The strings of `options` are not owned. NULL: out of memory. */
struct tls_client *tls_client_new(const struct tls_options *options) MUST_CHECK;
void tls_client_free(struct tls_client *client); /* harmless on NULL */

/* Looks whether the files are still those that were read, and reads them if not; to be called before a connection is made.
 * Returns 0; 1: they are others than before, so that what is open was judged by older ones; or a negative errno
 * value with the file and the reason in `err`. */
int tls_client_refresh(struct tls_client *client, struct error *err) MUST_CHECK;

#define TLS_TURN ((size_t)256 * 1024) /* bytes of the peer's after which other streams have their turn */

struct tls_stream;

/* `code` is 0, and the stream can be used; or a negative errno value. */
typedef void (*tls_shaken_cb)(struct tls_stream *tls, int code, const struct error *err);

struct tls_stream {
    struct stream stream;
    bool resumed; /* once shaken: by way of an earlier session */

    /* Private. */
    struct sock_stream sock;
    struct tls_client *client;
    SSL *ssl;
    tls_shaken_cb shaken_cb; /* NULL: has been called */
    time_t verified_at;      /* when the certificate of the session that was offered was looked at */
    bool drained;            /* the socket has nothing more for now, or the turn is over */
    size_t turn_left;        /* bytes that may be read of the socket in this turn */
    bool closed;             /* a close_notify came */
    int write_error;
    char *kept; /* owned: of records, what the socket did not take; NULL: nothing */
    size_t kept_at, kept_size;
    char *verdict; /* owned: what is wrong with the peer's certificate, in words; NULL: nothing so far */
    char *failure; /* owned: for tls_stream_error() */
};

/* Takes over the connected socket that `watcher` watches, and begins the handshake; after tls_client_refresh(). Returns 0, or a
 * negative errno value: the socket is then still the watcher's, and nothing is to be closed. */
int tls_stream_adopt(struct tls_stream *tls, struct tls_client *client, struct poller *poller,
                     struct watcher *watcher, const struct sock_kind_options *kind, stream_cb cb,
                     tls_shaken_cb shaken) MUST_CHECK;

/* As sock_stream_silent(). What has come may be TLS's own. */
bool tls_stream_silent(const struct tls_stream *tls) MUST_CHECK;

/* Why it failed, in words; NULL if it did not. */
const char *tls_stream_error(const struct tls_stream *tls);

#endif
