/*
 * AWS Signature Version 4, in a request's headers, for any service by name. ("Create a signed AWS API
 * request", IAM User Guide; S3's particulars: "Signature Calculations for the Authorization Header", S3 API Reference.)
 *
 * Pure: no clock and no sockets; what it needs is given. A signer keeps the key of the day, which takes most of the
 * work, and is for one thread at a time.
 */
#ifndef POSTERN_AWS_SIGN_H
#define POSTERN_AWS_SIGN_H

#include "aws/canonical.h"
#include "base/compiler.h"
#include "base/error.h"
#include "base/text.h"
#include <stdbool.h>
#include <time.h>

#define AWS_KEY_SIZE      32
#define AWS_HASH_HEX_SIZE 65 /* of a SHA-256 in hex, with its terminator */
#define AWS_DATE_SIZE     17 /* 20150830T123600Z */

/* Not owned. */
struct aws_credentials {
    const char *access_key_id;
    const char *secret_access_key;
    const char *session_token; /* NULL: these are not temporary */
};

/* Where a signature holds, and the key that was last used. The owner embeds it and ends it with
 * aws_signer_release(). */
struct aws_signer {
    const char *region, *service; /* not owned, outlive it */
    bool as_is;                   /* the path is signed by S3's rule, see aws_canonical() */
    bool hash_header; /* the body's hash is sent as a header too; may be set after aws_signer_init() */
    unsigned char key[AWS_KEY_SIZE];
    char day[9];                             /* of `key`; "" while there is none */
    unsigned char secret_hash[AWS_KEY_SIZE]; /* of the secret that `key` was made from */
};

/* The headers that a signed request has beside its own, as text. Owned: aws_signature_release(). */
struct aws_signature {
    char date[AWS_DATE_SIZE];  /* x-amz-date */
    struct text authorization; /* authorization */
    bool sends_payload_hash;   /* x-amz-content-sha256 goes with it, the request's payload_hash */
    bool sends_token;          /* x-amz-security-token goes with it, the credentials' */
};

/* What was signed, for tests and for the eyes of somebody whose signature is refused: it holds no secret. */
struct aws_steps {
    struct text canonical;
    struct text string_to_sign;
};

/* With both of S3's rules if aws_is_s3(). */
void aws_signer_init(struct aws_signer *signer, const char *region, const char *service);
void aws_signer_release(struct aws_signer *signer); /* wipes the key */

/*
 * Signs the request as at `now`. `steps` (initialised by the caller) may be NULL.
 *
 * 0, with *ret to be released; -EINVAL: one of the headers above is in the request already, or what aws_canonical() refuses; -E2BIG;
 * -ENOMEM; -EIO: the cryptographic library failed.
 */
int aws_sign(struct aws_signer *signer, const struct aws_credentials *credentials,
             const struct aws_request *request, time_t now, struct aws_signature *ret,
             struct aws_steps *steps, struct error *err) MUST_CHECK;

void aws_signature_release(struct aws_signature *signature);
void aws_steps_release(struct aws_steps *steps);

/* The SHA-256 of `size` bytes in hex. 0 or -EIO. */
int aws_hash(const void *data, size_t size, char ret[AWS_HASH_HEX_SIZE]) MUST_CHECK;

#endif
