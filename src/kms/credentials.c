/*
 * AWS credentials of a client: see credentials.h.
 *
 * Keys are counted, so that a thread may sign with them while another one puts new ones in their place; whoever comes last wipes
 * them. The lock is never held while something is asked for.
 */
#include "kms/credentials.h"

#include "kms/clock.h"
#include <errno.h>
#include <openssl/crypto.h>
#include <stdlib.h>

/* New keys are asked for this long before the old ones expire, or a quarter of their life if that is shorter; and not by all enclaves
 * at once: between half of it and all of it. */
#define LEAD_MAX_MS UINT64_C(300000)

/* An endpoint that failed is left in peace for a while: doubled each time. */
#define PAUSE_MIN_MS UINT64_C(250)
#define PAUSE_MAX_MS UINT64_C(10000)
#define RENEW_PART   3 /* of the time that its caller has left */

void kms_credentials_init(struct kms_credentials *credentials)
{
    credentials->lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    credentials->looked = (pthread_cond_t)PTHREAD_COND_INITIALIZER;
}

void kms_credentials_close(struct kms_credentials *credentials)
{
    struct kms_look *look = &credentials->look;

    kms_keys_put(credentials->keys);
    credentials->keys = NULL;
    credentials_keys_release(&look->given);
    free(look->file);
    free(look->profile);
    look->file = look->profile = NULL;
    OPENSSL_cleanse(look->token, sizeof look->token);
}

void kms_keys_put(struct kms_keys *keys)
{
    if (keys && atomic_fetch_sub(&keys->users, 1) == 1) {
        credentials_keys_release(&keys->keys);
        free(keys);
    }
}

static bool expired(const struct kms_keys *keys)
{
    return keys->keys.expires != 0 && (uint64_t)keys->keys.expires * 1000 <= credentials_now_ms();
}

static void plan_refresh(struct kms_keys *keys)
{
    uint64_t end = (uint64_t)keys->keys.expires * 1000;
    uint64_t now = credentials_now_ms();
    uint64_t life = end > now ? end - now : 0;
    uint64_t lead = life / 4 < LEAD_MAX_MS ? life / 4 : LEAD_MAX_MS;

    keys->refresh_at = end - lead / 2 - arc4random_uniform((uint32_t)(lead / 2) + 1);
}

/* ---- Looking ---- */

static int look_for(struct kms_credentials *credentials, uint64_t deadline, struct kms_keys **ret,
                    struct error *err)
{
    struct kms_keys *keys = calloc(1, sizeof *keys);

    if (!keys) {
        return error_set(err, -ENOMEM, "cannot look for AWS credentials: out of memory");
    }
    atomic_init(&keys->users, 1);
    int status = kms_look(&credentials->look, deadline, keys, err);
    if (status == 0 && expired(keys)) {
        status =
            error_set(err, -ENOKEY,
                      "the AWS credentials that came have expired already; see that the enclave's clock is "
                      "right");
    }
    if (status != 0) {
        kms_keys_put(keys);
        status = status == -ENOMEM ? status : -ENOKEY;
        return kms_left_ms(deadline) == 0 ? -ETIMEDOUT : status;
    }
    if (keys->keys.expires != 0) {
        plan_refresh(keys);
    }
    *ret = keys;
    return 0;
}

static void note_failure(struct kms_credentials *credentials, int status, const struct error *err)
{
    uint64_t pause = PAUSE_MIN_MS << (credentials->failures < 8 ? credentials->failures : 8);

    pause = pause < PAUSE_MAX_MS ? pause : PAUSE_MAX_MS;
    credentials->failures++;
    credentials->retry_at = kms_now_ms() + pause / 2 + arc4random_uniform((uint32_t)(pause / 2) + 1);
    credentials->why_status = status;
    credentials->why = *err;
}

/* With the lock, which is let go meanwhile. That a caller's own time was over says nothing to the others. */
static int look_now(struct kms_credentials *credentials, uint64_t deadline, struct error *err)
{
    struct kms_keys *keys = NULL;

    credentials->looking = true;
    pthread_mutex_unlock(&credentials->lock);
    int status = look_for(credentials, deadline, &keys, err);
    pthread_mutex_lock(&credentials->lock);
    credentials->looking = false;
    if (status == 0) {
        kms_keys_put(credentials->keys);
        credentials->keys = keys;
        credentials->failures = 0;
        credentials->retry_at = 0;
    } else if (status != -ETIMEDOUT) {
        note_failure(credentials, status, err);
    }
    pthread_cond_broadcast(&credentials->looked);
    return status;
}

/* ---- Asking ---- */

static void drop(struct kms_credentials *credentials)
{
    kms_keys_put(credentials->keys);
    credentials->keys = NULL;
}

/* Whether those that are there serve. */
static bool have_good(struct kms_credentials *credentials)
{
    if (credentials->keys &&
        (expired(credentials->keys) || kms_look_changed(&credentials->look, credentials->keys))) {
        drop(credentials);
    }
    return credentials->keys != NULL;
}

static bool is_due(const struct kms_credentials *credentials)
{
    const struct kms_keys *keys = credentials->keys;

    return keys->refresh_at != 0 && credentials_now_ms() >= keys->refresh_at && !credentials->looking &&
           kms_now_ms() >= credentials->retry_at;
}

/* Until there are keys: 0, or why there are none. What comes meanwhile serves this once even if it is out of a file that changes again and
 * again, or was written in the future (credentials_file_changed()). */
static int wait_for_keys(struct kms_credentials *credentials, uint64_t deadline, struct error *err)
{
    const struct timespec until = kms_timespec(deadline);
    const unsigned failures = credentials->failures;
    bool have = have_good(credentials);
    int status = 0;

    while (status == 0 && !have) {
        if (credentials->looking) {
            status =
                -pthread_cond_clockwait(&credentials->looked, &credentials->lock, CLOCK_MONOTONIC, &until);
            if (status != 0) {
                error_set(err, status, "waiting for AWS credentials: the time was over");
            }
        } else if (credentials->failures > 0 &&
                   (credentials->failures != failures || kms_now_ms() < credentials->retry_at)) {
            /* A look that others waited for is theirs, too; and who failed just now is not asked again at once. */
            status = error_set(err, credentials->why_status, "%s", credentials->why.text);
        } else {
            status = look_now(credentials, deadline, err);
        }
        have = credentials->keys && !expired(credentials->keys);
    }
    return status;
}

/* The old ones serve while others cannot be had: who asks for KMS waits for them for a part of its time only. */
static void renew(struct kms_credentials *credentials, uint64_t deadline)
{
    struct error err = ERROR_INIT;

    if (look_now(credentials, kms_now_ms() + kms_left_ms(deadline) / RENEW_PART, &err) == -ETIMEDOUT) {
        note_failure(credentials, -ETIMEDOUT, &err);
    }
}

int kms_credentials_get(struct kms_credentials *credentials, uint64_t deadline, struct kms_keys **ret,
                        struct error *err)
{
    pthread_mutex_lock(&credentials->lock);
    if (have_good(credentials) && is_due(credentials)) {
        renew(credentials, deadline);
    }
    int status = wait_for_keys(credentials, deadline, err);
    if (status == 0) {
        *ret = credentials->keys;
        atomic_fetch_add(&(*ret)->users, 1);
    }
    pthread_mutex_unlock(&credentials->lock);
    return status;
}

/* Given ones stay what they are, and so does the environment. */
bool kms_credentials_refused(struct kms_credentials *credentials, const struct kms_keys *keys)
{
    bool others = keys->from != KMS_CREDENTIALS_GIVEN && keys->from != KMS_CREDENTIALS_ENVIRONMENT;

    pthread_mutex_lock(&credentials->lock);
    if (others && credentials->keys == keys) {
        drop(credentials);
    }
    pthread_mutex_unlock(&credentials->lock);
    return others;
}
