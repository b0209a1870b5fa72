/* The functions of include/postern/attest.h. */
#include "client/postern_private.h"
#include "nsm/insecure.h"
#include "postern/attest.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(POSTERN_ATTEST_DOCUMENT_MAX == NSM_RESPONSE_MAX && POSTERN_ATTEST_FIELD_MAX == NSM_FIELD_MAX &&
                   POSTERN_NSM_PCRS == NSM_PCRS && POSTERN_NSM_PCR_MAX == NSM_PCR_MAX,
               "what the NSM's own header says");

struct postern_nsm {
    struct nsm *nsm; /* owned */
};

static int done(int status, const struct error *why, struct postern_error *err)
{
    return status < 0 ? postern_fail(err, status, why->text) : 0;
}

int postern_nsm_open(const struct postern_nsm_options *options, struct postern_nsm **ret,
                     struct postern_error *err)
{
    struct postern_nsm_options known = {0};
    int status = options ? postern_read_struct(&known, sizeof known, options, options->size, err) : 0;
    struct error why = ERROR_INIT;
    struct postern_nsm *nsm;

    if (status != 0) {
        return status;
    }
    if (known.device && known.insecure_nsm) {
        return postern_fail(err, -EINVAL, "a device and a software NSM are given: expected one of them");
    }
    nsm = calloc(1, sizeof *nsm);
    if (!nsm) {
        return postern_fail(err, -ENOMEM, "cannot open the NSM: out of memory");
    }
    status = known.insecure_nsm ? nsm_open_insecure(known.insecure_nsm, &nsm->nsm, &why)
                                : nsm_open(known.device ? known.device : NSM_DEVICE, &nsm->nsm, &why);
    if (status != 0) {
        free(nsm);
        return done(status == -ENOENT ? -ENODEV : status, &why, err); /* as <postern/kms.h> has it */
    }
    *ret = nsm;
    return 0;
}

void postern_nsm_close(struct postern_nsm *nsm)
{
    if (nsm) {
        nsm_close(nsm->nsm);
        free(nsm);
    }
}

ssize_t postern_attest(struct postern_nsm *nsm, const struct postern_attest_request *request, void *document,
                       size_t room, struct postern_error *err)
{
    struct postern_attest_request known = {0};
    int status = request ? postern_read_struct(&known, sizeof known, request, request->size, err) : 0;
    const struct nsm_attest_request asked = {
        .user_data = {.data = known.user_data, .size = known.user_data_length},
        .nonce = {.data = known.nonce, .size = known.nonce_length},
        .public_key = {.data = known.public_key, .size = known.public_key_length},
    };
    uint8_t whole[NSM_RESPONSE_MAX];
    struct error why = ERROR_INIT;
    size_t size;

    status = status == 0 ? postern_check_bytes(known.user_data, known.user_data_length, err) : status;
    status = status == 0 ? postern_check_bytes(known.nonce, known.nonce_length, err) : status;
    status = status == 0 ? postern_check_bytes(known.public_key, known.public_key_length, err) : status;
    status = status == 0 ? postern_check_bytes(document, room, err) : status;
    if (status != 0) {
        return status;
    }
    status = nsm_attest(nsm->nsm, &asked, whole, &size, &why);
    if (status != 0) {
        return done(status, &why, err);
    }
    if (size > room) {
        return postern_fail(err, -EMSGSIZE, "the attestation document is larger than the buffer for it");
    }
    memcpy(document, whole, size);
    return (ssize_t)size;
}

int postern_nsm_describe(struct postern_nsm *nsm, struct postern_nsm_description *ret,
                         struct postern_error *err)
{
    struct nsm_description told;
    struct error why = ERROR_INIT;
    int status = nsm_describe(nsm->nsm, &told, &why);

    if (status != 0) {
        return done(status, &why, err);
    }
    memset(ret, 0, sizeof *ret);
    snprintf(ret->module_id, sizeof ret->module_id, "%s", told.module_id);
    snprintf(ret->digest, sizeof ret->digest, "%s", told.digest);
    for (unsigned i = 0; i < ARRAY_SIZE(told.version); i++) {
        ret->version[i] = told.version[i];
    }
    ret->pcrs = told.max_pcrs;
    ret->locked = told.locked;
    return 0;
}

/* What has more bits than the NSM's own number would become another one. */
static int check_number(unsigned number, struct postern_error *err)
{
    return number <= UINT16_MAX ? 0 : postern_fail(err, -ERANGE, "there is no PCR of that number");
}

static int take_pcr(int status, const struct nsm_pcr *pcr, const struct error *why,
                    struct postern_nsm_pcr *ret, struct postern_error *err)
{
    if (status == 0 && ret) {
        memset(ret, 0, sizeof *ret);
        ret->locked = pcr->locked;
        ret->length = pcr->size;
        memcpy(ret->value, pcr->value, pcr->size);
    }
    return done(status, why, err);
}

int postern_nsm_describe_pcr(struct postern_nsm *nsm, unsigned index, struct postern_nsm_pcr *ret,
                             struct postern_error *err)
{
    struct nsm_pcr pcr;
    struct error why = ERROR_INIT;
    int status = check_number(index, err);

    if (status != 0) {
        return status;
    }
    status = nsm_describe_pcr(nsm->nsm, (uint16_t)index, &pcr, &why);
    return take_pcr(status, &pcr, &why, ret, err);
}

int postern_nsm_extend_pcr(struct postern_nsm *nsm, unsigned index, const void *data, size_t length,
                           struct postern_nsm_pcr *ret, struct postern_error *err)
{
    struct nsm_pcr pcr;
    struct error why = ERROR_INIT;
    int status = check_number(index, err);

    if (status != 0) {
        return status;
    }
    if (!data && length > 0) {
        return postern_fail(err, -EINVAL, "there is nothing to extend the PCR with");
    }
    status = nsm_extend_pcr(nsm->nsm, (uint16_t)index, data ? data : "", length, &pcr, &why);
    return take_pcr(status, &pcr, &why, ret, err);
}

int postern_nsm_lock_pcr(struct postern_nsm *nsm, unsigned index, struct postern_error *err)
{
    struct error why = ERROR_INIT;
    int status = check_number(index, err);

    return status != 0 ? status : done(nsm_lock_pcr(nsm->nsm, (uint16_t)index, &why), &why, err);
}

int postern_nsm_lock_pcrs(struct postern_nsm *nsm, unsigned count, struct postern_error *err)
{
    struct error why = ERROR_INIT;
    int status = check_number(count, err);

    return status != 0 ? status : done(nsm_lock_pcrs(nsm->nsm, (uint16_t)count, &why), &why, err);
}

int postern_nsm_random(struct postern_nsm *nsm, void *buffer, size_t size, struct postern_error *err)
{
    uint8_t *at = buffer;
    int checked = postern_check_bytes(buffer, size, err);

    if (checked != 0) {
        return checked;
    }
    while (size > 0) {
        uint8_t bytes[NSM_RANDOM_MAX];
        struct error why = ERROR_INIT;
        size_t length;
        int status = nsm_random(nsm->nsm, bytes, &length, &why);

        if (status != 0) {
            return done(status, &why, err);
        }
        length = length < size ? length : size;
        memcpy(at, bytes, length);
        explicit_bzero(bytes, sizeof bytes);
        at += length;
        size -= length;
    }
    return 0;
}
