/*
 * The system's CAs, parsed once for all that trust them, on whatever thread: a bundle is some hundred and fifty certificates,
 * which take a megabyte and more. See tls_private.h.
 *
 * Who was given a store keeps it, by its own reference, when the file has changed and others are given a newer one. When the last
 * user leaves, the store goes.
 */
#include "net/tls_private.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static X509_STORE *store; /* NULL: nobody uses any */
static unsigned users;
static struct stat about; /* of the file that it is from */
static bool settled;      /* no other file can look like that one */

/* As OpenSSL chooses them by itself. */
const char *tls_system_file(void)
{
    const char *file = secure_getenv(X509_get_default_cert_file_env());
    return file != NULL ? file : X509_get_default_cert_file();
}

static const char *system_directory(void)
{
    const char *directory = secure_getenv(X509_get_default_cert_dir_env());
    return directory != NULL ? directory : X509_get_default_cert_dir();
}

/* When memory runs out in the middle, OpenSSL takes a part of the file for the whole, and leaves an error behind. */
static bool read_file(X509_STORE *into)
{
    ERR_clear_error();
    return X509_STORE_load_file(into, tls_system_file()) == 1 && ERR_peek_error() == 0;
}

/* NULL: `err` says why. */
static X509_STORE *load(const struct stat *file, struct error *err)
{
    const char *what = "the system's CAs cannot be read", *path = tls_system_file();
    X509_STORE *made = X509_STORE_new();
    bool good = made != NULL && (file->st_size == 0 || read_file(made));
    if (good) {
        path = system_directory();
        good = X509_STORE_load_path(made, path) == 1;
    }
    if (!good) {
        (void)tls_file_error(path, what, err);
        X509_STORE_free(made);
        return NULL;
    }
    return made;
}

/* Under the lock. */
static int refresh(struct error *err)
{
    struct stat current = {.st_size = 0};
    bool is_settled = tls_look_at_file(tls_system_file(), &current); /* before it is read */
    if (store != NULL && settled && tls_same_file(&about, &current)) {
        return 0;
    }
    X509_STORE *made = load(&current, err);
    if (made == NULL) {
        return -EINVAL;
    }
    X509_STORE_free(store);
    store = made;
    about = current;
    settled = is_settled;
    return 0;
}

int tls_system_use(SSL_CTX *context, struct error *err)
{
    pthread_mutex_lock(&lock);
    int r = refresh(err);
    if (r == 0) {
        SSL_CTX_set1_cert_store(context, store);
        users++;
    }
    pthread_mutex_unlock(&lock);
    return r;
}

void tls_system_leave(void)
{
    pthread_mutex_lock(&lock);
    if (--users == 0) {
        X509_STORE_free(store);
        store = NULL;
    }
    pthread_mutex_unlock(&lock);
}
