/* Asking the NSM to vouch for a key: see vouch.h. */
#include "kms/vouch.h"

#include "kms/clock.h"
#include "nsm/insecure.h"
#include <errno.h>

int kms_vouch_open(const char *insecure, struct nsm **ret, struct error *err)
{
    if (insecure) {
        int status = nsm_open_insecure(insecure, ret, err);
        if (status == -EINVAL) {
            error_prefix(err, "the INSECURE software NSM");
        }
        return status;
    }
    int status = nsm_open(NSM_DEVICE, ret, err);
    if (status == -ENOENT) {
        return error_set(err, -ENODEV, "there is no " NSM_DEVICE ": this is no Nitro Enclave");
    }
    return status == 0 || status == -ENOMEM ? status : -EIO;
}

int kms_vouch(struct nsm *nsm, const uint8_t *public_key, size_t size, uint64_t deadline,
              uint8_t document[NSM_RESPONSE_MAX], size_t *ret_size, struct error *err)
{
    const struct nsm_attest_request request = {.public_key = {.data = public_key, .size = size}};
    int status = nsm_attest_until(nsm, &request, deadline, document, ret_size, err);

    if (status == -ETIMEDOUT && kms_left_ms(deadline) == 0) {
        return status;
    }
    return status == 0 || status == -ENODEV || status == -ENOMEM ? status : -EIO;
}
