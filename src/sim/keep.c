/* The simulator's directory: see keep.h. */
#include "sim/keep.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <unistd.h>

int sim_file_read(const char *path, struct text *out, struct error *err)
{
    char piece[16 * 1024];
    size_t n;
    FILE *in = fopen(path, "re");

    if (!in) {
        return error_errno(err, -errno, "cannot read %s", path);
    }
    while ((n = fread(piece, 1, sizeof piece, in)) > 0 && out->length + n <= SIM_FILE_MAX) {
        text_add_bytes(out, piece, n);
    }
    int code = ferror(in) ? -EIO : n > 0 ? -EFBIG : out->failed ? -ENOMEM : 0;
    fclose(in);
    return code == 0 ? 0 : error_errno(err, code, "cannot read %s", path);
}

static int write_all(int fd, const char *data, size_t size)
{
    while (size > 0) {
        ssize_t n = write(fd, data, size);
        if (n < 0 && errno != EINTR) {
            return -errno;
        }
        data += n < 0 ? 0 : n;
        size -= n < 0 ? 0 : (size_t)n;
    }
    return 0;
}

int sim_file_write(const char *directory, const char *name, const void *data, size_t size, struct error *err)
{
    char path[PATH_MAX], next[PATH_MAX];

    if (snprintf(path, sizeof path, "%s/%s", directory, name) >= (int)sizeof path ||
        snprintf(next, sizeof next, "%s/.%s.new", directory, name) >= (int)sizeof next) {
        return error_set(err, -ENAMETOOLONG, "cannot write %s: the directory's name is too long", name);
    }
    int fd = open(next, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    int rv = fd < 0 ? -errno : write_all(fd, data, size);
    if (fd >= 0 && close(fd) != 0 && rv == 0) {
        rv = -errno;
    }
    if (rv == 0 && rename(next, path) != 0) {
        rv = -errno;
    }
    return rv == 0 ? 0 : error_errno(err, rv, "cannot write %s", path);
}

static int open_pem(const char *directory, const char *name, const char *ending, struct text *ret,
                    struct error *err)
{
    char path[PATH_MAX];

    if (snprintf(path, sizeof path, "%s/%s%s", directory, name, ending) >= (int)sizeof path) {
        return error_set(err, -ENAMETOOLONG, "cannot read %s: the directory's name is too long", name);
    }
    return sim_file_read(path, ret, err);
}

/* Both, out of texts of PEM. */
static int parse(const struct text *certificate, const struct text *secret, EVP_PKEY **ret_key,
                 X509 **ret_paper)
{
    BIO *first = BIO_new_mem_buf(text_string(certificate), (int)certificate->length);
    BIO *second = BIO_new_mem_buf(text_string(secret), (int)secret->length);

    *ret_paper = first ? PEM_read_bio_X509(first, NULL, NULL, NULL) : NULL;
    *ret_key = second ? PEM_read_bio_PrivateKey(second, NULL, NULL, NULL) : NULL;
    BIO_free(first);
    BIO_free(second);
    ERR_clear_error();
    if (*ret_paper && *ret_key && X509_check_private_key(*ret_paper, *ret_key) == 1) {
        return 0;
    }
    ERR_clear_error();
    X509_free(*ret_paper);
    EVP_PKEY_free(*ret_key);
    *ret_paper = NULL;
    *ret_key = NULL;
    return -EBADMSG;
}

int sim_keep_load(const char *directory, const char *name, EVP_PKEY **ret_key, X509 **ret_paper,
                  struct error *err)
{
    struct text certificate = TEXT_INIT, secret = TEXT_INIT;
    int rv = open_pem(directory, name, ".pem", &certificate, err);

    if (rv == 0) {
        rv = open_pem(directory, name, ".key", &secret, err);
    }
    if (rv == 0) {
        rv = parse(&certificate, &secret, ret_key, ret_paper);
        if (rv != 0) {
            error_set(err, rv,
                      "%s/%s.pem and %s.key are no certificate with its key; remove both to have new ones",
                      directory, name, name);
        }
    }
    text_release(&certificate);
    text_release(&secret);
    return rv;
}

static int save_bio(const char *directory, const char *name, const char *ending, BIO *from, struct error *err)
{
    char file[64];
    char *data;
    long size = BIO_get_mem_data(from, &data);

    snprintf(file, sizeof file, "%s%s", name, ending);
    return sim_file_write(directory, file, data, (size_t)size, err);
}

/* The key first: a certificate is not there without it. */
int sim_keep_save(const char *directory, const char *name, EVP_PKEY *key, X509 *paper, struct error *err)
{
    BIO *certificate = BIO_new(BIO_s_mem()), *secret = BIO_new(BIO_s_mem());
    int rv;

    if (certificate && secret && PEM_write_bio_X509(certificate, paper) == 1 &&
        PEM_write_bio_PrivateKey(secret, key, NULL, NULL, 0, NULL, NULL) == 1) {
        rv = save_bio(directory, name, ".key", secret, err);
        rv = rv == 0 ? save_bio(directory, name, ".pem", certificate, err) : rv;
    } else {
        rv = error_set(err, -EIO, "cannot write %s: the cryptographic library failed", name);
    }
    BIO_free(certificate);
    BIO_free(secret);
    ERR_clear_error();
    return rv;
}
