/*
 * The signer's command line:
 *
 *     signer --listen ADDRESS --key KMS-KEY --requester PUBLIC-KEY.pem [--insecure-nsm ADDRESS]
 *
 * The daemon is at $POSTERN_ADDRESS, or where an enclave finds it, and the region is $AWS_REGION.
 */
#include "signer.h"

#include <getopt.h>
#include <openssl/pem.h>
#include <stdio.h>

#define KMS_PATIENCE_MS 60000 /* it is asked once, and without it there is no signer */

struct arguments {
    const char *listen, *key, *requester;
    const char *insecure_nsm; /* for tests: what it vouches for, anybody could */
};

static const struct option options[] = {
    {"listen", required_argument, NULL, 'l'},
    {"key", required_argument, NULL, 'k'},
    {"requester", required_argument, NULL, 'r'},
    {"insecure-nsm", required_argument, NULL, 'i'},
    {NULL, 0, NULL, 0},
};

static bool parse(int argc, char **argv, struct arguments *ret)
{
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case 'l':
            ret->listen = optarg;
            break;
        case 'k':
            ret->key = optarg;
            break;
        case 'r':
            ret->requester = optarg;
            break;
        case 'i':
            ret->insecure_nsm = optarg;
            break;
        default:
            return false;
        }
    }
    return optind == argc && ret->listen && ret->key && ret->requester;
}

static EVP_PKEY *load_requester(const char *file)
{
    FILE *in = fopen(file, "re");
    EVP_PKEY *key = in ? PEM_read_PUBKEY(in, NULL, NULL, NULL) : NULL;

    if (in) {
        fclose(in);
    }
    if (!key) {
        fprintf(stderr, "signer: %s: a public key in PEM is expected\n", file);
    }
    return key;
}

static EVP_PKEY *load_key(const struct arguments *arguments)
{
    struct postern_kms_options kms_options;
    struct postern_kms *kms;
    struct postern *door;
    struct postern_error err;
    EVP_PKEY *key = NULL;

    if (postern_connect(NULL, NULL, &door, &err) < 0) {
        fprintf(stderr, "signer: connecting: %s\n", err.message);
        return NULL;
    }
    postern_kms_options_init(&kms_options);
    kms_options.postern = door;
    kms_options.insecure_nsm = arguments->insecure_nsm;
    kms_options.timeout_ms = KMS_PATIENCE_MS;
    if (postern_kms_open(&kms_options, &kms, &err) == 0) {
        key = key_get(door, kms, arguments->key);
        postern_kms_close(kms);
    } else {
        fprintf(stderr, "signer: KMS: %s\n", err.message);
    }
    postern_disconnect(door, 1000);
    return key;
}

int main(int argc, char **argv)
{
    struct arguments arguments = {.listen = NULL};
    static struct signer signer;

    if (!parse(argc, argv, &arguments)) {
        fprintf(
            stderr,
            "usage: %s --listen ADDRESS --key KMS-KEY --requester PUBLIC-KEY.pem [--insecure-nsm ADDRESS]\n",
            argv[0]);
        return 2;
    }
    if (arguments.insecure_nsm) {
        fprintf(stderr, "signer: INSECURE: the attestation documents come from a software NSM\n");
    }
    signer.requester = load_requester(arguments.requester);
    signer.key = signer.requester ? load_key(&arguments) : NULL;
    if (signer.key && vouch(signer.key, arguments.insecure_nsm, signer.document) == 0) {
        serve(&signer, arguments.listen);
    }
    EVP_PKEY_free(signer.key);
    EVP_PKEY_free(signer.requester);
    return 1;
}
