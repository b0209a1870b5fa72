/*
 * Calls that answer to this enclave alone: see attested.h.
 *
 * The recipient of the process is made with the first call and stays; a document that vouches for it is renewed, since KMS takes none
 * that is older than five minutes. An answer that was asked for with the last document is opened all the same.
 *
 * The NSM may hang, and nothing ends that: one thread at a time has it, and the key to make. The others go on with the document that there
 * is, as long as it serves, or else wait as long as their calls may.
 */
#include "kms/attested.h"

#include "kms/answer.h"
#include "kms/clock.h"
#include "kms/kms_private.h"
#include "kms/secret.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A document is renewed at the first of these; until the second it serves if that fails. */
#define RENEW_AFTER_MS  UINT64_C(180000)
#define DOCUMENT_AGE_MS UINT64_C(240000)

/* The fields by which KMS tells a secret in the clear. */
static const char *const clear_fields[] = {"Plaintext", "PrivateKeyPlaintext", "SharedSecret"};

bool kms_takes_recipient(const char *operation)
{
    static const char *const names[] = {"Decrypt", "DeriveSharedSecret", "GenerateDataKey",
                                        "GenerateDataKeyPair", "GenerateRandom"};

    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        if (strcmp(operation, names[i]) == 0) {
            return true;
        }
    }
    return false;
}

/* ---- The recipient ---- */

void kms_attestation_init(struct kms_attestation *attestation)
{
    pthread_mutex_init(&attestation->lock, NULL);
    pthread_cond_init(&attestation->changed, NULL);
    pthread_mutex_init(&attestation->opening, NULL);
}

void kms_attestation_close(struct kms_attestation *attestation)
{
    nsm_close(attestation->nsm);
    recipient_free(attestation->recipient);
    json_decref(attestation->document);
    free(attestation->insecure_nsm);
}

/* By who has the NSM. A document that names that recipient's key, as KMS wants it. An NSM that failed is opened anew the next
 * time. */
static int get_document(struct kms_attestation *attestation, const struct recipient *recipient,
                        uint64_t deadline, json_t **ret, struct error *err)
{
    uint8_t document[NSM_RESPONSE_MAX];
    size_t key_size, size;
    const uint8_t *key = recipient_public_key(recipient, &key_size);
    int status = attestation->nsm ? 0 : kms_vouch_open(attestation->insecure_nsm, &attestation->nsm, err);

    status =
        status == 0 ? kms_vouch(attestation->nsm, key, key_size, deadline, document, &size, err) : status;
    if (status != 0) {
        nsm_close(attestation->nsm);
        attestation->nsm = NULL;
        error_prefix(err, "cannot get an attestation document");
        return status;
    }
    *ret = kms_json_blob(document, size);
    return *ret ? 0 : error_set(err, -ENOMEM, "cannot keep an attestation document: out of memory");
}

/* With the lock. */
static bool is_younger(const struct kms_attestation *attestation, uint64_t age)
{
    return attestation->document && kms_clock_ms(CLOCK_BOOTTIME) - attestation->made_at < age;
}

/* With the lock. Until the NSM is this thread's, or, `or_document`, there is a document that serves: -EEXIST. */
static int take_nsm(struct kms_attestation *attestation, bool or_document, uint64_t deadline,
                    struct error *err)
{
    const struct timespec until = kms_timespec(deadline);
    int error = 0;

    for (;;) {
        if (or_document && is_younger(attestation, attestation->asked ? DOCUMENT_AGE_MS : RENEW_AFTER_MS)) {
            return -EEXIST;
        }
        if (!attestation->asked) {
            attestation->asked = true;
            return 0;
        }
        if (error != 0) {
            return error_set(err, -ETIMEDOUT,
                             "cannot get an attestation document: the NSM has not answered another call yet");
        }
        error = pthread_cond_clockwait(&attestation->changed, &attestation->lock, CLOCK_MONOTONIC, &until);
    }
}

/* With the lock. */
static void give_nsm(struct kms_attestation *attestation)
{
    attestation->asked = false;
    pthread_cond_broadcast(&attestation->changed);
}

/* By who has the NSM, with the lock, which is let go meanwhile. */
static int renew(struct kms_attestation *attestation, uint64_t deadline, struct error *err)
{
    struct recipient *recipient = attestation->recipient;
    uint64_t now = kms_clock_ms(CLOCK_BOOTTIME);
    json_t *document = NULL;

    pthread_mutex_unlock(&attestation->lock);
    int status = recipient ? 0 : recipient_new(&recipient, err);
    status = status == 0 ? get_document(attestation, recipient, deadline, &document, err) : status;
    pthread_mutex_lock(&attestation->lock);
    if (!attestation->recipient) { /* once: who opens an answer reads it without the lock */
        attestation->recipient = recipient;
    }
    if (status != 0) {
        return is_younger(attestation, DOCUMENT_AGE_MS) ? 0 : status;
    }
    json_decref(attestation->document);
    attestation->document = document;
    attestation->made_at = now;
    return 0;
}

/* What a call has of it. */
struct ticket {
    struct kms_attestation *attestation;
    struct recipient *own; /* NULL: the process's */
    json_t *request;       /* the caller's */
    uint64_t made_at;      /* of the document */
};

/* With the lock. JSON values are counted without one, so each call has its own. */
static int copy_document(struct ticket *ticket, json_t **ret, struct error *err)
{
    ticket->made_at = ticket->attestation->made_at;
    *ret = json_copy(ticket->attestation->document);
    return *ret ? 0 : error_set(err, -ENOMEM, "cannot copy an attestation document: out of memory");
}

static int shared_document(struct ticket *ticket, uint64_t deadline, json_t **ret, struct error *err)
{
    struct kms_attestation *attestation = ticket->attestation;

    pthread_mutex_lock(&attestation->lock);
    int status = take_nsm(attestation, true, deadline, err);
    if (status == 0) {
        status = renew(attestation, deadline, err);
        give_nsm(attestation);
    }
    if (status == 0 || status == -EEXIST) {
        status = copy_document(ticket, ret, err);
    }
    pthread_mutex_unlock(&attestation->lock);
    return status;
}

static int own_document(struct ticket *ticket, uint64_t deadline, json_t **ret, struct error *err)
{
    struct kms_attestation *attestation = ticket->attestation;

    pthread_mutex_lock(&attestation->lock);
    int status = take_nsm(attestation, false, deadline, err);
    pthread_mutex_unlock(&attestation->lock);
    if (status != 0) {
        return status;
    }
    ticket->made_at = kms_clock_ms(CLOCK_BOOTTIME);
    status = get_document(attestation, ticket->own, deadline, ret, err);
    pthread_mutex_lock(&attestation->lock);
    give_nsm(attestation);
    pthread_mutex_unlock(&attestation->lock);
    return status;
}

static int get_ticket_document(struct ticket *ticket, uint64_t deadline, json_t **ret, struct error *err)
{
    return ticket->own ? own_document(ticket, deadline, ret, err)
                       : shared_document(ticket, deadline, ret, err);
}

/* The document, and who can read what is encrypted for it: the process's recipient, or one of the call's own. */
static int begin(struct kms_attestation *attestation, uint64_t deadline, struct ticket *ret,
                 json_t **ret_document, struct error *err)
{
    *ret = (struct ticket){.attestation = attestation};
    *ret_document = NULL;
    int status = attestation->key_per_call ? recipient_new(&ret->own, err) : 0;
    return status == 0 ? get_ticket_document(ret, deadline, ret_document, err) : status;
}

static int refuse_child(const struct postern_kms *kms, struct error *err)
{
    return getpid() == kms->owner
               ? 0
               : error_set(err, -ECHILD, "the client for KMS belongs to the parent process");
}

int kms_attested_prepare(struct postern_kms *kms, struct error *err)
{
    struct ticket ticket = {.own = NULL};
    json_t *document = NULL;
    int status = refuse_child(kms, err);

    status = status == 0 ? begin(&kms->attestation, kms_deadline(kms, 0), &ticket, &document, err) : status;
    recipient_free(ticket.own);
    json_decref(document);
    return status;
}

/* ---- The request ---- */

/* Takes the document. */
static int add_recipient(json_t *request, json_t *document, struct error *err)
{
    json_t *recipient = json_object();
    int failed = json_object_set_new(recipient, "KeyEncryptionAlgorithm", json_string("RSAES_OAEP_SHA_256"));

    failed |= json_object_set_new(recipient, "AttestationDocument", document);
    failed |= json_object_set_new(request, "Recipient", recipient);
    return failed ? error_set(err, -ENOMEM, "cannot make the request: out of memory") : 0;
}

/* Before another try: KMS refuses a document that has grown old meanwhile. 1: the request has a new one. */
static int renew_ticket(void *data, uint64_t deadline, struct error *err)
{
    struct ticket *ticket = data;
    json_t *document = NULL;

    if (kms_clock_ms(CLOCK_BOOTTIME) - ticket->made_at < RENEW_AFTER_MS) {
        return 0;
    }
    int status = get_ticket_document(ticket, deadline, &document, err);
    status = status == 0 ? add_recipient(ticket->request, document, err) : status;
    return status == 0 ? 1 : status;
}

/* ---- The answer ---- */

static bool is_empty(const json_t *value)
{
    return !value || json_is_null(value) || (json_is_string(value) && json_string_length(value) == 0);
}

static int refuse_clear(const struct kms_answer *answer, struct error *err)
{
    for (size_t i = 0; i < ARRAY_SIZE(clear_fields); i++) {
        if (!is_empty(json_object_get(answer->body, clear_fields[i]))) {
            return error_set(
                err, -EBADMSG,
                "refused: KMS answered in the clear (%s) although it was told to encrypt for this "
                "enclave; find out who answers in its place",
                clear_fields[i]);
        }
    }
    return 0;
}

/* Into memory for secrets; what the recipient made goes. */
static int take_secret(struct recipient_secret *opened, struct postern_secret *ret, struct error *err)
{
    int status = secret_new(opened->size, ret);

    if (status == 0) {
        memcpy(ret->data, opened->data, opened->size);
    } else {
        error_set(err, status, "cannot keep what KMS answered: out of memory");
    }
    recipient_wipe(opened);
    return status;
}

static int open_secret(struct kms_attestation *attestation, struct recipient *own,
                       const struct kms_answer *answer, struct postern_secret *ret, struct error *err)
{
    struct recipient_secret opened;
    uint8_t *cms;
    size_t size;
    int status = kms_answer_blob(answer, "CiphertextForRecipient", RECIPIENT_CMS_MAX, &cms, &size, err);

    if (status != 0) {
        error_prefix(err, "refused");
        return status == -EPROTO ? -EBADMSG : status;
    }
    if (!own) {
        pthread_mutex_lock(&attestation->opening);
    }
    status = recipient_open(own ? own : attestation->recipient, cms, size, &opened, err);
    if (!own) {
        pthread_mutex_unlock(&attestation->opening);
    }
    free(cms);
    return status == 0 ? take_secret(&opened, ret, err) : status;
}

static int take_answer(struct kms_attestation *attestation, struct recipient *own, struct kms_answer *answer,
                       struct postern_secret *ret, struct error *err)
{
    int status = refuse_clear(answer, err);

    status = status == 0 ? open_secret(attestation, own, answer, ret, err) : status;
    if (status != 0) {
        kms_answer_release(answer); /* it may be a secret */
        return status;
    }
    (void)json_object_del(answer->body, "CiphertextForRecipient");
    return 0;
}

static int call(struct postern_kms *kms, const char *operation, struct ticket *ticket, uint64_t deadline,
                struct kms_answer *ret, struct postern_secret *ret_secret, struct error *err)
{
    const struct kms_renewal renewal = {.renew = renew_ticket, .data = ticket};
    int status = kms_call_renewed(kms, operation, ticket->request, deadline, &renewal, ret, err);

    if (status == 0) {
        status = take_answer(&kms->attestation, ticket->own, ret, ret_secret, err);
        if (status != 0) {
            error_prefix(err, "%s", operation);
        }
    }
    return status;
}

int kms_attested_call(struct postern_kms *kms, const char *operation, json_t *request, uint64_t deadline,
                      struct kms_answer *ret, struct postern_secret *ret_secret, struct error *err)
{
    struct ticket ticket = {.own = NULL};
    json_t *document = NULL;

    *ret = (struct kms_answer){.status = 0};
    *ret_secret = (struct postern_secret){.data = NULL};
    if (!kms_takes_recipient(operation)) {
        return error_set(err, -EINVAL, "%.64s takes no recipient", operation);
    }
    int status = refuse_child(kms, err);
    status = status == 0 ? begin(&kms->attestation, deadline, &ticket, &document, err) : status;
    status = status == 0 ? add_recipient(request, document, err) : status;
    if (status == 0) {
        ticket.request = request;
        status = call(kms, operation, &ticket, deadline, ret, ret_secret, err);
    }
    recipient_free(ticket.own);
    return status;
}
