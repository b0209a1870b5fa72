/*
 * A call to KMS that answers to this enclave alone: with a Recipient, which is an attestation document that binds a key of this
 * process's, and the answer opened with that key.
 *
 * It fails closed. A result that came in the clear, in whatever field, or one that was not encrypted for the recipient, is wiped and
 * refused as -EBADMSG: then the key's policy, or whoever answers, does not do what the caller counts on.
 */
#ifndef POSTERN_KMS_ATTESTED_H
#define POSTERN_KMS_ATTESTED_H

#include "kms/call.h"

/* Whether KMS takes a Recipient with that operation: five do. */
bool kms_takes_recipient(const char *operation);

/*
 * Adds the Recipient to `request` (replacing one), calls, and opens CiphertextForRecipient into *ret_secret, the caller's until
 * postern_secret_wipe(). In the answer's body there is no CiphertextForRecipient any more. -EINVAL: the operation takes none.
 */
int kms_attested_call(struct postern_kms *kms, const char *operation, json_t *request, uint64_t deadline,
                      struct kms_answer *ret, struct postern_secret *ret_secret,
                      struct error *err) MUST_CHECK;

/* Opens the NSM and has it vouch for the key now, in the client's own time, so that the first call need not: for those who want to fail
 * early. */
int kms_attested_prepare(struct postern_kms *kms, struct error *err) MUST_CHECK;

#endif
