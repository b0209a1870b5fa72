/*
 * A TLS connection as a stream: see tls.h.
 *
 *     owner  <-- stream -->  OpenSSL  <-- records, by a BIO of our own -->  sock_stream  <-->  socket
 *
 * The BIO never refuses a record that is written: what the socket does not take is kept, so that OpenSSL never has to
 * have a write repeated, and the owner may offer other sizes the next time. It remembers that a read of the socket came
 * out short, and spares OpenSSL the one that would say so.
 */
#include "net/tls_private.h"

#include <errno.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct tls_stream *of(struct stream *stream)
{
    return CONTAINER_OF(stream, struct tls_stream, stream);
}

static struct tls_stream *of_sock(struct stream *stream)
{
    return CONTAINER_OF(stream, struct tls_stream, sock.stream);
}

/* ---- Words ---- */

static char *PRINTF_LIKE(1, 0) vformat(const char *format, va_list args)
{
    char text[ERROR_TEXT_MAX];
    vsnprintf(text, sizeof text, format, args);
    return strdup(text);
}

void tls_note_verdict(struct tls_stream *tls, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (tls->verdict == NULL) {
        tls->verdict = vformat(format, args);
    }
    va_end(args);
}

const char *tls_stream_error(const struct tls_stream *tls)
{
    return tls->failure;
}

/* What OpenSSL says, and for the two commonest what it means. */
static const char *library_words(unsigned long code)
{
    int reason = ERR_GET_REASON(code);
    if (reason == SSL_R_WRONG_VERSION_NUMBER) {
        return "wrong version number: the peer speaks an old version of TLS, or none";
    }
    if (reason == SSL_R_UNSUPPORTED_PROTOCOL || reason == SSL_R_TLSV1_ALERT_PROTOCOL_VERSION) {
        return "the peer speaks neither TLS 1.2 nor 1.3";
    }
    const char *words = ERR_reason_error_string(code);
    return words != NULL ? words : "an error without words";
}

static const char *failure_words(const struct tls_stream *tls, int code, unsigned long library)
{
    if (tls->verdict != NULL) {
        return tls->verdict;
    }
    if (library != 0 && ERR_GET_REASON(library) != SSL_R_UNEXPECTED_EOF_WHILE_READING) {
        return library_words(library);
    }
    if (code != 0 && code != -ECONNRESET) {
        return error_words(code);
    }
    if (!SSL_is_init_finished(tls->ssl)) {
        return "the peer closed the connection during the handshake";
    }
    return "the peer closed the connection without close_notify";
}

/* Returns a negative errno value. */
static int fail(struct tls_stream *tls, int code)
{
    struct error err;
    unsigned long library = ERR_peek_error();
    const char *words = failure_words(tls, code, library);
    int result = library != 0 && ERR_GET_REASON(library) != SSL_R_UNEXPECTED_EOF_WHILE_READING ? -EPROTO
                 : code != 0                                                                   ? code
                                                                                               : -ECONNRESET;
    error_set(&err, result, "TLS with %s: %s", tls_client_name(tls->client), words);
    ERR_clear_error();
    if (tls->failure == NULL) {
        tls->failure = strdup(err.text);
    }
    tls->stream.failed = tls->stream.hung_up = true;
    return result;
}

/* ---- Records, between OpenSSL and the socket ---- */

/* What TLS has to say of its own (tickets, new keys) OpenSSL takes in for as long as there is some, without coming back: it is
 * told that there is none when a turn is over. */
static void end_turn(struct tls_stream *tls)
{
    if (tls->turn_left == 0 && !tls->drained) {
        tls->drained = true;
        stream_again(&tls->sock.stream, STREAM_READABLE);
    }
}

static int bio_read(BIO *bio, char *data, int size)
{
    struct tls_stream *tls = BIO_get_data(bio);
    const struct stream *sock = &tls->sock.stream;
    BIO_clear_retry_flags(bio);
    end_turn(tls);
    ssize_t n = tls->drained ? -EAGAIN : stream_read(&tls->sock.stream, data, (size_t)size);
    if (n > 0) {
        tls->turn_left -= (size_t)n < tls->turn_left ? (size_t)n : tls->turn_left;
        tls->drained = n < size && !sock->hung_up && !sock->patchy;
        return (int)n;
    }
    if (n == -EAGAIN) {
        tls->drained = true;
        BIO_set_retry_read(bio);
        return -1;
    }
    if (n < 0) {
        errno = (int)-n;
    }
    return n == 0 ? 0 : -1;
}

static int keep(struct tls_stream *tls, const char *data, size_t size)
{
    char *kept = realloc(tls->kept, tls->kept_size + size);
    if (kept == NULL) {
        return -ENOMEM;
    }
    memcpy(kept + tls->kept_size, data, size);
    tls->kept = kept;
    tls->kept_size += size;
    return 0;
}

static int bio_write(BIO *bio, const char *data, int size)
{
    struct tls_stream *tls = BIO_get_data(bio);
    size_t left = (size_t)size;
    BIO_clear_retry_flags(bio);
    if (tls->kept == NULL && tls->write_error == 0) {
        ssize_t n = stream_write(&tls->sock.stream, data, left);
        if (n < 0 && n != -EAGAIN) {
            tls->write_error = (int)n;
        }
        left -= n > 0 ? (size_t)n : 0;
    }
    if (tls->write_error == 0 && left > 0) {
        tls->write_error = keep(tls, data + (size_t)size - left, left);
    }
    return tls->write_error == 0 ? size : -1;
}

static long bio_ctrl(BIO *bio, int what, long number, void *pointer)
{
    (void)bio;
    (void)number;
    (void)pointer;
    return what == BIO_CTRL_FLUSH;
}

static BIO_METHOD *method;
static pthread_once_t method_once = PTHREAD_ONCE_INIT;

/* Kept until the process ends. */
static void make_method(void)
{
    BIO_METHOD *made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "stream");
    if (made != NULL && BIO_meth_set_read(made, bio_read) && BIO_meth_set_write(made, bio_write) &&
        BIO_meth_set_ctrl(made, bio_ctrl)) {
        method = made;
    } else {
        BIO_meth_free(made);
    }
}

static int flush_kept(struct tls_stream *tls)
{
    size_t size = tls->kept_size - tls->kept_at;
    ssize_t n = stream_write(&tls->sock.stream, tls->kept + tls->kept_at, size);
    if (n < 0) {
        return (int)n;
    }
    tls->kept_at += (size_t)n;
    if (tls->kept_at < tls->kept_size) {
        return -EAGAIN;
    }
    free(tls->kept);
    tls->kept = NULL;
    tls->kept_at = tls->kept_size = 0;
    return 0;
}

/* ---- The stream ---- */

/* What a read that brought nothing means. */
static ssize_t judge_read(struct tls_stream *tls, int result)
{
    int code = -errno;
    switch (SSL_get_error(tls->ssl, result)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
        return -EAGAIN;
    case SSL_ERROR_ZERO_RETURN:
        tls->closed = tls->stream.hung_up = true;
        return 0;
    case SSL_ERROR_SYSCALL:
        return fail(tls, code);
    default:
        return fail(tls, 0);
    }
}

/* A count below what was asked says that there is no more for now, so records are read until one is not whole. */
static ssize_t tls_read(struct stream *stream, void *data, size_t size)
{
    struct tls_stream *tls = of(stream);
    size_t done = 0;
    if (tls->failure != NULL) {
        return -ECONNRESET;
    }
    while (done < size) {
        size_t n;
        ERR_clear_error();
        errno = 0;
        int r = SSL_read_ex(tls->ssl, (char *)data + done, size - done, &n);
        if (r != 1) {
            ssize_t verdict = judge_read(tls, r);
            return done > 0 ? (ssize_t)done : verdict;
        }
        done += n;
    }
    return (ssize_t)done;
}

/* Records that went out before one that did not are told of first: they may have been acted on. */
static ssize_t tls_write(struct stream *stream, const void *data, size_t size)
{
    struct tls_stream *tls = of(stream);
    size_t done = 0;
    int error = tls->failure != NULL ? -EPIPE : tls->write_error;
    while (done < size && tls->kept == NULL && error == 0) {
        size_t n;
        ERR_clear_error();
        if (SSL_write_ex(tls->ssl, (const char *)data + done, size - done, &n) == 1) {
            done += n;
        } else {
            error = tls->write_error != 0 ? tls->write_error : fail(tls, 0);
        }
    }
    if (done == 0) {
        return error != 0 ? error : -EAGAIN;
    }
    if (error != 0) {
        stream_again(&tls->sock.stream, STREAM_WRITABLE); /* the next write tells */
    }
    return (ssize_t)done;
}

/* HTTP/1.1 has no half-closed requests: the peer is told, and the socket is left as it is for the answer. */
static int tls_finish(struct stream *stream)
{
    struct tls_stream *tls = of(stream);
    ERR_clear_error();
    int r = tls->failure == NULL && SSL_is_init_finished(tls->ssl) ? SSL_shutdown(tls->ssl) : -1;
    ERR_clear_error();
    return r >= 0 && tls->write_error == 0 ? 0 : -EPIPE;
}

static void tls_again(struct stream *stream, unsigned events)
{
    stream_again(&of(stream)->sock.stream, events);
}

static void tls_mute(struct stream *stream, bool muted)
{
    stream_mute(&of(stream)->sock.stream, muted);
}

/* OpenSSL resumes no session of a connection that is freed without having been shut down. One that was only cut off is as good as
 * any, and upstreams that never say close_notify are many; what broke a rule is struck out by the alert for that. */
static void tls_close(struct stream *stream, bool abort)
{
    struct tls_stream *tls = of(stream);
    if (tls->ssl != NULL && SSL_is_init_finished(tls->ssl)) {
        if (!abort && tls->failure == NULL) {
            (void)tls_finish(stream);
        }
        SSL_set_shutdown(tls->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    }
    SSL_free(tls->ssl);
    free(tls->kept);
    free(tls->verdict);
    free(tls->failure);
    tls->ssl = NULL;
    tls->kept = tls->verdict = tls->failure = NULL;
    sock_stream_close(&tls->sock, abort);
}

static const struct stream_ops tls_ops = {
    .read = tls_read,
    .write = tls_write,
    .finish = tls_finish,
    .again = tls_again,
    .mute = tls_mute,
    .close = tls_close,
};

bool tls_stream_silent(const struct tls_stream *tls)
{
    return SSL_has_pending(tls->ssl) == 0 && sock_stream_silent(&tls->sock);
}

/* ---- The socket's reports ---- */

static void tell_shaken(struct tls_stream *tls, int code)
{
    struct error err = ERROR_INIT;
    tls_shaken_cb cb = tls->shaken_cb;
    tls->shaken_cb = NULL;
    if (code != 0) {
        error_set(&err, code, "%s", tls->failure != NULL ? tls->failure : error_words(-ENOMEM));
    } else if (SSL_has_pending(tls->ssl)) {
        stream_again(&tls->sock.stream, STREAM_READABLE); /* read ahead: no report will come for it */
    }
    cb(tls, code, &err);
}

static void shake(struct tls_stream *tls)
{
    ERR_clear_error();
    errno = 0;
    int r = SSL_do_handshake(tls->ssl);
    int code = tls->write_error != 0 ? tls->write_error : -errno;
    if (r == 1) {
        tls->resumed = SSL_session_reused(tls->ssl) == 1;
        tell_shaken(tls, 0);
        return;
    }
    int why = SSL_get_error(tls->ssl, r);
    if (why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE) {
        tell_shaken(tls, fail(tls, why == SSL_ERROR_SYSCALL ? code : 0));
    }
}

static void on_sock_ready(struct stream *sock, unsigned events)
{
    struct tls_stream *tls = of_sock(sock);
    if ((events & STREAM_READABLE) != 0) {
        tls->drained = false;
        tls->turn_left = TLS_TURN;
    }
    if ((events & STREAM_WRITABLE) != 0 && tls->kept != NULL) {
        int r = flush_kept(tls);
        if (r == -EAGAIN) {
            events &= ~(unsigned)STREAM_WRITABLE;
        } else if (r != 0) {
            tls->write_error = r;
        }
    }
    tls->stream.gone = sock->gone;
    if (tls->shaken_cb != NULL) {
        shake(tls);
    } else if (events != 0) {
        tls->stream.cb(&tls->stream, events);
    }
}

static void release_parts(struct tls_stream *tls)
{
    SSL_free(tls->ssl);
    tls->ssl = NULL;
}

int tls_stream_adopt(struct tls_stream *tls, struct tls_client *client, struct poller *poller,
                     struct watcher *watcher, const struct sock_kind_options *kind, stream_cb cb,
                     tls_shaken_cb shaken)
{
    memset(tls, 0, sizeof *tls);
    (void)pthread_once(&method_once, make_method);
    tls->stream.ops = &tls_ops;
    tls->stream.cb = cb;
    tls->stream.splice_fd = -1;
    tls->sock.watcher.fd = -1;
    tls->sock.poller = poller;
    tls->client = client;
    tls->shaken_cb = shaken;
    tls->turn_left = TLS_TURN;
    tls->ssl = method != NULL ? tls_client_connection(client, tls) : NULL;
    BIO *bio = tls->ssl != NULL ? BIO_new(method) : NULL;
    if (bio == NULL) {
        release_parts(tls);
        ERR_clear_error();
        return -ENOMEM;
    }
    BIO_set_data(bio, tls);
    BIO_set_init(bio, 1);
    SSL_set_bio(tls->ssl, bio, bio);
    int r = sock_stream_adopt(&tls->sock, poller, watcher, kind, on_sock_ready);
    if (r != 0) {
        release_parts(tls);
        return r;
    }
    stream_await_room(&tls->sock.stream); /* its report begins the handshake */
    return 0;
}
