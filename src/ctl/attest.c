/*
 * posternctl attest verify: for anyone who holds an attestation document: what it says, and whether to believe it.
 *
 * All of it is shown, whatever the verdict is: who asks why a document is refused wants to see it.
 */
#include "attest/verify.h"
#include "base/compiler.h"
#include "base/text.h"
#include "base/units.h"
#include "ctl/ctl.h"
#include "ctl/hex.h"
#include "ctl/shown.h"
#include <errno.h>
#include <jansson.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define INPUT_MAX ((size_t)64 * 1024) /* in base64 a document is larger */
#define HEX_MAX   (2 * ATTEST_FIELD_MAX + 1)

enum option_id {
    OPTION_AT = 1,
    OPTION_PCR,
    OPTION_NONCE,
    OPTION_USER_DATA,
    OPTION_PUBLIC_KEY,
    OPTION_ROOT,
    OPTION_MAX_AGE,
    OPTION_DEBUG,
    OPTION_UNSIGNED
};

static const struct option options[] = {
    {"at", required_argument, NULL, OPTION_AT},
    {"pcr", required_argument, NULL, OPTION_PCR},
    {"nonce", required_argument, NULL, OPTION_NONCE},
    {"user-data", required_argument, NULL, OPTION_USER_DATA},
    {"public-key", required_argument, NULL, OPTION_PUBLIC_KEY},
    {"root", required_argument, NULL, OPTION_ROOT},
    {"max-age", required_argument, NULL, OPTION_MAX_AGE},
    {"allow-debug", no_argument, NULL, OPTION_DEBUG},
    {"insecure-unsigned", no_argument, NULL, OPTION_UNSIGNED},
    {NULL, 0, NULL, 0},
};
_Static_assert(ARRAY_SIZE(options) - 1 <= CTL_OPTIONS_MAX, "more options than ctl_next_option() takes");

/* What the command line asks for, and the memory behind it. */
struct request {
    struct attest_expected expected;
    uint8_t pcrs[ATTEST_PCRS][ATTEST_PCR_MAX];
    uint8_t nonce[ATTEST_FIELD_MAX], user_data[ATTEST_FIELD_MAX];
    uint8_t public_key[ATTEST_FIELD_MAX + 1]; /* one more than there may be */
    const char *file;
};

/* ---- The command line ---- */

static bool take_hex(const char *text, uint8_t *data, size_t room, struct attest_bytes *ret)
{
    ret->data = data;
    return hex_read(text, data, room, &ret->size);
}

/* "0=HEX" */
static bool take_pcr(const char *text, struct request *request)
{
    char number[4] = "";
    uint64_t index;
    const char *equals = strchr(text, '=');
    size_t digits = equals ? (size_t)(equals - text) : sizeof number;

    if (digits >= sizeof number) {
        return false;
    }
    memcpy(number, text, digits);
    if (units_parse_u64(number, ATTEST_PCRS - 1, &index) != 0) {
        return false;
    }
    struct attest_bytes *pcr = &request->expected.pcrs[index];
    return take_hex(equals + 1, request->pcrs[index], ATTEST_PCR_MAX, pcr) && pcr->size >= 32;
}

/* now, document, or seconds since 1970. */
static bool take_at(const char *text, struct attest_expected *expected)
{
    uint64_t seconds;

    expected->at_timestamp = strcmp(text, "document") == 0;
    if (expected->at_timestamp || strcmp(text, "now") == 0) {
        expected->at = time(NULL);
        return true;
    }
    if (units_parse_u64(text, UINT32_MAX, &seconds) != 0) {
        return false;
    }
    expected->at = (time_t)seconds;
    return true;
}

/* Else OpenSSL asks at the terminal. */
static int no_passphrase(char *buffer UNUSED, int size UNUSED, int writing UNUSED, void *data UNUSED)
{
    return -1;
}

/* A certificate in PEM, or the fingerprint of one. */
static bool take_root(const char *text, struct attest_expected *expected)
{
    struct attest_bytes bytes;
    uint8_t fingerprint[ATTEST_FINGERPRINT];
    FILE *in;

    if (strlen(text) == 2 * sizeof fingerprint && take_hex(text, fingerprint, sizeof fingerprint, &bytes)) {
        memcpy(expected->root, fingerprint, sizeof fingerprint);
        return true;
    }
    in = fopen(text, "re");
    X509 *root = in ? PEM_read_X509(in, NULL, no_passphrase, NULL) : NULL;
    unsigned size = 0;
    bool good = root && X509_digest(root, EVP_sha256(), expected->root, &size) == 1;
    X509_free(root);
    if (in) {
        fclose(in);
    }
    return good;
}

/* Returns what the value ought to have been, or NULL when it was taken. */
static const char *take_option(int option, struct request *request)
{
    struct attest_expected *expected = &request->expected;
    bool good = true;

    switch (option) {
    case OPTION_AT:
        return take_at(optarg, expected) ? NULL : "--at wants now, document, or seconds since 1970";
    case OPTION_PCR:
        return take_pcr(optarg, request) ? NULL
                                         : "--pcr wants INDEX=HEX, such as 0=1a2b..., of 32 bytes or more";
    case OPTION_NONCE:
        good = take_hex(optarg, request->nonce, sizeof request->nonce, &expected->nonce);
        return good ? NULL : "--nonce wants hex";
    case OPTION_USER_DATA:
        good = take_hex(optarg, request->user_data, sizeof request->user_data, &expected->user_data);
        return good ? NULL : "--user-data wants hex";
    case OPTION_ROOT:
        good = take_root(optarg, expected);
        return good ? NULL : "--root wants a file with a certificate in PEM, or the SHA-256 of one in hex";
    case OPTION_MAX_AGE:
        good = units_parse_duration(optarg, &expected->max_age_ms) == 0 && expected->max_age_ms > 0;
        return good ? NULL : "--max-age wants a duration such as 5m";
    case OPTION_DEBUG:
        expected->debug_too = true;
        return NULL;
    default:
        expected->unsigned_too = true;
        return NULL;
    }
}

/* The key, byte by byte as the document is to hold it. CTL_DONE, or what was wrong has been said. */
static int take_public_key(const struct ctl *ctl, const char *file, struct request *request)
{
    FILE *in = fopen(file, "re");
    size_t size = in ? fread(request->public_key, 1, sizeof request->public_key, in) : 0;
    int code = !in ? -errno : ferror(in) ? -EIO : 0;
    struct error err = ERROR_INIT;

    if (in) {
        fclose(in);
    }
    if (code < 0) {
        error_errno(&err, code, "--public-key: cannot read %s", file);
        return ctl_failed(ctl, err.text);
    }
    if (size == 0 || size > ATTEST_FIELD_MAX) {
        return ctl_usage_error(ctl,
                               "--public-key: %s is %s: a document holds a key of 1 to %d bytes, as "
                               "`postern attest --public-key` was given it",
                               file, size == 0 ? "empty" : "too large", ATTEST_FIELD_MAX);
    }
    request->expected.public_key = (struct attest_bytes){.data = request->public_key, .size = size};
    return CTL_DONE;
}

/* 0, or CTL_OPTIONS_STOP. */
static int take_arguments(struct ctl *ctl, int argc, char **argv, struct request *request, int *ret_code)
{
    int option;

    attest_expect(&request->expected, time(NULL));
    while ((option = ctl_next_option(ctl, argc, argv, options, ret_code)) > 0) {
        if (option == OPTION_PUBLIC_KEY) {
            *ret_code = take_public_key(ctl, optarg, request);
            if (*ret_code != CTL_DONE) {
                return CTL_OPTIONS_STOP;
            }
            continue;
        }
        const char *wrong = take_option(option, request);
        if (wrong) {
            *ret_code = ctl_usage_error(ctl, "%s, not \"%s\"", wrong, optarg);
            return CTL_OPTIONS_STOP;
        }
    }
    if (option == CTL_OPTIONS_STOP) {
        return option;
    }
    if (argc - optind != 2 || strcmp(argv[optind], "verify") != 0) {
        *ret_code =
            ctl_usage_error(ctl, "attest wants `verify FILE`, where FILE may be - for standard input");
        return CTL_OPTIONS_STOP;
    }
    if (request->expected.at_timestamp && request->expected.max_age_ms > 0) {
        *ret_code =
            ctl_usage_error(ctl,
                            "--max-age does not go with --at document: no document is older than itself");
        return CTL_OPTIONS_STOP;
    }
    request->file = argv[optind + 1];
    return 0;
}

/* ---- The document ---- */

static const char *name_of(const char *file)
{
    return strcmp(file, "-") == 0 ? "standard input" : file;
}

static int read_input(const char *file, uint8_t *data, size_t *ret_size, struct error *err)
{
    bool opened = strcmp(file, "-") != 0;
    FILE *in = opened ? fopen(file, "re") : stdin;

    if (!in) {
        return error_errno(err, -errno, "cannot read %s", file);
    }
    *ret_size = fread(data, 1, INPUT_MAX + 1, in);
    int rv = ferror(in) ? error_errno(err, -errno, "cannot read %s", name_of(file)) : 0;
    if (opened) {
        fclose(in);
    }
    if (rv == 0 && *ret_size > INPUT_MAX) {
        rv = error_set(err, -EMSGSIZE, "%s is no attestation document: it is too large", name_of(file));
    }
    return rv;
}

/* A COSE_Sign1 begins with 0x84, or its tag, and no text does. Anything else may be base64, as KMS is given it. */
static void decode(uint8_t *data, size_t *size)
{
    EVP_ENCODE_CTX *context = NULL;
    uint8_t *plain;
    int some = 0, rest = 0;

    if (*size == 0 || data[0] == 0x84 || data[0] == 0xd2) {
        return;
    }
    context = EVP_ENCODE_CTX_new();
    plain = malloc(*size + 1);
    if (context && plain) {
        EVP_DecodeInit(context);
        if (EVP_DecodeUpdate(context, plain, &some, data, (int)*size) >= 0 &&
            EVP_DecodeFinal(context, plain + some, &rest) == 1) {
            *size = (size_t)some + (size_t)rest;
            memcpy(data, plain, *size);
        }
    }
    free(plain);
    EVP_ENCODE_CTX_free(context);
}

/* ---- What is shown ---- */

static const char *hex(const struct attest_bytes *bytes, char text[HEX_MAX])
{
    return hex_write(bytes->data, bytes->size, text);
}

static json_t *hex_json(const struct attest_bytes *bytes)
{
    char text[HEX_MAX];

    return bytes->data ? json_string(hex(bytes, text)) : json_null();
}

static json_t *pcrs_json(const struct attest_document *document)
{
    json_t *pcrs = json_object();

    for (unsigned i = 0; i < ATTEST_PCRS; i++) {
        char name[12];
        snprintf(name, sizeof name, "%u", i);
        if (document->pcrs[i].data) {
            json_object_set_new(pcrs, name, hex_json(&document->pcrs[i]));
        }
    }
    return pcrs;
}

static json_t *to_json(const struct attest_document *document, int verdict, const char *why)
{
    return json_pack("{s:b, s:o, s:s%, s:I, s:b, s:b, s:o, s:o, s:o, s:o}", "verified", verdict == 0,
                     "reason", verdict == 0 ? json_null() : shown_json(why, strlen(why)), "module_id",
                     (const char *)document->module_id.data, document->module_id.size, "timestamp_ms",
                     (json_int_t)document->timestamp_ms, "signed", document->algorithm == ATTEST_ES384,
                     "debug", attest_pcr_is_zero(document, 0), "pcrs", pcrs_json(document), "public_key",
                     hex_json(&document->public_key), "user_data", hex_json(&document->user_data), "nonce",
                     hex_json(&document->nonce));
}

static void print_time(const struct ctl *ctl, uint64_t ms)
{
    char text[32] = "far in the future";
    struct tm tm;
    time_t seconds = (time_t)(ms / 1000);

    if (ms / 1000 <= INT64_MAX && gmtime_r(&seconds, &tm)) {
        (void)strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &tm);
    }
    fprintf(ctl->out, "made        %s\n", text);
}

static void print_given(const struct ctl *ctl, const char *name, const struct attest_bytes *bytes)
{
    char text[HEX_MAX];

    if (bytes->data) {
        fprintf(ctl->out, "%-11s %s\n", name, bytes->size > 0 ? hex(bytes, text) : "(empty)");
    }
}

static void print_document(const struct ctl *ctl, const struct attest_document *document)
{
    unsigned zero = 0;
    char text[HEX_MAX];

    fprintf(ctl->out, "module      %.*s\n", (int)document->module_id.size, document->module_id.data);
    print_time(ctl, document->timestamp_ms);
    for (unsigned i = 0; i < ATTEST_PCRS; i++) {
        if (i > 0 && attest_pcr_is_zero(document, i)) {
            zero++;
        } else if (document->pcrs[i].data) {
            fprintf(ctl->out, "PCR%-8u %s\n", i, hex(&document->pcrs[i], text));
        }
    }
    if (zero > 0) {
        fprintf(ctl->out, "            and %u more that are zero\n", zero);
    }
    print_given(ctl, "public key", &document->public_key);
    print_given(ctl, "user data", &document->user_data);
    print_given(ctl, "nonce", &document->nonce);
}

/* What the verdict leaves out, or what was given up for it. */
static void print_warnings(const struct ctl *ctl, const struct attest_document *document,
                           const struct attest_expected *expected)
{
    bool any = false;

    for (unsigned i = 0; i < ATTEST_PCRS; i++) {
        any = any || expected->pcrs[i].data;
    }
    if (document->algorithm != ATTEST_ES384) {
        fputs("INSECURE: nobody has signed it; anyone can make such a document\n", ctl->err);
    }
    if (attest_pcr_is_zero(document, 0)) {
        fputs("INSECURE: a debug enclave; its parent reads its console, and its measurements say nothing\n",
              ctl->err);
    }
    if (!any) {
        fputs("note: no measurement was compared; say which image it has to be by --pcr 0=HEX\n", ctl->err);
    }
}

static int tell(const struct ctl *ctl, const struct attest_document *document, const struct request *request,
                int verdict, struct error *why)
{
    if (verdict != 0) {
        error_prefix(why, "%s", name_of(request->file));
    }
    if (ctl->json) {
        int rv = ctl_print_json(ctl, to_json(document, verdict, why->text));
        return verdict == 0 ? rv : CTL_FAILED;
    }
    print_document(ctl, document);
    if (verdict != 0) {
        return ctl_failed(ctl, why->text);
    }
    fputs("verified\n", ctl->out);
    print_warnings(ctl, document, &request->expected);
    return CTL_DONE;
}

static int verify(const struct ctl *ctl, const struct request *request, uint8_t *data)
{
    struct attest_document document;
    struct error err = ERROR_INIT;
    size_t size = 0;

    int rv = read_input(request->file, data, &size, &err);
    if (rv != 0) {
        return ctl_failed(ctl, err.text);
    }
    decode(data, &size);
    rv = attest_parse(data, size, &document, &err);
    if (rv != 0) {
        error_prefix(&err, "%s", name_of(request->file));
        return ctl_failed(ctl, err.text);
    }
    rv = attest_verify(&document, &request->expected, &err);
    return tell(ctl, &document, request, rv, &err);
}

int ctl_attest(struct ctl *ctl, int argc, char **argv)
{
    struct request request;
    int code = CTL_FAILED;

    if (take_arguments(ctl, argc, argv, &request, &code) == CTL_OPTIONS_STOP) {
        return code;
    }
    uint8_t *data = malloc(INPUT_MAX + 1);
    if (!data) {
        return ctl_failed(ctl, "cannot read the document: out of memory");
    }
    code = verify(ctl, &request, data);
    free(data);
    return code;
}
