/*
 * AWS credentials of a client inside the enclave: given, or out of the environment, a file, a container's endpoint, or the metadata
 * service of the instance, which is asked through a relay route, since no packet leaves an enclave.
 *
 * They are asked for once for all threads that wait (single flight), and anew some minutes before the old ones expire, by one of those that
 * need some; the others go on with the old ones. When that fails, the old ones serve until they have really expired.
 */
#ifndef POSTERN_KMS_CREDENTIALS_H
#define POSTERN_KMS_CREDENTIALS_H

#include "aws/credentials_endpoint.h"
#include "aws/credentials_file.h"
#include "aws/credentials_keys.h"
#include "kms/wire.h"
#include <pthread.h>
#include <stdatomic.h>

enum kms_credentials_place {
    KMS_CREDENTIALS_AUTO,
    KMS_CREDENTIALS_GIVEN,
    KMS_CREDENTIALS_ENVIRONMENT,
    KMS_CREDENTIALS_FILE,
    KMS_CREDENTIALS_CONTAINER,
    KMS_CREDENTIALS_METADATA,
};

/* Keys that several threads use; they do not change. */
struct kms_keys {
    atomic_uint users;
    struct credentials_keys keys;
    enum kms_credentials_place from; /* never AUTO */
    uint64_t refresh_at;             /* by credentials_now_ms(); 0: never */
    struct credentials_stamp stamp;  /* of the file that they are from */
};

/* What a look for keys knows. Used by one thread at a time: the one that looks. */
struct kms_look {
    enum kms_credentials_place place;
    struct credentials_keys given;
    char *file, *profile;               /* owned; NULL: as the environment says */
    struct kms_place metadata;          /* where the metadata service is ... */
    bool has_metadata;                  /* ... if there is a way to it */
    uint64_t token_until;               /* by kms_now_ms() */
    char token[INSTANCE_TOKEN_MAX + 1]; /* of the metadata service; "": none */
};

struct kms_credentials {
    struct kms_look look; /* used without the lock, by the thread that set `looking` */

    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t looked;
    bool looking;
    struct kms_keys *keys; /* NULL: none */
    unsigned failures;     /* in a row */
    uint64_t retry_at;     /* by kms_now_ms(): not to be asked again before */
    int why_status;
    struct error why; /* of the last failure */
};

/* Zeroed, and `look` filled in by the caller, who gives away what it owns. */
void kms_credentials_init(struct kms_credentials *credentials);
void kms_credentials_close(struct kms_credentials *credentials); /* wipes */

/* 0, and *ret to be put back; -ENOKEY: there are none; -ETIMEDOUT, -ENOMEM. */
int kms_credentials_get(struct kms_credentials *credentials, uint64_t deadline, struct kms_keys **ret,
                        struct error *err) MUST_CHECK;
void kms_keys_put(struct kms_keys *keys); /* NULL is let pass */

/* KMS does not accept these. True: others may be had, by asking again. */
bool kms_credentials_refused(struct kms_credentials *credentials, const struct kms_keys *keys);

/* ---- One look: credentials_look.c ---- */

/* 0, or -ENOENT: that place is not set up, or why it gave none. */
int kms_look(struct kms_look *look, uint64_t deadline, struct kms_keys *ret, struct error *err) MUST_CHECK;

/* Whether the keys' file is another one by now. */
bool kms_look_changed(const struct kms_look *look, const struct kms_keys *keys);

/* ---- Endpoints: credentials_fetch.c ---- */

int kms_look_container(uint64_t deadline, struct credentials_keys *ret, struct error *err) MUST_CHECK;
int kms_look_metadata(struct kms_look *look, uint64_t deadline, struct credentials_keys *ret,
                      struct error *err) MUST_CHECK;

#endif
