/*
 * A KMS for tests of the proxy, at the place where the client's functions are: they are wrapped at link time. Counts the secrets that are
 * out, too.
 */
#ifndef POSTERN_TESTS_SCRIPTED_KMS_H
#define POSTERN_TESTS_SCRIPTED_KMS_H

#include "kms/call.h"

struct scripted_kms {
    /* What comes of a call. */
    int result;
    unsigned status;
    const char *type;   /* AWS's name for an error; NULL: none */
    const char *body;   /* JSON; NULL: none */
    const char *secret; /* of an attested one */
    const char *error;
    bool unknown; /* whether it was carried out */
    int began_fd,
        go_on_fd; /* 0: not; else a byte is written when a call has begun, and one read before it ends */

    /* The last call. */
    unsigned calls;
    bool attested;
    char operation[128];
    char request[65536]; /* JSON */
};

extern struct scripted_kms scripted_kms;

/* Answers {} and "secret" from now on. */
void scripted_kms_reset(void);

/* Secrets that were made and not wiped. */
int scripted_kms_secrets(void);

#endif
