/* Signatures, checked: see signature.h. */
#include "sim/signature.h"
#include "aws/canonical.h"
#include "aws/sign.h"
#include "sim/bytes.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ALGORITHM "AWS4-HMAC-SHA256"
#define ENDING    "aws4_request"
#define SERVICE   "kms"

#define INCOMPLETE   "IncompleteSignatureException"
#define INVALID      "InvalidSignatureException"
#define MISSING      "MissingAuthenticationTokenException"
#define UNRECOGNIZED "UnrecognizedClientException"

/* ---- The header ---- */

/* Cuts the next part off at `separator`. */
static char *cut(char **at, char separator)
{
    char *part = *at, *end = part ? strchr(part, separator) : NULL;

    if (!end) {
        return NULL;
    }
    *end = '\0';
    *at = end + 1;
    return part;
}

static char *value_of(char *text, const char *name)
{
    char *found = strstr(text, name);

    return found ? found + strlen(name) : NULL;
}

/* AKID/20150830/us-east-1/kms/aws4_request; a key id has no slash. */
static bool read_scope(char *scope, struct sim_authorization *ret)
{
    ret->access_key_id = cut(&scope, '/');
    ret->day = cut(&scope, '/');
    ret->region = cut(&scope, '/');
    ret->service = cut(&scope, '/');
    return ret->service && strcmp(scope, ENDING) == 0;
}

static void end_at_comma(char *text)
{
    if (text) {
        text[strcspn(text, ", ")] = '\0';
    }
}

bool sim_authorization_read(const char *header, struct sim_authorization *ret)
{
    size_t size = strlen(header);

    memset(ret, 0, sizeof *ret);
    if (size >= sizeof ret->text || strncmp(header, ALGORITHM " ", strlen(ALGORITHM) + 1) != 0) {
        return false;
    }
    memcpy(ret->text, header, size + 1);
    char *scope = value_of(ret->text, "Credential=");
    char *headers = value_of(ret->text, "SignedHeaders=");
    char *signature = value_of(ret->text, "Signature=");
    end_at_comma(scope);
    end_at_comma(headers);
    end_at_comma(signature);
    ret->signed_headers = headers;
    ret->signature = signature;
    return scope && headers && signature && read_scope(scope, ret);
}

/* ---- What was signed ---- */

/* The headers that the signer names, with their values as strings in `text`. */
struct signed_headers {
    struct aws_header list[SIM_HTTP_FIELDS];
    size_t count;
    struct text text;
};

static bool is_listed(const char *list, const char *name)
{
    size_t size = strlen(name);

    for (;;) {
        size_t here = strcspn(list, ";");
        if (here == size && strncasecmp(list, name, size) == 0) {
            return true;
        }
        if (list[here] == '\0') {
            return false;
        }
        list += here + 1;
    }
}

static char *string_of(struct http_span span)
{
    char *copy = malloc(span.size + 1);

    if (copy) {
        memcpy(copy, span.size > 0 ? span.data : "", span.size);
        copy[span.size] = '\0';
    }
    return copy;
}

static void release_headers(struct aws_header *list, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free((char *)list[i].name);
        free((char *)list[i].value);
    }
}

static size_t collect(const struct sim_http_exchange *exchange, const char *listed, struct aws_header *list)
{
    const struct http_fields *fields = &exchange->request->reader.fields;
    size_t count = 0;

    for (unsigned i = 0; i < fields->count && count < SIM_HTTP_FIELDS; i++) {
        struct aws_header header = {string_of(fields->list[i].name), string_of(fields->list[i].value)};
        if (header.name && header.value && is_listed(listed, header.name)) {
            list[count++] = header;
        } else {
            free((char *)header.name);
            free((char *)header.value);
        }
    }
    return count;
}

/* The hash of the canonical request. False: it cannot be told, or is not of the headers that are named. */
static bool hash_request(const struct sim_http_exchange *exchange, const char *listed,
                         char hash[AWS_HASH_HEX_SIZE])
{
    struct aws_header list[SIM_HTTP_FIELDS];
    char payload_hash[AWS_HASH_HEX_SIZE], *method = string_of(exchange->request->method_name);
    struct text out = TEXT_INIT, names = TEXT_INIT;
    struct error err;
    size_t count = collect(exchange, listed, list);
    /* KMS has one path, and no query. */
    struct aws_request request = {.method = method ? method : "",
                                  .target = "/",
                                  .headers = list,
                                  .header_count = count,
                                  .payload_hash = payload_hash};
    bool good = method && aws_hash(text_string(&exchange->body), exchange->body.length, payload_hash) == 0 &&
                aws_canonical(&request, false, &out, &names, &err) == 0 &&
                strcmp(text_string(&names), listed) == 0 && aws_hash(out.data, out.length, hash) == 0;

    release_headers(list, count);
    free(method);
    text_release(&out);
    text_release(&names);
    return good;
}

/* ---- The signature ---- */

static void hmac(const void *key, size_t key_size, const char *text, unsigned char out[AWS_KEY_SIZE])
{
    unsigned char result[AWS_KEY_SIZE] = {0};

    HMAC(EVP_sha256(), key, (int)key_size, (const unsigned char *)text, strlen(text), result, NULL);
    memcpy(out, result, sizeof result);
}

static void sign(const struct sim_credential *credential, const struct sim_authorization *authorization,
                 const char *text, char hex[AWS_HASH_HEX_SIZE])
{
    unsigned char key[AWS_KEY_SIZE];
    char first[512];
    int size = snprintf(first, sizeof first, "AWS4%s", credential->secret_access_key);

    hmac(first, (size_t)size < sizeof first ? (size_t)size : sizeof first - 1, authorization->day, key);
    hmac(key, sizeof key, authorization->region, key);
    hmac(key, sizeof key, authorization->service, key);
    hmac(key, sizeof key, ENDING, key);
    hmac(key, sizeof key, text, key);
    sim_hex(key, sizeof key, hex);
}

static bool holds(const struct sim_credential *credential, const struct sim_authorization *authorization,
                  const char *date, const char *hash)
{
    char text[512], expected[AWS_HASH_HEX_SIZE];

    snprintf(text, sizeof text, ALGORITHM "\n%s\n%s/%s/%s/" ENDING "\n%s", date, authorization->day,
             authorization->region, authorization->service, hash);
    sign(credential, authorization, text, expected);
    return strlen(authorization->signature) == sizeof expected - 1 &&
           CRYPTO_memcmp(authorization->signature, expected, sizeof expected - 1) == 0;
}

/* ---- The rest ---- */

static const struct sim_credential *find(const struct sim_credentials *known, const char *access_key_id)
{
    for (size_t i = 0; i < known->count; i++) {
        if (strcmp(known->list[i].access_key_id, access_key_id) == 0) {
            return &known->list[i];
        }
    }
    return NULL;
}

static int check_date(const char *date, const struct sim_authorization *authorization, time_t now,
                      struct sim_kms_error *error)
{
    struct tm tm = {.tm_sec = 0};
    const char *end = date ? strptime(date, "%Y%m%dT%H%M%SZ", &tm) : NULL;

    if (!end || *end != '\0' || strncmp(date, authorization->day, 8) != 0 ||
        strlen(authorization->day) != 8) {
        return sim_kms_refuse(
            error, INCOMPLETE,
            "Date must be in ISO-8601 'basic format', and the day of the credential's scope. "
            "Got '%.32s'",
            date ? date : "");
    }
    time_t then = timegm(&tm);
    if (then < now - SIM_SKEW_S || then > now + SIM_SKEW_S) {
        return sim_kms_refuse(error, INVALID,
                              "Signature %s: %s is not within %d seconds of the service's time",
                              then < now ? "expired" : "not yet current", date, SIM_SKEW_S);
    }
    return 0;
}

static int check_token(const struct sim_http_exchange *exchange, const struct sim_credential *credential,
                       time_t now, struct sim_kms_error *error)
{
    char buffer[4096];
    const char *token = sim_http_header(exchange, "x-amz-security-token", buffer, sizeof buffer);

    if ((token == NULL) != (credential->session_token == NULL) ||
        (token && strcmp(token, credential->session_token) != 0)) {
        return sim_kms_refuse(error, UNRECOGNIZED, "The security token included in the request is invalid.");
    }
    if (credential->expires != 0 && now >= credential->expires) {
        return sim_kms_refuse(error, "ExpiredTokenException",
                              "The security token included in the request is expired");
    }
    return 0;
}

/* A hash that is sent has to be the body's. */
static bool content_is_as_said(const struct sim_http_exchange *exchange)
{
    char buffer[128], hash[AWS_HASH_HEX_SIZE];
    const char *said = sim_http_header(exchange, "x-amz-content-sha256", buffer, sizeof buffer);

    return !said || (aws_hash(text_string(&exchange->body), exchange->body.length, hash) == 0 &&
                     strcmp(said, hash) == 0);
}

/* `host` at least, and whatever of x-amz-* was sent. */
static bool enough_is_signed(const struct sim_http_exchange *exchange, const char *listed)
{
    const struct http_fields *fields = &exchange->request->reader.fields;

    for (unsigned i = 0; i < fields->count; i++) {
        char name[128];
        struct http_span sent = fields->list[i].name;
        if (sent.size >= sizeof name) {
            continue;
        }
        memcpy(name, sent.data, sent.size);
        name[sent.size] = '\0';
        if (strncasecmp(name, "x-amz-", 6) == 0 && !is_listed(listed, name)) {
            return false;
        }
    }
    return is_listed(listed, "host") && is_listed(listed, "x-amz-date");
}

static int check(const struct sim_http_exchange *exchange, const struct sim_authorization *authorization,
                 const struct sim_credential *credential, const char *region, time_t now,
                 struct sim_kms_error *error)
{
    char date_buffer[32], hash[AWS_HASH_HEX_SIZE];
    const char *date = sim_http_header(exchange, "x-amz-date", date_buffer, sizeof date_buffer);
    int rv = check_date(date, authorization, now, error);

    if (rv != 0) {
        return rv;
    }
    if (strcmp(authorization->region, region) != 0 || strcmp(authorization->service, SERVICE) != 0) {
        return sim_kms_refuse(error, INVALID,
                              "Credential should be scoped to a valid region and service: %s, %s", region,
                              SERVICE);
    }
    if (!enough_is_signed(exchange, authorization->signed_headers) || !content_is_as_said(exchange) ||
        !hash_request(exchange, authorization->signed_headers, hash) ||
        !holds(credential, authorization, date, hash)) {
        return sim_kms_refuse(
            error, INVALID,
            "The request signature we calculated does not match the signature you provided. Check your AWS "
            "Secret "
            "Access Key and signing method. Consult the service documentation for details.");
    }
    return check_token(exchange, credential, now, error);
}

const struct sim_credential *sim_signature_check(const struct sim_http_exchange *exchange,
                                                 const struct sim_credentials *known, const char *region,
                                                 time_t now, struct sim_kms_error *ret_error)
{
    struct sim_authorization authorization;
    char buffer[sizeof authorization.text];
    const char *header = sim_http_header(exchange, "authorization", buffer, sizeof buffer);

    if (!header) {
        sim_kms_refuse(ret_error, MISSING, "Missing Authentication Token");
        return NULL;
    }
    if (!sim_authorization_read(header, &authorization)) {
        sim_kms_refuse(
            ret_error, INCOMPLETE,
            "Authorization header requires 'Credential', 'SignedHeaders' and 'Signature' of " ALGORITHM);
        return NULL;
    }
    const struct sim_credential *credential = find(known, authorization.access_key_id);
    if (!credential) {
        sim_kms_refuse(ret_error, UNRECOGNIZED, "The security token included in the request is invalid.");
        return NULL;
    }
    return check(exchange, &authorization, credential, region, now, ret_error) == 0 ? credential : NULL;
}
