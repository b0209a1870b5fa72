/*
 * A ciphertext of KMS's from standard input, decrypted for this enclave alone; the plaintext to standard output.
 *
 *     decrypt [OPTION=VALUE...] < ciphertext
 *
 * An option is one of struct postern_kms_options: region=us-east-1, route=kms, ca_file=/etc/ca.pem. The daemon is at $POSTERN_ADDRESS, or
 * where an enclave finds it. Exit status: 0, or 1 with the reason on standard error.
 */
#include <postern/kms.h>

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#define CIPHERTEXT_MAX 6144

static int fail(const char *message)
{
    fprintf(stderr, "decrypt: %s\n", message);
    return 1;
}

/* Which of the strings in the options has that name. */
static const char **option_of(struct postern_kms_options *options, const char *name, size_t size)
{
    static const struct {
        const char *name;
        size_t at;
    } known[] = {
#define OPTION(name) {#name, offsetof(struct postern_kms_options, name)}
        OPTION(address), OPTION(route),          OPTION(raw_address),      OPTION(region),
        OPTION(host),    OPTION(ca_file),        OPTION(credentials),      OPTION(credentials_file),
        OPTION(profile), OPTION(metadata_route), OPTION(metadata_address), OPTION(insecure_nsm),
    };

    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (strlen(known[i].name) == size && memcmp(known[i].name, name, size) == 0) {
            return (const char **)(void *)((char *)options + known[i].at);
        }
    }
    return NULL;
}

static int read_options(int count, char **words, struct postern_kms_options *options)
{
    for (int i = 0; i < count; i++) {
        const char *equals = strchr(words[i], '=');
        const char **option = equals ? option_of(options, words[i], (size_t)(equals - words[i])) : NULL;

        if (!option) {
            return -1;
        }
        *option = equals + 1;
    }
    return 0;
}

static int decrypt(struct postern_kms *kms, struct postern_error *err)
{
    static char ciphertext[CIPHERTEXT_MAX + 1];
    struct postern_kms_decrypt_request request;
    struct postern_secret secret;
    int status;

    postern_kms_decrypt_request_init(&request);
    request.ciphertext = ciphertext;
    request.ciphertext_length = fread(ciphertext, 1, sizeof ciphertext, stdin); /* one too many is refused */
    if (ferror(stdin)) {
        return fail("cannot read the ciphertext");
    }
    status = postern_kms_decrypt(kms, &request, &secret, err);
    if (status < 0) {
        return fail(err->message);
    }
    /* Unbuffered: of stdio's copy nobody would wipe anything. */
    setvbuf(stdout, NULL, _IONBF, 0);
    status = fwrite(secret.data, 1, secret.length, stdout) == secret.length ? 0 : fail("cannot write");
    postern_secret_wipe(&secret);
    return status;
}

int main(int argc, char **argv)
{
    struct postern_kms_options options;
    struct postern_kms *kms;
    struct postern_error err;
    int status;

    postern_kms_options_init(&options);
    if (read_options(argc - 1, argv + 1, &options) < 0) {
        return fail("usage: decrypt [OPTION=VALUE...] < ciphertext");
    }
    if (options.insecure_nsm) {
        fprintf(stderr, "decrypt: INSECURE: the attestation document comes from a software NSM\n");
    }
    if (postern_kms_open(&options, &kms, &err) < 0) {
        return fail(err.message);
    }
    status = decrypt(kms, &err);
    postern_kms_close(kms);
    return status;
}
