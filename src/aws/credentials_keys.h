/*
 * AWS keys as they are kept in memory: checked before they are used, and wiped when they are dropped.
 *
 * A key that would not do in a header (an access key ID, a session token), or could not be what was meant (blanks,
 * line breaks, nothing at all), is refused where it comes in, by name and never by value.
 */
#ifndef POSTERN_AWS_CREDENTIALS_KEYS_H
#define POSTERN_AWS_CREDENTIALS_KEYS_H

#include "aws/sign.h"
#include "base/compiler.h"
#include "base/error.h"
#include <stdint.h>
#include <time.h>

#define CREDENTIALS_ID_MAX     128
#define CREDENTIALS_SECRET_MAX 256
#define CREDENTIALS_TOKEN_MAX  (8 * 1024) /* of a session; STS gives up to some 2 KiB */

/* The strings are owned; all NULL: there are none. */
struct credentials_keys {
    char *access_key_id;
    char *secret_access_key;
    char *session_token; /* NULL: these are not temporary */
    time_t expires;      /* 0: never */
};

/* Copies what is good. `token` may be NULL, or "" for the same. Returns 0; -EINVAL with the name of what is wrong in `err`, and
 * -ENOMEM, with *ret empty. */
int credentials_keys_set(struct credentials_keys *ret, const char *id, const char *secret, const char *token,
                         struct error *err) MUST_CHECK;

/* Wipes and frees. Harmless on what is empty, and on NULL. */
void credentials_keys_release(struct credentials_keys *keys);

/* The time of day, by which keys expire, in milliseconds since 1970. */
uint64_t credentials_now_ms(void);

/* The same keys, for the signer; they live as long as `keys`. */
struct aws_credentials credentials_keys_view(const struct credentials_keys *keys);

#endif
