/*
 * Requests to KMS, as its key policies see them: who calls, and what the attestation document in Recipient says.
 *
 * A condition on kms:RecipientAttestation:... means something for five operations only, those that take a Recipient. A caller who sends
 * none has none of these keys; without a condition on them he gets the plaintext.
 */
#ifndef POSTERN_IAM_KMS_H
#define POSTERN_IAM_KMS_H

#include "iam/evaluate.h"
#include "iam/principal.h"

#define IAM_KMS_OPERATIONS 5
#define IAM_KMS_PCRS       32
#define IAM_KMS_KEYS       (IAM_KMS_PCRS + 8)

#define IAM_KMS_ATTESTATION "kms:RecipientAttestation:"

/* "kms:Decrypt" and so on. */
extern const char *const iam_kms_operations[IAM_KMS_OPERATIONS];

/* Is filled in in place and not to be copied, since the request points into it. */
struct iam_kms_request {
    struct iam_request request;
    struct iam_key keys[IAM_KMS_KEYS];
    const char *values[IAM_KMS_KEYS];
    char names[IAM_KMS_PCRS][40];
    char account[IAM_ACCOUNT_DIGITS + 1];
};

/* Of a caller who sends no attestation document. The texts are kept, not copied. */
void iam_kms_request_init(struct iam_kms_request *request, const char *principal, const char *resource);

/* Of one who does. What of its measurements is not told by iam_kms_request_pcr() is absent if `whole`, else not known. */
void iam_kms_request_attested(struct iam_kms_request *request, bool whole);

/* Of one whose document is no enclave's, but tells of the TPM of an instance: what, is not known. */
void iam_kms_request_tpm(struct iam_kms_request *request);

/* `hex` is kept, not copied. Each PCR once. `choosable`: who calls may build images until one measures nearly as needed. */
void iam_kms_request_pcr(struct iam_kms_request *request, unsigned index, const char *hex, bool choosable);

#endif
