/* Signature Version 4: see sign.h. */
#include "aws/sign.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <string.h>
#include <strings.h>

#define ALGORITHM "AWS4-HMAC-SHA256"
#define ENDING    "aws4_request"

void aws_signer_init(struct aws_signer *signer, const char *region, const char *service)
{
    memset(signer, 0, sizeof *signer);
    signer->region = region;
    signer->service = service;
    signer->as_is = signer->hash_header = aws_is_s3(service);
}

void aws_signer_release(struct aws_signer *signer)
{
    OPENSSL_cleanse(signer->key, sizeof signer->key);
    OPENSSL_cleanse(signer->secret_hash, sizeof signer->secret_hash);
    signer->day[0] = '\0';
}

void aws_signature_release(struct aws_signature *signature)
{
    text_release(&signature->authorization);
}

void aws_steps_release(struct aws_steps *steps)
{
    text_release(&steps->canonical);
    text_release(&steps->string_to_sign);
}

/* ---- Hashes ---- */

static void to_hex(const unsigned char hash[AWS_KEY_SIZE], char ret[AWS_HASH_HEX_SIZE])
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < AWS_KEY_SIZE; i++) {
        ret[2 * i] = digits[hash[i] >> 4];
        ret[2 * i + 1] = digits[hash[i] & 15];
    }
    ret[AWS_HASH_HEX_SIZE - 1] = '\0';
}

/* Nothing is left in the thread's queue of errors, where a TLS connection's next call would find it. */
static int crypto_failed(void)
{
    ERR_clear_error();
    return -EIO;
}

static int sha256(const void *data, size_t size, unsigned char ret[AWS_KEY_SIZE])
{
    return EVP_Digest(data, size, ret, NULL, EVP_sha256(), NULL) == 1 ? 0 : crypto_failed();
}

int aws_hash(const void *data, size_t size, char ret[AWS_HASH_HEX_SIZE])
{
    unsigned char hash[AWS_KEY_SIZE];
    int rv = sha256(data, size, hash);
    if (rv == 0) {
        to_hex(hash, ret);
    }
    return rv;
}

static int hmac(const void *key, size_t key_size, const char *text, unsigned char ret[AWS_KEY_SIZE])
{
    unsigned int length;
    const unsigned char *done =
        HMAC(EVP_sha256(), key, (int)key_size, (const unsigned char *)text, strlen(text), ret, &length);
    return done != NULL ? 0 : crypto_failed();
}

/* ---- The key ---- */

/* The secret itself is made into a text only here, and wiped. */
static int hmac_of_secret(const char *secret, const char *day, unsigned char ret[AWS_KEY_SIZE])
{
    struct text key = TEXT_SECRET_INIT;
    text_add(&key, "AWS4");
    text_add(&key, secret);
    int rv = key.failed ? -ENOMEM : hmac(key.data, key.length, day, ret);
    text_release(&key);
    return rv;
}

static int derive_key(struct aws_signer *signer, const char *secret, const char *day)
{
    const char *const parts[] = {signer->region, signer->service, ENDING};
    int rv = hmac_of_secret(secret, day, signer->key);
    for (size_t i = 0; i < ARRAY_SIZE(parts) && rv == 0; i++) {
        rv = hmac(signer->key, sizeof signer->key, parts[i], signer->key);
    }
    return rv;
}

/* The day's key, made anew when the day or the secret has changed. */
static int ready_key(struct aws_signer *signer, const char *secret, const char *day)
{
    unsigned char secret_hash[AWS_KEY_SIZE];
    int rv = sha256(secret, strlen(secret), secret_hash);
    if (rv != 0) {
        return rv;
    }
    bool same = CRYPTO_memcmp(secret_hash, signer->secret_hash, sizeof secret_hash) == 0;
    if (same && strcmp(signer->day, day) == 0) {
        return 0;
    }
    signer->day[0] = '\0';
    rv = derive_key(signer, secret, day);
    if (rv == 0) {
        memcpy(signer->secret_hash, secret_hash, sizeof secret_hash);
        memcpy(signer->day, day, sizeof signer->day);
    }
    return rv;
}

/* ---- The signature ---- */

/* What this module sets, so that whoever sent the request cannot have set it. */
static bool is_ours(const char *name)
{
    return strcasecmp(name, "authorization") == 0 || strcasecmp(name, "x-amz-date") == 0 ||
           strcasecmp(name, "x-amz-security-token") == 0 || strcasecmp(name, "x-amz-content-sha256") == 0;
}

/* The request's headers, and ours, in `headers`. How many, or an error. */
static int join_headers(const struct aws_request *request, const struct aws_signature *signature,
                        const char *token, struct aws_header *headers, struct error *err)
{
    size_t count = 0;
    for (; count < request->header_count; count++) {
        if (count == AWS_HEADERS_MAX) {
            return error_set(err, -E2BIG, "signing a request: it has more than %d headers", AWS_HEADERS_MAX);
        }
        headers[count] = request->headers[count];
        if (is_ours(headers[count].name)) {
            return error_set(err, -EINVAL, "signing a request: it has a header %s already; remove it first",
                             headers[count].name);
        }
    }
    headers[count++] = (struct aws_header){"x-amz-date", signature->date};
    if (signature->sends_payload_hash) {
        headers[count++] = (struct aws_header){"x-amz-content-sha256", request->payload_hash};
    }
    if (signature->sends_token) {
        headers[count++] = (struct aws_header){"x-amz-security-token", token};
    }
    return (int)count;
}

static int make_canonical(const struct aws_signer *signer, const struct aws_credentials *credentials,
                          const struct aws_request *request, const struct aws_signature *signature,
                          struct text *out, struct text *names, struct error *err)
{
    struct aws_header headers[AWS_HEADERS_MAX + 3];
    int count = join_headers(request, signature, credentials->session_token, headers, err);
    if (count < 0) {
        return count;
    }
    struct aws_request whole = *request;
    whole.headers = headers;
    whole.header_count = (size_t)count;
    return aws_canonical(&whole, signer->as_is, out, names, err);
}

static int sign_text(const struct aws_signer *signer, const char *date, const struct text *canonical,
                     struct text *string_to_sign, char ret[AWS_HASH_HEX_SIZE])
{
    unsigned char signature[AWS_KEY_SIZE];
    char hash[AWS_HASH_HEX_SIZE];
    int rv = aws_hash(canonical->data, canonical->length, hash);
    if (rv != 0) {
        return rv;
    }
    text_addf(string_to_sign, ALGORITHM "\n%s\n%s/%s/%s/" ENDING "\n%s", date, signer->day, signer->region,
              signer->service, hash);
    if (string_to_sign->failed) {
        return -ENOMEM;
    }
    rv = hmac(signer->key, sizeof signer->key, string_to_sign->data, signature);
    if (rv == 0) {
        to_hex(signature, ret);
    }
    return rv;
}

static int set_date(time_t now, struct aws_signature *signature, char day[9], struct error *err)
{
    struct tm tm;
    if (gmtime_r(&now, &tm) == NULL ||
        strftime(signature->date, sizeof signature->date, "%Y%m%dT%H%M%SZ", &tm) != AWS_DATE_SIZE - 1) {
        return error_set(err, -EINVAL, "signing a request: the clock is off; set the system's time");
    }
    memcpy(day, signature->date, 8);
    day[8] = '\0';
    return 0;
}

static int sign(struct aws_signer *signer, const struct aws_credentials *credentials,
                const struct aws_request *request, time_t now, struct aws_signature *ret,
                struct aws_steps *steps, struct text *names, struct error *err)
{
    char day[9], hex[AWS_HASH_HEX_SIZE];
    int rv = set_date(now, ret, day, err);
    if (rv != 0) {
        return rv;
    }
    rv = make_canonical(signer, credentials, request, ret, &steps->canonical, names, err);
    if (rv != 0) {
        return rv;
    }
    rv = ready_key(signer, credentials->secret_access_key, day);
    if (rv == 0) {
        rv = sign_text(signer, ret->date, &steps->canonical, &steps->string_to_sign, hex);
    }
    if (rv != 0) {
        return error_errno(err, rv, "signing a request");
    }
    text_addf(&ret->authorization,
              ALGORITHM " Credential=%s/%s/%s/%s/" ENDING ", SignedHeaders=%s, Signature=%s",
              credentials->access_key_id, day, signer->region, signer->service, text_string(names), hex);
    return ret->authorization.failed ? error_errno(err, -ENOMEM, "signing a request") : 0;
}

int aws_sign(struct aws_signer *signer, const struct aws_credentials *credentials,
             const struct aws_request *request, time_t now, struct aws_signature *ret,
             struct aws_steps *steps, struct error *err)
{
    struct aws_steps own = {.canonical = TEXT_SECRET_INIT, .string_to_sign = TEXT_INIT}; /* with the token */
    struct text names = TEXT_INIT;
    memset(ret, 0, sizeof *ret);
    ret->sends_payload_hash = signer->hash_header;
    ret->sends_token = credentials->session_token != NULL;
    int rv = sign(signer, credentials, request, now, ret, steps != NULL ? steps : &own, &names, err);
    text_release(&names);
    aws_steps_release(&own);
    if (rv != 0) {
        aws_signature_release(ret);
    }
    return rv;
}
