/* What TLS connections to one peer share: the context out of its files, and the last session. See tls.h. */
#include "net/tls_private.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

/* Longer than any file system's clock ticks: a file that changed later than this before it was read may change again without its
 * times telling. */
#define SETTLED_AFTER_S 2

#define SESSION_MAX_S 3600

enum { FILE_CA, FILE_CERT, FILE_KEY, FILE_COUNT };

struct tls_client {
    const char *server_name;
    bool is_address;
    const char *path[FILE_COUNT]; /* NULL: none */
    struct stat stat[FILE_COUNT]; /* of those that the context is from */
    bool settled;
    SSL_CTX *context; /* NULL: not made yet, or its files are not to be had */
    SSL_SESSION *session;
    time_t verified_at; /* when the certificate of the session's peer was looked at */
};

static bool is_address(const char *name)
{
    struct in6_addr address;
    return inet_pton(AF_INET, name, &address) == 1 || inet_pton(AF_INET6, name, &address) == 1;
}

struct tls_client *tls_client_new(const struct tls_options *options)
{
    struct tls_client *client = calloc(1, sizeof *client);
    if (client != NULL) {
        client->server_name = options->server_name;
        client->is_address = is_address(options->server_name);
        client->path[FILE_CA] = options->ca_file;
        client->path[FILE_CERT] = options->cert_file;
        client->path[FILE_KEY] = options->key_file;
    }
    return client;
}

static void forget(struct tls_client *client)
{
    SSL_SESSION_free(client->session);
    if (client->context != NULL && client->path[FILE_CA] == NULL) {
        tls_system_leave();
    }
    SSL_CTX_free(client->context);
    client->session = NULL;
    client->context = NULL;
}

void tls_client_free(struct tls_client *client)
{
    if (client != NULL) {
        forget(client);
        free(client);
    }
}

const char *tls_client_name(const struct tls_client *client)
{
    return client->server_name;
}

/* ---- The peer's certificate ---- */

static void add_names(X509 *certificate, char *text, size_t size)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
    int count = names != NULL ? sk_GENERAL_NAME_num(names) : 0;
    size_t at = 0;
    for (int i = 0; i < count; i++) {
        int type;
        const ASN1_STRING *value = GENERAL_NAME_get0_value(sk_GENERAL_NAME_value(names, i), &type);
        if (type == GEN_DNS && at < size) {
            int n = snprintf(text + at, size - at, "%s%.*s", at > 0 ? ", " : "", ASN1_STRING_length(value),
                             (const char *)ASN1_STRING_get0_data(value));
            at += n > 0 ? (size_t)n : 0;
        }
    }
    if (at == 0) {
        snprintf(text, size, "no host");
    }
    /* Whoever answered chose these bytes. */
    for (char *c = text; *c != '\0'; c++) {
        *c = *c > ' ' && *c < 0x7f ? *c : ' ';
    }
    GENERAL_NAMES_free(names);
}

/* Looks on: the verdict is OpenSSL's, and stands. */
static int on_verified(int good, X509_STORE_CTX *store)
{
    if (good) {
        return good;
    }
    SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    struct tls_stream *tls = SSL_get_app_data(ssl);
    X509 *certificate = X509_STORE_CTX_get_current_cert(store);
    int error = X509_STORE_CTX_get_error(store);
    const char *words = X509_verify_cert_error_string(error);
    bool other_name = error == X509_V_ERR_HOSTNAME_MISMATCH || error == X509_V_ERR_IP_ADDRESS_MISMATCH;
    if (other_name && certificate != NULL) {
        char names[256];
        add_names(certificate, names, sizeof names);
        tls_note_verdict(tls, "%s: wanted %s, the certificate names %s", words, tls->client->server_name,
                         names);
    } else {
        int depth = X509_STORE_CTX_get_error_depth(store);
        const char *ca = tls->client->path[FILE_CA];
        tls_note_verdict(tls, "%s%s (trusted are %s)", words, depth > 0 ? ", of an issuer" : "",
                         ca != NULL ? ca : "the system's CAs");
    }
    return good;
}

/* ---- Sessions ---- */

/* TLS 1.3 has tickets come at any time after the handshake. Taken over: 1. */
static int on_session(SSL *ssl, SSL_SESSION *session)
{
    struct tls_stream *tls = SSL_get_app_data(ssl);
    struct tls_client *client = tls->client;
    if (SSL_get_SSL_CTX(ssl) != client->context) {
        return 0; /* judged by files that have changed since */
    }
    SSL_SESSION_free(client->session);
    client->session = session;
    client->verified_at = SSL_session_reused(ssl) == 1 ? tls->verified_at : time(NULL);
    return 1;
}

/* The time of the session itself is that of its ticket, which each resumption renews. */
static bool is_fresh(const struct tls_client *client)
{
    time_t now = time(NULL);
    return SSL_SESSION_is_resumable(client->session) && now >= client->verified_at &&
           now - client->verified_at < SESSION_MAX_S;
}

SSL *tls_client_connection(struct tls_client *client, struct tls_stream *tls)
{
    SSL *ssl = client->context != NULL ? SSL_new(client->context) : NULL;
    if (ssl == NULL) {
        return NULL;
    }
    X509_VERIFY_PARAM *param = SSL_get0_param(ssl);
    X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    int named = client->is_address ? X509_VERIFY_PARAM_set1_ip_asc(param, client->server_name)
                                   : X509_VERIFY_PARAM_set1_host(param, client->server_name, 0) &&
                                         SSL_set_tlsext_host_name(ssl, client->server_name);
    if (named != 1 || SSL_set_app_data(ssl, tls) != 1) {
        SSL_free(ssl);
        return NULL;
    }
    if (client->session != NULL && is_fresh(client)) {
        tls->verified_at = client->verified_at;
        (void)SSL_set_session(ssl, client->session); /* without it, the handshake is a whole one */
    }
    SSL_set_connect_state(ssl);
    return ssl;
}

/* ---- Files ---- */

static bool same_time(struct timespec a, struct timespec b)
{
    return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

bool tls_same_file(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
           same_time(a->st_mtim, b->st_mtim) && same_time(a->st_ctim, b->st_ctim);
}

bool tls_look_at_file(const char *path, struct stat *ret)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (path == NULL || stat(path, ret) != 0) {
        *ret = (struct stat){.st_size = 0};
        return true;
    }
    return now.tv_sec - ret->st_ctim.tv_sec > SETTLED_AFTER_S;
}

/* The system's CAs have no path of ours; where they are one file, it is watched all the same. */
static const char *watched_path(const struct tls_client *client, unsigned file)
{
    return client->path[file] == NULL && file == FILE_CA ? tls_system_file() : client->path[file];
}

/* Whether anything differs from `client->stat`, which is brought up to date. */
static bool note_files(struct tls_client *client)
{
    bool changed = !client->settled;
    bool settled = true;
    for (unsigned i = 0; i < FILE_COUNT; i++) {
        struct stat current;
        settled &= tls_look_at_file(watched_path(client, i), &current);
        changed |= !tls_same_file(&client->stat[i], &current);
        client->stat[i] = current;
    }
    client->settled = settled;
    return changed;
}

/* A key with a passphrase is not usable: nobody is there to type it. */
static int no_passphrase(char *buffer, int size, int for_writing, void *data)
{
    if (size > 0) {
        buffer[0] = '\0';
    }
    (void)for_writing;
    (void)data;
    return -1;
}

int tls_file_error(const char *path, const char *what, struct error *err)
{
    const char *words = ERR_reason_error_string(ERR_peek_error());
    ERR_clear_error();
    return error_set(err, -EINVAL, "%s: %s%s%s", path, what, words != NULL ? ": " : "",
                     words != NULL ? words : "");
}

/* OpenSSL would wait for a FIFO, and its words for a missing file are poor. */
static int check_file(const char *path, struct error *err)
{
    struct stat about;
    if (path == NULL) {
        return 0;
    }
    if (stat(path, &about) != 0) {
        return error_errno(err, -errno, "cannot read %s", path);
    }
    if (!S_ISREG(about.st_mode)) {
        return error_set(err, -EINVAL, "%s is no regular file", path);
    }
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return error_errno(err, -errno, "cannot read %s", path);
    }
    fclose(file);
    return 0;
}

static int load_ca(SSL_CTX *context, const char *path, struct error *err)
{
    if (path == NULL) {
        return tls_system_use(context, err);
    }
    return SSL_CTX_load_verify_file(context, path) == 1 ? 0
                                                        : tls_file_error(path, "no CA's certificate", err);
}

static int load_own(SSL_CTX *context, const char *cert, const char *key, struct error *err)
{
    if (cert == NULL) {
        return 0;
    }
    if (SSL_CTX_use_certificate_chain_file(context, cert) != 1) {
        return tls_file_error(cert, "no certificate", err);
    }
    bool read = SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) == 1;
    bool another = ERR_GET_REASON(ERR_peek_error()) == X509_R_KEY_VALUES_MISMATCH;
    if (!read && !another) {
        return tls_file_error(key, "no private key without a passphrase", err);
    }
    /* One of another kind would be taken, and no certificate shown. */
    if (another || SSL_CTX_check_private_key(context) != 1) {
        ERR_clear_error();
        return error_set(err, -EKEYREJECTED, "%s is the key of another certificate than %s", key, cert);
    }
    return 0;
}

static int load_files(const struct tls_client *client, SSL_CTX *context, struct error *err)
{
    for (unsigned i = 0; i < FILE_COUNT; i++) {
        int r = check_file(client->path[i], err);
        if (r != 0) {
            return r;
        }
    }
    int r = load_own(context, client->path[FILE_CERT], client->path[FILE_KEY], err);
    return r != 0 ? r
                  : load_ca(context, client->path[FILE_CA], err); /* the last: it may have to be left again */
}

static bool set_rules(SSL_CTX *context)
{
    static const unsigned char http[] = "\x08http/1.1";
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, on_verified);
    SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                                  SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_read_ahead(context, 1); /* a record in one read of the socket, not two */
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(context, on_session);
    SSL_CTX_set_default_passwd_cb(context, no_passphrase);
    return SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) == 1 &&
           SSL_CTX_set_alpn_protos(context, http, sizeof http - 1) == 0;
}

static int make_context(struct tls_client *client, struct error *err)
{
    ERR_clear_error();
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    if (context == NULL || !set_rules(context)) {
        SSL_CTX_free(context);
        ERR_clear_error();
        return error_set(err, -ENOMEM, "cannot prepare TLS: out of memory");
    }
    int r = load_files(client, context, err);
    if (r != 0) {
        SSL_CTX_free(context);
        return r;
    }
    client->context = context;
    return 0;
}

int tls_client_refresh(struct tls_client *client, struct error *err)
{
    bool made = client->context != NULL;
    if (!note_files(client) && made) {
        return 0;
    }
    forget(client);
    int r = make_context(client, err);
    return r == 0 && made ? 1 : r;
}
