/*
 * What an enclave will measure, for posternctl policy: PCR0, 1, 2 and 8 from what `nitro-cli build-enclave` and `posternctl eif
 * measure --json` print, PCR3 and PCR4 from the role and the instance.
 */
#include "ctl/hex.h"
#include "ctl/policy.h"
#include <errno.h>
#include <jansson.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_MAX ((size_t)64 * 1024)
#define PCR_SIZE (POLICY_PCR_HEX / 2)

static int read_bounded(FILE *in, const char *file, size_t max, char *data, size_t *ret_size,
                        struct error *err)
{
    *ret_size = fread(data, 1, max + 1, in);
    if (ferror(in)) {
        return error_errno(err, -errno, "cannot read %s", file);
    }
    if (*ret_size > max) {
        return error_set(err, -EMSGSIZE, "%s is too large: at most %zu bytes are expected", file, max);
    }
    return 0;
}

static char *read_all(FILE *in, const char *file, size_t max, size_t *ret_size, struct error *err)
{
    char *data = malloc(max + 1);

    if (!data) {
        error_set(err, -ENOMEM, "cannot read %s: out of memory", file);
        return NULL;
    }
    if (read_bounded(in, file, max, data, ret_size, err) != 0) {
        free(data);
        return NULL;
    }
    return data;
}

char *policy_load(const char *file, size_t max, size_t *ret_size, struct error *err)
{
    if (strcmp(file, "-") == 0) {
        return read_all(stdin, "standard input", max, ret_size, err);
    }
    FILE *in = fopen(file, "re");
    if (!in) {
        error_errno(err, -errno, "cannot read %s", file);
        return NULL;
    }
    char *data = read_all(in, file, max, ret_size, err);
    fclose(in);
    return data;
}

bool policy_is_zero(const char *pcr)
{
    return pcr[0] != '\0' && pcr[strspn(pcr, "0")] == '\0';
}

static int take_pcr(struct policy_measured *measured, unsigned index, const char *value, struct error *err)
{
    uint8_t bytes[PCR_SIZE];
    size_t size;

    if (!value || strlen(value) != POLICY_PCR_HEX || !hex_read(value, bytes, sizeof bytes, &size)) {
        return error_set(err, -EBADMSG, "PCR%u is not %d bytes of hex", index, PCR_SIZE);
    }
    hex_write(bytes, size, measured->pcrs[index]);
    return 0;
}

static int take_measurements(const json_t *root, struct policy_measured *measured, struct error *err)
{
    const json_t *list = json_object_get(root, "Measurements");
    int rv = 0;

    if (!json_is_object(list)) {
        return error_set(err, -EBADMSG,
                         "there are no Measurements in it; it wants to be what `nitro-cli "
                         "build-enclave` or `posternctl eif measure --json` prints");
    }
    for (unsigned i = 0; i < IAM_KMS_PCRS && rv == 0; i++) {
        char name[12];
        snprintf(name, sizeof name, "PCR%u", i);
        const json_t *value = json_object_get(list, name);
        rv = value ? take_pcr(measured, i, json_string_value(value), err) : 0;
    }
    if (rv == 0 && measured->pcrs[0][0] == '\0') {
        rv = error_set(err, -EBADMSG, "there is no PCR0 in its Measurements");
    }
    return rv;
}

static int read_measurements(const char *file, struct policy_measured *measured, struct error *err)
{
    json_error_t why = {.text = ""};
    size_t size = 0;
    char *data = policy_load(file, FILE_MAX, &size, err);

    if (!data) {
        return -EIO;
    }
    /* nitro-cli speaks before it prints the document. */
    char *begin = memchr(data, '{', size);
    size_t skipped = begin ? (size_t)(begin - data) : 0;
    json_t *root = json_loadb(data + skipped, size - skipped, JSON_REJECT_DUPLICATES, &why);
    int rv = root ? take_measurements(root, measured, err)
                  : error_set(err, -EBADMSG, "it is no JSON (line %d of it)", why.line);
    if (rv != 0) {
        error_prefix(err, "%s", file);
    }
    json_decref(root);
    free(data);
    return rv;
}

/* As PCRs are extended: SHA-384(48 zero bytes, what is measured). */
static int extend(const char *text, char pcr[POLICY_PCR_HEX + 1], struct error *err)
{
    static const uint8_t zero[PCR_SIZE];
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    EVP_MD_CTX *context = EVP_MD_CTX_new();

    bool good = context && EVP_DigestInit_ex(context, EVP_sha384(), NULL) == 1 &&
                EVP_DigestUpdate(context, zero, sizeof zero) == 1 &&
                EVP_DigestUpdate(context, text, strlen(text)) == 1 &&
                EVP_DigestFinal_ex(context, digest, &size) == 1;
    EVP_MD_CTX_free(context);
    if (!good || size != PCR_SIZE) {
        ERR_clear_error(); /* which keeps memory */
        return error_set(err, -ENOMEM, "cannot measure %s: OpenSSL fails", text);
    }
    hex_write(digest, size, pcr);
    return 0;
}

int policy_measure(struct policy_arguments *arguments, struct error *err)
{
    struct policy_measured *measured = &arguments->measured;
    int rv = arguments->measurements ? read_measurements(arguments->measurements, measured, err) : 0;

    if (rv == 0 && arguments->role) {
        rv = extend(arguments->role, measured->pcrs[3], err);
    }
    if (rv == 0 && arguments->instance) {
        rv = extend(arguments->instance, measured->pcrs[4], err);
    }
    return rv;
}
