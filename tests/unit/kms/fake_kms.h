/*
 * A KMS that answers as a test says, and a software NSM that vouches for whatever key it is given: in a child process, so that what
 * they allocate is none of the test's. What is set in `script` holds from the next request on.
 *
 * The NSM's "document" is the public key itself; what is made for a recipient is encrypted for that. Nothing is verified: see
 * postern-sim for a KMS that does.
 */
#ifndef POSTERN_TESTS_FAKE_KMS_H
#define POSTERN_TESTS_FAKE_KMS_H

#include "certificates.h"
#include "postern/kms.h"
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/types.h>

#define FAKE_HOST "kms.test-1.amazonaws.com"

enum fake_way {
    FAKE_GOOD,
    FAKE_RAW,       /* `raw` as it stands */
    FAKE_CLEAR,     /* the secret in the clear beside the ciphertext, in the field `field` */
    FAKE_MISSING,   /* no CiphertextForRecipient */
    FAKE_WRONG_KEY, /* encrypted for somebody else */
    FAKE_BAD_BLOB,  /* a CiphertextForRecipient that is no base64 */
    FAKE_SHORT,     /* a secret that is a byte shorter than it was asked for */
    FAKE_SILENT,    /* no answer, ever */
    FAKE_CLOSE,     /* the connection is closed instead */
    FAKE_HUGE,      /* an answer without end */
    FAKE_PUSH, /* a good answer, and `raw` when `push` says so, which nobody asked for: `pushed` counts these */
};

struct fake_script {
    /* How requests are answered: the next `count` in that way, the others well. */
    _Atomic int way;
    atomic_uint count;
    atomic_bool close_after; /* each answer, without saying so */
    atomic_bool push;
    atomic_uint pushed;
    atomic_bool nsm_fails;   /* it answers an error */
    atomic_bool nsm_closes;  /* it closes the connection instead */
    atomic_bool nsm_babbles; /* it answers what is no answer */
    atomic_bool nsm_hangs;   /* it answers when that is over; `nsm_hung` counts those who wait */
    atomic_uint nsm_hung;
    char raw[32768];
    char field[64];

    /* What came. */
    atomic_uint connections, closed, resumed, requests, documents;
    char last[65536]; /* request, head and body; a string */
};

struct fake_kms {
    struct fake_script *script; /* shared with the child */
    struct authority authority;
    pid_t child;
    char address[64], nsm[64]; /* of KMS and the NSM */
};

/* `names`: of the certificate, for so many seconds from now. */
void fake_kms_open(struct fake_kms *fake, const char *names, long seconds);
void fake_kms_close(struct fake_kms *fake);

/* The next `count` requests are answered so. */
void fake_kms_answer(struct fake_kms *fake, enum fake_way way, unsigned count);
void fake_kms_answer_raw(struct fake_kms *fake, unsigned count, const char *raw);

/* An answer with a JSON body, in raw. */
void fake_kms_answer_json(struct fake_kms *fake, unsigned count, unsigned status, const char *head,
                          const char *json);

/* Options for a client of it, with credentials given. */
void fake_kms_options(const struct fake_kms *fake, struct postern_kms_options *ret);

/* A client with these options, in the place of `kms`, which is closed; the test fails if there can be none. */
void fake_kms_client(const struct postern_kms_options *options, struct postern_kms **kms);

#endif
