/*
 * What tells the public key of this enclave from any other: an attestation document that names it. Made once, at the start, by `postern attest`;
 * that key and image belong together stays true for as long as the key's policy says so, and so the document may be kept and read later.
 */
#include "signer.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/sha.h>
#include <openssl/x509.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static bool digest_key(EVP_PKEY *key, unsigned char digest[DIGEST_SIZE])
{
    unsigned char *der = NULL;
    int length = i2d_PUBKEY(key, &der);

    if (length > 0) {
        SHA256(der, (size_t)length, digest);
    }
    OPENSSL_free(der);
    return length > 0;
}

/* Starts it with these ends of pipes as its standard input and output. */
static int start(int in, int out, const char *insecure_nsm, pid_t *ret)
{
    /* The last two only for a software NSM. */
    const char *arguments[] = {"postern",
                               "attest",
                               "--user-data",
                               "@-",
                               "--format",
                               "base64",
                               insecure_nsm ? "--insecure-nsm" : NULL,
                               insecure_nsm,
                               NULL};
    posix_spawn_file_actions_t actions;

    int rv = posix_spawn_file_actions_init(&actions);
    if (rv != 0) {
        return rv;
    }
    rv = posix_spawn_file_actions_adddup2(&actions, in, STDIN_FILENO);
    rv = rv == 0 ? posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO) : rv;
    rv = rv == 0 ? posix_spawnp(ret, "postern", &actions, NULL, (char *const *)arguments, environ) : rv;
    posix_spawn_file_actions_destroy(&actions);
    return rv;
}

/* Up to the end, of which a newline is a part that is left out. */
static bool read_document(int fd, char document[DOCUMENT_SIZE])
{
    size_t have = 0;
    ssize_t n;

    while (have < DOCUMENT_SIZE && (n = read(fd, document + have, DOCUMENT_SIZE - have)) > 0) {
        have += (size_t)n;
    }
    if (have < 2 || document[have - 1] != '\n') {
        return false;
    }
    document[have - 1] = '\0';
    return strlen(document) == have - 1 && !strchr(document, '\n');
}

/* The digest fits a pipe, whether it is read or not. */
static int run(const unsigned char digest[DIGEST_SIZE], const char *insecure_nsm, int in[2], int out[2],
               char document[DOCUMENT_SIZE])
{
    pid_t pid;
    int status;

    int rv =
        write(in[1], digest, DIGEST_SIZE) == DIGEST_SIZE ? start(in[0], out[1], insecure_nsm, &pid) : errno;
    close(in[1]);
    close(out[1]);
    if (rv != 0) {
        fprintf(stderr, "signer: cannot start postern attest: %s\n", strerror(rv));
        return -1;
    }
    bool good = read_document(out[0], document);
    if (waitpid(pid, &status, 0) != pid || status != 0 || !good) {
        fprintf(stderr, "signer: there is no attestation document for the key\n");
        return -1;
    }
    return 0;
}

int vouch(EVP_PKEY *key, const char *insecure_nsm, char document[DOCUMENT_SIZE])
{
    unsigned char digest[DIGEST_SIZE];
    int in[2], out[2];

    if (!digest_key(key, digest) || pipe2(in, O_CLOEXEC) != 0) {
        return -1;
    }
    if (pipe2(out, O_CLOEXEC) != 0) {
        close(in[0]);
        close(in[1]);
        return -1;
    }
    int rv = run(digest, insecure_nsm, in, out, document);
    close(in[0]);
    close(out[0]);
    return rv;
}
